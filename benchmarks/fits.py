"""How long fits of laws take and who reaches the optimum: `fit_law` against scipy's L-BFGS-B and a package.

All of it on one thread, by CPU time, so that other work on the machine plays no part. Everybody's answer is judged by
one function, the objective of this project: the sum of Huber's loss (1e-3) over residuals of log losses.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from analysis.fitting.resampling import grouping_of, resamples
from analysis.formulas.assignments import parse_map
from analysis.formulas.formula import Array
from analysis.laws.library import LAWS
from analysis.results.tables import read
from benchmarks import fitters
from benchmarks.fitters import Fitted, Problem
from benchmarks.table import Row
from benchmarks.workload import Bench, print_line

P = ParamSpec("P")
T = TypeVar("T")
Axes = tuple[Sequence[float] | Array, ...]

# Chinchilla's own 4,500 starts (2203.15556, approach 3), under the names that `chinchilla` has for them.
GRID: dict[str, Array] = {
    "e": np.linspace(-1, 1, 5),
    "a": np.linspace(0, 25, 6),
    "b": np.linspace(0, 25, 6),
    "alpha": np.linspace(0, 2, 5),
    "beta": np.linspace(0, 2, 5),
}
STARTS = 4500
# The D-CPT paper says nothing of its starts. Logarithms here; the others' ranges are those of the law.
DCPT_RANGES = {"E": (-1.0, 1.0), "A": (0.0, 25.0), "B": (0.0, 25.0), "C": (-5.0, 1.0)}
EVERY = {"chinchilla": 1, "dcpt": 10}  # one in so many of the starts is run; of D-CPT all of them take minutes
QUICK_EVERY = 450
PLANTED = {
    "chinchilla": {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2100.0, "beta": 0.37},
    "dcpt": {
        "E": 1.6,
        "A": 400.0,
        "alpha": 0.34,
        "B": 900.0,
        "eta": 0.3,
        "beta": 0.33,
        "C": 0.35,
        "eps": 0.05,
        "gamma": 0.6,
    },
}
NOISE = 0.005  # of a planted loss
TOKENS = (0.131e9, 26.2e9)
PAPER: Axes = ((0.5e9, 1.8e9, 4e9), (0.0, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1.0), np.geomspace(*TOKENS, 20))
MANY: Axes = (  # 2,400 rows, as people's tables have them
    np.geomspace(7e7, 4e9, 5),
    (0.0, 0.02, 0.05, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 0.95, 1.0),
    np.geomspace(*TOKENS, 40),
)
REACHED = 1e-6  # above the best known value, in it: as good as there
LIMITS = {"chinchilla": (0.02, 4.0), "dcpt": (0.2, 8.0)}  # seconds of a fit, and of the bootstrap
DRAWS = {"chinchilla": 4000, "dcpt": 1000}
REFITS = 100  # of the draws are made with scipy
QUICK_DRAWS = 4


@dataclass(frozen=True)
class Contender:
    """A function of `benchmarks.fitters`, how often it is timed, the ratio aimed at, and what is to be said of it."""

    name: str
    function: Callable[..., Fitted]
    arguments: tuple[Any, ...]
    times: int
    target: float | None
    note: str


def fits(bench: Bench) -> list[Row]:
    """Fits of the Chinchilla and D-CPT laws against thousands of starts of scipy, tuned scipy, and `chinchilla`."""
    chinchilla, where = chinchilla_problem()
    return [
        *_compared(bench, chinchilla, where),
        *_compared(bench, dcpt_problem(), "540 planted points, 3 N x 20 D x 9 r with r = 0, 0.5 % noise"),
        *_large(bench),
    ]


def chinchilla_problem() -> tuple[Problem, str]:
    """240 runs of Chinchilla as 2404.10102 read them off its figure; where they are not at hand, as many planted."""
    starts = np.array(list(itertools.product(*(GRID[name] for name in ("e", "a", "alpha", "b", "beta")))))
    if folder := os.environ.get("REWARM_REFERENCE_DATA"):
        columns = parse_map("N=N_params,D=C_flop/(6*N_params),loss=loss")
        table = read(Path(folder) / "chinchilla_epoch.csv", columns, where="in_besiroglu_fit == 1")
        return Problem("chinchilla", table[["N", "D", "loss"]], starts), f"{len(table)} points of Chinchilla's figure"
    random = np.random.default_rng(0)
    table = pd.DataFrame({"N": 10 ** random.uniform(7.7, 10.2, 240), "D": 10 ** random.uniform(9, 12, 240)})
    return Problem("chinchilla", _planted("chinchilla", table), starts), (
        "240 planted points with 0.5 % noise, since REWARM_REFERENCE_DATA names no folder of public tables"
    )


def dcpt_problem(axes: Axes = PAPER) -> Problem:
    """A grid of sizes, ratios and tokens, that of 2406.01375, with planted losses, and quasi-random starts."""
    from scipy.stats import qmc

    law = LAWS["dcpt"]
    points = itertools.product(*axes)
    table = _planted("dcpt", pd.DataFrame(points, columns=["N", "r", "D"]))
    table["run"] = [f"{N:g} {r:g}" for N, r in zip(table.N, table.r, strict=True)]
    inward = {name: np.log(span) if law.on_log_scale(name) else span for name, span in law.starts.items()}
    low, high = np.array([{**inward, **DCPT_RANGES}[name] for name in law.parameters]).T
    unit = qmc.Sobol(len(low), seed=0).random_base2(13)[:STARTS]
    return Problem("dcpt", table, low + (high - low) * unit)


def _planted(name: str, table: pd.DataFrame) -> pd.DataFrame:
    losses = LAWS[name].value(PLANTED[name], {variable: table[variable] for variable in LAWS[name].variables})
    return table.assign(loss=losses * np.exp(NOISE * np.random.default_rng(1).normal(size=len(table))))


def _compared(bench: Bench, problem: Problem, where: str) -> list[Row]:
    """All rows of one law."""
    name, (limit, _) = f"fits {problem.name}", LIMITS[problem.name]
    contenders = _contenders(bench, problem)
    ours: list[list[Fitted]] = []
    theirs: list[list[Fitted]] = []
    with process() as us, process() as them:
        first = _ask(us, fitters.first_fit, problem)
        whole = tuple(_ask(us, fitters.whole_fit, problem)[0] for _ in range(bench.pairs))
        for one in contenders:
            pairs = [
                (_ask(us, fitters.ours, problem), _ask(them, one.function, problem, *one.arguments))
                for _ in range(one.times)
            ]
            ours.append([pair[0] for pair in pairs])
            theirs.append([pair[1] for pair in pairs])
            print_line(f"{name}: {one.name} {theirs[-1][0].seconds:.3g} s, ours {ours[-1][0].seconds:.3g} s")
        bootstraps = _bootstraps(bench, problem, us, them)
    searched = [fitted for several in ours for fitted in several]
    rows = [
        Row(f"{name}: first fit of a process", "s", (first,), note="fit_law, and the derivatives of the formula"),
        Row(
            f"{name}: fit_law",
            "s",
            whole,
            target=limit,
            at_most=True,
            note=f"{where}; with standard errors, profiles of flat parameters and checks",
        ),
        Row(f"{name}: optimum", "s", _seconds(searched), target=limit, at_most=True, note=where),
    ]
    for one, own, other in zip(contenders, ours, theirs, strict=True):
        rows.append(
            Row(
                f"{name}: optimum, against {one.name}",
                "s",
                _seconds(own),
                _seconds(other),
                one.target,
                inverse=True,
                note=one.note,
            )
        )
    names = ["ours", *(one.name for one in contenders)]
    return [*rows, *_reached(problem, dict(zip(names, [searched, *theirs], strict=True))), *bootstraps]


def _large(bench: Bench) -> list[Row]:
    """The optimum of the D-CPT law on a table of 2,400 rows, against tuned scipy only."""
    problem, name = dcpt_problem(MANY), "fits dcpt, 2,400 points"
    with process() as us, process() as them:
        _ask(us, fitters.first_fit, problem)
        pairs = [(_ask(us, fitters.ours, problem), _ask(them, fitters.tuned, problem)) for _ in range(bench.pairs)]
    ours, theirs = ([pair[i] for pair in pairs] for i in (0, 1))
    print_line(f"{name}: tuned scipy {theirs[0].seconds:.3g} s, ours {ours[0].seconds:.3g} s")
    values, other = (np.concatenate([problem.objective.value(one.ends) for one in side]) for side in (ours, theirs))
    gap = float(values.max() / min(values.min(), other.min()) - 1)
    where = "planted, 5 N x 40 D x 12 r with r = 0, 0.5 % noise"
    against = f"{name}: optimum, against tuned scipy"
    return [
        Row(against, "s", _seconds(ours), _seconds(theirs), 5.0, inverse=True, note=where),
        Row(f"{name}: gap of ours", "of the value", (gap,), target=REACHED, at_most=True, note="of the worst run"),
    ]


def _contenders(bench: Bench, problem: Problem) -> list[Contender]:
    every = QUICK_EVERY if bench.quick else 1 if bench.all_points else EVERY[problem.name]
    usual = "L-BFGS-B, finite differences, default tolerances"
    if every > 1:
        usual += f"; every {every}th of the starts was run, and the time scaled to all"
    few = f"gradients by hand, centred logarithms, tight tolerances, the {fitters.FEW} best of the starts above"
    own = f"the same from {fitters.FEW} of this project's starts: what its descent adds"
    found = [
        Contender(f"{STARTS:,} starts of scipy", fitters.usual, (every,), bench.sweep_pairs, 1000.0, usual),
        Contender("tuned scipy", fitters.tuned, (), bench.pairs, 5.0, few),
        Contender("tuned scipy from our starts", fitters.tuned_from_our_starts, (), bench.pairs, None, own),
    ]
    if problem.name == "chinchilla":
        grid = {name: values[1:3] for name, values in GRID.items()} if bench.quick else GRID
        note = f"version {metadata.version('chinchilla')}, one process, the same starts, log_huber for its default loss"
        found.append(Contender("PyPI's chinchilla", fitters.package, (grid,), bench.sweep_pairs, None, note))
    return found


def _reached(problem: Problem, fitted: dict[str, list[Fitted]]) -> list[Row]:
    """How far above the best known value everybody's best answer lies."""
    values = {
        name: np.concatenate([problem.objective.value(one.ends) for one in several]) for name, several in fitted.items()
    }
    best = min(float(found.min()) for found in values.values())
    rows = []
    for name, found in values.items():
        share = float((found <= best * (1 + REACHED)).mean())
        note = f"{share:.1%} of {found.size:,} ends within {REACHED:g} of the best known value"
        rows.append(
            Row(
                f"fits {problem.name}: gap of {name}",
                "of the value",
                (float(found.min()) / best - 1,),
                target=REACHED if name == "ours" else None,
                at_most=True,
                note=note,
            )
        )
    return rows


def _bootstraps(bench: Bench, problem: Problem, us: ProcessPoolExecutor, them: ProcessPoolExecutor) -> list[Row]:
    """`fit_law` with its bootstrap, against as many refits by tuned scipy from the optimum."""
    draws = QUICK_DRAWS if bench.quick else DRAWS[problem.name]
    few = min(REFITS, draws)
    clusters = grouping_of(problem.table, problem.law.variables).clusters
    weights = resamples(clusters, len(problem.table), draws, seed=0)[:few].astype(float)
    origin = _ask(us, fitters.ours, problem).ends[0]
    ours, theirs = [], []
    for _ in range(min(bench.pairs, 3)):
        seconds, parameters = _ask(us, fitters.whole_fit, problem, draws)
        fitted = _ask(them, fitters.tuned_refits, problem, origin, weights)
        ours.append(seconds)
        theirs.append(fitted.seconds * draws / few)
    judge = replace(problem.objective, weights=weights)
    own, other = judge.value(problem.law.inward(parameters[:few])), judge.value(fitted.ends)
    best = np.minimum(own, other) * (1 + REACHED)
    of = "rows" if clusters is None else "runs"
    limit = LIMITS[problem.name][1]
    note = (
        f"{few} refits by tuned scipy from the optimum of all rows, scaled to {draws:,}; {(other <= best).mean():.0%} "
        f"of them, and {(own <= best).mean():.0%} of ours, end within {REACHED:g} of the better of both"
    )
    name = f"fits {problem.name}: fit_law with {draws:,} bootstraps"
    return [
        Row(name, "s", tuple(ours), target=limit, at_most=True, note=f"resampled {of}"),
        Row(f"{name}, against tuned scipy", "s", tuple(ours), tuple(theirs), inverse=True, note=note),
    ]


def process() -> ProcessPoolExecutor:
    """A fresh process. `benchmarks.__main__` sets one thread for it in the environment: L-BFGS-B is many times slower
    where BLAS shares its small products out to more."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _ask(side: ProcessPoolExecutor, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    return side.submit(function, *arguments, **options).result()


def _seconds(fitted: Sequence[Fitted]) -> tuple[float, ...]:
    return tuple(one.seconds for one in fitted)
