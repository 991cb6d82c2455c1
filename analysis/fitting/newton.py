"""Minimisation of many starts at once: damped, projected Newton steps with exact Hessians.

    found = minimise(objective, theta, low, high, deltas=(1e-2, 1e-3))
    best = found.theta[found.value.argmin()]

`theta` has shape (K, P); every member of the batch has its own bounds and may have its own weights in the objective, so
starts, bootstrap resamples, folds of a cross-validation and points of a profile are one and the same call. A fixed
parameter is one whose bounds are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.fitting.objective import Objective
from analysis.laws.formula import Array

FLOOR = 1e-3  # curvature counts as too small, or negative, below this share of the majorizer's
WILD = 1e30  # and an entry above this, in units of the majorizer's, is overflow far from the data
BACK = 3  # steps in which one that led uphill may come back down below where it began


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
) -> Minimum:
    """Follow the minimum while the loss's corner goes through `deltas`; the last one is that of the answer.

    `low`, `high`: (P,) or (K, P). A member is done when a step promises less than `tolerance` of its value.
    """
    theta = np.array(theta, dtype=float)
    low, high = (np.broadcast_to(bound, theta.shape) for bound in (low, high))
    theta = np.clip(theta, low, high)
    steps = 0
    for delta in deltas:
        stage = _stage(objective, theta, low, high, delta, tolerance, most_steps)
        theta, steps = stage.theta, steps + stage.steps
    return Minimum(theta, stage.value, stage.gap, steps)


def _stage(
    objective: Objective, theta: Array, low: Array, high: Array, delta: float, tolerance: float, most_steps: int
) -> Minimum:
    """One corner. Members leave the batch as they are done, so the last ones do not cost what all of them do."""
    theta = theta.copy()
    members = len(theta)
    noise = 1e-15 * np.broadcast_to(objective.weights.sum(-1), members)  # an exact fit has no value to be relative to
    damping, gap = np.full(members, 1e-3), np.full(members, np.inf)
    state = objective.derivatives(theta, delta)
    active = np.flatnonzero(np.isfinite(state[0]))
    taken = 0
    while active.size and taken < most_steps:
        taken += 1
        held = [part[active] for part in state]
        bounds = low[active], high[active]
        tried, promise = _step(theta[active], held, damping[active], *bounds)
        new = objective.taking(active).derivatives(tried, delta)
        better = new[0] <= held[0] * (1 + 1e-15)
        for _ in range(BACK):
            # A full step along a curved valley ends on its slope; from there a step or two lead down to its floor.
            again = np.flatnonzero(~better & np.isfinite(new[0]))
            if not again.size:
                break
            own = [bound[again] for bound in bounds]
            further, _ = _step(tried[again], [part[again] for part in new], damping[active[again]], *own)
            tried[again] = further
            for part, fresh in zip(new, objective.taking(active[again]).derivatives(further, delta), strict=True):
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


def _step(theta: Array, state: Sequence[Array], damping: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Where a downhill step leads each member, and what the quadratic model promises of the undamped one."""
    _, gradient, hessian, majorizer = state
    held = (low >= high) | ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
    free = (~held).astype(float)
    gradient, hessian, majorizer = (_finite(part) for part in (gradient, hessian, majorizer))
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
    curvature, axes = np.linalg.eigh(hessian)
    usual = np.maximum((axes * (majorizer @ axes)).sum(1), 1e-12)
    bold = np.where(curvature > FLOOR * usual, curvature, np.maximum(np.abs(curvature), 0.1 * usual))
    slope = np.einsum("kpi,kp->ki", axes, gradient * scale)
    along = -slope / (bold + damping[:, None] * usual)
    step = np.einsum("kpi,ki->kp", axes, along) * scale
    return np.clip(theta + step, low, high), 0.5 * (slope**2 / bold).sum(-1)


def _finite(values: Array) -> Array:
    """Where a law overflows far from the data, nothing is known of its derivatives."""
    return np.asarray(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))
