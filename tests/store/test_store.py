"""States appear complete or not at all, damage is seen, leases go to one, and what others wrote is never changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core import files
from harness.core.errors import CorruptError, InputError
from harness.store import lease, verified
from harness.store.history import Row, rows_to_csv
from harness.store.store import Store

A, B, C = "a" * 32, "b" * 32, "c" * 32
META = {"position": 10, "tokens": 5120, "program": {"phases": [1, 2]}}
FILES = ("weights.safetensors", "optimizer.safetensors", "evaluations.csv", "steps.jsonl", "timing.jsonl")
processes = multiprocessing.get_context("fork")


def row(position: int, windows_hash: str = "1" * 16, loss_sum: float = 100.5) -> Row:
    return Row(position, position * 512, "docs", 64, windows_hash, loss_sum, 8192, 30_000)


def writer(rows: list[Row], weights: bytes = b"weights") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "weights.safetensors").write_bytes(weights)
        (folder / "optimizer.safetensors").write_bytes(b"optimizer" * 1000)
        (folder / "evaluations.csv").write_text(rows_to_csv(rows))
        (folder / "steps.jsonl").write_text('{"step": 1}\n')
        (folder / "timing.jsonl").write_text('{"seconds": 1}\n')

    return write


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every path below root with its modification time and content, but for the note of who reads it."""
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in root.rglob("*")
        if "children" not in path.relative_to(root).parts
    }


def temporaries(root: Path) -> list[str]:
    return [path.name for path in root.rglob(".tmp-*")]


@contextlib.contextmanager
def child(target: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    process = processes.Process(target=target, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _kill_unreaped(pid: int) -> None:
    """Kill a child and leave it a zombie, as a launcher does with a worker it does not wait for."""
    start = files.started(pid)
    assert not files.is_dead(pid, start)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: files.is_dead(pid, start))
    assert Path(f"/proc/{pid}").exists()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


# States


def test_a_written_state_is_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    folder = store.write_state(A, writer([row(0), row(10)]), META)
    assert folder == tmp_path / "runs" / "states" / A
    assert sorted(os.listdir(folder)) == sorted([*FILES, "state.json"])
    for seen in (store, Store(tmp_path / "runs")):
        assert seen.addresses() == {A}
        assert seen.rows(A) == [row(0), row(10)]
        assert seen.verify(A)
        info = seen.state(A)
        assert info is not None
        assert info.kept
        assert not info.readonly
        assert {k: info.meta[k] for k in META} == META
        digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
        assert info.meta["files"] == digests
        assert json.loads((folder / "state.json").read_bytes())["address"] == A
    assert temporaries(tmp_path) == []


def test_a_save_on_the_way_says_that_it_is_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_state(A, writer([]), {**META, "kept": False})
    info = store.state(A)
    assert info is not None
    assert not info.kept


def test_reading_creates_nothing(tmp_path: Path) -> None:
    root = tmp_path / "none" / "runs"
    store = Store(root)
    assert store.addresses() == set()
    assert store.state(A) is None
    assert store.rows(A) == []
    assert not store.verify(A)
    assert store.runs() == []
    assert store.failure(A) is None
    store.clear_failure(A)
    assert store.disk_free() > 0
    store.check_writable()
    assert list(tmp_path.iterdir()) == []


def test_states_are_listed_by_their_names_alone(tmp_path: Path) -> None:
    """Thousands are listed at once: no file of theirs is read. Here they have none."""
    addresses = {hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(20)}
    for address in addresses:
        (tmp_path / "states" / address).mkdir(parents=True)
    assert Store(tmp_path).addresses() == addresses


def test_the_first_of_two_writers_stays_and_new_rows_are_added(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def late(folder: Path) -> None:
        Store(tmp_path).write_state(A, writer([row(0)], weights=b"first"), META)
        writer([row(0, loss_sum=9.0), row(10)], weights=b"second")(folder)

    folder = store.write_state(A, late, META)
    assert (folder / "weights.safetensors").read_bytes() == b"first"
    assert store.rows(A) == [row(0), row(10)]
    assert store.verify(A)
    assert temporaries(tmp_path) == []


def test_a_removed_state_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_state(A, writer([]), META)
    store.remove(A)
    store.remove(A)
    assert store.addresses() == set()
    assert os.listdir(tmp_path / "states") == []


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt(), ValueError("mine")])
def test_a_writer_that_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail(folder: Path) -> None:
        (folder / "weights.safetensors").write_bytes(b"half")
        raise error

    store = Store(tmp_path)
    with pytest.raises(type(error)):
        store.write_state(A, fail, META)
    assert store.addresses() == set()
    assert os.listdir(tmp_path / "states") == []


# Kills


def _write_and_wait(root: Path) -> None:
    def stall(folder: Path) -> None:
        writer([row(1)])(folder)
        time.sleep(60)

    Store(root).write_state(A, stall, META)


def test_kill_inside_a_write_leaves_no_state_and_the_next_writer_tidies_up(tmp_path: Path) -> None:
    with child(_write_and_wait, tmp_path) as process:
        wait_until(lambda: bool(list(tmp_path.glob("states/.tmp-*/timing.jsonl"))))
        Store(tmp_path).write_state(B, writer([]), META)
        assert len(temporaries(tmp_path)) == 1  # its owner lives: not touched
        _kill_unreaped(process.pid)
        assert Store(tmp_path).addresses() == {B}
        assert len(temporaries(tmp_path)) == 1
        Store(tmp_path).write_state(C, writer([]), META)
        assert temporaries(tmp_path) == []
        assert Store(tmp_path).addresses() == {B, C}


def _write_many(root: Path, seed: int) -> None:
    store = Store(root)
    for i in range(10_000):
        address = hashlib.sha256(f"{seed} {i}".encode()).hexdigest()[:32]
        store.write_state(address, writer([row(1)], weights=bytes(200_000)), META)
        store.add_rows(address, [row(2)])


def _more_than(root: Path, known: set[str]) -> bool:
    return Store(root).addresses() > known


def test_kill_at_random_moments_never_shows_half_a_state(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(3)
    for seed in range(30):
        known = Store(tmp_path).addresses()
        with child(_write_many, tmp_path, seed):
            wait_until(partial(_more_than, tmp_path, known))
            time.sleep(rng.uniform(0.0, 0.06))
    store = Store(tmp_path)
    addresses = store.addresses()
    assert len(addresses) >= 30
    for address in addresses:
        assert store.verify(address)
        assert store.rows(address) in ([row(1)], [row(1), row(2)])
    store.write_state(A, writer([]), META)
    assert temporaries(tmp_path) == []
    assert capfd.readouterr().err == ""


# Damage


def _flip(path: Path, at: int = -5) -> None:  # a digit of evaluations.csv: still a table, but not the same
    with open(path, "r+b") as file:
        content = file.read()
        file.seek(at % len(content))
        file.write(bytes([content[at] ^ 1]))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_flip, _cut, _empty, Path.unlink])
@pytest.mark.parametrize("name", [*FILES, "state.json"])
def test_a_damaged_state_is_set_aside_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, damage: Callable[[Path], None]
) -> None:
    store = Store(tmp_path)
    store.write_state(A, writer([row(1)]), META)
    store.write_state(B, writer([row(1)]), META)
    damage(tmp_path / "states" / A / name)
    assert not store.verify(A)
    warning = capsys.readouterr().err
    assert str(tmp_path / "states" / A) in warning
    assert name in warning
    assert warning.count("\n") == 1
    assert store.addresses() == {B}
    assert (tmp_path / "states" / f".bad-{A}-1").is_dir()
    store.write_state(A, writer([row(1)]), META)  # recomputed
    assert store.verify(A)
    damage(tmp_path / "states" / A / name)
    assert not store.verify(A)
    assert (tmp_path / "states" / f".bad-{A}-2").is_dir()
    assert store.verify(B)


def test_every_byte_of_state_json_is_covered(tmp_path: Path) -> None:
    folder = Store(tmp_path).write_state(A, writer([]), META)
    path = folder / "state.json"
    for at in range(path.stat().st_size):
        _flip(path, at)
        with pytest.raises(CorruptError, match=r"state\.json"):
            files.read_sealed(path)
        _flip(path, at)
    assert files.read_sealed(path)["position"] == 10


def test_a_state_under_another_address_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    store.write_state(A, writer([]), META).rename(tmp_path / "states" / B)
    assert store.state(B) is None
    assert B in capsys.readouterr().err


@pytest.mark.parametrize("name", ["evaluations.csv", "state.json"])
def test_a_damaged_history_counts_as_not_stored(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    store.write_state(A, writer([row(1)]), META)
    _flip(tmp_path / "states" / A / name, 30)
    assert store.rows(A) == []
    assert store.addresses() == set()
    assert A in capsys.readouterr().err


# Rows added later


def test_added_rows_change_no_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.write_state(A, writer([row(1)]), META)
    before = tree(folder)
    store.add_rows(A, [row(2), row(1, loss_sum=7.0)])
    store.add_rows(A, [row(1, windows_hash="2" * 16), row(2, loss_sum=8.0)])
    after = tree(folder)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    assert Store(tmp_path).rows(A) == [row(1), row(1, windows_hash="2" * 16), row(2)]
    store.add_rows(A, [row(2), row(1)])  # nothing new
    assert tree(folder) == after
    assert store.verify(A)
    for name in after.keys() - before.keys():
        assert name == f"evaluations-{hashlib.sha256(after[name][1]).hexdigest()[:12]}.csv"


@pytest.mark.parametrize("damage", [_flip, _cut, _empty])
def test_damaged_added_rows_are_set_aside_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    store = Store(tmp_path)
    folder = store.write_state(A, writer([row(1)]), META)
    store.add_rows(A, [row(2)])
    (added,) = folder.glob("evaluations-*.csv")
    damage(added)
    assert store.rows(A) == [row(1)]
    assert added.name in capsys.readouterr().err
    assert not added.exists()
    assert store.verify(A)
    store.add_rows(A, [row(2)])
    assert store.rows(A) == [row(1), row(2)]


# Parent stores


def test_a_parent_takes_part_and_is_never_written(tmp_path: Path) -> None:
    parent = Store(tmp_path / "parent")
    parent.write_state(A, writer([row(1)]), META)
    parent.write_state(B, writer([row(1)]), META)
    before = tree(tmp_path / "parent")
    store = Store(tmp_path / "own", parents=[tmp_path / "parent"])
    assert store.addresses() == {A, B}
    info = store.state(A)
    assert info is not None
    assert info.readonly
    assert store.verify(A)
    store.add_rows(A, [row(1, loss_sum=7.0), row(2)])
    assert store.rows(A) == [row(1), row(2)]
    store.remove(A)
    assert store.verify(A)
    with_lease = store.lease(B)
    assert with_lease is not None
    with with_lease:
        store.write_state(B, writer([row(3)], weights=b"own"), META)
    info = store.state(B)
    assert info is not None
    assert not info.readonly
    assert tree(tmp_path / "parent") == before
    assert [path.parent.name for path in (tmp_path / "own" / "measurements").rglob("*.csv")] == [A]
    assert parent.rows(A) == [row(1)]


@pytest.mark.parametrize("name", ["weights.safetensors", "evaluations.csv", "state.json"])
def test_a_damaged_parent_state_is_only_ignored(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Store(tmp_path / "parent").write_state(A, writer([row(1)]), META)
    _flip(folder / name)
    before = tree(tmp_path / "parent")
    store = Store(tmp_path / "own", parents=[tmp_path / "parent"])
    assert not store.verify(A)
    assert str(folder) in capsys.readouterr().err
    assert store.addresses() == set()
    assert store.state(A) is None
    assert store.rows(A) == []
    assert tree(tmp_path / "parent") == before
    store.write_state(A, writer([row(1)]), META)
    assert store.verify(A)
    assert capsys.readouterr().err == ""


def test_a_parent_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "states").mkdir()
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=r"parent_stores=.*store\.json"):
            Store(tmp_path / "own", parents=[path])


# Verified once


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read to be verified, so far."""
    read: list[str] = []
    original = files.sha256

    def sha256(path: Path) -> str:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(files, "sha256", sha256)
    monkeypatch.setattr(verified, "YOUNG_SECONDS", -1.0)
    return read


def test_a_state_is_verified_once_by_whichever_process(tmp_path: Path, hashed: list[str]) -> None:
    Store(tmp_path).write_state(A, writer([row(1)]), META)
    hashed.clear()
    assert Store(tmp_path).unverified_bytes(A) > 9_000
    assert Store(tmp_path).verify(A)
    assert sorted(hashed) == sorted(FILES)
    for store in (Store(tmp_path), Store(tmp_path)):
        assert store.unverified_bytes(A) == 0
        assert store.verify(A)
        store.add_rows(A, [row(2)])  # a file of its own, with a checksum in its name
    assert len(hashed) == len(FILES)
    assert Store(tmp_path).verify(A, full=True)
    assert len(hashed) == 2 * len(FILES)


def flip(path: Path, keep_times: bool) -> None:
    """Change one bit; `keep_times`: and nothing that `ls` would show."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.usefixtures("hashed")
@pytest.mark.parametrize("keep_times", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_what_has_changed_since_is_verified_again(
    tmp_path: Path, name: str, keep_times: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Store(tmp_path).write_state(A, writer([row(1)]), META)
    assert Store(tmp_path).verify(A)
    time.sleep(0.02)  # a tick of the file system's clock
    flip(folder / name, keep_times)
    assert not Store(tmp_path).verify(A)
    assert name in capsys.readouterr().err


def test_a_state_put_in_the_place_of_another_is_verified_again(tmp_path: Path, hashed: list[str]) -> None:
    store = Store(tmp_path)
    folder = store.write_state(A, writer([row(1)]), META)
    assert store.verify(A)
    hashed.clear()
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    (tmp_path / "copy").rename(folder)
    assert store.verify(A)
    assert len(hashed) == len(FILES)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state.json": [1, 2, 3, 4]}'])
def test_a_damaged_memory_of_it_is_no_memory(tmp_path: Path, hashed: list[str], content: bytes) -> None:
    store = Store(tmp_path)
    store.write_state(A, writer([row(1)]), META)
    assert store.verify(A)
    (record,) = (tmp_path / "verified").iterdir()
    record.write_bytes(content)
    hashed.clear()
    assert store.verify(A)
    assert len(hashed) == len(FILES)


def test_files_as_young_as_a_tick_of_the_clock_are_not_remembered(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_state(A, writer([row(1)]), META)
    assert store.verify(A)
    assert store.unverified_bytes(A) > 0


@pytest.mark.usefixtures("hashed")
def test_what_was_verified_of_a_parent_is_remembered_in_ones_own_store(tmp_path: Path) -> None:
    Store(tmp_path / "parent").write_state(A, writer([row(1)]), META)
    before = tree(tmp_path / "parent")
    store = Store(tmp_path / "own", parents=[tmp_path / "parent"])
    assert store.verify(A)
    assert not (tmp_path / "own").exists()  # looking makes no store
    store.write_failure(B, 1, None, "log", "why")
    assert store.verify(A)
    assert Store(tmp_path / "own", parents=[tmp_path / "parent"]).unverified_bytes(A) == 0
    assert tree(tmp_path / "parent") == before


# Format


@pytest.mark.parametrize("content", ['{"format": 2}', "{", "[]", "{}"])
def test_a_newer_or_unreadable_store_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"^root="):
        Store(tmp_path)
    with pytest.raises(InputError, match=r"^parent_stores="):
        Store(tmp_path / "own", parents=[tmp_path])
    assert tree(tmp_path) == before


def test_the_first_write_states_the_format(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    store.write_failure(A, 3, None, "log", "why")
    assert json.loads((tmp_path / "runs" / "store.json").read_bytes()) == {"format": 1}


# Leases


def _dead_owner() -> tuple[int, int]:
    """Process number and start of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = files.started(process.pid)
    process.communicate()
    return process.pid, start


def _plant(store: Store, address: str, **fields: Any) -> Path:
    """A lease as another process would have left it."""
    first = store.lease(address)  # also makes the folders
    assert first is not None
    document = json.loads(first.path.read_bytes())
    first.release()
    first.path.write_text(json.dumps({**document, **fields}))
    return first.path


def test_a_lease_is_held_by_one_and_given_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.lease(A)
    assert first is not None
    with first:
        assert first.held()
        assert store.lease(A) is None
        assert Store(tmp_path).lease(A) is None
        other = store.lease(B)
        assert other is not None
        other.release()
        owner = json.loads((tmp_path / "leases" / f"{A}.json").read_bytes())
        assert (owner["pid"], owner["started"]) == (os.getpid(), files.started(os.getpid()))
        assert {"host", "boot_id", "time"} <= owner.keys()
    assert not first.held()
    assert list((tmp_path / "leases").glob("*.json")) == []
    again = store.lease(A)
    assert again is not None
    again.release()


def test_a_lease_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pid, started = _dead_owner()
    _plant(store, A, pid=pid, started=started)
    with leased(store) as taken:
        assert taken.held()
    assert temporaries(tmp_path) == []


def test_a_process_number_used_again_does_not_keep_a_lease(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _plant(store, A, started=files.started(os.getpid()) - 1)
    with leased(store) as taken:
        assert taken.held()


def leased(store: Store) -> lease.Lease:
    """The lease, which nobody else holds."""
    taken = store.lease(A)
    assert taken is not None
    return taken


def _hold(root: Path) -> None:
    assert Store(root).lease(A) is not None
    time.sleep(60)


def test_a_killed_process_loses_its_lease_at_once_even_unreaped(tmp_path: Path) -> None:
    with child(_hold, tmp_path) as process:
        store = Store(tmp_path)
        wait_until(lambda: (tmp_path / "leases" / f"{A}.json").exists())
        assert store.lease(A) is None
        _kill_unreaped(process.pid)
        with leased(store) as taken:
            assert taken.held()


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"boot_id": "another"}, {"pid_namespace": "pid:[1]"}])
def test_a_process_that_cannot_be_looked_up_keeps_its_lease_while_it_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, str]
) -> None:
    store = Store(tmp_path)
    pid, started = _dead_owner()  # says nothing about the same number over there
    path = _plant(store, A, pid=pid, started=started, **other)
    now = path.stat().st_mtime
    monkeypatch.setattr(lease, "time", SimpleNamespace(time=lambda: now + 89))
    assert store.lease(A) is None
    monkeypatch.setattr(lease, "time", SimpleNamespace(time=lambda: now + 91))
    with leased(store) as taken:
        assert taken.held()


def test_silence_costs_the_lease_and_the_late_owner_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    first = store.lease(A)
    assert first is not None
    now = time.time()
    monkeypatch.setattr(lease, "time", SimpleNamespace(time=lambda: now + 85))
    assert store.lease(A) is None
    assert first.held()
    monkeypatch.setattr(lease, "time", SimpleNamespace(time=lambda: now + 95))
    second = store.lease(A)
    assert second is not None
    assert not first.held()
    first.release()  # gives nothing back that is not its own
    assert second.held()
    second.release()


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}', "[]"])
def test_an_unreadable_lease_counts_until_it_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    store = Store(tmp_path)
    path = _plant(store, A)
    path.write_text(content)
    assert store.lease(A) is None
    now = time.time()
    monkeypatch.setattr(lease, "time", SimpleNamespace(time=lambda: now + 95))
    with leased(store) as taken:
        assert taken.held()


def test_the_owner_beats_while_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.01)
    with leased(Store(tmp_path)) as held:
        os.utime(held.path, (0, 0))
        wait_until(lambda: time.time() - held.path.stat().st_mtime < 5)


def test_a_live_lease_that_was_judged_too_late_is_put_back(tmp_path: Path) -> None:
    with leased(Store(tmp_path)) as held:
        lease._take_away(held.path, b"the stale one that lay here before")
        assert held.held()
        lease._take_away(held.path, held.path.read_bytes())
        assert not held.held()
    assert temporaries(tmp_path) == []


def _lease_once(root: Path) -> None:
    assert Store(root).lease(A) is not None


def test_takers_queue(tmp_path: Path) -> None:
    Store(tmp_path).write_state(B, writer([]), META)
    with lease._one_at_a_time(tmp_path / "leases"), child(_lease_once, tmp_path) as process:
        process.join(0.2)
        assert process.is_alive()
    with child(_lease_once, tmp_path) as process:
        process.join(10)
        assert process.exitcode == 0


def _take_all(root: Path, addresses: list[str], barrier: Barrier, taken: Any) -> None:
    store = Store(root)
    held = []
    for address in addresses:
        barrier.wait(30)
        if (got := store.lease(address)) is not None:
            held.append(got)
    barrier.wait(30)
    taken.put([got.path.stem for got in held if got.held()])
    barrier.wait(30)
    for got in held:
        got.release()


@pytest.mark.parametrize("stale", [False, True])
def test_of_several_at_once_exactly_one_gets_the_lease(tmp_path: Path, stale: bool) -> None:
    store = Store(tmp_path)
    addresses = [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(60)]
    if stale:
        pid, started = _dead_owner()
        for address in addresses:
            _plant(store, address, pid=pid, started=started)
    barrier, taken = processes.Barrier(5), processes.Queue()
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(child(_take_all, tmp_path, addresses, barrier, taken))
        winners = [taken.get(timeout=30) for _ in range(5)]
        wait_until(lambda: not list((tmp_path / "leases").glob("*.json")))
    assert sorted(address for won in winners for address in won) == sorted(addresses)
    assert temporaries(tmp_path) == []


def _work(root: Path, addresses: list[str], log: Path) -> None:
    store = Store(root)
    while todo := [address for address in addresses if store.state(address) is None]:
        for address in todo:
            if (got := store.lease(address)) is not None:
                with got:
                    if store.state(address) is None:
                        with open(log, "a") as file:
                            file.write(address + "\n")
                        store.write_state(address, writer([row(1)]), META)


def test_two_processes_write_each_state_once(tmp_path: Path) -> None:
    addresses = [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(25)]
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(child(_work, tmp_path / "runs", addresses, tmp_path / "log")) for _ in range(2)]
        for worker in workers:
            worker.join(30)
            assert worker.exitcode == 0
    assert sorted((tmp_path / "log").read_text().split()) == sorted(addresses)


# Runs and failures


def test_runs_are_recorded_once_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    path = store.write_run("warmup=0.01", "k" * 32, {"key": "k" * 32, "lr": 0.1})
    assert path == tmp_path / "runs" / ("warmup=0.01-" + "k" * 12) / "run.json"
    before = path.stat()
    store.write_run("warmup=0.01", "k" * 32, {"lr": 0.1, "key": "k" * 32})
    assert path.stat().st_ino == before.st_ino  # the same document is not written again
    store.write_run("base", "l" * 32, {"key": "l"})
    assert store.runs() == [{"key": "l"}, {"key": "k" * 32, "lr": 0.1}]
    path.write_text("{")
    assert store.runs() == [{"key": "l"}]
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", ".", "../up", "a/b", ".hidden", "a\nb", "x" * 300])
def test_a_run_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="name="):
        Store(tmp_path / "runs").write_run(name, "k" * 32, {})
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_told_until_it_is_cleared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_failure(A, 30, 20, "logs/a.txt", "the loss is not finite")
    expected = {"position": 30, "last_good": 20, "log": "logs/a.txt", "reason": "the loss is not finite"}
    assert Store(tmp_path).failure(A) == expected
    assert store.failure(B) is None
    store.clear_failure(A)
    store.clear_failure(A)
    assert store.failure(A) is None


# A disk that cannot be written


def _impossible(tmp_path: Path) -> list[Path]:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "store" / "runs").mkdir(parents=True)
    (tmp_path / "store" / "states").write_text("a file in the way of a folder of ours")
    return [
        tmp_path / "file",
        tmp_path / "file" / "below" / "it",
        tmp_path / "link",
        tmp_path / "store",
        tmp_path / ("x" * 300),
        tmp_path / "null\0character",
        Path("/proc/rewarm"),
    ]


@pytest.mark.parametrize("which", range(7))
def test_an_impossible_root_is_refused_in_one_line(tmp_path: Path, which: int) -> None:
    root = _impossible(tmp_path)[which]
    before = {str(path) for path in tmp_path.rglob("*")}
    with pytest.raises(InputError, match=r"^root=") as caught:
        Store(root).check_writable()
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)
    assert {str(path) for path in tmp_path.rglob("*")} == before


def _check_as_nobody(root: Path, answers: Any) -> None:
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        Store(root).check_writable()
        answers.put("writable")
    except InputError as error:
        answers.put(str(error))


def test_a_root_without_permission_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:  # every user may look into it, unlike pytest's
        for path, mode in ((Path(folder), 0o555), (Path(folder) / "below", 0o555), (Path(folder), 0o000)):
            Path(folder).chmod(mode)
            answers = processes.Queue()
            with child(_check_as_nobody, path, answers):
                answer = answers.get(timeout=10)
            Path(folder).chmod(0o755)
            assert answer.startswith(f"root={path}: ")
            assert "Permission denied" in answer
            assert os.listdir(folder) == []


def _write_with_little_space(root: Path, answers: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        Store(root).write_state(B, writer([row(1)], weights=bytes(300_000)), META)
    except OSError as error:
        answers.put((error.errno, os.listdir(root / "states")))


def test_a_write_that_the_system_refuses_half_way_leaves_nothing(tmp_path: Path) -> None:
    Store(tmp_path).write_state(A, writer([row(1)]), META)
    answers = processes.Queue()
    with child(_write_with_little_space, tmp_path, answers):
        number, left = answers.get(timeout=10)
    assert number != 0
    assert left == [A]
    assert Store(tmp_path).verify(A)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_a_disk_that_fills_up_loses_nothing_and_keeps_nothing_half(small_disk: Path) -> None:
    store = Store(small_disk / "runs")
    store.check_writable()
    assert store.disk_free() <= 1 << 20
    store.write_state(A, writer([row(1)], weights=bytes(400_000)), META)
    with pytest.raises(OSError, match="No space left"):
        store.write_state(B, writer([row(1)], weights=bytes(900_000)), META)
    assert os.listdir(small_disk / "runs" / "states") == [A]
    (small_disk / "fill").write_bytes(bytes(store.disk_free()))
    for write in (
        lambda: store.write_state(B, writer([row(1)]), META),
        lambda: store.add_rows(A, [row(2)]),
        lambda: store.write_run("base", "k" * 32, {"key": "k"}),
        lambda: store.lease(B),
    ):
        with pytest.raises(OSError, match="No space left"):
            write()
    with pytest.raises(InputError, match="No space left"):
        Store(small_disk / "runs").check_writable()
    assert sorted(os.listdir(small_disk / "runs" / "states")) == [A]
    assert list((small_disk / "runs" / "leases").glob("*.json")) == []
    (small_disk / "fill").unlink()
    assert store.verify(A)
    assert store.rows(A) == [row(1)]
    store.write_state(B, writer([row(1)]), META)
    assert store.verify(B)
