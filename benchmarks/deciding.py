"""How long a decision from 1,000 runs takes, against a table of them: `analysis decide` and `analysis runs`."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.table import Row
from benchmarks.tables import Grid, write_store
from benchmarks.workload import Bench, fresh_store, print_line
from harness.plan.plan import PlannedRun

GRID: Grid = {
    "base.seed": [0],
    "seed": list(range(10)),
    "peak": [round(0.25 * 1.5**k, 3) for k in range(10)],
    "replay": [0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5],
}  # 100 arms of ten orders, one base
MORE = 3.0  # seconds


def deciding(bench: Bench) -> list[Row]:
    """A decision from 1,000 runs, read, fitted and printed, against the table of the same runs."""
    count, repeats = (200 if bench.quick else 1_000), (1 if bench.quick else bench.pairs)
    times: dict[str, list[float]] = {"decide": [], "runs": []}
    with fresh_store(bench.scratch) as root:
        write_store(root, count, GRID, loss)
        for _ in range(repeats):
            times["runs"].append(_seconds("runs", root))
            times["decide"].append(_seconds("decide", root, "--tolerance", "20%"))
            print_line(f"deciding: {times['decide'][-1]:.2f} s, the table of runs {times['runs'][-1]:.2f} s")
    more = tuple(one - other for one, other in zip(times["decide"], times["runs"], strict=True))
    name = f"deciding: {count:,} runs"
    return [
        Row(f"{name}, more than their table takes", "s", more, target=MORE, at_most=True),
        Row(name, "s", tuple(times["decide"]), tuple(times["runs"]), inverse=True, note="ratio: the table of runs"),
    ]


def loss(point: PlannedRun, position: int, corpus: str) -> float:
    """Of a run that forgets by its peak and less by its replay; orders differ by some hundredths of a nat."""
    if position <= (point.base_position or 0):
        return 3.6 if corpus == "docs" else 5.7
    peak, replay, seed = (float(point.run.config[name]) for name in ("peak", "replay", "seed"))
    luck = 0.02 * math.sin(97 * seed + 31 * peak + 53 * replay)
    if corpus == "docs":
        return 3.6 + (1 + 0.3 * math.log(peak)) / (2 * math.pow(replay + 0.02, 0.2)) + luck
    return 3.3 + 0.06 * math.log(peak) ** 2 + 0.4 * replay + luck


def _seconds(*command: str | Path) -> float:
    name, root, *more = map(str, command)
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "analysis", name, "--root", root, *more, "--json"], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began
