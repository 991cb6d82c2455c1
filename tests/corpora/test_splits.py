"""A split is one stream, however many shards hold it, or several that are drawn from by their weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.corpora.batches import Batches
from harness.corpora.splits import MixedSplit, Split
from harness.program.mixture import assign, counts, integer_weights, window_at
from harness.store.history import Measure

SLIMPAJAMA = {  # per cent, from the configuration of the authors of 2403.08763
    "CommonCrawl": 52.087671651,
    "C4": 26.688499472,
    "Github": 5.224141056,
    "Arxiv": 4.428184641,
    "Book": 4.203131326,
    "Wikipedia": 3.997293125,
    "StackExchange": 3.371078725,
}


def stream(first: int, tokens: int) -> Split:
    numbers = np.arange(first, first + tokens, dtype=np.uint32)
    return Split((numbers,), Path("documents-train.bin"), tokens=tokens, documents=1, bytes=tokens)


def slimpajama(windows: int = 400) -> tuple[MixedSplit, np.ndarray]:
    """Parts of `windows` windows of 4 tokens, more or less, whose tokens are all different; and their shares."""
    weights = integer_weights({name: percent / 100 for name, percent in SLIMPAJAMA.items()})
    parts = tuple(stream(100_000 * j, 4 * (windows + 13 * j) + 1) for j in range(len(weights)))
    values = tuple(weights.values())
    return MixedSplit(tuple(weights), parts, values), np.array(values) / sum(values)


@pytest.mark.parametrize("cuts", [[], [400], [1, 3, 100, 101, 950]])
def test_windows_of_any_shards_are_those_of_one(cuts: list[int]) -> None:
    numbers = np.arange(1000, dtype=np.uint16)
    split = Split(tuple(np.split(numbers, cuts)), Path("documents-train.bin"), tokens=1000, documents=1, bytes=1000)
    assert split.windows(9) == 111
    windows = np.array([110, 0, 44])
    assert (split.read(windows, 9) == windows[:, None] * 9 + np.arange(10)).all()


def test_a_window_needs_its_last_target() -> None:
    split = stream(0, 10)
    assert split.windows(9) == 1
    assert split.windows(10) == 0


def test_a_split_of_one_part_draws_as_the_mixture_says() -> None:
    drawn = np.array([0, 5, 110, 111, 300])
    expected = window_at(drawn, 111, order=3, corpus="key")
    found = stream(0, 1000).order(drawn, 9, 3, "key")
    assert (np.stack(found) == np.stack(expected)).all()


def test_each_part_has_its_share_of_any_number_of_draws_to_less_than_one() -> None:
    """SlimPajama's seven weights, at each of 100,000 positions; the worst is .93 of a sequence."""
    mixed, shares = slimpajama()
    which = np.searchsorted(mixed._starts(4), mixed.order(np.arange(100_000), 4, 0, "key")[1], side="right") - 1
    realised = np.cumsum(which[:, None] == np.arange(7), axis=0)
    error = np.abs(realised - np.arange(1, 100_001)[:, None] * shares).max()
    assert error < 1


def test_each_part_has_its_share_inside_a_mixture_with_replay() -> None:
    """5 % replay of another corpus and a cursor that goes on from a phase of another mixture."""
    mixed, shares = slimpajama()
    corpora: Any = {"docs": SimpleNamespace(train=stream(0, 4001)), "slim": SimpleNamespace(train=mixed)}

    def phase(docs: int, slim: int) -> Any:
        of = [
            SimpleNamespace(corpus="docs", weight=docs, order=0),
            SimpleNamespace(corpus="slim", weight=slim, order=0),
        ]
        return SimpleNamespace(sources=of, batch=7, steps=300, seq_len=4)

    phases = [phase(1, 1), phase(1, 19)]
    drawn = int(counts([1, 1], 300 * 7)[1])
    program: Any = SimpleNamespace(
        phases=phases,
        cursors=[{}, {"docs": 300 * 7 - drawn, "slim": drawn}],
        phase_at=lambda position: divmod(position, 300),
    )
    batches = Batches(program, corpora)
    starts, seen, total = mixed._starts(4), np.zeros(7), 0
    for position in range(600):
        source, _, window = batches.draws(position)
        parts = np.searchsorted(starts, window[source == 1], side="right") - 1
        for part in parts:
            seen[part] += 1
            total += 1
            assert np.abs(seen - total * shares).max() < 1
    assert total == drawn + counts([1, 19], 2100)[1]


def test_parts_keep_their_own_windows_whatever_the_weights_are() -> None:
    """Each epoch of a part reads every window of it once; a thinner share reads a prefix of what a fuller one reads."""
    parts = (stream(0, 41), stream(1000, 81))

    def of_first(weights: tuple[int, int]) -> list[int]:
        _, window = MixedSplit(("a", "b"), parts, weights).order(np.arange(40), 4, 0, "key")
        return [int(w) for w in window if w < 10]

    assert sorted(of_first((1, 1))[:10]) == list(range(10))
    assert of_first((1, 3)) == of_first((1, 1))[: len(of_first((1, 3)))]
    epoch, window = MixedSplit(("a", "b"), parts, (1, 1)).order(np.arange(60), 4, 0, "key")
    assert epoch[window < 10].max() == 2
    assert epoch[window >= 10].max() == 1
    assert MixedSplit(("a", "b"), parts, (1, 1)).epochs(60, 4) == 3


def test_windows_of_parts_are_read_from_their_part() -> None:
    mixed, _ = slimpajama(10)
    starts = mixed._starts(4)
    wanted = np.array([int(starts[3]), 0, int(starts[7]) - 1, int(starts[1])])
    found = mixed.read(wanted, 4)
    assert found[:, 0].tolist() == [300_000, 0, 600_000 + 4 * (10 + 13 * 6 - 1), 100_000]
    assert (np.diff(found) == 1).all()
    assert mixed.windows(4) == sum(10 + 13 * j for j in range(7))


def test_without_weights_all_windows_are_one_pool() -> None:
    mixed = MixedSplit(("a", "b"), (stream(0, 41), stream(1000, 81)), None)
    epoch, window = mixed.order(np.arange(30), 4, 0, "key")
    assert sorted(window) == list(range(30))
    assert not epoch.any()
    assert mixed.epochs(45, 4) == 1.5


def test_measured_windows_are_weighted_as_the_draws_are() -> None:
    mixed, shares = slimpajama()
    windows = mixed.measured(Measure("slim", "key", 200, 4))
    per_part = np.bincount(np.searchsorted(mixed._starts(4), windows, side="right") - 1, minlength=7)
    assert per_part.tolist() == counts(mixed.weights or (), 200).tolist()
    assert np.abs(per_part - 200 * shares).max() < 1
    assert len(set(windows.tolist())) == 200
    with pytest.raises(InputError, match=r"of slim would get no window"):
        mixed.measured(Measure("slim", "key", 3, 4))
    alone = mixed.part("C4").measured(Measure("slim.C4", "key", 10, 4))
    assert alone.tolist() == Measure("slim.C4", "key", 10, 4).indices(426)
    with pytest.raises(InputError, match=r"slim\.C4 has 426 windows"):
        mixed.measured(Measure("slim", "key", 2000, 4))
    available = np.diff(mixed._starts(4))
    most = mixed.measured(Measure("slim", "key", 10**6, 4, least=200))  # as many as the weights allow
    assert 200 < len(most) == len(set(most.tolist()))
    per_part = np.bincount(np.searchsorted(mixed._starts(4), most, side="right") - 1, minlength=7)
    assert per_part.tolist() == counts(mixed.weights or (), len(most)).tolist()
    assert (counts(mixed.weights or (), len(most) + 1) > available).any()


def test_the_draws_are_those_that_assign_gives() -> None:
    mixed, _ = slimpajama()
    window = mixed.order(np.arange(900, 1000), 4, 0, "key")[1]
    which = np.searchsorted(mixed._starts(4), window, side="right") - 1
    assert (which == assign(mixed.weights or (), 900, 1000)).all()
