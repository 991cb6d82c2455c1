"""Write one unit: tokens and documents of each part and split, checksums, manifest; then the folder gets its name.

Beneath `harness.ingest.units`, which reads the texts and has them tokenised; `harness.corpora.units` reads what is
written here.

    writer = UnitWriter(recipe, group, 0, root / "shards")
    writer.take((0, 1), record, batch); ...; writer.add(encoded, batch); ...; manifest = writer.finish(last=True)
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from harness.core import files
from harness.corpora.grouping import Group, unit_key
from harness.corpora.held_out import place
from harness.corpora.tokenizer import token_dtype
from harness.corpora.units import DOCUMENT, UNIT_FORMAT, block_checksums
from harness.formats.fields import Record
from harness.texts.listed import FilesSource
from harness.texts.recipe import Recipe

Encoded = tuple[bytes, list[int]]  # tokens of all texts, number of each


class Batch:
    """Documents that are tokenised together: (shard, file, line, bytes, hash) of each, and the texts."""

    def __init__(self) -> None:
        self.documents: list[tuple[str, int, int, int, int]] = []
        self.texts: list[str] = []
        self.characters = 0


class UnitWriter:
    """One unit on its way to its folder."""

    def __init__(self, recipe: Recipe, group: Group, number: int, shards: Path) -> None:
        self.group, self.number, self.into = group, number, shards
        self.dtype = token_dtype(recipe.vocab_size)
        self.key = unit_key(group, number)
        self.folder = shards / files.temporary_name()
        self.folder.mkdir()
        assert isinstance(recipe.source, FilesSource)
        self.held_out = recipe.validation
        if recipe.source.validation is not None:
            self.held_out = 0.0 if group.split == "train" else 1.0
        self.seen: set[int] = set()
        self.shards: dict[str, _Shard] = {}
        self.text_bytes = self.records = self.duplicates = self.empty = self.in_no_part = 0
        self.ended = (0, 0)

    def take(self, at: tuple[int, int], record: Record, batch: Batch) -> int:
        """Put a record into the batch, unless it is left out; `at`: (file, records of it so far). Its bytes."""
        line, text, part = record
        self.records += 1
        self.ended = at
        if part is None:
            self.in_no_part += 1
            return 0
        content = text.encode()
        self.text_bytes += len(content)
        if not text.strip():
            self.empty += 1
            return len(content)
        identity = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
        if identity in self.seen:
            self.duplicates += 1
            return len(content)
        self.seen.add(identity)
        split = "validation" if self.held_out and place(text) < self.held_out else "train"
        batch.documents.append((f"{part}-{split}", at[0], line, len(content), identity))
        batch.texts.append(text)
        batch.characters += len(text)
        return len(content)

    def add(self, encoded: Encoded, batch: Batch) -> None:
        tokens, position = memoryview(encoded[0]), 0
        width = np.dtype(self.dtype).itemsize
        for (name, number, line, size, identity), count in zip(batch.documents, encoded[1], strict=True):
            shard = self.shards.get(name) or self._shard(name)
            shard.tokens.write(tokens[position : position + count * width])
            shard.end += count
            shard.bytes += size
            shard.documents.append((shard.end, number, line, size, identity))
            position += count * width
        for shard in self.shards.values():
            shard.flush()

    def finish(self, last: bool) -> dict[str, Any]:
        """The manifest, once the folder has its name."""
        described, blocks = {}, 0
        with (self.folder / "blocks.bin").open("wb") as file:
            for name, shard in sorted(self.shards.items()):
                shard.close()
                checksums = block_checksums(self.folder / f"{name}.bin")
                file.write(checksums.tobytes())
                described[name] = {
                    "tokens": shard.end,
                    "documents": shard.count,
                    "bytes": shard.bytes,
                    "blocks": [blocks, len(checksums)],
                }
                blocks += len(checksums)
        manifest = {
            "format": UNIT_FORMAT,
            "key": self.key,
            "number": self.number,
            "last": last,
            "ended": list(self.ended),
            "dtype": self.dtype,
            "names": [file.name for file in self.group.files],
            "shards": described,
            "tokens": {name: shard["tokens"] for name, shard in described.items()},
            "text_bytes": self.text_bytes,
            "records": self.records,
            "duplicates": self.duplicates,
            "empty": self.empty,
            "in_no_part": self.in_no_part,
            "files": {file.name: files.sha256(file) for file in sorted(self.folder.iterdir())},
        }
        (self.folder / "manifest.json").write_bytes(files.seal(manifest))
        files.flush_folder(self.folder)
        final = self.into / self.key
        if not final.exists():  # another process may have been faster: its bytes are the same
            try:
                self.folder.rename(final)
            except OSError:
                if not final.exists():
                    raise
        files.flush(self.into)
        self.discard()
        return manifest

    def discard(self) -> None:
        """Remove what has no name yet."""
        for shard in self.shards.values():
            shard.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _shard(self, name: str) -> _Shard:
        return self.shards.setdefault(name, _Shard(self.folder, name))


class _Shard:
    """The tokens of one part and split, and where its documents end."""

    def __init__(self, folder: Path, name: str) -> None:
        self.tokens = (folder / f"{name}.bin").open("wb")
        self.index = (folder / f"{name}.documents").open("wb")
        self.end = self.bytes = self.count = 0
        self.documents: list[tuple[int, int, int, int, int]] = []

    def flush(self) -> None:
        self.index.write(np.array(self.documents, DOCUMENT).tobytes())
        self.count += len(self.documents)
        self.documents = []

    def close(self) -> None:
        self.tokens.close()
        self.index.close()
