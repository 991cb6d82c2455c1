"""Who is at work on what: leases on segments, which a dead process cannot hold for ever.

Used through `Store.lease`. A lease is one file made by an exclusive create; its owner touches it every ten seconds. It
is stale when its process is known to be dead (same machine and boot, no such process), else after 90 seconds without a
touch. Clocks of hosts that share a store must agree to about a minute; if they do not, work is done twice, and the
first result stays.

    if (lease := acquire(folder, address)) is not None:
        with lease:
            ...
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.core.errors import CorruptError
from harness.core.files import is_dead, listing, machine, started, temporary_name
from harness.core.regular import content

HEARTBEAT_SECONDS = 10.0
RECORDING, REMOVAL = "recording-", "removal"  # names of leases that are of no state
_LOOK_SECONDS = 0.2
STALE_SECONDS = 90.0  # nine missed touches: a stalled file server or a busy machine does not cost a lease


class Lease:
    """A lease that is held. Leaving the `with` block, or `release()`, gives it back."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        self.position: int | None = None  # how far its owner is, written at every heartbeat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {path.stem[:8]}", daemon=True)
        self._thread.start()

    def held(self) -> bool:
        """False once someone else has taken it over (this process was suspended for minutes, say) or it was released.

        The open descriptor keeps the inode from being used again, so that equal numbers mean the same file.
        """
        if self._stop.is_set():
            return False
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        if self._stop.is_set():
            return
        try:
            with _one_at_a_time(self.path.parent):
                if self.held():
                    self.path.unlink(missing_ok=True)
        finally:
            self._stop.set()
            self._thread.join()
            os.close(self._descriptor)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # a server away for a moment; `held` tells a lease that is gone
                if self.position is not None:
                    os.pwrite(self._descriptor, _content(self.position), 0)
                os.utime(self._descriptor)  # our own file, whatever has the name by now

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def acquire(folder: Path, address: str) -> Lease | None:
    """The lease `<folder>/<address>.json`, or None while someone else (this process too) holds it. Never waits.

    Of several that find it stale exactly one gets it. The folder must exist. What the lease protects may have been
    finished just before: look again after acquiring.
    """
    path = folder / f"{address}.json"
    with _one_at_a_time(folder):
        descriptor = _create(path)
        if descriptor is None and (judged := _stale(path)) is not None:
            _take_away(path, judged)
            descriptor = _create(path)
    return None if descriptor is None else Lease(path, descriptor)


@contextlib.contextmanager
def recording(folder: Path) -> Iterator[None]:
    """While what runs need is being made and they are not recorded yet: nobody removes it meanwhile.

    A removal that is under way is waited for. Of the two each writes its own lease before it looks for the other's.
    """
    if not folder.is_dir():  # no store yet: there is nothing to remove
        yield
        return
    lease = acquire(folder, f"{RECORDING}{secrets.token_hex(6)}")
    assert lease is not None, "a new name"
    with lease:
        told = False
        while who := owner(folder, REMOVAL):
            if not told:
                print(f"{_named(who)} removes from this store: waiting for that to end", file=sys.stderr)
            told = True
            time.sleep(_LOOK_SECONDS)
        yield


@contextlib.contextmanager
def removal(folder: Path) -> Iterator[None]:
    """While something is removed from a store: one at a time, and whoever is about to record runs waits."""
    folder.mkdir(exist_ok=True)
    while (lease := acquire(folder, REMOVAL)) is None:
        time.sleep(_LOOK_SECONDS)
    with lease:
        yield


def recorders(folder: Path) -> list[str]:
    """Who is in `recording`, for a person."""
    names = [name.removesuffix(".json") for name in listing(folder) if name.startswith(RECORDING)]
    return [_named(who) for name in sorted(names) if (who := owner(folder, name))]


def _named(who: Mapping[str, Any]) -> str:
    return f"{who.get('host')} (process {who.get('pid')})"


def owner(folder: Path, address: str) -> dict[str, Any] | None:
    """Who holds a lease, {host, pid, ...} and the `position` it has told; None if nobody does."""
    path = folder / f"{address}.json"
    try:
        document: dict[str, Any] = json.loads(_read(path))
    except (OSError, ValueError, RecursionError):  # nobody, or just being written
        return None
    return document if _stale(path) is None and path.exists() else None


def _content(position: int | None) -> bytes:
    """What this process writes into its lease. It never gets shorter."""
    pid = os.getpid()
    document = {**machine(), "pid": pid, "started": started(pid), "time": time.time(), "position": position}
    return json.dumps(document).ljust(512).encode()


def _create(path: Path) -> int | None:
    """The descriptor of a lease file that this call made, or None if there is one already."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return None
    try:
        os.write(descriptor, _content(None))
    except BaseException:  # a full disk: no lease without an owner stays
        os.close(descriptor)
        path.unlink()
        raise
    return descriptor


def _stale(path: Path) -> bytes | None:
    """The content of the lease if it is stale, else None (None too if it went away: the next call will see)."""
    try:
        found = _read(path)
        silent_seconds = time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return None
    if silent_seconds > STALE_SECONDS:
        return found
    try:
        owner: dict[str, Any] = json.loads(found)
        known_dead = all(owner[k] == v for k, v in machine().items()) and is_dead(owner["pid"], owner["started"])
    except (
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ):  # its content is not there yet: only silence counts
        return None
    return found if known_dead else None


def _take_away(path: Path, judged: bytes) -> None:
    """Remove the stale lease whose content is `judged`, and no other.

    Between the judgement and the rename someone may have replaced it by a live one, where the file system has no
    locks: that one is put back. Inode numbers could not tell, they are used again at once.
    """
    aside = path.parent / temporary_name()
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _read(aside) != judged:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink()


def _read(path: Path) -> bytes:
    """What a lease holds; nothing where something that is no file has its name."""
    try:
        return content(path)
    except CorruptError:
        return b""
    except FileNotFoundError:
        if path.is_symlink():
            return b""
        raise


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """One process at a time in here; the kernel frees the lock of a process that dies."""
    with open(folder / ".lock", "ab") as lock:
        try:
            with contextlib.suppress(OSError):  # some cluster file systems have no locks; see _take_away
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough if another thread forked meanwhile
