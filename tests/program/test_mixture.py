"""Exact mixtures and permutations: what replay arms, resumes and their comparisons rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.program.mixture import MOST_CORPORA, assign, counts, integer_weights, permute, window_at


def check_bound(weights: Sequence[int], n: np.ndarray) -> None:
    """Sums, and less than one sequence from the share, in exact arithmetic."""
    drawn = counts(weights, n)
    assert drawn.dtype == np.int64
    np.testing.assert_array_equal(drawn.sum(axis=-1), n)
    total = sum(weights)
    off = drawn.astype(object) * total - n.astype(object)[:, None] * np.array(weights, dtype=object)
    assert (abs(off) < total).all()


# ---- weights


def test_weights_become_the_smallest_integers() -> None:
    assert integer_weights({"python": 0.95, "docs": 0.05}) == {"docs": 1, "python": 19}
    assert integer_weights({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}) == {"a": 1, "b": 1, "c": 1}
    assert integer_weights({"a": 1.0}) == {"a": 1}
    assert integer_weights({"a": 1, "b": 0.0}) == {"a": 1}
    assert integer_weights({"a": 0.1 + 0.2, "b": 0.7}) == {"a": 3, "b": 7}


def test_weights_are_exact_to_nine_digits_and_sorted_by_name() -> None:
    config = {"cc": 52.087671651, "c4": 26.688499472, "github": 5.224141056, "arxiv": 4.428184641}
    config |= {"book": 4.203131326, "wikipedia": 3.997293125, "stack": 3.371078725}
    integers = integer_weights({name: weight / 100 for name, weight in config.items()})
    assert list(integers) == sorted(config)
    total = sum(integers.values())
    assert math.gcd(*integers.values()) == 1
    for name, weight in config.items():
        assert Fraction(integers[name], total) == pytest.approx(Fraction(f"{weight / 100:.9g}"), rel=1e-6)
    check_bound(list(integers.values()), np.arange(10**8, 10**8 + 2000))


@pytest.mark.parametrize(
    "bad",
    [
        {"a": 0.5, "b": 0.6},
        {"a": 0.5, "b": 0.49999},
        {"a": -0.1, "b": 1.1},
        {"a": float("nan"), "b": 1.0},
        {"a": float("inf")},
        {"a": 0.0},
        {},
    ],
)
def test_what_is_no_mixture_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match="mixture"):
        integer_weights(bad)


# ---- counts


def test_one_percent_of_batches_of_four_is_exact() -> None:
    """1 % of 4 sequences is none; over 25 batches it is exactly one."""
    weights = list(integer_weights({"docs": 0.01, "python": 0.99}).values())
    batches = np.diff(counts(weights, np.arange(0, 4 * 25 * 40 + 1, 4)), axis=0)
    assert batches.sum(axis=1).tolist() == [4] * 1000
    assert set(batches[:, 0]) == {0, 1}
    assert batches[:, 0].reshape(40, 25).sum(axis=1).tolist() == [1] * 40


def test_two_corpora_round_the_lighter_one_half_up() -> None:
    n = np.arange(1000)
    np.testing.assert_array_equal(counts([3, 7], n)[:, 0], (3 * n + 5) // 10)
    np.testing.assert_array_equal(counts([7, 3], n)[:, 1], (3 * n + 5) // 10)
    np.testing.assert_array_equal(counts([1, 1], n)[:, 0], (n + 1) // 2)


def test_one_corpus_gets_everything_and_shapes_are_kept() -> None:
    assert counts([1], 7).tolist() == [7]
    assert counts([1, 3], 8).tolist() == [2, 6]
    assert counts([1, 3], np.zeros((2, 3), dtype=np.int64)).shape == (2, 3, 2)


@pytest.mark.parametrize("k", range(2, 9))
def test_random_mixtures_are_never_off_by_one_and_never_fall(k: int) -> None:
    rng = np.random.default_rng(k)
    n = np.arange(5000)
    served = 0
    for _ in range(12):
        weights = [int(w) for w in np.maximum(1, rng.dirichlet([2.0] * k) * 1000)]
        try:
            drawn = counts(weights, n)
        except InputError:
            continue
        served += 1
        assert set(np.unique(np.diff(drawn, axis=0))) <= {0, 1}
        check_bound(weights, n)
        far = 10**12 + n[:500]
        check_bound(weights, far)
    assert served >= 11


@pytest.mark.parametrize("weights", [(55, 20, 20, 5), (40, 25, 20, 10, 5), (1, 999_999), (1, 2, 4, 8, 16), (1,) * 7])
def test_ordinary_mixtures_are_served(weights: tuple[int, ...]) -> None:
    check_bound(weights, np.arange(3 * min(sum(weights), 5000)))


def test_no_overflow_with_long_weights() -> None:
    weights = [123_456_789_123, 876_543_210_877]
    check_bound(weights, 10**11 + np.arange(50))


def test_a_mixture_that_cannot_keep_the_bound_is_refused() -> None:
    with pytest.raises(InputError, match="within one sequence"):
        counts([1, 30, 160, 340, 469], 10)
    with pytest.raises(InputError, match="corpora"):
        counts([1] * (MOST_CORPORA + 1), 10)


def test_counts_follow_the_weights_not_their_order() -> None:
    weights = [5, 11, 17, 31, 36]
    n = np.arange(500)
    for order in ([4, 2, 0, 1, 3], [1, 0, 4, 3, 2]):
        np.testing.assert_array_equal(counts([weights[i] for i in order], n), counts(weights, n)[:, order])


# ---- slots


def test_seeking_equals_streaming() -> None:
    weights = [2, 5, 13, 30]
    stream = assign(weights, 0, 2000)
    for start, stop in ((0, 4), (1, 2), (777, 1032), (1996, 2000), (5, 5)):
        np.testing.assert_array_equal(assign(weights, start, stop), stream[start:stop])
    for i in range(4):
        np.testing.assert_array_equal(np.cumsum(stream == i), counts(weights, np.arange(1, 2001))[:, i])


def test_golden_slots() -> None:
    assert assign([1, 3], 0, 12).tolist() == [1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1]
    assert assign([2, 3, 5, 7], 100, 120).tolist() == [1, 3, 3, 1, 2, 3, 2, 0, 3, 2, 1, 3, 3, 0, 2, 3, 2, 1, 3, 3]


# ---- permutations


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 31, 100, 255, 256, 257, 1000, 2**16 - 1, 2**16, 2**16 + 1])
def test_permute_is_a_bijection(size: int) -> None:
    for key in (0, 1, 2**64 - 1):
        assert np.array_equal(np.sort(permute(np.arange(size), size, key)), np.arange(size))


def test_permute_seeks() -> None:
    whole = permute(np.arange(1000), 1000, 5)
    np.testing.assert_array_equal(permute(np.array([[999, 0], [17, 500]]), 1000, 5), whole[[[999, 0], [17, 500]]])
    assert permute(np.array([], dtype=np.int64), 1000, 5).size == 0
    huge = permute(np.arange(100), 10**15, 5)
    assert len(set(huge.tolist())) == 100
    assert huge.max() < 10**15


def test_keys_give_unlike_permutations() -> None:
    orders = np.stack([permute(np.arange(1000), 1000, key) for key in range(64)])
    same = (orders[:, None] == orders[None]).mean(axis=2)[~np.eye(64, dtype=bool)]
    assert same.max() < 0.012  # a random pair shares one place in a thousand


@pytest.mark.parametrize("size", [6, 10, 100])
def test_every_place_is_equally_likely(size: int) -> None:
    keys = 4000
    places = np.stack([permute(np.arange(size), size, key) for key in range(keys)])
    for position in (0, size // 2, size - 1):
        seen = np.bincount(places[:, position], minlength=size)
        chi_square = ((seen - keys / size) ** 2 / (keys / size)).sum()
        assert chi_square < size - 1 + 5 * math.sqrt(2 * (size - 1))


def test_neighbours_are_scattered() -> None:
    order = permute(np.arange(20_000), 20_000, 3)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(np.arange(20_000), order)[0, 1]) < 0.03


def test_golden_permutation() -> None:
    """A change here changes the data order of every run there is."""
    assert permute(np.arange(10), 10, 0).tolist() == [8, 9, 0, 4, 6, 7, 2, 5, 3, 1]
    assert permute(np.arange(6), 10**6, 2**63 + 1).tolist() == [436645, 611510, 493367, 646633, 769119, 502766]
    epoch, window = window_at(np.array([0, 1, 2, 24_999, 25_000, 50_001]), 25_000, order=7, corpus="docs")
    assert epoch.tolist() == [0, 0, 0, 0, 1, 2]
    assert window.tolist() == [5099, 14012, 2039, 13496, 11544, 24106]


# ---- windows


def test_every_epoch_visits_every_window_once_in_its_own_order() -> None:
    epoch, window = window_at(np.arange(300), 100, order=0, corpus="docs")
    assert epoch.tolist() == [0] * 100 + [1] * 100 + [2] * 100
    passes = window.reshape(3, 100)
    assert all(sorted(one) == list(range(100)) for one in passes.tolist())
    assert len({tuple(one) for one in passes.tolist()}) == 3


def test_order_and_corpus_choose_the_permutation() -> None:
    draws = np.arange(200)
    kinds = {(0, "docs"), (1, "docs"), (0, "python"), (0, "0"), (-1, "docs")}
    assert len({tuple(window_at(draws, 200, order=o, corpus=c)[1].tolist()) for o, c in kinds}) == 5


def test_windows_seek_across_an_epochs_end() -> None:
    epochs, windows = window_at(np.arange(500), 77, order=3, corpus="a")
    epoch, window = window_at(np.arange(60, 400).reshape(2, 170), 77, order=3, corpus="a")
    np.testing.assert_array_equal(epoch.ravel(), epochs[60:400])
    np.testing.assert_array_equal(window.ravel(), windows[60:400])


def test_a_replay_arm_reads_a_prefix_of_the_pure_arms_windows() -> None:
    slots = assign([1, 19], 0, 400)
    mixed = window_at(np.arange((slots == 1).sum()), 1000, order=0, corpus="python")[1]
    pure = window_at(np.arange(400), 1000, order=0, corpus="python")[1]
    np.testing.assert_array_equal(mixed, pure[: len(mixed)])
