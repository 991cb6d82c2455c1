"""How long it takes to read a large store into a table (`tables.load`), files in the cache of the system, and how much
memory: against pyarrow, which reads the same tables of measurements and nothing else."""

from __future__ import annotations

import copy
import gc
import hashlib
import itertools
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import csv

from analysis.results.tables import load
from benchmarks.table import Row
from benchmarks.workload import Bench, fresh_store, print_line
from harness.compose.compose import collect
from harness.compose.expand import assign
from harness.config.run import read_run
from harness.core.files import dump, seal
from harness.core.identity import canonical
from harness.plan.plan import PlannedRun, compile_points, plan
from harness.plan.run_file import run_document
from harness.store.history import Row as Measurement
from harness.store.history import rows_to_csv
from harness.store.store import EVALUATIONS, FORMAT

Grid = dict[str, list[Any]]
Loss = Callable[[PlannedRun, int, str], float]
GRID: Grid = {
    "replay": [round(0.01 * k, 2) for k in range(20)],
    "seed": list(range(5)),
    "lr": [float(f"{1e-4 * 1.04**k:.4g}") for k in range(100)],
}  # 10,000 runs over five bases
EVERY = ("evaluate.every=6950", "evaluate.early=[0.01x,0.05x]")  # 100 positions from the root to the end


def tables(bench: Bench) -> list[Row]:
    """A store of 10,000 runs with 200 measurements each, read into one table."""
    count, repeats = (100 if bench.quick else 10_000), (1 if bench.quick else min(bench.pairs, 3))
    wall, busy, theirs = [], [], dict[Callable[[list[Path]], pyarrow.Table], list[float]]()
    with fresh_store(bench.scratch) as root:
        began = time.perf_counter()
        rows = write_store(root, count)
        print_line(f"tables: a store of {count:,} runs written in {time.perf_counter() - began:.0f} s")
        for _ in range(repeats):
            gc.collect()
            began, cpu = time.perf_counter(), time.process_time()
            table = load(root)
            wall.append(time.perf_counter() - began)
            busy.append(time.process_time() - cpu)
            assert len(table) == rows
            assert set(table.status) == {"done"}
            print_line(f"tables: {rows:,} rows in {wall[-1]:.2f} s, {busy[-1]:.2f} s of CPU")
            del table
            files = sorted(root.glob(f"states/*/{EVALUATIONS}"))
            for read in (one_by_one, joined):
                cpu = time.process_time()
                read(files)
                theirs.setdefault(read, []).append(time.process_time() - cpu)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peak = pool.apply(_peak, (root,)) / rows
    name = f"tables: {count:,} runs, {rows:,} rows"
    return [
        Row(f"{name}, read", "s", tuple(wall), target=5.0, at_most=True, note="every checksum verified"),
        *(
            Row(f"{name}, CPU against pyarrow, {how}", "s", tuple(busy), tuple(theirs[read]), 4.0, at_most=True)
            for how, read in (("each file read", one_by_one), ("their bytes joined, then read", joined))
        ),
        Row(f"{name}, peak memory", "bytes a row", (peak,), target=400.0, at_most=True, note="of a process of its own"),
    ]


def one_by_one(files: list[Path]) -> pyarrow.Table:
    """The tables of measurements as pyarrow reads them."""
    return pyarrow.concat_tables([csv.read_csv(file) for file in files])


def joined(files: list[Path]) -> pyarrow.Table:
    """The same, faster than pyarrow does it by itself."""
    first, *others = (file.read_bytes() for file in files)
    lines = [first, *(other[other.index(b"\n") + 1 :] for other in others)]
    return csv.read_csv(pyarrow.BufferReader(b"".join(lines)), csv.ReadOptions(use_threads=False))


def _peak(root: Path) -> int:
    """By how many bytes reading the store raises the most memory that this process ever had."""
    before = _most_memory()
    table = load(root)
    assert len(table)
    return _most_memory() - before


def _most_memory() -> int:
    """In bytes. Not `ru_maxrss`, which a process has from the one that started it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def wave(_: PlannedRun, position: int, __: str) -> float:
    """A loss that no run is told by."""
    return 3 + math.sin(position) / 7


def write_store(root: Path, count: int, grid: Grid = GRID, loss: Loss = wave) -> int:
    """Write `count` finished runs, their final states and their bases, as training leaves them. Number of rows.

    Nothing is flushed to the disk, tensors are one byte, and the ends of warm-ups, which no table needs, are left out.
    """
    planned = plan(compile_points((str(number), read_run(one)) for number, one in enumerate(_configs(count, grid))))
    assert len(planned.points) == count
    (root / "store.json").write_bytes(dump({"format": FORMAT}))
    (root / "runs").mkdir()
    (root / "states").mkdir()
    rows = 0
    for point in planned.points:
        document = run_document(point)
        folder = root / "runs" / f"{document['name']}-{document['key'][:12]}"
        folder.mkdir()
        (folder / "run.json").write_bytes(dump(document))
        for stop in (point.base_position, point.program.steps):
            assert stop is not None
            _write_state(root / "states", point, stop, loss)
        rows += len(point.request.rows)
    return rows


def _configs(count: int, grid: Grid) -> Iterator[dict[str, Any]]:
    (point,) = collect(list(EVERY))
    for values in itertools.islice(itertools.product(*grid.values()), count):
        one = copy.deepcopy(point.config)
        for knob, value in zip(grid, values, strict=True):
            assign(one, knob, value)
        yield one


def _write_state(states: Path, point: PlannedRun, position: int, loss: Loss) -> None:
    program = point.program
    folder = states / program.address(position)
    if folder.exists():  # a base that another run wrote
        return
    text = rows_to_csv(
        Measurement(
            at,
            program.tokens(at),
            measure.corpus,
            measure.windows,
            hash_,
            8192 * loss(point, at, measure.corpus),
            8192,
            24_601,
        )
        for at, hash_ in point.request.rows
        if at <= position
        for measure in [point.request.measures[hash_]]
    ).encode()
    files = {EVALUATIONS: text, "weights.safetensors": b"w", "optimizer.safetensors": b"o"}
    meta = {
        "address": folder.name,
        "position": position,
        "tokens": program.tokens(position),
        "program": canonical(program.prefix(position)),
        "drawn": {key: {"sequences": n, "epochs": 0.5} for key, n in program.drawn(position).items()},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "state.json").write_bytes(seal(meta))
