"""What the data say about a minimum: information matrix, standard errors, what they cannot tell apart.

`inform(objective, found, clusters)` after a search. Everything is in the form that fits move (`Law.inward`). The loss
of a residual is rho, psi its derivative; the covariance is that of an M-estimator: sigma² (J' J)^-1, sigma² = E psi² /
(E psi')², if rows are independent (Cramer and Rao's bound for least squares), and H^-1 (sum over runs of s s') H^-1
with the runs' scores s = J' psi where the rows of a run err together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.fitting.objective import Loss, Objective
from analysis.fitting.resampling import Draws
from analysis.fitting.search import Found, inward_bounds
from analysis.laws.formula import Array, Integers
from analysis.laws.law import Law

SINGULAR = 1e-13  # of the largest eigenvalue: below it a direction leaves every prediction as it is
DECADE = 2.3  # a parameter on a log scale whose standard error is a factor of ten is not identified
FLAT = 0.25  # standard error, of a log-scale parameter or of another's range of starts, from which it is profiled
ENDS = 3.3  # standard errors between the ends of an interval of 90 %
NEGLIGIBLE = 1e-6  # of every prediction: a term this small is at its bound of zero


Intervals = Mapping[str, tuple[float | None, float | None]]  # None: open


@dataclass(frozen=True)
class Information:
    """`covariance` (P, P); `cramer_rao` (P,): standard errors if all rows were independent; `degrees` of freedom;
    `unit` (P,): the rise of the objective, for a parameter, that half a unit of chi-square stands for; `condition` of
    the scaled Jacobian."""

    covariance: Array
    cramer_rao: Array
    degrees: int
    unit: Array
    condition: float
    unidentified: tuple[str, ...]
    on_bound: tuple[str, ...]

    @property
    def se(self) -> Array:
        """Standard errors, (P,); infinite where the data say nothing."""
        return np.sqrt(np.diag(self.covariance))


def inform(objective: Objective, found: Found, clusters: Integers | None) -> Information:
    """At the minimum found. `clusters`: the run of each row, None if rows are independent."""
    law, theta = objective.bound.law, found.theta
    predicted, gradient, _ = objective.bound.derivatives(theta[None])
    used = objective.weights > 0
    residuals, weights = objective.residuals(predicted)[0, used], objective.weights[used]
    gradient = np.nan_to_num(gradient[0], nan=0.0, posinf=0.0, neginf=0.0)  # where a law overflows, nothing is known
    jacobian = (gradient / predicted if objective.loss.residuals == "log" else gradient)[:, used]
    rows, parameters = len(residuals), len(theta)
    psi, slope = _score(objective.loss, residuals, parameters)
    spread = float((weights * psi**2).sum()) / max(rows - parameters, 1)
    inverse, condition, singular = _inverse((jacobian * weights * objective.loss.sides(residuals)) @ jacobian.T)
    with np.errstate(invalid="ignore"):  # an exact fit with a blind direction: 0 times infinity
        independent = spread / slope**2 * inverse
        covariance, degrees = independent, rows - parameters
        if clusters is not None:
            covariance, degrees = _by_run(independent, inverse / slope, jacobian * (weights * psi), clusters[used])
        wider = np.nan_to_num(np.diag(covariance) / np.diag(independent), nan=1.0)
    se = np.sqrt(np.diag(covariance))
    unidentified = _unidentified(law, se, singular, found)
    unknown = np.isin(law.parameters, unidentified)  # along a flat direction the ratio is that of two roundings
    return Information(
        covariance,
        np.sqrt(np.diag(independent)),
        max(degrees, 1),
        spread / slope * np.where(unknown, np.maximum(wider, 1.0), wider),
        condition,
        unidentified,
        _on_bound(objective, theta, predicted[0]),
    )


def flat(law: Law, known: Information) -> list[str]:
    """The parameters that the data say little of. One that enters linearly, and may be negative, is never flat for the
    size of its error: that has the unit of its column."""
    names = []
    for name, se in zip(law.parameters, known.se, strict=True):
        low, high = (0.0, 1.0) if law.on_log_scale(name) else law.starts.get(name, (-np.inf, np.inf))
        if name in known.unidentified or not se <= FLAT * (high - low):
            names.append(name)
    return names


def unidentified(law: Law, known: Information, profile: Intervals) -> tuple[str, ...]:
    """The parameters that the data cannot tell. A profile decides where there is one: by its width, which an open end
    continues to the bound. One that may be anything from zero to some size is what its standard error says."""
    names = []
    for name in law.parameters:
        if name not in profile:
            continue
        ends = zip(profile[name], law.bound(name), (-np.inf, np.inf), strict=True)
        if law.on_log_scale(name):
            low, high = (np.log(end) if end is not None else infinite for end, _, infinite in ends)
            unsure = name in known.unidentified if np.isinf(low) and high < np.inf else high - low > ENDS * DECADE
        else:
            low, high = (bound if end is None else end for end, bound, _ in ends)
            first, last = law.starts.get(name, (low, high))
            unsure = high - low > last - first or bool(np.isinf(high - low))
        if unsure:
            names.append(name)
    return tuple(names)


def intervals(
    law: Law,
    found: Found,
    known: Information,
    draws: Draws | None,
    profile: Intervals,
    level: float,
) -> dict[str, tuple[float, float]]:
    """Of what has a profile from that, with draws and without (draws stay where they began along a flat direction); of
    the others from draws or standard errors. Infinite where open."""
    tail = (1 - level) / 2
    if draws is not None:
        low, high = np.nanquantile(draws.parameters, [tail, 1 - tail], axis=0)
    else:
        from scipy.stats import t

        reach = float(t.ppf(1 - tail, known.degrees))
        low, high = (law.outward(found.theta + sign * reach * known.se) for sign in (-1, 1))
        bounds = np.array([law.bound(name) for name in law.parameters])
        low, high = np.clip(low, bounds[:, 0], None), np.clip(high, None, bounds[:, 1])
    found_ends = {name: (float(a), float(b)) for name, a, b in zip(law.parameters, low, high, strict=True)}
    profiled = {name: (-np.inf if a is None else a, np.inf if b is None else b) for name, (a, b) in profile.items()}
    return {**found_ends, **profiled}


def quality(objective: Objective, predicted: Array, clusters: Integers | None) -> dict[str, Any]:
    """R² (whole, and within runs), mean relative error, and the largest residual over their robust spread."""
    observed, residuals = objective.observed, objective.residuals(predicted)
    error = predicted - observed
    spread = 1.4826 * float(np.median(np.abs(residuals)))
    within = None
    if clusters is not None and int(clusters.max()) + 1 < len(clusters):
        size = np.bincount(clusters)
        left, total = (v - (np.bincount(clusters, v) / size)[clusters] for v in (error, observed))
        within = 1 - float((left**2).sum()) / max(float((total**2).sum()), 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):  # a change may be zero
        relative = np.abs(error / observed)
    return {
        "r2": 1 - float((error**2).sum()) / max(float(((observed - observed.mean()) ** 2).sum()), 1e-300),
        "r2_within_run": within,
        "mre": float(relative.mean()),
        "max_abs_z": float(np.abs(residuals).max() / spread) if spread > 0 else 0.0,
    }


def requirements(law: Law, parameters: Mapping[str, float], objective: Objective) -> dict[str, float]:
    """Share of the rows at which each of the law's requirements holds; rows with a variable of zero are left out."""
    columns = dict(zip(law.variables, objective.bound.data, strict=False))
    inside = np.all([column > 0 for column in columns.values() if column.ndim == 1], axis=0)
    columns = {name: column[inside] for name, column in columns.items()}
    return {text: float((law.trend(parameters, columns, text) < 0).mean()) for text in law.requirements if inside.any()}


def _score(loss: Loss, residuals: Array, parameters: int) -> tuple[Array, float]:
    """psi of each residual, and the mean of psi'.

    A corner below the residuals is a kink: psi' is then counted in a window around it, less the rows that the fit
    passes through because it has so many parameters.
    """
    corner = loss.corner
    scale = 1 / corner if loss.kind == "lad" else 1.0  # the objective is |r|, not Huber's
    psi = np.asarray(loss.sides(residuals) * np.clip(residuals, -corner, corner) * scale)
    if not np.isfinite(corner):
        return psi, 1.0
    window = max(corner, 0.5 * float(np.median(np.abs(residuals))))
    inside = max(int((np.abs(residuals) <= window).sum()) - parameters, 1)
    return psi, scale * corner / window * inside / max(len(residuals) - parameters, 1)


def _by_run(independent: Array, bread: Array, scores: Array, clusters: Integers) -> tuple[Array, int]:
    """Covariance from the scores (P, n) summed over runs, and its degrees of freedom; with fewer runs than parameters
    the independent one, widened as a whole."""
    runs = np.unique(clusters)
    sums = np.stack([scores[:, clusters == run].sum(1) for run in runs])
    count, parameters = sums.shape
    if count <= parameters + 1:
        rows = float((scores**2).sum())
        return independent * max(1.0, float((sums**2).sum()) / max(rows, 1e-300)), max(count - 1, 1)
    known = np.isfinite(np.diag(bread))
    covariance = independent.copy()
    inner, meat = bread[np.ix_(known, known)], sums[:, known].T @ sums[:, known]
    covariance[np.ix_(known, known)] = inner @ meat @ inner * count / (count - parameters)
    return covariance, count - parameters


def _inverse(matrix: Array) -> tuple[Array, float, npt.NDArray[np.bool_]]:
    """Inverse, condition of its root, and which parameters lie in a direction that it says nothing of (infinite)."""
    scale = 1 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    values, axes = np.linalg.eigh(matrix * scale[:, None] * scale[None])
    known = values > SINGULAR * values[-1]
    inverse = (axes[:, known] / values[known]) @ axes[:, known].T
    blind = ((axes[:, ~known] ** 2).sum(-1) > 1e-3) | (np.diag(matrix) <= 1e-290)
    inverse = inverse * scale[:, None] * scale[None]
    inverse[blind, blind] = np.inf
    return inverse, float(np.sqrt(values[-1] / max(values[0], 1e-300))), blind


def _unidentified(law: Law, se: Array, singular: npt.NDArray[np.bool_], found: Found) -> tuple[str, ...]:
    """Parameters that no row speaks of, whose error is as wide as what is plausible, or that differ between ends of the
    search with one and the same value of the objective."""
    names = []
    spread = np.abs(found.twins - found.theta).max(axis=0, initial=0.0)
    for i, name in enumerate(law.parameters):
        if law.on_log_scale(name):
            wide = se[i] > DECADE
        else:
            low, high = law.starts.get(name, (-np.inf, np.inf))
            wide = se[i] > high - low
        if singular[i] or wide or np.isnan(se[i]) or spread[i] > max(se[i], 1e-3):
            names.append(name)
    return tuple(names)


def _on_bound(objective: Objective, theta: Array, predicted: Array) -> tuple[str, ...]:
    """Parameters at a bound, and positive linear ones whose term has vanished."""
    law = objective.bound.law
    low, high = inward_bounds(law)
    found = []
    factors = dict(zip(law.linear, objective.bound.basis(theta[None]), strict=False))
    for i, name in enumerate(law.parameters):
        bounds = [bound for bound in (low[i], high[i]) if np.isfinite(bound)]
        at_bound = any(abs(theta[i] - bound) <= 1e-9 * max(1.0, abs(bound)) for bound in bounds)
        vanished = False
        if name in law.linear and law.on_log_scale(name):
            term = np.exp(theta[i]) * np.abs(factors[name][0])
            vanished = bool((term < NEGLIGIBLE * np.abs(predicted)).all())
        if at_bound or vanished:
            found.append(name)
    return tuple(found)
