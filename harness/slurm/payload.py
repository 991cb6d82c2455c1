"""The body of a SLURM job: some jobs of a plan, one after the other, stopped in time and queued again.

submitit pickles a `Payload`, which holds a path; what is to be done lies there (`harness.slurm.submissions`). The
warning of SLURM (a signal before the time limit or before preemption) and SIGTERM only set a flag; the trainer asks for
it at every step and in every evaluation, stores its state, and the job is queued again through submitit. It then starts
as any job does: from the deepest stored state. A job that fails writes failures/<address>.json and ends with a status
that keeps what depends on it from starting. Every task of the job is a rank (`harness.model.distributed`); the first
leads.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.core.command import plain_output
from harness.core.errors import InputError
from harness.core.files import dump, write_file
from harness.core.plain import read_back
from harness.plan.task import Task, is_stored
from harness.slurm.submissions import progress_path, read_work, require_frozen, retries_path
from harness.store.store import Store
from harness.train.events import Ended, Event, Measured, Progress, Started
from harness.workers import worker
from harness.workers.ranks import dismiss, end, follow
from harness.workers.worker import Setup

if TYPE_CHECKING:
    from harness.train.loop import Trainer  # torch: only once submitit has put its signal handlers in place

FAILED, FINAL = 1, 3  # exit statuses: after the second no retry would end otherwise
PROGRESS_SECONDS = 2.0  # between two reports to the store
BUSY_SECONDS = 0.5  # until a segment that another process trains is looked at again


@dataclass(frozen=True)
class Payload:
    """What submitit calls: the jobs of one submission, by index. It holds nothing but the submission's folder."""

    folder: str

    def __call__(self, index: int) -> None:
        _run(Path(self.folder), index)

    def checkpoint(self, index: int) -> Any:
        """What submitit runs when the job starts again: the same, for how far it has come is in the store."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, index)


def _run(folder: Path, index: int) -> NoReturn:
    plain_output()
    warning = _Warning()
    document = read_work(folder, index)
    require_frozen(__file__, document)
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        from submitit.helpers import TorchDistributedEnvironment

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    if os.environ.get("RANK", "0") == "0":
        _lead(folder, index, document, warning)
    follow(lambda: warning.asked)
    end(0)


def _lead(folder: Path, index: int, document: dict[str, Any], warning: _Warning) -> NoReturn:
    setup, tasks = read_back(Setup, document["setup"]), [read_back(Task, task) for task in document["tasks"]]
    try:
        trainer = worker.prepare(setup)
    except InputError as error:  # torch cannot use the GPU
        store, task = Store(setup.root, setup.parents), tasks[0]
        store.write_failure(task.address, task.start, None, str(worker.log_path(setup.root, task.address)), str(error))
        print(f"failed: {error}", file=sys.stderr)
        end(FAILED)
    progress = _Progress(progress_path(folder, index), document["parameters"], warning)
    failed, interruptions = 0, warning.restarts - _retried(folder)
    store = trainer.states.store
    for task in tasks:
        log = worker.log_path(setup.root, task.address)
        interrupted = interruptions > document["requeues"] and not is_stored(task, store)
        if interrupted:
            reason = f"interrupted more than {document['requeues']} times (launch.requeues)"
            ending = Ended("failed", reason=reason, position=task.start)
        else:
            before = worker.redirect_output(log)
            ending = _run_when_free(task, trainer, progress, warning)
            worker.warnings_since(log, before)
        if ending.how == "interrupted":
            warning.leave()
        if ending.how == "done":
            failed = failed if task.position is not None else 0  # trained: what continues from it may start
            continue
        store.write_failure(task.address, ending.position, ending.last_good, str(log), ending.reason)
        print(f"failed: {ending.reason}", file=sys.stderr)
        failed = FAILED if ending.last_good is None and not interrupted else FINAL
        if task.position is None:  # a measurement that failed holds nothing up
            break
    dismiss()
    end(failed)


def _run_when_free(task: Task, trainer: Trainer, progress: _Progress, warning: _Warning) -> Ended:
    """One job of the plan; while another process is at it, wait for that to end."""
    progress.begin(task.address)
    while True:
        ending = worker.run_under_lease(task, trainer, progress.take, warning.should_stop)
        warning.ended()
        progress.write()
        if ending.how != "busy":
            return ending
        if warning.asked:
            return replace(ending, how="interrupted")
        time.sleep(BUSY_SECONDS)


def _number() -> str:
    """This job's number, 12 or 12_3. (SLURM_JOB_ID alone names a whole array, in the job that SLURM started last.)"""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def _retried(folder: Path) -> int:
    """How often this job was started again because it had failed."""
    path = retries_path(folder, _number())
    return len(path.read_text().splitlines()) if path.exists() else 0


class _Warning:
    """That the job has to end soon, as SLURM says it, and what to do then."""

    def __init__(self) -> None:
        import submitit

        self.asked = False
        self.restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        self.longest = 0.0  # seconds between two looks: a step, a part of an evaluation, a save
        self._looked: float | None = None
        self._signal = signal.Signals[f"SIG{submitit.JobEnvironment.USR_SIG}"]
        self._submitit: Any = signal.getsignal(self._signal)  # saves the payload and queues the job again
        for which in (self._signal, signal.SIGTERM):
            signal.signal(which, self._hear)

    def _hear(self, *_: object) -> None:
        self.asked = True

    def started(self) -> None:
        """Training begins: what came before was no step."""
        self._looked = time.monotonic()

    def ended(self) -> None:
        """A job of the plan has ended, after a save as a rule."""
        self.should_stop()
        self._looked = None

    def should_stop(self) -> bool:
        now = time.monotonic()
        if self._looked is not None:
            self.longest = max(self.longest, now - self._looked)
        self._looked = now
        return self.asked

    def leave(self) -> NoReturn:
        """The state is stored: queue the job again, unless SLURM is ending it anyway (scancel, scontrol requeue)."""
        dismiss()
        command = ["squeue", "--noheader", "--format=%T", f"--jobs={_number()}"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode or asked.stdout.strip() == "RUNNING":
            self._submitit(self._signal, None)  # it does not come back
        end(FAILED)


class _Progress:
    """What the job reports to the store, for `do=plan` and for `launch.wait`."""

    def __init__(self, path: Path, parameters: int, warning: _Warning) -> None:
        self._path, self._warning, self._written = path, warning, 0.0
        self._document: dict[str, Any] = {
            "job": _number(),
            "host": os.environ.get("SLURMD_NODENAME", platform.node()),
            "parameters": parameters,
            "restarts": warning.restarts,
        }

    def begin(self, address: str) -> None:
        self._document.update(address=address, position=None, losses={}, lr=0.0, tokens_per_second=0.0)

    def take(self, event: Event) -> None:
        """An event of the worker."""
        if isinstance(event, Started):
            self._warning.started()
            self._written = 0.0  # told at once
            where = f"job {self._document['job']} on {self._document['host']}"
            print(f"{where}: from step {event.position}", flush=True)  # into the log of the segment
            self._document["position"] = event.position
        elif isinstance(event, Progress):
            self._document.update(position=event.position, lr=event.lr, tokens_per_second=event.tokens_per_second)
        elif isinstance(event, Measured):
            for row in event.rows:
                self._document["position"] = row.position
                self._document["losses"][row.corpus] = row.loss
        if time.monotonic() - self._written > PROGRESS_SECONDS:
            self.write()

    def write(self) -> None:
        self._written = time.monotonic()
        document = {**self._document, "longest": self._warning.longest, "time": time.time()}
        write_file(self._path, dump(document), self._path.parent)
