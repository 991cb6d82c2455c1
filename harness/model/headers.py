"""The header of a safetensors file: names, shapes and places of its tensors, checked, with no tensor read.

Beneath `harness.model.pretrained` (a folder here) and `harness.model.hub` (files that a server gives by ranges).

    shapes = read_header("models/mine", "model.safetensors", size, lambda begin, stop: data[begin:stop])
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.core.errors import InputError

LARGEST_HEADER_BYTES = 100_000_000  # the limit of the safetensors format
FIRST_BYTES = 65_536  # asked for at once: Pythia-410M's header, of 364 tensors, has 36 kB
# Constants that older checkpoints store beside their parameters: causal masks and rotary frequencies.
BUFFERS = (".attention.bias", ".attn.bias", ".masked_bias", ".inv_freq")
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # of a number of a parameter
BYTES_OF_BUFFERS = {**BYTES, "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "I32": 4, "I64": 8, "U16": 2, "U32": 4, "U64": 8}


def read_header(path: object, name: str, size: int, read: Callable[[int, int], bytes]) -> dict[str, list[int]]:
    """Tensor name -> shape. A file is 8 bytes of length, then JSON, then the tensors without a gap.

    `size` in bytes of the whole file; `read(begin, stop)` gives its bytes [begin, stop). InputError, field `path`,
    names the file where it is none.
    """
    try:
        first = read(0, min(FIRST_BYTES, size))
        (length,) = struct.unpack("<Q", first[:8])
        if length > min(LARGEST_HEADER_BYTES, size - 8):
            raise ValueError(f"a header of {length} bytes")
        if 8 + length > len(first):
            first += read(len(first), 8 + length)
        header = json.loads(first[8 : 8 + length], object_pairs_hook=_once)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        offsets = {name: map(int, entry["data_offsets"]) for name, entry in tensors.items()}
        places = sorted((begin, stop, name) for name, (begin, stop) in offsets.items())
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error, OSError) as error:
        why = f"{name} is not a safetensors file ({' '.join(str(error).split())[:100] or type(error).__name__})"
        raise InputError("path", path, why, "fetch it again") from error
    end = 0
    for begin, stop, tensor in places:
        if wrong := _misplaced(tensor, tensors[tensor], begin, stop, end):
            raise InputError("path", path, f"{name}: {tensor} {wrong}", "fetch it again")
        end = stop
    if 8 + length + end != size:
        why = f"{name} has {size} bytes where its header says {8 + length + end}"
        raise InputError("path", path, why, "fetch it again")
    return {tensor: entry["shape"] for tensor, entry in tensors.items()}


def read_file_header(path: object, file: Path) -> dict[str, list[int]]:
    """The same of a file here."""

    def read(begin: int, stop: int) -> bytes:
        with file.open("rb") as stream:
            stream.seek(begin)
            return stream.read(stop - begin)

    return read_header(path, file.name, file.stat().st_size, read)


def _misplaced(name: str, entry: dict[str, Any], begin: int, stop: int, end: int) -> str | None:
    """What is wrong with a tensor that lies at [begin, stop), after others that end at `end`."""
    sides, kind = entry.get("shape"), entry.get("dtype")
    width = (BYTES_OF_BUFFERS if name.endswith(BUFFERS) else BYTES).get(str(kind))
    if not isinstance(sides, list) or not all(type(side) is int and side >= 0 for side in sides):
        return f"has the shape {str(sides)[:60]}"
    if width is None:
        return f"holds numbers of the type {str(kind)[:60]}, which are no weights to train"
    if begin < end:
        return "lies before the beginning of the file" if begin < 0 else "lies over another tensor"
    if begin > end:
        return f"leaves a gap of {begin - end} bytes before it"
    if stop - begin != math.prod(sides) * width:
        return f"has {stop - begin} bytes where its shape {sides} needs {math.prod(sides) * width}"
    return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found
