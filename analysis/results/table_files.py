"""Anybody's file as a table: CSV (comma, semicolon or tab; gzip) and Parquet. Below `analysis.results.tables`.

    read_file(Path("sweep.csv"), texts={"run"})

What a file holds decides how it is read, not what it is called. What could be read in two ways is refused.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import json
import re
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from analysis.formulas.expressions import one_line
from harness.core.errors import InputError

# How files begin that are no tables of text.
KINDS = {
    b"PK\x03\x04": "an Excel workbook or another zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\xfd7zXZ": "compressed by xz",
    b"BZh": "compressed by bzip2",
    b"ARROW1": "a Feather file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite": "a database",
    b"<": "a web page or other XML",
    b"{": "JSON",
    b"[": "JSON",
}
UNREADABLE = (OSError, EOFError, ValueError, LookupError, TypeError, RecursionError, zlib.error, csv.Error)
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# In a column of numbers these say that one is missing; in a column of texts they are texts.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "nan", "NaN", "NAN", "null", "NULL", "None", "<NA>", "-")
TRUTH = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
LEADING_ZERO = re.compile(r"[+-]?0\d")  # 007 is a name
COMMA = re.compile(r"[+-]?(\d+(?:\.\d{3})*|\d*),\d+(?:[eE][+-]?\d+)?")  # 5,33 and 1.234,5
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
SEPARATED = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+")  # 1,234: a separator of thousands, or a decimal comma


def read_file(path: Path, texts: Collection[str] = ()) -> pd.DataFrame:
    """The table, its rows counted from 0; columns of a CSV file that `texts` names stay texts whatever they hold.

    The index of a data frame that was written to Parquet is a column too. Raises InputError.
    """
    if not path.is_file():
        why = "it is a folder or a device, not a file" if path.exists() else "there is no such file"
        raise InputError("table", path, why, "name a CSV, CSV.gz or Parquet file")
    try:
        data = path.read_bytes()
        if data.startswith(GZIP) or path.suffix == ".gz":
            data = gzip.decompress(data)
        parquet = data.startswith(PARQUET) or path.suffix == ".parquet"
        table = _parquet(path, data) if parquet else _csv(path, data, texts)
    except InputError:
        raise
    except (*UNREADABLE, pyarrow.ArrowException) as error:
        why = f"it cannot be read as a table ({one_line(error)})"
        raise InputError("table", path, why, "give a CSV (numbers with a decimal point) or Parquet file") from None
    if table.empty:
        raise InputError("table", path, "it has no rows", "give a table with a header and rows")
    return table


def _parquet(path: Path, data: bytes) -> pd.DataFrame:
    file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
    _check_names(path, file.schema_arrow.names)
    read = file.read()
    table: pd.DataFrame = read.to_pandas(ignore_metadata=True)  # with them pandas makes an index of columns
    index: Sequence[Any] = json.loads((read.schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    for entry in index:
        if isinstance(entry, str) and entry.startswith("__index_level_") and "index" not in table:  # it had no name
            table = table.rename(columns={entry: "index"})
        elif isinstance(entry, dict) and entry.get("name") is not None:  # whole numbers, of which the file has the ends
            _check_names(path, [*table.columns, str(entry["name"])])
            table.insert(0, str(entry["name"]), range(entry["start"], entry["stop"], entry["step"]))
    for name in table.columns[[isinstance(dtype, pd.CategoricalDtype) for dtype in table.dtypes]]:
        table[name] = table[name].astype(table[name].cat.categories.dtype)
    return table.set_axis([str(name) for name in table.columns], axis=1)


def _csv(path: Path, data: bytes, texts: Collection[str]) -> pd.DataFrame:
    for beginning, kind in KINDS.items():
        if data.startswith(beginning):
            raise InputError("table", path, f"it is {kind}", "save the table as CSV (UTF-8, commas) and give that")
    lines = _text(path, data).splitlines(keepends=True)
    notes = list(itertools.takewhile(lambda line: line.startswith("#") or not line.strip(), lines))
    lines = _with_header(notes, lines[len(notes) :])
    delimiter = _delimiter(path, lines)
    table = pd.read_csv(
        io.StringIO("".join(lines)),
        sep=delimiter,
        header=None,  # with one pandas would rename columns of one name
        dtype=object,
        na_values=[""],
        keep_default_na=False,
        skipinitialspace=True,
    )
    names = [str(name).strip() if isinstance(name, str) else f"Unnamed: {i}" for i, name in enumerate(table.iloc[0])]
    _check_names(path, names)
    table = table.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)
    plain = [name for name in names if name not in texts]
    if delimiter != ",":
        _with_points(path, table, plain)
    return pd.DataFrame({name: _typed(table[name]) if name in plain else table[name].astype("str") for name in names})


def _with_header(notes: Sequence[str], lines: list[str]) -> list[str]:
    """The lines from the header on: the last of the notes is one (`# params, tokens`, as numpy writes it) where the
    first row holds numbers in as many cells."""
    if not notes or not lines:
        return lines
    header = notes[-1].lstrip("# ")
    for delimiter in DELIMITERS:
        names, cells = (next(csv.reader([line], delimiter=delimiter), []) for line in (header, lines[0]))
        if 1 < len(names) == len(cells) and any(NUMBER.fullmatch(cell.strip()) for cell in cells):
            return [header, *lines]
    return lines


def _text(path: Path, data: bytes) -> str:
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        why = f"it is not {'UTF-16' if wide else 'UTF-8'} (byte {data[error.start]:#x} in line {line})"
        raise InputError("table", path, why, "save the table as UTF-8") from None
    if "\0" in text:
        raise InputError("table", path, "it is no text: it has zero bytes", "save the table as CSV in UTF-8")
    return text


def _delimiter(path: Path, lines: Sequence[str]) -> str:
    """What separates the columns: of what the header has, that which gives every row as many cells."""
    if not lines:
        return ","  # pandas says what is wrong
    found = [delimiter for delimiter in DELIMITERS if len(next(csv.reader(lines, delimiter=delimiter))) > 1]
    if len(found) > 1:
        even = [one for one in found if len({len(row) for row in csv.reader(lines, delimiter=one) if row}) == 1]
        if len(even) != 1:
            why = f"its columns could be separated by {' or by '.join(DELIMITERS[one] for one in found)}"
            raise InputError("table", path, why, "separate them by commas, and put cells with commas into quotes")
        return even[0]
    if not found and len(words := {len(line.split()) for line in lines if line.strip()}) == 1 and words != {1}:
        raise InputError("table", path, "its columns are separated by spaces", "separate them by commas")
    return found[0] if found else ","


def _check_names(path: Path, names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            places = " and ".join(str(place) for place, other in enumerate(names, 1) if other == name)
            raise InputError("table", path, f"columns {places} are both called {name}", "rename or remove one of them")


def _with_points(path: Path, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Numbers with a decimal comma get a point, if nothing in the file speaks against it."""
    commas, others = [], []
    for name in names:
        cells = [cell for cell in table[name].dropna() if cell not in MISSING]
        if any("," in cell for cell in cells) and all(COMMA.fullmatch(cell) or _is_number(cell) for cell in cells):
            commas += [cell for cell in cells if "," in cell]
            others += [cell for cell in cells if "," not in cell]
            table[name] = table[name].str.replace(",", ".")
        elif cells and all(SEPARATED.fullmatch(cell) or _is_number(cell) for cell in cells):
            others += cells
    if not commas:
        return
    against = [cell for cell in [*commas, *others] if "." in cell or cell.count(",") > 1]
    if against or all(SEPARATED.fullmatch(cell) for cell in commas):
        cell = (against or commas)[0]
        why = f"{cell!r} could be a number with separators of thousands" + (f", and {commas[0]!r}" if against else "")
        raise InputError("table", path, why, "write numbers with a decimal point and without separators")


def _typed(column: pd.Series[Any]) -> pd.Series[Any]:
    """Whole numbers, numbers or truth values if all cells are, but for missing ones among numbers; else texts."""
    missing = column.isna() | column.isin(MISSING)
    cells = column[~missing].tolist()
    if cells and not any(LEADING_ZERO.match(cell) for cell in cells):
        for kind in (int, float):
            try:
                numbers = np.array([kind(cell) for cell in cells], dtype=kind)
            except (ValueError, OverflowError):  # no number; too long for 64 bits
                continue
            if len(cells) == len(column):
                return pd.Series(numbers, index=column.index, name=column.name)
            filled = np.full(len(column), np.nan)
            filled[~missing] = numbers
            return pd.Series(filled, index=column.index, name=column.name)
        if len(cells) == len(column) and all(cell in TRUTH for cell in cells):
            return column.map(TRUTH).astype(bool)
    return column.astype("str") if column.notna().any() else column.astype(float)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
