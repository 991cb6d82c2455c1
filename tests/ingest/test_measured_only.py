"""A corpus that is only measured: its own validation is all that is read, until something trains on it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pytest

from harness.core import files
from harness.core.errors import CorruptError, InputError
from harness.corpora import corpus as opening
from harness.corpora.corpus import Corpus, open_corpus, splits_made
from harness.ingest.build import build
from harness.store.history import Measure
from harness.texts.listed import FilesSource, MegatronSource, listing
from harness.texts.recipe import Recipe, corpus_folder
from tests import megatron_files
from tests.ingest.test_listed_files import (
    PARTS,
    content,
    data,
    killed_after,
    listed,
    recipe_of,
    records,
    seconds,
    started,
    vocabulary,
    write,
)

__all__ = ["data", "vocabulary"]  # fixtures
WEIGHTED = tuple(replace(part, weight=weight) for part, weight in zip(PARTS, (0.5, 0.3, 0.2), strict=True))


def measured(root: Path, recipe: Recipe, processes: int = 1) -> Corpus:
    build([recipe], root, progress=False, processes=processes, measured={recipe.key})
    return open_corpus(root, recipe, whole=False)


def whole(root: Path, recipe: Recipe, processes: int = 1) -> Corpus:
    build([recipe], root, progress=False, processes=processes)
    return open_corpus(root, recipe)


def windows_of(corpus: Corpus) -> list[int]:
    measure = Measure(corpus.name, corpus.key, 20, 16)
    return list(corpus.validation.read(corpus.validation.measured(measure), 16).ravel())


def copied(folder: Path, into: Path) -> Path:
    return Path(shutil.copytree(folder, into))


@pytest.fixture
def held(tmp_path: Path) -> Path:
    return write(tmp_path / "held", {f"{k}.jsonl": records(60, seed=900 + k) for k in range(2)})


@pytest.mark.parametrize("parts", [PARTS, WEIGHTED])
@pytest.mark.parametrize("tokens", [None, 9_000])
def test_files_to_train_on_are_not_opened_until_something_trains(
    parts: Any, tokens: int | None, data: Path, vocabulary: Path, held: Path, tmp_path: Path
) -> None:
    texts = copied(data, tmp_path / "texts")
    source = FilesSource(listed(texts), parts, listed(held), tokens=tokens, unit_bytes=20_000)
    recipe = recipe_of(source, vocabulary)
    expected = whole(tmp_path / "whole", recipe)
    texts.rename(tmp_path / "away")
    first = measured(tmp_path / "root", recipe)
    assert (first.whole, first.train.tokens) == (False, 0)
    assert splits_made(tmp_path / "root", recipe) == {"validation"}
    assert windows_of(first) == windows_of(expected)
    assert corpus_folder(tmp_path / "root", recipe).name == corpus_folder(tmp_path / "whole", recipe).name
    with pytest.raises(FileNotFoundError, match="only its validation was built"):
        open_corpus(tmp_path / "root", recipe)
    units = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "root" / "shards").iterdir()}
    (tmp_path / "away").rename(texts)
    held.rename(tmp_path / "held away")
    grown = whole(tmp_path / "root", recipe)
    assert content(tmp_path / "root") == content(tmp_path / "whole")
    assert (grown.content, grown.whole) == (expected.content, True)
    assert units.items() <= {p.name: p.stat().st_mtime_ns for p in (tmp_path / "root" / "shards").iterdir()}.items()
    texts.rename(tmp_path / "away")
    assert measured(tmp_path / "root", recipe).whole, "what is there stays"
    assert content(tmp_path / "root") == content(tmp_path / "whole")


def test_validation_that_is_cut_out_of_the_texts_takes_all(data: Path, vocabulary: Path, tmp_path: Path) -> None:
    recipe = recipe_of(FilesSource(listed(data), PARTS, unit_bytes=20_000), vocabulary)
    assert measured(tmp_path / "one", recipe).whole
    whole(tmp_path / "other", recipe)
    assert content(tmp_path / "one") == content(tmp_path / "other")


@pytest.mark.parametrize("texts", [True, False])
def test_sequences_to_train_on_are_not_fetched_until_something_trains(
    texts: bool, vocabulary: Path, held: Path, tmp_path: Path
) -> None:
    numbers = np.random.default_rng(0)
    megatron_files.write_pair(tmp_path / "pairs" / "document", numbers.integers(0, 257, (50, 17)), "u2", (400,))
    megatron_files.write_pair(tmp_path / "held out" / "document", numbers.integers(0, 257, (30, 17)))
    place = f"/{tmp_path.name}-{texts}"
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "pairs"), place, recursive=True)
    here = megatron_files.listed(tmp_path / "pairs").files
    train = listing(replace(file, url=f"memory:/{place}/{file.name}") for file in here)
    own = listed(held) if texts else megatron_files.listed(tmp_path / "held out")
    recipe: Recipe = replace(recipe_of(FilesSource(train, PARTS), vocabulary), source=MegatronSource(train, 17, own))
    expected = whole(tmp_path / "whole", recipe)
    memory.rm(place, recursive=True)
    first = measured(tmp_path / "root", recipe)
    assert not (tmp_path / "root" / "sequences").exists()
    assert windows_of(first) == windows_of(expected)
    memory.put(str(tmp_path / "pairs"), place, recursive=True)
    grown = whole(tmp_path / "root", recipe)
    assert (grown.train.read(np.arange(50), 16) == expected.train.read(np.arange(50), 16)).all()
    assert grown.content == expected.content
    assert windows_of(grown) == windows_of(expected)


def test_faults_of_the_validation_alone_name_it_and_leave_nothing(
    data: Path, vocabulary: Path, held: Path, tmp_path: Path
) -> None:
    source = FilesSource(listed(data), PARTS, listed(held), unit_bytes=20_000)
    empty = write(tmp_path / "empty", {"a.jsonl": [{"text": " ", "meta": {"set": "web"}}]})
    for own, told in ((listed(empty), r"corpus\.slim\.validation=1 files: hold no documents"), (listed(held), "")):
        recipe = recipe_of(replace(source, validation=own), vocabulary)
        if not told:
            (held / "1.jsonl").write_text("{}")
            told = r"corpus\.slim\.validation=1\.jsonl: has changed since it was listed"
        with pytest.raises(InputError, match=told):
            measured(tmp_path / "root", recipe)
        assert not (tmp_path / "root" / "corpora").exists()


def test_a_damaged_one_is_made_again_as_far_as_it_is_read(
    data: Path, vocabulary: Path, held: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = copied(data, tmp_path / "texts")
    recipe = recipe_of(FilesSource(listed(texts), PARTS, listed(held), unit_bytes=20_000), vocabulary)
    measured(tmp_path / "root", recipe)
    before, folder = content(tmp_path / "root" / "corpora"), corpus_folder(tmp_path / "root", recipe)
    manifest = files.read_sealed(folder / "manifest.json")
    shutil.rmtree(tmp_path / "root" / "shards" / manifest["units"][0]["key"])
    texts.rename(tmp_path / "away")
    (folder / "token_bytes.bin").write_bytes(b"")
    opening._verified.clear()
    with pytest.raises(CorruptError, match="set aside"):
        open_corpus(tmp_path / "root", recipe, whole=False)
    measured(tmp_path / "root", recipe)
    assert {k: v for k, v in content(tmp_path / "root" / "corpora").items() if ".bad" not in k} == before
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_processes_that_race_and_kills_in_between_end_at_the_same_bytes(vocabulary: Path, tmp_path: Path) -> None:
    """Those that measure and those that train, at once, and killed at ten moments, by shares of what each takes."""
    small = {f"small-{k:02}.jsonl": records(300, seed=k + 1) for k in range(12)}
    texts = write(tmp_path / "texts", {"large.jsonl": records(5_000), **small})
    held = write(tmp_path / "held", {f"{k}.jsonl": records(2000, seed=900 + k) for k in range(2)})
    recipe = recipe_of(FilesSource(listed(texts), PARTS, listed(held), unit_bytes=80_000), vocabulary)
    whole(tmp_path / "whole", recipe)
    expected = content(tmp_path / "whole")
    builds = (measured, whole)
    seconds(started(whole, tmp_path / "first", recipe))  # which starts the server
    took = [seconds(started(build_it, tmp_path / f"timed {k}", recipe)) for k, build_it in enumerate(builds)]
    racing = [started(build_it, tmp_path / "raced", recipe) for build_it in builds * 2]
    for process in racing:
        process.join()
    assert [process.exitcode for process in racing] == [0] * 4
    assert content(tmp_path / "raced") == expected
    killed, seen, root = 0, set(), tmp_path / "killed"
    for attempt, share in enumerate((0.5, 0.2, 40, 0.2, 0.5, 0.2, 0.5, 40, 0.5, 0.5)):
        which = attempt % 2
        process = started(builds[which], root, recipe, 1 + attempt % 3 // 2)
        killed += killed_after(process, share * took[which])
        there = splits_made(root, recipe)
        seen.add(there)
        if there:
            own = windows_of(open_corpus(root, recipe, whole=False))
            assert own == windows_of(open_corpus(tmp_path / "whole", recipe))
        if "train" in there:
            assert content(root) == expected
            shutil.rmtree(root)
    assert killed > 3
    assert frozenset({"validation"}) in seen
    whole(root, recipe, 2)
    assert content(root) == expected
