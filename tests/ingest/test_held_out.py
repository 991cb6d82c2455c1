"""What a user relies on: some text is held out however few the documents, and none that worked before moves."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from harness.core.errors import InputError
from harness.corpora.corpus import Corpus, open_corpus
from harness.corpora.held_out import pieces
from harness.corpora.splits import Split, Stream
from harness.ingest.build import build
from harness.ingest.windows import require_windows
from harness.texts.recipe import Recipe, local

SENTENCE = "the model learns from data that the loss of a run shows when it is trained again"


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [f"{' '.join(draw.choices(SENTENCE.split(), k=12))} {draw.randrange(10**6)}." for _ in range(count)]


def made(root: Path, given: Recipe, seq_len: int = 128) -> Corpus:
    needed = partial(require_windows, seq_len=seq_len, sequences=8)
    build([given], root, progress=False, processes=1, check=needed)
    return open_corpus(root, given)


def decoded(corpus: Corpus, split: Stream) -> list[str]:
    assert isinstance(split, Split)
    tokens = np.concatenate(split.shards)
    parts = np.split(tokens, np.flatnonzero(tokens == corpus.end_of_document) + 1)[:-1]
    return [corpus.tokenizer().decode(part[:-1].tolist()) for part in parts]


def few(folder: Path, kind: str) -> Path:
    """Some 240 kB of text in next to no documents."""
    text = "\n".join(sentences(3000))
    third = len(text) // 3
    thirds = [text[:third], text[third : 2 * third], text[2 * third :]]
    path = folder / {"lines": "a.txt", "record": "a.jsonl", "rows": "a.parquet", "no lines": "a.txt"}.get(
        kind, "a.json"
    )
    if kind == "lines":
        path.write_text(text)
    elif kind == "no lines":
        path.write_text(text.replace("\n", "").replace(" ", ""))
    elif kind == "record":
        path.write_text(json.dumps({"text": text}))
    elif kind == "rows":
        pyarrow.parquet.write_table(pyarrow.table({"text": thirds[:2]}), path)
    else:
        path.write_text(json.dumps([{"text": part} for part in thirds]))
    return path


@pytest.mark.parametrize("kind", ["lines", "no lines", "record", "rows", "three"])
def test_a_split_however_few_the_documents(tmp_path: Path, kind: str) -> None:
    path = few(tmp_path, kind)
    corpus = made(tmp_path / "root", local("downstream", path, vocab_size=400))
    share = corpus.validation.bytes / (corpus.train.bytes + corpus.validation.bytes)
    assert 0.005 < share < 0.4
    if kind in ("lines", "record"):
        train, validation = decoded(corpus, corpus.train), decoded(corpus, corpus.validation)
        lines = "".join(train + validation).split("\n")
        whole = sentences(3000)
        assert len(set(lines) & set(whole)) > 0.98 * len(set(whole)), "nothing is lost, and few lines are cut"
        assert not set("".join(validation).split("\n")) & set("".join(train).split("\n")) - {""}
        assert len(train) <= len(validation) + 1, "what is not held out stays together"
    again = made(tmp_path / "again", local("downstream", path, vocab_size=400))
    assert again.content == corpus.content


@pytest.mark.parametrize("number", range(3))
def test_the_only_document_may_be_one_that_the_tokenizer_and_training_would_leave_out(
    tmp_path: Path, number: int
) -> None:
    """Whatever its hash says: documents whose place is in the share, in the tenth, and elsewhere."""
    from harness.corpora.held_out import place

    wanted = ((0, 0.02), (0.02, 0.1), (0.1, 1))[number]
    texts = ("\n".join([f"begins {n}", *sentences(400)]) for n in range(2000))
    text = next(text for text in texts if wanted[0] <= place(text) < wanted[1])
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}))
    corpus = made(tmp_path / "root", local("downstream", tmp_path / "a.jsonl", vocab_size=400), 64)
    assert corpus.tokenizer().get_vocab_size() == 400, "trained on some text"
    assert corpus.validation.bytes < 0.3 * len(text)


def test_pieces_are_cut_at_lines_or_words_and_none_is_short() -> None:
    for text in ("\n".join(sentences(200)), " ".join(sentences(200)), "é" * 7001, "short", "x" * 300):
        found = list(pieces(text, 100))
        assert "".join(found) == text
        assert all(100 <= len(piece) <= 300 for piece in found) or found == [text]
    assert all(piece.endswith("\n") for piece in list(pieces("\n".join(sentences(200)), 100))[:-1])


def test_too_little_names_the_users_path_and_a_share_that_will_do(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in sentences(300)))
    given = local("downstream", path, vocab_size=400)
    with pytest.raises(InputError) as caught:
        made(tmp_path / "root", given, 256)
    message = str(caught.value)
    assert message.startswith(f"downstream={path}: validation has ")
    assert ".tmp-" not in message
    assert "hold out more with validation=0." in message
    share = float(message.split("validation=")[1].split(",")[0])
    assert made(tmp_path / "root", local("downstream", path, vocab_size=400, validation=share), 256)


def test_no_share_is_advised_that_would_not_do(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("far too short")
    with pytest.raises(InputError, match=r"^downstream=.*a\.txt: train has .*; give more text, or a smaller"):
        made(tmp_path / "root", local("downstream", tmp_path / "a.txt", vocab_size=300))
