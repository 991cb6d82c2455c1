"""A difference between two arms, paired by seed, and what it takes to call it one: intervals, tests and seeds needed.

Beneath `analysis.measures.rules`. Differences are in nats; the sampling error of the windows, which all seeds share, is
added to intervals in quadrature.

    contrast = Contrast("warm-up 0 - 1 %, V", values, windows_se=0.003, typical_sd=0.006)
    contrast.interval(0.95), contrast.p(0.0)
    Resampled("R2 less .97", draws, unit="runs", estimate=0.02, number=36)      # of a statistic of resampled runs
    seeds_for(equivalence_power, delta=0.01, sd=0.009)      # 9
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import gammaln, nctdtr, ndtr, ndtri, stdtrit

from analysis.formulas.formula import Array

Power = Callable[[int, float, float], float]  # of seeds, an effect and the sd over seeds
MOST_SEEDS = 10
POWER = 0.8
LEAST_P = 1e-12
DRAWS = 2000  # resamples of seeds
NODES = np.polynomial.legendre.leggauss(200)


@dataclass(frozen=True, eq=False)
class Contrast:
    """One difference."""

    name: str
    values: Array
    """A number for each seed (n,)."""
    windows_se: float = 0.0
    """Standard error that the choice of windows leaves in their mean."""
    typical_sd: float = 0.0
    """Median sd over seeds of the contrasts of the sweep; a smaller one of its own is luck."""
    floor: float = math.nan
    """sd of one of `values` that the order of the data alone makes; NaN: not known."""
    seeds: tuple[int, ...] = ()
    """Whose values these are, where they are of seeds."""
    unit: str = "seeds"
    """What `values` has a number for each of; only those of seeds are in nats."""
    note: str = ""
    """What is printed beside it, and has no verdict."""

    @property
    def n(self) -> int:
        """Seeds."""
        return len(self.values)

    @cached_property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.n else math.nan

    @cached_property
    def sd(self) -> float:
        """Over seeds, at least the typical one; NaN of fewer than two seeds."""
        return max(float(np.std(self.values, ddof=1)), self.typical_sd) if self.n > 1 else math.nan

    def half(self, level: float) -> float:
        """Half the width of the two-sided interval; infinite of fewer than two seeds."""
        if self.n < 2:
            return math.inf
        tail = (1 + level) / 2
        return math.hypot(
            float(stdtrit(self.n - 1, tail)) * self.sd / math.sqrt(self.n), float(ndtri(tail)) * self.windows_se
        )

    def interval(self, level: float) -> tuple[float, float]:
        """Two-sided."""
        return self.mean - self.half(level), self.mean + self.half(level)

    def p(self, bound: float) -> float:
        """Of the two-sided test against `bound`: 1 less the level of the widest interval that leaves it out."""
        away = abs(self.mean - bound)
        if self.n < 2 or away == 0:
            return 1.0
        if self.half(1 - LEAST_P) <= away:
            return LEAST_P
        return float(brentq(lambda p: self.half(1 - p) - away, LEAST_P, 1.0))

    def without(self, seed: int) -> Self:
        """The same without one seed."""
        if seed not in self.seeds:
            return self
        at = self.seeds.index(seed)
        return replace(self, values=np.delete(self.values, at), seeds=self.seeds[:at] + self.seeds[at + 1 :])


@dataclass(frozen=True, eq=False)
class Bootstrapped(Contrast):
    """The same of values that no t distribution fits, such as an R2: its intervals are quantiles of the means of
    DRAWS resamples of the seeds."""

    @cached_property
    def draws(self) -> Array:
        """The means (DRAWS,)."""
        chosen = np.random.default_rng(0).integers(self.n, size=(DRAWS, self.n))
        return np.asarray(self.values[chosen].mean(axis=1))

    def interval(self, level: float) -> tuple[float, float]:
        return _quantiles(self.draws, level) if self.n > 1 else (-math.inf, math.inf)

    def half(self, level: float) -> float:
        low, high = self.interval(level)
        return (high - low) / 2

    def p(self, bound: float) -> float:
        """At least 1 over the number of draws."""
        return _beyond(self.draws, bound) if self.n > 1 else 1.0


@dataclass(frozen=True, eq=False)
class Resampled(Contrast):
    """A statistic, less what it is held against, with draws of it from resamples in `values` (B,): its intervals are
    their quantiles."""

    estimate: float = math.nan
    number: int = 0
    """Of the `unit`s that were resampled."""

    @property
    def n(self) -> int:
        return self.number

    @cached_property
    def mean(self) -> float:
        return self.estimate

    @cached_property
    def sd(self) -> float:
        """Of one unit: that of the draws is of a mean over all of them."""
        return float(np.std(self.values, ddof=1)) * math.sqrt(self.n) if self.n > 1 else math.nan

    def interval(self, level: float) -> tuple[float, float]:
        if self.n < 2:
            return -math.inf, math.inf
        return _quantiles(self.values, level)

    def half(self, level: float) -> float:
        low, high = self.interval(level)
        return (high - low) / 2

    def p(self, bound: float) -> float:
        """At least 1 over the number of draws: so few say no more."""
        return 1.0 if self.n < 2 else _beyond(self.values, bound)


def _quantiles(draws: Array, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _beyond(draws: Array, bound: float) -> float:
    """p, two-sided, of what lies on the less frequent side of a bound."""
    beyond = min(float((draws <= bound).mean()), float((draws >= bound).mean()))
    return min(1.0, max(2 * beyond, 1 / len(draws)))


def holm(p: Sequence[float]) -> Array:
    """p values adjusted for all of them (Holm 1979), in the order given."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)
    scaled = values[order] * np.arange(len(values), 0, -1)
    found = np.empty(len(values))
    found[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return found


def share_removed(part: npt.ArrayLike, whole: npt.ArrayLike, level: float) -> tuple[float, tuple[float, float] | None]:
    """1 - mean(part) / mean(whole), of values paired by seed, and its interval by Fieller's theorem: None where the
    interval of the denominator itself holds 0, so that there is none."""
    x, y = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    value = 1 - float(x.mean() / y.mean())
    if len(x) < 2:
        return value, None
    covariance = np.cov(x, y) / len(x)
    squared = float(stdtrit(len(x) - 1, (1 + level) / 2)) ** 2
    a = y.mean() ** 2 - squared * covariance[1, 1]
    b = x.mean() * y.mean() - squared * covariance[0, 1]
    c = x.mean() ** 2 - squared * covariance[0, 0]
    if a <= 0:
        return value, None
    spread = math.sqrt(max(b * b - a * c, 0.0))
    return value, (1 - float((b + spread) / a), 1 - float((b - spread) / a))


def sign_power(n: int, effect: float, sd: float) -> float:
    """Of the 95 % interval to lie wholly on the side of an `effect`."""
    return 1 - float(nctdtr(n - 1, abs(effect) * math.sqrt(n) / sd, stdtrit(n - 1, 0.975)))


def no_worse_power(n: int, effect: float, sd: float) -> float:
    """Of the one-sided 95 % bound to stay `effect` above a difference of none."""
    return 1 - float(nctdtr(n - 1, abs(effect) * math.sqrt(n) / sd, stdtrit(n - 1, 0.95)))


def equivalence_power(n: int, effect: float, sd: float) -> float:
    """Of the 90 % interval to lie within plus and minus `effect` where there is no difference: over the sd that the
    seeds happen to show, a chi variable x of n - 1 degrees of freedom."""
    freedom, reach, se = n - 1, float(stdtrit(n - 1, 0.95)), sd / math.sqrt(n)
    most = min(effect / (reach * se) * math.sqrt(freedom), 12.0 + math.sqrt(freedom))  # beyond, nothing fits
    x, weights = (most * (NODES[0] + 1) / 2, most * NODES[1] / 2)
    room = effect / se - reach * x / math.sqrt(freedom)
    density = np.exp(freedom * np.log(x) - np.log(x) - x**2 / 2 - gammaln(freedom / 2)) * 2 ** (1 - freedom / 2)
    return float(weights @ ((2 * ndtr(room) - 1) * density))


def seeds_for(power: Power, effect: float, sd: float, most: int = 10_000) -> int | None:
    """The least number of seeds whose power is POWER; None: more than `most`."""
    if effect == 0 or not math.isfinite(effect) or not math.isfinite(sd):
        return None
    if sd == 0:
        return 2
    low, high = 1, 2
    while power(high, effect, sd) < POWER:
        low, high = high, 2 * high
        if low >= most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power(middle, effect, sd) < POWER else (low, middle)
    return high


def detectable(power: Power, n: int, sd: float) -> float:
    """The effect that n seeds would tell with a probability of POWER, in nats."""
    if n < 2 or not math.isfinite(sd) or sd == 0:
        return math.nan
    return float(brentq(lambda effect: power(n, effect, sd) - POWER, 1e-9 * sd, 100 * sd))
