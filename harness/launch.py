"""Carry out a plan: corpora first, then every segment that is left, side by side or one after the other.

Level 7, without torch: training happens in worker processes (`launch=local`), in this one (`launch=inline`, which
imports `harness.worker`'s torch only then), or in jobs of a cluster (`launch=slurm`: `harness.slurm` submits them). A
failure costs the segment it happened in and what continues from it; the rest goes on. Ctrl-C stores every state at its
next step boundary (jobs of a cluster just go on); the same command goes on from there.

    outcome = launch(plan, {"kind": "local", ...}, store, tracker={"kind": "off"}, progress=True)
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from harness import pool, worker
from harness.corpus import build, open_corpus, require_windows
from harness.display import Display
from harness.documents import write_documents
from harness.fields import choice, number, whole
from harness.jobs import Failure, Job, Jobs, Outcome
from harness.plan import Plan
from harness.store import Store
from harness.tracker import Tracker

RETRY_SECONDS = 0.5  # until a segment that another process trains is looked at again
GRACE_SECONDS = 30.0  # for a step and the save of its state after Ctrl-C; what is stored is safe in any case
WAKE_SECONDS = 0.25  # signals are seen, and the display drawn, at least this often


def launch(
    plan: Plan, settings: Mapping[str, Any], store: Store, *, tracker: Mapping[str, Any], progress: bool
) -> Outcome:
    """Do all that is left of a plan. Raises InputError for wrong settings and texts too short, before any training."""
    kind = choice({"launch": dict(settings)}, "launch.kind", ("inline", "local", "slurm"))
    setup = _setup(settings, store)
    jobs, outcome = Jobs(plan), Outcome()
    places = [] if kind == "slurm" else pool.places(settings, plan, jobs.width)
    if not jobs.all:
        write_documents(plan, store)
        _require_states(plan, jobs, store, outcome)
        _tell(outcome)
        return outcome
    if kind == "slurm":
        return _slurm(plan, jobs, setup, settings, store, tracker, progress)
    workers = [pool.start(index, setup, place) for index, place in enumerate(places)]
    try:
        _corpora(plan, jobs, store, progress)  # the workers import torch meanwhile
        write_documents(plan, store)
        with (
            _Stop() as stop,
            Display(sum(job.tokens for job in jobs.all), progress) as display,
            Tracker(tracker, store, plan) as mirror,
        ):
            session = _Session(plan, jobs, store, setup, display, mirror, stop, workers, outcome)
            session.local() if places else session.inline()
    except KeyboardInterrupt:  # while corpora were made, or the second one: what is stored stays
        outcome.interrupted = True
    finally:
        for one in workers:
            one.kill()
    _require_states(plan, jobs, store, outcome)
    _tell(outcome)
    return outcome


def _setup(settings: Mapping[str, Any], store: Store) -> worker.Setup:
    config = {"launch": dict(settings)}
    micro_batch = None if settings["micro_batch"] is None else whole(config, "launch.micro_batch", 1)
    return worker.Setup(
        store.root,
        store.parents,
        save_every=number(config, "launch.save_every", above=0),
        micro_batch=micro_batch,
        keep=choice(config, "launch.keep", ("all", "weights")),
        sharding=choice(config, "launch.sharding", ("none", "fsdp")),
        gpus=settings["kind"] != "slurm" and bool(pool.devices()),  # those of a cluster's jobs: see harness.slurm
    )


def _corpora(plan: Plan, jobs: Jobs, store: Store, progress: bool) -> None:
    """Build what is missing of the corpora that the jobs read; each must hold the windows that are asked for."""
    needed = {key: recipe for job in jobs.all for key, recipe in job.task.recipes.items()}
    runs = [plan.points[i].run for job in jobs.all for i in job.segment.runs]
    seq_len, batch = max(run.seq_len for run in runs), max(run.batch for run in runs)
    build(list(needed.values()), store.root, progress=progress, seq_len=seq_len, sequences=batch)
    for key, recipe in needed.items():
        corpus = open_corpus(store.root, recipe)
        require_windows(corpus, seq_len, batch)
        for measure in {m.hash: m for job in jobs.all for m in job.task.measures.values() if m.key == key}.values():
            measure.indices(corpus.validation.windows(measure.seq_len))


def _slurm(
    plan: Plan,
    jobs: Jobs,
    setup: worker.Setup,
    settings: Mapping[str, Any],
    store: Store,
    tracker: Mapping[str, Any],
    progress: bool,
) -> Outcome:
    """Submit what is left as jobs of a cluster; with `launch.wait` stay beside them."""
    from harness import slurm
    from harness.watch import Watch

    if tracker["kind"] != "off" and not settings["wait"]:
        print("warning: no process stays to mirror the runs; launch.wait=true does", file=sys.stderr)
    wanted = slurm.wanted_resources(plan, jobs, settings, store)
    _corpora(plan, jobs, store, progress)
    write_documents(plan, store)
    with _Stop() as stop:  # a Ctrl-C is heard before the first is submitted, and once all are
        outcome = Outcome(interrupted=True)
        with contextlib.suppress(KeyboardInterrupt):
            slurm.submit(plan, jobs, setup, settings, store, wanted, lambda: stop.asked)
            if not settings["wait"]:
                return Outcome(interrupted=stop.asked)
            total = sum(job.tokens for job in jobs.all if not job.ended)
            with Display(total, progress, who="job") as display, Tracker(tracker, store, plan) as mirror:
                watch = Watch(plan, jobs, store, display, mirror)
                watch.stay(lambda: stop.asked)
                outcome = Outcome(watch.trained, watch.failures, interrupted=jobs.open)
            _require_states(plan, jobs, store, outcome)
    _tell(outcome)
    return outcome


@dataclass
class _Session:
    """One launch under way."""

    plan: Plan
    jobs: Jobs
    store: Store
    setup: worker.Setup
    display: Display
    tracker: Tracker
    stop: _Stop
    workers: list[pool.Worker]
    outcome: Outcome
    why: str = "no worker process starts"

    def local(self) -> None:
        """Give jobs to workers as they come free, until none is left or someone asks to stop."""
        for one in self.workers:
            self._show(one.index, None, {"kind": "starting"})
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
            self._show(0, job, {"kind": "assigned"})

            def report(event: worker.Event, job: Job = job) -> None:
                self._show(0, job, event)

            work = worker.Work(job.task, job.position, job.hashes)
            ending = worker.carry_out(work, trainer, report, lambda: self.stop.asked)
            self._ended(0, job, ending)
            self.stop.asked |= ending["kind"] == "interrupted"  # another rank may have been asked
            last = job
        self.outcome.interrupted = self.stop.asked

    def _assign(self) -> None:
        for one in self.workers:
            if one.ready and one.job is None and (job := self.jobs.take(one.last, time.monotonic())):
                one.send(job)
                self._show(one.index, job, {"kind": "assigned"})

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
            if event["kind"] == "ready":
                one.ready = True
                self._show(one.index, None, event)
            elif job is None or "trained" not in event:
                self._show(one.index, job, event)
            else:
                one.job, one.last = None, job
                self._ended(one.index, job, event)
                if event["parted"]:  # its ranks can do nothing together any more
                    self.workers.remove(one)
                    one.close(grace_seconds=5.0)
                    self._start_again(one)
        self.display.tick(self.jobs.longest_path)

    def _died(self, one: pool.Worker) -> None:
        """A worker that died costs its segment, and is replaced; one that never was ready is not."""
        self.workers.remove(one)
        reason, job = one.close(grace_seconds=5.0), one.job
        reached = self.display.board.lines[one.index].position if job else 0
        self._show(one.index, job, {"kind": "died"})
        if job is not None:
            self._failed(job, reason, reached, None)
        elif not one.ready:
            self.display.say(f"worker {one.index} did not start: {reason}")
            self.why = f"no worker process starts: {reason}"
            return
        self._start_again(one)

    def _start_again(self, one: pool.Worker) -> None:
        if self.jobs.open and not self.stop.asked:
            self.workers.append(pool.start(one.index, self.setup, one.place))

    def _wind_down(self) -> None:
        """Every job under way stops at its next step, and its state is stored; a second Ctrl-C does not wait."""
        self.outcome.interrupted = True
        self.display.say("stopping at the next step; Ctrl-C again stops at once")
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

    def _show(self, index: int, job: Job | None, event: worker.Event) -> None:
        self.display.event(index, job, event)
        if job is not None:
            self.tracker.event(job, event)

    def _ended(self, index: int, job: Job, event: worker.Event) -> None:
        self.outcome.trained += event["trained"]
        for line in event["said"]:
            self.display.say(line)
        if event["kind"] == "done":
            self.jobs.done(job)
        elif event["kind"] == "failed":
            self._failed(job, event["reason"], event["position"], event["last_good"])
        else:  # busy, or interrupted: not ended at all
            self.jobs.busy(job, time.monotonic() + RETRY_SECONDS)
        self._show(index, job, event)

    def _failed(self, job: Job, reason: str, position: int, last_good: int | None) -> None:
        self.jobs.failed(job)
        log = str(worker.log_path(self.store.root, job.task.address))
        names = [self.plan.points[i].run.name for i in job.segment.runs]
        self.outcome.failures.append(Failure(names, job.task.address, position, last_good, reason, log))
        with contextlib.suppress(OSError):  # the disk may be what failed
            self.store.write_failure(job.task.address, position, last_good, log, reason)
        self.display.say(f"failed: {job.name}: {reason}")


def _require_states(plan: Plan, jobs: Jobs, store: Store, outcome: Outcome) -> None:
    """Done means that every state asked for is there: what is missing without a word becomes a failure."""
    if outcome.interrupted:
        return
    told = {job.segment for job in jobs.all if job.status in ("failed", "blocked")}
    asked = {job.segment for job in jobs.all} | {point.path[-1] for point in plan.points}
    for segment in plan.segments:
        if segment in asked - told and store.state(segment.address) is None:
            names = [plan.points[i].run.name for i in segment.runs]
            why = f"its state {segment.address} is neither in {store.root} nor in a parent store; try again"
            log = str(worker.log_path(store.root, segment.address))
            outcome.failures.append(Failure(names, segment.address, segment.stop, None, why, log))


def _tell(outcome: Outcome) -> None:
    """What a person has to know at the end."""
    for failure in outcome.failures:
        print(f"failed at step {failure.position}: {failure.reason}", file=sys.stderr)
        print(f"  missing: {', '.join(failure.runs)}\n  log: {failure.log}", file=sys.stderr)
    if outcome.interrupted:
        print("interrupted; the same command goes on from here", file=sys.stderr)


class _Stop:
    """Ctrl-C and SIGTERM while a plan is carried out: the first asks to stop, the second does not wait."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stop:
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
