"""Corpora on disk: built when missing, verified when opened, read as windows of tokens.

<root>/corpora/<key12>/ holds shard-*.bin, documents-*.bin (where each document ends and which file it
is), files.json, tokenizer.json, token_bytes.bin and manifest.json with a checksum of each. A folder appears complete
or not at all.

    build([recipe], root)
    corpus = open_corpus(root, recipe)
    corpus.train.read(np.array([0, 1]), seq_len=128)        # int64 (2, 129)
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.core import files
from harness.core.cores import cores
from harness.core.errors import CorruptError, InputError
from harness.core.identity import digest
from harness.corpora import held_out, ingest
from harness.corpora.processes import workers
from harness.corpora.progress import display_of
from harness.texts.embedded import OrderedMap
from harness.texts.recipe import EmbeddedSource, LocalSource, Recipe, corpus_folder
from harness.texts.text_files import text_files

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_verified: set[tuple[str, int]] = set()  # (folder, inode): checked by this process
_SMALL_BYTES = 4 << 20  # local files below this are read without other processes, which take a second to start


@dataclass(frozen=True)
class Split:
    """The tokens of one split: documents one after another, each followed by the end-of-document token."""

    shards: tuple[np.ndarray, ...]  # memory-mapped, uint16 or uint32
    index: Path  # documents-<split>.bin
    tokens: int
    documents: int
    bytes: int

    def windows(self, seq_len: int) -> int:
        """Number of windows; window w is tokens[w*seq_len : w*seq_len + seq_len + 1]."""
        return max(0, (self.tokens - 1) // seq_len)

    def read(self, windows: np.ndarray, seq_len: int) -> np.ndarray:
        """int64 (len(windows), seq_len + 1): inputs and, one further, targets."""
        wanted = np.asarray(windows, np.int64)
        assert not len(wanted) or 0 <= wanted.min() <= wanted.max() < self.windows(seq_len), "no such window"
        at = wanted[:, None] * seq_len + np.arange(seq_len + 1)
        if len(self.shards) == 1:
            return np.asarray(self.shards[0][at], np.int64)
        found = np.empty(at.shape, np.int64)
        start = 0
        for shard in self.shards:
            inside = (at >= start) & (at < start + len(shard))
            found[inside] = shard[at[inside] - start]
            start += len(shard)
        return found


@dataclass(frozen=True)
class Corpus:
    """One built corpus. `content` is a digest of all shards: two machines with one content trained on one thing."""

    name: str
    key: str
    folder: Path
    content: str
    vocab_size: int
    end_of_document: int
    train: Split
    validation: Split

    @functools.cached_property
    def token_bytes(self) -> np.ndarray:
        """int64 (vocab_size,): bytes of text per token id, 0 for special ones; for bits per byte."""
        return np.fromfile(self.folder / "token_bytes.bin", "<i4").astype(np.int64)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer, for decoding."""
        from harness.corpora import tokenizer

        return tokenizer.load(self.folder / "tokenizer.json")

    def source(self, split: str, window: int, seq_len: int) -> list[str]:
        """The files (with the line, where one file holds many documents) that a window of a split came from."""
        part: Split = getattr(self, split)
        index = np.memmap(part.index, ingest.DOCUMENT_DTYPE, "r")
        first = int(np.searchsorted(index["end"], window * seq_len, side="right"))
        last = int(np.searchsorted(index["end"], window * seq_len + seq_len, side="right"))
        names = json.loads((self.folder / "files.json").read_text(encoding="utf-8"))
        rows = index[first : min(last, len(index) - 1) + 1]
        return [names[row["file"]] + (f":{row['line']}" if row["line"] else "") for row in rows]


def build(
    recipes: Sequence[Recipe],
    root: Path,
    *,
    progress: bool = True,
    processes: int | None = None,
    check: Callable[[Recipe, Corpus], None] = lambda *_: None,
) -> None:
    """Ingest what `root` lacks; damaged folders are set aside, named on stderr, and made again.

    `check` is called for each of them and may raise InputError (`require_windows`) before anything is kept.
    Raises InputError, and leaves nothing behind then, nor on Ctrl-C or a full disk. Two processes at once are safe.
    """
    wanted = list({recipe.folder: recipe for recipe in recipes}.values())
    ready = [_ready(root, recipe) for recipe in wanted]
    for recipe, corpus in zip(wanted, ready, strict=True):
        if corpus is not None:
            check(recipe, corpus)
    if all(ready):
        return
    finished: list[tuple[Path, Path]] = []
    with _exclusive(root / "corpora") as folder:
        missing = [recipe for recipe in wanted if not _ready(root, recipe)]  # another process may have been faster
        try:
            with _workers(missing, processes) as ordered_map, display_of(missing, progress) as display:
                for recipe in missing:
                    temporary = folder / files.temporary_name()
                    finished.append((temporary, folder / recipe.folder))
                    temporary.mkdir()
                    display.begin(recipe)
                    manifest = ingest.ingest(recipe, temporary, ordered_map, display.report)
                    (temporary / "manifest.json").write_bytes(files.seal(manifest))
                    files.flush_folder(temporary)
                    display.end(manifest)
                    check(recipe, _read(temporary, recipe, manifest))
            for temporary, final in finished:
                if not final.exists():  # where there are no locks, the first of two processes wins
                    temporary.rename(final)
            files.flush(folder)
        finally:
            for temporary, _ in finished:
                shutil.rmtree(temporary, ignore_errors=True)


def open_corpus(root: Path, recipe: Recipe) -> Corpus:
    """A built corpus, its checksums verified once per process.

    Raises FileNotFoundError if it was not built, CorruptError naming the file after setting the folder aside.
    """
    folder = corpus_folder(root, recipe)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: not built yet")
    try:
        manifest = files.read_sealed(folder / "manifest.json")
        if manifest["format"] > ingest.FORMAT:
            raise InputError("root", root, f"a newer version wrote {folder.name}", "update, or use another root")
        if manifest["key"] != recipe.key:
            raise CorruptError(f"{folder}: holds another corpus")
        identity = (str(folder.resolve()), folder.stat().st_ino)
        if identity not in _verified:
            for name, expected in manifest["files"].items():
                if files.sha256(folder / name) != expected:
                    raise CorruptError(f"{folder / name}: the checksum does not match")
            _verified.add(identity)
        return _read(folder, recipe, manifest)
    except (CorruptError, OSError) as error:
        aside = files.set_aside(folder)
        outcome = f"the folder was set aside as {aside.name}" if aside else "the folder cannot be renamed"
        raise CorruptError(f"{error}; {outcome}") from None


def require_windows(recipe: Recipe, corpus: Corpus, seq_len: int, sequences: int = 1, measured: int = 1) -> None:
    """InputError unless train has `sequences` windows (a batch; 0 = it is only measured), validation `measured`."""
    for split, needed in (("train", sequences), ("validation", measured)):
        part: Split = getattr(corpus, split)
        if part.windows(seq_len) < needed:
            why = (
                f"{split} has {part.tokens:,} tokens in {part.documents:,} documents: {part.windows(seq_len):,} windows"
                f" of {seq_len} tokens, {needed:,} needed"
            )
            raise InputError(*ingest.place_of(recipe), why, _remedy(recipe, corpus, seq_len, sequences, measured))


def _remedy(recipe: Recipe, corpus: Corpus, seq_len: int, sequences: int, measured: int) -> str:
    """What to do about too few windows; a share to hold out only if it will do."""
    fewer = "a smaller evaluate.windows, batch.seq_len or batch.sequences"
    if isinstance(recipe.source, EmbeddedSource):
        return f"give a larger share, or {fewer}"
    splits = (corpus.train, corpus.validation)
    bytes_per_token = sum(split.bytes for split in splits) / max(1, sum(split.tokens for split in splits))

    def enough(train: int, validation: int) -> bool:
        windows = (size / bytes_per_token / seq_len for size in (train, validation))
        return all(found >= 1.2 * needed + 1 for found, needed in zip(windows, (sequences, measured), strict=True))

    share = held_out.sufficient_share(recipe, lambda: ingest.texts_of(recipe), enough)
    return (f"hold out more with validation={share:g}, or " if share else "") + f"give more text, or {fewer}"


def _read(folder: Path, recipe: Recipe, manifest: dict[str, Any]) -> Corpus:
    def split(name: str) -> Split:
        counts = manifest["splits"][name]
        # As plain arrays: numpy's memmap class costs more per read than the read itself.
        shards = tuple(np.asarray(np.memmap(folder / s["file"], manifest["dtype"], "r")) for s in counts["shards"])
        index = folder / f"documents-{name}.bin"
        return Split(shards, index, counts["tokens"], counts["documents"], counts["bytes"])

    shards = {name: checksum for name, checksum in manifest["files"].items() if name.startswith("shard-")}
    return Corpus(
        recipe.name,
        recipe.key,
        folder,
        digest(shards),
        manifest["vocab_size"],
        manifest["end_of_document"],
        split("train"),
        split("validation"),
    )


def _ready(root: Path, recipe: Recipe) -> Corpus | None:
    try:
        return open_corpus(root, recipe)
    except FileNotFoundError:
        return None
    except CorruptError as error:
        print(f"corpus {recipe.name}: {error}; made again", file=sys.stderr)
        return None


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[Path]:
    """The folder, made if need be and locked; of what was made, what is empty in the end is removed."""
    made: list[Path] = []
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            while True:
                for path in [*reversed(folder.parents), folder]:
                    if not path.exists():
                        path.mkdir(exist_ok=True)
                        made.append(path)
                try:
                    descriptor = os.open(folder, os.O_RDONLY)
                except FileNotFoundError:  # removed by another process that failed
                    continue
                with contextlib.suppress(OSError):  # some network file systems have no locks: then both build, one wins
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                if folder.exists() and os.fstat(descriptor).st_ino == folder.stat().st_ino:
                    break
                os.close(descriptor)
        except OSError as error:
            why = f"cannot be written ({error.strerror})"
            raise InputError("root", folder.parent, why, "choose a folder you may write") from None
        stack.callback(os.close, descriptor)
        files.remove_leavings(folder)
        yield folder


def _remove_empty(folders: list[Path]) -> None:
    for path in reversed(folders):
        with contextlib.suppress(OSError):  # not empty
            path.rmdir()


def _workers(recipes: Sequence[Recipe], processes: int | None) -> contextlib.AbstractContextManager[OrderedMap]:
    # A given tokenizer may fail as no trained one does: by never ending, or by ending its process.
    simple = all(isinstance(r.source, LocalSource) and not r.tokenizer.path for r in recipes)
    small = simple and all(_size(r) < _SMALL_BYTES for r in recipes)
    return workers(processes or (1 if small else cores()))


def _size(recipe: Recipe) -> int:
    assert isinstance(recipe.source, LocalSource)
    return sum(file.stat().st_size for file in text_files(recipe.source.path, recipe.name).files)
