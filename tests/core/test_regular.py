"""Pipes, sockets, folders and circles of links where files are due: refused or made again, never waited for."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.fitting.fit_file import read_fit
from analysis.laws.library import find
from analysis.results.table_files import read_file
from harness.core import regular
from harness.core.errors import CorruptError, InputError
from harness.store.lease import STALE_SECONDS
from harness.store.store import Store

KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "circle": lambda path: path.symlink_to(path),
    "socket": lambda path: socket.socket(socket.AF_UNIX).bind(path.name),
}
ADDRESS = "a" * 32


@pytest.fixture(params=list(KINDS))
def no_file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Put something else in the place of a file."""

    def replace(path: Path) -> None:
        path.unlink(missing_ok=True)
        monkeypatch.chdir(path.parent)  # the name of a socket has a hundred characters at most
        KINDS[request.param](path)
        monkeypatch.chdir(tmp_path)

    return replace


def _store(root: Path) -> Store:
    store = Store(root)

    def write(folder: Path) -> None:
        (folder / "weights.safetensors").write_bytes(b"weights")

    store.write_state(ADDRESS, write, {"position": 1})
    return store


def test_what_is_no_file_is_damage(tmp_path: Path, no_file: Callable[[Path], None]) -> None:
    no_file(tmp_path / "file")
    with pytest.raises(CorruptError, match="not a regular file"):
        regular.content(tmp_path / "file")


@pytest.mark.parametrize("name", ["state.json", "weights.safetensors"])
def test_a_state_with_something_else_in_it_is_set_aside(
    name: str, tmp_path: Path, no_file: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    store = _store(tmp_path / "store")
    no_file(store.root / "states" / ADDRESS / name)
    store.unverified_bytes(ADDRESS)
    assert not store.verify(ADDRESS)
    assert store.state(ADDRESS) is None
    assert "is damaged: set aside" in capsys.readouterr().err
    assert (store.root / "states" / f".bad-{ADDRESS}-1").exists()


def test_a_run_file_is_written_again(tmp_path: Path, no_file: Callable[[Path], None]) -> None:
    store = _store(tmp_path / "store")
    path = store.write_run("run", "k" * 32, {"name": "run"})
    no_file(path)
    assert store.runs() == []
    assert json.loads(store.write_run("run", "k" * 32, {"name": "run"}).read_text()) == {"name": "run"}


def test_a_lease_that_is_no_file_is_taken_over(tmp_path: Path, no_file: Callable[[Path], None]) -> None:
    store = _store(tmp_path / "store")
    path = store.root / "leases" / f"{ADDRESS}.json"
    no_file(path)
    assert store.lease(ADDRESS) is None
    assert store.at_work(ADDRESS) is None
    long_ago = time.time() - STALE_SECONDS - 1
    os.utime(path, (long_ago, long_ago), follow_symlinks=False)
    lease = store.lease(ADDRESS)
    assert lease is not None
    lease.release()
    assert not path.exists()


def test_files_of_a_user(tmp_path: Path, no_file: Callable[[Path], None]) -> None:
    path = tmp_path / "file.py"
    no_file(path)
    for read in (lambda: read_fit(path), lambda: find(f"{path}:MINE", trust=True), lambda: read_file(path)):
        with pytest.raises(InputError):
            read()
