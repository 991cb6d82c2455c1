"""Corpora on disk: verified when opened, read as windows of tokens. `harness.ingest` makes them.

<root>/corpora/<key12>/ holds shard-*.bin, documents-*.bin (where each document ends and which file it
is), files.json, tokenizer.json, token_bytes.bin and manifest.json with a checksum of each. A folder appears complete
or not at all. Where validation has files of its own, there may be no tokens to train on as long as nothing trained on
it: the manifest, which says what splits there are, is replaced by that of the whole corpus then, and nothing else is.
Of sequences that another program drew (`harness.corpora.megatron`) it has no shards: its manifest names the files.

    corpus = open_corpus(root, recipe)
    corpus.train.read(np.array([0, 1]), seq_len=128)        # int64 (2, 129)
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.core import files
from harness.core.errors import CorruptError, InputError
from harness.core.identity import digest
from harness.core.plain import read_back
from harness.corpora.splits import Split, Stream
from harness.corpora.units import UnitSplit, require_units, shards_folder, split_of_units
from harness.texts.recipe import Recipe, corpus_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FORMAT = 1  # of a manifest; `harness.corpora.units.UNITS_FORMAT`, 2, of one whose corpus is made of units
VALIDATION_FORMAT = 3  # of one without tokens to train on
SPLITS = ("train", "validation")

_verified: set[tuple[str, int, str]] = set()  # (folder, inode, checksum of the manifest): checked by this process


@dataclass(frozen=True)
class Corpus:
    """One built corpus. `content` is a digest of all shards: two machines with one content trained on one thing."""

    name: str
    key: str
    folder: Path
    content: str
    vocab_size: int
    end_of_document: int
    train: Stream
    validation: Stream
    whole: bool = True
    """False: only its validation was built yet, and `train` has no token."""

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
        part: Stream = getattr(self, split)
        return [f"{file}:{line}" if line else file for file, line in part.documents_at(window, seq_len)]


def splits_made(root: Path, recipe: Recipe) -> frozenset[str]:
    """Which splits of a corpus a store holds: none, its validation alone, or both. Nothing is verified."""
    try:
        return frozenset(files.read_sealed(corpus_folder(root, recipe) / "manifest.json")["splits"])
    except (CorruptError, OSError, KeyError, TypeError, ValueError):
        return frozenset()


def open_corpus(root: Path, recipe: Recipe, *, whole: bool = True) -> Corpus:
    """A built corpus, its checksums verified once per process. `whole`: not one without tokens to train on.

    Raises FileNotFoundError if it was not built so, CorruptError naming the file after setting the folder aside.
    """
    folder = corpus_folder(root, recipe)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: not built yet")
    corpus = _opened(root, recipe, folder)
    if whole and not corpus.whole:
        raise FileNotFoundError(f"{folder}: only its validation was built yet")
    return corpus


def recipe_of_key(root: Path, key: str) -> Recipe:
    """The recipe of a corpus that a store holds, by its key. Raises FileNotFoundError, CorruptError."""
    folder = corpus_folder(root, key)
    manifest = files.read_sealed(folder / "manifest.json")
    try:
        recipe = read_back(Recipe, {**manifest["recipe"], "name": manifest["name"]})
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"{folder}: not a corpus of this version ({error!r})") from None
    if recipe.key != key:
        raise CorruptError(f"{folder}: holds another corpus")
    return recipe


def _opened(root: Path, recipe: Recipe, folder: Path) -> Corpus:
    try:
        manifest = files.read_sealed(folder / "manifest.json")
        if manifest["format"] > VALIDATION_FORMAT:
            raise InputError("root", root, f"a newer version wrote {folder.name}", "update, or use another root")
        if manifest["key"] != recipe.key:
            raise CorruptError(f"{folder}: holds another corpus")
        identity = (str(folder.resolve()), folder.stat().st_ino, manifest["sha256"])
        if identity not in _verified:
            for name, expected in manifest["files"].items():
                if files.sha256(folder / name) != expected:
                    raise CorruptError(f"{folder / name}: the checksum does not match")
            for place in manifest.get("places", ()):
                _check_place(folder / place["path"], place["size"], place["changed_ns"])
            require_units(shards_folder(root), manifest.get("units", ()))
            _verified.add(identity)
        return read_corpus(folder, recipe, manifest)
    except (CorruptError, OSError) as error:
        aside = files.set_aside(folder)
        outcome = f"the folder was set aside as {aside.name}" if aside else "the folder cannot be renamed"
        raise CorruptError(f"{error}; {outcome}") from None


def read_corpus(folder: Path, recipe: Recipe, manifest: dict[str, Any]) -> Corpus:
    """The corpus in a folder that holds it, as its manifest says; nothing is verified."""

    def split(name: str) -> Stream:
        if name not in manifest["splits"]:
            return UnitSplit(shards_folder(folder.parent.parent), name, (), manifest["dtype"], 0, 0)
        counts = manifest["splits"][name]
        if "units" in manifest and "sequence" not in counts:
            return split_of_units(shards_folder(folder.parent.parent), manifest, name)
        shards = tuple(_tokens(folder, shard, manifest["dtype"]) for shard in counts["shards"])
        index, sequence = folder / f"documents-{name}.bin", counts.get("sequence", 0)
        ids = manifest["vocab_size"] if sequence else 0
        return Split(shards, index, counts["tokens"], counts["documents"], counts["bytes"], names, sequence, ids)

    def names() -> list[str]:
        found: list[str] = json.loads((folder / "files.json").read_text(encoding="utf-8"))
        return found

    shards = {name: checksum for name, checksum in manifest["files"].items() if name.startswith("shard-")}
    content = manifest.get("content") or digest(shards)
    return Corpus(
        recipe.name,
        recipe.key,
        folder,
        content,
        manifest["vocab_size"],
        manifest["end_of_document"],
        split("train"),
        split("validation"),
        "train" in manifest["splits"],
    )


def _tokens(folder: Path, shard: dict[str, Any], dtype: str) -> np.ndarray:
    """The tokens of a shard: a file of the folder, or a stretch of one that lies elsewhere and is read in place."""
    # As plain arrays: numpy's memmap class costs more per read than the read itself.
    tokens = np.asarray(np.memmap(folder / shard["file"], shard.get("dtype", dtype), "r"))
    first = shard.get("first", 0)
    return tokens[first : first + shard["tokens"]] if "first" in shard else tokens


def _check_place(path: Path, size: int, changed_ns: int) -> None:
    """CorruptError if a file that lies elsewhere is no longer what it was when the corpus was made of it. By size and
    time: reading Pythia's 600 GB again takes the better part of an hour."""
    status = path.stat()
    if (status.st_size, status.st_mtime_ns) != (size, changed_ns):
        raise CorruptError(f"{path}: has changed since the corpus was made of it")
