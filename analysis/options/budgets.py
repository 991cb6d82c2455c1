"""Which runs share a budget: FLOPs that were meant to be one, but for rounding and for the steps of a run.

Beneath `analysis.commands.isoflop`.

    table, departure = to_budgets(table, budgets=[1e19, 1e20])
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.answers.valleys import LEAST
from analysis.formulas.expressions import row_numbers
from analysis.formulas.formula import Array
from harness.core.errors import InputError

ROUNDING = 1e-6  # of a budget: no two are meant that differ by less
ALIKE, APART = 0.05, 0.5  # how far a run may be off its budget: found among the runs, and given


def to_budgets(table: pd.DataFrame, budgets: Sequence[float] = ()) -> tuple[pd.DataFrame, float]:
    """The table with C, the FLOPs of each run, replaced by the budget it was meant for, and the farthest departure.

    `budgets`: each run belongs to the nearest. Without them values of C that ALIKE separates at most are one budget,
    named by its middle. The departure is a share of the budget; 0 where C holds budgets already. InputError for runs
    that lie between budgets.
    """
    C = _rounded(table.C.to_numpy(dtype=float))
    known = np.sort(np.asarray(budgets, dtype=float))
    if not len(known):
        if pd.Series(C).groupby(C).transform("size").ge(LEAST).mean() > 0.5:  # most runs share their C with others
            return table.assign(C=C), 0.0
        groups = _cut(C, ALIKE)
        known = np.array([float(f"{math.sqrt(group[0] * group[-1]):.3g}") for group in groups])
    nearest = known[np.abs(np.log(C)[:, None] - np.log(known)).argmin(1)]
    departure = float(np.abs(C / nearest - 1).max())
    if departure > (APART if len(budgets) else ALIKE):
        worst = int(np.abs(C / nearest - 1).argmax())
        spent = f"the run in {row_numbers([table.index[worst]])} spent {C[worst]:.3g} FLOPs"
        why = f"{spent}, {departure:.0%} off the nearest budget {nearest[worst]:.3g}"
        remedy = "name the budgets meant: --budgets 1e19,3e19,...; or map C to a column of them"
        raise InputError("C", f"{len(table)} rows", why, remedy)
    return table.assign(C=nearest), departure


def _rounded(C: Array) -> Array:
    """Values that only rounding tells apart, such as 6 N D of D = C/(6 N), are the least of them."""
    groups = _cut(C, ROUNDING)
    return np.asarray(
        np.concatenate([np.full(len(group), group[0]) for group in groups])[np.searchsorted(np.unique(C), C)]
    )


def _cut(C: Array, share: float) -> list[Array]:
    """The distinct values in order, cut where one is more than this share above the one before."""
    values = np.unique(C)
    return np.split(values, np.flatnonzero(np.diff(np.log(values)) > math.log1p(share)) + 1)
