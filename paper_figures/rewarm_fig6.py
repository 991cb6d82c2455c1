"""2308.04014, figure 6: perplexity on upstream against that on another corpus, continued on upstream itself.
The two move linearly with each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from paper_figures import arms, style

SWEEP = "rewarm_same_data"
CLAIMS = ("R8",)


def select(table: pd.DataFrame) -> pd.DataFrame:
    """Runs on the data of their base that were measured on a second corpus."""
    chosen = arms.select_peaks(table, same_data=True)
    second = chosen[~chosen.role.isin(("upstream", "downstream"))]
    return chosen[chosen.run.isin(second.run)]


def draw(table: pd.DataFrame) -> Figure:
    table = select(table)
    drawn = arms.peaks(table, same_data=True)
    role = _second(table)
    figure, [[axes]] = style.panels(1, 1, row_height=3.0, width=4.6)
    for arm in drawn:
        x, y = (arms.curve(arm, of) for of in (role, "upstream"))
        after = np.intersect1d(x.D, y.D)
        after = after[after > max(float(arm.table.warmup_tokens.max()), 0.0)]
        x_at, y_at = (np.exp(one.mean[np.isin(one.D, after)]) for one in (x, y))
        axes.plot(x_at, y_at, label=arm.label, **arm.look.plot(markevery=1))
    axes.set_xlabel(f"perplexity on {table[table.role == role].corpus.iloc[0]}")
    axes.set_ylabel(f"perplexity on {table.upstream.iloc[0]} (upstream)")
    style.legend_above(figure, axes, 3)
    words = [
        "Two perplexities on the same data. Validation perplexity (per token) on upstream against that on a corpus",
        "that is not trained on, at the evaluations after the warm-up, when the base goes on with windows of upstream",
        "that it has not seen.",
        arms.learning_rates(drawn),
        arms.setting(drawn, "lines are their mean"),
    ]
    return style.caption(figure, " ".join(words))


def _second(table: pd.DataFrame) -> str:
    """The role of the corpus beside upstream: the first, as claim R8 takes it."""
    return str(min(set(table.role) - {"upstream", "downstream"}))
