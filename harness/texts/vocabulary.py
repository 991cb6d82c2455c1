"""Whether two tokenizers make the same tokens of every text, by what is in them; names and layouts play no part.

A model has learnt what its ids stand for, so a corpus of another tokenizer's ids is noise to it that trains without a
word. Compared are the vocabulary, the merges, the added tokens and what is done to a text before it is cut; not the
order or spelling of the JSON, templates, padding, truncation or decoders, which change no id of a text here.

    difference("checkpoint/tokenizer.json", "corpus/tokenizer.json")      # "" or "token 17 is 'ab' and 'cd'"
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.files import sha256_once
from harness.core.identity import canonical_json
from harness.texts.recipe import Recipe, TokenizerRecipe

NO_IDS = ("trim_offsets", "dropout")  # of a step: they move offsets, or are for training with; never ids
# What a step does that says nothing of it: some versions of `tokenizers` write it, others leave it out.
UNSAID = {"use_regex": True, "prepend_scheme": "always"}
SAID = ("add_prefix_space",)  # by all


@dataclass(frozen=True)
class _Contents:
    """What decides which ids a text becomes."""

    tokens: Mapping[int, str]
    merges: tuple[str, ...]
    steps: str  # normalizer and pre-tokenizer, and how the model cuts words
    added: Mapping[int, str]


def difference(one: str | Path, other: str | Path) -> str:
    """The first thing in which two tokenizer.json differ for a text, in words ("A here and B there"); "" if none."""
    if sha256_once(Path(one)) == sha256_once(Path(other)):
        return ""
    first, second = (_read(str(path), sha256_once(Path(path))) for path in (one, other))
    if first.tokens != second.tokens:
        both = sorted(first.tokens.keys() | second.tokens.keys())
        at = next(i for i in both if first.tokens.get(i) != second.tokens.get(i))
        return f"token {at} is {_word(first.tokens.get(at))} and {_word(second.tokens.get(at))}"
    if first.added != second.added:
        both = sorted(first.added.keys() | second.added.keys())
        at = next(i for i in both if first.added.get(i) != second.added.get(i))
        return f"the added token {at} is {_word(first.added.get(at))} and {_word(second.added.get(at))}"
    if first.merges != second.merges:
        pairs = zip(first.merges, second.merges, strict=False)
        number = next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(first.merges), len(second.merges)))
        return f"their merges part at number {number}"
    return "" if first.steps == second.steps else "they cut texts into words in different ways"


def require_one_tokenizer(recipes: Mapping[str, Recipe], own: str | Path | None) -> None:
    """InputError unless all corpora of a run have one tokenizer: the tokenizer.json `own` of its checkpoint, if any."""
    if not recipes:
        return
    name, one = next((name, recipe.tokenizer) for name, recipe in recipes.items())
    if own is not None:
        name, one = "the checkpoint", TokenizerRecipe(0, path=str(own))
    for other, recipe in recipes.items():
        if apart := _apart(one, recipe.tokenizer):
            place = recipe.tokenizer.path or f"one of {recipe.vocab_size:,} tokens, trained here"
            remedy = f"train {other} on the tokens of {name}: leave the tokenizer out, or give the same one"
            raise InputError("tokenizer", place, f"{other} has other tokens than {name}: {apart}", remedy)


def _apart(one: TokenizerRecipe, other: TokenizerRecipe) -> str:
    """What tells them apart; "" for the same tokens."""
    if (one.file, one.trained_on, one.vocab_size) == (other.file, other.trained_on, other.vocab_size):
        return ""
    if one.path and other.path:
        return difference(one.path, other.path)
    return "" if _unknown(one) or _unknown(other) else "they come from different texts or files"


def _unknown(tokenizer: TokenizerRecipe) -> bool:
    """Is it a given one whose file is not here yet?"""
    return not tokenizer.trained_on and not tokenizer.path


@functools.lru_cache(maxsize=8)
def _read(path: str, sha256: str) -> _Contents:  # noqa: ARG001  the hash renews the cache
    try:
        described = json.loads(Path(path).read_text(encoding="utf-8"))
        model = described["model"]
        listed = model["vocab"]
        tokens = (
            {int(i): str(token) for token, i in listed.items()}
            if isinstance(listed, dict)
            else {i: str(entry[0]) for i, entry in enumerate(listed)}
        )
        added = {int(token["id"]): str(token["content"]) for token in described.get("added_tokens") or []}
        merges = tuple(m if isinstance(m, str) else " ".join(m) for m in model.get("merges") or ())
        words = {key: value for key, value in model.items() if key not in ("vocab", "merges")}
        steps = [_plain(described.get("normalizer")), _plain(described.get("pre_tokenizer")), _plain(words)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InputError("tokenizer", path, "not a tokenizer.json", "give a file saved by tokenizers") from error
    scores = () if isinstance(listed, dict) else tuple(str(entry[1:]) for entry in listed)
    return _Contents({**added, **tokens}, (*merges, *scores), canonical_json(steps), added)


def _plain(step: Any) -> Any:
    """A step without what is as usual, or changes no id."""
    if isinstance(step, list):
        return [_plain(inner) for inner in step]
    if not isinstance(step, dict):
        return step
    said = {key: _plain(value) for key, value in step.items() if key not in NO_IDS}
    return {key: value for key, value in said.items() if key in SAID or value not in (UNSAID.get(key, False), None, "")}


def _word(token: str | None) -> str:
    return "none" if token is None else repr(token[:40])
