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

from analysis.formula import Array
from analysis.objective import Objective

FLOOR = 1e-3  # curvature counts as too small, or negative, below this share of the majorizer's


@dataclass(frozen=True)
class Minimum:
    """Where each member of a batch ended. `gap`: how far a Newton step would still lower the value, relative to it."""

    theta: Array  # (K, P)
    value: Array  # (K,)
    gap: Array  # (K,)
    steps: int


def minimise(
    objective: Objective, theta: Array, low: Array, high: Array, *, deltas: Sequence[float], tolerance: float = 1e-10,
    most_steps: int = 60,
) -> Minimum:  # fmt: skip
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
    value, gradient, hessian, majorizer = objective.derivatives(theta, delta)
    active = np.flatnonzero(np.isfinite(value))
    taken = 0
    while active.size and taken < most_steps:
        taken += 1
        here = theta[active]
        step, promise = _step(here, gradient[active], hessian[active], majorizer[active], damping[active],
                              low[active], high[active])  # fmt: skip
        tried = np.clip(here + step, low[active], high[active])
        new = objective.taking(active).derivatives(tried, delta)
        better = new[0] <= value[active] * (1 + 1e-15)
        gap[active] = promise / (np.abs(value[active]) + noise[active])
        done = gap[active] <= tolerance
        into = active[better]
        theta[into] = tried[better]
        for old, fresh in zip((value, gradient, hessian, majorizer), new, strict=True):
            old[into] = fresh[better]
        before = damping[active]
        damping[active] = np.where(better, np.maximum(before / 8, 1e-12), np.minimum(before * 8 + 1e-6, 1e9))
        stuck = ~better & (before >= 1e8)  # no shorter step goes down: rounding decides
        active = active[~done & ~stuck]
    return Minimum(theta, value, gap, taken)


def _step(
    theta: Array, gradient: Array, hessian: Array, majorizer: Array, damping: Array, low: Array, high: Array
) -> tuple[Array, Array]:
    """A downhill step for each member, and what the quadratic model promises of the undamped one."""
    held = (low >= high) | ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
    free = (~held).astype(float)
    gradient = np.nan_to_num(gradient) * free
    both = free[:, :, None] * free[:, None, :]
    identity = held[:, :, None] * np.eye(theta.shape[1])
    hessian = np.nan_to_num(hessian) * both + identity
    majorizer = np.nan_to_num(majorizer) * both + identity
    scale = 1 / np.sqrt(np.maximum(np.einsum("kii->ki", majorizer), 1e-300))  # so that units play no part
    hessian = hessian * scale[:, :, None] * scale[:, None, :]
    majorizer = majorizer * scale[:, :, None] * scale[:, None, :]
    curvature, axes = np.linalg.eigh(hessian)
    usual = np.maximum(np.einsum("kpi,kpq,kqi->ki", axes, majorizer, axes, optimize=True), 1e-12)
    bold = np.where(curvature > FLOOR * usual, curvature, np.maximum(np.abs(curvature), 0.1 * usual))
    slope = np.einsum("kpi,kp->ki", axes, gradient * scale)
    along = -slope / (bold + damping[:, None] * usual)
    step = np.einsum("kpi,ki->kp", axes, along) * scale
    return step, 0.5 * (slope**2 / bold).sum(-1)
