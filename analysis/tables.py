"""Results as a DataFrame: one row per (run, position, corpus). What figures, fits and claims start from.

`load` reads a store, `read` anybody's file under the names that laws use.

    table = load(Path("runs"), sweep="demo")
    table[(table.role == "upstream") & (table.D >= 0)]
    table = read(Path("sweep.csv"), parse_map("N=billions*1e9,D=C/(6*N),loss=val_loss"), where="in_fit == 1")
"""

from __future__ import annotations

import difflib
import gzip
import itertools
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow

from analysis.facts import Facts
from analysis.measurements import ROWS
from analysis.runs import RunRecord, read_runs, without_collection
from harness.errors import InputError

SHARED = tuple(field.name for field in fields(Facts) if field.name not in ("shares", "windows"))
COLUMNS = (*SHARED, "status", "position", "tokens", "D", "corpus", "role", "r", "windows", "loss", "bits_per_byte")
TEXTS = ("run", "model", "schedule", "status", "corpus", "role")  # columns that need not be numbers


def load(
    root: Path,
    sweep: str | Sequence[str] | None = None,
    parents: Sequence[Path] = (),
    *,
    overrides: Sequence[str] = (),
    windows: int | None = None,
) -> pd.DataFrame:
    """The measurements of a store, or of the members of a sweep.

    Of the run: `run, key, name, address, base_address, model, scale, shift, upstream, downstream, N` (parameters
    outside the embeddings), `N_total, base_tokens, run_tokens, lr` (peak of continual pre-training), `peak` (the same
    over the base's), `warmup` (share of the horizon), `warmup_tokens, replay, schedule, start, at, seed, status`.
    Of the row: `position` (steps since the root), `tokens` since the root, `D` = those of continual pre-training
    (negative while the base trains, 0 at the base), `corpus`, `role` (upstream, downstream or further; upstream where
    both are one), `r` = share of this corpus in continual pre-training, `windows`, `loss` (nats per token),
    `bits_per_byte`. Raises InputError.
    """
    with without_collection():
        return table_of(read_runs(root, sweep, overrides=overrides, parents=parents, windows=windows))


def table_of(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """The table of runs that are read already."""
    counts = np.array([len(run.measured) for run in runs], dtype=np.int64)

    def measured(name: str) -> Any:
        return np.concatenate([np.empty(0, ROWS[name]), *(run.measured[name] for run in runs)])

    columns: dict[str, Any] = {}
    known: dict[bytes, Any] = {}
    for name in SHARED:
        columns[name] = _repeated(_column([getattr(run.facts, name) for run in runs]), counts, known)
    columns["status"] = _repeated(_column([run.status for run in runs]), counts, known)
    columns |= {name: measured(name) for name in ("position", "tokens", "windows")}
    columns["D"] = columns["tokens"] - columns["base_tokens"]
    pairs = [(run.facts, corpus) for run in runs for corpus in run.facts.windows]
    firsts = np.cumsum([0, *(len(run.facts.windows) for run in runs)], dtype=np.int64)[:-1]
    pair = firsts.repeat(counts) + measured("corpus")
    columns["corpus"] = _taken(np.array([corpus for _, corpus in pairs], dtype=object), pair)
    columns["role"] = _taken(np.array([_role(facts, corpus) for facts, corpus in pairs], dtype=object), pair)
    columns["r"] = np.array([facts.shares.get(corpus, 0.0) for facts, corpus in pairs], dtype=float)[pair]
    loss_sum = measured("loss_sum")
    columns["loss"] = loss_sum / measured("token_count")
    columns["bits_per_byte"] = loss_sum / (math.log(2) * measured("byte_count"))
    return pd.DataFrame({name: columns[name] for name in COLUMNS}, copy=False)


def read(path: Path, columns: Mapping[str, str], where: str | None = None) -> pd.DataFrame:
    """A table from a CSV, CSV.gz or Parquet file: the names of `columns`, then the file's own columns.

    Each right-hand side is a column of the file, a number, or arithmetic over the file's columns (`C/(6*N)`); a name
    that `columns` does not give is the file's column of this name. `where` keeps rows by the file's columns
    (`in_fit == 1`). The index counts the rows of the file from 0, so that `row_numbers` can name them. Lines that
    begin with # are skipped before the header. Raises InputError for what cannot be read, evaluated or is missing.
    """
    table = _file(path)
    if where is not None:
        table = keep(table, where, path.name)
    found = {name: _mapped(table, name, expression, path) for name, expression in columns.items()}
    rest = {str(name): table[name] for name in table.columns if name not in found}
    return pd.DataFrame({**found, **rest}, index=table.index)


def parse_map(text: str) -> dict[str, str]:
    """`N=params,D=C/(6*N)` as {name: expression}; commas inside parentheses separate nothing. Raises InputError."""
    remedy = "write NAME=COLUMN, NAME=NUMBER or NAME=EXPRESSION, with commas between them"
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    columns: dict[str, str] = {}
    for part in parts:
        name, _, expression = (piece.strip() for piece in part.partition("="))
        if not name.isidentifier() or not expression:
            raise InputError("--map", text, f"{part.strip()!r} is not NAME=EXPRESSION", remedy)
        if name in columns:
            raise InputError("--map", text, f"{name} is given twice", "give it once")
        columns[name] = expression
    return columns


def parse_numbers(text: str, field: str) -> dict[str, float]:
    """`A=0,alpha=0.3` as {name: number}; none if the text is empty. Raises InputError, naming the option `field`."""
    try:
        pairs = [part.partition("=") for part in text.split(",")] if text else []
        return {name.strip(): float(value) for name, _, value in pairs}
    except ValueError:
        raise InputError(field, text, "not NAME=NUMBER,...", f"write --{field} NAME=NUMBER,NAME=NUMBER") from None


def row_numbers(index: Any, most: int = 5) -> str:
    """The first rows of an index for a message, counted as in the file of `read`, whose header is row 1."""
    numbers = [str(label + 2) if isinstance(label, (int, np.integer)) else str(label) for label in list(index)[:most]]
    more = ", ..." if len(index) > most else ""
    return f"row{'s' if len(index) > 1 else ''} {', '.join(numbers)}{more}"


def numbers_of(column: pd.Series[Any], field: str, value: object) -> pd.Series[Any]:
    """A column as numbers. InputError, for `field=value`, if cells are missing or one is no number; both are named."""
    if missing := list(column.index[column.isna()]):
        why = f"{len(missing)} of {len(column)} cells of {column.name} are missing ({row_numbers(missing)})"
        raise InputError(field, value, why, "fill them, or leave these rows out: --where")
    numbers = pd.to_numeric(column, errors="coerce")
    if wrong := list(column.index[numbers.isna()]):
        why = f"{column[wrong[0]]!r} of {column.name} in {row_numbers(wrong[:1])} is not a number"
        raise InputError(field, value, why, "give numbers, or leave these rows out: --where")
    return numbers


def _file(path: Path) -> pd.DataFrame:
    """The table in a file, as it is."""
    if not path.is_file():
        raise InputError("table", path, "there is no such file", "name a CSV, CSV.gz or Parquet file")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
                comments = sum(1 for _ in itertools.takewhile(lambda line: line.startswith(b"#"), file))
            with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):  # cells beyond the header
                table = pd.read_csv(path, skiprows=comments, skipinitialspace=True, index_col=False)
    except (OSError, EOFError, ValueError, pd.errors.ParserWarning) as error:  # of pandas, pyarrow, gzip, encodings
        why = f"it cannot be read as a table ({_one_line(error)})"
        raise InputError("table", path, why, "give a CSV, CSV.gz or Parquet file with a header") from None
    if table.empty:
        raise InputError("table", path, "it has no rows", "give a table with a header and rows")
    return table.reset_index(drop=True)


def keep(table: pd.DataFrame, where: str, source: str) -> pd.DataFrame:
    """The rows that a condition over the columns keeps; `source` names the table in what is raised: InputError."""
    kept = _evaluated(table, where, source, "--where", where, "write a condition over columns, such as 'in_fit == 1'")
    if not (isinstance(kept, pd.Series) and pd.api.types.is_bool_dtype(kept)):
        raise InputError("--where", where, "it is not a condition", "compare columns, such as 'in_fit == 1'")
    if not kept.any():
        raise InputError("--where", where, f"it leaves no row of {source}", "write a wider condition")
    return table[kept]


def _mapped(table: pd.DataFrame, name: str, expression: str, path: Path) -> pd.Series[Any]:
    """One column of `read`."""
    value = f"{name}={expression}"
    if expression in table.columns:
        column = table[expression]
        return column if name in TEXTS and column.notna().all() else numbers_of(column, "--map", value)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", expression):
        return pd.Series(float(expression), index=table.index)
    words = re.findall(r"`([^`]+)`|\b([A-Za-z_]\w*)", expression)  # a text times 2 is a text for Python
    used = {word for pair in words for word in pair if word in table.columns}
    numbers = table.assign(**{column: numbers_of(table[column], "--map", value) for column in used})
    remedy = "write arithmetic over columns, such as D=C/(6*N)"
    result = _evaluated(numbers, expression, path.name, "--map", value, remedy)
    if isinstance(result, pd.DataFrame) or pd.api.types.is_bool_dtype(np.asarray(result)):
        raise InputError("--map", value, "it is no amount", remedy)
    return numbers_of(pd.Series(result, index=table.index, name=name), "--map", value)


def _evaluated(table: pd.DataFrame, expression: str, source: str, field: str, value: str, remedy: str) -> Any:
    """The value of an expression over the columns of a file."""
    try:
        if "@" in expression:  # pandas would look among the variables of this module
            raise SyntaxError("no variables but the columns")
        return table.eval(expression, engine="python")
    except pd.errors.UndefinedVariableError as error:
        name = str(error).split("'")[1]
        known = [str(column) for column in table.columns]
        near = difflib.get_close_matches(name, known) or known[:20]
        raise InputError(field, value, f"{source} has no column {name}", f"it has {', '.join(near)}") from None
    except Exception as error:  # whatever pandas and numpy say about what a user wrote
        raise InputError(field, value, f"it does not evaluate ({_one_line(error)})", remedy) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _role(facts: Facts, corpus: str) -> str:
    return {facts.downstream: "downstream", facts.upstream: "upstream"}.get(corpus, "further")


def _repeated(values: Any, counts: Any, known: dict[bytes, Any]) -> Any:
    """Each value as often as it counts. `known` = where texts end that were made with the same counts."""
    values, counts = values[counts > 0], counts[counts > 0]
    if len(values) == 0 or not all(isinstance(value, str) for value in values):
        return pd.Series(values).array.repeat(counts)
    # The same as `repeat` in a fifth of its time: these texts are most of a table, and to map new memory is most of
    # the work, so it is numpy's (in huge pages), and texts of equal lengths share where they end.
    texts = [value.encode() for value in values]
    lengths = np.array([len(text) for text in texts])
    if (key := lengths.tobytes()) not in known:
        known[key] = np.zeros(counts.sum() + 1, dtype=np.int64)
        np.cumsum(lengths.repeat(counts), out=known[key][1:])
    content, end = np.empty(known[key][-1], dtype=np.uint8).data, 0
    for text, count in zip(texts, counts.tolist(), strict=True):
        start, end = end, end + len(text) * count
        content[start:end] = text * count
    buffers = pyarrow.py_buffer(known[key]), pyarrow.py_buffer(content)
    return pd.array(pyarrow.LargeStringArray.from_buffers(int(counts.sum()), *buffers), dtype="str")


def _taken(values: Any, places: Any) -> Any:
    """`values[places]`; every value is a text."""
    return pd.Series(values).array.take(places)


def _column(values: list[Any]) -> Any:
    """Numbers as numbers (None becomes NaN), all else as objects."""
    numbers = [value for value in values if value is not None]
    if numbers and all(isinstance(value, int) for value in values):
        return np.array(values, dtype=np.int64)
    if numbers and all(isinstance(value, (int, float)) for value in numbers):
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    return np.array(values, dtype=object)
