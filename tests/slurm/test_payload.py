"""The body of a SLURM job, in a process whose environment is that of one."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from torch.optim import AdamW
from transformers import PreTrainedModel

from harness.core.plain import plain
from harness.core.shipped import CODE
from harness.model.tensors import save_optimizer
from harness.plan.jobs import Job, Jobs
from harness.report import plan_document
from harness.slurm import payload
from harness.slurm.resources import longest_waits
from harness.store.history import Row
from harness.store.store import Store
from harness.train import states
from harness.train.loop import Trainer
from harness.workers.worker import Setup
from tests.launched import launched
from tests.tiny import planned


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "root")


def run(
    store: Store,
    jobs: list[Job],
    *,
    code: Path = CODE,
    slow: float = 0.0,
    broken: bool = False,
    gpus: bool = False,
    **environment: str,
) -> int | None:
    """The status of job 5, which does these. `slow`: seconds a save takes longer. `broken`: measurements fail."""
    folder = store.root / "jobs" / "token"
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "setup": plain(Setup(store.root, (), save_every=600.0, micro_batch=None, keep="all", gpus=gpus)),
        "code": str(code),
        "requeues": 1,
        "parameters": 10,
        "tasks": [plain(job.task) for job in jobs],
    }
    (folder / "work-0.json").write_text(json.dumps(document))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.train.loop", "tests.launched"])
    environment |= {"SLURM_JOB_ID": "5", "SUBMITIT_EXECUTOR": "slurm", "SUBMITIT_FOLDER": str(folder)}
    process = context.Process(target=_job, args=(folder, environment, slow, broken))
    process.start()
    process.join(60)
    return process.exitcode


def _job(folder: Path, environment: dict[str, str], slow: float, broken: bool) -> None:
    os.environ.update(environment)

    def save(folder: Path | None, optimizer: AdamW, model: PreTrainedModel) -> None:
        time.sleep(slow)
        save_optimizer(folder, optimizer, model)

    def measure(*_: object) -> list[Row]:
        raise OSError("it cannot be read")

    patch = pytest.MonkeyPatch()
    patch.setattr(states, "save_optimizer", save)
    if broken:
        patch.setattr(Trainer, "measure_stored", measure)
    payload.Payload(str(folder))(0)


def test_every_save_is_measured_also_the_last(texts: Path, store: Store) -> None:
    jobs = Jobs(planned(texts, store, "start=scratch warmup=0"))
    assert run(store, jobs.all, slow=0.5) == 0
    assert longest_waits(store.root)[10] > 0.5


def test_a_measurement_that_fails_holds_nothing_up(texts: Path, store: Store) -> None:
    base = "warmup=0.1 schedule=constant evaluate.early=[] evaluate.base_every=100x evaluate.every=1x "
    assert launched(texts, store.root, [base + "tokens=1x"]).failures == []
    jobs = Jobs(planned(texts, store, base + "tokens=2x evaluate.windows=8"))
    assert {job.trains for job in jobs.all} == {False, True}
    assert run(store, jobs.all, broken=True) == 0
    assert jobs.all[-1].task.address in store.addresses()
    failure = store.failure(jobs.all[0].task.address)
    assert failure is not None
    assert failure["reason"] == "it cannot be read"
    assert run(store, jobs.all[:1], broken=True) == payload.FAILED  # nothing else was done


def test_a_new_try_forgets_the_failure_of_the_last(texts: Path, store: Store) -> None:
    jobs = Jobs(planned(texts, store, "start=scratch"))
    end = jobs.all[-1].task.address
    store.write_failure(end, 10, None, "log", "last week")
    assert run(store, jobs.all) == 0
    assert store.failure(end) is None


def test_retries_are_no_interruptions(texts: Path, store: Store) -> None:
    jobs = Jobs(planned(texts, store, "start=scratch"))
    assert run(store, jobs.all, SLURM_RESTART_COUNT="2") == payload.FINAL  # one was allowed
    failure = store.failure(jobs.all[0].task.address)
    assert failure is not None
    assert "more than 1 times (launch.requeues)" in failure["reason"]
    (store.root / "jobs" / "token" / "retries-5").write_text("1\n")
    assert run(store, jobs.all, SLURM_RESTART_COUNT="2") == 0


def test_no_other_code_than_the_frozen_trains(texts: Path, store: Store, tmp_path: Path) -> None:
    jobs = Jobs(planned(texts, store, "start=scratch"))
    assert run(store, jobs.all, code=tmp_path / "elsewhere") == 1
    assert store.addresses() == set()


def test_a_job_that_cannot_use_its_gpu_fails_and_says_so(texts: Path, store: Store) -> None:
    """It must not train on the CPU instead."""
    plan = planned(texts, store, "warmup=0.1")
    assert run(store, Jobs(plan).all, gpus=True, CUDA_VISIBLE_DEVICES="") == payload.FAILED
    assert store.addresses() == set()
    (point,) = plan_document(plan, store)["points"]
    assert point["status"] == "failed"
    assert "CUDA_VISIBLE_DEVICES=: a GPU was given to this process, and torch" in point["failure"]["reason"]
