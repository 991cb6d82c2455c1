"""Pages with figures: Markdown with its figures in a folder beside it, or one HTML file with all of it inside.

    page = Page("A fit", (Heading("Data"), Text("240 rows"), Table(("", "value"), rows), Picture("fit", "...", draw)))
    check_page("--report", path)        # before the work: can it be written, and is what stands there a page of ours?
    write_page("--report", path, page)

Above `analysis.report.blocks`, which says what a page is made of, and `analysis.report.html_page`. A page appears whole
or not at all.
"""

from __future__ import annotations

import html
import io
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from analysis.figures.style import figure_of
from analysis.report.blocks import (
    LINES,
    Block,
    Code,
    Details,
    Heading,
    Image,
    Items,
    Line,
    Link,
    Page,
    Picture,
    Table,
    Text,
    plain,
    spans,
)
from analysis.report.html_page import html_page
from harness.core.command import check_file, unwritable
from harness.core.errors import InputError
from harness.core.files import temporary_name, write_file

SUFFIXES = (".html", ".md")
MARK = "rewarm.report/1"  # in the first line of a page
OWNER = "made-by-rewarm.txt"  # in the folder of a page's figures
BESIDE = (".png", ".svg", ".json")  # what else is there


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
    if foreign := sorted(one for one in inside if one != OWNER and not one.endswith(BESIDE)):
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
            write_file(path, html_page(page, MARK, images).encode(), path.parent)
        else:
            told = f"Figures of {path.name}, written by a command's --report, which writes them anew.\n"
            files = {f"{key}.png": image for key, image in images.items()}
            files |= {f"{block.name}.svg": block.svg for block in page.blocks if isinstance(block, Image)}
            files |= {**page.beside, OWNER: told.encode()}
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


# Markdown


def _markdown(page: Page, folder: str) -> str:
    parts = [f"<!-- {MARK} -->", f"# {_literal(page.title)}", *_parts(page.blocks, folder)]
    return "\n\n".join(parts) + "\n"


def _parts(blocks: Sequence[Block], folder: str) -> Iterator[str]:
    """What blank lines stand between."""
    for block in blocks:
        match block:
            case Heading(text, level, anchor):
                yield f"{'#' * level} {_anchor(anchor)}{_line(text)}"
            case Text(text):
                yield _begun(_line(text))
            case Items(lines):
                yield "\n".join(f"- {_begun(_line(line))}" for line in lines)
            case Code(text):
                text = plain(text, keep=LINES).strip()
                fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
                yield f"{fence}text\n{text}\n{fence}"
            case Table():
                yield _table(block)
            case Picture(name, caption, _):
                yield _image(caption, f"{folder}/{name}.png")
                yield _line(caption)
            case Image(name, caption, _, shows):
                yield _image(shows, f"{folder}/{name}.svg")
                yield _line(caption)
            case Details(summary, inside):
                yield f"<details><summary>{html.escape(plain(summary))}</summary>"
                yield from _parts(inside, folder)
                yield "</details>"


def _table(table: Table) -> str:
    rule = ["---:" if k in table.numbers else "---" for k in range(len(table.header))]
    rows = [list(map(_line, row)) for row in table.rows]
    for row, anchor in zip(rows, table.anchors, strict=False):
        row[0] = _anchor(anchor) + row[0]
    return "\n".join(f"| {' | '.join(row)} |" for row in [list(map(_literal, table.header)), rule, *rows])


def _image(shows: str, file: str) -> str:
    return f"![{_literal(shows)}](<{file.replace('<', '%3C').replace('>', '%3E')}>)"


def _anchor(anchor: str) -> str:
    return f'<a id="{html.escape(anchor)}"></a>' if anchor else ""


def _line(line: Line) -> str:
    return "".join(
        f"[{_literal(one.text)}](#{one.target})" if isinstance(one, Link) else _literal(one) for one in spans(line)
    ).strip()


def _literal(text: str) -> str:
    """A text that Markdown shows as it is: no emphasis, link, mention, formula, list or HTML comes of it."""
    found = re.sub(r"([\\`*_{}\[\]#|~$!])", r"\\\1", html.escape(plain(text), quote=False))
    return found.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;")


def _begun(text: str) -> str:
    """The same at the start of a line, where a dash or a number with a point would begin a list."""
    return re.sub(r"^([-+=]|\d+(?=[.)]))(.?)", lambda m: f"\\{m[0]}" if m[1] in "-+=" else f"{m[1]}\\{m[2]}", text)
