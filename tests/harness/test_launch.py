"""Carrying out plans with real (tiny) training: equal bytes whatever happens, and failures that stay small."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import run_points
from harness.compose.compose import collect
from harness.core.errors import InputError
from harness.launch import launch
from harness.measure.request import Request
from harness.plan.jobs import Outcome
from harness.plan.over_store import plan_over
from harness.store.store import Store
from harness.train.events import Ended
from harness.workers.pool import undisturbed
from tests.composed import points_of
from tests.launched import OFF, in_process, kept_files, launched, leavings, settings
from tests.tiny import command

RUNS = (
    "warmup=0.1",
    "warmup=0.2",
    "start=scratch",
    "replay=0.25 lr=overflow",
)  # the last one overflows
GOOD = RUNS[:3]
LONG = ("warmup=0.1 tokens=20x",)  # 800 steps after the base: time to interrupt it


@pytest.fixture(scope="module")
def inline(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    root = tmp_path_factory.mktemp("inline")
    return root, launched(texts, root, RUNS)


@pytest.fixture(scope="module")
def local(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    root = tmp_path_factory.mktemp("local")
    return root, launched(texts, root, RUNS, "local")


def test_workers_and_this_process_store_the_same_bytes(
    inline: tuple[Path, Outcome], local: tuple[Path, Outcome]
) -> None:
    files = kept_files(inline[0])
    assert len(files) == 8 * 4  # base in 2 phases, 3 runs in 2 each
    assert kept_files(local[0]) == files
    assert inline[1].trained == local[1].trained


def test_nothing_is_left_lying_about(inline: tuple[Path, Outcome], local: tuple[Path, Outcome]) -> None:
    assert leavings(inline[0]) == []
    assert leavings(local[0]) == []


def test_a_failure_costs_its_run_and_no_other(inline: tuple[Path, Outcome], local: tuple[Path, Outcome]) -> None:
    for root, outcome in (inline, local):
        (failure,) = outcome.failures
        assert failure.runs == ["local-cosine-lr10-warmup0.1-replay0.25-seed0"]
        assert failure.last_good == 60  # the end of the base
        assert "not finite" in failure.reason
        assert "NonFiniteError" in Path(failure.log).read_text()
        recorded = Store(root).failure(failure.address)
        assert recorded is not None
        assert recorded["reason"] == failure.reason


def test_a_second_call_trains_nothing_and_only_retries_what_failed(texts: Path, inline: tuple[Path, Outcome]) -> None:
    before = kept_files(inline[0])
    again = launched(texts, inline[0], RUNS)
    assert again.trained == 0
    assert [failure.address for failure in again.failures] == [failure.address for failure in inline[1].failures]
    assert kept_files(inline[0]) == before


def test_a_finished_sweep_starts_no_worker(
    texts: Path, inline: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.workers.pool.start", lambda *_: pytest.fail("a worker was started"))
    assert launched(texts, inline[0], GOOD, "local") == Outcome()


def test_every_run_is_recorded_before_it_is_trained(texts: Path, inline: tuple[Path, Outcome]) -> None:
    documents = {document["name"]: document for document in Store(inline[0]).runs()}
    assert len(documents) == len(RUNS)
    for point in points_of(*(command(texts, knobs) for knobs in RUNS)):
        document = documents[point.run.name]
        assert document["address"] == point.program.address()
        assert document["path"][-1] == {"position": point.program.steps, "address": point.program.address()}
        assert {(row["position"], row["windows_hash"]) for row in document["requested"]} == set(point.request.rows)
        assert sum(document["phase_steps"]) == point.program.steps


def test_a_success_clears_the_failure_of_before(texts: Path, tmp_path: Path) -> None:
    (point,) = points_of(command(texts, "start=scratch"))
    store = Store(tmp_path)
    store.write_failure(point.program.address(), 3, None, "log", "the disk was full")
    assert launched(texts, tmp_path, ["start=scratch"]).failures == []
    assert store.failure(point.program.address()) is None


def test_rows_wanted_later_are_measured_without_training(texts: Path, inline: tuple[Path, Outcome]) -> None:
    """More windows of a finished run, wherever its states are stored; its own rows and files stay as they are."""
    store, before = Store(inline[0]), kept_files(inline[0])
    (point,) = points_of(command(texts, "warmup=0.1 evaluate.windows=8"))
    point = replace(point, request=Request(frozenset(), point.request.rows, point.request.measures))
    outcome = launch(plan_over([point], store), settings("inline"), store, tracker=OFF, progress=False)
    assert outcome == Outcome()
    assert kept_files(inline[0]) == before
    stops = {0, *point.program.starts[1:]}
    assert len(stops) == 5
    rows = {row.key for stop in stops for row in store.rows(point.program.address(stop))}
    assert {key for key in point.request.rows if key[0] in stops} <= rows
    assert plan_over([point], store).evaluations == []


def test_texts_too_short_are_refused_before_anything_is_trained(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="windows"):
        launched(texts, tmp_path, ["evaluate.windows=100000"], "local")
    assert Store(tmp_path).addresses() == set()


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_segment_only(texts: Path, tmp_path: Path) -> None:
    (point,) = points_of(command(texts, LONG[0]))
    killer = threading.Thread(target=_kill_the_worker_on, args=(tmp_path, point.program.address()))
    killer.start()
    outcome = launched(texts, tmp_path, [*LONG, "start=scratch"], "local", workers=1)
    killer.join()
    (failure,) = outcome.failures
    assert "signal 9" in failure.reason
    assert failure.address == point.program.address()
    (scratch,) = points_of(command(texts, "start=scratch"))
    assert scratch.program.address() in Store(tmp_path).addresses()  # by the worker that replaced it


def _kill_the_worker_on(root: Path, address: str) -> None:
    lease = root / "leases" / f"{address}.json"
    _until(lease.exists)
    time.sleep(0.2)
    os.kill(json.loads(lease.read_text())["pid"], signal.SIGKILL)


def _until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


# --- what is there, and what is not ----------------------------------------------------------------------------------


def damage(root: Path, name: str, how: str) -> None:
    """Flip a bit in a file of every state of a store, or cut or remove it."""
    for folder in (root / "states").iterdir():
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content if how == "flip" else content[:-1] if how == "cut" else b"")
        if how == "remove":
            (folder / name).unlink()


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("kind", "name", "how", "verify"),
    [
        pytest.param("local", "weights.safetensors", "flip", "once", marks=pytest.mark.slow),
        ("inline", "weights.safetensors", "flip", "once"),
        ("inline", "weights.safetensors", "remove", "true"),
        ("inline", "optimizer.safetensors", "cut", "full"),
        ("inline", "evaluations.csv", "flip", "once"),
        ("inline", "evaluations.csv", "flip", "off"),  # histories are read in any case
        ("inline", "state.json", "flip", "off"),
        ("inline", "steps.jsonl", "flip", "once"),
    ],
)
def test_what_is_damaged_in_a_parent_store_is_trained_anew_in_ones_own(
    texts: Path, inline: tuple[Path, Outcome], tmp_path: Path, kind: str, name: str, how: str, verify: str
) -> None:
    shutil.copytree(inline[0], tmp_path / "parent")
    damage(tmp_path / "parent", name, how)
    before = files_of(tmp_path / "parent")
    arguments = [*command(texts, GOOD[0]).split(), f"root={tmp_path}/own", f"parent_stores=[{tmp_path}/parent]"]
    assert run_points(collect([*arguments, f"launch={kind}", f"launch.verify={verify}"])) == 0
    (point,) = points_of(command(texts, GOOD[0]))
    own, expected = kept_files(tmp_path / "own"), kept_files(inline[0])
    assert f"{point.program.address()}/weights.safetensors" in own
    assert own.items() <= expected.items()
    now = files_of(tmp_path / "parent")
    assert now.keys() - before.keys() == {path for path in now if path.parent.name == "children"}, "who reads it"
    assert {path: now[path] for path in before} == before


def test_a_run_that_is_called_done_without_its_state_fails(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.workers.worker.run_under_lease", lambda *_: Ended("done"))
    assert run_points(collect([*command(texts, GOOD[0]).split(), f"root={tmp_path}"])) == 1
    (point,) = points_of(command(texts, GOOD[0]))
    said = capsys.readouterr().err
    assert f"its state {point.program.address()} is neither in {tmp_path} nor in a parent store" in said
    assert f"missing: {point.run.name}" in said


def test_a_damaged_state_that_cannot_be_replaced_is_no_success(
    texts: Path, inline: tuple[Path, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of somebody else's, say, where nothing may be renamed."""
    shutil.copytree(inline[0], tmp_path / "root")
    damage(tmp_path / "root", "weights.safetensors", "flip")
    monkeypatch.setattr("harness.core.files.set_aside", lambda _: None)
    assert run_points(collect([*command(texts, GOOD[0]).split(), f"root={tmp_path}/root"])) == 1


def test_damaged_states_cost_one_check_of_the_others(
    texts: Path, inline: tuple[Path, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(inline[0], tmp_path / "root")
    (point,) = points_of(command(texts, GOOD[0]))
    base = tmp_path / "root" / "states" / point.program.address(point.base_position or 0)
    (base / "weights.safetensors").write_bytes(b"damaged")
    checked: list[str] = []
    original = Store.verify

    def verify(self: Store, address: str, *, full: bool = False) -> bool:
        checked.append(address)
        return original(self, address, full=full)

    monkeypatch.setattr(Store, "verify", verify)
    monkeypatch.setattr("harness.launch.launch", lambda *_, **__: Outcome())
    monkeypatch.setattr("harness.cli.LONG_CHECK_BYTES", 0)
    monkeypatch.setattr("harness.cli.CHECK_SECONDS", 0.0)
    assert run_points(collect([*command(texts, GOOD[0]).split(), f"root={tmp_path}/root"])) == 0
    assert sorted(checked) == sorted({segment.address for segment in plan_over([point], Store(inline[0])).segments})


@pytest.mark.parametrize("kind", ["inline", pytest.param("local", marks=pytest.mark.slow)])
def test_a_gpu_that_torch_cannot_use_is_refused(
    texts: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.workers.pool.devices", lambda: ["0"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0" if kind == "inline" else "")
    if kind == "inline":
        with pytest.raises(InputError, match=r"CUDA_VISIBLE_DEVICES=0: a GPU was given .* torch .* cannot use it"):
            launched(texts, tmp_path, GOOD)
    else:
        (failure, *_) = launched(texts, tmp_path, GOOD[:1], "local", workers=1).failures
        assert "no worker process starts" in failure.reason
        assert "a GPU was given to this process" in failure.reason
    assert Store(tmp_path).addresses() == set()


# --- interruptions ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_run(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the long run, undisturbed."""
    root = tmp_path_factory.mktemp("long")
    assert launched(texts, root, LONG).failures == []
    return kept_files(root)


@pytest.mark.slow
def test_ctrl_c_stops_on_the_way_and_the_next_call_goes_on(
    texts: Path, tmp_path: Path, long_run: dict[str, bytes]
) -> None:
    (point,) = points_of(command(texts, LONG[0]))
    process = in_process(texts, tmp_path, LONG, kind="local")
    _until((tmp_path / "leases" / f"{point.program.address()}.json").exists)
    time.sleep(0.3)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    assert list((tmp_path / "leases").glob("*.json")) == []
    stored = [info for address in Store(tmp_path).addresses() if (info := Store(tmp_path).state(address))]
    (on_the_way,) = [info for info in stored if not info.kept]
    assert 60 < on_the_way.meta["position"] < point.program.steps
    outcome = launched(texts, tmp_path, LONG)
    assert outcome.trained == point.program.tokens(point.program.steps) - on_the_way.meta["tokens"]
    assert kept_files(tmp_path) == long_run
    assert leavings(tmp_path) == []


def test_two_processes_at_once_train_each_segment_once(
    texts: Path, tmp_path: Path, inline: tuple[Path, Outcome]
) -> None:
    processes = [in_process(texts, tmp_path / "root", GOOD, report=tmp_path / f"{i}") for i in range(2)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    points = points_of(*(command(texts, knobs) for knobs in GOOD))
    programs = {stop: p.program for p in points for stop in map(p.program.address, p.program.starts[1:])}
    once = 60 + 40 + 40 + 40  # steps: the base, two continuations, one from scratch
    assert len(programs) == 8
    assert sum(int((tmp_path / f"{i}").read_text()) for i in range(2)) == once * 64
    assert kept_files(tmp_path / "root") == kept_files(inline[0])


DEATHS = [("save", 0), ("save", 2), ("evaluation", 0), ("evaluation", 5), ("step", 30)]


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_ends_at_the_same_bytes(
    texts: Path, tmp_path: Path, inline: tuple[Path, Outcome]
) -> None:
    _kill_again_and_again(texts, tmp_path, inline[0], DEATHS, save_every=60)


@pytest.mark.slow
def test_killed_at_twenty_random_moments(texts: Path, tmp_path: Path, inline: tuple[Path, Outcome]) -> None:
    generator = random.Random(1)
    deaths = [(what, generator.randrange(12)) for what in ("save", "evaluation", "step") * 7][:20]
    _kill_again_and_again(texts, tmp_path, inline[0], deaths, save_every=0.002)  # so that each try gets a bit further


def _kill_again_and_again(
    texts: Path, root: Path, reference: Path, deaths: list[tuple[str, int]], save_every: float
) -> None:
    killed = 0
    for death in deaths:
        process = in_process(texts, root, GOOD, die=death, save_every=save_every)
        process.join(60)
        assert process.exitcode in (-signal.SIGKILL, 0)
        killed += process.exitcode != 0
    assert killed >= len(deaths) // 2
    assert launched(texts, root, GOOD).failures == []
    assert kept_files(root) == kept_files(reference)
    assert leavings(root) == []


def test_a_full_disk_loses_nothing_stored(texts: Path, tmp_path: Path, inline: tuple[Path, Outcome]) -> None:
    assert launched(texts, tmp_path, ["start=scratch"]).failures == []
    before = kept_files(tmp_path)
    process = in_process(texts, tmp_path, GOOD, largest_file=20_000)  # less than the weights
    process.join(60)
    assert process.exitcode == 1
    assert kept_files(tmp_path) == before
    assert leavings(tmp_path) == []
    assert launched(texts, tmp_path, GOOD).failures == []
    assert kept_files(tmp_path) == kept_files(inline[0])


@pytest.mark.slow
@pytest.mark.parametrize("everyone", [True, False], ids=["all processes", "the launcher alone"])
def test_a_sweep_of_the_command_line_killed_at_random_moments(
    texts: Path, tmp_path: Path, inline: tuple[Path, Outcome], everyone: bool
) -> None:
    """The whole command with its workers; killed alone, the launcher leaves workers that store their state and end."""
    generator = random.Random(2)
    knobs = command(texts, "").replace("warmup=0.1 ", "", 1).replace("launch=inline", "launch=local")
    arguments = [
        sys.executable,
        "-m",
        "harness",
        "-m",
        *knobs.split(),
        "warmup=0.1,0.2",
        "launch.workers=2",
        "launch.save_every=0.002",
        f"root={tmp_path}/root",
    ]
    for _ in range(2):
        process = subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("worker"):
                break
        time.sleep(generator.random())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL) if everyone else process.kill()
        process.wait()
        process.stderr.close()
    assert subprocess.run(arguments, check=False).returncode == 0
    expected = kept_files(inline[0])
    found = kept_files(tmp_path / "root")
    assert len(found) == 6 * 4
    assert all(expected[name] == content for name, content in found.items())
    assert leavings(tmp_path / "root") == []


def test_what_is_started_undisturbed_does_not_hear_ctrl_c() -> None:
    with undisturbed():
        said = subprocess.run(["sh", "-c", "kill -INT $$; echo alive"], capture_output=True, text=True, check=False)
    assert said.stdout == "alive\n"
    heard = subprocess.run(["sh", "-c", "kill -INT $$; echo alive"], capture_output=True, text=True, check=False)
    assert heard.returncode == -signal.SIGINT
