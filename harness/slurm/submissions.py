"""What was submitted to SLURM, and what the queue says about it.

Without submitit. A submission is a folder jobs/<token>/ of the store, named by its content: `work-<i>.json` (what its
i-th job does, see `harness.slurm.snapshot`), `submission.json` (what that makes), `progress-<i>.json` (how far the job
is, as it says itself) and submitit's own files. The token is the comment of its jobs, by which `squeue` finds them even
if whoever submitted them was killed before SLURM's answer came. Success and failure are read from states and from
failures/, never from SLURM's accounting, which a cluster may not have.

    jobs = submitted(store.root)            # the newest job for every address that was ever submitted
    jobs[address].in_queue, jobs[address].state
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.files import dump, listing, read_json, write_file
from harness.core.plain import read_back
from harness.corpora.grouping import Group, groups
from harness.plan.task import Task
from harness.texts.listed import FilesSource
from harness.texts.recipe import Recipe

COMMENT = "rewarm-"
CORPUS = "corpus "  # before a recipe's key: by which the job that assembles the corpus is known
GROUP = "group "  # before a group's: the job that builds its units
GONE = ("", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")  # "": not in the queue
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED")
SQUEUE_SECONDS = 120.0
OTHERWISE = (OSError, KeyError, TypeError, ValueError)  # what reading raises that another version wrote


@dataclass(frozen=True)
class Submitted:
    """One SLURM job and what it was to do."""

    folder: Path
    index: int  # in its array
    job: str  # SLURM's number, 1234 or 1234_5; empty if its submitter died before it came
    state: str  # squeue's word
    cancelled: bool  # by do=cancel

    @property
    def in_queue(self) -> bool:
        """Is it queued or running? (One that is `ending` may be queued again.)"""
        return self.state not in GONE

    @property
    def running(self) -> bool:
        return self.in_queue and self.state not in WAITING

    @property
    def ending(self) -> bool:
        """Is SLURM ending it, to be queued again or for good?"""
        return self.state == "COMPLETING"

    def progress(self) -> dict[str, Any]:
        """{job, host, address, position, losses, ...} as the job last wrote it; empty before that."""
        document = read_json(progress_path(self.folder, self.index)) or {}
        return document if document.get("job") == self.job else {}

    @property
    def log(self) -> Path:
        """What the job said outside of training."""
        return self.folder / f"{self.job}_0_log.err"


def progress_path(folder: Path, index: int) -> Path:
    return folder / f"progress-{index}.json"


def retries_path(folder: Path, job: str) -> Path:
    """A line for each time that a job failed and was queued again."""
    return folder / f"retries-{job}"


def record(folder: Path, elements: Sequence[Sequence[str]], job: str | None) -> None:
    """Write submission.json: before sbatch without a number, and again with it. `elements`: addresses per job."""
    document = {
        "user": os.getuid(),
        "time": time.time(),
        "job": job,
        "elements": [list(e) for e in elements],
        "cancelled": [],
    }
    write_file(folder / "submission.json", dump(document), folder)


def record_cancelled(jobs: Sequence[Submitted]) -> None:
    """Note that these jobs were taken back: they have not failed."""
    for folder in {job.folder for job in jobs}:
        document = read_json(folder / "submission.json") or {}
        document["cancelled"] = sorted({*document["cancelled"], *(j.index for j in jobs if j.folder == folder)})
        write_file(folder / "submission.json", dump(document), folder)


def submitted(root: Path) -> dict[str, Submitted]:
    """By address, the newest job that was to make it. Asks squeue if anything was ever submitted from this store.

    Empty away from the cluster (no squeue): nothing is known then. Raises InputError if squeue does not answer.
    """
    paths = [root / "jobs" / name / "submission.json" for name in listing(root / "jobs")]
    found = [(path.parent, document) for path in paths if (document := read_json(path))]
    if not found or shutil.which("squeue") is None:
        return {}
    queue = _queue({document["user"] for _, document in found})
    newest: dict[str, Submitted] = {}
    for folder, document in sorted(found, key=lambda pair: float(pair[1]["time"])):
        number, array = document["job"] or "", len(document["elements"]) > 1
        for index, addresses in enumerate(document["elements"]):
            recorded = f"{number}_{index}" if number and array else number
            job, state = queue.get((folder.name, index), (recorded, ""))
            one = Submitted(folder, index, job, state, index in document["cancelled"])
            newest.update(dict.fromkeys(addresses, one))
    return newest


def jobs_of_corpus(reading: Recipe, queue: Mapping[str, Submitted]) -> list[Submitted]:
    """What was submitted to make a corpus, or its validation (`read_of`): the jobs that build its parts, then the one
    that assembles it."""
    found = [queue[CORPUS + reading.key]] if CORPUS + reading.key in queue else []
    if any(key.startswith(GROUP) for key in queue):
        keys = (GROUP + group.key for group in groups_of(reading))
        found = [*(queue[key] for key in keys if key in queue), *found]
    return found


def groups_of(reading: Recipe) -> tuple[Group, ...]:
    """The groups of a corpus, worked out once: many runs have the same one, and 60,000 files take a second."""
    source = reading.source
    if not isinstance(source, FilesSource):
        return ()
    return _groups(reading, len(source.train.files) + len(source.validation.files if source.validation else ()))


@functools.lru_cache(maxsize=32)
def _groups(reading: Recipe, files: int) -> tuple[Group, ...]:
    """`files`: of a recipe without the lists of its files the same is not true, and it is equal to that with them."""
    assert isinstance(reading.source, FilesSource)
    found = tuple(groups(reading, reading.source))
    assert sum(len(group.files) for group in found) == files
    return found


def _queue(users: set[int]) -> dict[tuple[str, int], tuple[str, str]]:
    """(token, index) -> (number, state) of the users' jobs that came from here."""
    names = []
    for user in users:
        with contextlib.suppress(KeyError):  # who is gone has no jobs
            names.append(pwd.getpwuid(user).pw_name)
    if not names:
        return {}
    command = ["squeue", "--noheader", "--array", f"--users={','.join(names)}", "--format=%i|%K|%T|%k"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SQUEUE_SECONDS, env=environment
        )
        error = asked.stderr.strip() if asked.returncode else None
    except (OSError, subprocess.TimeoutExpired) as failure:
        error = str(failure)
    if error is not None:
        why = f"jobs of this store were submitted to it, and squeue says: {' '.join(error.split())[:200]}"
        raise InputError("SLURM", "no answer", why, "try again from where squeue answers")
    queue: dict[tuple[str, int], tuple[str, str]] = {}
    for line in asked.stdout.splitlines():
        number, index, state, comment = line.strip().split("|", 3)
        if comment.startswith(COMMENT):
            key = (comment.removeprefix(COMMENT), int(index) if index.isdigit() else 0)
            if key not in queue or state not in (*GONE, "COMPLETING"):  # it counts before one that ends
                queue[key] = (number, state)
    return queue


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log; none if there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 4000))
            return stream.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def read_work(folder: Path, index: int) -> dict[str, Any]:
    """What the job is to do, as `frozen.plain` wrote it."""
    document: dict[str, Any] = json.loads((folder / f"work-{index}.json").read_bytes())
    return document


def tasks_of(known: Submitted) -> list[Task]:
    """What a job trains and measures; none of one that makes a corpus. One of `OTHERWISE` for another version's."""
    document = read_work(known.folder, known.index)
    # A job of before has what it trains inside of what it does.
    return [read_back(Task, task) for task in document.get("tasks", [w["task"] for w in document.get("works", ())])]


def require_frozen(file: str, document: dict[str, Any]) -> None:
    """RuntimeError unless a job runs the code that was frozen for it."""
    if not Path(file).is_relative_to(document["code"]):
        raise RuntimeError(
            f"the job would run {file}, not what was frozen for it in {document['code']}: see what "
            "sets PYTHONPATH (launch.setup, the shell's own files)"
        )
