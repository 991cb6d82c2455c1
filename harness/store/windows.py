"""The loss of each measured window at the ends of base and run: `final_windows.npz` of a state.

Beside a `Row`, which is their sum: they tell its sampling error, and the loss of any subset of the windows and of any
source. Like rows they are keyed by position and windows hash, go along from state to state, and may be added later.

    content = to_npz({(1172, wanted.hash): losses})
    losses_of(content, "final_windows.npz")[1172, wanted.hash]["loss_sum"]
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import CorruptError

# An element a window: its number in the validation split (of the part, if a part was measured), the loss summed over
# its predicted tokens (nats), how many these are, and the bytes of text that they stand for.
WINDOW = np.dtype([("window", "<i8"), ("loss_sum", "<f8"), ("token_count", "<i4"), ("byte_count", "<i4")])
WindowLosses = NDArray[np.void]
WindowHistory = dict[tuple[int, str], WindowLosses]  # by (position, hash of the windows)


def to_npz(history: Mapping[tuple[int, str], WindowLosses]) -> bytes:
    """The bytes of a file; equal histories are equal bytes."""
    file = io.BytesIO()
    arrays = {
        f"{position}-{windows_hash}": history[position, windows_hash] for position, windows_hash in sorted(history)
    }
    np.savez(file, **arrays)  # type: ignore[arg-type]  # its first parameters have names that no key has
    return file.getvalue()


def losses_of(content: bytes, source: str) -> WindowHistory:
    """What `to_npz` wrote. CorruptError, naming `source`, for anything else; nothing is unpickled."""
    found: WindowHistory = {}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for name in arrays.files:
                position, _, windows_hash = name.partition("-")
                one = arrays[name]
                if one.dtype != WINDOW or one.ndim != 1 or not np.isfinite(one["loss_sum"]).all():
                    raise ValueError(f"{name} holds no losses of windows")
                found[int(position), windows_hash] = one
    except (ValueError, KeyError, EOFError, OSError, AttributeError, zipfile.BadZipFile) as error:
        raise CorruptError(f"{source}: not a file of losses by window ({error})") from None
    return found


def merged(*histories: Mapping[tuple[int, str], WindowLosses]) -> WindowHistory:
    """One history of several: of those with the same key the first stays."""
    found: WindowHistory = {}
    for history in histories:
        found = {**history, **found}
    return found
