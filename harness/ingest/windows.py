"""Whether a corpus holds the windows that are asked of it, and what to do if not.

require_windows(recipe, corpus, seq_len=128, sequences=32)
"""

from __future__ import annotations

from harness.core.errors import InputError
from harness.corpora.corpus import Corpus
from harness.corpora.held_out import sufficient_share
from harness.corpora.splits import MixedSplit, Stream
from harness.ingest.shards import place_of, texts_of
from harness.texts.listed import FilesSource, MegatronSource, key_of, part_key
from harness.texts.recipe import EmbeddedSource, Recipe


def require_windows(recipe: Recipe, corpus: Corpus, seq_len: int, sequences: int = 1, measured: int = 1) -> None:
    """InputError unless train has `sequences` windows (a batch; 0 = it is only measured), validation `measured`."""
    for split, needed in (("train", sequences), ("validation", measured)):
        part: Stream = getattr(corpus, split)
        if not needed:
            continue
        if part.windows(seq_len) < needed:
            why = (
                f"{split} has {part.tokens:,} tokens in {part.documents:,} documents: {part.windows(seq_len):,} windows"
                f" of {seq_len} tokens, {needed:,} needed"
            )
            raise InputError(*place_of(recipe), why, _remedy(recipe, corpus, seq_len, sequences, measured))
        if isinstance(part, MixedSplit):
            for name, one in zip(part.names, part.parts, strict=True):
                if not one.windows(seq_len):
                    assert isinstance(recipe.source, FilesSource)
                    field = part_key(recipe.name, recipe.source, name)
                    why = f"{split} of its part {name} has {one.tokens:,} tokens: no window of {seq_len}"
                    raise InputError(field, name, why, _remedy(recipe, corpus, seq_len, sequences, measured))


def _remedy(recipe: Recipe, corpus: Corpus, seq_len: int, sequences: int, measured: int) -> str:
    """What to do about too few windows; a share to hold out only if it will do."""
    fewer = "a smaller evaluate.windows, batch.seq_len or batch.sequences"
    if isinstance(recipe.source, EmbeddedSource):
        return f"give a larger share, or {fewer}"
    if isinstance(recipe.source, FilesSource | MegatronSource):
        return f"give more files, another {key_of(recipe.name, recipe.source)}.validation, or {fewer}"
    splits = (corpus.train, corpus.validation)
    bytes_per_token = sum(split.bytes for split in splits) / max(1, sum(split.tokens for split in splits))

    def enough(train: int, validation: int) -> bool:
        windows = (size / bytes_per_token / seq_len for size in (train, validation))
        return all(found >= 1.2 * needed + 1 for found, needed in zip(windows, (sequences, measured), strict=True))

    share = sufficient_share(recipe, lambda: texts_of(recipe), enough)
    return (f"hold out more with validation={share:g}, or " if share else "") + f"give more text, or {fewer}"
