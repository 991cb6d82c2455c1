"""2308.04014, *How to (re)warm your model?*: what its claims R1 to R9 look at.

Between `analysis.measures.evidence` and `analysis.claims.claims`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from analysis.measures.arms import W1, scratch, w1_but
from analysis.measures.evidence import (
    NEAR,
    Evidence,
    MissingError,
    Test,
    arm,
    at,
    change,
    constant,
    deltas,
    difference,
    ladder,
    over_shifts,
    peaks,
    spiked,
)
from analysis.measures.rules import equal, no_worse, sign


def warmup_leaves_no_mark(evidence: Evidence) -> list[Test]:
    """R1."""

    def one(part: Evidence) -> list[Test]:
        ends, tests = part.ends, []
        own = arm(w1_but(ends), "w1")
        margins = dict(zip("UV", deltas(ends), strict=True))
        for share in (0.0, 0.005, 0.02):
            other = arm(w1_but(ends, warmup=share), f"warm-up {share:.1%}")
            for letter, role in (("U", "upstream"), ("V", "downstream")):
                rule = partial(equal, delta=margins[letter])
                tests.append(Test(difference(f"{letter} of {share:.1%} to 1 %, end", other, own, letter), rule))
                early, then = (at(part, runs, 0.17, role) for runs in (other, own))
                tests.append(Test(difference(f"{letter} of {share:.1%} to 1 %, h .17", early, then, "there"), rule))
        return tests

    return over_shifts(evidence, one)


def no_warmup_spikes(evidence: Evidence) -> list[Test]:
    """R2."""

    def one(part: Evidence) -> list[Test]:
        none, long = (
            spiked(part, arm(w1_but(part.ends, warmup=share), f"warm-up {share:.0%}")) for share in (0.0, 0.02)
        )
        return [Test(difference("largest U, h up to .02", none, long, "spike"), partial(sign, side=1))]

    return over_shifts(evidence, one)


def peak_orders_losses(evidence: Evidence) -> list[Test]:
    """R3."""

    def one(part: Evidence) -> list[Test]:
        arms = peaks(part.ends, (0.5, 1.0, 2.0))
        return [*ladder("V", arms, "V", False), *ladder("U", [constant(part.ends), *arms], "U", True)]

    return over_shifts(evidence, one)


def rewarmed_beats_scratch(evidence: Evidence) -> list[Test]:
    """R4."""

    def one(part: Evidence) -> list[Test]:
        base_tokens = float(part.ends.base_tokens.max())
        long = part.ends[part.ends.run_tokens >= (1 - NEAR) * base_tokens]
        if long.empty:
            raise MissingError(f"no run of as many tokens as its base ({base_tokens:.3g})")
        arms = peaks(long, (0.5, 1.0, 2.0))
        worst = max((runs for _, runs in arms), key=lambda runs: float(runs.V.mean()))
        fresh = arm(scratch(long), "training from scratch")
        return [Test(difference("V of scratch less the worst re-warmed", fresh, worst, "V"), partial(sign, side=1))]

    return over_shifts(evidence, one)


def constant_is_overtaken(evidence: Evidence) -> list[Test]:
    """R5."""

    def one(part: Evidence) -> list[Test]:
        w1, (_, other) = arm(w1_but(part.ends), "w1"), constant(part.ends)
        early, then = (at(part, runs, 0.02, "downstream") for runs in (other, w1))
        return [
            Test(difference("V of constant less w1, h .02", early, then, "there"), partial(sign, side=-1)),
            Test(difference("V of constant less w1, end", other, w1, "V"), partial(sign, side=1)),
        ]

    return over_shifts(evidence, one)


def same_data_hurts(evidence: Evidence) -> list[Test]:
    """R7."""

    def one(part: Evidence) -> list[Test]:
        arms = peaks(part.ends, (0.5, 1.0, 2.0), same_data=True)
        lasting = change("U of w1 at the end less its base's", dict(arms)["1x"], "U", "U_base")
        return [
            *ladder("U", [constant(part.ends, same_data=True), *arms], "U", True),
            Test(lasting, partial(sign, side=1)),
        ]

    return over_shifts(evidence, one, same_data=True)


def later_base_adapts_no_worse(evidence: Evidence) -> list[Test]:
    """R9."""

    def one(part: Evidence) -> list[Test]:
        _, delta = deltas(part.ends)
        knobs = (part.ends.start != "scratch") & np.isclose(part.ends.warmup.astype(float), W1["warmup"])
        runs = part.ends[knobs & np.isclose(part.ends.peak.astype(float), 1) & (part.ends.replay == 0)]
        runs = runs[runs.schedule.isin(("cosine", "cosine_clipped"))]
        last = arm(runs[runs["at"] == 1], "the last base")
        return [
            Test(
                difference(
                    f"V from the last base less from {share:g}",
                    last,
                    arm(runs[runs["at"] == share], f"base {share:g}"),
                    "V",
                ),
                partial(no_worse, delta=delta),
            )
            for share in (0.19, 0.07)
        ]

    return over_shifts(evidence, one)
