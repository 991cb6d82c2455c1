"""The verdict on every claim, from the seeds that verdicts are of; the pilot's beside it, which says how many it takes.

Above `analysis.claims.claims`; `analysis.claims.command` prints it.

    for one in judge(table): one.verdict, one.interval, one.why

Seeds 0 to 2 are the pilot: they were read before the rules, and settle nothing. Verdicts are of seeds from 10 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims.claim import Claim
from analysis.claims.claims import CLAIMS
from analysis.forecasts.forecast import Forecast
from analysis.measures.arms import w1_but
from analysis.measures.contrast import MOST_SEEDS, holm
from analysis.measures.evidence import Evidence, MissingError, judged
from analysis.measures.rules import INCONCLUSIVE, REPRODUCED, UNTESTABLE, Part, combined, deciding
from harness.core.errors import InputError

PILOT, FIRST = (0, 1, 2), 10  # seeds
PAIRS = 5  # of runs that differ in the order of the data alone, for a noise floor


@dataclass(frozen=True)
class Verdict:
    """Of one claim."""

    claim: Claim
    verdict: str
    parts: tuple[Part, ...]
    """Of the seeds that verdicts are of; none where it is not testable."""
    pilot: tuple[Part, ...]
    """Of the seeds 0 to 2."""
    why: str
    p_adjusted: float | None
    """Of the deciding part, for all claims tested (Holm)."""
    noise_floor: float | None
    """nats: sd of differences of w1 in the order of its data alone; None where five such pairs are not there."""
    changes: int | None
    """How many of the verdicts that leave one seed out are others."""
    beside: tuple[str, ...]
    """What has no verdict: the pilot's where there are no other runs."""

    @property
    def settled(self) -> Part | None:
        """The part that the verdict hangs on."""
        return deciding(self.parts) if self.parts else None


def judge(table: pd.DataFrame, claims: Sequence[Claim] = CLAIMS, forecasts: Sequence[Forecast] = ()) -> list[Verdict]:
    """A verdict on every claim, from a table of measurements and what was forecast of its runs."""
    whole = Evidence.from_table(table, forecasts)
    ends = whole.ends
    fresh, pilot = (
        whole.of(ends[chosen]) if chosen.any() else None for chosen in (ends.seed >= FIRST, ends.seed.isin(PILOT))
    )
    floor = _noise_floor(ends)
    found = [_verdict(claim, fresh, pilot, floor) for claim in claims]
    tested = [one for one in found if one.settled is not None]
    adjusted = holm([one.settled.p for one in tested if one.settled is not None])
    of_claim = {one.claim.id: float(p) for one, p in zip(tested, adjusted, strict=True)}
    return [replace(one, p_adjusted=of_claim.get(one.claim.id)) for one in found]


def _verdict(claim: Claim, fresh: Evidence | None, pilot: Evidence | None, floor: float | None) -> Verdict:
    parts, why = _parts(claim, fresh, claim.shifts)
    tried, lacking = _parts(claim, pilot, 1)
    if not parts or fresh is None:
        if claim.measure is not None:
            why += f"; by the pilot {_wanted(tried)}" if tried else f"; of the pilot {lacking}"
        return Verdict(claim, UNTESTABLE, (), tuple(tried), why, None, floor, None, _beside(claim, pilot))
    verdict = measured = combined(parts)
    seeds = [] if claim.of_laws else sorted(fresh.ends.seed.unique())
    without = [_parts(claim, fresh.of(fresh.ends[fresh.ends.seed != seed]), claim.shifts)[0] for seed in seeds]
    changes = sum(combined(other) != measured for other in without if other)
    why = _why(verdict, parts, floor)
    if claim.unmeasured and verdict == REPRODUCED:
        verdict, why = INCONCLUSIVE, f"what is measured holds; not looked at: {claim.unmeasured}"
    return Verdict(claim, verdict, tuple(parts), tuple(tried), why, None, floor, changes, _beside(claim, fresh))


def _beside(claim: Claim, evidence: Evidence | None) -> tuple[str, ...]:
    return () if claim.beside is None or evidence is None else tuple(claim.beside(evidence))


def _parts(claim: Claim, evidence: Evidence | None, shifts: int) -> tuple[list[Part], str]:
    """The parts of a claim, or why there are none. `shifts`: pairs of corpora that it takes."""
    if claim.measure is None:
        return [], f"no measure of it is written yet; it takes {claim.lacks}"
    if evidence is None:
        return [], f"no runs of seeds from {FIRST} on"
    try:
        tests = claim.measure(evidence)
    except (MissingError, InputError) as error:  # the latter: laws say what rows they lack
        return [], str(error)
    pairs = sorted({test.pair for test in tests})
    if len(pairs) < shifts:
        return [], f"{pairs[0]} alone, and it takes {shifts} shifts"
    return judged(tests), ""


def _wanted(pilot: Sequence[Part]) -> str:
    """How many seeds the pilot says it takes."""
    many = [part for part in pilot if not part.affordable]
    if many:
        unit = many[0].contrast.unit
        least = f"more than {MOST_SEEDS}" if unit == "seeds" else "thousands of"
        return f"{least} {unit} for {len(many)} of {len(pilot)} tests"
    most = max(pilot, key=lambda part: part.needed or 0)
    return f"{most.needed} {most.contrast.unit}"


def _why(verdict: str, parts: Sequence[Part], floor: float | None) -> str:
    part = deciding(parts)
    text = part.contrast.name
    if part.contrast.windows_se == 0:
        text += "; its interval leaves out what the choice of windows does, which tables do not hold"
    if verdict == INCONCLUSIVE:
        unit = part.contrast.unit
        needed = f"thousands of {unit}" if part.needed is None else f"{part.needed} {unit}"
        text += f"; {part.contrast.n} {unit} could have told {part.could_tell:.3g}, it would take {needed}"
    in_nats = part.contrast.unit == "seeds" and part.margin is None
    if verdict == REPRODUCED and in_nats and floor is not None and abs(part.contrast.mean) < floor:
        text += "; smaller than what the order of the data alone does"
    return text


def _noise_floor(ends: pd.DataFrame) -> float | None:
    """sd of V over runs of w1 that share a base and differ in the order of their data, from at least PAIRS pairs."""
    w1 = w1_but(ends)
    pairs: list[Any] = []
    for _, runs in w1.groupby(["base_address", "downstream"]):
        values = runs.V.dropna().to_numpy()
        pairs += list(np.diff(values)) if len(values) > 1 else []
    return float(np.sqrt(np.mean(np.square(pairs)))) if len(pairs) >= PAIRS else None
