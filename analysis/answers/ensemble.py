"""The estimate and the bootstrap draws of fits, taken together, and the best point of all their curves at once.

Beneath `analysis.answers.optimise`, `analysis.answers.simplex` and `analysis.answers.schedule`. Losses have a first
axis of K rows: row 0 is the estimate, the others are draws.

    (general, domain), paired = ensembles([general_fit, domain_fit])
    r = solve(lambda r: domain.loss({"r": r}), lambda r: general.loss({"r": 1 - r}) - limit)      # (K,)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.answers.measured import share_range
from analysis.fitting.fit import Fit
from analysis.formulas import formula
from analysis.formulas.formula import Array
from analysis.laws.law import Law
from harness.core.errors import InputError

POINTS = 1001  # of the first grid over a variable
ZOOMS, FINER = 3, 20  # grids around its best point, and how much finer each is: 1e-3 becomes 1e-7
SLACK = 1e-9  # nats over a limit that are rounding
EDGE = 1e-6  # of a variable's range: this near to an end is on it

Curve = Callable[[Array], Array]  # points (1 or K, ..., n) -> what K curves have there, (1 or K, ..., n)


@dataclass(frozen=True)
class Ensemble:
    """A fit's estimate and its draws: `theta`, (K, P) in the form of `Law.inward`, has the estimate in row 0."""

    fit: Fit
    theta: Array

    def loss(self, columns: Mapping[str, Any], by: tuple[str, ...] = ()) -> Array:
        """Losses (K, ...) at columns that broadcast to (1 or K, ...): each row at its own points. r is the share of the
        law's own corpus, whatever its variable is called. Columns that the law has no variable for play no part. `by`:
        the derivative with respect to these variables instead."""
        law = self.fit.law
        function = formula.derivative(law.form, by) if by else formula.value(law.form)
        arguments, shape = self._laid_out(columns)
        with np.errstate(all="ignore"):  # draws far off may overflow; what is not finite is never chosen
            found = function(*arguments)
        return np.broadcast_to(found, (len(self.theta), math.prod(shape[1:]))).reshape(-1, *shape[1:])

    def derivatives(self, columns: Mapping[str, Any], by: tuple[str, ...]) -> tuple[Array, Array]:
        """The gradient (K, m) and Hessian (K, m, m) of the losses with respect to m variables, at columns (1 or K,)."""
        function, pairs = formula.derivatives(self.fit.law.form, by)
        arguments, _ = self._laid_out({name: np.reshape(column, (-1, 1)) for name, column in columns.items()})
        rows, m = len(self.theta), len(by)
        with np.errstate(all="ignore"):
            found = [np.broadcast_to(part, (rows, 1))[:, 0] for part in function(*arguments)]
        hessian = np.zeros((rows, m, m))
        for (i, j), entry in zip(pairs, found[1 + m :], strict=True):
            hessian[:, i, j] = hessian[:, j, i] = entry
        return np.stack(found[1 : 1 + m], axis=1), hessian

    def _laid_out(self, columns: Mapping[str, Any]) -> tuple[list[Array], tuple[int, ...]]:
        """What functions of the law's formula take, at columns that broadcast to one shape; and this shape."""
        law, columns = self.fit.law, named(self.fit.law, columns)
        if missing := [name for name in law.variables if name not in columns]:
            raise InputError(
                "law",
                law.name,
                f"depends on {', '.join(missing)}, which this question does not give",
                "give it, or take another law",
            )
        shaped = np.broadcast_arrays(*(np.atleast_2d(np.asarray(columns[name], float)) for name in law.variables))
        shape = shaped[0].shape
        flat = {name: array.reshape(shape[0], -1) for name, array in zip(law.variables, shaped, strict=True)}
        return formula.arguments(self.theta, formula.columns_of(law.form, flat)), shape


def named(law: Law, columns: Mapping[str, Any]) -> Mapping[str, Any]:
    """Columns in which r, the share of a law's own corpus, has the name that the law gives it."""
    share = law.own_share
    return columns if not share or share in columns or "r" not in columns else {**columns, share: columns["r"]}


def settled(fit: Fit, given: Mapping[str, float]) -> Fit:
    """The fit at given values of some variables of its law, such as the tokens that a corpus has. Raises InputError."""
    mine = {name: value for name, value in given.items() if name in fit.law.variables}
    law = fit.law.at(mine)
    kept = [fit.law.parameters.index(name) for name in law.parameters]
    draws = fit.draws and replace(fit.draws, parameters=fit.draws.parameters[:, kept])
    parameters = {name: fit.parameters[name] for name in law.parameters}
    found = replace(fit, law=law, fixed={**fit.fixed, **mine}, parameters=parameters, draws=draws)
    if mine and fit.rows is not None:  # its rows are moved there by the law
        moved = fit.rows[fit.target] * found.predict(fit.rows) / fit.predict(fit.rows)
        found = replace(found, rows=fit.rows.assign(**{fit.target: moved}))
    return found


def ensembles(fits: Sequence[Fit], independent: bool = False) -> tuple[list[Ensemble], bool | None]:
    """Estimates and draws of fits that answer one question together; whether the draws are paired, None if there is
    nothing to pair.

    A resample for which one of the fits failed is left out for all. Raises InputError for draws that are not paired,
    unless they are `independent`: then they are matched at random, as many as the fewest.
    """
    estimates = [fit.law.inward(np.array([[fit.parameters[name] for name in fit.law.parameters]])) for fit in fits]
    draws = [fit.draws for fit in fits if fit.draws is not None]
    if not draws:
        return [Ensemble(fit, theta) for fit, theta in zip(fits, estimates, strict=True)], None
    by_own_share = len(fits) > 1 and any(map(_by_own_share, fits))  # r of one fit is 1 - r of the other: other runs
    paired = all(draws[0].paired(other) for other in draws[1:]) and not by_own_share
    if len(draws) < len(fits) or not (paired or independent):
        why = "one fit has none" if len(draws) < len(fits) else "the fits did not see the same resamples of the runs"
        told = f"{len(draws)} of {len(fits)} fits"
        raise InputError("draws", told, f"they are not paired: {why}", _pairing(fits))
    count, random = min(len(each.parameters) for each in draws), np.random.default_rng(0)
    rows = [each.parameters for each in draws]
    if not paired:  # equal seeds would match resamples of different runs by their places in the tables
        rows = [random.permutation(parameters)[:count] for parameters in rows]
    kept = np.all([np.isfinite(parameters).all(-1) for parameters in rows], axis=0)
    found = [
        Ensemble(fit, np.concatenate([theta, fit.law.inward(parameters[kept])]))
        for fit, theta, parameters in zip(fits, estimates, rows, strict=True)
    ]
    return found, paired if len(fits) > 1 else None


def _by_own_share(fit: Fit) -> bool:
    """Whether runs are told apart by the share of the fit's own corpus."""
    return bool(fit.law.own_share) and fit.law.own_share in (fit.group or "").split(",")


def _pairing(fits: Sequence[Fit]) -> str:
    """How to make draws of fits that are paired."""
    if any(map(_by_own_share, fits)):
        group = ",".join("d" if name == fits[0].law.own_share else name for name in (fits[0].group or "").split(","))
        both = f"--map d=r for one and d=1-r for the other, with --group {group} for both"
        return f"runs are told apart by the share of a fit's own corpus; tell them apart by one share: {both}"
    groups = " and ".join(dict.fromkeys(fit.group or "none" for fit in fits))
    alike = f"the same --group (here {groups}), --seed and --bootstrap"
    return f"fit all to the same runs, resampled alike: {alike}; or add --independent, if the runs are others"


def solve(
    objective: Curve,
    excess: Curve | None = None,
    low: float = 0.0,
    high: float = 1.0,
    *,
    points: int = POINTS,
    finer: int = FINER,
) -> Array:
    """argmin of `objective` over [low, high] where `excess` <= 0, of each curve: (K, ...); NaN where there is none.

    A grid finds the best admitted point whatever the shapes (several minima, several crossings of the limit), then ever
    finer ones around it; where no point of the grid is admitted, around that of the least excess.
    """
    reach = (high - low) / (points - 1)
    best, admitted = best_of(objective, excess, np.linspace(low, high, points)[None])
    for _ in range(ZOOMS):
        around = best[..., None] + reach * np.linspace(-1, 1, 2 * finer + 1)
        best, admitted = best_of(objective, excess, np.clip(around, low, high))
        reach /= finer
    return np.where(admitted, best, np.nan)


def best_of(objective: Curve, excess: Curve | None, points: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Along the last axis the admitted point of the least objective, and whether there is one."""
    values = objective(points)
    over = np.zeros((1,)) if excess is None else excess(points)
    values, over, points = np.broadcast_arrays(values, np.where(np.isnan(over), np.inf, over), points)
    admitted = (over <= SLACK) & np.isfinite(values)
    some = np.asarray(admitted.any(-1))
    index = np.where(some, np.where(admitted, values, np.inf).argmin(-1), over.argmin(-1))
    return np.take_along_axis(points, index[..., None], -1)[..., 0], some


def status_of(best: float, objective: Curve, excess: Curve | None = None, low: float = 0.0, high: float = 1.0) -> str:
    """What decides the answer `best` that `solve` found for the first curve: interior, on_bound (an end of [low,
    high]), on_limit (the optimum would be a point that is not admitted), infeasible."""
    if math.isnan(best):
        return "infeasible"
    if excess is not None and excess(solve(objective, None, low, high)[:1, None])[0, 0] > SLACK:
        return "on_limit"
    return "on_bound" if min(best - low, high - best) <= EDGE * (high - low) else "interior"


def extrapolation(fit: Fit, point: Mapping[str, float]) -> dict[str, float]:
    """Variable -> how far a point lies outside the fit's data: x/high or low/x; at a zero 1 + distance/range."""
    found, given = {}, {**fit.fixed, **named(fit.law, point)}
    rest = share_range(fit, fit.law.rest) if fit.law.rest else None
    for name, (low, high) in {**fit.range, **({fit.law.rest: rest} if rest else {})}.items():
        x = given.get(name, math.nan)
        if x < low * (1 - EDGE) or x > high * (1 + EDGE):
            near, far = (x, low) if x < low else (high, x)
            found[name] = float(far / near if near > 0 else 1 + (far - near) / max(high - low, 1e-300))
    return found


def farthest(*found: Mapping[str, float]) -> dict[str, float]:
    """Of the extrapolations of several fits the largest of each variable."""
    names = sorted({name for each in found for name in each})
    return {name: max(each[name] for each in found if name in each) for name in names}
