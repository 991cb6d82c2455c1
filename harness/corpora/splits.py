"""The tokens of one split of a corpus, as windows: one stream, or several that are drawn from by their weights.

Beneath `harness.corpora.corpus`. Which window the i-th draw is, is asked of the split and of nothing else
(`harness.corpora.batches`, `harness.measure.losses`), so that a corpus may have an order, or parts, of its own.

    split.read(np.array([0, 1]), seq_len=128)                       # int64 (2, 129)
    split.order(np.arange(32), 128, order=0, corpus=recipe.key)       # (epochs, windows) of the first 32 draws
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.core.errors import CorruptError, InputError
from harness.program.mixture import Integers, counts, require_every_part, window_at
from harness.store.history import Measure

DOCUMENT_DTYPE = np.dtype([("end", "<i8"), ("file", "<u4"), ("line", "<u4")])  # end: tokens of the split up to here


class Stream(Protocol):
    """What is asked of a split, whatever it is made of."""

    @property
    def tokens(self) -> int:
        """All of them."""

    @property
    def documents(self) -> int:
        """All of them."""

    @property
    def bytes(self) -> int:
        """Of text, in UTF-8."""

    def windows(self, seq_len: int) -> int:
        """How many there are; their ids count from 0."""

    def read(self, windows: npt.NDArray[np.int64], seq_len: int) -> npt.NDArray[np.int64]:
        """int64 (len(windows), seq_len + 1): inputs and, one further, targets."""

    def order(self, drawn: npt.NDArray[np.int64], seq_len: int, order: int, corpus: str) -> tuple[Integers, Integers]:
        """(epoch, window) of the i-th draws since the cursor's restart; `order` seeds the shuffle, `corpus` its key."""

    def measured(self, measure: Measure) -> Integers:
        """The windows that a measurement is taken on. Raises InputError if there are fewer."""

    def part(self, name: str) -> Stream:
        """The split of one part alone. Raises InputError if there is none of that name."""

    def epochs(self, drawn: int, seq_len: int) -> float:
        """How often so many draws have read the split; of the part that they have read most, if it has parts."""

    def documents_at(self, window: int, seq_len: int) -> list[tuple[str, int]]:
        """(file, line) of the documents that a window's tokens are of; line 0 = the whole file."""

    def span(self, first: int, stop: int) -> npt.NDArray[Any]:
        """The tokens [first, stop), one at least, as wide as they are stored."""

    def windows_at(self, places: Integers, seq_len: int) -> Integers:
        """The windows that hold tokens of the split as inputs, by their places in it; -1: none does."""


class OneStream:
    """What is answered alike by every split without parts: its windows are one pool, in one permutation."""

    def windows(self, seq_len: int) -> int:
        raise NotImplementedError

    def windows_at(self, places: Integers, seq_len: int) -> Integers:
        windows = places // seq_len
        return np.where(windows < self.windows(seq_len), windows, -1)

    def order(self, drawn: npt.NDArray[np.int64], seq_len: int, order: int, corpus: str) -> tuple[Integers, Integers]:
        return window_at(drawn, self.windows(seq_len), order=order, corpus=corpus)

    def measured(self, measure: Measure) -> Integers:
        return np.asarray(measure.indices(self.windows(measure.seq_len)), np.int64)

    def part(self, name: str) -> Stream:
        raise InputError("evaluate.sets", name, "no such part: the corpus has none", "name the whole corpus")

    def epochs(self, drawn: int, seq_len: int) -> float:
        return drawn / self.windows(seq_len)


@dataclass(frozen=True)
class Split(OneStream):
    """Documents one after another, each followed by the end-of-document token."""

    shards: Sequence[np.ndarray]  # memory-mapped, uint16 or uint32
    index: Path  # documents-<split>.bin
    tokens: int
    documents: int
    bytes: int
    files: Callable[[], Sequence[str]] = tuple  # names of the files that the index counts
    sequence: int = 0  # tokens of each sequence of another program's drawing, which are the windows; 0: any window
    ids: int = 0  # number of ids there may be, where nobody has looked at all of them; 0: they are known

    def windows(self, seq_len: int) -> int:
        """Number of windows; window w is tokens[w*seq_len : w*seq_len + seq_len + 1], or sequence w.

        Raises InputError for another `seq_len` than that of sequences.
        """
        if not self.sequence:
            return max(0, (self.tokens - 1) // seq_len)
        if seq_len != self.sequence - 1:
            why = f"the corpus holds sequences of {self.sequence:,} tokens, inputs and targets of {self.sequence - 1:,}"
            raise InputError("batch.seq_len", seq_len, why, f"give batch.seq_len={self.sequence - 1}")
        return self.tokens // self.sequence

    def read(self, windows: npt.NDArray[np.int64], seq_len: int) -> npt.NDArray[np.int64]:
        wanted = np.asarray(windows, np.int64)
        assert not len(wanted) or 0 <= wanted.min() <= wanted.max() < self.windows(seq_len), "no such window"
        at = wanted[:, None] * (self.sequence or seq_len) + np.arange(seq_len + 1)
        if len(self.shards) == 1:
            found = np.asarray(self.shards[0][at], np.int64)
        else:
            found = np.empty(at.shape, np.int64)
            start = 0
            for shard in self.shards:
                inside = (at >= start) & (at < start + len(shard))
                found[inside] = shard[at[inside] - start]
                start += len(shard)
        if self.ids and found.size and not 0 <= found.min() <= found.max() < self.ids:
            wrong = int(found[(found < 0) | (found >= self.ids)][0])
            why = f"token {wrong} in {self.index.parent}: its tokenizer has {self.ids:,}; it is of another"
            raise CorruptError(why)
        return found

    def span(self, first: int, stop: int) -> npt.NDArray[Any]:
        starts = np.cumsum([0, *map(len, self.shards)]).tolist()
        parts = [s[max(0, first - start) : max(0, stop - start)] for s, start in zip(self.shards, starts, strict=False)]
        found = [part for part in parts if len(part)]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def windows_at(self, places: Integers, seq_len: int) -> Integers:
        windows = places // (self.sequence or seq_len)
        return np.where(windows < self.windows(seq_len), windows, -1)

    def documents_at(self, window: int, seq_len: int) -> list[tuple[str, int]]:
        if self.sequence:
            return [(f"sequence {window:,} of {self.index.stem.removeprefix('documents-')}", 0)]
        index = np.memmap(self.index, DOCUMENT_DTYPE, "r")
        first = int(np.searchsorted(index["end"], window * seq_len, side="right"))
        last = int(np.searchsorted(index["end"], window * seq_len + seq_len, side="right"))
        names = self.files()
        return [(names[row["file"]], int(row["line"])) for row in index[first : min(last, len(index) - 1) + 1]]


@dataclass(frozen=True)
class MixedSplit:
    """Parts of one split, each a stream of its own; window ids go on from part to part.

    With `weights` (integers, of parts in order) the d-th draw goes to the part that `harness.program.mixture.counts`
    says, and is the next window of that part's own permutation: among any first d draws each part has its share of d to
    less than one. Without weights all windows are one pool in one permutation, so each part has as many as its text
    gives.
    """

    names: tuple[str, ...]
    parts: tuple[Stream, ...]
    weights: tuple[int, ...] | None

    @functools.cached_property
    def tokens(self) -> int:
        return sum(part.tokens for part in self.parts)

    @functools.cached_property
    def documents(self) -> int:
        return sum(part.documents for part in self.parts)

    @functools.cached_property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    def part(self, name: str) -> Stream:
        if name not in self.names:
            raise InputError("evaluate.sets", name, "no such part", f"known: {', '.join(self.names)}")
        return self.parts[self.names.index(name)]

    def windows(self, seq_len: int) -> int:
        return int(self._starts(seq_len)[-1])

    def read(self, windows: npt.NDArray[np.int64], seq_len: int) -> npt.NDArray[np.int64]:
        wanted = np.asarray(windows, np.int64)
        assert not len(wanted) or 0 <= wanted.min() <= wanted.max() < self.windows(seq_len), "no such window"
        found = np.empty((len(wanted), seq_len + 1), np.int64)
        for place, at, part in self._by_part(wanted, seq_len):
            found[place] = part.read(at, seq_len)
        return found

    def order(self, drawn: npt.NDArray[np.int64], seq_len: int, order: int, corpus: str) -> tuple[Integers, Integers]:
        drawn = np.asarray(drawn, np.int64)
        if self.weights is None:
            return window_at(drawn, self.windows(seq_len), order=order, corpus=corpus)
        before = counts(self.weights, drawn)
        which = (counts(self.weights, drawn + 1) - before).argmax(axis=-1)
        epoch, window = np.empty_like(drawn), np.empty_like(drawn)
        starts = self._starts(seq_len)
        for j, (name, part) in enumerate(zip(self.names, self.parts, strict=True)):
            here = which == j
            # By the corpus and the part: a part's own order does not depend on the weights.
            epoch[here], found = part.order(before[here][:, j], seq_len, order, f"{corpus} {name}")
            window[here] = found + starts[j]
        return epoch, window

    def measured(self, measure: Measure) -> Integers:
        if self.weights is None:
            return np.asarray(measure.indices(self.windows(measure.seq_len)), np.int64)
        require_every_part(measure.corpus, dict(zip(self.names, self.weights, strict=True)), measure.fewest)
        starts = self._starts(measure.seq_len)
        windows = measure.windows
        if measure.least is not None:  # as many as there are of every part, by the weights
            windows = max(self._most(np.diff(starts), windows), measure.least)
        measure = replace(measure, windows=windows, least=None)
        shares = counts(self.weights, windows)
        asked = [
            part.measured(replace(measure, corpus=f"{measure.corpus}.{name}", windows=int(share))) + start
            for name, part, share, start in zip(self.names, self.parts, shares, starts, strict=False)
            if share
        ]
        return np.concatenate(asked)

    def _most(self, available: Integers, windows: int) -> int:
        """The largest number up to `windows` whose shares by the weights are all `available`; none may be."""
        assert self.weights is not None
        low, high = 0, windows  # shares never fall as the number grows
        while low < high:
            middle = (low + high + 1) // 2
            fits = bool((counts(self.weights, middle) <= available).all())
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def epochs(self, drawn: int, seq_len: int) -> float:
        if self.weights is None:
            return drawn / self.windows(seq_len)
        shares = counts(self.weights, drawn)
        read = [part.epochs(int(share), seq_len) for part, share in zip(self.parts, shares, strict=True) if share]
        return max(read, default=0.0)

    def documents_at(self, window: int, seq_len: int) -> list[tuple[str, int]]:
        ((_, at, part),) = self._by_part(np.array([window]), seq_len)
        return part.documents_at(int(at[0]), seq_len)

    def span(self, first: int, stop: int) -> npt.NDArray[Any]:
        before = np.cumsum([0, *(part.tokens for part in self.parts)]).tolist()
        inside = [
            (max(0, first - start), min(part.tokens, stop - start), part)
            for start, part in zip(before, self.parts, strict=False)
        ]
        return np.concatenate([part.span(a, b) for a, b, part in inside if a < b])

    def windows_at(self, places: Integers, seq_len: int) -> Integers:
        starts, before = self._starts(seq_len), np.cumsum([0, *(part.tokens for part in self.parts)])
        which = np.searchsorted(before, places, side="right") - 1
        found = np.full(len(places), -1, np.int64)
        for j, part in enumerate(self.parts):
            own = part.windows_at(places[which == j] - before[j], seq_len)
            found[which == j] = np.where(own >= 0, own + starts[j], -1)
        return found

    def _starts(self, seq_len: int) -> Integers:
        """The first window id of each part, and behind the last one."""
        return np.cumsum([0, *(part.windows(seq_len) for part in self.parts)])

    def _by_part(self, windows: Integers, seq_len: int) -> list[tuple[Integers, Integers, Stream]]:
        """(places in `windows`, windows of the part, the part) of each part that has some of them."""
        starts = self._starts(seq_len)
        which = np.searchsorted(starts, windows, side="right") - 1
        places = ((j, np.flatnonzero(which == j)) for j in range(len(self.parts)))
        return [(at, windows[at] - starts[j], self.parts[j]) for j, at in places if at.size]
