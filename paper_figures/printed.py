"""What the papers print, to be shown beside ours: printed.csv, each number with where it stands and who read it there.

    printed("2403.08763", "Table 12", shift="weak")      # rows: run, at, quantity, value, provenance
    origin(rows)                                         # the sentence of a caption

These are numbers of the papers' own scale: a figure says so, and they get no verdict at ours.
"""

from __future__ import annotations

from functools import cache

import pandas as pd

from harness.core.shipped import shipped
from paper_figures.style import Look, joined

LOOK = Look("0.35", (0, (2, 1.5)), "d")  # the same in every figure: grey, and open
PRINTED = shipped("paper_figures", "printed.csv")
READ = {"S1": "checked transcriptions", "S2": "transcriptions"}  # what a tag says of who read a number


@cache
def _all() -> pd.DataFrame:
    return pd.read_csv(PRINTED, comment="#", dtype={"paper": str})


def printed(paper: str, *where: str, **chosen: str | float) -> pd.DataFrame:
    """The numbers of some tables of a paper, of all of them without any; `chosen`: values of further columns."""
    rows = _all()[_all().paper == paper]
    rows = rows[rows["where"].isin(where)] if where else rows
    for column, value in chosen.items():
        rows = rows[rows[column] == value]
    return rows.reset_index(drop=True)


def series(rows: pd.DataFrame, run: str, quantity: str) -> pd.Series[float]:
    """The values of one quantity by what its runs vary, in order."""
    own = rows[(rows.run == run) & (rows.quantity == quantity)]
    return own.set_index("at").value.sort_index()


def value(rows: pd.DataFrame, run: str, quantity: str) -> float | None:
    """The one value of a quantity, or None where the paper does not print it."""
    own = rows.value[(rows.run == run) & (rows.quantity == quantity)]
    return float(own.item()) if len(own) else None


def origin(rows: pd.DataFrame) -> str:
    """`Grey: what 2403.08763 prints (Table 12; 405M, its own scale; transcriptions, S2).`"""
    tags = [f"{READ[tag]}, {tag}" for tag in sorted(rows.provenance.unique())]
    told = f"{joined(list(rows['where'].unique()))}; {joined(list(rows.model.unique()))}, at its own scale"
    return f"Grey: what {rows.paper.iloc[0]} prints ({told}; {joined(tags)}), beside ours without a verdict."
