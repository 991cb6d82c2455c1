"""Tensors to files in a state's folder and back, bit for bit.

`harness.train.states` hands these functions to the store, which checksums the files and renames the folder into place.
Equal tensors give equal files, byte for byte, however many ranks hold them: files hold whole tensors. Hyperparameters
are not stored: learning rate, betas and weight decay follow from the program and the position. The names in
`weights.safetensors` are those of transformers' model; beyond PART_BYTES it becomes `weights-i-of-k.safetensors` and
`weights.safetensors.index.json`, as transformers lays out large models. The same for `optimizer.safetensors`.

    save_model(folder, model); save_optimizer(folder, optimizer, model)     # other ranks than 0: folder=None
    load_model(folder, model); load_optimizer(folder, optimizer, model)     # every rank, whatever saved it

Loading raises CorruptError, naming the file, where it is missing or unreadable or holds other names, shapes or types.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from harness.core.errors import CorruptError
from harness.model.distributed import copy_whole, whole

WEIGHTS, OPTIMIZER = "weights.safetensors", "optimizer.safetensors"
METADATA = {"format": "pt"}  # one key only: safetensors writes more in random order
MOMENTS = ("exp_avg", "exp_avg_sq")
PART_BYTES = 2**31  # of one file, but for a single tensor that is larger: what rank 0 gathers before it writes


def save_model(folder: Path | None, model: PreTrainedModel) -> None:
    """Write every parameter and persistent buffer to `weights.safetensors`, tied ones once, under the first name.

    `folder` None: only hand over this rank's shards to the one that writes; every rank must call.
    """
    _save(folder, WEIGHTS, _tensors(model))


def load_model(folder: Path, model: PreTrainedModel) -> None:
    """Copy `weights.safetensors` into the model, in place."""
    file, tensors = folder / WEIGHTS, _tensors(model)
    stored = _read(file)
    _check(file, stored, {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()})
    with torch.no_grad():
        for name, tensor in tensors.items():
            copy_whole(stored[name], tensor)


def save_optimizer(folder: Path | None, optimizer: torch.optim.AdamW, model: PreTrainedModel) -> None:
    """Write `<parameter>.exp_avg`, `.exp_avg_sq` and `.step` of each parameter updated so far (`folder`: as above)."""
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in _optimized(optimizer, model).items():
        state = optimizer.state.get(parameter, {})
        assert set(state) in (set(), {*MOMENTS, "step"}), f"{name}: not the state of a plain AdamW: {sorted(state)}"
        tensors |= {f"{name}.{field}": tensor for field, tensor in state.items()}
    _save(folder, OPTIMIZER, tensors)


def load_optimizer(folder: Path, optimizer: torch.optim.AdamW, model: PreTrainedModel) -> None:
    """Replace the optimizer's whole state by that of `optimizer.safetensors`; its groups stay as they are."""
    file, parameters = folder / OPTIMIZER, _optimized(optimizer, model)
    stored = _read(file)
    updated = {key.rsplit(".", 1)[0] for key in stored} & set(parameters)
    expected: dict[str, tuple[torch.Size, torch.dtype]] = {}
    for name in updated:
        expected |= {f"{name}.{field}": (parameters[name].shape, parameters[name].dtype) for field in MOMENTS}
        expected[f"{name}.step"] = (torch.Size(()), torch.float32)
    _check(file, stored, expected)
    # A fused optimizer keeps its step counts where the parameters are, the others on the CPU.
    fused = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    optimizer.state.clear()
    for name, parameter in parameters.items():
        if name in updated:
            step = stored[f"{name}.step"]
            optimizer.state[parameter] = {
                "step": step.to(parameter.device if fused else "cpu", copy=True),  # a copy lets go of the file
                **{
                    field: copy_whole(stored[f"{name}.{field}"], torch.empty_like(parameter, requires_grad=False))
                    for field in MOMENTS
                },
            }


def holds_optimizer(files: Iterable[str]) -> bool:
    """Is there an optimizer among the files of a state?"""
    return not {OPTIMIZER, _index(OPTIMIZER)}.isdisjoint(files)


def _tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Name -> tensor of what a state holds; of names that share one tensor the first."""
    seen: dict[int, str] = {}
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if seen.setdefault(id(tensor), name) == name:
            tensors[name] = tensor
    return tensors


def _optimized(optimizer: torch.optim.AdamW, model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    """Name -> parameter for those in the optimizer's groups, in the model's order."""
    members = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    named = {name: parameter for name, parameter in model.named_parameters() if id(parameter) in members}
    assert len(named) == len(members), "the optimizer holds parameters of another model"
    return named


def _save(folder: Path | None, file: str, tensors: dict[str, torch.Tensor]) -> None:
    """Gather and write part after part: never more than one of them is held beside the model."""
    parts = _parts(tensors)
    files = {_part(file, number, len(parts)): names for number, names in enumerate(parts, start=1)}
    for part, names in files.items():
        gathered = {}
        for name in names:
            tensor = whole(tensors[name].detach())
            if folder is not None:
                gathered[name] = tensor.cpu().contiguous()
        if folder is not None:
            _write(gathered, folder / part)
    if folder is not None and len(parts) > 1:
        size = sum(tensor.nbytes for tensor in tensors.values())
        where = {name: part for part, names in files.items() for name in names}
        index = {"metadata": {"total_size": size}, "weight_map": where}
        (folder / _index(file)).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


def _write(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """safetensors makes files that their owner alone can read; ours have the mode that any new file has here."""
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(tensors, path, metadata=METADATA)
    path.chmod(mode)


def _parts(tensors: dict[str, torch.Tensor]) -> list[list[str]]:
    """The names, in order, cut so that no part exceeds PART_BYTES if it has more than one tensor."""
    parts, filled = [list[str]()], 0
    for name, tensor in tensors.items():
        if parts[-1] and filled + tensor.nbytes > PART_BYTES:
            parts.append([])
            filled = 0
        parts[-1].append(name)
        filled += tensor.nbytes
    return parts


def _part(file: str, number: int, count: int) -> str:
    return file if count == 1 else f"{Path(file).stem}-{number}-of-{count}{Path(file).suffix}"


def _index(file: str) -> str:
    return f"{file}.index.json"


def _read(file: Path) -> dict[str, torch.Tensor]:
    """Name -> tensor, over all parts. Mapped into memory: what is not looked at is not read."""
    index = file.with_name(_index(file.name))
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values())) if index.exists() else [file.name]
        return {key: value for name in names for key, value in load_file(file.with_name(name), device="cpu").items()}
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptError(f"{file}: cannot be read ({' '.join(str(error).split())})") from error


def _check(file: Path, stored: dict[str, torch.Tensor], expected: dict[str, tuple[torch.Size, torch.dtype]]) -> None:
    for name in sorted(expected.keys() ^ stored.keys()):
        raise CorruptError(f"{file}: {name} is {'missing' if name in expected else 'of no use here'}")
    for name, (shape, dtype) in expected.items():
        found = stored[name]
        if found.shape != shape or found.dtype != dtype:
            raise CorruptError(f"{file}: {name} is {found.dtype} {list(found.shape)}, not {dtype} {list(shape)}")
