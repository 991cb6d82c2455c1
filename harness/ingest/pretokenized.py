"""A corpus of sequences that another program drew: its tokens stay where they lie, and its manifest names the files.

Beneath `harness.ingest.shards`, beside the corpora of texts; `harness.corpora.megatron` knows the files.

    manifest = pretokenized(recipe, recipe.source, folder)
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from harness.core import files
from harness.core.errors import InputError
from harness.core.identity import canonical, digest
from harness.corpora import tokenizer
from harness.corpora.corpus import FORMAT
from harness.corpora.megatron import Pair, check, pairs
from harness.ingest.trained_tokenizer import tokenizer_json
from harness.texts.listed import Listing, MegatronSource
from harness.texts.recipe import LONGEST_DOCUMENT, Recipe

Shards = list[dict[str, Any]]


def pretokenized(recipe: Recipe, source: MegatronSource, folder: Path) -> dict[str, Any]:
    """Write tokenizer and bytes per token into the empty `folder`; returns the manifest. Raises InputError.

    The same listing gives the same content wherever its files lie.
    """
    vocabulary = folder / "tokenizer.json"
    vocabulary.write_bytes(tokenizer_json(recipe.tokenizer, LONGEST_DOCUMENT))
    sizes = tokenizer.bytes_per_token(vocabulary, recipe.vocab_size)
    (folder / "token_bytes.bin").write_bytes(sizes.astype("<i4").tobytes())
    field = f"corpus.{recipe.name}.files"
    train = _shards(field, source.train, source.sequence)
    if source.validation is not None:
        held_out = _shards(f"corpus.{recipe.name}.validation", source.validation, source.sequence)
    else:
        total = sum(shard["tokens"] for shard in train) // source.sequence
        kept = total - max(1, round(recipe.validation * total))
        if not kept:
            raise InputError(field, source.train.files[0].name, "holds one sequence: none to hold out", "give more")
        train, held_out = _cut(train, kept * source.sequence)
    listed = [*source.train.files, *(source.validation.files if source.validation else ())]
    splits = {"train": train, "validation": held_out}
    return {
        "format": FORMAT,
        "name": recipe.name,
        "key": recipe.key,
        "recipe": canonical(recipe),
        "vocab_size": recipe.vocab_size,
        "end_of_document": tokenizer.load(vocabulary).token_to_id(recipe.tokenizer.end_of_document),
        "dtype": train[0]["dtype"],
        "content": digest("sequences", [(file.name, file.size, file.version) for file in listed], recipe.validation),
        "splits": {name: _counts(shards, source.sequence) for name, shards in splits.items()},
        "documents": sum(shard["tokens"] for shards in splits.values() for shard in shards) // source.sequence,
        "duplicates": 0,
        "empty": 0,
        "pieces": 0,
        "places": [_place(Path(file.url)) for file in listed],
        "files": {file.name: files.sha256(file) for file in sorted(folder.iterdir())},
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "packages": [],
        },
    }


def _shards(field: str, listing: Listing, sequence: int) -> Shards:
    """The data of all pairs in order, each of them checked."""
    shards: Shards = []
    for pair in pairs(field, listing.files):
        dtype, _ = check(pair, sequence, field)
        shards += _parts(pair, dtype)
    return shards


def _parts(pair: Pair, dtype: str) -> Shards:
    width = int(dtype[-1])
    return [
        {"file": os.path.abspath(part.url), "dtype": dtype, "first": 0, "tokens": part.size // width}
        for part in pair.parts
    ]


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


def _place(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"path": os.path.abspath(path), "size": status.st_size, "changed_ns": status.st_mtime_ns}
