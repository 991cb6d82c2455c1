"""What has become of each point of a plan: done, running, queued, failed, blocked, or still to do.

Level 4, from what the store holds and what was submitted; nothing of it is stored itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.plan import Plan, Point, Segment
from harness.store import Store
from harness.submissions import Submitted, tail

LOG_LINES = 5


def status_of(point: Point, plan: Plan, store: Store, jobs: Mapping[str, Submitted]) -> dict[str, Any]:
    """`status`; of what is queued or running its `job` and how far it is, of what failed or is blocked the `failure`.

    blocked: what failed is shared with other runs, or another job of the same run comes after it.
    """
    if plan.is_done(point):
        return {"status": "done"}
    known = jobs.get(point.path[-1].address)
    if known is not None and known.live:
        told = known.progress() if known.running else {}
        where = {key: told.get(key) for key in ("host", "position", "losses")} if told else {}
        return {"status": "running" if known.running else "queued", "job": known.job, **where}
    for segment in point.path:
        if segment.train and (failure := failure_of(segment, store, jobs.get(segment.address))):
            own = segment is point.path[-1] or len(segment.runs) == 1
            return {"status": "failed" if own else "blocked", "failure": failure}
    return {"status": "to train" if any(segment.train for segment in point.path) else "to measure"}


def failure_of(segment: Segment, store: Store, known: Submitted | None) -> dict[str, Any] | None:
    """{position, last_good, log, reason, log_tail} of the last try to reach a segment's end, None if none failed.

    `known`: the SLURM job that was to. A job that is gone without a state and without a word was killed.
    """
    if known is not None and (known.live or known.cancelled):
        return None
    failure = store.failure(segment.address)
    if failure is None and known is not None and known.job:
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
