"""The valleys of an IsoFLOP table: loss against the logarithm of a size, one for each budget, and where each is lowest.

    found = valleys(budgets, FORMS["skewed"], draws=1000, seed=0)
    found.at, found.draws, found.window, found.lack_of_fit

Along a budget the form of 2203.15556 is c + a exp(-alpha x) + b exp(beta x) in x = log N: skewed unless alpha = beta,
so that the lowest point of a parabola lies beside its own, the farther the wider the points reach (2603.22339). Here
all budgets share the shape (alpha, beta); a, b and c are each budget's, so that neither where a valley lies nor how
deep it is follows from the others. A shape that the points do not tell is averaged over, with weak weights around
published ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from analysis.formulas.formula import Array, Integers

LEAST = 4  # points from which a valley of three coefficients has an error
NEAR = 5  # points that a narrower window leaves at least
WINDOWS = (np.inf, np.log(10), np.log(5), np.log(3))  # to each side of the minimum, in the logarithm of the size
ACCEPTED = 0.1  # probability, under the form, of residuals as alike to their neighbours: above it, a window is taken
BORROWED = 4.0  # points' worth of error variance that a budget takes over from the others
EXACT = 1e-7  # of the loss: smaller residuals are roundings, which say nothing of the form
TOGETHER = 1_000_000  # shapes times points that are solved at once
SIMULATED = 400  # of the residuals' likeness
SMALLEST, LARGEST = 0.05, 1.6  # alpha and beta
SIDE = 25  # of the grid of shapes, in the logarithms of sqrt(alpha beta) and of sqrt(beta/alpha)
REFINED = 8  # times at most that the grid is drawn closer around the shapes with weight
NEGLIGIBLE = 1e-5  # of the largest weight
USUAL, SPREAD = 0.4, 0.6  # exponents that were published, and the spread of their logarithm: .28 to .68


@dataclass(frozen=True)
class Budget:
    """The points of a budget of C FLOPs, in ascending x: log sizes, losses and weights, each (n,)."""

    C: float
    x: Array
    loss: Array
    weight: Array

    def within(self, centre: float, reach: float) -> Budget:
        """The points at most `reach` from `centre`, and at least the NEAR nearest."""
        distance = np.abs(self.x - centre)
        kept = distance <= max(reach, np.sort(distance)[min(NEAR, len(distance)) - 1])
        return Budget(self.C, self.x[kept], self.loss[kept], self.weight[kept])


@dataclass(frozen=True)
class Form:
    """A family of curves: for each of its shapes, linear in three coefficients."""

    box: Array
    """Ends of the coordinates of the shapes, (P, 2)."""
    shape: Callable[[Array], Array]
    """Of coordinates (G, P): the shapes, (G, P)."""
    prior: Callable[[Array], Array]
    """Of shapes (G, P): logarithms of their weights before any point is seen, (G,)."""
    basis: Callable[[Array, Array], Array]
    """Of shapes (G, P) and x (n,): what the coefficients multiply, (G, n, 3)."""
    lowest: Callable[[Array, Array], Array]
    """Of shapes (..., P) and coefficients (..., 3): x of the minimum, NaN where there is none."""


def _exponents(coordinates: Array) -> Array:
    mean, half = coordinates[:, 0], coordinates[:, 1]
    return np.exp(np.stack([mean - half, mean + half], axis=1))


def _around_published(shapes: Array) -> Array:
    inside = ((shapes >= SMALLEST * (1 - 1e-9)) & (shapes <= LARGEST * (1 + 1e-9))).all(1)
    return np.where(inside, -0.5 * (np.log(shapes / USUAL) ** 2).sum(1) / SPREAD**2, -np.inf)


def _skewed(shapes: Array, x: Array) -> Array:
    alpha, beta = shapes[:, :1], shapes[:, 1:]
    return np.stack(np.broadcast_arrays(1.0, np.exp(-alpha * x), np.exp(beta * x)), axis=-1)


def _skewed_lowest(shapes: Array, coefficients: Array) -> Array:
    alpha, beta = shapes[..., 0], shapes[..., 1]
    falls, rises = alpha * coefficients[..., 1], beta * coefficients[..., 2]
    both = (falls > 0) & (rises > 0)
    ratio = np.divide(falls, rises, out=np.ones(both.shape), where=both)
    return np.where(both, np.log(ratio) / (alpha + beta), np.nan)


def _parabola(_: Array, x: Array) -> Array:
    return np.stack([np.ones_like(x), x, x**2], axis=-1)[None]


def _parabola_lowest(_: Array, coefficients: Array) -> Array:
    slope, half = coefficients[..., 1], coefficients[..., 2]
    return np.where(half > 0, -slope / np.where(half > 0, 2 * half, 1.0), np.nan)


_ENDS = math.log(SMALLEST), math.log(LARGEST)
_BOX = np.array([_ENDS, ((_ENDS[0] - _ENDS[1]) / 2, (_ENDS[1] - _ENDS[0]) / 2)])
FORMS = {
    "skewed": Form(_BOX, _exponents, _around_published, _skewed, _skewed_lowest),
    "parabola": Form(_BOX[:0], lambda _: _, lambda shapes: np.zeros(len(shapes)), _parabola, _parabola_lowest),
}


@dataclass(frozen=True)
class Valleys:
    """What was fitted to m budgets; positions are logarithms of the size."""

    budgets: tuple[Budget, ...]
    """With the points that were used."""
    form: Form
    """The family."""
    shape: Array
    """The one that is read off, (P,): at the weighted mean of the coordinates."""
    middle: Array
    """Where x = 0 of each budget's curve lies, (m,)."""
    coefficients: Array
    """Of each budget's curve, (m, 3)."""
    at: Array
    """The minima, (m,); NaN where a curve has none."""
    left_out: tuple[Array, ...]
    """For each budget its minimum without each of its points, (n,)."""
    draws: Array
    """Minima (B, m), of curves whose shape and errors are drawn; NaN where there is none."""
    window: float
    """How far from the minimum points were used, to each side; infinite if all were."""
    lack_of_fit: float
    """Probability, under the form, of residuals at least as alike to their neighbours, over all budgets."""
    lack_of_fits: Array
    """The same of each budget, (m,)."""

    def loss(self, number: int, x: Array) -> Array:
        """The curve of a budget, by its number, at logarithms of the size (k,)."""
        basis = self.form.basis(self.shape[None], x - self.middle[number])[0]
        return np.asarray(basis @ self.coefficients[number])


def valleys(
    budgets: Sequence[Budget], form: Form, draws: int, seed: int, windows: Sequence[float] = WINDOWS
) -> Valleys:
    """The form in the widest of the windows around the minima that does not fit badly, else in the narrowest."""
    found = _fitted(budgets, form, draws, seed, windows[0])
    for reach in windows[1:]:
        if found.lack_of_fit > ACCEPTED:
            break
        centres = [
            float(at) if np.isfinite(at) else float(one.x[one.loss.argmin()])
            for one, at in zip(budgets, found.at, strict=True)
        ]
        kept = [one.within(np.clip(at, one.x[0], one.x[-1]), reach) for one, at in zip(budgets, centres, strict=True)]
        if sum(len(one.x) for one in kept) < sum(len(one.x) for one in found.budgets):
            found = _fitted(kept, form, draws, seed, reach)
    return found


@dataclass(frozen=True)
class _Solved:
    """The least squares of one budget for every shape."""

    middle: float
    Q: Array  # (n, 3), orthonormal, of the first shape
    inverse: Array  # (G, 3, 3): coefficients of coordinates along Q
    coefficients: Array  # (G, 3)
    squares: Array  # (G,)


def _solve(budget: Budget, form: Form, shapes: Array) -> _Solved:
    middle = float(budget.x[0] + budget.x[-1]) / 2
    root, level = np.sqrt(budget.weight), budget.loss.mean()
    y = (budget.loss - level) * root
    parts, first = [], np.empty((0, 3))
    for some in np.array_split(shapes, 1 + len(shapes) * len(y) // TOGETHER):
        Q, inverse = _orthonormal(form.basis(some, budget.x - middle) * root[:, None])
        along = np.einsum("gnk,n->gk", Q, y)
        rest = y - np.einsum("gnk,gk->gn", Q, along)
        parts.append((inverse, np.einsum("gkl,gl->gk", inverse, along), (rest**2).sum(1)))
        first = first if len(first) else Q[0]
    inverse, coefficients, squares = (np.concatenate(part) for part in zip(*parts, strict=True))
    coefficients[:, 0] += level  # every form has a constant first
    return _Solved(middle, first, inverse, coefficients, squares)


def _orthonormal(basis: Array) -> tuple[Array, Array]:
    """Q (G, n, 3) and the inverse of R (G, 3, 3) with basis = Q R, by Gram and Schmidt for all shapes at once."""
    Q, R = basis.copy(), np.zeros((len(basis), 3, 3))
    for column in range(3):
        R[:, column, column] = np.sqrt((Q[:, :, column] ** 2).sum(1))
        Q[:, :, column] /= R[:, column, column, None]
        for later in range(column + 1, 3):
            R[:, column, later] = (Q[:, :, column] * Q[:, :, later]).sum(1)
            Q[:, :, later] -= R[:, column, later, None] * Q[:, :, column]
    return Q, np.asarray(np.linalg.inv(R), dtype=float)


def _fitted(budgets: Sequence[Budget], form: Form, count: int, seed: int, window: float) -> Valleys:
    random = np.random.default_rng(seed)
    own = len(form.box) / len(budgets)  # a budget's part of the shape's parameters
    free = np.array([max(len(one.x) - 3 - own, 0.5) for one in budgets])
    box = form.box
    for _ in range(REFINED):
        axes = np.meshgrid(*(np.linspace(low, high, SIDE) for low, high in box), indexing="ij")
        coordinates = np.stack([axis.ravel() for axis in axes], axis=1) if len(box) else np.zeros((1, 0))
        coordinates = coordinates[np.isfinite(form.prior(form.shape(coordinates)))]
        shapes = form.shape(coordinates)
        solved = [_solve(one, form, shapes) for one in budgets]
        squares = np.stack([one.squares for one in solved])
        weights, common = _weights(squares, free, form.prior(shapes))
        heavy = coordinates[weights > NEGLIGIBLE * weights.max()]
        step = (box[:, 1] - box[:, 0]) / (SIDE - 1)
        closer = np.stack([np.maximum(heavy.min(0) - step, box[:, 0]), np.minimum(heavy.max(0) + step, box[:, 1])], 1)
        if np.all(closer[:, 1] - closer[:, 0] > (box[:, 1] - box[:, 0]) / 2):
            break
        box = closer
    number = random.choice(len(weights), count, p=weights)
    draws = [
        one.middle + form.lowest(shapes[number], _moved(one, number, f, common, random))
        for one, f in zip(solved, free, strict=True)
    ]
    shape = form.shape(weights[None] @ coordinates)[0]
    best = [_solve(one, form, shape[None]) for one in budgets]
    scale = [
        math.sqrt((BORROWED * common + one.squares[0]) / (BORROWED + f)) for one, f in zip(best, free, strict=True)
    ]
    pooled, each = _likeness(budgets, best, scale, random)
    return Valleys(
        budgets=tuple(budgets),
        form=form,
        shape=shape,
        middle=np.array([one.middle for one in best]),
        coefficients=np.stack([one.coefficients[0] for one in best]),
        at=np.array([one.middle + form.lowest(shape, one.coefficients[0]) for one in best]),
        left_out=tuple(_left_out(one, form, shape, points) for one, points in zip(best, budgets, strict=True)),
        draws=np.stack(draws, axis=1),
        window=window,
        lack_of_fit=pooled,
        lack_of_fits=each,
    )


def _weights(squares: Array, free: Array, prior: Array) -> tuple[Array, float]:
    """Of the shapes, (G,), and the variance that the budgets have in common.

    Errors are normal in a budget; its variance is inversely chi-square around the common one with BORROWED degrees, and
    is integrated out, so that one budget with wild points says less, not more. The common one is the likeliest.
    """
    common = float(np.median(squares.min(1) / free)) or 1e-24
    for _ in range(20):
        log = prior - 0.5 * ((BORROWED + free)[:, None] * np.log(BORROWED * common + squares)).sum(0)
        best = int(log.argmax())
        common = 1 / float(np.mean((BORROWED + free) / (BORROWED * common + squares[:, best])))
    weights = np.exp(log - log.max())
    return weights / weights.sum(), common


def _moved(one: _Solved, number: Integers, free: float, common: float, random: np.random.Generator) -> Array:
    """Coefficients (B, 3) of the shapes `number` (B,), each moved as errors move it, of a variance that is drawn."""
    degrees = BORROWED + free
    variance = (BORROWED * common + one.squares[number]) / chi2.rvs(degrees, size=len(number), random_state=random)
    moved = np.einsum("bkl,bl->bk", one.inverse[number], random.normal(size=(len(number), 3)))
    return np.asarray(one.coefficients[number] + np.sqrt(variance)[:, None] * moved)


def _likeness(
    budgets: Sequence[Budget], best: Sequence[_Solved], scale: Sequence[float], random: np.random.Generator
) -> tuple[float, Array]:
    """Probabilities of residuals as alike to their neighbours (von Neumann): over all budgets, and for each, (m,).

    A curve of another form leaves residuals of one sign beside each other. The form's own residuals depend on each
    other, too (they are orthogonal to it), so they are simulated.
    """
    along, size = [], []
    for budget, one, spread in zip(budgets, best, scale, strict=True):
        Q, root = one.Q, np.sqrt(budget.weight)
        errors = np.concatenate([(budget.loss * root / spread)[None], random.normal(size=(SIMULATED, len(root)))])
        rest = errors - (errors @ Q) @ Q.T
        along.append((rest[:, 1:] * rest[:, :-1]).sum(1))
        if np.abs(rest[0]).max() * spread < EXACT * np.abs(budget.loss).max():
            along[-1][0] = -np.inf
        size.append((rest**2).sum(1))
    alike = np.stack(along) / np.maximum(np.stack(size), 1e-300)
    pooled = np.stack(along).sum(0) / np.maximum(np.stack(size).sum(0), 1e-300)
    each = (1 + (alike[:, 1:] >= alike[:, :1]).sum(1)) / (SIMULATED + 1)
    return float(1 + (pooled[1:] >= pooled[0]).sum()) / (SIMULATED + 1), each


def _left_out(one: _Solved, form: Form, shape: Array, points: Budget) -> Array:
    """The minimum without each point in turn, (n,): the shape stays."""
    Q, root = one.Q, np.sqrt(points.weight)
    fitted = form.basis(shape[None], points.x - one.middle)[0] @ one.coefficients[0]
    rest = (points.loss - fitted) * root
    leverage = np.minimum((Q**2).sum(1), 1 - 1e-9)
    change = (one.inverse[0] @ Q.T).T * (rest / (1 - leverage))[:, None]
    return np.asarray(one.middle + form.lowest(shape, one.coefficients[0] - change))
