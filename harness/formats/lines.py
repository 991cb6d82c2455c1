"""Formats that are text: JSON lines, JSON, csv and txt, from a stream of (unpacked) bytes.

Beneath `harness.formats.reading`. No file is held in memory as a whole, and nothing longer than the longest document.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Iterator
from typing import IO, Any

from harness.core.errors import InputError
from harness.formats.fields import Place, Record, column_of, inside, keys_once

_LINE_BYTES = 1 << 20  # a longer line of a txt file is read in parts
_TXT_BYTES = 4096  # a txt file becomes documents of at least this size, cut at empty lines


def json_lines(stream: IO[bytes], place: Place) -> Iterator[Record]:
    for number, line in _lines(stream, place):
        if line.strip():
            try:
                record = json.loads(line, object_pairs_hook=keys_once)
            except (ValueError, RecursionError) as error:
                raise place.error(f"line {number} is not JSON ({error})") from None
            where = f"line {number}"
            yield place.record(number, inside(record, place, where), where)


def json_values(stream: IO[bytes], place: Place) -> Iterator[Record]:
    """A list of records, or one record after another; decoded as it is read."""
    for number, record in enumerate(_json_values(stream, place), 1):
        where = f"record {number}"
        yield place.record(number, inside(record, place, where), where)


def _json_values(stream: IO[bytes], place: Place) -> Iterator[Any]:
    decoder, text = json.JSONDecoder(object_pairs_hook=keys_once), io.TextIOWrapper(stream, "utf-8-sig")
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


def csv_rows(stream: IO[bytes], place: Place, separator: str = ",") -> Iterator[Record]:
    """Rows of columns with a header. A first line `sep=;` (as Excel reads and writes it) states another separator."""
    csv.field_size_limit(min(place.longest, sys.maxsize))  # the module's own default is 128 KiB
    text = (line for _, line in _lines(stream, place))
    first = next(text, "")
    stated = re.fullmatch(r"sep=(.)\r?\n?", first)
    rows = csv.reader(itertools.chain([first], text), strict=True, delimiter=stated[1] if stated else separator)
    begins = 1
    try:
        if stated:
            next(rows)
        header = next(rows, [])
        begins = rows.line_num + 1
        if place.fields.text not in header and len(header) == 1 and (mark := re.search(r"[;\t|]", header[0])):
            remedy = f"say so in a first line of its own: sep={mark[0]}"
            if mark[0] == "\t":
                remedy = "call it .tsv"
            raise place.error(f"its columns are separated by {mark[0]!r}", remedy)
        at = {field: header.index(column_of(place, header, field)) for field in place.fields.all}
        for row in rows:
            begins = rows.line_num + 1
            if row and len(row) != len(header):
                why = f"line {rows.line_num} has {len(row)} fields, the header {len(header)}"
                raise place.error(why, "quote fields that hold commas or line breaks")
            if row:
                cells = {field: row[column] for field, column in at.items()}
                yield place.record(rows.line_num, cells.__getitem__, f"line {rows.line_num}")
    except csv.Error as error:
        if "field larger than field limit" in str(error):  # the module has no error of its own for it
            raise place.too_long(f"a field of the row in line {begins}") from None
        raise place.error(f"line {rows.line_num} is not csv ({error})") from None


def txt_documents(stream: IO[bytes], place: Place) -> Iterator[Record]:
    """Documents of at least 4 KiB cut at empty lines: growth at the end moves none of the earlier ones."""
    if len(place.fields.all) > 1:
        raise place.error("a text file has no fields to filter by", "take `where` out of the corpus' parts")
    lines: list[str] = []
    size, first = 0, 1
    for number, line in _lines(stream, place, whole=False):
        if size >= _TXT_BYTES and (not line.strip() or size >= _LINE_BYTES):
            yield Record(first, place.checked("".join(lines), f"line {first}"), 0)
            lines, size, first = [], 0, number
        if "\0" in line:
            raise place.error(f"line {number} holds a null character, so it is not text")
        lines.append(line)
        size += len(line)
    if lines:
        yield Record(first, place.checked("".join(lines), f"line {first}"), 0)


def _lines(stream: IO[bytes], place: Place, whole: bool = True) -> Iterator[tuple[int, str]]:
    """(number, line) with a byte order mark removed; invalid UTF-8 names its line and byte. Without `whole` a long line
    comes in parts."""
    number, offset = 1, 0
    rest = b""
    while raw := stream.readline(_LINE_BYTES if not whole else place.longest + 1):
        if len(raw) > place.longest and whole:
            raise place.too_long(f"line {number}")
        raw = rest + raw
        try:
            line = raw.decode("utf-8-sig" if not offset else "utf-8")
            rest = b""
        except UnicodeDecodeError as error:
            if not whole and error.reason == "unexpected end of data" and not raw.endswith(b"\n"):
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
