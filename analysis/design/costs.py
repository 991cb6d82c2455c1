"""What a run costs beside the tokens it trains and measures: to start it, to load its state, to enter each phase.

Beneath `analysis.design.next_runs`. Without it the best runs are ever more and ever shorter ones. It is measured in a
store, given, or assumed, and says which.

    cost = run_cost(None, Store(Path("runs")), models(), Path("sweeps/dcpt.yaml"))
    cost.flops(100_096), cost.source
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.compose.compose import sweep_points
from harness.core import units
from harness.core.errors import CorruptError, InputError
from harness.plan.cost import BYTES_PER_PARAMETER, MEASURED
from harness.plan.run_file import loader
from harness.program.shape import ModelShape, non_embedding, parameters
from harness.store.state import checked
from harness.store.store import Store

TIMING = "timing.jsonl"
MOST_RUNS = 100  # of a size whose times are read
# A process imports torch in 4 to 5 s (2 cores, AMD EPYC); a state comes from a disk or over a network.
START_SECONDS, BYTES_PER_SECOND = 5.0, 2e8


@dataclass(frozen=True)
class RunCost:
    """Of a run beside its tokens."""

    seconds: Mapping[int, float]
    """N -> what it takes; empty if it is given in FLOPs."""
    rate: Mapping[int, float]
    """N -> model FLOP/s while it trains."""
    given: float
    """FLOPs that were given; else 0."""
    source: str
    """Where the numbers are from, in a line."""

    def flops(self, N: int) -> float:
        """Of a model of N parameters outside the embeddings: its seconds as FLOPs that it could have trained in them,
        both of the nearest size that they are known of."""
        return self.given + _nearest(self.seconds, N) * _nearest(self.rate, N)


def run_cost(given: str | None, store: Store | None, shapes: Mapping[str, ModelShape], sweep: Path) -> RunCost:
    """What each run of models of these `shapes` costs beside its tokens.

    `given`: FLOPs (1e12) or seconds (40s). Else it is measured in the `store`, from runs of these sizes; else assumed:
    START_SECONDS and a state read at BYTES_PER_SECOND. Seconds become FLOPs at the speed measured in the store, else
    at what the scale of the `sweep` file assumes. Raises InputError.
    """
    amount, seconds = _parsed(given) if given is not None else (0.0, False)
    if given is not None and not seconds:
        return RunCost({}, {}, amount, f"{amount:.3g} FLOPs a run, as given")
    sizes = {non_embedding(shape): float(parameters(shape)) for shape in shapes.values()}
    times = _measured(store, sizes) if store is not None else {}
    if times:
        rate = {N: each.rate for N, each in times.items()}
        speed = f"at {_span(rate.values())} FLOP/s, measured over {sum(each.runs for each in times.values())} runs"
    else:
        scale = sweep_points([sweep.stem], ["grids=[]"], sweep.parent)[0].config["scale"]
        rate = dict.fromkeys(sizes, float(scale["flop_rate"]))
        speed = f"at the {float(scale['flop_rate']):.3g} FLOP/s that scale={scale['name']} assumes"
    if given is not None:
        return RunCost(dict.fromkeys(sizes, amount), rate, 0.0, f"{amount:g} s a run, as given, {speed}")
    begin = {N: each.begin for N, each in times.items()}
    if times and all(each.load is not None for each in times.values()):
        both = {N: each.begin + (each.load or 0.0) for N, each in times.items()}
        return RunCost(both, rate, 0.0, f"{_span(both.values())} s a run to load and to begin, {speed}")
    load = {N: START_SECONDS + BYTES_PER_PARAMETER * sizes[N] / BYTES_PER_SECOND for N in times or sizes}
    source = f"assumed {_span(load.values())} s a run to start ({START_SECONDS:g} s) and to load"
    if times:
        source += f", which its version did not time, and {_span(begin.values())} s to begin, {speed}"
    else:
        why = "no store was given" if store is None else "the store has no times of such runs"
        source += f", for {why}, {speed} (--root STORE, --run-cost)"
    return RunCost({N: each + begin.get(N, 0.0) for N, each in load.items()}, rate, 0.0, source)


def _parsed(text: str) -> tuple[float, bool]:
    """The amount of `--run-cost`, and whether it is seconds."""
    seconds = text.strip().endswith("s")
    try:
        amount = units.parse(text.strip().removesuffix("s"))
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount >= 0):
        raise InputError("run-cost", text, "is neither FLOPs nor seconds", "write FLOPs, 1e12, or seconds, 40s")
    return amount, seconds


@dataclass(frozen=True)
class _Times:
    """What runs of one size took."""

    rate: float  # model FLOP/s
    begin: float  # seconds, to enter all phases of a run
    load: float | None  # seconds; None: nobody timed it
    runs: int


def _measured(store: Store, sizes: Collection[int]) -> dict[int, _Times]:
    """The times of each size that has some.

    A stretch of timing.jsonl takes a seconds for each token, measured ones counting as the planner counts them, and c
    seconds to enter it: least squares of relative errors with a, c >= 0. A line without steps is what loading took.
    """
    from scipy.optimize import nnls

    stretches: dict[int, list[tuple[float, float]]] = defaultdict(list)
    loads: dict[int, list[float]] = defaultdict(list)
    entered: dict[int, list[int]] = defaultdict(list)
    flops: dict[int, float] = {}
    for document in store.runs(loader()):
        N: int = document.get("non_embedding") or 0  # a checkpoint may not say it
        if N not in sizes or len(entered[N]) >= MOST_RUNS or not document.get("flops_per_token"):
            continue
        try:
            timed, loading = _stretches(store, document)
        except (KeyError, TypeError, ValueError, OSError, CorruptError):  # of another version, or damaged: no times
            continue
        if timed:
            stretches[N] += timed
            loads[N] += [sum(loading)] if loading else []
            entered[N].append(len(timed))
            flops[N] = float(document["flops_per_token"])
    found = {}
    for N, lines in stretches.items():
        tokens, took = np.array(lines).T
        design = np.stack([tokens, np.ones(len(took))], axis=1) / took[:, None]
        (a, c), _ = nnls(design, np.ones(len(took)))
        if a > 0:
            load = float(np.median(loads[N])) if loads[N] else None
            found[N] = _Times(flops[N] / a, c * float(np.median(entered[N])), load, len(entered[N]))
    return found


def _stretches(store: Store, document: Mapping[str, Any]) -> tuple[list[tuple[float, float]], list[float]]:
    """After a run's base: tokens and seconds of each stretch that was timed, and seconds of each time it was loaded."""
    info = store.state(document["address"])
    if info is None:
        return [], []
    text = checked(info.folder / TIMING, info.meta["files"][TIMING], lambda content, _: content.decode())
    base, per_step = document["base_position"] or 0, document["tokens"] / document["steps"]
    of_row = {name: measure["windows"] * measure["seq_len"] for name, measure in document["measures"].items()}
    at = np.array([row["position"] for row in document["requested"]])
    sizes = np.array([of_row[row["windows_hash"]] for row in document["requested"]])
    stretches, loads = [], []
    for line in map(json.loads, text.splitlines()):
        start, stop, seconds = line["from"], line["to"], float(line["seconds"])
        if start < base or not seconds > 0:
            continue
        if start == stop:
            loads.append(seconds)
        else:
            measured = float(sizes[(at > start) & (at <= stop)].sum())
            stretches.append(((stop - start) * per_step + MEASURED * measured, seconds))
    return stretches, loads


def _nearest(known: Mapping[int, float], N: int) -> float:
    return known[min(known, key=lambda size: abs(math.log(size / N)))] if known else 0.0


def _span(values: Iterable[float]) -> str:
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
