"""Plots: what is drawn is what the fit and the table say; axes have units; files are what their suffix says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from analysis.answers.answer import Answer
from analysis.answers.isoflop import grid, power_law, read_off
from analysis.figures import plots
from analysis.figures.style import ordered, save
from analysis.fitting.fit import Fit, fit_law, objective_of
from analysis.fitting.profile import profile
from analysis.fitting.search import search
from analysis.fitting.standard_errors import inform
from analysis.laws.library import LAWS
from harness.core.command import check_file
from harness.core.errors import InputError
from tests.drawn import points

PLANTED = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """A simulated IsoFLOP grid, a run per point."""
    around = np.geomspace(0.2, 5, 7)  # the best size of a budget
    points = pd.concat([grid(0.044 * C**0.514 * around, [C]) for C in (1e19, 1e20, 1e21)], ignore_index=True)
    noise = np.exp(np.random.default_rng(0).normal(0, 2e-3, len(points)))
    loss = LAWS["chinchilla"].value(PLANTED, points) * noise
    return points.assign(loss=loss, budget=points["C"].map("{:.0e}".format))


@pytest.fixture(scope="module")
def fit(table: pd.DataFrame) -> Fit:
    return fit_law(LAWS["chinchilla"], table)


@pytest.fixture
def ax() -> Axes:
    return Figure(figsize=(4, 3), layout="constrained").subplots()


def labels(ax: Axes) -> list[str]:
    return ax.get_legend_handles_labels()[1]


def above(ax: Axes) -> str:
    """The title of the legend, which stands above it, as one line."""
    legend = ax.get_legend()
    assert legend is not None
    return " ".join(legend.get_title().get_text().split())


def test_predicted_against_observed(ax: Axes, fit: Fit, table: pd.DataFrame) -> None:
    assert plots.fit_against_data(ax, fit, table, by="budget") is ax
    x, y = np.concatenate([points(line) for line in ax.lines]).T
    wanted = table.assign(predicted=fit.predict(table)).sort_values("budget", kind="stable")
    np.testing.assert_allclose(x[: len(table)], wanted.loss)
    np.testing.assert_allclose(y[: len(table)], wanted.predicted)
    assert ax.get_xlabel() == "observed loss (nats per token)"
    assert labels(ax) == ["1e+19", "1e+20", "1e+21"]


def test_loss_along_a_run_has_one_line_of_the_law_a_run(ax: Axes, fit: Fit) -> None:
    """N differs between runs, D along them."""
    runs = pd.DataFrame([{"run": str(N), "N": N, "D": D} for N in (1e8, 1e9) for D in np.geomspace(1e9, 1e10, 5)])
    runs["loss"] = fit.predict(runs) * 1.01
    plots.fit_against_data(ax, fit, runs, x="D", by="N")
    measured, law = ax.lines[0], ax.lines[1]
    assert len(ax.lines) == 4
    np.testing.assert_allclose(points(measured)[:, 1], runs.loss[:5])
    between = pd.DataFrame({"N": 1e8, "D": points(law)[:, 0]})
    assert len(between) == 100  # no straight lines from point to point
    np.testing.assert_allclose(between.D.iloc[[0, -1]], runs.D.iloc[[0, 4]])
    np.testing.assert_allclose(points(law)[:, 1], fit.predict(between))
    assert ax.get_xscale() == "log"
    assert labels(ax) == ["100\N{NO-BREAK SPACE}M", "1\N{NO-BREAK SPACE}B"]


def test_across_runs_lines_join_equal_values_of_the_other_variables(ax: Axes, fit: Fit) -> None:
    runs = pd.DataFrame([{"run": str(N), "N": N, "D": D} for N in (1e8, 1e9, 1e10) for D in (1e9, 1e10)])
    plots.fit_against_data(ax, fit, runs.assign(loss=fit.predict(runs)), x="N")
    lines = [line for line in ax.lines if line.get_linestyle() != "None"]
    assert [points(line)[[0, -1], 0].tolist() for line in lines] == [[1e8, 1e10]] * 2


def test_residuals_are_relative_errors(ax: Axes, fit: Fit, table: pd.DataFrame) -> None:
    plots.residuals(ax, fit, table, x="D")
    D, error = points(ax.lines[-1]).T
    np.testing.assert_allclose(D, table.D)
    np.testing.assert_allclose(error, 100 * (fit.predict(table) / table.loss - 1))
    assert ax.get_ylabel() == "predicted − observed (%)"


def test_a_profile_is_drawn_as_multiples_of_what_is_allowed(ax: Axes, fit: Fit, table: pd.DataFrame) -> None:
    objective = objective_of(fit.law, table, fit.loss)
    found = search(objective)
    plots.profile(ax, profile(objective, found, inform(objective, found, None), "alpha"))
    alpha, rise = points(ax.lines[0]).T
    assert rise.min() == pytest.approx(0, abs=1e-6)
    assert rise[0] > 1 < rise[-1]
    assert alpha[rise.argmin()] == pytest.approx(fit.parameters["alpha"], rel=1e-3)
    assert ax.get_xlabel() == "alpha"


def answer(r: float, interval: tuple[float, float] | None, status: str) -> Answer:
    losses = {"general": 2.9, "domain": 1.7}
    return Answer("domain_ability", {"r": r}, interval and {"r": interval}, status, losses, 2.95, {}, True, 0.0)


def family(shift: float = 0.0) -> pd.DataFrame:
    r = np.linspace(0, 1, 11)
    general, domain = 2.7 + 0.3 * r + shift, 2.0 - 0.3 * r + shift
    return pd.DataFrame(
        {
            "r": r,
            "general": general,
            "general_low": general - 0.1,
            "general_high": general + 0.1,
            "general_measured": True,
            "domain": domain,
            "domain_low": domain - 0.1,
            "domain_high": domain + 0.1,
            "domain_measured": True,
        }
    )


def test_a_ratio_has_its_limit_and_its_interval(ax: Axes) -> None:
    plots.ratio_family(ax, {"": family()}, answer(0.833, (0.8, 0.85), "on_limit"))
    general, domain, limit, share = (points(line) for line in ax.lines)
    np.testing.assert_allclose(general[:, 1], family().general)
    np.testing.assert_allclose(domain[:, 1], family().domain)
    assert set(limit[:, 1]) == {2.95}
    assert set(share[:, 0]) == {0.833}
    assert labels(ax)[-1] == "r* = 0.833 [0.800, 0.850], at the limit"
    assert sum(len(band.get_paths()) for band in ax.collections) == 2
    span = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (span.x0, span.x1) == pytest.approx((0.8, 0.85))


def test_where_no_run_was_curves_are_faint_and_the_axis_does_not_follow(ax: Axes) -> None:
    """D-CPT's last term at shares that nobody trained on: ten nats."""
    steep = family()
    steep.loc[steep.r > 0.7, "general"] = 12.0
    steep["general_measured"] = steep.r < 0.7
    plots.ratio_family(ax, {"": steep}, answer(0.5, None, "interior"))
    solid, faint = ax.lines[0], next(line for line in ax.lines if line.get_linestyle() == ":")
    assert np.isfinite(points(solid)[:, 1]).sum() == (steep.r < 0.7).sum()
    np.testing.assert_allclose(points(faint)[:, 1], steep.general)
    assert ax.get_ylim()[1] < 4 < points(faint)[:, 1].max()
    assert ax.get_ylim()[1] > 2.95
    assert "where no run was" in labels(ax)


def test_an_infeasible_answer_has_no_share(ax: Axes) -> None:
    plots.ratio_family(ax, {"": family()}, answer(float("nan"), None, "infeasible"))
    assert labels(ax) == ["general loss", "domain loss", "limit of the general loss, 2.950"]
    assert not ax.patches
    assert above(ax) == "NO ANSWER: nothing satisfies the limit"


def test_an_answer_far_outside_the_data_says_so_in_its_title(ax: Axes) -> None:
    far = replace(answer(0.833, (0.8, 0.85), "on_limit"), extrapolated={"N": 50.0})
    plots.ratio_family(ax, {"": family()}, far)
    assert above(ax) == "NOT SUPPORTED: N lies outside the fitted range by a factor of 50"
    plots.ratio_family(ax, {"": family()}, far, within=60)
    assert above(ax).startswith("EXTRAPOLATED")


def test_a_family_is_told_apart_by_colour_and_line(ax: Axes) -> None:
    plots.ratio_family(ax, {"1 B tokens": family(), "2 B tokens": family(-0.1)}, losses=("domain",))
    assert labels(ax) == ["domain loss, 1 B tokens", "domain loss, 2 B tokens"]
    one, other = ax.lines
    assert one.get_color() != other.get_color()
    assert one.get_linestyle() != other.get_linestyle()


def test_isoflop_curves_go_through_their_minima(ax: Axes, table: pd.DataFrame) -> None:
    found = read_off(table)
    plots.isoflop_curves(ax, table, found, "NOT SUPPORTED: far outside")
    (shown,) = (legend for legend in ax.get_children() if isinstance(legend, Legend))
    assert shown.get_title().get_text().startswith("NOT SUPPORTED: far")
    stars = [line for line in ax.lines if line.get_marker() == "*"]
    np.testing.assert_allclose([points(line)[0, 0] for line in stars], found.minima.N)
    curves = [curve for line in ax.lines if len(curve := points(line)) == 100]
    np.testing.assert_allclose([curve[:, 1].min() for curve in curves], found.minima.loss, rtol=1e-4)
    assert ax.get_xlabel() == "model size (parameters)"


def test_the_power_law_and_its_minima(ax: Axes, table: pd.DataFrame) -> None:
    found = read_off(table, "D")
    power = power_law(found)
    plots.compute_optimal(ax, power, found.minima)
    C, sizes = points(ax.lines[0]).T
    np.testing.assert_allclose(sizes, power.predict({"C": C}))
    np.testing.assert_allclose(points(ax.lines[1])[:, 1], found.minima.D)
    assert len(ax.collections) == 2  # the band and the bars


def test_curves_under_schedules(ax: Axes) -> None:
    rows = pd.DataFrame({"run": np.repeat(["cosine", "wsd"], 20), "step": np.tile(np.arange(20) * 100, 2)})
    rows["S1"], rows["S2"] = 0.01 * (1 + rows.step), np.where(rows.run == "wsd", 0.0, 1e-4 * rows.step)
    noise = np.exp(np.random.default_rng(0).normal(0, 1e-3, len(rows)))
    rows["loss"] = (3 + 0.5 / rows.S1**0.5 - 0.4 * rows.S2) * noise
    law = fit_law(LAWS["annealing"], rows)
    plots.lr_curves(ax, rows, law)
    measured, line = ax.lines[:2]
    np.testing.assert_allclose(points(measured)[:, 1], rows.loss[:20])
    np.testing.assert_allclose(points(line)[:, 1], law.predict(rows)[:20])
    assert labels(ax) == ["cosine", "wsd"]
    beside = Figure().subplots()
    plots.lr_schedules(beside, {"wsd": np.ones(5), "cosine": np.linspace(1, 0, 5)})
    assert labels(beside) == ["cosine", "wsd"]  # the order, and so the looks, of the losses
    assert beside.lines[0].get_color() == line.get_color()


def test_legends_lie_outside_the_data(ax: Axes, fit: Fit, table: pd.DataFrame) -> None:
    plots.fit_against_data(ax, fit, table, by="budget")
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    legend = ax.get_legend()
    assert legend is not None
    assert not legend.get_window_extent().overlaps(ax.get_window_extent().padded(-1))
    assert figure.bbox.containsx(legend.get_window_extent().x1)


def test_ordered_looks_differ_in_grey() -> None:
    grey = [float(np.dot(look.color[:3], (0.299, 0.587, 0.114))) for look in ordered(5)]
    assert np.diff(grey).min() > 0.08


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_files_are_what_their_suffix_says_and_equal_bytes(tmp_path: Path, suffix: str, start: bytes) -> None:
    draw = [lambda ax: ax.plot([0, 1], [1, 2]), lambda ax: ax.plot([0, 1], [2, 1])]
    files = [save(tmp_path / f"{name}{suffix}", *draw) for name in "ab"]
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fit.jpg", r"--plot=.*fit\.jpg: \.jpg is no kind of file for it; choose of \.png, \.pdf, \.svg"),
        ("fit", "no suffix is no kind of file for it"),
        ("nowhere/fit.png", "there is no folder .*nowhere; make it first"),
    ],
)
def test_files_that_cannot_be_are_refused_before_anything_is_drawn(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        save(tmp_path / name, lambda ax: pytest.fail(f"drew on {ax}"))
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for name in ("folder.png", f"{'long' * 100}.png"):
        with pytest.raises(InputError, match="it cannot be written"):
            save(tmp_path / name, lambda ax: pytest.fail(f"drew on {ax}"))
    older = tmp_path / "older.png"
    older.write_bytes(b"older")
    check_file("--plot", older, [".png"])
    check_file("--plot", tmp_path / "new.png", [".png"])
    assert older.read_bytes() == b"older"
    assert not (tmp_path / "new.png").exists()


def test_a_disk_that_fails_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(InputError, match="it cannot be written \\(No space left on device\\)"):
        save(tmp_path / "fit.png", lambda ax: ax.plot([0, 1], [1, 2]))
