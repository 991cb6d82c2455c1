"""Knobs as coordinates of a surface: numbers from 0 to 1 over what was run, categories told apart or not.

Beneath `analysis.decide.noise`, `surface` and `known`.

    coding = Coding.of(settings, numeric, offset=1.0)
    coding.numbers(points)                # (n, numbers), peak and learning rate and tokens on a log scale
    coding.kinds(points)                  # (n, categories), whole numbers
    coding.ranks(points)                  # (n, numbers): 0, 1, 2, ... at the values that were run

Replay is on the scale log(replay + c), on which 0 is finite; c = `offset` times the smallest replay above 0.
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


def _places(column: pd.Series[Any], values: tuple[Any, ...]) -> npt.NDArray[np.int64]:
    return np.array([values.index(value) for value in column], dtype=np.int64)
