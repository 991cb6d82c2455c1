"""Which law predicts best what it has not seen? Laws side by side, fitted and judged on the same folds.

Above `analysis.fitting.crossval`; `python -m analysis compare` and the page of a fit call it.

    found = compare([LAWS["chinchilla"], LAWS["kaplan"]], table, by="N")    # each size predicted from the others
    found.verdict, found.laws, found.folds
    compare([law], table, by="N", leave="largest")                          # each size from the smaller ones
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.fitting.crossval import FOLDS, Fold, Predictor, Tried, cross_validate, folds_of
from analysis.fitting.fit import LEVEL, check_rows
from analysis.fitting.objective import Loss, row_weights
from analysis.fitting.resampling import GUESS, grouping_of
from analysis.fitting.search import Progress
from analysis.formulas.formula import Array
from analysis.laws.law import Law
from harness.core.errors import InputError
from harness.core.units import percent

EXACT = 1e-9  # an error this small is rounding
BEST, NEAR, WORSE = "best", "not told apart", "worse"


@dataclass(frozen=True)
class Comparison:
    """Laws by the error of what they had not seen. Errors are mean relative ones, as shares."""

    by: str
    """What was left out: run, or a variable."""
    leave: str
    """Each value in turn, or the largest: each predicted from the smaller ones."""
    n_points: int
    """Rows that all laws can use."""
    n_runs: int | None
    """Their runs; None if rows count as independent."""
    warnings: tuple[str, ...]
    """How runs were told apart, if nobody said it."""
    unused: int
    """Rows at which some law has no value of a variable."""
    laws: pd.DataFrame
    """A row a law, the best first: law, parameters (how many), objective (of the whole table), converged, seconds (of
    that fit), folds (that it could be fitted on), error (mean over them), spread (standard deviation over them);
    against the best, on the folds of both: ratio of the errors (geometric mean), se of its logarithm, low and high (at
    LEVEL); standing: best, not told apart, or worse."""
    folds: pd.DataFrame
    """A row a law and fold: law, left_out, n, error, r2, converged, why (it could not be fitted, or has no value)."""

    @property
    def supported(self) -> bool:
        """Whether the order may be built on: the best law has converged, and something says how errors scatter."""
        ranked = len(self.laws) == 1 or bool(self.laws.se.iloc[1:].notna().any())
        return ranked and bool(self.laws.converged.iloc[0])

    @property
    def verdict(self) -> str:
        """What may be said of the order, in one sentence."""
        standing = dict(zip(self.laws.law, self.laws.standing, strict=True))
        best = self.laws.law.iloc[0]
        near, worse = ([law for law, is_ in standing.items() if is_ == wanted] for wanted in (NEAR, WORSE))
        told = f"; worse {'is' if len(worse) == 1 else 'are'} {', '.join(worse)}" if worse else ""
        if len(standing) == 1:
            return f"{best} predicts what it has not seen to {percent(self.laws.error.iloc[0])}"
        if self.laws.se.iloc[1:].isna().all():
            return f"not ranked: without two folds nothing says how much errors scatter (the least is {best}'s)"
        return f"not told apart: {', '.join([best, *near])}{told}" if near else f"best is {best}{told}"


@np.errstate(all="ignore")  # a law may be worth nothing where it has not seen rows; its errors say so
def compare(
    laws: Sequence[Law | Predictor],
    table: pd.DataFrame,
    *,
    by: str = "run",
    leave: str = "each",
    folds: int = FOLDS,
    loss: Loss | None = None,
    target: str = "loss",
    group: str | Sequence[str] | None = GUESS,
    seed: int = 0,
    weights: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Fit every law without a part of the rows, predict them, for every part, and say whose errors are smaller.

    `by`, `leave`, `folds`: see `analysis.fitting.crossval.folds_of`; `group`: what the rows of a run share, see
    `fit_law`. Rows at which a law lacks a variable that others do without play no part for any law, nor do rows of
    weight 0 (`weights`: a column). The best law has the smallest geometric mean of errors over the folds; another is
    worse if the mean logarithm of the ratio of their errors, fold by fold, is further above zero than its standard
    error allows (Student's t; folds share most of what they are fitted to, for which the variance is raised as by
    Nadeau and Bengio, Machine Learning 52, 2003, section 5). Logarithms, since one fold may be missed by ten times as
    much as the others. Raises InputError.
    """
    names = [law.name for law in laws]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError("law", twice[0], "is given twice", "give each law once")
    whole, table = len(table), _usable(laws, table)
    for law in laws:
        if isinstance(law, Law):
            check_rows(law, table, target, loss or Loss())
    counted = row_weights(table, weights) > 0
    variables = {name: unit for law in laws for name, unit in law.variables.items() if name in table}
    grouping = grouping_of(table, variables, group)
    found = folds_of(table, by, leave=leave, count=folds, grouping=grouping, seed=seed)
    parts = [Fold(one.name, one.out & counted, one.kept & counted) for one in found]
    parts = [one for one in parts if one.out.any()]
    tried = {}
    for number, law in enumerate(laws, 1):
        tried[law.name] = cross_validate(law, table, parts, loss=loss, target=target, weights=weights, seed=seed)
        if progress:
            progress(number, len(laws))
    scores = pd.concat([_scores(name, one, table, parts, target) for name, one in tried.items()], ignore_index=True)
    ranked = _ranked(tried, scores, parts)
    if not ranked.folds.iloc[0]:
        reasons = "; ".join(dict.fromkeys(scores.why))
        raise InputError("by", by, f"no law can be fitted on what is left ({reasons})", "leave out by something else")
    runs = None if grouping.clusters is None else len(np.unique(grouping.clusters[counted]))
    return Comparison(by, leave, int(counted.sum()), runs, grouping.warnings, whole - len(table), ranked, scores)


def _usable(laws: Sequence[Law | Predictor], table: pd.DataFrame) -> pd.DataFrame:
    """The rows at which no law lacks a variable that others do without."""
    shared = set.intersection(*(set(law.variables) for law in laws))
    own = sorted({name for law in laws for name in law.variables} - shared)
    usable = table.dropna(subset=[name for name in own if name in table])
    if usable.empty and not table.empty:
        raise InputError("table", ", ".join(own), "no row has them all", "compare laws of the same variables")
    return usable


def _scores(name: str, tried: Tried, table: pd.DataFrame, parts: Sequence[Fold], target: str) -> pd.DataFrame:
    """A row a fold: how well what was left out is predicted."""
    observed, rows = table[target].to_numpy(dtype=float), []
    for fold, predicted, settled, why in zip(parts, tried.predicted, tried.settled, tried.why, strict=True):
        actual, expected = observed[fold.out], predicted[fold.out]
        if not why and not np.isfinite(expected).all():
            why = f"it has no value at {int((~np.isfinite(expected)).sum())} of the rows left out"
        spread = float(((actual - actual.mean()) ** 2).sum())
        rows.append(
            {
                "law": name,
                "left_out": fold.name,
                "n": int(fold.out.sum()),
                "error": np.nan if why else float(np.abs(expected / actual - 1).mean()),
                "r2": np.nan if why or not spread > 0 else 1 - float(((expected - actual) ** 2).sum()) / spread,
                "converged": bool(settled) and not why,
                "why": why,
            }
        )
    return pd.DataFrame(rows)


def _ranked(tried: Mapping[str, Tried], scores: pd.DataFrame, parts: Sequence[Fold]) -> pd.DataFrame:
    """`Comparison.laws`: of the laws that could be fitted on most folds the one of least error first."""
    errors = scores.pivot(index="left_out", columns="law", values="error").loc[[fold.name for fold in parts]]
    logs = np.log(errors.clip(lower=EXACT))
    tested = {name: int(errors[name].notna().sum()) for name in tried}
    order = sorted(tried, key=lambda name: (-tested[name], logs[name].mean()))
    rows = []
    for name in order:
        own, one = errors[name], tried[name]
        apart = _ratio((logs[name] - logs[order[0]]).to_numpy(dtype=float), parts)
        standing = WORSE if apart["low"] > 1 else NEAR
        rows.append(
            {
                "law": name,
                "parameters": one.parameters,
                "objective": one.objective,
                "converged": one.converged,
                "seconds": one.seconds,
                "folds": tested[name],
                "error": own.mean(),
                "spread": own.std(ddof=1),
                **apart,
                "standing": BEST if name == order[0] else standing,
            }
        )
    return pd.DataFrame(rows)


def _ratio(logs: Array, parts: Sequence[Fold]) -> dict[str, float]:
    """From logarithms of ratios, fold by fold: the mean as a ratio, its standard error and interval. NaN: folds of one
    law only."""
    from scipy.stats import t

    both = np.isfinite(logs)
    count = int(both.sum())
    mean = float(logs[both].mean()) if count else np.nan
    if count < 2:
        return {"ratio": float(np.exp(mean)), "se": np.nan, "low": np.nan, "high": np.nan}
    shared = np.mean([fold.out.sum() / fold.kept.sum() for fold, used in zip(parts, both, strict=True) if used])
    se = float(np.sqrt(logs[both].var(ddof=1) * (1 / count + shared)))
    low, middle, high = np.exp(
        np.clip(mean + float(t.ppf((1 + LEVEL) / 2, count - 1)) * se * np.array([-1, 0, 1]), -700, 700)
    )
    return {"ratio": float(middle), "se": se, "low": float(low), "high": float(high)}
