"""`map` over processes, lazily and in order; they end with this one, however it ends.

The bytes of a corpus do not depend on how many there are.

    with workers(2) as ordered_map: ...
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.context import SpawnContext
from typing import Any

from harness.texts.embedded import OrderedMap


class Shared:
    """What the processes of a pool have in common: cores for each, bytes read by all, and whether they are to stop."""

    def __init__(self, context: SpawnContext, cores: int) -> None:
        self.cores, self.bytes, self.stop = cores, context.Value("q", 0), context.Event()


_shared: Shared | None = None  # in a process of a pool


def report(size: int) -> None:
    """Add to the count of bytes, in a process of a pool."""
    if _shared is not None:
        with _shared.bytes.get_lock():
            _shared.bytes.value += size


def own_cores() -> int:
    """How many cores are for this process of a pool; 1 where it is in none."""
    return _shared.cores if _shared is not None else 1


def stopped() -> bool:
    """Is this process of a pool to stop?"""
    return _shared is not None and _shared.stop.is_set()


@contextlib.contextmanager
def workers(processes: int) -> Iterator[OrderedMap]:
    """`map` over that many processes, lazily and in order. They end with this one, however it ends."""
    if processes <= 1:
        yield map
        return
    with pool(processes) as (executor, _):

        def ordered_map(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
            running: deque[Future[Any]] = deque()
            for task in tasks:
                running.append(executor.submit(function, task))
                if len(running) > 2 * processes:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()

        yield ordered_map


@contextlib.contextmanager
def helpers() -> Iterator[Executor]:
    """What works beside this process on the cores that are its own: a thread, or a process for each of several. (What
    is Python's own in tokenising holds the other threads of a process up.)"""
    if own_cores() == 1:
        with ThreadPoolExecutor(1) as thread:
            yield thread
    else:
        with pool(own_cores()) as (executor, _):
            yield executor


@contextlib.contextmanager
def pool(processes: int, cores: int = 1) -> Iterator[tuple[ProcessPoolExecutor, Shared]]:
    """Processes that take work from one list, each with `cores` for it and its helpers; told to stop at the end."""
    context = get_context("spawn")  # a fork would copy the locks of running threads
    shared = Shared(context, cores)
    executor = ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker, initargs=(shared,))
    try:
        # Ctrl-C is the parent's to handle: workers inherit the blocked signal before their first line of Python.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(processes):  # each starts a worker, as none is idle yet
                executor.submit(int)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        yield executor, shared
    except BrokenProcessPool:
        raise RuntimeError("a process of the ingest was ended from outside (out of memory?)") from None
    finally:
        shared.stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def _start_worker(shared: Shared) -> None:
    global _shared
    _shared = shared
    with open(os.devnull, "wb") as nothing:  # what fails is told by the parent; the tokenizers' panics print traces
        os.dup2(nothing.fileno(), 2)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
