"""All figures and captions on one page: HTML with the images inside, or Markdown beside them.

write(Path("figures/all.html"), drawn, notes)          # what `paper_figures.drawing.draw` gives
"""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core.command import unwritable


@dataclass(frozen=True)
class Drawn:
    """A figure on disk."""

    name: str
    image: Path  # PNG
    caption: str


def write(path: Path, figures: Sequence[Drawn], notes: Sequence[str]) -> None:
    """Write the page, HTML or Markdown by its name; `notes` say what is missing. Raises InputError if it cannot."""
    page = _html(figures, notes) if path.suffix == ".html" else _markdown(path, figures, notes)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise unwritable("--report", path, error) from None


def _html(figures: Sequence[Drawn], notes: Sequence[str]) -> str:
    parts = [
        "<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>Rewarm: figures</title>",
        "<style>body{font:16px/1.5 sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}img{max-width:100%}"
        "figure{margin:0 0 2.5rem}h2{font-size:1.1rem}</style><h1>Figures</h1>",
    ]
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    for figure in figures:
        data = base64.b64encode(figure.image.read_bytes()).decode()
        text = html.escape(figure.caption, quote=True)
        parts.append(
            f"<figure><h2>{html.escape(figure.name)}</h2><img alt='{text}' src='data:image/png;base64,{data}'></figure>"
        )
    return "\n".join(parts) + "\n</html>\n"


def _markdown(path: Path, figures: Sequence[Drawn], notes: Sequence[str]) -> str:
    parts = ["# Figures", *notes]
    for figure in figures:
        image = Path(os.path.relpath(figure.image, path.parent)).as_posix()
        parts += [f"## {figure.name}", f"![{figure.name}]({image})", figure.caption]
    return "\n\n".join(parts) + "\n"
