"""Which stores read the states of this one: each notes itself in its parents, where it may write there.

note(parent, root)                   # <parent>/children/<12 hex>.json {"root": ...}; a note, nothing more
known(root)                          # the roots of those that did
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from harness.core.errors import CorruptError
from harness.core.files import dump, listing, read_json, write_file
from harness.core.identity import digest

CHILDREN = "children"


def note(parent: Path, root: Path) -> None:
    """Note in a parent store that `root` reads it: nothing of it changes that anything else reads."""
    folder = parent / CHILDREN
    file = folder / f"{digest('child', str(root))[:12]}.json"
    with contextlib.suppress(OSError):  # another's store, or a disk that is only read: it cannot be told then
        if not file.exists():
            folder.mkdir(exist_ok=True)
            write_file(file, dump({"root": str(root)}), folder)


def known(root: Path) -> list[Path]:
    """The stores that noted themselves, by path; whether they are still there is not looked at."""
    found = []
    for name in listing(root / CHILDREN):
        with contextlib.suppress(CorruptError, OSError, KeyError):
            document = read_json(root / CHILDREN / name)
            if document is not None and not name.startswith("."):
                found.append(Path(str(document["root"])))
    return sorted(found)
