"""`python -m analysis clean`: which measured windows are contained in what runs are trained on, and what that moves.

python -m analysis clean                         the runs of a store, a line for each corpus (--sweep, --where)
python -m analysis clean RUN                     one, with every such window and where else its text stands
python -m analysis clean RUN --at 4000           what it has read by that step, in place of by its end

A window is dirty when 80 % of its distinct n-grams of 13 tokens occur in what upstream, downstream or another corpus of
the run has to train on. That is looked for where corpora are built, once for all runs, and here where nobody has yet.
A dirty window is read once the run has drawn windows that hold as many of its n-grams. Final losses, forgetting and
adaptation are of the clean windows; here those of all and of the dirty ones stand beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.results.facts import folder_name
from analysis.results.run_record import RunRecord
from analysis.results.runs import read_runs
from analysis.results.tables import SHARED, keep
from analysis.results.windows import Ends, mean
from harness.core.errors import InputError
from harness.measure.request import split_name
from harness.plan.exposure import DIRTY, N_GRAM, Exposure
from harness.plan.recorded_runs import corpus_names, find_run
from harness.store.store import Store

EXAMPLES = 8  # dirty windows of a corpus that are listed on a terminal


def add_clean_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="name, folder or key, or the beginning of one (all runs)")
    parser.add_argument("--at", type=int, metavar="STEP", help="with RUN: what it has read by then (its end)")
    parser.add_argument("--sweep", action="append", metavar="NAME", help="only the members of sweeps/NAME.yaml")
    parser.add_argument("--where", metavar="CONDITION", help="only the runs where it holds, such as 'replay == 0'")


def run(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `clean`, and its lines for a terminal. Raises InputError."""
    runs = _chosen(options, overrides)
    exposure = Exposure(Store(options.root, options.parent))
    try:
        exposure.look(one.document for one in runs)
    except OSError as error:  # a store that others own
        print(f"warning: what nobody has looked for yet cannot be kept ({error})", file=sys.stderr)
    if options.at is not None and not 0 <= options.at <= runs[0].document["steps"]:
        raise InputError(
            "--at", options.at, f"the run has {runs[0].document['steps']} steps", "give 0 or more, no more"
        )
    entries = [entry_of(one, exposure, options.at) for one in runs]
    document: dict[str, Any] = {"n_gram": N_GRAM, "contained": DIRTY, "runs": entries}
    if options.run is not None:
        document["windows"] = list(_windows(runs[0], exposure, options.at))
    return document, lines(document)


def _chosen(options: argparse.Namespace, overrides: Sequence[str]) -> list[RunRecord]:
    runs = read_runs(options.root, options.sweep, overrides=overrides, parents=options.parent, windows=options.windows)
    if options.run is not None:
        wanted = folder_name(find_run(Store(options.root, options.parent), options.run))
        runs = [one for one in runs if one.facts.run == wanted]
    elif options.at is not None:
        raise InputError("--at", options.at, "a step of which run?", "name one: python -m analysis clean RUN --at STEP")
    if options.where:
        table = pd.DataFrame([{**{n: getattr(r.facts, n) for n in SHARED}, "status": r.status} for r in runs])
        runs = [runs[int(at)] for at in keep(table, options.where, str(options.root)).index]
    if not runs:
        raise InputError(
            "run", options.run or "none", "no such run is recorded", "`python -m analysis runs` lists them"
        )
    return runs


def entry_of(one: RunRecord, exposure: Exposure, at: int | None = None) -> dict[str, Any]:
    """A run of the document. By corpus: `windows` that are measured, how many are `dirty` (None: not known) and
    contained in each corpus, how many of these were `read` by the base and by the end (or the step `at`), `perhaps`
    further ones; losses, nats per token, on clean, all and dirty windows, None where single ones are not kept."""
    corpora: dict[str, dict[str, Any]] = {}
    for corpus in one.facts.windows:
        ends = one.windows(corpus)
        hash_ = one.facts.finals.get(corpus, one.facts.windows[corpus])
        clean = exposure.clean(one.document, hash_)
        end, asked = one.whole_ends.get(corpus), one.document["measures"][hash_]["windows"]
        corpora[corpus] = {
            "windows": len(clean) if clean is not None else asked if end is None else end.windows,
            "dirty": None if clean is None else int((~clean).sum()),
            "contained_in": _contained_in(one, exposure, hash_),
            "read": _read(one, exposure, hash_, at),
            "loss": _losses(one, corpus, ends, "end"),
            "base_loss": _losses(one, corpus, ends, "base"),
        }
    changes = {}
    for name, corpus, sign in (("forgetting", one.facts.upstream, 1), ("adaptation", one.facts.downstream, -1)):
        last, base = (corpora.get(corpus, {}).get(what) or {} for what in ("loss", "base_loss"))
        both = {which: (last.get(which), base.get(which)) for which in ("clean", "all", "dirty")}
        changes[name] = {which: None if a is None or b is None else sign * (a - b) for which, (a, b) in both.items()}
    return {"run": one.facts.run, "status": one.status, "corpora": corpora, **changes}


def lines(document: Mapping[str, Any]) -> list[str]:
    """The document for a terminal."""
    wide = max((len(corpus) for entry in document["runs"] for corpus in entry["corpora"]), default=0)
    found = [
        f"  {'':{wide}}  {'':>7} {'':>6} {'read by':>15}  final loss on",
        f"  {'corpus':{wide}}  {'windows':>7} {'dirty':>6} {'base':>7} {'end':>7} "
        f"{'clean':>8} {'all':>8} {'dirty':>8}  contained in",
    ]
    for entry in document["runs"]:
        found.append(entry["run"])
        for corpus, one in entry["corpora"].items():
            parts = ", ".join(f"{name} {number}" for name, number in (one["contained_in"] or {}).items() if number)
            counts = [_count((one["read"] or {}).get(when)) for when in ("base", "end")]
            cells = " ".join(f"{_number(one['loss'].get(which)):>8}" for which in ("clean", "all", "dirty"))
            found.append(
                f"  {corpus:{wide}}  {one['windows']:>7,} {_count(one['dirty']):>6} {counts[0]:>7} {counts[1]:>7} "
                f"{cells}  {parts}".rstrip()
            )
    found += ["", *_changes(document["runs"]), *_unknown(document["runs"])]
    found.append(
        f"dirty: {document['contained']:.0%} of its distinct {document['n_gram']}-grams of tokens occur in what there "
        "is to train on; read: in windows that the run drew"
    )
    return [*found, *_listed(document.get("windows", ()))]


def _contained_in(one: RunRecord, exposure: Exposure, hash_: str) -> dict[str, int] | None:
    """By the run's name of what is trained on."""
    names = corpus_names(one.document)
    found = exposure.overlaps(one.document, hash_)
    return {names.get(key, key[:12]): int(overlap.dirty.sum()) for key, overlap in found.items()} or None


def _read(one: RunRecord, exposure: Exposure, hash_: str, at: int | None) -> dict[str, int] | None:
    base, end = one.document["base_position"], one.document["steps"] if at is None else at
    if not exposure.overlaps(one.document, hash_):
        return None
    with contextlib.suppress(FileNotFoundError):  # the corpora are gone
        mask, perhaps = exposure.read(one.document, hash_, end)
        before = None if base is None else int(exposure.read(one.document, hash_, base)[0].sum())
        return {**({} if before is None else {"base": before}), "end": int(mask.sum()), "perhaps": perhaps}
    return None


def _losses(one: RunRecord, corpus: str, ends: Ends | None, which: str) -> dict[str, float | None]:
    """On clean, all and dirty windows; of what is not told apart what there is, which is of all."""
    whole = one.whole_ends.get(corpus)
    if whole is None or ends is None or (part := getattr(ends, which)) is None:
        value = None if whole is None else whole.loss if which == "end" else whole.base
        return {"clean": None, "all": value, "dirty": None}
    clean = part.clean
    masks = {"clean": clean, "all": np.ones(len(part.window), bool), "dirty": None if clean is None else ~clean}
    return {
        name: None if mask is None or mask.sum() < 2 else mean(part.part(mask)).value for name, mask in masks.items()
    }


def _windows(one: RunRecord, exposure: Exposure, at: int | None) -> Iterator[dict[str, Any]]:
    """Every dirty window of a run: its number, its text's source, where that stands in what is trained on, and whether
    the run has read it."""
    names, document = corpus_names(one.document), one.document
    for corpus in one.facts.windows:
        hash_ = one.facts.finals.get(corpus, one.facts.windows[corpus])
        measure = exposure.measure(document, hash_)
        with contextlib.suppress(FileNotFoundError):
            held_out = exposure.corpus(measure.key).validation
            part = split_name(corpus, names.values())[1]
            split = held_out.part(part) if part else held_out
            numbers = split.measured(measure)
            read, _ = exposure.read(document, hash_, document["steps"] if at is None else at)
            for key, overlap in exposure.overlaps(document, hash_).items():
                train, begins = exposure.corpus(key).train, np.cumsum(overlap.found) - overlap.found
                for row in np.flatnonzero(overlap.dirty).tolist():
                    grams = np.flatnonzero((overlap.window == row) & (overlap.found > 0))
                    window = train.windows_at(overlap.places[begins[grams[len(grams) // 2]]][None], measure.seq_len)[0]
                    yield {
                        "corpus": corpus,
                        "window": int(numbers[row]),
                        "share": round(float(overlap.shares[row]), 4),
                        "contained_in": names.get(key, key[:12]),
                        "read": bool(read[row]),
                        "source": _sources(split.documents_at(int(numbers[row]), measure.seq_len)),
                        "trained_on": _sources(train.documents_at(int(window), measure.seq_len)) if window >= 0 else [],
                    }


def _sources(documents: Sequence[tuple[str, int]]) -> list[str]:
    return list(dict.fromkeys(f"{file}:{line}" if line else file for file, line in documents))


def _changes(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name in ("forgetting", "adaptation"):
        both = [(e[name]["clean"], e[name]["all"]) for e in entries if e[name]["clean"] is not None]
        moved = [clean - whole for clean, whole in both]
        if len(moved) == 1:
            yield f"{name} {both[0][0]:+.4f} on clean windows, {both[0][1]:+.4f} on all"
        elif moved:
            among = f"{min(moved):+.4f} to {max(moved):+.4f} ({len(moved)} runs)"
            yield f"{name} on clean windows less that on all: {among}"


def _unknown(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is not known, and why."""
    parts = [(entry, one) for entry in entries for one in entry["corpora"].values()]
    if many := len({entry["run"] for entry, one in parts if one["dirty"] is None}):
        yield (
            f"of {many} runs it is not known which windows are dirty: "
            "the store does not hold all tokens of their corpora, and nobody looked while it did"
        )
    done = [(entry, one) for entry, one in parts if entry["status"] == "done" and one["dirty"]]
    none = [(entry, one) for entry, one in done if one["windows"] - one["dirty"] < 2]
    if many := len({entry["run"] for entry, _ in none}):
        yield f"in {many} runs fewer than two windows of a corpus are clean: its final losses are of all windows"
    if many := len({entry["run"] for entry, one in done if one["loss"]["clean"] is None and (entry, one) not in none}):
        yield f"{many} runs kept no losses of single windows at their ends: their final losses are of all windows"
    if many := sum((one["read"] or {}).get("perhaps", 0) for _, one in parts):
        yield f"{many} more windows may have been read: their text occurs oftener than its places are kept"


def _listed(windows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The first dirty windows of each corpus."""
    for corpus in dict.fromkeys(one["corpus"] for one in windows):
        own = [one for one in windows if one["corpus"] == corpus]
        yield ""
        yield f"{corpus}: {len(own)} dirty windows" + (f", the first {EXAMPLES}" if len(own) > EXAMPLES else "")
        for one in own[:EXAMPLES]:
            read = "read" if one["read"] else "not read"
            source, found = one["source"][:1] or ["?"], one["trained_on"][:1] or ["?"]
            yield f"  {one['window']:>6} {one['share']:4.0%} in {one['contained_in']}, {read}: {source[0]} ~ {found[0]}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
