"""What do=plan says of each point, from the store and from what was submitted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from analysis.__main__ import main
from analysis.results.runs import read_runs
from harness.core.errors import InputError
from harness.plan.over_store import plan_over
from harness.plan.plan import Plan
from harness.plan.run_file import write_documents
from harness.report import plan_document, plan_lines
from harness.slurm.status import status_of
from harness.slurm.submissions import Submitted
from harness.store import lease
from harness.store.store import Store
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
    model = {"model": "mini", "parameters": 1, "batch": 4, "seq_len": 16, "precision": "fp32"}
    entry = {
        "run": "name",
        "name": "name",
        "labels": ["name"],
        "phases": [],
        "failure": None,
        "checkpoint": None,
        **model,
    }
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
        "left_out": {},
    }
    text = "\n".join(plan_lines(document))
    assert "job 12_3 on n1, step 70, docs 4.5000" in text
    assert "failed at step 80: why\n           | the end" in text


def test_a_local_run_that_trains_is_seen_with_how_far_it_is(
    two: Plan, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By do=plan and by analysis, from the lease of whoever is at it."""
    write_documents(two, store)
    names = [point.run.name for point in two.points]
    assert [run.status for run in read_runs(store.root)] == ["missing", "missing"]
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.01)
    with store.lease(two.points[0].path[-1].address) or pytest.fail("nobody else has it") as held:
        told = status_of(two.points[0], two, store, {})
        assert (told["status"], told["position"]) == ("running", 64)  # where it began
        held.position = 83
        for _ in range(1000):
            if status_of(two.points[0], two, store, {})["position"] == 83:
                break
            time.sleep(0.01)
        assert statuses(two, store, {}) == ["running", "to train"]
        assert main(["runs", "--root", str(store.root)]) == 0
        text = capsys.readouterr().out
        assert f"{names[0]}-{two.points[0].key[:12]}  running (step 83 of 100)" in text
        assert text.splitlines()[-1] == "2 runs: 1 missing, 1 running"
        assert "at work on " in "\n".join(plan_lines(plan_document(two, store)))
    assert statuses(two, store, {}) == ["to train", "to train"]
    with store.lease(two.points[0].path[1].address) or pytest.fail("nobody else has it"):
        assert [run.status for run in read_runs(store.root)] == ["running", "running"]  # their base


def test_a_lease_of_the_dead_is_no_work(two: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    address = two.points[0].path[-1].address
    with store.lease(address) or pytest.fail("nobody else has it"):
        monkeypatch.setattr(lease, "time", SimpleNamespace(time=lambda: time.time() + 95))
        assert store.at_work(address) is None


def test_plan_and_analysis_say_the_same_of_failures_and_of_the_queue(
    two: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_documents(two, store)
    own, base = two.points[0].path[-1].address, two.points[0].path[1].address
    store.write_failure(own, 80, 60, "log", "why")
    assert sorted(run.status for run in read_runs(store.root)) == sorted(["failed", "missing"])
    store.write_failure(base, 3, None, "log", "why")
    assert statuses(two, store, {}) == [run.status for run in read_runs(store.root)] == ["blocked", "blocked"]
    jobs = {point.path[-1].address: job(store, "PENDING") for point in two.points}
    monkeypatch.setattr("analysis.results.runs.submitted", lambda _: jobs)
    assert statuses(two, store, jobs) == [run.status for run in read_runs(store.root)] == ["queued", "queued"]


def test_analysis_reads_on_where_the_cluster_does_not_answer(
    two: Plan, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def silent(_: Path) -> None:
        raise InputError("SLURM", "no answer", "why", "try again")

    write_documents(two, store)
    monkeypatch.setattr("analysis.results.runs.submitted", silent)
    assert [run.status for run in read_runs(store.root)] == ["missing", "missing"]
    assert capsys.readouterr().err == "warning: SLURM=no answer: why; try again\n"
