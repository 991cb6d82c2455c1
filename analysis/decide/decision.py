"""The decision: which setting to train with, how sure it is, and where the data say nothing.

Above `analysis.decide.arms`, `forecast` and `coding`; `analysis.commands.decide` prints it.

    grid = arms_of(ends_of_store(Path("runs")))
    found = decide(grid, Question({"docs": 0.05 * grid.base["docs"]}, confidence=0.9))
    found.verdict.line, found.recommended

With limits: the most adaptation of those settings at which the next single run keeps them all with the probability
asked for (of several limits by Bonferroni: they need not be independent). Without: the least weighted sum of changes.
Only settings are looked at that the runs reach (`analysis.decide.coding`) and where the surfaces are sure: the sd of
every mean is at most SURE times that of a single run there (or SURE_NATS), or an arm lies within one step of the grid.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers.answer import EXTRAPOLATED, NONE, SUPPORTED, Verdict
from analysis.decide.arms import Grid
from analysis.decide.coding import Coding, Mask, known, near
from analysis.decide.forecast import Forecast, Outlook, forecast_of
from analysis.formulas.formula import Array

SURE, SURE_NATS = 1.0, 0.01
AS_GOOD = 0.01  # nats: what a decision need not tell apart
TIE = 0.002  # nats: of settings that are this near to the best, the one that keeps the limits most surely
PER_KNOB = {1: 161, 2: 33, 3: 11, 4: 6}  # values of a number that are looked at, by how many numbers there are
MOST_POINTS = 20_000


@dataclass(frozen=True)
class Question:
    """What is asked."""

    limits: Mapping[str, float]
    """Corpus -> forgetting in nats that is borne; none: the least weighted sum."""
    confidence: float = 0.9
    """With which the next single run keeps all limits."""
    weights: tuple[float, float] = (1.0, 1.0)
    """Of the upstream and the downstream loss, where there are no limits."""
    extrapolate: bool = False
    """Look at all settings between the smallest and the largest value of each knob, known or not."""


@dataclass(frozen=True)
class Model:
    """What the runs say: a forecast of every loss."""

    grid: Grid
    settings: pd.DataFrame
    """Arms that count: those that have a number and none of whose runs failed."""
    coding: Coding
    forgetting: dict[str, Forecast]
    adaptation: Forecast

    @property
    def forecasts(self) -> dict[str, Forecast]:
        """By corpus, that of the downstream corpus last."""
        return {**self.forgetting, self.grid.downstream: self.adaptation}

    @property
    def refused(self) -> dict[str, str]:
        """Corpus -> why its surface is no answer between arms."""
        return {name: one.refused for name, one in self.forecasts.items() if one.refused}


@dataclass(frozen=True)
class Points:
    """Settings that are looked at, and what is said of them."""

    settings: pd.DataFrame
    known: Mask
    """Reached by the runs, and sure."""
    kept: Array
    """Probability that the next run keeps all limits; 1 without."""
    mean_kept: Array
    """The same of the mean over order seeds."""
    score: Array
    """What is to be largest, in nats."""
    forgetting: dict[str, Outlook]
    adaptation: Outlook


@dataclass(frozen=True)
class Decision:
    """An answer, or how near the nearest comes."""

    question: Question
    verdict: Verdict
    model: Model
    points: Points
    at: int | None
    """The recommended point of `points`; without an answer the nearest. None if there is no point at all."""
    as_good: Mask
    """Points that are as good, as far as the runs tell them apart."""

    @property
    def answered(self) -> bool:
        """Whether there is a recommendation."""
        return self.verdict.kind != NONE


def model_of(grid: Grid) -> Model | None:
    """A forecast of every loss. None without a single arm that counts."""
    good = grid.good
    if not good.any():
        return None
    settings = grid.settings[good].reset_index(drop=True)
    forecasts = {
        name: forecast_of(values[good], settings, grid.numeric, grid.sampling[name])
        for name, values in grid.forgetting.items()
    }
    adaptation = forecast_of(grid.adaptation[good], settings, grid.numeric, grid.sampling[grid.downstream])
    return Model(grid, settings, Coding.of(settings, grid.numeric), forecasts, adaptation)


def decide(grid: Grid, question: Question) -> Decision | None:
    """The setting that the runs support most. None without a single arm that counts."""
    model = model_of(grid)
    return None if model is None else answer(model, question)


def answer(model: Model, question: Question) -> Decision:
    """The same from forecasts that are there."""
    points = at_points(model, candidates(model), question)
    allowed = points.known if not question.extrapolate else np.ones(len(points.known), dtype=bool)
    kept = allowed & (points.kept >= question.confidence)
    if not kept.any():
        at = _nearest(points, allowed, question)
        return Decision(question, Verdict(NONE, ()), model, points, at, np.zeros(len(kept), dtype=bool))
    score = np.where(kept, points.score, -np.inf)
    tied = np.flatnonzero(score >= score.max() - TIE)
    at = int(tied[np.lexsort((score[tied], points.kept[tied]))[-1]])
    outside = () if points.known[at] else ("the runs do not reach this setting",)
    verdict = Verdict(EXTRAPOLATED if outside else SUPPORTED, outside)
    return Decision(
        question, verdict, model, points, at, kept & (score >= score.max() - _apart(model, points, question, at))
    )


def candidates(model: Model) -> pd.DataFrame:
    """Settings to look at, those that were run among them: without a surface they alone."""
    settings = model.settings
    if model.refused:
        return settings
    coding = model.coding
    numbers = {name: coding.between(name, PER_KNOB.get(len(coding.levels), 0)) for name in coding.levels}
    kinds = settings[list(coding.categories)].drop_duplicates().to_dict("records") if coding.categories else [{}]
    product = list(itertools.product(*numbers.values()))
    if not numbers or len(product) * len(kinds) > MOST_POINTS:
        return settings
    rows = [{**dict(zip(numbers, one, strict=True)), **kind} for kind in kinds for one in product]
    return pd.DataFrame(rows)[list(settings)]


def at_points(model: Model, settings: pd.DataFrame, question: Question) -> Points:
    """What is said of settings: of those that the runs reach, or of all if it is asked for."""
    reached = _reached(model, settings)
    if not question.extrapolate:
        settings, reached = settings[reached].reset_index(drop=True), reached[reached]
    forgetting = {name: one.at(settings) for name, one in model.forgetting.items()}
    adaptation = model.adaptation.at(settings)
    outlooks = [*forgetting.values(), adaptation]
    sure = np.all([one.sd <= np.maximum(SURE * one.run_sd, SURE_NATS) for one in outlooks], axis=0)
    broken = [1 - forgetting[name].below(limit) for name, limit in question.limits.items()]
    of_mean = [1 - forgetting[name].below(limit, run=False) for name, limit in question.limits.items()]
    upstream = forgetting[model.grid.upstream].mean
    w, v = question.weights
    return Points(
        settings=settings,
        known=reached & (sure | near(settings, model.settings, model.coding)),
        kept=1 - np.minimum(sum(broken, np.zeros(len(settings))), 1),
        mean_kept=1 - np.minimum(sum(of_mean, np.zeros(len(settings))), 1),
        score=adaptation.mean if question.limits else v * adaptation.mean - w * upstream,
        forgetting=forgetting,
        adaptation=adaptation,
    )


def _reached(model: Model, settings: pd.DataFrame) -> Mask:
    """Which settings the runs reach, with those that failed among them."""
    failed = model.grid.settings[model.grid.failed]
    arms = pd.concat([model.settings, failed], ignore_index=True)
    bad = np.arange(len(arms)) >= len(model.settings)
    return known(settings, arms, bad, Coding.of(arms, model.grid.numeric))


def excess(points: Points, question: Question) -> Array:
    """By how many nats the limits would have to be wider for the next run to keep them with the confidence (n,)."""
    over = [points.forgetting[name].reached(question.confidence) - limit for name, limit in question.limits.items()]
    return np.max(over, axis=0) if over else np.zeros(len(points.kept))


def front(points: Points, upstream: str, most: int = 12) -> list[int]:
    """Known points at which no other one forgets less and adapts more, by rising forgetting; at most so many."""
    F, A = points.forgetting[upstream].mean, points.adaptation.mean
    order = [int(i) for i in np.lexsort((-A, F)) if points.known[i]]
    found, best = [], -np.inf
    for i in order:
        if A[i] > best + 1e-12:
            found.append(i)
            best = A[i]
    if len(found) <= most:
        return found
    sides = [np.ptp(side[found]) or 1.0 for side in (F, A)]
    steps = np.hypot(np.diff(F[found]) / sides[0], np.diff(A[found]) / sides[1])
    along = np.concatenate([[0.0], np.cumsum(steps)])
    places = [int(np.abs(along - value).argmin()) for value in np.linspace(0, along[-1], most)]
    return [found[place] for place in dict.fromkeys(places)]


def effects(decision: Decision) -> list[dict[str, Any]]:
    """What each knob is worth: F and A at the ends of what is known of it (of a category at each value), all others as
    recommended."""
    assert decision.at is not None
    points, upstream = decision.points, decision.points.forgetting[decision.model.grid.upstream].mean
    found: list[dict[str, Any]] = []
    for name in map(str, points.settings):
        line = np.flatnonzero(alike(points.settings, points.settings.iloc[decision.at], (name,)) & points.known)
        values = points.settings[name].iloc[line].to_numpy()
        if name in decision.model.grid.numeric and len(line):
            line = line[[values.argmin(), values.argmax()]]
        ends = [
            {"value": value, "forgetting": float(upstream[i]), "adaptation": float(points.adaptation.mean[i])}
            for i, value in zip(line, points.settings[name].iloc[line].tolist(), strict=True)
        ]
        found.append({"knob": name, "ends": ends if len(set(values)) > 1 else []})
    return found


def alike(settings: pd.DataFrame, own: pd.Series[Any], free: tuple[str, ...]) -> Mask:
    """Settings that differ from one in the `free` knobs at most."""
    found = np.ones(len(settings), dtype=bool)
    for name in map(str, settings):
        if name not in free:
            found &= (settings[name] == own[name]).to_numpy()
    return found


def _nearest(points: Points, allowed: Mask, question: Question) -> int | None:
    over = np.where(allowed, excess(points, question), np.inf)
    return int(over.argmin()) if np.isfinite(over).any() else None


def _apart(model: Model, points: Points, question: Question, at: int) -> Array:
    """By how much scores may differ from the best and be as good: one sd of the difference, or AS_GOOD."""
    one = points.settings.iloc[[at]]
    w, v = (0.0, 1.0) if question.limits else question.weights
    sds = [w * model.forgetting[model.grid.upstream].difference_sd(points.settings, one)] if w else []
    sds.append(v * model.adaptation.difference_sd(points.settings, one))
    return np.maximum(np.sqrt(sum(sd**2 for sd in sds)), AS_GOOD)
