"""Minimisation of many starts at once: damped, projected Newton steps with exact Hessians.

    found = minimise(objective, theta, low, high, deltas=(1e-2, 1e-3))
    best = found.theta[found.value.argmin()]

`theta` has shape (K, P); every member of the batch has its own bounds and may have its own weights in the objective, so
starts, bootstrap resamples, folds of a cross-validation and points of a profile are one and the same call. A fixed
parameter is one whose bounds are equal. `settle` leads ends that a kink stopped to its bottom.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.fitting.objective import Objective
from analysis.formulas.formula import Array

Booleans = npt.NDArray[np.bool_]
FLOOR = 1e-3  # curvature counts as too small, or negative, below this share of the majorizer's
WILD = 1e30  # and an entry above this, in units of the majorizer's, is overflow far from the data
LEAST_FACTOR = 1e-6  # of a small term that goes to zero, in one step
NOTHING = 1e-13  # of every prediction: a term this small is zero
RIDGE = 1e-14  # of the trace of a matrix: rounding leaves some singular
TINY = 1e-200  # a trace that counts as zero
RADII = (1e-2, 1e-4, 1e-6, 1e-8)  # around a kink, in what raises the objective by its half in one direction
DESCENTS = 20  # within each of them
BACK = 3  # see `minimise`


@dataclass(frozen=True)
class Minimum:
    """Where each member of a batch ended. `gap`: how far a Newton step would still lower the value, relative to it."""

    theta: Array  # (K, P)
    value: Array  # (K,)
    gap: Array  # (K,)
    steps: int


def minimise(
    objective: Objective,
    theta: Array,
    low: Array,
    high: Array,
    *,
    deltas: Sequence[float],
    tolerance: float = 1e-10,
    most_steps: int = 60,
    back: int = BACK,
) -> Minimum:
    """Follow the minimum while the loss's corner goes through `deltas`; the last one is that of the answer.

    `low`, `high`: (P,) or (K, P). A member is done when a step promises less than `tolerance` of its value. `back`:
    steps in which one that led uphill may come back down below where it began; without, it is taken again, shorter.
    """
    theta = np.array(theta, dtype=float)
    low, high = (np.broadcast_to(bound, theta.shape) for bound in (low, high))
    theta = np.clip(theta, low, high)
    steps = 0
    for delta in deltas:
        stage = _stage(objective, theta, low, high, delta, tolerance, most_steps, back)
        theta, steps = stage.theta, steps + stage.steps
    return Minimum(theta, stage.value, stage.gap, steps)


def _stage(
    objective: Objective,
    theta: Array,
    low: Array,
    high: Array,
    delta: float,
    tolerance: float,
    most_steps: int,
    back: int,
) -> Minimum:
    """One corner. Members leave the batch as they are done, so the last ones do not cost what all of them do."""
    theta = theta.copy()
    members = len(theta)
    noise = 1e-15 * np.broadcast_to(objective.weights.sum(-1), members)  # an exact fit has no value to be relative to
    log, nothing = objective.logarithms, np.broadcast_to(NOTHING**2 * objective.scale, members)
    damping, gap = np.full(members, 1e-3), np.full(members, np.inf)
    state = objective.derivatives(theta, delta)
    active = np.flatnonzero(np.isfinite(state[0]))
    taken = 0
    while active.size and taken < most_steps:
        taken += 1
        held = [part[active] for part in state]
        bounds = low[active], high[active]
        tried, promise = _step(theta[active], held, damping[active], *bounds, log=log, nothing=nothing[active])
        new = objective.taking(active).derivatives(tried, delta)
        better = new[0] <= held[0] * (1 + 1e-15)
        for _ in range(back):
            # A full step along a curved valley ends on its slope; from there a step or two lead down to its floor.
            again = np.flatnonzero(~better & np.isfinite(new[0]))
            if not again.size:
                break
            own, whose = [bound[again] for bound in bounds], active[again]
            there = [part[again] for part in new]
            further, _ = _step(tried[again], there, damping[whose], *own, log=log, nothing=nothing[whose])
            tried[again] = further
            for part, fresh in zip(new, objective.taking(whose).derivatives(further, delta), strict=True):
                part[again] = fresh
            better = new[0] <= held[0] * (1 + 1e-15)
        gap[active] = promise / (np.abs(held[0]) + noise[active])
        into = active[better]
        theta[into] = tried[better]
        for part, fresh in zip(state, new, strict=True):
            part[into] = fresh[better]
        before = damping[active]
        damping[active] = np.where(better, np.maximum(before / 8, 1e-12), np.minimum(np.maximum(before * 8, 0.5), 1e9))
        stuck = ~better & (before >= 1e8)  # no shorter step goes down: rounding decides
        active = active[(gap[active] > tolerance) & ~stuck]
    return Minimum(theta, state[0], gap, taken)


def _step(
    theta: Array, state: Sequence[Array], damping: Array, low: Array, high: Array, *, log: Booleans, nothing: Array
) -> tuple[Array, Array]:
    """Where a downhill step leads each member, and what the quadratic model promises of the undamped one.

    The model is minimised inside the bounds. A parameter on its bound is held there while the slope points outward.
    Of the parameters that are logarithms (`log`), one whose term has less curvature than slope moves by a factor in
    place of a sum: the model is then that of the term itself, which can be zero. It is held where no more than
    `nothing` (K,) of the term is left and the slope points to less: -inf is a bound too.
    """
    _, gradient, hessian, majorizer = state
    gradient, hessian, majorizer = (_finite(part) for part in (gradient, hessian, majorizer))
    size = np.einsum("kii->ki", majorizer)
    held = (low >= high) | ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
    held |= log & (gradient > 0) & (size <= nothing[:, None])
    least, most = low - theta, high - theta
    factor = log & (np.abs(gradient) > size)
    if factor.any():
        hessian = hessian - np.where(factor, gradient, 0.0)[:, :, None] * np.eye(theta.shape[1])
        with np.errstate(over="ignore"):
            least = np.where(factor, np.maximum(np.expm1(least), LEAST_FACTOR - 1), least)
            most = np.where(factor, np.expm1(most), most)
    free = (~held).astype(float)
    gradient = gradient * free
    both = free[:, :, None] * free[:, None, :]
    identity = held[:, :, None] * np.eye(theta.shape[1])
    hessian = hessian * both + identity
    majorizer = majorizer * both + identity
    scale = 1 / np.sqrt(np.maximum(np.einsum("kii->ki", majorizer), 1e-300))  # so that units play no part
    units = scale[:, :, None] * scale[:, None, :]
    majorizer = majorizer * units
    with np.errstate(over="ignore"):
        hessian = hessian * units
    wild = ~(np.abs(hessian) < WILD).all((1, 2))
    hessian[wild] = majorizer[wild]
    curvature, axes = np.linalg.eigh(_finite(hessian))
    usual = np.maximum((axes * (majorizer @ axes)).sum(1), 1e-12)
    bold = np.where(curvature > FLOOR * usual, curvature, np.maximum(np.abs(curvature), 0.1 * usual))
    slope = np.einsum("kpi,kp->ki", axes, gradient * scale)
    damped = bold + damping[:, None] * usual
    step = np.einsum("kpi,ki->kp", axes, -slope / damped) * scale
    with np.errstate(over="ignore"):  # a start far off promises everything
        promise = 0.5 * (slope**2 / bold).sum(-1)
    on_low, on_high = np.zeros_like(held), np.zeros_like(held)
    out = np.flatnonzero((((step < least) | (step > most)) & ~held).any(-1))
    if out.size:
        ends = [np.where(held[out], 0.0, end[out] / scale[out]) for end in (least, most)]
        slopes, turned = (gradient * scale)[out], axes[out].transpose(0, 2, 1)
        models = [(axes[out] * of_axes[out, None]) @ turned for of_axes in (damped, bold)]
        found = within(np.concatenate(models), np.tile(slopes, (2, 1)), *(np.tile(end, (2, 1)) for end in ends))
        short, full = np.split(found, 2)
        step[out] = short * scale[out]
        promise[out] = -(slopes * full).sum(-1) - 0.5 * np.einsum("kp,kpq,kq->k", full, models[1], full)
        movable = ~(held | factor)[out]
        on_low[out], on_high[out] = (short <= ends[0]) & movable, (short >= ends[1]) & movable
    step = np.where(factor, np.log1p(np.maximum(step, LEAST_FACTOR - 1)), step)
    led = np.clip(theta + step, low, high)
    return np.where(on_low, low, np.where(on_high, high, led)), promise


def settle(objective: Objective, theta: Array, low: Array, high: Array, delta: float) -> Minimum:
    """Down to where no direction leads lower, for a few members at kinks (max, min and abs of parameters), where a
    Newton step promises what its first hair's breadth does not keep.

    Gradient sampling (Burke, Lewis and Overton, 2005): of the gradients at points around, the shortest of their convex
    hull; against it lies the way down, and its length says how much there is to gain. At a kink those of all sides are
    among them, and where it is a minimum the hull holds zero. The points lie within RADII of a standard unit: the last
    are so near that on a smooth slope all gradients agree. `gap`: what the shortest one promises there.
    """
    random = np.random.default_rng(0)
    theta, gap = theta.copy(), np.full(len(theta), np.inf)
    value = objective.derivatives(theta, delta)[0]
    for k, radius in itertools.product(range(len(theta)), RADII):
        for _ in range(DESCENTS):
            at = theta[k]
            majorizer = objective.derivatives(at[None], delta)[3][0]
            size = np.sqrt(np.maximum(np.diag(majorizer), 1e-300))
            spread = radius * np.sqrt(value[k]) / size
            near = at + spread * random.uniform(-1, 1, (2 * len(at) + 2, len(at)))
            near = np.clip(np.concatenate([at[None], near]), low, high)
            slopes = _finite(objective.derivatives(near, delta)[1])
            outward = ((at <= low) & (slopes > 0).all(0)) | ((at >= high) & (slopes < 0).all(0))
            slopes = np.where(outward, 0.0, slopes) / size
            inverse = np.linalg.inv(majorizer / size[:, None] / size + 1e-9 * np.eye(len(at)))
            products = slopes @ inverse @ slopes.T
            products /= max(float(np.trace(products)), 1e-300)
            ones = np.ones((1, len(near)))
            share = within(products[None] + 1e-12 * np.eye(len(near)), -ones, 0 * ones, np.inf * ones)[0]
            shortest = share @ slopes / share.sum()
            gap[k] = 0.5 * shortest @ inverse @ shortest / (value[k] + 1e-300)
            way = -(inverse @ shortest) / size
            tried = np.clip(at + 0.5 ** np.arange(50)[:, None] * way, low, high)
            reached = objective.derivatives(tried, delta)[0]
            best = int(reached.argmin())
            if not reached[best] < value[k] * (1 - 1e-12):
                break
            theta[k], value[k] = tried[best], reached[best]
    return Minimum(theta, value, gap, 0)


def within(matrix: Array, slope: Array, low: Array, high: Array) -> Array:
    """The z (K, P) that minimise z'Mz/2 + g'z in a box around zero, for positive definite M (K, P, P) and g (K, P).

    An active set for each: from zero towards the free minimum until a bound stops one unknown, on with the others; in
    the end the one that is held most against its slope is let go.
    """
    count, size = slope.shape
    unit = np.eye(size)
    trace = np.maximum(np.einsum("kii->k", matrix), TINY)  # of a law whose terms all vanish there is nothing to solve
    matrix = matrix + RIDGE * trace[:, None, None] * unit
    z, fixed = np.zeros((count, size)), low >= high
    stopped = fixed.copy()
    busy = np.arange(count)
    for _ in range(4 * size + 4):
        M, at, free = matrix[busy], z[busy], ~stopped[busy]
        pull = slope[busy] + (M @ at[:, :, None])[:, :, 0]
        reduced = np.where(free[:, :, None] & free[:, None, :], M, unit)
        move = np.linalg.solve(reduced, np.where(free, -pull, 0.0)[:, :, None])[:, :, 0]
        bound = np.where(move < 0, low[busy], high[busy])
        share = np.divide(bound - at, move, out=np.full(at.shape, np.inf), where=free & (move != 0))
        first, own = share.argmin(-1), np.arange(len(busy))
        reach = np.minimum(share[own, first], 1.0)
        hit = reach < 1
        at = np.clip(at + reach[:, None] * move, low[busy], high[busy])
        at[own[hit], first[hit]] = bound[own[hit], first[hit]]
        z[busy] = at
        stopped[busy[hit], first[hit]] = True
        # Of those that went all the way: which unknown would rather go back inside?
        pull = slope[busy] + (M @ at[:, :, None])[:, :, 0]
        against = np.where(stopped[busy] & ~fixed[busy], np.where(at >= high[busy], pull, -pull), 0.0)
        worst = against.argmax(-1)
        back = ~hit & (against[own, worst] > 1e-12 * np.abs(slope[busy]).max(-1))
        stopped[busy[back], worst[back]] = False
        busy = busy[hit | back]
        if not busy.size:
            break
    return z


def _finite(values: Array) -> Array:
    """Where a law overflows far from the data, nothing is known of its derivatives."""
    return np.asarray(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))
