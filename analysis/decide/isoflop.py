"""IsoFLOP: the best size of a compute budget, read off parabolas, and how it grows with the budget.

    table = grid(sizes, budgets)                    # what to train: columns C, N, D
    minima(table)                                   # with a column loss: one row per budget
    fit = optimal(table, of="N", bootstrap=1000)    # N*(C) = A C^alpha, a Fit of LAWS["compute_optimal"]
    fit.predict({"C": 1e21}), fit.interval["alpha"]

Approach 2 of Hoffmann et al. (2203.15556; parabolas in log N) and of Llama 3 (2407.21783; in log D). Units: C FLOPs,
N parameters, D tokens, loss in nats per token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.fitting.fit import LEVEL, Fit, fit_law
from analysis.fitting.objective import Loss
from analysis.fitting.resampling import Draws
from analysis.laws.formula import Array
from analysis.laws.library import COMPUTE_OPTIMAL
from analysis.results.checks import check
from harness.core.errors import InputError

LEAST = 4  # points of a budget from which its parabola has a standard error
SURE = 2.0  # standard errors by which a curvature must exceed zero to count as convex
LEAST_BUDGETS = 3  # trusted minima of a power law
UNITS = {"N": "parameters", "D": "tokens"}


def grid(sizes: Sequence[float], budgets: Sequence[float]) -> pd.DataFrame:
    """What to train: every size at every budget, D = C/(6 N). Columns C, N, D. InputError for what is not positive."""
    for name, values in (("sizes", sizes), ("budgets", budgets)):
        if not len(values) or not np.all(np.isfinite(values)) or min(values) <= 0:
            text = ",".join(map(str, values)) or "none"
            raise InputError(name, text, "not one or more positive numbers", "give some, such as 1e8,1e9")
    C, N = (part.reshape(-1).astype(float) for part in np.meshgrid(budgets, sizes, indexing="ij"))
    return pd.DataFrame({"C": C, "N": N, "D": C / (6 * N)})


def minima(table: pd.DataFrame, of: str = "N", weights: str | None = None) -> pd.DataFrame:
    """Per budget C the minimum of a parabola of loss in log `of` (N or D), by least squares with optional weights.

    Columns: C, `points`, the minimum under the name `of` (NaN if the parabola opens downwards), `se` of its logarithm
    (delta method), `loss` there, `curvature` (second derivative of the loss by log `of`), `curvature_se`, `convex`
    (curvature above zero by SURE standard errors), `inside` (minimum within the range of the points) and `trusted`
    (LEAST points, convex and inside). Budgets are the distinct values of C. Raises InputError.
    """
    _check(table, of, weights)
    rows = []
    for C, points in table.groupby("C", sort=True):
        logs, loss, given = _arrays(points, of, weights)
        centre = logs.mean()
        x, free = logs - centre, int((given > 0).sum()) - 3
        coefficients, inverse = parabolas(x, loss, given[None])
        level, slope, half = coefficients[0]
        squares = given @ (loss - (level + slope * x + half * x**2)) ** 2
        covariance = inverse[0] * (squares / free if free > 0 else np.nan)
        at = -slope / (2 * half) if half > 0 else np.nan  # the minimum, from the centre
        by_slope, by_half = -1 / (2 * half), slope / (2 * half**2)  # how it moves with the coefficients
        variance = (
            by_slope**2 * covariance[1, 1] + 2 * by_slope * by_half * covariance[1, 2] + by_half**2 * covariance[2, 2]
        )
        curvature, curvature_se = 2 * half, 2 * np.sqrt(covariance[2, 2])
        convex = bool(curvature > SURE * curvature_se)
        inside = bool(x.min() <= at <= x.max())
        rows.append(
            {
                "C": C,
                "points": len(points),
                of: np.exp(centre + at),
                "se": np.sqrt(variance),
                "loss": level + slope * at / 2,
                "curvature": curvature,
                "curvature_se": curvature_se,
                "convex": convex,
                "inside": inside,
                "trusted": len(points) >= LEAST and convex and inside,
            }
        )
    return pd.DataFrame(rows)


def optimal(
    table: pd.DataFrame, of: str = "N", *, weights: str | None = None, bootstrap: int = 0, seed: int = 0
) -> Fit:
    """The power law A C^alpha through the trusted minima, by least squares of the logarithms, as both papers do.

    `bootstrap`: the points are resampled within each budget, the minima read and fitted again; a budget is left out of
    a draw in which it has no minimum inside the range of its points. Fits of N and of D to one table with one seed are
    paired. InputError for fewer than LEAST_BUDGETS trusted minima.
    """
    found = minima(table, of, weights)
    trusted = found[found.trusted]
    if len(trusted) < LEAST_BUDGETS:
        why = f"{len(trusted)} of {len(found)} budgets have a convex parabola of {LEAST} points with its minimum inside"
        raise InputError("table", f"{len(table)} rows", why, "give more sizes, on both sides of the minimum")
    fit = fit_law(COMPUTE_OPTIMAL, trusted[["C", of]].reset_index(drop=True), target=of, loss=Loss("ls"))
    if not bootstrap:
        return fit
    draws = _draws(table[table.C.isin(trusted.C)], of, weights, bootstrap, seed)
    low, high = np.nanquantile(draws.parameters, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    spread = np.nanstd(draws.parameters, axis=0, ddof=1)
    names = fit.law.parameters
    return replace(
        fit,
        draws=draws,
        profile={},
        se={name: float(spread[i]) for i, name in enumerate(names)},
        interval={name: (float(low[i]), float(high[i])) for i, name in enumerate(names)},
    )


def parabolas(x: Array, loss: Array, weights: Array) -> tuple[Array, Array]:
    """(K, 3) coefficients of 1, x, x² for K sets of weights (K, n), and the inverses (K, 3, 3) of X' W X.

    NaN for weights that leave fewer than three different x.
    """
    powers = np.stack([np.ones_like(x), x, x**2])
    gram = np.einsum("kn,in,jn->kij", weights, powers, powers)
    distinct = np.array([len(np.unique(x[row > 0])) for row in weights])
    inverse = np.full(gram.shape, np.nan)
    inverse[distinct >= 3] = np.linalg.inv(gram[distinct >= 3])
    return np.einsum("kij,jn,kn,n->ki", inverse, powers, weights, loss), inverse


def _draws(table: pd.DataFrame, of: str, weights: str | None, count: int, seed: int) -> Draws:
    """The power law of `count` resamples; a line in the logarithms, so in closed form."""
    random = np.random.default_rng(seed)
    budgets, sizes = [], []  # log C of each budget, and log of its minimum in every draw
    for _, points in table.groupby("C", sort=True):
        logs, loss, given = _arrays(points, of, weights)
        drawn = np.stack(
            [np.bincount(row, minlength=len(points)) for row in random.integers(0, len(points), (count, len(points)))]
        )
        centre = logs.mean()
        coefficients, _ = parabolas(logs - centre, loss, drawn * given)
        half = np.where(coefficients[:, 2] > 0, coefficients[:, 2], np.nan)
        at = centre - coefficients[:, 1] / (2 * half)
        budgets.append(np.log(points["C"].to_numpy(dtype=float)[0]))
        sizes.append(np.where((at >= logs.min()) & (at <= logs.max()), at, np.nan))
    y, x = np.stack(sizes, axis=1), np.array(budgets)  # (count, budgets), (budgets,)
    there = np.isfinite(y)
    number = there.sum(1)
    usable = number >= LEAST_BUDGETS
    total = np.where(usable, number, np.nan)
    middle = (there * x).sum(1) / total
    across = np.where(there, x - middle[:, None], 0.0)
    alpha = (across * np.where(there, y, 0.0)).sum(1) / (across**2).sum(1)
    log_A = np.where(there, y, 0.0).sum(1) / total - alpha * middle
    parameters = np.stack([np.exp(log_A), alpha], axis=1)
    digest = hashlib.sha256(table[["C", "loss"]].to_numpy(dtype=float).tobytes()).hexdigest()[:16]
    return Draws(parameters, "points of each budget", digest, seed, int((~usable).sum()))


def _arrays(points: pd.DataFrame, of: str, weights: str | None) -> tuple[Array, Array, Array]:
    """Logarithms of the sizes, losses and weights of one budget."""
    given = np.ones(len(points)) if weights is None else points[weights].to_numpy(dtype=float)
    return np.log(points[of].to_numpy(dtype=float)), points.loss.to_numpy(dtype=float), given


def _check(table: pd.DataFrame, of: str, weights: str | None) -> None:
    if of not in UNITS:
        raise InputError("of", of, "is no size", "choose N (parameters) or D (tokens)")
    variables = {"C": "FLOPs", of: UNITS[of], **({weights: "weight"} if weights else {})}
    check(table, variables, fixed=tuple(variables))
    widest = int(table.groupby("C")[of].nunique().max())
    if widest < 3:
        why = f"no budget has three different {of}: each of {table.C.nunique()} values of C counts as a budget"
        raise InputError("table", f"{len(table)} rows", why, "give a column C of the budgets meant, not 6 N D")
