"""Files that are files: what has the name of one but is a pipe, a device or a folder is refused, never waited for.

content(path)                       # of a store: CorruptError
require_regular("table", path)      # of a user: InputError
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from harness.core.errors import CorruptError, InputError


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A file of a store, to be read; CorruptError if something else has its name: a folder, or a pipe, which would be
    waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise CorruptError(f"{path}: not a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CorruptError(f"{path}: not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def content(path: Path) -> bytes:
    """All that a file of a store holds; CorruptError as `opened`."""
    with opened(path) as file:
        return file.read()


def require_regular(field: str, path: Path) -> None:
    """InputError for a pipe or a device, which might never end, or never begin. OSError if nothing is there."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kinds = {"a pipe": stat.S_ISFIFO, "a socket": stat.S_ISSOCK, "a folder": stat.S_ISDIR}
        kind = next((name for name, is_kind in kinds.items() if is_kind(mode)), "a device")
        raise InputError(field, path, f"is {kind}, not a regular file", "give a file")
