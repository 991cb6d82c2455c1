"""Fitting a law to a table of losses: what the parameters are, how sure that is, and whether to believe it.

    fit = fit_law(LAWS["dcpt"], table, bootstrap=1000)     # columns N, D, r, loss and run
    fit.parameters, fit.interval, fit.converged, fit.unidentified
    fit.predict({"N": 1.8e9, "D": 1e10, "r": 0.9}), fit.predict_draws(...)

One engine for every law and loss: starts by variable projection (`analysis.fitting.starts`), batched Newton steps
(`analysis.fitting.newton`), again until two searches agree (`analysis.fitting.search`), and it says if they do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.fitting.objective import Loss, Objective, columns_of, outliers, quality, requirements, row_weights
from analysis.fitting.profile import Profile, profiled
from analysis.fitting.resampling import (
    GUESS,
    Draws,
    Grouping,
    check_resampled,
    draws_of,
    grouping_of,
    grouping_warnings,
)
from analysis.fitting.search import Found, Progress, search
from analysis.fitting.standard_errors import Information, believed, intervals, unidentified
from analysis.formulas.formula import Array
from analysis.laws.law import Bound, Law
from analysis.results.checks import POSITIVE, check, check_sums, grown_together
from harness.core.errors import InputError
from harness.core.units import decimal, percent

LEVEL = 0.9  # of every interval
# A fit warns of itself from here on.
WITHIN = 0.5  # of what happens along the runs is explained
MISSED = 0.05  # mean relative error of losses: laws of losses are wrong by a percent, and this is decades of compute
OUTLIER = 10.0  # robust standard deviations: no noise reaches as far
BLURRED = 1e7  # condition: its square, which standard errors are divided by, leaves them two digits


@dataclass(frozen=True)
class Fit:
    """A fitted law. Losses in nats per token; intervals at LEVEL."""

    law: Law
    """What was fitted: fixed parameters are numbers in its formula."""
    fixed: dict[str, float]
    """Parameters that were given, with their values."""
    target: str
    """The column that was fitted."""
    loss: Loss
    """The objective: its kind, and residuals in nats or in log nats."""
    parameters: dict[str, float]
    """Best value of each, in the units of the law."""
    se: dict[str, float]
    """Standard errors in the same units: by runs; of independent rows from the bootstrap, if there is one; inf where
    the data say nothing, or a profile shows that they mean nothing."""
    cramer_rao: dict[str, float]
    """What they would be if all rows were independent."""
    interval: dict[str, tuple[float, float]]
    """Of parameters with a profile that one; of others from standard errors, or of independent rows from the bootstrap.
    -inf or inf on a side where the data say nothing up to the parameter's bound."""
    profile: dict[str, tuple[float | None, float | None]]
    """Of flat parameters; None on a side where the objective does not rise enough up to the parameter's bound."""
    objective: float
    """At the minimum."""
    n_points: int
    """Rows."""
    n_runs: int | None
    """Runs; None: rows count as independent."""
    starts: dict[str, int]
    """How many were tried, and how many agree on the minimum."""
    converged: bool
    """Whether the gradient is zero there, and two searches agree or the first left no doubt: `search`."""
    on_bound: tuple[str, ...]
    """Parameters at an end of their range."""
    unidentified: tuple[str, ...]
    """Parameters that the data cannot tell: of those with a profile, by its width."""
    redundant: tuple[str, ...]
    """Of them, those that no data could tell apart, because the formula says the same thing twice."""
    condition: float
    """Of the scaled Jacobian."""
    r2: float
    """Share of the losses' variance that is explained."""
    r2_within_run: float | None
    """The same along the runs, after each run's mean; None without runs of several rows."""
    mre: float
    """Mean relative error, a share."""
    max_abs_z: float
    """The largest residual over their robust spread."""
    requirements: dict[str, float]
    """Share of the rows at which each of the law's holds."""
    range: dict[str, tuple[float, float]]
    """The data's, of each variable: outside of it a prediction extrapolates."""
    draws: Draws | None = None
    """Of the bootstrap, (B, P)."""
    rows: pd.DataFrame | None = field(default=None, compare=False)
    """What was fitted; None for laws with sums."""
    group: str | None = None
    """The columns that the rows of a run share, with commas between them; None: rows count as independent."""
    grouped: str = "given"
    """Who says so: given, guessed, distinct (no two rows can be of one run), or unknown, see `Grouping`."""

    @property
    def warnings(self) -> list[str]:
        """What speaks against this fit, or against its intervals: to be read before its numbers."""
        parameters = len(self.parameters)
        found = [] if self.converged else ["NOT CONVERGED: the best minimum found may not be the best there is"]
        found += grouping_warnings(self.grouped, self.group, self.n_runs)
        if self.n_runs is not None and self.n_runs <= parameters + 1 < self.n_points:
            found.append(f"{self.n_runs} runs for {parameters} parameters are too few to say how far runs differ")
        if self.n_points < 2 * parameters:
            found.append(f"{self.n_points} rows for {parameters} parameters: nearly any law would run through them")
        if self.r2 < 0:
            found.append(f"R² is {decimal(self.r2, 2)}: the mean of all losses is closer to them than this law")
        if self.r2_within_run is not None and self.r2_within_run < WITHIN:
            found.append(f"it explains {max(self.r2_within_run, 0):.0%} of what happens along the runs")
        if self.target == "loss" and self.mre > MISSED:
            found.append(f"it misses the losses by {percent(self.mre, 0)} on average")
        if self.max_abs_z > OUTLIER:
            far = outliers(self.rows, self.law, self.parameters, self.target, self.loss, OUTLIER)
            found.append(f"{far} {decimal(self.max_abs_z, 0)} robust standard deviations from the law")
        for text, share in self.requirements.items():
            if share < 1:
                found.append(f"{text}, as its paper demands, holds at {share:.0%} of the rows")
        if self._negative():
            found.append(f"it predicts a {self.target} below zero inside the range of the data")
        if names := ", ".join(self.redundant):
            found.append(f"no data identify {names}: the formula says one thing twice (--fix NAME=VALUE)")
        if told := [name for name in self.unidentified if name not in self.redundant]:
            found.append(f"the data do not identify {', '.join(told)}")
        elif not self.redundant and self.condition > BLURRED:
            found.append(f"condition {self.condition:.1g}: the data hardly tell the parameters apart")
        found += grown_together(self.rows, self.law.variables)
        if self.on_bound:
            found.append(f"on a bound, where intervals are not what they say: {', '.join(self.on_bound)}")
        if self.draws is not None and self.draws.failed:
            found.append(f"{self.draws.failed} of {len(self.draws.parameters)} resamples have no fit and are left out")
        return found

    def _negative(self) -> bool:
        """Whether it does at a row, or at one with the smallest or largest size or tokens of all."""
        if self.rows is None:
            return False
        columns = {name: self.rows[name].to_numpy(dtype=float) for name in self.law.variables}
        for name, unit in self.law.variables.items():
            if unit in POSITIVE:
                columns = {other: np.tile(column, 2) for other, column in columns.items()}
                columns[name] = np.repeat(self.range[name], len(columns[name]) // 2)
        return bool((self.predict(columns) <= 0).any())

    def span(self, name: str) -> str:
        """The interval of a parameter. An open side has no end, where a bound would look like one."""
        low, high = self.interval[name]
        if np.isinf(low) and np.isinf(high):
            return "open"
        if np.isinf(low) or np.isinf(high):
            return f"at most {high:.5g}" if np.isinf(low) else f"at least {low:.5g}"
        return f"{low:.5g} to {high:.5g}"

    def error(self, name: str) -> str:
        """Its standard error, where that means something."""
        return "-" if name in self.unidentified or not np.isfinite(self.se[name]) else f"{self.se[name]:.3g}"

    def predict(self, columns: Mapping[str, Any] | pd.DataFrame) -> Array:
        """Losses at columns that broadcast to one shape, or at the rows of a DataFrame."""
        if isinstance(columns, pd.DataFrame):
            theta = self.law.inward(np.array([[self.parameters[name] for name in self.law.parameters]]))
            return np.asarray(Bound(self.law, columns_of(self.law, columns)).value(theta)[0])
        return self.law.value(self.parameters, columns)

    def predict_draws(self, columns: Mapping[str, Any]) -> Array:
        """Losses of every bootstrap draw, (B, ...) over the columns' shape; NaN for a resample without a fit."""
        assert self.draws is not None, "fitted without a bootstrap"
        shaped = np.broadcast_arrays(*(np.asarray(columns[name], dtype=float) for name in self.law.variables))
        flat = {name: array.reshape(-1) for name, array in zip(self.law.variables, shaped, strict=True)}
        found = Bound(self.law, flat).value(self.law.inward(self.draws.parameters))
        return found.reshape(len(found), *shaped[0].shape)


@np.errstate(all="ignore")  # far from the data a law may overflow; what is not finite is never chosen
def fit_law(
    law: Law,
    table: pd.DataFrame,
    *,
    loss: Loss | None = None,
    fixed: Mapping[str, float] | None = None,
    target: str = "loss",
    group: str | Sequence[str] | None = GUESS,
    bootstrap: int = 0,
    seed: int = 0,
    weights: str | None = None,
    progress: Progress | None = None,
) -> Fit:
    """The law's best parameters on the table's columns (the law's variables and `target`).

    `group`: the columns that the rows of a run share (runs err as one: they are what the bootstrap resamples), None if
    every row is independent; by default the column `run`, or a guess, which the fit's warnings say, see `grouping_of`.
    `weights`: a column of row weights. Raises InputError for a table that cannot be fitted; a design that cannot tell
    parameters apart gives a fit that says so.
    """
    loss, fixed = loss or Loss(), dict(fixed or {})
    law = law.fixed(fixed)
    if weights is not None:  # rows of no weight play no part: not in checks, counts, ranges or figures
        table = table[row_weights(table, weights) > 0]
    check_rows(law, table, target, loss)
    objective = objective_of(law, table, loss, target, weights)
    grouping = grouping_of(table, law.variables, group)
    check_resampled(grouping, bootstrap)
    found = search(objective, seed)
    if not np.isfinite(found.value):
        why = f"has no value at all rows from any of {found.tried} starts"
        raise InputError(f"law {law.name}", law.formula, why, "mend its formula, its starts, or the rows")
    found, known, profiles = profiled(objective, found, grouping.clusters, LEVEL, seed)
    draws = draws_of(objective, found, table, grouping, bootstrap, seed, progress) if bootstrap else None
    names = dict.fromkeys([*law.variables, target, *grouping.columns, "run", "model", "seed"])  # plots look at them
    kept = table[[name for name in names if name in table]].reset_index(drop=True)
    rows = None if any(table[name].dtype == object for name in law.variables) else kept
    return _report(objective, found, known, profiles, grouping, fixed, target, draws, rows)


def check_rows(law: Law, table: pd.DataFrame, target: str, loss: Loss) -> None:
    """InputError unless the law can be fitted to the rows."""
    plain = [name for name in law.variables if name in table and table[name].dtype != object]
    check(table, law.variables, target=target, signed=loss.residuals == "raw")
    check_sums(table, law.shares)
    parameters, distinct = len(law.parameters), len(table.drop_duplicates(plain))
    if distinct <= parameters:
        why = f"{distinct} different points for the {parameters} parameters of {law.name}"
        raise InputError("table", f"{len(table)} rows", why, "give more points, or fix parameters: --fix NAME=VALUE")


def objective_of(
    law: Law, table: pd.DataFrame, loss: Loss, target: str = "loss", weights: str | None = None
) -> Objective:
    """The objective of a law on a table that has been checked."""
    given = row_weights(table, weights)
    return Objective(Bound(law, columns_of(law, table)), table[target].to_numpy(dtype=float), loss, given)


def _report(
    objective: Objective,
    found: Found,
    known: Information,
    profiles: Mapping[str, Profile],
    grouping: Grouping,
    fixed: dict[str, float],
    target: str,
    draws: Draws | None,
    rows: pd.DataFrame | None,
) -> Fit:
    law, names = objective.bound.law, objective.bound.law.parameters
    values = law.outward(found.theta)
    parameters = {name: float(value) for name, value in zip(names, values, strict=True)}
    profile = {name: (curve.low, curve.high) for name, curve in profiles.items()}
    natural = np.array([value if law.on_log_scale(name) else 1.0 for name, value in parameters.items()])
    se, cramer_rao = (
        np.where(np.isfinite(error), error, 1.0) * np.where(np.isfinite(error), natural, np.inf)
        for error in (believed(law, found, known, profile), known.cramer_rao)
    )
    drawn = draws if grouping.clusters is None else None  # of few runs the standard errors hold better: docs/laws.md
    if drawn is not None:
        se = np.nanstd(drawn.parameters, axis=0, ddof=1)
    predicted = objective.bound.value(found.theta[None])[0]
    return Fit(
        law=law,
        fixed=fixed,
        target=target,
        loss=objective.loss,
        parameters=parameters,
        se=dict(zip(names, map(float, se), strict=True)),
        cramer_rao=dict(zip(names, map(float, cramer_rao), strict=True)),
        interval=intervals(law, found, known, drawn, profile, LEVEL),
        profile=profile,
        objective=found.value,
        n_points=len(predicted),
        n_runs=grouping.runs,
        starts={"tried": found.tried, "agree": found.agree},
        converged=found.converged,
        on_bound=known.on_bound,
        unidentified=unidentified(law, known, profile),
        redundant=known.redundant,
        condition=known.condition,
        draws=draws,
        rows=rows,
        group=grouping.name,
        grouped=grouping.origin,
        **quality(objective, predicted, grouping.clusters),
        requirements=requirements(law, parameters, objective),
        range={
            name: (float(column.min()), float(column.max()))
            for name, column in zip(law.variables, objective.bound.data, strict=False)
        },
    )
