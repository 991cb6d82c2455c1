"""Do the intervals of IsoFLOP exponents hold the truth? Two hundred planted tables with skewed valleys.

What is planted is drawn anew for each: exponents from .2 to .7 of which one is at least a tenth larger, 4 to 8 budgets
over 1.5 to 3 decades, 5 to 15 sizes a budget whose largest is 3 to 300 times the smallest, up to half of that way off
the optimum and drifting with the budget (in a quarter of the tables the same sizes at all budgets), errors of .2 to
1 % of the loss. Half are of Chinchilla's form, which is the one fitted; a quarter are a power of its terms' sum, so
that the optimum stays and the valley's shape changes; a quarter are valleys with straight sides of unequal slope.
"""

from __future__ import annotations

import csv
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.answers.isoflop import optimal
from analysis.formulas.formula import Array
from benchmarks.table import Row
from benchmarks.workload import Bench, print_line
from harness.core.errors import InputError

TABLES = 200  # that have an answer
RESULT = Path(__file__).parent / "results" / "isoflop.csv"
KINDS = {"chinchilla": 0.5, "power of a sum": 0.25, "straight sides": 0.25}
POWER = 0.6
AROUND, BEST = 1e19, 3e8  # the best size of a budget in the middle
CUTS = {"width": (3, 10, 30, 100, 300), "noise": (0.002, 0.0045, 0.01), "budgets": (4, 5.5, 8)}


@dataclass(frozen=True)
class Planted:
    """A table of losses whose exponent is known."""

    table: pd.DataFrame
    """Columns C, N, loss."""
    exponent: float
    """Of N*(C)."""
    kind: str
    """Which valleys it has."""
    width: float
    """The largest size of a budget over its smallest."""
    noise: float
    """The errors' standard deviation, a share of the loss."""
    budgets: int
    """How many."""


def isoflop(bench: Bench) -> list[Row]:
    """Exponents of 200 planted IsoFLOP tables: coverage of 90 % intervals, bias and error, against parabolas."""
    results = study(4 if bench.quick else TABLES)
    if not bench.quick:
        RESULT.parent.mkdir(exist_ok=True)
        with RESULT.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(summary(results))
        print_line(f"isoflop: {RESULT.name} written")
    answered = results[results.low.notna()]
    both = answered[answered.parabola.notna()]
    ours, theirs = (math.sqrt(((both[name] - both.exponent) ** 2).mean()) for name in ("estimate", "parabola"))
    covered = float((answered.low <= answered.exponent).where(answered.exponent <= answered.high, False).mean())
    note = f"{len(answered)} of {len(results)} tables have an answer; 90 % intervals"
    return [
        Row("isoflop: share of the intervals that hold the exponent", "", (covered,), target=0.85, note=note),
        Row(
            "isoflop: rms error of the exponent, against parabolas",
            "",
            (ours,),
            (theirs,),
            target=1.0,
            at_most=True,
            note=f"{len(both)} tables where both have an answer",
        ),
    ]


def study(count: int) -> pd.DataFrame:
    """One row a table, as many as it takes for `count` of them to have an answer (NaN in the others)."""
    rows: list[dict[str, object]] = []
    answered = seed = 0
    while answered < count:
        one = planted(seed)
        entry: dict[str, object] = {
            "seed": seed,
            **{name: getattr(one, name) for name in ("kind", "exponent", "width", "noise", "budgets")},
        }
        for form, name in (("skewed", "estimate"), ("parabola", "parabola")):
            entry |= dict.fromkeys((name, f"{name}_low", f"{name}_high"), math.nan)
            try:
                fit = optimal(one.table, form=form, seed=seed)
            except InputError:
                continue
            low, high = fit.interval["alpha"]
            entry |= {name: fit.parameters["alpha"], f"{name}_low": low, f"{name}_high": high}
        answered += entry["estimate"] == entry["estimate"]
        rows.append(entry)
        seed += 1
    return pd.DataFrame(rows).rename(columns={"estimate_low": "low", "estimate_high": "high"})


def summary(results: pd.DataFrame) -> list[list[str]]:
    """Lines of a table, the header first: all, by kind, width, noise and number of budgets."""
    header = ["tables", "planted", "answered", "covered", "bias", "rms error", "median width"]
    lines = [[*header, "parabola answered", "parabola covered", "parabola bias", "parabola rms error"]]
    lines.append(_line("all", results))
    lines += [_line(kind, results[results.kind == kind]) for kind in KINDS]
    for name, cuts in CUTS.items():
        for low, high in itertools.pairwise(cuts):
            lines.append(_line(f"{name} {low:g} to {high:g}", results[results[name].between(low, high)]))
    return lines


def _line(label: str, results: pd.DataFrame) -> list[str]:
    cells = [label, str(len(results))]
    for name, low, high in (("estimate", "low", "high"), ("parabola", "parabola_low", "parabola_high")):
        there = results[results[name].notna()]
        error = there[name] - there.exponent
        covered = ((there[low] <= there.exponent) & (there.exponent <= there[high])).mean()
        cells += [str(len(there)), f"{covered:.3f}", f"{error.mean():.4f}", f"{math.sqrt((error**2).mean()):.4f}"]
        cells += [f"{(there[high] - there[low]).median():.4f}"] if name == "estimate" else []
    return cells


def planted(seed: int) -> Planted:
    """The table of a seed."""
    random = np.random.default_rng(seed)
    kind = str(random.choice(list(KINDS), p=list(KINDS.values())))
    alpha, beta = np.exp(random.uniform(np.log(0.2), np.log(0.7), 2))
    while abs(np.log(alpha / beta)) < 0.1:
        alpha, beta = np.exp(random.uniform(np.log(0.2), np.log(0.7), 2))
    width, noise = np.exp(random.uniform(np.log(3), np.log(300))), np.exp(random.uniform(np.log(0.002), np.log(0.01)))
    sizes, number = int(random.integers(5, 16)), int(random.integers(4, 9))
    budgets = np.geomspace(1, 10 ** random.uniform(1.5, 3), number) * 1e18
    exponent = beta / (alpha + beta) if kind != "straight sides" else random.uniform(0.35, 0.65)
    best = np.log(BEST) + exponent * np.log(budgets / AROUND)
    off, drift = random.uniform(-0.15, 0.15) * np.log(width), random.uniform(-0.125, 0.125) * np.log(width)
    centres = best + off + drift * np.linspace(-1, 1, number)
    half = np.full(number, np.log(width) / 2)
    if random.uniform() < 0.25:  # the same sizes at all budgets
        half[:] = (best[-1] - best[0]) / 2 + np.log(width) / 4
        centres[:] = (best[0] + best[-1]) / 2
    floor, depth = random.uniform(1.5, 2.2), random.uniform(0.5, 1.2)
    parts = []
    for C, x0, centre, reach in zip(budgets, best, centres, half, strict=True):
        x = centre + np.linspace(-reach, reach, sizes) + random.uniform(-0.3, 0.3, sizes) * 2 * reach / (sizes - 1)
        losses = floor + _valley(kind, x - x0, alpha, beta, depth, float(np.log(C / AROUND)))
        losses *= np.exp(random.normal(0, noise, sizes))
        parts.append(pd.DataFrame({"C": C, "N": np.exp(x), "loss": losses}))
    return Planted(pd.concat(parts, ignore_index=True), float(exponent), kind, float(width), float(noise), number)


def _valley(kind: str, x: Array, alpha: float, beta: float, depth: float, budget: float) -> Array:
    """The reducible loss at x from the best log size; `depth` there at a `budget` of log 1."""
    falls, rises = depth * beta / (alpha + beta), depth * alpha / (alpha + beta)
    if kind == "straight sides":
        left, right, bend = 1.6 * alpha * falls, 1.6 * beta * rises, 1.2
        bottom = bend * np.log(left / right)

        def height(at: Array | float) -> Array:  # slopes -left and right far away
            return np.asarray(-left * at + (left + right) * bend * np.log1p(np.exp(np.divide(at, bend))))

        return np.asarray(np.exp(-0.15 * budget) * (0.8 * depth + height(x + bottom) - height(bottom)))
    total = np.exp(-budget * alpha * beta / (alpha + beta)) * (falls * np.exp(-alpha * x) + rises * np.exp(beta * x))
    return np.asarray(total if kind == "chinchilla" else depth * (total / depth) ** POWER)
