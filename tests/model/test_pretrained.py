"""A folder is known by its content and its headers, and one that cannot be used says why in one line."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXForCausalLM

from harness.core.errors import InputError
from harness.model import pretrained
from tests.checkpoints import save_neox


@pytest.fixture(scope="module")
def neox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neox")
    save_neox(
        folder,
        vocab_size=96,
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=128,
        max_position_embeddings=48,
    )
    return folder


@pytest.fixture
def copied(neox: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(neox, tmp_path / "copy"))


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_content_is_of_the_files_and_not_of_their_place(neox: Path, copied: Path) -> None:
    content = pretrained.checkpoint_content(neox)
    assert len(content) == 64
    (copied / "README.md").write_text("not part of the model")
    assert pretrained.checkpoint_content(copied) == pretrained.checkpoint_content(str(copied)) == content


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_content_changes_with_a_single_byte(copied: Path, name: str) -> None:
    before = pretrained.checkpoint_content(copied)
    file = copied / name
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    if name == "config.json":  # its last byte closes the object
        with pytest.raises(InputError, match=r"^path=.*config\.json"):
            pretrained.checkpoint_content(copied)
        data[-1] ^= 1
        file.write_bytes(bytes(data) + b"\n")
    assert pretrained.checkpoint_content(copied) != before


def test_facts_are_those_of_the_model(neox: Path) -> None:
    model = GPTNeoXForCausalLM.from_pretrained(neox)
    total = sum(parameter.numel() for parameter in model.parameters())
    # A vocabulary of 96 is also the height of the query_key_value matrices here, which are no embeddings.
    assert pretrained.checkpoint_shape_facts(neox) == pretrained.ShapeFacts(
        vocab_size=96, seq_len=48, parameters=total, non_embedding=total - 2 * 96 * 32, layers=2, hidden=32
    )


def test_shards_hold_the_same_facts(neox: Path, tmp_path: Path) -> None:
    GPTNeoXForCausalLM.from_pretrained(neox).save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(pretrained.weight_files(tmp_path)) > 1
    assert pretrained.checkpoint_shape_facts(tmp_path) == pretrained.checkpoint_shape_facts(neox)
    pretrained.weight_files(tmp_path)[0].unlink()
    with pytest.raises(InputError, match="shard"):
        pretrained.checkpoint_content(tmp_path)


def test_tied_weights_count_once_even_where_they_are_stored_twice(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=96, n_embd=32, n_layer=1, n_head=2, n_positions=48, tie_word_embeddings=True)
    model = GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path)
    total = sum(parameter.numel() for parameter in model.parameters())
    facts = pretrained.checkpoint_shape_facts(tmp_path)
    assert facts == pretrained.ShapeFacts(96, 48, total, total - 96 * 32 - 48 * 32, 1, 32)
    edit_config(tmp_path, tie_word_embeddings=True)
    tensors = load_file(tmp_path / pretrained.SINGLE)
    wte = next(tensor for name, tensor in tensors.items() if name.endswith("wte.weight"))
    save_file(tensors | {"lm_head.weight": wte.clone()}, tmp_path / pretrained.SINGLE, metadata={"format": "pt"})
    assert pretrained.checkpoint_shape_facts(tmp_path) == facts


def test_masks_and_frequencies_of_older_checkpoints_are_no_parameters(neox: Path, copied: Path) -> None:
    tensors = load_file(copied / pretrained.SINGLE)
    layer = "gpt_neox.layers.0.attention"
    old = {f"{layer}.bias": torch.ones(1, 1, 48, 48, dtype=torch.bool), f"{layer}.masked_bias": torch.tensor(-1e9)}
    old[f"{layer}.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(tensors | old, copied / pretrained.SINGLE, metadata={"format": "pt"})
    assert pretrained.checkpoint_shape_facts(copied) == pretrained.checkpoint_shape_facts(neox)


def test_the_tokenizer_is_the_folders(copied: Path) -> None:
    with pytest.raises(InputError, match="tokenizer=FILE") as caught:
        pretrained.tokenizer_file(copied)
    assert caught.value.field == "path"
    (copied / "tokenizer.json").write_text("{}")
    assert pretrained.tokenizer_file(copied) == copied / "tokenizer.json"


def only_pickles(folder: Path) -> None:
    (folder / pretrained.SINGLE).rename(folder / "pytorch_model.bin")


def truncate(folder: Path) -> None:
    file = folder / pretrained.SINGLE
    file.write_bytes(file.read_bytes()[:-100])


def edit_header(folder: Path, change: Callable[[dict[str, Any]], object], *, pad: int = 0) -> None:
    """Another header before the same tensors."""
    file = folder / pretrained.SINGLE
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    changed = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(changed) + pad) + changed + data[8 + length :])


NORM, DENSE = "gpt_neox.final_layer_norm.weight", "gpt_neox.layers.1.attention.dense.weight"


def moved(by: int, name: str = NORM) -> Callable[[Path], None]:
    def move(header: dict[str, Any]) -> None:
        header[name]["data_offsets"] = [place + by for place in header[name]["data_offsets"]]

    return lambda folder: edit_header(folder, move)


def deep(folder: Path, name: str) -> None:
    """100,000 levels of nesting: as the header of the weights, or as a JSON file."""
    nested = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    (folder / name).write_bytes(struct.pack("<Q", len(nested)) + nested if name == pretrained.SINGLE else nested)


def shards(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Two shards and an index of them, changed."""
    tensors = load_file(folder / pretrained.SINGLE)
    (folder / pretrained.SINGLE).unlink()
    names = sorted(tensors)
    for file, part in (("a.safetensors", names[:5]), ("b.safetensors", names[4:] if change is twice else names[5:])):
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    index = {"weight_map": {name: "a.safetensors" if i < 5 else "b.safetensors" for i, name in enumerate(names)}}
    change(index["weight_map"])
    (folder / pretrained.INDEX).write_text(json.dumps(index))


def deep_index(folder: Path) -> None:
    shards(folder, dict)
    deep(folder, pretrained.INDEX)


def twice(_: dict[str, Any]) -> None:
    """The shards hold one tensor twice."""


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "broken config": (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    "config of bytes": (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe{}"), "cannot be read"),
    "config is a list": (lambda folder: (folder / "config.json").write_text("[]"), "not a JSON object"),
    "no weights": (lambda folder: (folder / pretrained.SINGLE).unlink(), "neither model.safetensors"),
    "pickles": (only_pickles, "save_pretrained writes safetensors"),
    "remote code": (lambda folder: edit_config(folder, auto_map={"AutoModel": "m.M"}), "auto_map"),
    "quantized": (lambda folder: edit_config(folder, quantization_config={"bits": 4}), "quantized"),
    "encoder-decoder": (lambda folder: edit_config(folder, is_encoder_decoder=True), "encoder-decoder"),
    "no vocabulary": (lambda folder: edit_config(folder, vocab_size=None), "no vocab_size"),
    "truncated": (truncate, "bytes where its header says"),
    "empty weights": (lambda folder: (folder / pretrained.SINGLE).write_bytes(b""), "not a safetensors file"),
    "text weights": (
        lambda folder: (folder / pretrained.SINGLE).write_text("version https://lfs"),
        "not a safetensors file",
    ),
    "gone": (shutil.rmtree, "no such folder"),
    "deep header": (lambda folder: deep(folder, pretrained.SINGLE), "not a safetensors file (maximum recursion"),
    "deep config": (lambda folder: deep(folder, "config.json"), "config.json cannot be read (maximum recursion"),
    "long header": (lambda folder: edit_header(folder, dict, pad=10**6), "not a safetensors file (a header of"),
    "endless header": (lambda folder: edit_header(folder, dict, pad=2**60), "not a safetensors file (a header of"),
    "cut header": (lambda folder: (folder / pretrained.SINGLE).write_bytes(b"\x10\0\0"), "not a safetensors file"),
    "negative offsets": (moved(-(10**6)), f"{NORM} lies before the beginning"),
    "overlapping": (moved(-4), "lies over another tensor"),
    "a gap": (moved(4), "leaves a gap of 4 bytes before it"),
    "offsets of text": (
        lambda folder: edit_header(folder, lambda h: h[NORM].update(data_offsets=["a", 3])),
        "not a safetensors file",
    ),
    "three offsets": (
        lambda folder: edit_header(folder, lambda h: h[NORM].update(data_offsets=[0, 1, 2])),
        "not a safetensors file",
    ),
    "a tensor that is a number": (
        lambda folder: edit_header(folder, lambda h: h.update({NORM: 3})),
        "not a safetensors",
    ),
    "header is a list": (
        lambda folder: (folder / pretrained.SINGLE).write_bytes(b"\2" + b"\0" * 7 + b"[]"),
        "not a safetensors",
    ),
    "a tensor given twice": (
        lambda folder: (folder / pretrained.SINGLE).write_bytes(struct.pack("<Q", 15) + b'{"a":1 ,"a":2 }'),
        "a name is given twice",
    ),
    "another shape": (lambda folder: edit_header(folder, lambda h: h[NORM].update(shape=[33])), "where its shape [33]"),
    "a negative side": (
        lambda folder: edit_header(folder, lambda h: h[NORM].update(shape=[-32])),
        "the shape [-32]",
    ),
    "a side of text": (lambda folder: edit_header(folder, lambda h: h[NORM].update(shape=["32"])), "has the shape"),
    "no shape": (lambda folder: edit_header(folder, lambda h: h[NORM].pop("shape")), "has the shape None"),
    "integers": (lambda folder: edit_header(folder, lambda h: h[NORM].update(dtype="I32")), "of the type I32"),
    "an unknown type": (lambda folder: edit_header(folder, lambda h: h[NORM].update(dtype="F7")), "of the type F7"),
    "many layers": (lambda folder: edit_config(folder, num_hidden_layers=10**9), "num_hidden_layers 1000000000, but"),
    "many experts": (lambda folder: edit_config(folder, num_local_experts=10**9), "num_local_experts 1000000000, but"),
    "layers of a part": (
        lambda folder: edit_config(folder, text_config={"num_hidden_layers": 10**9}),
        "num_hidden_layers 1000000000, but",
    ),
    "many positions": (
        lambda folder: edit_config(folder, max_position_embeddings=10**12),
        "max_position_embeddings 1000000000000, more than",
    ),
    "unknown model": (
        lambda folder: edit_config(folder, model_type="gpt_neoxx"),
        "model_type 'gpt_neoxx'",
    ),
    "no model": (lambda folder: edit_config(folder, model_type=None), "model_type 'None', which is no"),
    "a model of images": (lambda folder: edit_config(folder, model_type="vit"), "model_type 'vit', which is no"),
    "a list for a model": (lambda folder: edit_config(folder, model_type=["gpt_neox"]), "which is no causal"),
    "sees later tokens": (lambda folder: edit_config(folder, model_type="bert"), "sees later tokens"),
    "deep index": (deep_index, "cannot be read (maximum recursion"),
    "no such shard": (lambda folder: shards(folder, lambda m: m.update(x="c.safetensors")), "the shard c.safetensors"),
    "a shard elsewhere": (lambda folder: shards(folder, lambda m: m.update(x="../a.safetensors")), "is missing"),
    "a shard lacks a tensor": (
        lambda folder: shards(folder, lambda m: m.update({NORM: "b.safetensors", "x": "b.safetensors"})),
        "b.safetensors lacks",
    ),
    "two shards hold a tensor": (lambda folder: shards(folder, twice), "b.safetensors and another shard hold"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_unusable_folders_say_why_in_one_line(copied: Path, breakage: str) -> None:
    break_it, words = BREAKAGES[breakage]
    break_it(copied)
    with pytest.raises(InputError) as caught:
        pretrained.checkpoint_shape_facts(copied)
    assert caught.value.field == "path"
    assert words in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_a_repository_and_a_file_are_no_folders(neox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="or OWNER/NAME of a hub"):
        pretrained.checkpoint_content("EleutherAI/pythia-70m")
    with pytest.raises(InputError, match="is a file"):
        pretrained.checkpoint_content(neox / "config.json")


def test_no_torch_is_loaded() -> None:
    code = "import sys, harness.model.pretrained; sys.exit(not {'torch', 'transformers'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
