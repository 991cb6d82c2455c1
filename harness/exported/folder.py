"""The folder of a stored model that `from_pretrained`, vLLM and lm-eval load.

`harness.export` finds the state, the checkpoint that its run started from and the tokenizer; here they become files. In
fp32 the tensors are those of the store, bit for bit, so that logits are, too. The names of the tensors are those that
transformers writes, in shards of 5 GB. The config of a checkpoint stays as it was, but for the type of its numbers.

    model = Exported(root, state_folder, checkpoint, tokenizer, "<|endoftext|>", "fp32")
    write(folder, model, {"README.md": card}, facts)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import files
from harness.core.command import unwritable
from harness.core.errors import CorruptError, InputError
from harness.core.units import size
from harness.model.pretrained import POSITION_KEYS, read_config
from harness.program.program import Root, Scratch

RECORD = "rewarm.json"  # what an exported folder says of itself, with the checksum of every other file
SHARD = "5GB"
WIDTHS = {"fp32": 4, "bf16": 2, "fp16": 2}  # bytes of a number
TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # as a config calls them
# What belongs to the tokenizer in a checkpoint's folder.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)


@dataclass(frozen=True)
class Exported:
    """What is exported, and as which numbers."""

    root: Root
    """Of its program: which model it is."""
    state: Path
    """The folder of the stored state."""
    checkpoint: Path | None
    """Where the root's checkpoint lies; None: the root is scratch."""
    tokenizer: Path
    """tokenizer.json of the corpora that it was trained on."""
    end_of_document: str
    """The token behind each document."""
    dtype: str
    """fp32, bf16 or fp16."""

    @property
    def bytes(self) -> int:
        """About how much is written."""
        weights = sum(path.stat().st_size for path in self.state.glob("weights*.safetensors"))
        return weights * WIDTHS[self.dtype] // WIDTHS["fp32"] + 2 * self.tokenizer.stat().st_size


def check_folder(folder: Path) -> None:
    """InputError, field DIR, unless the export may become this folder: nothing is there, or an empty folder."""
    if os.path.lexists(folder) and not (folder.is_dir() and not folder.is_symlink()):
        raise InputError("DIR", folder, "is there, and no folder", "name another")
    if files.listing(folder):
        raise InputError("DIR", folder, "is there and not empty", "name a folder that is not there")
    parent = files.nearest_existing(folder.parent)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError("DIR", folder, f"nothing can be written into {parent}", "name another")


def is_export_of(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Does the folder hold an export that says these things of itself, whole?"""
    try:
        record = files.read_sealed(folder / RECORD)
        return all(record.get(key) == value for key, value in facts.items()) and all(
            files.sha256(folder / name) == expected for name, expected in record["files"].items()
        )
    except (OSError, CorruptError, ValueError, KeyError):
        return False


def write(folder: Path, exported: Exported, texts: Mapping[str, str], facts: Mapping[str, Any]) -> None:
    """Make the folder, whole or not at all; `texts`: further files by name, `facts`: what RECORD says beside them.

    Raises InputError for a folder that is not empty, a disk that is too small, and weights that fp16 cannot hold.
    """
    check_folder(folder)
    free = shutil.disk_usage(files.nearest_existing(folder.parent)).free
    if exported.bytes > free:
        why = f"the model takes {size(exported.bytes)}, {size(free)} are free"
        raise InputError("DIR", folder, why, "free some, name another disk, or give --dtype bf16")
    there = files.nearest_existing(folder.parent)
    temporary = folder.parent / files.temporary_name()
    try:
        temporary.mkdir(parents=True)
        files.remove_leavings(folder.parent)
        _write_model(temporary, exported)
        _write_tokenizer(temporary, exported)
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8")
        checksums = {path.name: files.sha256(path) for path in sorted(temporary.iterdir())}
        (temporary / RECORD).write_bytes(files.seal({**facts, "files": checksums}))
        _open_to_others(temporary)
        files.flush_folder(temporary)
        os.rename(temporary, folder)  # an empty folder gives way
        files.flush(folder.parent)
    except OSError as error:
        raise unwritable("DIR", folder, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for made in [path for path in folder.parents if path.is_relative_to(there) and path != there]:
            with contextlib.suppress(OSError):  # not empty: it holds the export
                made.rmdir()


def _write_model(folder: Path, exported: Exported) -> None:
    """config.json, generation_config.json and the weights."""
    import torch

    from harness.model.build import build_scratch, load_checkpoint, quietly
    from harness.model.tensors import load_model

    root = exported.root
    if isinstance(root, Scratch):
        model = build_scratch(root.shape, root.seed)
        _name_the_end(model, _end_id(exported))
    else:
        assert exported.checkpoint is not None
        model = load_checkpoint(exported.checkpoint)
    load_model(exported.state, model)
    largest = max(float(tensor.detach().abs().max()) for tensor in model.parameters() if tensor.numel())
    if exported.dtype == "fp16" and largest > torch.finfo(torch.float16).max:
        raise InputError("--dtype", "fp16", f"a weight of {largest:.3g} does not fit into it", "give bf16")
    if exported.dtype != "fp32":
        model.to(getattr(torch, TYPES[exported.dtype]))
    quietly(model.save_pretrained, folder, max_shard_size=SHARD)
    config = json.loads((folder / "config.json").read_text())
    if isinstance(root, Scratch):
        # For transformers before 5 and what is written against it, which would take 0.25 and 10,000 for granted.
        rotary = config["rope_parameters"]
        config |= {"rotary_pct": rotary["partial_rotary_factor"], "rotary_emb_base": rotary["rope_theta"]}
    elif exported.checkpoint is not None:
        kept = {key: value for key, value in read_config(exported.checkpoint).items() if key != "_name_or_path"}
        config = {"architectures": config["architectures"], **kept}
        if (exported.checkpoint / "generation_config.json").is_file():
            shutil.copyfile(exported.checkpoint / "generation_config.json", folder / "generation_config.json")
    config |= dict.fromkeys(("dtype", "torch_dtype"), TYPES[exported.dtype])  # the second: its name of before
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _name_the_end(model: Any, end: int) -> None:
    """The token that ends a document, in the config and for generating: the shape of a model does not know it."""
    from transformers import GenerationConfig

    model.config.bos_token_id = model.config.eos_token_id = end
    model.generation_config = GenerationConfig.from_model_config(model.config)


def _write_tokenizer(folder: Path, exported: Exported) -> None:
    """Its files: those of the checkpoint where its tokenizer was used, else what transformers needs to load one."""
    source = exported.checkpoint
    if source is not None and _same(source / "tokenizer.json", exported.tokenizer):
        for name in TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
    else:
        shutil.copyfile(exported.tokenizer, folder / "tokenizer.json")
    config = json.loads((folder / "config.json").read_text())
    longest = next((config[key] for key in POSITION_KEYS if isinstance(config.get(key), int)), None)
    file, end = folder / "tokenizer_config.json", exported.end_of_document
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    written: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
    }
    written |= {"model_max_length": longest} if longest else {}
    written |= {"add_prefix_space": False, "clean_up_tokenization_spaces": False}  # decoding gives the text back
    if not known:
        known = written
    elif "model_max_length" not in known and longest:
        known = {**known, "model_max_length": longest}
    file.write_text(json.dumps(known, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _end_id(exported: Exported) -> int:
    described = json.loads(exported.tokenizer.read_text(encoding="utf-8"))
    found = [t["id"] for t in described.get("added_tokens") or [] if t["content"] == exported.end_of_document]
    if not found:
        raise CorruptError(f"{exported.tokenizer}: has no token {exported.end_of_document}")
    return int(found[0])


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()


def _open_to_others(folder: Path) -> None:
    """safetensors makes files that their owner alone can read; these have the mode that any new file has here."""
    mode = stat.S_IMODE((folder / RECORD).stat().st_mode)
    for path in folder.iterdir():
        path.chmod(mode)
