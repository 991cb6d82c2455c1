"""The tokenizer of a corpus: trained, loaded, applied, and its bytes per token.

Loads `tokenizers` only when used. Byte-level BPE, so every text has tokens and every token a number of bytes: losses of
models with other tokenizers compare in bits per byte.

    write(train(texts, 2048), folder / "tokenizer.json")
    ids, counts = encode(("tokenizer.json", 0, "<u2", ["a text", "another"]))
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.core.errors import InputError
from harness.corpora.encoder import Encoder
from harness.texts.recipe import END_OF_DOCUMENT

if TYPE_CHECKING:
    from tokenizers import Tokenizer

EncodeTask = tuple[str, int, str, list[str]]  # tokenizer.json, id of the end-of-document token, dtype, texts
Part = tuple[int, str, bool]  # (index of the text, a piece of it, is it the last)

_PIECE_CHARACTERS = 1 << 20  # longer texts are encoded in parts, since an encoding takes 100 times its text's memory
LIMIT_SECONDS = 120.0  # for that many characters, which take some seconds


def token_dtype(vocab_size: int) -> str:
    """numpy's name for the little-endian type that shards store token ids in."""
    return "<u2" if vocab_size < 65536 else "<u4"


def train(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE with `<|endoftext|>` as id 0; the same texts in the same order give the same file."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load(path: Path | str) -> Tokenizer:
    """The tokenizer in a file, without truncation, padding, or special tokens recognised in text."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise InputError("tokenizer", path, f"cannot be loaded ({error})", "give a file saved by tokenizers") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a text that mentions <|endoftext|> does not end there
    return tokenizer


class EncodingError(Exception):
    """A text that the tokenizer cannot encode: its regular expression may never end."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(index, why)
        self.index, self.why = index, why  # index: which of the texts


def encode(task: EncodeTask) -> tuple[bytes, list[int]]:
    """(ids of all texts, each followed by the end of document; number of ids of each), for one process.

    Raises EncodingError for a text of which a part takes longer than `LIMIT_SECONDS`. It is never left out: what is in
    a corpus must not depend on the machine.
    """
    path, end, dtype, texts = task
    encoder, ending = _encoder(path, dtype), np.array([end], dtype).tobytes()
    counts = [1] * len(texts)
    encoded: list[bytes] = []
    for parts in _together(texts):
        for (index, _, is_last), ids in zip(parts, _ids_of(encoder, parts), strict=True):
            encoded.append(ids)
            counts[index] += len(ids) // len(ending)
            if is_last:
                encoded.append(ending)
    return b"".join(encoded), counts


def _together(texts: Iterable[str]) -> Iterator[list[Part]]:
    """The parts of all texts in groups of some `_PIECE_CHARACTERS`, which are encoded at once."""
    group: list[Part] = []
    characters = 0
    for index, text in enumerate(texts):
        pieces = _pieces(text)
        for number, piece in enumerate(pieces, 1):
            if group and characters + len(piece) > _PIECE_CHARACTERS:
                yield group
                group, characters = [], 0
            group.append((index, piece, number == len(pieces)))
            characters += len(piece)
    if group:
        yield group


def _ids_of(encoder: Encoder, parts: list[Part]) -> list[bytes]:
    found = _attempt(encoder, [piece for _, piece, _ in parts])
    if not isinstance(found, str):
        return found
    one_by_one: list[bytes] = []
    for index, piece, _ in parts:  # one of them is at fault: which?
        found = _attempt(encoder, [piece])
        if isinstance(found, str):
            raise EncodingError(index, found)
        one_by_one += found
    return one_by_one


def _attempt(encoder: Encoder, pieces: list[str]) -> list[bytes] | str:
    """The ids of each piece, or why there are none."""
    outcome: list[list[bytes] | str] = []

    def work() -> None:
        try:
            outcome.append(encoder.encode(pieces))
        except BaseException as error:  # the library's panics are no Exception
            outcome.append(f"fails ({error})")

    # The library cannot be interrupted. Processor time, since a machine may be busy or asleep.
    thread, started = threading.Thread(target=work, daemon=True), time.process_time()
    thread.start()
    while not outcome:
        thread.join(0.2)
        if time.process_time() - started > LIMIT_SECONDS and not outcome:
            return f"takes more than {LIMIT_SECONDS:g} s of processor time"
    return outcome[0]


def bytes_per_token(path: Path | str, vocab_size: int) -> np.ndarray:
    """int32 (vocab_size,): how many bytes of text each token stands for; 0 for special tokens and unused ids.

    Raises InputError for a tokenizer that is neither byte-level nor of SentencePiece's kind.
    """
    described = json.loads(Path(path).read_text(encoding="utf-8"))
    kinds = set(_kinds([described.get("pre_tokenizer"), described.get("decoder"), described.get("normalizer")]))
    byte_level = "ByteLevel" in kinds
    if not byte_level and not kinds & {"Metaspace", "ByteFallback"}:
        why = "is neither byte-level nor of SentencePiece's kind, so its tokens have no number of bytes"
        raise InputError("tokenizer", path, why, "give one that is")
    sizes = np.zeros(vocab_size, np.int32)
    tokenizer = load(path)
    for token, index in tokenizer.get_vocab(with_added_tokens=False).items():
        if byte_level:
            sizes[index] = len(token)  # one character per byte
        else:
            is_byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
            sizes[index] = 1 if is_byte else len(token.replace("\u2581", " ").encode())
    for index, added in tokenizer.get_added_tokens_decoder().items():
        sizes[index] = 0 if added.special else len(added.content.encode())
    return sizes


@functools.lru_cache(maxsize=4)
def _encoder(path: str, dtype: str) -> Encoder:
    return Encoder(path, load(path), dtype)


def _pieces(text: str) -> list[str]:
    """The text in parts, cut at line ends (or anywhere, if lines are longer than a part)."""
    pieces = []
    start = 0
    while len(text) - start > _PIECE_CHARACTERS:
        cut = text.rfind("\n", start + 1, start + _PIECE_CHARACTERS)
        cut = cut if cut > start else start + _PIECE_CHARACTERS
        pieces.append(text[start:cut])
        start = cut
    return [*pieces, text[start:]]


def _kinds(parts: Any) -> Iterable[str]:
    """Every `type` in a part of a tokenizer.json; a Replace by the SentencePiece space counts as Metaspace."""
    if isinstance(parts, list):
        for part in parts:
            yield from _kinds(part)
    elif isinstance(parts, dict):
        yield str(parts.get("type"))
        if parts.get("type") == "Replace" and "\u2581" in json.dumps(parts, ensure_ascii=False):
            yield "Metaspace"
        for key in ("normalizers", "pretokenizers", "decoders"):
            yield from _kinds(parts.get(key) or [])
