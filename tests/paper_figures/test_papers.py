"""Figures of the papers' own sweeps: which runs they select, what they draw, and whose numbers they say it is."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.claims.claims import CLAIMS
from analysis.measures import dcpt, scalable
from analysis.measures.arms import ends_by_run
from harness.core.shipped import SWEEPS
from paper_figures import arms, data, printed, shifts, style
from paper_figures.__main__ import FIGURES, main
from paper_figures.drawing import SPLIT, settings
from tests.drawn import points
from tests.paper_figures.test_figures import check_legible

NEW = (
    "scalable_warmup",
    "scalable_peaks",
    "scalable_forgetting",
    "scalable_spike",
    "scalable_baselines",
    "scalable_sizes",
    "scalable_infinite",
    "scalable_optimizer",
    "scalable_domains",
    "dcpt_ratio",
    "dcpt_trends",
    "data_order",
)


def module(name: str) -> ModuleType:
    return importlib.import_module(f"paper_figures.{name}")


@pytest.mark.parametrize("name", NEW)
def test_a_figure_names_its_sweeps_and_claims(name: str) -> None:
    assert name in FIGURES
    assert set(module(name).SWEEP.split()) <= {file.stem for file in SWEEPS.glob("*.yaml")}
    assert set(module(name).CLAIMS) <= {claim.id for claim in CLAIMS}


def test_claims_of_the_two_papers_have_a_figure() -> None:
    shown = {claim for name in NEW for claim in module(name).CLAIMS}
    assert shown >= {f"S{n}" for n in range(1, 12)} | {"D1", "D4"}


# --- what the papers print -------------------------------------------------------------------------------------------


def test_printed_numbers_say_who_read_them() -> None:
    rows = pd.concat([printed.printed("2403.08763"), printed.printed("2406.01375")])
    assert len(rows) == sum(not line.startswith("#") for line in printed.PRINTED.read_text().splitlines()) - 1
    assert set(rows.provenance) == {"S1", "S2"}  # nothing that is only remembered
    assert rows[["paper", "where", "model", "run", "quantity", "value"]].notna().all(axis=None)
    assert not rows.duplicated(["paper", "where", "model", "shift", "run", "at", "quantity"]).any()


def test_printed_numbers_are_those_that_claims_quote() -> None:
    """Of analysis.measures, which knows no figure."""
    told = []
    for shift, shares in (("weak", (0.01, 0.05)), ("strong", (0.01, 0.25))):
        rows = printed.printed("2403.08763", "Table 2", "baselines", model="405M", shift=shift)
        base = printed.value(rows, "base", "U")
        assert base is not None
        F = printed.series(rows, "replay", "U") - base
        told += [f"{100 * share:g} % {1 - F[share] / F[0]:.2f}".replace("0.", ".") for share in shares]
    assert [one for one in told if one not in scalable.PRINTED] == []
    laws = printed.printed("2406.01375")
    for by, (general, domain) in dcpt.PRINTED.items():
        for target, text in (("general", general), ("domain", domain)):
            R2 = printed.value(laws, f"unseen {by}", f"R2 {target}")
            assert f"{R2:.3f}".lstrip("0") in text if R2 else "not known" in text


def test_the_caption_of_printed_numbers_says_scale_place_and_reader() -> None:
    text = printed.origin(printed.printed("2403.08763", "Table 12"))
    assert text == (
        "Grey: what 2403.08763 prints (Table 12; 405M, at its own scale; transcriptions, S2), beside ours without a "
        "verdict."
    )


# --- tables ----------------------------------------------------------------------------------------------------------


def test_several_tables_are_one_and_a_run_in_both_is_there_once() -> None:
    one, both = data.frozen("rewarm_warmup"), data.frozen_together(["rewarm_warmup", "rewarm_max_lr"])
    other = data.frozen("rewarm_max_lr")
    assert set(both.measured.run) == {*one.measured.run, *other.measured.run}
    assert not both.measured.duplicated(["run", "position", "corpus", "windows"]).any()
    assert data.frozen_together(["rewarm_warmup"]).source == one.source


def test_figures_without_a_table_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not drawn of the demo's runs, which are of another sweep."""
    monkeypatch.setattr("paper_figures.__main__.FIGURES", ("scalable_warmup", "dcpt_ratio", "rewarm_fig5"))
    monkeypatch.setattr(data, "FROZEN", tmp_path / "data")
    (tmp_path / "data").mkdir()
    name = "rewarm_same_data.csv"
    (tmp_path / "data" / name).write_text((Path(printed.PRINTED).parent / "data" / name).read_text())
    assert main(["--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == ["not drawn, for want of runs in paper_figures/data: scalable_warmup, dcpt_ratio"]
    assert said.out.splitlines() == [str(tmp_path / "out" / "rewarm_fig5.pdf")]


# --- the runs of real sweeps, with invented losses -------------------------------------------------------------------

EXPECTED = {  # figure -> runs of one seed that it selects, of its own sweeps
    "rewarm_fig6": 4,
    "rewarm_fig7": 3 * 2 + 1,
    "scalable_warmup": 3 * 4,
    "scalable_peaks": 3 * (3 + 2 + 1),
    "scalable_forgetting": 6 + 1 + 2 * 6,
    "scalable_spike": (3 + 3 + 1) + (3 + 3 + 3),
    "scalable_baselines": 2 * 7,
    "scalable_sizes": 16,
    "scalable_infinite": 22,
    "scalable_optimizer": 4,
    "scalable_domains": 2,
    "dcpt_ratio": 4 * 9 * (4 * 5 + 2) + 3 * 9,
    "dcpt_trends": 4 * 9 * (4 * 5 + 2) + 3 * 9,
}


def tables(name: str) -> pd.DataFrame:
    from tests.paper_figures import shaped

    parts = [shaped.table(sweep) for sweep in module(name).SWEEP.split()]
    return pd.concat(parts, ignore_index=True).drop_duplicates(["run", "position", "corpus", "windows"])


def drawn(name: str) -> tuple[pd.DataFrame, list[Figure]]:
    """What it selects, and a figure for each setting, as `python -m paper_figures` draws them."""
    chosen = module(name).select(tables(name))
    return chosen, [
        module(name).draw(arms.even(part)) for _, part in settings(chosen, getattr(module(name), "SPLIT", SPLIT))
    ]


def marks(axes: Axes) -> set[tuple[float, float]]:
    """Every single point of a panel."""
    return {tuple(np.round(points(line)[0], 6)) for line in axes.get_lines() if len(points(line)) == 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_a_figure_selects_its_runs_and_says_what_they_are(name: str) -> None:
    chosen, figures = drawn(name)
    assert chosen.run.nunique() == 3 * EXPECTED[name]
    captions = [style.caption_of(figure) for figure in figures]
    assert all(any(corpus in caption for caption in captions) for corpus in chosen.upstream.unique())
    for figure, caption in zip(figures, captions, strict=True):
        for fact in ("Scale mini", "parameters outside the embeddings", "3 seeds"):
            assert fact in caption
        assert all(axes.lines or axes.collections or not axes.axison for axes in figure.axes), "an empty panel"
        check_legible(name, figure)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sweep", ["scalable_weak", "scalable_strong", "scalable_baselines", "scalable_infinite", "data_order"]
)
def test_no_run_of_a_sweep_is_in_no_figure_of_it(sweep: str) -> None:
    from tests.paper_figures import shaped

    table, left = shaped.table(sweep), set(shaped.table(sweep).run)
    for name in NEW:
        if sweep in module(name).SWEEP.split():
            left -= set(module(name).select(table).run)
    same_but_constant = table[(table.upstream == table.downstream) & (table.schedule == "constant")]  # rewarm_fig5
    assert left <= set(same_but_constant.run)


@pytest.mark.slow
def test_forgetting_and_sizes_are_the_means_over_seeds() -> None:
    chosen, (figure,) = drawn("scalable_sizes")
    for panel, part in enumerate(shifts.of(chosen)):
        ends = ends_by_run(part.table)
        F = (ends.U - ends.U_base).groupby([ends.N_total, ends.replay]).mean()
        wanted = {
            (float(N), round(float(value), 6)) for N, value in zip(F.index.get_level_values("N_total"), F, strict=True)
        }
        assert len(wanted) == 8
        assert wanted <= marks(figure.axes[panel])
    theirs = np.concatenate([points(line) for line in figure.axes[2].get_lines() if len(points(line)) == 2])
    np.testing.assert_allclose(sorted(theirs[:, 1]), [0.04, 0.06, 0.23, 0.27])


@pytest.mark.slow
def test_kept_less_reset_is_paired_by_seed() -> None:
    chosen, (figure,) = drawn("scalable_optimizer")
    for column, part in enumerate(shifts.of(chosen)):
        ends = ends_by_run(part.table).set_index(["optimizer_state", "seed"])
        wanted = {round(float((ends[letter]["keep"] - ends[letter]["reset"]).mean()), 6) for letter in "UV"}
        assert {y for _, y in marks(figure.axes[3 * len(shifts.of(chosen)) + column])} == wanted


@pytest.mark.slow
def test_the_noise_floor_is_the_spread_of_one_base() -> None:
    chosen, (figure,) = drawn("data_order")
    for part in shifts.of(chosen):
        ends = ends_by_run(part.table)
        assert ends.base_address.nunique() == 1
        assert f"{part.name}: upstream {ends.U.std():.4f}, downstream {ends.V.std():.4f}" in style.caption_of(figure)
