"""Tokenizers are told apart by the tokens that they make, not by their names or the layout of their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import InputError
from harness.corpora import tokenizer
from harness.texts.recipe import Recipe, TokenizerRecipe, embedded, given_tokenizer
from harness.texts.vocabulary import difference, require_one_tokenizer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("trained") / "tokenizer.json"
    tokenizer.train(["the loss of a model on data that it has not seen"] * 9, 290).save(str(file))
    return file


def changed(trained: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    described = json.loads(trained.read_text())
    change(described)
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(described))
    return file


def swap(described: dict[str, Any]) -> None:
    vocabulary = described["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


SAME: dict[str, Callable[[dict[str, Any]], object]] = {
    "another layout": dict,
    "merges as texts": lambda d: d["model"].update(merges=[" ".join(m) for m in d["model"]["merges"]]),
    "no decoder": lambda d: d.update(decoder=None),
    "a template": lambda d: d.update(
        post_processor={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
    ),
    "another order": lambda d: d["model"].update(vocab=dict(reversed(d["model"]["vocab"].items()))),
    "keys of another version": lambda d: d["pre_tokenizer"].pop("use_regex"),
}
OTHER: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "two tokens swapped": (swap, "is 'a' and 'b'"),
    "a token more": (lambda d: d["model"]["vocab"].update(zzz=290), "token 290 is none and 'zzz'"),
    "merges swapped": (lambda d: d["model"]["merges"].reverse(), "their merges part at number 0"),
    "merges left out": (lambda d: d["model"]["merges"].pop(), "their merges part at number"),
    "another end": (
        lambda d: d["added_tokens"].append({"id": 290, "content": "<|x|>", "special": True}),
        "token 290 is none and '<|x|>'",
    ),
    "other words": (lambda d: d["pre_tokenizer"].update(use_regex=False), "cut texts into words in different ways"),
    "a space before": (lambda d: d["pre_tokenizer"].update(add_prefix_space=True), "cut texts into words"),
    "lower case": (lambda d: d.update(normalizer={"type": "Lowercase"}), "cut texts into words in different ways"),
}


@pytest.mark.parametrize("change", SAME)
def test_what_makes_the_same_tokens_is_the_same(trained: Path, tmp_path: Path, change: str) -> None:
    other = changed(trained, tmp_path, SAME[change])
    assert difference(trained, other) == difference(other, trained) == ""
    text = "the loss of the model"
    assert tokenizer.load(trained).encode(text).ids == tokenizer.load(other).encode(text).ids


@pytest.mark.parametrize("change", OTHER)
def test_what_makes_other_tokens_is_told_apart(trained: Path, tmp_path: Path, change: str) -> None:
    change_it, words = OTHER[change]
    other = changed(trained, tmp_path, change_it)
    assert words in difference(trained, other)
    assert difference(other, trained)


def test_all_corpora_of_a_run_and_its_checkpoint_have_one_tokenizer(trained: Path, tmp_path: Path) -> None:
    own = given_tokenizer(trained)
    copy = given_tokenizer(changed(trained, tmp_path, dict))
    assert own.file != copy.file
    docs = replace(embedded("docs"), tokenizer=own)
    require_one_tokenizer({"docs": docs, "python": replace(docs, tokenizer=copy)}, trained)
    (tmp_path / "other").mkdir()
    other = given_tokenizer(changed(trained, tmp_path / "other", swap))
    for recipes, checkpoint in (
        ({"docs": docs, "python": replace(docs, tokenizer=other)}, None),
        ({"python": replace(docs, tokenizer=other)}, trained),
        ({"python": embedded("python")}, trained),
        ({"docs": docs, "python": embedded("python")}, None),
    ):
        with pytest.raises(InputError, match=r"^tokenizer=.*python has other tokens than (docs|the checkpoint): "):
            require_one_tokenizer(recipes, checkpoint)
    require_one_tokenizer({"docs": embedded("docs"), "python": embedded("python")}, None)


def test_a_tokenizer_that_is_not_here_yet_is_not_compared(trained: Path) -> None:
    absent = TokenizerRecipe(50277, file="not resolved")
    known: Recipe = replace(embedded("docs"), tokenizer=given_tokenizer(trained))
    require_one_tokenizer({"docs": known, "python": replace(known, tokenizer=absent)}, None)
    require_one_tokenizer({"docs": replace(known, tokenizer=absent)}, trained)
    require_one_tokenizer({}, trained)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"model": 3}', b'{"model": {"vocab": {"a": "b"}}}', b"\xff"])
def test_a_file_that_is_no_tokenizer_is_named(trained: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputError, match=r"not a tokenizer\.json"):
        difference(trained, tmp_path / "tokenizer.json")
