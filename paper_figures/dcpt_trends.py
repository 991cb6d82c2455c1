"""2406.01375, section 3: losses fall with the share of their corpus and with tokens, and the more of one the faster
with the other: dL/dr, dL/dD and d2L/dDdr below zero, from finite differences between runs, without any law."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.formulas.formula import Array
from analysis.measures.arms import Grid
from analysis.measures.dcpt import TRENDS
from paper_figures import mixtures, shifts, style

SWEEP = "dcpt_domains dcpt_long dcpt"
CLAIMS = ("D4",)
SPLIT = mixtures.SPLIT
UNITS = {
    "dL/dr": "dL/dr\n(nats per 10 % more)",
    "dL/dD": "dL/dD\n(nats per doubling)",
    "d2L/dDdr": "d²L/dDdr\n(nats per doubling, 10 %)",
}
select = mixtures.select


def draw(table: pd.DataFrame) -> Figure:
    table = select(table)
    grids = mixtures.of(table)
    figure, axes = style.panels(len(mixtures.TARGETS), len(TRENDS), row_height=1.9)
    for row, target in zip(axes, mixtures.TARGETS, strict=True):
        for panel, (trend, along) in zip(row, TRENDS.items(), strict=True):
            falls = cells = 0
            for number, (grid, look) in enumerate(mixtures.looks_of(grids)):
                shares, slopes = slopes_of(grid, target, along)
                aside = 0.012 * (number - (len(grids) - 1) / 2)
                own = {"color": look.color, "marker": look.marker, "linestyle": "", "markersize": 2.4, "alpha": 0.6}
                panel.plot(shares + aside, slopes, **own, markeredgewidth=0)
                falls, cells = falls + int((slopes < 0).sum()), cells + len(slopes)
            panel.axhline(0, color="0.35", linewidth=0.8)
            panel.set_title(f"{target}: {falls / cells:.0%} of {cells} fall")
            panel.set_ylabel(UNITS[trend])
    for panel in axes[-1]:
        panel.set_xlabel("share of that corpus")
    shifts.key(axes[0][0], [(grid.name, look) for grid, look in mixtures.looks_of(grids)])
    style.legend_above(figure, axes[0][0], 6)
    words = [
        "How losses change with the share of their own corpus and with tokens. Differences between neighbours in the",
        "grid of sizes, lengths and mixtures, means over seeds, a point a cell; colour and shape tell the domain. The",
        "law of the paper demands all of them below zero; titles say for how many of the cells that holds.",
        mixtures.setting(table, "points are of their mean"),
    ]
    return style.caption(figure, " ".join(words))


def slopes_of(grid: Grid, target: str, along: Sequence[str]) -> tuple[Array, Array]:
    """Where (the share in the middle) and how fast a loss changes, of every cell that is there: (cells,) each."""
    cube, shares = grid.differences(target, "".join(along))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, of cells that no seed has
        mean = np.nanmean(cube, axis=0)
    rows = grid.general if target == "general" else grid.domain
    r, D = np.array(shares), np.array(sorted(rows.D.unique()))
    if "r" in along:
        mean = mean / (np.diff(r) / 0.1)[:, None]
        r = (r[1:] + r[:-1]) / 2
    if "D" in along:
        mean = mean / np.log2(D[1:] / D[:-1])
    at = np.broadcast_to(r[:, None], mean.shape)
    there = np.isfinite(mean)
    return at[there], mean[there]
