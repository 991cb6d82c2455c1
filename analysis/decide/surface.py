"""A loss over the knobs: a trend, and departures from it of which nearby settings share more.

Between `analysis.decide.noise` and `analysis.decide.choice`, which says which form to take.

    surface = fit(Form("linear", smooth=True, offset=1.0), settings, numeric, means, covariance)
    mean, sd = surface.at(points)
    surface.covariance(points, others)

mean of an arm = b(x)'beta + g(x) + noise. b: 1, linear or quadratic terms of the coded knobs (with their products) and
an indicator of each category; g is a Gaussian process: either of its own at every setting, so that b is a polynomial
regression that counts what it misses, or smooth, with a length for every knob. beta has a flat prior; the size of g and
its lengths maximise the restricted likelihood (Patterson and Thompson 1971) times weak priors. Each arm is predicted
from the others (Dubrule 1983: with P the precision matrix of the contrasts, e_i = (P y)_i / P_ii), at a size and
lengths that stay those of all arms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.decide.coding import Coding
from analysis.formulas.formula import Array

MOST = 120  # arms that tell the size and the lengths of g
SPARE = 2  # arms that a trend leaves over at least
LENGTH, LENGTH_SD = 0.8, 0.8  # prior of lengths: a median of the range of a knob, and its sd in logarithm
SIZE_SD = 1.5  # prior of log sd of g around the share of the arms' sd that is given here
SIZE = {True: 0.7, False: 0.15}
NOISE, NOISE_SD = 0.02, 1.0  # prior of the sd of one run in nats, where seeds do not tell


@dataclass(frozen=True)
class Form:
    """A candidate."""

    trend: str
    """constant, linear or quadratic."""
    smooth: bool
    """Whether departures are smooth."""
    offset: float
    """Of replay, see `Coding`."""

    def __str__(self) -> str:
        return f"{self.trend} trend and smooth departures" if self.smooth else f"{self.trend} polynomial"


@dataclass(frozen=True)
class Surface:
    """A candidate fitted to the means of arms, in nats."""

    form: Form
    coding: Coding
    settings: pd.DataFrame
    means: Array
    noise: Array
    """Covariance of the means (arms, arms), times what `parameters` say where it is free."""
    parameters: Array
    """log sd of g; of a smooth one log lengths of the numbers and then the categories."""
    columns: tuple[int, ...]
    """Terms of the trend that the arms tell apart."""

    def at(self, points: pd.DataFrame) -> tuple[Array, Array]:
        """Mean over order seeds and the sd with which it is known, (n,) each."""
        mean, cross, trend = self._weights(points)
        variance = self._size**2 - np.einsum("na,na->n", cross @ self._inverse, cross)
        variance += np.einsum("np,pq,nq->n", trend, self._of_trend, trend)
        return mean, np.sqrt(np.maximum(variance, 0.0))

    def covariance(self, points: pd.DataFrame, others: pd.DataFrame) -> Array:
        """Of the means at points and at others (n, m)."""
        _, cross, trend = self._weights(points)
        _, cross_others, trend_others = self._weights(others)
        own = _departures(self.form, self.parameters, _apart(self.coding, points, others))
        return np.asarray(own - cross @ self._inverse @ cross_others.T + trend @ self._of_trend @ trend_others.T)

    @cached_property
    def left_out(self) -> tuple[Array, Array]:
        """Each arm's mean less its prediction from the other arms, and the sd of that; NaN where the others say nothing
        of it, such as the only arm of a category."""
        own = np.diag(self.contrasts)
        diagonal = np.where(own > 1e-8 * np.diag(self._inverse), own, np.nan)
        return self.contrasts @ self.means / diagonal, 1 / np.sqrt(diagonal)

    @cached_property
    def contrasts(self) -> Array:
        """P (arms, arms)."""
        half = self._inverse @ self._terms
        return np.asarray(self._inverse - half @ self._of_trend @ half.T)

    @property
    def freedom(self) -> int:
        """Arms less what was fitted to them, 1 at least."""
        return max(len(self.means) - len(self.columns) - len(self.parameters), 1)

    def _weights(self, points: pd.DataFrame) -> tuple[Array, Array, Array]:
        """Means, covariances with the arms, and what of the trend g does not carry."""
        cross = _departures(self.form, self.parameters, _apart(self.coding, points, self.settings))
        own = _terms(self.form.trend, self.coding, points)[:, self.columns]
        mean = own @ self._beta + cross @ self._inverse @ (self.means - self._terms @ self._beta)
        return mean, cross, own - cross @ self._inverse @ self._terms

    @property
    def _size(self) -> float:
        return float(np.exp(self.parameters[0]))

    @cached_property
    def _terms(self) -> Array:
        return _terms(self.form.trend, self.coding, self.settings)[:, self.columns]

    @cached_property
    def _inverse(self) -> Array:
        own = _departures(self.form, self.parameters, _apart(self.coding, self.settings, self.settings))
        return np.asarray(np.linalg.inv(own + self.noise), dtype=float)

    @cached_property
    def _of_trend(self) -> Array:
        return np.asarray(np.linalg.inv(self._terms.T @ self._inverse @ self._terms), dtype=float)

    @cached_property
    def _beta(self) -> Array:
        return np.asarray(self._of_trend @ (self._terms.T @ (self._inverse @ self.means)))


def fit(form: Form, settings: pd.DataFrame, numeric: tuple[str, ...], means: Array, noise: Array) -> Surface | None:
    """A candidate; None where the arms are too few for its trend."""
    coding = Coding.of(settings, numeric, form.offset)
    terms = _terms(form.trend, coding, settings)
    columns = _independent(terms)
    if len(means) - len(columns) < SPARE:
        return None
    some = _some(len(means))
    of_some = (settings.iloc[some], terms[some][:, columns], means[some], noise[np.ix_(some, some)])
    parameters = _restricted(form, coding, *of_some, free=False)
    return Surface(form, coding, settings, means, noise, parameters, columns)


def _some(arms: int) -> npt.NDArray[np.int64]:
    """Of very many arms some, always the same, in no order: they tell the size and the lengths of g."""
    every = np.arange(arms) if arms <= MOST else np.random.default_rng(0).permutation(arms)
    return np.sort(every[:MOST])


def noise_left(settings: pd.DataFrame, numeric: tuple[str, ...], means: Array) -> tuple[float, float]:
    """The sd of a run, of what is not common to all arms, from what a smooth surface leaves over, and the degrees of
    freedom of that: for arms of one run each."""
    form = Form("constant", smooth=True, offset=1.0)
    coding = Coding.of(settings, numeric, form.offset)
    terms = _terms(form.trend, coding, settings)
    some = _some(len(means))
    found = _restricted(form, coding, settings.iloc[some], terms[some], means[some], np.eye(len(some)), free=True)
    return float(np.exp(found[-1])), max((len(means) - 1 - coding.numbers(settings).shape[1]) / 2, 1.0)


def _restricted(
    form: Form, coding: Coding, settings: pd.DataFrame, terms: Array, means: Array, noise: Array, *, free: bool
) -> Array:
    """The parameters of g that maximise the restricted likelihood times their priors. `free`: and log sd of the noise,
    of which `noise` is the shape."""
    from scipy.optimize import minimize

    spread = max(float(np.std(means)), 1e-3)
    apart = _apart(coding, settings, settings)
    lengths = len(apart) if form.smooth else 0
    centre = np.array([np.log(SIZE[form.smooth] * spread), *[np.log(LENGTH)] * lengths, *[np.log(NOISE)] * free])
    width = np.array([SIZE_SD, *[LENGTH_SD] * lengths, *[NOISE_SD] * free])

    def objective(parameters: Array) -> tuple[float, Array]:
        own, slopes = _with_slopes(form, parameters[: 1 + lengths], apart)
        wide = np.exp(2 * parameters[-1]) * noise if free else noise
        slopes += [2 * wide] if free else []
        total = own + wide
        try:
            root = np.linalg.cholesky(total)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros(len(parameters))
        inverse = np.linalg.inv(total)
        half = inverse @ terms
        information = terms.T @ half
        contrasts = inverse - half @ np.linalg.solve(information, half.T)
        value = contrasts @ means
        away = (parameters - centre) / width
        loss = np.log(np.diag(root)).sum() + 0.5 * np.linalg.slogdet(information)[1] + 0.5 * means @ value
        slope = [0.5 * (contrasts * one).sum() - 0.5 * value @ one @ value for one in slopes]
        return float(loss + 0.5 * away @ away), np.array(slope) + away / width

    bounds = [(middle - 5 * sd, middle + 5 * sd) for middle, sd in zip(centre, width, strict=True)]
    return np.asarray(minimize(objective, centre, jac=True, method="L-BFGS-B", bounds=bounds).x)


def _with_slopes(form: Form, parameters: Array, apart: Array) -> tuple[Array, list[Array]]:
    """Covariance of g, and its derivatives by each parameter."""
    own = _departures(form, parameters, apart)
    if not form.smooth:
        return own, [2 * own]
    lengths = np.exp(2 * parameters[1:])
    return own, [2 * own, *(own * one / length for one, length in zip(apart, lengths, strict=True))]


def _departures(form: Form, parameters: Array, apart: Array) -> Array:
    """Covariances of g between settings that are so far apart, see `_apart`."""
    size = np.exp(2 * parameters[0])
    if not form.smooth:
        return np.asarray(size * (apart.sum(axis=0) < 1e-18))
    return np.asarray(size * np.exp(-0.5 * np.tensordot(np.exp(-2 * parameters[1:]), apart, 1)))


def _apart(coding: Coding, first: pd.DataFrame, second: pd.DataFrame) -> Array:
    """Squared distances (knobs, first, second); of categories 0 or 1."""
    numbers = (coding.numbers(first).T[:, :, None] - coding.numbers(second).T[:, None, :]) ** 2
    kinds = coding.kinds(first).T[:, :, None] != coding.kinds(second).T[:, None, :]
    return np.concatenate([numbers, kinds.astype(float)])


def _terms(trend: str, coding: Coding, points: pd.DataFrame) -> Array:
    """The terms of a trend (n, terms)."""
    x = coding.numbers(points) - 0.5
    found = [np.ones(len(points))]
    if trend != "constant":
        found += [*x.T]
        for place, values in zip(coding.kinds(points).T, coding.categories.values(), strict=True):
            found += [(place == k).astype(float) for k in range(1, len(values))]
    if trend == "quadratic":
        found += [x[:, i] * x[:, j] for i in range(x.shape[1]) for j in range(i, x.shape[1])]
    return np.column_stack(found)


def _independent(terms: Array) -> tuple[int, ...]:
    """Columns, from the left, of which none is a sum of those before it."""
    kept: list[int] = []
    for column in range(terms.shape[1]):
        if np.linalg.matrix_rank(terms[:, [*kept, column]], tol=1e-8) > len(kept):
            kept.append(column)
    return tuple(kept)
