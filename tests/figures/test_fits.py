"""Which figure a fit gets, for kinds of tables that people have, and whether its axes can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.axes import MOST_TICKS, RANGES, groups, label_axis, label_target
from analysis.figures.fits import fit_against_data, lines_along, quantiles, residuals, told_apart_by
from analysis.fitting.fit import Fit
from analysis.laws.continual import DCPT
from analysis.laws.law import Law
from analysis.laws.library import find
from analysis.laws.sizes import CHINCHILLA
from tests.drawn import points
from tests.known_fits import fit_of
from tests.planted import TRUTH, design, losses

SIZES_AND_TOKENS = {"E": 1.7, "A": 400.0, "alpha": 0.34, "B": 410.0, "beta": 0.28}
DOMAINS = [f"domain_{letter}" for letter in "abcdefg"]


@pytest.fixture
def ax() -> Axes:
    return Figure(figsize=(3.4, 3.2), layout="constrained").subplots()


def known(law: Law, parameters: dict[str, float], table: pd.DataFrame) -> tuple[Fit, pd.DataFrame]:
    return fit_of(law, parameters), table.assign(loss=law.value(parameters, table) * 1.01)


def grid(**values: Any) -> pd.DataFrame:
    index = pd.MultiIndex.from_product(list(values.values()), names=list(values))
    return pd.DataFrame(index.to_frame(index=False))


def ticks(ax: Axes, axis: str = "x") -> list[str]:
    """The ticks inside the axes, as they are drawn."""
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    FigureCanvasAgg(figure).draw()
    drawn, (low, high) = (ax.xaxis, ax.get_xlim()) if axis == "x" else (ax.yaxis, ax.get_ylim())
    return [text.get_text() for text in drawn.get_ticklabels() if low <= text.get_position()[axis == "y"] <= high]


def test_a_mixture_of_seven_domains_is_predicted_against_observed(ax: Axes) -> None:
    """No two rows lie on a line along one share, so a curve of the law would join nothing."""
    shares = pd.DataFrame(np.random.default_rng(0).dirichlet(np.ones(7), 40), columns=DOMAINS)
    law = find(f"mixing:{','.join(DOMAINS)}")
    fit, table = known(law, {"c": 2.0, "k": 1.0, **{f"t_{name}": 0.5 for name in DOMAINS[:-1]}}, shares)
    assert lines_along(fit, table) == []
    assert told_apart_by(fit, table, None) is None
    fit_against_data(ax, fit, table)
    assert ax.get_xlabel() == "observed loss (nats per token)"
    np.testing.assert_allclose(points(ax.lines[0])[:, 1], fit.predict(table))
    assert ax.get_legend() is None


def test_a_law_of_one_variable_is_one_curve(ax: Axes) -> None:
    law = Law("tokens", "E + B/D**beta", {"D": "tokens"}, ("E", "B"), {"beta": (0.05, 1.5)})
    fit, table = known(law, {"E": 2.0, "B": 300.0, "beta": 0.3}, grid(D=np.geomspace(1e8, 1e11, 12)))
    assert (lines_along(fit, table), told_apart_by(fit, table, "D")) == (["D"], None)
    fit_against_data(ax, fit, table, x="D")
    assert len(ax.lines) == 2
    assert ax.get_xscale() == "log"


def test_sizes_tell_the_curves_along_tokens_apart() -> None:
    fit, table = fit_of(DCPT, TRUTH), losses(design(8), TRUTH, 0)
    assert lines_along(fit, table) == ["r", "D", "N"]
    assert told_apart_by(fit, table, "D") == "N"
    fit, table = known(CHINCHILLA, SIZES_AND_TOKENS, grid(N=[1e8, 1e9], D=[1e9, 1e10, 1e11]))
    assert lines_along(fit, table) == ["D"]


def test_points_that_share_no_size_are_told_apart_by_ranges_of_it() -> None:
    table = pd.DataFrame({"N": np.geomspace(5e7, 2e10, 60), "D": np.geomspace(1e9, 1e11, 60)})
    fit, table = known(CHINCHILLA, SIZES_AND_TOKENS, table)
    assert (lines_along(fit, table), told_apart_by(fit, table, None)) == ([], "N")
    found = groups(table, "N", "parameters")
    assert len(found) == RANGES
    assert sum(len(rows) for _, _, rows in found) == 60
    assert found[0][1] == "50\N{NO-BREAK SPACE}M to 153\N{NO-BREAK SPACE}M"


def test_another_target_is_not_called_a_loss(ax: Axes) -> None:
    fit, table = known(CHINCHILLA, SIZES_AND_TOKENS, grid(N=[1e8, 1e9], D=[1e9, 1e10, 1e11]))
    errors = Fit(**{**vars(fit), "target": "error_rate"})
    table = table.rename(columns={"loss": "error_rate"})
    fit_against_data(ax, errors, table, x="D", by="N")
    assert ax.get_ylabel() == "error_rate"
    residuals(ax, errors, table)
    assert ax.get_xlabel() == "predicted error_rate"


def test_errors_are_drawn_against_normal_quantiles(ax: Axes) -> None:
    fit, table = known(CHINCHILLA, SIZES_AND_TOKENS, grid(N=np.geomspace(1e8, 1e10, 20), D=np.geomspace(1e9, 1e11, 20)))
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(len(table)))
    quantiles(ax, fit, table.assign(loss=table.loss / 1.01 * noise))
    x, y = points(ax.lines[0]).T
    assert np.abs(x - y)[20:-20].max() < 0.2
    assert ax.get_xlabel() == "normal quantile"


@pytest.mark.parametrize(
    ("name", "unit", "low", "high"),
    [
        ("N", "parameters", 1e9, 1.02e9),
        ("N", "parameters", 1e8, 1e9),
        ("N", "parameters", 1e5, 1e12),
        ("lr", "learning rate", 1e-5, 1e-2),
        ("T", "tokens or steps", 1e8, 1e11),
        ("arxiv", "share", 0.0, 1.0),
        ("arxiv", "share", 0.1234, 0.1235),
    ],
    ids=["two percent", "a decade", "seven decades", "small", "no amount", "shares", "narrow shares"],
)
def test_ticks_are_few_different_and_many_enough(ax: Axes, name: str, unit: str, low: float, high: float) -> None:
    values = np.linspace(low, high, 20)
    ax.plot(values, values)
    label_axis(ax.xaxis, name, values, unit)
    found = ticks(ax)
    assert 2 <= len(found) <= MOST_TICKS + 2
    assert len(set(found)) == len(found)


def test_losses_over_decades_have_a_logarithmic_axis_of_plain_numbers(ax: Axes) -> None:
    ax.plot([1, 2], [2.0, 12.0])
    label_target(ax.yaxis, "loss", np.array([2.0, 12.0]))
    assert ax.get_yscale() == "log"
    assert {"2", "5", "10"} & set(ticks(ax, "y"))
