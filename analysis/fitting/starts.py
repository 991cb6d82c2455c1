"""Where fits start: the parameters that enter linearly are solved for on a grid of all others (variable projection).

    for theta in starts(objective): ...          # batches of (K, P), the most promising first

Least squares with weights 1/observed² stands in for the loss. Each linear parameter's factor depends on few of the
others, so the factors are worked out on small grids of their own, and all normal equations of the full grid are put
together from products between those (Gram matrices): tens of thousands of starts are scored in milliseconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from analysis.fitting.newton import within
from analysis.fitting.objective import Objective
from analysis.formulas import formula
from analysis.formulas.formula import Array, Integers
from analysis.laws.law import Law

GRID = 17_000  # points of a full grid, at most
CELLS = 4_000_000  # numbers of one factor on its own grid, at most
SAMPLE = 512  # points of a quasi-random sample
DEEPEST = 4  # batches taken from a grid
COARSEST, FINEST = 5, 38  # values of one parameter on a grid
PROMISING = 1024  # points of a grid, or all if fewer, that are worth a start
SMALLEST = 1e-6  # of the observed loss: a linear parameter that would be zero or negative starts there


def starts(objective: Objective, batch: int, seed: int = 0) -> Iterator[Array]:
    """Batches of starts, each (batch, P), without end, by turns the best left of a grid (its local minima first) and of
    a new quasi-random sample of the same ranges: those of a grid may all lie in the basin that it sees."""
    law = objective.bound.law
    nonlinear = [name for name in law.parameters if name not in law.linear]
    if not nonlinear:
        yield from _of_some_rows(objective, batch, seed)
        return
    widest = max((len(names) for names in formula.basis(law.form)[1]), default=1)  # parameters of one factor
    most = min(GRID ** (1 / max(len(nonlinear), 1)), (CELLS / objective.bound.cells) ** (1 / max(widest, 1)))
    per_axis = int(most + 1e-9)
    ranked = np.empty((0, len(law.parameters)))
    if per_axis >= COARSEST:
        ranked = _scored(objective, nonlinear, [axis(law, name, min(per_axis, FINEST)) for name in nonlinear])
    for number in itertools.count():
        if number * batch < min(len(ranked), DEEPEST * batch):
            yield ranked[number * batch : (number + 1) * batch]
        yield sampled(objective, seed + number, wide=number % 2 == 1)[:batch]


def _of_some_rows(objective: Objective, batch: int, seed: int) -> Iterator[Array]:
    """Starts of a law that is linear in all it has: solutions for all rows and then for random halves of them."""
    law, random = objective.bound.law, np.random.default_rng(seed)
    root = np.sqrt(objective.weights) / (objective.observed if objective.loss.residuals == "log" else 1.0)
    *factors, rest = (part[0] * root for part in objective.bound.basis(np.ones((1, len(law.parameters)))))
    table, target = np.array(factors), objective.observed * root - rest
    for number in itertools.count():
        kept = random.random((batch, len(root))) < 0.5
        kept[0] |= number == 0
        gram = np.stack([(table * rows) @ table.T for rows in kept])
        right = (kept * target) @ table.T
        solution, _ = _least_squares(gram, right, (kept * target**2).sum(-1), _positive(law))
        yield _whole(objective, solution, np.empty((batch, 0)), [])


def sampled(objective: Objective, seed: int, wide: bool = False) -> Array:
    """Quasi-random points of the start ranges with their best linear parameters, (T, P), the best first; `wide`: of
    ranges three times as long, inside the bounds."""
    law = objective.bound.law
    nonlinear = [name for name in law.parameters if name not in law.linear]
    return _scored(objective, nonlinear, _sample(law, nonlinear, _points(objective), seed, wide))


def through(objective: Objective, theta: Array, each: int, seed: int = 0) -> Array:
    """Starts on grids through a minimum (P,), (m, P): one over the parameters of every term and of every two terms of
    the formula, out to their bounds, with all others as the minimum has them and the linear ones solved for. Of each
    grid the `each` best, its local minima first. A grid of all parameters is too coarse to show what a term could be
    that has vanished, or was caught in a minimum of its own. Rows weigh what the loss leaves of them at the minimum."""
    law, loss = objective.bound.law, objective.loss
    residuals = objective.residuals(objective.bound.value(theta[None]))[0]
    size = np.nan_to_num(np.abs(residuals), nan=np.inf)
    left = np.minimum(1.0, max(loss.corner, float(np.median(size))) / np.maximum(size, 1e-300))
    objective = replace(objective, weights=objective.weights * loss.sides(residuals) * np.nan_to_num(left))
    nonlinear = [name for name in law.parameters if name not in law.linear]
    at = dict(zip(law.parameters, law.outward(theta), strict=True))
    here = np.array([max(at[name], 1e-300) if law.on_log_scale(name) else at[name] for name in nonlinear])
    terms = [frozenset(names) for names in formula.basis(law.form)[1] if names]
    several = (frozenset().union(*some) for count in (1, 2) for some in itertools.combinations(terms, count))
    found = [np.empty((0, len(theta)))]
    for free in dict.fromkeys(several):
        widest = max(len(free & term) for term in terms)
        count = int(min(GRID ** (1 / len(free)), (CELLS / objective.bound.cells) ** (1 / widest), FINEST) + 1e-9)
        chosen = np.array([name in free for name in nonlinear])
        points: list[Array] | Array
        if count >= COARSEST:
            points = [
                _to_bounds(law, name, count) if own else here[i : i + 1]
                for i, (name, own) in enumerate(zip(nonlinear, chosen, strict=True))
            ]
        else:  # a sample reaches the bounds, too
            points = np.where(chosen, _sample(law, nonlinear, _points(objective), seed, wide=True), here)
        found.append(_scored(objective, nonlinear, points)[:each])
    return np.concatenate(found)


def resolved(objective: Objective, theta: Array, held: int) -> Array:
    """Parameters (K, P) with the linear ones solved for, all but the one whose index is `held`."""
    law, bound = objective.bound.law, objective.bound
    root = np.sqrt(objective.weights) / (objective.observed if objective.loss.residuals == "log" else 1.0)
    free = [name for name in law.linear if name != law.parameters[held]]
    if not free:
        return theta
    theta, at = theta.copy(), [law.parameters.index(name) for name in free]
    positive = np.array([law.bound(name)[0] >= 0 for name in free], dtype=bool)
    least = np.array(
        [np.log(SMALLEST * objective.observed.min()) if law.on_log_scale(name) else -np.inf for name in free]
    )
    for first in range(0, len(theta), size := max(CELLS // bound.cells, 1)):
        own = theta[first : first + size]
        natural = law.outward(own)
        *factors, rest = bound.basis(own)
        if law.parameters[held] in law.linear:
            rest = rest + natural[:, held, None] * factors.pop(law.linear.index(law.parameters[held]))
        columns = np.stack([np.broadcast_to(factor, (len(own), bound.n)) for factor in factors], axis=1) * root
        target = np.broadcast_to((objective.observed - rest) * root, (len(own), bound.n))
        gram, right = columns @ columns.transpose(0, 2, 1), (columns @ target[:, :, None])[:, :, 0]
        solution, _ = _least_squares(gram, right, (target**2).sum(-1), positive)
        natural[:, at] = np.where(positive, np.maximum(solution, 1e-300), solution)
        own[:, at] = np.maximum(law.inward(natural)[:, at], least)
    return theta


def axis(law: Law, name: str, count: int) -> Array:
    """(count,) values of a parameter over the range of its starts."""
    low, high = law.starts[name]
    return np.geomspace(low, high, count) if law.on_log_scale(name) else np.linspace(low, high, count)


def _to_bounds(law: Law, name: str, count: int) -> Array:
    """An axis with the bounds that there are; where a logarithm has none, with twice the range beyond it."""
    (low, high), ends = law.starts[name], [end for end in law.bound(name) if np.isfinite(end)]
    if law.on_log_scale(name):
        far = [high * (high / low) ** steps for steps in (1, 2)] if law.bound(name)[1] == np.inf else []
        ends = [end for end in ends if end > 0] + far
    return np.unique([*axis(law, name, count - len(ends)), *ends])


def _points(objective: Objective) -> int:
    """How many points of a sample the factors may be worked out for: a power of two."""
    return int(2 ** np.floor(np.log2(max(min(SAMPLE, CELLS / objective.bound.cells), 64))))


def _sample(law: Law, names: Sequence[str], count: int, seed: int, wide: bool) -> Array:
    """(count, parameters) quasi-random points of the start ranges."""
    from scipy.stats import qmc

    unit = qmc.Sobol(max(len(names), 1), seed=seed).random(count)
    columns = []
    for name, u in zip(names, unit.T, strict=False):
        on_log = law.on_log_scale(name)
        low, high = np.log(law.starts[name]) if on_log else law.starts[name]
        at = low + (high - low) * (3 * u - 1 if wide else u)
        columns.append(np.clip(np.exp(at) if on_log else at, *law.bound(name)))
    return np.stack(columns, axis=1) if columns else np.empty((1, 0))


def _scored(objective: Objective, names: Sequence[str], points: list[Array] | Array) -> Array:
    """Starts (K, P) in the law's inward form, the best first; `points`: axes of a grid, or a sample (T, p)."""
    grid = isinstance(points, list)
    index: Integers
    if grid:
        shape = tuple(len(axis) for axis in points)
        index = np.zeros((1, 0), dtype=np.int64)  # a law that is linear in all it has
        if shape:
            index = np.stack(np.unravel_index(np.arange(int(np.prod(shape))), shape), axis=1)
        full = np.stack([axis[index[:, i]] for i, axis in enumerate(points)], axis=1) if points else np.empty((1, 0))
    else:
        shape, full = (), np.asarray(points)
        index = np.empty((len(full), 0), dtype=np.int64)
    with np.errstate(all="ignore"):  # a law may overflow far from the data
        linear, cost = _solved(objective, names, points, index, full)
    order = np.argsort(cost, kind="stable")
    if grid and shape:
        order = np.concatenate([order[(minima := _minima(cost.reshape(shape)))[order]], order[~minima[order]]])
    return _whole(objective, linear, full, names)[order]


def _positive(law: Law) -> npt.NDArray[np.bool_]:
    """Which linear parameters are at least zero."""
    return np.array([law.bound(name)[0] >= 0 for name in law.linear], dtype=bool)


def _whole(objective: Objective, linear: Array, others: Array, names: Sequence[str]) -> Array:
    """Parameters (T, P) in the law's inward form: the linear ones (T, J) and the `others` (T, len(names))."""
    law = objective.bound.law
    theta = np.empty((len(linear), len(law.parameters)))
    for i, name in enumerate(law.parameters):
        values = linear[:, law.linear.index(name)] if name in law.linear else others[:, names.index(name)]
        if name in law.linear and law.on_log_scale(name):
            values = np.maximum(values, SMALLEST * objective.observed.min())
        theta[:, i] = values
    return law.inward(theta)


def _minima(cost: Array) -> npt.NDArray[np.bool_]:
    """Which points of a grid are no higher than their neighbours along every axis; flat."""
    lowest = np.ones(cost.shape, dtype=bool)
    for axis in range(cost.ndim):
        padded = np.pad(cost, [(1, 1) if i == axis else (0, 0) for i in range(cost.ndim)], constant_values=np.inf)
        before, after = (np.take(padded, np.arange(k, k + cost.shape[axis]), axis=axis) for k in (0, 2))
        lowest &= (cost <= before) & (cost <= after)
    return lowest.reshape(-1)


def _solved(
    objective: Objective, names: Sequence[str], points: list[Array] | Array, index: Integers, full: Array
) -> tuple[Array, Array]:
    """The linear parameters (T, J) of every point and the weighted sum of squares they leave (T,)."""
    law, bound = objective.bound.law, objective.bound
    assert objective.weights.ndim == 1
    root = np.sqrt(objective.weights) / (objective.observed if objective.loss.residuals == "log" else 1.0)
    _, inside = formula.basis(law.form)
    tables: list[Array] = []  # of each factor: its values at the points of its own grid, (m, n)
    rows: list[Integers] = []  # and which of them each point of the full grid takes, (T,)
    for j, needed in enumerate(inside):
        own = [names.index(name) for name in needed]
        if isinstance(points, list):
            local, row = _own_grid([points[i] for i in own], index[:, own])
        else:
            local, row = (full[:, own], np.arange(len(full))) if own else (np.empty((1, 0)), np.zeros(len(full), int))
        theta = np.ones((len(local), len(law.parameters)))  # linear ones play no part in a factor
        for column, name in enumerate(needed):
            values = local[:, column]
            theta[:, law.parameters.index(name)] = np.log(values) if law.on_log_scale(name) else values
        tables.append(bound.basis(theta)[j] * root)
        rows.append(np.asarray(row, dtype=np.int64))
    target = objective.observed * root
    rest, rest_row = tables.pop(), rows.pop()
    count, points_count = len(tables), len(full)
    gram, right = np.empty((points_count, count, count)), np.empty((points_count, count))
    for i in range(count):
        right[:, i] = (tables[i] @ target)[rows[i]] - _products(tables[i], rows[i], rest, rest_row)
        for j in range(i, count):
            gram[:, i, j] = gram[:, j, i] = _products(tables[i], rows[i], tables[j], rows[j])
    left = target - rest
    return _least_squares(gram, right, (left**2).sum(-1)[rest_row], _positive(law))


def _own_grid(axes: Sequence[Array], index: Integers) -> tuple[Array, Integers]:
    """The points of the grid of some axes (m, axes), and which of them each point of the full grid (T,) lies on."""
    if not axes:
        return np.empty((1, 0)), np.zeros(len(index), dtype=np.int64)
    local = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    return local, np.ravel_multi_index(tuple(index.T), tuple(len(axis) for axis in axes))


def _products(a: Array, rows_a: Integers, b: Array, rows_b: Integers) -> Array:
    """Inner products of the rows that each point takes from two tables, (T,)."""
    if len(a) * len(b) <= 4 * max(len(rows_a), 1) or len(a) == 1 or len(b) == 1:
        return np.asarray((a @ b.T)[rows_a, rows_b])
    return np.asarray(np.einsum("tn,tn->t", a[rows_a], b[rows_b]))


def _least_squares(gram: Array, right: Array, squares: Array, positive: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Solutions (T, J) of many normal equations and the squares left (T,); `positive` unknowns are held at >= 0."""
    finite = np.isfinite(gram).all((1, 2)) & np.isfinite(right).all(1) & np.isfinite(squares)
    gram = np.where(finite[:, None, None], gram, np.eye(gram.shape[1]))
    right, squares = np.where(finite[:, None], right, 0.0), np.where(finite, squares, np.inf)
    solution = _solve(gram, right)
    left = squares - (solution * right).sum(-1)
    negative = (solution[:, positive] < 0).any(-1)
    if not negative.any():
        return solution, left
    good = np.sort(left[~negative])[:PROMISING]
    hopeless = negative & (left > good[-1]) if len(good) == PROMISING else np.zeros(len(left), dtype=bool)
    left[hopeless] = np.inf  # held at zero they would only leave more
    wrong = np.flatnonzero(negative & ~hopeless)
    size = 1 / np.sqrt(np.maximum(np.einsum("tii->ti", gram[wrong]), 1e-300))
    units = size[:, :, None] * size[:, None, :]
    low = np.where(positive, 0.0, -np.inf) * np.ones((len(wrong), 1))
    at = within(gram[wrong] * units, -right[wrong] * size, low, np.full(low.shape, np.inf)) * size
    curved = np.einsum("ti,tij,tj->t", at, gram[wrong], at)
    solution[wrong], left[wrong] = at, squares[wrong] - 2 * (at * right[wrong]).sum(-1) + curved
    return solution, left


def _solve(gram: Array, right: Array) -> Array:
    """Solutions of normal equations, scaled to a unit diagonal; a hair of ridge keeps singular ones finite."""
    scale = 1 / np.sqrt(np.maximum(np.einsum("tii->ti", gram), 1e-300))
    scaled = gram * scale[:, :, None] * scale[:, None, :] + 1e-12 * np.eye(gram.shape[1])
    return np.asarray(np.linalg.solve(scaled, (right * scale)[..., None])[..., 0] * scale)
