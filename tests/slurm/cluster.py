"""A real SLURM for tests, and what to do to its jobs: `up` and `down`, beside this file, start and stop it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from harness.plan.over_store import plan_over
from harness.report import plan_document
from harness.store.store import Store
from tests.composed import points_of
from tests.tiny import command

HERE = Path(__file__).parent
NOT_HERE = 77  # exit status of `up` where SLURM cannot be had
Answer = TypeVar("Answer")


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Start a SLURM in a folder and stop it. The reason if it cannot be had here, else an empty text."""
    started = subprocess.run([HERE / "up", folder], capture_output=True, text=True, check=False)
    try:
        assert started.returncode in (0, NOT_HERE), started.stderr
        yield started.stderr.strip() if started.returncode else ""
    finally:
        subprocess.run([HERE / "down", folder], check=True)


def slurm(*words: str) -> str:
    """What a SLURM command says. It must succeed."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def until(holds: Callable[[], Answer | None], seconds: float = 120.0) -> Answer:
    """What `holds` answers once it is true. (SLURM tells nobody when something happens: one has to ask.)"""
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"it never came; the queue: {slurm('squeue')}"
        time.sleep(0.1)
    return answer


def queue() -> list[str]:
    """The jobs of the queue, arrays job by job."""
    return slurm("squeue", "--noheader", "--array", "--format=%i").split()


def document(texts: Path, root: Path, runs: Sequence[str]) -> dict[str, Any]:
    """What do=plan says."""
    store = Store(root)
    return plan_document(plan_over(points_of(*(command(texts, knobs) for knobs in runs)), store), store)


def under_way(root: Path, beyond: int, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many jobs of the queue have trained past a step and stored a save; what they report."""

    def holds() -> list[dict[str, Any]] | None:
        store = Store(root)
        saves = [info for address in store.addresses() if (info := store.state(address)) and not info.kept]
        written = [json.loads(path.read_text()) for path in sorted(root.glob("jobs/*/progress-*.json"))]
        live = queue()
        reports = [report for report in written if report["job"] in live]
        far = all((report["position"] or 0) > beyond for report in reports)
        return reports if len(saves) == len(reports) == count and far else None

    return until(holds)


def starts(root: Path, address: str) -> list[int]:
    """The steps from which jobs trained a segment, in order."""
    lines = (root / "jobs" / f"{address}.log").read_text().splitlines()
    return [int(line.rpartition(" ")[2]) for line in lines if ": from step " in line]


def pid_of(root: Path, address: str) -> int:
    """The process that trains a segment."""
    return int(json.loads((root / "leases" / f"{address}.json").read_text())["pid"])


def submissions(root: Path) -> list[dict[str, Any]]:
    """Every submission.json of a store, in the order of job numbers."""
    documents = [json.loads(path.read_text()) for path in root.glob("jobs/*/submission.json")]
    return sorted(documents, key=lambda document: int(document["job"]))
