"""How all figures look: widths of a two-column page, colours that survive grey print, units of amounts, files.

Importing it sets matplotlib's defaults. Ordered curves (a grid of one knob) take dark to light colours of one map, and
a line style and marker each, so that they are told apart without colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.core.command import check_file, unwritable
from harness.core.units import unit_of

COLUMN, PAGE = 3.25, 6.75  # widths in inches: one column, two columns
DPI = 200
SMALL = 7  # points: the smallest text
SUFFIXES = (".png", ".pdf", ".svg")

_RC: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.88",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,  # 2.341 on every tick, no sum to be done with a number at the corner
    "pdf.fonttype": 42,
    "savefig.dpi": DPI,
    "figure.dpi": 100,
    "svg.hashsalt": "rewarm",
}
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.2)), (0, (3, 1, 1, 1)), (0, (1.5, 1)), (0, (6, 1, 1, 1, 1, 1)), (0, (4, 2)))
_MARKERS = "os^Dv<P"
matplotlib.rcParams.update(_RC)


@dataclass(frozen=True)
class Look:
    """Colour, line style and marker of a curve."""

    color: Any
    line: Any
    marker: str

    def plot(self, **more: Any) -> dict[str, Any]:
        return {"color": self.color, "linestyle": self.line, "marker": self.marker, **more}


UPSTREAM = Look("#0072b2", "-", "o")  # one corpus against the other: dark blue and light orange differ in grey too
DOWNSTREAM = Look("#e69f00", (0, (5, 1.2)), "s")
REFERENCE = Look("0.35", (0, (1, 1.5)), "")  # a base, a limit, the line that points should lie on


def ordered(n: int) -> list[Look]:
    """Looks of `n` curves in the order of their knob, dark to light."""
    colors = matplotlib.colormaps["viridis"]
    return [
        Look(colors(0.86 * i / max(n - 1, 1)), _LINES[i % len(_LINES)], _MARKERS[i % len(_MARKERS)]) for i in range(n)
    ]


def panels(
    rows: int, columns: int, *, width: float = PAGE, row_height: float = 1.75, **options: Any
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of `rows` x `columns` axes."""
    figure = Figure(figsize=(width, rows * row_height + 0.35), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, [list(row) for row in axes]


def legend_above(figure: Figure, axes: Axes | Sequence[Axes], columns: int) -> None:
    """One legend for the whole figure, above all axes, in as many columns as it has room for; rows make it higher. What
    several axes name alike is one entry."""
    entries: dict[str, Any] = {}
    for one in [axes] if isinstance(axes, Axes) else axes:
        handles, labels = one.get_legend_handles_labels()
        entries = {**entries, **{k: v for k, v in zip(labels, handles, strict=True) if k not in entries}}
    handles, labels = list(entries.values()), list(entries)
    width, height = figure.get_size_inches()
    for number in range(columns, 0, -1):
        legend = figure.legend(handles, labels, loc="outside upper center", ncols=number, columnspacing=1.4)
        if legend.get_window_extent().width <= figure.bbox.width or number == 1:
            break
        legend.remove()
    rows = -(-len(labels) // number)
    figure.set_size_inches(width, height + (rows - 1) * 1.5 * SMALL / 72)


def figure_of(draw: Sequence[Callable[[Axes], object]], *, height: float = 3.2, across: int = 3) -> Figure:
    """A figure of one pair of axes per function: side by side, at most `across` of them in a row."""
    rows = -(-len(draw) // across)
    columns = -(-len(draw) // rows)  # 4 are two rows of 2
    width = 4.6 if len(draw) == 1 else PAGE / 2 * columns
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for function, one in zip(draw, axes, strict=False):
        function(one)
    for empty in axes[len(draw) :]:
        empty.set_axis_off()
    return figure


def save(path: str | Path, *draw: Callable[[Axes], object], height: float = 3.2) -> Path:
    """A file with one pair of axes per function, side by side: png, pdf or svg by its suffix. Equal figures are equal
    bytes. Raises InputError as `check_file`."""
    path = Path(path)
    check_file("--plot", path, SUFFIXES)
    figure = figure_of(draw, height=height, across=len(draw))
    dates: dict[str, dict[str, None]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    try:
        figure.savefig(path, metadata=dates[path.suffix])
    except OSError as error:
        raise unwritable("--plot", path, error) from None
    return path


def token_unit(tokens: float) -> tuple[float, str]:
    """The unit in which to write amounts up to `tokens`."""
    return unit_of(max(tokens, 1e3))


def amount(number: float, digits: int = 3) -> str:
    """`362 k`, `405 M`, `299 B`, without a line break inside."""
    size, unit = token_unit(number)
    return f"{number / size:.{digits}g}\N{NO-BREAK SPACE}{unit}"


def percent(share: float) -> str:
    return f"{100 * share:g}\N{NO-BREAK SPACE}%"
