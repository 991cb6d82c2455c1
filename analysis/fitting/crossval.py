"""Does a law predict what it has not seen? The parts of a table to leave out, and a law fitted without each.

Between `analysis.fitting.search` and `analysis.answers.compare`, which sets laws side by side on the same folds.

    folds = folds_of(table, by="N")                     # each size predicted from the others
    tried = cross_validate(LAWS["dcpt"], table, folds)  # predictions of every fold, (K, n)

A fold of a law is the same fit with the weights of its rows set to zero, so all folds are one batch of Newton steps
from the full fit's minima; a fold that does not converge so gets a search of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.fitting.fit import objective_of
from analysis.fitting.objective import Loss
from analysis.fitting.resampling import Grouping, grouping_of, refit
from analysis.fitting.search import CONVERGED, search
from analysis.formulas.expressions import numbers_of
from analysis.formulas.formula import Array
from analysis.laws.law import Law
from analysis.results.checks import POSITIVE
from harness.core.errors import InputError

MOST_VALUES = 12  # of a column, up to which each value is a fold of its own; more are put into `count` ranges
FOLDS = 10
LEAVE = ("each", "largest")

Rows = npt.NDArray[np.bool_]


class Predictor(Protocol):
    """Anything else that learns losses from rows, to be compared with laws on the same folds."""

    @property
    def name(self) -> str: ...

    @property
    def variables(self) -> Mapping[str, str]:
        """The columns that it reads, with their units."""

    def fit(self, table: pd.DataFrame, target: str) -> None: ...

    def predict(self, table: pd.DataFrame) -> Array: ...


@dataclass
class Nearest:
    """The loss of the row that is nearest to each, the mean of several as near: what a law has to beat. Distances in
    shares of the range of what was learnt from, of sizes and tokens in that of their logarithms."""

    variables: Mapping[str, str]
    name: str = "nearest"

    def fit(self, table: pd.DataFrame, target: str) -> None:
        self.losses = table[target].to_numpy(dtype=float)
        self.learnt = self._places(table)
        self.range = np.maximum(np.ptp(self.learnt, axis=0), 1e-300)

    def predict(self, table: pd.DataFrame) -> Array:
        away = (((self._places(table)[:, None] - self.learnt) / self.range) ** 2).sum(axis=2)
        nearest = away <= away.min(axis=1, keepdims=True) * (1 + 1e-6) + 1e-12
        return np.asarray(nearest @ self.losses / nearest.sum(axis=1))

    def _places(self, table: pd.DataFrame) -> Array:
        columns = [(table[name].to_numpy(dtype=float), unit in POSITIVE) for name, unit in self.variables.items()]
        return np.stack([np.log(column) if positive else column for column, positive in columns], axis=1)


@dataclass(frozen=True)
class Fold:
    """Rows to predict, and the rows to learn from, both (n,)."""

    name: str
    out: Rows
    kept: Rows


@dataclass(frozen=True)
class Tried:
    """A law fitted to a table and to every fold of it."""

    parameters: int | None
    """How many; None for what is no law."""
    objective: float
    """Of the whole table; NaN for what is no law."""
    converged: bool
    """The fit of the whole table."""
    seconds: float
    """That it took."""
    predicted: Array
    """(K, n), by the fit of every fold; NaN where there is none."""
    settled: Rows
    """(K,): whether the fit of a fold converged."""
    why: tuple[str, ...]
    """K reasons why it cannot be fitted on a fold; empty where it can."""


def folds_of(
    table: pd.DataFrame,
    by: str,
    *,
    leave: str = "each",
    count: int = FOLDS,
    grouping: Grouping | None = None,
    seed: int = 0,
) -> list[Fold]:
    """The folds of a table, whichever laws can be fitted on them.

    `by`: `run` (`count` random parts of the runs of a `grouping`, or of the table's column of runs), or a variable:
    each of its values, or each of `count` ranges if it has more than MOST_VALUES. `leave="largest"`: each value from
    the smaller ones. Raises InputError.
    """
    if leave not in LEAVE:
        raise InputError("leave", leave, "is no way to leave out", f"choose of {', '.join(LEAVE)}")
    if count < 2:
        raise InputError("folds", count, "fewer than two", "give 2 or more")
    if by == "run":
        if leave != "each":
            raise InputError("leave", leave, "runs have no order", "give --by a variable, such as N or D")
        return _runs(table, grouping or grouping_of(table, {}), count, seed)
    if by not in table or not pd.api.types.is_numeric_dtype(table[by]):
        numbers = ", ".join(str(name) for name in table.columns if pd.api.types.is_numeric_dtype(table[name]))
        why = f"{by} is no column of numbers" if by in table else f"the table has no column {by}"
        raise InputError("by", by, why, f"choose run, or of {numbers}")
    values = numbers_of(table[by], "by", by).to_numpy(dtype=float)
    distinct = np.unique(values)
    if len(distinct) < 3:
        raise InputError("by", by, f"{by} has {len(distinct)} values", "leave out by something with three or more")
    parts = np.array_split(distinct, len(distinct) if len(distinct) <= MOST_VALUES else count)
    place = np.searchsorted([part[-1] for part in parts], values)
    digits = next(n for n in (4, 6, 9, 17) if n == 17 or len({f"{part[0]:.{n}g}" for part in parts}) == len(parts))
    folds = []
    for k, part in enumerate(parts):
        low, high = (f"{end:.{digits}g}" for end in (part[0], part[-1]))
        name = f"{by} = {low}" if len(part) == 1 else f"{by} from {low} to {high}"
        kept = place < k if leave == "largest" else place != k
        if kept.any():  # nothing is smaller than the smallest
            folds.append(Fold(name, place == k, kept))
    return folds


def _runs(table: pd.DataFrame, grouping: Grouping, count: int, seed: int) -> list[Fold]:
    if grouping.clusters is None and grouping.origin != "unknown":  # every row is a run of its own
        names = tuple(str(name) for name in table.index + 1)
        grouping = Grouping(("row",), np.arange(len(table)), grouping.origin)
        table = table.assign(row=[f"of row {name}" for name in names])
    if grouping.clusters is None or grouping.runs is None:
        why = "the table has no column run, and nothing else says which rows are of one run"
        remedy = "say it: --group COLUMN,..., or none if each row is a run; or leave out by a variable, such as N"
        raise InputError("by", "run", why, remedy)
    if grouping.runs < 3:
        raise InputError("by", "run", f"there are {grouping.runs} runs", "leave out by something with three or more")
    count = min(count, grouping.runs)
    part = (np.random.default_rng(seed).permutation(grouping.runs) % count)[grouping.clusters]
    folds = []
    for k in range(count):
        names = table.loc[part == k, list(grouping.columns)].drop_duplicates()
        one = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in names.iloc[0])
        name = f"run {one}" if len(names) == 1 else f"part {k + 1} of the runs, {len(names)}"
        folds.append(Fold(name, part == k, part != k))
    return folds


@np.errstate(all="ignore")  # as in fit_law
def cross_validate(
    law: Law | Predictor,
    table: pd.DataFrame,
    folds: Sequence[Fold],
    *,
    loss: Loss | None = None,
    target: str = "loss",
    weights: str | None = None,
    seed: int = 0,
) -> Tried:
    """The law fitted to a table that has been checked, and to every fold. `weights`: a column of row weights."""
    loss = loss or Loss()
    moving = [name for name in law.variables if table[name].dtype != object and table[name].nunique() > 1]
    why = tuple(_cannot(law, table[fold.kept], moving) for fold in folds)
    able = np.array([not one for one in why], dtype=bool)
    predicted, settled = np.full((len(folds), len(table)), np.nan), able.copy()
    begun = time.perf_counter()
    if not isinstance(law, Law):
        law.fit(table, target)
        seconds = time.perf_counter() - begun
        for k in np.flatnonzero(able).tolist():
            law.fit(table[folds[k].kept], target)
            predicted[k] = law.predict(table)
        return Tried(None, np.nan, True, seconds, predicted, settled, why)
    objective = objective_of(law, table, loss, target, weights)
    found = search(objective, seed)
    seconds = time.perf_counter() - begun
    if able.any():
        kept = np.stack([fold.kept for fold in folds])[able]
        theta, _, gap = refit(objective, found, kept)
        for k in np.flatnonzero(~(gap <= CONVERGED)).tolist():
            own = search(objective_of(law, table[kept[k]], loss, target, weights), seed)
            theta[k], gap[k] = own.theta, 0.0 if own.converged else np.inf
        with np.errstate(all="ignore"):  # a law may have no value at what it has not seen
            predicted[able], settled[able] = objective.bound.value(theta), gap <= CONVERGED
    return Tried(len(law.parameters), found.value, found.converged, seconds, predicted, settled, why)


def unseen(law: Law | Predictor, table: pd.DataFrame, by: str, *, leave: str = "each", target: str = "loss") -> Array:
    """What a law says of each row by its fit without the part that the row is in, (n,); `by`, `leave`: `folds_of`.

    NaN for a row that no fold leaves out, and with `leave="largest"` where too few smaller ones are left. InputError.
    """
    folds = folds_of(table, by, leave=leave)
    tried, found = cross_validate(law, table, folds, target=target), np.full(len(table), np.nan)
    why = [one for one in tried.why if one]
    if why and (leave == "each" or len(why) == len(folds)):
        raise InputError("law", law.name, f"cannot be fitted without a part: {why[0]}", "give more rows")
    for fold, predicted, lacking in zip(folds, tried.predicted, tried.why, strict=True):
        found[fold.out] = predicted[fold.out]
        if not lacking and not np.isfinite(predicted[fold.out]).all():
            raise InputError("law", law.name, f"has no value where it has not seen {fold.name}", "leave it out")
    return found


def _cannot(law: Law | Predictor, table: pd.DataFrame, names: Sequence[str]) -> str:
    """Why a law cannot be fitted to rows; nothing if it can. `names`: variables that differ in the whole table (the
    learning-rate sum of a base may not; schedules, in arrays, are not compared)."""
    if constant := [name for name in names if table[name].nunique() <= 1]:
        return f"one value of {constant[0]} is left"
    parameters = len(law.parameters) if isinstance(law, Law) else 1
    distinct = len(table.drop_duplicates(names) if names else table)
    return f"{distinct} different points are left for {parameters} parameters" if distinct <= parameters else ""
