"""The records of a corpus of listed files: text and part of each, in one pass over a file.

for record in read_records(path, source): ...       # Record(line, text, part); part None: it belongs to none
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.formats.fields import Fields, Place, Record
from harness.formats.reading import read, suffix_of
from harness.texts.listed import FilesSource


def read_records(file: Path, source: FilesSource, *, name: str = "", field: str = "corpus") -> Iterator[Record]:
    """The records of one file of `source`, in order; those of no part come too, with part None and no text.

    `name` is what the file is called in its listing: its format (unless the source states one) and messages go by it,
    wherever it lies; empty: its own name. `field` is the key of a config that messages name. Raises InputError.
    """
    shown = name or file
    fields = Fields(source.text, tuple(part.where for part in source.parts))
    place = Place(field, shown, source.longest_document, fields)
    yield from read(file, place, source.format or suffix_of(shown))
