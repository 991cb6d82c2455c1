"""Weights that are only there as pickles, read once without running anything of them and kept as safetensors.

Beneath `harness.model.hub`, which asks for it where `allow_pickled=true` is given.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from harness.core.errors import InputError
from harness.core.files import flush
from harness.model.pretrained import SINGLE


def convert(files: Sequence[Path], folder: Path, label: str) -> None:
    """Write the tensors of `files` (state dicts, pickled by torch) into `folder` as one safetensors file.

    `torch.load(weights_only=True)` builds tensors and plain containers and refuses all else. The bytes written follow
    from names and tensors alone. InputError, field `path`, names `label`.
    """
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            with warnings.catch_warnings(action="ignore"):  # of pickle protocols: one that it cannot read is an error
                read = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            why = f"{file.name} holds something else than tensors, or is damaged ({reason})"
            raise InputError("path", label, why, "give another revision") from None
        if not isinstance(read, dict) or not all(isinstance(value, torch.Tensor) for value in read.values()):
            raise InputError("path", label, f"{file.name} is not a mapping of tensors", "give another revision")
        if twice := sorted(tensors.keys() & read.keys()):
            raise InputError("path", label, f"{file.name} and another file hold {twice[0]}", "give another revision")
        tensors.update({str(name): value for name, value in read.items()})
    # Tensors that share memory (tied embeddings) are written apart: the format has no shared ones.
    apart = {name: tensors[name].contiguous().clone() for name in sorted(tensors)}
    save_file(apart, folder / SINGLE, metadata={"format": "pt"})
    flush(folder / SINGLE)
