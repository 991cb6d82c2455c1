"""Settings of the knobs as coordinates, and which of them the runs reach.

Beneath `analysis.decide.noise`, `surface` and `decision`.

    coding = Coding.of(settings, numeric, offset=1.0)
    coding.numbers(points)                # (n, numbers), peak and learning rate and tokens on a log scale
    coding.kinds(points)                  # (n, categories), whole numbers
    coding.ranks(points)                  # (n, numbers): 0, 1, 2, ... at the values that were run
    known(points, settings, failed, coding)            # (n,) bool
    near(points, settings, coding)                     # within one grid step of an arm

Numbers are 0 to 1 over what was run. Replay is on the scale log(replay + c), on which 0 is finite; c = `offset` times
the smallest replay above 0.

A point is known where, of the arms of its categories, (1) it lies in their convex hull, (2) the mean of a plane with
products of knobs through them has no more variance there than a single arm has (a cross of two one-factor sweeps does
not tell the product, so that its inside has no such mean at all), and (3) no arm that failed is as near as a good one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.formulas.formula import Array, Integers

LOGARITHMIC = ("peak", "lr", "tokens")
CLOSE = 1e-6  # in coded units: the same place
STEP = 1.0  # of the grid
MOST_HULLS = 200  # arms of which each is looked for in the hull of the others

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Coding:
    """Of the settings of a grid."""

    levels: Mapping[str, Array]
    """Number -> the values that were run, in order."""
    categories: Mapping[str, tuple[Any, ...]]
    """Category -> its values."""
    offset: float
    """c of replay in units of its smallest value above 0."""

    @classmethod
    def of(cls, settings: pd.DataFrame, numeric: tuple[str, ...], offset: float = 1.0) -> Coding:
        """For the settings of arms."""
        levels = {name: np.unique(settings[name].to_numpy(dtype=float)) for name in numeric}
        rest = [str(name) for name in settings if name not in numeric]
        return cls(levels, {name: tuple(dict.fromkeys(settings[name])) for name in rest}, offset)

    def numbers(self, points: pd.DataFrame) -> Array:
        """Coordinates (n, numbers): 0 at the smallest value that was run, 1 at the largest."""
        columns = [self._unit(name, points[name].to_numpy(dtype=float)) for name in self.levels]
        return np.column_stack(columns) if columns else np.zeros((len(points), 0))

    def kinds(self, points: pd.DataFrame) -> Integers:
        """Categories (n, categories) as their places in `categories`."""
        columns = [_places(points[name], values) for name, values in self.categories.items()]
        return np.column_stack(columns) if columns else np.zeros((len(points), 0), dtype=np.int64)

    def group(self, points: pd.DataFrame) -> Integers:
        """One number (n,) for each combination of categories."""
        found = np.zeros(len(points), dtype=np.int64)
        for column, values in zip(self.kinds(points).T, self.categories.values(), strict=True):
            found = found * len(values) + column
        return found

    def ranks(self, points: pd.DataFrame) -> Array:
        """Steps of the grid (n, numbers): the place among the values that were run, linear between them."""
        columns = []
        for name, levels in self.levels.items():
            at = self._scaled(name, points[name].to_numpy(dtype=float))
            columns.append(np.interp(at, self._scaled(name, levels), np.arange(len(levels))))
        return np.column_stack(columns) if columns else np.zeros((len(points), 0))

    def between(self, name: str, n: int) -> Array:
        """`n` values of a number over what was run, evenly on its scale, and the values that were run. None lies
        between no replay and the smallest: on this scale there is nothing to interpolate."""
        levels = self.levels[name]
        start = levels[levels > 0] if name == "replay" else levels
        if len(start) < 2:
            return levels
        first, last = self._scaled(name, start[[0, -1]])
        found = self._natural(name, np.linspace(first, last, n))[1:-1]
        rounded = [float(f"{value:.3g}") for value in found]
        return np.unique([*levels, *(value for value in rounded if start[0] < value < start[-1])])

    def _scaled(self, name: str, values: Array) -> Array:
        if name in LOGARITHMIC:
            return np.asarray(np.log(values))
        if name == "replay" and np.isfinite(self.offset):
            return np.asarray(np.log(values + self._c))
        return values

    def _natural(self, name: str, scaled: Array) -> Array:
        if name in LOGARITHMIC:
            return np.asarray(np.exp(scaled))
        if name == "replay" and np.isfinite(self.offset):
            return np.asarray(np.exp(scaled) - self._c)
        return scaled

    @property
    def _c(self) -> float:
        some = self.levels["replay"][self.levels["replay"] > 0]
        return self.offset * (float(some[0]) if len(some) else 1.0)

    def _unit(self, name: str, values: Array) -> Array:
        scaled, ends = self._scaled(name, values), self._scaled(name, self.levels[name][[0, -1]])
        span = ends[1] - ends[0]
        return (scaled - ends[0]) / span if span > 0 else np.zeros(len(values))


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


def inside_of_others(settings: pd.DataFrame, coding: Coding) -> Mask:
    """Which arms lie in the convex hull of the others of their categories."""
    x, group = coding.numbers(settings), coding.group(settings)
    found = np.zeros(len(settings), dtype=bool)
    if len(settings) > MOST_HULLS:  # of very many arms nearly all are inside
        return ~found
    for k in range(len(settings)):
        others = (group == group[k]) & (np.arange(len(settings)) != k)
        found[k] = others.any() and bool(_in_hull(x[[k]], x[others])[0])
    return found


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
    _, singular, right = np.linalg.svd(of_arms, full_matrices=False)
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


def _places(column: pd.Series[Any], values: tuple[Any, ...]) -> npt.NDArray[np.int64]:
    return np.array([values.index(value) for value in column], dtype=np.int64)
