"""Which rows of a table are of one run, and so err as one; and draws of a fit's parameters from resamples of the runs.

Between `analysis.fitting.search` and `analysis.fitting.fit`.

    grouping = grouping_of(table, law.variables)          # a column `run`, else a guess that says it is one
    again = refit(objective, found, weights)              # (K, n) weights: resamples, folds with rows left out
    draws = draws_of(objective, found, table, grouping, count=1000, seed=0, progress=None)
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.fitting.newton import minimise
from analysis.fitting.objective import Objective
from analysis.fitting.search import Found, Progress
from analysis.formulas.expressions import refuse_missing
from analysis.formulas.formula import Array, Integers
from harness.core.errors import InputError

CHUNK = 250  # refits at once, of some hundred rows; fewer of more
CHUNK_CELLS = 2_000_000  # refits times rows at once
MOST_FAILED = 0.5  # of the resamples may end without a minimum before the bootstrap is refused
FEWEST_RUNS = 5  # to resample; even so few give intervals that are too narrow
ROWS = "rows"  # what is resampled where a table names no runs
GUESS = "guess"  # a grouping that is read off the table
ORIGINS = ("given", "guessed", "distinct", "unknown")  # of a grouping
# What people call the column of runs, without its capitals and what is no letter.
RUNS = {"run", "runid", "runname", "runkey", "exp", "expid", "expname", "experiment", "experimentid", "experimentname"}
RUNS |= {"trial", "trialid", "job", "jobid", "model", "modelid", "modelname", "name", "id", "uid", "wandbid"}
# Units of what grows along a run, and names of columns that do: the first of them there is is a run's time.
ALONG = {"tokens", "steps", "tokens or steps", "FLOPs", "learning-rate sum", "annealed learning rate"}
ALONG |= {"learning rates", "changes"}
TIMES = ("D", "T", "step", "steps", "tokens", "position", "iteration", "iterations", "S1")
CHECKPOINTS = 3  # rows of one run at different times, from which it looks as if they were its checkpoints
MOST = 0.8  # of the rows must be of such runs for a guess


@dataclass(frozen=True)
class Grouping:
    """Which rows are of one run. `columns`: what the rows of a run share; none: every row counts as independent.
    `clusters` (n,): the number of each row's run. `origin`: given (by the user, or as a column `run`), guessed,
    distinct (no two rows can be of one run), or unknown (nothing says)."""

    columns: tuple[str, ...]
    clusters: Integers | None
    origin: str

    @property
    def name(self) -> str | None:
        """As `group` is written."""
        return ",".join(self.columns) or None

    @property
    def warnings(self) -> tuple[str, ...]:
        return grouping_warnings(self.origin, self.name, self.runs)

    @property
    def runs(self) -> int | None:
        return None if self.clusters is None else int(self.clusters.max()) + 1


def grouping_warnings(origin: str, name: str | None, runs: int | None) -> tuple[str, ...]:
    """What is to be said of a grouping before any interval."""
    if origin == "guessed":
        say = f"say so: --group {shlex.quote(str(name))}; or --group none if every row is a run of its own"
        return (f"runs are guessed: rows that share {name} count as one of {runs} runs ({say})",)
    if origin == "unknown":
        say = "--group COLUMN,... of what the rows of a run share; --group none if there are none"
        return (f"rows count as independent: if some are of one run, intervals are far too narrow ({say})",)
    return ()


def grouping_of(
    table: pd.DataFrame, variables: Mapping[str, str], group: str | Sequence[str] | None = GUESS
) -> Grouping:
    """The runs of a table for a law of these variables (name -> unit).

    `group`: a column, several (also as one text, `N,r`), None (rows are independent), or GUESS: the column `run`, in
    whatever capitals; else a column with another such name, or the variables that do not change along a run, if they
    make runs of several checkpoints. Raises InputError for columns that are not there, or have missing cells.
    """
    if group is None:
        return Grouping((), None, "given")
    if group != GUESS:
        columns, origin = _columns(table, group), "given"
    elif named := [name for name in table.columns if str(name).lower() == "run"]:
        columns, origin = ("run" if "run" in named else str(named[0]),), "given"
    else:
        columns, origin = _guessed(table, variables), "guessed"
    if columns:
        return Grouping(columns, clusters_of(table, columns), origin)
    constant = _constant(table, variables)
    return Grouping((), None, "distinct" if constant and not table.duplicated(constant).any() else "unknown")


def clusters_of(table: pd.DataFrame, columns: Sequence[str]) -> Integers:
    """The number of each row's run: that of its values in the columns, in their order."""
    for name in columns:
        refuse_missing(table[name], "group", name)
    return np.asarray(table.groupby(list(columns), sort=True).ngroup(), dtype=np.int64)


def _columns(table: pd.DataFrame, group: str | Sequence[str]) -> tuple[str, ...]:
    one = isinstance(group, str) and group in table.columns
    parts = [str(group)] if one else group.split(",") if isinstance(group, str) else group
    names = tuple(part.strip() for part in parts)
    if lacking := [name for name in names if name not in table.columns]:
        have = ", ".join(map(str, table.columns))
        raise InputError("group", ",".join(names), f"there is no column {lacking[0]}", f"there are {have}; or none")
    return names


def _constant(table: pd.DataFrame, variables: Mapping[str, str]) -> list[str]:
    """The variables that have one value all along a run."""
    return [name for name, unit in variables.items() if unit not in ALONG and table[name].dtype != object]


def _guessed(table: pd.DataFrame, variables: Mapping[str, str]) -> tuple[str, ...]:
    """The columns that tell runs apart where none is called `run`; none if the rows do not look like checkpoints."""
    constant = _constant(table, variables)
    for name in table.columns:
        plain = "".join(filter(str.isalnum, str(name).lower()))
        if plain in RUNS and name not in variables and not table[name].isna().any() and table[name].duplicated().any():
            apart = table.groupby(name)[constant].nunique() if constant else None
            if table[name].nunique() > 1 and (apart is None or (apart <= 1).all(axis=None)):
                return (str(name),)
    along = [name for name in variables if name not in constant and table[name].dtype != object]
    time = next((name for name in TIMES if name in (along or table.columns)), along[0] if along else None)
    if not constant or time is None:
        return ()
    for name in along:  # of two amounts of tokens one may be the run's own, such as those that are not repeated
        if name != time and _checkpointed(table, [*constant, name], time):
            constant.append(name)
    if not _checkpointed(table, constant, time):
        return ()
    if table.duplicated([*constant, time]).any():  # several seeds, or another knob
        for name in table.columns.difference([*constant, time], sort=False):
            finer = [*constant, name]
            if not table.duplicated([*finer, time]).any() and _checkpointed(table, finer, time):
                return tuple(finer)
    return tuple(constant)


def _checkpointed(table: pd.DataFrame, columns: Sequence[str], time: str) -> bool:
    """Whether most rows share these columns with others of other times, and there are two such groups or more."""
    times = table.groupby(list(columns), dropna=False)[time].transform("nunique")
    groups = len(table.drop_duplicates(list(columns)))
    return groups > 1 and bool((times >= CHECKPOINTS).mean() >= MOST)


@dataclass(frozen=True)
class Draws:
    """Parameters of the law fitted to resamples: `parameters` (B, P). `groups`: digest of the runs resampled, in order.

    Draws of two fits are paired (each pair saw the same runs) if `groups`, `seed` and the number of draws agree.
    """

    parameters: Array
    group: str  # the column resampled by; "rows" if rows were
    groups: str
    seed: int
    failed: int  # resamples whose fit did not converge: their draws are NaN

    def paired(self, other: Draws) -> bool:
        if self.group == ROWS:  # nothing says that two tables have their rows in one order
            return False
        return (self.groups, self.seed, self.group, len(self.parameters)) == (
            other.groups,
            other.seed,
            other.group,
            len(other.parameters),
        )


def resamples(clusters: Integers | None, rows: int, draws: int, seed: int) -> npt.NDArray[np.uint16]:
    """Counts (draws, rows) of bootstrap resamples: how often each row's run (each row, without runs) was drawn."""
    count = rows if clusters is None else int(clusters.max()) + 1
    random = np.random.default_rng(seed)
    drawn = np.stack([np.bincount(random.integers(0, count, count), minlength=count) for _ in range(draws)])
    counts = drawn.astype(np.uint16)  # a thousand resamples of 100,000 rows: 0.2 GB
    return counts if clusters is None else counts[:, clusters]


def refit(
    objective: Objective, found: Found, weights: npt.NDArray[Any], progress: Progress | None = None
) -> tuple[Array, Array, Array]:
    """The minimum for each row of `weights` (K, n), which multiply the objective's own, from the full fit's best
    minima: theta (K, P), value, gap (K,)."""
    low, high = objective.bound.law.inward_bounds
    origins = [found.theta, *found.others[:2]]
    theta = np.empty((len(weights), len(found.theta)))
    value, gap = np.full(len(weights), np.inf), np.full(len(weights), np.inf)
    _, exact = objective.corners
    chunk = max(1, min(CHUNK, CHUNK_CELLS // weights.shape[1]))
    for first in range(0, len(weights), chunk):
        part = slice(first, min(first + chunk, len(weights)))
        own = replace(objective, weights=objective.weights * weights[part])
        for origin in origins:
            start = np.repeat(origin[None], part.stop - part.start, axis=0)
            end = minimise(own, start, low, high, deltas=exact, tolerance=1e-9)
            better = end.value < value[part]
            theta[part][better], value[part][better], gap[part][better] = (
                end.theta[better],
                end.value[better],
                end.gap[better],
            )
        if progress:
            progress(part.stop, len(weights))
    return theta, value, gap


def check_resampled(grouping: Grouping, count: int) -> None:
    """InputError for too few runs to resample `count` times, if at all."""
    if count and grouping.runs is not None and grouping.runs < FEWEST_RUNS:
        remedy = "train more runs, or name what rows have in common: --group (fit without one: --bootstrap 0)"
        if grouping.origin == "guessed":
            remedy = (
                f"--bootstrap 0; or, if rows that share {grouping.name} are not one run: --group COLUMN, --group none"
            )
        why = f"{grouping.runs} values of {grouping.name} are too few to resample"
        raise InputError("bootstrap", count, why, remedy)


def _key(value: Any) -> str:
    """A value of a run's columns as a text; 0.1 and 1 - 0.9 are one share."""
    return str(float(f"{value:.9g}")) if isinstance(value, float) else str(value)


def draws_of(
    objective: Objective,
    found: Found,
    table: pd.DataFrame,
    grouping: Grouping,
    count: int,
    seed: int,
    progress: Progress | None,
) -> Draws:
    """The law fitted to `count` resamples. Raises InputError for too few resamples with a fit."""
    theta, _, gap = refit(objective, found, resamples(grouping.clusters, len(table), count, seed), progress)
    parameters = objective.bound.law.outward(theta)
    failed = ~((gap <= 1e-4) & np.isfinite(parameters).all(axis=1))
    parameters[failed] = np.nan
    if failed.mean() > MOST_FAILED:
        raise InputError(
            "bootstrap",
            count,
            f"{failed.mean():.0%} of the resamples have no fit",
            "give more runs, or a law of fewer parameters: --fix",
        )
    by, names = grouping.name or ROWS, [str(len(table))]
    if grouping.columns:
        keys = table[list(grouping.columns)].drop_duplicates().sort_values(list(grouping.columns))
        names = [",".join(map(_key, key)) for key in keys.itertuples(index=False)]
    digest = hashlib.sha256("\n".join([by, *names]).encode()).hexdigest()[:16]
    return Draws(parameters, by, digest, seed, int(failed.sum()))
