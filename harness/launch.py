"""Carry out a plan: corpora first, then every segment that is left, side by side or one after the other.

Without torch: training happens in worker processes (`launch=local`), in this one (`launch=inline`, which imports
`harness.workers.worker`'s torch only then), or in jobs of a cluster (`launch=slurm`: `harness.slurm.submit` submits
them). A failure costs the segment it happened in and what continues from it; the rest goes on. Ctrl-C stores every
state at its next step boundary (jobs of a cluster just go on); the same command goes on from there.

    outcome = launch(plan, read_launch(config), store, tracker={"kind": "off"}, progress=True)
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from harness.config.launching import Cluster, Launch
from harness.measure.request import uneven
from harness.plan.cost import only_measured
from harness.plan.epochs import Epochs
from harness.plan.jobs import Failure, Jobs, Outcome
from harness.plan.plan import Plan
from harness.plan.run_file import write_documents
from harness.slurm.submissions import Submitted
from harness.store.store import Store
from harness.workers import pool, worker
from harness.workers.display import Display
from harness.workers.needed_corpora import build_corpora, look_for_overlaps, needed_corpora, pairs_of
from harness.workers.session import Session, Stop, print_outcome
from harness.workers.tracker import Tracker


def launch(
    plan: Plan,
    settings: Launch,
    store: Store,
    *,
    tracker: Mapping[str, Any],
    progress: bool,
    recorded: Callable[[], None] = lambda: None,
) -> Outcome:
    """Do all that is left of a plan. Raises InputError for wrong settings and texts too short, before any training.

    `recorded` is called once its runs are, and before any of them is trained.
    """
    setup = worker.Setup(
        store.root,
        store.parents,
        save_every=settings.save_every,
        micro_batch=settings.micro_batch,
        keep=settings.keep,
        sharding=settings.sharding,
        gpus=settings.cluster is None and bool(pool.devices()),  # those of a cluster's jobs: see harness.slurm.submit
    )
    jobs, outcome = Jobs(plan), Outcome()
    places = [] if settings.cluster else pool.places(settings, plan, jobs.width)
    if not jobs.all:
        write_documents(plan, store)
        recorded()
        look_for_overlaps(pairs_of(plan.points), store.root, progress=progress)
        _warn(plan, store)
        _require_states(plan, jobs, store, outcome)
        print_outcome(outcome)
        return outcome
    for warning in only_measured(plan, store.root):
        print(f"warning: {warning}", file=sys.stderr)
    if settings.cluster:
        return _slurm(plan, jobs, setup, settings.cluster, store, tracker, progress, recorded)
    workers = [pool.start(index, setup, place) for index, place in enumerate(places)]
    try:
        build_corpora(needed_corpora(plan, jobs), store.root, progress=progress)  # the workers import torch meanwhile
        _warn(plan, store)
        write_documents(plan, store)
        recorded()
        with (
            Stop() as stop,
            Display(sum(job.tokens for job in jobs.all), progress) as display,
            Tracker(tracker, store, plan) as mirror,
        ):
            session = Session(plan, jobs, store, setup, display, mirror, stop, workers, outcome)
            session.local() if places else session.inline()
    except KeyboardInterrupt:  # while corpora were made, or the second one: what is stored stays
        outcome.interrupted = True
    finally:
        for one in workers:
            one.kill()
    _require_states(plan, jobs, store, outcome)
    print_outcome(outcome)
    return outcome


def _warn(plan: Plan, store: Store) -> None:
    """Say which losses are not weighted as their corpus, and which corpora are read over and over: they are built."""
    for warning in [*uneven(point.run for point in plan.points), *Epochs(store.root).warnings(plan.points)]:
        print(f"warning: {warning}", file=sys.stderr)


def _slurm(
    plan: Plan,
    jobs: Jobs,
    setup: worker.Setup,
    cluster: Cluster,
    store: Store,
    tracker: Mapping[str, Any],
    progress: bool,
    recorded: Callable[[], None],
) -> Outcome:
    """Submit what is left as jobs of a cluster; with `launch.wait` stay beside them."""
    from harness.slurm.ingest_jobs import fetch_corpora, ingest_resources, left_to_jobs, submit_corpora
    from harness.slurm.submit import submit, wanted_resources
    from harness.slurm.watch import Watch

    if tracker["kind"] != "off" and not cluster.wait:
        print("warning: no process stays to mirror the runs; launch.wait=true does", file=sys.stderr)
    wanted = wanted_resources(plan, jobs, cluster, store)
    needed = needed_corpora(plan, jobs)
    left = left_to_jobs(needed, cluster, store.root)
    of_corpora = ingest_resources(cluster) if left else None

    def corpora(queue: Mapping[str, Submitted]) -> Mapping[str, str]:
        return submit_corpora(left, cluster, store, of_corpora, queue) if of_corpora else {}

    build_corpora([one for one in needed if one not in left], store.root, progress=progress)
    fetch_corpora(left, cluster, store.root)
    _warn(plan, store)
    write_documents(plan, store)
    recorded()
    with Stop() as stop:  # a Ctrl-C is heard before the first is submitted, and once all are
        outcome = Outcome(interrupted=True)
        with contextlib.suppress(KeyboardInterrupt):
            submit(plan, jobs, setup, cluster, store, wanted, lambda: stop.asked, corpora)
            if not cluster.wait:
                return Outcome(interrupted=stop.asked)
            total = sum(job.tokens for job in jobs.all if not job.ended)
            with Display(total, progress, who="job") as display, Tracker(tracker, store, plan) as mirror:
                watch = Watch(plan, jobs, store, display, mirror)
                watch.stay(lambda: stop.asked)
                outcome = Outcome(watch.trained, watch.failures, interrupted=jobs.open)
            _require_states(plan, jobs, store, outcome)
    print_outcome(outcome)
    return outcome


def _require_states(plan: Plan, jobs: Jobs, store: Store, outcome: Outcome) -> None:
    """Done means that every state asked for is there: what is missing without a word becomes a failure."""
    if outcome.interrupted:
        return
    reported = {job.segment for job in jobs.all if job.status in ("failed", "blocked")}
    asked = {job.segment for job in jobs.all} | {point.path[-1] for point in plan.points}
    for segment in plan.segments:
        if segment in asked - reported and store.state(segment.address) is None:
            names = [plan.names[i] for i in segment.runs]
            why = f"its state {segment.address} is neither in {store.root} nor in a parent store; try again"
            log = str(worker.log_path(store.root, segment.address))
            outcome.failures.append(Failure(names, segment.address, segment.stop, None, why, log))
