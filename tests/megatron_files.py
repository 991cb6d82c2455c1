"""Files of Megatron's format as its own tools write them, made here by hand from the published layout."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from harness.core import files
from harness.texts.listed import ListedFile, Listing, listing

CODES = {"u1": 1, "i2": 3, "i4": 4, "i8": 5, "u2": 8}


def index_of(lengths: list[int], dtype: str, bounds: list[int] | None = None) -> bytes:
    """The bytes of an .idx, field by field: the order and widths of Megatron's `_IndexWriter`."""
    bounds = list(range(len(lengths) + 1)) if bounds is None else bounds
    content = b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", CODES[dtype])
    content += struct.pack("<Q", len(lengths)) + struct.pack("<Q", len(bounds))
    content += b"".join(struct.pack("<i", length) for length in lengths)
    address = 0
    for length in lengths:
        content += struct.pack("<q", address)
        address += length * int(dtype[1])
    return content + b"".join(struct.pack("<q", bound) for bound in bounds)


def write_pair(stem: Path, sequences: np.ndarray, dtype: str = "u2", cuts: tuple[int, ...] = ()) -> None:
    """`stem`.idx and .bin of (sequences, tokens), the .bin cut at these bytes into parts named as Pythia's."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    data = sequences.astype(f"<{dtype}").tobytes()
    stem.with_suffix(".idx").write_bytes(index_of([sequences.shape[1]] * len(sequences), dtype))
    if not cuts:
        stem.with_suffix(".bin").write_bytes(data)
    bounds = [0, *cuts, len(data)]
    for number in range(len(cuts) + 1 if cuts else 0):
        part = stem.with_name(f"{stem.name}-{number:05}-of-{len(cuts):05}.bin")
        part.write_bytes(data[bounds[number] : bounds[number + 1]])


def listed(folder: Path) -> Listing:
    """The files of a folder as a listing of them has it."""
    return listing(
        ListedFile(file.name, file.stat().st_size, f"sha256 {files.sha256(file)}", str(file))
        for file in folder.iterdir()
    )
