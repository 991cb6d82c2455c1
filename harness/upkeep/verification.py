"""Every checksum of a store, in full: what is damaged is set aside and named, so that it is made or fetched again.

damaged = verify(store, once=False)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core import files
from harness.core.errors import CorruptError
from harness.core.units import size
from harness.model.checkpoints import described
from harness.plan.recorded_runs import program_of
from harness.store.store import Store
from harness.store.usage import Entry
from harness.store.verified import identity, is_remembered, remember

SECONDS = 10.0  # between two lines about how far it is
KINDS = ("states", "measurements", "corpora", "shards", "checkpoints", "runs")


@dataclass
class Found:
    """What came of it."""

    entries: int = 0
    """Those checked."""
    bytes: int = 0
    """Read, or known from before."""
    damaged: list[dict[str, str]] = field(default_factory=list)
    """{kind, name, why} of each that was set aside."""


def verify(store: Store, entries: list[Entry], *, once: bool) -> Found:
    """Check what lies in the store itself, not in its parents. `once`: not what was found whole and has not changed."""
    own, found = Store(store.root), Found()
    left = [entry for entry in entries if entry.kind in KINDS]
    total, last = sum(entry.bytes for entry in left), time.monotonic()
    for entry in left:
        try:
            _check(own, entry, once)
        except (CorruptError, OSError) as error:
            if entry.path.exists() and entry.kind in ("corpora", "shards"):
                files.set_aside(entry.path)
            found.damaged.append({"kind": entry.kind, "name": entry.name, "why": str(error)})
        found.entries += 1
        found.bytes += entry.bytes
        if time.monotonic() - last > SECONDS:
            last = time.monotonic()
            print(f"checked {size(found.bytes)} of {size(total)}", file=sys.stderr)
    return found


def _check(store: Store, entry: Entry, once: bool) -> None:
    """CorruptError if something of it is not as it was written; of states and rows, the store has set it aside then."""
    if entry.kind == "states":
        if not store.verify(entry.name, full=not once) and entry.path.parent.exists():
            raise CorruptError(f"{entry.path}: a checksum does not match")
        _check_rows(store, entry)
    elif entry.kind == "measurements":
        _check_rows(store, entry)
    elif entry.kind == "runs":
        document = files.read_json(entry.path / "run.json")
        if document is not None and program_of(document).address() != document["address"]:
            raise CorruptError(f"{entry.path / 'run.json'}: its program does not have its address")
    elif entry.kind == "checkpoints":
        for name, about in (described(entry.path) or {"files": {}})["files"].items():
            if "sha256" in about and (entry.path / name).exists():
                _check_file(entry.path / name, about["sha256"], aside=True)
    else:
        manifest = files.read_sealed(entry.path / "manifest.json")
        elsewhere = {place["path"]: place["sha256"] for place in manifest.get("places", ()) if place["sha256"]}
        _check_files(store, entry, {**manifest["files"], **elsewhere}, once)


def _check_rows(store: Store, entry: Entry) -> None:
    before = set(files.listing(entry.path))
    store.rows(entry.name)
    if aside := sorted(name for name in set(files.listing(entry.path)) - before if name.startswith(".bad-")):
        raise CorruptError(f"{entry.path / aside[0]}: the checksum does not match")


def _check_files(store: Store, entry: Entry, sums: Mapping[str, Any], once: bool) -> None:
    record = store.root / "verified" / f"{entry.kind}-{entry.name}.json"
    began, known = time.time(), identity(entry.path, [*sums, "manifest.json"])
    if once and is_remembered(record, known):
        return
    fetched = (store.root / "sequences").resolve()
    for name, expected in sums.items():
        path = entry.path / name  # of sequences, a file elsewhere: what was fetched is fetched again
        _check_file(path, expected, aside=path.resolve().is_relative_to(fetched))
    remember(record, known, began)


def _check_file(path: Path, expected: str, *, aside: bool = False) -> None:
    if files.sha256(path) != expected:
        if aside:
            files.set_aside(path)
        raise CorruptError(f"{path}: the checksum does not match")
