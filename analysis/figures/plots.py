"""Figures of fits and of what follows from them. Every function draws on an Axes, its first argument, and returns it.

    figure, axes = plt.subplots(1, 2, layout="constrained")
    fit_against_data(axes[0], fit, table, x="D", by="r")
    ratio_family(axes[1], {"": curves(general, domain, N=N, D=D)}, answer)
    save(Path("fit.pdf"), lambda ax: residuals(ax, fit, table))

Losses in nats per token, amounts with k, M, B. Bands and bars are intervals at `analysis.fitting.fit.LEVEL`. Legends
lie above the axes, where no data are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.decide.answer import Answer
from analysis.decide.isoflop import IsoFlop
from analysis.figures.style import DOWNSTREAM, REFERENCE, UPSTREAM, Look, amount, ordered, percent, save
from analysis.fitting.fit import LEVEL, Fit
from analysis.fitting.profile import Profile
from analysis.laws.formula import Array

__all__ = (
    "compute_optimal",
    "fit_against_data",
    "isoflop_curves",
    "lr_curves",
    "lr_schedules",
    "profile",
    "ratio_family",
    "residuals",
    "save",
)

LOSS = "loss (nats per token)"
# Column -> its words and unit, and whether it spans decades.
COLUMNS = {
    "N": ("model size (parameters)", True),
    "D": ("tokens", True),
    "C": ("compute (FLOPs)", True),
    "r": ("share of the corpus in the stream", False),
    "step": ("steps", False),
}
STATUS = {"interior": "an optimum", "on_limit": "at the limit", "on_bound": "at the end of the range"}
POINTS = {"linestyle": "", "markersize": 2.5, "alpha": 0.7, "markeredgewidth": 0}


def fit_against_data(ax: Axes, fit: Fit, table: pd.DataFrame, x: str | None = None, by: str | None = None) -> Axes:
    """Points of the table and the law. Without `x`: predicted against observed, which lie on the diagonal if it is
    right. With `x` (D, N, r, step, ...): losses along it; a line of the law for every run, or, where `x` is the same
    all through a run, for every combination of the other variables.

    `by`: a column whose values get looks of their own.
    """
    data = table.assign(predicted=fit.predict(table))
    for look, label, part in _groups(data, by):
        if x is None:
            ax.plot(part[fit.target], part.predicted, **look.plot(**POINTS), label=label)
            continue
        ax.plot(part[x], part[fit.target], **look.plot(**POINTS))
        for number, (_, rows) in enumerate(part.groupby(_lines_of(fit, part, x))):
            along = rows.sort_values(x)
            ax.plot(along[x], along.predicted, **look.plot(marker=""), label=label if number == 0 else None)
    if x is None:
        ends = [min(data[fit.target].min(), data.predicted.min()), max(data[fit.target].max(), data.predicted.max())]
        ax.plot(ends, ends, **REFERENCE.plot())
        ax.set(xlabel="observed " + LOSS, ylabel="predicted " + LOSS)
    else:
        _label(ax.xaxis, x, data[x])
        ax.set_ylabel(LOSS)
    return _legend(ax, by)


def residuals(ax: Axes, fit: Fit, table: pd.DataFrame, x: str | None = None, by: str | None = None) -> Axes:
    """Relative errors of the law, predicted/observed - 1, against a column `x` (default: the predicted loss).

    The band is one robust standard deviation (1.4826 times the median size) to each side.
    """
    data = table.assign(predicted=fit.predict(table))
    data["error"] = 100 * (data.predicted / data[fit.target] - 1)
    spread = 1.4826 * float(data.error.abs().median())
    ax.axhspan(-spread, spread, color="0.92", zorder=0)
    ax.axhline(0, **{**REFERENCE.plot(), "marker": ""})
    for look, label, part in _groups(data, by):
        ax.plot(part[x or "predicted"], part.error, **look.plot(**POINTS), label=label)
    if x is None:
        ax.set_xlabel("predicted " + LOSS)
    else:
        _label(ax.xaxis, x, data[x])
    ax.set_ylabel("predicted − observed (%)")
    return _legend(ax, by)


def profile(ax: Axes, found: Profile) -> Axes:
    """The rise of the objective as one parameter is held elsewhere, as a multiple of the rise that LEVEL allows."""
    rise = found.rise / found.allowed
    inside = found.values[rise <= 1]
    ax.axvspan(inside.min(), inside.max(), color="0.92", zorder=0)
    ax.plot(found.values, rise, color=UPSTREAM.color)
    ax.axhline(1, **REFERENCE.plot(), label=f"end of the {percent(LEVEL)} interval")
    ax.plot([found.values[rise.argmin()]], [rise.min()], "o", color=UPSTREAM.color, label="estimate")
    if found.values.min() > 0 and found.values.max() > 30 * found.values.min():
        ax.set_xscale("log")
    ax.set_ylim(-0.2, 4)  # further up it says no more
    ax.set(xlabel=found.name, ylabel="rise of the objective (of the allowed)")
    return _legend(ax)


def ratio_family(
    ax: Axes,
    family: Mapping[str, pd.DataFrame],
    answer: Answer | None = None,
    losses: tuple[str, ...] = ("general", "domain"),
) -> Axes:
    """Losses against the downstream share r: label -> columns of `analysis.decide.optimise.curves`, with their bands.

    Of an answer, the limit that the general loss must keep, and r* with its interval.
    """
    for look, (label, curves) in zip(ordered(len(family)), family.items(), strict=True):
        for loss in losses:
            own = UPSTREAM if loss == "general" else DOWNSTREAM
            color = own.color if len(family) == 1 else look.color
            line = look.line if len(losses) == 1 else own.line
            text = ", ".join(filter(None, (f"{loss} loss", label)))
            ax.plot(curves.r, curves[loss], color=color, linestyle=line, label=text)
            low, high = curves[f"{loss}_low"], curves[f"{loss}_high"]
            ax.fill_between(curves.r, low, high, color=color, alpha=0.2, linewidth=0)
    if answer is not None and answer.limit is not None and "general" in losses:
        ax.axhline(answer.limit, **REFERENCE.plot(), label=f"limit of the general loss, {answer.limit:.3f}")
    if answer is not None and "r" in answer.values and np.isfinite(answer.values["r"]):
        r, text = answer.values["r"], f"r* = {answer.values['r']:.3f}"
        if answer.interval is not None:
            ends = answer.interval["r"]
            ax.axvspan(*ends, color="0.85", zorder=0)
            text += f" [{ends[0]:.3f}, {ends[1]:.3f}]"
        ax.axvline(r, color="black", linewidth=0.8, label=f"{text}, {STATUS[answer.status]}")
    ax.set(xlabel="downstream share r of the stream", ylabel=LOSS)
    ax.set_xlim(0, 1)
    return _legend(ax)


def isoflop_curves(ax: Axes, table: pd.DataFrame, found: IsoFlop) -> Axes:
    """Losses against size for every budget C, their curves, and the minima: filled if they are to be trusted.

    Points outside of the window are faint; a curve ends where its window does. Budgets without one have points only.
    """
    curves = [one.C for one in found.valleys.budgets]
    for look, (_, best) in zip(ordered(len(found.minima)), found.minima.iterrows(), strict=True):
        points = table[table["C"] == best.C].sort_values(found.of)
        inside = pd.Series(False, index=points.index)
        if best.C in curves:
            first, *_, last = found.used(best.C)
            inside = points[found.of].between(first * (1 - 1e-9), last * (1 + 1e-9))
            along = np.geomspace(first, last, 100)
            ax.plot(along, found.curve(best.C, along), color=look.color)
        used, rest = points[inside], points[~inside]
        ax.plot(used[found.of], used.loss, **look.plot(**POINTS), label=f"{best.C:.3g}")
        ax.plot(rest[found.of], rest.loss, **look.plot(**POINTS | {"alpha": 0.25}))
        if best.inside:
            ax.plot(
                [best[found.of]],
                [best.loss],
                "*",
                markersize=7,
                color=look.color,
                zorder=5,
                markeredgecolor="black",
                markeredgewidth=0.5,
                markerfacecolor=look.color if best.trusted else "white",
            )
    _label(ax.xaxis, found.of, table[found.of])
    ax.set_ylabel(LOSS)
    return _legend(ax, "C")


def compute_optimal(ax: Axes, fit: Fit, found: pd.DataFrame, reach: float = 3.0) -> Axes:
    """The minima of `analysis.decide.isoflop.minima` against compute, with the power law through them and its band.

    The law is drawn `reach` times beyond the budgets to each side. Bars: the interval of a trusted minimum; minima
    outside the range of their points are not drawn.
    """
    C = np.geomspace(found.C.min() / reach, found.C.max() * reach, 50)
    A, alpha = fit.parameters["A"], fit.parameters["alpha"]
    ax.plot(C, fit.predict({"C": C}), color=UPSTREAM.color, label=f"${fit.target}^* = {A:.3g}\\,C^{{{alpha:.3f}}}$")
    if fit.draws is not None:
        low, high = np.nanquantile(fit.predict_draws({"C": C}), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        ax.fill_between(C, low, high, color=UPSTREAM.color, alpha=0.2, linewidth=0)
    for trusted, face, label in ((True, "black", "minimum"), (False, "white", "minimum, not trusted")):
        part = found[(found.trusted == trusted) & found.inside]
        if len(part):
            at = part[fit.target]
            ax.errorbar(
                part.C,
                at,
                [(at - part.low).clip(0), (part.high - at).clip(0)] if trusted else None,
                fmt="o",
                color="black",
                linewidth=0.8,
                markerfacecolor=face,
                label=label,
            )
    _label(ax.xaxis, "C", pd.Series(C))
    _label(ax.yaxis, fit.target, found[fit.target][found.inside])
    ax.set_ylabel(f"best {ax.get_ylabel()}")
    return _legend(ax)


def lr_curves(ax: Axes, table: pd.DataFrame, fit: Fit | None = None, by: str = "run") -> Axes:
    """Losses along training, columns step and loss, one look for each schedule (`by`); lines are the law's."""
    data = table.sort_values("step")
    predicted = None if fit is None else pd.Series(fit.predict(data), index=data.index)
    for look, label, part in _groups(data, by):
        ax.plot(part.step, part.loss, **look.plot(**{**POINTS, "alpha": 1.0}), label=None if fit else label)
        if predicted is not None:
            for _, rows in part.groupby("run"):
                ax.plot(rows.step, predicted[rows.index], **look.plot(marker=""), label=label)
    _label(ax.xaxis, "step", data.step)
    ax.set_ylabel(LOSS)
    return _legend(ax, by)


def lr_schedules(ax: Axes, schedules: Mapping[str, Array]) -> Axes:
    """The learning rate of every update, in the order and the looks of `lr_curves` of the same runs."""
    for look, name in zip(ordered(len(schedules)), sorted(schedules), strict=True):
        ax.plot(np.arange(len(schedules[name])), schedules[name], **look.plot(marker=""), label=name)
    ax.set_ylim(bottom=0)
    _label(ax.xaxis, "step", pd.Series([0, *(len(lrs) for lrs in schedules.values())]))
    ax.set_ylabel("learning rate")
    return _legend(ax, "run")


def _groups(table: pd.DataFrame, by: str | None) -> list[tuple[Look, str | None, pd.DataFrame]]:
    """(look, label, rows) for each value of a column, in its order; one group without."""
    if by is None:
        return [(UPSTREAM, None, table)]
    groups = list(table.groupby(by, sort=True))
    return [(look, _text(by, key), rows) for look, (key, rows) in zip(ordered(len(groups)), groups, strict=True)]


def _lines_of(fit: Fit, table: pd.DataFrame, x: str) -> Any:
    """What rows lie on one line along x: their run, or the values of all other variables."""
    if "run" in table and table.groupby("run")[x].nunique().max() > 1:
        return "run"
    others = [name for name in fit.law.variables if name != x and table[name].dtype != object]
    return others or np.zeros(len(table))


def _text(name: str, value: Any) -> str:
    if name in ("N", "D"):
        return amount(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _label(axis: Axis, name: str, values: pd.Series[Any]) -> None:
    """Words, unit and scale of a column on an axis."""
    words, decades = COLUMNS.get(name, (name, False))
    axis.set_label_text(words)
    if not decades:
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]
    if values.max() < 40 * values.min():  # powers of ten alone would be one tick or two
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    if name != "C":
        axis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    axis.set_minor_formatter(NullFormatter())


def _legend(ax: Axes, title: str | None = None) -> Axes:
    """A legend above the axes, if anything has a label."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return ax
    title = {"C": "compute (FLOPs)", "r": "share of the corpus", "N": "parameters", "D": "tokens", "run": None}.get(
        title or "", title
    )
    figure = ax.get_figure(root=True)
    assert figure is not None
    width = 72 * ax.get_position().width * figure.get_size_inches()[0]  # points
    columns = int(width / (4 * max(len(label) for label in labels) + 36))  # a letter of 7 points is 4 wide
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=max(columns, 1),
        title=title,
        title_fontsize="small",
        borderaxespad=0.2,
        columnspacing=1.2,
        alignment="left",
    )
    return ax
