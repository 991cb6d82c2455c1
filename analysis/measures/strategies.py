"""2403.08763, its sections on schedules, optimizer, sizes and sources: what S6, S7 and S9 to S11 look at.

Between `analysis.measures.evidence` and `analysis.claims.scalable`; `analysis.measures.scalable` has the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from analysis.measures.arms import NEAR, MissingError, arm, w1_but
from analysis.measures.contrast import Contrast
from analysis.measures.differences import FORGETTING, difference, slope
from analysis.measures.evidence import LEAST, Evidence, Test, deltas, over_shifts
from analysis.measures.rules import equal, no_worse, sign

COOLDOWNS = {"infinite_cosine": "cosine cooldown", "infinite_inv_sqrt": "inverse square root"}
PARTS = 3
SIZES = 3
DOMAINS = {"code_domains": "code_mixed", "slimpajama_domains": "pile_to_slimpajama"}  # shift in stages: and mixed
REPLAY = 0.05


def infinite_is_as_good(evidence: Evidence) -> list[Test]:
    """S6, of parts of one corpus: there is nothing to adapt to, so delta_V is its least."""

    def one(part: Evidence) -> list[Test]:
        rule = partial(no_worse, delta=LEAST)
        return [Test(contrast, rule) for contrast in _against_cosines(part.ends, PARTS)]

    return over_shifts(evidence, one, same_data=True, by=("model", "rate"))


def infinite_forgets_little(evidence: Evidence) -> list[Test]:
    """S7, of parts of one corpus: w1 of no shift forgets too little for a margin, so delta_U is its least."""

    def one(part: Evidence) -> list[Test]:
        unit = _unit(part.ends)
        return [
            Test(
                difference(
                    f"U after part 2 less part 1, {told}",
                    _annealed(part.ends, name, 2 * unit),
                    _annealed(part.ends, name, unit),
                    "U",
                ),
                partial(no_worse, delta=LEAST),
            )
            for name, told in COOLDOWNS.items()
        ]

    return over_shifts(evidence, one, same_data=True, by=("model", "rate"))


def _against_cosines(ends: pd.DataFrame, parts: int) -> Iterator[Contrast]:
    """V of infinite schedules, annealed after each part, less one cosine over all so far, less one for each."""
    unit = _unit(ends)
    for name, told in COOLDOWNS.items():
        for many in range(1, parts + 1):
            own = _annealed(ends, name, many * unit)
            cosine = _annealed(ends, "cosine", many * unit)
            yield difference(f"V, {told}, {many} parts, less one cosine", own, cosine, "V")
            if many > 1:
                again = _annealed(ends, "+".join(["cosine"] * many), many * unit)
                yield difference(f"V, {told}, {many} parts, less a cosine each", own, again, "V")


def _unit(ends: pd.DataFrame) -> float:
    """Tokens of one part: those of the shortest run of an infinite schedule."""
    return float(arm(_fresh(ends)[_fresh(ends).schedule.isin(COOLDOWNS)], "an infinite schedule").run_tokens.min())


def _fresh(ends: pd.DataFrame) -> pd.DataFrame:
    return ends[(ends.start == "scratch") & np.isclose(ends.peak.astype(float), 1)]


def _annealed(ends: pd.DataFrame, schedule: str, tokens: float) -> pd.DataFrame:
    """Runs of a schedule from random weights to its end after so many tokens."""
    runs = _fresh(ends)
    near = (runs.run_tokens - tokens).abs() < NEAR / 2 * tokens
    return arm(runs[near & (runs.schedule == schedule)], f"{schedule} over {tokens:.2g} tokens")


def corpora_in_sequence(evidence: Evidence) -> list[str]:
    """Beside S6 and S7: the same where each part is of another corpus."""
    ends, found = evidence.ends, []
    first = ends[ends.upstream == ends.downstream]
    for pair, own in _fresh(ends[ends.upstream != ends.downstream]).groupby(["upstream", "downstream"]):
        infinite = own[own.schedule.isin(COOLDOWNS)]
        same = first[first.upstream == pair[0]]
        if infinite.empty or _fresh(same).empty:
            continue
        tokens, name = float(infinite.run_tokens.max()), f"{pair[0]} to {pair[1]}"
        for schedule in (*COOLDOWNS, "cosine", "+".join(["cosine"] * round(tokens / _unit(same)))):
            try:
                runs = _annealed(own, schedule, tokens)
                before = _annealed(same, schedule.partition("+")[0], _unit(same))
                lost = difference("", runs, before, "U")
            except MissingError:
                continue
            found.append(f"{name}, {schedule}: V {runs.V.mean():.3f}, U {lost.mean:+.3f} since part 1")
    return found


def optimizer_ends_alike(evidence: Evidence) -> list[Test]:
    """S9."""

    def one(part: Evidence) -> list[Test]:
        reset = arm(w1_but(part.ends), "w1")
        kept = arm(w1_but(part.ends, optimizer_state="keep"), "w1 with optimizer_state=keep")
        margins = zip("UV", deltas(part.ends), strict=True)
        return [
            Test(difference(f"{letter} of kept less reset", kept, reset, letter), partial(equal, delta=delta))
            for letter, delta in margins
        ]

    return over_shifts(evidence, one)


def larger_forget_less(evidence: Evidence) -> list[Test]:
    """S10."""

    def one(part: Evidence) -> list[Test]:
        none, some = w1_but(part.ends), w1_but(part.ends, replay=REPLAY)
        sizes = sorted(set(none.N) & set(some.N))
        if len(sizes) < SIZES:
            raise MissingError(f"{len(sizes)} sizes with and without {REPLAY:.0%} replay, and it takes {SIZES}")
        arms = [(float(np.log(N)), none[none.N == N]) for N in sizes]
        tests = [Test(slope("slope of F on log N", arms, FORGETTING), partial(sign, side=-1))]
        for N in sizes:
            helped = difference(f"F of 5 % less none, N {N:.2g}", some[some.N == N], none[none.N == N], FORGETTING)
            tests.append(Test(helped, partial(sign, side=-1)))
        return tests

    return over_shifts(evidence, one, by=("run_tokens",))


def domains_are_worse(evidence: Evidence) -> list[Test]:
    """S11, its first part: V is the mean over sources, weighted as they are drawn."""
    runs, tests = evidence.ends, []
    for staged, mixed in DOMAINS.items():
        one, other = (w1_but(runs[runs["shift"] == name]) for name in (staged, mixed))
        if len(one) and len(other):
            contrast = difference("V of domain by domain less mixed", one, other, "V")
            tests.append(Test(contrast, partial(sign, side=1), evidence.of(one).name))
    if not tests:
        raise MissingError(f"no runs of {' and '.join(next(iter(DOMAINS.items())))}")
    return tests
