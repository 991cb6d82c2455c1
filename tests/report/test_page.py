"""Pages with figures: whole or not at all, nobody else's files touched, every text as it is."""

from __future__ import annotations

import base64
import html
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.report import page as module
from analysis.report.blocks import (
    Block,
    Code,
    Details,
    Heading,
    Image,
    Items,
    Link,
    Page,
    Picture,
    Table,
    Text,
)
from analysis.report.html_page import _POLICY
from analysis.report.page import OWNER, check_page, write_page
from harness.core.errors import InputError

HOSTILE = "a|b`c`*d*_e_<script>alert(1)</script>[x](http://evil)![y](z) $1$ @you &amp; \"'\n# h"


def line(ax: Axes) -> None:
    ax.plot([0, 1], [1, 2])


def page(text: str = "text", *more: Block, second: str = "one") -> Page:
    blocks: list[Block] = [
        Heading(text),
        Text(text),
        Items([text, "- nested", "1. nested"]),
        Code(f"{text}\n```\nmore"),
        Table(("name", text), [(text, "1"), (second, "-2")], (1,)),
        Picture("first", text, (line, line)),
        *more,
    ]
    return Page(text, blocks, {"fit.json": b"{}"})


@pytest.fixture(autouse=True)
def drawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures cost .2 s each: all tests but those that look at one have a small one."""
    if "figures" not in request.node.name:
        data = io.BytesIO()
        Figure((1, 1)).savefig(data, format="png")
        monkeypatch.setattr(module, "_png", lambda _: data.getvalue())


class Reader(HTMLParser):
    """The tags of a page, and all its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_one_file_that_needs_nothing_else(tmp_path: Path) -> None:
    write_page("--report", tmp_path / "page.html", page())
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    read = Reader((tmp_path / "page.html").read_text())
    assert not {tag for tag, _ in read.tags} & {"script", "link", "iframe", "object"}
    (image,) = (attributes for tag, attributes in read.tags if tag == "img")
    assert (image["src"] or "").startswith("data:image/png;base64,iVBOR")
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}) in read.tags
    assert "default-src 'none'" in _POLICY


def test_html_shows_every_text_as_it_is(tmp_path: Path) -> None:
    write_page("--report", tmp_path / "page.html", page(HOSTILE))
    text = (tmp_path / "page.html").read_text()
    read = Reader(text)
    shown = HOSTILE.replace("\n", " ")
    assert read.text.count(shown) >= 6
    known = "html meta title style main h1 h2 p ul li pre div table thead tbody tr th td figure img figcaption"
    assert {tag for tag, _ in read.tags} == set(known.split(" "))
    assert [attributes["alt"] for tag, attributes in read.tags if tag == "img"] == [shown]


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="144pt" height="72pt" viewBox="0 0 144 72"></svg>'


def linked(text: str = "text") -> list[Block]:
    """A heading, a row and links to them; a table that is folded."""
    table = Table(("claim", "figures"), [(text, (Link(text, "figure-a"), ", ", text))], anchors=["claim-R1"])
    folded = Details(text, [Text(("see ", Link("R1", "claim-R1"))), Table(("a",), [("b",)])])
    return [Heading(text, 3, "figure-a"), Image("a", text, SVG, "two lines"), table, folded]


def test_links_lead_to_headings_and_rows(tmp_path: Path) -> None:
    for name in ("page.html", "page.md"):
        write_page("--report", tmp_path / name, page(HOSTILE, *linked(HOSTILE)))
    text = (tmp_path / "page.html").read_text()
    read = Reader(text)
    ids = {attributes["id"]: tag for tag, attributes in read.tags if "id" in attributes}
    assert ids == {"figure-a": "h3", "claim-R1": "tr"}
    links = [attributes["href"] for tag, attributes in read.tags if tag == "a"]
    assert links == ["#figure-a", "#claim-R1"]
    assert [attributes["alt"] for tag, attributes in read.tags if tag == "img"][1] == "two lines"
    assert f"data:image/svg+xml;base64,{base64.b64encode(SVG).decode()}" in text
    assert "<details><summary>a|b`c" in text
    markdown = (tmp_path / "page.md").read_text()
    assert set(re.findall(r'<a id="([^"]*)"></a>', markdown)) == set(ids)
    assert re.findall(r"\]\(#([^)]*)\)", markdown) == [link[1:] for link in links if link]
    assert "![two lines](<page_files/a.svg>)" in markdown
    assert (tmp_path / "page_files" / "a.svg").read_bytes() == SVG


def test_tables_name_their_rows_and_columns(tmp_path: Path) -> None:
    """For a screen reader; without a header there is no empty one. What is wide can be scrolled by keyboard."""
    long = "a sentence that takes more than forty characters"
    tables = [Table(("arm", "n"), [("one", "1"), (long, "2")], (1,), name="arms"), Table(("", ""), [("a", "b")])]
    write_page("--report", tmp_path / "page.html", Page("two", tables))
    text = (tmp_path / "page.html").read_text()
    assert text.count("<thead>") == 1
    assert "<th scope='col' class='long'>arm</th><th scope='col' class='number'>n</th>" in text
    assert "<th scope='row' class='long'>one</th><td class='number'>1</td>" in text
    assert '<div class="wide" role="region" tabindex="0" aria-label="arms"><table>' in text
    assert text.count("<main>") == text.count("name='viewport'") == 1


def test_markdown_escapes_what_would_mean_something(tmp_path: Path) -> None:
    write_page("--report", tmp_path / "page.md", page(HOSTILE))
    text = (tmp_path / "page.md").read_text()
    fenced = re.search(r"(?ms)^````text\n(.*?)^````$", text)
    assert fenced is not None  # longer than any fence inside
    rest = text.replace(fenced[0], "")
    for bare in (r"(?<!\\)\*", r"(?<!\\)_(?!files)", r"(?<!\\)`", r"<script", "http://", "@you", r"(?<!\\)\$"):
        assert not re.search(bare, rest), bare
    rows = [row for row in rest.splitlines() if row.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [3] * 4
    assert "- \\- nested" in rest
    assert "- 1\\. nested" in rest
    assert html.unescape(re.sub(r"\\(.)", r"\1", rest)).count("<script>alert(1)</script>") >= 6


def test_markdown_has_its_figures_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    write_page("--report", file, page())
    folder = tmp_path / "page_files"
    assert sorted(path.name for path in folder.iterdir()) == ["first.png", "fit.json", OWNER]
    assert "](<page_files/first.png>)" in file.read_text()
    before = (folder / "first.png").read_bytes()
    write_page("--report", file, page(second="two"))  # again, over its own
    assert "two" in file.read_text()
    assert (folder / "first.png").read_bytes() == before  # equal figures are equal bytes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.md", "page_files"]


def test_nothing_of_anybody_else_is_overwritten(tmp_path: Path) -> None:
    notes, folder = tmp_path / "notes.md", tmp_path / "page_files"
    notes.write_text("# mine")
    with pytest.raises(InputError, match="there is a file that is no report"):
        write_page("--report", notes, page())
    folder.mkdir()
    (folder / "plot.png").write_bytes(b"mine")
    with pytest.raises(InputError, match="is no folder of a report"):
        write_page("--report", tmp_path / "page.md", page())
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"holds thesis\.tex, which no report wrote"):
        write_page("--report", tmp_path / "page.md", page())
    (tmp_path / "other_files").write_text("a file")
    with pytest.raises(InputError, match="which no report wrote"):
        check_page("--report", tmp_path / "other.md")
    assert notes.read_text() == "# mine"
    assert not (tmp_path / "page.md").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("page.pdf", "no kind of file for it"),
        ("nowhere/page.md", "there is no folder"),
        ("folder.md", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_one_line(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(InputError, match=why):
        write_page("--report", tmp_path / name, page())


@pytest.mark.parametrize("failing", ["write_file", "_png"])
def test_a_page_that_fails_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    file = tmp_path / "page.md"
    write_page("--report", file, page())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, failing, full)
    with pytest.raises((InputError, OSError), match="No space left"):
        write_page("--report", file, page(second="two"))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises((InputError, OSError), match="No space left"):
        write_page("--report", tmp_path / "new.md", page())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.md", "page_files"]
