"""A corpus of sequences that another program drew: its tokens stay where they lie, and its manifest names the files.

All tokens are looked at once, as the corpus is made: an id that its tokenizer lacks would else be found days into a
training. Files of a server are fetched once, into <root>/sequences, and stay there. `harness.ingest.build` calls it,
beside the corpora of texts; `harness.corpora.megatron` knows the files.

    manifest = pretokenized(recipe, root, folder, processes, display)
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.core import files
from harness.core.errors import InputError
from harness.core.identity import canonical, digest
from harness.core.units import size
from harness.corpora import tokenizer
from harness.corpora.corpus import FORMAT
from harness.corpora.megatron import check, pairs
from harness.corpora.tokenizer import token_dtype
from harness.ingest.assemble import assemble, end_of_document, fetch_groups
from harness.ingest.progress import PlainDisplay
from harness.ingest.selection import require_built, wanted_groups
from harness.ingest.trained_tokenizer import tokenizer_json
from harness.texts.fetch import fetch, is_here, place_of_file
from harness.texts.listed import FilesSource, ListedFile, Listing, MegatronSource, Part, listing
from harness.texts.recipe import LONGEST_DOCUMENT, Recipe

Shards = list[dict[str, Any]]

_BLOCK = 1 << 24  # bytes of tokens looked at together


def sequences_folder(root: Path) -> Path:
    """Where files of sequences are kept that came from a server."""
    return root / "sequences"


def pretokenized(recipe: Recipe, root: Path, folder: Path, processes: int, display: PlainDisplay) -> dict[str, Any]:
    """Write tokenizer and bytes per token into the empty `folder`; returns the manifest. Raises InputError.

    The same listing gives the same content wherever its files lie. Texts to validate on are built as those of any
    corpus.
    """
    source = recipe.source
    assert isinstance(source, MegatronSource)
    held_out, texts = source.validation, _texts(recipe, source)
    # As a corpus without any text to train on.
    manifest = assemble(texts, root, folder, processes, display) if texts else _of_none(recipe, folder)
    field, place = f"corpus.{recipe.name}.files", _Place(root, folder, display, recipe.vocab_size)
    train = place.shards(field, source.train, source.sequence) if source.train.files else []
    splits = {"train": _counts(train, source.sequence)}
    if held_out is None:
        total = sum(shard["tokens"] for shard in train) // source.sequence
        kept = total - max(1, round(recipe.validation * total))
        if not kept:
            raise InputError(field, source.train.files[0].name, "holds one sequence: none to hold out", "give more")
        before, after = _cut(train, kept * source.sequence)
        splits = {"train": _counts(before, source.sequence), "validation": _counts(after, source.sequence)}
    elif not texts:
        shards = place.shards(f"corpus.{recipe.name}.validation", held_out, source.sequence)
        splits["validation"] = _counts(shards, source.sequence)
    listed = [
        (file.name, file.size, file.version) for each in (source.train, held_out) for file in (each or _NONE).files
    ]
    splits = {**manifest["splits"], **splits}
    return {
        **manifest,
        "key": recipe.key,
        "recipe": canonical(recipe),
        "content": digest("sequences", listed, recipe.validation, manifest.get("content", "")),
        "splits": splits,
        "documents": sum(counts["documents"] for counts in splits.values()),
        "places": place.files,
        "ids_checked": True,
    }


def fetch_sequences(recipe: Recipe, root: Path) -> None:
    """Bring its files into the store, for a job where there is no network. Raises InputError."""
    source = recipe.source
    assert isinstance(source, MegatronSource)
    place, texts = _Place(root, root, PlainDisplay(True), recipe.vocab_size), _texts(recipe, source)
    for field, listed in _sequences(recipe, source):
        place.fetch(field, listed)
    if texts:
        fetch_groups(texts, wanted_groups(texts, root), root)


def require_fetched(recipe: Recipe, root: Path) -> None:
    """InputError for a file that is not on this machine: there may be no network here."""
    source = recipe.source
    assert isinstance(source, MegatronSource)
    for field, listed in _sequences(recipe, source):
        for file in listed.files:
            if not is_here(file) and not place_of_file(file, sequences_folder(root)).exists():
                raise InputError(
                    field, file.name, "was not fetched", "run the command again: it fetches what is missing"
                )
    if texts := _texts(recipe, source):
        require_built(texts, root)


_NONE = listing(())


def _texts(recipe: Recipe, source: MegatronSource) -> Recipe | None:
    """Its texts to validate on as a corpus of their own, if it has such."""
    held_out = source.validation
    if held_out is None or any(file.name.endswith(".idx") for file in held_out.files):
        return None
    return replace(recipe, source=FilesSource(_NONE, (Part("all"),), held_out, source.text, source.format))


def _sequences(recipe: Recipe, source: MegatronSource) -> Iterator[tuple[str, Listing]]:
    """(key of a config, files of sequences) of its splits."""
    yield f"corpus.{recipe.name}.files", source.train
    if source.validation is not None and _texts(recipe, source) is None:
        yield f"corpus.{recipe.name}.validation", source.validation


def _of_none(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The manifest of a corpus without texts, as far as it does not depend on its sequences."""
    vocabulary = folder / "tokenizer.json"
    vocabulary.write_bytes(tokenizer_json(recipe.tokenizer, LONGEST_DOCUMENT))
    sizes = tokenizer.bytes_per_token(vocabulary, recipe.vocab_size)
    (folder / "token_bytes.bin").write_bytes(sizes.astype("<i4").tobytes())
    return {
        "format": FORMAT,
        "name": recipe.name,
        "vocab_size": recipe.vocab_size,
        "end_of_document": end_of_document(recipe, vocabulary),
        "dtype": token_dtype(recipe.vocab_size),
        "splits": {},
        **dict.fromkeys(("duplicates", "empty", "pieces"), 0),
        "files": {file.name: files.sha256(file) for file in sorted(folder.iterdir())},
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "packages": [],
        },
    }


class _Place:
    """Where files lie, seen from the folder of a corpus: elsewhere on this machine, or in the store."""

    def __init__(self, root: Path, folder: Path, display: PlainDisplay, ids: int) -> None:
        self.root, self.folder, self.display, self.ids = root, folder, display, ids
        self.files: list[dict[str, Any]] = []

    def shards(self, field: str, files: Listing, sequence: int) -> Shards:
        """The data of all pairs in order, each of them checked before its data are fetched."""
        shards: Shards = []
        self._check_disk(field, files.files)
        found = pairs(field, files.files)
        self.display.expect(sum(pair.bytes for pair in found), "bytes of tokens, whose ids are checked once")
        for pair in found:
            dtype, _ = check(replace(pair, index=self._here(field, pair.index)), sequence, field)
            before = 0
            for part in pair.parts:
                file = self._here(field, part)
                self._check_ids(field, file, np.dtype(dtype), before, sequence)
                tokens = part.size // int(dtype[-1])
                shards.append({"file": self._named(file.url), "dtype": dtype, "first": 0, "tokens": tokens})
                before += tokens
        return shards

    def fetch(self, field: str, listed: Listing) -> None:
        """Bring all files into the store."""
        self._check_disk(field, listed.files)
        for file in listed.files:
            self._here(field, file)

    def _check_ids(self, field: str, file: ListedFile, dtype: np.dtype[Any], before: int, sequence: int) -> None:
        """InputError unless the tokenizer has each id in a part of a .bin; `before` are the tokens of earlier parts."""
        buffer = np.empty(_BLOCK // dtype.itemsize, dtype)
        with Path(file.url).open("rb", buffering=0) as stream:
            while (size := stream.readinto(buffer.view(np.uint8).data)) >= dtype.itemsize:
                # A disk may give less than it was asked for: a token that was cut is read again.
                tokens = buffer[: size // dtype.itemsize]
                stream.seek(-(size % dtype.itemsize), os.SEEK_CUR)
                if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.ids:
                    at = int(np.flatnonzero((tokens < 0) | (tokens >= self.ids))[0])
                    why = (
                        f"sequence {(before + at) // sequence:,} holds token {int(tokens[at])},"
                        f" and its tokenizer has ids 0 to {self.ids - 1:,}"
                    )
                    key = f"{field.rpartition('.')[0]}.tokenizer"
                    raise InputError(field, file.name, why, f"give the tokenizer that made them: {key}=PATH")
                before += tokens.size
                self.display.add(tokens.nbytes)

    def _here(self, field: str, file: ListedFile) -> ListedFile:
        """The file on this machine, fetched if it is not."""
        if not is_here(file) and not place_of_file(file, sequences_folder(self.root)).exists():
            self.display.print_line(f"{field}: fetching {file.name} ({size(file.size)})")
        path = fetch(file, sequences_folder(self.root), field)
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(field, path, f"cannot be read ({error.strerror})", "check the path") from None
        if status.st_size != file.size:
            raise InputError(field, path, "has changed since it was planned", "run the command again")
        named = self._named(str(path))
        known = file.version.removeprefix("sha256 ") if file.version.startswith("sha256 ") else ""
        place = {"path": named, "size": status.st_size, "changed_ns": status.st_mtime_ns, "sha256": known}
        self.files.append(place)
        return replace(file, url=str(path))

    def _named(self, file: str) -> str:
        """Of a file of the store, its place from the folder of the corpus: a store may move."""
        path = os.path.abspath(file)
        inside = Path(path).is_relative_to(os.path.abspath(self.root))
        return os.path.relpath(path, os.path.abspath(self.folder)) if inside else path

    def _check_disk(self, field: str, listed: Iterable[ListedFile]) -> None:
        missing = [f for f in listed if not is_here(f) and not place_of_file(f, sequences_folder(self.root)).exists()]
        nearest = files.nearest_existing(self.root)
        needed, free = sum(file.size for file in missing), shutil.disk_usage(nearest).free
        if needed > free:
            why = f"{size(needed)} are to be fetched for {field}, and {size(free)} are free"
            raise InputError("root", self.root, why, "choose a folder on a larger disk")


def _cut(shards: Shards, tokens: int) -> tuple[Shards, Shards]:
    """The first `tokens` of the stream, and what follows."""
    before: Shards = []
    after: Shards = []
    for shard in shards:
        own = min(tokens, shard["tokens"])
        tokens -= own
        before += [{**shard, "tokens": own}] if own else []
        rest = shard["tokens"] - own
        after += [{**shard, "first": shard["first"] + own, "tokens": rest}] if rest else []
    return before, after


def _counts(shards: Shards, sequence: int) -> dict[str, Any]:
    tokens = sum(shard["tokens"] for shard in shards)
    return {"documents": tokens // sequence, "tokens": tokens, "bytes": 0, "sequence": sequence, "shards": shards}
