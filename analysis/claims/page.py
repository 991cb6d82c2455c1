"""Verdicts as a document and for a terminal.

Between `analysis.claims.verdict` and `analysis.claims.command`.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from analysis.claims.claim import SWEEP
from analysis.claims.verdict import Verdict
from analysis.measures.rules import CONTRADICTED, INCONCLUSIVE, REPRODUCED, Part

SHORT = {REPRODUCED: "holds", CONTRADICTED: "fails", INCONCLUSIVE: "open"}  # of one test
TESTS = {REPRODUCED: "as claimed", CONTRADICTED: "against it", INCONCLUSIVE: "open"}  # of several
FREEZE = "python -m paper_figures --freeze NAME --sweep NAME seed=..."
NAME = 29  # characters of a test's name in a line of 80


def document(verdicts: Sequence[Verdict], scale: str) -> dict[str, Any]:
    """{claims: [{id, paper, claim, scale, statistic, rule, n, effect, interval, margin, p, p_adjusted, noise_floor,
    windows_se, seeds, unit, verdict, why, train, could_tell, needed, changes, parts, pilot, beside}]}; in nats where
    the `unit` that `seeds` counts is seeds; `n`: seeds that were fixed for it; numbers not finite become null."""
    return {"claims": [_claim(one, scale) for one in verdicts]}


def _claim(one: Verdict, scale: str) -> dict[str, Any]:
    settled = _part(one.settled) if one.settled else {}
    keys = ("effect", "interval", "margin", "p", "seeds", "unit", "could_tell", "needed", "noise_floor", "windows_se")
    claim = one.claim
    return {
        "id": claim.id,
        "paper": claim.paper,
        "claim": claim.claim,
        "scale": scale,
        "statistic": claim.statistic,
        "rule": claim.rule,
        "n": None if claim.of_laws else claim.seeds,
        "verdict": one.verdict,
        "why": one.why,
        "train": claim.command or None,
        **{key: settled.get(key) for key in keys},
        "p_adjusted": one.p_adjusted,
        "changes": one.changes,
        "parts": [_part(part) for part in one.parts],
        "pilot": [_part(part) for part in one.pilot],
        "beside": list(one.beside),
    }


def _part(part: Part) -> dict[str, Any]:
    contrast = part.contrast
    numbers = {"effect": contrast.mean, "level": part.level, "margin": part.margin, "p": part.p}
    told = {"could_tell": part.could_tell, "needed": part.needed, "seeds": contrast.n, "unit": contrast.unit}
    of = {"noise_floor": contrast.floor, "windows_se": contrast.windows_se or None}
    found = {"name": contrast.name, "verdict": part.verdict, **numbers, **told, **of}
    plain = {name: _finite(value) if isinstance(value, float) else value for name, value in found.items()}
    return {**plain, "interval": [_finite(end) for end in part.interval], "note": contrast.note}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def overview(verdicts: Sequence[Verdict]) -> list[str]:
    """For a terminal: a verdict a claim, with what it hangs on, or what the pilot says; then what would be trained."""
    found = []
    for one in verdicts:
        found.append(f"{one.verdict.upper()}  {one.claim.id}: {one.claim.claim}")
        found += [f"    {text}" for text in what_was_found(one)]
    return [*found, "", *counts(verdicts), *_training(verdicts), "python -m analysis claims S2: every test of a claim"]


def what_was_found(one: Verdict) -> list[str]:
    """What a verdict hangs on, with its interval; else how its tests are so far; and what the pilot says."""
    pilot = [f"pilot: {_summary(one.pilot)}"] if one.pilot else []
    if one.settled is not None:
        return [f"{_told(one.settled)}{_adjusted(one)}", *pilot]
    return [_summary(one.parts), *pilot] if one.parts else pilot


def lines(verdicts: Sequence[Verdict]) -> list[str]:
    """For a terminal: every claim with its verdict first, then every test of it, and of the pilot."""
    found = []
    for one in verdicts:
        claim = one.claim
        found.append(f"{one.verdict.upper()}  {claim.id} ({claim.paper}): {claim.claim}")
        found.append(f"  {claim.statistic}: {claim.rule}" + ("" if claim.of_laws else f"; {claim.seeds} seeds"))
        if one.settled is not None:
            found.append(f"  {_told(one.settled)}{_adjusted(one)}")
        found.append(f"  {one.why}")
        found += [f"  {part.contrast.note}" for part in one.parts if part.contrast.note]
        found += _tests(one.parts, "") + _tests(one.pilot, "pilot, ")
        found += [f"  {text}" for text in one.beside]
        if claim.command and (one.settled is None or one.short):
            found.append(f"  to train: {claim.command}")
        found.append("")
    return [*found, *counts(verdicts)]


def counts(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """How many claims have which verdict; and for how many of them another one comes of leaving out one seed."""
    of_each = Counter(one.verdict for one in verdicts)
    yield f"{len(verdicts)} claims: " + ", ".join(f"{number} {name}" for name, number in of_each.most_common())
    changes = [one.changes for one in verdicts if one.changes is not None]
    if changes:
        yield f"leaving out one seed gives another verdict for {sum(map(bool, changes))} of {len(changes)} of them"


def _training(verdicts: Sequence[Verdict]) -> list[str]:
    """What would train the runs that are not there: one command for all sweeps of so many seeds."""
    lacking = [one.claim for one in verdicts if one.claim.make and one.settled is None]
    sweeps: dict[str, dict[str, None]] = {}
    for claim in lacking:
        if claim.make.startswith(SWEEP):
            seeds = claim.command.rpartition(" ")[2]
            sweeps.setdefault(seeds, {}).update(dict.fromkeys(claim.make.removeprefix(SWEEP).split()))
    told = [f"  {SWEEP}{' '.join(names)} {seeds}" for seeds, names in sweeps.items()]
    told += [f"  {claim.command}" for claim in lacking if not claim.make.startswith(SWEEP)]
    return [f"What would train the runs that are not there, before {FREEZE}:", *told] if lacking else []


def _tests(parts: Sequence[Part], whose: str) -> list[str]:
    """A table of tests for each pair of corpora."""
    found = []
    for (pair, level, number), tests in itertools.groupby(parts, key=_setting):
        own = list(tests)
        unit = own[0].contrast.unit
        found.append(f"  {whose}{pair}, {number} {unit}: difference, {level:.0%} interval, delta, {unit} it takes")
        for part in own:
            (low, high), margin = part.interval, "" if part.margin is None else f"{part.margin:.3f}"
            needed = ">9999" if part.needed is None else str(part.needed)
            numbers = f"{part.contrast.mean:+.4f}  {low:+.4f} to {high:+.4f}  {margin:5} {needed:>5}"
            first, *more = textwrap.wrap(part.contrast.name.partition(": ")[2], NAME)
            found += [f"  {SHORT[part.verdict]:5}  {numbers}  {first}", *(" " * 51 + line for line in more)]
    return found


def _setting(part: Part) -> tuple[str, float, int]:
    return part.contrast.name.partition(": ")[0], part.level, part.contrast.n


def _summary(parts: Sequence[Part]) -> str:
    most = max(parts, key=lambda part: math.inf if part.needed is None else part.needed)
    needed = "thousands of" if most.needed is None else str(most.needed)
    return f"{tally(parts)}; to tell all takes {needed} {most.contrast.unit}"


def tally(parts: Sequence[Part]) -> str:
    """How many tests are `12 as claimed, 1 open`."""
    of_each = Counter(part.verdict for part in parts)
    return ", ".join(f"{number} {TESTS[verdict]}" for verdict, number in of_each.most_common())


def _adjusted(one: Verdict) -> str:
    if one.settled is None or one.p_adjusted is None:
        return ""
    changes = f"; {one.changes} verdicts without one seed are others" if one.changes else ""
    return f", p {one.settled.p:.2g}, {one.p_adjusted:.2g} for all claims{changes}"


def _told(part: Part) -> str:
    (low, high), contrast = part.interval, part.contrast
    seeds = f"{contrast.n} {contrast.unit}" + ("" if part.margin is None else f", delta {part.margin:.3f}")
    return f"{contrast.name}: {contrast.mean:+.4f} ({low:+.4f} to {high:+.4f}, {part.level:.0%}, {seeds})"
