"""What rows of losses say about the parameters of a law, where the rows of a run err together.

Beneath `analysis.design.next_runs`. Log losses have the covariance `row` I + `run` 1 1' within a run, and none between
runs.

    slopes = slopes_of(fit, table)
    noise = noise_of(slopes, residuals, runs)
    information(slopes, runs, noise)        # the inverse of the parameters' covariance
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.fitting.fit import Fit
from analysis.formulas.formula import Array, Integers
from analysis.laws.law import Bound


@dataclass(frozen=True)
class Noise:
    """Variances of a log loss: of each `row` by itself, and of what the rows of a `run` share."""

    row: float
    run: float


def slopes_of(fit: Fit, columns: Mapping[str, Any]) -> Array:
    """Derivatives (P, n) of log losses by the fit's parameters, in the form that fits move (`Law.inward`); 0 for those
    on a bound, which are taken as known."""
    bound = Bound(fit.law, {name: np.asarray(columns[name], dtype=float) for name in fit.law.variables})
    predicted, gradient, _ = bound.derivatives(estimate_of(fit))
    return np.asarray(gradient[0] / predicted * inside(fit)[:, None])


def information(slopes: Array, runs: Integers, noise: Noise) -> Array:
    """Fisher information (P, P) of rows with `slopes` (P, n); `runs` (n,): the run of each row, counted from 0.

    J' S^-1 J where S = row I + run 1 1' within a run: by Sherman and Morrison (J'J - sum over runs of w s s') / row,
    with s the sum of a run's slopes and w = run / (row + n run).
    """
    sums = np.stack([np.bincount(runs, slope) for slope in slopes])
    weight = noise.run / (noise.row + np.bincount(runs) * noise.run)
    return np.asarray((slopes @ slopes.T - (sums * weight) @ sums.T) / noise.row)


def noise_of(slopes: Array, residuals: Array, runs: Integers) -> Noise:
    """Both variances from the residuals (n,) of a fit: analysis of variance by run, unbiased after a linear fit.

    With R the projection onto what the fit leaves, Z the indicators of runs and G = Z'RZ (Henderson's method 1):
    E[r'r] = row tr R + run tr G and E[|Z'r|²] = row tr G + run |G|².
    """
    unit = slopes / np.maximum(np.linalg.norm(slopes, axis=1, keepdims=True), 1e-300)
    _, singular, axes = np.linalg.svd(unit, full_matrices=False)
    axes = axes[singular > 1e-7 * singular[0]]
    size = np.bincount(runs)
    sums = np.stack([np.bincount(runs, axis) for axis in axes])
    between = np.diag(size) - sums.T @ sums
    free = len(runs) - len(axes)
    squares, shared = float(residuals @ residuals), float((np.bincount(runs, residuals) ** 2).sum())
    if len(size) < len(runs):
        matrix = [[free, np.trace(between)], [np.trace(between), (between**2).sum()]]
        row, run = np.linalg.solve(np.array(matrix), np.array([squares, shared]))
        if row > 0 and run > 0:
            return Noise(float(row), float(run))
    return Noise(max(squares / max(free, 1), 1e-300), 0.0)


def estimate_of(fit: Fit) -> Array:
    """(1, P) in the form that fits move."""
    return fit.law.inward(np.array([[fit.parameters[name] for name in fit.law.parameters]]))


def inside(fit: Fit) -> Array:
    """(P,): 1 for parameters inside their bounds, 0 for those on one."""
    return np.array([float(name not in fit.on_bound) for name in fit.law.parameters])
