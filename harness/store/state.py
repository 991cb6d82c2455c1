"""One stored state: its folder, its state.json, and its files held against their checksums.

Beneath `harness.store.store`, which finds states by their address.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness.core import regular
from harness.core.errors import CorruptError
from harness.core.files import read_json, read_sealed
from harness.store.history import Row, rows_from_csv
from harness.store.verified import Identity, identity

T = TypeVar("T")


@dataclass(frozen=True)
class StateInfo:
    """A stored state: where it lies, and its state.json."""

    address: str
    """32 hex characters of the program's prefix that made it."""
    folder: Path
    """Where its files lie."""
    meta: dict[str, Any]
    """state.json: position, tokens, program, and the sha256 of every file."""
    readonly: bool
    """It lies in a parent store."""

    @property
    def kept(self) -> bool:
        """False if its writer said `"kept": false`: a save on the way, which only that segment may remove later."""
        return bool(self.meta.get("kept", True))  # not said: the careful answer

    @property
    def measured(self) -> bool:
        """False if its writer was stopped before all rows of its own position were taken: training goes on from it."""
        return bool(self.meta.get("measured", True))


def read_meta(folder: Path) -> dict[str, Any]:
    """state.json; CorruptError if it is damaged or of another state, FileNotFoundError if there is no state."""
    try:
        meta = read_sealed(folder / "state.json")
    except (FileNotFoundError, NotADirectoryError):
        if folder.exists():
            raise CorruptError(f"{folder / 'state.json'}: missing") from None
        raise
    if meta["address"] != folder.name:
        raise CorruptError(f"{folder}: its state.json is that of {meta['address']}")
    return meta


def identity_of(info: StateInfo) -> Identity:
    return identity(info.folder, [*info.meta["files"], "state.json"])


def checked(path: Path, sha256: str, parse: Callable[[bytes, str], T]) -> T:
    """What a file holds; CorruptError if its sha256 does not begin with the one given."""
    content = regular.content(path)
    if not hashlib.sha256(content).hexdigest().startswith(sha256):
        raise CorruptError(f"{path}: the checksum does not match")
    return parse(content, str(path))


def read_or_warn(path: Path, loads: Callable[[bytes], Any] = json.loads) -> dict[str, Any] | None:
    """A document of a store, or None if it is not there; a damaged one is named, and left out."""
    try:
        return read_json(path, loads)
    except CorruptError as error:
        print(f"warning: {error}; left out", file=sys.stderr)
        return None


def rows_of(content: bytes, source: str) -> list[Row]:
    return rows_from_csv(content.decode(), source)
