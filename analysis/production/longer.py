"""A production run longer than the runs: what peak it wants, what limit it leaves, and what is lost if that is wrong.

Above `analysis.production.lengths`; `analysis.commands.decide --for-tokens` calls it.

    found, longer = longer_run(grids, question, tokens=20e9, curves=table)
    longer.why, longer.document()

The best learning rate falls with the tokens as D^a: a of runs of several lengths if there are any, else that of
2409.19913, of pre-training from scratch. Forgetting at one setting grows with ln D as runs of several lengths say; the
limit is tightened by as much, and by its standard error times the quantile of the confidence. Without such runs it is
left, and the page says so. All of it is extrapolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers.answer import EXTRAPOLATED
from analysis.decide.arms import Grid
from analysis.decide.decision import Decision, Question, at_points, decide
from analysis.production.lengths import (
    Drift,
    Exponent,
    drift_of_curves,
    drift_of_lengths,
    exponent_of,
    names_of,
    rate_of,
)
from harness.core.units import count

EXPONENT = -0.32  # of the best learning rate in tokens
SOURCE = "2409.19913, of pre-training from scratch; not measured here"
SAME = 1.05  # up to this factor it is no other length


@dataclass(frozen=True)
class Longer:
    """What is said of a longer run."""

    tokens: float
    run_tokens: float
    """Of the runs that are decided on."""
    rate: str
    """peak or lr."""
    exponent: Exponent | None
    """Measured; None: that of the paper."""
    drift: Drift | None
    left: float | None
    """The rate that the decision recommends; None without one."""
    moved: float | None
    """The same times (tokens / run_tokens)^a."""
    risks: dict[str, dict[str, Any]]
    """too_high: it is left, and should move; too_low: it is moved, and should not. Changes in nats against what the
    best rate would have, by the surfaces of the runs; `known`: whether the runs reach where they are read."""

    @property
    def factor(self) -> float:
        """Of tokens."""
        return self.tokens / self.run_tokens

    @property
    def a(self) -> float:
        """The exponent that is applied."""
        return EXPONENT if self.exponent is None else self.exponent.value

    @property
    def source(self) -> str:
        """Where the exponent is from."""
        if self.exponent is None:
            return f"D^{self.a:g} ({SOURCE})"
        one = self.exponent
        return f"D^{one.value:.2f} (90% from {one.low:.2f} to {one.high:.2f}, of runs of {one.lengths} lengths)"

    @property
    def why(self) -> str:
        """For the first line."""
        factor = f"{self.factor:,.0f}" if self.factor >= 100 else f"{self.factor:.3g}"
        text = f"{count(self.tokens)} tokens are {factor} times the {count(self.run_tokens)} of the runs"
        if self.left is not None and self.moved is not None:
            text += f"; {self.rate} {self.left:.3g} becomes {self.moved:.3g} by {self.source}"
        return text + (
            "; the limit is tightened by what forgetting grows between runs of several lengths"
            if self.drift is not None and not self.drift.of_curves
            else "; all else stays, for no ends of several lengths say how forgetting moves with tokens"
        )

    def document(self) -> dict[str, Any]:
        """As part of the JSON document `decide`."""
        drift = self.drift
        return {
            "tokens": self.tokens,
            "run_tokens": self.run_tokens,
            "rate": self.rate,
            "exponent": self.a,
            "exponent_interval": None if self.exponent is None else [self.exponent.low, self.exponent.high],
            "source": self.source,
            "left": self.left,
            "moved": self.moved,
            "risks": self.risks,
            "drift": None
            if drift is None
            else {
                "per_doubling": {name: float(np.log(2) * mean) for name, mean in drift.means.items()},
                "of_curves": drift.of_curves,
                "number": drift.number,
            },
        }


def longer_run(
    grids: Sequence[Grid], question: Question, tokens: float, curves: pd.DataFrame
) -> tuple[Decision | None, Longer | None]:
    """The decision of the longest runs with the limits that a run of `tokens` leaves them, and what is said of such a
    run; None where it is no longer or shorter than they are. `grids`: by length, the longest last."""
    grid = grids[-1]
    run_tokens = names_of([grid])[0]
    factor = tokens / run_tokens
    if 1 / SAME <= factor <= SAME:
        return decide(grid, question), None
    drift = drift_of_lengths(grids) or drift_of_curves(curves, grid)
    found = decide(grid, tightened(question, drift, factor))
    if found is None:
        return None, None
    decisions = [one for each in grids[:-1] if (one := decide(each, question)) is not None]
    exponent = exponent_of([*decisions, found])
    rate = rate_of(grid)
    left, moved, risks = _left(found, rate), None, {}
    if left is not None:
        shift = factor ** (EXPONENT if exponent is None else exponent.value)
        moved = left * shift
        risks = _risks(found, rate, {"too_high": left / shift, "too_low": moved})
    return found, Longer(tokens, run_tokens, rate, exponent, drift, left, moved, risks)


def tightened(question: Question, drift: Drift | None, factor: float) -> Question:
    """Limits less what forgetting grows by, where runs of several lengths say so; none is widened."""
    from scipy.special import ndtri

    if drift is None or drift.of_curves:
        return question
    fold = float(np.log(factor))
    sure = float(ndtri(question.confidence))
    limits = {
        name: limit - max(drift.means[name] * fold + sure * np.nan_to_num(drift.errors[name]) * abs(fold), 0.0)
        if name in drift.means
        else limit
        for name, limit in question.limits.items()
    }
    return replace(question, limits=limits)


def _left(found: Decision, rate: str) -> float | None:
    """The rate of the recommendation; None without one."""
    if not found.answered or found.at is None:
        return None
    settings = found.points.settings
    value = settings[rate].iloc[found.at] if rate in settings else found.model.grid.common.get(rate)
    return None if value is None or pd.isna(value) else float(value)


def _risks(found: Decision, rate: str, at: dict[str, float]) -> dict[str, dict[str, Any]]:
    """What the surfaces say at other rates, the rest as recommended, less what they say there."""
    assert found.at is not None
    model = found.model
    if rate not in model.coding.levels:
        return {name: {"at": value, "known": False, "ends": None} for name, value in at.items()}
    one = found.points.settings.iloc[[found.at]]
    rows = pd.concat([one, *(one.assign(**{rate: value}) for value in at.values())], ignore_index=True)
    points = at_points(model, rows, replace(found.question, extrapolate=True))
    forgetting, adaptation = points.forgetting[model.grid.upstream].mean, points.adaptation.mean
    levels = model.coding.levels[rate]
    return {
        name: {
            "at": value,
            "known": bool(points.known[k]),
            "ends": [float(levels[0]), float(levels[-1])],
            "forgetting": float(forgetting[k] - forgetting[0]) if points.known[k] else None,
            "adaptation": float(adaptation[k] - adaptation[0]) if points.known[k] else None,
        }
        for k, (name, value) in enumerate(at.items(), start=1)
    }


def with_longer(told: dict[str, Any], longer: Longer, question: Question) -> dict[str, Any]:
    """The document of a decision with what is said of a longer run, whose limits are those of the question."""
    limits = {name: {"nats": limit, "share": limit / told["base"][name]} for name, limit in question.limits.items()}
    answered = told["recommended"] is not None
    return {
        **told,
        "verdict": EXTRAPOLATED if answered else told["verdict"],
        "why": [longer.why, *told["why"]],
        "question": {**told["question"], "limits": limits},
        "extrapolated": {**told["extrapolated"], "tokens": longer.factor},
        "for_tokens": longer.document(),
    }
