"""Pages with figures: Markdown with its figures in a folder beside it, or one HTML file with all of it inside.

    page = Page("A fit", (Heading("Data"), Text("240 rows"), Table(("", "value"), rows), Picture("fit", "...", draw)))
    check_page("--report", path)        # before the work: can it be written, and is what stands there a page of ours?
    write_page("--report", path, page)

A page appears whole or not at all. Every text is escaped: names of columns and runs are those of somebody's table.
HTML needs no network and no script, and forbids both.
"""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from matplotlib.axes import Axes

from analysis.figures.style import DPI, figure_of
from harness.core.command import check_file, unwritable
from harness.core.errors import InputError
from harness.core.files import temporary_name, write_file

SUFFIXES = (".html", ".md")
MARK = "rewarm.report/1"  # in the first line of a page
LINES = "\n"
OWNER = "made-by-rewarm.txt"  # in the folder of a page's figures
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#111}"
    "img{max-width:100%}td{overflow-wrap:anywhere}"
    "figure{margin:1rem 0 2rem}figcaption{color:#444}table{border-collapse:collapse;margin:1rem 0}"
    "th,td{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #ddd}"
    "td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}"
    "pre{background:#f4f4f4;padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Lines as they are."""

    text: str


@dataclass(frozen=True)
class Table:
    """`numbers`: places of the columns that are set to the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()


@dataclass(frozen=True)
class Picture:
    """A figure of one panel for each function that draws on an Axes."""

    name: str
    caption: str
    draw: Sequence[Callable[[Axes], object]]


Block: TypeAlias = Heading | Text | Items | Code | Table | Picture


@dataclass(frozen=True)
class Page:
    """`beside`: further files for the folder of a Markdown page, by name."""

    title: str
    blocks: Sequence[Block]
    beside: Mapping[str, bytes] = field(default_factory=dict)


def check_page(name: str, path: Path) -> None:
    """InputError unless a page can be written there, and nothing stands there that no page of ours is."""
    check_file(name, path, SUFFIXES)
    try:
        first = path.read_bytes()[:200] if path.exists() else b""
    except OSError as error:
        raise unwritable(name, path, error) from None
    if first and MARK.encode() not in first:
        raise InputError(name, path, "there is a file that is no report", "name another, or move it away")
    folder = folder_of(path)
    if path.suffix != ".md" or not folder.exists():
        return
    inside = {one.name for one in folder.iterdir()} if folder.is_dir() else {folder.name}
    if foreign := sorted(one for one in inside if one != OWNER and not one.endswith((".png", ".json"))):
        raise InputError(name, path, f"{folder} holds {foreign[0]}, which no report wrote", "move it away")
    if inside and OWNER not in inside:
        raise InputError(name, path, f"{folder} is no folder of a report (it has no {OWNER})", "name another file")


def folder_of(path: Path) -> Path:
    """Where the figures of a Markdown page lie."""
    return path.with_name(f"{path.stem}_files")


def write_page(name: str, path: Path, page: Page) -> None:
    """Write it, HTML or Markdown by the path's suffix. Raises InputError as `check_page`."""
    check_page(name, path)
    images = {block.name: _png(block) for block in page.blocks if isinstance(block, Picture)}
    try:
        if path.suffix == ".html":
            write_file(path, _html(page, images).encode(), path.parent)
        else:
            told = f"Figures of {path.name}, written by python -m analysis fit --report, which writes them anew.\n"
            files = {f"{key}.png": image for key, image in images.items()} | {**page.beside, OWNER: told.encode()}
            _with_folder(path, _markdown(page, folder_of(path).name).encode(), files)
    except OSError as error:
        raise unwritable(name, path, error) from None


def _with_folder(path: Path, content: bytes, files: Mapping[str, bytes]) -> None:
    """The folder of figures, then the page: both new, or both as they were."""
    folder = folder_of(path)
    new, old = (path.parent / temporary_name() for _ in range(2))
    moved = placed = False
    try:
        new.mkdir()
        for name, data in files.items():
            (new / name).write_bytes(data)
        if folder.exists():
            folder.rename(old)
            moved = True
        new.rename(folder)
        placed = True
        write_file(path, content, path.parent)
    except BaseException:  # Ctrl-C, too
        shutil.rmtree(folder if placed else new, ignore_errors=True)
        if moved:
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _png(picture: Picture) -> bytes:
    data = io.BytesIO()
    figure_of(picture.draw, across=2 if len(picture.draw) <= 4 else 3).savefig(
        data, format="png", metadata={"Software": None}
    )
    return data.getvalue()


# HTML


def _width(png: bytes) -> int:
    """Of an image on a page, in its pixels: an inch is 130 of them."""
    return round(int.from_bytes(png[16:20], "big") / DPI * 130)  # the header's first number


def _html(page: Page, images: Mapping[str, bytes]) -> str:
    title = _escaped(page.title)
    parts = [
        f"<!DOCTYPE html><!-- {MARK} --><html lang='en'><meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>",
    ]
    for block in page.blocks:
        match block:
            case Heading(text):
                parts.append(f"<h2>{_escaped(text)}</h2>")
            case Text(text):
                parts.append(f"<p>{_escaped(text)}</p>")
            case Items(lines):
                parts.append(f"<ul>{''.join(f'<li>{_escaped(line)}</li>' for line in lines)}</ul>")
            case Code(text):
                parts.append(f"<pre>{html.escape(_plain(text, keep=LINES))}</pre>")
            case Table(header, rows, numbers):
                cells = [_cells(header, "th", numbers), *(_cells(row, "td", numbers) for row in rows)]
                parts.append(f"<table>{''.join(cells)}</table>")
            case Picture(name, caption, _):
                data, text = base64.b64encode(images[name]).decode(), _escaped(caption)
                source = f"data:image/png;base64,{data}"
                image = f'<img alt="{text}" width="{_width(images[name])}" src="{source}">'
                parts.append(f"<figure>{image}<figcaption>{text}</figcaption></figure>")
    return "\n".join(parts) + "\n</html>\n"


def _cells(row: Sequence[str], tag: str, numbers: Sequence[int]) -> str:
    kinds = [" class='number'" if k in numbers else "" for k in range(len(row))]
    cells = (f"<{tag}{kind}>{_escaped(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def _escaped(text: str) -> str:
    return html.escape(_plain(text), quote=True)


# Markdown


def _markdown(page: Page, folder: str) -> str:
    parts = [f"<!-- {MARK} -->", f"# {_literal(page.title)}"]
    for block in page.blocks:
        match block:
            case Heading(text):
                parts.append(f"## {_literal(text)}")
            case Text(text):
                parts.append(_begun(text))
            case Items(lines):
                parts.append("\n".join(f"- {_begun(line)}" for line in lines))
            case Code(text):
                text = _plain(text, keep=LINES)
                fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
                parts.append(f"{fence}text\n{text}\n{fence}")
            case Table(header, rows, numbers):
                rule = ["---:" if k in numbers else "---" for k in range(len(header))]
                cells = [list(map(_literal, header)), rule, *(list(map(_literal, row)) for row in rows)]
                parts.append("\n".join(f"| {' | '.join(row)} |" for row in cells))
            case Picture(name, caption, _):
                target = f"{folder}/{name}.png".replace("<", "%3C").replace(">", "%3E")
                parts += [f"![{_literal(caption)}](<{target}>)", _literal(caption)]
    return "\n\n".join(parts) + "\n"


def _literal(text: str) -> str:
    """A text that Markdown shows as it is: no emphasis, link, mention, formula, list or HTML comes of it."""
    found = re.sub(r"([\\`*_{}\[\]#|~$!])", r"\\\1", html.escape(_plain(text), quote=False))
    return found.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;")


def _begun(text: str) -> str:
    """The same at the start of a line, where a dash or a number with a point would begin a list."""
    return re.sub(
        r"^([-+=]|\d+(?=[.)]))(.?)", lambda m: f"\\{m[0]}" if m[1] in "-+=" else f"{m[1]}\\{m[2]}", _literal(text)
    )


def _plain(text: str, keep: str = "") -> str:
    """Without line breaks and control characters."""
    return "".join(one if one.isprintable() or one in keep else " " for one in text).strip()
