"""2403.08763, *Simple and Scalable Strategies to Continually Pre-train LLMs*: what S1 to S5 and S8 look at, and X1.

Between `analysis.measures.evidence` and `analysis.claims.scalable`; schedules, sizes and sources are
`analysis.measures.strategies`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from analysis.measures.arms import (
    CHOSEN,
    W1,
    MissingError,
    arm,
    baseline,
    by_seed,
    rewarmed,
    scratch,
    strength,
    union,
    w1_but,
)
from analysis.measures.contrast import share_removed
from analysis.measures.differences import BOTH, FORGETTING, combination, difference
from analysis.measures.evidence import (
    LEAST,
    OF_ADAPTATION,
    SETTING,
    Evidence,
    Test,
    constant,
    deltas,
    gathered,
    ladder,
    long,
    over_shifts,
    peaks,
    spiked,
)
from analysis.measures.rules import no_worse, sign

SHARE_LEVEL = 0.9
STRONGER, LARGER = "a strong shift less a weak one", "a shift less the same data"
PRINTED = "the paper, 405M, from its printed losses: weak shift 1 % .67, 5 % .78; strong shift 1 % .53, 25 % .88"


def redecay_is_needed(evidence: Evidence) -> list[Test]:
    """S1."""

    def one(part: Evidence) -> list[Test]:
        w1 = arm(w1_but(part.ends), "w1")
        flat = arm(baseline(part.ends, "warmup_constant"), "no decay")
        others = [("no decay", flat), constant(part.ends)]
        return [
            Test(difference(f"V of w1 less {name}", w1, runs, "V"), partial(sign, side=-1)) for name, runs in others
        ]

    return over_shifts(evidence, one)


def replay_reduces_forgetting(evidence: Evidence) -> list[Test]:
    """S2."""

    def one(part: Evidence) -> list[Test]:
        runs = rewarmed(part.ends, warmup=W1["warmup"], peak=1.0)
        shares = sorted(runs.replay.astype(float).unique())
        if len(shares) < 3:
            raise MissingError("fewer than three shares of replay")
        arms = [(f"{share:.1%}", runs[np.isclose(runs.replay.astype(float), share)]) for share in shares]
        return list(ladder("U", arms, "U", False))

    def stronger(of: pd.DataFrame) -> list[Test]:
        pairs = of[of.upstream != of.downstream].groupby("downstream", sort=True)
        forgets = {str(name): w1_but(ends) for name, ends in pairs}
        weak, strong = (
            {name: runs for name, runs in forgets.items() if len(runs) and strength(runs) == which}
            for which in ("weak", "strong")
        )
        if not (weak and strong):
            raise MissingError(f"{of.upstream.iloc[0]}: no weak and strong shift of one base")
        return [
            Test(
                difference(f"F to {hard} less to {soft}", strong[hard], weak[soft], FORGETTING),
                partial(sign, side=1),
                f"{of.upstream.iloc[0]} to {hard}",
                STRONGER,
            )
            for hard in strong
            for soft in weak
        ]

    return gathered(lambda: over_shifts(evidence, one), lambda: _of_one_base(evidence, stronger))


def _of_one_base(evidence: Evidence, measure: Callable[[pd.DataFrame], list[Test]]) -> list[Test]:
    """The tests of runs onto several corpora, of one upstream corpus and what else runs share that are compared."""
    return gathered(*(partial(measure, ends) for _, ends in evidence.ends.groupby(["upstream", *SETTING], sort=True)))


def shares_removed(evidence: Evidence) -> list[str]:
    """The share of forgetting that each replay removes, 1 - F(x)/F(0), with its interval."""
    found = []
    for _, ends in evidence.ends[evidence.ends.upstream != evidence.ends.downstream].groupby(
        ["upstream", "downstream"]
    ):
        forgets = ends.assign(forgets=ends.U - ends.U_base)
        none = by_seed(w1_but(forgets), "forgets")
        for share in sorted(rewarmed(forgets, warmup=0.01, peak=1.0).replay.astype(float).unique()):
            some = by_seed(w1_but(forgets, replay=share), "forgets")
            seeds = none.index.intersection(some.index)
            if share == 0 or len(seeds) == 0:
                continue
            value, interval = share_removed(some[seeds].to_numpy(), none[seeds].to_numpy(), SHARE_LEVEL)
            told = "no interval" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
            found.append(f"{evidence.of(ends).name}: {share:.1%} replay removes {value:.2f} of the forgetting ({told})")
    return [*found, PRINTED] if found else []


def replay_costs_little(evidence: Evidence) -> list[Test]:
    """S3."""

    def one(part: Evidence) -> list[Test]:
        _, delta = deltas(part.ends)
        share, margin = _chosen(part), {"weak": delta, "strong": 3 * delta}[strength(part.ends)]
        with_replay = arm(w1_but(part.ends, replay=share), f"replay {share:.0%}")
        contrast = difference(f"V of {share:.0%} replay less none", with_replay, arm(w1_but(part.ends), "w1"), "V")
        return [Test(contrast, partial(no_worse, delta=margin))]

    return over_shifts(evidence, one)


def _chosen(part: Evidence) -> float:
    """The replay that the paper chooses for a shift."""
    if strength(part.ends) not in CHOSEN:
        raise MissingError("nobody has said whether its shift is weak or strong")
    return CHOSEN[strength(part.ends)]


def matches_union(evidence: Evidence) -> list[Test]:
    """S4."""

    def one(part: Evidence) -> list[Test]:
        runs, share = long(part.ends), _chosen(part)
        w1 = arm(w1_but(runs), "w1 as long as its base")
        margin = max(LEAST, OF_ADAPTATION * float((w1.V_base - w1.V).mean()))
        own = arm(w1_but(runs, replay=share), f"replay {share:.0%} as long as its base")
        base, trained = float(own.base_tokens.max()), float(own.run_tokens.max())
        both = arm(union(part.ends, base + trained, base / (base + trained)), "the union, for the tokens of both")
        contrast = difference(f"mean of U and V, {share:.0%} replay less union", own, both, BOTH)
        return [Test(contrast, partial(no_worse, delta=margin))]

    return over_shifts(evidence, one, by=("model", "rate"))


def beats_scratch(evidence: Evidence) -> list[Test]:
    """S5."""

    def one(part: Evidence) -> list[Test]:
        ends, share = long(part.ends), _chosen(part)
        fresh = arm(scratch(ends), "training from scratch")
        runs = arm(w1_but(ends, replay=share), f"replay {share:.0%}")
        return [
            Test(
                difference(f"{letter} of {share:.0%} replay less scratch", runs, fresh, letter), partial(sign, side=-1)
            )
            for letter in "UV"
        ]

    return over_shifts(evidence, one)


def spike_grows(evidence: Evidence) -> list[Test]:
    """S8."""

    def rising(ends: pd.DataFrame, peak: float, same_data: bool) -> pd.DataFrame:
        high = spiked(evidence, peaks(ends, (peak,), same_data)[0][1], until=1.0)
        return high.assign(rise=high.spike - high.U_base)

    def one(part: Evidence, same_data: bool) -> list[Test]:
        arms = [(f"{peak:g}x", rising(part.ends, peak, same_data)) for peak in (0.5, 1.0, 2.0)]
        tests = ladder("spike", arms, "rise", True)
        return [Test(test.contrast, test.rule, part="the same data" if same_data else "a shift") for test in tests]

    def larger(of: pd.DataFrame) -> list[Test]:
        def one(ends: pd.DataFrame, peak: float) -> list[Test]:
            name = f"spike at {peak:g}x less on the same data"
            contrast = difference(name, rising(ends, peak, False), rising(of, peak, True), "rise")
            return [Test(contrast, partial(sign, side=1), evidence.of(ends).name, LARGER)]

        shifts = of[of.upstream != of.downstream].groupby("downstream", sort=True)
        return gathered(*(partial(one, ends, peak) for _, ends in shifts for peak in (1.0, 2.0)))

    return gathered(
        lambda: over_shifts(evidence, partial(one, same_data=False)),
        lambda: over_shifts(evidence, partial(one, same_data=True), same_data=True),
        lambda: _of_one_base(evidence, larger),
    )


def peak_and_replay_interact(evidence: Evidence) -> list[Test]:
    """X1; two-sided: `sign` of whichever side the mean is on, at its own 95 %."""

    def one(part: Evidence) -> list[Test]:
        arms = [
            (
                weight,
                arm(w1_but(part.ends, peak=peak, replay=share), f"peak {peak:g}x with replay {share:.0%}"),
                {"U": 1.0},
            )
            for weight, peak, share in ((1.0, 2.0, 0.05), (-1.0, 1.0, 0.05), (-1.0, 2.0, 0.0), (1.0, 1.0, 0.0))
        ]
        contrast = combination("F(2x) - F(1x) at 5 % less at 0 %", arms)
        return [Test(contrast, partial(sign, side=1 if contrast.mean > 0 else -1))]

    return over_shifts(evidence, one)
