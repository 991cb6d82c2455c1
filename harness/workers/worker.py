"""What trains: the body of a job, and the process around it.

The launcher runs `main` in a fresh process per core or GPU (`harness.workers.pool`) and speaks with it over a pipe; in
`launch=inline` it calls `run_under_lease` itself. A worker imports torch and transformers at once, while the launcher
still builds corpora, and keeps what is dear between jobs: opened corpora, validation windows, the state it made last.
Several ranks (`harness.model.distributed`) are one worker: rank 0 does all this, and the others follow it
(`harness.workers.ranks`).

Launcher to worker: a `Setup` first, then a `Task` each time the worker is free; None, or the end of the pipe, means
stop (a job under way is stopped at its next step boundary, and its state stored).
Worker to launcher: the events of `harness.train.events`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from harness.core.command import plain_output
from harness.core.errors import CorruptError, InputError
from harness.plan.task import Task, is_stored
from harness.store.store import Store
from harness.train.events import Ended, Event, Measured, Progress, Ready, Started

if TYPE_CHECKING:
    from harness.train.loop import Trainer

LOOK_SECONDS = 0.05  # between two looks at the pipe while training: 20 microseconds each


@dataclass(frozen=True)
class Setup:
    """What a worker is told once."""

    root: Path
    parents: tuple[Path, ...]
    save_every: float
    micro_batch: int | None
    keep: str
    sharding: str = "none"
    gpus: bool = False  # it was given some: it must not train on the CPU instead


def log_path(root: Path, address: str) -> Path:
    return root / "jobs" / f"{address}.log"


def prepare(setup: Setup) -> Trainer:
    """Import torch and all that training needs, set one thread, and make the trainer of this process.

    Where the environment names several ranks, this is 0, and they meet here.
    """
    from harness.model.distributed import join

    join().first(lambda: setup)
    return make_trainer(setup)


def make_trainer(setup: Setup) -> Trainer:
    """The same once the ranks have met."""
    import torch

    from harness.model.build import tune_process
    from harness.model.distributed import join, local_device
    from harness.train.loop import Trainer
    from harness.train.states import States

    ranks, device = join(), local_device()
    missing = setup.gpus and device.type == "cpu"
    if any(ranks.any(missing)):  # on all ranks alike, so that 0 tells of it
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        why = f"a GPU was given to this process, and torch {torch.__version__} cannot use it"
        why = why if missing else "the GPU of another rank cannot be used: see its log"
        remedy = (
            "see `nvidia-smi` and `python -c 'import torch; torch.cuda.init()'`; for CPUs set it to nothing, or with"
            " launch=slurm launch.gpus_per_node=0"
        )
        raise InputError("CUDA_VISIBLE_DEVICES", given, why, remedy)
    tune_process()
    torch.set_num_threads(1)  # the number of threads changes bits
    ranks.sharding = setup.sharding
    states = States(Store(setup.root, setup.parents), device, setup.keep, ranks)
    return Trainer(states, micro_batch=setup.micro_batch, save_every=setup.save_every)


def run_under_lease(
    task: Task, trainer: Trainer, report: Callable[[Event], None], should_stop: Callable[[], bool]
) -> Ended:
    """Do one job under its lease. The event that ends it; every error becomes one, with the traceback in the log.

    On rank 0 alone; the others follow. An error that not all of them have leaves them `parted`.
    """
    from harness.train.loop import Interrupted, NonFiniteError

    store, ranks = trainer.states.store, trainer.states.ranks
    started = reached = task.stop
    lease = None

    def watched(event: Event) -> None:
        nonlocal started, reached
        if isinstance(event, Started):
            started = reached = event.position
        elif isinstance(event, Progress):
            reached = event.position
        if lease is not None:
            lease.position = reached
        report(event)

    def ending(how: str, reason: str = "", position: int = 0, last_good: int | None = None) -> Ended:
        trained = task.program.tokens(reached) - task.program.tokens(started)
        return Ended(how, trained, reason, position, last_good, parted=ranks.parted)

    if ranks.parted:
        reason = "an earlier error parted the ranks; the same command goes on from what is stored"
        return ending("failed", reason, task.start)
    try:
        lease = store.lease(task.address)
        if lease is None:
            return ending("busy")
        with lease:
            store.clear_failure(task.address)  # of an earlier try
            if not (store.verify(task.address) and is_stored(task, store)):  # another process may just have finished it
                ranks.first(lambda: task)
                run_job(task, trainer, watched, should_stop)
                reached = task.stop
        return ending("done")
    except Interrupted:
        return ending("interrupted")
    except Exception as error:
        last_good = error.last_good if isinstance(error, NonFiniteError) else None
        position = error.position if isinstance(error, NonFiniteError) else reached
        with contextlib.suppress(OSError):  # the disk may be what failed
            log = log_path(store.root, task.address)
            log.parent.mkdir(exist_ok=True)
            with log.open("a") as stream:
                stream.write(traceback.format_exc())
        known = isinstance(error, NonFiniteError | InputError | CorruptError | OSError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        return ending("failed", reason.splitlines()[0] if reason else "", position, last_good)


def run_job(task: Task, trainer: Trainer, report: Callable[[Event], None], should_stop: Callable[[], bool]) -> None:
    """What every rank does of a job. Interrupted and NonFiniteError come on all of them at the same step."""
    from harness.train.loop import Interrupted, NonFiniteError

    try:
        if task.position is None:
            trainer.advance(task, report, should_stop)
        else:
            rows = trainer.measure_stored(task, task.position, task.hashes, should_stop)
            report(Measured(tuple(rows)))
    except (Interrupted, NonFiniteError):
        raise
    except BaseException:
        trainer.states.ranks.parted = trainer.states.ranks.count > 1
        raise


# --- the process ------------------------------------------------------------------------------------------------------


def main(descriptor: int) -> NoReturn:
    """The whole life of a worker process; its end of the pipe has this descriptor."""
    run_process(lambda: _serve(Connection(descriptor)))


def run_process(body: Callable[[], None]) -> NoReturn:
    """Run and end this process. Ctrl-C is the launcher's affair: it tells the workers."""
    for which in (signal.SIGINT, signal.SIGTERM):  # often sent to the whole group
        signal.signal(which, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # blocked while this process was made
    faulthandler.enable()
    plain_output()
    try:
        body()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # at once: nothing is left to tidy up, and torch takes half a second to


def _serve(connection: Connection) -> None:
    """Do jobs until told to stop."""
    setup = connection.recv()
    trainer = prepare(setup)
    link = _Link(connection)
    link.report(Ready())
    while not link.closed and not trainer.states.ranks.parted and (task := link.receive()) is not None:
        log = log_path(setup.root, task.address)
        before = redirect_output(log)
        ending = run_under_lease(task, trainer, link.report, link.should_stop)
        link.report(replace(ending, warnings=tuple(warnings_since(log, before))))


class _Link:
    """The worker's end of the pipe. A launcher that died reads as a request to stop."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.closed = connection, False
        self._looked = 0.0

    def receive(self) -> Task | None:
        try:
            task = self.connection.recv()
        except (EOFError, OSError):
            return None
        assert task is None or isinstance(task, Task)
        return task

    def report(self, event: Event) -> None:
        if not self.closed:
            try:
                self.connection.send(event)
            except OSError:
                self.closed = True

    def should_stop(self) -> bool:
        """While a job runs nothing is sent to this end but None, so anything to read (the end, too) means stop."""
        if self.closed:
            return True
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        return self.connection.poll()


def redirect_output(log: Path) -> int:
    """Send what this process prints to a log from here on. Where the log ends now."""
    with contextlib.suppress(OSError):  # a full disk: then it goes where it went before
        log.parent.mkdir(exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        return log.stat().st_size
    return 0


def warnings_since(log: Path, before: int) -> list[str]:
    """The warnings printed since, for the launcher to show. An empty log is removed."""
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        with log.open("rb") as stream:
            stream.seek(before)
            text = stream.read(100_000).decode(errors="replace")
        if log.stat().st_size == 0:
            log.unlink()
        return [line for line in text.splitlines() if line.startswith("warning: ")]
    return []
