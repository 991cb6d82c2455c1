"""Where a figure's table comes from: frozen results (data/NAME.csv), or a store.

A frozen table holds the rows at D >= 0 of the members of a sweep that are done, and an empty row for each that is not,
so that a figure can say what it lacks. Its first lines are the commands that made it, each with what its runs took to
train: freezing adds runs, so that those of some seeds can be kept before the others are trained. Beside it, in
NAME_windows.parquet, the losses of the single windows at their ends (`analysis.results.windows.FrozenWindows`): what is
drawn is of the clean ones, what is compared and frozen is all that was measured.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import pandas as pd

from analysis.results.runs import read_runs
from analysis.results.table_files import read_file
from analysis.results.tables import COLUMNS, SHARED, table_of
from analysis.results.windows import FrozenWindows, beside, windows_table, with_clean_ends, write_windows
from harness.core.command import unwritable
from harness.core.errors import InputError
from harness.core.shipped import shipped
from harness.store.store import Store
from paper_figures.training import trained

FROZEN = shipped("paper_figures", "data")
COMMAND = "# python -m paper_figures "
WHOLE = ("N", "N_total", "base_tokens", "run_tokens", "warmup_tokens", "seed", "position", "tokens", "D", "windows")


@dataclass(frozen=True)
class Results:
    """Measurements of runs that are done, those of their ends among them, and one row of facts for each that is not."""

    measured: pd.DataFrame
    lacking: pd.DataFrame
    source: str
    frozen: tuple[str, ...] = ()
    """The names of the committed tables; none: a store."""
    windows: pd.DataFrame = field(default_factory=lambda: windows_table([]))
    """`FROZEN_COLUMNS` of the ends of those runs that kept the losses of single windows."""
    took: Callable[[], str] = str
    """Says what the runs took to train, see `paper_figures.training`; nothing: not of a store."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """The measurements, those of ends of the clean windows where it is known which these are."""
        return with_clean_ends(self.measured, FrozenWindows(self.windows)) if len(self.windows) else self.measured


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
    done = [run for run in runs if run.status == "done"]
    kept = [(run, {corpus: ends for corpus in run.ends if (ends := run.windows(corpus)) is not None}) for run in done]
    single = windows_table((run.facts.run, run.facts.base_address, ends) for run, ends in kept)
    took = partial(trained, Store(root), [run.document for run in done])
    return Results(table_of(done, ends=True), facts.reindex(columns=COLUMNS), source, windows=single, took=took)


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
    windows = read_file(beside(path)) if beside(path).is_file() else windows_table([])
    return Results(table, everything[empty], f"paper_figures/data/{path.name}", (name,), windows)


def frozen_together(names: Sequence[str]) -> Results:
    """Committed tables as one, a run that several hold once. Raises InputError."""
    found = [frozen(name) for name in names]
    if len(found) == 1:
        return found[0]
    row = ["run", "position", "corpus", "windows"]
    measured = pd.concat([one.measured for one in found], ignore_index=True).drop_duplicates(row)
    lacking = pd.concat([one.lacking for one in found], ignore_index=True).drop_duplicates("run")
    windows = pd.concat([one.windows for one in found], ignore_index=True)
    windows = windows.drop_duplicates(["run", "corpus", "windows_hash", "window"])
    lacking = lacking[~lacking.run.isin(measured.run)]
    return Results(measured, lacking, ", ".join(one.source for one in found), tuple(names), windows)


def freeze(results: Results, name: str, arguments: Sequence[str]) -> list[str]:
    """Add runs to a frozen table, and the losses of their single windows, if there are any: a line for each file.

    Rows of runs that are not in `results` stay as they are. `arguments` are those of the command that did it. Raises
    InputError if nothing is done.
    """
    measured = results.measured
    if measured.empty:
        raise InputError("--freeze", name, f"no run of {results.source} is done", "run the sweep first")
    head, before, windows_before = _before(name, set(measured.run))
    rows, lacking = measured[measured.D >= 0], results.lacking[~results.lacking.run.isin(before.run)]
    rows = pd.concat([rows, lacking]) if len(lacking) else rows
    for column in WHOLE:
        rows = rows.assign(**{column: rows[column].astype("Int64")})
    path, number = FROZEN / f"{name}.csv", measured.run.nunique()
    without = number - int(measured.run.drop_duplicates().isin(results.windows.run).sum())
    head[shlex.join(arguments)] = f"#   {number} runs, {results.took()}\n"
    first = "".join(f"{COMMAND}{command}\n{took}" for command, took in head.items())
    text = rows.to_csv(index=False, lineterminator="\n", header=before.empty)
    text = text if before.empty else before.to_csv(index=False, lineterminator="\n") + text
    single = pd.concat([part for part in (windows_before, results.windows) if len(part)] or [results.windows])
    single = single.drop_duplicates(["run", "corpus", "windows_hash", "window"], ignore_index=True)  # of bases
    single = single.astype({"clean": "boolean"})  # of a file they are true, false or None
    try:
        FROZEN.mkdir(exist_ok=True)
        path.write_text(first + text, encoding="utf-8")
        beside(path).unlink(missing_ok=True)
        if len(single):
            write_windows(single, beside(path))
    except OSError as error:
        raise unwritable("--freeze", path, error) from None
    added = f": {number} runs added to {before.run.nunique()}" if len(before) else ""
    said = f": {without} of {number} runs kept no losses of single windows" if without else ""
    return [f"{path}{added}", f"{beside(path) if len(single) else 'no windows'}{said}"]


def _before(name: str, anew: set[str]) -> tuple[dict[str, str], pd.DataFrame, pd.DataFrame]:
    """Of a table that is there: its first lines, and the measurements as text and windows of other runs than `anew`.
    Raises InputError for a table of other columns."""
    path = FROZEN / f"{name}.csv"
    if not path.is_file():
        return {}, pd.DataFrame(columns=COLUMNS), windows_table([])
    windows = frozen(name).windows
    rows = pd.read_csv(path, comment="#", dtype=str, keep_default_na=False)
    return commands_of(name), rows[~rows.run.isin(anew) & (rows.loss != "")], windows[~windows.run.isin(anew)]


def commands_of(name: str) -> dict[str, str]:
    """The commands that made a frozen table: the arguments of each, and the lines below it."""
    found: dict[str, str] = {}
    for line in first_lines(name):
        if line.startswith(COMMAND):
            found[line.removeprefix(COMMAND)] = ""
        elif found:
            found[[*found][-1]] += line + "\n"
    return found


def first_lines(name: str) -> list[str]:
    """Of a frozen table: its commands, each with what its runs took to train."""
    with (FROZEN / f"{name}.csv").open(encoding="utf-8") as file:
        return [line.rstrip("\n") for line in itertools.takewhile(lambda line: line.startswith("#"), file)]
