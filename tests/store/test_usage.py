"""What lies in a store is counted to the byte, and disappears as one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.core import files
from harness.store import children
from harness.store.store import Store
from harness.store.usage import KINDS, inventory, take_away

ADDRESS = "0" * 31 + "a"


def weights(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(bytes(1000))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "runs")
    store.write_state(ADDRESS, weights, {})
    store.write_run("one", ADDRESS, {"key": ADDRESS})
    (store.root / "corpora" / "abc").mkdir(parents=True)
    (store.root / "corpora" / "abc" / "shard-0.bin").write_bytes(bytes(500))
    (store.root / "states" / f".bad-{ADDRESS}-1").mkdir()
    (store.root / "states" / files.temporary_name()).mkdir()
    (store.root / "notes.txt").write_text("mine")
    return store


def test_every_byte_is_counted_once(store: Store) -> None:
    found = inventory(store.root)
    on_disk = sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file())
    counted = sum(entry.bytes for entry in found)
    assert on_disk - counted == (store.root / "store.json").stat().st_size + (
        (store.root / "leases" / ".lock").stat().st_size if (store.root / "leases" / ".lock").exists() else 0
    )
    kinds = {entry.kind: entry.name for entry in found}
    assert kinds["states"] == ADDRESS
    assert kinds["corpora"] == "abc"
    assert kinds["set aside"] == f".bad-{ADDRESS}-1"
    assert kinds["leavings"].startswith(files.PREFIX)
    assert kinds["other"] == "notes.txt"
    assert {entry.kind for entry in found} <= {*KINDS, "set aside", "leavings", "other"}


def test_an_entry_is_as_young_as_its_newest_file(store: Store) -> None:
    (state,) = [entry for entry in inventory(store.root) if entry.kind == "states"]
    assert time.time() - state.changed < 60
    for path in (store.root / "states" / ADDRESS).iterdir():
        os.utime(path, (1000, 1000))
    (state,) = [entry for entry in inventory(store.root) if entry.kind == "states"]
    assert state.changed == 1000


def test_a_linked_folder_is_neither_followed_nor_known(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "large").write_bytes(bytes(10**6))
    (store.root / "shards").symlink_to(tmp_path / "elsewhere")
    (store.root / "states" / "link").symlink_to(tmp_path / "elsewhere")
    found = {(entry.kind, entry.name): entry.bytes for entry in inventory(store.root)}
    assert found["other", "shards"] == 0
    assert found["states", "link"] == 0
    assert take_away(store.root / "states" / "link", store.root)
    assert (tmp_path / "elsewhere" / "large").exists()


def test_what_is_gone_already_is_no_error(store: Store) -> None:
    path = store.root / "states" / ADDRESS
    assert take_away(path, store.root)
    assert not take_away(path, store.root)
    assert not [name for name in os.listdir(store.root / "states") if name == ADDRESS]


def test_a_store_notes_itself_in_its_parents(store: Store, tmp_path: Path) -> None:
    child = Store(tmp_path / "child", [store.root])
    assert children.known(store.root) == []  # looking into parents writes nothing
    child.write_run("two", ADDRESS, {"key": ADDRESS})
    Store(tmp_path / "child", [store.root]).write_run("three", ADDRESS, {"key": ADDRESS})
    assert children.known(store.root) == [tmp_path / "child"]


def test_a_parent_that_may_not_be_written_is_only_read(store: Store, tmp_path: Path) -> None:
    (store.root / "children").write_text("in the way")  # as a folder without permission is, for root too
    Store(tmp_path / "child", [store.root]).write_run("two", ADDRESS, {"key": ADDRESS})
    assert children.known(store.root) == []
