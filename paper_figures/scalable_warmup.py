"""2403.08763, figure 3: the length of the warm-up, under a weak and a strong shift. It leaves no lasting mark."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import DOWNSTREAM, UPSTREAM
from analysis.measures.arms import W1, at_usual_rate, by_seed
from paper_figures import arms, shifts, style

SWEEP = "scalable_weak scalable_strong"
CLAIMS = ("R1", "R2")
SPLIT = shifts.SPLIT
LEAST_SPAN = 0.06  # nats: final losses that differ by less are to look alike


def select(table: pd.DataFrame) -> pd.DataFrame:
    """Re-warmed over several lengths, where w1 is one of them."""
    chosen = at_usual_rate(table, replay=0.0)
    alike = chosen.groupby(["upstream", "downstream", *SPLIT], dropna=False).warmup
    return chosen[(alike.transform("nunique") > 1) & (alike.transform(lambda own: (own == W1["warmup"]).any()))]


def draw(table: pd.DataFrame) -> Figure:
    parts = shifts.of(select(table))
    values = sorted(table.warmup.astype(float).unique())
    figure, axes = shifts.panels(parts, 4)
    drawn = []
    for column, part in zip(zip(*axes, strict=True), parts, strict=True):
        lengths = arms.grid(part.table, "warmup", lambda share: f"warm-up {style.percent(share)}", values)
        arms.draw_curves(column[0], lengths, "upstream", until=arms.EARLY)
        arms.draw_base(column[0], lengths, "upstream")
        for panel, role in zip(column[1:3], ("upstream", "downstream"), strict=True):
            arms.draw_curves(panel, lengths, role)
            arms.crop(panel, lengths, role, 0.04)
        column[1].set_xlabel("")
        ends = part.ends
        usual = ends[ends.warmup == W1["warmup"]]
        for letter, look, aside in (("U", UPSTREAM, -0.08), ("V", DOWNSTREAM, 0.08)):
            for number, share in enumerate(values):
                apart = (by_seed(ends[ends.warmup == share], letter) - by_seed(usual, letter)).dropna()
                if len(apart):
                    arms.draw_point(column[3], number + aside, apart, look)
        column[3].axhline(0, color="0.35", linewidth=0.8)
        arms.least_span(column[3], LEAST_SPAN)
        shifts.categories(column[3], [f"{100 * share:g}" for share in values])
        column[3].set_xlabel("warm-up (% of the run)")
        drawn += lengths
    labels = (
        "upstream loss,\nthe beginning",
        "upstream loss",
        "downstream loss",
        "final loss less that\nof 1 % (nats)",
    )
    shifts.name_rows(axes, labels)
    shifts.key(axes[3][0], [("final upstream", UPSTREAM), ("final downstream", DOWNSTREAM)])
    style.legend_above(figure, [axes[0][0], axes[3][0]], 7)
    words = [
        "Warm-up length under several shifts. Validation loss (nats per token) along continual pre-training with",
        f"warm-ups of different lengths (share of the run), then re-decayed; first row: the first "
        f"{style.percent(arms.EARLY)}.",
        "Below, the steep beginning is cut off where it would hide the rest. Last row: the difference to a warm-up of",
        f"1 %, paired by seed. Final loss: {arms.how_final(drawn)}.",
        arms.learning_rates(drawn),
        arms.setting(drawn),
    ]
    return style.caption(figure, " ".join(words))
