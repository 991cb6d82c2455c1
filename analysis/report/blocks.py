"""What stands on a page, block by block: texts, tables, figures, and links between them.

Beneath `analysis.report.html_page` and `analysis.report.page`, which write it. Every text is escaped: names of columns
and runs are those of somebody's table.

    Table(("claim", "verdict"), [((Link("R1", "claim-R1"), " of the first paper"), "reproduced")])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from matplotlib.axes import Axes

LINES = "\n"


@dataclass(frozen=True)
class Link:
    """To a block of the same page. `target`: its anchor."""

    text: str
    target: str


Line: TypeAlias = str | Link | Sequence[str | Link]


@dataclass(frozen=True)
class Heading:
    """`level`: 2 under the page's title, 3 under one of 2. `anchor`: what links lead to, letters, digits, -, _ and ."""

    text: str
    level: int = 2
    anchor: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: Line


@dataclass(frozen=True)
class Items:
    """A list."""

    lines: Sequence[Line]


@dataclass(frozen=True)
class Code:
    """Lines as they are."""

    text: str


@dataclass(frozen=True)
class Table:
    """The first cell of a row names it. `numbers`: places of the columns that are set to the right; `name`: what a
    screen reader calls it; `anchors`: of the rows, for links."""

    header: Sequence[str]
    rows: Sequence[Sequence[Line]]
    numbers: Sequence[int] = ()
    name: str = "table"
    anchors: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A figure of one panel for each function that draws on an Axes."""

    name: str
    caption: str
    draw: Sequence[Callable[[Axes], object]]


@dataclass(frozen=True)
class Image:
    """A figure that is drawn already. `svg`: its bytes; `shows`: what stands for it where it is not seen."""

    name: str
    caption: str
    svg: bytes
    shows: str


@dataclass(frozen=True)
class Details:
    """Blocks that are unfolded by who wants them; open where the page is printed."""

    summary: str
    blocks: Sequence[Heading | Text | Items | Code | Table]


Block: TypeAlias = Heading | Text | Items | Code | Table | Picture | Image | Details


@dataclass(frozen=True)
class Page:
    """`beside`: further files for the folder of a Markdown page, by name."""

    title: str
    blocks: Sequence[Block]
    beside: Mapping[str, bytes] = field(default_factory=dict)


def spans(line: Line) -> Sequence[str | Link]:
    """A line as its parts."""
    return (line,) if isinstance(line, str | Link) else line


def plain(text: str, keep: str = "") -> str:
    """Without line breaks and control characters; a line's spaces at both ends are the writer's to remove."""
    return "".join(one if one.isprintable() or one in keep else " " for one in text)
