"""Stay beside submitted jobs and show how far they are (`launch.wait`). Nothing depends on this process.

What a job reports to the store becomes the events a worker would have sent, so that display and tracker are those of
launch=local.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.core.errors import InputError
from harness.plan.jobs import Failure, Job, Jobs
from harness.plan.plan import Plan
from harness.plan.task import is_stored
from harness.slurm.status import failure_of, left_at
from harness.slurm.submissions import Submitted, submitted
from harness.store.store import Store
from harness.train.events import Assigned, Ended, Event, Progress, Started
from harness.workers.display import Display
from harness.workers.tracker import Tracker

LOOK_SECONDS = 2.0
DRAW_SECONDS = 0.25
CANCELLED: dict[str, Any] = {"position": 0, "last_good": None, "log": "", "reason": "its job was cancelled"}
LATE_SECONDS = 60.0  # a shared file system may show a state so long after the queue has let its job go


@dataclass
class Watch:
    """Jobs of a plan that SLURM has. `trained`: tokens of those that were finished meanwhile."""

    plan: Plan
    jobs: Jobs
    store: Store
    display: Display
    tracker: Tracker
    failures: list[Failure] = field(default_factory=list)
    trained: int = 0
    _missed: dict[str, float] = field(default_factory=dict)  # since when a job is not in the queue
    _seen: dict[str, float] = field(default_factory=dict)  # when a job last reported

    def stay(self, should_stop: Callable[[], bool]) -> None:
        """Until every job has ended, or until asked to leave."""
        looked = float("-inf")
        while self.jobs.open and not should_stop():
            if time.monotonic() - looked >= LOOK_SECONDS:
                self._look()
                looked = time.monotonic()
            self.display.tick(self.jobs.longest_path)
            time.sleep(DRAW_SECONDS)

    def _look(self) -> None:
        try:
            queue = submitted(self.store.root)  # before the states: a job leaves the queue after it has stored
        except InputError as error:  # slurmctld is away for a while; the jobs go on
            self.display.board.note = str(error)
            return
        self.display.board.note = ""
        for job in self.jobs.all:
            known = queue.get(job.key)
            if job.ended:
                continue
            if is_stored(job.task, self.store):
                self.jobs.done(job)
                self.trained += job.tokens
                self._show(known, job, Ended("done"))
            elif known is not None and known.in_queue:
                self._missed.pop(job.key, None)
                self._report(job, known)
            elif all(earlier.ended for earlier in job.waits_for):
                since = self._missed.setdefault(job.key, time.monotonic())
                late = time.monotonic() - since > LATE_SECONDS
                if late or (known is not None and known.cancelled) or self.store.failure(job.task.address):
                    self._failed(job, known)

    def _report(self, job: Job, known: Submitted) -> None:
        """What a running job has written since, as events."""
        progress = known.progress()
        if not known.running or progress.get("address") != job.task.address or progress["position"] is None:
            return
        if not all(earlier.ended for earlier in job.waits_for):
            return  # the one before it in the same SLURM job ended during this look
        if job.key not in self._seen:
            self._show(known, job, Assigned())
            self._show(known, job, Started(progress["position"]))
        if progress["time"] != self._seen.get(job.key):
            self._seen[job.key] = progress["time"]
            self._show(known, job, Progress(progress["position"], progress["lr"], progress["tokens_per_second"]))
            self.display.board.lines[known.job].losses.update(progress["losses"])

    def _failed(self, job: Job, known: Submitted | None) -> None:
        self.jobs.failed(job)
        failure = failure_of(left_at(job.segment, job.key), self.store, known) or CANCELLED
        names = [self.plan.names[i] for i in job.segment.runs]
        position, reason = failure["position"], failure["reason"]
        self.failures.append(Failure(names, job.task.address, position, failure["last_good"], reason, failure["log"]))
        self.display.print_line(f"failed: {job.name}: {reason}")
        self._show(known, job, Ended("failed"))

    def _show(self, known: Submitted | None, job: Job, event: Event) -> None:
        number = known.job if known is not None else "elsewhere"
        if isinstance(event, Ended) and number not in self.display.board.lines:
            self.display.event(number, job, Assigned())  # it came and went between two looks
        self.display.event(number, job, event)
        if isinstance(event, Ended):
            del self.display.board.lines[number]
            self.tracker.event(job, event)
