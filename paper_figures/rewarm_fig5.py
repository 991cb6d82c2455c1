"""2308.04014, figure 5: upstream continued on windows it has not seen, re-warmed against constant."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from paper_figures import arms, style

SWEEP = "rewarm_same_data"
CLAIMS = ("R7", "S8")


def select(table: pd.DataFrame) -> pd.DataFrame:
    return arms.select_peaks(table, same_data=True)


def draw(table: pd.DataFrame) -> Figure:
    drawn = arms.peaks(select(table), same_data=True)
    figure, [[left, right]] = style.panels(1, 2, row_height=2.3, sharey=True)
    for axes, until in ((left, arms.EARLY), (right, 1.0)):
        arms.draw_curves(axes, drawn, "upstream", until=until)
        arms.draw_base(axes, drawn, "upstream")
    left.set_ylabel(arms.loss_of(drawn, "upstream"))
    left.set_title(f"the first {style.percent(arms.EARLY)}")
    right.set_title("the whole run")
    style.legend_above(figure, right, len(drawn) + 1)
    words = [
        "Re-warming on the same data. Validation loss on upstream (nats per token) when the base goes on with windows",
        "of it that it has not seen, at its final learning rate, or re-warmed over 1 % of the tokens and re-decayed",
        "to a tenth of the peak.",
        arms.learning_rates(drawn),
        arms.setting(drawn),
    ]
    return style.caption(figure, " ".join(words))
