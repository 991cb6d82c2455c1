"""What a question about fits comes to, and whether the data support it: the verdict stands before the number.

Beneath the questions of `analysis.answers`, which end in `answer_of`.

    answer.values["r"], answer.interval["r"], answer.status
    answer.verdict().supported, answer.verdict().line
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.fitting.fit import LEVEL, Fit
from analysis.formulas.formula import Array
from analysis.results.checks import PERPLEXITY
from harness.core.errors import InputError
from harness.core.units import percent

FARTHEST = 4.0  # how far outside of the data, as a factor, a law is believed, and a run proposed
MOST_WITHOUT = 0.5  # of the draws may have no answer
CLOSE = 1.1  # up to this factor outside, it is told in percent
SPREAD = 100.0  # an interval of an amount over more than this factor names none
# Of what is asked about: least, most, and why. A law's data end long before; what lies outside of these is a slip.
LIMITS = {
    "N": (1e4, 1e14, "no language model has so {} parameters", "parameters, billions as 0.5B"),
    "D": (1e3, 1e18, "no run has so {} tokens", "tokens, billions as 0.5B"),
    "flops": (6e7, 6e32, "no training run has so {} FLOPs (6 N D)", "FLOPs, such as 1e21"),
}
ALSO = {"tokens": "D", "for_tokens": "D", "domain_tokens": "D", "most-tokens": "D", "budget": "flops"}  # limited as
WITHOUT = ("infeasible", "contradicted")  # an answer
SUPPORTED, EXTRAPOLATED, UNSUPPORTED, NONE = "supported", "extrapolated", "not supported", "no answer"


@dataclass(frozen=True)
class Verdict:
    """Whether the data support an answer."""

    kind: str
    """supported, extrapolated (outside of the data, but not far), not supported, or no answer."""
    why: tuple[str, ...]
    """What speaks against it."""

    @property
    def supported(self) -> bool:
        """Whether it may be built on: a command that says otherwise ends with status 1."""
        return self.kind in (SUPPORTED, EXTRAPOLATED)

    @property
    def line(self) -> str:
        """For a terminal; empty if nothing speaks against the answer."""
        return "" if self.kind == SUPPORTED else f"{self.kind.upper()}: {'; '.join(self.why)}"

    def document(self) -> dict[str, Any]:
        """What stands first in a JSON document."""
        return {"verdict": self.kind, "supported": self.supported, "why": list(self.why)}


class UnsupportedError(InputError):
    """The question is a good one, but the data have no answer to build on: status 1, where a wrong question has 2."""

    def __init__(self, field: str, value: object, why: str, remedy: str, kind: str = UNSUPPORTED) -> None:
        super().__init__(field, value, why, remedy)
        self.verdict = Verdict(kind, (str(self),))


@dataclass(frozen=True)
class Answer:
    """What a question about fits comes to. Losses in nats per token."""

    usage: str
    """Which question."""
    values: dict[str, float]
    """What to choose; NaN if infeasible."""
    interval: dict[str, tuple[float, float]] | None
    """At LEVEL, over the draws that have an answer; None without draws, and where the estimate has no answer."""
    status: str
    """interior, on_bound (at an end of what can be chosen), on_limit (a tolerance or a cap keeps it from the optimum),
    infeasible, contradicted (the measured runs say otherwise: there is no answer)."""
    loss: dict[str, float]
    """Predicted there, by corpus."""
    limit: float | None
    """The general loss admitted."""
    extrapolated: dict[str, float]
    """Variable -> the factor by which the answer lies outside a fit's data."""
    paired: bool | None
    """Whether the draws of the fits saw the same runs; None if there is nothing to pair."""
    share_infeasible: float | None
    """Of the draws; where it is not small, the interval is no certainty."""
    doubts: tuple[str, ...] = ()
    """Why the data do not support it, its distance from them aside; if it is infeasible, why there is none."""

    def verdict(self, within: float = FARTHEST) -> Verdict:
        """Whether the data support it. `within`: the factor up to which an answer outside of the data is believed."""
        if self.status in WITHOUT:
            return Verdict(NONE, self.doubts or ("nothing satisfies the limit",))
        return verdict_of(self.doubts, self.extrapolated, within)

    def document(self, within: float = FARTHEST) -> dict[str, Any]:
        """The body of a JSON document, its verdict first; numbers that are not finite become null."""
        return {
            **self.verdict(within).document(),
            "usage": self.usage,
            "r": _finite(self.values.get("r")),
            "values": {name: _finite(value) for name, value in self.values.items()},
            "interval": self.interval and {name: list(ends) for name, ends in self.interval.items()},
            "status": self.status,
            "loss": {name: _finite(value) for name, value in self.loss.items()},
            "limit": self.limit,
            "extrapolated": self.extrapolated,
            "paired": self.paired,
            "share_infeasible": self.share_infeasible,
        }


def answer_of(
    usage: str,
    values: Mapping[str, Array],
    *,
    fits: Mapping[str, Fit],
    status: str,
    loss: Mapping[str, Array],
    extrapolated: Mapping[str, float],
    choice: Mapping[str, tuple[float, float]] | None = None,
    limit: float | None = None,
    paired: bool | None = None,
    doubts: Sequence[str] = (),
    against: Sequence[str] = (),
) -> Answer:
    """The Answer from `values` (K,), of the estimate and then of the draws, and from losses (K, 1) at the former.

    `fits`: what it rests on, by role. `choice`: lowest and highest of the values that are shares. `doubts`: those that
    the question itself has; more are found here. `against`: what the measured runs say otherwise (`answers.measured`):
    then there is no answer, whatever the laws say.
    """
    if against and status != "infeasible":
        status, doubts = "contradicted", against
        values, loss = ({name: np.full_like(column, np.nan) for name, column in one.items()} for one in (values, loss))
    drawn = np.stack([column[1:] for column in values.values()])
    lacking = np.isnan(drawn).any(axis=0)
    without = float(lacking.mean()) if lacking.size else None
    interval = None
    if not lacking.all() and status not in WITHOUT:
        low, high = band(drawn[:, ~lacking].T)
        interval = {name: (float(a), float(b)) for name, a, b in zip(values, low, high, strict=True)}
    found = [*doubts]
    if status not in WITHOUT:
        found += doubts_of(fits)
        found += [f"the laws have no {name} loss there" for name, at in loss.items() if not np.isfinite(at[0, 0])]
        if without is not None and without > MOST_WITHOUT:
            found.append(f"{without:.0%} of the draws have no answer")
        found += _of_interval(interval or {}, choice or {})
    return Answer(
        usage=usage,
        values={name: float(column[0]) for name, column in values.items()},
        interval=interval,
        status=status,
        loss={name: float(found[0, 0]) for name, found in loss.items()},
        limit=limit,
        extrapolated=dict(extrapolated),
        paired=paired,
        share_infeasible=without,
        doubts=tuple(found),
    )


def verdict_of(doubts: Sequence[str], extrapolated: Mapping[str, float], within: float) -> Verdict:
    """The verdict on an answer with these `doubts`, that lies outside of the data by these factors."""
    outside = tuple(f"{name} lies outside the fitted range by {_far(factor)}" for name, factor in extrapolated.items())
    if doubts or not all(factor <= within for factor in extrapolated.values()):
        return Verdict(UNSUPPORTED, (*doubts, *outside))
    return Verdict(EXTRAPOLATED, outside) if outside else Verdict(SUPPORTED, ())


def _far(factor: float) -> str:
    """How far outside: near one a factor is rounded to none."""
    return f"a factor of {factor:.3g}" if factor >= CLOSE else percent(factor - 1)


def doubts_of(fits: Mapping[str, Fit]) -> list[str]:
    """Why fits support nothing."""
    found = []
    for name, fit in fits.items():
        if not fit.converged:
            found.append(f"the fit of {name} has not converged")
        if fit.r2 is not None and fit.r2 < 0:
            found.append(f"the fit of {name} is worse than the mean of its data (R² {fit.r2:.3g})")
        if fit.draws is not None and fit.draws.failed > MOST_WITHOUT * len(fit.draws.parameters):
            found.append(f"{fit.draws.failed} of {len(fit.draws.parameters)} resamples of {name} have no fit")
    return found


def _of_interval(interval: Mapping[str, tuple[float, float]], choice: Mapping[str, tuple[float, float]]) -> list[str]:
    """Intervals that hold nearly everything there is to choose from."""
    found = []
    for name, (low, high) in interval.items():
        if name in choice:
            least, most = choice[name]
            if most > least and high - low >= LEVEL * (most - least):
                found.append(f"the interval of {name}, {low:.3g} to {high:.3g}, holds nearly all that can be chosen")
        elif low > 0 and high > SPREAD * low:
            found.append(f"the interval of {name}, {low:.3g} to {high:.3g}, spans a factor of {high / low:.3g}")
    return found


def limit_of(base_loss: float, tolerance: float) -> float:
    """(1 + T) L_g0. Raises InputError."""
    check_loss(base_loss)
    if not -1 < tolerance < 1:
        percent = 1 <= tolerance < 100
        why = "is no share of the base loss" + ("; it looks like percent" if percent else "")
        raise InputError(
            "tolerance",
            tolerance,
            why,
            f"write {tolerance:g} % as {tolerance / 100:g}" if percent else "write 3 % as 0.03",
        )
    return float((1 + tolerance) * base_loss)


def check_loss(base_loss: float) -> None:
    """InputError unless it is a loss in nats per token."""
    check_amounts(base_loss=base_loss)
    if base_loss > PERPLEXITY:
        why = f"is above {PERPLEXITY:g} nats per token, which no language model has; it looks like perplexity"
        raise InputError(
            "base-loss", base_loss, why, f"give nats per token, such as log({base_loss:g}) = {math.log(base_loss):.4g}"
        )


def check_share(name: str, value: float) -> None:
    """InputError unless it is in [0, 1]."""
    if not 0 <= value <= 1:
        percent = 1 < value <= 100
        why = "is no share" + ("; it looks like percent" if percent else "")
        raise InputError(name, value, why, f"write {value:g} % as {value / 100:g}" if percent else "give one in [0, 1]")


def check_amounts(**amounts: float) -> None:
    """InputError unless all are positive and finite, and inside the limits of those that have them."""
    for name, value in amounts.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(name, value, "is not a positive finite number", "give one")
        least, most, why, remedy = LIMITS.get(ALSO.get(name, name), (0.0, math.inf, "", ""))
        if not least <= value <= most:
            few = value < least
            told = f"{why.format('few' if few else 'many')} ({'below' if few else 'above'} {least if few else most:g})"
            raise InputError(name.replace("_", "-"), value, told, f"give it in {remedy}")


def band(drawn: Array) -> Array:
    """The interval at LEVEL over the first axis, (2, ...); NaN without draws."""
    if not len(drawn):
        return np.full((2, *drawn.shape[1:]), np.nan)
    return np.asarray(np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
