"""Where a figure's table comes from: frozen results (data/NAME.csv), or a store.

A frozen table holds the rows at D >= 0 of the members of a sweep that are done, and an empty row for each that is not,
so that a figure can say what it lacks. Its first line is the command that made it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.results.runs import read_runs
from analysis.results.tables import COLUMNS, SHARED, table_of
from harness.core.command import unwritable
from harness.core.errors import InputError
from harness.core.shipped import shipped

FROZEN = shipped("paper_figures", "data")
WHOLE = ("N", "N_total", "base_tokens", "run_tokens", "warmup_tokens", "seed", "position", "tokens", "D", "windows")


@dataclass(frozen=True)
class Results:
    """Measurements of runs that are done, those of their ends among them, and one row of facts for each that is not."""

    table: pd.DataFrame
    lacking: pd.DataFrame
    source: str


def from_store(root: str | Path, sweeps: Sequence[str] | None, overrides: Sequence[str]) -> Results:
    """The runs of a store, or the members of sweeps. Raises InputError.

    One training that was measured on several grids is one line in a figure: the densest.
    """
    runs = read_runs(root, sweeps, overrides=overrides)
    by_rows = sorted(runs, key=lambda run: (run.status == "done", len(run.measured)))
    densest = {run.facts.address: run for run in by_rows}
    runs = [run for run in runs if densest[run.facts.address] is run]
    lacking = [run for run in runs if run.status != "done"]
    facts = pd.DataFrame([{**{name: getattr(r.facts, name) for name in SHARED}, "status": r.status} for r in lacking])
    source = f"{root}" if sweeps is None else f"{' '.join(sweeps)} in {root}"
    done = table_of([run for run in runs if run.status == "done"], ends=True)
    return Results(done, facts.reindex(columns=COLUMNS), source)


def frozen(name: str) -> Results:
    """A committed table. Raises InputError if there is none, or it is not one."""
    path = FROZEN / f"{name}.csv"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FROZEN.glob("*.csv"))) or "none"
        raise InputError("data", name, "no such frozen table", f"known: {known}; or draw from a store with --live")
    everything = pd.read_csv(path, comment="#", keep_default_na=False, na_values=[""], dtype={"horizon": object})
    if tuple(everything.columns) != COLUMNS:
        raise InputError("data", path.name, "its columns are not those of a table", "freeze it again")
    empty = everything.loss.isna()
    table = everything[~empty].copy()
    for column in WHOLE:
        if table[column].notna().all():
            table[column] = table[column].astype("int64")
    return Results(table, everything[empty], f"paper_figures/data/{path.name}")


def freeze(results: Results, name: str, arguments: Sequence[str]) -> Path:
    """Write a frozen table; `arguments` are those of the command that did it. Raises InputError if nothing is done."""
    if results.table.empty:
        raise InputError("--freeze", name, f"no run of {results.source} is done", "run the sweep first")
    rows = (
        pd.concat([results.table[results.table.D >= 0], results.lacking])
        if len(results.lacking)
        else (results.table[results.table.D >= 0])
    )
    for column in WHOLE:
        rows = rows.assign(**{column: rows[column].astype("Int64")})
    path = FROZEN / f"{name}.csv"
    command = shlex.join(["python", "-m", "paper_figures", *arguments])
    try:
        FROZEN.mkdir(exist_ok=True)
        path.write_text(f"# {command}\n" + rows.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    except OSError as error:
        raise unwritable("--freeze", path, error) from None
    return path
