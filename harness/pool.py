"""Worker processes: how many, on which device, started early, replaced when they die.

Level 7, without torch. A worker is a fresh interpreter in `harness.worker.main`, not a fork (threads and CUDA do not
survive one) and not a `multiprocessing` child (which would import the launcher's main module again, Hydra and all).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import harness
from harness.jobs import Job
from harness.worker import Setup, Work

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(eq=False)
class Worker:
    """One process and what it is doing."""

    index: int
    process: subprocess.Popen[bytes]
    connection: Connection
    output: IO[bytes]  # what it prints outside of jobs
    ready: bool = False
    job: Job | None = None
    last: Job | None = None  # what it has made last: still in its memory

    def send(self, job: Job) -> None:
        self.job = job
        with contextlib.suppress(OSError):  # it died: the end of its pipe tells
            self.connection.send(Work(job.task, job.position, job.hashes))

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(None)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def close(self, grace_seconds: float) -> str:
        """Wait for it to end, killed after the grace; how it ended, in words."""
        self.connection.close()
        try:
            status = self.process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self.process.wait()
        self.output.seek(0)
        said = self.output.read()[-2000:].decode(errors="replace").strip().splitlines()
        self.output.close()
        if status < 0:
            return f"worker died with signal {-status} ({signal.Signals(-status).name})"
        return f"worker ended with status {status}" + (f": {said[-1]}" if said else "")


def start(index: int, setup: Setup, gpu: str | None) -> Worker:
    """Start a worker; it imports what it needs at once and says when it is ready."""
    ours, theirs = Pipe()
    environment = {**os.environ, **ONE_THREAD, "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    here = str(Path(harness.__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (here, environment.get("PYTHONPATH"))))
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    output = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
    # A Ctrl-C while the worker is being made must not reach it before it can ignore it: the mask is inherited.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", f"from harness.worker import main; main({theirs.fileno()})"],
            pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    theirs.close()
    ours.send(setup)
    return Worker(index, process, ours, output)


def close_all(workers: list[Worker], grace_seconds: float) -> None:
    """End all workers: those with a job finish their step and store it, within the grace; the others at once."""
    for worker in workers:
        if worker.job is None:
            worker.kill()
        else:
            worker.stop()
    deadline = time.monotonic() + grace_seconds
    for worker in workers:
        worker.close(max(0.0, deadline - time.monotonic()))


def devices() -> list[str]:
    """CUDA_VISIBLE_DEVICES of each worker where this torch can use GPUs; empty: workers are for cores."""
    if metadata.version("torch").endswith("+cpu"):
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False).stdout
    return [str(i) for i, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def cores(limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores this process may use: those it is bound to, and in a container those it is paid for."""
    count = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no quota
        quota, period = limit.read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count
