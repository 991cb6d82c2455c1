"""2403.08763, *Simple and Scalable Strategies to Continually Pre-train LLMs*: what S1 to S11 look at, and X1.

Between `analysis.measures.evidence` and `analysis.claims.claims`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from analysis.measures.arms import W1, baseline, by_seed, rewarmed, scratch, w1_but
from analysis.measures.contrast import paired, share_removed
from analysis.measures.evidence import (
    Evidence,
    MissingError,
    Test,
    arm,
    constant,
    deltas,
    difference,
    ladder,
    over_shifts,
    peaks,
    spiked,
)
from analysis.measures.rules import no_worse, sign

SHARE_LEVEL = 0.9
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
    """S2; which shift is the stronger is for runs of two of them to say."""

    def one(part: Evidence) -> list[Test]:
        runs = rewarmed(part.ends, warmup=W1["warmup"], peak=1.0)
        shares = sorted(runs.replay.astype(float).unique())
        if len(shares) < 3:
            raise MissingError("fewer than three shares of replay")
        arms = [(f"{share:.1%}", runs[np.isclose(runs.replay.astype(float), share)]) for share in shares]
        return list(ladder("U", arms, "U", False))

    return over_shifts(evidence, one)


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
    """S3, of a strong shift."""

    def one(part: Evidence) -> list[Test]:
        _, delta = deltas(part.ends)
        with_replay = arm(w1_but(part.ends, replay=0.25), "replay 25 %")
        none = arm(w1_but(part.ends), "w1")
        contrast = difference("V of 25 % replay less none", with_replay, none, "V")
        return [Test(contrast, partial(no_worse, delta=3 * delta))]

    return over_shifts(evidence, one)


def beats_scratch(evidence: Evidence) -> list[Test]:
    """S5."""

    def one(part: Evidence) -> list[Test]:
        fresh = arm(scratch(part.ends), "training from scratch")
        runs = arm(w1_but(part.ends, replay=0.25), "replay 25 %")
        return [
            Test(difference(f"{letter} less scratch", runs, fresh, letter), partial(sign, side=-1)) for letter in "UV"
        ]

    return over_shifts(evidence, one)


def spike_grows(evidence: Evidence) -> list[Test]:
    """S8."""

    def one(part: Evidence, same_data: bool) -> list[Test]:
        arms = [(name, spiked(part, runs, until=1.0)) for name, runs in peaks(part.ends, (0.5, 1.0, 2.0), same_data)]
        rising = [(name, runs.assign(rise=runs.spike - runs.U_base)) for name, runs in arms]
        return list(ladder("spike", rising, "rise", True))

    tests = over_shifts(evidence, partial(one, same_data=False))
    return tests + over_shifts(evidence, partial(one, same_data=True), same_data=True)


def peak_and_replay_interact(evidence: Evidence) -> list[Test]:
    """X1, its last part; two-sided: `sign` of whichever side the mean is on, at its own 95 %."""

    def one(part: Evidence) -> list[Test]:
        forgets = {}
        for peak in (1.0, 2.0):
            for replay in (0.0, 0.05):
                runs = w1_but(part.ends, peak=peak, replay=replay)
                forgets[peak, replay] = by_seed(arm(runs, f"peak {peak:g}x with replay {replay:.0%}"), "U")
        seeds = sorted(set.intersection(*(set(values.index) for values in forgets.values())))
        with_replay, without = (forgets[2.0, share] - forgets[1.0, share] for share in (0.05, 0.0))
        contrast = paired("F(2x) - F(1x) at 5 % less at 0 %", with_replay[seeds].to_list(), without[seeds].to_list())
        return [Test(contrast, partial(sign, side=1 if contrast.mean > 0 else -1))]

    return over_shifts(evidence, one)
