"""2403.08763, section 6.4, table 4: forgetting of models of several sizes, without and with 5 % replay. Larger ones
forget less, and replay helps at each size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import DOWNSTREAM, UPSTREAM
from analysis.measures.arms import W1, at_usual_rate, by_seed
from paper_figures import arms, shifts, style
from paper_figures.printed import LOOK, origin, printed, series, value

SWEEP = "scalable_sizes"
CLAIMS = ("S10",)
SPLIT = ("scale", "run_tokens")
REPLAY = ((0.0, UPSTREAM), (0.05, DOWNSTREAM))
PRINTED = printed("2403.08763", "Table 2", "Table 4", "baselines", shift="weak")
SIZES = printed("2403.08763", "text", quantity="parameters").set_index("model").value


def select(table: pd.DataFrame) -> pd.DataFrame:
    """w1 without and with 5 % replay, where there are several sizes of both."""
    chosen = at_usual_rate(table, warmup=W1["warmup"])
    share = chosen.replay.astype(float)
    chosen = chosen[np.isclose(share, 0.0) | np.isclose(share, 0.05)]
    alike = ["upstream", "downstream", *SPLIT]
    both = chosen.groupby([*alike, "model"], dropna=False).replay.transform("nunique") > 1
    chosen = chosen[both]
    return chosen[chosen.groupby(alike, dropna=False).model.transform("nunique") > 1]


def draw(table: pd.DataFrame) -> Figure:
    parts = shifts.of(select(table))
    figure, [row] = style.panels(1, len(parts) + 1, row_height=2.4)
    for axes, part in zip(row, parts, strict=False):
        ends = part.ends.assign(F=lambda runs: runs.U - runs.U_base)
        for share, look in REPLAY:
            means = []
            for _, runs in ends[np.isclose(ends.replay.astype(float), share)].groupby("N_total"):
                N, own = float(runs.N_total.iloc[0]), by_seed(runs, "F")
                arms.draw_point(axes, N, own, look)
                means.append((N, own.mean()))
            axes.plot(*zip(*means, strict=True), color=look.color, linestyle=look.line, linewidth=0.9)
        axes.set_title(part.title)
        _logarithmic(axes, sorted(ends.N_total.unique()))
    _printed(row[-1])
    row[0].set_ylabel("forgetting (nats per token)")
    shifts.key(row[0], [(f"replay {style.percent(share)}", look) for share, look in REPLAY], lines=True)
    style.legend_above(figure, row[0], 2)
    drawn = [arms.Arm("", None, UPSTREAM, part.table) for part in parts]
    words = [
        "Size. Forgetting, the final upstream loss less the base's, of models of several sizes without and with",
        f"{style.percent(0.05)} replay. Final loss: {arms.how_final(drawn)}.",
        origin(PRINTED[PRINTED.run.isin(["base", "replay"])]),
        arms.learning_rates(drawn),
        arms.setting(drawn, "points are their mean and bars their range"),
    ]
    return style.caption(figure, " ".join(words))


def _printed(axes: Axes) -> None:
    """The paper's two sizes."""
    for share, look in REPLAY:
        forgets = []
        for model in SIZES.index:
            rows = PRINTED[PRINTED.model == model]
            base = value(rows, "base", "U")
            assert base is not None
            forgets.append(series(rows, "replay", "U")[share] - base)
        own = {"color": LOOK.color, "markerfacecolor": "white", "linestyle": look.line}
        axes.plot(SIZES.to_list(), forgets, look.marker, **own)
    axes.set_title("the paper's,\nthe Pile to SlimPajama")
    _logarithmic(axes, SIZES.to_list())


def _logarithmic(axes: Axes, sizes: list[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sizes, [style.amount(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("parameters in all")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.margins(x=0.12)
