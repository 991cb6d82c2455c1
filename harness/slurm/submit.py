"""A plan as SLURM jobs: one job per stretch of the trie that does not branch, one array per group of equal ones.

A job waits for the one before it on the trie (`afterok`); one that cannot be reached any more is removed by SLURM. What
is queued or running already is not submitted again: others wait for it.

    wanted = wanted_resources(plan, jobs, cluster, store)                      # nothing is made before this
    submit(plan, jobs, setup, cluster, store, wanted, should_stop)             # a line per array on stderr
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path

from harness.config.launching import Cluster
from harness.core.errors import InputError
from harness.core.identity import digest
from harness.core.plain import plain
from harness.plan.jobs import Job, Jobs
from harness.plan.plan import Plan
from harness.plan.task import is_stored
from harness.slurm.chains import Chain, chains, job_name, listed
from harness.slurm.payload import FINAL, Payload
from harness.slurm.resources import Resources, check, longest_waits, out_of_allocations, require_plain_path, resources
from harness.slurm.snapshot import freeze, freeze_code
from harness.slurm.submissions import (
    COMMENT,
    CORPUS,
    GROUP,
    OTHERWISE,
    Submitted,
    record,
    retries_path,
    submitted,
    tasks_of,
)
from harness.store.store import Store
from harness.workers.pool import ONE_THREAD, undisturbed
from harness.workers.ranks import world_size
from harness.workers.worker import Setup

LOOK_SECONDS = 0.2  # while another process submits
SETTLE_SECONDS = 60.0  # SLURM gives a job that ignores SIGTERM 30 s


def wanted_resources(plan: Plan, jobs: Jobs, cluster: Cluster, store: Store) -> dict[int, Resources]:
    """By point of the plan, checked with sbatch before anything is made. Raises InputError."""
    if world_size() > 1:
        raise InputError(
            "launch",
            "slurm",
            f"this process was started as one of {world_size()} ranks",
            "start it once; launch.nodes and launch.gpus_per_node say how many a job has",
        )
    require_plain_path(store.root)
    measured = longest_waits(store.root)
    points = {job.segment.runs[0] for job in jobs.all}
    wanted = {point: resources(cluster, plan.points[point].run, measured) for point in sorted(points)}
    for one in dict.fromkeys(wanted.values()):
        check(one)
    return wanted


def submit(
    plan: Plan,
    jobs: Jobs,
    setup: Setup,
    cluster: Cluster,
    store: Store,
    wanted: Mapping[int, Resources],
    should_stop: Callable[[], bool],
    corpora: Callable[[Mapping[str, Submitted]], Mapping[str, str]] = lambda _: {},
) -> None:
    """Submit what is neither stored nor queued nor running, and say so. Raises InputError if sbatch refuses.

    `corpora`: given the queue, submits the jobs that make corpora; their numbers by recipe key.

    `should_stop`: asked until the first submission; KeyboardInterrupt then. After that all are submitted.
    """
    with alone(store, should_stop):
        queue = _settled(jobs, store, should_stop)
        for job in jobs.all:  # other processes may have finished some since they were planned
            if is_stored(job.task, store):
                jobs.done(job)
        waiting = {job.key: one for job in jobs.all if not job.ended and (one := queue.get(job.key)) and one.in_queue}
        if waiting:
            numbers = list(dict.fromkeys(one.job for one in waiting.values()))
            print(f"{len(numbers)} jobs are queued or running already: {listed(numbers)}", file=sys.stderr)
        short = frozenset(job.key for job in jobs.all if job.key in waiting and _measures_less(waiting[job.key], job))
        left, code, largest = chains(jobs, queue, short), freeze_code(store.root / "jobs"), largest_array()
        after = corpora(queue)
        for chain in left:
            read = {key for job in chain.jobs for key in job.task.recipes}
            chain.waits_for += [("afterok", number) for key, number in after.items() if key in read]
        while left:
            groups: dict[tuple[Resources, str], list[Chain]] = {}
            for chain in left:
                if (dependency := chain.dependency()) is not None:
                    resources_of = wanted[chain.jobs[0].segment.runs[0]]
                    groups.setdefault((resources_of, dependency), []).append(chain)
            for (resources_of, dependency), group in groups.items():
                for start in range(0, len(group), largest):
                    array = group[start : start + largest]
                    _submit_array(array, dependency, resources_of, code, plan, setup, cluster, store)
            left = [chain for chain in left if chain.number is None]


def _measures_less(known: Submitted, job: Job) -> bool:
    """Was a job that is queued or running submitted with fewer rows to measure than are asked for now?"""
    try:
        tasks = tasks_of(known)
    except OTHERWISE:  # never submitted twice
        return False
    return job.trains and any(t.address == job.task.address and not job.task.own_rows <= t.own_rows for t in tasks)


def largest_array() -> int:
    """How many jobs this cluster takes in one array."""
    asked = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", asked.stdout)
    return max(1, int(found[1])) if found else 1000


def _settled(jobs: Jobs, store: Store, should_stop: Callable[[], bool]) -> dict[str, Submitted]:
    """The queue once SLURM has decided whether jobs that it is ending are queued again: seconds, as a rule."""
    deadline, own = time.monotonic() + SETTLE_SECONDS, {job.key for job in jobs.all}
    while True:
        queue = submitted(store.root)
        ending = any(one.ending for key, one in queue.items() if key in own or key.startswith((CORPUS, GROUP)))
        if time.monotonic() > deadline or not ending:
            return queue
        _pause(should_stop)


def _submit_array(
    group: Sequence[Chain],
    dependency: str,
    wanted: Resources,
    code: Path,
    plan: Plan,
    setup: Setup,
    cluster: Cluster,
    store: Store,
) -> None:
    """Freeze what the chains do, submit them as one array (one alone: as a job), and note their numbers."""
    import submitit

    common = {"setup": plain(replace(setup, gpus=wanted.gpus)), "code": str(code), "requeues": cluster.requeues}
    works = []
    for chain in group:
        parameters = plan.points[chain.jobs[0].segment.runs[0]].run.parameters
        works.append({**common, "parameters": parameters, "tasks": [plain(job.task) for job in chain.jobs]})
    token = digest(works, wanted, cluster)[:12]
    known = (store.root / "jobs" / token).exists()  # submitted before: its logs stay
    contents = {f"work-{i}.json": json.dumps(work).encode() for i, work in enumerate(works)}
    folder = freeze(store.root / "jobs", token, contents)
    elements = [[job.key for job in chain.jobs] for chain in group]
    record(folder, elements, None)
    executor = submitit.SlurmExecutor(folder, max_num_timeout=cluster.requeues + 1)  # the job itself says no
    options = {**dict(wanted.options), "comment": f"{COMMENT}{token}", "requeue": True}
    if dependency:
        options |= {"dependency": dependency, "kill-on-invalid-dep": "yes"}
    executor.update_parameters(
        job_name=job_name(group),
        time=wanted.minutes,
        signal_delay_s=wanted.lead,
        array_parallelism=cluster.at_once or len(group),
        setup=[*retries(folder, cluster.retries), *wanted.setup, *environment(code)],
        srun_args=["--kill-on-bad-exit=1", "--export=ALL"],  # of several ranks one that died leaves the others waiting
        additional_parameters=options,
    )
    try:
        # submitit prints what sbatch says before it raises it
        with out_of_allocations(options), undisturbed(), redirect_stderr(io.StringIO()):
            submissions = executor.map_array(Payload(str(folder)), range(len(group)))
    except submitit.core.utils.FailedJobError as error:
        if not known:
            shutil.rmtree(folder)
        message = " ".join(str(error).replace("sbatch: error: ", "").split())
        remedy = "see conf/launch/slurm.yaml; the same command submits what is left"
        raise InputError("launch", "slurm", f"sbatch says: {message}", remedy) from None
    record(folder, elements, submissions[0].job_id.split("_")[0])
    for chain, submission in zip(group, submissions, strict=True):
        chain.number = submission.job_id
        for job in chain.jobs:
            store.clear_failure(job.task.address)  # of an earlier try
    what = group[0].name + (f" and {len(group) - 1} more" if len(group) > 1 else "")
    after = f" after {dependency.replace(',', ' ')}" if dependency else ""
    print(f"submitted {listed([s.job_id for s in submissions])}: {what}{after}", file=sys.stderr)


def environment(code: Path) -> list[str]:
    """Python takes the frozen code, not the folder it is started in nor what is installed."""
    threads = [f"export {name}={value}" for name, value in ONE_THREAD.items()]
    return [
        *threads,
        "export TOKENIZERS_PARALLELISM=false PYTHONSAFEPATH=1",
        f'export PYTHONPATH="{code}${{PYTHONPATH:+:$PYTHONPATH}}"',
        'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
    ]  # srun does not take it from sbatch


def retries(folder: Path, most: int) -> list[str]:
    """The batch script queues a failed job again when it exits, unless SLURM is ending it: nobody else is there to."""
    count = f'"{retries_path(folder, "$job")}"'
    return (
        []
        if not most
        else [
            "retry() {",
            "    status=$?",
            # SLURM_JOB_ID may name the array.
            "    job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
            "    job=${job:-$SLURM_JOB_ID}",
            f"    [ $status -ne 0 ] && [ $status -ne {FINAL} ] || return",
            '    [ "$(squeue --noheader --format=%T --jobs=$job)" = RUNNING ] || return',
            f'    [ "$(cat {count} 2>/dev/null | wc -l)" -lt {most} ] || return',
            f"    echo $status >> {count}",
            "    scontrol requeue $job",
            "}",
            "trap retry EXIT",
        ]
    )


@contextmanager
def alone(store: Store, should_stop: Callable[[], bool]) -> Iterator[None]:
    """One submitter of a store at a time: the next one finds in the queue what the first has submitted."""
    while (lease := store.lease("submission")) is None:
        _pause(should_stop)
    with lease:
        yield


def _pause(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise KeyboardInterrupt
    time.sleep(LOOK_SECONDS)
