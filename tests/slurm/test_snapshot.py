"""What a queued job reads is what was meant when it was submitted: tasks come back whole, code is a copy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.compose.compose import sweep_points
from harness.config.run import read_run
from harness.core.plain import plain, read_back
from harness.core.shipped import CODE
from harness.plan.jobs import Jobs
from harness.plan.plan import compile_points, plan
from harness.plan.task import Task
from harness.slurm.snapshot import freeze, freeze_code
from harness.workers.worker import Setup


@pytest.mark.parametrize("sweep", ["demo", "scalable_replay"])
def test_a_task_comes_back_equal_from_json(sweep: str) -> None:
    runs = [(point.label, read_run(point.config)) for point in sweep_points([sweep], ["scale=mini"])]
    jobs = Jobs(plan(compile_points(runs))).all
    assert len(jobs) > len(runs)
    for job in jobs:
        again = read_back(Task, json.loads(json.dumps(plain(job.task))))
        assert again == job.task
        assert again.address == job.task.address
        assert again.program.lr(job.segment.stop - 1) == job.task.program.lr(job.segment.stop - 1)


def test_a_measurement_and_a_setup_come_back_equal() -> None:
    setup = Setup(Path("runs"), (Path("others"),), 0.1, 8, "weights")
    assert read_back(Setup, json.loads(json.dumps(plain(setup)))) == setup


def test_the_code_is_frozen_once_and_whole(tmp_path: Path) -> None:
    folder = freeze_code(tmp_path)
    assert freeze_code(tmp_path) == folder
    copied = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert copied == {path: (CODE.parent / path).read_bytes() for path in copied}
    assert {Path("harness/slurm/payload.py"), Path("harness/conf/config.yaml")} <= set(copied)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    freeze(tmp_path, "abc", {"a.txt": b"first"})
    freeze(tmp_path, "abc", {"a.txt": b"second"})
    assert (tmp_path / "abc" / "a.txt").read_bytes() == b"first"
