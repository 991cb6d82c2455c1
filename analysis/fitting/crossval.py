"""Does a law predict what it has not seen? Cross-validation by size, tokens, share, run, or largest sizes.

    cross_validate(LAWS["dcpt"], table, by="r")      # a row per fold: what was left out, how well it was predicted

Every fold is the same fit with the weights of its rows set to zero, so all folds are one batch of Newton steps from
the full fit's minima.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.fitting.fit import objective_of
from analysis.fitting.objective import Loss, huber
from analysis.fitting.resampling import clusters_of
from analysis.fitting.search import CONVERGED, Progress, refit, search
from analysis.laws.law import Law
from analysis.results.expressions import numbers_of
from harness.core.errors import InputError

MOST_VALUES = 12  # of a column, up to which each value is a fold of its own; more are put into `folds` ranges


def cross_validate(
    law: Law,
    table: pd.DataFrame,
    *,
    by: str,
    folds: int = 3,
    loss: Loss | None = None,
    target: str = "loss",
    group: str = "run",
    seed: int = 0,
    weights: str | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Fit without a part of the rows, predict them, for every part.

    `by`: a variable (each of its values is left out once; if it has many, each of `folds` ranges), `run` (`folds`
    random parts of the runs), or `largest-N` (the largest size, then the two largest, ...; any variable for N; at most
    MOST_VALUES such parts). A part without which too few different rows are left for the law is not left out.
    `weights`: a column of row weights; rows of weight 0 play no part. Columns: left_out, n, r2 (of the losses left
    out), huber (mean, of their residuals), mre, converged. Raises InputError.
    """
    loss = loss or Loss()
    objective = objective_of(law, table, loss, target, weights)
    counted = objective.weights > 0
    named = [(name, left_out & counted) for name, left_out in _folds(table, by, folds, group, seed)]
    named = [(name, out) for name, out in named if out.any() and _can_be_fitted(law, table[counted & ~out])]
    if not named:
        why = f"whatever is left out, too few different rows are left for the {len(law.parameters)} parameters"
        raise InputError("by", by, f"{why} of {law.name}", "leave out by something else, or fix parameters")
    kept = np.stack([~left_out for _, left_out in named])
    theta, _, gap = refit(objective, search(objective, seed), kept, progress)
    predicted = objective.bound.value(theta)
    residuals, observed = objective.residuals(predicted), objective.observed
    delta = loss.delta if loss.kind in ("huber", "asymmetric") else np.inf
    rows = []
    for i, (name, left_out) in enumerate(named):
        actual, expected = observed[left_out], predicted[i, left_out]
        spread = float(((actual - actual.mean()) ** 2).sum())
        rows.append(
            {
                "left_out": name,
                "n": int(left_out.sum()),
                "r2": 1 - float(((expected - actual) ** 2).sum()) / spread if spread > 0 else np.nan,
                "huber": float(huber(residuals[i, left_out], delta).mean()),
                "mre": float(np.abs(expected / actual - 1).mean()),
                "converged": bool(gap[i] <= CONVERGED),
            }
        )
    return pd.DataFrame(rows)


def _can_be_fitted(law: Law, table: pd.DataFrame) -> bool:
    """Whether the rows are of more different points than the law has parameters."""
    names = [name for name in law.variables if table[name].dtype != object]  # schedules, in arrays, are not compared
    return len(table.drop_duplicates(names) if names else table) > len(law.parameters)


def _folds(
    table: pd.DataFrame, by: str, folds: int, group: str, seed: int
) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """(name, rows left out as booleans) of every fold."""
    largest, _, column = by.partition("-")
    column = column if largest == "largest" else (group if by == "run" else by)
    if column not in table or (by != "run" and not pd.api.types.is_numeric_dtype(table[column])):
        known = ", ".join(name for name in table.columns if pd.api.types.is_numeric_dtype(table[name]))
        why = f"{column} is no column of numbers" if column in table else f"the table has no column {column}"
        raise InputError("by", by, why, f"choose run, largest-COLUMN or of {known}")
    if by == "run":
        clusters = clusters_of(table, group)
        assert clusters is not None
        runs = int(clusters.max()) + 1
        folds = min(folds, runs)
        part = np.random.default_rng(seed).permutation(runs) % folds
        yield from ((f"part {k + 1} of the runs", part[clusters] == k) for k in range(folds))
        return
    values = numbers_of(table[column], "by", by).to_numpy(dtype=float)
    distinct = np.unique(values)
    if len(distinct) < 3:
        raise InputError("by", by, f"{column} has {len(distinct)} values", "leave out by something with three or more")
    if largest == "largest":
        counts = np.linspace(1, len(distinct) - 2, min(MOST_VALUES, len(distinct) - 2)).round().astype(int)
        for k in counts:
            yield f"{column} >= {distinct[-k]:.4g}", values >= distinct[-k]
    elif len(distinct) <= MOST_VALUES:
        yield from ((f"{column} = {value:.4g}", values == value) for value in distinct)
    else:
        edges = np.quantile(distinct, np.linspace(0, 1, folds + 1))
        part = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, folds - 1)
        for k in range(folds):
            yield f"{column} from {edges[k]:.4g} to {edges[k + 1]:.4g}", part == k
