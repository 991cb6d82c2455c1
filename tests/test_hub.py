"""A folder is known by its content and its headers, and one that cannot be used says why in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

from harness import hub
from harness.errors import InputError


@pytest.fixture(scope="module")
def neox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neox")
    config = GPTNeoXConfig(
        vocab_size=96,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=48,
    )
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def copied(neox: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(neox, tmp_path / "copy"))


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_content_is_of_the_files_and_not_of_their_place(neox: Path, copied: Path) -> None:
    content = hub.checkpoint_content(neox)
    assert len(content) == 64
    (copied / "README.md").write_text("not part of the model")
    assert hub.checkpoint_content(copied) == hub.checkpoint_content(str(copied)) == content


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_content_changes_with_a_single_byte(copied: Path, name: str) -> None:
    before = hub.checkpoint_content(copied)
    file = copied / name
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    if name == "config.json":  # its last byte closes the object
        with pytest.raises(InputError):
            hub.checkpoint_content(copied)
        data[-1] ^= 1
        file.write_bytes(bytes(data) + b"\n")
    assert hub.checkpoint_content(copied) != before


def test_facts_are_those_of_the_model(neox: Path) -> None:
    model = GPTNeoXForCausalLM.from_pretrained(neox)
    total = sum(parameter.numel() for parameter in model.parameters())
    # A vocabulary of 96 is also the height of the query_key_value matrices here, which are no embeddings.
    assert hub.checkpoint_shape_facts(neox) == hub.ShapeFacts(
        vocab_size=96, seq_len=48, parameters=total, non_embedding=total - 2 * 96 * 32, layers=2, hidden=32
    )


def test_shards_hold_the_same_facts(neox: Path, tmp_path: Path) -> None:
    GPTNeoXForCausalLM.from_pretrained(neox).save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(hub.weight_files(tmp_path)) > 1
    assert hub.checkpoint_shape_facts(tmp_path) == hub.checkpoint_shape_facts(neox)
    hub.weight_files(tmp_path)[0].unlink()
    with pytest.raises(InputError, match="shard"):
        hub.checkpoint_content(tmp_path)


def test_tied_weights_count_once_even_where_they_are_stored_twice(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=96, n_embd=32, n_layer=1, n_head=2, n_positions=48, tie_word_embeddings=True)
    model = GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path)
    total = sum(parameter.numel() for parameter in model.parameters())
    facts = hub.checkpoint_shape_facts(tmp_path)
    assert facts == hub.ShapeFacts(96, 48, total, total - 96 * 32 - 48 * 32, 1, 32)
    edit_config(tmp_path, tie_word_embeddings=True)
    tensors = load_file(tmp_path / hub.SINGLE)
    wte = next(tensor for name, tensor in tensors.items() if name.endswith("wte.weight"))
    save_file(tensors | {"lm_head.weight": wte.clone()}, tmp_path / hub.SINGLE, metadata={"format": "pt"})
    assert hub.checkpoint_shape_facts(tmp_path) == facts


def test_masks_and_frequencies_of_older_checkpoints_are_no_parameters(neox: Path, copied: Path) -> None:
    tensors = load_file(copied / hub.SINGLE)
    layer = "gpt_neox.layers.0.attention"
    old = {f"{layer}.bias": torch.ones(1, 1, 48, 48, dtype=torch.bool), f"{layer}.masked_bias": torch.tensor(-1e9)}
    old[f"{layer}.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(tensors | old, copied / hub.SINGLE, metadata={"format": "pt"})
    assert hub.checkpoint_shape_facts(copied) == hub.checkpoint_shape_facts(neox)


def test_the_tokenizer_is_the_folders(copied: Path) -> None:
    with pytest.raises(InputError, match="tokenizer=FILE") as caught:
        hub.tokenizer_file(copied)
    assert caught.value.field == "path"
    (copied / "tokenizer.json").write_text("{}")
    assert hub.tokenizer_file(copied) == copied / "tokenizer.json"


def only_pickles(folder: Path) -> None:
    (folder / hub.SINGLE).rename(folder / "pytorch_model.bin")


def truncate(folder: Path) -> None:
    file = folder / hub.SINGLE
    file.write_bytes(file.read_bytes()[:-100])


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "broken config": (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    "config of bytes": (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe{}"), "cannot be read"),
    "config is a list": (lambda folder: (folder / "config.json").write_text("[]"), "not a JSON object"),
    "no weights": (lambda folder: (folder / hub.SINGLE).unlink(), "neither model.safetensors"),
    "pickles": (only_pickles, "save_pretrained writes safetensors"),
    "remote code": (lambda folder: edit_config(folder, auto_map={"AutoModel": "m.M"}), "auto_map"),
    "quantized": (lambda folder: edit_config(folder, quantization_config={"bits": 4}), "quantized"),
    "encoder-decoder": (lambda folder: edit_config(folder, is_encoder_decoder=True), "encoder-decoder"),
    "no vocabulary": (lambda folder: edit_config(folder, vocab_size=None), "no vocab_size"),
    "truncated": (truncate, "bytes where its header says"),
    "empty weights": (lambda folder: (folder / hub.SINGLE).write_bytes(b""), "not a safetensors file"),
    "text weights": (lambda folder: (folder / hub.SINGLE).write_text("version https://lfs"), "not a safetensors file"),
    "gone": (shutil.rmtree, "no such folder"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_unusable_folders_say_why_in_one_line(copied: Path, breakage: str) -> None:
    break_it, words = BREAKAGES[breakage]
    break_it(copied)
    with pytest.raises(InputError) as caught:
        hub.checkpoint_shape_facts(copied)
    assert caught.value.field == "path"
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_repository_and_a_file_are_no_folders(neox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="give the local folder"):
        hub.checkpoint_content("EleutherAI/pythia-70m")
    with pytest.raises(InputError, match="is a file"):
        hub.checkpoint_content(neox / "config.json")


def test_no_torch_is_loaded() -> None:
    code = "import sys, harness.hub, harness.shape; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
