"""Which corpus, and which window of it, goes into which slot of the stream: pure functions of position.

Numpy at most. A phase draws its sequences from k corpora with fixed weights. `counts` says how many of the phase's
first n sequences came from each (so a resume needs no loader state), `assign` which corpus each slot draws from,
`window_at` which window the i-th draw of a corpus is. All of them cost the same at any position: nothing is iterated to
get there and no permutation is held in memory. They are vectorised: ask for many steps at a time.

    weights = integer_weights({"docs": 0.05, "python": 0.95})         # {"docs": 1, "python": 19}
    assign(list(weights.values()), 4000, 4032)                          # 32 slots -> index of the corpus
    window_at(numpy.arange(200, 203), 25_000, order=0, corpus="docs")   # -> epochs, windows
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from harness.core.errors import InputError

Integers: TypeAlias = npt.NDArray[np.int64]
Tree: TypeAlias = "int | tuple[Tree, Tree]"  # an index of a corpus, or (lighter, heavier)

ORIGINAL = -1
"""The order of a corpus that has one of its own: window i is drawn i-th, in every epoch. Seeds are never negative."""
MOST_CORPORA = 12  # the search for a tree takes 3^k/2 steps: 0.3 s at 12, paid once per mixture and process
_ROUNDS = 8
_MASK64 = (1 << 64) - 1


def integer_weights(weights: Mapping[str, float]) -> dict[str, int]:
    """Mixture weights as exact integers over their sum, sorted by name; corpora of weight zero are dropped.

    Each weight counts as the decimal number that its 9 significant digits write. Raises InputError for a weight that
    is negative or not finite, and unless the weights sum to 1 within 1e-6.
    """
    exact = {}
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(f"mixture.{name}", weight, "is not a share", "give a number between 0 and 1")
        exact[name] = Fraction(f"{weight:.9g}")
    total = math.fsum(weights.values())
    if not abs(total - 1) <= 1e-6:
        raise InputError("mixture", dict(weights), f"sums to {total:.9g}", "give shares that sum to 1")
    scale = math.lcm(*(share.denominator for share in exact.values()))
    integers = {name: int(share * scale) for name, share in sorted(exact.items()) if share}
    divisor = math.gcd(*integers.values())
    return {name: integer // divisor for name, integer in integers.items()}


def counts(weights: Sequence[int], n: int | npt.NDArray[Any]) -> Integers:
    """Sequences drawn from each corpus among the first n of a phase: shape of n, then k.

    Sums to n, never falls as n grows, and is always less than one sequence away from n * weight / sum. The corpora are
    the leaves of a binary tree; at each node with m sequences the lighter child (the first, between equals) gets
    m * its share, rounded half up, and the heavier one the rest. With two corpora of shares a <= b that is
    floor(n * a + 1/2) and the remainder. Raises InputError where no tree keeps the bound (see `_tree`).
    """
    weights = tuple(weights)
    drawn: npt.NDArray[Any] = np.asarray(n, dtype=np.int64)
    out = np.empty((*drawn.shape, len(weights)), dtype=np.int64)
    if 2 * int(drawn.max(initial=0)) * sum(weights) + sum(weights) >= 2**63:
        drawn = drawn.astype(object)  # Python's integers: slower, and never overflow
    _share_out(_tree(weights), weights, drawn, out)
    return out


def fewest(weights: Sequence[int]) -> int:
    """How many sequences it takes until each corpus of weights above zero has one."""
    given = [weight for weight in weights if weight]
    enough = -(-sum(given) // min(given))  # its count is then above n * weight / sum - 1 >= 0
    return 1 + bisect_left(range(1, enough), 1, key=lambda n: int(counts(given, n).min()))


def require_every_part(corpus: str, weights: Mapping[str, int], windows: int) -> None:
    """InputError unless so many measured windows hold some of each part: their loss were one of another mixture."""
    names, integers = list(weights), list(weights.values())
    shares = counts(integers, windows)
    if none := [name for name, weight, share in zip(names, integers, shares, strict=True) if weight and not share]:
        why = f"{', '.join(none)} of {corpus} would get no window, and its loss not be that of the mixture"
        raise InputError("evaluate.windows", windows, why, f"give at least {fewest(integers)}")


def assign(weights: Sequence[int], start: int, stop: int) -> Integers:
    """The index of the corpus that each slot in [start, stop) of a phase draws from: the one whose count grows."""
    assert 0 <= start <= stop
    growth: Integers = np.diff(counts(weights, np.arange(start, stop + 1)), axis=0)
    which: Integers = growth.argmax(axis=1).astype(np.int64)
    return which


def window_at(drawn: npt.NDArray[Any], size: int, *, order: int, corpus: str) -> tuple[Integers, Integers]:
    """(epoch, window) of draws of a corpus with `size` windows, counted from its cursor's restart (any shape of ints).

    Every epoch visits every window once, in its own permutation, which depends on `order`, the corpus's name and the
    epoch alone: not on the mixture, so the windows of a thinner stream are a prefix of those of a fuller one.
    `ORIGINAL` permutes nothing.
    """
    drawn = np.asarray(drawn, dtype=np.int64)
    epoch, place = np.divmod(drawn, size)
    if order == ORIGINAL:
        return epoch, place
    window = np.empty_like(place)
    for number in np.unique(epoch):
        here = epoch == number
        window[here] = permute(place[here], size, _key(order, corpus, int(number)))
    return epoch, window


def permute(index: npt.NDArray[Any], size: int, key: int) -> Integers:
    """Where each index (any shape, in range(size)) goes under the permutation of range(size) that the 64-bit key names.

    A Feistel network permutes the next power of two; what lands outside range(size) walks on along its cycle until it
    lands inside (less than two visits on average).
    """
    index = np.asarray(index)
    assert index.size == 0 or (index.min() >= 0 and index.max() < size)
    out = index.reshape(-1).astype(np.uint64)
    if size < 2:
        return out.astype(np.int64).reshape(index.shape)
    bits = (size - 1).bit_length()
    keys = _round_keys(key)
    out = _feistel(out, bits, keys)
    outside = np.flatnonzero(out >= size)
    while outside.size:
        moved = _feistel(out[outside], bits, keys)
        out[outside] = moved
        outside = outside[moved >= size]
    return out.astype(np.int64).reshape(index.shape)


def _share_out(tree: Tree, weights: tuple[int, ...], drawn: npt.NDArray[Any], out: Integers) -> None:
    if isinstance(tree, int):
        out[..., tree] = drawn
        return
    light, heavy = tree
    part, whole = _weight(light, weights), _weight(tree, weights)
    lighter = (2 * drawn * part + whole) // (2 * whole)
    _share_out(light, weights, lighter, out)
    _share_out(heavy, weights, drawn - lighter, out)


def _weight(tree: Tree, weights: tuple[int, ...]) -> int:
    return weights[tree] if isinstance(tree, int) else _weight(tree[0], weights) + _weight(tree[1], weights)


@lru_cache(maxsize=4096)
def _tree(weights: tuple[int, ...]) -> Tree:
    """The tree that keeps every corpus's count within less than one of its share, with the widest margin.

    Rounding at a node moves a child by up to 1/2 and passes on the parent's own error in proportion:
    e(child) <= 1/2 + w(child)/w(parent) e(parent), e(root) = 0, and each leaf needs e < 1. Solved from the leaves up:
    tolerance(leaf) = 1; a set of corpora tolerates, for its best split, the least of
    (tolerance(child) - 1/2) w(parent)/w(child). The tree serves if the whole tolerates more than zero. (A Huffman tree
    fails already at weights 55, 20, 20, 5.) Up to four corpora always have one; a few very uneven mixtures of
    five and more have none.
    """
    k = len(weights)
    assert k > 0
    assert all(weight > 0 for weight in weights)
    if k > MOST_CORPORA:
        raise InputError("mixture", f"{k} corpora", f"is more than {MOST_CORPORA}", "join some into one corpus")
    order = sorted(range(k), key=lambda i: (weights[i], i))  # the tree follows the weights, not the corpora's names
    total = [0] * (1 << k)
    tolerance = [1.0] * (1 << k)
    best = [0] * (1 << k)
    for group in range(1, 1 << k):
        lowest = group & -group
        total[group] = total[group ^ lowest] + weights[order[lowest.bit_length() - 1]]
        if group == lowest:
            continue
        tolerance[group] = -math.inf
        rest = part = group ^ lowest
        while part:  # every split once: `part` never holds the lowest member
            other = group ^ part
            bound = min(
                (tolerance[part] - 0.5) * total[group] / total[part],
                (tolerance[other] - 0.5) * total[group] / total[other],
            )
            if bound > tolerance[group]:
                tolerance[group], best[group] = bound, part
            part = (part - 1) & rest
    if not tolerance[-1] > 1e-9:
        shares = ", ".join(f"{weight / total[-1]:.4g}" for weight in weights)
        why = "cannot be drawn so that every corpus is sure to stay within one sequence of its share"
        raise InputError("mixture", shares, why, "join the smallest corpora into one, or drop them")

    def build(group: int) -> Tree:
        if group & (group - 1) == 0:
            return order[group.bit_length() - 1]
        sides = (best[group], group ^ best[group])
        light, heavy = sorted(sides, key=lambda side: (total[side], side & -side))
        return build(light), build(heavy)

    return build((1 << k) - 1)


def _feistel(x: npt.NDArray[np.uint64], bits: int, keys: tuple[np.uint64, ...]) -> npt.NDArray[np.uint64]:
    """A bijection of range(2^bits): halves take turns in being scrambled by a function of the other."""
    width = np.uint64((bits + 1) // 2)
    low_mask, high_mask = np.uint64((1 << int(width)) - 1), np.uint64((1 << bits // 2) - 1)
    low, high = x & low_mask, x >> width
    for number, key in enumerate(keys):
        if number % 2:
            low = low ^ (_scramble(high, key) & low_mask)
        else:
            high = high ^ (_scramble(low, key) & high_mask)
    return (high << width) | low


def _scramble(x: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    x = (x ^ key) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2^64
    x = (x ^ (x >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return x ^ (x >> np.uint64(32))


@lru_cache(maxsize=1024)
def _round_keys(key: int) -> tuple[np.uint64, ...]:
    digest = hashlib.sha512((key & _MASK64).to_bytes(8, "little")).digest()
    assert len(digest) == 8 * _ROUNDS
    return tuple(np.uint64(int.from_bytes(digest[8 * i : 8 * i + 8], "little")) for i in range(_ROUNDS))


@lru_cache(maxsize=1024)
def _key(order: int, corpus: str, epoch: int) -> int:
    """The 64-bit key of an epoch's permutation; hashlib, since Python's own hash() changes from process to process."""
    text = json.dumps(["window order", order, corpus, epoch])
    return int.from_bytes(hashlib.sha256(text.encode("ascii")).digest()[:8], "little")
