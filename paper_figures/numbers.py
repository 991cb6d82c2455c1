"""What a figure shows as numbers: a row for each of its arms, with the knobs that tell them apart.

table = numbers_table(drawn.rows)            # `analysis.report.blocks.Table`, for a page
found, knobs = by_arm(drawn.rows)            # the same as numbers: n, and mean and sd of each of VALUES
"""

from __future__ import annotations

import math

import pandas as pd

from analysis.measures.arms import ends_by_run
from analysis.report.blocks import Table
from analysis.results.tables import SHARED
from paper_figures import changes, compare

FIRST = ("model", "start", "shift", "schedule", "peak", "lr", "warmup", "replay", "at")  # the knobs that say most
KNOBS = (*FIRST, *(name for name in SHARED if name not in (*FIRST, *compare.NAMES, "seed")))
VALUES = ("U", "V", *changes.CHANGES)


def by_arm(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One row an arm (runs that differ in their seed only): the knobs that tell them apart, seeds `n`, the mean of each
    of VALUES and its `sd` over runs, nats per token (NaN: there is none); and these knobs. Where downstream is
    upstream, there is no V."""
    ends = ends_by_run(rows)
    other = ends.upstream != ends.downstream
    ends = ends.assign(
        V=ends.V.where(other), forgetting=ends.U - ends.U_base, adaptation=(ends.V_base - ends.V).where(other)
    )
    knobs: list[str] = []
    arms = 1
    for knob in KNOBS:  # those that the ones before do not say already
        if (number := ends.groupby([*knobs, knob], dropna=False).ngroups) > arms:
            knobs, arms = [*knobs, knob], number
    grouped = ends.groupby(knobs or ["upstream"], dropna=False)
    found = grouped[list(VALUES)].mean()
    found = found.assign(n=grouped.seed.nunique(), **{f"sd {name}": grouped[name].std() for name in VALUES})
    return found.reset_index(), knobs


def numbers_table(rows: pd.DataFrame, name: str) -> Table:
    """Of what a figure is drawn from; `name`: what a screen reader calls it."""
    found, knobs = by_arm(rows)
    corpora = {"U": rows.upstream.unique(), "V": rows.downstream[rows.upstream != rows.downstream].unique()}
    shown = [value for value in VALUES if found[value].notna().any()]
    titles = [f"{one} ({corpora[one][0]})" if one in corpora and len(corpora[one]) == 1 else one for one in shown]
    cells = [
        [
            *(changes.amount(knob, row[knob]) for knob in knobs),
            str(int(row["n"])),
            *(_mean(row[value], row[f"sd {value}"], value in changes.CHANGES) for value in shown),
        ]
        for _, row in found.iterrows()
    ]
    header = [*(changes.NAMES.get(knob, knob.replace("_", " ")) for knob in knobs), "seeds", *titles]
    return Table(header, cells, range(len(knobs), len(header)), name)


def _mean(mean: float, sd: float, signed: bool) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:{'+' if signed else ''}.4f}" + ("" if math.isnan(sd) else f" ± {sd:.4f}")
