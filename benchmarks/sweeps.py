"""Whole sweeps by their wall-clock: against the bound of their plan, and against runs that share nothing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from statistics import mean

from benchmarks import workload
from benchmarks.sides import Side
from benchmarks.table import Row
from benchmarks.workload import Bench, command, fresh_store, planned, print_line
from harness.core.cores import cores
from harness.core.shipped import SWEEPS
from harness.plan.jobs import Jobs
from harness.plan.plan import Plan, Segment
from harness.store.store import Store
from harness.train.events import Ready
from harness.workers import pool, worker

# 1 % of 150 steps is not nothing, so the demo's warm-ups are still four different ones.
QUICK_DEMO = ("scale.tokens=76800", "scale.horizon=76800", "base.tokens=76800")
LENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)  # evenly spaced: the closer together, the more a trunk would save
POINTS_RUN = 4  # of the demo, one by one; --all: all of them


def demo(bench: Bench) -> list[Row]:
    """The demo against the critical path of its plan at the bare loop's speed, and against its points run alone."""
    more = QUICK_DEMO if bench.quick else ()
    arguments = ("-cd", str(SWEEPS), "-cn", "demo", *more)
    with fresh_store(bench.scratch) as root:
        plan = planned(arguments, Store(root))
    workers = min(cores(), Jobs(plan).width)
    ours, bounds, loose = [], [], []
    for repetition in range(bench.sweep_pairs):
        bound, loose_bound = _bounds(bench, plan, workers)
        bounds.append(bound)
        loose.append(loose_bound)
        with fresh_store(bench.scratch) as root:
            ours.append(command(*arguments, f"root={root}", f"launch.workers={workers}"))
        print_line(
            f"demo, repetition {repetition + 1} of {bench.sweep_pairs}: {ours[-1]:.1f} s, bound {bounds[-1]:.1f} s"
        )
    note = (
        f"{len(plan.points)} runs, {plan.tokens_planned:,} tokens, {workers} workers, whole command; bound = start of "
        "the workers + the most, over all segments, of the path to its end + what depends on it / workers, trained and "
        f"measured at the speed of {workers} bare loops side by side; corpora were there"
    )
    loosely = "the same against start + max(longest path, total / workers), as if nothing had to wait for the base"
    rows = [
        Row("demo: wall-clock / bound", "s", tuple(ours), tuple(bounds), 1.1, at_most=True, note=note),
        Row("demo: wall-clock / loose bound", "s", tuple(ours), tuple(loose), 1.1, at_most=True, note=loosely),
    ]
    seconds, note = _separate(bench, plan, more)
    rows.append(
        Row("demo: separate runs / demo", "s", tuple(ours), (seconds,) * len(ours), 3.0, inverse=True, note=note)
    )
    return rows


def infinite(bench: Bench) -> list[Row]:
    """Five lengths of one infinite schedule: a trunk and five anneals, against five runs that share their base only."""
    scale = ("scale.tokens=102400", "scale.horizon=102400") if bench.quick else ()
    knobs = (*scale, "schedule=infinite_cosine", "base.tokens=153600")
    every = f"tokens={','.join(f'{length:g}x' for length in LENGTHS)}"
    alone, together = [], []
    with fresh_store(bench.scratch) as base:
        # The shortest run makes the base; what else it trained is not on offer to the others.
        with fresh_store(bench.scratch) as root:
            command(*knobs, "tokens=0.2x", f"root={root}")
            _only_base(planned((*knobs, "tokens=0.2x"), Store(root)), Store(root))
            for name in ("states", "store.json"):
                (root / name).rename(base / name)
        plan = planned(("-m", *knobs, every), Store(base))
        separate = sum(planned((*knobs, f"tokens={length:g}x"), Store(base)).tokens_planned for length in LENGTHS)
        shared = (f"parent_stores=[{base}]", "launch.workers=1")
        for repetition in range(bench.sweep_pairs):
            with fresh_store(bench.scratch) as root:
                together.append(command("-m", *knobs, every, f"root={root}", *shared))
            seconds = 0.0
            for length in LENGTHS:
                with fresh_store(bench.scratch) as root:
                    seconds += command(*knobs, f"tokens={length:g}x", f"root={root}", *shared)
            alone.append(seconds)
            which = f"repetition {repetition + 1} of {bench.sweep_pairs}"
            print_line(f"infinite, {which}: {together[-1]:.1f} s, alone {seconds:.1f} s")
    each = ", ".join(f"{length:g}" for length in LENGTHS)
    lengths = f"{each} x {plan.points[0].run.config['scale']['tokens']:,} tokens, anneals of 15 %; base in neither"
    note = f"{lengths}; one worker on both sides, so that only sharing counts; each separate run starts its own process"
    return [
        Row(
            "infinite: tokens separate / one plan",
            "tokens",
            (plan.tokens_planned,),
            (separate,),
            2.0,
            inverse=True,
            note=f"{lengths}; exact, from the plans",
        ),
        Row(
            "infinite: wall-clock separate / one plan", "s", tuple(together), tuple(alone), 2.0, inverse=True, note=note
        ),
    ]


def _bounds(bench: Bench, plan: Plan, workers: int) -> tuple[float, float]:
    """Seconds that no schedule of the plan's segments can beat with bare loops on that many workers: with what has to
    wait for what, and (looser) without."""
    start = _start_seconds(bench, workers)
    train, measure = _bare_rates(bench, workers)
    path: dict[str, float] = {}
    total = 0.0
    for segment in plan.segments:  # parents first
        cost = _cost(segment, train, measure)
        total += cost
        path[segment.address] = cost + (path[segment.parent.address] if segment.parent else 0.0)
    below = dict.fromkeys(path, 0.0)  # of all that depends on a segment
    for segment in reversed(plan.segments):
        if segment.parent:
            below[segment.parent.address] += below[segment.address] + _cost(segment, train, measure)
    bound = max(path[address] + below[address] / workers for address in path)
    print_line(
        f"bare loops side by side: {train:,.0f} tokens/s trained, {measure:,.0f} measured; start {start:.1f} s; "
        f"longest path {max(path.values()):.1f} s, total {total:.1f} s"
    )
    loose = max(*path.values(), total / workers)
    return start + max(bound, loose), start + loose


def _cost(segment: Segment, train: float, measure: float) -> float:
    windows = [segment.measures[name] for position, name in segment.rows if position > segment.start or not position]
    return segment.tokens / train + sum(one.windows * one.seq_len for one in windows) / measure


def _bare_rates(bench: Bench, workers: int) -> tuple[float, float]:
    """Tokens per second and process, trained and measured, of bare loops on all workers at once."""
    from benchmarks import bare

    work = workload.training(bench, "mini")
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(Side(tuned=True)) for _ in range(workers)]
        for side in sides:
            side.ask(bare.lay_out, work, bench.scratch)
        for side in sides:
            side.ask(bare.run, workload.workload("mini", 16384, warmup=0.1), bench.scratch)
        rounds = []
        for _ in range(1 if bench.quick else 3):
            pending = [side.start(bare.run, work, bench.scratch) for side in sides]
            rounds += [one.result() for one in pending]
    train = mean(work.tokens / (one.seconds - one.measuring) for one in rounds)
    return train, mean(one.tokens_measured / one.measuring for one in rounds)


def _start_seconds(bench: Bench, workers: int) -> float:
    """From the start of fresh worker processes, side by side, until the last of them is ready."""
    with fresh_store(bench.scratch) as root:
        setup = worker.Setup(root, (), save_every=60.0, micro_batch=None, keep="all")
        began = time.perf_counter()
        started = [pool.start(index, setup, (None,)) for index in range(workers)]
        try:
            for one in started:
                while not isinstance(one.connection.recv(), Ready):
                    pass
            return time.perf_counter() - began
        finally:
            pool.close_all(started, 5.0)


def _separate(bench: Bench, plan: Plan, more: Sequence[str]) -> tuple[float, str]:
    """Seconds of the plan's points run one by one in stores of their own, and how that was found."""
    points, count = plan.points, len(plan.points)
    chosen = points if bench.all_points else [points[i * count // POINTS_RUN] for i in range(min(POINTS_RUN, count))]
    seconds = 0.0
    for point in chosen:
        with fresh_store(bench.scratch) as root:
            seconds += command(*point.labels[0].split(), *more, f"root={root}")
        print_line(f"separate, {point.labels[0]}: {seconds:.1f} s so far")
    tokens = sum(point.program.tokens(point.program.steps) for point in chosen)
    how = (
        "all of them run"
        if bench.all_points
        else (
            f"{len(chosen)} of {count} run ({'; '.join(p.labels[0] for p in chosen)}), their {seconds:.0f} s for "
            f"{tokens:,} tokens scaled to {plan.tokens_if_separate:,}"
        )
    )
    note = f"the same points one after another, fresh processes that share the built corpora and nothing else; {how}"
    return seconds * plan.tokens_if_separate / tokens, note


def _only_base(plan: Plan, store: Store) -> None:
    """Remove what is not a state of the base."""
    (point,) = plan.points
    base = {segment.address for segment in point.path if segment.stop <= (point.base_position or 0)}
    missing = base - store.addresses()
    if missing:
        raise RuntimeError(f"the base was not stored ({os.linesep.join(missing)})")
    for address in store.addresses() - base:
        store.remove(address)
