"""A corpus that is only measured: its own validation is all that is read, until something trains on it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
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
from tests.ingest.test_listed_files import PARTS, content, data, listed, recipe_of, records, vocabulary, write
from tests.repository import REPOSITORY

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


BUILD = """
import sys
from pathlib import Path
from tests.ingest.test_listed_files import PARTS, listed, recipe_of
from tests.ingest.test_measured_only import measured, whole
from harness.texts.listed import FilesSource
if __name__ == "__main__":
    kind, processes, texts, held, vocabulary, root = sys.argv[1], int(sys.argv[2]), *map(Path, sys.argv[3:7])
    recipe = recipe_of(FilesSource(listed(texts), PARTS, listed(held), unit_bytes=200_000), vocabulary)
    {"measured": measured, "whole": whole}[kind](root, recipe, processes)
"""


@pytest.mark.slow
def test_processes_that_race_and_kills_in_between_end_at_the_same_bytes(vocabulary: Path, tmp_path: Path) -> None:
    """Those that measure and those that train, at once, and killed at ten moments, by shares of what each takes."""
    small = {f"small-{k:02}.jsonl": records(700, seed=k + 1) for k in range(12)}
    texts = write(tmp_path / "texts", {"large.jsonl": records(12_000), **small})
    held = write(tmp_path / "held", {f"{k}.jsonl": records(3000, seed=900 + k) for k in range(2)})
    recipe = recipe_of(FilesSource(listed(texts), PARTS, listed(held), unit_bytes=200_000), vocabulary)
    whole(tmp_path / "whole", recipe)
    expected = content(tmp_path / "whole")
    script = tmp_path / "build_it.py"
    script.write_text(BUILD)

    def started(kind: str, root: Path, processes: int = 1) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(script), kind, str(processes), *map(str, (texts, held, vocabulary, root))]
        return subprocess.Popen(command, env={"PYTHONPATH": str(REPOSITORY), "PATH": ""}, stderr=subprocess.PIPE)

    took: dict[str, float] = {}
    for kind in ("measured", "whole"):
        began = time.monotonic()
        assert started(kind, tmp_path / f"timed {kind}").wait() == 0
        took[kind] = time.monotonic() - began
    racing = [started(kind, tmp_path / "raced") for kind in ("measured", "whole", "measured", "whole")]
    assert [process.wait() for process in racing] == [0] * 4
    assert content(tmp_path / "raced") == expected
    killed, seen = 0, set()
    for attempt, share in enumerate((0.6, 0.5, 4.0, 0.6, 0.7, 0.7, 0.8, 0.8, 4.0, 0.9)):
        kind = ("measured", "whole")[attempt % 2]
        process = started(kind, tmp_path / "killed", 1 + attempt % 3 // 2)
        try:
            assert process.wait(timeout=share * took[kind]) == 0
        except subprocess.TimeoutExpired:
            killed += 1
            process.kill()
            process.wait()
        there = splits_made(tmp_path / "killed", recipe)
        seen.add(there)
        if there:
            assert windows_of(open_corpus(tmp_path / "killed", recipe, whole=False)) == windows_of(
                open_corpus(tmp_path / "whole", recipe)
            )
        if "train" in there:
            assert content(tmp_path / "killed") == expected
            shutil.rmtree(tmp_path / "killed")
    assert killed > 3
    assert frozenset({"validation"}) in seen
    whole(tmp_path / "killed", recipe, 2)
    assert content(tmp_path / "killed") == expected
