"""Windows that are contained in a training split are found, and no others: against brute force, and planted ones."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from harness.core.errors import CorruptError
from harness.corpora.splits import MixedSplit, Split
from harness.measure import overlap as module
from harness.measure.overlap import DIRTY, N_GRAM, PLACES, Overlap, hashes_of, overlap_from, overlaps, to_npz

VOCABULARY, END = 2048, 0
Tokens = npt.NDArray[np.int64]


def split(tokens: Tokens, cuts: tuple[int, ...] = ()) -> Split:
    shards = tuple(np.split(tokens.astype(np.uint16), cuts))
    return Split(shards, Path("documents-train.bin"), tokens=len(tokens), documents=1, bytes=len(tokens))


def text(generator: np.random.Generator, tokens: int, idioms: int = 40) -> Tokens:
    """Documents of words as frequent as words are, with idioms of 4 to 30 tokens that all of them use."""
    found = (generator.zipf(1.2, tokens) % (VOCABULARY - 1)).astype(np.int64) + 1
    phrases = [np.random.default_rng(k).integers(1, VOCABULARY, 4 + k % 27) for k in range(idioms)]
    for at in generator.integers(0, tokens - 40, tokens // 200):
        phrase = phrases[generator.integers(idioms)]
        found[at : at + len(phrase)] = phrase
    found[generator.integers(0, tokens, tokens // 300)] = END
    return found


def windows_of(tokens: Tokens, seq_len: int) -> Tokens:
    number = (len(tokens) - 1) // seq_len
    found: Tokens = tokens[np.arange(number)[:, None] * seq_len + np.arange(seq_len + 1)]
    return found


def brute(train: Tokens, windows: Tokens, n: int = N_GRAM) -> npt.NDArray[np.float64]:
    """Share of the distinct n-grams inside documents that occur, by sets of tuples."""
    there = {tuple(train[i : i + n].tolist()) for i in range(len(train) - n + 1)}
    shares = []
    for window in windows.tolist():
        grams = {tuple(window[i : i + n]) for i in range(len(window) - n + 1) if END not in window[i : i + n - 1]}
        shares.append(len(grams & there) / len(grams) if grams else 0.0)
    return np.array(shares)


def test_shares_and_places_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    train, held_out = text(generator, 20_000), text(generator, 8_000)
    windows = windows_of(held_out, 64)
    for row in range(0, len(windows), 3):  # contained to any extent
        at, length = generator.integers(0, len(train) - 65), generator.integers(30, 66)
        windows[row, :length] = train[at : at + length]
    expected = brute(train, windows)
    assert 5 < (expected >= DIRTY).sum() < len(windows) / 3
    for block, part in ((1 << 16, 1 << 24), (100, 1000)):  # n-grams lie across blocks, parts and shards
        monkeypatch.setattr(module, "_BLOCK", block)
        monkeypatch.setattr(module, "_PART", part)
        for cuts in ((), (1, 777, 778, 10_000)):
            (found,) = overlaps(split(train, cuts), [windows], END, threads=2)
            np.testing.assert_allclose(found.shares, expected, atol=1e-6)
            assert np.array_equal(found.dirty, expected >= DIRTY)
            check_places(found, train, windows)


def check_places(found: Overlap, train: Tokens, windows: Tokens) -> None:
    """Of the dirty windows every place holds an n-gram of its window, and the shares follow from them."""
    owner = np.repeat(found.window, found.found)
    for window, place in zip(owner.tolist(), found.places.tolist(), strict=True):
        gram = train[place : place + N_GRAM].tolist()
        row = windows[window].tolist()
        assert any(row[i : i + N_GRAM] == gram for i in range(len(row) - N_GRAM + 1))
    for window in np.flatnonzero(found.dirty).tolist():
        own = found.found[found.window == window]
        assert (own > 0).mean() == pytest.approx(found.shares[window], abs=1e-6)
    assert set(found.window.tolist()) == set(np.flatnonzero(found.dirty).tolist())


def test_of_an_ngram_that_occurs_often_the_first_places_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 500)
    monkeypatch.setattr(module, "_PART", 1500)
    phrase = np.arange(1, 18)
    train = np.concatenate([np.append(phrase, 100 + k) for k in range(200)])
    (found,) = overlaps(split(train), [phrase[None]], END, threads=2)
    assert found.found.tolist() == [PLACES] * 5
    assert found.more.all()
    for gram in found.places.reshape(5, PLACES):
        assert (np.diff(gram) == 18).all()
        assert gram[0] < 5
    (once,) = overlaps(split(train[:36]), [phrase[None]], END)
    assert not once.more.any()
    assert once.found.tolist() == [2] * 5


def test_a_window_of_several_documents_is_judged_inside_them() -> None:
    """The same documents beside others: what goes on from one into the next tells nothing."""
    generator = np.random.default_rng(3)
    documents = [np.append(generator.integers(1, VOCABULARY, 20), END) for _ in range(300)]
    train = np.concatenate(documents)
    shuffled = np.concatenate([documents[k] for k in generator.permutation(300)])
    (found,) = overlaps(split(train), [windows_of(shuffled, 64)], END)
    assert found.dirty.all()
    tiny = np.concatenate([np.append(generator.integers(1, VOCABULARY, 5), END) for _ in range(200)])
    (none,) = overlaps(split(tiny), [windows_of(tiny, 64)], END)  # no document has 13 tokens: nothing is called
    assert not none.shares.any()


def test_windows_of_other_lengths_are_looked_at_in_one_call() -> None:
    generator = np.random.default_rng(4)
    train = text(generator, 5_000, idioms=1)
    short, long = windows_of(train[100:900], 8), windows_of(train[1:2_000], 50)
    found = overlaps(split(train), [short, long, windows_of(text(generator, 900), 8)], END)
    assert found[0].dirty.sum() >= len(short) - (short[:, :-1] == END).any(axis=1).sum() > 50  # whole windows
    assert found[1].dirty.all()
    assert found[2].dirty.mean() < 0.05
    assert overlaps(split(train[:5]), [long], END)[0].shares.sum() == 0  # nothing as long to train on
    assert overlaps(split(train), [], END) == []


def test_parts_are_one_stream() -> None:
    generator = np.random.default_rng(5)
    a, b = text(generator, 3_000), text(generator, 5_000)
    mixed: Any = MixedSplit(("a", "b"), (split(a), split(b, (700,))), (1, 3))
    assert np.array_equal(mixed.span(2_900, 3_200), np.concatenate([a[2_900:], b[:200]]))
    (found,) = overlaps(mixed, [windows_of(b[:1_000], 50)], END)
    assert found.dirty.all()
    windows = mixed.windows_at(found.places, 50)
    assert (windows >= mixed.parts[0].windows(50)).any()
    inside = windows >= 0
    tokens = mixed.read(windows[inside], 50)
    first = np.concatenate([a, b])[found.places[inside]]
    assert (tokens == first[:, None]).any(axis=1).all()  # the window holds the token that stands at the place
    assert mixed.windows_at(np.array([2_999, 7_999]), 50).tolist() == [-1, -1]  # behind the last whole window
    assert mixed.windows_at(np.array([2_949, 3_000]), 50).tolist() == [58, 59]


def test_equal_ngrams_have_equal_hashes_and_others_do_not() -> None:
    generator = np.random.default_rng(6)
    tokens = generator.integers(0, 3, 4_000)  # few ids: many equal ones, and many that differ in one place
    for n in (1, 2, 5, 8, 13):
        grams = np.lib.stride_tricks.sliding_window_view(tokens, n)
        assert len(np.unique(hashes_of(tokens, n))) == len(np.unique(grams, axis=0))
        assert np.array_equal(hashes_of(grams.copy(), n)[:, 0], hashes_of(tokens, n))


def test_a_file_is_read_as_it_was_written_and_a_damaged_one_is_refused() -> None:
    train = np.arange(1, 500)
    (found,) = overlaps(split(train), [windows_of(train, 32)], END)
    content = to_npz(found)
    assert to_npz(overlap_from(content)) == content
    for damaged in (b"", content[:-30], content[:200] + b"x" + content[201:], b"PK" + content[2:50]):
        with pytest.raises(CorruptError):
            overlap_from(damaged)


def test_memory_does_not_grow_with_what_is_trained_on() -> None:
    generator = np.random.default_rng(8)
    windows, peaks = windows_of(text(generator, 20_000), 128), []
    for tokens in (200_000, 2_000_000):
        train = split(generator.integers(1, VOCABULARY, tokens))
        tracemalloc.start()
        overlaps(train, [windows], END, threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 30e6


# --- planted ---------------------------------------------------------------------------------------------------------

WINDOWS, SEQ_LEN = 2_000, 128


def planted(seed: int, share: float) -> tuple[Tokens, Tokens, npt.NDArray[np.bool_]]:
    """(training tokens, windows, which are planted). A planted one stands somewhere inside the training tokens, whole,
    or but for its last tenth, or with one token changed; as many others share up to half with it, and all share idioms.
    """
    generator = np.random.default_rng([seed, int(1000 * share)])
    train, windows = text(generator, 400_000), windows_of(text(generator, WINDOWS * SEQ_LEN + 1), SEQ_LEN)
    number = int(share * WINDOWS)
    chosen = generator.choice(WINDOWS, 2 * number, replace=False)
    for k, row in enumerate(chosen):
        at = generator.integers(0, len(train) - SEQ_LEN - 1)
        length = [SEQ_LEN + 1, SEQ_LEN - 12, SEQ_LEN + 1][k % 3] if k < number else generator.integers(10, SEQ_LEN // 2)
        begin = 0 if k < number else generator.integers(0, SEQ_LEN // 2)
        windows[row, begin : begin + length] = train[at : at + length]
        if k < number and k % 3 == 2:
            windows[row, generator.integers(SEQ_LEN + 1)] = generator.integers(1, VOCABULARY)
    truth = np.zeros(WINDOWS, np.bool_)
    truth[chosen[:number]] = True
    return train, windows, truth


def check_planted(seed: int) -> None:
    for share in (0.01, 0.05):
        train, windows, truth = planted(seed, share)
        (found,) = overlaps(split(train), [windows], END)
        recall, precision = (found.dirty & truth).sum() / truth.sum(), (found.dirty & truth).sum() / found.dirty.sum()
        assert recall >= 0.95, (seed, share)
        assert precision >= 0.95, (seed, share)
    train, windows, _ = planted(seed, 0.0)
    (found,) = overlaps(split(train), [windows], END)
    assert found.dirty.sum() <= WINDOWS / 1000


def test_planted_windows_are_found() -> None:
    check_planted(0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_planted_windows_are_found_in_every_corpus(seed: int) -> None:
    check_planted(seed)


def test_looking_takes_the_windows_that_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask belongs to the windows in the order in which their losses are kept."""
    generator = np.random.default_rng(7)
    held_out = split(text(generator, 2_001))
    measure: Any = SimpleNamespace(part="", seq_len=50)
    numbers = np.array([3, 30, 7])
    corpus: Any = SimpleNamespace(validation=held_out)
    monkeypatch.setattr(Split, "measured", lambda *_: numbers)
    assert np.array_equal(module._windows(measure, corpus), held_out.read(numbers, 50))
