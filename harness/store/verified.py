"""What of a store was verified: files are hashed once, and again only when anything about them has changed.

Used through `Store.verify`. <root>/verified/<address>.json holds the identity of every file of a state whose checksums
matched. Writing one is a help, not a duty: where that fails, the files are hashed again.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Iterable
from pathlib import Path

from harness.core.errors import CorruptError
from harness.core.files import dump, read_json, write_file

# A file changed twice in one tick of a file system's clock keeps its times: what is so young is not remembered.
YOUNG_SECONDS = 2.0
Identity = dict[str, list[int]]  # file -> [size, mtime in ns, ctime in ns, inode]


def identity(folder: Path, names: Iterable[str]) -> Identity:
    """Of files of a folder. Raises FileNotFoundError, and CorruptError for a circle of links."""
    try:
        found = {name: (folder / name).stat() for name in names}
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CorruptError(f"{error.filename}: not a regular file") from None
        raise
    return {name: [s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for name, s in found.items()}


def is_remembered(record: Path, found: Identity) -> bool:
    """Were exactly these files verified before?"""
    try:
        return read_json(record) == found
    except (CorruptError, OSError):
        return False


def remember(record: Path, found: Identity, began: float) -> None:
    """Note that these files, as they were before `began` (time.time()), hold what their checksums say."""
    newest = max(max(mtime, ctime) for _, mtime, ctime, _ in found.values())
    if newest / 1e9 < min(began, time.time()) - YOUNG_SECONDS:
        with contextlib.suppress(OSError):  # a full disk, or another's folder
            record.parent.mkdir(exist_ok=True)
            write_file(record, dump(dict(found)), record.parent)
