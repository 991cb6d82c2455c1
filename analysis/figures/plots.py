"""Figures of fits and of what follows from them. Every function draws on an Axes, its first argument, and returns it.

    figure, axes = plt.subplots(1, 2, layout="constrained")
    fit_against_data(axes[0], fit, table, x="D", by="r")
    ratio_family(axes[1], {"": curves(general, domain, N=N, D=D)}, answer)
    save(Path("fit.pdf"), lambda ax: residuals(ax, fit, table))

Those of one fit are `analysis.figures.fits`. Losses in nats per token, amounts with k, M, B. Bands and bars are
intervals at `analysis.fitting.fit.LEVEL`. Legends lie above the axes, where no data are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.answers.answer import FARTHEST, Answer
from analysis.answers.isoflop import IsoFlop
from analysis.figures.axes import LOSS, label_axis, legend
from analysis.figures.fits import (
    POINTS,
    fit_against_data,
    lr_curves,
    lr_schedules,
    profile,
    quantiles,
    residuals,
)
from analysis.figures.style import DOWNSTREAM, REFERENCE, UPSTREAM, ordered, save
from analysis.fitting.fit import LEVEL, Fit

__all__ = (
    "compute_optimal",
    "fit_against_data",
    "isoflop_curves",
    "lr_curves",
    "lr_schedules",
    "profile",
    "quantiles",
    "ratio_family",
    "residuals",
    "save",
)

STATUS = {"interior": "an optimum", "on_limit": "at the limit", "on_bound": "at the end of the range"}

MOST_NAMED = 10  # budgets in a legend


def ratio_family(
    ax: Axes,
    family: Mapping[str, pd.DataFrame],
    answer: Answer | None = None,
    losses: tuple[str, ...] = ("general", "domain"),
    within: float = FARTHEST,
) -> Axes:
    """Losses against the downstream share r: label -> columns of `analysis.answers.optimise.curves`, with their bands.

    Where the data of a fit do not reach, its curve is faint and the axis does not follow it: laws bend there at will.
    Of an answer, the limit that the general loss must keep, and r* with its interval; above all what speaks against it,
    and that there is none (`within`: as `Answer.verdict`).
    """
    shown: list[pd.Series[float]] = []
    faint: list[tuple[pd.Series[float], pd.Series[float], str]] = []
    for look, (label, curves) in zip(ordered(len(family)), family.items(), strict=True):
        for loss in losses:
            own = UPSTREAM if loss == "general" else DOWNSTREAM
            color = own.color if len(family) == 1 else look.color
            line = look.line if len(losses) == 1 else own.line
            text = ", ".join(filter(None, (f"{loss} loss", label)))
            known = curves[f"{loss}_measured"]
            ax.plot(curves.r, curves[loss].where(known), color=color, linestyle=line, label=text)
            low, high = curves[f"{loss}_low"], curves[f"{loss}_high"]
            ax.fill_between(curves.r, low, high, where=known, color=color, alpha=0.2, linewidth=0)
            shown += [column[known] for column in (curves[loss], low, high)]
            if not known.all():
                faint.append((curves.r, curves[loss], color))
    inside = pd.concat(shown).dropna()
    if faint and len(inside):
        if answer is not None and answer.limit is not None and "general" in losses:
            inside = pd.concat([inside, pd.Series([answer.limit])])
        more = 0.1 * max(float(np.ptp(inside)), 1e-3)
        ax.set_ylim(inside.min() - more, inside.max() + more)
    for number, (along, values, color) in enumerate(faint):
        (line,) = ax.plot(along, values, color=color, linestyle=":", linewidth=1.0, alpha=0.6, zorder=1)
        line.set_label("where no run was" if number == 0 else "_")
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
    return legend(ax, warning="" if answer is None else answer.verdict(within).line)


def isoflop_curves(ax: Axes, table: pd.DataFrame, found: IsoFlop, warning: str = "") -> Axes:
    """Losses against size for every budget C, their curves, and the minima: filled if they are to be trusted.

    Points outside of the window are faint; a curve ends where its window does. Budgets without one have points only.
    Of many budgets every second, third, ... is named. `warning`: what speaks against an answer, above the legend.
    """
    curves = [one.C for one in found.valleys.budgets]
    every = math.ceil(len(found.minima) / MOST_NAMED)
    for number, (look, (_, best)) in enumerate(zip(ordered(len(found.minima)), found.minima.iterrows(), strict=True)):
        label = f"{best.C:.3g}" if number % every == 0 else None
        points = table[table["C"] == best.C].sort_values(found.of)
        inside = pd.Series(False, index=points.index)
        if best.C in curves:
            first, *_, last = found.used(best.C)
            inside = points[found.of].between(first * (1 - 1e-9), last * (1 + 1e-9))
            along = np.geomspace(first, last, 100)
            ax.plot(along, found.curve(best.C, along), color=look.color)
        used, rest = points[inside], points[~inside]
        ax.plot(used[found.of], used.loss, **look.plot(**POINTS), label=label)
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
    label_axis(ax.xaxis, found.of, table[found.of])
    ax.set_ylabel(LOSS)
    return legend(ax, "C", warning)


def compute_optimal(ax: Axes, fit: Fit, found: pd.DataFrame, reach: float = 3.0) -> Axes:
    """The minima of `analysis.answers.isoflop.minima` against compute, with the power law through them and its band.

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
    label_axis(ax.xaxis, "C", C)
    label_axis(ax.yaxis, fit.target, found[fit.target][found.inside])
    ax.set_ylabel(f"best {ax.get_ylabel()}")
    return legend(ax)
