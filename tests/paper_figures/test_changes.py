"""Forgetting against adaptation, and the map of peak and replay: they show the means of the runs, and every run of a
sweep is in some figure or named."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text

from harness.plan.plan import PlannedRun
from paper_figures import changes, data, exchange, peak_replay, style
from paper_figures.__main__ import main
from paper_figures.data import Results
from tests.drawn import points as points_drawn
from tests.paper_figures.test_figures import check_legible
from tests.synthetic_store import points_of, write

CALL = ["base.seed=0", "seed=0,1"]


def loss(point: PlannedRun, corpus: str, tokens: int, end: int) -> float:
    config, x = point.run.config, max(tokens, 0) / end
    peak, replay, seed = float(config["peak"] or 1), float(config["replay"]), int(config["seed"])
    luck = 0.02 * (seed - 0.5) * x * peak  # of two seeds: mean 0
    if corpus == "docs":
        return 3.6 + (0.3 + 0.2 * math.log(peak) - 0.4 * math.sqrt(replay)) * x + luck
    return 5.7 - (2.3 - 0.06 * math.log(peak) ** 2 - 0.5 * replay) * x - luck


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changes") / "store"
    points = points_of(["peak_replay"], CALL)
    write(folder, points, loss, lambda point: point.run.config["peak"] == 8 and point.run.config["replay"] == 0)
    return folder


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return data.from_store(root, None, [])


def test_a_setting_is_the_mean_of_its_seeds(results: Results) -> None:
    settings = changes.settings_of(changes.runs_of(results.table))
    assert len(settings) == 35
    assert set(settings.n) == {2}
    for row in settings.to_dict("records"):
        forgets = 0.3 + 0.2 * math.log(row["peak"]) - 0.4 * math.sqrt(row["replay"])
        assert row["forgetting"] == pytest.approx(forgets, abs=1e-9)
        assert row["forgetting_sd"] == pytest.approx(0.02 * row["peak"] / math.sqrt(2))
        assert row["adaptation"] == pytest.approx(2.3 - 0.06 * math.log(row["peak"]) ** 2 - 0.5 * row["replay"])
    assert changes.varying(settings) == ["replay", "peak"]


def test_nothing_beats_the_front_and_the_front_beats_the_rest() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        F, A = np.round(random.random((2, 20)), 1)
        best = changes.front(F.tolist(), A.tolist())
        for i, (f, a) in enumerate(zip(F, A, strict=True)):
            no_worse, better = (f >= F) & (a <= A), (f > F) | (a < A)
            beaten = bool((no_worse & better).any())
            assert (i in best) <= (not beaten)
            assert beaten or any((F[k], A[k]) == (f, a) for k in best)
        assert sorted(F[best]) == F[best].tolist()


def test_exchange_shows_every_setting_and_the_front(results: Results) -> None:
    figure = exchange.draw(exchange.select(results.table))
    (axes,) = figure.axes
    settings = changes.settings_of(changes.runs_of(results.table))
    drawn = {tuple(np.round(points_drawn(line)[0], 9)) for line in axes.get_lines() if len(points_drawn(line)) == 1}
    assert {*map(tuple, np.round(settings[["forgetting", "adaptation"]].to_numpy(), 9))} <= drawn
    (stairs,) = [line for line in axes.get_lines() if line.get_label() == "Pareto front"]
    best = changes.front(settings.forgetting.tolist(), settings.adaptation.tolist())
    np.testing.assert_allclose(np.asarray(stairs.get_xdata()), settings.forgetting.to_numpy()[best])
    labels = {text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in figure.legends[0].get_texts()}
    assert {"replay 0 %", "replay 50 %", "peak ¼×", "peak 8×"} <= labels
    check_legible("exchange", figure)


def cells(figure: Figure, panel: int) -> tuple[np.ndarray, list[str]]:
    (mesh,) = [one for one in figure.axes[panel].collections if isinstance(one, QuadMesh)]
    values = mesh.get_array()
    assert values is not None
    return np.ma.filled(values, np.nan), [text.get_text() for text in figure.axes[panel].texts]


def test_the_map_has_a_cell_a_setting_and_none_for_what_was_not_run(results: Results) -> None:
    figure = peak_replay.draw(peak_replay.select(results.table))
    settings = changes.settings_of(changes.runs_of(results.table))
    for panel, what in enumerate(changes.CHANGES):
        values, texts = cells(figure, panel)
        assert values.shape == (6, 6)
        wide = settings.pivot(index="peak", columns="replay", values=what)
        np.testing.assert_allclose(values, wide.to_numpy(dtype=float))
        assert np.isnan(values[-1, 0])  # peak 8 without replay
        assert len(texts) == 35
        assert f"{wide[0.5][1.0]:.2f}" in texts
    check_legible("peak_replay", figure)


def test_maps_of_a_checkpoint_whose_peak_nobody_told_say_learning_rates(results: Results) -> None:
    table = results.table.assign(start="hf", peak=np.nan)
    for module in (peak_replay, exchange):
        figure = module.draw(module.select(table))
        texts = [text.get_text() for text in figure.findobj(Text)]
        assert not [text for text in texts if "peak / peak" in text or "×" in text]
        assert any("0.00075" in text for text in texts)
    values, _ = cells(peak_replay.draw(peak_replay.select(table)), 0)
    assert values.shape == (6, 6)


def test_a_cross_of_two_sweeps_is_no_map(tmp_path: Path) -> None:
    points = [p for p in points_of(["peak_replay"], CALL) if p.run.config["peak"] == 1 or p.run.config["replay"] == 0.1]
    write(tmp_path, points, loss)
    table = data.from_store(tmp_path, None, []).table
    assert peak_replay.select(table).empty
    assert len(changes.settings_of(changes.runs_of(exchange.select(table)))) == 11


def test_runs_that_no_figure_shows_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the figures take most of the time, and are not looked at here."""
    drawn: list[str] = []

    def save(_: Figure, out: Path, name: str) -> list[Path]:
        drawn.append(name)
        return [out / f"{name}.pdf"]

    monkeypatch.setattr(style, "save", save)
    points = [*points_of(["peak_replay"], [*CALL, "seed=0"]), *points_of(["demo"])]
    odd = points_of(["rewarm_same_data"], ["replay=0", "warmup=0.3"])
    write(tmp_path / "store", [*points, *odd[:2]], loss)
    assert main(["--live", "--root", str(tmp_path / "store"), "--out", str(tmp_path / "out")]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("in no figure: ")]
    assert len(said) == 1
    assert "warmup0.3" in said[0]
    assert "on the data of their base" in said[0]
    assert "docs_to_python-cosine" not in said[0]
    assert "peak_replay" in drawn


def test_labels_are_short() -> None:
    texts = [changes.label(*one) for one in (("peak", 0.5), ("replay", 0.005), ("lr", 3e-5), ("schedule", "wsd"))]
    assert [text.replace(style.percent(0.5)[2], " ") for text in texts] == [
        "peak ½×",
        "replay 0.5 %",
        "learning rate 3e-05",
        "wsd",
    ]
