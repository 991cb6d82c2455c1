"""Rows of unlike runs are never fitted as one kind in silence: what varies that no law reads is named, with a remedy.

    refuse_unlike(table, {"dcpt": law.variables}, pooled=("seed",))     # InputError: --where "...", or --pool peak,...

A setting is read if it is a variable of a law, if `--map` makes one of it, or if it follows from those of both that
stay as they are along a run. Laws of learning-rate sums read all that shapes the learning rate.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from analysis.formulas.expressions import names_in, quote
from analysis.options.schedules import OF_BASE, VARIABLES
from harness.core.errors import InputError

# What runs are made with, under the names of a store's tables; the first that tells runs apart stands in the remedy.
SETTINGS = (
    "corpus",
    "start",
    "shift",
    "upstream",
    "downstream",
    "model",
    "scale",
    "N",
    "N_total",
    "base_tokens",
    "at",
    "optimizer_state",
    "schedule",
    "peak",
    "lr",
    "warmup",
    "warmup_tokens",
    "replay",
    "r",
    "base_address",
    "D",
)
ALONG = ("corpus", "D")  # told apart even where every run has them all: a law without tokens is of one amount
OF_RATES = ("D", "schedule", "peak", "lr", "warmup", "warmup_tokens")  # what learning-rate sums hold
OF_BASES = ("base_tokens", "at", "base_address")  # and those of the base's
NAMED = 4  # columns in a sentence


def unlike(table: pd.DataFrame, variables: Collection[str]) -> list[str]:
    """The settings that vary over the rows and that a law of these variables does not read."""
    made = {name: str(text) for name, text in table.attrs.get("map", {}).items() if name in variables}
    read = {*variables, *(word for text in made.values() for word in ([text] if text in table else names_in(text)))}
    moving = _moving(table)
    still = [name for name in sorted(read) if name in table and table[name].dtype != object and name not in moving]
    if set(variables) & set(VARIABLES):
        read |= set(OF_RATES)
    if set(variables) & set(OF_BASE):
        read |= {*OF_BASES, "start"}
    found = []
    for name in SETTINGS:
        if (
            name in read
            or (name in moving and name not in ALONG)
            or name not in table
            or table[name].nunique(dropna=False) < 2
        ):
            continue
        beside = [*still, *(["seed"] if name == "base_address" and "seed" in table else [])]  # a base of each seed
        codes = pd.factorize(table[name], use_na_sentinel=False)[0]
        one = table[beside].assign(_=codes).groupby(beside, dropna=False)["_"].nunique() if beside else None
        if one is None or (one > 1).any():
            found.append(name)
    return found


def refuse_unlike(table: pd.DataFrame, laws: Mapping[str, Collection[str]], pooled: Sequence[str]) -> None:
    """InputError where a setting varies that none of the `laws` (name -> variables) reads, unless it is `pooled`."""
    for name in pooled:
        if name not in table:
            raise InputError("pool", name, "no such column", f"there are {', '.join(map(str, table.columns))}")
    several = [unlike(table, variables) for variables in laws.values()]
    common = [name for name in SETTINGS if all(name in one for one in several) and name not in pooled]
    if not common or not laws:  # of no law nothing is unlike: that none can be fitted is told elsewhere
        return
    who = next(iter(laws)) if len(laws) == 1 else "none of the laws"
    shown = ", ".join(common[:NAMED]) + (f" and {len(common) - NAMED} more" if len(common) > NAMED else "")
    does = "does not read" if len(laws) == 1 else "reads"
    why = f"differ over the rows and {who} {does} them, so that unlike runs would be fitted as one kind"
    variables = {name for one in laws.values() for name in one}
    remedy = f"keep one kind: {condition(table, common, variables)}; or say that they are meant: --pool "
    raise InputError("columns", shown, why, remedy + ",".join([*pooled, *common]))


def condition(table: pd.DataFrame, names: Sequence[str], variables: Collection[str]) -> str:
    """The `--where` of the rows alike in the settings `names` in which most of the law's `variables` vary."""
    plain = [name for name in variables if name in table and table[name].dtype != object]
    runs = "run" if "run" in table else names[0]

    def worth(rows: pd.DataFrame) -> tuple[float, ...]:
        tokens = float(rows["D"].mean()) if "D" in rows else 0.0
        return sum(int(rows[name].nunique() > 1) for name in plain), int(rows[runs].nunique()), len(rows), tokens

    by = [name for name in names if name != "base_address"] or list(names)  # that of each seed is another
    best = max((rows for _, rows in table.groupby(by, dropna=False, sort=False)), key=worth).iloc[0]
    kept, parts = table, []
    for name in names:
        if name not in unlike(kept, variables):
            continue  # what stands before it says this, too
        value = best[name]
        alike = kept[name].isna() if pd.isna(value) else kept[name] == value
        kept = kept[alike]
        parts.append(f"isna({quote(name)})" if pd.isna(value) else f"{quote(name)} == {_written(value)}")
    several = f"{kept.run.nunique()} runs, " if "run" in kept else ""
    return f'--where "{" and ".join(parts)}" ({several}{len(kept)} rows)'


def _moving(table: pd.DataFrame) -> set[str]:
    """Columns that change along runs: tokens, losses, learning rates of every row. Without runs nothing is known."""
    if "run" not in table or table["run"].nunique() == len(table):
        return set()
    plain = [name for name in table.columns if table[name].dtype != object and name != "run"]
    changes = table.groupby("run", sort=False)[plain].nunique(dropna=False).max()
    return {str(name) for name, count in changes.items() if count > 1}


def _written(value: object) -> str:
    """A value as a condition compares with it."""
    return repr(str(value)) if isinstance(value, str) else repr(float(value)).removesuffix(".0")  # type: ignore[arg-type]
