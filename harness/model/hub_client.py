"""One repository of a hub through `huggingface_hub`: its answers, and its errors as one line each.

Beneath `harness.model.hub`. A busy hub (429, 503) and a broken connection are tried again, later each time; a download
goes on where it was cut. What is wrong for good is an InputError of field `path`. None shows a token.

    repository = Repository("someone/tiny", "main")
    repository.commit(); repository.files(commit); repository.bring("config.json", commit, folder, sha256)
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from harness.core.errors import InputError
from harness.core.files import flush, sha256, temporary_name
from harness.model.headers import read_header

WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before another try
LONGEST_WAIT = 60.0  # that a server may ask for
BUSY = (408, 429, 500, 502, 503, 504)
ANSWER_SECONDS = 30.0
T = TypeVar("T")


class UnreachableError(InputError):
    """No hub answered: HF_HUB_OFFLINE is set, there is no network, or nothing at HF_ENDPOINT."""


class Repository:
    """A repository at a revision (empty: the hub's main)."""

    def __init__(self, name: str, revision: str) -> None:
        from huggingface_hub import HfApi

        self.name, self.revision = name, revision
        self.api = HfApi()

    def commit(self) -> str:
        """The commit that the revision stands for now: 40 hex digits."""
        asked = self.revision or None
        return str(self.ask(lambda: self.api.model_info(self.name, revision=asked, timeout=ANSWER_SECONDS)).sha)

    def files(self, commit: str) -> dict[str, dict[str, Any]]:
        """Name -> {size, sha256} of the files at its top; the sum where the hub states it (large files)."""
        from huggingface_hub.hf_api import RepoFile

        entries = self.ask(lambda: list(self.api.list_repo_tree(self.name, revision=commit)))
        found: dict[str, dict[str, Any]] = {}
        for entry in entries:
            if isinstance(entry, RepoFile):
                found[entry.path] = {"size": entry.size, **({"sha256": entry.lfs.sha256} if entry.lfs else {})}
        return found

    def bring(self, name: str, commit: str, folder: Path, expected: str | None) -> None:
        """Fetch one file through the client's cache, check its SHA-256, and let it appear in the folder."""
        cached = self._download(name, commit)
        temporary = folder / temporary_name()
        try:
            try:
                os.link(cached.resolve(), temporary)  # a cache on this disk: no second copy, and a purge leaves ours
            except OSError:
                shutil.copyfile(cached, temporary)
            if expected is not None and sha256(temporary) != expected:
                for wrong in (cached.resolve(), cached):
                    wrong.unlink(missing_ok=True)  # else the next try would find it in the cache
                why = f"{name} arrived with another checksum than the hub states"
                raise self.refused(why, "run the command again: it is fetched again")
            flush(temporary)
            os.replace(temporary, folder / name)
            flush(folder)
        except OSError as error:
            raise of_the_disk(error, folder) from None
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, name: str, commit: str) -> bytes:
        """A small file."""
        return self._download(name, commit).read_bytes()

    def header(self, name: str, commit: str, size: int) -> dict[str, list[int]]:
        """Shapes by tensor of a safetensors file, from its first bytes."""
        return read_header(self.name, name, size, lambda begin, stop: self._range(name, commit, begin, stop))

    def ask(self, call: Callable[[], T], doing: str = "it was asked for") -> T:
        """The answer, after some tries where the hub is busy or the connection breaks."""
        for wait in (*WAITS, None):
            try:
                with _quietly():
                    return call()
            except InputError:
                raise
            except Exception as error:  # the client has families of its own, and lets its transport's through
                kind, status, seconds = _kind(error)
                if kind not in ("busy", "broke") or wait is None:
                    raise self._refusal(error, kind, status, doing) from None
                time.sleep(min(max(wait, seconds), LONGEST_WAIT))
        raise AssertionError("the last try returns or raises")

    def refused(self, why: str, remedy: str) -> InputError:
        return InputError("path", self.label, why, remedy)

    @property
    def label(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name

    @contextlib.contextmanager
    def named(self, folder: Path) -> Iterator[None]:
        """Refusals of what lies in a folder name the repository."""
        try:
            yield
        except InputError as error:
            raise (self.refused(error.why, error.remedy) if str(error.value) == str(folder) else error) from None

    def _download(self, name: str, commit: str) -> Path:
        from huggingface_hub import hf_hub_download

        return Path(self.ask(lambda: hf_hub_download(self.name, name, revision=commit), f"{name} was fetched"))

    def _range(self, name: str, commit: str, begin: int, stop: int) -> bytes:
        from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        url = hf_hub_url(self.name, name, revision=commit, endpoint=self.api.endpoint)
        headers = {**build_hf_headers(), "Range": f"bytes={begin}-{stop - 1}", "Accept-Encoding": "identity"}

        def once() -> bytes:
            with get_session().stream("GET", url, headers=headers, timeout=ANSWER_SECONDS) as answer:
                hf_raise_for_status(answer)
                before = 0 if answer.status_code == 206 else begin  # one that knows no ranges sends the file
                data = b""
                for chunk in answer.iter_bytes():
                    data += chunk
                    if len(data) >= before + stop - begin:
                        break
            return data[before : before + stop - begin]

        return self.ask(once, f"the header of {name} was read")

    def _refusal(self, error: Exception, kind: str, status: int | None, doing: str) -> InputError:
        if kind == "offline":
            why = "is no folder here, is not whole in this store, and HF_HUB_OFFLINE is set"
            return UnreachableError("path", self.label, why, "unset it once, or run it where there is a network")
        if kind == "unreachable":
            why = f"is no folder here, is not whole in this store, and no hub answers ({_reason(error)})"
            return UnreachableError("path", self.label, why, "check the network, proxies and HF_ENDPOINT")
        if kind == "busy":
            why = f"the hub answered {status} when {doing}, {len(WAITS) + 1} times"
            return self.refused(why, "try again later: what was fetched is kept")
        if kind == "broke":
            why = f"the connection broke when {doing} ({_reason(error)})"
            return self.refused(why, "run the command again: it goes on where it stopped")
        if kind == "no revision":
            return self.refused("the repository has no such revision", self._near())
        if kind == "no file":
            return self.refused(f"the hub has lost the file when {doing}", "give revision=, to resolve it again")
        if kind == "closed":
            from huggingface_hub import get_token

            why = f"is no folder here, and the hub answers {status}: it has no such repository, or a closed one"
            own = "the token that is set may not read it" if get_token() else "set HF_TOKEN if it is closed"
            return self.refused(why, f"check the name; {own}")
        if isinstance(error, OSError) and error.errno is not None:
            return of_the_disk(error, Path("."))
        return self.refused(f"the hub's answer is of no use ({_reason(error)})", "check the name and HF_ENDPOINT")

    def _near(self) -> str:
        """The revisions it has that are called alike."""
        if len(self.revision) == 40:
            return "its commit is gone from the hub: give revision=, to resolve it again"
        with contextlib.suppress(Exception), _quietly():  # only to help: the refusal stands without
            found = self.api.list_repo_refs(self.name)
            names = [ref.name for ref in [*found.branches, *found.tags]]
            if near := difflib.get_close_matches(self.revision, names, n=3, cutoff=0.5):
                return f"did you mean {' or '.join(near)}?"
        return "give one that it has, or leave it out"


def _kind(error: BaseException) -> tuple[str, int | None, float]:
    """What went wrong, the HTTP status, and the seconds that the server asks to wait."""
    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__ or error
    names = {type(one).__name__ for one in chain}
    if "OfflineModeIsEnabled" in names:
        return "offline", None, 0.0
    response = next((found for one in chain if (found := getattr(one, "response", None)) is not None), None)
    status = getattr(response, "status_code", None)
    if status in BUSY:
        asked = str(response.headers.get("Retry-After", "")) if response is not None else ""
        return "busy", status, float(asked) if asked.isdigit() else 0.0
    if "RevisionNotFoundError" in names:
        return "no revision", status, 0.0
    if "RemoteEntryNotFoundError" in names:
        return "no file", status, 0.0
    if status in (401, 403, 404):
        return "closed", status, 0.0
    if names & {"ConnectError", "ConnectTimeout", "ProxyError"}:
        return "unreachable", None, 0.0
    transport = any(type(one).__module__.partition(".")[0].startswith(("httpx", "httpcore")) for one in chain)
    if status is None and (transport or "Consistency check failed" in str(chain[0])):
        return "broke", None, 0.0
    return "other", status, 0.0


def _reason(error: BaseException) -> str:
    """The kind of an error alone: a message may hold a URL, and that a password."""
    return type(error.__cause__ or error).__name__


def of_the_disk(error: OSError, folder: Path) -> InputError:
    """What the file system refuses, of field `root`."""
    if error.errno == errno.ENOSPC:
        return InputError("root", folder, "no space is left on the disk", "free some, and run the command again")
    return InputError("root", error.filename or folder, f"cannot be written ({error.strerror})", "name another root")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the client's log lines, and without its bars where nobody watches: what matters is one line of ours."""
    from huggingface_hub import utils

    bar: Any = utils
    logger = logging.getLogger("huggingface_hub")
    level, bars = logger.level, not bar.are_progress_bars_disabled()
    logger.setLevel(logging.CRITICAL)
    if bars and not sys.stderr.isatty():
        bar.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            bar.enable_progress_bars()
