"""IsoFLOP: the best size of a compute budget, read off the valley of its losses, and how it grows with the budget.

    table = grid(sizes, budgets)                    # what to train: columns C, N, D
    minima(table)                                   # with a column loss: one row per budget
    fit = optimal(table, of="N")                    # N*(C) = A C^alpha, a Fit of LAWS["compute_optimal"]
    fit.predict({"C": 1e21}), fit.interval["alpha"]

Approach 2 of Hoffmann et al. (2203.15556) and of Llama 3 (2407.21783), but for the curve: not a parabola but one that
may be skewed (`analysis.answers.valleys`), in a window narrowed while it does not fit. `form="parabola"` is theirs.
Units: C FLOPs, N parameters, D tokens, loss in nats per token.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import chi2

from analysis.answers.valleys import FORMS, LEAST, WINDOWS, Budget, Valleys, valleys
from analysis.fitting.fit import LEVEL, Fit, fit_law
from analysis.fitting.objective import Loss
from analysis.fitting.resampling import Draws
from analysis.formulas.formula import Array
from analysis.laws.sizes import COMPUTE_OPTIMAL
from analysis.results.checks import check
from harness.core.errors import InputError

DRAWS = 1000  # of the minima
LEAST_BUDGETS = 3  # trusted minima of a power law
MOST_WITHOUT = 0.05  # of the draws of a trusted minimum have none
MISFIT = 0.01  # probability of residuals so alike below which a budget's minimum is not trusted
STEADY = 2.0  # half intervals by which one point, left out, may move a trusted minimum
NORMAL = 1.6449  # standard deviations from the middle of a normal distribution to an end of its interval at LEVEL
MOST = 300.0  # of a logarithm of a size or of A: farther than any
UNITS = {"N": "parameters", "D": "tokens"}


def grid(sizes: Sequence[float], budgets: Sequence[float]) -> pd.DataFrame:
    """What to train: every size at every budget, D = C/(6 N). Columns C, N, D. InputError for what is not positive."""
    for name, values in (("sizes", sizes), ("budgets", budgets)):
        if not len(values) or not np.all(np.isfinite(values)) or min(values) <= 0:
            text = ",".join(map(str, values)) or "none"
            raise InputError(name, text, "not one or more positive numbers", "give some, such as 1e8,1e9")
    C, N = (part.reshape(-1).astype(float) for part in np.meshgrid(budgets, sizes, indexing="ij"))
    return pd.DataFrame({"C": C, "N": N, "D": C / (6 * N)})


@dataclass(frozen=True)
class IsoFlop:
    """The minima of a table, and what they were read off."""

    of: str
    """N or D."""
    minima: pd.DataFrame
    """One row for each budget, see `minima`."""
    valleys: Valleys
    """The curves of the budgets that have LEAST sizes, in log N or -log D."""
    seed: int
    """Of the draws; with one seed those of N and of D are paired."""

    def curve(self, C: float, sizes: Array) -> Array:
        """The losses of a budget's curve at sizes (k,)."""
        return self.valleys.loss(self._number(C), _sign(self.of) * np.log(sizes))

    def used(self, C: float) -> Array:
        """The sizes of a budget's points inside of the window, ascending."""
        return np.sort(np.exp(_sign(self.of) * self.valleys.budgets[self._number(C)].x))

    def drawn(self, C: float) -> Array:
        """Logarithms of a budget's minima in every draw, (B,); NaN where there is none."""
        return np.asarray(_sign(self.of) * self.valleys.draws[:, self._number(C)])

    def _number(self, C: float) -> int:
        return [one.C for one in self.valleys.budgets].index(C)


def read_off(
    table: pd.DataFrame,
    of: str = "N",
    *,
    weights: str | None = None,
    form: str = "skewed",
    bootstrap: int = DRAWS,
    seed: int = 0,
) -> IsoFlop:
    """The minimum of every budget (each distinct value of C). `form`: skewed, or parabola (through all points).

    `bootstrap`: curves drawn for the intervals. Each has a shape, drawn by how well it fits; an error variance of each
    budget; and coefficients moved by such errors at the sizes that were trained: what a parametric bootstrap within the
    budgets draws, for more than one shape. Raises InputError.
    """
    _check(table, of, weights, form)
    budgets = {
        C: _budget(C, table[table.C == C], of, weights) for C in map(float, np.unique(table.C.to_numpy(dtype=float)))
    }
    fitted = [one for one in budgets.values() if len(np.unique(one.x)) >= LEAST]
    windows = WINDOWS if form == "skewed" else WINDOWS[:1]
    found = valleys(fitted, FORMS[form], bootstrap, seed, windows)
    rows = {one.C: _row(found, number, of) for number, one in enumerate(found.budgets)}
    few = {of: np.nan, "low": np.nan, "high": np.nan, "se": np.nan, "loss": np.nan, "without": 1.0, "fits": np.nan}
    for C, one in budgets.items():
        if C not in rows:
            sizes = len(np.unique(one.x))
            rows[C] = {"used": 0, **few, "inside": False, "trusted": False, "why": f"{sizes} of {LEAST} sizes"}
    entries = [{"C": C, "points": len(one.x), **rows[C]} for C, one in budgets.items()]
    return IsoFlop(of, pd.DataFrame(entries), found, seed)


def minima(table: pd.DataFrame, of: str = "N", weights: str | None = None, form: str = "skewed") -> pd.DataFrame:
    """Per budget C where its curve is lowest.

    Columns: C, `points`, those `used` (within the window around the minimum), the minimum under the name `of` (NaN if
    there is none), its interval at LEVEL `low`, `high`, `se` of its logarithm, `loss` there, share of the draws
    `without` a minimum, `fits` (probability of residuals as alike to their neighbours), `inside` (the minimum lies
    within the range of the points), `trusted`, and `why` not: fewer than LEAST sizes, no minimum, an interval that
    leaves the range, a minimum that rests on one point, or points that do not follow the curve. Raises InputError.
    """
    return read_off(table, of, weights=weights, form=form).minima


def optimal(
    table: pd.DataFrame,
    of: str = "N",
    *,
    weights: str | None = None,
    form: str = "skewed",
    bootstrap: int = DRAWS,
    seed: int = 0,
) -> Fit:
    """The power law A C^alpha through the trusted minima, see `read_off` and `power_law`. Raises InputError."""
    return power_law(read_off(table, of, weights=weights, form=form, bootstrap=bootstrap, seed=seed))


def power_law(found: IsoFlop) -> Fit:
    """A C^alpha through the trusted minima: least squares of the logarithms, each by its variance and the scatter.

    The intervals are those of the draws, each with the scatter of the minima around the law added. Fits of N and of D
    to one table with one seed are paired. InputError for fewer than LEAST_BUDGETS trusted minima.
    """
    trusted = found.minima[found.minima.trusted]
    if len(trusted) < LEAST_BUDGETS:
        why = f"{len(trusted)} of {len(found.minima)} budgets have a minimum to be trusted {_reasons(found.minima)}"
        raise InputError(
            "table", f"{found.minima.points.sum()} rows", why, "give more sizes, on both sides of the minimum"
        )
    spread = scatter(found)
    weight = 1 / np.maximum(trusted.se.to_numpy() ** 2 + spread**2, 1e-18)
    rows = trusted[["C", found.of]].reset_index(drop=True).assign(weight=weight / weight.max())
    fit = fit_law(COMPUTE_OPTIMAL, rows, target=found.of, loss=Loss("ls"), weights="weight", group=None)
    draws = _draws(found, weight, spread)
    low, high = np.nanquantile(draws.parameters, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    names = fit.law.parameters
    return replace(
        fit,
        draws=draws,
        profile={},
        se={name: float(high[i] - low[i]) / (2 * NORMAL) for i, name in enumerate(names)},
        interval={name: (float(low[i]), float(high[i])) for i, name in enumerate(names)},
    )


def scatter(found: IsoFlop) -> float:
    """The standard deviation of the trusted minima's logarithms around a power law, beyond their own errors.

    As in a meta-analysis of studies: so large that the weighted squares are as expected (Paule and Mandel 1982); zero
    if they are that without it.
    """
    trusted = found.minima[found.minima.trusted]
    x, y, variance = np.log(trusted.C.to_numpy()), np.log(trusted[found.of].to_numpy()), trusted.se.to_numpy() ** 2
    variance = np.maximum(variance, 1e-18)

    def excess(more: float) -> float:
        slope, intercept = np.polyfit(x, y, 1, w=np.sqrt(1 / (variance + more)))
        return float(((y - slope * x - intercept) ** 2 / (variance + more)).sum()) - (len(x) - 2)

    low, high = 0.0, float(np.ptp(y)) ** 2 + 1e-9
    if len(x) < 3 or excess(low) <= 0:
        return 0.0
    for _ in range(60):  # falls as more is added
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return math.sqrt(high)


def _draws(found: IsoFlop, weight: Array, spread: float) -> Draws:
    """The power law of each draw of the minima; a line in the logarithms, so in closed form."""
    trusted = found.minima[found.minima.trusted]
    x = np.log(trusted.C.to_numpy())
    y = np.stack([found.drawn(C) for C in trusted.C], axis=1)
    random, degrees = np.random.default_rng(found.seed), len(x) - 2
    size = spread * np.sqrt(degrees / chi2.rvs(degrees, size=(len(y), 1), random_state=random))
    y = y + _sign(found.of) * size * random.normal(size=y.shape)
    there = np.isfinite(y)
    usable = there.sum(1) >= LEAST_BUDGETS
    given, known = np.where(there, weight, 0.0), np.where(there, y, 0.0)
    total = np.where(usable, given.sum(1), np.nan)
    middle = (given * x).sum(1) / total
    across = x - middle[:, None]
    alpha = (given * across * known).sum(1) / (given * across**2).sum(1)
    log_A = (given * known).sum(1) / total - alpha * middle
    parameters = np.stack([np.exp(np.clip(log_A, -MOST, MOST)), alpha], axis=1)
    losses = np.concatenate([np.concatenate([[one.C], np.sort(one.loss)]) for one in found.valleys.budgets])
    digest = hashlib.sha256(losses.tobytes()).hexdigest()[:16]
    return Draws(parameters, "points of each budget", digest, found.seed, int((~usable).sum()))


def _row(found: Valleys, number: int, of: str) -> dict[str, object]:
    """A budget's entry in `minima`, from `used` on."""
    one, at, draws = found.budgets[number], float(found.at[number]), found.draws[:, number]
    without, tail = float(np.isnan(draws).mean()), (1 - LEVEL) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail]) if without < 1 else (np.nan, np.nan)
    ends, fits = (one.x[0], one.x[-1]), float(found.lack_of_fits[number])
    inside = bool(ends[0] <= at <= ends[1])
    moved = found.left_out[number]
    steady = np.isfinite(moved) & (moved > ends[0]) & (moved < ends[1])
    steady &= np.abs(moved - at) <= STEADY * (high - low) / 2
    first, last = sorted((_size(of, low), _size(of, high)))
    why = ""
    if not np.isfinite(at):
        why = "no minimum"
    elif not inside:
        why = "the minimum lies outside of the sizes"
    elif without > MOST_WITHOUT:
        why = f"{without:.0%} of the draws have no minimum"
    elif not (ends[0] < low and high < ends[1]):
        why = "the interval leaves the sizes"
    elif not steady.all():
        why = "it rests on one point"
    elif fits < MISFIT:
        why = "the points do not follow the curve"
    return {
        "used": len(one.x),
        of: _size(of, at),
        "low": first,
        "high": last,
        "se": float(high - low) / (2 * NORMAL),  # of the middle of the draws: their tails are long
        "loss": float(found.loss(number, np.array([at]))[0]),
        "without": without,
        "fits": fits,
        "inside": inside,
        "trusted": not why,
        "why": why,
    }


def _reasons(found: pd.DataFrame) -> str:
    counts = found.why[~found.trusted].value_counts()
    return f" ({', '.join(f'{count} times: {why}' for why, count in counts.items())})" if len(counts) else ""


def _sign(of: str) -> int:
    """What a logarithm is multiplied by: along -log D the curves of C = 6 N D are those along log N."""
    return 1 if of == "N" else -1


def _size(of: str, at: float) -> float:
    """N or D at a position; far outside of any points the largest or smallest there may be."""
    return float(np.exp(np.clip(_sign(of) * at, -MOST, MOST)))


def _budget(C: float, points: pd.DataFrame, of: str, weights: str | None) -> Budget:
    given = np.ones(len(points)) if weights is None else points[weights].to_numpy(dtype=float)
    x, loss = _sign(of) * np.log(points[of].to_numpy(dtype=float)), points.loss.to_numpy(dtype=float)
    order = np.argsort(x, kind="stable")
    order = order[given[order] > 0]  # a point that weighs nothing is not there
    return Budget(C, x[order], loss[order], given[order])


def _check(table: pd.DataFrame, of: str, weights: str | None, form: str) -> None:
    if of not in UNITS:
        raise InputError("of", of, "is no size", "choose N (parameters) or D (tokens)")
    if form not in FORMS:
        raise InputError("form", form, "no such curve", f"choose of {', '.join(FORMS)}")
    variables = {"C": "FLOPs", of: UNITS[of], **({weights: "weight"} if weights else {})}
    check(table, variables, fixed=tuple(variables))
    if weights is not None and not ((table[weights] >= 0).all() and (table[weights] > 0).any()):
        why = "not numbers of zero or more, some of them positive"
        raise InputError("weights", weights, why, f"leave the other rows out: --where '{weights} >= 0'")
    widest = int(table.groupby("C")[of].nunique().max())
    if widest < LEAST:
        budgets = table.C.nunique()
        why, remedy = f"no budget has {LEAST} different {of}", "give a column C of the budgets meant, not 6 N D"
        if 2 * budgets <= len(table):  # budgets they are, of too few sizes
            why, remedy = f"{why}: the most is {widest}, of {budgets} budgets", "train more sizes at each budget"
        else:
            why += f": each of {budgets} values of C counts as a budget"
        raise InputError("table", f"{len(table)} rows", why, remedy)
