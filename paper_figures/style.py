"""What the papers' figures share beside the look of all figures (analysis.figures.style): baselines, captions, files.

Legends lie outside the axes and never cover data.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: works where there is no display

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from analysis.figures.style import PAGE, SMALL, Look, amount, legend_above, ordered, panels, percent, token_unit
from harness.core.command import unwritable

__all__ = (
    "CAPTION",
    "CONSTANT",
    "NO_DECAY",
    "PAGE",
    "SCRATCH",
    "SMALL",
    "Look",
    "amount",
    "caption",
    "caption_of",
    "joined",
    "legend_above",
    "ordered",
    "panels",
    "percent",
    "save",
    "times",
    "token_unit",
)

CAPTION = "caption"  # gid of the caption's text in a figure

CONSTANT = Look("black", (0, (1, 1)), "x")  # the baselines look the same in every figure
NO_DECAY = Look("#cc79a7", (0, (5, 1, 1, 1, 1, 1)), "*")
SCRATCH = Look("0.55", "-", "+")


def caption(figure: Figure, text: str) -> Figure:
    """Write the caption below the axes; the figure grows by its height."""
    width, height = figure.get_size_inches()
    lines = _wrapped(figure, " ".join(word for word in text.split(" ") if word))  # a no-break space stays
    depth = _depth(lines)
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
    for _ in range(10):  # wider limits move the points, too: by less each time
        figure.draw_without_rendering()
        if not any([_texts_inside(axes) or _ticks_apart(axes) for axes in figure.axes]):  # noqa: C419  all of them
            break
    else:
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the places are found: every file is drawn at them
    return figure


def _depth(lines: Sequence[str]) -> float:
    """Height of a caption, in inches."""
    return (len(lines) * SMALL * 1.25 + 8) / 72


def _wrapped(figure: Figure, words: str) -> list[str]:
    """Lines as wide as the figure."""
    width = figure.get_size_inches()[0]
    for letters in range(int(width * 19.5), 0, -1):  # of 7 points in an inch; some lines have wider ones
        lines = textwrap.wrap(words, letters, break_on_hyphens=False)
        tried = figure.text(0.012, 0, "\n".join(lines), fontsize=SMALL)
        fits = tried.get_window_extent().x1 <= figure.bbox.width
        tried.remove()
        if fits:
            break
    return lines


def _texts_inside(axes: Axes) -> bool:
    """Widen the x axis if what is written beside points leaves it. True if that was so."""
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # of an annotation: without its line
    left, right = min([axes.bbox.x0, *(box.x0 for box in boxes)]), max([axes.bbox.x1, *(box.x1 for box in boxes)])
    if (left, right) == (axes.bbox.x0, axes.bbox.x1):
        return False
    (low, _), (high, _) = axes.transData.inverted().transform([(left - 2, 0), (right + 2, 0)])
    axes.set_xlim(low, high)
    return True


def _ticks_apart(axes: Axes) -> bool:
    """Turn the labels of the x axis upright if they touch; if they do already, leave out some. True if that was so."""
    labels = [label for label in axes.get_xticklabels() if label.get_text() and label.get_visible()]
    boxes = [label.get_window_extent() for label in sorted(labels, key=lambda label: label.get_position()[0])]
    if all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes)):
        return False
    if labels[0].get_rotation() == 0:
        axes.tick_params(axis="x", labelrotation=90)
    else:
        for label in labels[1::2]:
            label.set_visible(False)
    return True


def caption_of(figure: Figure) -> str:
    """The caption as one line, with plain spaces."""
    return " ".join(_caption(figure).get_text().split())


def save(figure: Figure, out: Path, name: str) -> list[Path]:
    """NAME.pdf, NAME.png, NAME.md (the caption) and NAME.svg, which is without its caption: on a page that is text.
    Equal figures are equal bytes. Raises InputError if it cannot."""
    paths = [out / f"{name}.{suffix}" for suffix in ("pdf", "png", "md", "svg")]
    try:
        out.mkdir(parents=True, exist_ok=True)
        figure.savefig(paths[0], metadata={"CreationDate": None, "Producer": None, "Creator": None})
        figure.savefig(paths[1], metadata={"Software": None})
        paths[2].write_text(f"![{name}]({name}.png)\n\n{caption_of(figure)}\n", encoding="utf-8")
        _caption(figure).set_visible(False)
        figure.savefig(paths[3], metadata={"Date": None, "Creator": None}, bbox_inches=_above_caption(figure))
    except OSError as error:
        raise unwritable("--out", out, error) from None
    finally:
        _caption(figure).set_visible(True)
    return paths


def _caption(figure: Figure) -> Text:
    return next(text for text in figure.texts if text.get_gid() == CAPTION)


def _above_caption(figure: Figure) -> Bbox:
    """In inches."""
    width, height = figure.get_size_inches()
    return Bbox([[0, _depth(_caption(figure).get_text().split("\n"))], [width, height]])


def times(multiple: float) -> str:
    """`½×`, `2×`."""
    return {0.25: "¼×", 0.5: "½×"}.get(multiple, f"{multiple:g}×")


def joined(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
