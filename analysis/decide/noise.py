"""How much two runs of one setting differ: what a mean over seeds is worth, and what the next single run may do.

Between `analysis.decide.arms` and `analysis.decide.surface`.

    noise = noise_of(values, coded)             # values (arms, seeds), coded (arms, numbers)
    noise.sd(coded), noise.freedom(coded), noise.covariance(present)

Run s of arm a is m_a + sd_a (sqrt(rho) b_s + sqrt(1 - rho) e_as): an order seed is the same order in every arm, so that
part of its luck, b_s, is common to them. log sd_a is linear in the knobs; its slopes have a normal prior of sd SLOPE
around 0 (the noise is the same everywhere), and 2 / variance of log sd^2 are the degrees of freedom with which it is
known (Smyth 2004 shrinks variances for the same reason).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.formulas.formula import Array

SLOPE = 2.0  # of log variance over the range of a knob: a factor of e in sd is one standard deviation
UNKNOWN_SHARE = 0.5  # rho where there is one seed, which shows only what is not common
LEAST_SD = 1e-4  # nats: equal runs (of equal bits) are no evidence of none
LEAST_SINGLE_SD = 0.02  # nats, with one seed


@dataclass(frozen=True)
class Noise:
    """Of a single run around the mean of its setting, over order seeds."""

    slopes: Array
    """Of log variance: its level, then by number (k + 1,)."""
    uncertainty: Array
    """Their covariance (k + 1, k + 1)."""
    common: float
    """rho: the share of the variance that runs of one seed have in common."""
    measured: bool
    """False: there is one seed, and it is what a surface left over."""

    def sd(self, coded: Array) -> Array:
        """Of a single run (n,), in nats; `coded` (n, k) as of `analysis.decide.surface.Coding`."""
        return np.asarray(np.exp(0.5 * _rows(coded) @ self.slopes))

    def freedom(self, coded: Array) -> Array:
        """The degrees of freedom that the variance is known with (n,)."""
        rows = _rows(coded)
        return np.asarray(2.0 / np.einsum("nk,kl,nl->n", rows, self.uncertainty, rows))

    def covariance(self, coded: Array, present: npt.NDArray[np.bool_]) -> Array:
        """Of the means of arms (n, n) whose runs are at the seeds that are `present` (n, seeds)."""
        shared = present.astype(float) @ present.T.astype(float)
        runs = np.diag(shared)
        sd = self.sd(coded)
        common = self.common * shared / np.outer(runs, runs)
        return np.asarray(np.outer(sd, sd) * (common + np.diag((1 - self.common) / runs)))


def noise_of(values: Array, coded: Array) -> Noise | None:
    """From the runs of each arm (arms, seeds), NaN where there is none. None where no arm has two of them."""
    present = np.isfinite(values)
    runs = present.sum(axis=1)
    repeated = runs > 1
    if not repeated.any():
        return None
    values, coded, present, freedom = values[repeated], coded[repeated], present[repeated], runs[repeated] - 1.0
    left = values - np.nanmean(values, axis=1, keepdims=True)
    variance = np.maximum(np.nansum(left**2, axis=1) / freedom, LEAST_SD**2)
    slopes, uncertainty = _log_linear(variance, freedom, coded)
    standard = np.nan_to_num(left) / np.exp(0.5 * _rows(coded) @ slopes)[:, None]
    common = _common(standard, present, freedom)
    # Variances of arms that share their luck are no independent ones: their correlation is rho^2.
    together = 1 + (len(variance) - 1) * common**2
    return Noise(slopes, uncertainty * together, common, measured=True)


def single(sd: float, numbers: int, freedom: float) -> Noise:
    """The noise of runs that have one seed: `sd` is what a surface leaves over, none of it common to the arms."""
    level = np.log(max(sd, LEAST_SINGLE_SD) ** 2 / (1 - UNKNOWN_SHARE))
    uncertainty = np.zeros((numbers + 1, numbers + 1))
    uncertainty[0, 0] = 2.0 / freedom
    return Noise(np.array([level, *np.zeros(numbers)]), uncertainty, UNKNOWN_SHARE, measured=False)


def _log_linear(variance: Array, freedom: Array, coded: Array) -> tuple[Array, Array]:
    """Slopes of log variance and their covariance: variances are gamma distributed; Newton steps to the mode."""
    rows = _rows(coded)
    prior = np.diag([0.0, *np.full(rows.shape[1] - 1, SLOPE**-2)])
    slopes = np.zeros(rows.shape[1])
    slopes[0] = np.log((freedom * variance).sum() / freedom.sum())
    information = rows.T @ (0.5 * freedom[:, None] * rows) + prior
    for _ in range(50):
        ratio = variance / np.exp(rows @ slopes)
        step = np.linalg.solve(information, rows.T @ (0.5 * freedom * (ratio - 1)) - prior @ slopes)
        slopes = slopes + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-8:
            break
    return slopes, np.asarray(np.linalg.inv(information), dtype=float)


def _common(standard: Array, present: npt.NDArray[np.bool_], freedom: Array) -> float:
    """rho from the products of standardised deviations of two arms at one seed, of expectation rho (1 - 1/seeds)."""
    total = standard.sum(axis=0)
    products = (total**2 - (standard**2).sum(axis=0)).sum()
    arms = present.sum(axis=0)
    expected = (arms * (arms - 1)).sum() * np.mean(freedom / (freedom + 1))
    return float(np.clip(products / expected, 0.0, 0.95)) if expected > 0 else UNKNOWN_SHARE


def _rows(coded: Array) -> Array:
    return np.column_stack([np.ones(len(coded)), coded])
