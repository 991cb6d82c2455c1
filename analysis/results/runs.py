"""The one reader of a store in analysis: its runs, or the members of a sweep, with facts, measurements and status.

`read_runs` gives each with the rows it asked for; `tables.load` makes a DataFrame of them.

    for run in read_runs(Path("runs"), sweep="demo"):
        print(run.facts.run, run.status, summary(run)["forgetting"])
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.results.facts import Document, Facts, asked, facts
from analysis.results.measurements import BATCH, Wanted, measurements
from analysis.results.run_record import RunRecord
from analysis.results.windows import WindowReader
from harness.compose.compose import sweep_points
from harness.config.run import read_run
from harness.core.errors import CorruptError, InputError
from harness.measure.request import RowKey
from harness.plan.plan import compile_points, plan
from harness.plan.run_file import loader, run_document
from harness.slurm.status import Left, become
from harness.slurm.submissions import Submitted, submitted
from harness.store.store import Store


def read_runs(
    root: str | Path,
    sweep: str | Sequence[str] | None = None,
    *,
    overrides: str | Sequence[str] = (),
    parents: str | Path | Sequence[str | Path] = (),
    windows: int | None = None,
) -> list[RunRecord]:
    """The runs recorded in a store, or the members of sweeps (those never started are `missing`).

    `windows` picks the measurements on so many windows where a run has several (default: those its config asks for).
    Raises InputError for an unknown sweep or override and for a root that is no store, CorruptError for a run.json that
    says too little.
    """
    with without_collection():
        reading = Reading(root, sweep, overrides, parents, windows)
        read = [each for batch in reading.batches() for each in batch]
        windows_of = WindowReader(reading.store)
        return [RunRecord(one.facts, one.document, one.measured, reading.fate(one), windows_of) for one in read]


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Without the search for cycles: among the millions of values of many documents it takes longer than reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def sweep_documents(names: Sequence[str], overrides: Sequence[str], store: Store) -> list[Document]:
    """What the run.json of every member of the sweeps says, whether it was ever started or not.

    `store`: what it has resolved is what a name of a hub stands for."""
    stores = {"root": str(store.root), "parent_stores": [str(parent) for parent in store.parents]}
    points = sweep_points(names, overrides)
    planned = plan(compile_points((point.label, read_run({**point.config, **stores})) for point in points))
    return [run_document(point) for point in planned.points]


@dataclass(frozen=True, eq=False)
class Read:
    """A run that is read, before it is known what became of it: see `Reading.fate`."""

    facts: Facts
    document: Document
    measured: NDArray[np.void]
    lacking: set[RowKey]  # rows that it asked for and no state holds


class Reading:
    """The runs of a store, or the members of sweeps, read in batches: of ten thousand runs the documents alone are
    hundreds of megabytes. Arguments as of `read_runs`."""

    def __init__(
        self,
        root: str | Path,
        sweep: str | Sequence[str] | None,
        overrides: str | Sequence[str],
        parents: str | Path | Sequence[str | Path],
        windows: int | None,
    ) -> None:
        root, self.windows = Path(root), windows
        if not (root / "store.json").exists():
            raise InputError("root", root, "there is no store (no store.json)", "name the folder of a store: --root")
        self.store = Store(root, parents)
        self.stored = self.store.addresses()
        self.users: Counter[str] = Counter()  # address -> runs that pass it, complete once all batches are read
        self.unfinished = False  # whether the end of some run is not stored; known then, too
        self._documents = _documents(self.store, sweep, [overrides] if isinstance(overrides, str) else overrides)

    def batches(self) -> Iterator[list[Read]]:
        """All runs, in order; once. Raises CorruptError."""
        documents = iter(self._documents)
        while batch := list(itertools.islice(documents, BATCH)):
            shared = dict[int, frozenset[RowKey]]()
            described: list[Facts] = []
            wanted: list[Wanted] = []
            for document in batch:
                try:
                    key = id(document["requested"])  # one list for many runs: see `harness.plan.run_file.loader`
                    rows = shared[key] if key in shared else shared.setdefault(key, asked(document))
                    described.append(facts(document, rows, self.windows))
                    wanted.append(Wanted(rows, _stops(document, self.stored), described[-1].measures))
                    self.users.update(stop["address"] for stop in document["path"])
                except (KeyError, TypeError) as error:
                    raise CorruptError(
                        f"run.json of {document.get('name')}: not as this version writes it ({error!r})"
                    ) from None
            self.unfinished |= any(document["address"] not in self.stored for document in batch)
            yield [Read(*each) for each in zip(described, batch, *measurements(self.store, wanted), strict=True)]

    def done(self, run: Read) -> bool:
        """The end is stored with every row of the channels and of what was trained on; further sets don't count."""
        end = run.document["address"] in self.stored
        return end and not (run.lacking and _due(run.document, self.stored, run.lacking))

    def fate(self, run: Read) -> dict[str, Any]:
        """`status` and what belongs to it, once all batches are read."""
        if self.done(run):
            return become([], self.store, {}) or {}
        document, base = run.document, run.document["base_position"] or 0
        end, path = document["address"], document["path"]
        if end in self.stored:
            left = [Left(end, end, int(path[-1]["position"]), trains=True, shared=False, again=True)]
        else:
            starts = [0, *(int(stop["position"]) for stop in path)]
            steps = [(start, stop["address"]) for start, stop in zip(starts, path, strict=False)]
            left = [
                Left(to, to, at, trains=True, shared=self.users[to] > 1) for at, to in steps if to not in self.stored
            ]
        begun = any(position > base for position, _ in _stops(document, self.stored))
        return become(left, self.store, self._queue) or {"status": "partial" if begun else "missing"}

    @cached_property
    def _queue(self) -> Mapping[str, Submitted]:
        """What was submitted to a cluster, by address; where that cannot be asked, nothing is known of it."""
        if not self.unfinished:
            return {}
        try:
            return submitted(self.store.root)
        except InputError as error:
            print(f"warning: {error}", file=sys.stderr)
            return {}


def _documents(store: Store, sweep: str | Sequence[str] | None, overrides: Sequence[str]) -> Iterable[Document]:
    """The recorded runs, or the members of sweeps, as recorded where they are."""
    if sweep is not None:
        recorded: dict[str, Document] = {document["key"]: document for document in store.each_run(loader())}
        members = sweep_documents([sweep] if isinstance(sweep, str) else sweep, overrides, store)
        return [recorded.get(document["key"], document) for document in members]
    if overrides:
        raise InputError("arguments", " ".join(overrides), "overrides need a sweep", "give --sweep NAME")
    return store.each_run(loader())


def _stops(document: Document, stored: Collection[str]) -> list[tuple[int, str]]:
    """(position, address) of the stored states on a run's path."""
    return [(int(stop["position"]), str(stop["address"])) for stop in document["path"] if stop["address"] in stored]


def _due(document: Document, stored: Collection[str], lacking: Collection[RowKey]) -> list[RowKey]:
    """What of the lacking rows keeps a run from being done."""
    channels = {document["upstream"], document["downstream"]}
    base = document["base_position"] or 0
    measurable = {0} | {position for position, _ in _stops(document, stored)}
    trained = {source["corpus"] for phase in document["program"]["phases"] for source in phase["sources"]}
    own = {  # what `harness.evaluate` asked for later is not among them
        hash_
        for hash_, measure in document["measures"].items()
        if measure["windows"] == document["config"]["evaluate"]["windows"]
        and not measure.get("part")
        and (measure["corpus"] in channels or measure["key"] in trained)
    }
    return [row for row in lacking if row[1] in own and (row[0] in measurable or row[0] >= base)]
