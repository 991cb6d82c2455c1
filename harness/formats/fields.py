"""What is taken from a record: its text, and which part of a corpus it belongs to.

Beneath the formats of `harness.formats`. A field is named by dots (`meta.text`); a key or column whose real name has
the dots wins. Whatever is wrong is one InputError with file, line and remedy.

    Fields("text", parts=((("meta.set", ("C4",)),), (("meta.set", ("Book", "Wikipedia")),)))
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness.core.errors import InputError

Where = tuple[tuple[str, tuple[str, ...]], ...]  # (field, values that belong); all must hold, () is every record
TWICE = object()  # key of a JSON record under which the keys stand that it has more than once


class Record(NamedTuple):
    """One record that was read."""

    line: int
    """Or row, or place in a list; counts from 1."""
    text: str
    """Empty where the record belongs to no part."""
    part: int | None
    """The first part that it belongs to; None: to none."""


@dataclass(frozen=True)
class Fields:
    """What to take from each record."""

    text: str = "text"
    """Field that holds the text."""
    parts: tuple[Where, ...] = ((),)
    """What each part of the corpus picks; a record belongs to the first that picks it."""

    @functools.cached_property
    def all(self) -> tuple[str, ...]:
        """Every field that is read, the text's first."""
        return tuple(dict.fromkeys([self.text, *(field for where in self.parts for field, _ in where)]))


@dataclass(frozen=True)
class Place:
    """What is being read, for messages."""

    field: str
    """The key of a config that names the file."""
    file: str | Path
    longest: int
    """Bytes of a document as it stands in its file; only ever refuses."""
    fields: Fields
    corpus: str = ""
    """`corpus.NAME`, whose own keys say what is read; empty: the run's `text` does."""
    parts: tuple[str, ...] = ()
    """Names of the parts, in the order of `fields.parts`."""

    @property
    def text_key(self) -> str:
        """The key of a config that names the field of the text."""
        return f"{self.corpus}.text" if self.corpus else "text"

    def error(self, why: str, remedy: str = "repair or remove the file") -> InputError:
        return InputError(self.field, self.file, " ".join(why.split()), remedy)

    def too_long(self, where: str) -> InputError:
        why = f"{where} is longer than {self.longest:,} bytes"
        return self.error(why, "divide it, or allow more: corpus.longest_document=BYTES")

    def record(self, line: int, get: Callable[[str], object], where: str) -> Record:
        """The record in `line`, whose fields `get` gives by name; `where` names it in messages."""
        for number, conditions in enumerate(self.fields.parts):
            if all(self._value(field, get(field), where) in values for field, values in conditions):
                return Record(line, self.checked(get(self.fields.text), where), number)
        return Record(line, "", None)

    def checked(self, text: object, where: str) -> str:
        """The text of a record, if it is one."""
        if not isinstance(text, str):
            kind = "null" if text is None else f"a {type(text).__name__}, not text"
            remedy = f"drop such records, or name another column: {self.text_key}=NAME"
            raise self.error(f"{where}: {self.fields.text} is {kind}", remedy)
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise self.error(f"{where} holds half a surrogate pair, which UTF-8 cannot encode") from None
        if size > self.longest:
            raise self.too_long(f"the text of {where}")
        return text

    def missing(self, field: str, columns: Sequence[object], where: str = "") -> InputError:
        """The refusal of a field that is not there, with those that are."""
        known = ", ".join(str(column)[:40] for column in columns[:12] if column is not TWICE) or "none"
        why = f"{where + ' of ' if where else ''}{self.file} has no such column"
        return InputError(self._key(field), field, why, f"name one of its columns: {known}")

    def _key(self, field: str) -> str:
        """The key of a config that names a field."""
        if field == self.fields.text:
            return self.text_key
        asking = (n for n, where in enumerate(self.fields.parts) if field in dict(where))
        return f"{self.corpus}.parts.{self.parts[next(asking)]}.where" if self.parts else "where"

    def _value(self, field: str, value: object, where: str) -> str:
        """What `where` of a part compares: texts as they are, the others as JSON writes them."""
        if isinstance(value, str):
            return value
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        if isinstance(value, int | float):
            return str(value)
        raise self.error(f"{where}: {field} is a {type(value).__name__}, not a value to filter by")


def column_of(place: Place, columns: Sequence[str], field: str) -> str:
    """`field`, if it is one of the columns, and one only. Raises InputError."""
    at = [number for number, column in enumerate(columns, 1) if column == field]
    if not at:
        raise place.missing(field, columns)
    if len(at) > 1:
        numbers = " and ".join(map(str, at))
        raise place.error(f"columns {numbers} are both called {field}", "rename all but the one that is meant")
    return field


_ABSENT = object()


def inside(record: object, place: Place, where: str) -> Callable[[str], object]:
    """What gives the fields of one JSON record by name."""
    if not isinstance(record, dict):
        why = f"{where} is a {type(record).__name__}, not a record with a text column"
        raise place.error(why, f'write {{"{place.fields.text}": "..."}}')

    def get(field: str) -> object:
        value = _found(record, field, place, where)
        if value is _ABSENT:
            raise place.missing(field, list(_names(record.items())), where)
        return value

    return get


def keys_once(pairs: list[tuple[str, object]]) -> dict[object, object]:
    """A JSON object as a dict that says which of its keys were there more than once."""
    record: dict[object, object] = dict(pairs)
    if len(record) < len(pairs):
        record[TWICE] = {key for key, count in Counter(key for key, _ in pairs).items() if count > 1}
    return record


def _found(record: dict[Any, Any], field: str, place: Place, where: str) -> object:
    if field in record:
        if TWICE in record and field in record[TWICE]:
            raise place.error(f"{where} has {field} twice", "keep the one that is meant")
        return record[field]
    for head, rest in splits(field):
        if isinstance(record.get(head), dict):
            found = _found(record[head], rest, place, where)
            if found is not _ABSENT:
                return found
    return _ABSENT


def splits(field: str) -> Iterator[tuple[str, str]]:
    """(outer, inner) of a dotted name, the longest outer first: its own dots win."""
    at = field.rfind(".")
    while at > 0:
        yield field[:at], field[at + 1 :]
        at = field.rfind(".", 0, at)


def _names(items: Iterable[tuple[Any, object]]) -> Iterator[object]:
    for key, value in items:
        if isinstance(value, dict) and value:
            yield from (f"{key}.{name}" for name in value if name is not TWICE)
        else:
            yield key
