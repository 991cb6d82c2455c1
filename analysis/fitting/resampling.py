"""Resampling the runs of a table, which err as one: draws of a fit's parameters.

Between `analysis.fitting.search` and `analysis.fitting.fit`.

    clusters = clusters_of(table, "run")
    draws = draws_of(objective, found, table, "run", clusters, count=1000, seed=0, progress=None)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.fitting.objective import Objective
from analysis.fitting.search import Found, Progress, refit
from analysis.laws.formula import Array, Integers
from analysis.results.expressions import refuse_missing
from harness.core.errors import InputError

MOST_FAILED = 0.5  # of the resamples may end without a minimum before the bootstrap is refused
FEWEST_RUNS = 5  # to resample; even so few give intervals that are too narrow
ROWS = "rows"  # what is resampled where a table names no runs


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


def clusters_of(table: pd.DataFrame, group: str | None) -> Integers | None:
    """The number of each row's run, None if the table does not say."""
    if group is None or group not in table:
        return None
    refuse_missing(table[group], "group", group)
    return np.asarray(pd.factorize(table[group], sort=True)[0], dtype=np.int64)


def resamples(clusters: Integers | None, rows: int, draws: int, seed: int) -> npt.NDArray[np.uint16]:
    """Counts (draws, rows) of bootstrap resamples: how often each row's run (each row, without runs) was drawn."""
    count = rows if clusters is None else int(clusters.max()) + 1
    random = np.random.default_rng(seed)
    drawn = np.stack([np.bincount(random.integers(0, count, count), minlength=count) for _ in range(draws)])
    counts = drawn.astype(np.uint16)  # a thousand resamples of 100,000 rows: 0.2 GB
    return counts if clusters is None else counts[:, clusters]


def draws_of(
    objective: Objective,
    found: Found,
    table: pd.DataFrame,
    group: str | None,
    clusters: Integers | None,
    count: int,
    seed: int,
    progress: Progress | None,
) -> Draws:
    """The law fitted to `count` resamples. Raises InputError for too few runs, or too few resamples with a fit."""
    if clusters is not None and (runs := int(clusters.max()) + 1) < FEWEST_RUNS:
        remedy = "train more runs, or name what rows have in common: --group (fit without one: --bootstrap 0)"
        raise InputError("bootstrap", count, f"{runs} values of {group} are too few to resample", remedy)
    theta, _, gap = refit(objective, found, resamples(clusters, len(table), count, seed), progress)
    parameters = objective.bound.law.outward(theta)
    failed = ~(gap <= 1e-4)
    parameters[failed] = np.nan
    if failed.mean() > MOST_FAILED:
        raise InputError(
            "bootstrap",
            count,
            f"{failed.mean():.0%} of the resamples have no fit",
            "give more runs, or a law of fewer parameters: --fix",
        )
    by = ROWS if clusters is None else str(group)
    names = [str(len(table))] if clusters is None else [str(name) for name in sorted(table[group].unique())]
    digest = hashlib.sha256("\n".join([by, *names]).encode()).hexdigest()[:16]
    return Draws(parameters, by, digest, seed, int(failed.sum()))
