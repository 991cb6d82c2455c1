"""2403.08763, section 6.2: replay. Curves of both corpora, and final losses against the share of replay."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.measures.arms import W1, at_usual_rate
from paper_figures import arms, style

SWEEP = "scalable_replay"
CLAIMS = ("S2", "S3")


def select(table: pd.DataFrame) -> pd.DataFrame:
    return at_usual_rate(table, warmup=W1["warmup"])


def draw(table: pd.DataFrame) -> Figure:
    drawn = arms.grid(select(table), "replay", lambda share: f"replay {style.percent(share)}")
    figure, axes = style.panels(2, 2, sharex="col", width_ratios=[3, 2])
    shares = [arm.value for arm in drawn if arm.value is not None]
    cut = False
    for row, role in zip(axes, ("downstream", "upstream"), strict=True):
        arms.draw_curves(row[0], drawn, role)
        cut |= arms.crop(row[0], drawn, role, 0.1)
        arms.draw_finals(row[1], drawn, role, lambda share: float(shares.index(share)))
        row[0].set_ylabel(arms.loss_of(drawn, role))
        row[1].set_xticks(range(len(shares)), [f"{100 * share:g}" for share in shares])
    for panel, final in zip(axes[1], (False, True), strict=True):
        arms.draw_base(panel, drawn, "upstream", final=final)
    axes[0][0].set_xlabel("")
    axes[1][1].set_xlabel("replay (% of the stream)")
    axes[0][0].set_title("along the run")
    axes[0][1].set_title("final loss")
    style.legend_above(figure, axes[1][0], min(len(drawn) + 1, 4))
    words = [
        "Replay. Validation loss (nats per token) of both corpora when a share of the stream of sequences is drawn",
        f"from upstream; the number of tokens is the same for all. Final loss: {arms.how_final(drawn)}. Dotted:",
        "the upstream loss of the base.",
        arms.learning_rates(drawn),
        arms.setting(drawn),
        "The steep beginning is cut off." if cut else "",
    ]
    return style.caption(figure, " ".join(words))
