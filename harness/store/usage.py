"""What lies in a store and takes space, and how it leaves: an entry for each state, corpus, shard, job and so on.

Without torch, and without a word about who needs what (`harness.upkeep`).

    for entry in inventory(root): print(entry.kind, entry.name, entry.bytes)
    take_away(entry.path, root)          # it disappears as one: killed half-way, a temporary folder is left
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.core import files

# Folders of a store whose entries are known, in the order in which they are removed: what names others goes first.
KINDS = (
    "runs",
    "states",
    "measurements",
    "failures",
    "jobs",
    "corpora",
    "shards",
    "sequences",
    "listings",
    "fetched",
    "checkpoints",
    "verified",
    "leases",
    "children",
    "answers",
)
ASIDE, LEAVINGS, OTHER = "set aside", "leavings", "other"
_BAD = ".bad-"  # what `files.set_aside` names it


@dataclass(frozen=True)
class Entry:
    """Something in a store."""

    kind: str
    """One of `KINDS`; `set aside` (damaged), `leavings` (temporary), `other` (not of a store)."""
    name: str
    """As it is called in its folder."""
    path: Path
    """Where it lies."""
    bytes: int
    """Of its files."""
    changed: float
    """When the newest of them was, in seconds since the epoch."""


def inventory(root: Path) -> list[Entry]:
    """All that lies in a store, by kind and name; links are not followed."""
    found = []
    for folder in sorted(files.listing(root)):
        path = root / folder
        if folder not in KINDS or path.is_symlink():
            if folder != "store.json":
                found.append(_entry(OTHER, path))
            continue
        for name in sorted(files.listing(path)):
            if name == ".lock":
                continue
            aside = ASIDE if name.startswith(_BAD) else LEAVINGS if name.startswith(files.PREFIX) else folder
            found.append(_entry(aside, path / name))
    return found


def take_away(path: Path, root: Path) -> bool:
    """Remove a file or folder of a store as one. False if it is gone already. PermissionError if it is not ours.

    It is first renamed to where every writer clears away what dead processes left, and nobody looks for anything else.
    """
    doomed = root / "states" / files.temporary_name()
    doomed.parent.mkdir(exist_ok=True)
    try:
        os.rename(path, doomed)
    except FileNotFoundError:
        return False
    if doomed.is_dir() and not doomed.is_symlink():
        shutil.rmtree(doomed, ignore_errors=True)  # another process may clear it away, too
    else:
        doomed.unlink(missing_ok=True)
    return True


def _entry(kind: str, path: Path) -> Entry:
    known = [(status.st_size, status.st_mtime) for status in _files(path) if stat.S_ISREG(status.st_mode)]
    changed = max((when for _, when in known), default=0.0)
    return Entry(kind, path.name, path, sum(size for size, _ in known), changed or _changed(path))


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _files(path: Path) -> Iterator[os.stat_result]:
    """Of everything below, and of itself; what disappears meanwhile is left out."""
    try:
        status = path.lstat()
        inside = list(os.scandir(path)) if stat.S_ISDIR(status.st_mode) else []
    except OSError:
        return
    yield status
    for entry in inside:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry.stat(follow_symlinks=False)
        except OSError:
            continue
