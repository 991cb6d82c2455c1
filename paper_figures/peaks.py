"""Figures 2 and 3 of 2308.04014 are one picture of two corpora: the loss for a range of peak learning rates."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from analysis.measures.arms import usual_rate
from paper_figures import arms, style

_RISES = {"peak": "multiples of the base's peak", "lr": "different learning rates"}
CROP = 0.05  # share of a run whose steep beginning may be cut off


def draw(table: pd.DataFrame, role: str) -> Figure:
    """Left: the loss of a role over tokens. Right: the final losses over the peak."""
    drawn = arms.peaks(table)
    figure, [[left, right]] = style.panels(1, 2, row_height=2.5, width_ratios=[3, 2], sharey=True)
    arms.draw_curves(left, drawn, role)
    cut = arms.crop(left, drawn, role, CROP)
    if role == "upstream":
        arms.draw_base(left, drawn, role)
        arms.draw_base(right, drawn, role, final=True)
    left.set_ylabel(arms.loss_of(drawn, role))
    grid = [arm.value for arm in drawn if arm.value is not None]
    arms.draw_finals(right, drawn, role, math.log2)
    (rate,) = usual_rate(table)
    right.set_xticks([math.log2(value) for value in grid], [arms.rate_text(rate, value) for value in grid])
    right.set_xlabel("peak / peak of the base" if rate == "peak" else "peak learning rate")
    left.set_title("along the run")
    right.set_title("final loss")
    entries = len(drawn) + (role == "upstream")
    style.legend_above(figure, left, math.ceil(entries / 2) if entries > 5 else entries)
    words = [
        f"Peak learning rate, {role} loss. Validation loss on {table.iloc[0][role]} (nats per token) along continual",
        f"pre-training that is re-warmed over 1 % of its tokens to {_RISES[rate]} and re-decayed to a",
        f"tenth of that, against baselines. Final loss: {arms.how_final(drawn)}; lines across are the baselines.",
        arms.learning_rates(drawn),
        arms.setting(drawn),
        "The steep beginning is cut off." if cut else "",
    ]
    return style.caption(figure, " ".join(words))
