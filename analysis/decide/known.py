"""Where the runs say something: inside of what was run, and nowhere that the design does not reach.

Between `analysis.decide.coding` and `analysis.decide.decision`.

    known(points, settings, failed, coding)            # (n,) bool
    near(points, settings, coding)                     # within one grid step of an arm

A point is known where, of the arms of its categories, (1) it lies in their convex hull, (2) the mean of a plane with
products of knobs through them has no more variance there than a single arm has (a cross of two one-factor sweeps does
not tell the product, so that its inside has no such mean at all), and (3) no arm that failed is as near as a good one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.decide.coding import Coding
from analysis.formulas.formula import Array

CLOSE = 1e-6  # in coded units: the same place
STEP = 1.0  # of the grid

Mask = npt.NDArray[np.bool_]


def known(points: pd.DataFrame, settings: pd.DataFrame, failed: Mask, coding: Coding) -> Mask:
    """Which points the arms reach; those that `failed` are no part of the hull."""
    found = np.zeros(len(points), dtype=bool)
    x, arms, of_points, of_arms = (
        coding.numbers(points),
        coding.numbers(settings),
        coding.group(points),
        coding.group(settings),
    )
    for group in np.unique(of_points):
        here, own = of_points == group, arms[(of_arms == group) & ~failed]
        if len(own):
            found[here] = _in_hull(x[here], own) & _told(x[here], own)
    return found & ~_failing(points, settings, failed, coding)


def near(points: pd.DataFrame, settings: pd.DataFrame, coding: Coding) -> Mask:
    """Within one step of the grid of some arm, in every knob."""
    return np.asarray((_steps(points, settings, coding) <= STEP + CLOSE).any(axis=1))


def nearest(points: pd.DataFrame, settings: pd.DataFrame, coding: Coding) -> npt.NDArray[np.int64]:
    """Arms from the nearest to the farthest (n, arms), by steps of the grid added over knobs."""
    return np.argsort(_steps(points, settings, coding, added=True), axis=1, kind="stable")


def _steps(points: pd.DataFrame, settings: pd.DataFrame, coding: Coding, *, added: bool = False) -> Array:
    """Steps of the grid (n, arms): the most over knobs, or their sum; another category is farther than any."""
    apart = np.abs(coding.ranks(points)[:, None, :] - coding.ranks(settings)[None, :, :])
    steps = apart.sum(axis=2) if added else apart.max(axis=2, initial=0.0)
    other = (coding.kinds(points)[:, None, :] != coding.kinds(settings)[None, :, :]).sum(axis=2)
    return np.asarray(steps + (1e3 * other if added else np.where(other > 0, np.inf, 0.0)))


def _failing(points: pd.DataFrame, settings: pd.DataFrame, failed: Mask, coding: Coding) -> Mask:
    """Where the nearest arm failed."""
    if not failed.any():
        return np.zeros(len(points), dtype=bool)
    steps = _steps(points, settings, coding)
    bad = steps[:, failed].min(axis=1)
    good = steps[:, ~failed].min(axis=1, initial=np.inf)
    return np.asarray(np.isfinite(bad) & (bad <= good + CLOSE))


def _told(x: Array, arms: Array) -> Mask:
    """Where a plane with products has a mean, and no more variance than one arm."""
    of_arms, of_points = _plane(arms), _plane(x)
    left, singular, right = np.linalg.svd(of_arms, full_matrices=False)
    del left
    kept = singular > 1e-8 * singular[0]
    along = of_points @ right[kept].T
    missed = np.abs(of_points - along @ right[kept]).max(axis=1)
    leverage = ((along / singular[kept]) ** 2).sum(axis=1)
    return np.asarray((missed < CLOSE) & (leverage <= 1 + CLOSE))


def _plane(x: Array) -> Array:
    """1, the coordinates and their products (n, terms)."""
    k = x.shape[1]
    products = [x[:, i] * x[:, j] for i in range(k) for j in range(i + 1, k)]
    return np.column_stack([np.ones(len(x)), x, *products])


def _in_hull(x: Array, arms: Array) -> Mask:
    """In the convex hull of the arms, in as many dimensions as they span."""
    from scipy.spatial import Delaunay

    middle = arms.mean(axis=0)
    _, singular, axes = np.linalg.svd(arms - middle, full_matrices=False)
    axes = axes[singular > 1e-8]
    inside, away = (arms - middle) @ axes.T, (x - middle) @ axes.T
    flat = np.abs(x - middle - away @ axes).max(axis=1, initial=0.0) < CLOSE
    if not len(axes):
        return np.asarray(flat)
    if len(axes) == 1:
        return np.asarray(flat & (away[:, 0] >= inside.min() - CLOSE) & (away[:, 0] <= inside.max() + CLOSE))
    return np.asarray(flat & (Delaunay(inside).find_simplex(away, tol=CLOSE) >= 0))
