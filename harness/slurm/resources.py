"""What a SLURM job asks for: the settings of launch=slurm as options of sbatch, and the lead of the warning.

The lead is the time between SLURM's warning and the end of a job: long enough for the step or the part of an evaluation
under way, and for a save. Jobs measure the longest of these (`harness.slurm.payload`); what no job of that size has
measured yet is estimated.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.config.launching import PLACE, Cluster, JobSettings, require_equal_parts
from harness.config.run import Run
from harness.core.errors import InputError
from harness.core.files import read_json

NOT_IN_PATHS = '%:"$`\\\n'  # sbatch's patterns, PYTHONPATH's separator, what a shell reads inside quotes
MARGIN_SECONDS = 10.0  # for Python to hear the signal, and for scontrol
ESTIMATED_BYTES_PER_SECOND = 2e8  # of a save, before one was measured
STATE_BYTES_PER_PARAMETER = 12  # fp32 weights and Adam's two moments


@dataclass(frozen=True)
class Resources:
    """What one job asks for. `options`: of sbatch, by their long names; True for one without a value."""

    options: tuple[tuple[str, str | bool], ...]
    minutes: int
    lead: int  # seconds
    setup: tuple[str, ...]

    @property
    def gpus(self) -> bool:
        """Does it ask for GPUs, in whichever way?"""
        return any("gpu" in name or (name == "gres" and "gpu" in str(value)) for name, value in self.options)


def resources(cluster: Cluster, run: Run, measured: Mapping[int, float]) -> Resources:
    """The resources for a run. Raises InputError for ranks that do not divide its batch, and a lead that cannot fit.

    `measured`: of `longest_waits`.
    """
    job = cluster.job_of(run.parameters)
    require_equal_parts("launch.ranks_per_node x nodes", job.ranks_per_node * job.nodes, run)
    options: dict[str, str | bool] = {
        **dict(job.place),
        **dict(cluster.options),
        "nodes": str(job.nodes),
        "ntasks-per-node": str(job.ranks_per_node),
        "cpus-per-task": str(job.cpus),
    }
    if job.gpus_per_node:
        options["gpus-per-node"] = str(job.gpus_per_node)
    if job.mem is not None:
        options["mem"] = f"{math.ceil(1024 * job.mem)}M"
    return Resources(tuple(sorted(options.items())), job.minutes, _lead(job, run, measured), cluster.setup)


@contextmanager
def out_of_allocations(options: Mapping[str, object]) -> Iterator[None]:
    """The environment for sbatch, which jobs inherit. What SLURM has set in an allocation that this runs in would
    contradict what they ask for. A user's SBATCH_ variables outrank a script: those hold that say what it leaves open.
    """
    from submitit.helpers import clean_env

    open_to_users = (f"SBATCH_{name.upper()}" for name in (*PLACE, "reservation") if name not in options)
    kept = {name: os.environ[name] for name in ("SLURM_CONF", *open_to_users) if name in os.environ}
    with clean_env([name for name in os.environ if name.startswith("SQUEUE_")]):
        os.environ.update(kept)
        yield


def require_plain_path(root: Path) -> None:
    """InputError for a store whose path means something else to SLURM or to the shell of a job."""
    for character in NOT_IN_PATHS:
        if character in str(root):
            raise InputError("root", root, f"SLURM reads {character!r} as more than a part of it", "use another root")


def check(wanted: Resources) -> None:
    """Ask sbatch whether it would take such a job, without submitting one. Raises InputError with what it says."""
    for program in ("sbatch", "srun"):  # submitit refuses to write a script without the second, after folders are made
        if shutil.which(program) is None:
            why = f"there is no {program} on PATH"
            raise InputError("launch", "slurm", why, "run it on a login node, or use launch=local")
    options = [f"--{name}" if value is True else f"--{name}={value}" for name, value in wanted.options]
    options.append(f"--time={wanted.minutes}")
    command = ["sbatch", "--test-only", *options, "--wrap=true"]
    with out_of_allocations(dict(wanted.options)):
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        given = " ".join(f"{name}={value}" for name, value in wanted.options)
        message = " ".join(
            line.removeprefix("sbatch: error: ").removeprefix("allocation failure: ")
            for line in asked.stderr.splitlines()
        )
        raise InputError("launch", f"slurm ({given})", f"sbatch says: {message}", "see conf/launch/slurm.yaml")


def _lead(job: JobSettings, run: Run, measured: Mapping[int, float]) -> int:
    """Seconds from the warning to the end: something under way, then a save."""
    if job.lead is not None:
        return math.ceil(job.lead)
    longest, how = measured.get(run.parameters), "measured"
    if longest is None:
        step = 6 * run.parameters * run.tokens_per_step / float(run.config["scale"]["flop_rate"])
        save = STATE_BYTES_PER_PARAMETER * run.parameters / ESTIMATED_BYTES_PER_SECOND
        longest, how = max(step, save), "estimated"
    lead = MARGIN_SECONDS + 2 * longest
    if lead > 60 * job.minutes / 2:
        why = (
            f"the warning must come {lead:.0f} s before the end: a step, a part of an evaluation or a save takes up to"
            f" {longest:.3g} s ({how})"
        )
        raise InputError("launch.minutes", job.minutes, why, "give more than twice that")
    return math.ceil(lead)


def longest_waits(root: Path) -> dict[int, float]:
    """By parameters: the longest that jobs of this store took between two looks for the warning, in seconds."""
    longest: dict[int, float] = {}
    for path in (root / "jobs").glob("*/progress-*.json"):
        progress = read_json(path) or {}
        if progress.get("longest"):  # 0: it has not trained yet
            longest[progress["parameters"]] = max(progress["longest"], longest.get(progress["parameters"], 0.0))
    return longest
