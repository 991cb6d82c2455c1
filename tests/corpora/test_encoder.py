"""Pieces that are looked up give the tokens that the tokenizer gives, to the bit; where that is not known, none are."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from harness.corpora import encoder, tokenizer
from harness.corpora.encoder import Encoder, cuts_before_blanks

WORDS = [
    "the",
    "model",
    "learns",
    "it's",
    "don't'll",
    "x=f(a,b)",
    "3.14",
    "Ärger",
    "e\u0301",
    "\u0301",
    "数据",
    "\u1112\u1161",
]
WORDS += ["🙂", "a\u200db", "<|pad|>", "<x y>", "\x00", "\x7f", "…", "ﬁ", "Ⅷ", "٣", "_", "'s", "'", "''", "~", "!"]
SPACES = [
    " ",
    " ",
    " ",
    " ",
    "  ",
    "   ",
    "\n",
    "\t",
    " \n",
    "\n ",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\r\n",
    "",
    " \u0301",
    "\x1c",
]


def made(normalizer: Any = None, added: tuple[AddedToken, ...] = (), **options: Any) -> Tokenizer:
    """Byte-level BPE with merges over spaces of what GPT-2's expression leaves together."""
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **options})
    found.decoder = decoders.ByteLevel()
    if normalizer is not None:
        found.normalizer = normalizer
    found.train_from_iterator(
        texts(60, seed=1), trainers.BpeTrainer(vocab_size=700, special_tokens=["<|end|>"], show_progress=False)
    )
    found.add_tokens(list(added))
    return found


def texts(count: int, seed: int) -> list[str]:
    chosen = random.Random(seed)
    drawn = [
        "".join(chosen.choice(WORDS) + chosen.choice(SPACES) for _ in range(chosen.randint(0, 60)))
        for _ in range(count)
    ]
    return [*drawn, "", " ", "a", " a", "a ", "a  b", "<|end|> <|end|>", " ".join(WORDS)]


RUNS = tuple(AddedToken(" " * n, normalized=True) for n in range(2, 6))  # as GPT-NeoX has them


@pytest.mark.parametrize(
    "one",
    [
        made(),
        made(normalizers.NFC(), RUNS),
        made(added=(AddedToken("<|pad|>"), AddedToken("<x", normalized=False), AddedToken(" "), AddedToken("=f"))),
        made(added=(AddedToken("\n"), AddedToken("\n\n"), AddedToken("\t ", normalized=False))),
    ],
    ids=["plain", "neox", "added", "blanks"],
)
@pytest.mark.parametrize("most", [0, 50, 100_000])
def test_pieces_give_the_tokens_of_the_whole(
    one: Tokenizer, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "_MOST_PIECES", most)
    one.save(str(tmp_path / "tokenizer.json"))
    loaded = tokenizer.load(tmp_path / "tokenizer.json")
    ours = Encoder(tmp_path / "tokenizer.json", loaded, "<u2")
    assert cuts_before_blanks(json.loads((tmp_path / "tokenizer.json").read_text()))
    asked: list[str] = []
    whole, ask = texts(300, seed=2), ours._asked
    monkeypatch.setattr(ours, "_asked", lambda some: asked.extend(some) or ask(some))  # type: ignore[func-returns-value]
    for _ in range(2):
        expected = [loaded.encode(text, add_special_tokens=False).ids for text in whole]
        found = ours.encode(whole)
        assert [np.frombuffer(ids, "<u2").tolist() for ids in found] == expected
    assert len(asked) < 2 * len([piece for text in whole for piece in text.split(" ")]), "pieces are kept"
    assert len(ours._known) <= most
    assert bool(ours._known) == bool(most)


@pytest.mark.parametrize(
    "one",
    [
        made(add_prefix_space=True),
        made(use_regex=False),
        made(normalizers.NFKC()),
        made(normalizers.Replace(" ", "_")),
        made(added=(AddedToken("<x y>"),)),
        made(added=(AddedToken("x\n"),)),
        made(added=(AddedToken("learns", rstrip=True),)),
        made(added=(AddedToken("the", single_word=True),)),
        Tokenizer(models.BPE({"a": 0}, [], dropout=0.1)),
        Tokenizer(models.WordLevel({"a": 0}, unk_token="a")),
    ],
    ids=[
        "prefix",
        "no expression",
        "nfkc",
        "replace",
        "space inside",
        "end of line behind",
        "strips",
        "single word",
        "dropout",
        "words",
    ],
)
def test_where_it_is_not_known_whole_texts_are_asked_for(one: Tokenizer, tmp_path: Path) -> None:
    one.save(str(tmp_path / "tokenizer.json"))
    assert not cuts_before_blanks(json.loads((tmp_path / "tokenizer.json").read_text()))
    loaded = tokenizer.load(tmp_path / "tokenizer.json")
    if isinstance(one.model, models.BPE) and one.model.dropout is None:
        whole = texts(40, seed=3)
        found = Encoder(tmp_path / "tokenizer.json", loaded, "<u4").encode(whole)
        expected = [loaded.encode(text, add_special_tokens=False).ids for text in whole]
        assert [np.frombuffer(ids, "<u4").tolist() for ids in found] == expected
