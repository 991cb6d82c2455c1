"""A run that was saved and loaded goes on bit for bit; equal tensors are equal files; anything else is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from harness.core.errors import CorruptError
from harness.model import tensors
from harness.model.build import build_scratch, loss_of, parameter_groups
from harness.model.tensors import OPTIMIZER, WEIGHTS, load_model, load_optimizer, save_model, save_optimizer
from harness.program.shape import ModelShape

TINY = ModelShape(layers=2, hidden=32, heads=2, vocab_size=96, seq_len=48)
KINDS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}


def neox(seed: int = 0) -> PreTrainedModel:
    return build_scratch(TINY, seed)


def tied_gpt2(seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=96, n_embd=32, n_layer=2, n_head=2, n_positions=48, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    )
    return GPT2LMHeadModel(config)


def adamw(model: PreTrainedModel, kind: str = "fused") -> torch.optim.AdamW:
    groups = parameter_groups(model, weight_decay=0.1)
    return torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), **KINDS[kind])


def train(model: PreTrainedModel, optimizer: torch.optim.AdamW, start: int, stop: int) -> None:
    torch.set_num_threads(1)
    for step in range(start, stop):
        sequences = torch.randint(0, 96, (4, 33), generator=torch.Generator().manual_seed(step))
        loss, count = loss_of(model, sequences[:, :-1], sequences[:, 1:])
        (loss / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def save(folder: Path, model: PreTrainedModel, optimizer: torch.optim.AdamW) -> Path:
    folder.mkdir()
    save_model(folder, model)
    save_optimizer(folder, optimizer, model)
    return folder


@pytest.mark.parametrize("make", [neox, tied_gpt2])
@pytest.mark.parametrize("kind", KINDS)
def test_resume_is_bit_exact(make: Callable[[int], PreTrainedModel], kind: str, tmp_path: Path) -> None:
    straight = make(0)
    optimizer = adamw(straight, kind)
    train(straight, optimizer, 0, 3)
    save(tmp_path / "cut", straight, optimizer)
    train(straight, optimizer, 3, 6)
    save(tmp_path / "straight", straight, optimizer)

    resumed = make(9)
    optimizer = adamw(resumed, kind)
    train(resumed, optimizer, 0, 1)  # whatever was there is replaced
    load_model(tmp_path / "cut", resumed)
    load_optimizer(tmp_path / "cut", optimizer, resumed)
    save(tmp_path / "loaded", resumed, optimizer)
    train(resumed, optimizer, 3, 6)
    save(tmp_path / "resumed", resumed, optimizer)

    for name in (WEIGHTS, OPTIMIZER):
        assert (tmp_path / "loaded" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
        assert (tmp_path / "cut" / name).read_bytes() != (tmp_path / "straight" / name).read_bytes()


def test_a_loaded_state_outlives_its_folder(tmp_path: Path) -> None:
    model = neox()
    optimizer = adamw(model)
    train(model, optimizer, 0, 2)
    folder = save(tmp_path / "state", model, optimizer)
    load_model(folder, model)
    load_optimizer(folder, optimizer, model)
    for name in (WEIGHTS, OPTIMIZER):  # overwritten in place, as no store does: nothing may still look at the file
        (folder / name).write_bytes(b"\xff" * (folder / name).stat().st_size)
    train(model, optimizer, 2, 3)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert {state["step"].item() for state in optimizer.state.values()} == {3.0}


def test_an_optimizer_that_has_not_stepped_is_kept_as_such(tmp_path: Path) -> None:
    model = neox()
    folder = save(tmp_path / "state", model, adamw(model))
    optimizer = adamw(model)
    train(model, optimizer, 0, 1)
    load_optimizer(folder, optimizer, model)
    assert not optimizer.state


def test_transformers_reads_the_weights(tmp_path: Path) -> None:
    model = neox(seed=4)
    model.config.save_pretrained(tmp_path)
    save_model(tmp_path, model)
    (tmp_path / WEIGHTS).rename(tmp_path / "model.safetensors")
    read = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(read[name], tensor) for name, tensor in model.state_dict().items())


def test_large_states_are_cut_into_parts_that_transformers_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "PART_BYTES", 20_000)
    model = neox(seed=4)
    model.config.save_pretrained(tmp_path)
    save_model(tmp_path, model)
    parts = sorted(tmp_path.glob("weights-*-of-*.safetensors"))
    assert len(parts) > 3
    assert max(path.stat().st_size for path in parts) < 20_000 + 2_000  # no tensor of this model is larger
    assert not (tmp_path / WEIGHTS).exists()
    (tmp_path / f"{WEIGHTS}.index.json").rename(tmp_path / "model.safetensors.index.json")
    read = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(read[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("damage", ["a part is missing", "a part is truncated", "the index", "a name"])
def test_damaged_parts_are_named(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "PART_BYTES", 20_000)
    model = neox()
    save_model(tmp_path, model)
    part, index = sorted(tmp_path.glob("weights-*"))[1], tmp_path / f"{WEIGHTS}.index.json"
    if damage == "a part is missing":
        part.unlink()
    elif damage == "a part is truncated":
        part.write_bytes(part.read_bytes()[:-7])
    elif damage == "the index":
        index.write_text("{")
    else:
        index.write_text(index.read_text().replace(part.name, "weights-1-of-9.safetensors"))
    with pytest.raises(CorruptError, match=WEIGHTS):
        load_model(tmp_path, model)


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    model = tied_gpt2()
    save_model(tmp_path, model)
    stored = load_file(tmp_path / WEIGHTS)
    assert sum(tensor.numel() for tensor in stored.values()) == sum(p.numel() for p in model.parameters())


def test_optimizer_tensors_go_by_the_names_of_parameters(tmp_path: Path) -> None:
    model = neox()
    optimizer = adamw(model)
    train(model, optimizer, 0, 2)
    stored = load_file(save(tmp_path / "state", model, optimizer) / OPTIMIZER)
    names = [name for name, _ in model.named_parameters()]
    assert set(stored) == {f"{name}.{field}" for name in names for field in ("exp_avg", "exp_avg_sq", "step")}
    assert stored["lm_head.weight.step"].item() == 2.0


def change(file: Path, name: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(file)
    tensors.pop(name, None)
    save_file(tensors if tensor is None else tensors | {name: tensor}, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("file", "name", "tensor"),
    [
        (WEIGHTS, "lm_head.weight", None),
        (WEIGHTS, "another.weight", torch.ones(2)),
        (WEIGHTS, "lm_head.weight", torch.ones(96, 31)),
        (WEIGHTS, "lm_head.weight", torch.ones(96, 32, dtype=torch.float64)),
        (OPTIMIZER, "lm_head.weight.exp_avg_sq", None),
        (OPTIMIZER, "another.weight.exp_avg", torch.ones(2)),
        (OPTIMIZER, "lm_head.weight.max_exp_avg_sq", torch.ones(96, 32)),
        (OPTIMIZER, "lm_head.weight.exp_avg", torch.ones(32, 96)),
        (OPTIMIZER, "lm_head.weight.exp_avg", torch.ones(96, 32, dtype=torch.bfloat16)),
        (OPTIMIZER, "lm_head.weight.step", torch.ones(2)),
    ],
)
def test_another_models_tensors_are_refused_and_named(
    file: str, name: str, tensor: torch.Tensor | None, tmp_path: Path
) -> None:
    model = neox()
    optimizer = adamw(model)
    train(model, optimizer, 0, 1)
    folder = save(tmp_path / "state", model, optimizer)
    before = [parameter.clone() for parameter in model.parameters()]
    change(folder / file, name, tensor)
    with pytest.raises(CorruptError) as caught:
        (load_model(folder, model) if file == WEIGHTS else load_optimizer(folder, optimizer, model))
    assert str(folder / file) in str(caught.value)
    assert name in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert optimizer.state[model.get_output_embeddings().weight]["step"].item() == 1.0


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "garbage"])
@pytest.mark.parametrize("file", [WEIGHTS, OPTIMIZER])
def test_damaged_files_are_named(file: str, damage: str, tmp_path: Path) -> None:
    model = neox()
    optimizer = adamw(model)
    train(model, optimizer, 0, 1)
    path = save(tmp_path / "state", model, optimizer) / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[:-7], "empty": b"", "garbage": b"{" * 64}[damage])
    with pytest.raises(CorruptError, match=file):
        (load_model(path.parent, model) if file == WEIGHTS else load_optimizer(path.parent, optimizer, model))


def test_another_optimizers_parameters_are_a_mistake_of_ours(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        save_optimizer(tmp_path, adamw(neox()), neox())
    shutil.rmtree(tmp_path)
