"""2308.04014, figure 4: upstream against downstream perplexity along the run; colour is the number of tokens."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from paper_figures import arms, style

SWEEP = "rewarm_max_lr"


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
        axes.annotate(
            arm.label.removeprefix("peak "),
            (path[-1, 0], path[-1, 1]),
            (-5, 0),
            textcoords="offset points",
            ha="right",
            va="center" if arm.value is not None else "top",
            fontsize=style.SMALL,
        )
    start = [arms.base_loss(drawn, role) for role in ("downstream", "upstream")]
    axes.plot(*np.exp(np.array(start, dtype=float)), marker="o", color="black", markersize=6, linestyle="", zorder=5)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="downstream perplexity (" + table.downstream.iloc[0] + ")",
        ylabel="upstream perplexity (" + table.upstream.iloc[0] + ")",
    )
    axes.margins(x=0.14, y=0.08)
    plain_log_ticks(axes)
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
        "from the base past the end of the warm-up to the end of the run, where the peak learning rate is written as a",
        "multiple of the base's. Colour: tokens trained. Dashed: constant learning rate.",
        arms.learning_rates(drawn),
        arms.setting(drawn, "lines are their mean"),
    ]
    return style.caption(figure, " ".join(words))


def plain_log_ticks(axes: Axes) -> None:
    """Numbers a reader knows, 1, 1.5, 2, 3, 5, 7 times powers of ten, on logarithmic axes."""
    figure = axes.get_figure()
    assert figure is not None
    axes.autoscale_view()
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        steps = (1, 1.5, 2, 3, 5, 7) if high / low > 3 else (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)
        ticks = [step * 10.0**power for power in range(-1, 7) for step in steps if low <= step * 10.0**power <= high]
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:g}")
