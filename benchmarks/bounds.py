"""Fits whose best parameters lie on their bounds, or near them: does the search reach what scipy reaches, and say so?

    python -m benchmarks bounds

Not a matter of speed, but of the same opponents as `benchmarks.fits`: planted laws of which one to three parameters are
on or near a bound, with noise, fitted by `search` and by scipy's L-BFGS-B (gradients by hand, tight tolerances) from
the truth and from 30 starts. What scipy finds is polished by the project's own steps, so that the value to reach is the
lowest that anybody found.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.fitting.newton import minimise
from analysis.fitting.search import SAME, search
from analysis.fitting.starts import sampled
from analysis.formulas.formula import Array
from analysis.laws.law import Law
from analysis.laws.library import find
from benchmarks.fitters import Problem, descend
from benchmarks.table import Row
from benchmarks.workload import Bench, print_line

RESULT = Path(__file__).parent / "results" / "bounds.csv"
TRUTHS = 200
STARTS = 30  # of scipy: half of them the best of a quasi-random sample, half as they come
ZERO = 1e-9  # stands for a parameter of zero where its logarithm is moved
Truth = dict[str, float]

# Of each law, values on a bound and near it; a truth takes one to three of them.
ENDS: dict[str, dict[str, tuple[float, ...]]] = {
    "dcpt": {
        "E": (0.0, 1e-3, 0.03),
        "A": (0.0,),
        "B": (0.0,),
        "C": (0.0, 1e-4, 1e-3),
        "eta": (0.0, 1e-4, 1e-2, 4.0),
        "gamma": (0.0, 1e-3, 6.0),
        "eps": (1e-6, 1e-4, 10.0),
        "beta": (1e-3,),
    },
    "chinchilla": {"E": (0.0, 1e-4, 1e-2), "A": (0.0, 1e-2), "B": (0.0, 1e-2), "alpha": (1e-3, 3.0)},
    "shukor_additive": {"E": (0.0, 1e-3), "A": (0.0,), "C_0": (0.0, 1e-3), "g_0": (0.0, 1e-3, 10.0), "g_1": (0.0,)},
}


@dataclass(frozen=True)
class Planted:
    """A table made from a known law, `truth` with the parameters `ends` on or near a bound."""

    problem: Problem
    truth: Truth
    ends: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """One truth, fitted by both. `excess`: of the search's value over the lowest that is known, relative to it."""

    number: int
    law: str
    ends: str
    noise: float
    excess: float
    """Of the search's value above the lowest known, relative to it; below zero where nobody else got so low."""
    scipy_excess: float
    """The same of the best of scipy's ends."""
    converged: bool
    agree: int
    tried: int
    seconds: float
    """Of the search, CPU."""
    scipy_seconds: float


def bounds(bench: Bench) -> list[Row]:
    """Optima on bounds: shares of 200 planted fits where the search is as low as scipy, says so, and is right."""
    outcomes = []
    for number in range(12 if bench.quick else TRUTHS):
        outcomes.append(compared(number))
        one = outcomes[-1]
        print_line(f"bounds {number}: {one.law} {one.ends}: {one.excess:.1e}, converged {one.converged}")
    if not bench.quick:
        RESULT.parent.mkdir(exist_ok=True)
        written(outcomes).to_csv(RESULT, index=False)
        print_line(f"bounds: {RESULT.name} written")
    return rows(outcomes)


def rows(outcomes: list[Outcome]) -> list[Row]:
    """The shares that are asked for."""
    reached = np.array([one.excess <= SAME for one in outcomes])
    said = np.array([one.converged for one in outcomes])
    note = f"{len(outcomes)} planted fits; reached: within {SAME:g} of the lowest value that anybody found"
    theirs = float(np.mean([one.scipy_excess <= SAME for one in outcomes]))
    ours, other = (float(sum(getattr(one, name) for one in outcomes)) for name in ("seconds", "scipy_seconds"))
    return [
        Row("bounds: reached", "of the fits", (float(reached.mean()),), target=0.99, note=note),
        Row("bounds: scipy reached", "of the fits", (theirs,), note=f"the best of {STARTS} starts and the truth"),
        Row("bounds: said to have converged", "of the fits", (float(said.mean()),), target=0.95, note=note),
        Row("bounds: said so wrongly", "fits", (float((said & ~reached).sum()),), target=0.0, at_most=True, note=note),
        Row("bounds: time of all", "s", (ours,), (other,), inverse=True, note="CPU seconds, one thread"),
    ]


def written(outcomes: list[Outcome]) -> pd.DataFrame:
    """The table that is committed: numbers to three digits, no times."""
    kept = [field.name for field in fields(Outcome) if "seconds" not in field.name]
    table = pd.DataFrame([{name: getattr(one, name) for name in kept} for one in outcomes])
    return table.assign(
        **{name: table[name].map(lambda x: float(f"{x:.2e}")) for name in ("noise", "excess", "scipy_excess")}
    )


def compared(number: int) -> Outcome:
    """One truth."""
    planted, noise = plant(number)
    problem = planted.problem
    objective, (low, high) = problem.objective, problem.law.inward_bounds
    began = time.process_time()
    found = search(objective)
    seconds = time.process_time() - began
    began = time.process_time()
    with np.errstate(all="ignore"):
        ends = np.array([descend(problem, start) for start in origins(planted, number)])
    theirs = time.process_time() - began
    values = objective.value(ends)
    near = np.concatenate([ends[np.argsort(values)[:3]], origins(planted, number)[:2]])
    polished = minimise(objective, near, low, high, deltas=(3e-3, 1e-3), most_steps=400).theta
    others = float(min(values.min(), objective.value(polished).min()))
    lowest = min(others, found.value)
    return Outcome(
        number,
        problem.name,
        " ".join(f"{name}={planted.truth[name]:g}" for name in planted.ends),
        noise,
        found.value / others - 1,
        float(values.min()) / lowest - 1,
        found.converged,
        found.agree,
        found.tried,
        seconds,
        theirs,
    )


def origins(planted: Planted, number: int) -> Array:
    """Where scipy starts, (2 + STARTS, P): at the truth, at the truth moved off its bounds, and all over."""
    law, objective = planted.problem.law, planted.problem.objective
    low, high = law.inward_bounds
    truth = np.array([planted.truth[name] for name in law.parameters])
    on_log = objective.logarithms
    moved = [law.inward(np.where(on_log, np.maximum(truth, least), truth)) for least in (ZERO, 1e-3)]
    points = sampled(objective, 1000 + number)
    chosen = np.random.default_rng(number).choice(len(points), STARTS // 2, replace=False)
    return np.asarray(np.clip(np.concatenate([moved, points[: STARTS - STARTS // 2], points[chosen]]), low, high))


def plant(number: int) -> tuple[Planted, float]:
    """The table of one truth, and the noise in it; laws by turns."""
    random = np.random.default_rng(number)
    family = list(ENDS)[number % len(ENDS)]
    domains = ["web", "code", "books"][: 2 + int(random.integers(2))]
    name = family if family != "shukor_additive" else f"{family}:{','.join(domains)}"
    law, table = find(name), TABLES[family](random, domains)
    noise = float(10 ** random.uniform(-3, -2))
    while True:
        truth = _truth(random, law)
        count = min(int(random.integers(1, 4)), len(ENDS[family]) - 1)
        ends = [str(end) for end in random.choice(list(ENDS[family]), count, replace=False)]
        taken = {_named(end, domains): float(random.choice(ENDS[family][end])) for end in ends}
        truth |= taken
        if taken.get("alpha") == 3.0:
            truth["A"] = 0.2 * float(table.N.min()) ** 3
        loss = law.value(truth, table)
        if np.isfinite(loss).all() and (loss > 0.1).all() and (loss < 50).all() and np.ptp(np.log(loss)) > 20 * noise:
            break
    runs = table.groupby([column for column in table if column != "D"], sort=False).ngroup().to_numpy()
    errors = random.standard_normal(len(table)) + 0.5 * random.standard_normal(runs.max() + 1)[runs]
    table = table.assign(loss=loss * np.exp(noise * errors))
    return Planted(Problem(name, table, np.empty((0, len(law.parameters)))), truth, tuple(taken)), noise


def _named(end: str, domains: list[str]) -> str:
    letter, _, number = end.partition("_")
    return f"{letter}_{domains[int(number)]}" if number else end


def _truth(random: np.random.Generator, law: Law) -> Truth:
    """Terms of a size as they are met with, exponents from a fifth to a half."""
    drawn = {
        "E": random.uniform(1.0, 2.2),
        "A": 10 ** random.uniform(1.5, 3),
        "alpha": random.uniform(0.2, 0.5),
        "B": 10 ** random.uniform(2, 3.5),
        "beta": random.uniform(0.2, 0.5),
        "eta": random.uniform(0.1, 0.8),
        "C": 10 ** random.uniform(-2, -0.3),
        "eps": 10 ** random.uniform(-2, -0.5),
        "gamma": random.uniform(0.2, 1.0),
    }
    for name in law.parameters:
        if name[:2] == "C_":
            drawn[name] = 10 ** random.uniform(-0.5, 1)
        if name[:2] == "g_":
            drawn[name] = random.uniform(0.2, 1.2)
    return {name: float(drawn[name]) for name in law.parameters}


def _dcpt(random: np.random.Generator, _: list[str]) -> pd.DataFrame:
    sizes = np.geomspace(7e7, 4e9, int(random.integers(3, 6)))
    shares = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])[: int(random.integers(5, 9))]
    return _product(N=sizes, r=shares, D=np.geomspace(5e8, 2e10, int(random.integers(5, 9))))


def _chinchilla(random: np.random.Generator, _: list[str]) -> pd.DataFrame:
    count = int(random.integers(60, 250))
    return pd.DataFrame({"N": 10 ** random.uniform(7.5, 10, count), "D": 10 ** random.uniform(9, 12, count)})


def _mixtures(random: np.random.Generator, domains: list[str]) -> pd.DataFrame:
    shares = random.dirichlet(np.ones(len(domains)), int(random.integers(10, 25)))
    at = _product(mixture=np.arange(len(shares)), N=np.geomspace(1e8, 3e9, 4), D=np.geomspace(1e9, 5e10, 4))
    table = pd.DataFrame(shares, columns=domains).iloc[at.mixture.astype(int)].reset_index(drop=True)
    return table.assign(N=at.N, D=at.D)


def _product(**axes: Any) -> pd.DataFrame:
    return pd.DataFrame(itertools.product(*axes.values()), columns=list(axes))


TABLES = {"dcpt": _dcpt, "chinchilla": _chinchilla, "shukor_additive": _mixtures}
