"""What a user relies on: one text is the same tokens everywhere, damage is found, failure leaves nothing behind."""

from __future__ import annotations

import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from harness.core import files
from harness.core.errors import CorruptError, InputError
from harness.corpora.corpus import Corpus, open_corpus
from harness.corpora.splits import Split, Stream
from harness.ingest import build as building
from harness.ingest import shards
from harness.ingest.build import build
from harness.ingest.windows import require_windows
from harness.texts import embedded, extract, recipe
from harness.texts.recipe import Recipe, local
from tests.repository import REPOSITORY

SENTENCE = "the model learns from data that the loss of a run shows when it is trained again with more replay"
WORDS = SENTENCE.split()
SHARES = {"docs": 0.02, "python": 0.02, "cpp": 0.03, "sympy": 0.05, "systems": 0.03, "science": 0.03}
HALVES = ("systems", "science")  # of the packages of docs


def texts(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [f"{number} " + " ".join(draw.choices(WORDS, k=draw.randint(5, 60))) + "." for number in range(count)]


def write(path: Path, documents: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return path


def built(root: Path, given: Recipe, processes: int = 1) -> Corpus:
    build([given], root, progress=False, processes=processes)
    return open_corpus(root, given)


def arrays(split: Stream) -> Sequence[np.ndarray]:
    assert isinstance(split, Split)
    return split.shards


def stream(split: Stream) -> np.ndarray:
    return np.concatenate(arrays(split))


def decoded(made: Corpus, split: Stream) -> list[str]:
    """The documents of a split, in order."""
    tokens = stream(split)
    ends = np.flatnonzero(tokens == made.end_of_document)
    tokenizer = made.tokenizer()
    return [tokenizer.decode(part[part != made.end_of_document].tolist()) for part in np.split(tokens, ends + 1)[:-1]]


def content(folder: Path) -> dict[str, str]:
    return {file.name: files.sha256(file) for file in folder.iterdir()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two files of 300 documents each, a tenth held out."""
    folder = tmp_path_factory.mktemp("small")
    documents = texts(600)
    write(folder / "data" / "a.jsonl", documents[:300])
    write(folder / "data" / "b.jsonl", documents[300:])
    return built(folder / "root", local("upstream", folder / "data", vocab_size=400, validation=0.1))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    """All embedded corpora, a few of their files, the first two each built in a call of its own."""
    root = tmp_path_factory.mktemp("installed")
    recipes = [recipe.embedded(name, sample=share, validation=0.2) for name, share in SHARES.items()]
    for some in (recipes[:1], recipes[1:2], recipes[2:]):
        build(some, root, progress=False, processes=1)
    return {given.name: open_corpus(root, given) for given in recipes}


# --- tokens and windows ----------------------------------------------------------------------------------------------


def test_every_text_comes_back(small: Corpus) -> None:
    train, validation = decoded(small, small.train), decoded(small, small.validation)
    assert sorted(train + validation) == sorted(texts(600))
    assert train == [text for text in texts(600) if text in set(train)], "in reading order"
    assert (small.train.documents, small.validation.documents) == (len(train), len(validation))
    assert 30 <= len(validation) <= 90, "about a tenth"
    assert small.train.bytes == sum(len(text.encode()) for text in train)


def test_windows_are_consecutive_and_share_one_token(small: Corpus) -> None:
    tokens, length = stream(small.train), 32
    count = small.train.windows(length)
    assert count == (len(tokens) - 1) // length
    wanted = np.array([count - 1, 0, 5, 5])
    read = small.train.read(wanted, length)
    assert read.dtype == np.int64
    assert read.shape == (4, length + 1)
    for row, window in zip(read, wanted, strict=True):
        assert row.tolist() == tokens[window * length : window * length + length + 1].tolist()
    with pytest.raises(AssertionError):
        small.train.read(np.array([count]), length)


def test_token_bytes_add_up_to_the_text(small: Corpus, installed: dict[str, Corpus]) -> None:
    for made in (small, *installed.values()):
        assert made.token_bytes.shape == (made.vocab_size,)
        assert made.token_bytes[made.end_of_document] == 0
        for split in (made.train, made.validation):
            assert made.token_bytes[stream(split)].sum() == split.bytes


def test_a_window_names_its_sources(small: Corpus) -> None:
    train, position = decoded(small, small.train), 0
    number = {text: index for index, text in enumerate(texts(600))}
    tokenizer = small.tokenizer()
    spans = []
    for text in train:
        size = len(tokenizer.encode(text).ids) + 1
        index = number[text]
        spans.append((position, position + size, f"{'ab'[index // 300]}.jsonl:{index % 300 + 1}"))
        position += size
    for window in (0, 7, small.train.windows(32) - 1):
        expected = [name for start, stop, name in spans if start <= window * 32 + 32 and window * 32 < stop]
        assert small.source("train", window, 32) == expected


def test_shards_are_one_stream(tmp_path: Path, small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_TOKENS", 1000)
    data = small.folder.parents[2] / "data"
    many = built(tmp_path, local("upstream", data, vocab_size=400, validation=0.1))
    assert len(arrays(many.train)) > 5
    windows = np.arange(many.train.windows(48))
    assert (many.train.read(windows, 48) == small.train.read(windows, 48)).all()


def test_the_bytes_do_not_depend_on_the_processes(
    tmp_path: Path, small: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_BATCH_CHARACTERS", 3000)
    given = local("upstream", small.folder.parents[2] / "data", vocab_size=400, validation=0.1)
    assert content(built(tmp_path, given, processes=2).folder) == content(small.folder)


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    made = built(tmp_path / "root", local("upstream", write(tmp_path / "a.jsonl", texts(300)), vocab_size=70_000))
    assert arrays(made.train)[0].dtype == np.uint32
    assert decoded(made, made.train)[0] in texts(300)


def test_a_text_that_mentions_the_end_does_not_end_there(tmp_path: Path) -> None:
    documents = [f"{number} before <|endoftext|> after" for number in range(100)]
    made = built(tmp_path / "root", local("upstream", write(tmp_path / "a.jsonl", documents)))
    assert made.train.documents + made.validation.documents == 100
    assert (stream(made.train) == made.end_of_document).sum() == made.train.documents
    assert decoded(made, made.train)[0] in documents


# --- splits and duplicates -------------------------------------------------------------------------------------------


def test_growth_and_order_move_no_document(tmp_path: Path) -> None:
    documents = texts(400)
    few = built(tmp_path / "1", local("upstream", write(tmp_path / "few.jsonl", documents[:200]), validation=0.2))
    mixed = random.Random(1).sample(documents, 400)
    all_of_it = built(tmp_path / "2", local("upstream", write(tmp_path / "all.jsonl", mixed), validation=0.2))
    assert set(decoded(few, few.validation)) == set(decoded(all_of_it, all_of_it.validation)) & set(documents[:200])


def test_a_text_counts_once(tmp_path: Path) -> None:
    documents = texts(200)
    once = built(tmp_path / "1", local("upstream", write(tmp_path / "once.jsonl", documents)))
    twice = built(tmp_path / "2", local("upstream", write(tmp_path / "twice.jsonl", [*documents, *documents, "", " "])))
    for split in ("train", "validation"):
        assert decoded(once, getattr(once, split)) == decoded(twice, getattr(twice, split))
    assert json.loads((twice.folder / "manifest.json").read_text())["duplicates"] == 200


# --- tokenizers ------------------------------------------------------------------------------------------------------


def test_companions_share_a_vocabulary_and_one_can_be_given(tmp_path: Path) -> None:
    up, down = (
        write(tmp_path / "up.jsonl", texts(300)),
        write(tmp_path / "down.jsonl", ["Größe und Maß"] * 2 + texts(99, 1)),
    )
    both = {"upstream": up, "downstream": down}
    recipes = [local(name, path, companions=both, vocab_size=500) for name, path in both.items()]
    build(recipes, tmp_path / "root", progress=False)
    first, second = (open_corpus(tmp_path / "root", given) for given in recipes)
    vocabulary = (first.folder / "tokenizer.json").read_bytes()
    assert (second.folder / "tokenizer.json").read_bytes() == vocabulary
    given = built(tmp_path / "given", local("downstream", down, tokenizer=first.folder))
    assert given.content == second.content
    assert given.key != second.key


def test_a_given_tokenizer_neither_cuts_nor_pads_nor_adds(tmp_path: Path, small: Corpus) -> None:
    from tokenizers import processors

    tokenizer = small.tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=999)
    tokenizer.post_processor = processors.TemplateProcessing("<|endoftext|> $0", special_tokens=[("<|endoftext|>", 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    data = small.folder.parents[2] / "data"
    made = built(tmp_path / "root", local("upstream", data, tokenizer=tmp_path, validation=0.1))
    assert made.content == small.content


def test_a_tokenizer_without_bytes_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens(["</s>"])
    words.save(str(tmp_path / "tokenizer.json"))
    data = write(tmp_path / "a.jsonl", texts(20))
    with pytest.raises(InputError, match=r"^tokenizer=.*neither byte-level"):
        built(tmp_path / "root", local("upstream", data, tokenizer=tmp_path / "tokenizer.json"))
    assert not (tmp_path / "root").exists()


def test_sentencepiece_tokens_have_their_bytes(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers

    vocabulary = {
        "</s>": 0,
        **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)},
        "\u2581": 257,
        "a": 258,
        "\u2581a": 259,
    }
    pieces = Tokenizer(models.BPE(vocabulary, [("\u2581", "a")], byte_fallback=True, unk_token="<0x00>"))
    pieces.normalizer = normalizers.Replace(" ", "\u2581")
    pieces.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Replace("\u2581", " ")])
    pieces.add_special_tokens(["</s>"])
    pieces.save(str(tmp_path / "tokenizer.json"))
    documents = [f"a a é {'a ' * number}世" for number in range(100)]
    made = built(tmp_path / "root", local("upstream", write(tmp_path / "a.jsonl", documents), tokenizer=tmp_path))
    assert made.token_bytes[stream(made.train)].sum() == made.train.bytes
    assert decoded(made, made.train)[0] in documents


# --- damage, failure, two at once ------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flip", "truncate", "manifest", "missing", "vocabulary"])
def test_damage_is_named_set_aside_and_made_good(
    tmp_path: Path, small: Corpus, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    given = local("upstream", small.folder.parents[2] / "data", vocab_size=400, validation=0.1)
    folder = tmp_path / "corpora" / small.folder.name
    shutil.copytree(small.folder, folder)
    names = {"manifest": "manifest.json", "missing": "manifest.json", "vocabulary": "tokenizer.json"}
    victim = folder / names.get(damage, "shard-train-00000.bin")
    held = bytearray(victim.read_bytes())
    held[len(held) // 2] ^= 1
    victim.write_bytes(held[:-2] if damage == "truncate" else held)
    if damage == "missing":
        victim.unlink()
    with pytest.raises(CorruptError, match=victim.name):
        open_corpus(tmp_path, given)
    assert not folder.exists()
    assert [path.name for path in (tmp_path / "corpora").iterdir()] == [f".bad-{folder.name}-1"]
    shutil.move(tmp_path / "corpora" / f".bad-{folder.name}-1", folder)
    assert built(tmp_path, given).content == small.content
    assert victim.name in capfd.readouterr().err
    assert content(folder) == content(small.folder)


def test_not_built_is_not_damage(tmp_path: Path, small: Corpus) -> None:
    given = local("downstream", small.folder.parents[2] / "data", vocab_size=400, validation=0.1)
    with pytest.raises(FileNotFoundError, match="not built"):
        open_corpus(tmp_path, given)
    assert list(tmp_path.iterdir()) == []


def test_built_once(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    given = local("upstream", small.folder.parents[2] / "data", vocab_size=400, validation=0.1)
    before = small.folder.stat().st_mtime_ns
    monkeypatch.setattr(building, "ingest", None)
    build([given, given], small.folder.parents[1], progress=False)
    assert small.folder.stat().st_mtime_ns == before


def test_bad_input_leaves_nothing_behind(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.jsonl", texts(300)), write(tmp_path / "bad.jsonl", texts(300))
    bad.write_text(bad.read_text() + "not json\n")
    both = {"upstream": good, "downstream": bad}
    root = tmp_path / "deep" / "root"
    # A tokenizer trained on the good one only, so that the bad one is met when the good one is already done.
    recipes = [local(name, path) for name, path in both.items()]
    with pytest.raises(InputError, match=r"^downstream=.*bad\.jsonl: line 301 is not JSON"):
        build(recipes, root, progress=False)
    assert not root.parent.exists()
    with pytest.raises(InputError, match=r"^downstream=.*bad\.jsonl: line 301"):
        build(recipes, root, progress=False, processes=2)
    assert not root.parent.exists()
    other = tmp_path / "kept"
    built(other, local("upstream", good))
    before = sorted(path.name for path in (other / "corpora").iterdir())
    with pytest.raises(InputError, match="line 301"):
        build(recipes, other, progress=False)
    assert sorted(path.name for path in (other / "corpora").iterdir()) == before


def test_too_little_text_is_told_before_anything_is_kept(tmp_path: Path) -> None:
    given = local("downstream", write(tmp_path / "a.jsonl", texts(300)))
    with pytest.raises(InputError, match=r"^downstream=.*validation has .* 0 windows of 4,?096 tokens"):
        build([given], tmp_path / "root", progress=False, check=partial(require_windows, seq_len=4096))
    assert not (tmp_path / "root").exists()
    made = built(tmp_path / "root", given)
    require_windows(given, made, 16, made.train.windows(16))
    with pytest.raises(InputError, match=r"^downstream=.*train has"):
        require_windows(given, made, 16, made.train.windows(16) + 1)


@pytest.mark.parametrize("documents", [[], ["", "  \n"]])
def test_no_documents(tmp_path: Path, documents: list[str]) -> None:
    given = local("upstream", write(tmp_path / "a.jsonl", documents))
    with pytest.raises(InputError, match=r"^upstream=.*holds no documents"):
        build([given], tmp_path / "root", progress=False)
    assert not (tmp_path / "root").exists()


def test_files_that_changed_since_the_plan_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", texts(50))
    given = local("upstream", data)
    write(data, texts(51))
    with pytest.raises(InputError, match=r"^upstream=.*changed since"):
        build([given], tmp_path / "root", progress=False)


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    given = local("upstream", write(tmp_path / "a.jsonl", texts(50)))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^root=.*cannot be written"):
        build([given], tmp_path / "file", progress=False)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = local("upstream", write(tmp_path / "a.jsonl", texts(50)))

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "flush_folder", full)
    with pytest.raises(OSError, match="No space"):
        build([given], tmp_path / "root", progress=False)
    assert not (tmp_path / "root").exists()


BUILD = """
import sys
from pathlib import Path
from harness.ingest.build import build
from harness.texts.recipe import local
if __name__ == "__main__":
    build([local("upstream", sys.argv[1])], Path(sys.argv[2]), processes=int(sys.argv[3]))
"""


def start(script: Path, *arguments: object) -> subprocess.Popen[str]:
    script.write_text(BUILD)
    command = [sys.executable, str(script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def test_two_processes_at_once_make_one_corpus(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", texts(3000))
    both = [start(tmp_path / "build.py", data, tmp_path / "root", 1) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [path.name for path in (tmp_path / "root" / "corpora").iterdir()] == [local("upstream", data).folder]
    assert sum("reading" in text for text in said) == 1, "the second one waited"


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_process_and_nothing_in_the_way(tmp_path: Path, signal_number: int) -> None:
    data = write(tmp_path / "a.jsonl", texts(20_000))
    process = start(tmp_path / "build.py", data, tmp_path / "root", 2)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("root/corpora/*/shard-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    # Ctrl-C reaches the whole group of a terminal; a kill only its process.
    (os.killpg if signal_number == signal.SIGINT else os.kill)(process.pid, signal_number)
    said = process.communicate(timeout=30)[1]  # the workers hold stderr: its end says that they are gone
    assert process.returncode != 0
    if signal_number == signal.SIGINT:
        assert not (tmp_path / "root").exists()
        assert said.count("Traceback") == 1, "of this script's own; none of its workers"
    built(tmp_path / "root", local("upstream", data))
    assert [path.name for path in (tmp_path / "root" / "corpora").iterdir()] == [local("upstream", data).folder]


# --- one folder for one content --------------------------------------------------------------------------------------


def test_the_same_texts_under_another_name_are_made_once(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    root, data = small.folder.parents[1], small.folder.parents[2] / "data"
    monkeypatch.setattr(building, "ingest", None)
    other = built(root, local("general", data, vocab_size=400, validation=0.1))
    assert (other.name, other.folder, other.content) == ("general", small.folder, small.content)
    assert small.folder.name == small.key[:12]
    assert json.loads((small.folder / "manifest.json").read_text())["name"] == "upstream"


def test_a_folder_of_before_which_has_a_name_is_used_as_it_is(
    tmp_path: Path, small: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = local("downstream", small.folder.parents[2] / "data", vocab_size=400, validation=0.1)
    name = f"some-name-{small.folder.name}"
    damaged = shutil.copytree(small.folder, tmp_path / "damaged" / "corpora" / name)
    (damaged / "tokenizer.json").write_text("damaged")
    assert built(tmp_path / "damaged", given).folder.name == small.folder.name, "set aside, and made again"
    assert not damaged.exists()
    whole = shutil.copytree(small.folder, tmp_path / "whole" / "corpora" / name)
    monkeypatch.setattr(building, "ingest", None)
    assert built(tmp_path / "whole", given).folder == whole


# --- what is said of a user's texts ----------------------------------------------------------------------------------


def test_repeats_empty_documents_and_what_is_left_out_are_counted_aloud(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    documents = texts(200)
    write(tmp_path / "data" / "a.jsonl", [*documents, *documents, *documents, "", " "])
    (tmp_path / "data" / ".DS_Store").write_text("")
    (tmp_path / "data" / "part2").symlink_to(tmp_path / "data")
    build([local("downstream", tmp_path / "data")], tmp_path / "root")
    said = capfd.readouterr().err.splitlines()
    assert "corpus downstream: left out are 1 hidden (.DS_Store), 1 links to folders read already (part2)" in said
    assert "corpus downstream: 400 of 602 documents are exact repeats of earlier ones and are left out" in said
    assert "corpus downstream: 2 of 602 documents are empty and are left out" in said
    write(tmp_path / "one.jsonl", ["\n".join(documents)])
    build([local("downstream", tmp_path / "one.jsonl")], tmp_path / "root")
    assert "too few documents (1) to hold some out: pieces of" in capfd.readouterr().err


# --- a given tokenizer that fails -------------------------------------------------------------------------------------


def with_pattern(folder: Path, made: Corpus, pattern: str) -> Path:
    """The tokenizer of a corpus, with a regular expression that splits its texts first."""
    described = json.loads((made.folder / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    steps = [split, described["pre_tokenizer"]]
    described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    (folder / "tokenizer.json").write_text(json.dumps(described))
    return folder / "tokenizer.json"


@pytest.mark.parametrize(
    ("pattern", "text", "why"),
    [
        ("(a|aa)+c", ("a" * 30 + " ") * 2000, "takes more than 0.5 s of processor time"),
        ("(a+)+c", "a" * 400, "fails"),
    ],
    ids=["endless", "broken"],
)
def test_a_document_on_which_a_tokenizer_fails_is_named_and_never_left_out(
    tmp_path: Path, small: Corpus, pattern: str, text: str, why: str
) -> None:
    """In a process of its own: what never ends goes on until its process does."""
    data = write(tmp_path / "a.jsonl", [*texts(30), text, *texts(30, 1)])
    given = with_pattern(tmp_path, small, pattern)
    script = tmp_path / "build.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from harness.corpora import tokenizer\nfrom harness.ingest.build import build\n"
        "from harness.texts import recipe\n"
        "tokenizer.LIMIT_SECONDS = 0.5\n"
        "if __name__ == '__main__':\n"
        "    given = recipe.local('upstream', sys.argv[1], tokenizer=sys.argv[2])\n"
        "    try:\n        build([given], Path(sys.argv[3]), progress=False)\n"
        "    except Exception as error:\n        print(error)\n"
    )
    command = [sys.executable, str(script), str(data), str(given), str(tmp_path / "root")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=True)
    assert done.stdout.startswith(f"tokenizer={given}: {why}")
    assert "on a.jsonl:31; repair its regular expressions, or take that document out" in done.stdout
    assert done.stderr == ""
    assert not (tmp_path / "root").exists()


# --- the embedded corpora --------------------------------------------------------------------------------------------


def test_one_vocabulary_for_all_whatever_is_built(installed: dict[str, Corpus]) -> None:
    assert len({(made.folder / "tokenizer.json").read_bytes() for made in installed.values()}) == 1
    assert {made.vocab_size for made in installed.values()} == {recipe.VOCAB_SIZE}
    assert all(made.end_of_document == 0 for made in installed.values())


def test_sources_are_files_of_packages_and_of_no_machine(installed: dict[str, Corpus]) -> None:
    for made in installed.values():
        names = json.loads((made.folder / "files.json").read_text())
        assert all(not name.startswith(("/", "..")) for name in names)
        assert not [name for name in names if name.startswith("transformers/models/") or "/tests/" in name]
        for split in ("train", "validation"):
            assert set(made.source(split, 0, 128)) <= set(names)
        assert str(Path.home()) not in (made.folder / "manifest.json").read_text()
    tops = {name.split("/")[0] for name in json.loads((installed["sympy"].folder / "files.json").read_text())}
    assert tops <= {"sympy", "mpmath"}
    tops = {name.split("/")[0] for name in json.loads((installed["python"].folder / "files.json").read_text())}
    assert not tops & {"sympy", "mpmath"}
    assert "torch" in tops
    systems, science = ({*json.loads((installed[name].folder / "files.json").read_text())} for name in HALVES)
    tops = {name.split("/")[0] for name in science}
    assert {"numpy", "scipy"} <= tops
    assert not tops & {"torch", "transformers"}
    assert not systems & science


@pytest.mark.parametrize("name", ["docs", *HALVES])
def test_docs_are_prose(installed: dict[str, Corpus], name: str) -> None:
    made = installed[name]
    paragraphs = [part for text in decoded(made, made.train) for part in text.split("\n\n")]
    assert len(paragraphs) > 500
    assert sum(map(extract.is_prose, paragraphs)) > 0.98 * len(paragraphs)
    assert not [part for part in paragraphs if "all rights reserved" in part.lower()]


def test_python_is_code_without_comments(installed: dict[str, Corpus]) -> None:
    for made in (installed["python"], installed["sympy"]):
        documents = decoded(made, made.train)
        parsed, prose = 0, 0
        for text in documents:
            try:
                tree = ast.parse(text)
            except SyntaxError:
                continue
            parsed += 1
            definitions = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
            prose += sum(bool(ast.get_docstring(node)) for node in definitions)
            assert not any(line.lstrip().startswith("# ") for line in text.split("\n"))
        assert parsed >= 0.93 * len(documents), "deduplication takes whole blocks"
        assert prose == 0


def test_cpp_is_code_without_comments(installed: dict[str, Corpus]) -> None:
    documents = decoded(installed["cpp"], installed["cpp"].train)
    lines = [line.strip() for text in documents for line in text.split("\n")]
    assert len(lines) > 1000
    assert sum(line.startswith(("//", "/*")) for line in lines) == 0
    assert sum(line.startswith("#include") for line in lines) > 50


def test_no_block_is_in_both_splits(installed: dict[str, Corpus]) -> None:
    for made in installed.values():
        train, validation = (
            {extract.normalised(block) for text in decoded(made, split) for block in text.split("\n\n")} - {b""}
            for split in (made.train, made.validation)
        )
        # Blocks of code hold empty lines themselves, so parts of different blocks may be alike.
        assert len(train & validation) <= (0 if made.name == "docs" else 0.01 * len(validation)), made.name


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    small, large = embedded.sampled("cpp", 0.1), embedded.sampled("cpp", 0.3)
    assert large[: len(small)] == small
    assert 0.2 < len(small) / len(large) < 0.5


def test_prose_and_code_are_told_apart() -> None:
    source = '''# Copyright someone, all rights reserved. You may redistribute this file as it is under the licence.
import os

# This comment explains why the next line is needed, and it
# goes on for a second line.
LIMIT = 3  # a short one

def describe(x):
    """Return what x is, in the words that a reader of the code would use.

    >>> describe(1)
    """

class Empty:
    "Nothing is in here but this sentence which is a docstring."

MESSAGE = f"""{LIMIT} # not a comment"""
QUOTED = 'a # b'
'''
    prose, code = extract.python_blocks(source)
    assert prose == [
        "This comment explains why the next line is needed, and it\ngoes on for a second line.",
        "Return what x is, in the words that a reader of the code would use.",
    ]
    text = "\n\n".join(code)
    assert ast.unparse(ast.parse(text)) == ast.unparse(
        ast.parse(
            "import os\nLIMIT = 3\ndef describe(x):\n    pass\nclass Empty:\n    pass\n"
            "MESSAGE = f'{LIMIT} # not a comment'\nQUOTED = 'a # b'"
        )
    )
    prose, code = extract.cpp_blocks(
        '/* Where the value of the thing is kept until it is read. */\nint a; // x\nauto s = "//";'
    )
    assert prose == ["Where the value of the thing is kept until it is read."]
    assert code == ['int a;\nauto s = "//";']


@pytest.mark.slow
def test_the_default_sample_is_enough_for_the_presets(tmp_path: Path) -> None:
    recipes = [recipe.embedded(name) for name in recipe.DEFAULT_SAMPLE]
    build(recipes, tmp_path)
    for given, needed in zip(recipes, (6e6, 2e6, 2e6, 1e6, 4e6, 4e6), strict=True):
        made = open_corpus(tmp_path, given)
        assert made.train.tokens >= needed
        assert made.validation.windows(128) >= 1000
    assert open_corpus(tmp_path, recipes[0]).content
