"""A user's own texts: folders or files of jsonl, jsonl.zst, json, parquet, csv and txt, streamed as documents.

Whatever is wrong with a file is one InputError that names the file, the line (or row, or byte) and the remedy. No file
is held in memory as a whole, and nothing longer than the longest document is.

    for document in local_documents("data/german", "downstream", "text"): ...
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from harness.core.errors import InputError
from harness.texts.file_kinds import kind_of
from harness.texts.recipe import LONGEST_DOCUMENT
from harness.texts.text_files import suffix_of, text_files

_LINE_BYTES = 1 << 20  # a longer line of a txt file is read in parts
_TXT_BYTES = 4096  # a txt file becomes documents of at least this size, cut at empty lines
_BATCH_BYTES = 1 << 26  # of a column of Parquet, read at once
_TWICE = object()  # key of a JSON record under which the keys stand that it has more than once


class Document(NamedTuple):
    """One text and where it comes from; `line` (or row, or place in a list) counts from 1, 0 = the whole file."""

    file: str
    line: int
    text: str


class _Place(NamedTuple):
    """What is being read, for messages."""

    field: str
    file: Path
    column: str
    longest: int  # bytes of a document as it stands in its file

    def error(self, why: str, remedy: str = "repair or remove the file") -> InputError:
        return InputError(self.field, self.file, " ".join(why.split()), remedy)

    def too_long(self, where: str) -> InputError:
        why = f"{where} is longer than {self.longest:,} bytes"
        return self.error(why, "divide it, or allow more: corpus.longest_document=BYTES")


def local_documents(path: str | Path, field: str, column: str, longest: int = LONGEST_DOCUMENT) -> Iterator[Document]:
    """All documents below `path` in reading order; `column` holds the text. Raises InputError naming `field`."""
    for file in text_files(path, field).files:
        name = file.relative_to(path).as_posix() if Path(path).is_dir() else file.name
        for line, text in read_file(file, field, column, longest):
            yield Document(name, line, text)


def read_file(file: Path, field: str, column: str, longest: int = LONGEST_DOCUMENT) -> Iterator[tuple[int, str]]:
    """(line, text) of one file, read as its suffix says."""
    place = _Place(field, file, column, longest)
    suffix = suffix_of(file)
    try:
        if suffix is not None and (kind := kind_of(file, suffix)) is not None:
            raise place.error(f"is {kind.name}, not what {suffix} says", kind.remedy)
        if suffix == ".parquet":
            yield from _parquet(place)
        elif suffix == ".jsonl.zst":
            yield from _zstd_lines(place)
        else:
            with file.open("rb") as stream:
                if suffix == ".jsonl":
                    yield from _json_lines(stream, place)
                elif suffix == ".json":
                    yield from _json(stream, place)
                elif suffix == ".csv":
                    yield from _csv(stream, place)
                else:
                    yield from _txt(stream, place)
    except OSError as error:
        raise place.error(f"cannot be read ({error.strerror or error})", "check the file and its permissions") from None


def _zstd_lines(place: _Place) -> Iterator[tuple[int, str]]:
    import pyarrow

    try:
        with pyarrow.input_stream(str(place.file), compression="zstd") as compressed:
            yield from _json_lines(io.BufferedReader(compressed, 1 << 20), place)
    except (OSError, pyarrow.ArrowException) as error:
        raise place.error(f"not a valid zstd file ({error})") from None


def _json_lines(stream: IO[bytes], place: _Place) -> Iterator[tuple[int, str]]:
    for number, line in _lines(stream, place):
        if line.strip():
            try:
                record = json.loads(line, object_pairs_hook=_record)
            except (ValueError, RecursionError) as error:
                raise place.error(f"line {number} is not JSON ({error})") from None
            yield number, _text_of(record, f"line {number}", place)


def _json(stream: IO[bytes], place: _Place) -> Iterator[tuple[int, str]]:
    """A list of records, or one record after another; decoded as it is read."""
    values = _json_values(stream, place)
    for number, record in enumerate(values, 1):
        yield number, _text_of(record, f"record {number}", place)


def _json_values(stream: IO[bytes], place: _Place) -> Iterator[Any]:
    decoder, text = json.JSONDecoder(object_pairs_hook=_record), io.TextIOWrapper(stream, "utf-8-sig")
    buffer, size, in_list, after_value, ended, count = "", 1 << 16, False, False, False, 1
    while True:
        buffer = buffer.lstrip()
        if buffer[:1] == "[" and not in_list and not after_value:
            in_list, buffer = True, buffer[1:].lstrip()
        if in_list and buffer[:1] == "," and after_value:
            buffer, after_value = buffer[1:].lstrip(), False
        closed = in_list and buffer[:1] == "]"
        if closed and buffer[1:].strip():
            raise place.error("something follows the list, so it is not JSON")
        try:
            if buffer and not closed and not (in_list and after_value):
                value, end = decoder.raw_decode(buffer)
                if end > place.longest:
                    raise place.too_long(f"record {count}")
                if end < len(buffer) or ended:  # else a number or the buffer may go on
                    yield value
                    count += 1
                    buffer, size, after_value = buffer[end:], 1 << 16, True
                    continue
            elif ended and (closed or (not buffer and not in_list)):
                return
            elif ended or (buffer and not closed):
                raise place.error("not JSON (the list is not closed, or a comma is missing)")
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            if ended or isinstance(error, RecursionError):
                raise place.error(f"not JSON ({error})") from None
        if len(buffer) > place.longest:
            raise place.too_long(f"record {count} (or not JSON; it)")
        try:
            more = text.read(min(size, place.longest + 1))
        except UnicodeDecodeError as error:
            at = stream.tell() - len(error.object) + error.start
            raise place.error(f"invalid UTF-8 in byte {at} ({error.reason})", "convert the file to UTF-8") from None
        size *= 2  # a long value is decoded again a few times only
        buffer, ended = buffer + more, not more


def _csv(stream: IO[bytes], place: _Place) -> Iterator[tuple[int, str]]:
    csv.field_size_limit(min(place.longest, sys.maxsize))  # the module's own default is 128 KiB
    rows, begins = csv.reader((line for _, line in _lines(stream, place)), strict=True), 1
    try:
        header = next(rows, [])
        begins = rows.line_num + 1
        if place.column not in header and len(header) == 1 and (mark := re.search(r"[;\t|]", header[0])):
            raise place.error(f"its columns are separated by {mark[0]!r}", "save it with commas between them")
        _check_columns(place, header)
        at = header.index(place.column)
        for row in rows:
            begins = rows.line_num + 1
            if row and len(row) != len(header):
                why = f"line {rows.line_num} has {len(row)} fields, the header {len(header)}"
                raise place.error(why, "quote fields that hold commas or line breaks")
            if row:
                yield rows.line_num, _checked(row[at], f"line {rows.line_num}", place)
    except csv.Error as error:
        if "field larger than field limit" in str(error):  # the module has no error of its own for it
            raise place.too_long(f"a field of the row in line {begins}") from None
        raise place.error(f"line {rows.line_num} is not csv ({error})") from None


def _txt(stream: IO[bytes], place: _Place) -> Iterator[tuple[int, str]]:
    """Documents of at least 4 KiB cut at empty lines: growth at the end moves none of the earlier ones."""
    lines: list[str] = []
    size, first = 0, 1
    for number, line in _lines(stream, place):
        if size >= _TXT_BYTES and (not line.strip() or size >= _LINE_BYTES):
            yield first, _checked("".join(lines), f"line {first}", place)
            lines, size, first = [], 0, number
        if "\0" in line:
            raise place.error(f"line {number} holds a null character, so it is not text")
        lines.append(line)
        size += len(line)
    if lines:
        yield first, _checked("".join(lines), f"line {first}", place)


def _parquet(place: _Place) -> Iterator[tuple[int, str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(place.file) as file:
            schema = file.schema_arrow
            _check_columns(place, schema.names)
            kind = schema.field(place.column).type
            value = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
            if value not in (pyarrow.string(), pyarrow.large_string(), pyarrow.string_view()):
                why = f"column {place.column} holds {kind}, not text"
                raise place.error(why, "name a column of strings: text=NAME")
            groups, row = file.metadata, 0
            size = int(sum(groups.row_group(i).total_byte_size for i in range(groups.num_row_groups)))
            rows = max(1, min(256, _BATCH_BYTES * int(groups.num_rows) // max(1, size)))  # fewer where they are long
            for batch in file.iter_batches(batch_size=rows, columns=[place.column]):
                for cell in batch.column(0):
                    row += 1
                    try:
                        text = cell.as_py()
                    except UnicodeDecodeError as error:
                        raise place.error(f"invalid UTF-8 in row {row} ({error.reason})") from None
                    yield row, _checked(text, f"row {row}", place)
    except (OSError, pyarrow.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise place.error(f"not a valid parquet file ({error})") from None


def _lines(stream: IO[bytes], place: _Place) -> Iterator[tuple[int, str]]:
    """(number, line) with a byte order mark removed; invalid UTF-8 names its line and byte."""
    number, offset = 1, 0
    txt = place.file.name.lower().endswith(".txt")
    rest = b""
    while raw := stream.readline(_LINE_BYTES if txt else place.longest + 1):
        if len(raw) > place.longest and not txt:
            raise place.too_long(f"line {number}")
        raw = rest + raw
        try:
            line = raw.decode("utf-8-sig" if not offset else "utf-8")
            rest = b""
        except UnicodeDecodeError as error:
            if txt and error.reason == "unexpected end of data" and not raw.endswith(b"\n"):
                rest = raw[error.start :]  # the read ended within a character
                line = raw[: error.start].decode("utf-8-sig" if not offset else "utf-8")
            else:
                why = f"invalid UTF-8 in line {number}, byte {offset + error.start} ({error.reason})"
                raise place.error(why, "convert the file to UTF-8") from None
        yield number, line
        offset += len(raw) - len(rest)
        number += raw.endswith(b"\n")
    if rest:
        raise place.error(f"invalid UTF-8 in line {number}, byte {offset} (it ends within a character)")


def _text_of(record: object, where: str, place: _Place) -> str:
    if not isinstance(record, dict):
        why = f"{where} is a {type(record).__name__}, not a record with a text column"
        raise place.error(why, f'write {{"{place.column}": "..."}}')
    if place.column in record.get(_TWICE, ()):
        raise place.error(f"{where} has {place.column} twice", "keep the one that is meant")
    if place.column not in record:
        raise _missing_column(place, list(record), where)
    return _checked(record[place.column], where, place)


def _checked(text: object, where: str, place: _Place) -> str:
    if not isinstance(text, str):
        kind = "null" if text is None else f"a {type(text).__name__}, not text"
        raise place.error(f"{where}: {place.column} is {kind}", "drop such records, or name another column: text=NAME")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise place.error(f"{where} holds half a surrogate pair, which UTF-8 cannot encode") from None
    if size > place.longest:
        raise place.too_long(f"the text of {where}")
    return text


def _record(pairs: list[tuple[str, object]]) -> dict[object, object]:
    """A JSON object as a dict that says which of its keys were there more than once."""
    record: dict[object, object] = dict(pairs)
    if len(record) < len(pairs):
        record[_TWICE] = {key for key, count in Counter(key for key, _ in pairs).items() if count > 1}
    return record


def _check_columns(place: _Place, columns: Sequence[str]) -> None:
    """InputError unless one column, and no more, is the one of texts."""
    at = [number for number, column in enumerate(columns, 1) if column == place.column]
    if not at:
        raise _missing_column(place, columns)
    if len(at) > 1:
        numbers = " and ".join(map(str, at))
        raise place.error(f"columns {numbers} are both called {place.column}", "rename all but the one that is meant")


def _missing_column(place: _Place, columns: Sequence[object], where: str = "") -> InputError:
    known = ", ".join(str(column)[:40] for column in columns[:12] if column is not _TWICE) or "none"
    why = f"{where + ' of ' if where else ''}{place.file} has no such column"
    return InputError("text", place.column, why, f"name one of its columns: {known}")
