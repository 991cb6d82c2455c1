"""One repository of a hub through `huggingface_hub`: its answers, and its errors as one line each.

Beneath `harness.model.hub`. A busy hub (429, 503) and a broken connection are tried again, later each time; a download
goes on where it was cut. What is wrong for good is an InputError of field `path`. None shows a token.

    repository = Repository("someone/tiny", "main")
    repository.commit(); repository.files(commit); repository.bring("config.json", commit, folder, sha256)
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from harness.core.errors import InputError
from harness.core.files import flush, sha256, temporary_name
from harness.formats import servers
from harness.formats.servers import Trouble, UnreachableError, of_the_disk, patiently, who_may_read
from harness.model.checkpoints import COMMIT
from harness.model.headers import read_header

ANSWER_SECONDS = 30.0
T = TypeVar("T")


class Repository:
    """A repository at a revision (empty: the hub's main)."""

    def __init__(self, name: str, revision: str) -> None:
        from huggingface_hub import HfApi

        self.name, self.revision = name, revision
        self.api = HfApi()

    def commit(self) -> str:
        """The commit that the revision stands for now: 40 hex digits."""
        asked = self.revision or None
        told = str(self.ask(lambda: self.api.model_info(self.name, revision=asked, timeout=ANSWER_SECONDS)).sha)
        if not COMMIT.fullmatch(told):
            raise self.refused("the hub's answer is of no use (no commit)", "check the name and HF_ENDPOINT")
        return told

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
        """Fetch one file through the client's cache, check its SHA-256, and let it appear in the folder.

        OSError where the folder's disk refuses it.
        """
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

        def quiet() -> T:
            with _quietly():
                return call()

        return patiently(quiet, lambda error, trouble: self._refusal(error, trouble, doing))

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

    def _refusal(self, error: Exception, trouble: Trouble, doing: str) -> InputError:
        kind, status = trouble.kind, trouble.status
        if kind == "offline":
            why = "is no folder here, is not whole in this store, and HF_HUB_OFFLINE is set"
            return UnreachableError("path", self.label, why, "unset it once, or run it where there is a network")
        if kind == "unreachable":
            why = f"is no folder here, is not whole in this store, and no hub answers ({trouble.name})"
            return UnreachableError("path", self.label, why, "check the network, proxies and HF_ENDPOINT")
        if kind == "busy":
            why = f"the hub answered {status} when {doing}, {len(servers.WAITS) + 1} times"
            return self.refused(why, "try again later: what was fetched is kept")
        if kind == "broke":
            why = f"the connection broke when {doing} ({trouble.name})"
            return self.refused(why, "run the command again: it goes on where it stopped")
        if kind == "no revision":
            return self.refused("the repository has no such revision", self._near())
        if kind == "no file":
            return self.refused(f"the hub has lost the file when {doing}", "give revision=, to resolve it again")
        if kind == "closed":
            why = f"is no folder here, and the hub answers {status}: it has no such repository, or a closed one"
            return self.refused(why, who_may_read())
        if isinstance(error, OSError) and error.errno is not None:
            from huggingface_hub import constants

            return of_the_disk(error, constants.HF_HUB_CACHE, "HF_HOME")  # its cache: nothing of ours is written here
        why = f"the hub's answer is of no use ({trouble.status or trouble.name})"
        return self.refused(why, "check the name and HF_ENDPOINT")

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
        with warnings.catch_warnings(action="ignore"):  # of a disk that is too small, which is one of our lines then
            yield
    finally:
        logger.setLevel(level)
        if bars:
            bar.enable_progress_bars()
