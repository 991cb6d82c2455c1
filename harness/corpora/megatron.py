"""Sequences of tokens as Megatron-LM and GPT-NeoX write them: an .idx, and a .bin that may be cut into parts.

Only the layout, and whether the files fit each other; `harness.ingest.pretokenized` makes a corpus of them, whose
tokens stay where they lie. Each sequence is one of a training that was, in its order: Pythia's hold 2,049 tokens. An
.idx holds, little-endian: magic, version, the code of the tokens' type, the number of sequences, the number of
document bounds; then each sequence's length (int32), where it begins in the .bin (bytes, int64), and the bounds
(int64), which play no part here.

Where the constants are from: `_INDEX_HEADER`, `DType` and `_IndexWriter.write` in megatron/core/datasets/
indexed_dataset.py of NVIDIA/Megatron-LM; `MMapIndexedDataset` (and `IndexedDataset`, the older layout, in which
Pythia's files are not) in megatron/data/indexed_dataset.py of EleutherAI/gpt-neox; 2,049 in utils/mmap_dataset.py,
and the names of parts in utils/unshard_memmap.py, of EleutherAI/pythia (whose `-of-00020` is the last number, of 21).

    for pair in pairs("corpus.pile_pythia.files", listing.files):
        dtype, sequences = check(pair, 2049, "corpus.pile_pythia.files")
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.core.errors import InputError
from harness.core.regular import require_regular
from harness.texts.listed import ListedFile

MAGIC, OLDER_MAGIC = b"MMIDIDX\x00\x00", b"TNTIDX\x00\x00"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")  # magic, version, code of the type, sequences, bounds of documents
DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}  # 6 and 7 are floats
PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<last>\d{5})\.bin")
NUMBERED = re.compile(r"\d+/")  # what a listing of several patterns puts before a name

_BLOCK = 1 << 20  # sequences looked at together: the index of Pythia's 146 M has 3 GB


@dataclass(frozen=True)
class Pair:
    """An index and the data it belongs to."""

    index: ListedFile
    """NAME.idx"""
    parts: tuple[ListedFile, ...]
    """NAME.bin, or NAME-00000-of-00020.bin and so on: one file cut up."""

    @property
    def bytes(self) -> int:
        return sum(part.size for part in self.parts)


def pairs(field: str, files: Iterable[ListedFile]) -> list[Pair]:
    """The files by name, in order. InputError, naming `field`, where one lacks its other half, or a part is missing."""
    indices: dict[str, ListedFile] = {}
    data: dict[str, dict[int, ListedFile]] = defaultdict(dict)
    files = tuple(files)
    found = [NUMBERED.sub("", file.name) for file in files]  # an .idx and its .bin may be of two patterns
    names = found if len(set(found)) == len(files) else [file.name for file in files]
    for name, file in zip(names, files, strict=True):
        if name.endswith(".idx"):
            indices[name.removesuffix(".idx")] = file
        elif cut := PART.fullmatch(name):
            data[cut["stem"]][int(cut["number"])] = file
        elif name.endswith(".bin"):
            data[name.removesuffix(".bin")][0] = file
        else:
            raise InputError(
                field, file.name, "neither an .idx nor a .bin", "list the files of Megatron's format alone"
            )
    if not indices and not data:
        raise InputError(field, "", "no files", "list an .idx and its .bin")
    for stem in sorted(indices.keys() | data.keys()):
        if stem not in indices or stem not in data:
            there, missing = (".bin", ".idx") if stem in data else (".idx", ".bin")
            raise InputError(field, stem + there, f"there is no {stem}{missing} beside it", "list both")
        numbers = sorted(data[stem])
        lacking = next((n for n, number in enumerate(numbers) if n != number), None)
        if lacking is not None:
            raise InputError(field, data[stem][numbers[-1]].name, f"part {lacking:05} is not there", "list all parts")
    return [Pair(indices[s], tuple(data[s][n] for n in sorted(data[s]))) for s in sorted(indices)]


def check(pair: Pair, sequence: int, field: str) -> tuple[str, int]:
    """(numpy's name of the tokens' type, number of sequences) of a pair that fits together; the .bin is not read.

    InputError, naming `field`, unless all sequences have `sequence` tokens, one after another up to the end of the
    data.
    """
    index = pair.index
    try:
        require_regular(field, Path(index.url))
        size = Path(index.url).stat().st_size
        with Path(index.url).open("rb") as stream:
            head = stream.read(HEADER.size)
    except OSError as error:
        raise InputError(field, index.url, f"cannot be read ({error.strerror})", "check the path") from None

    def refused(why: str, remedy: str = "fetch the .idx that belongs to this .bin") -> InputError:
        return InputError(field, index.name, why, remedy)

    if head.startswith(OLDER_MAGIC):
        raise refused("an index of the older kind (TNTIDX)", "write it with Megatron's memory-mapped builder (mmap)")
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        raise refused("not an index of Megatron's format: it does not begin with MMIDIDX")
    _, version, code, count, bounds = HEADER.unpack(head)
    if version != VERSION:
        raise refused(f"version {version} of the format", f"write version {VERSION}")
    if code not in DTYPES:
        raise refused(f"type {code} of Megatron's, which is none of token ids", "write the tokens as whole numbers")
    expected = HEADER.size + count * (4 + 8) + bounds * 8
    if size != expected:
        why = f"has {size:,} bytes where its header says {expected:,} ({count:,} sequences, {bounds:,} bounds)"
        raise refused(why, "fetch it again; an index of several modes is not read")
    if not count:
        raise refused("holds no sequences", "list files with some")
    dtype = np.dtype(DTYPES[code])
    lengths = np.memmap(index.url, "<i4", "r", HEADER.size, (count,))
    begins = np.memmap(index.url, "<i8", "r", HEADER.size + 4 * count, (count,))
    for first in range(0, count, _BLOCK):
        other = np.flatnonzero(lengths[first : first + _BLOCK] != sequence)
        if other.size:
            at = first + int(other[0])
            why = f"sequence {at:,} has {int(lengths[at]):,} tokens where {sequence:,} are expected"
            raise refused(why, "give the sequences of a training as they were drawn; documents are given as text")
        places = np.arange(first, min(first + _BLOCK, count), dtype=np.int64) * (sequence * dtype.itemsize)
        if (begins[first : first + _BLOCK] != places).any():
            raise refused("its sequences do not lie one after another", "write them again in their order")
    needed = count * sequence * dtype.itemsize
    if pair.bytes != needed:
        data = pair.parts[0].name if len(pair.parts) == 1 else f"the {len(pair.parts)} parts of its .bin"
        raise refused(f"its {count:,} sequences take {needed:,} bytes, and {data} hold {pair.bytes:,}")
    for part in pair.parts:
        if part.size % dtype.itemsize:
            why = f"has {part.size:,} bytes, which ends within a token of {dtype.itemsize}"
            raise InputError(field, part.name, why, "join the parts to one file")
    return DTYPES[code], count
