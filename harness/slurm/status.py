"""What has become of runs: done, running, queued, failed, blocked, or still to do.

From what the store holds, who is at work there and what was submitted; nothing of it is stored itself. One function
(`become`) serves `do=plan`, which has planned what is left of a run, and analysis, which reads its run.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.plain import read_back
from harness.corpora.corpus import splits_made
from harness.corpora.held_out import read_of
from harness.corpora.units import finished_units, shards_folder
from harness.plan.plan import Plan, PlannedRun, Segment
from harness.plan.task import Task
from harness.slurm.submissions import CORPUS, GROUP, Submitted, groups_of, jobs_of_corpus, read_work, tail
from harness.store.store import Store
from harness.texts.listed import FilesSource, MegatronSource
from harness.texts.recipe import Recipe

LOG_LINES = 5


@dataclass(frozen=True)
class Left:
    """Something that is left to be done for a run: a stretch to train, or rows to measure from a stored state."""

    address: str  # of the state at its end
    key: str  # what a job for it is known by: the address, or that of the measurement
    start: int  # step
    trains: bool
    shared: bool  # by other runs
    again: bool = False  # the state is there, but rows are missing that only training gives


def status_of(point: PlannedRun, plan: Plan, store: Store, queue: Mapping[str, Submitted]) -> dict[str, Any]:
    """What has become of a point of a plan; see `become`. What nobody has begun is to train, or to measure."""
    left: list[Left] = []
    for recipe in point.run.recipes.values() if any(segment.train for segment in point.path) else ():
        if failure := corpus_failure(recipe, recipe.key in point.program.corpora, store, queue):
            return {"status": "blocked", "failure": {**failure, "log_tail": tail(Path(failure["log"]), LOG_LINES)}}
    for segment in point.path:
        for evaluation in plan.evaluations_of.get(segment.address, ()):
            left.append(left_at(segment, evaluation.key))
        if segment.train:
            left.append(left_at(segment, segment.address))
    to_do = "to train" if any(segment.train for segment in point.path) else "to measure"
    found = become(left, store, queue) or {"status": to_do}
    if found["status"] == "queued" and (waits := _corpora_under_way(point.run.recipes.values(), queue)):
        found["corpora"] = waits
    return found


def become(left: Sequence[Left], store: Store, queue: Mapping[str, Submitted]) -> dict[str, Any] | None:
    """`status` of a run of which this is left, in order; None if nobody has begun with it.

    Of what is running or queued: the `job`, if it is one of a cluster, and as far as known its `host`, `position` and
    `losses`. Of what failed or is blocked (by what others share): the `failure`. `queue`: what was submitted, by key.
    """
    if not left:
        return {"status": "done"}
    last = left[-1:] if left[-1].trains else left  # the run itself; what is only measured, in any order
    known = next((one for each in last if (one := queue.get(each.key)) and one.in_queue), None)
    if known is not None:
        progress = known.progress() if known.running else {}
        where = {key: progress.get(key) for key in ("host", "position", "losses")} if progress else {}
        return {"status": "running" if known.running else "queued", "job": known.job, **where}
    for each in left:
        if owner := store.at_work(each.address):
            position = owner.get("position")  # not told yet: where it began
            return {
                "status": "running",
                "host": owner["host"],
                "position": each.start if position is None else position,
            }
    for each in left:
        if failure := failure_of(each, store, queue.get(each.key)):
            return {"status": "blocked" if each.shared and each is not left[-1] else "failed", "failure": failure}
    return None


def left_at(segment: Segment, key: str) -> Left:
    """What is left at a segment of a plan: itself, or with the key of a measurement that."""
    trains = key == segment.address
    again = trains and segment.stored is not None
    return Left(segment.address, key, segment.start, trains, len(segment.runs) > 1, again)


def failure_of(left: Left, store: Store, known: Submitted | None) -> dict[str, Any] | None:
    """{position, last_good, log, reason, log_tail} of the last try at what is left, None if none failed.

    `known`: the SLURM job that was to. One that is gone without a word was killed, unless it was taken back, or the
    state is there and only rows are missing that it may not have been asked for.
    """
    if known is not None and known.in_queue:
        return None
    failure = store.failure(left.address)
    if failure is None and known is not None and known.job and not known.cancelled and not left.again:
        progress = known.progress()
        position = progress["position"] if progress.get("address") == left.address else None
        why = "cancelled, killed, out of memory, or what it waited for failed"
        failure = _failure_of_its_corpora(known, store) or {
            "position": left.start if position is None else position,
            "last_good": None,
            "log": str(known.log),
            "reason": f"job {known.job} is gone without a word: {why}",
        }
    return failure and {**failure, "log_tail": tail(Path(failure["log"]), LOG_LINES)}


def _corpora_under_way(recipes: Iterable[Recipe], queue: Mapping[str, Submitted]) -> list[dict[str, Any]]:
    """[{corpus, job, parts_running, parts_queued}] of those that jobs are making, or their validation: `job` assembles
    them."""
    found = []
    for recipe in recipes:
        for reading in {each.key: each for each in (read_of(recipe, whole=whole) for whole in (True, False))}.values():
            last = queue.get(CORPUS + reading.key)
            if last is None or not last.in_queue:
                continue
            parts = [one for one in jobs_of_corpus(reading, queue) if one is not last and one.in_queue]
            running = sum(one.running for one in parts)
            name = {"corpus": recipe.name, "job": last.job}
            found.append({**name, "parts_running": running, "parts_queued": len(parts) - running})
    return found


def corpus_failure(
    recipe: Recipe, trained: bool, store: Store, queue: Mapping[str, Submitted]
) -> dict[str, Any] | None:
    """The failure (as `Store.failure`) of the last try to make a corpus in jobs, or its validation if nobody trains on
    it; None if it is there, or on its way."""
    if not isinstance(recipe.source, FilesSource | MegatronSource):
        return None
    reading = read_of(recipe, whole=trained)
    known = queue.get(CORPUS + reading.key)
    if known is not None and known.in_queue:
        return None
    failure = store.failure(reading.key)
    if failure is None and (known is None or not known.job or known.cancelled):
        return None
    if ("train" if reading is recipe else "validation") in splits_made(store.root, recipe):
        return None
    if failure is None and known is not None:
        gone = _gone_part(reading, store, queue) or known
        why = "cancelled, killed, out of memory, or what it waited for failed"
        reason = f"corpus {recipe.name}: job {gone.job} is gone without a word: {why}"
        failure = {"position": 0, "last_good": None, "log": str(gone.log), "reason": reason}
    return failure


def _gone_part(reading: Recipe, store: Store, queue: Mapping[str, Submitted]) -> Submitted | None:
    """The first job that is gone and did not build its part: why the one that assembles never began."""
    for group in groups_of(reading):
        one = queue.get(GROUP + group.key)
        if one is not None and not one.in_queue:
            units = finished_units(shards_folder(store.root), group)
            if not (units and units[-1]["last"]):
                return one
    return None


def _failure_of_its_corpora(known: Submitted, store: Store) -> dict[str, Any] | None:
    """Why a corpus that the job was to read was not made, if jobs were to make it and one failed."""
    try:
        tasks = [read_back(Task, task) for task in read_work(known.folder, known.index).get("tasks", [])]
    except (OSError, KeyError, TypeError, ValueError):
        return None
    keys = dict.fromkeys(
        read_of(recipe, whole=key in task.program.corpora).key for task in tasks for key, recipe in task.recipes.items()
    )
    return next((failure for key in keys if (failure := store.failure(key))), None)
