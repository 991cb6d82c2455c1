"""Files that survive a kill: temporary names that tell whose they are, checksums, flushes, sealed JSON.

Beneath `harness.store`; standard library only. What must appear complete or not at all is written under a
`temporary_name`, flushed, and renamed; `remove_leavings` clears what a process left there that died in between.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import platform
import pwd
import secrets
import shutil
import stat
import time
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from harness.core.errors import CorruptError, InputError
from harness.core.regular import content, opened

PREFIX = ".tmp-"
FOREIGN_SECONDS = 86_400.0  # a temporary file of a process that cannot be looked up from here is given a day
_PROBE_BYTES = 65_536
_SEAL = b'"sha256": "'  # the last entry of a sealed document: the checksum of every byte before this


# Whose file is it


def temporary_name() -> str:
    """A new name for a temporary file or folder, from which any process of this machine can tell its owner."""
    return f"{PREFIX}{os.getpid()}-{started(os.getpid())}-{_machine_mark()}-{secrets.token_hex(4)}"


def remove_leavings(folder: Path) -> None:
    """Remove what dead processes left in `folder` under a `temporary_name`."""
    for name in listing(folder):
        path = folder / name
        if not is_abandoned(path):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)  # another process may be at it too
        else:
            with contextlib.suppress(OSError):  # gone by now, or in a folder where only its owner may remove it
                path.unlink()


def is_abandoned(path: Path) -> bool:
    """Has it a `temporary_name` of a process that is dead? False if it has no such name, or is gone."""
    if not path.name.startswith(PREFIX):
        return False
    try:
        pid, start, mark, _ = path.name.removeprefix(PREFIX).split("-")
        if mark == _machine_mark():
            return is_dead(int(pid), int(start))
        return time.time() - path.stat().st_mtime > FOREIGN_SECONDS
    except (ValueError, FileNotFoundError):  # not a name of ours, or gone by now
        return False


@cache
def machine() -> dict[str, str]:
    """What must be equal for a process number to mean the same process; containers have numbers of their own."""
    boot_id = namespace = ""
    with contextlib.suppress(OSError):  # not Linux: the host's name decides alone
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return {"host": platform.node(), "boot_id": boot_id, "pid_namespace": namespace}


@cache
def _machine_mark() -> str:
    return hashlib.sha256(json.dumps(machine()).encode()).hexdigest()[:8]


def started(pid: int) -> int:
    """When a process started, in clock ticks since boot; -1 if it has ended unreaped, 0 where that is unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # its name may hold spaces
    except OSError:
        return 0
    return -1 if fields[0] in (b"Z", b"X") else int(fields[19])


def is_dead(pid: int, start: int) -> bool:
    """True if the process of this machine that had `pid` and `started(pid) == start` runs no more."""
    try:
        os.kill(pid, 0)  # no signal, only the question
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's; /proc may hide its start, then it counts as alive
        pass
    return started(pid) not in (0, start)  # the number may have gone to a younger process


# Writing and reading


def write_file(path: Path, content: bytes, temporary_folder: Path) -> None:
    """Write or replace one file, all or nothing. `temporary_folder` lies on the same file system as `path`."""
    temporary = temporary_folder / temporary_name()
    try:
        temporary.write_bytes(content)
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Return when a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Flush every file of a flat folder, then the folder. (In threads it was no faster: 5 ms for six files.)"""
    for path in folder.iterdir():
        flush(path)
    flush(folder)


def sha256(path: Path) -> str:
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path) -> str:
    """Of a file of the user's: hashed once per process, and again when its size or time of change is another."""
    status = path.stat()
    return _sha256_as_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=65536)
def _sha256_as_of(path: Path, size: int, changed_ns: int) -> str:  # noqa: ARG001  size and time only renew the cache
    return sha256(path)


def dump(document: dict[str, Any]) -> bytes:
    """JSON with sorted keys, one entry a line; ValueError for NaN and infinities."""
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def read_json(path: Path, loads: Callable[[bytes], Any] = json.loads) -> dict[str, Any] | None:
    """The document, None if there is no such file, CorruptError naming it if it is not a JSON object."""
    try:
        found = content(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        document = loads(found)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise CorruptError(f"{path}: not a JSON object")
    return document


def check_format(field: str, root: Path, newest: int, *, required: bool) -> None:
    """InputError if store.json is missing (where `required`), damaged, or of a newer format than `newest`."""
    try:
        document = read_json(root / "store.json")
        number = None if document is None else int(document["format"])
    except (OSError, ValueError, KeyError, TypeError, CorruptError) as error:
        named = str(root).replace("\0", "\\0")
        reason = denied(error) if isinstance(error, PermissionError) else error
        raise InputError(field, named, f"its store.json cannot be read ({reason})", "name another folder") from None
    if number is None and required:
        raise InputError(field, root, "there is no store (no store.json)", "name the folder that holds store.json")
    if number is not None and number > newest:
        raise InputError(
            field,
            root,
            f"written by a newer version (format {number}, this one reads {newest})",
            "update, or name another folder",
        )


def seal(document: dict[str, Any]) -> bytes:
    """The document as JSON whose last entry is the checksum of all bytes before it. Not empty, no key `sha256`."""
    body = dump(document).removesuffix(b"\n}\n") + b",\n " + _SEAL
    return body + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def read_sealed(path: Path) -> dict[str, Any]:
    """What `seal` wrote. CorruptError naming the file if any byte of it changed."""
    found = content(path)
    head, mark, end = found.rpartition(_SEAL)
    if end != hashlib.sha256(head + mark).hexdigest().encode() + b'"\n}\n':
        raise CorruptError(f"{path}: the checksum does not match")
    document: dict[str, Any] = json.loads(found)
    return document


def listing(folder: Path) -> list[str]:
    """The names in a folder; none if there is no such folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def set_aside(path: Path) -> Path | None:
    """Rename a damaged file or folder to .bad-<name>-<n> beside it. The new path; None if that is not allowed."""
    for n in itertools.count(1):
        aside = path.with_name(f".bad-{path.name}-{n}")
        if not aside.exists():
            try:
                return path.rename(aside)
            except OSError:
                return None
    raise AssertionError("the count has no end")


# Whose it is, when it is not ours


def owner_of(path: Path) -> str:
    """The path with its owner and mode: "/shared/runs belongs to alice, mode 0700"."""
    known = path.stat()
    try:
        name = pwd.getpwuid(known.st_uid).pw_name
    except KeyError:  # a user of another machine or container
        name = f"user {known.st_uid}"
    return f"{path} belongs to {name}, mode {stat.S_IMODE(known.st_mode):04o}"


def denied(error: PermissionError) -> str:
    """What a PermissionError says, and whose the file is, or the folder that hides it."""
    path = Path(os.fsdecode(error.filename or ""))
    while error.filename:
        try:
            return f"{error.strerror}: {owner_of(path)}"
        except OSError:  # it does not exist, or lies in a folder that may not be looked into
            if path == path.parent:
                break
            path = path.parent
    return str(error.strerror)


# Before anything is written


def nearest_existing(path: Path) -> Path:
    """The path, or the deepest of its parents that exists (as a file or a broken link, too)."""
    while True:
        try:
            os.lstat(path)
            return path
        except (FileNotFoundError, NotADirectoryError):
            path = path.parent


def check_writable(field: str, root: Path, inside: tuple[str, ...] = ()) -> None:
    """InputError if `root`, or a folder of these names inside it, cannot be written or made. Leaves nothing behind.

    It tries, because permissions do not tell of a read-only or full disk.
    """
    try:
        for folder in [nearest_existing(root), *(root / name for name in inside if os.path.lexists(root / name))]:
            probe = folder / temporary_name()
            try:
                probe.write_bytes(bytes(_PROBE_BYTES))
                flush(probe)
            finally:
                with contextlib.suppress(OSError):  # the first error is the one to tell
                    probe.unlink()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = denied(error) if isinstance(error, PermissionError) else getattr(error, "strerror", None) or error
        why = f"it cannot be written ({reason})"
        raise InputError(
            field, str(root).replace("\0", "\\0"), why, "choose a folder you may write, with space left"
        ) from None


def user_path(field: str, value: object) -> Path:
    """A path as a user gives it, ~ expanded, or InputError: an empty one would be the folder one is in."""
    if value is None or isinstance(value, dict | list | bool) or not str(value) or "\0" in str(value):
        raise InputError(field, value, "not a path", f"give {field}=PATH")
    try:
        return Path(str(value)).expanduser()
    except RuntimeError:
        raise InputError(field, value, "no such user has a home here", "write the path out") from None
