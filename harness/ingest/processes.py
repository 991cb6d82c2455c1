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
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Any

from harness.texts.embedded import OrderedMap


@contextlib.contextmanager
def workers(processes: int) -> Iterator[OrderedMap]:
    """`map` over that many processes, lazily and in order. They end with this one, however it ends."""
    if processes <= 1:
        yield map
        return
    context = get_context("spawn")  # a fork would copy the locks of running threads
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker)

    def ordered_map(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        running: deque[Future[Any]] = deque()
        for task in tasks:
            running.append(pool.submit(function, task))
            if len(running) > 2 * processes:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()

    try:
        # Ctrl-C is the parent's to handle: workers inherit the blocked signal before their first line of Python.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(processes):  # each starts a worker, as none is idle yet
                pool.submit(int)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        yield ordered_map
    except BrokenProcessPool:
        raise RuntimeError("a process of the ingest was ended from outside (out of memory?)") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
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
