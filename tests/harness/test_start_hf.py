"""A checkpoint folder as the root of a program: planned by its content, trained on, resumed, its sizes checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from analysis.results.facts import asked, facts
from harness import evaluate
from harness.__main__ import main
from harness.compose.compose import collect
from harness.config.run import read_run
from harness.core.errors import InputError
from harness.corpora.corpus import open_corpus
from harness.launch import launch
from harness.model.build import check_checkpoint, load_checkpoint
from harness.model.tensors import load_model
from harness.plan.over_store import plan_over
from harness.plan.run_file import run_document
from harness.store.store import Store
from harness.train.loop import Interrupted
from tests.checkpoints import save_llama
from tests.composed import points_of
from tests.launched import OFF, settings
from tests.tiny import command, end_of, files_of, planned, train, write_texts


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, and beside them a folder as a hub serves it: a tiny Llama with its own tokenizer."""
    folder = tmp_path_factory.mktemp("hf")
    write_texts(folder)
    store = Store(folder / "store")
    (point,) = planned(folder, store, "").points
    corpus = open_corpus(store.root, point.run.recipes["upstream"])
    save_llama(folder / "model", tokenizer=corpus.folder / "tokenizer.json")
    return folder


def knobs(world: Path, more: str = "") -> str:
    return f"start=hf path={world}/model lr=0.01 {more}"


def test_training_starts_from_the_checkpoints_weights(world: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = planned(world, store, knobs(world, "replay=0.25"))
    (point,) = plan.points
    assert point.base_position == 0
    assert point.program.steps == 40
    train(plan, store)
    rows = {(row.position, row.corpus): row.loss for row in store.rows(end_of(point))}
    assert rows[40, "downstream"] < rows[0, "downstream"] - 0.1
    model = load_checkpoint(world / "model")
    state = store.state(end_of(point))
    assert state is not None
    load_model(state.folder, model)  # what was stored fits the architecture it came from


def remade(world: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], object], **config: object) -> Path:
    """A copy of the checkpoint with other tensors, or another config."""
    shutil.copytree(world / "model", folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return folder


NORM, MLP = "model.norm.weight", "model.layers.0.mlp.down_proj.weight"


@pytest.mark.parametrize(
    ("change", "config", "why"),
    [
        (lambda t: t.pop(NORM), {}, f"missing: {NORM}"),
        (lambda t: t.update(extra=torch.zeros(3)), {}, "unexpected: extra"),
        (lambda t: t.update({NORM: torch.zeros(8)}), {}, f"mismatched: {NORM} is [8] where the config makes [16]"),
        (lambda t: t.update({MLP: t[MLP].T.contiguous()}), {}, f"mismatched: {MLP} is [32, 16]"),
        (dict, {"num_hidden_layers": 3}, "missing: model.layers.1."),
        (dict, {"intermediate_size": 10**9}, "mismatched: model.layers.0.mlp."),
        (dict, {"num_attention_heads": 0}, "cannot be loaded"),
        (dict, {"hidden_act": "no such function"}, "cannot be loaded"),
        (dict, {"hidden_size": "many"}, "cannot be loaded"),
    ],
    ids=["missing", "unexpected", "shape", "turned", "layers", "wide", "heads", "activation", "text"],
)
def test_tensors_that_are_not_the_configs_are_refused_before_anything_starts(
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, torch.Tensor]], object],
    config: dict[str, object],
    why: str,
) -> None:
    """In the command, from headers alone: one line, and nothing trains."""
    folder = remade(world, tmp_path / "changed", change, **config)
    monkeypatch.setattr("harness.launch.launch", None)
    with pytest.raises(InputError) as caught:
        main(command(world, f"start=hf path={folder} lr=0.01 root={tmp_path / 'store'}").split())
    assert caught.value.field == "path"
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "store").glob("states/*"))


def test_a_good_checkpoint_passes_and_no_weight_is_read(world: Path) -> None:
    check_checkpoint(world / "model")


def test_a_checkpoint_is_its_content_not_its_path(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "model", tmp_path / "copy")
    store = Store(tmp_path / "store")
    one, other = (
        end_of(planned(world, store, f"start=hf path={path} lr=0.01").points[0])
        for path in (world / "model", tmp_path / "copy")
    )
    assert one == other


def test_an_interrupted_run_from_a_checkpoint_ends_with_the_same_bits(world: Path, tmp_path: Path) -> None:
    whole, cut = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    plan = planned(world, whole, knobs(world))
    train(plan, whole)
    for _ in range(20):
        try:
            train(planned(world, cut, knobs(world)), cut, stop_at=7)
            break
        except Interrupted:
            continue
    end = end_of(plan.points[0])
    train(planned(world, cut, knobs(world)), cut)
    assert files_of(cut, end) == files_of(whole, end)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("path=nowhere", "path=nowhere"),
        ("lr=null", "lr=null: a checkpoint does not tell"),
        ("schedule=constant", "schedule.lr=null: no base tells"),
        ("batch.seq_len=32", "batch.seq_len=32: the model has 16 positions"),
        ("start.at=0.5", "start.at=0.5: not a key of the start that was chosen"),
        ("revision=main", "revision=main: a folder has no revisions"),
    ],
)
def test_what_a_checkpoint_cannot_do_is_refused(world: Path, more: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_run(collect(command(world, f"{knobs(world)} {more}").split())[0].config)
    assert message in str(caught.value)


def test_a_checkpoint_that_has_changed_is_not_measured_as_the_one_it_was(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its stored states still are: nothing but step 0 is made from the checkpoint."""
    shutil.copytree(world / "model", tmp_path / "model")
    (point,) = points_of(command(world, f"start=hf path={tmp_path}/model lr=0.01 name=mine"))
    store = Store(tmp_path / "runs")
    assert launch(plan_over([point], store), settings("inline"), store, tracker=OFF, progress=False).failures == []
    (tmp_path / "model" / "model.safetensors").unlink()
    LlamaForCausalLM(LlamaConfig.from_pretrained(tmp_path / "model")).save_pretrained(tmp_path / "model")
    assert evaluate.main(["mine", "windows=5", "launch=inline", f"root={store.root}"]) == 0
    assert "mine is not measured at step 0" in capsys.readouterr().err
    measured = {row.position for row in store.rows(end_of(point)) if row.windows == 5}
    assert measured == {40}


def test_a_tokenizer_whose_tokens_are_not_the_checkpoints_is_refused(world: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    described = json.loads((world / "model" / "tokenizer.json").read_text())
    file.write_text(json.dumps(described))  # laid out otherwise: the same tokens, another hash
    points_of(command(world, knobs(world, f"tokenizer={file}")))
    vocabulary = described["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    file.write_text(json.dumps(described))
    refused = r"^tokenizer=.*upstream has other tokens than the checkpoint: token \d+ is '[ab]' and '[ab]'; "
    with pytest.raises(InputError, match=refused):
        read_run(collect(command(world, knobs(world, f"tokenizer={file} seed=1")).split())[0].config)


def test_no_peak_of_a_checkpoint_is_made_up(world: Path, tmp_path: Path) -> None:
    """The scale's is that of its own base; who knows the checkpoint's says `base.peak=`, and multiples of it work."""
    untold = command(world, f"start=hf path={world}/model").replace("base.peak=0.01", f"root={tmp_path}")
    (point,) = points_of(f"{untold} lr=0.01")
    assert point.run.config["base"]["peak"] is None
    assert run_document(point)["name"].startswith("local-cosine-model-lr0.01")
    document = json.loads(json.dumps(run_document(point)))
    assert facts(document, asked(document)).peak is None
    for more in ("", "peak=1"):
        with pytest.raises(InputError, match=r"a checkpoint does not tell the peak .* give lr=..., or base.peak="):
            points_of(f"{untold} {more}")
    (told,) = points_of(f"{untold} base.peak=0.02 peak=0.5")
    assert told.program.address() == point.program.address()
    document = run_document(told)
    assert facts(document, asked(document)).peak == 0.5
    (own,) = points_of(untold.replace("start=hf", "start=pretrain").replace(f"path={world}/model", ""))
    assert own.run.config["base"]["peak"] == 3e-3
