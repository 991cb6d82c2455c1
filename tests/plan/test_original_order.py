"""A corpus in the order of the training that drew it: what replay reads of it, and what the same data do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from harness import peek
from harness.__main__ import main
from harness.compose.compose import collect
from harness.config.run import read_run
from harness.core.errors import InputError
from harness.corpora import tokenizer
from harness.corpora.batches import Batches
from harness.corpora.corpus import open_corpus
from harness.ingest.build import build
from harness.plan.over_store import plan_over
from harness.plan.plan import PlannedRun, compile_points
from harness.program.mixture import ORIGINAL, counts
from harness.report import plan_document, plan_lines
from harness.store.store import Store
from tests.megatron_files import write_pair
from tests.tiny import KNOBS, write_texts

SEQUENCES = 300
HF = "start=hf path={0}/model lr=0.01"
SCRATCH = "model.vocab_size=304 tokenizer={0}/model"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its tokenizer, the sequences it was trained on, and texts."""
    folder = tmp_path_factory.mktemp("original")
    write_texts(folder)
    shape = GPTNeoXConfig(
        vocab_size=304,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    GPTNeoXForCausalLM(shape).save_pretrained(folder / "model")
    words = [file.read_text() for file in sorted((folder / "upstream").iterdir())]
    tokenizer.train(words, 300).save(str(folder / "model" / "tokenizer.json"))
    write_pair(folder / "pile" / "document", np.random.default_rng(0).integers(0, 300, (SEQUENCES, 17)), "u2", (2000,))
    write_pair(folder / "held" / "document", np.random.default_rng(1).integers(0, 300, (8, 17)))
    return folder


def line(world: Path, more: str, start: str = HF) -> str:
    """A command line: upstream are the sequences of the checkpoint's training, downstream are texts."""
    own = {"files": "pile", "validation": "held", "tokenizer": "model"}
    corpus = " ".join(f"corpus.pile_pythia.{key}={world}/{folder}" for key, folder in own.items())
    knobs = KNOBS.replace("shift=local ", "")
    shift = f"upstream=pile_pythia downstream={world}/downstream corpus.pile_pythia.sequence=17"
    return f"{knobs} {shift} {corpus} {start.format(world)} {more}"


def planned(world: Path, more: str, start: str = HF) -> PlannedRun:
    (point,) = collect(line(world, more, start).split())
    (planned,) = compile_points([("", read_run(point.config))])
    return planned


def orders(point: PlannedRun) -> list[dict[str, int]]:
    names = {recipe.key: name for name, recipe in point.run.recipes.items()}
    return [{names[source.corpus]: source.order for source in phase.sources} for phase in point.program.phases]


def test_replay_reads_the_first_sequences_of_the_training_in_its_order(world: Path, tmp_path: Path) -> None:
    point = planned(world, "replay=0.25")
    assert {phase["pile_pythia"] for phase in orders(point)} == {ORIGINAL}
    assert {phase["downstream"] for phase in orders(point)} == {0}
    build(list(point.run.recipes.values()), tmp_path, progress=False)
    opened = {recipe.key: open_corpus(tmp_path, recipe) for recipe in point.run.recipes.values()}
    pile = np.random.default_rng(0).integers(0, 300, (SEQUENCES, 17))
    batches = Batches(point.program, opened)
    replayed = []
    for position in range(point.program.steps):
        index, _ = point.program.phase_at(position)
        sources = point.program.phases[index].sources
        which, _, _ = batches.draws(position)
        own = [j for j, source in enumerate(sources) if source.corpus == point.run.recipes["pile_pythia"].key]
        replayed += list(batches.at(position)[which == own[0]])
    assert len(replayed) == counts((1, 3), 160)[0] == 40
    assert (np.array(replayed) == pile[:40]).all()


def test_another_order_where_it_is_asked_for(world: Path) -> None:
    first = orders(planned(world, "replay=0.25 replay_order=reshuffle"))
    other = orders(planned(world, "replay=0.25 replay_order=reshuffle order=1"))
    assert all(phase["pile_pythia"] >= 0 for phase in first + other)
    assert first[0]["pile_pythia"] != other[0]["pile_pythia"]
    assert len({phase["pile_pythia"] for phase in first}) == 1  # the phases of one stage go on in one order


def test_a_checkpoint_has_seen_all_of_it_so_the_same_data_are_read_again_reshuffled(
    world: Path, tmp_path: Path
) -> None:
    point = planned(world, "downstream=pile_pythia")
    assert all(phase["pile_pythia"] >= 0 for phase in orders(point))
    plan = plan_over([point], Store(tmp_path))
    lines = "\n".join(plan_lines(plan_document(plan, Store(tmp_path))))
    assert "1 pile_pythia (0.0533 epochs, again from its first sequence, reshuffled)" in lines  # 16 of 300: the warm-up
    replay = plan_over([planned(world, "replay=0.25")], Store(tmp_path))
    assert "0.25 pile_pythia (" in (text := "\n".join(plan_lines(plan_document(replay, Store(tmp_path)))))
    assert "epochs, in its own order)" in text


def test_stages_reshuffle_once_and_go_on(world: Path) -> None:
    half = "{mixture:{upstream:0.5,downstream:0.5},tokens:0.5x}"
    alone = "{mixture:{pile_pythia:1},tokens:0.5x}"
    mixed_first = orders(planned(world, f"stages=[{half},{alone}] warmup=0"))
    assert {phase["pile_pythia"] for phase in mixed_first} == {ORIGINAL}
    alone_first = orders(planned(world, f"stages=[{alone},{half}] warmup=0"))
    (order,) = {phase["pile_pythia"] for phase in alone_first}
    assert order >= 0


def test_a_base_of_ones_own_reads_on_in_the_original_order(world: Path) -> None:
    for more in ("replay=0.25", "downstream=pile_pythia"):
        point = planned(world, more, SCRATCH)
        assert {phase.get("pile_pythia", ORIGINAL) for phase in orders(point)} == {ORIGINAL}


def test_another_length_of_sequences_is_refused_before_anything_is_read(world: Path) -> None:
    with pytest.raises(InputError, match=r"^batch\.seq_len=8: pile_pythia holds sequences of 17 tokens.*seq_len=16$"):
        planned(world, "batch.seq_len=8")


def changed_tokenizer(world: Path, folder: Path) -> Path:
    """Of as many tokens, two of which have changed places."""
    described = json.loads((world / "model" / "tokenizer.json").read_text())
    vocabulary = described["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(described))
    return folder / "tokenizer.json"


def test_sequences_of_another_tokenizer_are_refused(world: Path, tmp_path: Path) -> None:
    other = changed_tokenizer(world, tmp_path)
    words = r"pile_pythia has other tokens than the checkpoint: token \d+ is"
    with pytest.raises(InputError, match=words):
        planned(world, f"corpus.pile_pythia.tokenizer={other} replay=0.25")
    with pytest.raises(InputError, match=r"^corpus\.pile_pythia\.tokenizer=null: .* do not tell of which tokenizer"):
        planned(world, "corpus.pile_pythia.tokenizer=null replay=0.25")
    with pytest.raises(InputError, match="has other tokens than"):
        planned(world, f"corpus.pile_pythia.tokenizer={other} replay=0.25", SCRATCH)


def test_from_the_command_line_to_the_end(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["harness"])
    root = tmp_path / "runs"
    arguments = line(world, f"replay=0.25 launch=inline root={root} name=again").split()
    assert main(arguments) == 0
    store = Store(root)
    (document,) = store.runs()
    last = {row.corpus: row for row in store.rows(document["address"]) if row.position == document["steps"]}
    assert set(last) == {"pile_pythia", "downstream"}
    assert main([*arguments, "do=plan"]) == 0
    assert "all done" in capsys.readouterr().out
    assert peek.main(["again", "--at", "20", "--root", str(root)]) == 0
    assert "pile_pythia, epoch 0, window 20: sequence 20 of train" in capsys.readouterr().out


def test_what_a_listing_tells_is_refused_by_the_plan(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "pile", tmp_path / "pile")
    (tmp_path / "pile" / "document-00000-of-00001.bin").unlink()
    with pytest.raises(InputError, match=r"^corpus\.pile_pythia\.files=.*: part 00000 is not there"):
        planned(world, f"corpus.pile_pythia.files={tmp_path}/pile")
    (tmp_path / "pile" / "document.idx").unlink()
    with pytest.raises(InputError, match=r"there is no document\.idx beside it"):
        planned(world, f"replay=0.25 corpus.pile_pythia.validation={tmp_path}/pile")


def test_files_that_do_not_fit_are_told_in_one_line_and_leave_nothing(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "pile", tmp_path / "pile")
    (tmp_path / "pile" / "document-00001-of-00001.bin").unlink()
    root = tmp_path / "runs"
    call = line(world, f"replay=0.25 launch=inline root={root} corpus.pile_pythia.files={tmp_path}/pile").split()
    with pytest.raises(
        InputError, match=r"^corpus\.pile_pythia\.files=document\.idx: its 300 sequences take 10,200 bytes"
    ):
        main(call)
    assert not (root / "corpora").exists()
    assert not (root / "states").exists() or not list((root / "states").iterdir())
