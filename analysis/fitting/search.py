"""The global minimum of an objective, and the same law refitted under many sets of weights.

Between `analysis.fitting.newton` and `analysis.fitting.fit`.

    found = search(objective)                     # starts are added until several agree on the best value
    again = refit(objective, found, weights)      # (K, n) weights: bootstrap resamples, folds with rows left out
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.fitting.newton import minimise
from analysis.fitting.objective import Objective
from analysis.fitting.starts import starts
from analysis.laws.formula import Array, Integers
from analysis.laws.law import Law

BATCH = 16  # starts taken together
KEPT = 4  # of them, after a rough descent, for the exact one
AGREEING = 3  # starts that must end at the best value, from two batches or more
ROUNDS = 12  # batches tried before it is said that they do not agree
SAME = 1e-6  # relative difference of two values that count as one
CONVERGED = 1e-9  # relative gain that one more Newton step may still promise
ROUGH_CELLS = 16_000  # numbers of the table that the rough descent of a start looks at
LONG = 500  # steps, for the best ends where most were not enough
FEW, MANY = 10, 60  # steps of every start with a parameter held, and of the best one
CHUNK = 250  # refits at once, of some hundred rows; fewer of more
CHUNK_CELLS = 2_000_000  # refits times rows at once

End = tuple[float, float, Array]  # value, gap, theta
Progress = Callable[[int, int], None]  # (done, of)


@dataclass(frozen=True)
class Found:
    """The best minimum. `tried` starts went to the end, `agree` of them reached it; `others` are further minima."""

    theta: Array  # (P,)
    value: float
    gap: float
    tried: int
    agree: int
    others: Array  # (m, P), the lowest first
    twins: Array  # (t, P), further ends with the same value

    @property
    def converged(self) -> bool:
        return bool(np.isfinite(self.value)) and self.gap <= CONVERGED and self.agree >= AGREEING


def search(objective: Objective, seed: int = 0) -> Found:
    """Minimise from starts all over the law's ranges. Never raises for a bad end: `Found.converged` says."""
    low, high = inward_bounds(objective.bound.law)
    rough, exact = descent(objective)
    ends: list[End] = []
    lowest: list[float] = []  # of each batch: starts of one batch may all lie in one basin
    sketch = objective.sketch(ROUGH_CELLS, seed)
    for batch in itertools.islice(starts(sketch, BATCH, seed), ROUNDS):
        near = minimise(sketch, batch, low, high, deltas=(rough,), tolerance=1e-4, most_steps=12)
        chosen = near.theta[np.argsort(near.value, kind="stable")[:KEPT]]
        end = minimise(objective, chosen, low, high, deltas=exact, most_steps=100)
        values = objective.value(end.theta)
        lowest.append(float(values.min()))
        ends = _ranked([*ends, *zip(values, end.gap, end.theta, strict=True)])
        if _agreeing(objective, ends) >= AGREEING and sum(same(v, ends[0][0], objective) for v in lowest) > 1:
            break
    if ends[0][1] > CONVERGED or _agreeing(objective, ends) < AGREEING:  # a valley so flat that starts stopped in it
        best = np.array([theta for _, _, theta in ends[:KEPT]])
        end = minimise(objective, best, low, high, deltas=exact[-1:], most_steps=LONG)
        ends = _ranked([*zip(objective.value(end.theta), end.gap, end.theta, strict=True), *ends[KEPT:]])
    value, gap, theta = ends[0]
    twins = [end[2] for end in ends[1:] if end[1] <= CONVERGED and same(end[0], value, objective)]
    return Found(
        theta,
        value,
        gap,
        len(ends),
        _agreeing(objective, ends),
        _others(ends, objective),
        np.array(twins).reshape(-1, len(theta)),
    )


def improved(objective: Objective, found: Found, theta: Array, seed: int) -> Found:
    """The search gone on from a point `theta` (P,) below its optimum. Where that leads to another value, a further
    search counts how many starts reach it."""
    low, high = inward_bounds(objective.bound.law)
    _, exact = descent(objective)
    end = minimise(objective, theta[None], low, high, deltas=exact[-1:], most_steps=LONG)
    ended = float(objective.value(end.theta)[0])
    if not ended < found.value:
        return found
    new = replace(found, theta=end.theta[0], value=ended, gap=float(end.gap[0]))
    if same(ended, found.value, objective):
        return replace(new, twins=np.concatenate([found.theta[None], found.twins]))
    again = search(objective, seed)
    best, second = (again, new) if again.value < ended else (new, again)
    tried, others = found.tried + again.tried + 1, np.concatenate([found.theta[None], found.others])
    if same(again.value, ended, objective):
        twins = np.concatenate([second.theta[None], again.twins])
        return replace(best, tried=tried, agree=again.agree + 1, others=others, twins=twins)
    agree, others = again.agree if best is again else 1, np.concatenate([second.theta[None], others])
    return replace(best, tried=tried, agree=agree, others=others, twins=again.twins if best is again else others[:0])


def held(
    objective: Objective, index: Integers, at: Array, theta: Array, allowance: float, known: Array | None = None
) -> tuple[Array, Array, Array]:
    """The minimum with parameter `index` (K,) held `at` (K,), from starts `theta` (K, S, P): where the best of the S
    ends (K, P), its value (K,), and how much a further step promises to take from it.

    After a few steps only the best of the S goes on, and only if it may get below what is `known` (K,). A promise of
    `allowance` plays no part.
    """
    members, several, parameters = theta.shape
    bounds, (_, exact) = inward_bounds(objective.bound.law), descent(objective)
    deltas = exact if objective.loss.kind == "lad" else exact[-1:]
    tolerance = 1e-8

    def minimised(starts: Array, index: Integers, most_steps: int) -> tuple[Array, Array, Array]:
        low, high = (np.tile(bound, (len(starts), 1)) for bound in bounds)
        each = np.arange(len(starts))
        low[each, index] = high[each, index] = starts[each, index]
        end = minimise(objective, starts, low, high, deltas=deltas, tolerance=tolerance, most_steps=most_steps)
        return end.theta, objective.value(end.theta), np.nan_to_num(end.gap * np.abs(end.value), posinf=0.0)

    each, theta = np.arange(members), theta.copy()
    theta[each, :, index] = at[:, None]
    theta, value, fall = minimised(theta.reshape(-1, parameters), np.repeat(index, several), FEW)
    best = each, value.reshape(members, several).argmin(1)
    theta, value, fall = (part.reshape(members, several, *part.shape[1:])[best] for part in (theta, value, fall))
    on = np.flatnonzero((fall > allowance) & (value - 10 * fall < (np.inf if known is None else known)))
    if on.size:
        theta[on], value[on], fall[on] = minimised(theta[on], index[on], MANY)
    return theta, value, fall


def refit(
    objective: Objective, found: Found, weights: npt.NDArray[Any], progress: Progress | None = None
) -> tuple[Array, Array, Array]:
    """The minimum for each row of `weights` (K, n), which multiply the objective's own, from the full fit's best
    minima: theta (K, P), value, gap (K,)."""
    low, high = inward_bounds(objective.bound.law)
    origins = [found.theta, *found.others[:2]]
    theta = np.empty((len(weights), len(found.theta)))
    value, gap = np.full(len(weights), np.inf), np.full(len(weights), np.inf)
    _, exact = descent(objective)
    chunk = max(1, min(CHUNK, CHUNK_CELLS // weights.shape[1]))
    for first in range(0, len(weights), chunk):
        part = slice(first, min(first + chunk, len(weights)))
        own = replace(objective, weights=objective.weights * weights[part])
        for origin in origins:
            start = np.repeat(origin[None], part.stop - part.start, axis=0)
            end = minimise(own, start, low, high, deltas=exact, tolerance=1e-9)
            better = end.value < value[part]
            theta[part][better], value[part][better], gap[part][better] = (
                end.theta[better],
                end.value[better],
                end.gap[better],
            )
        if progress:
            progress(part.stop, len(weights))
    return theta, value, gap


def inward_bounds(law: Law) -> tuple[Array, Array]:
    """(P,) lower and upper bounds in the form of `Law.inward`."""
    bounds = np.array([law.bound(name) for name in law.parameters])
    return law.inward(bounds[:, 0]), law.inward(bounds[:, 1])


def same(a: float, b: float, objective: Objective) -> bool:
    """Whether two values of the objective count as one minimum."""
    noise = 1e-13 * float(objective.weights.sum())  # an exact fit: both are rounding
    return abs(a - b) <= SAME * abs(b) + noise


def descent(objective: Objective) -> tuple[float, tuple[float, ...]]:
    """The corners that a fit goes through: a wide one for the rough descent, where the objective is smooth, and those
    of the exact one. (With ever smaller corners the least-absolute fit ends at its vertex.)"""
    loss = objective.loss
    if loss.kind == "ls":
        return np.inf, (np.inf,)
    if loss.kind == "lad":
        wide = 1e-2 if loss.residuals == "log" else 1e-2 * float(np.std(objective.observed))
        return wide, tuple(wide / 4**k for k in range(1, 1 + int(np.log(wide / loss.corner) / np.log(4))))
    return 10 * loss.corner, (3 * loss.corner, loss.corner)


def _ranked(ends: Iterable[tuple[Any, Any, Array]]) -> list[End]:
    return sorted(((float(value), float(gap), theta) for value, gap, theta in ends), key=lambda end: end[0])


def _agreeing(objective: Objective, ends: list[End]) -> int:
    return sum(same(value, ends[0][0], objective) for value, _, _ in ends)


def _others(ends: list[End], objective: Objective) -> Array:
    """Of the minima above the best, one of each value."""
    kept = [ends[0]]
    for end in ends:
        if np.isfinite(end[0]) and end[1] <= 1e-4 and not any(same(end[0], k[0], objective) for k in kept):
            kept.append(end)
    return np.array([theta for _, _, theta in kept[1:]]).reshape(-1, len(ends[0][2]))
