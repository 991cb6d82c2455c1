"""What all figures write on their axes: words, units and scale of a column, readable ticks, looks, legends above.

label_axis(ax.xaxis, "N", table.N, unit="parameters")
for look, text, rows in groups(table, "N"): ax.plot(rows.D, rows.loss, **look.plot(), label=text)
legend(ax, "N")
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, Locator, MaxNLocator, NullFormatter, NullLocator

from analysis.figures.style import UPSTREAM, Look, amount, ordered
from analysis.formulas.formula import Array

LOSS = "loss (nats per token)"
WORDS = {
    "N": "model size (parameters)",
    "D": "tokens",
    "C": "compute (FLOPs)",
    "r": "share of the corpus in the stream",
    "step": "steps",
}
TITLES = {"C": "compute (FLOPs)", "r": "share of the corpus", "N": "parameters", "D": "tokens", "run": None}
AMOUNTS = {"N": "parameters", "D": "tokens", "C": "FLOPs"}  # what names without a unit are
DECADES = ("parameters", "tokens", "FLOPs", "learning rate")  # units of what spans decades
MOST_LOOKS = 10  # values of a column that a figure tells apart; more are put into ranges
RANGES = 5
WIDE, SPAN = 4.0, 100.0  # a target, and a variable, over more than this factor has a logarithmic axis
NARROW = 1e-3  # of its size: a range whose ticks take many digits
MOST_TICKS = 7


def label_axis(axis: Axis, name: str, values: Sequence[float] | Array | pd.Series[Any], unit: str = "") -> None:
    """Words, unit, scale and ticks of a column on an axis."""
    unit, column = unit or AMOUNTS.get(name, ""), np.asarray(values, dtype=float)
    axis.set_label_text(WORDS.get(name, f"{name} ({unit})" if unit else name))
    if not len(column):
        return
    wide = unit in DECADES or (unit != "share" and column.max() > SPAN * column.min())
    if column.min() > 0 and wide:
        logarithmic(axis, column)
    _few_ticks(axis, column)
    if unit in ("parameters", "tokens"):
        axis.set_major_formatter(_Amounts())


def label_target(axis: Axis, target: str, values: Array | pd.Series[Any], before: str = "") -> None:
    """The same of what a law says: the loss in nats per token, or another column under its own name."""
    axis.set_label_text(before + target_words(target))
    column = np.asarray(values, dtype=float)
    if column.min() > 0 and column.max() > WIDE * column.min():
        logarithmic(axis, column)
    _few_ticks(axis, column)


def target_words(target: str) -> str:
    return LOSS if target == "loss" else target.replace("$", r"\$")  # no formula


def logarithmic(axis: Axis, values: Array) -> None:
    """A logarithmic axis whose ticks are numbers that can be read, however few decades there are."""
    if values.max() < 1.5 * values.min():
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]
    axis.set_major_locator(_Ticks())
    axis.set_major_formatter(_Numbers())
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _few_ticks(axis: Axis, values: Array) -> None:
    if axis is axis.axes.xaxis and np.ptp(values) < NARROW * np.abs(values).max():
        axis.set_major_locator(MaxNLocator(3))


def groups(table: pd.DataFrame, by: str | None, unit: str = "") -> list[tuple[Look, str | None, pd.DataFrame]]:
    """(look, label, rows) for each value of a column, in its order, or each of RANGES of many; one group without."""
    if by is None:
        return [(UPSTREAM, None, table)]
    unit, distinct = unit or AMOUNTS.get(by, ""), np.sort(table[by].unique())
    if len(distinct) <= MOST_LOOKS or not pd.api.types.is_numeric_dtype(table[by]):
        found = list(table.groupby(by, sort=True))
        texts = _texts([key for key, _ in found], unit)
        return [(look, text, rows) for look, text, (_, rows) in zip(ordered(len(found)), texts, found, strict=True)]
    parts = np.array_split(distinct, RANGES)
    place = np.searchsorted([part[-1] for part in parts], table[by].to_numpy())
    ends = zip(*(_texts([part[at] for part in parts], unit) for at in (0, -1)), strict=True)
    looks = zip(ordered(RANGES), ends, strict=True)
    return [(look, f"{low} to {high}", table[place == k]) for k, (look, (low, high)) in enumerate(looks)]


def legend(ax: Axes, by: str | None = None, warning: str = "", note: str = "") -> Axes:
    """A legend above the axes, if anything has a label, under its title; above that what a reader must not miss, or
    must know."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles and not note:
        return ax
    figure = ax.get_figure(root=True)
    assert figure is not None
    width = 72 * ax.get_position().width * figure.get_size_inches()[0]  # points
    columns = int(width / (4 * max(map(len, labels), default=0) + 36))  # a letter of 7 points is 4 wide
    title = TITLES.get(by or "", by)
    drawn = ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=max(columns, 1),
        title="\n".join([*textwrap.wrap(warning or note, max(int(width / 3.6), 20)), *([title] if title else [])])
        or None,
        title_fontsize="small",
        borderaxespad=0.2,
        columnspacing=1.2,
        alignment="left",
    )
    if warning:
        drawn.get_title().set_fontweight("bold")
    return ax


class _Ticks(Locator):
    """Ticks of a logarithmic axis: as few of 1, 2, 5, ... times powers of ten as make three."""

    def __call__(self) -> Any:
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Any:
        low, high = sorted((vmin, vmax))
        if not (0 < low < high < np.inf):
            return []
        powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, *range(2, 10))):
            ticks = np.outer(powers, factors).ravel()
            ticks = ticks[(ticks >= low * (1 - 1e-9)) & (ticks <= high * (1 + 1e-9))]
            if len(ticks) >= 3:
                return ticks[:: -(-len(ticks) // MOST_TICKS)]
        found = np.asarray(MaxNLocator(4).tick_values(low, high))
        return found[(found >= low) & (found <= high)]


class _Amounts(Formatter):
    """`362 k`, `405 M`, with as many digits as tell the ticks apart."""

    def __call__(self, x: float, pos: int | None = None) -> str:  # noqa: ARG002  matplotlib's signature
        return amount(x)

    def format_ticks(self, values: Any) -> list[str]:
        return _texts([float(value) for value in values], "tokens")


class _Numbers(Formatter):
    """Numbers as people write them, or all as powers of ten if one of them is small or large."""

    def __call__(self, x: float, pos: int | None = None) -> str:  # noqa: ARG002
        return f"{x:.10g}"

    def format_ticks(self, values: Any) -> list[str]:
        if all(1e-3 <= abs(value) < 1e6 for value in values):
            return [self(value) for value in values]
        parts = [f"{value:.2e}".split("e") for value in values]
        heads = ["" if float(head) == 1 else f"{float(head):g}\\cdot " for head, _ in parts]
        return [f"${head}10^{{{int(power)}}}$" for head, (_, power) in zip(heads, parts, strict=True)]


def _texts(values: Sequence[Any], unit: str) -> list[str]:
    """Values as a legend names them, with as many digits as tell them apart."""
    if not all(isinstance(value, float | int | np.number) for value in values):
        return [str(value) for value in values]
    for digits in range(3, 9):
        if unit in ("parameters", "tokens"):
            texts = [amount(float(value), digits) for value in values]
        else:
            texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts
