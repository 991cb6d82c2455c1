"""Which part of a corpus is held out for validation.

Documents are held out by a hash of each, so that growth and order move none. Where that leaves one split without any (a
handful of documents, or one), documents are cut into pieces, and those are held out by their hash.

    rule = by_document(recipe)
    list(rule.parts(document))          # [("train", "the whole text")]

Files of listed corpora may be held out by name instead: those alone are read where nothing trains on the corpus.

    read_of(recipe, whole=False)
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from harness.texts.listed import FilesSource, MegatronSource, validation_alone
from harness.texts.local import Document
from harness.texts.recipe import EmbeddedSource, Recipe

PIECE_CHARACTERS = 4096
_FEWEST_PIECES = 16  # a short corpus has shorter pieces
_SHARES = (0.03, 0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Rule:
    """What lies below `below` in the order of a hash is held out: documents, or pieces of so many characters."""

    below: float
    piece: int = 0
    by_name: bool = False  # of an installed file, not by its text

    def parts(self, document: Document) -> Iterator[tuple[str, str]]:
        """(split, text) of a document: one, or where it is cut one for each stretch of pieces of one split."""
        if not self.piece:
            yield self._split(document.file if self.by_name else document.text), document.text
            return
        for split, stretch in itertools.groupby(pieces(document.text, self.piece), self._split):
            yield split, "".join(stretch)

    def _split(self, identity: str) -> str:
        return "validation" if place(identity) < self.below else "train"


def read_of(recipe: Recipe, *, whole: bool) -> Recipe:
    """The recipe of what is read of a corpus: all of it, or what it takes to measure it, which is its own validation.

    Where validation is cut out of the texts to train on, that is all of it, too: `read_of(...) is recipe` tells. The
    recipe of validation alone has the units of the whole corpus', and a key of its own, which is no address.
    """
    if whole or not isinstance(recipe.source, FilesSource | MegatronSource):
        return recipe
    source = validation_alone(recipe.source)
    return recipe if source is None else replace(recipe, source=source)


def by_document(recipe: Recipe) -> Rule:
    """The rule for all corpora in which it holds out some documents and keeps some."""
    return Rule(recipe.validation, by_name=isinstance(recipe.source, EmbeddedSource))


def by_piece(share: float, characters: int, texts: Iterable[str]) -> Rule:
    """The rule where documents are too few; each split gets a piece at least, if there are two."""
    length = min(PIECE_CHARACTERS, max(1, characters // _FEWEST_PIECES))
    places = [place(piece) for text in texts for piece in pieces(text, length)]
    lowest, highest = min(places), max(places)
    return Rule(min(max(share, lowest + 2**-49), highest), length)  # places are multiples of 2^-48


def pieces(text: str, length: int) -> Iterator[str]:
    """The text in pieces of `length` characters to three times that, cut after a line or a word where there are any."""
    start = 0
    while len(text) - start > 3 * length:
        first, last = start + length, start + 2 * length
        ends = (text.find(mark, first, last) for mark in "\n ")
        cut = next((end + 1 for end in ends if end >= 0), last)
        yield text[start:cut]
        start = cut
    yield text[start:]


def sufficient_share(recipe: Recipe, texts: Callable[[], Iterable[str]], enough: Callable[[int, int], bool]) -> float:
    """The least share of a few with which the splits are `enough`, by their bytes of train and validation; 0 if none.

    For a message that advises one: `texts` are read again, at most twice for each share.
    """
    for share in (share for share in _SHARES if share > recipe.validation):
        rule = Rule(share)
        sizes = _sizes(rule, texts())
        if not all(sizes.values()):
            sizes = _sizes(by_piece(share, sum(map(len, texts())), texts()), texts())
        if enough(sizes["train"], sizes["validation"]):
            return share
    return 0


def _sizes(rule: Rule, texts: Iterable[str]) -> dict[str, int]:
    sizes = {"train": 0, "validation": 0}
    for text in texts:
        for split, part in rule.parts(Document("", 0, text)):
            sizes[split] += len(part.encode())
    return sizes


def place(identity: str) -> float:
    """In [0, 1), evenly spread; independent of the hash that samples installed files."""
    return int.from_bytes(hashlib.sha256(b"validation\n" + identity.encode()).digest()[:6], "big") / 2**48
