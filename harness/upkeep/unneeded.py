"""What of a store may go: what no run needs, and what only some runs need that are to be removed.

removals = unneeded(store, inventory(store.root), wanted(store), older=86_400.0)
removals = only_of(inventory(store.root), rest, chosen)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.core import files
from harness.core.errors import CorruptError
from harness.model.checkpoints import RESOLVED, described
from harness.store.store import Store
from harness.store.usage import ASIDE, KINDS, LEAVINGS, Entry, take_away
from harness.upkeep.needs import Needs, Wanted

# What a run could need: nothing of it is removed while it is not known what is needed.
OF_RUNS = ("states", "measurements", "corpora", "shards", "sequences", "listings", "fetched", "checkpoints")
NO_RUN = "no recorded run needs it"


@dataclass(frozen=True)
class Removal:
    """An entry that may go, and why."""

    entry: Entry
    why: str


@dataclass
class Kept:
    """What stays."""

    states: set[str] = field(default_factory=set)
    """Addresses."""
    corpora: set[str] = field(default_factory=set)
    """First 12 hex digits of recipe keys."""
    checkpoints: set[str] = field(default_factory=set)
    """Contents."""
    manifests: str = ""
    """Of the corpora that stay: they name their shards and listings."""
    building: bool = False
    """An unfinished run needs a corpus that is not there as far as it reads it, or a damaged one: what may be a part
    of it stays."""
    at_work: bool = False
    """Somebody is writing a corpus right now, whose run is recorded once all its corpora are there."""


def unneeded(
    store: Store, entries: Sequence[Entry], found: Wanted, *, older: float, keep_finals: Iterable[Needs] = ()
) -> list[Removal]:
    """What no run needs and nothing changed for `older` seconds, in the order in which it goes.

    `keep_finals`: finished runs of which only their ends and bases are to stay.
    """
    thinned = set(keep_finals)
    kept = _kept(entries, [_thinned(needs) if needs in thinned else needs for needs in found.all])
    before = time.time() - older
    chosen = []
    for entry in entries:
        if ((found.stops or found.unread) and entry.kind in OF_RUNS) or entry.changed > before:
            continue
        why = _why(store, entry, kept, found)
        if why is not None:
            chosen.append(Removal(entry, why))
    return _ordered(chosen)


def only_of(
    entries: Sequence[Entry], rest: Sequence[Needs], chosen: Sequence[Needs], *, keep_corpora: bool = False
) -> list[Removal]:
    """The records of the chosen runs, and what they need and nobody of the rest."""
    kept = _kept(entries, rest)
    mine = _kept([], chosen)
    folders = {needs.folder for needs in chosen}
    gone = [
        entry.path
        for entry in entries
        if entry.kind == "corpora" and entry.name[-12:] in mine.corpora - kept.corpora and not keep_corpora
    ]
    shards = "".join(manifest_of(path) or "" for path in gone)
    removals = []
    for entry in entries:
        address = entry.name.partition(".")[0]
        if entry.kind == "runs" and entry.path in folders:
            removals.append(Removal(entry, "it is the record"))
        elif entry.kind in ("states", "measurements", "failures", "jobs", "verified"):
            if address in mine.states - kept.states:
                removals.append(Removal(entry, "no other run needs it"))
        elif entry.kind == "corpora":
            if entry.path in gone:
                removals.append(Removal(entry, "no other run reads it"))
        elif entry.kind in ("shards", "sequences"):
            if entry.name in shards and entry.name not in kept.manifests and not (kept.building or kept.at_work):
                removals.append(Removal(entry, "no other corpus is made of it"))
        elif entry.kind == "checkpoints" and (content := content_of(entry)) in mine.checkpoints - kept.checkpoints:
            assert content is not None
            removals.append(Removal(entry, "no other run starts from it"))
    return _ordered(removals)


def carry_out(
    store: Store, removals: Sequence[Removal], again: Callable[[], Sequence[Removal]] | None = None
) -> tuple[list[Removal], list[str]]:
    """(what this call removed, what it left and why). Each disappears as one, so that a kill leaves a whole store.

    `again`: what may go by now, asked when another run was recorded meanwhile.
    """
    removed, left = [], []
    runs = files.listing(store.root / "runs")
    for removal in removals:
        entry = removal.entry
        if again is not None and entry.kind in OF_RUNS and (now := files.listing(store.root / "runs")) != runs:
            runs, may_go = now, {one.entry.path for one in again()}
            removals = [one for one in removals if one.entry.path in may_go]
        if removal not in removals:
            continue
        if entry.kind == "states" and (who := store.at_work(entry.name)):
            left.append(f"state {entry.name[:12]}: {who.get('host')} is at work on it")
            continue
        try:
            if take_away(entry.path, store.root):
                removed.append(removal)
        except PermissionError:
            left.append(f"{entry.kind} {entry.name}: not ours to remove; {files.owner_of(entry.path.parent)}")
    return removed, left


def _thinned(needs: Needs) -> Needs:
    """A finished run of which only its ends stay."""
    if not needs.finished:
        return needs
    return replace(needs, states=needs.ends)


def _kept(entries: Sequence[Entry], needs: Sequence[Needs]) -> Kept:
    kept = Kept()
    for one in needs:
        kept.states |= one.states
        kept.corpora |= {key[:12] for key in one.corpora}
        kept.checkpoints |= {one.checkpoint} if one.checkpoint else set()
    there = [entry for entry in entries if entry.kind == "corpora" and entry.name[-12:] in kept.corpora]
    manifests = {entry.name[-12:]: manifest_of(entry.path) for entry in there}
    kept.manifests = "".join(text or "" for text in manifests.values())
    whole = {name for name, text in manifests.items() if text and "train" in json.loads(text)["splits"]}
    unfinished = [one for one in needs if not one.finished]
    to_come = {key[:12] for one in unfinished for key in one.corpora} - manifests.keys()
    to_come |= {key[:12] for one in unfinished for key in one.trained_on} - whole
    kept.building = bool(to_come) or None in manifests.values()
    written = [e for e in entries if e.kind == LEAVINGS and e.path.parent.name in ("corpora", "shards", "fetched")]
    kept.at_work = any(not files.is_abandoned(entry.path) for entry in written)
    return kept


def _why(store: Store, entry: Entry, kept: Kept, found: Wanted) -> str | None:
    """Why an entry is of no use; None if it is, or may be."""
    address = entry.name.partition(".")[0]
    match entry.kind:
        case "states" | "measurements":
            return None if address in kept.states else NO_RUN
        case "corpora":
            return None if entry.name[-12:] in kept.corpora or kept.at_work else NO_RUN
        case "shards" | "sequences" | "listings":
            known = address if entry.kind != "listings" else _digest(entry)
            return None if kept.building or kept.at_work or known in kept.manifests else "no corpus is made of it"
        case "fetched":
            return None if kept.building or kept.at_work else "every corpus that a run needs is built"
        case "checkpoints":
            return None if entry.name == RESOLVED or content_of(entry) in kept.checkpoints else "no run starts from it"
        case "failures":
            stored = (store.root / "states" / address).is_dir()
            return "what failed is stored by now" if stored else None if address in kept.states else NO_RUN
        case "jobs":
            return _why_job(store, entry, kept, found)
        case "verified":
            kind, dash, name = address.partition("-")  # those of states have their address alone
            place = store.root / kind / name if dash else store.root / "states" / address
            return None if place.exists() else "what it tells of is gone"
        case "runs":
            return None if (entry.path / "run.json").exists() else "it holds no run.json"
        case _ if entry.kind == ASIDE:
            return "it is damaged"
        case _ if entry.kind == LEAVINGS:
            return "who wrote it is dead" if files.is_abandoned(entry.path) else None
    return None


def _why_job(store: Store, entry: Entry, kept: Kept, found: Wanted) -> str | None:
    """Logs of segments, submissions, and the code that these run."""
    if entry.name.endswith(".log"):
        return None if entry.name.partition(".")[0] in kept.states else NO_RUN
    if entry.name.startswith("code-"):
        return None if found.jobs else "no job that would run it is queued"
    try:
        record = files.read_json(entry.path / "submission.json")
    except CorruptError:
        record = None
    if entry.name in found.jobs or record is None:
        return None
    addresses = {address for element in record["elements"] for address in element}
    unfinished = any(a in kept.states and not (store.root / "states" / a).is_dir() for a in addresses)
    return None if unfinished else "all its jobs have ended"


def manifest_of(folder: Path) -> str | None:
    """The text of a corpus' manifest, which names its shards and listings; None if that is damaged."""
    try:
        return json.dumps(files.read_sealed(folder / "manifest.json"))
    except (OSError, CorruptError, ValueError, RecursionError):
        return None


def _digest(entry: Entry) -> str:
    """Of the files in a listing, as a recipe has it; empty, which every text holds, where it cannot be read."""
    try:
        return str((files.read_json(entry.path) or {}).get("digest", ""))
    except CorruptError:
        return ""


def content_of(entry: Entry) -> str | None:
    """Of the checkpoint in a folder."""
    try:
        return str((described(entry.path) or {}).get("content"))
    except CorruptError:
        return None


def _ordered(removals: list[Removal]) -> list[Removal]:
    order = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(removals, key=lambda r: (order.get(r.entry.kind, len(order)), r.entry.name))
