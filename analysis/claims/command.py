"""`python -m analysis claims`: every claim of the three papers, with a verdict and its interval.

python -m analysis claims                         a line or two on each, from the tables that are committed
python -m analysis claims S2 R4 --table mine.csv  every test of some, from tables of `python -m paper_figures --freeze`

Rules were fixed before the runs that verdicts are of (seeds from 10 on). Seeds 0 to 2 are a pilot: it settles nothing,
and says how many seeds it takes. Not testable: the runs are not there, and what is missing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.claim import Claim
from analysis.claims.claims import CLAIMS
from analysis.claims.page import document, lines, overview
from analysis.claims.verdict import Verdict, judge
from analysis.forecasts.forecast import read_forecast
from analysis.results.tables import COLUMNS, read
from analysis.results.windows import FrozenWindows, beside, left_out, with_clean_ends
from harness.core.errors import InputError
from harness.core.options import path
from harness.core.shipped import shipped

SCALE = "mini"  # whose runs are judged unless another is asked for


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
    parser.add_argument("--scale", default=SCALE, metavar="NAME", help=f"of the runs ({SCALE})")


def run(options: argparse.Namespace, _: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `claims`, and its lines for a terminal. Raises InputError."""
    known = {claim.id: claim for claim in CLAIMS}
    for name in options.claim:
        if name not in known:
            raise InputError("claim", name, "there is no such claim", f"choose of {', '.join(known)}")
    chosen = [known[name] for name in options.claim] or list(CLAIMS)
    found, which = verdicts_of(chosen, options.table or committed(), options.forecast, options.scale)
    told = (lines if options.claim else overview)(found)
    return {**document(found, options.scale), "final_losses": which}, [*told, which]


def verdicts_of(
    claims: Sequence[Claim], tables: Sequence[Path], forecasts: Sequence[Path] | None = None, scale: str = SCALE
) -> tuple[list[Verdict], str]:
    """Verdicts on claims from frozen tables, their single windows and forecasts (None: those in forecasts/); and a line
    on what final losses are of. Raises InputError."""
    windows = frozen_windows(tables)
    table = read_tables(tables, scale, windows)
    files = forecasts or sorted(Path("forecasts").glob("*.json"))
    return judge(table, claims, [read_forecast(file) for file in files], windows), _which(table)


def committed() -> list[Path]:
    """The tables that ship with the program."""
    return sorted(shipped("paper_figures", "data").glob("*.csv"))


def frozen_windows(tables: Sequence[Path]) -> list[FrozenWindows]:
    """The losses of single windows that were frozen with tables. Raises InputError."""
    return [FrozenWindows(file) for table in tables if (file := beside(table)).is_file()]


def read_tables(paths: Sequence[Path], scale: str, windows: Sequence[FrozenWindows] = ()) -> pd.DataFrame:
    """Measurements of one scale, a run that several tables hold once; final losses are of clean windows where `windows`
    have them. Raises InputError."""
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
    whole = whole[whole.scale == scale].drop_duplicates(["run", "position", "corpus", "windows"])
    for kept in windows:
        whole = with_clean_ends(whole, kept)
    return whole


def _which(table: pd.DataFrame) -> str:
    """What final losses are of, as a line."""
    rows = table if "dirty" in table else table.assign(dirty=math.nan)
    by_corpus = rows.groupby(["corpus", "run"]).dirty.max().groupby(level=0)
    return f"final losses: {left_out({str(name): own.to_list() for name, own in by_corpus})}"
