"""Losses of single windows as a file of a state: written, carried along, added later, and damaged."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import CorruptError
from harness.store.history import Row
from harness.store.store import WINDOWS, Store
from harness.store.windows import WINDOW, WindowLosses, losses_of, merged, to_npz

A, KEY, OTHER = "a" * 32, (7, "1" * 16), (9, "2" * 16)


def losses(seed: int, number: int = 5) -> WindowLosses:
    made = np.empty(number, WINDOW)
    made["loss_sum"] = np.random.default_rng(seed).normal(400, 30, number)
    made["window"], made["token_count"], made["byte_count"] = np.arange(number) * 3, 128, 500
    return made


def save(folder: Path) -> None:
    (folder / WINDOWS).write_bytes(to_npz({KEY: losses(1)}))


def row(key: tuple[int, str]) -> Row:
    return Row(key[0], key[0] * 512, "docs", 5, key[1], 2000.0, 640, 2500)


def test_what_was_written_is_read_to_the_bit_and_equal_histories_are_equal_bytes() -> None:
    history = {KEY: losses(1), OTHER: losses(2)}
    content = to_npz(history)
    assert content == to_npz(dict(reversed(history.items())))
    back = losses_of(content, "some file")
    assert back.keys() == history.keys()
    assert all(np.array_equal(back[key], history[key]) for key in history)
    assert np.array_equal(merged({KEY: losses(1)}, {KEY: losses(3), OTHER: losses(2)})[KEY], losses(1))


def pickled() -> bytes:
    file = io.BytesIO()
    np.savez(file, **{"7-" + "1" * 16: np.array([{"a": 1}], dtype=object)})  # type: ignore[arg-type]
    return file.getvalue()


def not_finite() -> bytes:
    made = losses(1)
    made["loss_sum"][2] = np.nan
    return to_npz({KEY: made})


def other_array() -> bytes:
    file = io.BytesIO()
    np.savez(file, **{"7-" + "1" * 16: np.arange(3)})  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", to_npz({KEY: losses(1)})[:-40], pickled(), not_finite(), other_array()]
)
def test_anything_else_is_refused_and_nothing_is_unpickled(content: bytes) -> None:
    with pytest.raises(CorruptError, match="here: not a file of losses by window"):
        losses_of(content, "here")


def test_they_are_part_of_a_state_and_may_be_added_later(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_state(A, save, {})
    store.add_rows(A, [row(OTHER)], {OTHER: losses(2), (1, "3" * 16): losses(3)})
    assert set(store.windows(A)) == {KEY, OTHER}  # what no new row is of is not kept
    assert np.array_equal(store.windows(A)[OTHER], losses(2))
    before = sorted(path.name for path in (tmp_path / "states" / A).iterdir())
    store.add_rows(A, [row(OTHER)], {OTHER: losses(4)})  # known
    assert sorted(path.name for path in (tmp_path / "states" / A).iterdir()) == before
    child = Store(tmp_path / "child", [tmp_path])
    child.add_rows(A, [row((11, "4" * 16))], {(11, "4" * 16): losses(5)})
    assert set(child.windows(A)) == {KEY, OTHER, (11, "4" * 16)}


def test_a_damaged_file_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    store.write_state(A, save, {})
    store.add_rows(A, [row(OTHER)], {OTHER: losses(2)})
    (added,) = (tmp_path / "states" / A).glob("final_windows-*.npz")
    added.write_bytes(added.read_bytes()[:-1] + b"x")
    assert set(store.windows(A)) == {KEY}
    assert "is damaged: set aside" in capsys.readouterr().err
    own = tmp_path / "states" / A / WINDOWS
    own.write_bytes(own.read_bytes()[:-1] + b"x")
    assert store.verify(A) is False
    assert store.windows(A) == {}
