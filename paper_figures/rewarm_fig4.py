"""2308.04014, figure 4: upstream against downstream perplexity along the run; colour is the number of tokens."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import Locator, NullLocator

from analysis.measures.arms import usual_rate
from paper_figures import arms, style

SWEEP = "rewarm_max_lr"
CLAIMS = ("R3",)
MOST_TICKS = 9
STEPS = (  # of logarithmic axes, from fine to coarse: multiples, and of which powers of ten
    ((1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9), 1),
    ((1, 1.5, 2, 3, 5, 7), 1),
    ((1, 3), 1),
    ((1,), 1),
    ((1,), 2),
    ((1,), 3),
)


def select(table: pd.DataFrame) -> pd.DataFrame:
    chosen = arms.select_peaks(table)
    return chosen[(chosen.start != "scratch") & (chosen.schedule != "warmup_constant")]


def draw(table: pd.DataFrame) -> Figure:
    drawn = arms.peaks(select(table))
    figure, [[axes]] = style.panels(1, 1, row_height=3.3, width=4.6)
    size, unit = style.token_unit(float(table.run_tokens.max()))
    norm, colors = Normalize(0, float(table.run_tokens.max()) / size), "viridis_r"
    for arm in drawn:
        x, y = (arms.curve(arm, role) for role in ("downstream", "upstream"))
        path = np.column_stack([np.exp(x.mean), np.exp(y.mean)])
        line = LineCollection(list(np.stack([path[:-1], path[1:]], axis=1)), cmap=colors, norm=norm, zorder=2)
        line.set_array((x.D[:-1] + x.D[1:]) / 2 / size)
        line.set_linewidth(1.3)
        line.set_linestyle("-" if arm.value is not None else (0, (2, 1)))
        line.set_gid(arm.label)
        axes.add_collection(line)
        axes.scatter(path[:, 0], path[:, 1], c=x.D / size, cmap=colors, norm=norm, s=5, zorder=3, linewidths=0)
        warm = int(np.searchsorted(x.D, arm.table.warmup_tokens.max()))
        if arm.value is not None:
            axes.plot(*path[warm], marker="D", color="black", markersize=4, zorder=5, fillstyle="none", linestyle="")
        name_end(axes, arm.label.removeprefix("peak ").removeprefix("learning rate "), path[-1])
    start = [arms.base_loss(drawn, role) for role in ("downstream", "upstream")]
    axes.plot(*np.exp(np.array(start, dtype=float)), marker="o", color="black", markersize=6, linestyle="", zorder=5)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="downstream perplexity (" + table.downstream.iloc[0] + ")",
        ylabel="upstream perplexity (" + table.upstream.iloc[0] + ")",
    )
    axes.margins(x=0.14, y=0.08)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(PlainTicks())
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    bar = figure.colorbar(line, ax=axes, pad=0.02, aspect=30)
    bar.set_label(f"{unit} tokens", fontsize=8)
    bar.ax.tick_params(labelsize=style.SMALL)
    marks = [
        Line2D([], [], marker="o", color="black", linestyle="", markersize=6, label="base"),
        Line2D([], [], marker="D", color="black", linestyle="", fillstyle="none", label="end of warm-up"),
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=2, fontsize=style.SMALL, frameon=False)
    words = [
        "Upstream and downstream validation perplexity (per token, logarithmic axes) along continual pre-training,",
        "from the base past the end of the warm-up to the end of the run, where the peak learning rate is written"
        + (" as a multiple of the base's." if "peak" in usual_rate(table) else "."),
        "Colour: tokens trained. Dashed: constant learning rate.",
        arms.learning_rates(drawn),
        arms.setting(drawn, "lines are their mean"),
    ]
    style.caption(figure, " ".join(words))
    spread(axes)
    return figure


def name_end(axes: Axes, name: str, end: np.ndarray) -> None:
    """The name of a path left of its end; a thin line leads there if the name has to move."""
    axes.annotate(
        name,
        (end[0], end[1]),
        (-5, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=style.SMALL,
        arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 1},
    )


def spread(axes: Axes) -> None:
    """Move names up that would lie on the one below."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    names = [text for text in axes.texts if isinstance(text, Annotation)]
    top = -np.inf
    for name in sorted(names, key=lambda name: float(name.get_window_extent().y0)):
        box = name.get_window_extent()
        up = max(0.0, top - box.y0)
        name.set_position((-5, up * 72 / figure.dpi))
        top = box.y1 + up + 1


class PlainTicks(Locator):
    """Numbers a reader knows on a logarithmic axis, as many as there is room for: 1, 1.5, 2, 3, 5, 7 times powers of
    ten, over wide ranges fewer."""

    def __call__(self) -> list[float]:
        assert self.axis is not None
        low, high = self.axis.get_view_interval()
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        ticks: list[float] = []
        for steps, stride in STEPS:
            powers = range(-12, 13, stride)
            ticks = [step * 10.0**power for power in powers for step in steps if vmin <= step * 10.0**power <= vmax]
            if len(ticks) <= MOST_TICKS:
                break
        return ticks
