"""The ranks beside rank 0: they meet it, take part in every job that it carries out, and end when it says so.

Whoever starts k processes with the environment of torchrun (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) has
one worker of k ranks: rank 0 calls `prepare` and `run_under_lease` of `harness.workers.worker`, and `dismiss`; the
others `follow`. `harness.workers.pool` does so for launch=local, submitit for SLURM, and torchrun around a whole
command:

    torchrun --nproc-per-node 2 -m harness launch=inline ...        # on several nodes: --nnodes and --rdzv-endpoint
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from harness.core.errors import InputError
from harness.plan.task import Task
from harness.workers.worker import Setup, make_trainer, run_job, run_process


def world_size() -> int:
    """How many ranks the environment says were started, this process being one."""
    return int(os.environ.get("WORLD_SIZE", 1))


def require_ranks() -> None:
    """InputError if the environment names several ranks but not how they meet: something else has set WORLD_SIZE."""
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        if world_size() > 1 and name not in os.environ:
            raise InputError("WORLD_SIZE", world_size(), f"{name} is not set", "unset it, or start this by torchrun")


def follow(should_stop: Callable[[], bool]) -> None:
    """The life of every rank but 0. `should_stop`: heard on one rank, all stop at the same step.

    An error that only this rank has ends it, and whoever started the ranks then has to end the others.
    """
    from harness.model.distributed import join
    from harness.train.loop import Interrupted, NonFiniteError

    ranks = join()
    if (setup := ranks.first(_told_by_rank_0)) is not None:  # None: there was nothing to train
        assert isinstance(setup, Setup)
        trainer = make_trainer(setup)
        while (task := ranks.first(_told_by_rank_0)) is not None:
            assert isinstance(task, Task)
            with contextlib.suppress(Interrupted, NonFiniteError):  # on every rank; 0 tells of it
                run_job(task, trainer, lambda _: None, should_stop)


def _told_by_rank_0() -> object:
    raise AssertionError("rank 0 leads")


def dismiss() -> None:
    """Rank 0 has nothing more to carry out: the others may end. Where there are none, nothing."""
    if world_size() > 1:
        from harness.model.distributed import join

        if not join().parted:
            join().first(lambda: None)


def run_on_rank_0(command: Callable[[], int]) -> int:
    """The status of a command. If it was started once per rank, 0 runs it, the others train along, and all end here."""
    if world_size() == 1:
        return command()
    status = 0
    if os.environ["RANK"] == "0":
        from harness.model.distributed import join

        join()  # before the command, which may build corpora for hours: the others do not wait so long to meet it
        status = command()
        dismiss()
    else:
        asked: list[int] = []
        for which in (signal.SIGINT, signal.SIGTERM):
            signal.signal(which, lambda number, _: asked.append(number))
        follow(lambda: bool(asked))
    return end(status)


def end(status: int) -> NoReturn:
    """End a process that has met other ranks. At once: threads of Gloo abort one in ten that tidies up first."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> NoReturn:
    """The whole life of a rank that `harness.workers.pool` starts."""
    run_process(lambda: follow(lambda: False))
