"""2308.04014, figure 7: continual pre-training from earlier checkpoints of the base, with and without a warm-up.
The latest adapts no worse."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.measures.arms import DECAYING, W1, scratch, usual_rate
from paper_figures import arms, style

SWEEP = "rewarm_checkpoints"
CLAIMS = ("R9",)
WARMUPS = (0.0, W1["warmup"])
LINES = ((0, (3, 1.2)), "-")  # without and with a warm-up
CROP = 0.05  # share of a run whose steep beginning may be cut off


def select(table: pd.DataFrame) -> pd.DataFrame:
    """Runs onto other data without and with a warm-up, where a base was left at several points, and random weights."""
    ((rate, value),) = usual_rate(table).items()
    onto = table[(table.upstream != table.downstream) & (table.replay == 0) & np.isclose(table[rate], value)]
    warmup = onto.warmup.astype(float)
    started = onto[(onto.start != "scratch") & onto.schedule.isin(DECAYING) & (onto.optimizer_state == "reset")]
    started = started[np.isclose(warmup[started.index], WARMUPS[0]) | np.isclose(warmup[started.index], WARMUPS[1])]
    if started["at"].nunique() < 2:
        return table[:0]
    return table.loc[sorted({*started.index, *scratch(table).index})]


def draw(table: pd.DataFrame) -> Figure:
    drawn = _arms(select(table))
    figure, axes = style.panels(2, 2, sharex="col", row_height=1.9)
    cut = False
    for row, role in zip(axes, ("downstream", "upstream"), strict=True):
        there = [arm for arm in drawn if arm.value is not None or role == "downstream"]
        arms.draw_curves(row[0], there, role, until=arms.EARLY)
        arms.draw_curves(row[1], there, role)
        cut |= arms.crop(row[1], there, role, CROP)
        row[0].set_ylabel(arms.loss_of(drawn, role))
    axes[0][0].set_title(f"the first {style.percent(arms.EARLY)}")
    axes[0][1].set_title("the whole run")
    for upper in axes[0]:
        upper.set_xlabel("")
    style.legend_above(figure, axes[0][1], 3)
    words = [
        "Earlier checkpoints. Validation loss (nats per token) of both corpora along continual pre-training from a",
        f"base that was left after a share of its tokens, re-warmed over {style.percent(WARMUPS[1])} of the run or at",
        "its peak from the first step (dashed), then re-decayed by a cosine to a tenth of the peak.",
        arms.learning_rates(drawn),
        arms.setting(drawn),
        "On the right the steep beginning is cut off." if cut else "",
    ]
    return style.caption(figure, " ".join(words))


def _arms(table: pd.DataFrame) -> list[arms.Arm]:
    """One for each point of the base and warm-up, from the earliest; random weights last."""
    started, fresh = table[table.start != "scratch"], scratch(table)
    found = []
    points = sorted(started["at"].unique())
    for color, point in zip((look.color for look in style.ordered(len(points))), points, strict=True):
        for line, warmup, marker in zip(LINES, WARMUPS, "os", strict=True):
            rows = started[(started["at"] == point) & np.isclose(started.warmup.astype(float), warmup)]
            label = f"{style.percent(float(point))} of the base, {'with' if warmup else 'no'} warm-up"
            look = style.Look(color, line, marker)
            found.append(arms.Arm(label, float(point), look, rows[rows.D >= 0]))
    found = [arm for arm in found if len(arm.table)]
    return found + ([arms.Arm("from scratch", None, style.SCRATCH, fresh[fresh.D >= 0])] if len(fresh) else [])
