"""The processes that are compared: fresh, with one thread, kept alive, and asked in turns.

A `Side` runs functions of modules that are slow to import; only one side works at a time unless `side_by_side` says so.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast

from benchmarks.workload import print_line

P = ParamSpec("P")
T = TypeVar("T")


class Side:
    """A process of its own. `tuned`: with the allocator settings of the harness's workers (model.tune_process)."""

    def __init__(self, *, tuned: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, tuned), daemon=True)
        self.process.start()
        other.close()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None) -> None:
        self.process.kill()
        self.process.join()

    def start(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> Pending[T]:
        """Begin a call; `.result()` waits for it."""
        self.connection.send((function, arguments, options))
        return Pending(self.connection)

    def ask(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call a module's function over there."""
        return self.start(function, *arguments, **options).result()


class Pending(Generic[T]):
    """A call under way in a side."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def result(self) -> T:
        """What it returned. RuntimeError with the other process's traceback if it raised."""
        result, error = self.connection.recv()
        if error:
            raise RuntimeError(error)
        return cast(T, result)


def interleaved(name: str, pairs: int, calls: Mapping[str, Callable[[], float]]) -> dict[str, tuple[float, ...]]:
    """Each call once per pair, right after the other; every second pair in reverse, so that a drift favours nobody."""
    measured: dict[str, list[float]] = {key: [] for key in calls}
    for pair in range(pairs):
        order: Sequence[str] = list(calls)[:: -1 if pair % 2 else 1]
        for key in order:
            measured[key].append(calls[key]())
        print_line(
            f"{name}, pair {pair + 1} of {pairs}: " + ", ".join(f"{key} {measured[key][-1]:.4g}" for key in calls)
        )
    return {key: tuple(values) for key, values in measured.items()}


def _serve(connection: Connection, tuned: bool) -> None:
    """The life of a side: one thread from the start (its environment says so, too), then calls until killed."""
    import torch

    from harness.model.build import tune_process

    os.dup2(2, 1)  # stdout is the table's
    torch.set_num_threads(1)
    if tuned:
        tune_process()
    while True:
        function, arguments, options = connection.recv()
        answer: tuple[Any, str] = (None, "")
        try:
            answer = (function(*arguments, **options), "")
        except Exception:
            answer = (None, traceback.format_exc())
        connection.send(answer)
