"""What a SLURM job asks for, and how early it has to be warned."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.launching import Cluster
from harness.config.run import Run
from harness.core.errors import InputError
from harness.slurm.resources import check, longest_waits, out_of_allocations, require_plain_path, resources
from tests.composed import points_of
from tests.launched import settings


@pytest.fixture(scope="module")
def run() -> Run:
    return replace(points_of("")[0].run, batch=24)  # sequences that all the ranks below divide


def slurm(**more: object) -> Cluster:
    cluster = settings("slurm", **more).cluster
    assert cluster is not None
    return cluster


def test_the_settings_as_options_of_sbatch(run: Run) -> None:
    wanted = resources(
        slurm(
            partition="gpu",
            account="abc",
            nodes=2,
            gpus_per_node=4,
            cpus=8,
            mem=1.5,
            minutes=60,
            sbatch={"mail_type": "FAIL", "exclusive": True, "nice": None},
        ),
        run,
        {},
    )
    assert dict(wanted.options) == {
        "partition": "gpu",
        "account": "abc",
        "nodes": "2",
        "gpus-per-node": "4",
        "ntasks-per-node": "4",
        "cpus-per-task": "8",
        "mem": "1536M",
        "mail-type": "FAIL",
        "exclusive": True,
    }
    assert wanted.minutes == 60
    assert dict(resources(slurm(), run, {}).options)["ntasks-per-node"] == "1"
    assert dict(resources(slurm(ranks_per_node=2), run, {}).options)["ntasks-per-node"] == "2"


def test_larger_models_get_what_sizes_say(run: Run) -> None:
    sizes = [{"parameters": 1e9, "nodes": 3}, {"parameters": 1e3, "nodes": 2}, {"parameters": 1e12, "nodes": 4}]
    nodes = []
    for parameters in (100, 10_000, 2_000_000_000):
        wanted = resources(slurm(sizes=sizes), replace(run, parameters=parameters), {})
        nodes.append(dict(wanted.options)["nodes"])
    assert nodes == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"minutes": 0}, "launch.minutes"),
        ({"ranks_per_node": 5}, "5: that many ranks do not divide the batch of 24 sequences"),
        ({"cpus": 0.5}, "launch.cpus"),
        ({"mem": "much"}, "launch.mem"),
        ({"setup": "module load cuda"}, "not a list"),
        ({"sbatch": {"time": 5}}, "the harness sets it"),
        ({"sbatch": {"nodes": 5}}, "the harness sets it"),
        ({"ranks_per_node": 4, "gpus_per_node": 1}, "each takes a GPU"),
        ({"gres": "gpu:a100:4", "gpus_per_node": 1}, "launch.gpus_per_node asks for 1 already"),
        ({"sizes": [{"nodes": 2}]}, "from how many parameters"),
        ({"sizes": [{"parameters": 1, "node": 2}]}, r"launch.sizes\[0\].node=2: not a resource"),
        ({"sizes": [{"parameters": 1e15, "nodes": 0}]}, r"launch.sizes\[0\].nodes=0: below 1"),
        ({"minutes": 1, "lead": 31}, "the warning must come 31 s before the end"),
    ],
)
def test_what_is_wrong_is_named(run: Run, more: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        resources(slurm(**more), run, {})


def test_the_lead_follows_what_jobs_have_measured(run: Run, tmp_path: Path) -> None:
    estimated = resources(slurm(), run, longest_waits(tmp_path)).lead
    assert estimated == 11  # a model this small takes no time: what is left is the margin
    (tmp_path / "jobs" / "token").mkdir(parents=True)
    for number, (parameters, longest) in enumerate([(run.parameters, 40.0), (run.parameters, 100.0), (5, 1000.0)]):
        report = {"parameters": parameters, "longest": longest}
        (tmp_path / "jobs" / "token" / f"progress-{number}.json").write_text(json.dumps(report))
    assert resources(slurm(), run, longest_waits(tmp_path)).lead == 210  # one to hear it, one to save
    assert resources(slurm(lead=50), run, longest_waits(tmp_path)).lead == 50
    with pytest.raises(InputError, match="takes up to 100 s \\(measured\\)"):
        resources(slurm(minutes=6), run, longest_waits(tmp_path))


def test_sbatch_sees_no_allocation_and_only_what_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {
        "SLURM_JOB_ID": "7",
        "SLURM_CONF": "conf",
        "SBATCH_ACCOUNT": "abc",
        "SBATCH_PARTITION": "gpu",
        "SBATCH_TIMELIMIT": "1",
        "SQUEUE_STATES": "R",
        "HOME": "/home",
    }
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    with out_of_allocations({"partition": "main"}):
        inside = {name: os.environ[name] for name in before if name in os.environ}
    assert inside == {name: before[name] for name in ("SLURM_CONF", "SBATCH_ACCOUNT", "HOME")}
    assert {name: os.environ[name] for name in before} == before


@pytest.mark.parametrize("root", ["/a%j", "/a:b", "/a$HOME", '/a"b', "/a`b"])
def test_a_path_that_means_more_to_slurm_is_refused(root: str) -> None:
    require_plain_path(Path("/a b/c-d"))
    with pytest.raises(InputError, match="more than a part of it"):
        require_plain_path(Path(root))


@pytest.mark.parametrize("missing", ["sbatch", "srun"])
def test_a_part_of_slurm_that_is_missing_is_named_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for program in {"sbatch", "srun"} - {missing}:
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=f"launch=slurm: there is no {missing} on PATH; run it on a login node"):
        check(resources(slurm(), run, {}))
