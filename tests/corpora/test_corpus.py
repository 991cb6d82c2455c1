"""A split is one stream, however many shards hold it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.corpora.corpus import Split


@pytest.mark.parametrize("cuts", [[], [400], [1, 3, 100, 101, 950]])
def test_windows_of_any_shards_are_those_of_one(cuts: list[int]) -> None:
    stream = np.arange(1000, dtype=np.uint16)
    split = Split(tuple(np.split(stream, cuts)), Path("documents-train.bin"), tokens=1000, documents=1, bytes=1000)
    assert split.windows(9) == 111
    windows = np.array([110, 0, 44])
    assert (split.read(windows, 9) == windows[:, None] * 9 + np.arange(10)).all()


def test_a_window_needs_its_last_target() -> None:
    split = Split((np.arange(10, dtype=np.uint16),), Path("documents-train.bin"), tokens=10, documents=1, bytes=10)
    assert split.windows(9) == 1
    assert split.windows(10) == 0
