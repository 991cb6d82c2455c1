"""Fitting a law to a table of losses: what the parameters are, how sure that is, and whether to believe it.

    fit = fit_law(LAWS["dcpt"], table, bootstrap=1000)     # columns N, D, r, loss and run
    fit.parameters, fit.interval, fit.converged, fit.unidentified
    fit.predict({"N": 1.8e9, "D": 1e10, "r": 0.9}), fit.predict_draws(...)

One engine for every law and loss: starts by variable projection (`analysis.fitting.starts`), batched Newton steps
(`analysis.fitting.newton`), more starts until several agree (`analysis.fitting.search`). A fit that has not converged
says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.fitting.objective import Loss, Objective
from analysis.fitting.profile import profile_interval
from analysis.fitting.resampling import Draws, clusters_of, draws_of
from analysis.fitting.search import Found, Progress, search
from analysis.fitting.standard_errors import Information, inform
from analysis.laws.formula import Array, Integers
from analysis.laws.law import Bound, Law, remedy_of
from analysis.results.checks import check
from analysis.results.expressions import quote
from harness.core.errors import InputError

LEVEL = 0.9  # of every interval
FLAT = 0.25  # standard error, of a log-scale parameter or of another's range of starts, from which it is profiled


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
    """Standard errors in the same units: of the bootstrap, else by runs; inf where the data say nothing."""
    cramer_rao: dict[str, float]
    """What they would be if all rows were independent."""
    interval: dict[str, tuple[float, float]]
    """From the bootstrap, else from standard errors."""
    profile: dict[str, tuple[float | None, float | None]]
    """Of flat parameters; None on a side where the objective never rises enough."""
    objective: float
    """At the minimum."""
    n_points: int
    """Rows."""
    n_runs: int | None
    """Runs; None: rows count as independent."""
    starts: dict[str, int]
    """How many were tried, and how many agree on the minimum."""
    converged: bool
    """Whether the gradient is zero there and enough starts agree."""
    on_bound: tuple[str, ...]
    """Parameters at an end of their range."""
    unidentified: tuple[str, ...]
    """Parameters that the data cannot tell."""
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


def fit_law(
    law: Law,
    table: pd.DataFrame,
    *,
    loss: Loss | None = None,
    fixed: Mapping[str, float] | None = None,
    target: str = "loss",
    group: str | None = "run",
    bootstrap: int = 0,
    seed: int = 0,
    weights: str | None = None,
    progress: Progress | None = None,
) -> Fit:
    """The law's best parameters on the table's columns (the law's variables and `target`).

    `group`: the column that says which rows belong to one run (runs err as one: they are what the bootstrap resamples);
    if the table has none, rows count as independent. `weights`: a column of row weights. Raises InputError for a table
    that cannot be fitted; a design that cannot tell parameters apart gives a fit that says so.
    """
    loss, fixed = loss or Loss(), dict(fixed or {})
    law = law.fixed(fixed)
    check_rows(law, table, target)
    objective = objective_of(law, table, loss, target, weights)
    clusters = clusters_of(table, group)
    found = search(objective, seed)
    known = inform(objective, found, clusters)
    draws = draws_of(objective, found, table, group, clusters, bootstrap, seed, progress) if bootstrap else None
    rows = None if any(table[name].dtype == object for name in law.variables) else _kept(table, law, target, group)
    return _report(objective, found, known, clusters, fixed, target, draws, rows)


def check_rows(law: Law, table: pd.DataFrame, target: str) -> None:
    """InputError unless the law can be fitted to the rows."""
    plain = [name for name in law.variables if name in table and table[name].dtype != object]
    constant = [name for name in plain if table[name].nunique() == 1]
    check(table, law.variables, target=target, remedies={name: remedy_of(law, name) for name in constant})
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


def row_weights(table: pd.DataFrame, name: str | None) -> Array:
    """The weights in a column; ones without. Raises InputError."""
    if name is None:
        return np.ones(len(table))
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float)
    if not (np.isfinite(values).all() and (values >= 0).all() and (values > 0).any()):
        why, column = "not numbers of zero or more, some of them positive", quote(name)
        remedy = f"give such weights, or leave the other rows out: --where 'isfinite({column}) and {column} >= 0'"
        raise InputError("weights", name, why, remedy)
    return values


def columns_of(law: Law, table: pd.DataFrame) -> dict[str, Array]:
    """The law's variables: (n,), or (n, m) where every cell is an array."""
    columns = {name: table[name] for name in law.variables}
    return {
        name: np.stack(list(column)) if column.dtype == object else column.to_numpy(dtype=float)
        for name, column in columns.items()
    }


def _kept(table: pd.DataFrame, law: Law, target: str, group: str | None) -> pd.DataFrame:
    """The columns of the table that a fit's plots and the choice of further runs look at."""
    names = dict.fromkeys([*law.variables, target, *([group] if group else []), "run", "model", "seed"])
    return table[[name for name in names if name in table]].reset_index(drop=True)


def _report(
    objective: Objective,
    found: Found,
    known: Information,
    clusters: Integers | None,
    fixed: dict[str, float],
    target: str,
    draws: Draws | None,
    rows: pd.DataFrame | None,
) -> Fit:
    law, names = objective.bound.law, objective.bound.law.parameters
    values = law.outward(found.theta)
    parameters = {name: float(value) for name, value in zip(names, values, strict=True)}
    natural = np.array([value if law.on_log_scale(name) else 1.0 for name, value in parameters.items()])
    se, cramer_rao = (
        np.where(np.isfinite(error), error, 1.0) * np.where(np.isfinite(error), natural, np.inf)
        for error in (known.se, known.cramer_rao)
    )
    if draws is not None:
        se = np.nanstd(draws.parameters, axis=0, ddof=1)
    predicted = objective.bound.value(found.theta[None])[0]
    used = objective.weights > 0
    actual, expected = objective.observed[used], predicted[used]
    profile = {name: profile_interval(objective, found, known, name, LEVEL) for name in _flat(law, known)}
    return Fit(
        law=law,
        fixed=fixed,
        target=target,
        loss=objective.loss,
        parameters=parameters,
        se=dict(zip(names, map(float, se), strict=True)),
        cramer_rao=dict(zip(names, map(float, cramer_rao), strict=True)),
        interval=_intervals(law, found, known, draws, profile),
        profile=profile,
        objective=found.value,
        n_points=len(predicted),
        n_runs=None if clusters is None else int(clusters.max()) + 1,
        starts={"tried": found.tried, "agree": found.agree},
        converged=found.converged,
        on_bound=known.on_bound,
        unidentified=known.unidentified,
        condition=known.condition,
        draws=draws,
        rows=rows,
        **quality(actual, expected, objective.residuals(predicted)[used], None if clusters is None else clusters[used]),
        requirements=_requirements(law, parameters, objective),
        range={
            name: (float(column.min()), float(column.max()))
            for name, column in zip(law.variables, objective.bound.data, strict=False)
        },
    )


def quality(observed: Array, predicted: Array, residuals: Array, clusters: Integers | None) -> dict[str, Any]:
    """R² (whole, and within runs), mean relative error, and the largest residual over their robust spread."""
    error = predicted - observed
    spread = 1.4826 * float(np.median(np.abs(residuals)))
    within = None
    if clusters is not None and int(clusters.max()) + 1 < len(clusters):
        size = np.bincount(clusters)
        left, total = (v - (np.bincount(clusters, v) / size)[clusters] for v in (error, observed))
        within = 1 - float((left**2).sum()) / max(float((total**2).sum()), 1e-300)
    return {
        "r2": 1 - float((error**2).sum()) / max(float(((observed - observed.mean()) ** 2).sum()), 1e-300),
        "r2_within_run": within,
        "mre": float(np.abs(error / observed).mean()),
        "max_abs_z": float(np.abs(residuals).max() / spread) if spread > 0 else 0.0,
    }


def _intervals(
    law: Law,
    found: Found,
    known: Information,
    draws: Draws | None,
    profile: Mapping[str, tuple[float | None, float | None]],
) -> dict[str, tuple[float, float]]:
    """From draws or standard errors; of a parameter that is not identified from its profile, open to its bounds (draws
    stay where they began along a flat direction)."""
    tail = (1 - LEVEL) / 2
    if draws is not None:
        low, high = np.nanquantile(draws.parameters, [tail, 1 - tail], axis=0)
    else:
        from scipy.stats import t

        reach = float(t.ppf(1 - tail, known.degrees))
        low, high = (law.outward(found.theta + sign * reach * known.se) for sign in (-1, 1))
        bounds = np.array([law.bound(name) for name in law.parameters])
        low, high = np.clip(low, bounds[:, 0], None), np.clip(high, None, bounds[:, 1])
    found_ends = {name: (float(a), float(b)) for name, a, b in zip(law.parameters, low, high, strict=True)}
    for name in known.unidentified:
        ends = zip(profile[name], law.bound(name), strict=True)
        first, last = (bound if end is None else end for end, bound in ends)
        found_ends[name] = (float(first), float(last))
    return found_ends


def _flat(law: Law, known: Information) -> Sequence[str]:
    """The parameters that the data say little of."""
    found = []
    for name, se in zip(law.parameters, known.se, strict=True):
        low, high = law.starts.get(name, (0.0, 1.0))
        if name in known.unidentified or not se <= FLAT * (1.0 if law.on_log_scale(name) else high - low):
            found.append(name)
    return found


def _requirements(law: Law, parameters: Mapping[str, float], objective: Objective) -> dict[str, float]:
    """Share of the rows at which each of the law's requirements holds; rows with a variable of zero are left out."""
    columns = dict(zip(law.variables, objective.bound.data, strict=False))
    inside = np.all([column > 0 for column in columns.values() if column.ndim == 1], axis=0)
    columns = {name: column[inside] for name, column in columns.items()}
    return {text: float((law.trend(parameters, columns, text) < 0).mean()) for text in law.requirements if inside.any()}
