"""What a file really is, by its first bytes, where that is not what its suffix says.

Beneath `harness.formats.reading`. A pointer or a packed file read as text would be another corpus, or fail far from its
cause.

    kind_of(Path("a.jsonl"))        # ("gzip", "unpack it: gzip -dc < FILE > OTHER"), None for plain text
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Kind(NamedTuple):
    """`name`: what the file is, for a message; `remedy`: what makes texts of it."""

    name: str
    remedy: str


_UTF8 = "convert it to UTF-8: iconv -f {} -t UTF-8"
_STARTS = {
    b"\x1f\x8b\x08": Kind("gzip", "unpack it: gzip -dc < FILE > OTHER, or call it .jsonl.gz if it holds JSON lines"),
    b"\x28\xb5\x2f\xfd": Kind(
        "zstd", "unpack it: zstd -dc < FILE > OTHER, or call it .jsonl.zst if it holds JSON lines"
    ),
    b"PK\x03\x04": Kind("a zip archive", "unpack it with unzip"),
    b"BZh": Kind("bzip2", "unpack it: bzip2 -dc < FILE > OTHER"),
    b"\xfd7zXZ\x00": Kind("xz", "unpack it: xz -dc < FILE > OTHER"),
    b"7z\xbc\xaf\x27\x1c": Kind("a 7z archive", "unpack it with 7z x"),
    b"PAR1": Kind("Parquet", "call it .parquet"),
    b"ARROW1\x00\x00": Kind("an Arrow file", "call it .arrow"),
    b"\xff\xff\xff\xff": Kind("an Arrow stream", "call it .arrow"),
    b"SQLite format 3\x00": Kind("an SQLite database", "write the texts of it to a file"),
    b"%PDF-": Kind("a PDF", "extract its text"),
    b"\xff\xfe\x00\x00": Kind("UTF-32 text", _UTF8.format("UTF-32")),
    b"\x00\x00\xfe\xff": Kind("UTF-32 text", _UTF8.format("UTF-32")),
    b"\xff\xfe": Kind("UTF-16 text", _UTF8.format("UTF-16")),
    b"\xfe\xff": Kind("UTF-16 text", _UTF8.format("UTF-16")),
    b"version https://git-lfs.github.com/spec/": Kind("a pointer of Git LFS, not the data", "fetch it: git lfs pull"),
}
_BZIP2_BLOCK = b"\x31\x41\x59\x26\x53\x59"  # follows BZh and a digit; a text may begin with BZh
_OWN = {
    ".parquet": ("Parquet",),
    ".jsonl.zst": ("zstd",),
    ".arrow": ("an Arrow file", "an Arrow stream"),
    **dict.fromkeys((".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz", ".txt.gz"), ("gzip",)),
}


def kind_of(file: Path, suffix: str) -> Kind | None:
    """The kind of a file whose content is not what `suffix` says; None if nothing speaks against it. OSError."""
    with file.open("rb") as stream:
        start = stream.read(64)
        found = next((kind for first, kind in _STARTS.items() if start.startswith(first)), None)
        if found is None or found.name in _OWN.get(suffix, ()):
            return None
        if found.name == "bzip2" and start[4:10] != _BZIP2_BLOCK:
            return None
        if found.name == "Parquet":  # a text may begin with these letters; a Parquet file ends with them, too
            stream.seek(-4, 2)
            return found if stream.read() == b"PAR1" else None
        return found
