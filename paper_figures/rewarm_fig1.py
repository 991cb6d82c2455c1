"""2308.04014, figure 1: the length of the warm-up. Both losses along continual pre-training, and their beginning."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.measures.arms import at_usual_rate
from paper_figures import arms, style

SWEEP = "rewarm_warmup"
CLAIMS = ("R1", "R2")
LEAST_SPAN = 0.1  # nats: final losses that differ by less are to look alike


def select(table: pd.DataFrame) -> pd.DataFrame:
    return at_usual_rate(table, replay=0.0)


def draw(table: pd.DataFrame) -> Figure:
    lengths = arms.grid(select(table), "warmup", lambda share: f"warm-up {style.percent(share)}")
    figure, axes = style.panels(2, 3, sharex="col", width_ratios=[3, 3, 2])
    values = [arm.value for arm in lengths if arm.value is not None]
    cut = False
    for row, role in zip(axes, ("downstream", "upstream"), strict=True):
        arms.draw_curves(row[0], lengths, role, until=arms.EARLY)
        arms.draw_curves(row[1], lengths, role)
        cut |= arms.crop(row[1], lengths, role, 0.04)
        arms.draw_finals(row[2], lengths, role, lambda share: float(values.index(share)))
        arms.least_span(row[2], LEAST_SPAN)
        row[2].set_xticks(range(len(values)), [f"{100 * share:g}" for share in values])
        row[0].set_ylabel(arms.loss_of(lengths, role))
    axes[0][0].set_title(f"the first {style.percent(arms.EARLY)}")
    axes[0][1].set_title("the whole run")
    axes[0][2].set_title("final loss")
    axes[1][2].set_xlabel("warm-up (% of the run)")
    for upper in axes[0]:
        upper.set_xlabel("")
    style.legend_above(figure, axes[0][1], len(lengths))
    words = [
        "Warm-up length. Validation loss (nats per token) of both corpora along continual pre-training with",
        "warm-ups of different lengths (share of the run), then re-decayed by a cosine to a tenth of the peak. Final",
        f"loss: {arms.how_final(lengths)}.",
        arms.learning_rates(lengths),
        arms.setting(lengths),
        "In the middle the steep beginning is cut off." if cut else "",
    ]
    return style.caption(figure, " ".join(words))
