"""A plan as SLURM jobs: one job per stretch of the trie that does not branch, one array per group of equal ones.

Level 7; submitit is loaded only here. A job waits for the one before it on the trie (`afterok`); one that cannot be
reached any more is removed by SLURM. What is queued or running already is not submitted again: others wait for it.

    submit(plan, jobs, setup, settings, store)          # a line per array on stderr
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.fields import whole
from harness.follow import world_size
from harness.frozen import freeze, freeze_code, plain
from harness.identity import digest
from harness.jobs import Job, Jobs
from harness.payload import NON_FINITE, Payload
from harness.plan import Plan
from harness.pool import ONE_THREAD
from harness.resources import Resources, check, resources
from harness.store import Store
from harness.submissions import COMMENT, Submitted, record, record_cancelled, retries_path, submitted
from harness.worker import Setup, Work

LARGEST_ARRAY = 1000  # jobs: SLURM's MaxArraySize is 1001 unless a cluster says otherwise
LOOK_SECONDS = 0.2  # while another process submits
SETTLE_SECONDS = 60.0  # SLURM gives a job that ignores SIGTERM 30 s


@dataclass(eq=False)
class Chain:
    """Jobs of the plan that one SLURM job does one after the other."""

    jobs: list[Job]
    waits_for: list[tuple[str, Chain | str]] = field(default_factory=list)  # afterok or afterany; a number if queued
    number: str | None = None  # once it is submitted

    def dependency(self) -> str | None:
        """As sbatch takes it; None if a chain it waits for has not been submitted."""
        numbers = [(kind, other if isinstance(other, str) else other.number) for kind, other in self.waits_for]
        return None if any(n is None for _, n in numbers) else ",".join(sorted({f"{kind}:{n}" for kind, n in numbers}))


def chains(jobs: Jobs, queue: Mapping[str, Submitted]) -> list[Chain]:
    """What is not queued yet, cut where the trie branches; chains come after those they wait for."""
    followers: dict[int, int] = {}
    for job in jobs.all:
        for earlier in job.waits_for:
            followers[id(earlier)] = followers.get(id(earlier), 0) + 1
    found: dict[int, Chain | str] = {}  # by job
    for job in jobs.all:
        known = queue.get(job.key)
        if known is not None and known.live:
            found[id(job)] = known.job
            continue
        only = found[id(job.waits_for[0])] if len(job.waits_for) == 1 else None
        if isinstance(only, Chain) and followers[id(job.waits_for[0])] == 1:
            only.jobs.append(job)
            found[id(job)] = only
        else:
            waits = [("afterok" if earlier.trains else "afterany", found[id(earlier)]) for earlier in job.waits_for]
            found[id(job)] = Chain([job], waits)
    return list({id(chain): chain for chain in found.values() if isinstance(chain, Chain)}.values())


def wanted_resources(plan: Plan, jobs: Jobs, settings: Mapping[str, Any], store: Store) -> dict[int, Resources]:
    """By parameters of the model, checked with sbatch before anything is made. Raises InputError."""
    if world_size() > 1:
        raise InputError("launch", "slurm", f"this process was started as one of {world_size()} ranks",
                         "start it once; launch.nodes and launch.gpus_per_node say how many a job has")  # fmt: skip
    runs = {run.parameters: run for job in jobs.all for run in [plan.points[job.segment.runs[0]].run]}
    wanted = {parameters: resources(settings, run, store.root) for parameters, run in sorted(runs.items())}
    for one in dict.fromkeys(wanted.values()):
        check(one)
    for name in ("retries", "requeues"):
        whole({"launch": dict(settings)}, f"launch.{name}", 0)
    return wanted


def submit(plan: Plan, jobs: Jobs, setup: Setup, settings: Mapping[str, Any], store: Store,
           wanted: Mapping[int, Resources]) -> None:  # fmt: skip
    """Submit what is neither stored nor queued nor running, and say so. Raises InputError if sbatch refuses."""
    with _alone(store):
        queue = _settled(jobs, store)
        left = chains(jobs, queue)
        waiting = {one.job: one for job in jobs.all if (one := queue.get(job.key)) and one.live}
        if waiting:
            print(f"{len(waiting)} jobs are queued or running already: {_listed(list(waiting))}", file=sys.stderr)
        code = freeze_code(store.root / "jobs")
        while left:
            groups: dict[tuple[int, str], list[Chain]] = {}
            for chain in left:
                if (dependency := chain.dependency()) is not None:
                    parameters = plan.points[chain.jobs[0].segment.runs[0]].run.parameters
                    groups.setdefault((parameters, dependency), []).append(chain)
            for (parameters, dependency), group in groups.items():
                for start in range(0, len(group), LARGEST_ARRAY):
                    array = group[start : start + LARGEST_ARRAY]
                    _submit_array(array, parameters, dependency, wanted[parameters], code, setup, settings, store)
            left = [chain for chain in left if chain.number is None]


def _settled(jobs: Jobs, store: Store) -> dict[str, Submitted]:
    """The queue once SLURM has decided whether jobs that it is ending are queued again: seconds, as a rule."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        queue = submitted(store.root)
        if time.monotonic() > deadline or not any(job.key in queue and queue[job.key].ending for job in jobs.all):
            return queue
        time.sleep(LOOK_SECONDS)


def cancel(plan: Plan, store: Store) -> list[str]:
    """Take back what is queued or running of a plan. The numbers of the jobs. Raises InputError if SLURM refuses."""
    if not submitted(store.root):
        return []
    with _alone(store):
        queue = submitted(store.root)
        keys = [job.key for job in Jobs(plan).all]
        doomed = {one.job: one for key in keys if (one := queue.get(key)) and one.live}
        if doomed:
            record_cancelled(list(doomed.values()))  # first: what disappears then has not failed
            asked = subprocess.run(["scancel", *doomed], capture_output=True, text=True, check=False)
            if asked.returncode:
                raise InputError("do", "cancel", f"scancel says: {' '.join(asked.stderr.split())}", "try again")
    return list(doomed)


def _submit_array(
    group: Sequence[Chain], parameters: int, dependency: str, wanted: Resources, code: Path, setup: Setup,
    settings: Mapping[str, Any], store: Store,
) -> None:  # fmt: skip
    """Freeze what the chains do, submit them as one array (one alone: as a job), and note their numbers."""
    import submitit

    works = [[plain(Work(job.task, job.position, job.hashes)) for job in chain.jobs] for chain in group]
    common = {"setup": plain(setup), "parameters": parameters, "requeues": settings["requeues"]}
    contents = {f"work-{i}.json": json.dumps({**common, "works": work}).encode() for i, work in enumerate(works)}
    token = digest(common, works, code.name, wanted, dict(settings))[:12]
    folder = freeze(store.root / "jobs", token, contents)
    elements = [[job.key for job in chain.jobs] for chain in group]
    record(folder, elements, None)
    executor = submitit.SlurmExecutor(folder, max_num_timeout=settings["requeues"] + 1)  # the job itself says no
    options = {**dict(wanted.options), "comment": f"{COMMENT}{token}", "requeue": True}
    if dependency:
        options |= {"dependency": dependency, "kill-on-invalid-dep": "yes"}
    executor.update_parameters(
        job_name=_job_name(group),
        time=wanted.minutes,
        signal_delay_s=wanted.lead,
        array_parallelism=whole({"launch": dict(settings)}, "launch.at_once", 1) if settings["at_once"] else len(group),
        setup=[*_retries(folder, settings["retries"]), *wanted.setup, *_environment(code)],
        srun_args=["--kill-on-bad-exit=1"],  # of several ranks one that died leaves the others waiting
        additional_parameters=options,
    )
    try:
        with _out_of_jobs():
            submissions = executor.map_array(Payload(str(folder)), range(len(group)))
    except submitit.core.utils.FailedJobError as error:
        shutil.rmtree(folder)
        said = " ".join(str(error).replace("sbatch: error: ", "").split())
        raise InputError("launch", "slurm", f"sbatch says: {said}", "see conf/launch/slurm.yaml") from None
    record(folder, elements, submissions[0].job_id.split("_")[0])
    for chain, submission in zip(group, submissions, strict=True):
        chain.number = submission.job_id
    what = chain.jobs[0].name if len(group) == 1 else f"{group[0].jobs[0].name} and {len(group) - 1} more"
    after = f" after {dependency.replace(',', ' ')}" if dependency else ""
    print(f"submitted {_listed([s.job_id for s in submissions])}: {what}{after}", file=sys.stderr)


@contextmanager
def _out_of_jobs() -> Iterator[None]:
    """Jobs inherit the environment. What SLURM has set in an allocation that this is called in would contradict theirs;
    what a user has set for sbatch holds."""
    from submitit.helpers import clean_env

    kept = {name: value for name, value in os.environ.items() if name.startswith("SBATCH_") or name == "SLURM_CONF"}
    with clean_env():
        os.environ.update(kept)
        yield


def _environment(code: Path) -> list[str]:
    """Python takes the frozen code, not the folder it is started in nor what is installed."""
    threads = [f"export {name}={value}" for name, value in ONE_THREAD.items()]
    return [*threads, "export TOKENIZERS_PARALLELISM=false PYTHONSAFEPATH=1",
            f'export PYTHONPATH="{code}${{PYTHONPATH:+:$PYTHONPATH}}"',
            'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"']  # fmt: skip  srun does not take it from sbatch


def _retries(folder: Path, retries: int) -> list[str]:
    """The batch script queues a failed job again when it exits, unless SLURM is ending it: nobody else is there to."""
    count = f'"{retries_path(folder, "$job")}"'
    return [] if not retries else [
        "retry() {",
        "    status=$?",
        "    job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",  # SLURM_JOB_ID may name the array
        "    job=${job:-$SLURM_JOB_ID}",
        f"    [ $status -ne 0 ] && [ $status -ne {NON_FINITE} ] || return",
        '    [ "$(squeue --noheader --format=%T --jobs=$job)" = RUNNING ] || return',
        f'    [ "$(cat {count} 2>/dev/null | wc -l)" -lt {retries} ] || return',
        f"    echo $status >> {count}",
        "    scontrol requeue $job",
        "}",
        "trap retry EXIT",
    ]  # fmt: skip


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """One submitter of a store at a time: the next one finds in the queue what the first has submitted."""
    while (lease := store.lease("submission")) is None:
        time.sleep(LOOK_SECONDS)
    with lease:
        yield


def _job_name(group: Sequence[Chain]) -> str:
    """What squeue shows: a run's name, or how many."""
    name = group[0].jobs[0].name if len(group) == 1 else f"{len(group)}-runs"
    return "rewarm-" + re.sub(r"[^\w.=+-]+", "-", name)[:80]


def _listed(numbers: Sequence[str]) -> str:
    """Job numbers for a person: 12 or 12_[0-3], a few of many."""
    arrays: dict[str, list[int]] = {}
    for number in numbers:
        array, _, index = number.partition("_")
        arrays.setdefault(array, []).extend([int(index)] if index else [])
    return " ".join(f"{array}_[{min(i)}-{max(i)}]" if len(i) > 1 else f"{array}_{i[0]}" if i else array
                    for array, i in arrays.items())  # fmt: skip
