"""What a fit is compared with, as functions that a process of its own is asked for: scipy's L-BFGS-B, and a package.

All start from, and answer with, parameters in the form and order of `Law.inward`, so that one function judges every
answer. The laws are written out for scipy, with their gradients, to have it as fast as numpy allows.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.fitting import starts
from analysis.fitting.fit import fit_law, objective_of
from analysis.fitting.objective import Loss, Objective, huber
from analysis.fitting.search import search
from analysis.formulas.formula import Array
from analysis.formulas.graph import TINY
from analysis.laws.law import Law
from analysis.laws.library import find

DELTA = 1e-3  # Huber's corner, on log losses: Chinchilla's
FEW = 15  # starts, where scipy is tuned
CHUNK = 250  # starts scored at once
# As exact as L-BFGS-B gets; a longer memory than its 10 steps saves nearly half of them on D-CPT.
TIGHT = {"ftol": 1e-15, "gtol": 1e-11, "maxiter": 20_000, "maxfun": 40_000, "maxcor": 20}

Columns = Mapping[str, Array]
Backward = Callable[[Array], list[Any]]  # from d/d(predicted), (n,), to d/d(theta)


@dataclass(frozen=True)
class Problem:
    """A law, a table (columns: its variables, `loss`, perhaps `run`), and the starts (S, P) of the usual practice."""

    name: str
    table: pd.DataFrame
    starts: Array

    @property
    def law(self) -> Law:
        return find(self.name)

    @property
    def predict(self) -> Callable[[Array, Columns], tuple[Array, Backward]]:
        """The law written out, with its gradient."""
        name, _, domains = self.name.partition(":")
        return partial(_shukor_additive, domains.split(",")) if domains else PREDICT[name]

    @cached_property
    def objective(self) -> Objective:
        """The sum of Huber's loss over the residuals of log losses."""
        return objective_of(self.law, self.table, Loss("huber", DELTA))

    @cached_property
    def columns(self) -> Columns:
        plain = {name: self.table[name].to_numpy(dtype=float) for name in self.law.variables}
        logs = {f"log_{name}": np.log(np.maximum(column, TINY)) for name, column in plain.items()}
        return {**plain, **logs, "log_loss": np.log(self.table.loss.to_numpy(dtype=float))}


@dataclass(frozen=True)
class Fitted:
    """Seconds of CPU time, and where the starts ended, (starts, P): the answer is the best of them."""

    seconds: float
    ends: Array


def first_fit(problem: Problem) -> float:
    """Seconds of the first fit in a process: derives the law, imports what it needs of scipy."""
    began = time.process_time()
    fit_law(problem.law, problem.table)
    return time.process_time() - began


def whole_fit(problem: Problem, bootstrap: int = 0) -> tuple[float, Array]:
    """Seconds of `fit_law`, and its bootstrap's draws (B, P)."""
    began = time.process_time()
    fit = fit_law(problem.law, problem.table, bootstrap=bootstrap)
    seconds = time.process_time() - began
    return seconds, np.empty((0, len(problem.law.parameters))) if fit.draws is None else fit.draws.parameters


def ours(problem: Problem) -> Fitted:
    """The search for the optimum, without what `fit_law` says of it."""
    began = time.process_time()
    found = search(problem.objective)
    return Fitted(time.process_time() - began, found.theta[None])


def usual(problem: Problem, every: int) -> Fitted:
    """L-BFGS-B as it comes: finite differences, default tolerances. One in `every` starts is run, all are charged."""
    from scipy.optimize import minimize

    predict, columns = problem.predict, problem.columns

    def objective(theta: Array) -> float:
        predicted, _ = predict(theta, columns)
        return float(huber(np.log(predicted) - columns["log_loss"], DELTA).sum())

    bounds, chosen = list(zip(*problem.law.inward_bounds, strict=True)), problem.starts[::every]
    with np.errstate(all="ignore"):  # far starts overflow
        began = time.process_time()
        ends = [minimize(objective, start, method="L-BFGS-B", bounds=bounds).x for start in chosen]
        seconds = time.process_time() - began
    return Fitted(seconds * len(problem.starts) / len(chosen), np.array(ends))


def tuned(problem: Problem) -> Fitted:
    """Gradients by hand, tight tolerances, centred logarithms, and only the FEW most promising of the starts."""
    return _tuned(problem, lambda: problem.starts[np.argsort(_scores(problem), kind="stable")[:FEW]])


def tuned_from_our_starts(problem: Problem) -> Fitted:
    """The same from the starts of `analysis.fitting.starts`: what is left are the Newton steps."""
    return _tuned(problem, lambda: next(starts.starts(problem.objective, FEW)))


def tuned_refits(problem: Problem, origin: Array, weights: Array) -> Fitted:
    """The same with each row of `weights` (K, n), once each, from the optimum of all rows `origin` (P,)."""
    with np.errstate(all="ignore"):
        began = time.process_time()
        ends = [descend(problem, origin, own) for own in weights]
        return Fitted(time.process_time() - began, np.array(ends))


def package(problem: Problem, grid: Mapping[str, Array]) -> Fitted:
    """`chinchilla` from PyPI on the product of `grid` (its names: logarithms e, a, b, then alpha and beta).

    With its Chinchilla loss for its default, and in one process; its clock includes a figure that it draws.
    """
    import matplotlib

    matplotlib.use("Agg")
    from chinchilla import Chinchilla
    from chinchilla._metrics import log_huber

    assert problem.name == "chinchilla"
    with tempfile.TemporaryDirectory() as folder:
        table = problem.table.assign(C=6 * problem.table.N * problem.table.D)[["C", "N", "D", "loss"]]
        table.to_csv(Path(folder) / "df.csv", index=False)
        fitter = Chinchilla(folder, param_grid=dict(grid), loss_fn=partial(log_huber, delta=DELTA), log_level=50)
        began = time.process_time()
        fitter.fit(parallel=False)
        seconds = time.process_time() - began
    found = np.array([[fitter.params[name] for name in problem.law.parameters]])
    return Fitted(seconds, problem.law.inward(found))


def value_and_gradient(problem: Problem, theta: Array, weights: Array | float = 1.0) -> tuple[float, Array]:
    """The objective at `theta` (P,), and its gradient (P,) by hand."""
    columns = problem.columns
    predicted, backward = problem.predict(theta, columns)
    residuals = np.log(predicted) - columns["log_loss"]
    pull = weights * np.clip(residuals, -DELTA, DELTA) / predicted
    return float((weights * huber(residuals, DELTA)).sum()), np.array(backward(pull))


def _tuned(problem: Problem, choose: Callable[[], Array]) -> Fitted:
    with np.errstate(all="ignore"):
        choose()  # compiles the formula, which a process does once
        began = time.process_time()
        ends = [descend(problem, start) for start in choose()]
        return Fitted(time.process_time() - began, np.array(ends))


def descend(problem: Problem, start: Array, weights: Array | float = 1.0) -> Array:
    """L-BFGS-B with all that helps it. log A and log B are taken at the mean log N and log D: the objective's valley is
    narrow where they are taken at N = D = 1, far from the data."""
    from scipy.optimize import minimize

    names, columns = problem.law.parameters, problem.columns
    turn = np.eye(len(names))
    for factor, exponent, size in (("A", "alpha", "log_N"), ("B", "beta", "log_D")):
        turn[names.index(factor), names.index(exponent)] = columns[size].mean()

    def objective(turned: Array) -> tuple[float, Array]:
        value, gradient = value_and_gradient(problem, turn @ turned, weights)
        return value, turn.T @ gradient

    bounds = list(zip(*problem.law.inward_bounds, strict=True))  # none on what is turned
    turned = np.linalg.solve(turn, start)
    found = minimize(objective, turned, jac=True, method="L-BFGS-B", bounds=bounds, options=TIGHT)
    return np.asarray(turn @ found.x)


def _scores(problem: Problem) -> Array:
    """The objective at all starts, (S,)."""
    parts = range(0, len(problem.starts), CHUNK)
    return np.concatenate([problem.objective.value(problem.starts[first : first + CHUNK]) for first in parts])


def _chinchilla(theta: Array, columns: Columns) -> tuple[Array, Backward]:
    """Predicted losses (n,), and what leads their derivatives back to the parameters'."""
    log_E, log_A, alpha, log_B, beta = theta
    log_N, log_D = columns["log_N"], columns["log_D"]
    E, A, B = np.exp(log_E), np.exp(log_A - alpha * log_N), np.exp(log_B - beta * log_D)

    def backward(pull: Array) -> list[Any]:
        of_A, of_B = pull * A, pull * B
        return [E * pull.sum(), of_A.sum(), -(of_A @ log_N), of_B.sum(), -(of_B @ log_D)]

    return E + A + B, backward


def _dcpt(theta: Array, columns: Columns) -> tuple[Array, Backward]:
    log_E, log_A, alpha, log_B, eta, beta, log_C, log_eps, gamma = theta
    log_N, log_D, log_r = columns["log_N"], columns["log_D"], columns["log_r"]
    eps = np.exp(log_eps)
    shifted = columns["r"] + eps
    log_shifted = np.log(shifted)
    E, A = np.exp(log_E), np.exp(log_A - alpha * log_N)
    B, C = np.exp(log_B + eta * log_r - beta * log_D), np.exp(log_C - gamma * log_shifted)

    def backward(pull: Array) -> list[Any]:
        of_A, of_B, of_C = pull * A, pull * B, pull * C
        return [
            E * pull.sum(),
            of_A.sum(),
            -(of_A @ log_N),
            of_B.sum(),
            of_B @ log_r,
            -(of_B @ log_D),
            of_C.sum(),
            -gamma * eps * (of_C / shifted).sum(),
            -(of_C @ log_shifted),
        ]

    return E + A + B + C, backward


def _shukor_additive(domains: Sequence[str], theta: Array, columns: Columns) -> tuple[Array, Backward]:
    log_E, *shares, log_A, alpha, log_B, beta = theta
    log_N, log_D = columns["log_N"], columns["log_D"]
    E, A, B = np.exp(log_E), np.exp(log_A - alpha * log_N), np.exp(log_B - beta * log_D)
    logs = [columns[f"log_{name}"] for name in domains]
    parts = [np.exp(shares[2 * i] + shares[2 * i + 1] * log) for i, log in enumerate(logs)]
    mixture = 1 / sum(parts)

    def backward(pull: Array) -> list[Any]:
        of_A, of_B = pull * A, pull * B
        of_parts = [-pull * mixture**2 * part for part in parts]
        of_shares = [found for part, log in zip(of_parts, logs, strict=True) for found in (part.sum(), part @ log)]
        return [E * pull.sum(), *of_shares, of_A.sum(), -(of_A @ log_N), of_B.sum(), -(of_B @ log_D)]

    return E + mixture + A + B, backward


PREDICT: dict[str, Callable[[Array, Columns], tuple[Array, Backward]]] = {"chinchilla": _chinchilla, "dcpt": _dcpt}
