"""Verdicts as a document and for a terminal.

Between `analysis.claims.verdict` and `analysis.claims.command`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from analysis.claims.verdict import Verdict
from analysis.measures.rules import Part


def document(verdicts: Sequence[Verdict], scale: str) -> dict[str, Any]:
    """{claims: [{id, paper, claim, scale, statistic, rule, effect, interval, margin, p, p_adjusted, noise_floor, seeds,
    unit, verdict, why, could_tell, needed, changes, parts, pilot, beside}]}; in nats where the `unit` that `seeds`
    counts is seeds; numbers not finite become null."""
    return {"claims": [_claim(one, scale) for one in verdicts]}


def _claim(one: Verdict, scale: str) -> dict[str, Any]:
    settled = _part(one.settled) if one.settled else {}
    keys = ("effect", "interval", "margin", "p", "seeds", "unit", "could_tell", "needed")
    claim = one.claim
    return {
        "id": claim.id,
        "paper": claim.paper,
        "claim": claim.claim,
        "scale": scale,
        "statistic": claim.statistic,
        "rule": claim.rule,
        "verdict": one.verdict,
        "why": one.why,
        **{key: settled.get(key) for key in keys},
        "p_adjusted": one.p_adjusted,
        "noise_floor": one.noise_floor,
        "changes": one.changes,
        "parts": [_part(part) for part in one.parts],
        "pilot": [_part(part) for part in one.pilot],
        "beside": list(one.beside),
    }


def _part(part: Part) -> dict[str, Any]:
    contrast = part.contrast
    numbers = {"effect": contrast.mean, "level": part.level, "margin": part.margin, "p": part.p}
    told = {"could_tell": part.could_tell, "needed": part.needed, "seeds": contrast.n, "unit": contrast.unit}
    found = {"name": contrast.name, "verdict": part.verdict, **numbers, **told}
    plain = {name: _finite(value) if isinstance(value, float) else value for name, value in found.items()}
    return {**plain, "interval": [_finite(end) for end in part.interval], "note": contrast.note}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def lines(verdicts: Sequence[Verdict]) -> list[str]:
    """For a terminal: every claim with its verdict first, then what the pilot says."""
    found = []
    for one in verdicts:
        found.append(f"{one.verdict.upper()}  {one.claim.id} ({one.claim.paper}): {one.claim.claim}")
        found.append(f"  {one.claim.statistic}: {one.claim.rule}")
        part = one.settled
        if part is not None:
            adjusted = "" if one.p_adjusted is None else f", p {part.p:.2g}, {one.p_adjusted:.2g} for all claims"
            found.append(f"  {_told(part)}{adjusted}")
            if one.changes:
                found.append(f"  leaving out one seed gives another verdict {one.changes} times")
        found.append(f"  {one.why}")
        found += [f"  {part.contrast.note}" for part in one.parts if part.contrast.note]
        found += [f"  pilot: {part.verdict}, {_told(part)}, {_needed(part)}" for part in one.pilot]
        found += [f"  {text}" for text in one.beside]
        found.append("")
    counts = Counter(one.verdict for one in verdicts)
    return [
        *found,
        f"{len(verdicts)} claims: " + ", ".join(f"{number} {name}" for name, number in counts.most_common()),
    ]


def _told(part: Part) -> str:
    (low, high), contrast = part.interval, part.contrast
    seeds = f"{contrast.n} {contrast.unit}" + ("" if part.margin is None else f", delta {part.margin:.3f}")
    return f"{contrast.name}: {contrast.mean:+.4f} ({low:+.4f} to {high:+.4f}, {part.level:.0%}, {seeds})"


def _needed(part: Part) -> str:
    if part.needed is None:
        return f"a verdict would take thousands of {part.contrast.unit}"
    return f"a verdict takes {part.needed} {part.contrast.unit}"
