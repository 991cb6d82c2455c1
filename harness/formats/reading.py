"""One file, whatever its format, as records: text and part of each, in one pass.

    for record in read(Path("a.jsonl.zst"), Place("corpus.pile.files", "a.jsonl.zst", 64_000_000, Fields())): ...

Whatever is wrong with a file is one InputError that names the file, the line (or row, or byte) and the remedy.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from harness.formats import lines, tables
from harness.formats.fields import Place, Record
from harness.formats.kinds import kind_of

# Of a name, with what reads the (unpacked) bytes.
_STREAMS: dict[str, Callable[[IO[bytes], Place], Iterator[Record]]] = {
    ".jsonl": lines.json_lines,
    ".json": lines.json_values,
    ".csv": lines.csv_rows,
    ".tsv": functools.partial(lines.csv_rows, separator="\t"),
    ".txt": lines.txt_documents,
}
_PACKED = {".jsonl.zst": "zstd", **{f"{suffix}.gz": "gzip" for suffix in _STREAMS}}
SUFFIXES = (*_STREAMS, *_PACKED, ".parquet", ".arrow")
PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip", ".tar", ".tgz", ".7z")  # known only in the combinations above


def suffix_of(name: str | Path) -> str | None:
    """The data suffix of a file name, or None."""
    return next((suffix for suffix in SUFFIXES if str(name).lower().endswith(suffix)), None)


def read(file: Path, place: Place, suffix: str | None = None) -> Iterator[Record]:
    """The records of one file, read as its suffix (or the given one) says. Raises InputError."""
    suffix = suffix or suffix_of(file)
    if suffix not in SUFFIXES:
        raise place.error("unknown format", f"known are {', '.join(SUFFIXES)}")
    try:
        if (kind := kind_of(file, suffix)) is not None:
            raise place.error(f"is {kind.name}, not what {suffix} says", kind.remedy)
        if suffix == ".parquet":
            yield from tables.parquet_rows(file, place)
        elif suffix == ".arrow":
            yield from tables.arrow_rows(file, place)
        elif suffix in _PACKED:
            yield from _unpacked(file, place, suffix)
        else:
            with file.open("rb") as stream:
                yield from _STREAMS[suffix](stream, place)
    except OSError as error:
        raise place.error(f"cannot be read ({error.strerror or error})", "check the file and its permissions") from None


def _unpacked(file: Path, place: Place, suffix: str) -> Iterator[Record]:
    import pyarrow

    reader, packed = _STREAMS[f".{suffix.split('.')[1]}"], _PACKED[suffix]
    try:
        with contextlib.closing(pyarrow.input_stream(str(file), compression=packed)) as compressed:
            yield from reader(io.BufferedReader(compressed, 1 << 20), place)
    except (OSError, pyarrow.ArrowException) as error:
        raise place.error(f"not a valid {packed} file ({error})") from None
