"""A corpus of listed files: the same bytes whoever builds it, nothing tokenised twice, budgets cut exactly."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pandas
import pytest

from harness.core import files
from harness.core.errors import CorruptError, InputError
from harness.corpora import corpus as opening
from harness.corpora import tokenizer
from harness.corpora.corpus import Corpus, open_corpus
from harness.corpora.grouping import groups, unit_key
from harness.corpora.splits import MixedSplit, Stream
from harness.corpora.units import UnitSplit
from harness.ingest import units as building
from harness.ingest.assemble import build_groups, fetch_groups
from harness.ingest.build import build
from harness.ingest.progress import PlainDisplay
from harness.ingest.selection import require_built, wanted_groups
from harness.ingest.windows import require_windows
from harness.texts.listed import FilesSource, ListedFile, Listing, Part, listing
from harness.texts.recipe import CORPUS_CODE, Recipe, given_tokenizer
from tests.hub_server import Hub
from tests.repository import REPOSITORY

SENTENCE = "the model learns from data that the loss of a run shows when it is trained again with more replay"
WORDS = SENTENCE.split()
SETS = ("web", "books", "code")
PARTS = tuple(Part(name, None, (("meta.set", (name,)),)) for name in SETS)


def records(count: int, seed: int = 0, length: int = 40) -> list[dict[str, Any]]:
    chosen = random.Random(seed)
    return [
        {"text": " ".join(chosen.choices(WORDS, k=length)) + f" {seed} {k}", "meta": {"set": SETS[k % 3]}}
        for k in range(count)
    ]


def write(folder: Path, contents: dict[str, Sequence[dict[str, Any]]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in contents.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def listed(folder: Path, names: Sequence[str] | None = None) -> Listing:
    return listing(
        ListedFile(name, path.stat().st_size, f"sha256 {files.sha256(path)}", str(path))
        for name in (sorted(p.name for p in folder.iterdir()) if names is None else names)
        for path in [folder / name]
    )


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    path.write_text(tokenizer.train([row["text"] for row in records(60)], 400).to_str())
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large file of three sets, and twelve small ones."""
    small = {f"small-{k:02}.jsonl": records(20, seed=k + 1) for k in range(12)}
    return write(tmp_path_factory.mktemp("data"), {"large.jsonl": records(400), **small})


def recipe_of(source: FilesSource, vocabulary: Path, held_out: float = 0.1) -> Recipe:
    return Recipe("slim", source, given_tokenizer(vocabulary), held_out, CORPUS_CODE)


def source_of(folder: Path, **changes: Any) -> FilesSource:
    return replace(FilesSource(listed(folder), PARTS, unit_bytes=20_000), **changes)


def built(root: Path, recipe: Recipe, processes: int = 1) -> Corpus:
    build([recipe], root, progress=False, processes=processes)
    return open_corpus(root, recipe)


def content(root: Path) -> dict[str, str]:
    """Checksums of all that a root holds, leavings apart."""
    paths = (p for p in sorted(root.rglob("*")) if p.is_file() and "/.tmp-" not in str(p))
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def tokens_of(split: Stream) -> np.ndarray:
    """All of them."""
    if isinstance(split, MixedSplit):
        return np.concatenate([tokens_of(part) for part in split.parts])
    tokens: np.ndarray = split.read(np.array([0]), split.tokens - 1)[0]
    return tokens


def documents(corpus: Corpus, split: Stream) -> list[str]:
    tokens = tokens_of(split)
    parts = np.split(tokens, np.flatnonzero(tokens == corpus.end_of_document) + 1)
    parts = [part[part != corpus.end_of_document] for part in parts if len(part)]
    decode = corpus.tokenizer().decode
    return [decode(part.tolist()) for part in parts]


def test_every_record_is_in_one_split_of_its_part(data: Path, vocabulary: Path, tmp_path: Path) -> None:
    corpus = built(tmp_path, recipe_of(source_of(data), vocabulary))
    assert isinstance(corpus.train, MixedSplit)
    assert isinstance(corpus.validation, MixedSplit)
    assert corpus.train.names == SETS
    wanted = {json.loads(line)["text"]: json.loads(line) for p in data.iterdir() for line in p.open()}
    found: list[str] = []
    for split in (corpus.train, corpus.validation):
        for name, part in zip(split.names, split.parts, strict=True):
            texts = documents(corpus, part)
            assert part.documents == len(texts)
            assert part.bytes == sum(len(text) for text in texts)
            assert {wanted[text]["meta"]["set"] for text in texts} == {name}
            found += texts
    assert sorted(found) == sorted(wanted)
    assert 0.05 < corpus.validation.documents / len(found) < 0.2
    assert len(list((tmp_path / "shards").iterdir())) > 6
    assert not (tmp_path / "fetched").exists()


def test_a_window_knows_its_files_and_lines(data: Path, vocabulary: Path, tmp_path: Path) -> None:
    corpus = built(tmp_path, recipe_of(source_of(data), vocabulary))
    for window in (0, corpus.train.windows(16) // 2, corpus.train.windows(16) - 1):
        text = corpus.tokenizer().decode(corpus.train.read(np.array([window]), 16)[0].tolist())
        places = [place.rsplit(":", 1) for place in corpus.source("train", window, 16)]
        lines = [json.loads((data / name).read_text().splitlines()[int(line) - 1])["text"] for name, line in places]
        assert text in " ".join(["", *lines, ""]) or len(lines) > 1


def test_the_bytes_do_not_depend_on_the_processes(
    data: Path, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(source_of(data), vocabulary)
    built(tmp_path / "one", recipe)
    monkeypatch.setattr(building, "_BATCH_CHARACTERS", 2000)
    built(tmp_path / "small batches", recipe)
    built(tmp_path / "two", recipe, processes=2)
    assert content(tmp_path / "one") == content(tmp_path / "two") == content(tmp_path / "small batches")


def test_another_list_of_files_uses_the_units_that_are_there(data: Path, vocabulary: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in data.iterdir())
    first = recipe_of(source_of(data, train=listed(data, names[:-1])), vocabulary)
    built(tmp_path, first)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    more = recipe_of(source_of(data), vocabulary)
    assert more.key != first.key
    built(tmp_path, more)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    assert after.items() > before.items()
    assert len(after) - len(before) <= 2
    weighted = tuple(replace(part, weight=w) for part, w in zip(PARTS, (0.5, 0.3, 0.2), strict=True))
    built(tmp_path, recipe_of(source_of(data, parts=weighted), vocabulary))
    assert {path.name for path in (tmp_path / "shards").iterdir()} == set(after)


@pytest.mark.parametrize("weights", [None, (0.5, 0.3, 0.2)])
def test_a_budget_takes_whole_units_and_cuts_the_last(
    weights: tuple[float, ...] | None, data: Path, vocabulary: Path, tmp_path: Path
) -> None:
    parts = PARTS if weights is None else tuple(replace(p, weight=w) for p, w in zip(PARTS, weights, strict=True))
    whole = built(tmp_path, recipe_of(source_of(data, parts=parts), vocabulary))
    cut = built(tmp_path / "cut", recipe_of(source_of(data, parts=parts, tokens=9_000), vocabulary))
    assert cut.train.tokens == 9_000
    assert len(list((tmp_path / "cut" / "shards").iterdir())) < len(list((tmp_path / "shards").iterdir()))
    assert isinstance(cut.train, MixedSplit)
    assert isinstance(whole.train, MixedSplit)
    if weights is not None:
        assert [part.tokens for part in cut.train.parts] == [4500, 2700, 1800]
    for one, other in zip(cut.train.parts, whole.train.parts, strict=True):
        assert (tokens_of(one) == tokens_of(other)[: one.tokens]).all()
        assert one.documents == len(documents(cut, one))
    with pytest.raises(InputError, match=r"^corpus\.slim\.tokens=10000000: the files hold [\d,]+ of these .* budget"):
        built(tmp_path, recipe_of(source_of(data, parts=parts, tokens=10_000_000), vocabulary))
    assert sorted(path.name for path in (tmp_path / "corpora").iterdir()) == [whole.folder.name]


def test_the_datas_own_validation_is_all_held_out(data: Path, vocabulary: Path, tmp_path: Path) -> None:
    own = write(tmp_path / "own", {"validation.jsonl": records(50, seed=99)})
    corpus = built(tmp_path / "root", recipe_of(source_of(data, validation=listed(own), tokens=5000), vocabulary))
    assert corpus.train.tokens == 5000
    assert sorted(documents(corpus, corpus.validation)) == sorted(row["text"] for row in records(50, seed=99))


def test_repeats_and_empty_texts_and_what_is_in_no_part_are_counted(
    vocabulary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = records(30)
    other = {"text": "of no part", "meta": {"set": "other"}}
    write(tmp_path / "data", {"a.jsonl": [*rows, rows[3], {**rows[1], "text": " "}, other]})
    recipe = recipe_of(source_of(tmp_path / "data"), vocabulary, 0.3)
    build([recipe], tmp_path, processes=1)
    corpus = open_corpus(tmp_path, recipe)
    assert corpus.train.documents + corpus.validation.documents == 30
    told = capsys.readouterr().err
    assert "1 records belong to none of its parts" in told
    assert "1 of 32 documents are exact repeats" in told


def test_what_only_the_data_tell_is_one_line_and_leaves_no_corpus(vocabulary: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = records(30)
    del rows[17]["text"]
    folder = write(tmp_path / "data", {"a.jsonl": records(30, 1), "b.jsonl": rows})
    with pytest.raises(InputError, match=r"b\.jsonl.*line 18|line 18.*b\.jsonl") as refused:
        built(tmp_path / "root", recipe_of(source_of(folder, unit_bytes=10**6), vocabulary))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "root").exists()
    with pytest.raises(InputError, match="line 18"):
        built(tmp_path / "root", recipe_of(source_of(folder, unit_bytes=1000), vocabulary))
    assert [p.name for p in (tmp_path / "root").iterdir()] == ["shards"]  # those that were finished stay
    assert not [p for p in (tmp_path / "root" / "shards").iterdir() if p.name.startswith(".tmp")]
    changed = source_of(folder)
    with (folder / "a.jsonl").open("a") as file:
        file.write(" ")
    with pytest.raises(InputError, match=r"a\.jsonl: has changed since it was listed"):
        built(tmp_path / "root", recipe_of(changed, vocabulary))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_field_that_is_not_there_is_named_by_the_key_of_its_corpus(
    vocabulary: Path, tmp_path: Path, suffix: str, alone: bool
) -> None:
    rows = {"text": [row["text"] for row in records(9)], "set": [SETS[k % 3] for k in range(9)]}
    (tmp_path / "data").mkdir()
    table = pandas.DataFrame(rows)
    if suffix == "parquet":
        table.to_parquet(tmp_path / "data" / "a.parquet")
    elif suffix == "csv":
        table.to_csv(tmp_path / "data" / "a.csv", index=False)
    else:
        table.to_json(tmp_path / "data" / "a.jsonl", orient="records", lines=True)
    parts = tuple(Part(name, None, (("set" if name == "web" else "sett", (name,)),)) for name in SETS)
    parts = parts[1:2] if alone else parts
    for changes, told in (
        ({"text": "nope", "parts": (Part("books", None, (("set", ("books",)),)),)}, "corpus.slim.text=nope: "),
        ({"parts": parts}, "corpus.slim.parts.books.where=sett: "),
        ({"parts": parts, "validation": listed(tmp_path / "data")}, "corpus.slim.parts.books.where=sett: "),
    ):
        recipe = recipe_of(source_of(tmp_path / "data", **changes), vocabulary)
        recipe = replace(recipe, name="slim.books" if alone or "text" in changes else "slim")
        with pytest.raises(InputError) as refused:
            built(tmp_path / "root", recipe)
        assert str(refused.value).startswith(told)
        assert "text=NAME" not in str(refused.value)
        assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("budget", [None, 4000])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rest", [False, True])
def test_a_part_without_any_record_is_named(
    data: Path, vocabulary: Path, tmp_path: Path, budget: int | None, weighted: bool, rest: bool
) -> None:
    none = Part("rest") if rest else Part("films", None, (("meta.set", ("film",)),))
    parts = tuple(replace(part, weight=0.25 if weighted else None) for part in (*PARTS, none))
    with pytest.raises(InputError) as refused:
        built(tmp_path, recipe_of(source_of(data, parts=parts, tokens=budget), vocabulary))
    key = "rest={}: " if rest else "films.where={meta.set: [film]}: "
    assert str(refused.value).startswith(f"corpus.slim.parts.{key}none of the ")
    assert not (tmp_path / "corpora").exists()


def test_each_block_is_checked_as_it_is_read(data: Path, vocabulary: Path, tmp_path: Path) -> None:
    recipe = recipe_of(source_of(data), vocabulary)
    corpus = built(tmp_path, recipe)
    assert isinstance(corpus.train, MixedSplit)
    assert isinstance(corpus.train.parts[0], UnitSplit)
    unit = tmp_path / "shards" / corpus.train.parts[0].entries[0].unit
    shard = unit / "0-train.bin"
    damaged = bytearray(shard.read_bytes())
    damaged[100] ^= 1
    shard.write_bytes(damaged)
    opening._verified.clear()
    again = open_corpus(tmp_path, recipe)  # nothing of it is read yet
    with pytest.raises(CorruptError, match=r"0-train\.bin: the checksum of block 0 .* set aside as \.bad-.*again"):
        again.train.read(np.array([0]), 16)
    expected = content(tmp_path / "corpora")
    opening._verified.clear()
    with pytest.raises(CorruptError, match="is gone"):
        open_corpus(tmp_path, recipe)
    assert tokens_of(built(tmp_path, recipe).train).size
    assert {k: v for k, v in content(tmp_path / "corpora").items() if ".bad" not in k} == expected


def test_too_few_windows_of_a_part_are_refused(data: Path, vocabulary: Path, tmp_path: Path) -> None:
    recipe = recipe_of(source_of(data), vocabulary)
    corpus = built(tmp_path, recipe)
    require_windows(recipe, corpus, 16, 8, 8)
    with pytest.raises(InputError, match=r"^corpus\.slim\.files=13 files: validation has"):
        require_windows(recipe, corpus, 16, 8, 100_000)
    few = write(tmp_path / "few", {"a.jsonl": [*(r for r in records(90) if r["meta"]["set"] != "code"), records(3)[2]]})
    thin = recipe_of(source_of(few), vocabulary)
    told = r"^corpus\.slim\.parts\.code\.where=code: (train|validation) of its part code has .*: no window of 64"
    with pytest.raises(InputError, match=told):
        require_windows(thin, built(tmp_path, thin), 64, 1, 1)


def test_files_of_a_hub_are_fetched_built_and_gone(
    data: Path, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path)
        commit = hub.commit("someone/texts", data, kind="dataset")
        here = listed(data)
        there = [replace(f, url=f"hf://datasets/someone/texts@{commit}/{f.name}") for f in here.files]
        recipe = recipe_of(source_of(data, train=listing(there)), vocabulary)
        assert recipe.key == recipe_of(source_of(data), vocabulary).key
        built(tmp_path / "hub", recipe)
        assert {hub.count(f"GET .*resolve/{commit}/{file.name}") for file in here.files} <= {1, 2}
        asked = len(hub.requests)
        shutil.rmtree(tmp_path / "hub" / "corpora")
        built(tmp_path / "hub", recipe)  # of the units that are there
        assert len(hub.requests) == asked
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == ["corpora", "shards"]
    built(tmp_path / "here", recipe_of(source_of(data), vocabulary))
    assert content(tmp_path / "hub") == content(tmp_path / "here")


def test_a_disk_that_is_too_small_is_told_before_anything_is_read(
    data: Path, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000))
    with pytest.raises(InputError, match=r"^root=.*: slim takes some \S+ bytes, 10k are free; choose another place"):
        built(tmp_path / "root", recipe_of(source_of(data), vocabulary))
    assert not (tmp_path / "root").exists()


@pytest.mark.slow
@pytest.mark.parametrize("weights", [None, (0.1, 0.1, 0.8)])
def test_what_a_budget_lacks_is_told_and_the_next_time_it_is_fetched(
    weights: tuple[float, ...] | None, vocabulary: Path, tmp_path: Path
) -> None:
    """Where files are fetched first and built without a network. Code is rare, and a token of these texts is longer
    than was guessed: of neither does the first estimate know."""
    rows = [
        row for row in records(3000, length=24) if row["meta"]["set"] != "code" or int(row["text"].split()[-1]) % 7 == 0
    ]
    random.Random(0).shuffle(rows)
    data = write(tmp_path / "data", {f"{k:02}.jsonl": rows[k::40] for k in range(40)})
    fsspec.filesystem("memory").put(str(data), "/budget", recursive=True)
    there = listing(replace(file, url=f"memory://budget/{file.name}") for file in listed(data).files)
    parts = tuple(replace(part, weight=w) for part, w in zip(PARTS, weights or (None,) * 3, strict=True))
    source = source_of(data, train=there, parts=parts, tokens=3000 if weights else 20_000, unit_bytes=5_000)
    recipe, here = recipe_of(source, vocabulary), replace(source, train=listed(data))

    def fetched_and_built() -> int:
        """As the jobs of a cluster do it, each group alone. How many there were."""
        wanted = wanted_groups(recipe, tmp_path)
        fetch_groups(recipe, wanted, tmp_path)
        fetched = [file.name for group in wanted for file in group.files]
        assert sum(1 for _ in (tmp_path / "fetched").iterdir()) == len(fetched) < 40
        for group in wanted:
            build_groups(recipe, [group], tmp_path, vocabulary, 1, PlainDisplay(False))
        return len(wanted)

    assert fetched_and_built() > 0
    told = (
        r"^corpus\.slim\.tokens=3000: what was fetched holds [\d,]+ of these training tokens \(too few of code\); run"
    )
    for _ in range(1 if weights else 0):
        with pytest.raises(InputError, match=told):
            require_built(recipe, tmp_path)
        assert fetched_and_built() > 0
    require_built(recipe, tmp_path)
    fsspec.filesystem("memory").rm("/budget", recursive=True)  # no server answers any more
    assert tokens_of(built(tmp_path, recipe).train).tolist() == (
        tokens_of(built(tmp_path / "here", recipe_of(here, vocabulary)).train).tolist()
    )


def test_a_group_that_holds_a_whole_budget_is_enough(data: Path, vocabulary: Path, tmp_path: Path) -> None:
    """A job ends once its group alone holds all that is asked for; what was built of it then serves."""
    there = listing(replace(file, url=f"memory://nobody/{file.name}") for file in listed(data, ["large.jsonl"]).files)
    here = source_of(data, train=listed(data, ["large.jsonl"]), parts=(Part("all"),), tokens=9_000)
    (group,) = wanted_groups(recipe_of(here, vocabulary), tmp_path)
    units = build_groups(recipe_of(here, vocabulary), [group], tmp_path, vocabulary, 1, PlainDisplay(False))
    assert not units[0][-1]["last"]
    recipe = recipe_of(replace(here, train=there), vocabulary)
    require_built(recipe, tmp_path)
    assert wanted_groups(recipe, tmp_path) == []
    assert built(tmp_path, recipe).train.tokens == 9_000


def test_what_is_neither_built_nor_here_is_named(data: Path, vocabulary: Path, tmp_path: Path) -> None:
    there = listing(replace(file, url=f"memory://nobody/{file.name}") for file in listed(data).files)
    told = r"^corpus\.slim\.files=\S+\.jsonl: is neither built nor fetched; run the command again"
    with pytest.raises(InputError, match=told):
        require_built(recipe_of(source_of(data, train=there), vocabulary), tmp_path)
    with pytest.raises(InputError, match=told.replace("files=", "validation=")):
        require_built(recipe_of(source_of(data, validation=there, train=listing(())), vocabulary), tmp_path)
    require_built(recipe_of(source_of(data), vocabulary), tmp_path)  # it is built from where it lies


def test_a_budget_that_is_built_asks_for_no_disk(
    data: Path, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(source_of(data, tokens=9_000), vocabulary)
    built(tmp_path, recipe)
    shutil.rmtree(tmp_path / "corpora")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000))
    built(tmp_path, recipe)


def test_groups_are_of_the_listing_alone_and_hardly_move() -> None:
    """Of 6,000 files and of 5,999 of them: all but a few groups are the same ones."""
    everything = [ListedFile(f"{k:05}.jsonl", 1000 + k % 700, f"sha256 {k:064}", f"{k}") for k in range(6000)]

    def keys(chosen: Sequence[ListedFile]) -> list[str]:
        source = FilesSource(listing(chosen), (Part("all"),), unit_bytes=50_000)
        recipe: Any = Recipe("x", source, given(), 0.1, CORPUS_CODE)
        found = groups(recipe, source)
        assert sorted(file.name for group in found for file in group.files) == sorted(file.name for file in chosen)
        assert all(group.text < 2.1 * 50_000 for group in found)
        return [unit_key(group, 0) for group in found]

    whole, without = keys(everything), keys([file for file in everything if file.name != "02345.jsonl"])
    assert 100 < len(whole) < 400
    assert len(set(whole) - set(without)) <= 2
    assert [key for key in whole if key in without] == [key for key in without if key in whole]
    assert keys(everything[::-1]) == whole


def given() -> Any:
    from harness.texts.recipe import TokenizerRecipe

    return TokenizerRecipe(400, file="0" * 64)


BUILD = """
import sys
from tests.ingest.test_listed_files import built, recipe_of, source_of
from pathlib import Path
if __name__ == "__main__":
    data, vocabulary, root = map(Path, sys.argv[1:4])
    built(root, recipe_of(source_of(data, unit_bytes=int(sys.argv[5])), vocabulary), int(sys.argv[4]))
"""


def started(build_it: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """A build in a process of its own, which can be killed: forked off a server that has imported what it takes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.ingest.test_listed_files"])
    process = context.Process(target=build_it, args=arguments)
    process.start()
    return process


def seconds(process: ForkServerProcess) -> float:
    """How long a build takes that succeeds."""
    began = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def killed_after(process: ForkServerProcess, wait: float) -> bool:
    """Is it still at work then? It is no more."""
    process.join(wait)
    over = process.exitcode is not None
    process.kill()
    process.join()
    assert not over or process.exitcode == 0
    return not over


@pytest.mark.slow
def test_a_kill_at_any_moment_changes_nothing(vocabulary: Path, tmp_path: Path) -> None:
    """By one process, by two, and after SIGKILL at each of ten moments: byte-identical."""
    small = {f"small-{k:02}.jsonl": records(300, seed=k + 1) for k in range(12)}
    data = write(tmp_path / "data", {"large.jsonl": records(5_000), **small})
    recipe = recipe_of(source_of(data, unit_bytes=80_000), vocabulary)
    seconds(started(built, tmp_path / "zero", recipe))  # which starts the server
    took = {many: seconds(started(built, tmp_path / f"{many}", recipe, many)) for many in (1, 2)}
    expected = content(tmp_path / "1")
    assert content(tmp_path / "2") == expected
    moments, finished, root = random.Random(7), 0, tmp_path / "killed"
    for attempt in range(10):
        many = 1 + attempt % 2
        if not killed_after(started(built, root, recipe, many), moments.uniform(0.1, 0.6) * took[many]):
            finished += 1
            assert content(root) == expected
            shutil.rmtree(root)
    assert finished < 6
    built(root, recipe, 2)
    assert content(root) == expected


@pytest.mark.slow
def test_memory_is_flat(vocabulary: Path, tmp_path: Path) -> None:
    """The largest process takes as much for 200 MB as for 20, to 10 %: what it remembers is that of a unit."""
    script = tmp_path / "build_it.py"
    script.write_text(f"{BUILD}    import resource; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n")
    peaks = []
    for megabytes in (20, 200):
        data = tmp_path / f"{megabytes}"
        data.mkdir()
        rows = [json.dumps(row) for row in records(1000, length=400)]
        with (data / "texts.jsonl").open("w") as file:
            while file.tell() < megabytes * 1_000_000:
                file.writelines(row.replace('"text": "', f'"text": "{file.tell()} ', 1) + "\n" for row in rows)
        command = [sys.executable, str(script), str(data), str(vocabulary), str(tmp_path / f"root-{megabytes}"), "2"]
        command.append(str(1 << 24))
        done = subprocess.run(command, env={"PYTHONPATH": str(REPOSITORY), "PATH": ""}, capture_output=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.1 * peaks[0], peaks
