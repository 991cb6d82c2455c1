"""Scratch models are Pythia's, from the seed alone; any causal checkpoint folder loads, and nothing else does."""

from __future__ import annotations

import json
import math
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from harness.core.errors import InputError
from harness.model.build import build_scratch, load_checkpoint, loss_of, parameter_groups, tune_process
from harness.program.shape import ModelShape

MINI = ModelShape(layers=2, hidden=64, heads=4, vocab_size=2048, seq_len=128)
TINY = ModelShape(layers=2, hidden=32, heads=2, vocab_size=96, seq_len=48)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def tokens(rows: int, columns: int, vocabulary: int) -> torch.Tensor:
    return torch.randint(0, vocabulary, (rows, columns), generator=torch.Generator().manual_seed(1))


def test_initial_weights_at_seed_0_are_golden() -> None:
    weights = build_scratch(MINI, seed=0).state_dict()
    sums = {name: tensor.double().abs().sum().item() for name, tensor in weights.items() if tensor.ndim == 2}
    golden = {
        "gpt_neox.embed_in.weight": 8282.43951571115,
        "gpt_neox.layers.1.attention.query_key_value.weight": 771.9182378345984,
        "gpt_neox.layers.1.attention.dense.weight": 406.0388263570312,
        "gpt_neox.layers.1.mlp.dense_4h_to_h.weight": 1640.7983664093827,
        "lm_head.weight": 8262.473749798884,
    }
    assert {name: sums[name] for name in golden} == pytest.approx(golden, rel=1e-6)


def test_each_matrix_has_the_standard_deviation_of_its_kind() -> None:
    shape = ModelShape(layers=6, hidden=128, heads=4, vocab_size=1024, seq_len=64)
    for name, parameter in build_scratch(shape, seed=3).named_parameters():
        if parameter.ndim < 2:
            assert torch.all(parameter == (0.0 if name.endswith("bias") else 1.0)), name
            continue
        writes = name.endswith(("attention.dense.weight", "dense_4h_to_h.weight"))
        expected = 2 / (6 * math.sqrt(128)) if writes else math.sqrt(2 / (5 * 128))
        tolerance = 5 / math.sqrt(2 * parameter.numel())  # five standard errors of a standard deviation
        assert parameter.std().item() == pytest.approx(expected, rel=tolerance), name
        assert abs(parameter.mean().item()) < 5 * expected / math.sqrt(parameter.numel()), name


def test_weights_depend_on_the_seed_alone_and_leave_the_global_generator() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = build_scratch(TINY, seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    again, other = build_scratch(TINY, seed=1).state_dict(), build_scratch(TINY, seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_a_scratch_model_is_a_pythia() -> None:
    model = build_scratch(TINY, seed=0)
    config = model.config
    assert config.use_parallel_residual
    assert config.hidden_dropout == config.attention_dropout == 0.0
    assert (config.bos_token_id, config.eos_token_id) == (0, 0)
    assert config.rope_parameters["partial_rotary_factor"] == 0.25
    assert model.get_input_embeddings().weight is not model.get_output_embeddings().weight
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.training


def test_rotary_frequencies_survive_the_empty_start() -> None:
    # A head is 16 wide here, 4 of them rotated: frequencies 1 and 10000^(-2/4).
    buffers = dict(build_scratch(TINY, seed=0).named_buffers())
    assert buffers["gpt_neox.rotary_emb.inv_freq"].tolist() == pytest.approx([1.0, 0.01])
    assert buffers["gpt_neox.rotary_emb.original_inv_freq"].tolist() == pytest.approx([1.0, 0.01])


def test_the_loss_is_a_sum_over_all_tokens() -> None:
    model, sequences = build_scratch(TINY, seed=0), tokens(4, 17, 96)
    total, count = loss_of(model, sequences[:, :-1], sequences[:, 1:])
    by_hand = F.log_softmax(model(input_ids=sequences[:, :-1]).logits.double(), -1)
    by_hand = -by_hand.gather(-1, sequences[:, 1:, None]).sum()
    assert count == 64
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(by_hand.item(), rel=1e-6)
    parts = [loss_of(model, row[:, :-1], row[:, 1:]) for row in sequences.split(1)]
    assert sum(part.item() for part, _ in parts) == pytest.approx(total.item(), rel=1e-6)
    total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_an_untrained_model_knows_nothing() -> None:
    sequences = tokens(8, 129, 2048)
    total, count = loss_of(build_scratch(MINI, seed=0), sequences[:, :-1], sequences[:, 1:])
    assert total.item() / count == pytest.approx(math.log(2048), abs=0.3)


def test_only_matrices_decay_and_each_parameter_is_in_one_group() -> None:
    model = build_scratch(TINY, seed=0)
    decayed, plain = parameter_groups(model, weight_decay=0.1)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert {parameter.ndim for parameter in decayed["params"]} == {2}
    assert {parameter.ndim for parameter in plain["params"]} == {1}
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


# Checkpoint folders


def neox() -> PreTrainedModel:
    return build_scratch(TINY, seed=5)


def llama() -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=48,
        attention_dropout=0.1,
    )
    return LlamaForCausalLM(config)


def gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=2, n_positions=48))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("make", [neox, llama, gpt2])
@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.usefixtures("no_network")
def test_checkpoints_load_as_float32_without_dropout(
    make: Callable[[], PreTrainedModel],
    shards: bool,
    dtype: torch.dtype,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    original = make()
    torch.nn.Module.to(original, dtype)  # PreTrainedModel's own is declared to take a model alone
    original.save_pretrained(tmp_path, max_shard_size="30KB" if shards else "5GB")
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == shards
    capfd.readouterr()
    model = load_checkpoint(tmp_path)
    assert capfd.readouterr() == ("", "")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    loaded, expected = dict(model.named_parameters()), dict(original.named_parameters())
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name].float()) for name in expected)
    assert model.training
    sequences = tokens(2, 20, 96)
    first, second = (loss_of(model, sequences[:, :-1], sequences[:, 1:])[0] for _ in range(2))
    assert torch.equal(first, second)  # no dropout: GPT-2's default is 0.1, and Llama's was set above


@pytest.mark.usefixtures("no_network")
def test_tied_weights_stay_one_parameter(tmp_path: Path) -> None:
    gpt2().save_pretrained(tmp_path)
    model = load_checkpoint(str(tmp_path))
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    grouped = [parameter for group in parameter_groups(model, 0.1) for parameter in group["params"]]
    assert len({id(parameter) for parameter in grouped}) == len(grouped) == len(list(model.parameters()))


def test_weights_that_are_not_the_configs_are_refused(tmp_path: Path) -> None:
    neox().save_pretrained(tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    victim = "gpt_neox.layers.1.mlp.dense_h_to_4h.weight"

    def refused(tensors: dict[str, torch.Tensor]) -> str:
        folder = tmp_path / "changed"
        folder.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "config.json", folder)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(InputError) as caught:
            load_checkpoint(folder)
        assert caught.value.field == "path"
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert f"missing: {victim}" in refused({name: tensor for name, tensor in whole.items() if name != victim})
    assert "unexpected: gpt_neox.layers.0.extra.weight" in refused(
        whole | {"gpt_neox.layers.0.extra.weight": torch.ones(3)}
    )
    refused(whole | {victim: torch.ones(3, 3)})


def test_a_model_that_sees_later_tokens_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=96,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.5,
    )
    BertLMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="sees later tokens"):
        load_checkpoint(tmp_path)


def test_an_unknown_architecture_is_refused_in_one_line(tmp_path: Path) -> None:
    neox().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "nobodys"}))
    with pytest.raises(InputError, match="model_type 'nobodys', which is no causal language model") as caught:
        load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_tuning_the_process_changes_no_number() -> None:
    sequences = tokens(4, 129, 2048)
    model = build_scratch(MINI, seed=0)
    before = loss_of(model, sequences[:, :-1], sequences[:, 1:])[0].item()
    tune_process()
    tune_process()
    assert loss_of(model, sequences[:, :-1], sequences[:, 1:])[0].item() == before
