"""Texts to the bytes of their tokens: as the tokenizer gives them, but each word it has met before only once.

Beneath `harness.corpora.tokenizer`. Where text is cut into words as GPT-2, GPT-NeoX and their kind do, no token crosses
the place between a printable ASCII character and a space, tab or end of line: the blank begins the next word, or is one
of its own. So a text is the sum of its pieces between such places, and the tokens of frequent pieces are kept.
The tokens are the same to the bit; it takes half of the time. Any other tokenizer is asked for whole texts.

    Encoder("tokenizer.json", "<u2").encode(["a text", "another"])           # [bytes, bytes]
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BLANKS = " \t\r\n"
_BETWEEN_WORDS = re.compile(rf"(?<=[!-~])(?=[{_BLANKS}])")
_MOST_PIECES = 50_000  # kept, of at most so many characters each: some 10 MB
_LONGEST_PIECE = 32


class Encoder:
    """A tokenizer, and what it said of frequent pieces of text. Not for several threads at once."""

    def __init__(self, path: Path | str, tokenizer: Tokenizer, dtype: str) -> None:
        self._tokenizer, self._dtype = tokenizer, dtype
        self._known: dict[str, bytes] = {}
        self._by_pieces = cuts_before_blanks(json.loads(Path(path).read_text(encoding="utf-8")))

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of each text."""
        if not self._by_pieces:
            return self._asked(texts)
        cut, known = [_BETWEEN_WORDS.split(text) for text in texts], self._known
        missing = sorted(set().union(*cut).difference(known), key=_is_long)
        places = _MOST_PIECES - len(known)
        known.update(zip(missing, self._asked(missing), strict=True))
        encoded = [b"".join(map(known.__getitem__, pieces)) for pieces in cut]
        for number, piece in enumerate(missing):
            if number >= places or _is_long(piece):
                del known[piece]
        return encoded

    def _asked(self, texts: Sequence[str]) -> list[bytes]:
        found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(one.ids, self._dtype).tobytes() for one in found]


def _is_long(piece: str) -> bool:
    return len(piece) > _LONGEST_PIECE


def cuts_before_blanks(described: Mapping[str, Any]) -> bool:
    """Does no token of the tokenizer in this tokenizer.json reach over the place between a word and a blank behind it?

    It is known of byte-level BPE behind GPT-2's regular expression, in which a blank behind a word can only begin a
    match, and what a match looks ahead at is not behind it; with NFC at most, which joins no character to one of ASCII
    behind it; and of added tokens without a blank, or of blanks alone.
    """
    model, before, normalizer = (described.get(key) or {} for key in ("model", "pre_tokenizer", "normalizer"))
    cut = (
        before.get("type") == "ByteLevel" and before.get("use_regex", True) and not before.get("add_prefix_space", True)
    )
    plain = model.get("type") == "BPE" and not model.get("dropout") and normalizer.get("type", "NFC") == "NFC"
    return bool(cut and plain) and all(map(_stays_in_a_piece, described.get("added_tokens") or ()))


def _stays_in_a_piece(added: Mapping[str, Any]) -> bool:
    content = str(added["content"])
    reaches = any(added.get(key) for key in ("lstrip", "rstrip", "single_word"))
    return not reaches and (not set(content).intersection(_BLANKS) or not content.strip(_BLANKS))
