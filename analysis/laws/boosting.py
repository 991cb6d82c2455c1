"""Gradient-boosted trees as a baseline: no law, but what `compare` sets laws beside on the same folds.

    compare([LAWS["dcpt"], Boosted(LAWS["dcpt"].variables)], table, by="N")

Trees know no form: what they miss that a law predicts is what the form is worth, most of all outside of the data.
RegMix (2407.01492) regresses the losses of mixtures so. LightGBM is an extra (`pip install 'rewarm[lightgbm]'`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.formulas.formula import Array
from harness.core.errors import InputError

NAME = "lightgbm"
ROUNDS = 500
# Tables of laws have tens to thousands of rows: leaves of two. One thread: sums in another order are other trees.
SETTINGS = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 2,
    "min_data_in_bin": 1,
    "num_threads": 1,
    "deterministic": True,
    "verbosity": -1,
}


class Boosted:
    """Trees over some variables of a table, fitted to the logarithms of what is predicted, by least squares."""

    name = NAME

    def __init__(self, variables: Mapping[str, str], seed: int = 0, *, raw: bool = False) -> None:
        """`variables`: name -> unit; `raw`: of targets that are not positive, not their logarithms. Raises InputError
        where LightGBM is not installed, and for variables that are curves."""
        if curves := [name for name, unit in variables.items() if unit in ("learning rates", "changes")]:
            why = f"trees read a number in each row, and {curves[0]} is a curve"
            raise InputError("law", NAME, why, "compare it with laws of numbers")
        self.variables, self.seed, self.raw = dict(variables), seed, raw
        self._package, self._trees = _loaded(), None

    def fit(self, table: pd.DataFrame, target: str) -> None:
        """Learn from the rows of a table."""
        losses = table[target].to_numpy(dtype=float)
        data = self._package.Dataset(self._columns(table), losses if self.raw else np.log(losses))
        self._trees = self._package.train({**SETTINGS, "seed": self.seed}, data, num_boost_round=ROUNDS)

    def predict(self, table: pd.DataFrame) -> Array:
        """Losses at the rows of a table, (n,)."""
        assert self._trees is not None, "not fitted"
        found = np.asarray(self._trees.predict(self._columns(table)), dtype=float)
        return found if self.raw else np.exp(found)

    def _columns(self, table: pd.DataFrame) -> Array:
        return table[list(self.variables)].to_numpy(dtype=float)


def _loaded() -> Any:
    """The package. Raises InputError."""
    try:
        return importlib.import_module(NAME)
    except ImportError:
        why, remedy = "is an extra that is not installed", "pip install 'rewarm[lightgbm]'"
    except OSError as error:  # of its library, which needs OpenMP's
        why = f"cannot be loaded ({' '.join(str(error).split())})"
        remedy = "install OpenMP's library, on Debian: apt-get install libgomp1"
    raise InputError("law", NAME, why, remedy)
