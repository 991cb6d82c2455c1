"""A corpus in the order of the training that drew it: what replay reads of it, and what the same data do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from harness.compose.compose import collect
from harness.config import run as run_module
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
from harness.texts.listed import MegatronSource
from harness.texts.recipe import CORPUS_CODE, Recipe, given_tokenizer, local
from tests.megatron_files import listed, write_pair
from tests.tiny import command, write_texts

SEQUENCES = 300
HF = "start=hf path={0}/model lr=0.01"


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


@pytest.fixture(autouse=True)
def upstream_is_the_training(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`upstream` becomes the sequences of the checkpoint's training, wherever a config names it."""
    given = given_tokenizer(world / "model")
    source = MegatronSource(listed(world / "pile"), 17, listed(world / "held"))
    upstream = Recipe("upstream", source, given, 0.1, CORPUS_CODE)
    downstream = local("downstream", world / "downstream", tokenizer=world / "model")

    def corpora(config: dict[str, object]) -> tuple[dict[str, Recipe], str, str]:
        same = config["downstream"] == config["upstream"]
        return (
            ({"upstream": upstream}, "upstream", "upstream")
            if same
            else (
                {"upstream": upstream, "downstream": downstream},
                "upstream",
                "downstream",
            )
        )

    monkeypatch.setattr(run_module, "corpora", corpora)


def planned(world: Path, more: str, start: str = HF) -> PlannedRun:
    (point,) = collect(f"{command(world, more)} {start.format(world)}".split())
    (planned,) = compile_points([("", read_run(point.config))])
    return planned


def orders(point: PlannedRun) -> list[dict[str, int]]:
    names = {recipe.key: name for name, recipe in point.run.recipes.items()}
    return [{names[source.corpus]: source.order for source in phase.sources} for phase in point.program.phases]


def test_replay_reads_the_first_sequences_of_the_training_in_its_order(world: Path, tmp_path: Path) -> None:
    point = planned(world, "replay=0.25")
    assert {phase["upstream"] for phase in orders(point)} == {ORIGINAL}
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
        own = [j for j, source in enumerate(sources) if source.corpus == point.run.recipes["upstream"].key]
        replayed += list(batches.at(position)[which == own[0]])
    assert len(replayed) == counts((1, 3), 160)[0] == 40
    assert (np.array(replayed) == pile[:40]).all()


def test_another_order_where_it_is_asked_for(world: Path) -> None:
    first = orders(planned(world, "replay=0.25 replay_order=reshuffle"))
    other = orders(planned(world, "replay=0.25 replay_order=reshuffle order=1"))
    assert all(phase["upstream"] >= 0 for phase in first + other)
    assert first[0]["upstream"] != other[0]["upstream"]
    assert len({phase["upstream"] for phase in first}) == 1  # the phases of one stage go on in one order


def test_a_checkpoint_has_seen_all_of_it_so_the_same_data_are_read_again_reshuffled(
    world: Path, tmp_path: Path
) -> None:
    point = planned(world, f"downstream={world}/upstream")
    assert all(phase["upstream"] >= 0 for phase in orders(point))
    plan = plan_over([point], Store(tmp_path))
    lines = "\n".join(plan_lines(plan_document(plan, Store(tmp_path))))
    assert "1 upstream (0.0533 epochs, again from its first sequence, reshuffled)" in lines  # 16 of 300: the warm-up
    replay = plan_over([planned(world, "replay=0.25")], Store(tmp_path))
    assert "0.25 upstream (" in (text := "\n".join(plan_lines(plan_document(replay, Store(tmp_path)))))
    assert "epochs, in its own order)" in text


def test_stages_reshuffle_once_and_go_on(world: Path) -> None:
    half = "{mixture:{upstream:0.5,downstream:0.5},tokens:0.5x}"
    alone = "{mixture:{upstream:1},tokens:0.5x}"
    mixed_first = orders(planned(world, f"stages=[{half},{alone}] warmup=0"))
    assert {phase["upstream"] for phase in mixed_first} == {ORIGINAL}
    alone_first = orders(planned(world, f"stages=[{alone},{half}] warmup=0"))
    (order,) = {phase["upstream"] for phase in alone_first}
    assert order >= 0


def test_a_base_of_ones_own_reads_on_in_the_original_order(world: Path) -> None:
    for more in ("replay=0.25", f"downstream={world}/upstream"):
        point = planned(world, more, "model.vocab_size=304")
        assert {phase.get("upstream", ORIGINAL) for phase in orders(point)} == {ORIGINAL}


def test_another_length_of_sequences_is_refused_before_anything_is_read(world: Path) -> None:
    with pytest.raises(InputError, match=r"^batch\.seq_len=8: upstream holds sequences of 17 tokens.*seq_len=16$"):
        planned(world, "batch.seq_len=8")
