"""2403.08763, appendix A.4, figure 13: Adam's moments kept or reset where continual pre-training begins.
It ends alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import DOWNSTREAM, UPSTREAM
from analysis.measures.arms import W1, rewarmed, usual_rate
from analysis.results.tables import of_curves
from paper_figures import arms, shifts, style
from paper_figures.arms import Arm

SWEEP = "scalable_optimizer"
CLAIMS = ("S9",)
SPLIT = shifts.SPLIT
STATES = {"reset": "moments reset", "keep": "moments kept"}
ROLES = (("upstream", "U", UPSTREAM), ("downstream", "V", DOWNSTREAM))
LEAST_SPAN = 0.06  # nats


def select(table: pd.DataFrame) -> pd.DataFrame:
    """w1, with the optimizer reset or kept, where both are there."""
    ((rate, value),) = usual_rate(table).items()
    usual = table[np.isclose(table[rate].astype(float), value)]
    both = [rewarmed(usual, optimizer_state=state, warmup=W1["warmup"], replay=W1["replay"]) for state in STATES]
    chosen = pd.concat(both)
    alike = [chosen[name] for name in ("upstream", "downstream", *SPLIT)]
    return chosen[chosen.optimizer_state.groupby(alike).transform("nunique") > 1].sort_index()


def draw(table: pd.DataFrame) -> Figure:
    parts = shifts.of(select(table))
    figure, axes = shifts.panels(parts, 4)
    drawn = []
    for column, part in zip(zip(*axes, strict=True), parts, strict=True):
        own = [
            Arm(label, None, look, part.table[part.table.optimizer_state == state])
            for (state, label), look in zip(STATES.items(), style.ordered(2), strict=True)
        ]
        arms.draw_curves(column[0], own, "downstream")
        arms.draw_curves(column[1], own, "upstream")
        arms.draw_curves(column[2], own, "upstream", until=arms.EARLY)
        arms.crop(column[0], own, "downstream", 0.04)
        _apart(column[3], part)
        for panel in column[:2]:
            panel.set_xlabel("")
        drawn += own
    labels = ("downstream loss", "upstream loss", "upstream loss,\nthe beginning", "kept less reset\n(nats)")
    shifts.name_rows(axes, labels)
    style.legend_above(figure, [axes[0][0], axes[3][0]], 4)
    words = [
        "The optimizer's state. Validation loss (nats per token) along continual pre-training that begins with Adam's",
        f"moments of the base, or with none. Third row: the first {style.percent(arms.EARLY)}. Last row: the loss with",
        "kept less that with reset moments, paired by seed, along the run; the last points are the final losses:",
        f"{arms.how_final(drawn)}. A steep beginning is cut off where it would hide the rest. No number of the paper's",
        "was found.",
        arms.learning_rates(drawn),
        arms.setting(drawn),
    ]
    return style.caption(figure, " ".join(words))


def _apart(axes: Axes, part: shifts.Shift) -> None:
    """The difference by seed along the run, and of the final losses."""
    table, ends = part.table, part.ends.set_index(["optimizer_state", "seed"])
    size, unit = style.token_unit(float(table.run_tokens.max()))
    for role, letter, look in ROLES:
        rows = table[table.role == role]
        kept, reset = (
            of_curves(rows[rows.optimizer_state == state]).pivot_table(index="D", columns="seed", values="loss")
            for state in ("keep", "reset")
        )
        apart = (kept - reset).dropna()
        axes.plot(apart.index / size, apart.mean(axis=1), label=f"{role}, kept less reset", **look.plot(marker=""))
        axes.fill_between(apart.index / size, apart.min(axis=1), apart.max(axis=1), color=look.color, alpha=0.18)
        last = (ends[letter]["keep"] - ends[letter]["reset"]).dropna()
        arms.draw_point(axes, float(table.run_tokens.max()) / size, last, look)
    axes.axhline(0, color="0.35", linewidth=0.8)
    arms.least_span(axes, LEAST_SPAN)
    axes.set_xlabel(f"continual pre-training ({unit} tokens)")
