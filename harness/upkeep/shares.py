"""How much of a store each run holds, and how much it alone holds: what `rm` would free.

for needs, held, own in shares(inventory(root), found.all): print(needs.name, held, own)
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.store.usage import Entry
from harness.upkeep.needs import Needs
from harness.upkeep.unneeded import content_of, manifest_of

Thing = tuple[str, str]  # (what it is, its name)


def shares(entries: Sequence[Entry], everyone: Sequence[Needs]) -> Iterator[tuple[Needs, int, int]]:
    """(needs, bytes, bytes of what nobody else needs), for each; what several share counts whole for each of them."""
    sizes: Counter[Thing] = Counter()
    manifests: dict[str, Path] = {}
    for entry in entries:
        for thing in _things(entry):
            sizes[thing] += entry.bytes
        if entry.kind == "corpora":
            manifests[entry.name[-12:]] = entry.path
    parts = {name for kind, name in sizes if kind == "part"}

    @functools.cache
    def made_of(corpus: str) -> frozenset[str]:
        text = manifest_of(manifests[corpus]) if corpus in manifests else None
        return frozenset(name for name in parts if name in (text or ""))

    held = [_needed(needs, made_of) & sizes.keys() for needs in everyone]
    users = Counter(thing for things in held for thing in things)
    for needs, things in zip(everyone, held, strict=True):
        own = sum(sizes[thing] for thing in things if users[thing] == 1)
        yield needs, sum(sizes[thing] for thing in things), own


def _things(entry: Entry) -> Iterator[Thing]:
    if entry.kind in ("states", "measurements", "failures", "jobs", "verified"):
        yield "address", entry.name.partition(".")[0]
    elif entry.kind == "corpora":
        yield "corpus", entry.name[-12:]
    elif entry.kind in ("shards", "sequences"):
        yield "part", entry.name
    elif entry.kind == "checkpoints":
        yield "checkpoint", content_of(entry) or ""
    elif entry.kind == "runs":
        yield "record", str(entry.path)


def _needed(needs: Needs, made_of: functools._lru_cache_wrapper[frozenset[str]]) -> set[Thing]:
    corpora = {key[:12] for key in needs.corpora}
    return {
        *(("address", address) for address in needs.states),
        *(("corpus", corpus) for corpus in corpora),
        *(("part", part) for corpus in corpora for part in made_of(corpus)),
        ("checkpoint", needs.checkpoint or "none"),
        ("record", str(needs.folder)),
    }
