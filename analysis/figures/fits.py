"""Figures of one fit: the law beside its data, residuals, their distribution, profiles of parameters, loss curves.

`analysis.figures.plots` offers them. Every function draws on an Axes, its first argument, and returns it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.axes import MOST_LOOKS, groups, label_axis, label_target, legend, logarithmic, target_words
from analysis.figures.style import REFERENCE, UPSTREAM, ordered, percent
from analysis.fitting.fit import LEVEL, Fit
from analysis.fitting.profile import Profile
from analysis.formulas.formula import Array

POINTS = {"linestyle": "", "markersize": 2.8, "alpha": 0.8, "markeredgewidth": 0}
DENSE = 100  # points of a curve of the law
MOST_LINES = 30  # curves of a figure
SHORTEST = 3  # values of x that make a line


def fit_against_data(ax: Axes, fit: Fit, table: pd.DataFrame, x: str | None = None, by: str | None = None) -> Axes:
    """Points of the table and the law. Without `x`: predicted against observed, which lie on the diagonal if it is
    right. With `x` (D, N, r, step, ...): losses along it; a curve of the law for every run, or, where `x` is the same
    all through a run, for every combination of the other variables.

    `by`: a column whose values get looks of their own. Of more than MOST_LINES curves some are drawn, which is said.
    """
    data, units, counts = table.assign(predicted=fit.predict(table)), fit.law.variables, [0, 0]
    looks = groups(data, by, units.get(by or "", ""))
    for look, text, part in looks:
        if x is None:
            ax.plot(part[fit.target], part.predicted, **look.plot(**POINTS), label=text)
            continue
        ax.plot(part[x], part[fit.target], **look.plot(**POINTS))
        lines = [rows for _, rows in part.groupby(lines_of(fit, part, x))]
        shown = np.unique(np.linspace(0, len(lines) - 1, max(MOST_LINES // len(looks), 1)).round().astype(int))
        counts = [counts[0] + len(shown), counts[1] + len(lines)]
        for number in shown:
            ax.plot(*_curve(fit, lines[number], x), **look.plot(marker=""), label=text if number == 0 else None)
    if x is None:
        ends = [min(data[fit.target].min(), data.predicted.min()), max(data[fit.target].max(), data.predicted.max())]
        ax.plot(ends, ends, **REFERENCE.plot())
        label_target(ax.xaxis, fit.target, data[fit.target], "observed ")
        label_target(ax.yaxis, fit.target, data[fit.target], "predicted ")
    else:
        label_axis(ax.xaxis, x, data[x], units.get(x, ""))
        label_target(ax.yaxis, fit.target, data[fit.target])
    return legend(
        ax, by, note=f"curves for {counts[0]} of {counts[1]} lines of points" if counts[0] < counts[1] else ""
    )


def lines_of(fit: Fit, table: pd.DataFrame, x: str) -> Any:
    """What rows lie on one line along x: their run, or the values of all other variables."""
    if "run" in table and table.groupby("run")[x].nunique().max() > 1:
        return "run"
    others = [name for name in fit.law.variables if name != x and table[name].dtype != object]
    return others or np.zeros(len(table))


def lines_along(fit: Fit, table: pd.DataFrame) -> list[str]:
    """The variables along which most rows lie on lines of SHORTEST values or more, that of most values first."""
    found = []
    for x in (name for name in fit.law.variables if table[name].dtype != object):
        values = table.groupby(lines_of(fit, table, x))[x].transform("nunique")
        if (values >= SHORTEST).mean() > 0.5:
            found.append(x)
    return sorted(found, key=lambda name: -table[name].nunique())


def told_apart_by(fit: Fit, table: pd.DataFrame, x: str | None) -> str | None:
    """The column that tells the points of a figure along x apart: the variable of fewest values, without x the size; or
    the run, if there are few."""
    values = {name: table[name].nunique() for name in fit.law.variables if name != x and table[name].dtype != object}
    several = [name for name, count in values.items() if count > 1]
    if x is not None and several and values[fewest := min(several, key=lambda name: values[name])] <= MOST_LOOKS:
        return fewest
    if "N" in several:
        return "N"
    return "run" if "run" in table and 1 < table["run"].nunique() <= MOST_LOOKS else None


def _curve(fit: Fit, rows: pd.DataFrame, x: str) -> tuple[Array, Array]:
    """The law along x through the rows of a line: dense where all other variables stand still, else at the rows."""
    rows, names = rows.sort_values(x), fit.law.variables
    moving = x not in names or any(
        rows[name].dtype == object or rows[name].nunique() > 1 for name in names if name != x
    )
    low, high = float(rows[x].iloc[0]), float(rows[x].iloc[-1])
    if moving or len(rows) == 1:
        return rows[x].to_numpy(dtype=float), rows.predicted.to_numpy(dtype=float)
    even = np.geomspace if low > 0 else np.linspace  # as dense on a logarithmic axis
    at = np.concatenate([[low], even(low, high, DENSE)[1:-1], [high]])
    return at, fit.predict({name: at if name == x else rows[name].iloc[0] for name in names})


def errors_of(fit: Fit, table: pd.DataFrame) -> pd.Series[Any]:
    """Relative errors of the law in percent, predicted/observed - 1."""
    return pd.Series(100 * (fit.predict(table) / table[fit.target].to_numpy(dtype=float) - 1), index=table.index)


def residuals(ax: Axes, fit: Fit, table: pd.DataFrame, x: str | None = None, by: str | None = None) -> Axes:
    """Relative errors of the law, predicted/observed - 1, against a column `x` (default: the prediction).

    The band is one robust standard deviation (1.4826 times the median size) to each side.
    """
    data, units = table.assign(predicted=fit.predict(table), error=errors_of(fit, table)), fit.law.variables
    spread = 1.4826 * float(data.error.abs().median())
    ax.axhspan(-spread, spread, color="0.92", zorder=0)
    ax.axhline(0, **{**REFERENCE.plot(), "marker": ""})
    for look, text, part in groups(data, by, units.get(by or "", "")):
        ax.plot(part[x or "predicted"], part.error, **look.plot(**POINTS), label=text)
    if x is None:
        label_target(ax.xaxis, fit.target, data.predicted, "predicted ")
    else:
        label_axis(ax.xaxis, x, data[x], units.get(x, ""))
    ax.set_ylabel("predicted − observed (%)")
    return legend(ax, by)


def quantiles(ax: Axes, fit: Fit, table: pd.DataFrame) -> Axes:
    """The errors in order against the quantiles of a normal distribution, both in standard deviations; the errors' is
    the robust one. On the line they are normal; an S that is steep at its ends has wide tails."""
    from scipy.stats import norm

    error = np.sort(errors_of(fit, table).to_numpy(dtype=float))
    spread = 1.4826 * float(np.median(np.abs(error))) or 1.0
    normal = norm.ppf((np.arange(len(error)) + 0.5) / len(error))
    ax.plot(normal, error / spread, **UPSTREAM.plot(**POINTS))
    ax.plot([normal[0], normal[-1]], [normal[0], normal[-1]], **REFERENCE.plot())
    ax.set(xlabel="normal quantile", ylabel="error (robust standard deviations)")
    return ax


def profile(ax: Axes, found: Profile) -> Axes:
    """The rise of the objective as one parameter is held elsewhere, as a multiple of the rise that LEVEL allows."""
    rise = found.rise / found.allowed
    near = np.flatnonzero(rise <= 4)  # further up it says no more
    shown = slice(max(near[0] - 1, 0), near[-1] + 2)
    values, rise = found.values[shown], rise[shown]
    low, high = (values[k] if end is None else end for k, end in ((0, found.low), (-1, found.high)))
    ax.axvspan(low, high, color="0.92", zorder=0)
    ax.plot(values, rise, color=UPSTREAM.color)
    ax.axhline(1, **REFERENCE.plot(), label=f"end of the {percent(LEVEL)} interval")
    ax.plot([values[rise.argmin()]], [rise.min()], "o", color=UPSTREAM.color, label="estimate")
    if values.min() > 0 and values.max() > 30 * values.min():
        logarithmic(ax.xaxis, values)
    ax.set_ylim(-0.2, 4)
    ax.set(xlabel=found.name, ylabel="rise of the objective (of the allowed)")
    return legend(ax)


def lr_curves(ax: Axes, table: pd.DataFrame, fit: Fit | None = None, by: str = "run") -> Axes:
    """Losses along training, columns step and loss, one look for each schedule (`by`); lines are the law's."""
    data, target = table.sort_values("step"), "loss" if fit is None else fit.target
    predicted = None if fit is None else pd.Series(fit.predict(data), index=data.index)
    for look, text, part in groups(data, by):
        ax.plot(part.step, part[target], **look.plot(**{**POINTS, "alpha": 1.0}), label=None if fit else text)
        if predicted is not None:
            for _, rows in part.groupby("run"):
                ax.plot(rows.step, predicted[rows.index], **look.plot(marker=""), label=text)
    label_axis(ax.xaxis, "step", data.step)
    ax.set_ylabel(target_words(target))
    return legend(ax, by)


def lr_schedules(ax: Axes, schedules: Mapping[str, Array]) -> Axes:
    """The learning rate of every update, in the order and the looks of `lr_curves` of the same runs."""
    for look, name in zip(ordered(len(schedules)), sorted(schedules), strict=True):
        ax.plot(np.arange(len(schedules[name])), schedules[name], **look.plot(marker=""), label=name)
    ax.set_ylim(bottom=0)
    label_axis(ax.xaxis, "step", [0.0, *(float(len(lrs)) for lrs in schedules.values())])
    ax.set_ylabel("learning rate")
    return legend(ax, "run")
