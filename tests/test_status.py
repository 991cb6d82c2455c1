"""What do=plan says of each point, from the store and from what was submitted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import plan_over
from harness.plan import Plan
from harness.report import plan_lines
from harness.status import status_of
from harness.store import Store
from harness.submissions import Submitted
from tests.composed import points_of
from tests.launched import launched
from tests.tiny import command, write_texts


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "root")


@pytest.fixture
def two(tmp_path: Path, store: Store) -> Plan:
    """Two runs with one base; nothing is stored."""
    write_texts(tmp_path)
    return plan_over(points_of(command(tmp_path, "warmup=0.1"), command(tmp_path, "warmup=0.2")), store)


def job(store: Store, state: str, *, cancelled: bool = False, **report: object) -> Submitted:
    folder = store.root / "jobs" / "token"
    folder.mkdir(parents=True, exist_ok=True)
    if report:
        (folder / "progress-0.json").write_text(json.dumps({"job": "12", **report}))
    return Submitted(folder, 0, "12", state, cancelled)


def statuses(plan: Plan, store: Store, jobs: dict[str, Submitted]) -> list[str]:
    return [status_of(point, plan, store, jobs)["status"] for point in plan.points]


def test_what_nobody_has_started_is_to_train(two: Plan, store: Store) -> None:
    assert statuses(two, store, {}) == ["to train", "to train"]


def test_queued_and_running(two: Plan, store: Store) -> None:
    first, second = (point.path[-1].address for point in two.points)
    losses = {"upstream": 4.5}
    running = job(store, "RUNNING", address=first, host="n1", position=70, losses=losses)
    jobs = {first: running, second: job(store, "PENDING")}
    assert statuses(two, store, jobs) == ["running", "queued"]
    told = status_of(two.points[0], two, store, jobs)
    assert told == {"status": "running", "job": "12", "host": "n1", "position": 70, "losses": losses}


def test_a_failed_base_blocks_and_a_failed_run_fails(two: Plan, store: Store) -> None:
    base, own = two.points[0].path[1], two.points[1].path[-1]
    (store.root / "jobs").mkdir(parents=True)
    log = store.root / "jobs" / "some.log"
    log.write_text("".join(f"line {n}\n" for n in range(9)))
    store.write_failure(own.address, 80, 60, str(log), "the loss is not finite")
    assert statuses(two, store, {}) == ["to train", "failed"]
    told = status_of(two.points[1], two, store, {})["failure"]
    assert (told["position"], told["last_good"], told["log_tail"]) == (80, 60, [f"line {n}" for n in range(4, 9)])
    store.write_failure(base.address, 3, None, str(log), "the disk was full")
    assert statuses(two, store, {}) == ["blocked", "blocked"]
    assert statuses(two, store, {base.address: job(store, "PENDING")}) == ["to train", "failed"]  # it is tried again


def test_a_job_that_is_gone_without_a_word_has_failed_unless_it_was_taken_back(two: Plan, store: Store) -> None:
    own = two.points[0].path[-1].address
    gone = job(store, "", address=own, host="n1", position=77, losses={})
    told = status_of(two.points[0], two, store, {own: gone})
    assert (told["status"], told["failure"]["position"]) == ("failed", 77)
    assert "job 12 is gone" in told["failure"]["reason"]
    assert statuses(two, store, {own: job(store, "", cancelled=True)}) == ["to train", "to train"]


def test_a_job_that_stored_its_state_has_not_failed_when_more_rows_are_wanted(tmp_path: Path, store: Store) -> None:
    write_texts(tmp_path)
    assert launched(tmp_path, store.root, ["warmup=0.1"]).failures == []
    plan = plan_over(points_of(command(tmp_path, "warmup=0.1 evaluate.every=0.1x")), store)
    done = job(store, "")
    assert statuses(plan, store, {segment.address: done for segment in plan.segments}) == ["to train"]


def test_jobs_that_measure_are_seen(tmp_path: Path, store: Store) -> None:
    write_texts(tmp_path)
    every = "evaluate.early=[] evaluate.every=1x evaluate.base_every=1.5x"  # at stored positions only
    assert launched(tmp_path, store.root, [f"warmup=0 {every}"]).failures == []
    plan = plan_over(points_of(command(tmp_path, f"warmup=0 {every} evaluate.windows=8")), store)
    assert plan.to_train == []
    keys = [evaluation.key for evaluation in plan.evaluations]
    assert statuses(plan, store, {}) == ["to measure"]
    assert statuses(plan, store, {keys[-1]: job(store, "RUNNING")}) == ["running"]
    assert statuses(plan, store, {keys[-1]: job(store, "")}) == ["failed"]


def test_a_person_reads_where_it_runs_and_why_it_failed(two: Plan) -> None:
    failure = {"position": 80, "last_good": 60, "log": "log", "reason": "why", "log_tail": ["the end"]}
    entry = {"run": "name", "labels": ["name"], "phases": [], "failure": None}
    running = {**entry, "status": "running", "job": "12_3", "host": "n1", "position": 70, "losses": {"docs": 4.5}}
    document = {
        "points": [running, {**entry, "status": "failed", "failure": failure}],
        "tokens_if_separate": 1,
        "tokens_planned": 1,
        "tokens_done": 0,
        "segments_to_train": 1,
        "evaluations": 0,
        "flops": 1.0,
        "hours": 1.0,
        "disk_bytes": 1,
        "runs": len(two.points),
    }
    text = "\n".join(plan_lines(document))
    assert "job 12_3 on n1, step 70, docs 4.5000" in text
    assert "failed at step 80: why\n           | the end" in text
