"""What a run has read by a position: as its batches say, sequence by sequence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.corpora.batches import Batches
from harness.corpora.splits import MixedSplit, Split
from harness.measure.overlap import DIRTY, overlaps
from harness.plan.exposure import Exposure, read_by
from harness.program.program import Adam, Phase, Program, Scratch, Source
from harness.program.schedule import Constant
from harness.program.shape import ModelShape
from harness.store.store import Store

SEQ_LEN = 16
ADAM = Adam(0.9, 0.95, 1e-8, 0.1, 1.0)
SHAPE = Scratch(ModelShape(1, 16, 2, 300, SEQ_LEN), 0)


def split(first: int, tokens: int) -> Split:
    numbers = np.arange(first, first + tokens, dtype=np.uint32)
    return Split((numbers,), Path("documents-train.bin"), tokens=tokens, documents=1, bytes=tokens)


def phase(steps: int, *sources: Source) -> Phase:
    return Phase(steps, Constant(0.01), sources, batch=4, seq_len=SEQ_LEN, optimizer=ADAM)


# A base, a warm-up and a decay with replay that begins again, and a phase that goes on; two epochs of the first corpus.
PHASES = (
    phase(7, Source("up", 1, 0)),
    phase(3, Source("down", 3, 1), Source("up", 1, 0, restart=True)),
    phase(20, Source("down", 19, 1), Source("up", 1, 0)),
    phase(9, Source("up", 1, 5)),
)
PROGRAM = Program(SHAPE, PHASES)
TRAIN: dict[str, Any] = {
    "up": split(0, 20 * SEQ_LEN + 5),
    "down": MixedSplit(("a", "b"), (split(10_000, 50 * SEQ_LEN + 3), split(20_000, 90 * SEQ_LEN + 1)), (1, 3)),
}


@pytest.mark.parametrize("position", [0, 1, 7, 8, 10, 25, 39])
def test_what_is_read_is_what_the_batches_hold(position: int) -> None:
    corpora: Any = {key: SimpleNamespace(train=train) for key, train in TRAIN.items()}
    batches = Batches(PROGRAM, corpora)
    drawn: dict[str, set[int]] = {key: set() for key in TRAIN}
    for step in range(position):
        index, _ = PROGRAM.phase_at(step)
        sources, _, windows = batches.draws(step)
        for j, window in zip(sources.tolist(), windows.tolist(), strict=True):
            drawn[PHASES[index].sources[j].corpus].add(window)
    for key, train in TRAIN.items():
        places = np.arange(train.tokens)
        expected = np.isin(train.windows_at(places, SEQ_LEN), list(drawn[key]))
        assert np.array_equal(read_by(PROGRAM, position, key, train, places), expected)
        inputs = train.read(np.array(sorted(drawn[key]), np.int64), SEQ_LEN)[:, :-1] if drawn[key] else np.empty(0)
        assert set(train.span(0, train.tokens)[expected].tolist()) == set(np.ravel(inputs).astype(int).tolist())


def test_a_dirty_window_is_read_with_the_windows_that_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, exposure = TRAIN["up"], Exposure(Store(tmp_path))
    numbers = np.arange(19)
    found = overlaps(train, [train.read(numbers, SEQ_LEN)], -1)[0]
    assert found.dirty.all()
    monkeypatch.setattr("harness.plan.exposure.program_of", lambda _: PROGRAM)
    monkeypatch.setattr(exposure, "overlaps", lambda *_: {"up": found})
    monkeypatch.setattr(exposure, "_corpus", lambda _: SimpleNamespace(train=train))
    for position in (0, 2, 7):
        read, perhaps = exposure.read({}, "hash", position)
        _, drawn = train.order(np.arange(4 * position), SEQ_LEN, 0, "up")
        grams = [[first // SEQ_LEN for first in range(n * SEQ_LEN, n * SEQ_LEN + 5)] for n in numbers]
        expected = [np.isin(windows, drawn).mean() >= DIRTY for windows in grams]
        assert read.tolist() == expected
        assert perhaps == 0
    found.more[:] = True  # further places that nobody kept
    read, perhaps = exposure.read({}, "hash", 2)
    assert perhaps == (~read).sum() > 0
    assert exposure.read({}, "hash", 0)[1] == 0  # nothing was read yet
