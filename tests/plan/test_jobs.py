"""Which job starts when: parents first, the longest path first, a hot state first among nearly equal ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.plan.jobs import Jobs, name_of
from harness.plan.plan import Plan, plan
from harness.report import plan_document, plan_lines
from harness.store.store import Store
from tests.composed import points_of
from tests.tiny import command


def planned(texts: Path, *runs: str) -> Plan:
    return plan(points_of(*(command(texts, knobs) for knobs in runs)))


def order(jobs: Jobs) -> list[tuple[int, int]]:
    """(start, stop) of each job as one worker would do them."""
    last, done = None, []
    while (job := jobs.take(last, 0.0)) is not None:
        done.append((job.segment.start, job.segment.stop))
        jobs.done(job)
        last = job
    return done


def test_nothing_starts_before_what_it_continues(texts: Path) -> None:
    jobs = Jobs(planned(texts, "warmup=0.1", "warmup=0.2"))
    first = jobs.take(None, 0.0)
    assert first is not None
    assert (first.segment.start, first.segment.stop) == (0, 6)
    assert jobs.take(None, 0.0) is None
    jobs.done(first)
    assert jobs.take(first, 0.0) is not None


def test_the_longest_path_goes_first(texts: Path) -> None:
    """The base under two continuations before the run from scratch, though that one was asked for first."""
    jobs = Jobs(planned(texts, "start=scratch", "warmup=0.1", "warmup=0.2 tokens=2x"))
    assert order(jobs)[:3] == [(0, 6), (6, 60), (60, 76)]  # then the continuation of twice the length
    assert jobs.longest_path == 0
    assert not jobs.open


def test_of_nearly_equal_paths_a_worker_continues_what_it_holds(texts: Path) -> None:
    jobs = Jobs(planned(texts, "warmup=0.025", "warmup=0.05"))
    held = None
    for _ in range(3):  # the base, and the warm-up of one run
        held = jobs.take(held, 0.0)
        assert held is not None
        jobs.done(held)
    following = jobs.take(held, 0.0)
    assert held is not None
    assert following is not None
    assert following.segment.parent is held.segment


def test_workers_no_more_than_can_be_busy_at_once(texts: Path) -> None:
    assert Jobs(planned(texts, "warmup=0.1")).width == 1
    assert Jobs(planned(texts, "warmup=0.1", "warmup=0.2", "start=scratch")).width == 3


def test_a_failure_blocks_what_continues_from_it_and_nothing_else(texts: Path) -> None:
    jobs = Jobs(planned(texts, "warmup=0.1", "warmup=0.2", "start=scratch"))
    base = next(job for job in jobs.all if job.segment.stop == 6)
    base.status = "running"
    jobs.failed(base)
    assert order(jobs) == [(0, 4), (4, 40)]  # from scratch
    assert [job.status for job in jobs.all].count("blocked") == 5
    assert not jobs.open


def test_a_busy_segment_waits_for_its_time_and_stays_open(texts: Path) -> None:
    jobs = Jobs(planned(texts, "warmup=0.1"))
    job = jobs.take(None, 0.0)
    assert job is not None
    jobs.busy(job, until=5.0)
    assert jobs.open
    assert jobs.take(None, 4.9) is None
    assert jobs.take(None, 5.0) is job


def test_measurements_of_a_stored_state_go_before_what_continues_from_it(texts: Path) -> None:
    """So that the continuation's own history carries those rows, however often it is interrupted."""
    (run,) = points_of(command(texts, "warmup=0.1"))
    base = run.program.address(60)
    rows = frozenset(key for key in run.request.required if key[0] <= 60)
    more = replace(run.request, wanted=frozenset({(60, "0" * 16)}), measures={**run.request.measures})
    more.measures["0" * 16] = next(iter(more.measures.values()))
    jobs = Jobs(plan([replace(run, request=more)], {base: rows}.get))
    first = jobs.take(None, 0.0)
    assert first is not None
    assert (first.trains, first.task.position) == (False, 60)
    assert jobs.take(None, 0.0) is None
    jobs.failed(first)  # a measurement that fails blocks nothing
    second = jobs.take(None, 0.0)
    assert second is not None
    assert second.segment.start == 60


def labelled(texts: Path, *choices: str) -> Plan:
    points = points_of(*(command(texts, knobs) for knobs in choices))
    for point, label in zip(points, choices, strict=True):
        point.labels = [label]
    return plan(points)


def test_names_tell_what_is_trained(texts: Path) -> None:
    laid = labelled(texts, "warmup=0.1", "warmup=0.2")
    names = {segment.stop: name_of(laid, segment) for segment in laid.segments}
    assert names[60] == "base of 2 runs"
    assert names[64] == "warmup=0.1"


def test_names_tell_the_bases_of_seeds_apart(texts: Path) -> None:
    laid = labelled(texts, "seed=0 warmup=0", "seed=0 warmup=0.1", "seed=1 warmup=0")
    bases = [name_of(laid, segment) for segment in laid.segments if segment.stop == 60]
    assert bases == ["base of 2 runs, seed=0", "base, seed=1 warmup=0"]


def test_names_tell_trunks_apart(texts: Path) -> None:
    wsd = "schedule=wsd start=scratch"
    laid = labelled(texts, *(f"{wsd} seed={seed} tokens={tokens}x" for seed in (0, 1) for tokens in (1, 2)))
    trunks = {name_of(laid, segment) for segment in laid.segments if len(segment.runs) > 1}
    assert trunks == {f"trunk of 2 runs, {wsd} seed=0", f"trunk of 2 runs, {wsd} seed=1"}


def test_runs_of_one_name_are_told_apart_by_their_choices(texts: Path, tmp_path: Path) -> None:
    """A run is named by what most sweeps vary; a sweep may vary anything else."""
    laid = labelled(texts, "seed=0", "model.hidden=16 seed=1", "model.hidden=32 seed=1")
    first, *others = laid.names
    assert "(" not in first
    assert [name.partition(" ")[2] for name in others] == ["(model.hidden=16 seed=1)", "(model.hidden=32 seed=1)"]
    report = "\n".join(plan_lines(plan_document(laid, Store(tmp_path))))
    assert all(f"to train {name}\n" in report for name in laid.names)
