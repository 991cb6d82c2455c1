"""One program on one rank and on two, a core each, as `launch.ranks=2` starts them (Gloo)."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import workload
from benchmarks.sides import interleaved
from benchmarks.table import Row
from benchmarks.workload import Bench, Workload, fresh_store
from harness.train.events import Ended, Event, Ready
from harness.workers import pool, worker

MODELS = ("mini_1m", "mini_3m")
BATCHES = (4, 32)  # sequences: what a rank computes between two exchanges of gradients
TOKENS = {4: 20_480, 32: 40_960}
SHARDINGS = {"DDP": "none", "FSDP2": "fsdp"}


def ranks(bench: Bench) -> list[Row]:
    """Two ranks against one: tokens per second of one program."""
    rows = []
    for model, batch in itertools.product(MODELS, BATCHES):
        more = (f"batch.sequences={batch}", "evaluate.early=[]")
        work = workload.workload(model, TOKENS[batch], measured=False, warmup=0.1, more=more)
        with contextlib.ExitStack() as stack:
            rate = {"one rank": stack.enter_context(_worker(bench, work, 1, "none"))}
            for name, sharding in SHARDINGS.items():
                rate[name] = stack.enter_context(_worker(bench, work, 2, sharding))
            for one in rate.values():
                one()  # warm
            rates = interleaved(f"ranks {model}, batch {batch}", bench.pairs, rate)
        note = f"sequences of {work.seq_len} tokens; saves included, start of the processes not"
        for name in SHARDINGS:
            what = f"ranks {model}, batch {batch}: two ({name}) / one"
            rows.append(Row(what, "tokens/s", rates[name], rates["one rank"], note=note))
    return rows


@contextlib.contextmanager
def _worker(bench: Bench, work: Workload, count: int, sharding: str) -> Iterator[Callable[[], float]]:
    """A worker of so many ranks, as a function that trains the workload anew and gives its tokens per second."""
    with fresh_store(bench.scratch) as root:
        setup = worker.Setup(root, (), save_every=60.0, micro_batch=None, keep="all", sharding=sharding)
        one = pool.start(0, setup, (None,) * count)
        try:
            _until(one, Ready)
            yield partial(_rate, one, work, root)
        finally:
            pool.close_all([one], 5.0)


def _rate(one: pool.Worker, work: Workload, root: Path) -> float:
    for state in (root / "states").glob("*"):  # else there would be nothing to train
        shutil.rmtree(state)
    began = time.perf_counter()
    for task in work.tasks:
        one.connection.send(task)
        _until(one, Ended)
    return work.tokens / (time.perf_counter() - began)


def _until(one: pool.Worker, kind: type[Event]) -> None:
    while not isinstance(event := one.connection.recv(), kind):
        pass
    if isinstance(event, Ended) and event.how != "done":
        raise RuntimeError(event.reason)
