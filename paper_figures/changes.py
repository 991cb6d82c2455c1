"""Forgetting and adaptation of runs, a row a setting: what the figures of all runs of a sweep are drawn from.

table = settings_of(runs_of(table)); table[["forgetting", "adaptation", "forgetting_sd", "n"]]; varying(table)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.results.tables import ends_of
from harness.core.units import count
from paper_figures.style import percent, times

KNOBS = (
    "replay",
    "peak",
    "lr",
    "warmup",
    "schedule",
    "at",
    "base_tokens",
    "optimizer_state",
)  # colour goes to the first
SHARES = ("replay", "warmup", "at")
NAMES = {
    "lr": "learning rate",
    "warmup": "warm-up",
    "at": "base at",
    "base_tokens": "base",
}  # where they are not their own
CHANGES = ("forgetting", "adaptation")


def has_base(table: pd.DataFrame) -> pd.Series[bool]:
    """Mask: rows of runs that forget something and adapt to something else."""
    return (table.start != "scratch") & (table.upstream != table.downstream)


def runs_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row a run: its facts, forgetting and adaptation in nats per token; those without a base are left out."""
    table = table[has_base(table)]
    ends = ends_of(table[table.role.isin(("upstream", "downstream"))])
    ends["change"] = ends.loss - ends.base
    facts = table.drop_duplicates("run").set_index("run")
    by_corpus = ends.set_index(["run", "corpus"]).change
    found = facts.copy()
    found["forgetting"] = [by_corpus.get((run, row.upstream), np.nan) for run, row in facts.iterrows()]
    found["adaptation"] = [-by_corpus.get((run, row.downstream), np.nan) for run, row in facts.iterrows()]
    return found.reset_index()


def settings_of(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a setting: means over its seeds, `n`, and the sd of runs (NaN of one)."""
    # A peak names a learning rate, and where it is not known the rate stands for it.
    multiples = runs.peak.notna().all()
    knobs = [name for name in KNOBS if name != ("lr" if multiples else "peak")]
    grouped = runs.groupby(knobs, dropna=False, sort=True)
    found = grouped[list(CHANGES)].mean().reset_index()
    for name in CHANGES:
        found[f"{name}_sd"] = grouped[name].std().to_numpy()
    return found.assign(n=grouped.size().to_numpy())


def varying(settings: pd.DataFrame) -> list[str]:
    """The knobs that differ, in the order of `KNOBS`."""
    return [name for name in KNOBS if name in settings and settings[name].nunique(dropna=False) > 1]


def label(knob: str, value: object) -> str:
    """`replay 5 %`, `peak 2×`, `constant`."""
    if isinstance(value, str):
        return value if knob == "schedule" else f"optimizer {value}"
    return f"{NAMES.get(knob, knob)} {amount(knob, value)}"


def amount(knob: str, value: object) -> str:
    """`5 %`, `2×`, `3M tokens`; a name as it is, `-` where there is no number."""
    if isinstance(value, str):
        return value
    assert isinstance(value, int | float | np.number)
    number = float(value)
    if np.isnan(number):
        return "-"
    if knob.endswith("tokens"):
        return f"{count(number)} tokens"
    texts = {"peak": times(number), **dict.fromkeys(SHARES, percent(float(f"{number:.3g}")))}
    return texts.get(knob) or (count(number) if number >= 1e4 else f"{number:.3g}")


def front(forgetting: Sequence[float], adaptation: Sequence[float]) -> list[int]:
    """The settings that no other one beats in both, by rising forgetting."""
    order = sorted(range(len(forgetting)), key=lambda i: (forgetting[i], -adaptation[i]))
    found: list[int] = []
    for i in order:
        if not found or adaptation[i] > adaptation[found[-1]]:
            found.append(i)
    return found
