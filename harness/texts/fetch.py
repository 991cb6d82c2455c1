"""Bring listed files here: once, resumably, checked on arrival.

A file that lies on this machine is read in place. What is on the way is <root>/fetched/<name>.part, and goes on where
it ended, in a later command too; what arrived in full has its size and, where the listing knows one, its sha256.

`harness.ingest.assemble` asks for what it builds next.

    path = fetch(file, root / "fetched", field="corpus.pile.files")
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from harness.core import files
from harness.core.errors import InputError
from harness.core.identity import digest
from harness.formats.servers import trouble_of
from harness.texts.listed import ListedFile
from harness.texts.listings import current

ATTEMPTS = 6  # without a byte in between; they wait 1, 2, 4, 8 and 16 s
_CHUNK = 1 << 23
_RELIST = "have its URL listed anew (`python -m harness.disk relist`), then run the command again"
_CLOSED = "check the name, and whether it is open to you (HF_TOKEN, for a hub)"
_FINAL = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)


def is_here(file: ListedFile) -> bool:
    """Does it lie on this machine?"""
    return "://" not in file.url or file.url.startswith("file://")


def place_of_file(file: ListedFile, folder: Path) -> Path:
    """Where a file is once it was fetched: where it lies, or in `folder` by what it is."""
    if is_here(file):
        return Path(file.url.removeprefix("file://"))
    return folder / digest("fetched", file.name, file.size, file.version)


def fetch(
    file: ListedFile, folder: Path, field: str, progress: Callable[[int], None] = lambda _: None, wait: float = 1.0
) -> Path:
    """The path of the whole file. Two processes at once are safe. Raises InputError naming `field` and the file.

    `progress` is told of bytes as they come; `wait` is the first pause before another attempt, in seconds.
    """
    final = place_of_file(file, folder)
    if is_here(file) or final.exists():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    part = final.with_name(f"{final.name}.part")
    with _locked(part) as known:
        if not final.exists():
            _complete(file, known, field, progress, wait)
            _check(file, part, field)
            if _may_change(file) and current(field, file).version != file.version:
                part.unlink()
                why = "has changed since it was listed"
                raise InputError(field, file.name, why, _RELIST)
            files.flush(part)
            part.rename(final)
            files.flush(folder)
    return final


def _may_change(file: ListedFile) -> bool:
    """Can its URL serve other bytes that no checksum of ours would tell? (A commit of a hub cannot.)"""
    return bool(file.version) and not file.version.startswith(("sha256 ", "blob "))


def _complete(file: ListedFile, part: IO[bytes], field: str, progress: Callable[[int], None], wait: float) -> None:
    """Append what is missing, with pauses between attempts that bring nothing."""
    failed = 0
    while (have := part.seek(0, os.SEEK_END)) < file.size:
        try:
            _append(file, part, have, progress)
            if part.seek(0, os.SEEK_END) < file.size:
                raise ConnectionError("the connection ended early")
        except _FINAL as error:
            raise _refused(file, field, error, _CLOSED) from None
        except Exception as error:  # each file system of fsspec has errors of its own
            part.flush()
            failed = 1 if part.seek(0, os.SEEK_END) > have else failed + 1
            if trouble_of(error).status in (401, 403, 404):
                raise _refused(file, field, error, _CLOSED) from None
            if failed >= ATTEMPTS:
                raise _refused(file, field, error, "run the command again: it goes on where this one ended") from None
            time.sleep(wait * 2 ** (failed - 1))


def _append(file: ListedFile, part: IO[bytes], start: int, progress: Callable[[int], None]) -> None:
    import fsspec  # type: ignore[import-untyped]

    with fsspec.open(file.url, "rb", block_size=_CHUNK) as stream:
        if start:
            try:
                stream.seek(start)
            except (ValueError, OSError, NotImplementedError):  # no ranges there: from the beginning
                part.truncate(0)
                part.seek(0)
        while part.tell() <= file.size and (chunk := stream.read(_CHUNK)):
            part.write(chunk)
            progress(len(chunk))
    part.flush()


def _check(file: ListedFile, part: Path, field: str) -> None:
    """InputError, and the file is gone, unless it is the one that was listed."""
    kind, _, known = file.version.partition(" ")
    sums = {"sha256": files.sha256, "blob": _git_blob}
    if part.stat().st_size == file.size and (kind not in sums or sums[kind](part) == known):
        return
    part.unlink()
    why = "is not what was listed: another size or checksum arrived"
    raise InputError(field, file.name, why, f"run the command again; if it stays so, {_RELIST}")


def _git_blob(path: Path) -> str:
    """The name that git, and a hub, give to a small file's content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _refused(file: ListedFile, field: str, error: BaseException, remedy: str) -> InputError:
    status = trouble_of(error).status
    told = f"answer {status}" if status else (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(field, file.name, f"cannot be fetched ({told})", remedy)


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    """The file on its way, opened to append to; another process that fetches it is waited for."""
    with part.open("a+b") as file:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield file
        finally:
            if part.exists() and not part.stat().st_size:
                part.unlink()
