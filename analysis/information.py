"""What the data say about a minimum: information matrix, standard errors, what they cannot tell apart.

`inform(objective, found, clusters)` after a search. Everything is in the form that fits move (`Law.inward`); the
covariance is that of an M-estimator, sigma² (J' J)^-1 with sigma² = E psi² / (E psi')² (Cramér and Rao's bound for
least squares), with every row counted as 1/`inflation` where the rows of a run err together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.formula import Array
from analysis.law import Law
from analysis.objective import Objective
from analysis.search import inward_bounds

SINGULAR = 1e-13  # of the largest eigenvalue: below it a direction leaves every prediction as it is
DECADE = 2.3  # a parameter on a log scale whose standard error is a factor of ten is not identified
NEGLIGIBLE = 1e-6  # of every prediction: a term this small is at its bound of zero

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Information:
    """`covariance` (P, P); `cramer_rao` (P,): standard errors if all rows were independent; `unit`: the rise of the
    objective that one unit of chi-square stands for, halved; `condition` of the scaled Jacobian."""

    covariance: Array
    cramer_rao: Array
    inflation: float
    unit: float
    condition: float
    unidentified: tuple[str, ...]
    on_bound: tuple[str, ...]

    @property
    def se(self) -> Array:
        """Standard errors, (P,); infinite where the data say nothing."""
        return np.sqrt(np.diag(self.covariance))


def inform(objective: Objective, theta: Array, clusters: Integers | None) -> Information:
    """At a minimum `theta` (P,). `clusters`: the run of each row, None if rows are independent."""
    law = objective.bound.law
    predicted, gradient, _ = objective.bound.derivatives(theta[None])
    residuals = objective.residuals(predicted)[0]
    jacobian = gradient[0] / predicted if objective.loss.residuals == "log" else gradient[0]
    corner = max(objective.loss.corner, 0.5 * float(np.median(np.abs(residuals))))  # a corner has no slope in itself
    psi = np.clip(residuals, -corner, corner)
    free_rows = max(int((objective.weights > 0).sum()) - len(theta), 1)
    slope = max(float((np.abs(residuals) <= corner).mean()), 1e-3)
    spread = float((objective.weights * psi**2).sum()) / free_rows
    inflation = _inflation(psi, clusters)
    inverse, condition, singular = _inverse((jacobian * objective.weights) @ jacobian.T)
    variance = spread / slope**2
    with np.errstate(invalid="ignore"):  # an exact fit with a blind direction: 0 times infinity
        cramer_rao = np.sqrt(variance * np.diag(inverse))
        covariance = variance * inflation * inverse
    return Information(
        covariance, cramer_rao, inflation, spread / slope * inflation, condition,
        _unidentified(law, np.sqrt(np.diag(covariance)), singular), _on_bound(objective, theta, predicted[0]),
    )  # fmt: skip


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


def _inflation(psi: Array, clusters: Integers | None) -> float:
    """The variance of sums over runs against what independent rows would give; at least 1."""
    if clusters is None:
        return 1.0
    sums = np.bincount(clusters, psi)
    return max(1.0, float((sums**2).sum() / max((psi**2).sum(), 1e-300)))


def _unidentified(law: Law, se: Array, singular: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    found = []
    for i, name in enumerate(law.parameters):
        if law.on_log_scale(name):
            wide = se[i] > DECADE
        else:
            low, high = law.starts.get(name, (-np.inf, np.inf))
            wide = se[i] > high - low
        if singular[i] or wide or np.isnan(se[i]):
            found.append(name)
    return tuple(found)


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

