"""The verdict on every claim, from the seeds that verdicts are of; the pilot's beside it, which says how many it takes.

Above `analysis.claims.claims`; `analysis.claims.page` prints it.

    for one in judge(table): one.verdict, one.settled, one.why

Seeds 0 to 2 are the pilot: they were read before the rules, and settle nothing. Verdicts are of seeds from 10 on, of as
many as the claim says: before the last of them there is no verdict, so that nobody stops where it pleases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.claims.claim import FIRST, Claim
from analysis.claims.claims import CLAIMS
from analysis.forecasts.forecast import Forecast
from analysis.measures.arms import MissingError
from analysis.measures.contrast import MOST_SEEDS, holm
from analysis.measures.evidence import Evidence, Test, judged
from analysis.measures.rules import CONTRADICTED, INCONCLUSIVE, REPRODUCED, UNTESTABLE, Part, combined, deciding
from analysis.results.windows import FrozenWindows
from harness.core.errors import InputError

PILOT = (0, 1, 2)  # seeds


@dataclass(frozen=True)
class Verdict:
    """Of one claim."""

    claim: Claim
    verdict: str
    parts: tuple[Part, ...]
    """Of the seeds that verdicts are of."""
    pilot: tuple[Part, ...]
    """Of the seeds 0 to 2."""
    why: str
    p_adjusted: float | None
    """Of the deciding part, for all claims tested (Holm)."""
    changes: int | None
    """How many of the verdicts that leave one seed out are others; None: not of seeds."""
    beside: tuple[str, ...]
    """What has no verdict: the pilot's where there are no other runs."""
    short: bool = False
    """Whether some of its seeds are still to be trained."""

    @property
    def settled(self) -> Part | None:
        """The part that the verdict hangs on; None where it is not testable."""
        return None if self.verdict == UNTESTABLE else deciding(self.parts)


def judge(
    table: pd.DataFrame,
    claims: Sequence[Claim] = CLAIMS,
    forecasts: Sequence[Forecast] = (),
    windows: Sequence[FrozenWindows] = (),
) -> list[Verdict]:
    """A verdict on every claim, from a table of measurements, what was forecast of its runs, and the losses of single
    windows where they end."""
    whole = Evidence.from_table(table, forecasts, windows)
    found = [_verdict(claim, whole) for claim in claims]
    tested = [one for one in found if one.settled is not None]
    adjusted = holm([one.settled.p for one in tested if one.settled is not None])
    of_claim = {one.claim.id: float(p) for one, p in zip(tested, adjusted, strict=True)}
    return [replace(one, p_adjusted=of_claim.get(one.claim.id)) for one in found]


def _verdict(claim: Claim, whole: Evidence) -> Verdict:
    ends = whole.ends
    last = ends.seed.max() if claim.of_laws else FIRST + claim.seeds - 1
    fresh, pilot = (whole.of(ends[chosen]) for chosen in (ends.seed.between(FIRST, last), ends.seed.isin(PILOT)))
    (tests, lacking), (of_pilot, why) = (_tests(claim, runs) for runs in (fresh, pilot))
    parts, tried = judged(tests), judged(of_pilot)
    shown = tuple(claim.beside(fresh if len(fresh.ends) else pilot)) if claim.beside else ()
    if not parts or (lacking and combined(parts) != CONTRADICTED):
        if claim.make and len(pilot.ends):
            lacking += f"; by the pilot {_wanted(tried)}" if tried else f"; of the pilot {why}"
        return Verdict(claim, UNTESTABLE, tuple(parts), tuple(tried), lacking, None, None, shown)
    verdict = measured = combined(parts)
    seeds = sorted({seed for test in tests for seed in test.contrast.seeds})
    without = [[replace(test, contrast=test.contrast.without(seed)) for test in tests] for seed in seeds]
    changes = sum(combined(judged(others)) != measured for others in without) if seeds else None
    there = min((part.contrast.n for part in parts if part.contrast.unit == "seeds"), default=claim.seeds)
    short = not claim.of_laws and there < claim.seeds
    why = _why(INCONCLUSIVE if short else verdict, parts)
    if short:
        verdict, why = INCONCLUSIVE, f"{there} of its {claim.seeds} seeds are there, which alone are {measured}: {why}"
    elif claim.unmeasured and verdict == REPRODUCED:
        verdict, why = INCONCLUSIVE, f"what is measured holds; not looked at: {claim.unmeasured}"
    return Verdict(claim, verdict, tuple(parts), tuple(tried), why, None, changes, shown, short)


def _tests(claim: Claim, evidence: Evidence) -> tuple[list[Test], str]:
    """The tests of a claim that are there, and what is lacking; empty: nothing."""
    if evidence.ends.empty:
        return [], f"no runs of seeds from {FIRST} on"
    try:
        tests = claim.measure(evidence)
    except (MissingError, InputError) as error:  # the latter: laws say what rows they lack
        return [], str(error)
    pairs = sorted({test.pair for test in tests})
    lacking = [part for part in claim.takes if part not in {test.part for test in tests}]
    why = f"{pairs[0]} alone, and it takes {claim.shifts} shifts" if len(pairs) < claim.shifts else ""
    return tests, "; ".join([why] * bool(why) + [f"nothing of {', '.join(lacking)}"] * bool(lacking))


def _wanted(pilot: Sequence[Part]) -> str:
    """How many seeds the pilot says it takes."""
    many = [part for part in pilot if not part.affordable]
    if many:
        unit = many[0].contrast.unit
        least = f"more than {MOST_SEEDS}" if unit == "seeds" else "thousands of"
        return f"{least} {unit} for {len(many)} of {len(pilot)} tests"
    most = max(pilot, key=lambda part: part.needed or 0)
    return f"{most.needed} {most.contrast.unit}"


def _why(verdict: str, parts: Sequence[Part]) -> str:
    part = deciding(parts)
    text, contrast = part.contrast.name, part.contrast
    if contrast.windows_se == 0:
        text += "; its interval leaves out what the choice of windows does: single windows are not kept"
    if verdict == INCONCLUSIVE:
        unit = contrast.unit
        needed = f"thousands of {unit}" if part.needed is None else f"{part.needed} {unit}"
        text += f"; {contrast.n} {unit} could have told {part.could_tell:.3g}, it would take {needed}"
    small = [one for one in parts if one.small]
    if small and verdict != INCONCLUSIVE:
        text += f"; {len(small)} of {len(parts)} differences are smaller than what the order of the data alone does"
    return text
