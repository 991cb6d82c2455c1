"""A page as one HTML file, with all of it inside: no network, no script, and a policy that forbids both.

Beneath `analysis.report.page`, which writes it. It follows the reader's light or dark scheme (figures stay on white),
is read at a phone's width (what is wider than the window scrolls by itself, by keyboard, too), and prints with all that
can be unfolded.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping

from analysis.figures.style import DPI
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

SHORT, LONG = 20, 40  # characters: columns of less are not broken, of more kept wide enough to be read
SHOWN, READ = 130, 96  # pixels of an inch of a figure: where there is room, and at least
STYLE = """
:root{color-scheme:light dark;
--text:#111;--soft:#444;--rule:#ccc;--back:#fff;--code:#f4f4f4;--link:#0b57a4;--here:#fff3bf}
@media (prefers-color-scheme:dark){
:root{--text:#e8e8e8;--soft:#b8b8b8;--rule:#4a4a4a;--back:#161618;--code:#232327;--link:#8ab8f0;--here:#44401f}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;margin:0;color:var(--text);background:var(--back)}
main{max-width:68rem;margin:0 auto;padding:1rem;overflow-wrap:anywhere}
p,ul,figcaption{max-width:48rem}
h1{font-size:1.7rem;line-height:1.25}h2{margin-top:2.5rem}h3{margin-top:2.2rem;font-size:1.1rem}
h1,h2,h3{text-wrap:balance}
a{color:var(--link)}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
:target{background:var(--here)}
figure{margin:1rem 0}
figcaption{color:var(--soft);margin-top:.5rem}
img{display:block;background:#fff;height:auto}
figure .wide img{width:100%}
.wide{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;overflow-wrap:normal;font-size:.9rem;line-height:1.4}
th,td{padding:.25rem .9rem .25rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
thead th{vertical-align:bottom}
tbody th{font-weight:inherit}
.long{min-width:13rem}
tbody .short{white-space:nowrap}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
pre{background:var(--code);padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem}
details{margin:1rem 0}
summary{cursor:pointer;color:var(--link)}
@media print{
@page{margin:14mm}
:root{color-scheme:light;--text:#000;--soft:#333;--rule:#bbb;--back:#fff;--code:#f4f4f4;--link:#000;--here:transparent}
body{font-size:10pt}
main,p,ul,figcaption{max-width:none;padding-inline:0}
ul{padding-left:1.5rem}
a{text-decoration:none}
table{font-size:7.5pt;width:100%}
th,td{padding-right:.4rem}
.long{min-width:6rem;overflow-wrap:anywhere}
.wide{overflow:visible}
figure .wide img{min-width:0!important}
h1,h2,h3,summary{break-after:avoid}
figure,tr,img{break-inside:avoid}
details::details-content{content-visibility:visible;block-size:auto}
}"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def html_page(page: Page, mark: str, images: Mapping[str, bytes]) -> str:
    """The file's text. `mark`: a comment in its first line; `images`: the PNG of each `Picture`, by name."""
    title = _escaped(page.title)
    parts = [
        f"<!DOCTYPE html><!-- {mark} --><html lang='en'><meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>",
        *(_block(block, images) for block in page.blocks),
    ]
    return "\n".join(parts) + "\n</main></html>\n"


def _block(block: Block, images: Mapping[str, bytes]) -> str:
    match block:
        case Heading(text, level, anchor):
            return f"<h{level}{_anchor(anchor)}>{_escaped(text)}</h{level}>"
        case Text(text):
            return f"<p>{_line(text)}</p>"
        case Items(lines):
            return f"<ul>{''.join(f'<li>{_line(line)}</li>' for line in lines)}</ul>"
        case Code(text):
            return f"<pre>{html.escape(plain(text, keep=LINES).strip())}</pre>"
        case Table():
            return _table(block)
        case Picture(name, caption, _):
            png = images[name]
            inches = int.from_bytes(png[16:20], "big") / DPI  # the header's first number
            return _figure(name, caption, caption, inches, "png", png)
        case Image(name, caption, svg, shows):
            return _figure(name, shows, caption, _inches(svg), "svg+xml", svg)
        case Details(summary, blocks):
            inside = "\n".join(_block(one, images) for one in blocks)
            return f"<details><summary>{_escaped(summary)}</summary>\n{inside}\n</details>"


def _table(table: Table) -> str:
    most = [max((len(_text(row[k])) for row in table.rows), default=0) for k in range(len(table.header))]
    kinds = [" class='number'" if k in table.numbers else _kind(characters) for k, characters in enumerate(most)]
    heads = "".join(
        f"<th scope='col'{kind}>{_escaped(text)}</th>" for text, kind in zip(table.header, kinds, strict=True)
    )
    head = f"<thead><tr>{heads}</tr></thead>" if any(table.header) else ""
    rows = []
    for row, anchor in zip(table.rows, table.anchors or [""] * len(table.rows), strict=True):
        first, *others = (
            (f"<th scope='row'{kind}>{_line(cell)}</th>" if not k else f"<td{kind}>{_line(cell)}</td>")
            for k, (cell, kind) in enumerate(zip(row, kinds, strict=True))
        )
        rows.append(f"<tr{_anchor(anchor)}>{first}{''.join(others)}</tr>")
    return _wide(table.name, f"<table>{head}<tbody>{LINES.join(rows)}</tbody></table>")


def _kind(characters: int) -> str:
    """Of a column of texts, the longest of so many."""
    return " class='long'" if characters > LONG else " class='short'" if characters < SHORT else ""


def _figure(name: str, shows: str, caption: str, inches: float, kind: str, data: bytes) -> str:
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    size = f"max-width:{round(inches * SHOWN)}px;min-width:{round(inches * READ)}px"
    image = f'<img alt="{_escaped(shows)}" style="{size}" src="{source}">'
    return f"<figure>{_wide(name, image)}<figcaption>{_escaped(caption)}</figcaption></figure>"


def _inches(svg: bytes) -> float:
    """The width of an SVG that matplotlib wrote, in points there."""
    found = re.search(rb'<svg [^>]*?width="([0-9.]+)pt"', svg)
    assert found is not None
    return float(found[1]) / 72


def _wide(name: str, inside: str) -> str:
    """What scrolls by itself where the window is narrower."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{_escaped(name)}">{inside}</div>'


def _line(line: Line) -> str:
    return "".join(
        f'<a href="#{_escaped(one.target)}">{_escaped(one.text)}</a>' if isinstance(one, Link) else _part(one)
        for one in spans(line)
    ).strip()


def _text(line: Line) -> str:
    return "".join(one.text if isinstance(one, Link) else one for one in spans(line))


def _anchor(anchor: str) -> str:
    return f' id="{_escaped(anchor)}"' if anchor else ""


def _escaped(text: str) -> str:
    return _part(text).strip()


def _part(text: str) -> str:
    return html.escape(plain(text), quote=True)
