"""Fits whose parameters and draws are given, for tests of what is done with a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.fitting.fit import Fit
from analysis.fitting.objective import Loss
from analysis.fitting.resampling import Draws
from analysis.formulas.formula import Array
from analysis.laws.law import Law


def fit_of(
    law: Law,
    parameters: Mapping[str, float],
    *,
    draws: Array | None = None,
    seed: int = 0,
    groups: str = "the runs",
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Fit:
    """The fit with these parameters, draws (B, P) in the law's order, and the data's range of each column."""
    return Fit(
        law=law,
        fixed={},
        target="loss",
        loss=Loss(),
        parameters=dict(parameters),
        se={},
        cramer_rao={},
        interval={},
        profile={},
        objective=0.0,
        n_points=100,
        n_runs=10,
        starts={},
        converged=True,
        on_bound=(),
        unidentified=(),
        redundant=(),
        condition=1.0,
        r2=1.0,
        r2_within_run=None,
        mre=0.0,
        max_abs_z=0.0,
        requirements={},
        range=dict(ranges or {}),
        draws=None if draws is None else Draws(draws, "run", groups, seed, int(np.isnan(draws).any(-1).sum())),
    )


def scattered(law: Law, parameters: Mapping[str, float], count: int, spread: float, seed: int = 0) -> Array:
    """(count, P) draws: the parameters, each times (1 + a normal error of this spread)."""
    random = np.random.default_rng(seed)
    centre: Any = np.array([parameters[name] for name in law.parameters])
    return np.asarray(centre * (1 + spread * random.normal(size=(count, len(centre)))))
