"""One launch under way, on this machine: jobs go to workers, or are done in this process, until none is left.

Without torch. `harness.launch` makes the workers and the `Session`; with launch=slurm only `Stop` and `tell` are of
use.

    with Stop() as stop:
        session = Session(plan, jobs, store, setup, display, mirror, stop, workers, outcome)
        session.local()                                                        # or session.inline()
    print_outcome(outcome)
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from harness.plan.jobs import Failure, Job, Jobs, Outcome
from harness.plan.plan import Plan
from harness.store.store import Store
from harness.train.events import Assigned, Ended, Event, Ready
from harness.workers import pool, worker
from harness.workers.display import Display, Line
from harness.workers.tracker import Tracker

RETRY_SECONDS = 0.5  # until a segment that another process trains is looked at again
GRACE_SECONDS = 30.0  # for a step and the save of its state after Ctrl-C; what is stored is safe in any case
WAKE_SECONDS = 0.25  # signals are seen, and the display drawn, at least this often


@dataclass
class Session:
    """One launch under way."""

    plan: Plan
    jobs: Jobs
    store: Store
    setup: worker.Setup
    display: Display
    tracker: Tracker
    stop: Stop
    workers: list[pool.Worker]
    outcome: Outcome
    why: str = "no worker process starts"

    def local(self) -> None:
        """Give jobs to workers as they come free, until none is left or someone asks to stop."""
        self.display.board.lines.update({one.index: Line() for one in self.workers})
        while self.jobs.open and not self.stop.asked:
            self._assign()
            self._listen(WAKE_SECONDS)
            if not self.workers:
                self._give_up()
        if self.stop.asked:
            self._wind_down()
        pool.close_all(self.workers, grace_seconds=1.0)

    def inline(self) -> None:
        """The same in this process, one job after the other."""
        trainer = worker.prepare(self.setup)
        last: Job | None = None
        while self.jobs.open and not self.stop.asked:
            job = self.jobs.take(last, time.monotonic())
            if job is None:  # another process trains what is left
                self.display.tick(self.jobs.longest_path)
                time.sleep(WAKE_SECONDS)
                continue
            self._show(0, job, Assigned())

            def report(event: Event, job: Job = job) -> None:
                self._show(0, job, event)

            ending = worker.run_under_lease(job.task, trainer, report, lambda: self.stop.asked)
            self._ended(0, job, ending)
            self.stop.asked |= ending.how == "interrupted"  # another rank may have been asked
            last = job
        self.outcome.interrupted = self.stop.asked

    def _assign(self) -> None:
        for one in self.workers:
            if one.ready and one.job is None and (job := self.jobs.take(one.last, time.monotonic())):
                one.send(job)
                self._show(one.index, job, Assigned())

    def _listen(self, seconds: float) -> None:
        """Take in what the workers tell, for at most so long."""
        heard = {id(end) for end in wait([one.connection for one in self.workers], seconds)}
        for one in [one for one in self.workers if id(one.connection) in heard]:
            try:
                event = one.connection.recv()
            except (EOFError, OSError):
                self._died(one)
                continue
            job = one.job
            one.ready |= isinstance(event, Ready)
            if job is None or not isinstance(event, Ended):
                self._show(one.index, job, event)
            else:
                one.job, one.last = None, job
                self._ended(one.index, job, event)
                if event.parted:  # its ranks can do nothing together any more
                    self.workers.remove(one)
                    one.close(grace_seconds=5.0)
                    self._start_again(one)
        self.display.tick(self.jobs.longest_path)

    def _died(self, one: pool.Worker) -> None:
        """A worker that died costs its segment, and is replaced; one that never was ready is not."""
        self.workers.remove(one)
        reason, job = one.close(grace_seconds=5.0), one.job
        reached = self.display.board.lines[one.index].position if job else 0
        self._show(one.index, job, Ended("died"))
        if job is not None:
            self._failed(job, reason, reached, None)
        elif not one.ready:
            self.display.print_line(f"worker {one.index} did not start: {reason}")
            self.why = f"no worker process starts: {reason}"
            return
        self._start_again(one)

    def _start_again(self, one: pool.Worker) -> None:
        if self.jobs.open and not self.stop.asked:
            self.workers.append(pool.start(one.index, self.setup, one.place))

    def _wind_down(self) -> None:
        """Every job under way stops at its next step, and its state is stored; a second Ctrl-C does not wait."""
        self.outcome.interrupted = True
        self.display.print_line("stopping at the next step; Ctrl-C again stops at once")
        for one in [one for one in self.workers if one.job is None]:
            self.workers.remove(one)
            one.kill()
            one.close(1.0)
        for one in self.workers:
            one.stop()
        deadline = time.monotonic() + GRACE_SECONDS
        while any(one.job for one in self.workers) and time.monotonic() < deadline:
            self._listen(WAKE_SECONDS)
        for one in self.workers:
            one.kill()

    def _give_up(self) -> None:
        """No worker starts here: what could run now fails, and so blocks the rest."""
        while (job := self.jobs.take(None, float("inf"))) is not None:
            self._failed(job, self.why, job.segment.start, None)

    def _show(self, index: int, job: Job | None, event: Event) -> None:
        self.display.event(index, job, event)
        if job is not None:
            self.tracker.event(job, event)

    def _ended(self, index: int, job: Job, event: Ended) -> None:
        self.outcome.trained += event.trained
        for line in event.warnings:
            self.display.print_line(line)
        if event.how == "done":
            self.jobs.done(job)
        elif event.how == "failed":
            self._failed(job, event.reason, event.position, event.last_good)
        else:  # busy, or interrupted: not ended at all
            self.jobs.busy(job, time.monotonic() + RETRY_SECONDS)
        self._show(index, job, event)

    def _failed(self, job: Job, reason: str, position: int, last_good: int | None) -> None:
        self.jobs.failed(job)
        log = str(worker.log_path(self.store.root, job.task.address))
        names = [self.plan.names[i] for i in job.segment.runs]
        self.outcome.failures.append(Failure(names, job.task.address, position, last_good, reason, log))
        with contextlib.suppress(OSError):  # the disk may be what failed
            self.store.write_failure(job.task.address, position, last_good, log, reason)
        self.display.print_line(f"failed: {job.name}: {reason}")


def print_outcome(outcome: Outcome) -> None:
    """What a person has to know at the end."""
    for failure in outcome.failures:
        print(f"failed at step {failure.position}: {failure.reason}", file=sys.stderr)
        print(f"  missing: {', '.join(failure.runs)}\n  log: {failure.log}", file=sys.stderr)
    if outcome.interrupted:
        print("interrupted; the same command goes on from here", file=sys.stderr)


class Stop:
    """Ctrl-C and SIGTERM while a plan is carried out: the first asks to stop, the second does not wait."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # only there can signals be handled
            for which in (signal.SIGINT, signal.SIGTERM):
                self._before[which] = signal.signal(which, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)

    def _handle(self, which: int, _: object) -> None:
        if self.asked and which == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
