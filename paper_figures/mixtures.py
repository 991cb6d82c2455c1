"""Grids of sizes, lengths and mixtures, as the figures of 2406.01375 draw them: which runs, their fits, their caption.

grids = mixtures.of(table)                      # a Grid for each domain
law = mixtures.fitted(grid.targets["general"])  # losses at (N, D, r) by L3
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import pandas as pd

from analysis.fitting.fit import objective_of
from analysis.fitting.objective import Loss
from analysis.fitting.search import Found, search
from analysis.formulas.formula import Array
from analysis.laws.library import LAWS
from analysis.measures.arms import ANNEALED, FLAT, Grid, continued, ends_by_run, mixture_grids
from analysis.measures.evidence import Evidence
from paper_figures import arms, style
from paper_figures.arms import Arm

L3 = LAWS["dcpt"]
SPLIT = ("scale", "schedule", "upstream")
TARGETS = ("general", "domain")
LEAST = {"N": 3, "r": 3}
DOMAINS = [  # a look for each domain, in order; of further ones again the first
    style.Look("#0072b2", "-", "o"),
    style.Look("#d55e00", "-", "s"),
    style.Look("#009e73", "-", "^"),
    style.Look("#cc79a7", "-", "D"),
    style.Look("#e69f00", "-", "v"),
    style.Look("#56b4e9", "-", "P"),
]


def select(table: pd.DataFrame) -> pd.DataFrame:
    """Runs onto one of several mixtures at several sizes, annealed to their end or at a constant rate."""
    chosen: pd.DataFrame = table[continued(table) & table.schedule.isin((ANNEALED, FLAT))]
    if chosen.empty:
        return chosen
    values = chosen.groupby([*SPLIT, "peak", "warmup"], dropna=False)[["N", "replay"]].transform("nunique")
    return chosen[values.N.ge(LEAST["N"]) & values.replay.ge(LEAST["r"])]


def of(table: pd.DataFrame) -> list[Grid]:
    """The grids of a table, one for each domain."""
    curves = Evidence.from_table(table[table.schedule == FLAT]).curves if (table.schedule == FLAT).any() else {}
    return mixture_grids(ends_by_run(table), curves)


def looks_of(grids: Sequence[Grid]) -> list[tuple[Grid, style.Look]]:
    """Each grid with the look of its domain."""
    return list(zip(grids, itertools.cycle(DOMAINS), strict=False))


def fitted(rows: pd.DataFrame) -> Callable[..., Array]:
    """L3 fitted to rows: its loss as a function of the columns N, D and r, nats per token."""
    return partial(L3.value, dict(zip(L3.parameters, L3.outward(found_of(rows).theta), strict=True)))


def found_of(rows: pd.DataFrame) -> Found:
    """The search for L3's parameters on rows, done once for all figures."""
    return _search(rows[["N", "D", "r", "loss"]].to_numpy(dtype=float).tobytes())


@cache
def _search(content: bytes) -> Found:
    rows = pd.DataFrame(np.frombuffer(content).reshape(-1, 4), columns=["N", "D", "r", "loss"])
    return search(objective_of(L3, rows, Loss()), 0)


def setting(table: pd.DataFrame, spread: str = "points are their mean and bars their range") -> str:
    """How runs of a grid are trained, and the sentence every caption has."""
    annealed = (table.schedule == ANNEALED).all()
    how = "each length annealed off one constant trunk" if annealed else "measured along runs at a constant rate"
    drawn = [Arm("", None, style.CONSTANT, table)]
    return f"Re-warmed to {style.times(float(table.peak.max()))} of the base's peak, {how}. " + arms.setting(
        drawn, spread
    )


def shown(values: Array, most: int) -> list[float]:
    """At most so many of some values, evenly, both ends among them."""
    at = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))
    return [float(value) for value in np.sort(values)[at]]
