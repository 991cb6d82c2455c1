"""Which surface of a loss to believe, how far it misses what it has not seen, and how far others are from it.

Between `analysis.decide.surface` and `analysis.decide.forecast`.

    found = choose(settings, numeric, means, covariance)
    found.surface, found.error, found.inside, found.spread(points)

The candidate is taken that predicts arms best from the others by the mean of sqrt(|error|): of the mean of |error| an
arm at an end, which the others have to extrapolate to, would be most. The errors that are told are nested: an arm is
predicted by the candidate that was best without it.

Near no replay, candidates that predict the arms as well differ by more than the sd that each has: above all in c of
log(replay + c). What they differ by counts against the answer: each has the weight exp(TEMPER x its log density of the
arms left out) (Yao et al. 2018, tempered: the arms are few and their errors alike).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.decide.coding import Coding, inside_of_others
from analysis.decide.surface import Form, Surface, fit
from analysis.formulas.formula import Array

OFFSETS = (0.03, 0.1, 0.3, 1.0, np.inf)  # c of replay, in units of its smallest value above 0; infinite: replay as is
TRENDS = (("linear", False), ("quadratic", False), ("constant", True), ("linear", True))
TEMPER = 0.3
LEAST_WEIGHT = 0.02  # below it a candidate counts for nothing


@dataclass(frozen=True)
class Choice:
    """A surface, and what speaks for it."""

    surface: Surface
    others: tuple[tuple[Surface, float], ...]
    """Candidates and their weights, whose sum with that of `surface` is 1."""
    error: float
    """Nested mean absolute error of leaving out an arm, in nats; NaN where no arm can be told from the others."""
    inside: float
    """The same over arms that lie in the hull of the others; NaN without one."""

    def spread(self, points: pd.DataFrame) -> Array:
        """By how much the candidates differ from the surface (n,): root of the mean square, in nats."""
        own, _ = self.surface.at(points)
        squares = (weight * (other.at(points)[0] - own) ** 2 for other, weight in self.others)
        return np.asarray(np.sqrt(sum(squares, np.zeros(len(points)))))


def choose(settings: pd.DataFrame, numeric: tuple[str, ...], means: Array, noise: Array) -> Choice | None:
    """The candidate that predicts arms best from the others; None where there are too few arms for any. `noise`: the
    covariance of `means`."""
    fitted = [found for form in forms(settings, numeric) if (found := fit(form, settings, numeric, means, noise))]
    if not fitted:
        return None
    errors, sds = (np.stack([one.left_out[part] for one in fitted]) for part in (0, 1))  # (candidates, arms)
    told = np.asarray(np.isfinite(errors).all(axis=0))
    if not told.any():
        return Choice(fitted[0], (), np.nan, np.nan)
    errors, sds = errors[:, told], sds[:, told]
    best = int(np.sqrt(np.abs(errors)).mean(axis=1).argmin())
    inner = np.abs(np.stack([_without_each(one.contrasts, means, told) for one in fitted]))
    chosen = np.sqrt(inner).mean(axis=2).argmin(axis=0)  # by candidate, arm left out, arm predicted
    nested = np.abs(errors[chosen, np.arange(told.sum())])
    within = inside_of_others(settings, Coding.of(settings, numeric))[told]
    weights = _weights(errors, sds)
    others = tuple(
        (one, float(weight))
        for k, (one, weight) in enumerate(zip(fitted, weights, strict=True))
        if k != best and weight >= LEAST_WEIGHT
    )
    inside = float(nested[within].mean()) if within.any() else np.nan
    return Choice(fitted[best], others, float(nested.mean()), inside)


def forms(settings: pd.DataFrame, numeric: tuple[str, ...]) -> list[Form]:
    """The candidates for these arms."""
    replayed = "replay" in numeric and (settings.replay > 0).any()
    return [
        Form(trend, smooth, offset) for trend, smooth in TRENDS for offset in (OFFSETS if replayed else OFFSETS[-2:-1])
    ]


def _weights(errors: Array, sds: Array) -> Array:
    """Of candidates (n,) by the log density of each arm left out, whose sd is at least what the errors are."""
    sds = sds * np.maximum(np.sqrt(((errors / sds) ** 2).mean(axis=1, keepdims=True)), 1.0)
    density = -(np.log(sds) + 0.5 * (errors / sds) ** 2).sum(axis=1)
    weights = np.exp(TEMPER * (density - density.max()))
    return np.asarray(weights / weights.sum())


def _without_each(contrasts: Array, means: Array, told: npt.NDArray[np.bool_]) -> Array:
    """Errors of leaving out each arm that is told (columns) from the arms without another one (rows); 0 where they are
    the same, or where one can't be told without the other."""
    diagonal = np.diag(contrasts)
    value = contrasts @ means
    with np.errstate(divide="ignore", invalid="ignore"):
        top = value[None, :] - contrasts * (value / diagonal)[:, None]
        below = diagonal[None, :] - contrasts**2 / diagonal[:, None]
        found = np.where(below > 1e-8 * diagonal[None, :], top / below, 0.0)
    np.fill_diagonal(found, 0.0)
    return np.asarray(found[np.ix_(told, told)])
