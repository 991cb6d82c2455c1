"""Results as a DataFrame: one row per (run, position, corpus). What figures, fits and claims start from.

`load` reads a store, `read` anybody's file under the names that laws use.

    table = load(Path("runs"), sweep="demo")
    table[(table.role == "upstream") & (table.D >= 0)]
    table = read(Path("sweep.csv"), parse_map("N=billions*1e9,D=C/(6*N),loss=val_loss"), where="in_fit == 1")
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.formulas.expressions import (
    as_numbers,
    evaluated,
    is_text,
    names_in,
    numbers_of,
    quote,
    refuse_missing,
)
from analysis.formulas.formula import Array, Integers
from analysis.results.facts import Facts
from analysis.results.measurements import ROWS
from analysis.results.run_record import RunRecord
from analysis.results.runs import Read, Reading, without_collection
from analysis.results.table_files import read_file
from harness.core.errors import InputError
from harness.store.history import FINAL_POSITIONS, is_final

SHARED = tuple(field.name for field in fields(Facts) if field.name not in ("shares", "windows", "finals"))
COLUMNS = (*SHARED, "status", "position", "tokens", "D", "corpus", "role", "r", "windows", "loss", "bits_per_byte")
TEXT = pd.StringDtype("python", na_value=np.nan)  # `str` by a reference a row; Arrow's holds every text in every row
TEXTS = (
    "run",
    "model",
    "schedule",
    "status",
    "corpus",
    "role",
)  # names, which are texts whatever they look like


def load(
    root: str | Path,
    sweep: str | Sequence[str] | None = None,
    parents: str | Path | Sequence[str | Path] = (),
    *,
    overrides: str | Sequence[str] = (),
    windows: int | None = None,
) -> pd.DataFrame:
    """The curves of a store, or of the members of a sweep: all rows of a run and corpus are of the same windows.

    Of the run: `run, key, name, address, base_address, model, scale, shift, upstream, downstream, N` (parameters
    outside the embeddings), `N_total, base_tokens, run_tokens, lr` (peak of continual pre-training), `peak` (the same
    over the base's), `warmup` (share of the horizon), `warmup_tokens, replay, schedule, start, at, seed, status`.
    Of the row: `position` (steps since the root), `tokens` since the root, `D` = those of continual pre-training
    (negative while the base trains, 0 at the base), `corpus`, `role` (upstream, downstream or further; upstream where
    both are one), `r` = share of this corpus in continual pre-training, `windows`, `loss` (nats per token),
    `bits_per_byte`. Raises InputError.
    """
    with without_collection():
        reading = Reading(root, sweep, overrides, parents, windows)
        described: list[Facts] = []
        unfinished: dict[int, Read] = {}
        parts: list[_Rows] = []
        for batch in reading.batches():
            unfinished |= {len(described) + n: run for n, run in enumerate(batch) if not reading.done(run)}
            described += [run.facts for run in batch]
            parts.append(_rows([_curves(run) for run in batch]))
        fates = {number: str(reading.fate(run)["status"]) for number, run in unfinished.items()}
        return _assembled(described, [fates.get(number, "done") for number in range(len(described))], parts)


def table_of(runs: Sequence[RunRecord], *, ends: bool = False) -> pd.DataFrame:
    """The table of runs that are read already; `ends`: with the rows that final losses are of, on more `windows` than
    the curves, see `ends_of`."""
    rows = [_with_ends(run) if ends else _curves(run) for run in runs]
    return _assembled([run.facts for run in runs], [run.status for run in runs], [_rows(rows)])


def of_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Of a table with ends its curves."""
    return table[table.windows == table.groupby(["run", "corpus"]).windows.transform("min")]


def ends_of(table: pd.DataFrame) -> pd.DataFrame:
    """How runs ended, a row for each (run, corpus) of a table that is done: as `RunRecord.ends`, from the rows alone.

    `loss`: that of the last position, where it was measured on windows enough, else the mean of the last evaluations;
    `base`: the loss at D = 0 on the same windows (NaN from scratch); `windows` of both; `alone`: the former; `dirty`:
    how many further windows are left out (`windows.with_clean_ends`), NaN: not known.
    """
    measured = table.loc[table.D >= 0]
    names = ("D", "windows", "loss", "dirty")
    columns = [measured[n].to_numpy(float) if n in measured else np.full(len(measured), math.nan) for n in names]
    groups = measured.groupby(["run", "corpus"], sort=False)
    starts = groups.start.first()
    found = [
        (run, corpus, *_end(*(column[rows] for column in columns), scratch=starts[run, corpus] == "scratch"))
        for (run, corpus), rows in zip(
            starts.index.to_list(), map(groups.indices.__getitem__, starts.index), strict=True
        )
    ]
    return pd.DataFrame(found, columns=["run", "corpus", "loss", "base", "windows", "alone", "dirty"])


def _end(
    D: Array, windows: Array, loss: Array, dirty: Array, *, scratch: bool
) -> tuple[float, float, int, bool, float]:
    """Of the rows of a run and corpus: loss, base, windows, alone, dirty."""
    usual = windows.min()
    many = np.array([is_final(int(one), int(usual)) for one in windows])
    of_most = many & (windows == windows[many].max(initial=0))
    last, base = of_most & (D.max() == D), of_most & (D == 0)
    alone = bool(last.sum() == 1 and (scratch or base.sum() == 1))
    if not alone:
        curve = windows == usual
        after = np.flatnonzero(curve & (D > 0))
        last, base = after[np.argsort(D[after], kind="stable")][-FINAL_POSITIONS:], curve & (D == 0)
    at_base = math.nan if scratch or not base.any() else float(loss[base][0])
    if not len(loss[last]):
        return math.nan, at_base, 0, alone, math.nan
    left_out = np.nanmax(dirty[last]) if np.isfinite(dirty[last]).any() else math.nan
    return float(loss[last].mean()), at_base, int(windows[last].max() - np.nan_to_num(left_out)), alone, float(left_out)


def _curves(run: Read | RunRecord) -> NDArray[np.void]:
    measured: NDArray[np.void] = run.measured
    return measured[measured["corpus"] < len(run.facts.windows)]


def _with_ends(run: RunRecord) -> NDArray[np.void]:
    """Rows of curves, and of those ends that final losses are of."""
    alone = [run.ends[name].alone if name in run.ends else False for name, _ in run.facts.measures]
    base = -1 if run.document["base_position"] is None else run.base_position
    there = np.isin(run.measured["position"], [base, run.document["steps"]])
    curve = run.measured["corpus"] < len(run.facts.windows)
    found: NDArray[np.void] = run.measured[curve | (there & np.array([*alone, False])[run.measured["corpus"]])]
    return found


@dataclass
class _Rows:
    """Measurements of some runs, one after the other."""

    counts: Integers  # rows of each run
    columns: dict[str, Any]  # position, tokens, windows, corpus (its number in the run), loss, bits_per_byte


def _rows(measured: Sequence[NDArray[np.void]]) -> _Rows:
    def column(name: str) -> Any:
        return np.concatenate([np.empty(0, ROWS[name]), *(rows[name] for rows in measured)])

    loss_sum = column("loss_sum")
    return _Rows(
        np.array([len(rows) for rows in measured], dtype=np.int64),
        {
            **{name: column(name) for name in ("position", "tokens", "windows")},
            "corpus": column("corpus").astype(np.int32),
            "loss": loss_sum / column("token_count"),
            "bits_per_byte": loss_sum / (math.log(2) * column("byte_count")),
        },
    )


def _assembled(described: Sequence[Facts], statuses: Sequence[str], parts: Sequence[_Rows]) -> pd.DataFrame:
    """The table of runs. Takes the columns out of the `parts`, for there is not room enough for both.

    A text that many rows share is one object: their columns hold references to it.
    """

    def measured(name: str, like: Any) -> Any:
        return np.concatenate([np.empty(0, like), *(part.columns.pop(name) for part in parts)])

    counts = np.concatenate([np.empty(0, dtype=np.int64), *(part.counts for part in parts)])
    columns = {name: measured(name, np.int64) for name in ("position", "tokens", "windows")}
    columns |= {name: measured(name, float) for name in ("loss", "bits_per_byte")}
    pairs = [(facts, corpus) for facts in described for corpus, _ in facts.measures]
    firsts = np.cumsum([0, *(len(facts.measures) for facts in described)], dtype=np.int64)[:-1]
    pair = firsts.repeat(counts)
    pair += measured("corpus", np.int32)
    columns["corpus"] = _texts([corpus for _, corpus in pairs]).take(pair)
    columns["role"] = _texts([_role(facts, corpus) for facts, corpus in pairs]).take(pair)
    columns["r"] = np.array([facts.shares.get(corpus, 0.0) for facts, corpus in pairs], dtype=float)[pair]
    del pair
    run = np.arange(len(described)).repeat(counts)
    for name in SHARED:
        columns[name] = _column([getattr(facts, name) for facts in described]).take(run)
    columns["status"] = _texts(statuses).take(run)
    columns["D"] = columns["tokens"] - columns["base_tokens"]
    return pd.DataFrame({name: columns[name] for name in COLUMNS}, copy=False)


def read(path: str | Path, columns: Mapping[str, str] | None = None, where: str | None = None) -> pd.DataFrame:
    """A table from a CSV, CSV.gz or Parquet file: the names of `columns`, then the file's own columns.

    Each right-hand side is a column of the file, a number, or arithmetic over the file's columns (`C/(6*N)`), all as
    floats; a name that `columns` does not give is the file's column of this name. Columns of TEXTS are names and stay
    as they are written. `where` keeps rows by these names and the file's columns (`in_fit == 1 and D > 0`). The index
    counts the rows of the file from 0, so that `row_numbers` can name them. Lines that begin with # are skipped before
    the header. Raises InputError for what cannot be read, evaluated or is missing.
    """
    path, columns = Path(path), columns or {}
    texts = {columns[name] for name in TEXTS if name in columns}
    written = read_file(path, {*TEXTS, *texts})
    table = written.copy(deep=False)
    for name in texts & set(table.columns) - set(TEXTS):  # a run's name that is an amount, too: --map run=N
        numbers = pd.to_numeric(written[name], errors="coerce")
        table[name] = numbers if numbers.notna().all() else written[name]
    if where is not None:
        table = keep(table, where, path.name, columns)
    written = written.loc[table.index]
    sources = {name: written if name in TEXTS else table for name in columns}
    found = {name: _mapped(sources[name], name, expression, path) for name, expression in columns.items()}
    rest = {name: table[name] for name in table.columns if name not in found}
    read = pd.DataFrame({**found, **rest}, index=table.index)
    read.attrs["map"] = dict(columns)  # for remedies: how to say another one
    return read


def keep(table: pd.DataFrame, where: str, source: str, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The rows that a condition keeps, over the columns and the names that `columns` gives to expressions over them.

    `source` names the table in what is raised: InputError; also for a name that is both and would keep other rows.
    """
    given = {name: _lenient(table, name, expression, source) for name, expression in (columns or {}).items()}
    known = {str(name): table[name] for name in table.columns}
    kept, by_columns = (_kept(names, where, source) for names in ({**known, **given}, {**given, **known}))
    if not kept.equals(by_columns):
        name = next(name for name in names_in(where) if name in given and name in known)
        why = f"{name} is a column of {source} and another amount in --map, and they keep different rows"
        remedy = f"name the one that is meant in --map, such as {name}_file={quote(name)}, and write this name"
        raise InputError("--where", where, why, remedy)
    if not kept.any():
        raise InputError("--where", where, f"it leaves no row of {source}", "write a wider condition")
    return table[kept]


def _kept(names: Mapping[str, pd.Series[Any]], where: str, source: str) -> pd.Series[Any]:
    kept = evaluated(where, names, source, "--where", where)
    if not (isinstance(kept, pd.Series) and pd.api.types.is_bool_dtype(kept)):
        raise InputError("--where", where, "it is not a condition", "compare columns, such as 'in_fit == 1'")
    return kept


def _lenient(table: pd.DataFrame, name: str, expression: str, source: str) -> pd.Series[Any]:
    """A name of --map for a condition, which may be there to leave out the rows where it has no value."""
    known = expression in table.columns
    value = table[expression] if known else evaluated(expression, table, source, "--map", f"{name}={expression}")
    series = value if isinstance(value, pd.Series) else pd.Series(value, index=table.index)
    return series if name in TEXTS else as_numbers(series)


def _mapped(table: pd.DataFrame, name: str, expression: str, path: Path) -> pd.Series[Any]:
    """One column of `read`."""
    value = f"{name}={expression}"
    if expression in table.columns:
        if name not in TEXTS:
            return numbers_of(table[expression], "--map", value)
        refuse_missing(table[expression], "--map", value)
        return table[expression]
    result = evaluated(expression, table, path.name, "--map", value)
    for column in names_in(expression):
        numbers_of(table[column], "--map", value)
    if pd.api.types.is_bool_dtype(np.asarray(result)) or is_text(result):
        raise InputError("--map", value, "it is no amount", "write arithmetic over columns, such as D=C/(6*N)")
    return numbers_of(pd.Series(result, index=table.index, name=name, dtype=float), "--map", value)


def _role(facts: Facts, corpus: str) -> str:
    return {facts.downstream: "downstream", facts.upstream: "upstream"}.get(corpus, "further")


def _column(values: list[Any]) -> Any:
    """Numbers as numbers (None becomes NaN), texts as texts; all else as objects."""
    given = [value for value in values if value is not None]
    if given and all(isinstance(value, int) for value in values):
        return np.array(values, dtype=np.int64)
    if given and all(isinstance(value, (int, float)) for value in given):
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    return _texts(values) if given or not values else np.array(values, dtype=object)


def _texts(values: Sequence[str | None]) -> Any:
    """Texts as pandas has them, held as references: equal ones are one object."""
    known: dict[str | None, str | None] = {}
    return pd.array([known.setdefault(value, value) for value in values], dtype=TEXT)
