"""`python -m harness.disk usage|gc|verify|rm|relist`: what takes space in a store, and what may go.

usage    what takes space: by kind, by run, and what no run needs
gc       remove what no recorded run and no queued job needs; --keep-finals also what only leads to finished runs
rm       remove runs, and what they alone need
verify   read everything, set aside what is damaged
relist   forget which files servers listed, so that the next command asks them again

What is removed disappears as one, so that a kill at any moment leaves a whole store. --dry-run only says what would go.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.cli import run_command
from harness.core.errors import InputError
from harness.core.options import Parser, path, refuse_words
from harness.core.units import size
from harness.plan.recorded_runs import find_run
from harness.store.lease import removal
from harness.store.store import Store
from harness.store.usage import Entry, inventory
from harness.upkeep.needs import Needs, Wanted, wanted, with_saves
from harness.upkeep.relisting import relist
from harness.upkeep.shares import shares
from harness.upkeep.unneeded import Removal, carry_out, only_of, unneeded
from harness.upkeep.verification import verify

SHOWN = 30  # lines of a list; --json has all
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def main(arguments: Sequence[str]) -> int:
    parser = _parser()
    options, words = parser.read(arguments)
    refuse_words(words, parser, arguments)
    store = Store(options.root)
    if not (store.root / "store.json").exists():
        raise InputError("--root", options.root, "there is no store (no store.json)", "name its folder")
    commands = {"usage": _usage, "gc": _gc, "verify": _verify, "rm": _rm, "relist": _relist}
    with contextlib.ExitStack() as stack:
        if not getattr(options, "dry_run", True):
            store.check_writable()
            stack.enter_context(removal(store.root / "leases"))
        document, lines, status = commands[options.command](store, options)
    print(json.dumps(document) if options.json else "\n".join(lines))
    return int(status)


def _parser() -> Parser:
    parser = Parser(prog="python -m harness.disk", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="usage|gc|verify|rm|relist")
    made = {name: commands.add_parser(name, prog=f"python -m harness.disk {name}") for name in _ABOUT}
    for name, one in made.items():
        one.description = _ABOUT[name]
        one.add_argument("--root", type=path, default=Path("runs"), help="the store (default: runs)")
        one.add_argument("--json", action="store_true", help="one JSON document")
    for one in (made["gc"], made["rm"], made["relist"]):
        one.add_argument("--dry-run", action="store_true", help="only say what would go")
    for one in (made["usage"], made["gc"], made["rm"]):
        one.add_argument("--runs", metavar="GLOB", help="runs of these names, such as 'demo-*'")
    made["gc"].add_argument("--keep-finals", action="store_true", help="of finished runs keep ends and bases alone")
    made["gc"].add_argument("--older", type=age, default="1d", metavar="AGE", help="than this: 30d, 12h, 0d (1d)")
    made["rm"].add_argument("names", nargs="*", metavar="RUN", help="a run's name, folder or key")
    made["rm"].add_argument("--older", type=age, metavar="AGE", help="runs in which nothing was written since")
    made["rm"].add_argument("--keep-corpora", action="store_true", help="keep the tokens that only they read")
    made["relist"].add_argument("urls", nargs="*", metavar="URL", help="as a corpus names its files; * for any text")
    made["verify"].add_argument("--once", action="store_true", help="skip what was whole and has not changed")
    return parser


_ABOUT = {
    "usage": "What takes space in a store: by kind, by run, and what no run needs.",
    "gc": "Remove what no recorded run and no queued job needs.",
    "verify": "Read everything that has a checksum; what is damaged is set aside and named.",
    "rm": "Remove runs and what they alone need.",
    "relist": "Forget which files servers listed; without URL show what is known.",
}


def age(text: str) -> float:
    """Seconds. InputError for what is no age."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if found is None:
        raise InputError("--older", text, "not an age", "give a number with s, m, h, d or w, such as 30d")
    return float(found[1]) * UNITS[found[2]]


# usage


def _usage(store: Store, options: Any) -> tuple[dict[str, Any], list[str], int]:
    entries, found = inventory(store.root), wanted(store)
    kinds: dict[str, list[int]] = {}
    for entry in entries:
        kinds.setdefault(entry.kind, []).append(entry.bytes)
    runs = _by_run(entries, found, options.runs)
    free = unneeded(store, entries, found, older=0.0)
    document: dict[str, Any] = {
        "schema": "rewarm.usage/1",
        "root": str(store.root),
        "bytes": sum(entry.bytes for entry in entries),
        "free": store.disk_free(),
        "kinds": [{"kind": kind, "entries": len(sizes), "bytes": sum(sizes)} for kind, sizes in kinds.items()],
        "runs": runs,
        "unneeded": {"entries": len(free), "bytes": sum(removal.entry.bytes for removal in free)},
        "warnings": [*found.stops, *found.unread, *found.warnings],
    }
    lines = [f"{size(document['bytes']):>9}  {store.root} ({size(document['free'])} are free on its disk)"]
    for kind, sizes in sorted(kinds.items(), key=lambda pair: -sum(pair[1])):
        lines.append(f"{size(sum(sizes)):>9}  {kind}: {len(sizes)}")
    if runs:
        lines += ["", f"{'in all':>9}  {'its own':>9}  run (its own: what `rm` would free)"]
        lines += [f"{size(run['bytes']):>9}  {size(run['own']):>9}  {run['run']}" for run in runs[:SHOWN]]
        lines += [f"... and {len(runs) - SHOWN} more (--json has all)"] if len(runs) > SHOWN else []
    if free:
        lines += ["", f"no run needs {size(document['unneeded']['bytes'])} of it: `python -m harness.disk gc`"]
    _warn(document["warnings"])
    return document, lines, 0


def _by_run(entries: Sequence[Entry], found: Wanted, glob: str | None) -> list[dict[str, Any]]:
    """The recorded runs, those that hold most of their own first."""
    runs = [
        {"run": needs.folder.name, "bytes": held, "own": own, "finished": needs.finished}
        for needs, held, own in shares(entries, found.all)
        if needs.folder is not None and needs.folder.parent.parent == found.root and _matches(needs, glob)
    ]
    return sorted(runs, key=lambda run: (-int(str(run["own"])), str(run["run"])))


# gc


def _gc(store: Store, options: Any) -> tuple[dict[str, Any], list[str], int]:
    if options.runs and not options.keep_finals:
        raise InputError("--runs", options.runs, "gc looks at all runs", "give --keep-finals, or use rm")
    found, entries = wanted(store), inventory(store.root)

    def removals(found: Wanted, entries: Sequence[Entry], older: float) -> list[Removal]:
        thinned = [needs for needs in found.runs if options.keep_finals and _matches(needs, options.runs)]
        return unneeded(store, entries, found, older=older, keep_finals=thinned)

    chosen = removals(found, entries, options.older)
    young = len(removals(found, entries, 0.0)) - len(chosen)
    removed, left = chosen, list[str]()
    if not options.dry_run:
        removed, left = carry_out(store, chosen, lambda: removals(wanted(store), inventory(store.root), options.older))
    said = [
        *(f"what runs need is left alone: {stop}" for stop in (*found.stops, *found.unread)),
        *found.warnings,
        *left,
    ]
    _warn(said)
    lines = _removal_lines(removed, options.dry_run)
    lines += [f"{young} more are younger than --older allows (--older 0d takes them, too)"] if young else []
    return _removal_document("gc", removed, options.dry_run, said, young), lines, 0


# rm


def _rm(store: Store, options: Any) -> tuple[dict[str, Any], list[str], int]:
    if not options.names and options.runs is None:
        raise InputError("RUN", "none", "no run is named", "give names, or --runs GLOB")
    found = wanted(store)
    if found.no_answer is not None:
        raise found.no_answer
    if stops := [*found.stops, *(found.unread if found.queue_known else [])]:
        raise InputError("root", store.root, stops[0], "see to that first, for others could need what would go")
    folders = {_named(store, name) for name in options.names}
    chosen = [
        needs
        for needs in found.runs
        if needs.folder is not None
        and (needs.folder.name in folders or (options.runs is not None and _matches(needs, options.runs)))
    ]
    entries = inventory(store.root)
    if options.older is not None:
        chosen = [needs for needs in chosen if _last_written(needs, entries) < time.time() - options.older]
    if not chosen:
        raise InputError("--runs", options.runs, "no run is called so, and old enough", "`harness.disk usage` lists")
    if not found.queue_known:
        found.queued = []  # told by name; who has no queue to ask cannot know
    runs = [needs for needs in found.runs if needs not in chosen]
    chosen = [with_saves(needs, found) for needs in chosen]
    _refuse_at_work(store, found, runs, chosen)
    rest = [*runs, *found.queued, *found.children]
    removals = only_of(entries, rest, chosen, keep_corpora=options.keep_corpora)
    removed, left = (removals, list[str]()) if options.dry_run else carry_out(store, removals)
    said = [*found.warnings, *left]
    _warn(said)
    return _removal_document("rm", removed, options.dry_run, said, 0), _removal_lines(removed, options.dry_run), 0


def _named(store: Store, text: str) -> str:
    """The folder of the run of this name, folder or key: a beginning will not do where something is removed."""
    document = find_run(store, text)
    folder = f"{document['name']}-{document['key'][:12]}"
    if text not in (document["name"], document["key"], folder):
        raise InputError("run", text, f"only begins the name of {folder}", "write all of it")
    return folder


def _refuse_at_work(store: Store, found: Wanted, rest: Sequence[Needs], chosen: Sequence[Needs]) -> None:
    """InputError if somebody trains or measures what only the chosen runs need, or a queued job is to."""
    shared = {address for needs in rest for address in needs.states}
    for needs in chosen:
        own = needs.states - shared
        for address in sorted(own):
            if who := store.at_work(address):
                why = f"{who.get('host')} (process {who.get('pid')}) is at work on it"
                raise InputError("run", needs.name, why, "stop that first: Ctrl-C, or do=cancel on a cluster")
        for job in found.queued:
            if job.ends & own:
                raise InputError("run", needs.name, f"{job.name} is queued to make it", "do=cancel first")


def _last_written(needs: Needs, entries: Sequence[Entry]) -> float:
    """When anything of a run was last written."""
    mine = [e for e in entries if e.path == needs.folder or (e.kind == "states" and e.name in needs.states)]
    return max((entry.changed for entry in mine), default=0.0)


# verify


def _verify(store: Store, options: Any) -> tuple[dict[str, Any], list[str], int]:
    found = verify(store, inventory(store.root), once=options.once)
    document = {
        "schema": "rewarm.verify/1",
        "root": str(store.root),
        "checked": found.entries,
        "bytes": found.bytes,
        "damaged": found.damaged,
    }
    _warn([f"{one['kind']} {one['name']} is damaged: {one['why']}" for one in found.damaged])
    whole = f"{len(found.damaged)} damaged" if found.damaged else "all whole"
    line = f"{found.entries} entries of {store.root}, {size(found.bytes)}: {whole}"
    return document, [line], 1 if found.damaged else 0


# relist


def _relist(store: Store, options: Any) -> tuple[dict[str, Any], list[str], int]:
    return *relist(store.root, options.urls, dry=options.dry_run), 0


# shared


def _matches(needs: Needs, glob: str | None) -> bool:
    folder = needs.folder.name if needs.folder else needs.name
    return glob is None or fnmatch.fnmatchcase(needs.name, glob) or fnmatch.fnmatchcase(folder, glob)


def _removal_document(
    command: str, removals: Sequence[Removal], dry: bool, said: Sequence[str], young: int
) -> dict[str, Any]:
    return {
        "schema": f"rewarm.{command}/1",
        "dry_run": dry,
        "bytes": sum(removal.entry.bytes for removal in removals),
        "removed": [
            {"kind": r.entry.kind, "name": r.entry.name, "bytes": r.entry.bytes, "why": r.why} for r in removals
        ],
        "young": young,
        "warnings": list(said),
    }


def _removal_lines(removals: Sequence[Removal], dry: bool) -> list[str]:
    largest = sorted(removals, key=lambda removal: -removal.entry.bytes)
    lines = [f"{size(r.entry.bytes):>9}  {r.entry.kind} {r.entry.name}: {r.why}" for r in largest[:SHOWN]]
    lines += [f"... and {len(largest) - SHOWN} more (--json has all)"] if len(largest) > SHOWN else []
    total = size(sum(removal.entry.bytes for removal in removals))
    return [*lines, f"{total} {'would be ' if dry else ''}freed, {len(removals)} entries"]


def _warn(said: Sequence[str]) -> None:
    for text in said:
        print(f"warning: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_command(main))
