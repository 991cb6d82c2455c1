"""What a fit minimises: a sum over rows of a loss of the residual, with gradient and Hessian for a batch of parameters.

    objective = Objective(bound, losses, Loss("huber", delta=1e-3), weights)
    value, gradient, hessian, majorizer = objective.derivatives(theta, delta=1e-3)

Sums, not means: a mean over rows makes values so small that solvers with default tolerances stop early (this is how
Chinchilla's published exponents went wrong). Residual = log(predicted) - log(observed), or the difference itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.formulas.expressions import quote
from analysis.formulas.formula import Array, Integers
from analysis.laws.law import Bound, Law
from harness.core.errors import InputError

KINDS = ("ls", "huber", "lad", "asymmetric")
NAMED = 3  # rows in a sentence
LAD_DELTA = 1e-9  # where the least-absolute fit ends: Huber's corner this small is none


@dataclass(frozen=True)
class Loss:
    """The loss of a residual r, summed over rows.

    ls: r²/2. huber: r²/2 up to `delta`, then delta (|r| - delta/2). lad: |r|. asymmetric: huber, times 2 `tau` where
    the observation lies above the prediction and 2 (1 - tau) where below. `residuals`: log or raw.
    """

    kind: str = "huber"
    delta: float = 1e-3
    tau: float = 0.5
    residuals: str = "log"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError("loss", self.kind, "no such loss", f"choose of {', '.join(KINDS)}")
        if not (np.isfinite(self.delta) and self.delta > 0):
            raise InputError("loss", f"{self.kind}:{self.delta}", "the corner is not positive", "give one such as 1e-3")
        if not 0 < self.tau < 1:
            raise InputError("loss", f"asymmetric:{self.tau}", "not inside (0, 1)", "give 0.9 for an upper envelope")
        if self.residuals not in ("log", "raw"):
            raise InputError("residuals", self.residuals, "no such residuals", "choose log or raw")

    @property
    def corner(self) -> float:
        """Where the loss turns from a square to a line."""
        return {"ls": np.inf, "lad": LAD_DELTA}.get(self.kind, self.delta)

    def of(self, residuals: Array) -> Array:
        """The loss of each residual."""
        if self.kind == "lad":
            return np.abs(residuals)
        return self.sides(residuals) * huber(residuals, self.corner)

    def sides(self, residuals: Array) -> Array | float:
        """What asymmetric multiplies a residual's loss by."""
        return np.where(residuals < 0, 2 * self.tau, 2 - 2 * self.tau) if self.kind == "asymmetric" else 1.0


def parse_loss(text: str, residuals: str = "log") -> Loss:
    """`ls`, `lad`, `huber:1e-3`, `asymmetric:0.9` or `asymmetric:0.9:1e-3`. Raises InputError."""
    kind, *numbers = text.split(":")
    names = {"huber": ("delta",), "asymmetric": ("tau", "delta")}.get(kind, ())
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = []
    if len(values) != len(numbers) or len(values) > len(names):
        why = f"{kind} takes {' and '.join(names) or 'no number'}"
        raise InputError("loss", text, why, "write huber:1e-3, ls, lad or asymmetric:0.9")
    return Loss(kind, residuals=residuals, **dict(zip(names, values, strict=False)))


def huber(residuals: Array, delta: float) -> Array:
    size = np.abs(residuals)
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta)) if np.isfinite(delta) else 0.5 * size**2


@dataclass(frozen=True)
class Objective:
    """A law on a table, with a loss. `observed` (n,); `weights` (n,), or (K, n): one set for each of a batch."""

    bound: Bound
    observed: Array
    loss: Loss
    weights: Array

    @property
    def logarithms(self) -> npt.NDArray[np.bool_]:
        """Which parameters of theta are logarithms of the law's, (P,)."""
        law = self.bound.law
        return np.array([law.on_log_scale(name) for name in law.parameters], dtype=bool)

    @property
    def scale(self) -> Array:
        """What the majorizer of a term as large as every prediction is without outliers: () or (K,)."""
        return np.asarray((self.weights * (1.0 if self.loss.residuals == "log" else self.observed**2)).sum(-1))

    @property
    def corners(self) -> tuple[float, tuple[float, ...]]:
        """The corners that a fit goes through: a wide one for the rough descent, where the objective is smooth, and
        those of the exact one. (With ever smaller corners the least-absolute fit ends at its vertex.)"""
        loss = self.loss
        if loss.kind == "ls":
            return np.inf, (np.inf,)
        if loss.kind == "lad":
            wide = 1e-2 if loss.residuals == "log" else 1e-2 * float(np.std(self.observed))
            return wide, tuple(wide / 4**k for k in range(1, 1 + int(np.log(wide / loss.corner) / np.log(4))))
        return 10 * loss.corner, (3 * loss.corner, loss.corner)

    def taking(self, members: Integers) -> Objective:
        """The objective of these members of the batch."""
        return self if self.weights.ndim == 1 else replace(self, weights=self.weights[members])

    def sketch(self, cells: int, rows: int, seed: int) -> Objective:
        """The objective on `rows` random rows, or fewer so that a law with sums works on `cells` numbers; itself if it
        is small."""
        count = min(self.bound.n * cells // self.bound.cells, rows)
        if count >= self.bound.n:
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(self.bound.n, max(count, 64), replace=False))
        weights = self.weights[chosen]
        return replace(self, bound=self.bound.taking(chosen), observed=self.observed[chosen], weights=weights)

    def residuals(self, predicted: Array) -> Array:
        """(K, n); NaN where the prediction has no logarithm."""
        if self.loss.residuals == "raw":
            return np.asarray(predicted - self.observed)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.log(predicted) - np.log(self.observed))

    def value(self, theta: Array) -> Array:
        """The objective, (K,): infinite where the law has no value."""
        with np.errstate(all="ignore"):
            total = (self.weights * self.loss.of(self.residuals(self.bound.value(theta)))).sum(-1)
        return np.where(np.isfinite(total), total, np.inf)

    def derivatives(self, theta: Array, delta: float) -> tuple[Array, Array, Array, Array]:
        """Value (K,), gradient (K, P), Hessian and its Gauss-Newton majorizer (K, P, P), with the corner at `delta`.

        The majorizer is the Hessian of a sum of squares that lies above the objective and touches it at theta.
        """
        with np.errstate(all="ignore"):
            predicted, gradient, hessian = self.bound.derivatives(theta)
            residuals = self.residuals(predicted)
            size = np.abs(residuals)
            scale = self.weights * self.loss.sides(residuals)
            value = (scale * huber(residuals, delta)).sum(-1)
            pull = scale * np.clip(residuals, -delta, delta)  # the loss's first derivative
            curve = scale * (size <= delta)  # and its second
            flat = scale * np.minimum(1.0, delta / np.maximum(size, 1e-300)) if np.isfinite(delta) else scale
            if self.loss.residuals == "log":
                gradient = gradient / predicted[:, None]
                curve = curve - pull  # the logarithm's own curvature
                bent = pull / predicted
            else:
                bent = pull
            turned = gradient.transpose(0, 2, 1)
            H = np.matmul(gradient * np.broadcast_to(curve, residuals.shape)[:, None], turned)
            for i, j, entry in hessian:
                total = (bent * entry).sum(-1)
                H[:, i, j] += total
                if i != j:
                    H[:, j, i] += total
            majorizer = np.matmul(gradient * np.broadcast_to(flat, residuals.shape)[:, None], turned)
            slope = np.matmul(gradient, pull[:, :, None])[:, :, 0]
        return np.where(np.isfinite(value), value, np.inf), slope, H, majorizer


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


def explained(observed: Array, said: Array, counts: Array) -> Array:
    """R2 of each resample, (B,): `said` (n,) or (B, n), `counts` (B, n) how often each row was drawn."""
    means = (counts * observed).sum(1, keepdims=True) / counts.sum(1, keepdims=True)
    return np.asarray(1 - squared_errors(observed, said, counts) / (counts * (observed - means) ** 2).sum(1))


def squared_errors(observed: Array, said: Array, counts: Array) -> Array:
    """Their sums in each resample, (B,)."""
    return np.asarray((counts * (said - observed) ** 2).sum(1))


def outliers(
    rows: pd.DataFrame | None, law: Law, parameters: Mapping[str, float], target: str, loss: Loss, far: float
) -> str:
    """Which rows have residuals above `far` times their robust spread, as a sentence begins: the farthest first."""
    if rows is None:
        return "a row lies"
    predicted, observed = law.value(parameters, columns_of(law, rows)), rows[target].to_numpy(dtype=float)
    with np.errstate(all="ignore"):
        size = np.abs(predicted - observed if loss.residuals == "raw" else np.log(predicted) - np.log(observed))
    there = np.flatnonzero(size > far * 1.4826 * float(np.median(size)))
    told = [
        ", ".join(
            f"{name} {value:.5g}" if isinstance(value, float) else f"{name} {value}" for name, value in one.items()
        )
        for one in rows.loc[there[np.argsort(-size[there])[:NAMED]]].to_dict("records")
    ]
    more = "; ..." if len(there) > NAMED else ""
    return f"{len(there)} row{'s lie' if len(there) > 1 else ' lies'} far off ({'; '.join(told)}{more}), up to"


def requirements(law: Law, parameters: Mapping[str, float], objective: Objective) -> dict[str, float]:
    """Share of the rows at which each of the law's requirements holds; rows with a variable of zero are left out."""
    columns = dict(zip(law.variables, objective.bound.data, strict=False))
    inside = np.all([column > 0 for column in columns.values() if column.ndim == 1], axis=0)
    columns = {name: column[inside] for name, column in columns.items()}
    return {text: float((law.trend(parameters, columns, text) < 0).mean()) for text in law.requirements if inside.any()}


def columns_of(law: Law, table: pd.DataFrame) -> dict[str, Array]:
    """The law's variables: (n,), or (n, m) where every cell is an array."""
    columns = {name: table[name] for name in law.variables}
    return {
        name: np.stack(list(column)) if column.dtype == object else column.to_numpy(dtype=float)
        for name, column in columns.items()
    }


def row_weights(table: pd.DataFrame, name: str | None) -> Array:
    """The weights in a column by their mean, (n,); ones without: only their ratios play a part. Raises InputError."""
    if name is None:
        return np.ones(len(table))
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float)
    if not (np.isfinite(values).all() and (values >= 0).all() and (values > 0).any()):
        why, column = "not numbers of zero or more, some of them positive", quote(name)
        remedy = f"give such weights, or leave the other rows out: --where 'isfinite({column}) and {column} >= 0'"
        raise InputError("weights", name, why, remedy)
    values = values / values.max()  # before their mean, which may overflow
    return np.asarray(values / values.mean())
