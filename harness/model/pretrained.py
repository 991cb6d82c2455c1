"""What a checkpoint folder holds, read without torch: its identity, its sizes, its tokenizer.

`start=hf path=FOLDER` names a folder as `save_pretrained` writes it or a model hub serves it: `config.json`
and safetensors (`model.safetensors`, or shards with an index). A plan needs its content hash (it enters the address of
every state trained from it) and its sizes (for cost and limits); both come from here, with every reason why the folder
cannot be used that its config and the headers of its tensors show. Whether they are the tensors of the model that the
config describes only transformers knows: `harness.model.build.check_checkpoint` asks it, before anything is trained,
and of a hub's repository as it is resolved, without reading a weight.

    checkpoint_content(path)         # 64 hex digits: the same weights and config anywhere have the same
    checkpoint_shape_facts(path)     # ShapeFacts(vocab_size=50304, parameters=405334016, ...)
    tokenizer_file(path)             # Path of tokenizer.json

All raise InputError with field `path`.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.files import sha256_once
from harness.model.headers import BUFFERS, read_file_header

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
POSITIONS = ("wpe.weight", "embed_positions.weight")  # learned positions: looked up, never multiplied
OUTPUT_HEADS = ("lm_head.weight", "embed_out.weight")
NUMBERED = re.compile(r"\.\d+\.")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
COUNTED = re.compile(r"(layers?|experts|blocks|depth)$")  # keys of a config: a model is built with so many parts
MOST_PARTS = 4096  # of one kind, but layers; more than any model has experts
POSITION_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
MOST_POSITIONS = 10**8


@dataclass(frozen=True)
class ShapeFacts:
    """Sizes of a checkpoint as far as a plan needs them. Tied weights count once; None: the config does not say."""

    vocab_size: int
    seq_len: int | None  # the longest sequence the positions allow, in tokens
    parameters: int
    non_embedding: int  # without token embeddings, output head and learned positions
    layers: int | None
    hidden: int | None


def checkpoint_content(path: str | Path) -> str:
    """SHA-256 (64 hex digits) over `config.json` and the safetensors that loading reads, names included."""
    folder = _folder(path)
    return content_of({file.name: sha256_once(file) for file in [folder / "config.json", *weight_files(folder)]})


def content_of(sums: Mapping[str, str]) -> str:
    """The content of a checkpoint whose `config.json` and weights have these SHA-256 sums: a hub states them."""
    weights = sorted(sums.keys() - {"config.json"})
    lines = [f"{name} {sums[name]}\n" for name in ["config.json", *weights]]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def checkpoint_shape_facts(path: str | Path) -> ShapeFacts:
    """Sizes from `config.json` and the headers of the safetensors; no tensor is read."""
    folder = _folder(path)
    files = weight_files(folder)
    named = None if files[0].name == SINGLE else _json(folder, folder / INDEX)["weight_map"]
    return shape_facts(path, read_config(folder), {file.name: read_file_header(folder, file) for file in files}, named)


def shape_facts(
    path: str | Path,
    config: dict[str, Any],
    held: Mapping[str, dict[str, list[int]]],
    named: Mapping[str, str] | None,
) -> ShapeFacts:
    """Sizes from a config and the shapes that each file of weights holds; `named`: tensor -> file, as an index has it.

    `path` is what an InputError names.
    """
    shapes = _joined(path, held, named)
    _check_counts(path, config, len(shapes))
    vocab_size = _size(config, "vocab_size")
    if vocab_size is None:
        raise InputError("path", path, "config.json has no vocab_size", "give the folder of a causal language model")
    # Outside the layers (whose names are numbered), a matrix with a row per token is an embedding or the output head.
    tables = [
        name
        for name, sides in shapes.items()
        if len(sides) == 2 and sides[0] == vocab_size and not NUMBERED.search(name)
    ]
    if config.get("tie_word_embeddings") and len(tables) > 1:  # some writers store a tied matrix twice
        for name in tables:
            if name.endswith(OUTPUT_HEADS):
                del shapes[name]
    counts = {name: math.prod(sides) for name, sides in shapes.items() if not name.endswith(BUFFERS)}
    total = sum(counts.values())
    return ShapeFacts(
        vocab_size=vocab_size,
        seq_len=_size(config, *POSITION_KEYS),
        parameters=total,
        non_embedding=total - sum(counts[name] for name in counts if name in tables or name.endswith(POSITIONS)),
        layers=_size(config, *LAYERS),
        hidden=_size(config, "hidden_size", "n_embd", "d_model"),
    )


def tokenizer_file(path: str | Path) -> Path:
    """The fast tokenizer (`tokenizer.json`) of the folder."""
    folder = _existing_folder(path)
    file = folder / "tokenizer.json"
    if not file.is_file():
        remedy = "save the fast tokenizer into the folder, or give tokenizer=FILE"
        raise InputError("path", path, "the folder has no tokenizer.json", remedy)
    return file


def read_config(path: str | Path) -> dict[str, Any]:
    """`config.json` as a mapping; refuses what cannot be trained: remote code, quantized weights, encoder-decoders."""
    file = _existing_folder(path) / "config.json"
    if not file.is_file():
        remedy = "give the folder that save_pretrained wrote"
        raise InputError("path", path, "the folder has no config.json", remedy)
    config = _json(path, file)
    if config.get("auto_map"):
        why = "its config.json asks for code of its own (auto_map), which is never run here"
        raise InputError("path", path, why, "save it as an architecture that transformers has")
    if config.get("quantization_config"):
        raise InputError("path", path, "its weights are quantized", "give the unquantized checkpoint")
    if config.get("is_encoder_decoder"):
        raise InputError("path", path, "is an encoder-decoder", "give a causal language model")
    kind, known = str(config.get("model_type"))[:60], _model_types("CAUSAL_LM")
    if known and kind not in known:
        why = f"its config.json has the model_type {kind!r}, which is no causal language model that transformers has"
        raise InputError("path", path, why, "give one that it has, such as gpt_neox or llama")
    if kind in _model_types("MASKED_LM") and not (config.get("is_decoder") or config.get("causal")):
        raise InputError("path", path, f"a {kind} without is_decoder sees later tokens", "give a causal language model")
    return config


def weight_files(path: str | Path) -> list[Path]:
    """The safetensors that loading reads, sorted: `model.safetensors`, else the shards its index names."""
    folder = _existing_folder(path)
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        weight_map = _json(path, folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise InputError("path", path, f"{INDEX} has no weight_map", "fetch the checkpoint again")
        names = sorted({str(name) for name in weight_map.values()})
        for name in names:
            if Path(name).name != name or not (folder / name).is_file():
                raise InputError("path", path, f"the shard {name} of its index is missing", "fetch the whole folder")
        return [folder / name for name in names]
    pickled = sorted(file.name for pattern in PICKLED for file in folder.glob(pattern))
    if pickled:
        why = f"has only pickled weights ({pickled[0]}), which can run code when read"
        raise InputError("path", path, why, "convert it: save_pretrained writes safetensors")
    raise InputError("path", path, f"has neither {SINGLE} nor {INDEX}", "give a folder with safetensors weights")


def _folder(path: str | Path) -> Path:
    """The folder, with everything checked that the two public functions rely on."""
    read_config(path)
    weight_files(path)
    return _existing_folder(path)


def _existing_folder(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise InputError("path", path, "is a file, not a folder", "give the folder that holds config.json")
    why, remedy = "there is no such folder", "give the folder that holds config.json, or OWNER/NAME of a hub"
    raise InputError("path", path, why, remedy)


def _json(path: str | Path, file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError("path", path, f"{file.name} cannot be read ({reason})", "fetch it again") from error
    if not isinstance(content, dict):
        raise InputError("path", path, f"{file.name} is not a JSON object", "fetch it again")
    return content


def _size(config: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _joined(
    path: str | Path, held: Mapping[str, dict[str, list[int]]], named: Mapping[str, str] | None
) -> dict[str, list[int]]:
    """The shapes of all tensors; where there is an index, each is in the shard that the index says."""
    shapes: dict[str, list[int]] = {}
    for file, tensors in held.items():
        if twice := sorted(shapes.keys() & tensors.keys()):
            raise InputError("path", path, f"{file} and another shard hold {twice[0]}", "fetch the whole folder")
        shapes.update(tensors)
    for name, file in (named or {}).items():
        if name not in held[str(file)]:
            raise InputError("path", path, f"{file} lacks {name}, which {INDEX} names", "fetch the whole folder")
    return shapes


def _check_counts(path: str | Path, config: dict[str, Any], tensors: int) -> None:
    """Refuse a config of so many parts that building its model would not end: a layer has at least one tensor."""
    left = [config]
    while left:
        for key, value in left.pop().items():
            if isinstance(value, dict):
                left.append(value)
            most = tensors if key in LAYERS else MOST_PARTS if COUNTED.search(key) else None
            if most is not None and isinstance(value, int) and value > most:
                why = f"its config.json has {key} {value}, but the weights are {tensors} tensors"
                raise InputError("path", path, why, "give the config of these weights")
            if key in POSITION_KEYS and isinstance(value, int) and value > MOST_POSITIONS:
                why = f"its config.json has {key} {value}, more than {MOST_POSITIONS:,}"
                raise InputError("path", path, why, "give the longest sequence that the model was made for")


@functools.cache
def _model_types(task: str) -> frozenset[str]:
    """What transformers can build for a task, read from its table: to import it takes seconds. Empty without it."""
    spec = importlib.util.find_spec("transformers")
    folders = spec.submodule_search_locations if spec else None
    try:
        table = (Path(folders[0] if folders else "") / "models" / "auto" / "modeling_auto.py").read_text("utf-8")
        for node in ast.parse(table).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == f"MODEL_FOR_{task}_MAPPING_NAMES":
                return frozenset(kind for kind, _ in ast.literal_eval(node.value.args[0]))  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError, IndexError, SyntaxError):
        pass  # laid out differently: `check_checkpoint` finds the same, later
    return frozenset()
