"""Several ranks train what one trains: the same windows, losses, addresses and files, in DDP and sharded (FSDP2)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.distributed.tensor import DTensor

from harness.core.errors import InputError
from harness.corpora.batches import Batches
from harness.corpora.corpus import open_corpus
from harness.model import tensors
from harness.model.build import build_scratch
from harness.model.distributed import Ranks, join
from harness.model.tensors import load_model, load_optimizer, save_model, save_optimizer
from harness.plan.over_store import plan_over
from harness.program.shape import ModelShape
from harness.store.store import Store
from harness.train.loop import Interrupted
from harness.workers import pool
from harness.workers.worker import Setup
from tests import tiny
from tests.composed import points_of
from tests.launched import launched, leavings, settings
from tests.model.test_tensors import adamw, train
from tests.ranks import launched_by_all, together
from tests.repository import REPOSITORY
from tests.tiny import command

RUN = "replay=0.25"  # 60 steps upstream, then 40 on both
RTOL = 2e-6
FSDP = pytest.param("fsdp", marks=pytest.mark.slow)
ODD = ModelShape(layers=2, hidden=32, heads=2, vocab_size=97, seq_len=48)  # 97 rows: ranks hold unequal parts


@pytest.fixture(scope="module")
def alone(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What one rank makes."""
    root = tmp_path_factory.mktemp("alone")
    assert together(1, launched_by_all, texts, root, [RUN]) == [0]
    return Store(root)


@pytest.fixture(scope="module", params=["none", FSDP])
def pair(request: pytest.FixtureRequest, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What two ranks make."""
    root = tmp_path_factory.mktemp(request.param)
    assert together(2, launched_by_all, texts, root, [RUN], sharding=request.param) == [0, 0]
    return Store(root)


def end_of_run(texts: Path) -> str:
    (point,) = points_of(command(texts, RUN))
    return point.program.address()


def steps_of(store: Store, address: str, what: str) -> npt.NDArray[np.float64]:
    lines = (store.root / "states" / address / "steps.jsonl").read_text().splitlines()
    return np.array([json.loads(line)[what] for line in lines])


# --- the same training ------------------------------------------------------------------------------------------------


def test_two_ranks_make_the_states_that_one_makes(texts: Path, alone: Store, pair: Store) -> None:
    end = end_of_run(texts)
    assert pair.addresses() == alone.addresses()
    assert leavings(pair.root) == []
    assert all(pair.verify(address) for address in pair.addresses())
    for what in ("loss", "grad_norm"):
        ours, theirs = steps_of(pair, end, what), steps_of(alone, end, what)
        assert len(ours) == 100
        np.testing.assert_allclose(ours[:20], theirs[:20], rtol=RTOL)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)  # rounding grows from step to step
    assert list(steps_of(pair, end, "lr")) == list(steps_of(alone, end, "lr"))


def test_two_ranks_measure_what_one_measures(texts: Path, alone: Store, pair: Store) -> None:
    ours, theirs = ({row.key: row for row in store.rows(end_of_run(texts))} for store in (pair, alone))
    assert ours.keys() == theirs.keys()
    for key, row in theirs.items():
        assert ours[key].loss_sum == pytest.approx(row.loss_sum, rel=1e-5)
        if row.position == 0:  # of equal weights, the same bits
            assert ours[key] == row


@pytest.mark.slow
def test_ranks_may_change_from_resume_to_resume(texts: Path, alone: Store, tmp_path: Path) -> None:
    """One rank, two, two that shard, one: every window is read exactly once, and the losses are those of one."""
    read = tmp_path / "windows"
    read.mkdir()
    root, run = tmp_path / "root", [RUN]
    assert together(1, launched_by_all, texts, root, run, read, stop=(0, 9)) == [130]
    assert together(2, launched_by_all, texts, root, run, read, stop=(1, 30)) == [130, 0]  # heard on the other rank
    assert together(2, launched_by_all, texts, root, run, read, stop=(0, 30), sharding="fsdp") == [130, 0]
    assert together(1, launched_by_all, texts, root, run, read) == [0]
    lines = [json.loads(line) for path in read.iterdir() for line in path.read_text().splitlines()]
    found = sorted((position, *slot) for position, slots in lines for slot in slots)
    (point,) = points_of(command(texts, RUN))
    corpora = {recipe.key: open_corpus(root, recipe) for recipe in point.run.recipes.values()}
    batches = Batches(point.program, corpora)
    draws = [(position, *slot) for position in range(100) for slot in zip(*batches.draws(position), strict=True)]
    assert found == sorted(draws)
    assert len(list(read.iterdir())) == 1 + 2 + 2 + 1
    ours, theirs = (steps_of(store, end_of_run(texts), "loss") for store in (Store(root), alone))
    np.testing.assert_allclose(ours[:20], theirs[:20], rtol=RTOL)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert leavings(root) == []


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_micro_batches_on_two_ranks(sharding: str, texts: Path, alone: Store, tmp_path: Path) -> None:
    assert together(2, launched_by_all, texts, tmp_path, [RUN], sharding=sharding, micro_batch=1) == [0, 0]
    ours, theirs = (steps_of(store, end_of_run(texts), "loss")[:20] for store in (Store(tmp_path), alone))
    np.testing.assert_allclose(ours, theirs, rtol=RTOL)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_costs_two_ranks_one_run(texts: Path, tmp_path: Path) -> None:
    assert together(2, launched_by_all, texts, tmp_path, ["replay=0.25 lr=overflow", "start=scratch"]) == [1, 0]
    bad, good = points_of(*(command(texts, knobs) for knobs in ("replay=0.25 lr=overflow", "start=scratch")))
    store = Store(tmp_path)
    assert good.program.address() in store.addresses()
    assert bad.program.address() not in store.addresses()
    (path,) = (tmp_path / "failures").iterdir()
    assert "not finite; the last good state is at step 60" in json.loads(path.read_text())["reason"]


# --- states -----------------------------------------------------------------------------------------------------------


def _copied(source: Path, target: Path, sharding: str) -> int:
    """Load a state on this rank, and store it again; 1 if it held more than its part."""
    tensors.PART_BYTES = 30_000
    ranks = join()
    ranks.sharding = sharding
    model = ranks.placed(build_scratch(ODD, seed=1), torch.device("cpu"))
    optimizer = adamw(model)
    load_model(source, model)
    load_optimizer(source, optimizer, model)
    if ranks.leads or sharding == "fsdp":
        save_model(target if ranks.leads else None, model)
        save_optimizer(target if ranks.leads else None, optimizer, model)
    held = sum(p.to_local().nbytes if isinstance(p, DTensor) else p.nbytes for p in model.parameters())
    whole = sum(p.nbytes for p in model.parameters())
    return int(held > (0.35 if sharding == "fsdp" else 1) * whole)


@pytest.mark.parametrize("sharding", ["none", FSDP])
def test_a_state_is_the_same_files_whatever_number_of_ranks_stores_it(
    sharding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_scratch(ODD, seed=0)
    optimizer = adamw(model)
    train(model, optimizer, 0, 2)
    whole, parts, copy = (tmp_path / name for name in ("whole", "parts", "copy"))
    for folder, size in ((whole, tensors.PART_BYTES), (parts, 30_000)):
        monkeypatch.setattr(tensors, "PART_BYTES", size)
        folder.mkdir()
        save_model(folder, model)
        save_optimizer(folder, optimizer, model)
    copy.mkdir()
    assert together(3, _copied, whole, copy, sharding) == [0, 0, 0]
    files = {path.name: path.read_bytes() for path in parts.iterdir()}
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == files
    assert len(files) > 6
    for path in copy.iterdir():
        path.unlink()
    assert together(3, _copied, parts, copy, sharding) == [0, 0, 0]  # and it reads them
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == files


def test_training_goes_on_from_states_in_parts(
    texts: Path, alone: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "PART_BYTES", 5_000)
    store = Store(tmp_path)
    with pytest.raises(Interrupted):
        tiny.train(tiny.planned(texts, store, RUN), store, stop_at=30)
    tiny.train(tiny.planned(texts, store, RUN), store)
    end = end_of_run(texts)
    assert not (tmp_path / "states" / end / "weights.safetensors").exists()
    assert list(steps_of(store, end, "loss")) == list(steps_of(alone, end, "loss"))


# --- starting ranks ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_workers_of_two_ranks(texts: Path, alone: Store, tmp_path: Path) -> None:
    """As `launch.ranks=2` starts them."""
    outcome = launched(texts, tmp_path, [RUN], "local", workers=None, ranks=2, sharding="fsdp")
    assert outcome.failures == []
    ours, theirs = (steps_of(store, end_of_run(texts), "loss")[:20] for store in (Store(tmp_path), alone))
    np.testing.assert_allclose(ours, theirs, rtol=RTOL)
    info = Store(tmp_path).state(end_of_run(texts))
    assert info is not None
    assert info.meta["ranks"] == 2


@pytest.mark.slow
def test_a_rank_that_dies_costs_its_segment_only(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[pool.Worker] = []
    start = pool.start

    def watched(index: int, setup: Setup, place: pool.Place) -> pool.Worker:
        started.append(start(index, setup, place))
        return started[-1]

    monkeypatch.setattr(pool, "start", watched)
    (point,) = points_of(command(texts, "tokens=20x"))
    killer = threading.Thread(target=_kill_rank_1, args=(tmp_path, point.program.address(), started))
    killer.start()
    outcome = launched(texts, tmp_path, ["tokens=20x", "start=scratch"], "local", workers=1, ranks=2)
    killer.join()
    (failure,) = outcome.failures
    assert failure.reason == "rank 1 of the worker died with signal 9 (SIGKILL)"
    assert failure.address == point.program.address()
    (scratch,) = points_of(command(texts, "start=scratch"))
    assert scratch.program.address() in Store(tmp_path).addresses()  # by the worker that replaced it


@pytest.mark.slow
def test_an_error_of_two_ranks_costs_its_segment_only(texts: Path, tmp_path: Path) -> None:
    """After it they cannot go on together; the runs behind it are for ranks that start anew."""
    store = Store(tmp_path)
    assert launched(texts, tmp_path, [RUN]).failures == []
    base = points_of(command(texts, RUN))[0].program.address(60)
    info = store.state(base)
    assert info is not None
    files = {path.name: path.read_bytes() for path in info.folder.iterdir() if path.name != "state.json"}
    store.remove(base)

    def write(folder: Path) -> None:
        for name, content in {**files, "weights.safetensors": b"no tensors"}.items():
            (folder / name).write_bytes(content)

    store.write_state(base, write, {name: info.meta[name] for name in info.meta.keys() - {"files", "sha256"}})
    runs = ["replay=0.5 tokens=3x", "start=scratch", "start=scratch seed=1"]  # the longest is the first
    outcome = launched(texts, tmp_path, runs, "local", workers=1, ranks=2)
    assert ["weights.safetensors: cannot be read" in failure.reason for failure in outcome.failures] == [True]
    ends = [points_of(command(texts, run))[0].program.address() for run in runs]
    assert store.addresses().intersection(ends) == {*ends[1:]}


def test_half_of_what_ranks_need_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "0"}
    arguments = [sys.executable, "-m", "harness", f"root={tmp_path}"]
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=False, env=environment, cwd=REPOSITORY, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == "error: WORLD_SIZE=2: MASTER_ADDR is not set; unset it, or start this by torchrun\n"


def _kill_rank_1(root: Path, address: str, workers: list[pool.Worker]) -> None:
    deadline = time.monotonic() + 60
    while not (root / "leases" / f"{address}.json").exists():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)
    workers[0].processes[1].kill()


@pytest.mark.slow
def test_a_command_under_torchrun(texts: Path, alone: Store, tmp_path: Path) -> None:
    knobs = ["launch=inline", f"root={tmp_path}", RUN]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "harness"]
    arguments = [*torchrun, *command(texts).split(), *knobs]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    ours, theirs = (steps_of(store, end_of_run(texts), "loss")[:20] for store in (Store(tmp_path), alone))
    np.testing.assert_allclose(ours, theirs, rtol=RTOL)
    for more in (["do=plan"], ["--help"], ["nonsense=1"]):  # nothing to train: the other rank ends all the same
        done = subprocess.run(
            [*arguments, *more], capture_output=True, text=True, check=False, env=environment, timeout=120
        )
        assert (done.returncode == 0) == (more != ["nonsense=1"])
    assert "error: nonsense" in done.stderr


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "environment", "message"),
    [
        ({"kind": "local", "ranks": 3}, {}, "launch.ranks=3: that many ranks do not divide the batch of 4 sequences"),
        ({"kind": "local", "ranks": 0}, {}, "launch.ranks=0"),
        ({"kind": "inline", "ranks": 2}, {}, "start it by torchrun --nproc-per-node 2"),
        ({"kind": "inline"}, {"WORLD_SIZE": "3", "RANK": "0"}, "launch.ranks=3"),
        ({"kind": "local"}, {"WORLD_SIZE": "2", "RANK": "0"}, "launch=local: this process was started as one of 2"),
        ({"kind": "slurm"}, {"WORLD_SIZE": "2", "RANK": "0"}, "launch=slurm: this process was started as one of 2"),
        ({"kind": "local", "per_gpu": 2}, {}, "launch.per_gpu=2: no GPU is visible here"),
        ({"kind": "local", "per_gpu": 0}, {}, "launch.per_gpu=0"),
        ({"kind": "local", "sharding": "ddp"}, {}, "launch.sharding=ddp"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    how: dict[str, Any],
    environment: dict[str, str],
    message: str,
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "devices", list)
    monkeypatch.setattr(pool, "start", lambda *_: pytest.fail("a worker was started"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        launched(texts, tmp_path, [RUN], how.pop("kind"), **{"workers": None, **how})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("gpus", "how", "expected"),
    [
        ("0 1 2 3", {}, "0 1 2 3"),
        ("0 1", {"per_gpu": 3}, "0 1 0 1 0 1"),
        ("0 1 2 3", {"ranks": 2}, "0,1 2,3"),
        ("0 1 2 3 4", {"ranks": 2, "per_gpu": 2}, "0,1 2,3 0,1 2,3"),  # one GPU is left over
        ("0 1", {"workers": 3}, "0 1 0"),
        ("GPU-a GPU-b", {"workers": 1}, "GPU-a"),
    ],
)
def test_workers_share_the_gpus(
    gpus: str, how: dict[str, Any], expected: str, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "devices", gpus.split)
    plan = plan_over(points_of(command(texts, RUN)), Store(tmp_path))
    found = pool.places(settings("local", **{"workers": None, **how}), plan, 100)
    assert [",".join(map(str, place)) for place in found] == expected.split()


def test_ranks_without_gpus_of_their_own_are_refused(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "devices", lambda: ["0"])
    with pytest.raises(InputError, match=r"launch.ranks=2: each takes a GPU, and 1 are visible here"):
        launched(texts, tmp_path, [RUN], "local", ranks=2)


@pytest.mark.parametrize(
    ("visible", "expected"), [(None, ["0", "1"]), ("3,5", ["3", "5"]), ("", []), ("-1", []), ("MIG-a", ["MIG-a"])]
)
def test_every_visible_gpu_is_found(
    visible: str | None, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: some (UUID: a)'\necho 'GPU 1: some (UUID: b)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(metadata, "version", lambda _: "2.13.0+cu130")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert pool.devices() == expected


def test_each_rank_sees_its_own_gpu(tmp_path: Path) -> None:
    setup = Setup(tmp_path, (), save_every=60.0, micro_batch=None, keep="all")
    worker = pool.start(0, setup, ("6", "7"))
    try:
        seen = [
            dict(
                entry.split("=", 1)
                for entry in Path(f"/proc/{process.pid}/environ").read_text().split("\0")
                if "=" in entry
            )
            for process in worker.processes
        ]
    finally:
        worker.kill()
        worker.close(1.0)
    assert [process["CUDA_VISIBLE_DEVICES"] for process in seen] == ["6", "7"]
    assert [(process["RANK"], process["LOCAL_RANK"], process["WORLD_SIZE"]) for process in seen] == [
        ("0", "0", "2"),
        ("1", "0", "2"),
    ]
    assert seen[0]["MASTER_PORT"] == seen[1]["MASTER_PORT"]


def test_a_slice_is_this_ranks_share() -> None:
    parts = [Ranks(rank, 4).slice(32) for rank in range(4)]
    assert [index for part in parts for index in range(32)[part]] == list(range(32))
    assert {len(range(32)[part]) for part in parts} == {8}
