"""Which files of a listing are read together, and what the units of text cut from them are called.

Nothing is read: a plan, and every machine that builds, works out the same groups from the listing. A group is one large
file, or small ones that follow each other by name; whoever builds it reads it once, from its first record on, and cuts
it into units of about `unit_bytes` of text. Groups end where a hash of a file says so: one file more or less moves only
the groups beside it, so that another listing finds the units of its other files built already.

    for group in groups(recipe, source):          # training ones in the order of a budget, then those of validation
        unit_key(group, 0)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.core.identity import digest
from harness.texts.listed import FilesSource, ListedFile
from harness.texts.recipe import Recipe

UNIT_CODE = 1
"""Raised whenever the same files would give other units."""

# Text in a byte of a file, about: a wrong guess makes groups larger or smaller.
TEXT_PER_BYTE = {".zst": 4.0, ".gz": 3.5, ".parquet": 2.5, ".arrow": 1.0}
_LEAST, _MOST = 0.25, 2.0  # units of text in a group of small files
_LARGE = 0.5  # of a unit: what is larger is a group of its own


@dataclass(frozen=True)
class Group:
    """Files that are read one after another."""

    files: tuple[ListedFile, ...]
    split: str
    """`train` (of which a share may be held out), or `validation` for the data's own."""
    key: str
    """32 hex: what its files hold and how they become tokens."""

    @property
    def text(self) -> float:
        """Bytes of text in it, about."""
        return sum(_text(file) for file in self.files)


def groups(recipe: Recipe, source: FilesSource) -> list[Group]:
    """All groups of a corpus: those to train on in their fixed shuffled order, then those of its own validation."""
    shared = {
        "code": UNIT_CODE,
        "tokenizer": recipe.tokenizer,
        "text": source.text,
        "format": source.format,
        "parts": [part.where for part in source.parts_of_units],
        "unit_bytes": source.unit_bytes,
    }
    held_out = recipe.validation if source.validation is None else 0
    train = sorted(_made(source.train.files, "train", {**shared, "held_out": held_out}, source), key=_shuffled)
    if source.validation is None:
        return train
    return [*train, *_made(source.validation.files, "validation", {**shared, "held_out": 1}, source)]


def unit_key(group: Group, number: int) -> str:
    """The name of a unit's folder: of the group's content, the recipe of its tokens, and its number in the group."""
    return digest("unit", group.key, number)


def _made(files: Iterable[ListedFile], split: str, how: dict[str, object], source: FilesSource) -> Iterator[Group]:
    for together in _together(files, source.unit_bytes):
        yield Group(together, split, digest("group", how, [_content(file) for file in together]))


def _together(files: Iterable[ListedFile], unit_bytes: int) -> Iterator[tuple[ListedFile, ...]]:
    group: list[ListedFile] = []
    size = 0.0
    for file in files:
        text = _text(file)
        if text >= _LARGE * unit_bytes:
            if group:
                yield tuple(group)
            yield (file,)
            group, size = [], 0.0
            continue
        group.append(file)
        size += text
        # In proportion to its size, whatever stands before it: so the same files end the groups of another listing.
        ends = _place(*_content(file)) < 2 * text / unit_bytes
        if size >= _MOST * unit_bytes or (ends and size >= _LEAST * unit_bytes):
            yield tuple(group)
            group, size = [], 0.0
    if group:
        yield tuple(group)


def _content(file: ListedFile) -> tuple[str, ...]:
    """What a file is to those that read it. A server's own mark is no hash of the content, so the name stands by it."""
    suffixes = "".join(f".{part}" for part in file.name.rpartition("/")[2].split(".")[1:])
    if file.version.startswith("sha256 "):
        return file.version, suffixes.lower()
    return file.version, str(file.size), file.name


def _text(file: ListedFile) -> float:
    return file.size * next((many for suffix, many in TEXT_PER_BYTE.items() if file.name.lower().endswith(suffix)), 1.0)


def _shuffled(group: Group) -> float:
    return _place("order", group.key)


def _place(*identity: str) -> float:
    """In [0, 1), evenly spread."""
    return int.from_bytes(hashlib.sha256("\n".join(identity).encode()).digest()[:6], "big") / 2**48
