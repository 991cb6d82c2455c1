"""How long planning takes: in this process for compiled runs, and as a command."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

from benchmarks.table import Row
from benchmarks.workload import Bench, command, fresh_store, print_line
from harness.compose.compose import collect
from harness.compose.expand import assign
from harness.config.run import read_run
from harness.core.identity import digest
from harness.corpora.tokenizer import train as trained
from harness.plan.over_store import plan_over
from harness.plan.plan import compile_points
from harness.store.store import Store
from harness.texts.listed import ListedFile
from harness.texts.listings import keep

GRID = {
    "lr": [f"{1e-4 * 1.2**k:.4g}" for k in range(20)],
    "warmup": ["0", "0.005", "0.01", "0.02", "0.05"],
    "replay": ["0", "0.05", "0.25"],
}  # 300 points


def plan(bench: Bench) -> list[Row]:
    """10,000 runs; 300 points of a sweep file and of -m; a single one from a cold start; 60,000 listed files."""
    count, pairs = (200 if bench.quick else 10_000), (1 if bench.quick else min(bench.pairs, 3))
    compiling, planning = zip(*(_many(bench, count) for _ in range(pairs)), strict=True)
    rows = [
        Row(
            f"plan: {count:,} compiled runs planned",
            "s",
            planning,
            target=10.0,
            at_most=True,
            note="one base, distinct peak learning rates, an empty store",
        ),
        Row(f"plan: {count:,} configs checked and compiled", "s", compiling, note="before the row above"),
    ]
    grid = {**GRID, "lr": GRID["lr"][:1]} if bench.quick else GRID
    points = len(grid["lr"]) * len(grid["warmup"]) * len(grid["replay"])
    products = [f"{knob}={','.join(values)}" for knob, values in grid.items()]
    with fresh_store(bench.scratch) as root:
        lists = ", ".join(f"{knob}: [{', '.join(values)}]" for knob, values in grid.items())
        (root / "points.yaml").write_text(f"defaults: [config, _self_]\ngrids:\n  - {{{lists}}}\n")
        file = ("-cd", str(root), "-cn", "points", "do=plan", f"root={root}")
        calls: dict[str, tuple[tuple[str, ...], float | None]] = {
            f"{points} points of a sweep file, do=plan": (file, 5.0),
            f"{points} points through -m, do=plan": (("-m", *products, "do=plan", f"root={root}"), 90.0),
            "one run, do=plan, a fresh process": (("do=plan", f"root={root}"), None),
        }
        for name, (arguments, target) in calls.items():
            seconds = _timed(pairs, lambda arguments=arguments: command(*arguments))  # type: ignore[misc]
            rows.append(Row(f"plan: {name}", "s", seconds, target=target, at_most=True, note="whole command"))
            print_line(f"plan: {name}: {min(seconds):.2f} s")
    return [*rows, *listed(bench)]


def listed(bench: Bench) -> list[Row]:
    """A plan over SlimPajama as its hub lists it, 60,000 files, and 300 B tokens a phase; nothing is downloaded."""
    count = 600 if bench.quick else 60_000
    with fresh_store(bench.scratch) as root:
        for name in ("pile", "slimpajama"):
            entry = collect([f"shift={name}_to_{name}"])[0].config["corpus"][name]
            for key in ("files", "validation"):
                keep([entry[key]], _files(count if name == "slimpajama" and key == "files" else 30), root)
        vocabulary = root / "tokenizer.json"
        trained(iter(["a text, and more of it"] * 100), 300).save(str(vocabulary))
        arguments = ("scale=paper", "do=plan", f"root={root}", f"tokenizer={vocabulary}")
        seconds = _timed(1 if bench.quick else min(bench.pairs, 3), lambda: command(*arguments))
    print_line(f"plan: {count:,} listed files, 300 B tokens: {min(seconds):.2f} s")
    what = f"plan: {count:,} listed files, 300 B tokens, do=plan"
    return [Row(what, "s", seconds, target=10.0, at_most=True, note="whole command, from the kept listing")]


def _files(count: int) -> list[ListedFile]:
    return [
        ListedFile(f"chunk{n % 10}/example_{n}.jsonl.zst", 15_000_000 + n, f"sha256 {digest(n) * 2}", f"hf://x@y/{n}")
        for n in range(count)
    ]


def _many(bench: Bench, count: int) -> tuple[float, float]:
    """Seconds to check and compile so many runs, and to plan them."""
    (point,) = collect([])
    configs = [copy.deepcopy(point.config) for _ in range(count)]
    for number, one in enumerate(configs):
        assign(one, "lr", 1e-4 + 1e-7 * number)
    began = time.perf_counter()
    points = compile_points((str(number), read_run(one)) for number, one in enumerate(configs))
    compiled = time.perf_counter() - began
    assert len(points) == count
    with fresh_store(bench.scratch) as root:
        began = time.perf_counter()
        planned = plan_over(points, Store(root))
        seconds = time.perf_counter() - began
    assert len(planned.points) == count
    print_line(f"plan: {count:,} runs compiled in {compiled:.1f} s, planned in {seconds:.1f} s")
    return compiled, seconds


def _timed(repeats: int, call: Callable[[], float]) -> tuple[float, ...]:
    return tuple(call() for _ in range(repeats))
