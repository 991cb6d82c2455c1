"""A store that several people write: files have the mode that their umask gives, and who may not read is told whose."""

from __future__ import annotations

import codecs
import contextlib
import io
import multiprocessing
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from harness import __main__ as harness_main
from harness.cli import run_command
from harness.model import tensors
from harness.store.store import Store
from tests.launched import kept_files
from tests.tiny import command, write_texts

ALICE, BOB, GROUP = 61_001, 61_002, 61_100
processes = multiprocessing.get_context("fork")


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_tensors_have_the_mode_of_any_new_file(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        tensors._save(tmp_path, "weights.safetensors", {"one": torch.ones(3)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights.safetensors").stat().st_mode) == mode


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder of a group, below one that every user may look into (pytest's are not)."""
    if os.geteuid() != 0:
        pytest.skip("two users need the right to become them")
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    write_texts(place / "texts")
    for path in place.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    torch.set_num_threads(1)
    assert trains(place, f"root={place}/first")() == 0  # imports what a run needs: others may not read our Python
    codecs.lookup("cp437")  # nor this part of it, which windows of losses are read with
    (place / "group").mkdir()
    os.chown(place / "group", ALICE, GROUP)
    (place / "group").chmod(0o2775)
    yield place
    shutil.rmtree(place)


def as_user(user: int, umask: int, body: Callable[[], int]) -> tuple[int, str]:
    """The status and stderr of `body` in a process of a user of the group."""
    told = processes.Queue()

    def run() -> None:
        os.setgroups([])
        os.setgid(GROUP)
        os.setuid(user)
        os.umask(umask)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = body()
        told.put((status, said.getvalue()))

    process = processes.Process(target=run)
    process.start()
    status, text = told.get(timeout=60)
    process.join(60)
    return status, text


def trains(shared: Path, *more: str) -> Callable[[], int]:
    def body() -> int:
        sys.argv = ["harness", *command(shared / "texts").split(), f"root={shared}/group/runs", *more]
        return run_command(harness_main.main)

    return body


def test_a_colleague_continues_from_what_another_has_trained(shared: Path) -> None:
    assert as_user(ALICE, 0o002, trains(shared))[0] == 0
    before = kept_files(shared / "group" / "runs")
    status, said = as_user(BOB, 0o002, trains(shared, "warmup=0.2"))
    assert status == 0, said
    root = shared / "group" / "runs"
    owners = {path.stat().st_uid for path in (root / "states").iterdir()}
    assert owners == {ALICE, BOB}  # Bob has trained his part only
    assert before.items() <= kept_files(root).items()
    for path in root.rglob("*"):
        known = path.stat()
        assert known.st_gid == GROUP, path
        assert stat.S_IMODE(known.st_mode) & 0o660 == 0o660, path
    # A damaged state of Alice's is Bob's to set aside and to make again.
    weights = next(path for path in (root / "states").iterdir() if path.stat().st_uid == ALICE) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    status, said = as_user(BOB, 0o002, trains(shared, "warmup=0.1,0.2", "-m"))
    assert status == 0, said
    assert before.items() <= kept_files(root).items()


@pytest.mark.parametrize("how", ["root", "parent"])
def test_what_a_colleague_may_not_read_is_one_line_that_says_whose_it_is(shared: Path, how: str) -> None:
    assert as_user(ALICE, 0o077, trains(shared))[0] == 0
    runs = shared / "group" / "runs"
    root = runs if how == "root" else shared / "group" / "bobs"
    parents = [] if how == "root" else [f"parent_stores=[{runs}]"]
    status, said = as_user(BOB, 0o002, trains(shared, f"root={root}", *parents))
    assert status == 2
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert f"belongs to user {ALICE}" in said
    assert not (shared / "group" / "bobs").exists()
    for path in [runs, *runs.rglob("*")]:  # folders may be looked into, files not be read: as before this was mended
        path.chmod(0o2775 if path.is_dir() else 0o600 if path.name == "weights.safetensors" else 0o664)
    status, said = as_user(BOB, 0o002, trains(shared, f"root={root}", *parents))
    assert status == 2
    assert f"belongs to user {ALICE}, mode 0600" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert Store(runs).addresses()
