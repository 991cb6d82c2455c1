"""A part of a corpus that is read alone (NAME.PART): of the units of the whole, so that no text is tokenised twice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.config.corpora import files_recipe
from harness.corpora.corpus import Corpus
from harness.corpora.splits import MixedSplit
from harness.texts.listed import FilesSource
from harness.texts.recipe import Recipe, given_tokenizer
from tests.ingest.test_listed_files import SETS, built, content, data, documents, records, tokens_of, vocabulary, write

__all__ = ["data", "vocabulary"]  # fixtures
WEIGHTS = {"web": 50, "books": 30, "code": 20}


def recipes(folder: Path, vocabulary: Path, **changes: Any) -> tuple[Recipe, dict[str, Recipe]]:
    """Those of a config: of the whole, and of each of its parts."""
    weights = changes.pop("weights", None)
    parts = {name: {"where": {"meta.set": [name]}, **({"weight": weights[name]} if weights else {})} for name in SETS}
    entry = {"kind": "files", "files": str(folder), "validation": 0.1, "format": None, "text": "text", "tokens": None}
    entry |= {"parts": parts, "unit_bytes": 20_000, **changes}
    made = {
        part: files_recipe("slim", part, entry, given_tokenizer(vocabulary), None, 10**6, []) for part in ("", *SETS)
    }
    return made.pop(""), made


def units(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (root / "shards").iterdir()}


def part_of(whole: Corpus, split: str, name: str) -> np.ndarray:
    found = getattr(whole, split)
    assert isinstance(found, MixedSplit)
    return tokens_of(found.part(name))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_once_the_whole_was_built_its_parts_open_no_text(
    weights: dict[str, int] | None, own: bool, data: Path, vocabulary: Path, tmp_path: Path
) -> None:
    texts = Path(shutil.copytree(data, tmp_path / "texts"))
    held = write(tmp_path / "held", {"held.jsonl": records(60, seed=900)})
    changes: dict[str, Any] = {"validation": str(held)} if own else {}
    changes |= {"tokens": 9_000} if weights else {}
    recipe, parts = recipes(texts, vocabulary, weights=weights, **changes)
    whole = built(tmp_path / "root", recipe)
    before = units(tmp_path / "root")
    shutil.rmtree(texts)
    shutil.rmtree(held)
    for name, part in parts.items():
        alone = built(tmp_path / "root", part)
        assert (tokens_of(alone.train) == part_of(whole, "train", name)).all()
        held_out, of_whole = tokens_of(alone.validation), part_of(whole, "validation", name)
        assert (held_out == of_whole[: len(held_out)]).all()
        # A budget ends where the part has enough of its own: what is held out of texts behind that is not its either.
        assert own or weights or len(held_out) == len(of_whole)
        assert alone.train.documents == len(documents(alone, alone.train))
        window = alone.train.windows(16) - 1
        assert alone.source("train", window, 16) == whole.source("train", _window(whole, name, window), 16)
    assert units(tmp_path / "root") == before
    assert len(list((tmp_path / "root" / "corpora").iterdir())) == 4


def _window(whole: Corpus, name: str, window: int) -> int:
    """Its number in the whole corpus."""
    assert isinstance(whole.train, MixedSplit)
    before = whole.train.parts[: whole.train.names.index(name)]
    return sum(part.windows(16) for part in before) + window


def test_parts_that_come_first_build_what_the_whole_is_made_of(data: Path, vocabulary: Path, tmp_path: Path) -> None:
    recipe, parts = recipes(data, vocabulary)
    for part in parts.values():
        built(tmp_path / "parts", part)
    whole = built(tmp_path / "parts", recipe)
    built(tmp_path / "whole", recipe)
    assert content(tmp_path / "parts" / "shards") == content(tmp_path / "whole" / "shards")
    place = Path("corpora") / whole.folder.name
    assert content(tmp_path / "parts" / place) == content(tmp_path / "whole" / place)


def test_a_part_with_a_budget_reads_no_more_than_that_takes(data: Path, vocabulary: Path, tmp_path: Path) -> None:
    """Each stops where it has enough of its own, whatever there is of others."""
    _, parts = recipes(data, vocabulary, tokens=3_000, weights=WEIGHTS)
    _, unlimited = recipes(data, vocabulary)
    built(tmp_path / "all", unlimited["code"])
    alone = built(tmp_path / "root", parts["code"])
    assert alone.train.tokens == 600
    assert len(units(tmp_path / "root")) < len(units(tmp_path / "all")) / 2
    assert built(tmp_path / "root", parts["web"]).train.tokens == 1_500


def test_keys_of_parts_are_those_of_their_config_alone(data: Path, vocabulary: Path) -> None:
    """What the units are cut for is no part of what a corpus is: keys are those of before."""
    _, parts = recipes(data, vocabulary, weights=WEIGHTS, tokens=9_000)
    for part in parts.values():
        assert isinstance(part.source, FilesSource)
        assert [one.name for one in part.source.cut_for] == list(SETS)
        assert replace(part, source=replace(part.source, cut_for=())).key == part.key
