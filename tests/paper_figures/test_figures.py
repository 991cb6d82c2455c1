"""The figures: what is drawn is what the table says, what is written fits, and what is missing is named."""

from __future__ import annotations

import importlib
import itertools
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from analysis.formulas.formula import Array
from analysis.measures.arms import ends_by_run, rewarmed
from analysis.results.windows import FrozenWindows, forgetting
from harness.compose.compose import sweep_points
from harness.config.run import read_run
from harness.plan.plan import PlannedRun, compile_points
from harness.store.store import Store
from paper_figures import arms, data, overview, report, rewarm_fig1, style
from paper_figures.__main__ import command, main
from paper_figures.data import Results
from tests.drawn import points as points_drawn
from tests.synthetic_store import points_of, write

SEEDS = ["seed=0,1"]
# Those of the sweeps that `make demo` has runs of; the others: test_papers.py.
DRAWN = ("overview", *(f"rewarm_fig{n}" for n in range(1, 6)), "scalable_replay", "exchange", "peak_replay")


def loss(point: PlannedRun, corpus: str, tokens: int, end: int) -> float:
    """Shaped like the real thing: upstream rises with the peak and falls with replay, downstream falls."""
    config, x = point.run.config, max(tokens, 0) / end
    strength = 0.1 if config["schedule"]["name"] == "constant" else float(config["peak"] or 1.0)
    seed, replay, warmup = 0.02 * int(config["seed"]) * (1 + x), float(config["replay"]), float(config["warmup"])
    if config["start"]["kind"] == "scratch":
        return (4.0 if corpus == "docs" else 3.2) + 4 * math.exp(-8 * x) + seed
    if corpus == "docs":
        rise = math.sqrt(strength) * (1 - math.exp(-9 * x)) / (1 + 20 * replay)
        return 3.5 + rise + 5 * warmup * x + seed
    return 2.7 + 2.5 * math.exp(-12 * x) + 0.02 * math.log2(strength / 2) ** 2 + 0.2 * replay + seed


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures") / "store"
    write(folder, points_of(["demo", "rewarm_max_lr", "rewarm_warmup"], SEEDS), loss)
    return folder


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return data.from_store(root, None, [])


@pytest.fixture(scope="module")
def figures(results: Results) -> dict[str, Figure]:
    drawn = {}
    for name in DRAWN:
        module = importlib.import_module(f"paper_figures.{name}")
        table = module.select(results.table)
        if name != "peak_replay":  # these sweeps do not vary both: see test_changes.py
            drawn[name] = module.draw(table)
    return drawn


TEN = """defaults: [config, _self_]
grids:
  - {warmup: [0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4]}
  - {peak: [0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 4, 8, 16]}
  - {schedule: [constant, warmup_constant]}
  - {start: scratch}
  - {shift: docs_to_docs, schedule: [constant, cosine], peak: [0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 4, 8, 16]}
  - {replay: [0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75]}
"""


def far_apart(point: PlannedRun, corpus: str, tokens: int, end: int) -> float:
    """Losses from 2 to 12."""
    config, x = point.run.config, max(tokens, 0) / end
    strength, replay, warmup = float(config["peak"] or 1.0), float(config["replay"]), float(config["warmup"])
    if config["start"]["kind"] == "scratch":
        return 3 + 9 * math.exp(-8 * x)
    if corpus == "docs":
        rise = 1.6 * (math.pow(strength, 0.6) + 0.3) * (1 - math.exp(-9 * x))
        return 2 + rise / (1 + 20 * replay) + 5 * warmup * x
    return 2 + 10 * math.exp(-6 * x) / (1 + strength) + 0.5 * abs(math.log2(strength)) + 2 * replay


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    """Every figure with ten arms whose losses are far apart."""
    folder = tmp_path_factory.mktemp("ten")
    (folder / "ten.yaml").write_text(TEN)
    composed = sweep_points(["ten"], [], folder)
    points = compile_points((f"{number}", read_run(point.config)) for number, point in enumerate(composed))
    write(folder / "store", points, far_apart)
    table = data.from_store(folder / "store", None, []).table
    names = [name for name in DRAWN if name not in ("rewarm_fig3", "rewarm_fig5", "peak_replay")]  # as figure 2 is
    modules = {name: importlib.import_module(f"paper_figures.{name}") for name in names}
    return {name: module.draw(module.select(table)) for name, module in modules.items()}


def lines(figure: Figure, panel: int) -> dict[str, Array]:
    """Label -> the points (n, 2) of the lines of a panel."""
    return {str(line.get_label()): points_drawn(line) for line in figure.axes[panel].get_lines()}


def expected(
    results: Results, role: str, *, windows: int = 64, **knobs: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """D, the lowest and the highest loss of the two seeds, straight from the table; on 1,024 `windows`: at the ends."""
    rows = results.table[(results.table.role == role) & (results.table.windows == windows) & (results.table.D >= 0)]
    usual = {
        "shift": "docs_to_python",
        "schedule": "cosine",
        "start": "pretrain",
        "peak": 1.0,
        "warmup": 0.01,
        "replay": 0.0,
    }
    for knob, value in {**usual, **knobs}.items():
        rows = rows[rows[knob] == value]
    assert rows.run.nunique() == 2
    wide = rows.pivot(index="D", columns="seed", values="loss").sort_index()
    return wide.index.to_numpy(), wide.min(axis=1).to_numpy(), wide.max(axis=1).to_numpy()


def check_curve(figure: Figure, panel: int, label: str, wanted: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    tokens, low, high = wanted
    drawn = lines(figure, panel)[label]
    np.testing.assert_allclose(drawn[:, 0] * 1e3, tokens)  # the axis is in thousands of tokens
    np.testing.assert_allclose(drawn[:, 1], (low + high) / 2)
    bands = [np.asarray(band.get_paths()[0].vertices) for band in figure.axes[panel].collections]
    assert any(np.isclose(band[:, 1].min(), low.min()) and np.isclose(band[:, 1].max(), high.max()) for band in bands)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.01, 0.02])
def test_warmup_curves_are_the_table(figures: dict[str, Figure], results: Results, share: float) -> None:
    label = f"warm-up {style.percent(share)}"
    for panel, role in ((1, "downstream"), (4, "upstream")):
        check_curve(figures["rewarm_fig1"], panel, label, expected(results, role, warmup=share))
    tokens, low, high = expected(results, "upstream", warmup=share)
    early = lines(figures["rewarm_fig1"], 3)[label]
    np.testing.assert_allclose(early[:, 1], ((low + high) / 2)[tokens <= 0.1 * tokens.max()])


def test_peak_figures_are_the_table(figures: dict[str, Figure], results: Results) -> None:
    for name, role in (("rewarm_fig2", "downstream"), ("rewarm_fig3", "upstream")):
        figure = figures[name]
        for peak in (0.25, 0.5, 1.0, 2.0, 4.0):
            check_curve(figure, 0, f"peak {style.times(peak)}", expected(results, role, peak=peak))
        constant: dict[str, Any] = {"schedule": "constant", "peak": 0.1, "warmup": 0.0}
        check_curve(figure, 0, "constant", expected(results, role, **constant))
        check_curve(figure, 0, "from scratch", expected(results, role, start="scratch"))
        check_curve(figure, 0, "re-warmed, no decay", expected(results, role, schedule="warmup_constant"))
        final = {p: np.mean(expected(results, role, windows=1024, peak=p)[1:], axis=0)[-1] for p in (0.25, 4.0)}
        points = [drawn[0] for line in figure.axes[1].get_lines() if len(drawn := points_drawn(line)) == 1]
        assert [math.log2(0.25), final[0.25]] == pytest.approx(list(points[0]))
        assert [math.log2(4.0), final[4.0]] == pytest.approx(list(points[-1]))


def test_perplexities_are_the_table(figures: dict[str, Figure], results: Results) -> None:
    paths = [c for c in figures["rewarm_fig4"].axes[0].collections if isinstance(c, LineCollection)]
    by_label = {path.get_gid(): path for path in paths}
    assert set(by_label) == {*(f"peak {style.times(peak)}" for peak in arms.PEAKS), "constant"}
    for peak in arms.PEAKS:
        drawn = np.array(by_label[f"peak {style.times(peak)}"].get_segments())
        for axis, role in ((0, "downstream"), (1, "upstream")):
            _, low, high = expected(results, role, peak=peak)
            np.testing.assert_allclose(drawn[:, 0, axis], np.exp((low + high) / 2)[:-1])
            np.testing.assert_allclose(drawn[-1, 1, axis], np.exp((low + high) / 2)[-1])
    tokens, low, high = expected(results, "upstream")
    warm = np.exp((low + high) / 2)[tokens == 6144]  # 12 steps of 512 tokens
    diamonds = [
        points_drawn(line)[0, 1] for line in figures["rewarm_fig4"].axes[0].get_lines() if line.get_marker() == "D"
    ]
    assert any(np.isclose(diamond, warm) for diamond in diamonds)


def test_same_data_and_replay_are_the_table(figures: dict[str, Figure], results: Results) -> None:
    same: dict[str, Any] = {"shift": "docs_to_docs"}
    check_curve(figures["rewarm_fig5"], 1, "peak 1×", expected(results, "upstream", **same))
    constant: dict[str, Any] = {**same, "schedule": "constant", "peak": 0.1, "warmup": 0.0}
    check_curve(figures["rewarm_fig5"], 1, "constant", expected(results, "upstream", **constant))
    base = lines(figures["rewarm_fig5"], 1)["base"][:, 1]
    np.testing.assert_allclose(base, 3.51)  # the mean over two bases, 3.50 and 3.52
    for share in (0.0, 0.01, 0.05, 0.25, 0.5):
        for panel, role in ((0, "downstream"), (2, "upstream")):
            wanted = expected(results, role, replay=share)
            check_curve(figures["scalable_replay"], panel, f"replay {style.percent(share)}", wanted)


def test_overview_shows_forgetting_and_adaptation(figures: dict[str, Figure], results: Results) -> None:
    left, right = figures["overview"].axes
    rows = dict(zip([label.get_text() for label in left.get_yticklabels()], left.get_yticks(), strict=True))
    text = {float(note.xy[1]): note.get_text() for note in left.texts if isinstance(note, Annotation)}
    forgetting, adaptation = overview.differences(
        arms.grid(rewarmed(results.table, peak=4.0, replay=0.0), "peak", style.times)[0]
    )
    assert len(forgetting) == len(adaptation) == 2
    last = np.mean([np.array(expected(results, "upstream", windows=1024, peak=4.0)[1:])[i][-1] for i in (0, 1)])
    assert forgetting.mean() == pytest.approx(last - 3.51)
    assert text[rows["re-warmed to 4×"]] == f"{forgetting.mean():+.3f}"
    assert len(left.texts) - len(right.texts) == 2  # adaptation has no place on the same data
    assert not any("scratch" in label for label in rows)


def test_final_losses_of_one_figure_are_taken_alike_and_the_caption_says_how(results: Results) -> None:
    module = importlib.import_module("paper_figures.rewarm_fig2")
    table = module.select(results.table)
    assert "Final loss: at the last position, on 1,024 windows;" in style.caption_of(module.draw(arms.even(table)))
    one = table[table.seed == table.seed.max()].run.iloc[0]
    fewer = arms.even(table[(table.run != one) | (table.windows == 64)])  # one run of before
    assert set(fewer.windows) == {64}
    assert "Final loss: mean of the last 3 evaluations;" in style.caption_of(module.draw(fewer))


def test_captions_say_what_was_run(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        caption = style.caption_of(figure)
        facts = "Scale mini, model mini, 100 k parameters, 362 k in all, 600 k tokens, 3 M tokens of docs, 2 seeds"
        for fact in facts.split(", "):
            assert fact in caption, (name, fact)
        assert ("python" in caption) == (name != "rewarm_fig5")


def test_one_seed_is_a_line_without_a_band(results: Results) -> None:
    figure = rewarm_fig1.draw(results.table[results.table.seed == 0])
    assert not figure.axes[1].collections
    assert "one seed" in style.caption_of(figure)


@pytest.mark.parametrize("drawn", ["figures", pytest.param("crowded", marks=pytest.mark.slow)])
def test_everything_written_is_legible_inside_and_apart(drawn: str, request: pytest.FixtureRequest) -> None:
    """Labels of ticks, axes, values and arms, titles and legends, by the boxes that the renderer gives them."""
    for name, figure in request.getfixturevalue(drawn).items():
        check_legible(name, figure)


def check_legible(name: str, figure: Any) -> None:
    """What is written stands inside of the figure, large enough, and apart from all else."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = []
    for axes in figure.axes:
        written = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label, axes.title]
        inside = {axis: sorted(axis.get_view_interval()) for axis in (axes.xaxis, axes.yaxis)}
        for text in [*written, *axes.texts]:
            at = text.get_position()[0 if text in axes.get_xticklabels() else 1]
            low, high = inside[axes.xaxis if text in axes.get_xticklabels() else axes.yaxis]
            tick = text in written[:-3]
            if text.get_text() and text.get_visible() and (not tick or low <= at <= high):
                boxes.append((text.get_text(), Text.get_window_extent(text)))
        for text in axes.texts:
            box = Text.get_window_extent(text)
            assert axes.bbox.x0 <= box.x0, (name, text.get_text())
            assert box.x1 <= axes.bbox.x1, (name, text.get_text())
    boxes += [(text.get_text(), text.get_window_extent()) for one in figure.legends for text in one.get_texts()]
    assert len(boxes) > 10
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        assert min(a.x1, b.x1) <= max(a.x0, b.x0) or min(a.y1, b.y1) <= max(a.y0, b.y0), (name, one, other)
    for text, box in boxes:
        assert min(box.x0, box.y0) >= 0, (name, text)
        assert box.x1 <= figure.bbox.width, (name, text)
        assert box.y1 <= figure.bbox.height, (name, text)

    width, height = figure.bbox.width, figure.bbox.height
    assert figure.get_size_inches()[0] <= style.PAGE
    notes = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    for text in notes:
        assert text.get_fontsize() >= style.SMALL, (name, text.get_text())
    caption = next(text for text in figure.texts if text.get_gid() == style.CAPTION)
    below = caption.get_window_extent(renderer)
    assert below.x0 >= 0 and below.x1 <= width and below.y0 >= 0, name  # noqa: PT018
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert box.y0 >= below.y1 and box.x1 <= width and box.y1 <= height, (name, axes.get_ylabel())  # noqa: PT018
        for legend in figure.legends:
            assert not legend.get_window_extent(renderer).overlaps(box), name


def test_arms_are_told_apart_without_colour() -> None:
    looks = [*style.ordered(7), style.CONSTANT, style.NO_DECAY, style.SCRATCH]
    assert len({look.marker for look in looks}) == len(looks)
    grey = [float(np.dot(look.color[:3], (0.299, 0.587, 0.114))) for look in style.ordered(7)]
    assert grey == sorted(grey)


def test_the_command_writes_figures_captions_and_a_page(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "verdicts_of", lambda *_: ([], "none"))  # seconds: see test_report.py
    page = tmp_path / "page.html"
    arguments = ["rewarm_fig1", "rewarm_fig5", "--live", "--root", str(root), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--report", str(page)]) == 0
    assert capsys.readouterr().err == ""
    files = {file.name for file in (tmp_path / "out").iterdir()}
    kinds = ("pdf", "png", "md", "svg")
    assert files == {f"{name}.{kind}" for name in ("rewarm_fig1", "rewarm_fig5") for kind in kinds}
    text = page.read_text()
    assert text.count("<img") == 2
    assert text.count("data:image/svg+xml;base64,") == 2
    assert "The figures below are of a store, the verdicts are not." in text
    assert "Scale mini" in text
    assert "Scale mini" in (tmp_path / "out" / "rewarm_fig1.md").read_text()
    before = (tmp_path / "out" / "rewarm_fig5.pdf").read_bytes()
    assert main(["rewarm_fig5", *arguments[2:], "--report", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "out" / "rewarm_fig5.pdf").read_bytes() == before  # equal figures are equal bytes
    assert "](<page_files/rewarm_fig5.svg>)" in (tmp_path / "page.md").read_text()


@pytest.mark.slow
def test_frozen_results_draw_the_same_figure(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data, "FROZEN", tmp_path / "data")
    arguments = ["--freeze", "demo", "--root", str(root), "--sweep", "rewarm_warmup", "seed=0,1,2"]
    assert main(arguments) == 0
    text = (tmp_path / "data" / "demo.csv").read_text()
    assert text.splitlines()[0] == "# python -m paper_figures " + " ".join(arguments)
    frozen, live = data.frozen("demo"), data.from_store(root, ["rewarm_warmup"], ["seed=0,1,2"])
    assert len(frozen.lacking) == len(live.lacking) == 4  # nobody ran seed 2
    assert frozen.table.dtypes["D"] == np.int64
    np.testing.assert_allclose(frozen.table.loss, live.table[live.table.D >= 0].loss, rtol=0)
    capsys.readouterr()
    assert main(["rewarm_fig1", "--out", str(tmp_path / "frozen")]) == 0
    assert "rewarm_fig1: missing: docs_to_python-co" in capsys.readouterr().err
    assert main(["rewarm_fig1", "--live", "--root", str(root), "--out", str(tmp_path / "live")]) == 0
    images = [(tmp_path / folder / "rewarm_fig1.png").read_bytes() for folder in ("frozen", "live")]
    assert images[0] == images[1]
    capsys.readouterr()
    arguments = ["rewarm_fig1", "--root", str(root), "--sweep", "rewarm_warmup", "seed=1", "--check", "demo"]
    assert main([*arguments, "--out", str(tmp_path / "live")]) == 0
    rows = (frozen.table.seed == 1).sum()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"reproduced: {rows} rows of seed 1 equal paper_figures/data/demo.csv to the last bit"


def test_single_windows_are_frozen_with_their_runs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data, "FROZEN", tmp_path / "data")
    points = points_of(["rewarm_warmup"])
    write(tmp_path / "store", points, loss, windows=True)
    arguments = ["--freeze", "demo", "--sweep", "rewarm_warmup"]
    assert main([*arguments, "--root", str(tmp_path / "store")]) == 0
    table, beside = tmp_path / "data" / "demo.csv", tmp_path / "data" / "demo_windows.parquet"
    assert capsys.readouterr().out.splitlines() == [str(table), str(beside)]
    windows, ends = FrozenWindows(beside), ends_by_run(data.frozen("demo").table)
    assert len(ends) == len(points)
    for run, base_address, change in zip(ends.run, ends.base_address, ends.U - ends.U_base, strict=True):
        kept = windows.of(run, base_address, "docs")
        assert kept is not None
        assert forgetting(kept).value == pytest.approx(change, abs=1e-6)
    without = ["--freeze", "none", "--sweep", "rewarm_max_lr", "--root", str(root)]  # states of before, which kept none
    assert main(without) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "no windows: 8 of 8 runs kept no losses of single windows"
    assert not (tmp_path / "data" / "none_windows.parquet").exists()


def test_freezing_adds_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that seeds can be trained on machines that do not outlive them."""
    monkeypatch.setattr(data, "FROZEN", tmp_path / "data")
    arguments = ["--freeze", "demo", "--sweep", "rewarm_warmup"]
    for seed in ("1", "2"):
        write(tmp_path / seed, points_of(["rewarm_warmup"], [f"seed={seed}"]), loss, windows=True)
    first = [*arguments, "--root", str(tmp_path / "1"), "seed=1"]
    assert main(first) == 0
    table, beside = tmp_path / "data" / "demo.csv", tmp_path / "data" / "demo_windows.parquet"
    one, its = table.read_text().splitlines(), pd.read_parquet(beside)
    second = [*arguments, "--root", str(tmp_path / "2"), "seed=1,2"]  # seed 1 is not there, but it is frozen
    assert main(second) == 0
    assert capsys.readouterr().out.splitlines()[2] == f"{table}: 4 runs added to 4"
    both, theirs = table.read_text().splitlines(), pd.read_parquet(beside)
    took = "#   4 runs, 5.4M tokens"
    assert both[:4] == [f"{data.COMMAND}{shlex.join(first)}", took, f"{data.COMMAND}{shlex.join(second)}", took]
    assert both[4 : len(one) + 2] == one[2:]  # to the letter
    assert data.frozen("demo").lacking.empty
    assert sorted(data.frozen("demo").table.seed.unique()) == [1, 2]
    pd.testing.assert_frame_equal(theirs[: len(its)], its)
    assert set(theirs.run) - set(its.run) >= set(data.frozen("demo").table.query("seed == 2").run)
    assert main(first) == 0  # again: the same runs, no further ones
    assert capsys.readouterr().out.splitlines()[0] == f"{table}: 4 runs added to 4"
    assert sorted(table.read_text().splitlines()) == sorted(both)
    assert len(pd.read_parquet(beside)) == len(theirs)


@pytest.mark.slow
def test_missing_runs_are_named_and_the_rest_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = points_of(["rewarm_warmup"])
    gone = next(point for point in points if point.run.config["warmup"] == 0.02)
    write(tmp_path / "store", points, loss, stop_before=lambda point: point.key == gone.key)
    arguments = ["--live", "--root", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0  # other figures have nothing: said, not fatal
    errors = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"rewarm_fig1: missing: {gone.run.name} ") for line in errors)
    assert any(line.startswith("not drawn, for want of runs in") and "rewarm_fig5" in line for line in errors)
    assert (tmp_path / "out" / "rewarm_fig1.png").exists()
    monkeypatch.setattr(sys, "argv", ["paper_figures", "rewarm_fig5", *arguments])
    assert command() == 2  # asked for by name: refused
    assert "no run of it is done" in capsys.readouterr().err


def test_settings_are_never_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for overrides in (["seed=0"], ["shift=docs_to_cpp"]):
        write(tmp_path / "store", points_of(["rewarm_warmup"], overrides), loss)
    main(["rewarm_fig1", "--live", "--root", str(tmp_path / "store"), "--out", str(tmp_path / "out")])
    names = {file.name for file in (tmp_path / "out").glob("*.png")}
    assert names == {"rewarm_fig1-docs_to_cpp.png", "rewarm_fig1-docs_to_python.png"}
    assert "of cpp" in (tmp_path / "out" / "rewarm_fig1-docs_to_cpp.md").read_text()
    capsys.readouterr()


def test_one_training_measured_twice_is_one_line(tmp_path: Path) -> None:
    points = points_of(["rewarm_warmup"]) + points_of(["rewarm_warmup"], ["evaluate.every=0.02x"])
    write(tmp_path, points, loss)
    assert len(Store(tmp_path).runs()) == 8
    results = data.from_store(tmp_path, None, [])
    assert results.table.run.nunique() == results.table.address.nunique() == 4
    assert results.table[results.table.D > 0].groupby("run").size().min() > 2 * 50  # the denser of the two


@pytest.mark.parametrize(
    ("arguments", "expected_text"),
    [
        (["rewarm_fig11"], "did you mean rewarm_fig1?"),
        (["--live", "--root", "nowhere"], "there is no store"),
        (["--sweep", "demmo", "--root", "ROOT"], "sweep=demmo"),
        (["--live", "seed=1"], "overrides need a sweep"),
        (["--report", "page.txt"], ".txt is no kind of file for it; choose of .html, .md"),
        (["--lives"], "did you mean --live?"),
        (["rewarm_fig1", "--live", "--root", "ROOT", "--out", "/proc/figures"], "--out=/proc/figures: "),
        (["rewarm_fig1", "--live", "--root", "ROOT", "--out", 300 * "x"], "it cannot be written (File name too long)"),
        (["--sweep", "demo", "--root", "ROOT", "--check", "none"], "data=none: no such frozen table"),
        (["--check", "demo"], "it compares a store"),
        (["rewarm_fig1", "--live", "--sweep", "demo", "seed=9", "--root", "ROOT"], "no run of it is done"),
        (["--freeze", "x", "--sweep", "demo", "seed=9", "--root", "ROOT"], "no run of demo in"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected_text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "FROZEN", tmp_path / "data")
    given = [str(root) if argument == "ROOT" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["paper_figures", *given])
    assert command() == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert expected_text in error
    assert not list(tmp_path.iterdir())


# --- a checkpoint whose peak nobody told -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_a_checkpoint(results: Results) -> pd.DataFrame:
    """The same runs, as if they continued a checkpoint: no peaks, and no runs from scratch."""
    table = results.table[results.table.start == "pretrain"]
    return table.assign(start="hf", peak=np.nan, model="tiny-neox")


@pytest.mark.parametrize("name", [name for name in DRAWN if name not in ("rewarm_fig5", "peak_replay")])
def test_a_figure_of_a_checkpoint_says_learning_rates(of_a_checkpoint: pd.DataFrame, name: str) -> None:
    module = importlib.import_module(f"paper_figures.{name}")
    chosen = module.select(of_a_checkpoint)
    assert len(chosen)
    figure = module.draw(chosen)
    assert [axes for axes in figure.axes if not (axes.lines or axes.collections)] == []
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert not [text for text in texts if "peak / peak" in text or "×" in text]
    if name in ("rewarm_fig2", "rewarm_fig3"):
        assert "peak learning rate" in texts
        assert "0.00075" in texts
