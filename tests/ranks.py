"""Processes that can meet as ranks, for tests: forked off a server that has torch imported, one thread each."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.corpora.batches import Batches
from harness.measure import losses
from harness.workers.pool import environments
from harness.workers.ranks import run_on_rank_0
from tests.launched import launched


def together(count: int, body: Callable[..., int], *arguments: Any, **how: Any) -> list[int | None]:
    """Call `body` in `count` processes whose environment names them as ranks. The statuses it gives, by rank."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.train.loop", "harness.model.distributed", "tests.launched"])
    processes = []
    for environment in environments((None,) * count):
        process = context.Process(target=_rank, args=(environment, body, arguments, how))
        process.start()
        processes.append(process)
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def _rank(environment: dict[str, str], body: Callable[..., int], arguments: Sequence[Any], how: dict[str, Any]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.exit(body(*arguments, **how))


def launched_by_all(
    texts: Path,
    root: Path,
    runs: Sequence[str],
    windows: Path | None = None,
    stop: tuple[int, int] | None = None,
    **how: Any,
) -> int:
    """What torchrun starts on each rank: a launch on rank 0, which the others follow. 130 interrupted, 1 failures.

    `windows`: a folder for what each step reads. `stop`: (rank, n) = SIGTERM to that rank at its n-th step.
    """
    losses.CHUNK_TOKENS = 16  # a chunk per window, so that there is something to share
    rank = int(os.environ.get("RANK", 0))
    _watch_batches(windows, stop[1] if stop and stop[0] == rank else None)

    def lead() -> int:
        outcome = launched(texts, root, runs, **how)
        return 130 if outcome.interrupted else min(1, len(outcome.failures))

    return run_on_rank_0(lead)


def _watch_batches(windows: Path | None, stop_at: int | None) -> None:
    original, steps = Batches.at, [0]

    def at(self: Batches, position: int) -> Any:
        steps[0] += 1
        if steps[0] == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if windows is not None:
            phase = self.program.phases[self.program.phase_at(position)[0]]
            own = self.ranks.slice(phase.batch)
            sources, epochs, drawn = (draws[own].tolist() for draws in self.draws(position))
            line = [position, [*zip(sources, epochs, drawn, strict=True)]]
            with (windows / f"{os.getpid()}").open("a") as stream:
                stream.write(json.dumps(line) + "\n")
        return original(self, position)

    pytest.MonkeyPatch().setattr(Batches, "at", at)  # for good: the process is this rank's
