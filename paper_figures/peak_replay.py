"""Peak learning rate and replay together: forgetting and adaptation as maps, wherever a sweep varies both."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import arms, changes, style

SWEEP = "peak_replay peak_replay_python_to_docs"
CLAIMS = ("X1",)
FINE = 0.5  # nats: cells that differ by less have three digits
LEAST = 4  # settings, with two values of each at least
SPLIT = ("scale", "model", "shift", "run_tokens", "schedule", "warmup", "at", "optimizer_state")  # a map each
COLOURS = {"forgetting": "magma_r", "adaptation": "viridis"}


def select(table: pd.DataFrame) -> pd.DataFrame:
    """The runs of those settings that are alike in all but peak and replay, where both vary."""
    runs = table[changes.has_base(table)].drop_duplicates("run")
    if runs.empty:
        return table[:0]
    kept: list[str] = []
    for _, group in runs.groupby(list(SPLIT), dropna=False):
        rates = "peak" if group.peak.notna().all() else "lr"
        pairs = group[[rates, "replay"]].drop_duplicates()
        both = pairs[pairs.duplicated(rates, keep=False) & pairs.duplicated("replay", keep=False)]
        if len(both) >= LEAST:
            kept += group.run.tolist()
    return table[table.run.isin(kept)]


def draw(table: pd.DataFrame) -> Figure:
    settings = changes.settings_of(changes.runs_of(table))
    rates = "peak" if "peak" in settings else "lr"
    one = table.iloc[0]
    figure, [row] = style.panels(1, 2, row_height=2.6)
    titles = {"forgetting": f"forgetting of {one.upstream}", "adaptation": f"adaptation to {one.downstream}"}
    for axes, what in zip(row, changes.CHANGES, strict=True):
        _map(figure, axes, settings, rates, what)
        axes.set_title(f"{titles[what]} (nats)")
    row[0].set_ylabel("peak / peak of the base" if rates == "peak" else "peak learning rate")
    drawn = [arms.Arm("", None, style.CONSTANT, table)]
    words = [
        "Peak learning rate and replay. Forgetting and adaptation at the end of continual pre-training, means over",
        "seeds; a cell that is empty was not run.",
        f"Schedule {one.schedule}, warm-up {style.percent(float(one.warmup))}.",
        f"Final loss: {arms.how_final(drawn)}.",
        arms.setting(drawn, "numbers are their mean"),
    ]
    return style.caption(figure, " ".join(words))


def _map(figure: Figure, axes: Axes, settings: pd.DataFrame, rates: str, what: str) -> None:
    """Cells with their numbers, of equal size: values of the knobs in order."""
    wide = settings.pivot_table(index=rates, columns="replay", values=what, aggfunc="mean").sort_index()
    values = np.ma.masked_invalid(wide.to_numpy(dtype=float))
    shown = axes.pcolormesh(values, cmap=COLOURS[what], edgecolors="white", linewidth=0.8)
    middle = (float(values.min()) + float(values.max())) / 2
    digits = 2 if float(values.max()) - float(values.min()) >= FINE else 3
    dark_above = COLOURS[what].endswith("_r")
    for (i, k), value in np.ndenumerate(wide.to_numpy(dtype=float)):
        if np.isfinite(value):
            dark = (value > middle) == dark_above
            size = style.SMALL
            colour = "white" if dark else "black"
            axes.text(k + 0.5, i + 0.5, f"{value:.{digits}f}", ha="center", va="center", color=colour, fontsize=size)
    axes.set_xticks(np.arange(wide.shape[1]) + 0.5, [f"{100 * share:g}" for share in wide.columns])
    labels = [style.times(rate) if rates == "peak" else f"{rate:.3g}" for rate in wide.index]
    axes.set_yticks(np.arange(wide.shape[0]) + 0.5, labels)
    axes.set_xlabel("replay (% of the stream)")
    axes.grid(False)
    figure.colorbar(shown, ax=axes, pad=0.02)
