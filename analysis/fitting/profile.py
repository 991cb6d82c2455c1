"""Profile intervals: how far one parameter can go while all others follow, before the fit is clearly worse.

For parameters whose likelihood is flat or lopsided, where a standard error says little. `fit_law` asks for them:

    found, known, profiles = profiled(objective, found, clusters)     # of what is flat, around the best optimum seen
    curve = profile(objective, found, known, "alpha")                 # of any parameter
    curve.low, curve.high                                             # None: open on that side

An interval is the hull of all values at which the objective, minimised over the other parameters, lies no more than
`allowed` above its minimum: where several basins reach that low, it spans them. A dip of the profile is a minimum of
the objective itself, so the basins to look for are those that the search saw (`Found.others`), those that starts with
the parameter held end in, and the ends of its range. All in the coordinate of the search (`Law.inward`), in one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from analysis.fitting.objective import Objective
from analysis.fitting.search import ROUGH_CELLS, Found, held, improved, same
from analysis.fitting.standard_errors import DECADE, Information, flat, inform
from analysis.fitting.starts import resolved, starts
from analysis.formulas.formula import Array, Integers
from analysis.laws.law import Law

WIDTH, ROUNDS = 0.005, 30  # of the interval: how closely an end is enclosed, each round to a quarter
REACH = 200.0  # e-folds: what is this much smaller, or larger, is zero, or infinite, to every law
DOUBLINGS = 24  # of the first step
HIGH, UNSURE = 25.0, 5.0  # times what is allowed: not followed further; outside, wherever its descent may lead
POOL = 32  # starts that a held value of a parameter is tried with
CELLS = 20_000_000  # numbers that scoring them may take
TAKEN, PASSES = 2, 4  # of them are descended from; of handing each point its neighbours' ends
RESTARTS = 3  # from a better optimum

Descend = Callable[..., tuple[Array, Array, Array]]  # `held`, of this objective


@dataclass(frozen=True)
class Profile:
    """`rise` of the objective above its minimum at `values` of the parameter (increasing, in the law's units), the rise
    `allowed`, and the interval's ends; None: the objective does not rise enough up to the parameter's bound."""

    name: str
    values: Array
    rise: Array
    allowed: float
    low: float | None
    high: float | None


@dataclass
class _Curve:
    """Points of one parameter's profile, in increasing order: where it is held `at` (m,), where the descent of all
    others ended `theta` (m, P), its `value` (m,), and how far that may still `fall` (m,)."""

    index: int
    minimum: float
    allowed: float
    at: Array
    theta: Array
    value: Array
    fall: Array

    @property
    def high(self) -> float:
        return self.minimum + HIGH * self.allowed

    def add(self, at: Array, theta: Array, value: Array, fall: Array) -> None:
        merged = np.concatenate([self.at, at])
        order = np.argsort(merged, kind="stable")
        self.at = merged[order]
        self.theta = np.concatenate([self.theta, theta])[order]
        self.value = np.concatenate([self.value, value])[order]
        self.fall = np.concatenate([self.fall, fall])[order]

    def take(self, points: Integers, theta: Array, value: Array, fall: Array) -> Integers:
        """The points whose new ends are better, which they now have; a point may have several."""
        order = np.argsort(-value, kind="stable")  # the best one last
        better = order[value[order] < self.value[points[order]]]
        into = points[better]
        self.theta[into], self.value[into], self.fall[into] = theta[better], value[better], fall[better]
        return into

    def ahead(self, at: float, side: int) -> Array:
        """Two starts for a point further out: the outermost end, and the line through the last two."""
        last, before = (-1, -2) if side > 0 else (0, 1)
        found = np.stack([self.theta[last], self.theta[last]])
        if len(self.at) > 1:
            share = (at - self.at[last]) / (self.at[last] - self.at[before])
            found[1] += share * (self.theta[last] - self.theta[before])
        found[:, self.index] = at
        return found

    def bracket(self, side: int) -> tuple[int, int] | None:
        """The outermost point inside the interval and the next one; None if there is no next. Beyond that point, one
        whose descent has not come to its end is inside as long as it may get there."""
        rise, last = (self.value - self.minimum) / self.allowed, len(self.at) - 1
        unsure = (rise <= UNSURE) & (rise - self.fall / self.allowed <= 1)
        inside = np.flatnonzero(rise <= 1)
        if not inside.size:  # a law that overflows at its own minimum
            return None
        inner = int(inside[-1] if side > 0 else inside[0])
        while 0 <= inner + side <= last and unsure[inner + side]:
            inner += side
        return (inner, inner + side) if 0 <= inner + side <= last else None

    def end(self, side: int) -> float | None:
        """Where the rise crosses what is allowed; None where it does not."""
        bracket, ceiling = self.bracket(side), self.minimum + self.allowed
        if bracket is None:
            return None
        (a, b), (low, high) = self.at[list(bracket)], self.value[list(bracket)]
        return float(a + (b - a) * ((ceiling - low) / (high - low) if low <= ceiling < high < np.inf else 0.5))


def profiled(
    objective: Objective, found: Found, clusters: Integers | None, level: float = 0.9, seed: int = 0
) -> tuple[Found, Information, dict[str, Profile]]:
    """The optimum, what is known there, and the profiles of its flat parameters.

    Where a point of a profile lies below the optimum, the search goes on from there: no fit is worse than what its own
    profiles saw. If it does not converge there, the profiles are not worked out anew.
    """
    law = objective.bound.law
    for left in range(RESTARTS, -1, -1):
        known, before = inform(objective, found, clusters), found
        curves = _curves(objective, found, known, flat(law, known), level, seed)
        lowest = min(curves, key=lambda curve: curve.value.min(), default=None)
        if lowest is not None and lowest.value.min() < found.value:
            found = improved(objective, found, lowest.theta[lowest.value.argmin()], seed + 1)
        if not left or not found.converged or same(found.value, before.value, objective):
            break
    if found is not before:  # by no more than counts as one value: the curves stand
        known = inform(objective, found, clusters)
    allowed, theta = known.allowed(level), found.theta  # what a point of any profile allows is in everybody's own
    far = [np.where(c.value[:, None] - found.value <= allowed, np.abs(c.theta - theta), 0.0).max(0) for c in curves]
    away = np.array(far).reshape(-1, len(theta)).max(0, initial=0.0)
    late = set(flat(law, known, away)) - {law.parameters[curve.index] for curve in curves}
    curves += _curves(objective, found, known, sorted(late, key=law.parameters.index), level, seed)
    for curve in curves:
        curve.minimum, curve.allowed = found.value, float(allowed[curve.index])
    told = [_told(law, found, curve) for curve in sorted(curves, key=lambda curve: curve.index)]
    return found, known, {one.name: one for one in told}


def profile(objective: Objective, found: Found, known: Information, name: str, level: float = 0.9) -> Profile:
    """Of one parameter, around an optimum that stays as it is."""
    [curve] = _curves(objective, found, known, [name], level, 0)
    return _told(objective.bound.law, found, curve)


def _told(law: Law, found: Found, curve: _Curve) -> Profile:
    """A curve in the law's units."""
    ends = [curve.end(side) for side in (-1, 1)]
    theta = np.repeat(found.theta[None], len(curve.at) + 2, axis=0)
    theta[:, curve.index] = [*curve.at, *(np.nan if end is None else end for end in ends)]
    *values, low, high = law.outward(theta)[:, curve.index]
    rise, told = np.maximum(curve.value - curve.minimum, 0.0), [None if np.isnan(x) else float(x) for x in (low, high)]
    return Profile(law.parameters[curve.index], np.array(values), rise, curve.allowed, *told)


def _curves(
    objective: Objective, found: Found, known: Information, names: Sequence[str], level: float, seed: int
) -> list[_Curve]:
    """Outwards from the estimate by growing steps, then further starts everywhere, then the ends enclosed."""
    law, rises, here = objective.bound.law, known.allowed(level), found.theta[None]
    start = here, np.array([found.value]), np.zeros(1)
    curves = [_Curve(i, found.value, float(rises[i]), here[:, i], *start) for i in map(law.parameters.index, names)]
    if curves:
        descend = partial(held, objective, allowance=1e-4 * min(curve.allowed for curve in curves))
        _outwards(objective, curves, descend, found, known)
        minima = np.concatenate([found.others, found.twins])
        values = objective.value(minima)
        for curve in curves:
            new = (values <= curve.high) & (minima[:, [curve.index]] != curve.at).all(-1)
            curve.add(minima[new, curve.index], minima[new], values[new], np.zeros(int(new.sum())))
        _from_elsewhere(objective, curves, descend, found, seed)
        _neighbours(curves, descend)
        _enclose(law, curves, descend)
    return curves


def _outwards(
    objective: Objective, curves: Sequence[_Curve], descend: Descend, found: Found, known: Information
) -> None:
    """Points at doubling distances, to the bounds: from the ends of the last two, with the linear parameters as they
    are and solved for."""
    law, (low, high) = objective.bound.law, objective.bound.law.inward_bounds
    going = [(curve, side, _first_step(law, known, curve.index)) for curve in curves for side in (-1, 1)]
    for doubling in range(DOUBLINGS):
        now = []
        for curve, side, step in going:
            i, origin = curve.index, float(found.theta[curve.index])
            room = float(high[i] - origin if side > 0 else origin - low[i])
            if law.on_log_scale(law.parameters[i]):
                room = min(room, max(-side * origin, 0.0) + REACH)
            distance = min(step * 2.0**doubling, room)
            if distance > abs(curve.at[-1 if side > 0 else 0] - origin):
                now.append((curve, side, step, origin + side * distance))
        if not now:
            break
        theta = [curve.ahead(at, side) for curve, side, _, at in now]
        solved = [
            resolved(objective, np.clip(two, low, high), one[0].index) for two, one in zip(theta, now, strict=True)
        ]
        both = np.concatenate([np.stack(theta), np.stack(solved)], axis=1)
        index, at = np.array([curve.index for curve, *_ in now]), np.array([at for *_, at in now])
        ends = descend(index, at, both, known=np.array([curve.high for curve, *_ in now]))
        for k, (curve, *_) in enumerate(now):
            curve.add(at[k : k + 1], *(end[k : k + 1] for end in ends))
        going = [(curve, side, step) for curve, side, step, _ in now]


def _first_step(law: Law, known: Information, i: int) -> float:
    """Half a standard error, within a sixteenth of what is plausible."""
    name, half = law.parameters[i], 0.5 * float(known.se[i])
    low, high = (0.0, 4.0) if law.on_log_scale(name) else law.starts.get(name, (0.0, np.inf))
    step = min(half if half > 0 else np.inf, (high - low) / 16)
    return step if np.isfinite(step) else 1.0


def _from_elsewhere(objective: Objective, curves: Sequence[_Curve], descend: Descend, found: Found, seed: int) -> None:
    """At every point, the most promising of other starts: further minima of the search, and points from all over the
    law's ranges, their linear parameters solved for with the held one as it is."""
    (low, high), sketch = objective.bound.law.inward_bounds, objective.sketch(ROUGH_CELLS, ROUGH_CELLS, seed)
    points = sum(len(curve.at) for curve in curves)
    most = int(np.clip(CELLS // (points * sketch.bound.cells), 4, POOL))
    everywhere = starts(sketch, most // 2, seed + 1)
    pool = np.concatenate([found.others[:4], found.twins[:4], next(everywhere), next(everywhere)])
    for curve in curves:
        count = len(curve.at)
        theta = np.tile(pool, (count, 1))
        theta[:, curve.index] = np.repeat(curve.at, len(pool))
        theta = resolved(sketch, np.clip(theta, low, high), curve.index)
        best = np.argsort(sketch.value(theta).reshape(count, -1), axis=1)[:, :TAKEN]
        theta = theta.reshape(count, len(pool), -1)[np.arange(count)[:, None], best]
        ends = descend(np.full(count, curve.index), curve.at, theta, known=curve.value)
        curve.take(np.arange(count), *ends)


def _neighbours(curves: Sequence[_Curve], descend: Descend) -> None:
    """Each point from where those beside it ended, until none gains: a better valley is followed in both directions."""
    fresh = [curve.value <= curve.high for curve in curves]
    for _ in range(PASSES):
        tried = []
        for which, (curve, new) in enumerate(zip(curves, fresh, strict=True)):
            for point in range(len(new)):
                beside = [p for p in (point - 1, point + 1) if 0 <= p < len(new) and new[p]]
                tried += [(which, point, curve.theta[[p]]) for p in beside]
        if not tried:
            break
        owner, points = (np.array(column) for column in zip(*[one[:2] for one in tried], strict=True))
        own = [(curve.index, curve.at[k], curve.value[k]) for curve, k in [(curves[one[0]], one[1]) for one in tried]]
        index, at, value = (np.array(column) for column in zip(*own, strict=True))
        ends = descend(index, at, np.stack([theta for *_, theta in tried]), known=value)
        for which, (curve, new) in enumerate(zip(curves, fresh, strict=True)):
            mine = owner == which
            new[:] = False
            new[curve.take(points[mine], *(end[mine] for end in ends))] = True


def _enclose(law: Law, curves: Sequence[_Curve], descend: Descend) -> None:
    """Brackets of the outermost crossings, cut into four until they are narrow, and the point outside is no better when
    it is reached from the one inside."""
    cuts = np.array([0.25, 0.5, 0.75])
    for _ in range(ROUNDS):
        now, narrow = [], []
        for curve in curves:
            brackets = [curve.bracket(side) for side in (-1, 1)]
            origin = float(curve.at[curve.value.argmin()])
            first, last = (origin if pair is None else float(curve.at[pair[0]]) for pair in brackets)
            width = min(last - first, DECADE if law.on_log_scale(law.parameters[curve.index]) else np.inf)
            for pair in filter(None, brackets):
                a, b = curve.at[list(pair)]
                if abs(b - a) > WIDTH * width + 1e-9 * abs(a):
                    now.append((curve, a + (b - a) * cuts, curve.theta[list(pair)]))
                else:
                    narrow.append((curve, pair))
        if not now and narrow and _confirm(narrow, descend):
            continue
        if not now:
            break
        starting = [[*ends, (1 - cut) * ends[0] + cut * ends[1]] for *_, ends in now for cut in cuts]
        index = np.repeat([curve.index for curve, *_ in now], len(cuts))
        found = descend(index, np.concatenate([at for _, at, _ in now]), np.array(starting))
        for k, (curve, at, _) in enumerate(now):
            curve.add(at, *(end[len(cuts) * k : len(cuts) * (k + 1)] for end in found))


def _confirm(narrow: Sequence[tuple[_Curve, tuple[int, int]]], descend: Descend) -> bool:
    """Whether a bracket's outer point gains from where the inner one ended."""
    outer = [(curve.index, curve.at[k], curve.value[k]) for curve, (_, k) in narrow]
    index, at, known = (np.array(column) for column in zip(*outer, strict=True))
    ends = descend(index, at, np.stack([curve.theta[[inner]] for curve, (inner, _) in narrow]), known=known)
    gains = [len(c.take(np.array([pair[1]]), *(end[[k]] for end in ends))) for k, (c, pair) in enumerate(narrow)]
    return any(gains)
