"""2308.04014, *How to (re)warm your model?*: what its claims R1 to R9 look at.

Between `analysis.measures.evidence` and `analysis.claims.claims`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from analysis.formulas.formula import Array
from analysis.measures.arms import DECAYING, W1, MissingError, arm, scratch, strength, w1_but
from analysis.measures.contrast import Bootstrapped
from analysis.measures.differences import FORGETTING, change, difference
from analysis.measures.evidence import (
    Evidence,
    Test,
    at,
    constant,
    deltas,
    ladder,
    long,
    over_shifts,
    peaks,
    spiked,
)
from analysis.measures.rules import equal, no_worse, sign

LINEAR = 0.95  # least R2 of two perplexities that move together
POINTS = 5  # evaluations of a run that a slope or R2 takes


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
        runs = long(part.ends)
        arms = peaks(runs, (0.5, 1.0, 2.0))
        worst = max((own for _, own in arms), key=lambda own: float(own.V.mean()))
        fresh = arm(scratch(runs), "training from scratch")
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


def scratch_lowers_upstream(evidence: Evidence) -> list[Test]:
    """R6."""

    def one(part: Evidence) -> list[Test]:
        if strength(part.ends) != "weak":
            raise MissingError("no weak shift")
        runs = arm(scratch(part.ends), "training from scratch")
        slopes = []
        for run in runs.run:
            h, losses = _after(part, run, "upstream", 0.5)
            slopes.append(np.polyfit(np.log(h), losses, 1)[0])
        name = "slope of U on log D, h above .5"
        return [Test(change(name, runs.assign(slope=slopes), {"slope": 1.0}), partial(sign, side=-1))]

    return over_shifts(evidence, one)


def same_data_hurts(evidence: Evidence) -> list[Test]:
    """R7."""

    def one(part: Evidence) -> list[Test]:
        arms = peaks(part.ends, (0.5, 1.0, 2.0), same_data=True)
        lasting = change("U of w1 at the end less its base's", dict(arms)["1x"], FORGETTING)
        return [
            *ladder("U", [constant(part.ends, same_data=True), *arms], "U", True),
            Test(lasting, partial(sign, side=1)),
        ]

    return over_shifts(evidence, one, same_data=True)


def perplexities_move_together(evidence: Evidence) -> list[Test]:
    """R8: R2 of one run's evaluations, its mean over seeds, whose interval is a bootstrap over them."""

    def one(part: Evidence) -> list[Test]:
        tests = []
        for peak, runs in peaks(part.ends, (0.5, 1.0, 2.0), same_data=True):
            explained = []
            for run, warmup in zip(runs.run, runs.warmup_tokens / runs.run_tokens, strict=True):
                further = sorted(
                    role for own, role in part.curves if own == run and role not in ("upstream", "downstream")
                )
                if not further:
                    raise MissingError("no second corpus is measured")
                (h, U), (others, loss) = (_after(part, run, role, float(warmup)) for role in ("upstream", further[0]))
                if not np.array_equal(h, others):
                    raise MissingError(f"{further[0]} is measured elsewhere than upstream")
                explained.append(float(np.corrcoef(np.exp(U), np.exp(loss))[0, 1] ** 2))
            linear = change(f"R2 of the perplexities, {peak}, less {LINEAR}", runs.assign(R2=explained), {"R2": 1.0})
            contrast = Bootstrapped(linear.name, linear.values - LINEAR, seeds=linear.seeds)
            tests.append(Test(contrast, partial(sign, side=1)))
        return tests

    return over_shifts(evidence, one, same_data=True)


def _after(part: Evidence, run: str, role: str, h: float) -> tuple[Array, Array]:
    """The evaluations of a run after h of it: their shares, and losses. Raises MissingError for fewer than POINTS."""
    shares, losses = part.curves.get((run, role), (np.empty(0), np.empty(0)))
    there = (shares > h) & (shares > 0)
    if there.sum() < POINTS:
        raise MissingError(f"{there.sum()} evaluations after h = {h:.2g}, and it takes {POINTS}")
    return shares[there], losses[there]


def later_base_adapts_no_worse(evidence: Evidence) -> list[Test]:
    """R9."""

    def one(part: Evidence) -> list[Test]:
        _, delta = deltas(part.ends)
        knobs = (part.ends.start != "scratch") & np.isclose(part.ends.warmup.astype(float), W1["warmup"])
        runs = part.ends[knobs & np.isclose(part.ends.peak.astype(float), 1) & (part.ends.replay == 0)]
        runs = runs[runs.schedule.isin(DECAYING)]
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
