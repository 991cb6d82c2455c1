"""From a recipe to the files of a corpus: documents, tokenizer, tokens in shards, manifest.

Above `harness.texts` and `harness.corpora.tokenizer`; `harness.ingest.build` calls it and decides where the folder
goes. One process reads and writes in a fixed order, the others extract and tokenise, so the bytes do not depend on how
many there are; at most a few batches are in memory.

    with processes.workers(2) as ordered_map:
        ingest(recipe, folder, ordered_map, report)
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.core import files
from harness.core.errors import InputError
from harness.core.identity import canonical
from harness.corpora import held_out, tokenizer
from harness.corpora.corpus import FORMAT, SPLITS
from harness.corpora.splits import DOCUMENT_DTYPE
from harness.corpora.tokenizer import EncodingError
from harness.ingest.trained_tokenizer import tokenizer_json
from harness.texts import embedded
from harness.texts.embedded import OrderedMap
from harness.texts.listed import FilesSource, MegatronSource, key_of
from harness.texts.local import Document, local_documents
from harness.texts.recipe import LONGEST_DOCUMENT, EmbeddedSource, LocalSource, Recipe, content_of, field_of

SHARD_TOKENS = 1 << 28
Report = Callable[[int, int], None]  # (files read so far, tokens so far)

_BATCH_CHARACTERS = 1 << 19


def ingest(recipe: Recipe, folder: Path, ordered_map: OrderedMap, report: Report) -> dict[str, Any]:
    """Write all files of a corpus into the empty `folder`; returns the manifest. Raises InputError."""
    longest = recipe.source.longest_document if isinstance(recipe.source, LocalSource) else LONGEST_DOCUMENT
    vocabulary = folder / "tokenizer.json"
    vocabulary.write_bytes(tokenizer_json(recipe.tokenizer, longest))
    sizes = tokenizer.bytes_per_token(vocabulary, recipe.vocab_size)
    (folder / "token_bytes.bin").write_bytes(sizes.astype("<i4").tobytes())
    end = tokenizer.load(vocabulary).token_to_id(recipe.tokenizer.end_of_document)
    dtype = tokenizer.token_dtype(recipe.vocab_size)

    def written(rule: held_out.Rule) -> _Written:
        batches = _Batches(rule, documents_of(recipe, ordered_map))
        encoded = ordered_map(tokenizer.encode, ((str(vocabulary), end, dtype, batch) for batch in batches.texts()))
        return _write(recipe, folder, dtype, batches, encoded, report)

    result = written(held_out.by_document(recipe))
    if result.documents and not all(counts["documents"] for counts in result.splits.values()):
        for file in [*folder.glob("shard-*"), *folder.glob("documents-*")]:
            file.unlink()
        result = written(held_out.by_piece(recipe.validation, result.characters, texts_of(recipe, ordered_map)))
    if not result.documents:
        raise InputError(*place_of(recipe), "holds no documents", "give files with some text in them")
    (folder / "files.json").write_text(json.dumps(result.files, indent=0), encoding="utf-8")
    return {
        "format": FORMAT,
        "name": recipe.name,
        "key": recipe.key,
        "recipe": canonical(recipe),
        "vocab_size": recipe.vocab_size,
        "end_of_document": end,
        "dtype": dtype,
        "splits": result.splits,
        "documents": result.documents,
        "duplicates": result.duplicates,
        "empty": result.empty,
        "pieces": result.pieces,
        "files": {file.name: files.sha256(file) for file in sorted(folder.iterdir())},
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "packages": list(recipe.source.packages) if isinstance(recipe.source, EmbeddedSource) else [],
        },
    }


def documents_of(recipe: Recipe, ordered_map: OrderedMap) -> Iterator[Document]:
    """All documents of a corpus in order. Raises InputError for local files that changed since the recipe was made."""
    source = recipe.source
    if isinstance(source, EmbeddedSource):
        yield from embedded.documents(source.corpus, source.sample, ordered_map)
        return
    assert isinstance(source, LocalSource), "listed files are built in units"
    if content_of(source.path, recipe.name) != source.files:
        raise InputError(recipe.name, source.path, "has changed since it was planned", "run the command again")
    yield from local_documents(source.path, recipe.name, source.text, source.longest_document)


def texts_of(recipe: Recipe, ordered_map: OrderedMap = map) -> Iterator[str]:
    """The texts of all documents that hold something."""
    return (document.text for document in documents_of(recipe, ordered_map) if document.text.strip())


def count_files(recipe: Recipe) -> int:
    """How many files will be read, for a display."""
    source = recipe.source
    if isinstance(source, LocalSource):
        return len(source.files)
    if isinstance(source, FilesSource | MegatronSource):
        return len(source.train.files) + (len(source.validation.files) if source.validation else 0)
    return len(embedded.sampled(source.corpus, source.sample))


def place_of(recipe: Recipe) -> tuple[str, str]:
    """(field, value) by which a message names what a user gave."""
    if isinstance(recipe.source, LocalSource):
        return field_of(recipe.name), recipe.source.path
    if isinstance(recipe.source, FilesSource | MegatronSource):
        return f"{key_of(recipe.name, recipe.source)}.files", f"{len(recipe.source.train.files):,} files"
    return "corpus.sample", f"{recipe.source.sample} of {recipe.name}"


@dataclass(frozen=True)
class _Written:
    """What became of the documents of a corpus."""

    files: list[str]
    splits: dict[str, dict[str, Any]]
    documents: int  # distinct ones
    duplicates: int
    empty: int
    characters: int
    pieces: int  # characters of the pieces they were cut into, 0 = not cut


def _write(
    recipe: Recipe,
    folder: Path,
    dtype: str,
    batches: _Batches,
    encoded: Iterable[tuple[bytes, list[int]]],
    report: Report,
) -> _Written:
    """The shards and lists of documents of both splits."""
    writers = {split: _Writer(folder, split, dtype) for split in SPLITS}
    names: dict[str, int] = {}
    try:
        for ids, counts in encoded:
            batch = batches.waiting.popleft()
            tokens = memoryview(ids).cast("B")
            position = 0
            for (split, document, size), count in zip(batch, counts, strict=True):
                width = count * np.dtype(dtype).itemsize
                number = names.setdefault(document.file, len(names))
                writers[split].add(tokens[position : position + width], count, size, number, document.line)
                position += width
            report(batches.files_read, sum(writer.tokens for writer in writers.values()))
    except EncodingError as failed:
        _, document, _ = batches.waiting[0][failed.index]
        where = f"{document.file}:{document.line}" if document.line else document.file
        remedy = "repair its regular expressions, or take that document out"
        raise InputError("tokenizer", recipe.tokenizer.path, f"{failed.why} on {where}", remedy) from None
    finally:
        for writer in writers.values():
            writer.close()
    splits = {split: writer.counts() for split, writer in writers.items()}
    return _Written(
        list(names),
        splits,
        batches.distinct,
        batches.duplicates,
        batches.empty,
        batches.characters,
        batches.rule.piece,
    )


class _Batches:
    """Documents grouped for the tokenizer; what they were waits in `waiting` until their tokens come back."""

    def __init__(self, rule: held_out.Rule, documents: Iterable[Document]) -> None:
        self.rule, self.documents = rule, documents
        self.waiting: deque[list[tuple[str, Document, int]]] = deque()
        self.files_read = self.distinct = self.duplicates = self.empty = self.characters = 0

    def texts(self) -> Iterator[list[str]]:
        seen: set[bytes] = set()  # 8 bytes a document, some 100 with the set: a million documents take 0.1 GB
        texts: list[str] = []
        batch: list[tuple[str, Document, int]] = []
        characters = 0
        last = None
        for document in self.documents:
            self.files_read += document.file != last
            last = document.file
            if not document.text.strip():
                self.empty += 1
                continue
            identity = hashlib.blake2b(document.text.encode(), digest_size=8).digest()
            if identity in seen:
                self.duplicates += 1
                continue
            seen.add(identity)
            self.distinct += 1
            self.characters += len(document.text)
            for split, text in self.rule.parts(document):
                texts.append(text)
                batch.append((split, document._replace(text=""), len(text.encode())))
                characters += len(text)
                if characters >= _BATCH_CHARACTERS:
                    self.waiting.append(batch)
                    yield texts
                    texts, batch, characters = [], [], 0
        if texts:
            self.waiting.append(batch)
            yield texts


class _Writer:
    """The shards and the list of documents of one split."""

    def __init__(self, folder: Path, split: str, dtype: str) -> None:
        self.folder, self.split, self.width = folder, split, np.dtype(dtype).itemsize
        self.tokens = self.documents = self.bytes = 0
        self.shards: list[dict[str, Any]] = []
        self.index = (folder / f"documents-{split}.bin").open("wb")
        self.shard: Any = None

    def add(self, ids: memoryview, count: int, size_bytes: int, file: int, line: int) -> None:
        while len(ids):
            if self.shard is None or self.shards[-1]["tokens"] == SHARD_TOKENS:
                self._next_shard()
            space = SHARD_TOKENS - self.shards[-1]["tokens"]
            part = ids[: space * self.width]
            self.shard.write(part)
            self.shards[-1]["tokens"] += len(part) // self.width
            ids = ids[len(part) :]
        self.tokens += count
        self.documents += 1
        self.bytes += size_bytes
        self.index.write(np.array((self.tokens, file, line), DOCUMENT_DTYPE).tobytes())

    def counts(self) -> dict[str, Any]:
        return {"documents": self.documents, "tokens": self.tokens, "bytes": self.bytes, "shards": self.shards}

    def close(self) -> None:
        self.index.close()
        if self.shard is not None:
            self.shard.close()

    def _next_shard(self) -> None:
        if self.shard is not None:
            self.shard.close()
        name = f"shard-{self.split}-{len(self.shards):05d}.bin"
        self.shard = (self.folder / name).open("wb")
        self.shards.append({"file": name, "tokens": 0})
