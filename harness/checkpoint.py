"""Tensors to files in a state's folder and back, bit for bit.

Level 5. `train` hands these functions to the store, which checksums the files and renames the folder into place. Equal
tensors give equal files, byte for byte. Hyperparameters are not stored: learning rate, betas and weight decay follow
from the program and the position. The names in `weights.safetensors` are those of transformers' model.

    save_model(folder, model); save_optimizer(folder, optimizer, model)
    load_model(folder, model); load_optimizer(folder, optimizer, model)

Loading raises CorruptError, naming the file, where it is missing or unreadable or holds other names, shapes or types.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from harness.errors import CorruptError

WEIGHTS, OPTIMIZER = "weights.safetensors", "optimizer.safetensors"
METADATA = {"format": "pt"}  # one key only: safetensors writes more in random order
MOMENTS = ("exp_avg", "exp_avg_sq")


def save_model(folder: Path, model: PreTrainedModel) -> None:
    """Write every parameter and persistent buffer to `weights.safetensors`, tied ones once, under the first name."""
    save_file(_contiguous(_tensors(model)), folder / WEIGHTS, metadata=METADATA)


def load_model(folder: Path, model: PreTrainedModel) -> None:
    """Copy `weights.safetensors` into the model, in place."""
    file, tensors = folder / WEIGHTS, _tensors(model)
    stored = _read(file)
    _check(file, stored, {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()})
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(stored[name])


def save_optimizer(folder: Path, optimizer: torch.optim.AdamW, model: PreTrainedModel) -> None:
    """Write `<parameter>.exp_avg`, `.exp_avg_sq` and `.step` of each parameter that has been updated."""
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in _optimized(optimizer, model).items():
        state = optimizer.state.get(parameter, {})
        assert set(state) in (set(), {*MOMENTS, "step"}), f"{name}: not the state of a plain AdamW: {sorted(state)}"
        tensors |= {f"{name}.{field}": tensor for field, tensor in state.items()}
    save_file(_contiguous(tensors), folder / OPTIMIZER, metadata=METADATA)


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
                    field: torch.empty_like(parameter, requires_grad=False).copy_(stored[f"{name}.{field}"])
                    for field in MOMENTS
                },
            }


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


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _read(file: Path) -> dict[str, torch.Tensor]:
    try:
        return dict(load_file(file, device="cpu"))
    except (OSError, SafetensorError) as error:
        raise CorruptError(f"{file}: cannot be read ({' '.join(str(error).split())})") from error


def _check(file: Path, stored: dict[str, torch.Tensor], expected: dict[str, tuple[torch.Size, torch.dtype]]) -> None:
    for name in sorted(expected.keys() ^ stored.keys()):
        raise CorruptError(f"{file}: {name} is {'missing' if name in expected else 'of no use here'}")
    for name, (shape, dtype) in expected.items():
        found = stored[name]
        if found.shape != shape or found.dtype != dtype:
            raise CorruptError(f"{file}: {name} is {found.dtype} {list(found.shape)}, not {dtype} {list(shape)}")
