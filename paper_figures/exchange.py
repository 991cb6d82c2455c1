"""All runs that continue a base onto other data: what they forget against what they adapt, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import arms, changes, style

SWEEP = "peak_replay"
CLAIMS = ("S2", "X1")
MOST = 10  # entries of a legend for one knob
MARKERS = "osD^v<>Pph*X8d"
SIZE = 5.0


def select(table: pd.DataFrame) -> pd.DataFrame:
    return table[changes.has_base(table)]


def draw(table: pd.DataFrame) -> Figure:
    runs = changes.runs_of(table)
    settings = changes.settings_of(runs)
    figure, [[axes]] = style.panels(1, 1, row_height=3.6)
    knobs = sorted(changes.varying(settings), key=lambda name: -settings[name].nunique(dropna=False))
    knobs = [*knobs[:2], *([None] * (2 - len(knobs)))]  # type: ignore[list-item]
    colours, markers = (_levels(settings, knob) for knob in knobs)
    looks = style.ordered(len(colours))
    at = [
        (_place(settings, knobs[0], i, colours), _place(settings, knobs[1], i, markers)) for i in range(len(settings))
    ]
    columns = [name for what in changes.CHANGES for name in (what, f"{what}_sd")]
    numbers = settings[columns].to_numpy(dtype=float).tolist()
    for (colour, marker), (x, x_sd, y, y_sd) in zip(at, numbers, strict=True):
        shape = MARKERS[marker % len(MARKERS)]
        axes.errorbar(
            [x],
            [y],
            xerr=_bar(x_sd),
            yerr=_bar(y_sd),
            color=looks[colour].color,
            marker=shape,
            markersize=SIZE,
            markeredgecolor="white",
            markeredgewidth=0.4,
            elinewidth=0.6,
            linestyle="",
            zorder=3,
        )
    _draw_front(axes, settings)
    for knob, levels, shown in ((knobs[0], colours, looks), (knobs[1], markers, None)):
        for number, value in enumerate(levels):
            if knob is not None and number % (-(-len(levels) // MOST)) == 0:
                grey_or_own = shown[number].color if shown else "0.45"
                shape = "o" if shown else MARKERS[number % len(MARKERS)]
                axes.plot([], [], shape, color=grey_or_own, markersize=SIZE, label=changes.label(knob, value))
    one = table.iloc[0]
    axes.set_xlabel(f"forgetting of {one.upstream} (nats per token)")
    axes.set_ylabel(f"adaptation to {one.downstream} (nats per token)")
    axes.margins(0.06)
    style.legend_above(figure, axes, 6)
    further = changes.varying(settings)[2:] if len(changes.varying(settings)) > 2 else []
    drawn = [arms.Arm("", None, looks[0], table)]
    words = [
        "Forgetting against adaptation, a point a setting: means over its seeds, bars of one standard deviation where",
        "it has several. Line: the settings that no other one beats in both (Pareto front).",
        f"Colour tells {_name(knobs[0])}{f', shape {_name(knobs[1])}' if knobs[1] else ''}." if knobs[0] else "",
        f"Not told apart: {style.joined([_name(name) for name in further])}." if further else "",
        f"Final loss: {arms.how_final(drawn)}.",
        arms.setting(drawn, "points are their mean"),
    ]
    return style.caption(figure, " ".join(words))


def _draw_front(axes: Axes, settings: pd.DataFrame) -> None:
    """From one setting to the next as stairs: what can surely be had between them is the lower."""
    x, y = settings.forgetting.to_numpy(), settings.adaptation.to_numpy()
    best = changes.front(x.tolist(), y.tolist())
    axes.step(x[best], y[best], where="post", color="0.2", linewidth=1.0, zorder=2.5, label="Pareto front")


def _levels(settings: pd.DataFrame, knob: str | None) -> list[object]:
    return [None] if knob is None else sorted(settings[knob].unique().tolist())


def _place(settings: pd.DataFrame, knob: str | None, i: int, levels: Sequence[object]) -> int:
    return 0 if knob is None else levels.index(settings[knob].iloc[i])


def _bar(sd: float) -> list[float] | None:
    return [float(sd)] if np.isfinite(sd) else None


def _name(knob: str | None) -> str:
    names = {"lr": "the learning rate", "warmup": "warm-up", "at": "where in the base it starts", "base_tokens": "base"}
    return names.get(str(knob), str(knob).replace("_", " "))
