"""`python -m analysis claims`: every claim of the three papers, with a verdict and its interval.

python -m analysis claims                         from the tables that are committed
python -m analysis claims S2 R4 --table mine.csv  some of them, from tables of `python -m paper_figures --freeze`

Rules were fixed before the runs that verdicts are of (seeds from 10 on). Seeds 0 to 2 are a pilot: it settles nothing,
and says how many seeds it takes. Not testable: the runs are not there, and what is missing.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.claims import CLAIMS
from analysis.claims.rules import Part
from analysis.claims.verdict import Verdict, judge
from analysis.forecasts.forecast import read_forecast
from analysis.results.tables import COLUMNS, read
from harness.core.errors import InputError
from harness.core.options import path
from harness.core.shipped import shipped


def add_claims_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("claim", nargs="*", help="their names, such as S2 (default: all)")
    parser.add_argument("--table", type=path, action="append", metavar="FILE", help="frozen runs, in place of ours")
    parser.add_argument(
        "--forecast",
        type=path,
        action="append",
        metavar="FILE",
        help="what was frozen of the answers of D5 (default: forecasts/*.json)",
    )
    parser.add_argument("--scale", default="mini", metavar="NAME", help="of the runs (mini)")


def run(options: argparse.Namespace, _: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `claims`, and its lines for a terminal. Raises InputError."""
    known = {claim.id: claim for claim in CLAIMS}
    for name in options.claim:
        if name not in known:
            raise InputError("claim", name, "there is no such claim", f"choose of {', '.join(known)}")
    chosen = [known[name] for name in options.claim] or list(CLAIMS)
    forecasts = [read_forecast(file) for file in options.forecast or sorted(Path("forecasts").glob("*.json"))]
    found = judge(read_tables(options.table or committed(), options.scale), chosen, forecasts)
    return document(found, options.scale), lines(found)


def committed() -> list[Path]:
    """The tables that ship with the program."""
    return sorted(shipped("paper_figures", "data").glob("*.csv"))


def read_tables(paths: Sequence[Path], scale: str) -> pd.DataFrame:
    """Measurements of one scale, a run that several tables hold once. Raises InputError."""
    tables = []
    for file in paths:
        table = read(file)
        if lacking := [name for name in COLUMNS if name not in table]:
            why = f"it lacks the columns {', '.join(lacking[:4])}{', ...' if len(lacking) > 4 else ''}"
            raise InputError("table", file.name, why, "freeze the runs: python -m paper_figures --freeze NAME")
        tables.append(table[table.loss.notna()])
    whole = pd.concat(tables, ignore_index=True)
    scales = sorted(whole.scale.dropna().unique())
    if scale not in scales:
        raise InputError("scale", scale, f"no run is of it (there are {', '.join(scales)})", f"--scale {scales[0]}")
    return whole[whole.scale == scale].drop_duplicates(["run", "position", "corpus", "windows"])


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
