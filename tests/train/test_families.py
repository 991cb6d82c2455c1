"""Checkpoints of several families, heads tied and untied, in one file or shards, with rows that no token has: each is
trained as a plain loop over transformers trains it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from harness.corpora.batches import Batches
from harness.corpora.corpus import open_corpus
from harness.model.build import load_checkpoint, loss_of, parameter_groups
from harness.model.pretrained import checkpoint_shape_facts, weight_files
from harness.model.tensors import load_model
from harness.plan.plan import PlannedRun
from harness.store.store import Store
from tests.tiny import end_of, planned, train, write_texts

ROWS, TOKENS, STEPS = 320, 300, 3  # rows of the embeddings, tokens of the tokenizer
COMMON: dict[str, Any] = {"vocab_size": ROWS, "bos_token_id": 0, "eos_token_id": 0}
WIDE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}
GROUPED: dict[str, Any] = {**WIDE, "num_key_value_heads": 2}
GPT2: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
FAMILIES: dict[str, PreTrainedConfig] = {
    "gpt_neox": GPTNeoXConfig(**COMMON, **WIDE),
    "gpt_neox-tied": GPTNeoXConfig(**COMMON, **WIDE, tie_word_embeddings=True),
    "llama": LlamaConfig(**COMMON, **GROUPED),
    "qwen2-tied": Qwen2Config(**COMMON, **GROUPED, tie_word_embeddings=True),
    "gpt2-tied": GPT2Config(**COMMON, **GPT2),
    "gpt2": GPT2Config(**COMMON, **GPT2, tie_word_embeddings=False),
}
SOON = (("gpt_neox", "20KB"),)  # the others with the slow tests: a second each
CASES = [
    pytest.param(family, shard, marks=() if (family, shard) in SOON else pytest.mark.slow, id=f"{family}-{shard}")
    for family in FAMILIES
    for shard in ("10GB", "20KB")
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, a store of their corpora, and the tokenizer that was trained on them."""
    folder = tmp_path_factory.mktemp("families")
    write_texts(folder)
    store = Store(folder / "store")
    (point,) = planned(folder, store, "").points
    corpus = open_corpus(store.root, point.run.recipes["upstream"])
    assert corpus.vocab_size == TOKENS
    shutil.copy(corpus.folder / "tokenizer.json", folder / "tokenizer.json")
    return folder


def checkpoint(world: Path, folder: Path, config: PreTrainedConfig, shard: str) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder, max_shard_size=shard)
    shutil.copy(world / "tokenizer.json", folder / "tokenizer.json")
    return folder


def plainly_trained(path: Path, point: PlannedRun, store: Store) -> PreTrainedModel:
    """The same steps without the harness's own loop."""
    model = load_checkpoint(path)
    adam = point.program.phases[0].optimizer
    optimizer = torch.optim.AdamW(
        parameter_groups(model, adam.weight_decay), betas=(adam.beta1, adam.beta2), eps=adam.eps
    )
    corpora = {recipe.key: open_corpus(store.root, recipe) for recipe in point.run.recipes.values()}
    batches = Batches(point.program, corpora)
    for position in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = point.program.lr(position)
        tokens = torch.from_numpy(batches.at(position))
        assert int(tokens.max()) < TOKENS
        loss, count = loss_of(model, tokens[:, :-1], tokens[:, 1:])
        optimizer.zero_grad()
        (loss / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), adam.clip)
        optimizer.step()
    return model


@pytest.mark.parametrize(("family", "shard"), CASES)
def test_three_steps_of_a_family(world: Path, tmp_path: Path, family: str, shard: str) -> None:
    config = FAMILIES[family]
    path = checkpoint(world, tmp_path / "model", config, shard)
    assert (len(weight_files(path)) > 1) == (shard == "20KB")
    facts, start = checkpoint_shape_facts(path), load_checkpoint(path)
    assert facts.parameters == sum(parameter.numel() for parameter in start.parameters())
    assert facts.vocab_size == ROWS
    tied = bool(config.tie_word_embeddings)
    assert (start.get_input_embeddings().weight is start.get_output_embeddings().weight) == tied
    store = Store(tmp_path / "store")
    shutil.copytree(world / "store" / "corpora", store.root / "corpora")
    plan = planned(world, store, f"start=hf path={path} lr=0.01 replay=0.25 tokens={STEPS * 64} warmup=0.34")
    (point,) = plan.points
    train(plan, store)
    assert point.program.steps == STEPS
    state = store.state(end_of(point))
    assert state is not None
    load_model(state.folder, trained := load_checkpoint(path))
    expected = plainly_trained(path, point, store)
    for (name, one), other, before in zip(
        trained.named_parameters(), expected.parameters(), start.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert before.ndim < 2 or not torch.equal(one, before), f"{name} was not trained"
    losses = {(row.position, row.corpus): row.loss for row in store.rows(end_of(point))}
    assert losses[STEPS, "downstream"] < losses[0, "downstream"]
