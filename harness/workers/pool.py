"""Worker processes: how many, on which devices, started early, replaced when they die.

Without torch. A worker is a fresh interpreter in `harness.workers.worker.main`, not a fork (threads and CUDA do not
survive one) and not a `multiprocessing` child (which would import the launcher's main module again, Hydra and all).
With `launch.ranks=k` it is k of them that train together; rank 0 has the pipe, the others follow it.

    workers = [start(index, setup, place) for index, place in enumerate(places(settings, plan, jobs.width))]
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import harness
from harness.config.launching import Launch, require_equal_parts
from harness.core.cores import cores
from harness.core.errors import InputError
from harness.plan.jobs import Job
from harness.plan.plan import Plan
from harness.workers.ranks import world_size
from harness.workers.worker import Setup

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
Place = tuple[str | None, ...]  # CUDA_VISIBLE_DEVICES of each rank of a worker; None: a core


@dataclass(eq=False)
class Worker:
    """One process, or one per rank, and what it is doing."""

    index: int
    place: Place
    processes: list[subprocess.Popen[bytes]]  # by rank
    connection: Connection
    output: IO[bytes]  # what they print outside of jobs
    ready: bool = False
    job: Job | None = None
    last: Job | None = None  # what it has made last: still in its memory
    lost: tuple[int, int] | None = None  # (rank, status) of one that ended before rank 0 did

    def send(self, job: Job) -> None:
        self.job = job
        with contextlib.suppress(OSError):  # it died: the end of its pipe tells
            self.connection.send(job.task)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(None)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()

    def close(self, grace_seconds: float) -> str:
        """Wait for it to end, killed after the grace; how it ended, in words."""
        self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.processes[0].wait(grace_seconds)
        self.kill()
        status = self.processes[0].wait()
        who = "worker" if self.lost is None else f"rank {self.lost[0]} of the worker"
        status = status if self.lost is None else self.lost[1]
        self.output.seek(0)
        printed = self.output.read()[-2000:].decode(errors="replace").strip().splitlines()
        self.output.close()
        if status < 0:
            return f"{who} died with signal {-status} ({signal.Signals(-status).name})"
        return f"{who} ended with status {status}" + (f": {printed[-1]}" if printed else "")

    def watch(self) -> None:
        """A rank that ends takes rank 0 along, which else might wait for it for ever (NCCL does)."""

        def wait(rank: int) -> None:
            status = self.processes[rank].wait()
            if self.processes[0].poll() is None and status:
                self.lost = self.lost or (rank, status)
                self.processes[0].kill()

        for rank in range(1, len(self.processes)):
            threading.Thread(target=wait, args=(rank,), name=f"rank {rank}", daemon=True).start()


def start(index: int, setup: Setup, place: Place) -> Worker:
    """Start a worker; it imports what it needs at once and says when it is ready."""
    ours, theirs = Pipe()
    environment = {**os.environ, **ONE_THREAD, "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    here = str(Path(harness.__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (here, environment.get("PYTHONPATH"))))
    output = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
    with undisturbed():  # a Ctrl-C must not reach the worker before it can ignore it
        body = f"from harness.workers.worker import main; main({theirs.fileno()})"
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", "from harness.workers.ranks import main; main()" if rank else body],
                pass_fds=[] if rank else [theirs.fileno()],
                env=environment | own,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            for rank, own in enumerate(environments(place))
        ]
    theirs.close()
    ours.send(setup)
    worker = Worker(index, place, processes, ours, output)
    worker.watch()
    return worker


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A Ctrl-C, which a terminal sends to a whole group, waits until after this. Processes made inside inherit it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def environments(place: Place) -> list[dict[str, str]]:
    """What tells each rank of a worker its device, and how to meet the others: as torchrun would."""
    own = [{} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu} for gpu in place]
    if len(place) > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank, environment in enumerate(own):
            environment |= {"RANK": f"{rank}", "LOCAL_RANK": "0" if place[rank] else f"{rank}"}
            environment |= {"WORLD_SIZE": f"{len(place)}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
    return own


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


def places(settings: Launch, plan: Plan, width: int) -> list[Place]:
    """Where each worker goes: a GPU for each of its ranks, else cores. None with launch=inline.

    As many as asked for, else as have room here, but no more than can be busy at once (`width`). Raises InputError for
    ranks that were not started, have no GPU, or do not divide a batch.
    """
    ranks = _ranks(settings)
    for point in plan.points:
        require_equal_parts("launch.ranks", ranks, point.run)
    if settings.kind == "inline":
        return []
    per_gpu, gpus = settings.per_gpu, devices()
    room: list[Place]
    if gpus:
        if ranks > len(gpus):
            raise InputError("launch.ranks", ranks, f"each takes a GPU, and {len(gpus)} are visible here", "give fewer")
        room = [tuple(gpus[i : i + ranks]) for i in range(0, len(gpus) - ranks + 1, ranks)]
        room *= per_gpu
    elif per_gpu > 1:
        raise InputError(
            "launch.per_gpu",
            per_gpu,
            "no GPU is visible here",
            "leave it out; launch.workers says how many share the cores",
        )
    else:
        room = [(None,) * ranks] * max(1, cores() // ranks)
    return [room[i % len(room)] for i in range(min(settings.workers or len(room), width))]


def _ranks(settings: Launch) -> int:
    """How many ranks train a segment together."""
    started = world_size()
    given = settings.ranks
    if settings.kind == "local" and started > 1:
        raise InputError(
            "launch",
            "local",
            f"this process was started as one of {started} ranks",
            "give launch=inline, or start it once, with launch.ranks",
        )
    if settings.kind == "inline" and given not in (None, started):
        raise InputError(
            "launch.ranks",
            given,
            f"launch=inline has the processes that were started, {started}",
            f"give launch=local, or start it by torchrun --nproc-per-node {given}",
        )
    return given or started


def devices() -> list[str]:
    """CUDA_VISIBLE_DEVICES of each GPU that this torch can use; empty: workers are for cores."""
    if metadata.version("torch").endswith("+cpu"):
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False).stdout
    return [str(i) for i, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]
