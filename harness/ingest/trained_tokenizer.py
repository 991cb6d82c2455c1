"""The tokenizer.json that a recipe asks for: trained on the texts of its corpora, or a given file.

Beneath `harness.ingest.shards`, which writes it into the folder of a corpus.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.core.errors import InputError
from harness.corpora import tokenizer
from harness.corpora.held_out import PIECE_CHARACTERS, pieces, place
from harness.texts import embedded
from harness.texts.local import read_file
from harness.texts.recipe import TokenizerRecipe
from harness.texts.text_files import text_files

_SMALLEST_SAMPLE = 1 << 20  # characters of text from each corpus that the tokenizer is trained on
_SAMPLE_PER_TOKEN = 1 << 9
_LEFT_OUT = 0.1


def tokenizer_json(recipe: TokenizerRecipe, longest: int) -> bytes:
    """The content of the file. Raises InputError for a given one that changed since the recipe was made."""
    if not recipe.path:
        return _trained(recipe, longest).encode()
    content = Path(recipe.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != recipe.file:
        raise InputError("tokenizer", recipe.path, "has changed since it was planned", "run the command again")
    return content


@functools.lru_cache(maxsize=4)
def _trained(recipe: TokenizerRecipe, longest: int) -> str:
    """Once for all corpora that share it."""
    size = max(_SMALLEST_SAMPLE, _SAMPLE_PER_TOKEN * recipe.vocab_size)
    return str(tokenizer.train(_samples(recipe, size, longest), recipe.vocab_size).to_str(pretty=True))


def _samples(recipe: TokenizerRecipe, size: int, longest: int) -> Iterator[str]:
    """Texts of all corpora that share the tokenizer, `size` from each, a fixed tenth of the documents left out.

    The tenth covers what usual shares hold out for validation; it cannot depend on a corpus's own share, since the
    tokenizer must be the same for all of them.
    """
    if not recipe.companions:
        for corpus in recipe.trained_on:
            # Files come in the order of a hash, so the first ones are a sample, the same at any `corpus.sample`.
            documents = embedded.documents(corpus, 1.0)
            yield from _first((d.text for d in documents if place(d.file) >= _LEFT_OUT), size)
    for name, path, column in recipe.companions:
        paths = text_files(path, name).files
        total = sum(file.stat().st_size for file in paths) or 1
        sampled = 0
        for file in paths:
            texts = (text for _, text in read_file(file, name, column, longest) if place(text) >= _LEFT_OUT)
            for text in _first(texts, -(-size * file.stat().st_size // total)):
                sampled += 1
                yield text
        if not sampled:
            found = {text for file in paths for _, text in read_file(file, name, column, longest) if text.strip()}
            if len(found) == 1:  # the only document, and it is in the tenth: a tenth of its pieces then
                parts = list(pieces(found.pop(), PIECE_CHARACTERS))
                yield from _first([part for part in parts if place(part) >= _LEFT_OUT] or parts, size)


def _first(texts: Iterable[str], size: int) -> Iterator[str]:
    for text in texts:
        if size <= 0:
            return
        if text:
            yield text
            size -= len(text)
