"""When a contrast reproduces what a paper says, and when it contradicts it.

Between `analysis.measures.contrast` and `analysis.measures.evidence`. "The interval includes zero" is never evidence of
equality, and no verdict is reproduced that the other rules would have allowed to be.

    sign(contrast, -1)            # the 95 % interval lies below 0
    equal(contrast, delta)        # the 90 % interval lies within plus and minus delta (two one-sided tests)
    no_worse(contrast, delta)     # the one-sided 95 % bound lies below delta; a positive difference is worse
    combined([part, part])        # a claim of several parts, an order of arms: all of them (intersection-union)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from analysis.measures.contrast import (
    MOST_SEEDS,
    Contrast,
    Power,
    detectable,
    equivalence_power,
    no_worse_power,
    seeds_for,
    sign_power,
)

REPRODUCED, CONTRADICTED, INCONCLUSIVE, UNTESTABLE = "reproduced", "contradicted", "inconclusive", "not testable"
SURE, BOTH_SIDES = 0.95, 0.9  # levels of the intervals


@dataclass(frozen=True)
class Part:
    """One test of a claim."""

    contrast: Contrast
    verdict: str
    interval: tuple[float, float]
    """At `level`, two-sided."""
    level: float
    margin: float | None
    """delta, within which there is no difference; None: of a sign."""
    p: float
    """Of the test by which it would be reproduced."""
    power: Power

    @cached_property
    def could_tell(self) -> float:
        """Effect that so many seeds would have told with a probability of .8; NaN of fewer than two."""
        return detectable(self.power, self.contrast.n, self.contrast.sd)

    @cached_property
    def needed(self) -> int | None:
        """Seeds at which the same effect (of a sign), or no difference within `margin`, is told as surely; None:
        thousands, or not known."""
        effect = self.contrast.mean if self.margin is None else self.margin
        return seeds_for(self.power, effect, self.contrast.sd)

    @property
    def affordable(self) -> bool:
        """Whether the seeds needed are no more than a verdict is given; of other units, if they are known."""
        return self.needed is not None and (self.contrast.unit != "seeds" or self.needed <= MOST_SEEDS)

    @property
    def small(self) -> bool:
        """Whether a sign is of a difference that the order of the data alone makes as large."""
        return self.margin is None and abs(self.contrast.mean) < self.contrast.floor


def sign(contrast: Contrast, side: int) -> Part:
    """The difference lies on one side of zero: `side` 1 above, -1 below."""
    low, high = contrast.interval(SURE)
    above, below = low > 0, high < 0
    claimed, other = (above, below) if side > 0 else (below, above)
    p = contrast.p(0.0) / 2
    p = p if contrast.mean * side > 0 else 1 - p
    return _part(contrast, _verdict(claimed, other), (low, high), SURE, None, p, sign_power)


def equal(contrast: Contrast, delta: float) -> Part:
    """There is no difference above `delta`."""
    low, high = contrast.interval(BOTH_SIDES)
    wide = contrast.interval(SURE)
    p = max(_one_sided(contrast, delta, below=True), _one_sided(contrast, -delta, below=False))
    verdict = _verdict(-delta < low and high < delta, wide[0] > delta or wide[1] < -delta)
    return _part(contrast, verdict, (low, high), BOTH_SIDES, delta, p, equivalence_power)


def no_worse(contrast: Contrast, delta: float) -> Part:
    """The difference, of which more is worse, is below `delta`."""
    _, high = contrast.interval(BOTH_SIDES)  # its upper end is the one-sided bound at 95 %
    p = _one_sided(contrast, delta, below=True)
    verdict = _verdict(high < delta, contrast.interval(SURE)[0] > delta)
    interval = contrast.interval(BOTH_SIDES)
    return _part(contrast, verdict, interval, BOTH_SIDES, delta, p, no_worse_power)


def combined(parts: Sequence[Part]) -> str:
    """The verdict of a claim that all of its parts make."""
    verdicts = {part.verdict for part in parts}
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    return REPRODUCED if verdicts == {REPRODUCED} else INCONCLUSIVE


def deciding(parts: Sequence[Part]) -> Part:
    """The part that a verdict hangs on: of the worst verdict there is, the one with the largest p."""
    order = (CONTRADICTED, INCONCLUSIVE, REPRODUCED)
    return min(parts, key=lambda part: (order.index(part.verdict), -part.p))


def _verdict(claimed: bool, other: bool) -> str:
    return REPRODUCED if claimed else CONTRADICTED if other else INCONCLUSIVE


def _one_sided(contrast: Contrast, bound: float, *, below: bool) -> float:
    """p of the test that the difference lies below a bound, or above it."""
    half = contrast.p(bound) / 2
    return half if (contrast.mean < bound) == below else 1 - half


def _part(
    contrast: Contrast,
    verdict: str,
    interval: tuple[float, float],
    level: float,
    margin: float | None,
    p: float,
    power: Power,
) -> Part:
    return Part(contrast, verdict if contrast.n > 1 else INCONCLUSIVE, interval, level, margin, p, power)
