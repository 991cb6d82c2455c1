"""The global minimum of an objective.

Between `analysis.fitting.newton` and `analysis.fitting.fit`.

    found = search(objective)                     # again from other starts, unless the first leave no doubt
    found.converged                               # whether two searches agree on the value
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.fitting.newton import Minimum, minimise, settle
from analysis.fitting.objective import Objective
from analysis.fitting.starts import axis, starts, through
from analysis.formulas.formula import Array, Integers

BATCH = 16  # starts taken together
KEPT = 4  # of them, after a rough descent, for the exact one
SAME = 1e-6  # relative difference of two values that count as one
CONVERGED = 1e-9  # relative gain that one more Newton step may still promise
GLANCE, ROUGH = 4, 8  # steps of the rough descent of all starts of a batch, and of the better half
ROUGH_CELLS = 16_000  # numbers of the table that it looks at
ROUGH_ROWS = 320  # and rows: what it costs is then the number of steps
ROUGHLY = 1e-2  # relative difference of two rough ends that may be of one minimum
SMALL = 1e-2  # of every prediction: a term that may be none
SEARCHES = 4  # at most
LOST = 2  # whose best descent did not end, of those
LOOKS, ENOUGH = 8, 2  # minima through which grids are laid in one search, at most and at least
LOOKED_AT, NEARLY = 1_000, 60  # rows and steps for their starts
OFF = 6  # places where a parameter at its end is held off it
APART = 1e-5  # relative difference of two of their ends that both go on
MOST, BRIEF = 30, 40  # steps of starts, and of those that only have to show whether they are lower
LONG = 1000  # steps, for the best ends where most were not enough
FEW, MANY = 10, 60  # steps of every start with a parameter held, and of the best one

End = tuple[float, float, Array]  # value, gap, theta
Progress = Callable[[int, int], None]  # (done, of)


@dataclass(frozen=True)
class Found:
    """The best minimum. `tried` starts went to the end, `agree` of them reached it; `others` are further minima; `sure`
    is said of the value, see `search`."""

    theta: Array  # (P,)
    value: float
    gap: float
    tried: int
    agree: int
    others: Array  # (m, P), the lowest first
    twins: Array  # (t, P), further ends with the same value
    sure: bool

    @property
    def converged(self) -> bool:
        return bool(np.isfinite(self.value)) and self.gap <= CONVERGED and self.sure


def search(objective: Objective, seed: int = 0) -> Found:
    """Minimise from starts all over the law's ranges. Never raises for a bad end: `Found.converged` says.

    Where all first starts end at one value, inside the bounds and with no term too small to be told from none, that is
    the minimum. Any other fit is searched again, from starts not used yet, until two searches end at the lowest value
    of all (to SAME of it), SEARCHES times at most: without that it is not said to have converged. It
    is not searched on after LOST whose best descent came to no end.
    """
    _, exact = objective.corners
    if _convex(objective):
        return _found(objective, _descended(objective, next(starts(objective, 1, seed)), exact, LONG), True)
    batches = starts(objective.sketch(ROUGH_CELLS, ROUGH_ROWS, seed), BATCH, seed)
    ends: list[End] = []
    lowest: list[float] = []  # of each search
    sure, lost = False, 0
    while not sure and len(lowest) < SEARCHES and lost < LOST:
        new = _of_starts(objective, [next(batches), next(batches)], seed + len(lowest))
        plain = _agreeing(objective, new) == len(new) and not _at_end(objective, new[0][2]).any()
        if not plain:
            new = _released(objective, _looked_around(objective, new, seed + len(lowest)))
        new = _settled(objective, new)
        ends, lowest, lost = _ranked([*ends, *new]), [*lowest, new[0][0]], lost + (not new[0][1] <= CONVERGED)
        sure = (plain and len(lowest) == 1) or sum(same(value, ends[0][0], objective) for value in lowest) > 1
    return _found(objective, ends, sure)


def _of_starts(objective: Objective, two: list[Array], seed: int) -> list[End]:
    """Where the most promising of two batches of starts end, the lowest first."""
    low, high = objective.bound.law.inward_bounds
    rough, exact = objective.corners
    sketch = objective.sketch(ROUGH_CELLS, ROUGH_ROWS, seed)
    near = [_distinct(part) for part in _roughly(sketch, two, low, high, rough)]
    return _ranked(_descended(objective, np.concatenate(near), exact, MOST))


def _convex(objective: Objective) -> bool:
    """Whether the objective is convex in the law's parameters: a law linear in all of them, and residuals as they are
    (the logarithm of a prediction bends what lies above the observed)."""
    law = objective.bound.law
    return set(law.linear) == set(law.parameters) and objective.loss.residuals == "raw"


def _found(objective: Objective, ends: list[End], sure: bool) -> Found:
    """What `search` answers with, of all ends."""
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
        sure,
    )


def _descended(objective: Objective, theta: Array, deltas: tuple[float, ...], most_steps: int) -> list[End]:
    """Where exact descents from theta (K, P) end."""
    if not len(theta):
        return []
    low, high = objective.bound.law.inward_bounds
    end = minimise(objective, theta, low, high, deltas=deltas, most_steps=most_steps)
    return [*zip(map(float, objective.value(end.theta)), map(float, end.gap), end.theta, strict=True)]


def _roughly(sketch: Objective, batches: Sequence[Array], low: Array, high: Array, delta: float) -> list[Minimum]:
    """Where the better half of each batch (K, P) ends roughly. A step uphill is not mended but taken shorter: that
    costs less than it saves."""
    roughly = partial(minimise, sketch, low=low, high=high, deltas=(delta,), tolerance=1e-4, back=0)
    first = roughly(np.concatenate(batches), most_steps=GLANCE)
    parts = np.split(np.arange(len(first.value)), np.cumsum([len(batch) for batch in batches])[:-1])
    better = [part[np.argsort(first.value[part], kind="stable")[: (len(part) + 1) // 2]] for part in parts]
    end = roughly(first.theta[np.concatenate(better)], most_steps=ROUGH)
    parts = np.split(np.arange(len(end.value)), np.cumsum([len(part) for part in better])[:-1])
    return [Minimum(end.theta[part], end.value[part], end.gap[part], end.steps) for part in parts]


def _distinct(near: Minimum) -> Array:
    """Of rough ends the KEPT for the exact descent: the two lowest, and the lowest that are not as low as those."""
    order = [int(i) for i in np.argsort(near.value, kind="stable")]
    chosen = order[:2]
    for i in order[2:]:
        if len(chosen) < KEPT and not any(near.value[i] - near.value[k] <= ROUGHLY * near.value[k] for k in chosen):
            chosen.append(i)
    chosen += [i for i in order if i not in chosen][: KEPT - len(chosen)]
    return near.theta[chosen]


def _settled(objective: Objective, ends: list[End]) -> list[End]:
    """The ends, the lowest of them all the way down."""
    low, high = objective.bound.law.inward_bounds
    last = objective.corners[1][-1]
    if ends[0][1] > CONVERGED:  # a valley so flat that descents stopped in it
        ends = _ranked([*_descended(objective, np.array([end[2] for end in ends[:2]]), (last,), LONG), *ends[2:]])
    if ends[0][1] > CONVERGED:  # a kink, where Newton's promise is not kept
        end = settle(objective, np.array([end[2] for end in ends[:KEPT]]), low, high, last)
        ends = _ranked([*zip(objective.value(end.theta), end.gap, end.theta, strict=True), *ends[KEPT:]])
    return ends


def _looked_around(objective: Objective, ends: list[End], seed: int) -> list[End]:
    """The ends, with those of starts on grids through the lowest of them (`starts.through`): a term that has vanished
    does not show what else it could be, and where terms have minima of their own the starts see few of their
    combinations. Until the lowest of all, and one more, were looked through."""
    low, high = objective.bound.law.inward_bounds
    last = (objective.corners[1][-1],)
    part = objective.sketch(ROUGH_CELLS, LOOKED_AT, seed)
    seen: list[float] = []
    while len(seen) < LOOKS:
        fresh = [end for end in ends if not any(same(end[0], value, objective) for value in seen)]
        done = not fresh or (fresh[0] is not ends[0] and len(seen) >= ENOUGH)
        if done or not np.isfinite(fresh[0][0]):
            break
        seen.append(fresh[0][0])
        grids = through(part, fresh[0][2], BATCH, seed)
        near = minimise(part, grids, low, high, deltas=last, tolerance=1e-8, most_steps=NEARLY, back=0)
        chosen: list[int] = []  # of several that came to one end, one
        for i in np.argsort(near.value, kind="stable"):
            if len(chosen) < 2 * KEPT and all(abs(near.value[i] / near.value[k] - 1) > APART for k in chosen):
                chosen.append(int(i))
        ends = _ranked([*ends, *_descended(objective, near.theta[chosen], last, BRIEF)])
    return ends


def _released(objective: Objective, ends: list[End]) -> list[End]:
    """The ends, with those of the lowest when a parameter that is at its end is held off it, at places all over the
    range of its starts, and then let go: far from an end there may be a minimum that no small step leads to."""
    law, lowest, last = objective.bound.law, ends[0][2], objective.corners[1][-1:]
    if not np.isfinite(ends[0][0]):
        return ends
    at_end = _at_end(objective, lowest)
    on = [name for name in law.starts if at_end[law.parameters.index(name)]]
    if not on:
        return ends
    index = np.repeat([law.parameters.index(name) for name in on], OFF)
    places = np.concatenate([axis(law, name, OFF) for name in on])
    at = np.where(objective.logarithms[index], np.log(places), places)
    off, _, _ = held(objective, index, at, np.tile(lowest, (len(at), 1, 1)), 0.0)
    return _ranked([*ends, *_descended(objective, off, last, BRIEF)])


def _at_end(objective: Objective, theta: Array) -> npt.NDArray[np.bool_]:
    """Which parameters are on a bound, or so small that their terms are not told from none."""
    low, high = objective.bound.law.inward_bounds
    _, _, _, majorizer = objective.derivatives(theta[None], objective.corners[1][-1])
    vanished = objective.logarithms & (np.diag(majorizer[0]) <= SMALL**2 * objective.scale)
    return np.asarray((np.minimum(theta - low, high - theta) < 1e-9) | vanished)


def improved(objective: Objective, found: Found, theta: Array, seed: int) -> Found:
    """The search gone on from a point `theta` (P,) below its optimum. Where that leads to another value, a further
    search counts how many starts reach it."""
    low, high = objective.bound.law.inward_bounds
    _, exact = objective.corners
    end = minimise(objective, theta[None], low, high, deltas=exact[-1:], most_steps=LONG)
    ended = float(objective.value(end.theta)[0])
    if not ended < found.value:
        return found
    new = replace(found, theta=end.theta[0], value=ended, gap=float(end.gap[0]), sure=False)
    if same(ended, found.value, objective):
        return replace(new, sure=found.sure, twins=np.concatenate([found.theta[None], found.twins]))
    again = search(objective, seed)
    best, second = (again, new) if again.value < ended else (new, again)
    tried, others = found.tried + again.tried + 1, np.concatenate([found.theta[None], found.others])
    if same(again.value, ended, objective):
        twins = np.concatenate([second.theta[None], again.twins])
        return replace(best, tried=tried, agree=again.agree + 1, sure=True, others=others, twins=twins)
    agree, others = again.agree if best is again else 1, np.concatenate([second.theta[None], others])
    return replace(best, tried=tried, agree=agree, others=others, twins=again.twins if best is again else others[:0])


def held(
    objective: Objective, index: Integers, at: Array, theta: Array, allowance: float, known: Array | None = None
) -> tuple[Array, Array, Array]:
    """The minimum with parameter `index` (K,) held `at` (K,), from starts `theta` (K, S, P): where the best of the S
    ends (K, P), its value (K,), and how much a further step promises to take from it.

    After a few steps only the best of the S goes on, and only if it may get below what is `known` (K,). A promise of
    `allowance` plays no part. Least absolute residuals go through every other corner.
    """
    members, several, parameters = theta.shape
    bounds, (_, exact) = objective.bound.law.inward_bounds, objective.corners
    deltas = exact[::-2][::-1] if objective.loss.kind == "lad" else exact[-1:]
    tolerance = 1e-8

    def minimised(
        starts: Array, index: Integers, deltas: tuple[float, ...], most_steps: int
    ) -> tuple[Array, Array, Array]:
        low, high = (np.tile(bound, (len(starts), 1)) for bound in bounds)
        each = np.arange(len(starts))
        low[each, index] = high[each, index] = starts[each, index]
        end = minimise(objective, starts, low, high, deltas=deltas, tolerance=tolerance, most_steps=most_steps)
        return end.theta, objective.value(end.theta), np.nan_to_num(end.gap * np.abs(end.value), posinf=0.0)

    each, theta = np.arange(members), theta.copy()
    theta[each, :, index] = at[:, None]
    theta, value, fall = minimised(theta.reshape(-1, parameters), np.repeat(index, several), deltas, FEW)
    best = each, value.reshape(members, several).argmin(1)
    theta, value, fall = (part.reshape(members, several, *part.shape[1:])[best] for part in (theta, value, fall))
    on = np.flatnonzero((fall > allowance) & (value - 10 * fall < (np.inf if known is None else known)))
    if on.size:
        theta[on], value[on], fall[on] = minimised(theta[on], index[on], deltas[-1:], MANY)
    return theta, value, fall


def same(a: float, b: float, objective: Objective) -> bool:
    """Whether two values of the objective count as one minimum."""
    noise = 1e-13 * float(objective.weights.sum())  # an exact fit: both are rounding
    return abs(a - b) <= SAME * abs(b) + noise


def _ranked(ends: Iterable[tuple[Any, Any, Array]]) -> list[End]:
    return sorted(((float(value), float(gap), theta) for value, gap, theta in ends), key=lambda end: end[0])


def _agreeing(objective: Objective, ends: list[End]) -> int:
    return sum(same(value, ends[0][0], objective) for value, _, _ in ends)


def _others(ends: list[End], objective: Objective, gap: float = 1e-4) -> Array:
    """Of the minima above the best, one of each value."""
    kept = [ends[0]]
    for end in ends:
        if np.isfinite(end[0]) and end[1] <= gap and not any(same(end[0], k[0], objective) for k in kept):
            kept.append(end)
    return np.array([theta for _, _, theta in kept[1:]]).reshape(-1, len(ends[0][2]))
