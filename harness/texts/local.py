"""A user's own texts: folders or files of any format of `harness.formats`, streamed as documents.

for document in local_documents("data/german", "downstream", "text"): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.formats.fields import Fields, Place, Record
from harness.formats.reading import read, suffix_of
from harness.texts.listed import FilesSource
from harness.texts.recipe import LONGEST_DOCUMENT
from harness.texts.text_files import text_files


class Document(NamedTuple):
    """One text and where it comes from; `line` (or row, or place in a list) counts from 1, 0 = the whole file."""

    file: str
    line: int
    text: str


def local_documents(path: str | Path, field: str, column: str, longest: int = LONGEST_DOCUMENT) -> Iterator[Document]:
    """All documents below `path` in reading order; `column` holds the text. Raises InputError naming `field`."""
    for file in text_files(path, field).files:
        name = file.relative_to(path).as_posix() if Path(path).is_dir() else file.name
        for line, text in read_file(file, field, column, longest):
            yield Document(name, line, text)


def read_file(file: Path, field: str, column: str, longest: int = LONGEST_DOCUMENT) -> Iterator[tuple[int, str]]:
    """(line, text) of one file, read as its suffix says."""
    for line, text, _ in read(file, Place(field, file, longest, Fields(column))):
        yield line, text


def read_records(file: Path, source: FilesSource, *, name: str = "", field: str = "corpus") -> Iterator[Record]:
    """The records of one file of `source`, in order; those of no part come too, with part None and no text.

    `name` is what the file is called in its listing: its format (unless the source states one) and messages go by it,
    wherever it lies; empty: its own name. `field` is the key of a config that messages name. Raises InputError.
    """
    shown = name or file
    parts = source.parts_of_units
    fields = Fields(source.text, tuple(part.where for part in parts))
    corpus, names = field.rpartition(".")[0], tuple(part.name for part in parts)
    place = Place(field, shown, source.longest_document, fields, corpus, names)
    yield from read(file, place, source.format or suffix_of(shown))
