"""docs/benchmarks.md: a section per benchmark, each with what it was measured on, written when it is measured again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.table import Row, cells, machine_line
from harness.core.errors import InputError


def write(page: Path, name: str, facts: dict[str, Any], rows: Sequence[Row]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- end of NAME -->`. InputError if they are missing."""
    header, *body = cells(rows)
    table = [_line(header), _line(["---"] * len(header)), *(_line(line) for line in body)]
    notes = [f"- {row.name}: {row.note}" for row in rows if row.note]
    content = "\n".join([machine_line(facts), "", *table, *(["", *notes] if notes else [])])
    text = page.read_text(encoding="utf-8")
    marks = re.compile(rf"(?s)(<!-- {name} -->\n).*?((?<=\n)<!-- end of {name} -->)")
    if not marks.search(text):
        raise InputError("--page", page, f"it has no section for {name}", f"put <!-- {name} --> and its end there")
    page.write_text(marks.sub(lambda found: found[1] + content + "\n" + found[2], text), encoding="utf-8")


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
