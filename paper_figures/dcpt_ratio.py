"""2406.01375, figure 1: general and domain loss against the share of the corpus in the mixture, for several lengths and
sizes, with the D-CPT law (L3) fitted to all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.formulas.formula import Array
from paper_figures import mixtures, style

SWEEP = "dcpt_domains dcpt_long dcpt"
CLAIMS = ("D1",)
SPLIT = mixtures.SPLIT
LENGTHS = 5  # at most, in a panel
select = mixtures.select


def draw(table: pd.DataFrame) -> Figure:
    table = select(table)
    grids = mixtures.of(table)
    figure, axes = style.panels(len(grids), 4, row_height=1.5)
    told = []
    lengths = mixtures.shown(np.array(sorted(set().union(*(grid.general.D for grid in grids)))), LENGTHS)
    looks = dict(zip(lengths, style.ordered(len(lengths)), strict=True))
    for row, grid in zip(axes, grids, strict=True):
        for pair, target in zip((row[:2], row[2:]), mixtures.TARGETS, strict=True):
            rows = grid.targets[target]
            law = mixtures.fitted(rows)
            error = np.abs(law({name: rows[name].to_numpy(float) for name in "NDr"}) / rows.loss - 1).mean()
            told.append(f"{grid.domain_corpus}, {target} {100 * error:.2g}\N{NO-BREAK SPACE}%")
            seeds = grid.general if target == "general" else grid.domain
            for panel, N in zip(pair, mixtures.shown(seeds.N.unique(), 2), strict=True):
                _lines(panel, seeds[seeds.N == N], law, looks)
                panel.set_title(f"{target}, N = {style.amount(N)}")
        row[0].set_ylabel(f"loss ({grid.name.split()[0]},\n{grid.domain_corpus} added)")
    for panel in axes[-1]:
        panel.set_xlabel("share of that corpus")
    style.legend_above(figure, axes[0][0], LENGTHS)
    words = [
        "Mixtures. Final loss (nats per token) on the general corpus and on the domain against its own share of the",
        "stream, by the length of continual pre-training (D tokens), for the smallest and the largest size (N",
        f"parameters outside the embeddings). Lines: the D-CPT law, {mixtures.L3.formula}, fitted to the means over",
        f"seeds of all sizes and lengths. Mean relative error: {'; '.join(told)}.",
        mixtures.setting(table),
    ]
    return style.caption(figure, " ".join(words))


def _lines(axes: Axes, seeds: pd.DataFrame, law: Callable[..., Array], looks: dict[float, style.Look]) -> None:
    """Points of one size, the mean over seeds with its range, and the law through them; a look for each length."""
    share = np.linspace(seeds.r.min(), seeds.r.max(), 101)
    for D, look in looks.items():
        at = seeds[np.isclose(seeds.D, D, rtol=0.02)].groupby("r").loss.agg(["mean", "min", "max"])
        if at.empty:
            continue
        spread = [at["mean"] - at["min"], at["max"] - at["mean"]]
        label = f"D = {style.amount(D)}"
        own = {"color": look.color, "marker": look.marker, "markersize": 3.0, "linestyle": "", "label": label}
        axes.errorbar(at.index, at["mean"], yerr=spread, **own)
        losses = law({"N": np.full(101, seeds.N.iloc[0]), "D": np.full(101, D), "r": share})
        axes.plot(share, losses, color=look.color, linestyle=look.line, linewidth=0.9)
