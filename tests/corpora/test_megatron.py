"""Sequences that another program drew, in Megatron's format: every token in its order, or a line that says why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pytest

from harness.core.errors import CorruptError, InputError
from harness.core.files import read_sealed
from harness.corpora import tokenizer
from harness.corpora.corpus import Corpus, open_corpus
from harness.corpora.megatron import check, pairs
from harness.ingest import pretokenized
from harness.ingest.build import build
from harness.program.mixture import ORIGINAL, window_at
from harness.texts.listed import MegatronSource, listing
from harness.texts.recipe import CORPUS_CODE, Recipe, given_tokenizer
from tests.megatron_files import index_of, listed, write_pair

LENGTH, COUNT = 17, 50


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    tokenizer.train(["the loss of a model on data that it has not seen"] * 20, 280).save(str(file))
    return file


def drawn(seed: int = 0, count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 280, (count, LENGTH))


def recipe_of(vocabulary: Path, folder: Path, validation: Path | None = None, share: float = 0.1) -> Recipe:
    source = MegatronSource(listed(folder), LENGTH, None if validation is None else listed(validation))
    return Recipe("pythia", source, given_tokenizer(vocabulary), share, CORPUS_CODE)


def opened(root: Path, recipe: Recipe) -> Corpus:
    build([recipe], root, progress=False)
    return open_corpus(root, recipe)


def test_the_writer_of_these_tests_has_the_published_layout() -> None:
    """Two sequences of 3 uint16 tokens: every byte, as Megatron-LM and GPT-NeoX document them."""
    header = "4d4d4944494458 0000" + "0100000000000000" + "08" + "0200000000000000" + "0300000000000000"
    lengths, begins = "03000000 03000000", "0000000000000000 0600000000000000"
    bounds = "0000000000000000 0100000000000000 0200000000000000"
    assert index_of([3, 3], "u2") == bytes.fromhex(header + lengths + begins + bounds)


@pytest.mark.parametrize("dtype", ["u2", "i4", "i8"])
@pytest.mark.parametrize("cuts", [(), (8, 800, 808), (17 * 8 * 3, 17 * 8 * 6)])
def test_window_w_is_sequence_w(vocabulary: Path, tmp_path: Path, dtype: str, cuts: tuple[int, ...]) -> None:
    sequences = drawn()
    write_pair(tmp_path / "data" / "document", sequences, dtype, cuts)
    corpus = opened(tmp_path / "runs", recipe_of(vocabulary, tmp_path / "data"))
    assert (corpus.train.windows(LENGTH - 1), corpus.validation.windows(LENGTH - 1)) == (45, 5)
    windows = np.array([44, 0, 7, 23, 7])
    assert (corpus.train.read(windows, LENGTH - 1) == sequences[windows]).all()
    assert (corpus.validation.read(np.arange(5), LENGTH - 1) == sequences[45:]).all()
    assert not list(corpus.folder.glob("shard-*")), "the tokens are not copied"
    with pytest.raises(InputError, match=r"^batch\.seq_len=8: .*17 tokens.*give batch\.seq_len=16$"):
        corpus.train.windows(8)


def test_validation_of_its_own_and_several_pairs(vocabulary: Path, tmp_path: Path) -> None:
    first, second, held = drawn(1), drawn(2, 30), drawn(3, 9)
    write_pair(tmp_path / "data" / "b", second, "i4")  # pairs come in the order of their names, each with its type
    write_pair(tmp_path / "data" / "a", first, "u2", (34,))
    write_pair(tmp_path / "held" / "v", held)
    corpus = opened(tmp_path / "runs", recipe_of(vocabulary, tmp_path / "data", tmp_path / "held"))
    assert (corpus.train.read(np.arange(80), LENGTH - 1) == np.concatenate([first, second])).all()
    assert (corpus.validation.read(np.arange(9), LENGTH - 1) == held).all()


def test_validation_on_texts(vocabulary: Path, tmp_path: Path) -> None:
    """As of the Pile, whose validation split is text: window w of it is that of any corpus of text."""
    write_pair(tmp_path / "data" / "document", drawn())
    lines = [json.dumps({"meta": {"text": f"the loss of model {n} on data"}}) for n in range(40)]
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "val.jsonl").write_text("\n".join(lines))
    plain = recipe_of(vocabulary, tmp_path / "data", tmp_path / "held")
    assert isinstance(plain.source, MegatronSource)
    recipe = replace(plain, source=replace(plain.source, text="meta.text"))
    corpus = opened(tmp_path / "runs", recipe)
    assert corpus.train.windows(LENGTH - 1) == COUNT
    assert (corpus.train.read(np.arange(COUNT), LENGTH - 1) == drawn()).all()
    windows = corpus.validation.windows(LENGTH - 1)
    assert windows > 20
    first, second = corpus.validation.read(np.array([0, 1]), LENGTH - 1)
    assert first[-1] == second[0]  # a stream of documents, not sequences of their own
    text = corpus.tokenizer().decode(corpus.validation.read(np.arange(windows), LENGTH - 1)[:, :-1].flatten().tolist())
    assert text.startswith("the loss of model 0 on datathe loss of model 1 on data")
    with pytest.raises(InputError, match=r"^corpus\.pythia\.text=text: line 1 of val\.jsonl has no such column"):
        build([plain], tmp_path / "other", progress=False)


def test_files_of_a_server_are_fetched_once_and_stay(vocabulary: Path, tmp_path: Path) -> None:
    write_pair(tmp_path / "data" / "document", drawn(), "u2", (800,))
    server = fsspec.filesystem("memory")
    server.put(str(tmp_path / "data"), "/sequences", recursive=True)
    here = recipe_of(vocabulary, tmp_path / "data")
    assert isinstance(here.source, MegatronSource)
    remote = listing(replace(f, url=f"memory://sequences/{f.name}") for f in here.source.train.files)
    recipe = replace(here, source=replace(here.source, train=remote))
    assert recipe.key == here.key
    (tmp_path / "a").mkdir()
    corpus = opened(tmp_path / "a" / "runs", recipe)
    server.rm("/sequences", recursive=True)
    assert (corpus.train.read(np.arange(45), LENGTH - 1) == drawn()[:45]).all()
    (tmp_path / "a").rename(tmp_path / "b")  # a store may move
    assert (open_corpus(tmp_path / "b" / "runs", recipe).train.read(np.array([7]), LENGTH - 1) == drawn()[7]).all()
    shutil.rmtree(tmp_path / "b" / "runs" / "corpora")
    assert opened(tmp_path / "b" / "runs", recipe).content == corpus.content


def test_an_index_and_its_data_may_be_of_two_patterns(tmp_path: Path) -> None:
    write_pair(tmp_path / "d", drawn(), "u2", (800,))
    files = [replace(f, name=f"{int(f.name.endswith('.bin'))}/{f.name}") for f in listed(tmp_path).files]
    (pair,) = pairs("files", files)
    assert [part.name for part in pair.parts] == ["1/d-00000-of-00001.bin", "1/d-00001-of-00001.bin"]
    twice = [*files, *(replace(f, name=f"2/{f.name.split('/')[1]}") for f in files)]
    with pytest.raises(InputError, match="there is no"):
        pairs("files", twice)


def test_the_key_is_of_the_files_and_not_of_their_place(vocabulary: Path, tmp_path: Path) -> None:
    for place in ("here", "there"):
        write_pair(tmp_path / place / "document", drawn())
    here, there = (recipe_of(vocabulary, tmp_path / place) for place in ("here", "there"))
    assert here.key == there.key
    assert opened(tmp_path / "a", here).content == opened(tmp_path / "b", there).content
    write_pair(tmp_path / "there" / "document", drawn(1))
    assert recipe_of(vocabulary, tmp_path / "there").key != here.key


def test_the_original_order_is_the_order_of_the_files() -> None:
    epoch, window = window_at(np.array([0, 1, 44, 45, 46, 90]), 45, order=ORIGINAL, corpus="k")
    assert epoch.tolist() == [0, 0, 0, 1, 1, 2]
    assert window.tolist() == [0, 1, 44, 0, 1, 0]


@pytest.mark.parametrize(("dtype", "token"), [("i4", 280), ("u2", 65535), ("i8", -1), ("i8", 1 << 40)])
@pytest.mark.parametrize("held_out", [False, True])
def test_ids_that_the_tokenizer_lacks_are_refused_as_the_corpus_is_made(
    vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, token: int, held_out: bool
) -> None:
    monkeypatch.setattr(pretokenized, "_BLOCK", 64)
    sequences = drawn()
    sequences[37, 5] = token
    write_pair(tmp_path / "data" / "d", drawn() if held_out else sequences, dtype, (int(dtype[1]) * 399,))
    write_pair(tmp_path / "held" / "d", sequences, dtype, (int(dtype[1]) * 399,))
    recipe = recipe_of(vocabulary, tmp_path / "data", tmp_path / "held" if held_out else None)
    field = f"corpus.pythia.{'validation' if held_out else 'files'}"
    with pytest.raises(InputError) as refused:
        build([recipe], tmp_path / "runs", progress=False)
    assert str(refused.value) == (
        f"{field}=d-00001-of-00001.bin: sequence 37 holds token {token}, and its tokenizer has ids 0 to 279;"
        " give the tokenizer that made them: corpus.pythia.tokenizer=PATH"
    )
    assert not (tmp_path / "runs").exists()


def test_all_tokens_are_looked_at_once(
    vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.ingest.progress._LINE_SECONDS", 0.0)
    write_pair(tmp_path / "data" / "d", drawn())
    recipe = recipe_of(vocabulary, tmp_path / "data")
    build([recipe], tmp_path / "runs")
    assert "1.7k of some 1.7k bytes of tokens, whose ids are checked once, " in capsys.readouterr().err
    manifest = read_sealed(open_corpus(tmp_path / "runs", recipe).folder / "manifest.json")
    assert manifest["ids_checked"]
    build([recipe], tmp_path / "runs")
    assert capsys.readouterr().err == ""


def test_a_token_of_no_tokenizer_is_never_trained_on(vocabulary: Path, tmp_path: Path) -> None:
    """Whatever became of the file since it was looked at."""
    write_pair(tmp_path / "data" / "d", drawn(), "i4")
    corpus = opened(tmp_path / "runs", recipe_of(vocabulary, tmp_path / "data"))
    sequences = drawn()
    sequences[3, 5], sequences[4, 6] = 280, -1
    write_pair(tmp_path / "data" / "d", sequences, "i4")
    corpus.train.read(np.array([0, 1, 2]), LENGTH - 1)
    for window, token in ((3, "280"), (4, "-1")):
        with pytest.raises(CorruptError, match=f"token {token} .* has 280"):
            corpus.train.read(np.array([0, window]), LENGTH - 1)


def test_a_file_that_changed_is_not_read(vocabulary: Path, tmp_path: Path) -> None:
    write_pair(tmp_path / "data" / "document", drawn())
    recipe = recipe_of(vocabulary, tmp_path / "data")
    build([recipe], tmp_path / "runs", progress=False)
    write_pair(tmp_path / "data" / "document", drawn(1))
    with pytest.raises(CorruptError, match=r"document\.(bin|idx): has changed"):
        open_corpus(tmp_path / "runs", recipe)


def overwrite(name: str, at: int, content: bytes) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[at : at + len(content)] = content
        (folder / name).write_bytes(bytes(data))

    return change


def cut(name: str, by: int) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-by])


def no_data(folder: Path) -> None:
    for part in folder.glob("*.bin"):
        part.unlink()


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda folder: (folder / "d.idx").unlink(), "d.bin: there is no d.idx beside it"),
    "no data": (no_data, "d.idx: there is no d.bin beside it"),
    "a part missing": (lambda folder: (folder / "d-00001-of-00002.bin").unlink(), "part 00001 is not there"),
    "the last part missing": (
        lambda folder: (folder / "d-00002-of-00002.bin").unlink(),
        "50 sequences take 1,700 bytes, and the 2 parts of its .bin hold 1,200",
    ),
    "a cut part": (cut("d-00002-of-00002.bin", 2), "hold 1,698"),
    "parts cut within a token": (
        lambda folder: write_pair(folder / "d", drawn(), "u2", (601, 1200)),
        "which ends within a token of 2",
    ),
    "another magic": (overwrite("d.idx", 0, b"X"), "does not begin with MMIDIDX"),
    "the older layout": (overwrite("d.idx", 0, b"TNTIDX\0\0"), "an index of the older kind (TNTIDX)"),
    "another version": (overwrite("d.idx", 9, b"\2"), "version 2 of the format"),
    "floats": (overwrite("d.idx", 17, b"\6"), "type 6 of Megatron's, which is none of token ids"),
    "an unknown type": (overwrite("d.idx", 17, b"\x63"), "type 99"),
    "another count": (overwrite("d.idx", 18, b"\x31"), "where its header says"),
    "a huge count": (overwrite("d.idx", 18, b"\xff" * 8), "where its header says"),
    "none": (lambda folder: (folder / "d.idx").write_bytes(index_of([], "u2")), "holds no sequences"),
    "a cut index": (cut("d.idx", 1), "where its header says"),
    "an empty index": (lambda folder: (folder / "d.idx").write_bytes(b""), "not an index of Megatron's format"),
    "a multimodal index": (
        lambda folder: (folder / "d.idx").write_bytes((folder / "d.idx").read_bytes() + bytes(COUNT)),
        "an index of several modes is not read",
    ),
    "documents": (
        lambda folder: (folder / "d.idx").write_bytes(index_of([17] * 48 + [20, 14], "u2")),
        "sequence 48 has 20 tokens where 17 are expected",
    ),
    "overlapping": (overwrite("d.idx", 34 + 50 * 4 + 8 * 7, b"\1"), "do not lie one after another"),
    "another width": (
        lambda folder: (folder / "d.idx").write_bytes(index_of([17] * 50, "i4")),
        "50 sequences take 3,400 bytes",
    ),
    "a text beside them": (lambda folder: (folder / "README.md").write_text("x"), "neither an .idx nor a .bin"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_files_that_do_not_fit_say_why_in_one_line_and_leave_nothing(
    vocabulary: Path, tmp_path: Path, breakage: str
) -> None:
    write_pair(tmp_path / "data" / "d", drawn(), "u2", (600, 1200))
    break_it, words = BREAKAGES[breakage]
    break_it(tmp_path / "data")
    with pytest.raises(InputError) as caught:
        build([recipe_of(vocabulary, tmp_path / "data")], tmp_path / "runs", progress=False)
    assert caught.value.field == "corpus.pythia.files"
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs" / "corpora").exists()


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    write_pair(tmp_path / "data" / "d", drawn())
    (pair,) = pairs("files", listed(tmp_path / "data").files)
    assert check(pair, LENGTH, "files") == ("<u2", COUNT)
    with pytest.raises(InputError, match=r"elsewhere\.idx: cannot be read"):
        check(replace(pair, index=replace(pair.index, url=str(tmp_path / "elsewhere.idx"))), LENGTH, "files")
