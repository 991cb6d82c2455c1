"""What runs of several lengths, or curves at a constant rate, tell of how a decision moves with tokens.

Above `analysis.decide`, beneath `analysis.production.longer`.

    grids = lengths_of(ends, knobs, bases)          # the shortest first; the last one is decided on
    exponent_of([decide(grid, question) for grid in grids])
    drift_of_lengths(grids), drift_of_curves(curves, runs)

Inside of a decay a loss is no end (it lies above what a decay to there would give), so that of curves only those of a
constant rate count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.decide.arms import Grid, arms_of
from analysis.decide.decision import Decision
from analysis.decide.forecast import Forecast
from analysis.formulas.formula import Array
from analysis.results.tables import of_curves

CONSTANT = ("constant", "warmup_constant")  # schedules whose every position is an end
LATE = 0.5  # of a run: the share from which on its curve counts
FEWEST_ARMS = 4  # of a length that is decided on
DRAWS = 200
MOST_POINTS = 400
AT_END = 0.5  # of the draws may have the best rate at an end of what was run
SPAN = (0.05, 0.95)


@dataclass(frozen=True)
class Exponent:
    """a of best rate ~ D^a."""

    value: float
    low: float
    high: float
    """At 90 %."""
    lengths: int


@dataclass(frozen=True)
class Drift:
    """By how much changes at one setting grow when the tokens grow by a factor of e, in nats."""

    means: Mapping[str, float]
    """By corpus: forgetting, and of the downstream corpus adaptation."""
    errors: Mapping[str, float]
    """Standard errors; NaN of a single arm or run."""
    number: int
    """Of arms that both lengths have, or of runs."""
    of_curves: bool
    """Along runs at a constant rate, not between ends."""


def lengths_of(ends: pd.DataFrame, knobs: Sequence[str] | None, bases: str) -> list[Grid]:
    """A grid for each length of which enough arms are done, the shortest first; all runs in one if there is no such
    length. Raises InputError as `arms_of`."""
    if "run_tokens" not in ends or ends.run_tokens.nunique() < 2:
        return [arms_of(ends, knobs, bases)]
    found = [arms_of(rows, knobs, bases) for _, rows in ends.groupby("run_tokens") if (rows.status == "done").any()]
    return [grid for grid in found if grid.good.sum() >= FEWEST_ARMS] or [arms_of(ends, knobs, bases)]


def rate_of(grid: Grid) -> str:
    """What the learning rate is told in: peak, a multiple of the base's, or lr."""
    return "peak" if "peak" in grid.settings or pd.notna(grid.common.get("peak", np.nan)) else "lr"


def exponent_of(decisions: Sequence[Decision]) -> Exponent | None:
    """From the best rate at each length; None where there is one length, or where the best rate of some length may lie
    beyond what was run."""
    if len(decisions) < 2 or any(rate_of(one.model.grid) not in one.model.coding.levels for one in decisions):
        return None
    random = np.random.default_rng(0)
    best = []
    for one in decisions:
        rates = _best_rates(one, random)
        levels = one.model.coding.levels[rate_of(one.model.grid)]
        if rates is None or np.mean((rates <= levels[0]) | (rates >= levels[-1])) > AT_END:
            return None
        best.append(np.log(rates))
    x = np.log([_tokens(one.model.grid) for one in decisions])
    slopes = (x - x.mean()) @ np.stack(best) / ((x - x.mean()) ** 2).sum()
    low, high = np.quantile(slopes, SPAN)
    return Exponent(float(slopes.mean()), float(low), float(high), len(decisions))


def _best_rates(found: Decision, random: np.random.Generator) -> Array | None:
    """The rate of the best setting in each draw of the surfaces (DRAWS,); None without settings that are known."""
    points, model, question = found.points, found.model, found.question
    known = np.flatnonzero(points.known)
    if not len(known) or model.refused:
        return None
    some = known if len(known) <= MOST_POINTS else np.sort(random.choice(known, MOST_POINTS, replace=False))
    settings = points.settings.iloc[some]
    means = {name: _drawn(one, settings, random) for name, one in model.forecasts.items()}
    upstream, downstream = model.grid.upstream, model.grid.downstream
    w, v = (0.0, 1.0) if question.limits else question.weights
    score = v * means[downstream] - w * means[upstream]
    for name, limit in question.limits.items():
        outlook = points.forgetting[name]
        margin = (outlook.reached(question.confidence) - outlook.mean)[some]
        over = np.maximum(means[name] + margin - limit, 0.0)
        score = score - 1e3 * over
    return np.asarray(settings[rate_of(model.grid)].to_numpy(dtype=float)[score.argmax(axis=1)])


def _drawn(forecast: Forecast, settings: pd.DataFrame, random: np.random.Generator) -> Array:
    """Draws of the means (DRAWS, n)."""
    covariance = forecast.widened**2 * forecast.surface.covariance(settings, settings)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.asarray(forecast.at(settings).mean + random.standard_normal((DRAWS, len(settings))) @ root.T)


def drift_of_lengths(grids: Sequence[Grid]) -> Drift | None:
    """From the settings that the two longest lengths have in common; None without one."""
    if len(grids) < 2:
        return None
    shorter, longer = grids[-2:]
    both = [name for name in longer.settings if name in shorter.settings]
    if {*longer.settings} != {*shorter.settings}:
        return None
    first, second = (grid.settings.assign(arm=np.arange(len(grid.settings)))[grid.good] for grid in (shorter, longer))
    pairs = first.merge(second, on=both, suffixes=("", "_longer")) if both else pd.DataFrame()
    if pairs.empty:
        return None
    fold = np.log(_tokens(longer) / _tokens(shorter))
    slopes = {
        name: (_mean(longer, name)[pairs.arm_longer] - _mean(shorter, name)[pairs.arm]) / fold
        for name in (*longer.forgetting, longer.downstream)
        if name in shorter.forgetting or name == shorter.downstream
    }
    return _drift(slopes, of_curves=False)


def drift_of_curves(curves: pd.DataFrame, grid: Grid) -> Drift | None:
    """From the later half of the curves of those runs of a grid that hold their rate; None without one."""
    runs = {run for names in grid.runs for run in names}
    held = curves[curves.run.isin(runs) & curves.schedule.isin(CONSTANT)] if "schedule" in curves else curves[:0]
    if held.empty:
        return None
    held = of_curves(held)
    slopes: dict[str, list[float]] = {}
    for (_, corpus), rows in held.groupby(["run", "corpus"]):
        late = rows[rows.D / rows.D.max() >= LATE]
        if len(late) > 2 and corpus in (*grid.forgetting, grid.downstream):
            slope = float(np.polyfit(np.log(late.D), late.loss, 1)[0])
            slopes.setdefault(str(corpus), []).append(-slope if corpus == grid.downstream else slope)
    return _drift({name: np.array(values) for name, values in slopes.items()}, of_curves=True) if slopes else None


def _drift(slopes: Mapping[str, Array], *, of_curves: bool) -> Drift:
    number = min(map(len, slopes.values()))
    return Drift(
        {name: float(values.mean()) for name, values in slopes.items()},
        {
            name: float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
            for name, values in slopes.items()
        },
        number,
        of_curves,
    )


def _mean(grid: Grid, name: str) -> Any:
    values = grid.adaptation if name == grid.downstream else grid.forgetting[name]
    with np.errstate(invalid="ignore"):
        there = np.isfinite(values)
        return np.where(there, values, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)


def _tokens(grid: Grid) -> float:
    return float(grid.common["run_tokens"])


def names_of(grids: Collection[Grid]) -> list[float]:
    """The lengths of grids, in tokens."""
    return [_tokens(grid) for grid in grids]
