"""What the runs of a store cannot do without: recorded ones, those of queued jobs, those of stores that read it.

A run needs the states on its path, the corpora that it trains on and is measured on, and its checkpoint. One that is
not finished needs its deepest state, too, wherever that lies. What cannot be known (a damaged run.json, somebody at
work on what no run names) stops every removal of what a run could need.

    found = wanted(store)
    found.runs[0].states                 # addresses
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.core import files
from harness.core.errors import CorruptError, InputError
from harness.core.plain import read_back
from harness.plan.recorded_runs import program_of
from harness.plan.task import Task
from harness.program.program import Checkpoint, Program
from harness.slurm.submissions import read_work, submitted
from harness.store import children
from harness.store.lease import RECORDING, REMOVAL, owner, recorders
from harness.store.store import Store
from harness.texts.recipe import Recipe


@dataclass(frozen=True)
class Needs:
    """What one run cannot do without."""

    name: str
    """The run, or the job of a queue."""
    folder: Path | None
    """Of its run.json, if that lies in this store."""
    states: frozenset[str]
    """Addresses: its path, and its deepest state."""
    ends: frozenset[str]
    """The last of them, and its base."""
    corpora: frozenset[str]
    """Recipe keys."""
    checkpoint: str | None = None
    """Content of the checkpoint that it starts from."""
    finished: bool = False
    """Its last state is stored."""
    trained_on: frozenset[str] = frozenset()
    """Those of its corpora that it draws from: they must be there whole."""


@dataclass
class Wanted:
    """All that somebody needs."""

    root: Path
    """Of the store."""
    runs: list[Needs] = field(default_factory=list)
    """Recorded in this store."""
    queued: list[Needs] = field(default_factory=list)
    """Of jobs that are queued or running, or that may be, where no queue can be asked."""
    children: list[Needs] = field(default_factory=list)
    """Recorded in stores that name this one as parent."""
    stops: list[str] = field(default_factory=list)
    """Why it is not known what is needed."""
    unread: list[str] = field(default_factory=list)
    """Jobs that are queued, or may be, and whose needs cannot be read: they stop it, too."""
    warnings: list[str] = field(default_factory=list)
    """What to know before something is removed."""
    queue_known: bool = True
    """Whether the queue could be asked, if anything was ever submitted."""
    no_answer: InputError | None = None
    """What squeue, which is there, said instead of an answer."""
    documents: dict[Path, dict[str, Any]] = field(default_factory=dict)
    """Folder -> run.json of each recorded run."""
    off_path: dict[str, int] = field(default_factory=dict)
    """Address -> position of stored states that no recorded run's path has: saves on the way, and leftovers."""
    jobs: set[str] = field(default_factory=set)
    """Folders of submissions that are queued or running, or may be."""

    @property
    def all(self) -> list[Needs]:
        return [*self.runs, *self.queued, *self.children]


def wanted(store: Store) -> Wanted:
    """Who needs what of a store. Asks squeue if anything was ever submitted from it."""
    found = Wanted(store.root)
    found.documents = dict(_documents(store.root, found))
    found.off_path = _off_path(store, found.documents.values())
    stored = _addresses(store)
    for folder, document in found.documents.items():
        try:
            found.runs.append(needs_of(document, stored, found.off_path, folder))
        except (CorruptError, KeyError, TypeError, AttributeError) as error:
            found.stops.append(f"{folder.name}: what it needs is not known ({error}); put its run.json back")
    _add_queued(store, found)
    _add_children(store, found)
    _add_at_work(store, found)
    return found


def needs_of(document: Mapping[str, Any], stored: Iterable[str], off_path: Mapping[str, int], folder: Path) -> Needs:
    """What the run of a run.json needs. `off_path`: position by address of stored states that no run's path has."""
    program = program_of(document)
    path = {state["address"] for state in document["path"]} | {document["address"]}
    path |= {document["base_address"]} if document["base_address"] else set()
    finished = document["address"] in stored
    states = path
    if not finished and (saves := _on_the_way(program, off_path)):
        states = path | {saves[-1][1]}
    measured = {measure["key"] for measure in document["measures"].values()}
    return Needs(
        document["name"],
        folder,
        frozenset(states),
        frozenset({document["address"], document["base_address"] or document["address"]}),
        frozenset(measured) | program.corpora,
        program.root.content if isinstance(program.root, Checkpoint) else None,
        finished,
        program.corpora,
    )


def with_saves(needs: Needs, found: Wanted) -> Needs:
    """A recorded run with all its states: those on its way that no run's path has, too."""
    assert needs.folder is not None
    saves = _on_the_way(program_of(found.documents[needs.folder]), found.off_path)
    return replace(needs, states=needs.states | {address for _, address in saves})


def _on_the_way(program: Program, off_path: Mapping[str, int]) -> list[tuple[int, str]]:
    """(position, address), in order, of the states through which a program passes."""
    return sorted((p, a) for a, p in off_path.items() if 0 < p <= program.steps and program.address(p) == a)


def _addresses(store: Store) -> set[str]:
    return set(Store(store.root).addresses())


def _off_path(store: Store, documents: Collection[dict[str, Any]]) -> dict[str, int]:
    own = Store(store.root)
    named = set[str]()
    for document in documents:
        with contextlib.suppress(KeyError, TypeError):  # no run.json: `wanted` says so
            named |= {state["address"] for state in document["path"]}
    infos = [info for address in sorted(own.addresses() - named) if (info := own.state(address)) is not None]
    return {info.address: int(info.meta["position"]) for info in infos}


def _documents(root: Path, found: Wanted) -> Iterable[tuple[Path, dict[str, Any]]]:
    for name in sorted(files.listing(root / "runs")):
        try:
            document = files.read_json(root / "runs" / name / "run.json")
        except CorruptError as error:
            found.stops.append(f"{error}: what this run needs is not known; put it back, or remove its folder")
            continue
        if document is not None:
            yield root / "runs" / name, document


def _add_queued(store: Store, found: Wanted) -> None:
    """Jobs of a cluster: what they are to do lies in the store."""
    folders = [store.root / "jobs" / name for name in sorted(files.listing(store.root / "jobs"))]
    read = {folder: files.read_json(folder / "submission.json") for folder in folders if folder.is_dir()}
    records = {folder: record for folder, record in read.items() if record is not None}
    if not records:
        return
    try:
        found.queue_known = shutil.which("squeue") is not None
        jobs = submitted(store.root).values() if found.queue_known else ()
    except InputError as error:
        found.queue_known, found.no_answer, jobs = False, error, ()
    queued = {(job.folder, job.index) for job in jobs if job.in_queue}
    if not found.queue_known:
        found.warnings.append("no squeue answers here: what was ever submitted from this store counts as queued")
        for folder, record in records.items():
            try:
                queued |= {(folder, i) for i in range(len(record["elements"])) if i not in record["cancelled"]}
            except (KeyError, TypeError) as error:
                found.unread.append(f"{folder / 'submission.json'}: not what a submission is ({error!r})")
    for folder, index in sorted(queued):
        found.jobs.add(folder.name)
        name = f"job {index} of {folder.name}"
        try:
            work = read_work(folder, index)
            if "tasks" in work:
                needs = [_needs_of_task(read_back(Task, task), name) for task in work["tasks"]]
            else:
                needs = [_needs_of_ingest(work, name)]
        except (OSError, KeyError, TypeError, ValueError) as error:
            state = "is" if found.queue_known else "may be"
            found.unread.append(f"{name} {state} queued, and what it needs is not known ({error!r})")
            continue
        found.queued += needs


def _needs_of_task(task: Task, name: str) -> Needs:
    positions = {task.start, task.stop, *task.stops, *({task.position} if task.position else ())} - {0}
    root = task.program.root
    ends = frozenset({task.address})
    states = frozenset(task.program.address(position) for position in positions if position <= task.program.steps)
    drawn = task.program.corpora
    content = root.content if isinstance(root, Checkpoint) else None
    return Needs(name, None, states | ends, ends, drawn | frozenset(task.recipes), content, trained_on=drawn)


def _needs_of_ingest(work: Mapping[str, Any], name: str) -> Needs:
    """Of a job that makes a corpus or a part of one: until that is there, everything that it may be made of."""
    recipe = read_back(Recipe, work["needed"]["recipe"] if "needed" in work else work["recipe"])
    return Needs(name, None, frozenset(), frozenset(), frozenset({recipe.key}))


def _add_children(store: Store, found: Wanted) -> None:
    """Stores that were opened with this one as parent, as far as they could note it, and can be read."""
    for root in children.known(store.root):
        try:
            child = Store(root)
            known = (root / "store.json").exists()
        except InputError:
            known = False
        if not known:
            found.warnings.append(f"{root} names this store as parent and cannot be read: what it needs is not known")
            continue
        seen = Wanted(root)
        stored = _addresses(child) | _addresses(store)
        for folder, document in _documents(root, seen):
            try:
                needs = needs_of(document, stored, {}, folder)
                found.children.append(
                    replace(needs, corpora=frozenset(), trained_on=frozenset())
                )  # it has corpora of its own
            except (CorruptError, KeyError, TypeError, AttributeError) as error:
                seen.stops.append(f"{folder.name}: what it needs is not known ({error})")
        found.warnings.append(f"{root} names this store as parent: what its runs need stays")
        found.warnings += [f"{root}: {stop}" for stop in seen.stops]


def _add_at_work(store: Store, found: Wanted) -> None:
    """Whoever holds a lease on what no run names is making something that nothing here tells of."""
    leases = store.root / "leases"
    found.stops += [f"{who} makes what runs need that are not recorded yet" for who in recorders(leases)]
    known = {address for needs in found.all for address in needs.states}
    for name in sorted(files.listing(leases)):
        address = name.removesuffix(".json")
        if address == REMOVAL or address.startswith(RECORDING):
            continue
        if name.endswith(".json") and address not in known and (who := owner(leases, address)):
            found.stops.append(
                f"{who.get('host')} (process {who.get('pid')}) is at work on {address[:12]}, which no run names"
            )
