"""Do profile intervals end where brute force says? Twelve fits, seven of them flat.

Brute force minimises over the other parameters at the points of a fine grid, each from random starts all over and from
the ends of its neighbours, and twice lays a finer grid around the outermost crossings. The minimum and the rise allowed
are those of the fit. Errors are shares of the brute-force interval's width in the coordinate of the search; where one
side is open, of a decade of a parameter on a log scale, and of what lies between the end and the bound of another.
Four of the tables are others' (REWARM_REFERENCE_DATA names their folder).
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.fitting.fit import objective_of
from analysis.fitting.newton import minimise
from analysis.fitting.objective import Loss, Objective
from analysis.fitting.profile import profile, profiled
from analysis.fitting.resampling import grouping_of
from analysis.fitting.search import search
from analysis.fitting.standard_errors import DECADE
from analysis.fitting.starts import resolved
from analysis.formulas.formula import Array
from analysis.laws.library import find
from analysis.results.curves import add_schedules
from benchmarks.table import Row
from benchmarks.workload import Bench, print_line

RESULT = Path(__file__).parent / "results" / "profiles.csv"
GRID, FINER, LEVELS = 40, 12, 2  # points of the grid, and of each finer one
STARTS, KEPT = 40, 6  # random starts at each point, and how many of them go to the end
REACH = 120.0  # e-folds beyond the estimate, or beyond one
CLOSE = 0.03  # of the width: an end that is found
HUBER, RAW = Loss(), Loss("ls", residuals="raw")
DCPT = {"E": 1.6, "A": 400, "alpha": 0.33, "B": 300, "eta": 0.2, "beta": 0.33, "C": 0.6, "eps": 0.1, "gamma": 0.5}
DECLINE = {"a": 3000.0, "b": 2.0, "s": -0.4}
SHARES = (0.05, 0.15, 0.35, 0.6, 0.9)


@dataclass(frozen=True)
class Case:
    """A fit, and the parameters whose profiles are compared."""

    name: str
    law: str
    table: Callable[[], pd.DataFrame]
    names: tuple[str, ...]
    group: str | None = None
    loss: Loss = HUBER
    fixed: tuple[str, ...] = ()
    """Parameters held at 0."""
    reference: bool = False
    """Whether the table is of others."""


def planted(
    law: str, truth: dict[str, float], noise: float, of_run: float = 0.0, seed: int = 0, **axes: Sequence[float] | Array
) -> pd.DataFrame:
    """Losses of a law at all combinations of the axes, times lognormal errors of each row and of each run, whose rows
    share all but D."""
    table = pd.DataFrame(list(itertools.product(*axes.values())), columns=list(axes))
    runs = table.groupby([name for name in axes if name != "D"] or ["D"], sort=False).ngroup()
    random = np.random.default_rng(seed)
    error = noise * random.standard_normal(len(table)) + of_run * random.standard_normal(len(table))[runs]
    return table.assign(run=runs, loss=find(law).value(truth, table) * np.exp(error))


def dcpt(sizes: tuple[float, ...], noise: float = 0.002, of_run: float = 0.003, **other: float) -> pd.DataFrame:
    return planted("dcpt", {**DCPT, **other}, noise, of_run, N=sizes, r=SHARES, D=np.geomspace(1.3e8, 2.6e10, 6))


def chinchilla(truth: dict[str, float], noise: float, N: Array, D: Array) -> pd.DataFrame:
    errors = np.exp(noise * np.random.default_rng(0).standard_normal(len(N)))
    return pd.DataFrame({"N": N, "D": D, "loss": find("chinchilla").value(truth, {"N": N, "D": D}) * errors})


def no_floor() -> pd.DataFrame:
    random = np.random.default_rng(0)
    N, D = 10 ** random.uniform(7.7, 9.5, 60), 10 ** random.uniform(9, 11, 60)
    return chinchilla({"E": 0.05, "A": 20, "alpha": 0.12, "B": 40, "beta": 0.16}, 0.01, N, D)


def in_proportion() -> pd.DataFrame:
    N = np.geomspace(5e7, 1e10, 36)
    return chinchilla({"E": 1.8, "A": 480, "alpha": 0.35, "B": 2000, "beta": 0.37}, 0.003, N, 20 * N)


def five_domains() -> pd.DataFrame:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.dirichlet(np.full(5, 0.6), 24), columns=list("uvxyz"))
    truth = {"c": 1.9, "k": 0.6, "t_u": -2.0, "t_v": 0.8, "t_x": -0.3, "t_y": -6.0}
    return table.assign(loss=find("mixing:u,v,x,y,z").value(truth, table) * np.exp(0.01 * random.standard_normal(24)))


def reference(name: str) -> pd.DataFrame:
    return pd.read_csv(Path(os.environ["REWARM_REFERENCE_DATA"]) / f"{name}.csv")


def figure() -> pd.DataFrame:
    table = reference("chinchilla_epoch")
    table = table[table.in_besiroglu_fit == 1]
    return table.assign(N=table.N_params, D=table.C_flop / (6 * table.N_params))


def two_domains() -> pd.DataFrame:
    table = reference("mixinglaws_2mix")
    table = table[(table.model == "70M") & (table.step == 10_000)]
    return table.assign(r=table.github_ratio, loss=table.github_loss)


def continued() -> pd.DataFrame:
    table = reference("mixinglaws_cpt70M")
    table = table[table.step > 0]
    return table.assign(N=7e7, D=table.D_tokens, r=table.python_ratio, loss=table.python_loss, run=table.pile_ratio)


def schedules() -> pd.DataFrame:
    """A cosine, a constant and a cut learning rate, every third of the losses; the curve between them is a line."""
    table = reference("multipowerlaw_curves").rename(columns={"schedule": "run"})
    table = table[(table.model_M == 100) & table.run.isin(("cosine_24000", "constant_24000", "wsdcon_9"))]
    curves = {
        str(run): np.interp(np.arange(rows.step.max() + 1), [0, *rows.step], [0, *rows.lr])
        for run, rows in table.groupby("run")
    }
    return add_schedules(table.iloc[::3], curves)


CASES = (
    Case("D-CPT, one size", "dcpt", lambda: dcpt((7e7,)), ("C", "eps", "gamma"), "run", fixed=("A",)),
    Case("D-CPT, two sizes", "dcpt", lambda: dcpt((5e8, 4e9)), ("E", "A", "alpha", "beta"), "run"),
    Case("D-CPT, three sizes", "dcpt", lambda: dcpt((5e8, 1.8e9, 4e9)), ("A", "alpha", "gamma"), "run"),
    Case("D-CPT, eta = 0", "dcpt", lambda: dcpt((5e8, 1.8e9, 4e9), 0.004, 0.0, eta=0.0), ("eta", "B", "C")),
    Case("Chinchilla, E = .05", "chinchilla", no_floor, ("E", "A", "beta")),
    Case("Chinchilla, D = 20 N", "chinchilla", in_proportion, ("A", "alpha", "B", "beta")),
    Case("Chinchilla's figure", "chinchilla", figure, ("E", "A", "alpha"), reference=True),
    Case("mixing law, two domains", "mixing", two_domains, ("c", "k", "t"), loss=RAW, reference=True),
    Case("mixing law, five domains", "mixing:u,v,x,y,z", five_domains, ("c", "k", "t_y")),
    Case(
        "power of time",
        "cmr_time",
        lambda: planted("cmr_time", DECLINE, 0.002, T=np.geomspace(1e9, 1e11, 14)),
        ("a", "b", "s"),
        loss=RAW,
    ),
    Case("D-CPT, Pythia-70M", "dcpt", continued, ("C", "eps", "gamma"), "run", fixed=("A",), reference=True),
    Case("multi-power law", "multi_power", schedules, ("C", "gamma"), "run", reference=True),
)


def profiles(bench: Bench) -> list[Row]:
    """Ends of profile intervals of twelve fits against brute force, half of them flat."""
    there = bool(os.environ.get("REWARM_REFERENCE_DATA"))
    cases = [case for case in CASES if there or not case.reference]
    results = pd.concat([study(case) for case in (cases[-4:-2] if bench.quick else cases)], ignore_index=True)
    if not bench.quick and there:
        RESULT.parent.mkdir(exist_ok=True)
        results.to_csv(RESULT, index=False, lineterminator="\n")
        print_line(f"profiles: {RESULT.name} written")
    ends = results[["low_error", "high_error"]].to_numpy().reshape(-1)
    note = f"{len(ends)} ends of {len(results)} intervals of {len(cases)} fits; an end that is open in both counts"
    return [
        Row(
            "profiles: share of ends within 3 % of brute force",
            "",
            (float((ends <= CLOSE).mean()),),
            target=1.0,
            note=note,
        ),
        Row(
            "profiles: of a fit, beside its search", "s", tuple(results.groupby("fit").seconds.first()), note="CPU time"
        ),
    ]


def study(case: Case, starts: int = STARTS) -> pd.DataFrame:
    """One row a parameter: its ends in the law's units (empty: open), those of brute force, and their errors (infinite
    where only one of them is open)."""
    law, table = find(case.law).fixed(dict.fromkeys(case.fixed, 0.0)), case.table().reset_index(drop=True)
    objective = objective_of(law, table, case.loss)
    clusters = grouping_of(table, law.variables, case.group).clusters
    found = search(objective)
    began = time.process_time()
    found, known, curves = profiled(objective, found, clusters)
    seconds, rows = time.process_time() - began, []
    for name in case.names:
        i = law.parameters.index(name)
        curve = curves.get(name) or profile(objective, found, known, name)
        log = law.on_log_scale(name)
        ours = [end if end is None or not log else float(np.log(end)) for end in (curve.low, curve.high)]
        theirs = brute_force(objective, found.theta, i, found.value + curve.allowed, starts)
        width = _width(theirs, DECADE if log else None, law.bound(name))
        errors = [
            0.0 if a is b is None else np.inf if a is None or b is None else abs(a - b) / width
            for a, b in zip(ours, theirs, strict=True)
        ]
        brute = [end if end is None or not log else float(np.exp(end)) for end in theirs]
        told = [
            "" if end is None else f"{end:.5g}" for end in (law.outward(found.theta)[i], curve.low, curve.high, *brute)
        ]
        entry: dict[str, object] = {"fit": case.name, "parameter": name, "flat": name in curves}
        entry |= dict(zip(("estimate", "low", "high", "brute_low", "brute_high"), told, strict=True))
        entry |= {"low_error": round(errors[0], 5), "high_error": round(errors[1], 5), "seconds": round(seconds, 2)}
        rows.append(entry)
        print_line(f"profiles: {rows[-1]}")
    return pd.DataFrame(rows)


def _width(ends: list[float | None], decade: float | None, bound: tuple[float, float]) -> float:
    low, high = (at if end is None else end for end, at in zip(ends, bound, strict=True))
    return decade if decade and None in ends else max(high - low, 1e-9)


def brute_force(objective: Objective, theta: Array, i: int, ceiling: float, starts: int = STARTS) -> list[float | None]:
    """The outermost crossings of parameter i's profile with the ceiling, in the coordinate of the search."""
    low, high = (bound[i] for bound in objective.bound.law.inward_bounds)
    log = objective.bound.law.on_log_scale(objective.bound.law.parameters[i])
    reach = REACH if log else REACH * max(1.0, abs(float(theta[i])))
    first, last = max(low, min(theta[i], 0) - reach), min(high, max(theta[i], 0) + reach)
    near = np.geomspace(1e-3, 1, GRID // 2)
    grid = np.unique([*(theta[i] + near * (last - theta[i])), *(theta[i] + near * (first - theta[i])), theta[i]])
    random = np.random.default_rng(0)
    value, ends = _levels(objective, i, grid, _random(objective, len(grid), starts, random))
    for _ in range(LEVELS):
        inside = np.flatnonzero(value <= ceiling)
        gaps = [(k - 1, k) for k in inside[:1] if k > 0] + [(k, k + 1) for k in inside[-1:] if k + 1 < len(grid)]
        if not gaps:
            break
        at = np.concatenate([np.linspace(grid[a], grid[b], FINER + 2)[1:-1] for a, b in gaps])
        beside = ends[np.argsort(np.abs(grid[None] - at[:, None]), axis=1)[:, :3]]
        new = _levels(objective, i, at, np.concatenate([_random(objective, len(at), starts, random), beside], axis=1))
        order = np.argsort(np.concatenate([grid, at]))
        grid, value, ends = (np.concatenate(pair)[order] for pair in ((grid, at), (value, new[0]), (ends, new[1])))
    inside = np.flatnonzero(value <= ceiling)
    pairs = [(inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)]
    return [
        float(grid[a] + (grid[b] - grid[a]) * (ceiling - value[a]) / (value[b] - value[a]))
        if 0 <= b < len(grid)
        else None
        for a, b in pairs
    ]


def _random(objective: Objective, points: int, starts: int, random: np.random.Generator) -> Array:
    """(points, starts, P) starts from one and a half times the law's ranges; linear parameters are solved for later."""
    law = objective.bound.law
    low, high = law.inward_bounds
    theta = np.zeros((points, starts, len(low)))
    for j, name in enumerate(law.parameters):
        if name in law.starts:
            span = np.array(law.starts[name])
            a, b = np.log(span) if law.on_log_scale(name) else span
            theta[:, :, j] = random.uniform(
                max(a - (b - a) / 4, low[j]), min(b + (b - a) / 4, high[j]), (points, starts)
            )
    return theta


def _levels(objective: Objective, i: int, grid: Array, theta: Array) -> tuple[Array, Array]:
    """The lowest value at each point of the grid (m,) and where it is (m, P)."""
    value, ends = _descended(objective, i, grid, theta)
    each = np.arange(len(grid))
    for _ in range(6):
        beside = np.stack([ends[np.maximum(each - 1, 0)], ends[np.minimum(each + 1, len(grid) - 1)]], axis=1)
        new, at = _descended(objective, i, grid, beside)
        better = new < value * (1 - 1e-12)
        value, ends = np.where(better, new, value), np.where(better[:, None], at, ends)
        if not better.any():
            break
    return value, ends


def _descended(objective: Objective, i: int, grid: Array, theta: Array) -> tuple[Array, Array]:
    """From starts (m, S, P): of many, the best after a rough descent."""
    points, several, parameters = theta.shape
    rough, exact = objective.corners
    theta = theta.copy()
    theta[:, :, i] = grid[:, None]
    flat = theta.reshape(-1, parameters)
    if several > KEPT:
        flat = resolved(objective, flat, i)
    low, high = (np.tile(bound, (len(flat), 1)) for bound in objective.bound.law.inward_bounds)
    low[:, i] = high[:, i] = flat[:, i]
    if several > KEPT:
        near = minimise(objective, flat, low, high, deltas=(rough,), tolerance=1e-4, most_steps=15).theta
        best = np.argsort(objective.value(near).reshape(points, several), axis=1)[:, :KEPT]
        return _descended(objective, i, grid, near.reshape(theta.shape)[np.arange(points)[:, None], best])
    end = minimise(objective, flat, low, high, deltas=exact, tolerance=1e-11, most_steps=150).theta
    value = objective.value(end).reshape(points, several)
    at = np.arange(points), value.argmin(1)
    return value[at], end.reshape(theta.shape)[at]
