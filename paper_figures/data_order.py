"""Ours: the noise floor. One base continued on one corpus in several orders of its windows, everything else the same:
what is smaller than this is nothing that a schedule did."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import DOWNSTREAM, UPSTREAM
from analysis.measures.arms import W1, at_usual_rate
from paper_figures import arms, shifts, style

SWEEP = "data_order"
CLAIMS = ()
SPLIT = shifts.SPLIT
LEAST = 3  # orders of one base


def select(table: pd.DataFrame) -> pd.DataFrame:
    """w1 of several seeds that share a base."""
    chosen = at_usual_rate(table, warmup=W1["warmup"], replay=W1["replay"])
    alike = [chosen[name] for name in ("base_address", "upstream", "downstream", "run_tokens")]
    return chosen[chosen.seed.groupby(alike).transform("nunique") >= LEAST]


def draw(table: pd.DataFrame) -> Figure:
    parts = shifts.of(select(table))
    figure, [row] = shifts.panels(parts, 1, row_height=2.0, sharey=True)
    told = []
    for axes, part in zip(row, parts, strict=True):
        ends, found = part.ends, {}
        for letter, look, aside in (("U", UPSTREAM, -0.1), ("V", DOWNSTREAM, 0.1)):
            apart = ends[letter] - ends.groupby("base_address")[letter].transform("mean")
            places = ends.seed.map({seed: number for number, seed in enumerate(sorted(ends.seed.unique()))})
            axes.plot(places + aside, apart, look.marker, color=look.color, linestyle="")
            freedom = len(ends) - ends.base_address.nunique()
            found[letter] = float((apart**2).sum() / freedom) ** 0.5
            axes.axhspan(-found[letter], found[letter], color=look.color, alpha=0.12, linewidth=0)
        told.append(f"{part.name}: upstream {found['U']:.4f}, downstream {found['V']:.4f}")
        shifts.categories(axes, [str(seed) for seed in sorted(ends.seed.unique())])
        axes.set_xlabel("order of the data (seed)")
    row[0].set_ylabel("final loss less the mean\nof its base (nats)")
    shifts.key(row[0], [("upstream", UPSTREAM), ("downstream", DOWNSTREAM)])
    style.legend_above(figure, row[0], 2)
    drawn = [arms.Arm("", None, UPSTREAM, part.table) for part in parts]
    words = [
        "What the order of the data alone does to final losses: one base, re-warmed over 1 % of the tokens and",
        f"re-decayed. Bands: one standard deviation ({'; '.join(told)} nats). Final loss: {arms.how_final(drawn)}.",
        arms.learning_rates(drawn),
        arms.setting(drawn, "a point each"),
    ]
    return style.caption(figure, " ".join(words))
