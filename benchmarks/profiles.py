"""Profile intervals against brute force: a fine grid, and at each of its points many random starts.

Twelve fits, six of them flat.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.fitting.fit import objective_of
from analysis.fitting.newton import minimise
from analysis.fitting.objective import Loss, Objective
from analysis.fitting.profile import profile
from analysis.fitting.resampling import clusters_of
from analysis.fitting.search import descent, inward_bounds, search
from analysis.fitting.starts import resolved
from analysis.laws.formula import Array
from analysis.laws.law import Law
from analysis.laws.library import LAWS, find

STARTS = 40
GRID = 40
FINER = 2
FAR = 60.0


def brute(objective: Objective, minimum: float, theta: Array, ceiling: float, name: str, seed: int = 0):
    """Ends of {profile <= ceiling}, in the coordinate of the search; and the lowest value seen."""
    law = objective.bound.law
    i = law.parameters.index(name)
    low, high = inward_bounds(law)
    first, last = max(low[i], min(theta[i], 0) - FAR), min(high[i], max(theta[i], 0) + 2 * FAR)
    if not law.on_log_scale(name) and not (np.isfinite(low[i]) and np.isfinite(high[i])):
        raise ValueError
    near = theta[i] + np.geomspace(1e-3, 1, GRID // 2) * (last - theta[i])
    far = theta[i] + np.geomspace(1e-3, 1, GRID // 2) * (first - theta[i])
    grid = np.unique(np.concatenate([near, far, [theta[i]]]))
    random = np.random.default_rng(seed)
    value, ends = levels(objective, i, grid, None, random)
    for _ in range(FINER):
        inside = np.flatnonzero(value <= ceiling)
        more = [
            np.linspace(grid[a], grid[b], 14)[1:-1]
            for a, b in ((inside[0] - 1, inside[0]), (inside[-1], inside[-1] + 1))
            if a >= 0 and b < len(grid)
        ]
        if not more:
            break
        at = np.concatenate(more)
        v, e = levels(objective, i, at, np.stack([ends[np.argsort(abs(grid - x))[:3]] for x in at]), random)
        order = np.argsort(np.concatenate([grid, at]))
        grid, value, ends = (
            np.concatenate([grid, at])[order],
            np.concatenate([value, v])[order],
            np.concatenate([ends, e])[order],
        )
    inside = np.flatnonzero(value <= ceiling)
    out = []
    for a, b in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        if b < 0 or b >= len(grid):
            out.append(None)
        else:
            share = (ceiling - value[a]) / (value[b] - value[a])
            out.append(grid[a] + share * (grid[b] - grid[a]))
    return out[0], out[1], value.min(), (grid, value, ends)


def levels(objective, i, grid, extra, random):
    law = objective.bound.law
    low, high = inward_bounds(law)
    P = len(low)
    theta = np.empty((len(grid), STARTS, P))
    for j, name in enumerate(law.parameters):
        if name in law.starts:
            a, b = law.inward(
                np.array([[law.starts[name][k] if p == name else 1.0 for p in law.parameters] for k in (0, 1)])
            )[:, j]
            a, b = max(a - 0.5 * (b - a), low[j]), min(b + 0.5 * (b - a), high[j])
            theta[:, :, j] = random.uniform(a, b, theta.shape[:2])
        else:
            theta[:, :, j] = 0.0
    theta[:, :, i] = grid[:, None]
    theta = resolved(objective, theta.reshape(-1, P), i).reshape(len(grid), STARTS, P)
    if extra is not None:
        theta = np.concatenate([theta, extra], axis=1)
    theta[:, :, i] = grid[:, None]
    value, ends = run(objective, i, grid, theta)
    for _ in range(6):
        neighbours = np.stack(
            [
                ends[np.maximum(np.arange(len(grid)) - 1, 0)],
                ends[np.minimum(np.arange(len(grid)) + 1, len(grid) - 1)],
                ends,
            ],
            axis=1,
        )
        v, e = run(objective, i, grid, neighbours)
        better = v < value - 1e-12 * abs(value)
        value, ends = np.where(v < value, v, value), np.where((v < value)[:, None], e, ends)
        if not better.any():
            break
    return value, ends


def run(objective, i, grid, theta):
    K, S, P = theta.shape
    low, high = inward_bounds(objective.bound.law)
    theta = theta.copy()
    theta[:, :, i] = grid[:, None]
    flat = theta.reshape(-1, P)
    lows, highs = np.tile(low, (K * S, 1)), np.tile(high, (K * S, 1))
    lows[:, i] = highs[:, i] = flat[:, i]
    rough, exact = descent(objective)
    if S > 8:
        near = minimise(objective, flat, lows, highs, deltas=(rough,), tolerance=1e-4, most_steps=15)
        order = np.argsort(objective.value(near.theta).reshape(K, S), axis=1)[:, :6]
        theta = near.theta.reshape(K, S, P)[np.arange(K)[:, None], order]
        return run(objective, i, grid, theta)
    end = minimise(objective, flat, lows, highs, deltas=exact, tolerance=1e-11, most_steps=150)
    out, value = end.theta, objective.value(end.theta)
    value = value.reshape(K, S)
    best = np.arange(K), value.argmin(1)
    return value[best], out.reshape(K, S, P)[best]
