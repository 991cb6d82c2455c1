"""From a recipe to the files of a corpus: documents, tokenizer, tokens in shards, manifest.

Level 4, above `sources`, `embedded` and `tokenizer`; `harness.corpus` calls it and decides where the folder goes.
One process reads and writes in a fixed order, the others extract and tokenise, so the bytes do not depend on how many
there are; at most a few batches are in memory.

    with workers(2) as ordered_map:
        ingest(recipe, folder, ordered_map, report)
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np

from harness import embedded, files, tokenizer
from harness.embedded import OrderedMap
from harness.errors import InputError
from harness.identity import canonical
from harness.recipe import EmbeddedSource, LocalSource, Recipe, TokenizerRecipe, content_of, local_files
from harness.sources import Document, local_documents, read_file

FORMAT = 1
SPLITS = ("train", "validation")
SHARD_TOKENS = 1 << 28
DOCUMENT_DTYPE = np.dtype([("end", "<i8"), ("file", "<u4"), ("line", "<u4")])  # end: tokens of the split up to here
Report = Callable[[int, int], None]  # (files read so far, tokens so far)

_BATCH_CHARACTERS = 1 << 19
_SMALLEST_TOKENIZER_SAMPLE = 1 << 20  # bytes of text from each corpus that the tokenizer is trained on
_TOKENIZER_SAMPLE_PER_TOKEN = 1 << 9
_NOT_FOR_TOKENIZER = 0.1


@contextlib.contextmanager
def workers(processes: int) -> Iterator[OrderedMap]:
    """`map` over that many processes, lazily and in order. They end with this one, however it ends."""
    if processes <= 1:
        yield map
        return
    context = get_context("spawn")  # a fork would copy the locks of running threads
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker)

    def ordered_map(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        running: deque[Future[Any]] = deque()
        for task in tasks:
            running.append(pool.submit(function, task))
            if len(running) > 2 * processes:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()

    try:
        # Ctrl-C is the parent's to handle: workers inherit the blocked signal before their first line of Python.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(processes):  # each starts a worker, as none is idle yet
                pool.submit(int)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        yield ordered_map
    except BrokenProcessPool:
        raise RuntimeError("a process of the ingest was ended from outside (out of memory?)") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def ingest(recipe: Recipe, folder: Path, ordered_map: OrderedMap, report: Report) -> dict[str, Any]:
    """Write all files of a corpus into the empty `folder`; returns the manifest. Raises InputError."""
    vocabulary = folder / "tokenizer.json"
    if recipe.tokenizer.path:
        vocabulary.write_bytes(_unchanged_tokenizer(recipe.tokenizer))
    else:
        vocabulary.write_text(_trained(recipe.tokenizer), encoding="utf-8")
    sizes = tokenizer.bytes_per_token(vocabulary, recipe.vocab_size)
    (folder / "token_bytes.bin").write_bytes(sizes.astype("<i4").tobytes())
    end = tokenizer.load(vocabulary).token_to_id(recipe.tokenizer.end_of_document)
    dtype = tokenizer.token_dtype(recipe.vocab_size)

    writers = {split: _Writer(folder, split, dtype) for split in SPLITS}
    names: dict[str, int] = {}
    batches = _Batches(recipe, documents_of(recipe, ordered_map))
    try:
        encoded = ordered_map(tokenizer.encode, ((str(vocabulary), end, dtype, batch) for batch in batches.texts()))
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
    finally:
        for writer in writers.values():
            writer.close()
    if not names:
        where = recipe.source.path if isinstance(recipe.source, LocalSource) else recipe.folder
        raise InputError(recipe.name, where, "holds no documents", "give files with some text in them")
    (folder / "files.json").write_text(json.dumps(list(names), indent=0), encoding="utf-8")
    return {
        "format": FORMAT,
        "name": recipe.name,
        "key": recipe.key,
        "recipe": canonical(recipe),
        "vocab_size": recipe.vocab_size,
        "end_of_document": end,
        "dtype": dtype,
        "splits": {split: writer.counts() for split, writer in writers.items()},
        "duplicates": batches.duplicates,
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
    if content_of(source.path, recipe.name) != source.files:
        raise InputError(recipe.name, source.path, "has changed since it was planned", "run the command again")
    yield from local_documents(source.path, recipe.name, source.text)


def count_files(recipe: Recipe) -> int:
    """How many files will be read, for a display."""
    source = recipe.source
    if isinstance(source, LocalSource):
        return len(source.files)
    return len(embedded.sampled(source.corpus, source.sample))


def is_validation(recipe: Recipe, document: Document) -> bool:
    """By a hash of the document (its text, or the name of an installed file): growth moves none."""
    return _place(document.file if isinstance(recipe.source, EmbeddedSource) else document.text) < recipe.validation


class _Batches:
    """Documents grouped for the tokenizer; what they were waits in `waiting` until their tokens come back."""

    def __init__(self, recipe: Recipe, documents: Iterable[Document]) -> None:
        self.recipe, self.documents = recipe, documents
        self.waiting: deque[list[tuple[str, Document, int]]] = deque()
        self.files_read = self.duplicates = 0

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
                continue
            content = document.text.encode()
            identity = hashlib.blake2b(content, digest_size=8).digest()
            if identity in seen:
                self.duplicates += 1
                continue
            seen.add(identity)
            split = "validation" if is_validation(self.recipe, document) else "train"
            texts.append(document.text)
            batch.append((split, document._replace(text=""), len(content)))
            characters += len(document.text)
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


@functools.lru_cache(maxsize=4)
def _trained(recipe: TokenizerRecipe) -> str:
    """The trained tokenizer as JSON; once for all corpora that share it."""
    size = max(_SMALLEST_TOKENIZER_SAMPLE, _TOKENIZER_SAMPLE_PER_TOKEN * recipe.vocab_size)
    texts = chain.from_iterable(_tokenizer_samples(recipe, size))
    return str(tokenizer.train(texts, recipe.vocab_size).to_str(pretty=True))


def _tokenizer_samples(recipe: TokenizerRecipe, size: int) -> Iterator[Iterator[str]]:
    """Texts of all corpora that share the tokenizer, `size` bytes from each, a fixed tenth of the documents left out.

    The tenth covers what usual shares hold out for validation; it cannot depend on a corpus's own share, since the
    tokenizer must be the same for all of them.
    """
    if not recipe.companions:
        for corpus in recipe.trained_on:
            # Files come in the order of a hash, so the first ones are a sample, the same at any `corpus.sample`.
            documents = embedded.documents(corpus, 1.0)
            yield _first((d.text for d in documents if _place(d.file) >= _NOT_FOR_TOKENIZER), size)
    for name, path, column in recipe.companions:
        paths = local_files(path, name)
        total = sum(file.stat().st_size for file in paths) or 1
        for file in paths:
            texts = (text for _, text in read_file(file, name, column) if _place(text) >= _NOT_FOR_TOKENIZER)
            yield _first(texts, -(-size * file.stat().st_size // total))


def _first(texts: Iterable[str], size: int) -> Iterator[str]:
    for text in texts:
        if size <= 0:
            return
        if text:
            yield text
            size -= len(text)


def _unchanged_tokenizer(given: TokenizerRecipe) -> bytes:
    content = Path(given.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != given.file:
        raise InputError("tokenizer", given.path, "has changed since it was planned", "run the command again")
    return content


def _place(identity: str) -> float:
    """In [0, 1), evenly spread; independent of the hash that samples installed files."""
    return int.from_bytes(hashlib.sha256(b"validation\n" + identity.encode()).digest()[:6], "big") / 2**48
