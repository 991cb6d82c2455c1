"""What a setting would do to one loss: the mean over order seeds, and the next single run.

Between `analysis.decide.surface` and `analysis.decide.decision`.

    forecast = forecast_of("docs", values, settings, numeric)     # values (arms, seeds), in nats
    outlook = forecast.at(points)
    outlook.below(limit), outlook.mean_interval(), outlook.run_interval()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.decide.choice import Choice, choose
from analysis.decide.coding import Coding
from analysis.decide.noise import Noise, noise_of, single
from analysis.decide.surface import Form, Surface, noise_left
from analysis.fitting.fit import LEVEL
from analysis.formulas.formula import Array

BAND = 0.99  # simultaneous: of all arms that a surface must not miss
APART = np.log(1e2)  # log sd, in nats, of means that say nothing of each other


@dataclass(frozen=True)
class Outlook:
    """At some points, arrays (n,) in nats."""

    mean: Array
    sd: Array
    """With which the mean over order seeds is known."""
    freedom: Array
    """Degrees of freedom of `sd`."""
    run_sd: Array
    """Of single runs around that mean."""
    run_freedom: Array
    """Degrees of freedom of `run_sd`."""

    def below(self, limit: float, *, run: bool = True) -> Array:
        """Probability that the next single run, or the mean, is at most `limit`."""
        from scipy.special import stdtr

        away = limit - self.mean
        of_mean = np.asarray(stdtr(self.freedom, away / np.maximum(self.sd, 1e-12)))
        if not run:
            return of_mean
        sd, freedom = self._next()
        of_run = np.asarray(stdtr(freedom, away / np.maximum(sd, 1e-12)))
        return np.asarray(np.where(away > 0, np.minimum(of_run, of_mean), np.maximum(of_run, of_mean)))

    def reached(self, confidence: float) -> Array:
        """The limit that the next single run keeps with this probability."""
        return np.asarray(self.mean + self._wide(confidence))

    def mean_interval(self) -> Array:
        """At LEVEL (2, n), pointwise."""
        return self._interval(_quantile((1 + LEVEL) / 2, self.freedom) * self.sd)

    def run_interval(self) -> Array:
        """Of the next single run, at LEVEL (2, n)."""
        return self._interval(self._wide((1 + LEVEL) / 2))

    def _interval(self, half: Array) -> Array:
        return np.stack([self.mean - half, self.mean + half])

    def _wide(self, share: float) -> Array:
        """Of the next run, this quantile less the mean. A mean of few degrees of freedom has the longer tails, and
        no run is surer than its mean: further out than the mean's own, then."""
        sd, freedom = self._next()
        away, own = _quantile(share, freedom) * sd, _quantile(share, self.freedom) * self.sd
        return np.asarray(np.maximum(away, own) if share > 0.5 else np.minimum(away, own))

    def _next(self) -> tuple[Array, Array]:
        """sd of the next run around the mean that is expected, and its degrees of freedom: those of the two parts by
        their variances, not their sum, for both parts rest on the same runs."""
        known, run = self.sd**2, self.run_sd**2
        both = np.maximum(known + run, 1e-24)
        return np.sqrt(both), both / (known / self.freedom + run / self.run_freedom)


@dataclass(frozen=True)
class Forecast:
    """Of one loss."""

    choice: Choice
    """Where its surface was refused or there is none, the arms' own means, each by itself."""
    noise: Noise
    refused: str
    """Why there is no surface; else empty."""
    sampling: float
    """Standard error that all means share, in nats: that of the windows they were measured on."""
    widened: float
    """Factor on the sd of means: how far arms that are left out fall outside of what is said of them."""

    @property
    def surface(self) -> Surface:
        """The one that answers."""
        return self.choice.surface

    @property
    def kind(self) -> str:
        """For people."""
        return "no surface" if self.refused else str(self.surface.form)

    def at(self, points: pd.DataFrame) -> Outlook:
        """At settings; without a surface at those that were run."""
        mean, sd = self.surface.at(points)
        coded = _plain(self.surface).numbers(points)
        run_freedom = np.maximum(self.noise.freedom(coded), 1.0)
        freedom = run_freedom if self.refused else np.minimum(run_freedom, self.surface.freedom)
        sd = np.sqrt((self.widened * sd) ** 2 + self.sampling**2 + self.choice.spread(points) ** 2)
        return Outlook(mean, sd, freedom, self.noise.sd(coded), run_freedom)

    def difference_sd(self, points: pd.DataFrame, one: pd.DataFrame) -> Array:
        """With which the means at `points` less that at `one` are known (n,)."""
        _, sd = self.surface.at(points)
        _, own = self.surface.at(one)
        shared = self.surface.covariance(points, one)[:, 0]
        return np.asarray(self.widened * np.sqrt(np.maximum(sd**2 + own[0] ** 2 - 2 * shared, 0.0)))

    def left_out(self) -> Array:
        """What each arm was predicted from the others; NaN without a surface."""
        if self.refused:
            return np.full(len(self.surface.means), np.nan)
        return np.asarray(self.surface.means - self.surface.left_out[0])


def forecast_of(values: Array, settings: pd.DataFrame, numeric: tuple[str, ...], sampling: float = 0.0) -> Forecast:
    """From the runs of arms (arms, seeds), NaN where there is none; every arm has one at least."""
    present = np.isfinite(values)
    means = np.nanmean(values, axis=1)
    coding = Coding.of(settings, numeric)
    coded = coding.numbers(settings)
    noise = noise_of(values, coded)
    if noise is None:
        sd, freedom = noise_left(settings, numeric, means) if len(means) > 2 else (0.0, 1.0)
        noise = single(sd, coded.shape[1], freedom)
    covariance = noise.covariance(coded, present)
    choice = choose(settings, numeric, means, covariance)
    refused = "too few settings were run" if choice is None else missed(choice.surface, noise, present)
    if choice is None or refused:
        own = Form("constant", smooth=False, offset=1.0)
        apart = Surface(own, coding, settings, means, covariance, np.array([APART]), (0,))
        return Forecast(Choice(apart, (), np.nan, np.nan), noise, refused, sampling, widened=1.0)
    errors, sds = choice.surface.left_out
    told = np.isfinite(errors)
    widened = float(np.sqrt(np.mean((errors[told] / sds[told]) ** 2))) if told.any() else 1.0
    return Forecast(choice, noise, "", sampling, max(widened, 1.0))


def missed(surface: Surface, noise: Noise, present: Array) -> str:
    """Which arm's mean lies outside of the simultaneous band around the surface, given the noise of its runs."""
    coded = _plain(surface).numbers(surface.settings)
    away = np.abs(surface.means - surface.at(surface.settings)[0])
    sd = noise.sd(coded) * np.sqrt((1 - noise.common) / present.sum(axis=1))
    most = _quantile(1 - (1 - BAND) / (2 * len(away)), noise.freedom(coded)) * sd
    worst = int(np.argmax(away / most))
    if away[worst] <= most[worst]:
        return ""
    setting = ", ".join(f"{name} {_short(value)}" for name, value in surface.settings.iloc[worst].items())
    return f"it misses the arm of {setting} by {away[worst]:.3g} nats, where the noise of its mean is {sd[worst]:.2g}"


def _plain(surface: Surface) -> Coding:
    """The coding that the noise is told in, whatever the offset of the surface."""
    return Coding(surface.coding.levels, surface.coding.categories, 1.0)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def _quantile(share: float, freedom: Array) -> Array:
    """Of Student's t distribution."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    return np.asarray(stdtrit(freedom, share))
