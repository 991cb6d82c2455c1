"""What has become of each point of a plan: done, running, queued, failed, blocked, or still to do.

Level 4, from what the store holds and what was submitted; nothing of it is stored itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.plan import Plan, Point, Segment
from harness.store import Store
from harness.submissions import Submitted, tail

LOG_LINES = 5


def status_of(point: Point, plan: Plan, store: Store, queue: Mapping[str, Submitted]) -> dict[str, Any]:
    """`status`; of what is queued or running its `job` and how far it is, of what failed or is blocked the `failure`.

    blocked: what failed is shared with other runs. `queue`: what was submitted, by key.
    """
    left = list(_left(point, plan))
    if not left:
        return {"status": "done"}
    last = left[-1:] if left[-1][0].train else left  # the run itself; what is only measured, in any order
    known = next((one for _, key in last if (one := queue.get(key)) and one.live), None)
    if known is not None:
        told = known.progress() if known.running else {}
        where = {key: told.get(key) for key in ("host", "position", "losses")} if told else {}
        return {"status": "running" if known.running else "queued", "job": known.job, **where}
    for segment, key in left:
        if failure := failure_of(segment, store, queue.get(key)):
            own = segment is point.path[-1] or len(segment.runs) == 1
            return {"status": "failed" if own else "blocked", "failure": failure}
    return {"status": "to train" if any(segment.train for segment in point.path) else "to measure"}


def _left(point: Point, plan: Plan) -> Iterator[tuple[Segment, str]]:
    """What has to be done for a run, in order: the segment to train or to measure at, and its key."""
    for segment in point.path:
        for evaluation in plan.evaluations_of.get(segment.address, ()):
            yield segment, evaluation.key
        if segment.train:
            yield segment, segment.address


def failure_of(segment: Segment, store: Store, known: Submitted | None) -> dict[str, Any] | None:
    """{position, last_good, log, reason, log_tail} of the last try to reach a segment's end, None if none failed.

    `known`: the SLURM job that was to. One that is gone without a word was killed, unless it was taken back, or the
    state is there and only rows are missing that it may not have been asked for.
    """
    if known is not None and known.live:
        return None
    failure = store.failure(segment.address)
    trained = segment.train and segment.stored is not None
    if failure is None and known is not None and known.job and not known.cancelled and not trained:
        told = known.progress()
        position = told["position"] if told.get("address") == segment.address else None
        why = "cancelled, killed, out of memory, or what it waited for failed"
        failure = {
            "position": segment.start if position is None else position,
            "last_good": None,
            "log": str(known.log),
            "reason": f"job {known.job} is gone without a word: {why}",
        }
    return failure and {**failure, "log_tail": tail(Path(failure["log"]), LOG_LINES)}
