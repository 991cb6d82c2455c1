"""Which files servers listed, as a store keeps it, and how to have them listed anew.

`harness.texts.listings` asks once and keeps the answers; a corpus of another list of files is another corpus.

    document, lines = relist(store.root, ["hf://datasets/a/b/*.jsonl"], dry=False)
"""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import files
from harness.core.errors import CorruptError, InputError
from harness.core.units import size
from harness.texts.listings import LISTINGS


@dataclass(frozen=True)
class Kept:
    """What a store keeps of the files of one corpus, or of one of its splits."""

    path: Path
    patterns: tuple[str, ...]
    """As the corpus names them."""
    files: int
    bytes: int
    told: float
    """When servers were asked, in seconds since the epoch."""

    def matches(self, url: str) -> bool:
        """Is one of its patterns this one, or one of these?"""
        return any(pattern == url or fnmatch.fnmatchcase(pattern, url) for pattern in self.patterns)


def relist(root: Path, urls: Sequence[str], *, dry: bool) -> tuple[dict[str, Any], list[str]]:
    """Forget the listings of these URLs; of none, only show all. The document, and lines for a person.

    Raises InputError for a URL of which nothing is kept; nothing is forgotten then.
    """
    known = sorted(_kept(root), key=lambda one: one.patterns)
    for url in urls:
        if not any(one.matches(url) for one in known):
            raise InputError("URL", url, "no listing of such files is kept", "`harness.disk relist` shows what is")
    chosen = [one for one in known if not urls or any(one.matches(url) for url in urls)]
    forgets = bool(urls) and not dry
    for one in chosen if forgets else ():
        one.path.unlink(missing_ok=True)
    rows = [{"files": list(one.patterns), "count": one.files, "bytes": one.bytes, "told": one.told} for one in chosen]
    days = [time.strftime("%Y-%m-%d", time.localtime(one.told)) for one in chosen]
    lines = [
        f"{day}  {', '.join(one.patterns)}: {one.files:,} files, {size(one.bytes)}"
        for day, one in zip(days, chosen, strict=True)
    ]
    end = "forgotten: the next command asks their servers" if forgets else "kept"
    document = {"schema": "rewarm.relist/1", "forgotten": forgets, "listings": rows}
    return document, [*lines, f"{len(chosen)} listings {end}"]


def _kept(root: Path) -> Iterator[Kept]:
    """Damaged ones are left out: they are asked for anew in any case."""
    for name in files.listing(root / LISTINGS):
        path = root / LISTINGS / name
        try:
            document, told = files.read_json(path) or {}, path.stat().st_mtime
            sizes = [int(row[1]) for row in document["files"]]
            yield Kept(path, tuple(map(str, document["patterns"])), len(sizes), sum(sizes), told)
        except (CorruptError, OSError, KeyError, IndexError, TypeError, ValueError):
            continue
