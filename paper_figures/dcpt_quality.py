"""2406.01375, tables 1 to 4: how well the D-CPT law (L3) fits, and how well it predicts mixtures, lengths and
sizes that it has not seen, beside what the paper prints."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.fitting.crossval import Nearest, cross_validate, folds_of
from analysis.fitting.objective import explained
from analysis.formulas.formula import Array
from paper_figures import mixtures, shifts, style
from paper_figures.printed import LOOK, origin, printed, value

SWEEP = "dcpt_domains dcpt_long"
CLAIMS = ("D1", "D2")
SPLIT = mixtures.SPLIT
PRINTED = printed("2406.01375", "Table 1", "Table 2", "Table 3", "Table 4")
WAYS = {"fit": "L3", "r": "unseen r", "D": "unseen D", "N": "unseen N"}
LOWEST = -0.25  # of what is drawn; below lie points that no scale should be drawn for
select = mixtures.select


def draw(table: pd.DataFrame) -> Figure:
    table = select(table)
    grids = [grid for grid in mixtures.of(table) if min(grid.values.values()) > 2]
    figure, [row] = style.panels(1, 2, row_height=2.6, sharey=True)
    clipped = 0
    for panel, target in zip(row, mixtures.TARGETS, strict=True):
        scores = [scores_of(grid.targets[target]) for grid in grids]
        for number, (way, run) in enumerate(WAYS.items()):
            for k, (look, own) in enumerate(zip(mixtures.DOMAINS, scores, strict=False)):
                R2, nearest = own[way]
                clipped += (R2 < LOWEST) + (nearest < LOWEST)
                x = number + 0.12 * (k - (len(scores) - 1) / 2)
                panel.plot(x, max(R2, LOWEST), look.marker, color=look.color)
                if way != "fit":
                    panel.plot(x, max(nearest, LOWEST), look.marker, color=look.color, markerfacecolor="white")
            theirs = value(PRINTED, run, f"R2 {target}")
            if theirs is not None:
                panel.plot([number - 0.35, number + 0.35], [theirs, theirs], color=LOOK.color, linestyle=LOOK.line)
        panel.axhline(1, color="0.35", linewidth=0.8)
        shifts.categories(panel, ["all rows", *list(WAYS.values())[1:]])
        panel.set_title(f"{target} loss")
    row[0].set_ylabel("R²")
    _key(row[0], [grid.domain_corpus for grid in grids])
    style.legend_above(figure, row[0], 7)
    words = [
        "How well the D-CPT law fits the means over seeds of all sizes, lengths and mixtures of a domain, and how well",
        "it predicts each ratio, length and size from the others. Open: the loss of the nearest run that is left,",
        "which a law has to beat.",
        f"{clipped} points below {LOWEST:g} are drawn there." if clipped else "",
        origin(PRINTED).replace("Grey:", "Grey lines:"),
        mixtures.setting(table, "fitted to their mean"),
    ]
    return style.caption(figure, " ".join(words))


def scores_of(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """R2 of the law and of the nearest run, of its fit and of each part left out: NaN where it cannot be fitted."""
    law, columns = mixtures.fitted(rows), {name: rows[name].to_numpy(float) for name in "NDr"}
    scores = {"fit": (_r2(rows, law(columns)), math.nan)}
    parts = [(by, fold) for by in list(WAYS)[1:] for fold in folds_of(rows, by)]
    folds = [fold for _, fold in parts]
    tried = [
        cross_validate(mixtures.L3, rows, folds, found=mixtures.found_of(rows)),
        cross_validate(Nearest(mixtures.L3.variables), rows, folds),
    ]
    for by in list(WAYS)[1:]:
        said = np.full((2, len(rows)), np.nan)
        for k, (own, fold) in enumerate(parts):
            for way, one in enumerate(tried if own == by else ()):
                said[way, fold.out] = one.predicted[k][fold.out]
        scores[by] = (_r2(rows, said[0]), _r2(rows, said[1]))
    return scores


def _r2(rows: pd.DataFrame, said: Array) -> float:
    return float(explained(rows.loss.to_numpy(), said, np.ones((1, len(rows))))[0])


def _key(axes: Axes, domains: list[str]) -> None:
    shifts.key(axes, list(zip(domains, mixtures.DOMAINS, strict=False)))
    shifts.key(axes, [("the paper's mean over six domains", style.Look(LOOK.color, LOOK.line, ""))], lines=True)
