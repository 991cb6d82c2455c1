"""How all figures look: sizes of a two-column page, colours that survive grey print, captions, files.

Ordered arms (a grid of one knob) take dark to light colours of one map, and a line style and marker each, so that they
are told apart without colour. Legends lie outside the axes and never cover data.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: works where there is no display

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMN, PAGE = 3.25, 6.75  # widths in inches: one column, two columns
DPI = 200
SMALL = 7  # points: the smallest text
CAPTION = "caption"  # gid of the caption's text in a figure

_RC: Any = {
    "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": SMALL, "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL, "lines.linewidth": 1.2, "lines.markersize": 3.5, "axes.linewidth": 0.6,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "0.88", "grid.linewidth": 0.5, "axes.axisbelow": True, "legend.frameon": False,
    "legend.handlelength": 3.2, "axes.unicode_minus": True, "pdf.fonttype": 42, "savefig.dpi": DPI, "figure.dpi": 100,
}  # fmt: skip
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.2)), (0, (3, 1, 1, 1)), (0, (1.5, 1)), (0, (6, 1, 1, 1, 1, 1)), (0, (4, 2)))
_MARKERS = "os^Dv<P"
matplotlib.rcParams.update(_RC)


@dataclass(frozen=True)
class Look:
    """Colour, line style and marker of an arm."""

    color: Any
    line: Any
    marker: str

    def plot(self, **more: Any) -> dict[str, Any]:
        return {"color": self.color, "linestyle": self.line, "marker": self.marker, **more}


CONSTANT = Look("black", (0, (1, 1)), "x")  # the baselines look the same in every figure
NO_DECAY = Look("#cc79a7", (0, (5, 1, 1, 1, 1, 1)), "*")
SCRATCH = Look("0.55", "-", "+")


def ordered(n: int) -> list[Look]:
    """Looks of `n` arms in the order of their knob, dark to light."""
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


def legend_above(figure: Figure, axes: Axes, columns: int) -> None:
    """One legend for the whole figure, above all axes."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, columnspacing=1.4)


def caption(figure: Figure, text: str) -> Figure:
    """Write the caption below the axes; the figure grows by its height."""
    width, height = figure.get_size_inches()
    words = " ".join(word for word in text.split(" ") if word)  # a no-break space stays
    lines = textwrap.wrap(words, int(width * 19.5), break_on_hyphens=False)  # characters of 7 points in an inch
    depth = (len(lines) * SMALL * 1.25 + 8) / 72
    figure.set_size_inches(width, height + depth)
    share = depth / (height + depth)
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, share, 1, 1 - share))  # type: ignore[call-arg]
    note = figure.text(
        0.012, 3 / 72 / (height + depth), "\n".join(lines), fontsize=SMALL, va="bottom", linespacing=1.25
    )
    note.set_gid(CAPTION)
    note.set_in_layout(False)
    return figure


def caption_of(figure: Figure) -> str:
    """The caption as one line, with plain spaces."""
    return next(" ".join(text.get_text().split()) for text in figure.texts if text.get_gid() == CAPTION)


def save(figure: Figure, out: Path, name: str) -> list[Path]:
    """NAME.pdf, NAME.png and NAME.md (the caption). Equal figures are equal bytes."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}.{suffix}" for suffix in ("pdf", "png", "md")]
    figure.savefig(paths[0], metadata={"CreationDate": None, "Producer": None, "Creator": None})
    figure.savefig(paths[1], metadata={"Software": None})
    paths[2].write_text(f"![{name}]({name}.png)\n\n{caption_of(figure)}\n")
    return paths


def token_unit(tokens: float) -> tuple[float, str]:
    """The unit in which to write amounts up to `tokens`."""
    return next(((size, unit) for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")) if tokens >= size), (1e3, "k"))


def amount(number: float) -> str:
    """`362 k`, `405 M`, `299 B`, without a line break inside."""
    size, unit = token_unit(number)
    return f"{number / size:.3g}\N{NO-BREAK SPACE}{unit}"


def times(multiple: float) -> str:
    """`½×`, `2×`."""
    return {0.25: "¼×", 0.5: "½×"}.get(multiple, f"{multiple:g}×")


def percent(share: float) -> str:
    return f"{100 * share:g}\N{NO-BREAK SPACE}%"


def joined(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
