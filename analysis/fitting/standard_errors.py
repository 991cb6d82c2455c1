"""What the data say about a minimum: information matrix, standard errors, what they cannot tell apart.

`inform(objective, found, clusters)` after a search. Everything is in the form that fits move (`Law.inward`). The loss
of a residual is rho, psi its derivative. The covariance is that of an M-estimator: sigma² (J' J)^-1, sigma² = E psi² /
(E psi')², if rows are independent (Cramer and Rao's bound for least squares). Where the rows of a run err together it
is H^-1 (sum over runs of s s') H^-1 with the runs' scores s = J' psi, each divided by what its run leaves of the fit to
others (I - leverage): that of leaving out one run at a time, CR3 of Bell and McCaffrey (2002), with their degrees of
freedom after Satterthwaite, for errors that the rows of a run share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.fitting.objective import Loss, Objective
from analysis.fitting.resampling import Draws
from analysis.fitting.search import Found
from analysis.formulas.formula import Array, Integers
from analysis.laws.law import Law
from analysis.laws.redundant import redundant

SINGULAR = 1e-13  # of the largest eigenvalue: below it a direction leaves every prediction as it is
DECADE = 2.3  # a parameter on a log scale whose standard error is a factor of ten is not identified
FLAT = 0.25  # standard error, of a log-scale parameter or of another's range of starts, from which it is profiled
ENDS = 3.3  # standard errors between the ends of an interval of 90 %
BEYOND = 3.0  # times what a standard error says a parameter can go, and it says nothing
NEGLIGIBLE = 1e-6  # of every prediction: a term this small is at its bound of zero
MOST_LEVERAGE = 1 - 1e-3  # of a run: beyond, it alone says something, and nobody knows how wrongly
FEW_RUNS = 200  # up to which degrees of freedom are worked out; with more they do not matter


Intervals = Mapping[str, tuple[float | None, float | None]]  # None: open


@dataclass(frozen=True)
class Information:
    """`covariance` (P, P); `cramer_rao` (P,): standard errors if all rows were independent; `degrees` (P,) of freedom;
    `unit` (P,): the rise of the objective, for a parameter, that half a unit of chi-square stands for; `condition` of
    the scaled Jacobian."""

    covariance: Array
    cramer_rao: Array
    degrees: Array
    unit: Array
    condition: float
    unidentified: tuple[str, ...]
    redundant: tuple[str, ...]  # of them, those that no data could tell apart: `laws.redundant`
    on_bound: tuple[str, ...]

    @property
    def se(self) -> Array:
        """Standard errors, (P,); infinite where the data say nothing."""
        return np.sqrt(np.diag(self.covariance))

    def allowed(self, level: float) -> Array:
        """(P,) The rise of the objective at the ends of a profile interval: of a linear law and squares, Student's."""
        from scipy.stats import f

        return np.asarray(np.maximum(0.5 * f.ppf(level, 1, self.degrees) * self.unit, 1e-300))


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
    curve = weights * objective.loss.sides(residuals)
    inverse, root, condition, singular = _inverse((jacobian * curve) @ jacobian.T)
    with np.errstate(invalid="ignore"):  # an exact fit with a blind direction: 0 times infinity
        independent = spread / slope**2 * inverse
        covariance, degrees = independent, np.full(parameters, float(rows - parameters))
        if clusters is not None:
            errors = weights * psi / slope
            covariance, degrees = _by_run(independent, root, root.T @ jacobian, curve, errors, clusters[used])
        wider = np.nan_to_num(np.diag(covariance) / np.diag(independent), nan=1.0)
    se = np.sqrt(np.diag(covariance))
    none = redundant(objective.bound) if singular.any() else ()
    unidentified = _unidentified(law, se, singular | np.isin(law.parameters, none), found)
    unknown = np.isin(law.parameters, unidentified)  # along a flat direction the ratio is that of two roundings
    return Information(
        covariance,
        np.sqrt(np.diag(independent)),
        np.maximum(degrees, 1.0),
        spread / slope * np.where(unknown, np.maximum(wider, 1.0), wider),
        condition,
        unidentified,
        none,
        _on_bound(objective, theta, predicted[0]),
    )


def flat(law: Law, known: Information, away: Array | None = None) -> list[str]:
    """The parameters that the data say little of. One that enters linearly, and may be negative, is never flat for the
    size of its error: that has the unit of its column. But for how far `away` (P,) it went along others' profiles.
    Those that no data could tell apart are flat to their bounds without a look."""
    names = []
    for i, (name, se) in enumerate(zip(law.parameters, known.se, strict=True)):
        low, high = (0.0, 1.0) if law.on_log_scale(name) else law.starts.get(name, (-np.inf, np.inf))
        dragged = away is not None and away[i] > BEYOND * 0.5 * ENDS * se
        if name in known.unidentified or not se <= FLAT * (high - low) or dragged:
            names.append(name)
    return [name for name in names if name not in known.redundant]


def unidentified(law: Law, known: Information, profile: Intervals) -> tuple[str, ...]:
    """The parameters that the data cannot tell. A profile decides where there is one: by its width, which an open end
    continues to the bound. One that may be anything from zero to some size is what its standard error says."""
    names = list(known.redundant)
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
    return tuple(sorted(names, key=law.parameters.index))


def believed(law: Law, found: Found, known: Information, profile: Intervals) -> Array:
    """Standard errors, (P,), infinite where a profile goes far beyond them: a curved valley leaves the tangent along
    which they are measured. A term that may be none has what its error says."""
    se = known.se.copy()
    se[np.isin(law.parameters, known.redundant)] = np.inf
    for i, name in enumerate(law.parameters):
        low, high = profile.get(name, (None, None))
        ends = [law.bound(name)[k] if end is None else end for k, end in enumerate((low, high))]
        if law.on_log_scale(name):
            ends = [found.theta[i] if end <= 0 else np.log(end) for end in ends]
        if name in profile and np.abs(np.array(ends) - found.theta[i]).max() > BEYOND * 0.5 * ENDS * se[i]:
            se[i] = np.inf
    return se


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

        reach = t.ppf(1 - tail, known.degrees)
        low, high = (law.outward(found.theta + sign * reach * known.se) for sign in (-1, 1))
        bounds = np.array([law.bound(name) for name in law.parameters])
        low, high = np.clip(low, bounds[:, 0], None), np.clip(high, None, bounds[:, 1])
    found_ends = {name: (float(a), float(b)) for name, a, b in zip(law.parameters, low, high, strict=True)}
    profiled = {name: (-np.inf if a is None else a, np.inf if b is None else b) for name, (a, b) in profile.items()}
    return {**found_ends, **profiled, **dict.fromkeys(known.redundant, (-np.inf, np.inf))}


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


def _by_run(
    independent: Array, root: Array, slopes: Array, curve: Array, errors: Array, clusters: Integers
) -> tuple[Array, Array]:
    """Covariance (P, P) where the rows of a run err together, and degrees of freedom (P,).

    `slopes` (m, n): of the rows by coordinates in which the information is the identity, `root` (P, m) leads back;
    `curve` (n,): weights of the rows; `errors` (n,): psi by the mean of psi'. With fewer runs than parameters the
    independent covariance, widened as a whole.
    """
    order = np.argsort(clusters, kind="stable")
    first = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    slopes, curve, errors = slopes[:, order], curve[order], errors[order]
    count, parameters = len(first), len(root)
    sums = np.add.reduceat(slopes * errors, first, axis=1).T  # (G, m)
    if count <= parameters + 1:
        rows = float(((slopes * errors) ** 2).sum())
        wider = max(1.0, float((sums**2).sum()) / max(rows, 1e-300))
        return independent * wider, np.full(parameters, max(count - 1.0, 1.0))
    leverage = np.add.reduceat(slopes[:, None] * slopes * curve, first, axis=2).transpose(2, 0, 1)  # (G, m, m)
    own, axes = np.linalg.eigh(np.nan_to_num(leverage, posinf=0.0, neginf=0.0))
    left = (axes / (1 - np.clip(own, 0.0, MOST_LEVERAGE))[:, None]) @ axes.transpose(0, 2, 1)
    moved = np.einsum("gij,gj->gi", left, sums) @ root.T  # what the parameters move without each run
    covariance = moved.T @ moved
    blind = ~np.isfinite(np.diag(independent))
    covariance[blind, blind] = np.inf
    if count > FEW_RUNS:
        return covariance, np.full(parameters, float(count - parameters))
    shared = np.add.reduceat(slopes * curve, first, axis=1).T  # slopes of an error that a run's rows share
    pulls = np.einsum("pi,gij->gpj", root, left)
    heavy = np.einsum("gpi,gij->gpj", pulls, leverage)
    degrees = np.empty(parameters)
    for i in range(parameters):
        moves = -heavy[:, i] @ shared.T + np.diag((pulls[:, i] * shared).sum(1))  # (G, G), of errors of one each
        moves /= max(float(np.abs(moves).max()), 1e-300)  # of any size where a direction is all but flat
        squares = moves @ moves.T
        degrees[i] = np.trace(squares) ** 2 / max(float((squares**2).sum()), 1e-300)
    return covariance, np.clip(degrees, 1.0, count - 1.0)


def _inverse(matrix: Array) -> tuple[Array, Array, float, npt.NDArray[np.bool_]]:
    """Inverse, a root of it (P, m), condition of the matrix's root, and which parameters lie in a direction that it
    says nothing of (infinite)."""
    scale = 1 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    values, axes = np.linalg.eigh(np.nan_to_num(matrix * scale[:, None] * scale[None], posinf=0.0, neginf=0.0))
    known = values > SINGULAR * values[-1]
    root = scale[:, None] * axes[:, known] / np.sqrt(values[known])
    inverse = root @ root.T
    # There the curvature is rounding at most: however small a parameter's share of it, it errs by as much.
    hidden = (axes[:, ~known] ** 2).sum(-1) / (np.finfo(float).eps * max(values[-1], 1e-300)) * scale**2
    blind = (hidden > np.diag(inverse)) | (np.diag(matrix) <= 1e-290)
    inverse[blind, blind] = np.inf
    return inverse, root, float(np.sqrt(values[-1] / max(values[0], 1e-300))), blind


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
    low, high = law.inward_bounds
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
