"""Units of text on disk, as tokens: a folder each, shared by all corpora that are made of it.

<root>/shards/<unit key>/ holds for each part and split that has documents `<part>-<split>.bin` (tokens) and
`<part>-<split>.documents` (where each document ends, and what it was), blocks.bin (a checksum of every 64 KiB of
tokens) and manifest.json with a checksum of each file. A corpus of thousands is opened at once: a file is mapped when
the first window of it is read, and each block is checked before the first of its tokens is used.

    UnitSplit(root / "shards", "0-train", entries, "<u2").read(np.array([0, 1]), seq_len=2048)
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.core import files
from harness.core.errors import CorruptError
from harness.corpora.grouping import Group, unit_key
from harness.corpora.splits import MixedSplit, OneStream, Stream
from harness.program.mixture import Integers

UNIT_FORMAT = 1
UNITS_FORMAT = 2  # of the manifest of a corpus that is made of units; `harness.corpora.corpus.FORMAT` is that of others
BLOCK_BYTES = 1 << 16
# end: tokens of the shard up to here; size: bytes of text; hash: of the text, to find it again in other units
DOCUMENT = np.dtype([("end", "<i8"), ("file", "<u4"), ("line", "<u4"), ("size", "<u4"), ("hash", "<u8")])


def shards_folder(root: Path) -> Path:
    """Where the units of all corpora of a root are."""
    return root / "shards"


def read_unit(folder: Path) -> dict[str, Any] | None:
    """The manifest of a unit, None if it was not built. A damaged one is set aside, so that it is built again."""
    if not folder.is_dir():
        return None
    try:
        return files.read_sealed(folder / "manifest.json")
    except (CorruptError, OSError, ValueError):
        files.set_aside(folder)
        return None


def finished_units(shards: Path, group: Group) -> list[dict[str, Any]]:
    """The manifests of a group's units from its first on, as far as they are there; the last says whether it ends."""
    found: list[dict[str, Any]] = []
    while not (found and found[-1]["last"]):
        manifest = read_unit(shards / unit_key(group, len(found)))
        if manifest is None:
            break
        found.append(manifest)
    return found


def block_checksums(path: Path) -> npt.NDArray[np.uint32]:
    """Of each `BLOCK_BYTES` of a file."""
    found = []
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            found.append(zlib.crc32(block))
    return np.array(found, "<u4")


@dataclass(frozen=True)
class Entry:
    """One shard as the manifest of a corpus names it."""

    unit: str
    """Key of its unit."""
    tokens: int
    """Those that belong to the corpus: all of them, or the first where a budget ends."""


@dataclass(frozen=True)
class UnitSplit(OneStream):
    """The shards of one part and split, one after another, as one stream: `harness.corpora.splits.Stream`."""

    folder: Path
    """<root>/shards"""
    shard: str
    """`<part>-<split>`, the name of its files in each unit."""
    entries: tuple[Entry, ...]
    """In order; none is empty."""
    dtype: str
    documents: int
    bytes: int

    @functools.cached_property
    def tokens(self) -> int:
        return sum(entry.tokens for entry in self.entries)

    def windows(self, seq_len: int) -> int:
        return max(0, (self.tokens - 1) // seq_len)

    def read(self, windows: npt.NDArray[np.int64], seq_len: int) -> npt.NDArray[np.int64]:
        wanted = np.asarray(windows, np.int64)
        assert not len(wanted) or 0 <= wanted.min() <= wanted.max() < self.windows(seq_len), "no such window"
        found = np.empty((len(wanted), seq_len + 1), np.int64)
        for row, window in zip(found, wanted.tolist(), strict=True):
            self._copy(window * seq_len, row)
        return found

    def span(self, first: int, stop: int) -> npt.NDArray[Any]:
        found = np.empty(stop - first, self.dtype)
        self._copy(first, found)
        return found

    def documents_at(self, window: int, seq_len: int) -> list[tuple[str, int]]:
        first, last = window * seq_len, window * seq_len + seq_len
        found = []
        for at in range(self._entry_of(first), self._entry_of(last) + 1):
            folder, start = self.folder / self.entries[at].unit, int(self._starts[at])
            names = files.read_sealed(folder / "manifest.json")["names"]
            index = np.memmap(folder / f"{self.shard}.documents", DOCUMENT, "r")
            a, b = (int(np.searchsorted(index["end"], place - start, side="right")) for place in (first, last))
            found += [(names[row["file"]], int(row["line"])) for row in index[a : min(b, len(index) - 1) + 1]]
        return found

    @functools.cached_property
    def _starts(self) -> Integers:
        return np.cumsum([0, *(entry.tokens for entry in self.entries)])

    @functools.cached_property
    def _mapped(self) -> dict[int, _Mapped]:
        return {}

    def _entry_of(self, token: int) -> int:
        return int(np.searchsorted(self._starts, token, side="right")) - 1

    def _copy(self, first: int, into: npt.NDArray[Any]) -> None:
        """Tokens `first` and on of the stream."""
        filled, at = 0, self._entry_of(first)
        while filled < len(into):
            begin = first + filled - int(self._starts[at])
            many = min(len(into) - filled, self.entries[at].tokens - begin)
            into[filled : filled + many] = self._of(at).read(begin, begin + many)
            filled, at = filled + many, at + 1

    def _of(self, at: int) -> _Mapped:
        if at not in self._mapped:
            self._mapped[at] = _Mapped(self.folder / self.entries[at].unit, self.shard, self.dtype)
        return self._mapped[at]


class _Mapped:
    """One file of tokens, each block checked before it is read for the first time."""

    def __init__(self, folder: Path, shard: str, dtype: str) -> None:
        self.folder, self.path = folder, folder / f"{shard}.bin"
        try:
            described = files.read_sealed(folder / "manifest.json")["shards"][shard]
            all_blocks = np.fromfile(folder / "blocks.bin", "<u4")
            self.bytes = np.asarray(np.memmap(self.path, np.uint8, "r"))
        except (OSError, ValueError, KeyError) as error:
            raise self._bad(f"cannot be read ({error})") from None
        except CorruptError as error:
            raise self._bad(str(error)) from None
        first, count = described["blocks"]
        self.expected = all_blocks[first : first + count]
        self.tokens = self.bytes[: len(self.bytes) // np.dtype(dtype).itemsize * np.dtype(dtype).itemsize].view(dtype)
        if len(self.tokens) != described["tokens"] or -(-len(self.bytes) // BLOCK_BYTES) != len(self.expected):
            raise self._bad("has another length than its manifest says")
        self.checked = np.zeros(len(self.expected), bool)

    def read(self, first: int, stop: int) -> npt.NDArray[Any]:
        width = self.tokens.itemsize
        blocks = range(first * width // BLOCK_BYTES, (stop * width - 1) // BLOCK_BYTES + 1)
        for block in blocks:
            if not self.checked[block]:
                content = self.bytes[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
                if zlib.crc32(content.data) != self.expected[block]:
                    raise self._bad(f"the checksum of block {block} does not match")
                self.checked[block] = True
        return self.tokens[first:stop]

    def _bad(self, why: str) -> CorruptError:
        aside = files.set_aside(self.folder) if self.folder.is_dir() else None
        then = f"its folder was set aside as {aside.name}, run the command again to build it anew" if aside else ""
        return CorruptError(f"{self.path}: {why}; {then or 'run the command again to build it anew'}")


def split_of_units(folder: Path, manifest: dict[str, Any], split: str) -> Stream:
    """One split of the corpus that a manifest describes; nothing is read."""
    counts = manifest["splits"][split]["parts"]
    numbers = manifest.get("numbers", range(len(counts)))  # of a part that is read alone: its place among all parts
    parts = [
        UnitSplit(
            folder,
            f"{number}-{split}",
            _entries(manifest["units"], f"{number}-{split}"),
            manifest["dtype"],
            counted["documents"],
            counted["bytes"],
        )
        for number, counted in zip(numbers, counts, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    weights = manifest["weights"]
    return MixedSplit(tuple(manifest["parts"]), tuple(parts), None if weights is None else tuple(weights))


def require_units(folder: Path, units: Sequence[dict[str, Any]]) -> None:
    """CorruptError for a unit of a corpus that is gone."""
    there = set(files.listing(folder)) if units else set()
    for unit in units:
        if unit["key"] not in there:
            raise CorruptError(f"{folder / unit['key']}: is gone")


def _entries(units: Sequence[dict[str, Any]], shard: str) -> tuple[Entry, ...]:
    return tuple(Entry(unit["key"], unit["tokens"][shard]) for unit in units if unit["tokens"].get(shard))
