"""Sweeps on a real SLURM: whatever happens to the jobs, the states are those of launch=inline, byte for byte.

The cluster has no accounting storage: `sacct` fails, as it may where Rewarm has to work.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.core.shipped import CODE
from harness.plan.over_store import plan_over
from harness.slurm.cancelling import cancel
from harness.store.store import Store
from tests.composed import points_of
from tests.launched import in_process, kept_files, launched, leavings
from tests.slurm.cluster import (
    HERE,
    document,
    pid_of,
    queue,
    slurm,
    starts,
    submissions,
    under_way,
    until,
)
from tests.tiny import command

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.usefixtures("box")]

GRID = tuple(f"warmup={share}" for share in (0, 0.1, 0.2, 0.3))
LONG = ("start=scratch tokens=100x evaluate.every=20x evaluate.early=[]",)  # 4,000 steps, some 7 s
DENSE = tuple(f"start=scratch warmup={w} tokens=20x evaluate.every=0.025x evaluate.early=[]" for w in (0.01, 0.02))


def inline(texts: Path, root: Path, runs: tuple[str, ...]) -> dict[str, bytes]:
    assert launched(texts, root, runs).failures == []
    return kept_files(root)


@pytest.fixture(scope="session")
def grid(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return inline(texts, tmp_path_factory.mktemp("grid"), GRID)


@pytest.fixture(scope="session")
def long_run(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return inline(texts, tmp_path_factory.mktemp("long"), LONG)


def harness(texts: Path, root: Path) -> list[str]:
    """The command, without a warm-up."""
    knobs = command(texts).replace("warmup=0.1 ", "", 1).split()
    return [sys.executable, "-m", "harness", *knobs, f"root={root}", "launch=slurm", "launch.gpus_per_node=0"]


def end_of(texts: Path, knobs: str) -> str:
    return points_of(command(texts, knobs))[0].program.address()


# --- submission -------------------------------------------------------------------------------------------------------


def test_a_grid_is_one_job_for_its_base_and_an_array_that_waits_for_it(
    texts: Path, tmp_path: Path, grid: dict[str, bytes]
) -> None:
    assert subprocess.run(["sacct"], capture_output=True, check=False).returncode != 0  # no accounting storage
    outcome = launched(texts, tmp_path, GRID, "slurm", wait=True)
    assert outcome.failures == []
    assert outcome.trained == 64 * (60 + 4 * 40)
    base, array = submissions(tmp_path)
    assert [len(base["elements"]), len(array["elements"])] == [1, 4]
    assert kept_files(tmp_path) == grid
    assert leavings(tmp_path) == []
    assert {point["status"] for point in document(texts, tmp_path, GRID)["points"]} == {"done"}
    launched(texts, tmp_path, GRID, "slurm")
    assert submissions(tmp_path) == [base, array]


def test_thirty_points_are_submitted_at_once_and_taken_back(texts: Path, tmp_path: Path) -> None:
    grid = "warmup: [0, 0.1, 0.2, 0.3, 0.4], replay: [0, 0.1, 0.2, 0.3, 0.4, 0.5]"
    (tmp_path / "points.yaml").write_text(f"defaults: [config, _self_]\ngrids:\n  - {{{grid}}}\n")
    arguments = [*harness(texts, tmp_path), "-cd", str(tmp_path), "-cn", "points"]
    slurm("scontrol", "update", "partitionname=main", "state=down")  # they stay where they are
    try:
        said = subprocess.run(arguments, capture_output=True, text=True, check=True).stderr
        assert said.count("submitted") == 2
        assert sorted(len(one["elements"]) for one in submissions(tmp_path)) == [1, 30]
        assert len(queue()) == 31
        repeated = subprocess.run(arguments, capture_output=True, text=True, check=True).stderr
        assert "31 jobs are queued or running already" in repeated
        assert "submitted" not in repeated
        assert len(queue()) == 31
        plan = subprocess.run([*arguments, "do=plan", "json=true"], capture_output=True, check=True).stdout
        assert {point["status"] for point in json.loads(plan)["points"]} == {"queued"}
        subprocess.run([*arguments, "do=cancel"], capture_output=True, check=True)
        until(lambda: not queue())
        plan = subprocess.run([*arguments, "do=plan", "json=true"], capture_output=True, check=True).stdout
        assert {point["status"] for point in json.loads(plan)["points"]} == {"to train"}
    finally:
        slurm("scontrol", "update", "partitionname=main", "state=up")


def test_a_base_that_another_sweep_waits_for_is_not_taken_back(texts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = (
        plan_over(points_of(*(command(texts, one) for one in runs)), store) for runs in (GRID[:2], GRID[2:])
    )
    slurm("scontrol", "update", "partitionname=main", "state=down")  # they stay where they are
    try:
        launched(texts, tmp_path, GRID[:2], "slurm")
        (base,) = submissions(tmp_path)[:1]
        launched(texts, tmp_path, GRID[2:], "slurm")
        assert len(queue()) == 1 + 4
        taken, left = cancel(first, store)
        assert (len(taken), left) == (2, [base["job"]])
        until(lambda: len(queue()) == 1 + 2)
        assert {point["status"] for point in document(texts, tmp_path, GRID[2:])["points"]} == {"queued"}
        taken, left = cancel(second, store)
        assert (len(taken), left) == (3, [])
        until(lambda: not queue())
    finally:
        slurm("scontrol", "update", "partitionname=main", "state=up")


def test_two_submitters_at_once_submit_each_segment_once(texts: Path, tmp_path: Path, grid: dict[str, bytes]) -> None:
    processes = [in_process(texts, tmp_path, GRID, kind="slurm", wait=True) for _ in range(2)]
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list(tmp_path.glob("jobs/*/*_submission.sh"))) == 2  # one for each sbatch
    points = points_of(*(command(texts, knobs) for knobs in GRID))
    ends = {stop: p.program for p in points for stop in map(p.program.address, p.program.starts[1:])}
    assert all(len(starts(tmp_path, address)) == 1 for address in ends)
    assert kept_files(tmp_path) == grid


def test_what_is_edited_while_jobs_are_queued_has_no_effect(
    texts: Path, tmp_path: Path, grid: dict[str, bytes]
) -> None:
    checkout, root = tmp_path / "checkout", tmp_path / "root"
    shutil.copytree(CODE, checkout / "harness")
    arguments = [*harness(texts, root), "-m", "warmup=0,0.1,0.2,0.3"]
    slurm("scontrol", "update", "partitionname=main", "state=down")
    try:
        subprocess.run(arguments, cwd=checkout, capture_output=True, check=True)
        for file in (*checkout.rglob("*.py"), *checkout.rglob("*.yaml")):
            file.write_text("( neither Python nor YAML: [\n")
    finally:
        slurm("scontrol", "update", "partitionname=main", "state=up")
    until(lambda: not queue())
    assert kept_files(root) == grid


def test_ctrl_c_leaves_the_jobs_running(texts: Path, tmp_path: Path, grid: dict[str, bytes]) -> None:
    """As a terminal sends it, to the command and to whatever it has started."""
    arguments = [*harness(texts, tmp_path), "-m", "warmup=0,0.1", "launch.wait=true"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: len(queue()) == 3)
    os.killpg(process.pid, signal.SIGINT)
    assert "interrupted" in process.communicate(timeout=20)[1]
    assert process.returncode == 130
    until(lambda: not queue())  # they end by themselves
    found = kept_files(tmp_path)
    assert len(found) == 5 * 4  # two of the base, one without and two with a warm-up
    assert found == {name: grid[name] for name in found}


def test_submitted_from_inside_an_allocation(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")  # as salloc sets it; beside --mem srun refuses it
    assert launched(texts, tmp_path, GRID[:1], "slurm", wait=True, mem=1).failures == []
    assert os.environ["SLURM_MEM_PER_CPU"] == "100"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"partition": "nowhere"}, "invalid partition"),
        ({"gpus_per_node": 9, "ranks_per_node": 1}, "node configuration is not available"),
        ({"minutes": 1, "lead": 40}, "the warning must come 40 s before the end"),
        ({"sbatch": {"signal": "USR1"}}, "the harness sets it"),
    ],
)
def test_what_the_cluster_would_refuse_is_refused_before_anything_is_made(
    texts: Path, tmp_path: Path, more: dict[str, object], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        launched(texts, tmp_path / "root", GRID, "slurm", **more)
    assert not (tmp_path / "root").exists()


# --- interruptions ----------------------------------------------------------------------------------------------------


def test_requeued_by_somebody(texts: Path, tmp_path: Path, long_run: dict[str, bytes]) -> None:
    launched(texts, tmp_path, LONG, "slurm")
    (reached,) = under_way(tmp_path, beyond=1000)
    (point,) = document(texts, tmp_path, LONG)["points"]
    assert (point["status"], point["job"], point["host"]) == ("running", reached["job"], reached["host"])
    assert point["position"] >= reached["position"]
    slurm("scontrol", "requeue", reached["job"])
    assert launched(texts, tmp_path, LONG, "slurm", wait=True).failures == []
    assert kept_files(tmp_path) == long_run
    assert leavings(tmp_path) == []
    first, second = starts(tmp_path, end_of(texts, LONG[0]))[-2:]
    assert second >= reached["position"] > first  # SIGTERM is heard, too: nothing is trained twice


def test_preempted_while_they_evaluate(texts: Path, tmp_path: Path) -> None:
    """An array of two whose every step is followed by an evaluation."""
    expected = inline(texts, tmp_path / "inline", DENSE)
    root = tmp_path / "root"
    launched(texts, root, DENSE, "slurm", partition="low")
    reached = {report["address"]: report["position"] for report in under_way(root, beyond=100, count=2)}
    points = document(texts, root, DENSE)["points"]
    assert [point["status"] for point in points] == ["running"] * 2
    assert all("downstream" in point["losses"] for point in points)
    slurm("sbatch", "--partition=high", "--exclusive", "--nodes=2", "--output=/dev/null", "--wrap=true")
    assert launched(texts, root, DENSE, "slurm", partition="low", wait=True).failures == []
    assert kept_files(root) == expected
    assert leavings(root) == []
    for knobs in DENSE:
        first, second = starts(root, end_of(texts, knobs))[-2:]
        assert second >= reached[end_of(texts, knobs)] > first


def test_a_time_limit_shorter_than_the_run(texts: Path, tmp_path: Path, long_run: dict[str, bytes]) -> None:
    """The shortest limit is a minute, for which SLURM, that looks every 30 s, warns 15 to 45 s after the start. A job
    that is stopped trains no longer, and SLURM wakes it for the warning."""
    end = end_of(texts, LONG[0])
    launched(texts, tmp_path, LONG, "slurm", minutes=1, lead=15)
    (reached,) = under_way(tmp_path, beyond=1000)
    begun = len(starts(tmp_path, end))
    os.kill(pid_of(tmp_path, end), signal.SIGSTOP)
    assert launched(texts, tmp_path, LONG, "slurm", wait=True).failures == []
    assert kept_files(tmp_path) == long_run
    assert leavings(tmp_path) == []
    first, second = starts(tmp_path, end)[begun - 1 : begun + 1]  # a machine that is slow needs more than two
    assert second >= reached["position"] > first


def test_a_job_that_is_interrupted_too_often_fails(texts: Path, tmp_path: Path) -> None:
    launched(texts, tmp_path, LONG, "slurm", requeues=0, minutes=5)
    slurm("scancel", "--signal=USR2", under_way(tmp_path, beyond=0)[0]["job"])  # as before the end of its time
    (failure,) = launched(texts, tmp_path, LONG, "slurm", requeues=0, wait=True).failures
    assert "launch.requeues" in failure.reason


def test_killed_it_is_noticed_and_the_same_command_goes_on(
    texts: Path, tmp_path: Path, long_run: dict[str, bytes]
) -> None:
    end = end_of(texts, LONG[0])
    launched(texts, tmp_path, LONG, "slurm")
    (reached,) = under_way(tmp_path, beyond=1000)
    os.kill(pid_of(tmp_path, end), signal.SIGKILL)
    until(lambda: not queue())
    (point,) = document(texts, tmp_path, LONG)["points"]
    assert point["status"] == "failed"
    assert f"job {reached['job']} is gone without a word" in point["failure"]["reason"]
    saved = max(info.meta["position"] for a in Store(tmp_path).addresses() if (info := Store(tmp_path).state(a)))
    assert launched(texts, tmp_path, LONG, "slurm", wait=True).failures == []
    assert starts(tmp_path, end)[-1] == saved > 0
    assert kept_files(tmp_path) == long_run
    assert leavings(tmp_path) == []


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_base_that_is_cancelled_blocks_its_dependents_until_the_command_is_given_again(
    texts: Path, tmp_path: Path, grid: dict[str, bytes]
) -> None:
    launched(texts, tmp_path, GRID, "slurm")
    base = submissions(tmp_path)[0]["job"]
    slurm("scancel", base)
    until(lambda: not queue())  # SLURM takes the dependents away by itself
    points = document(texts, tmp_path, GRID)["points"]
    assert {point["status"] for point in points} == {"blocked"}
    assert all(f"job {base} is gone" in point["failure"]["reason"] for point in points)
    assert launched(texts, tmp_path, GRID, "slurm", wait=True).failures == []
    assert kept_files(tmp_path) == grid


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_loss_that_is_not_finite_costs_its_run_is_named_and_is_not_tried_again(
    ranks: int, texts: Path, tmp_path: Path
) -> None:
    runs = (*GRID[:2], "replay=0.25 lr=overflow")
    expected = inline(texts, tmp_path / "inline", GRID[:2])
    root = tmp_path / "root"
    (failure,) = launched(texts, root, runs, "slurm", wait=True, retries=2, ranks_per_node=ranks).failures
    assert "not finite" in failure.reason
    assert failure.last_good == 60  # the end of the base
    found = kept_files(root)
    assert found.keys() >= expected.keys()
    if ranks == 1:
        assert {name: found[name] for name in expected} == expected
    *_, bad = document(texts, root, runs)["points"]
    assert bad["status"] == "failed"
    assert any("NonFiniteError" in line for line in bad["failure"]["log_tail"])
    assert len(starts(root, failure.address)) == 1


def test_a_job_that_fails_is_tried_again(texts: Path, tmp_path: Path, grid: dict[str, bytes]) -> None:
    marker = f"{tmp_path}/failed-${{SLURM_ARRAY_TASK_ID:-base}}"
    setup = [f"[ -e {marker} ] || {{ touch {marker}; exit 7; }}"]
    tries = {"retries": 1, "requeues": 0, "setup": setup}  # a retry is no interruption
    assert launched(texts, tmp_path / "root", GRID[:2], "slurm", wait=True, **tries).failures == []
    found = kept_files(tmp_path / "root")
    assert found == {name: grid[name] for name in found}
    assert {path.name for path in tmp_path.glob("failed-*")} == {"failed-base", "failed-0", "failed-1"}


# --- ranks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sharding", "nodes"), [("none", 1), ("fsdp", 2)])
def test_two_ranks_train_what_one_trains(
    sharding: str, nodes: int, texts: Path, tmp_path: Path, grid: dict[str, bytes]
) -> None:
    """On one node, and on two of them."""
    ranks = {"nodes": nodes, "ranks_per_node": 2 // nodes, "sharding": sharding}
    assert launched(texts, tmp_path, GRID[1:2], "slurm", wait=True, **ranks).failures == []
    end = end_of(texts, GRID[1])
    ours, theirs = (losses(content[f"{end}/steps.jsonl"]) for content in (kept_files(tmp_path), grid))
    assert list(ours) == list(theirs)
    np.testing.assert_allclose([*ours.values()][:20], [*theirs.values()][:20], rtol=2e-6)
    assert ours != theirs  # two did take part: sums of halves round differently


def test_two_ranks_are_warned(texts: Path, tmp_path: Path) -> None:
    """On two nodes, each with a part of the model: both hear SLURM, and they stop at the same step."""
    knobs, ranks = ("start=scratch warmup=0 tokens=18x evaluate.early=[]",), {"nodes": 2, "sharding": "fsdp"}
    expected, root, end = inline(texts, tmp_path / "inline", knobs), tmp_path / "root", end_of(texts, knobs[0])
    launched(texts, root, knobs, "slurm", **ranks)
    (reached,) = under_way(root, beyond=100)
    slurm("scancel", "--signal=USR2", reached["job"])
    assert launched(texts, root, knobs, "slurm", wait=True, **ranks).failures == []
    first, second = starts(root, end)[-2:]
    assert second >= reached["position"] > first
    ours, theirs = (losses(files[f"{end}/steps.jsonl"]) for files in (kept_files(root), expected))
    assert list(ours) == list(theirs) == list(range(720))
    np.testing.assert_allclose([*ours.values()][:20], [*theirs.values()][:20], rtol=2e-6)
    assert leavings(root) == []


def test_one_two_and_one_rank_go_on_from_each_other(texts: Path, tmp_path: Path, long_run: dict[str, bytes]) -> None:
    end, reached = end_of(texts, LONG[0]), 800
    for ranks in (1, 2):
        launched(texts, tmp_path, LONG, "slurm", ranks_per_node=ranks)
        reached = under_way(tmp_path, beyond=reached)[0]["position"] + 500
        store = Store(tmp_path)
        assert cancel(plan_over(points_of(command(texts, LONG[0])), store), store)[0]
        until(lambda: not queue())
    assert launched(texts, tmp_path, LONG, "slurm", wait=True).failures == []
    ours, theirs = (losses(content[f"{end}/steps.jsonl"]) for content in (kept_files(tmp_path), long_run))
    assert list(ours) == list(theirs) == list(range(4_000))
    first, second = starts(tmp_path, end)[-2:]
    assert 800 < first < second
    part = range(first - 20, first)  # by one rank
    assert [ours[step] for step in part] == [theirs[step] for step in part]
    part = range(first, first + 20)  # by two
    np.testing.assert_allclose([ours[s] for s in part], [theirs[s] for s in part], rtol=2e-6)
    store = Store(tmp_path)
    drawn = [info.meta["drawn"] for address in (end,) if (info := store.state(address))]
    (point,) = points_of(command(texts, LONG[0]))
    assert drawn[0][point.run.recipes["downstream"].key]["sequences"] == 4_000 * 4


def losses(steps: bytes) -> dict[int, float]:
    lines = [json.loads(line) for line in steps.decode().splitlines()]
    return {line["position"]: line["loss"] for line in lines}


# --- the cluster ------------------------------------------------------------------------------------------------------


def test_a_node_goes_down_and_comes_up(texts: Path, tmp_path: Path, long_run: dict[str, bytes]) -> None:
    launched(texts, tmp_path, LONG, "slurm")
    host = under_way(tmp_path, beyond=1000)[0]["host"]
    slurm("scontrol", "update", f"nodename={host}", "state=down", "reason=test")
    assert launched(texts, tmp_path, LONG, "slurm", wait=True).failures == []
    until(lambda: slurm("sinfo", "--noheader", f"--nodes={host}", "--format=%t", "--partition=main") == "idle")
    assert kept_files(tmp_path) == long_run
    assert leavings(tmp_path) == []


def test_slurmctld_is_restarted_in_mid_sweep(texts: Path, tmp_path: Path, box: Path, grid: dict[str, bytes]) -> None:
    launched(texts, tmp_path, GRID, "slurm")
    until(lambda: list(tmp_path.glob("leases/*.json")))
    subprocess.run([HERE / "down", box, "slurmctld"], check=True)
    with pytest.raises(InputError, match="squeue says"):
        document(texts, tmp_path, GRID)
    subprocess.run([HERE / "up", box], check=True)
    assert launched(texts, tmp_path, GRID, "slurm", wait=True).failures == []
    assert kept_files(tmp_path) == grid
    assert leavings(tmp_path) == []
