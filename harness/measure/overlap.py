"""Which measured windows of a validation split are contained in a training split: n-gram by n-gram, exactly.

A window is *dirty* when at least DIRTY of its distinct n-grams of tokens (N_GRAM) occur in what is trained on,
wherever they stand there: a window inside a long document, which the similarity of whole documents hides, is found, and
so is one that was edited here and there, which exact hashes of documents or windows miss. 13 tokens, as GPT-3 looked
for (2005.14165, appendix C, in words): shorter ones are idioms, longer ones break at every edit.

Validation is small, so the 64-bit hashes of *its* n-grams are sorted into a table, and the tokens of the training split
stream past it once, in as much memory for 300 B of them as for a million. What comes out is a file beside the corpus
that is measured, named by which windows and which training corpus it is of; `harness.workers.needed_corpora` makes it
where corpora are built, `harness.plan.exposure` reads it.

    find_overlaps(root, [(measure, key_of_training)])       # what is missing of these, where the corpora are there
    overlap_of([root], measure.key, measure.hash, key_of_training).dirty
"""

from __future__ import annotations

import contextlib
import io
import sys
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from harness.core import files
from harness.core.cores import cores
from harness.core.errors import CorruptError, InputError
from harness.core.identity import digest
from harness.corpora.corpus import Corpus, open_corpus, recipe_of_key
from harness.corpora.splits import Stream
from harness.program.mixture import Integers
from harness.store.history import Measure
from harness.texts.recipe import corpus_folder

OVERLAP_CODE = 1
"""Raised whenever the same corpora would give other files."""
N_GRAM = 13  # tokens; of a shorter window all of them
DIRTY = 0.8  # share of a window's distinct n-grams
PLACES = 64  # of one n-gram that are kept: of one that occurs oftener a run has soon read some

_BLOCK = 1 << 16  # tokens looked at together: what is needed on the way stays in the cache of the processor
_PART = 1 << 24  # tokens that a thread takes at once
_SPARSE = 16  # places in each of two filters for an n-gram of the table: one n-gram in so many passes one by chance
_LARGEST_FILTER = 28  # bits of a place in them
_FACTOR, _MIX = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93  # odd

Pair: TypeAlias = tuple[Measure, str]  # windows that are measured, and the recipe key of what is trained on
Hashes: TypeAlias = npt.NDArray[np.uint64]
Hits: TypeAlias = tuple[Integers, Integers]  # numbers of n-grams in the table, and where each begins in the split


@dataclass(frozen=True, eq=False)
class Overlap:
    """How much of each measured window occurs in a training split, and where the dirty ones do."""

    shares: npt.NDArray[np.float32]
    """Of the distinct n-grams of each window those that occur, in the order in which windows are measured."""
    window: Integers
    """Of each distinct n-gram of the dirty windows: the number of its window in `shares`, ascending."""
    found: Integers
    """How many of `places` are its own; 0: it does not occur."""
    more: npt.NDArray[np.bool_]
    """Whether it occurs at further ones."""
    places: Integers
    """Where they begin in the training split, in tokens: `found` of the first n-gram, then of the next."""

    @property
    def dirty(self) -> npt.NDArray[np.bool_]:
        """(windows,)"""
        found: npt.NDArray[np.bool_] = self.shares >= np.float32(DIRTY)
        return found


def find_overlaps(root: Path, pairs: Iterable[Pair], threads: int | None = None) -> dict[Pair, Overlap]:
    """Look for what is missing of these pairs, where both corpora are built and whole; what was looked for now.

    A training split is read once, whatever is measured. Raises OSError where a file cannot be written.
    """
    missing: dict[str, dict[str, Measure]] = defaultdict(dict)
    for measure, key in dict.fromkeys(pairs):
        if overlap_of([root], measure.key, measure.hash, key) is None:
            missing[key][measure.hash] = measure
    made: dict[Pair, Overlap] = {}
    for key, measures in sorted(missing.items()):
        for trained in _there(root, key, whole=True):
            there = [(one, corpus) for one in measures.values() for corpus in _there(root, one.key, whole=False)]
            windows = [_windows(*pair) for pair in there]
            found = overlaps(trained.train, windows, trained.end_of_document, threads)
            for (measure, corpus), overlap in zip(there, found, strict=True):
                content = to_npz(overlap)
                files.write_file(corpus.folder / _name(measure.hash, key), content, corpus.folder.parent)
                made[measure, key] = overlap
    return made


def overlap_of(roots: Iterable[Path], measured: str, windows_hash: str, trained: str) -> Overlap | None:
    """What was found, in the first of some stores that has it; None: nobody has looked. `measured` and `trained` are
    recipe keys. What is damaged counts as not there: it is made again."""
    for root in roots:
        with contextlib.suppress(OSError, CorruptError):
            return overlap_from((corpus_folder(root, measured) / _name(windows_hash, trained)).read_bytes())
    return None


def overlaps(train: Stream, measured: Sequence[Integers], end: int, threads: int | None = None) -> list[Overlap]:
    """Of each set of windows (windows, tokens) its overlap with a training split; `end`: the token after a document."""
    of_length = [min(N_GRAM, tokens.shape[1]) for tokens in measured]
    found: dict[int, Overlap] = {}
    for n in set(of_length):
        own = {at: _distinct(measured[at], n, end) for at, length in enumerate(of_length) if length == n}
        table = np.unique(np.concatenate([hashes for _, hashes in own.values()]))
        ids, places = _passed(train, table, n, threads or cores())
        for at, (rows, hashes) in own.items():
            number = np.searchsorted(table, hashes)
            span = np.searchsorted(ids, number, "left"), np.searchsorted(ids, number, "right")
            found[at] = _overlap(len(measured[at]), rows, *span, places)
    return [found[at] for at in range(len(measured))]


def hashes_of(tokens: npt.NDArray[Any], n: int) -> Hashes:
    """Of each n-gram along the last axis: hash(ab) = hash(a) F^len(b) + hash(b) modulo 2^64, by doubling."""
    unit = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(_MIX)
    unit ^= unit >> np.uint64(29)
    unit *= np.uint64(_FACTOR)
    unit ^= unit >> np.uint64(32)
    whole, done, width = unit[..., :0], 0, 1
    while True:
        if n & width:
            whole = _joined(whole, unit, done, width) if done else unit
            done += width
        if done == n:
            return whole[..., : tokens.shape[-1] - n + 1]
        unit = _joined(unit, unit, width, width)
        width *= 2


def _joined(first: Hashes, second: Hashes, length: int, width: int) -> Hashes:
    """Hashes of `length` tokens and the `width` ones that follow them."""
    found: Hashes = first[..., : second.shape[-1] - length] * np.uint64(pow(_FACTOR, width, 1 << 64))
    found += second[..., length:]
    return found


def _distinct(tokens: Integers, n: int, end: int) -> tuple[Integers, Hashes]:
    """(row, hash) of the distinct n-grams of each window, by row. Not those that go on from one document into another:
    which documents stand beside each other is chance."""
    ended = np.cumsum(tokens == end, axis=1)
    across = np.pad(ended, ((0, 0), (1, 0)))
    inside = across[:, n - 1 : -1] == across[:, :-n]  # none but its last token ends a document
    rows, hashes = np.nonzero(inside)[0], hashes_of(tokens, n)[inside]
    order = np.lexsort((hashes, rows))
    rows, hashes = rows[order], hashes[order]
    first = np.ones(len(rows), np.bool_)
    first[1:] = (rows[1:] != rows[:-1]) | (hashes[1:] != hashes[:-1])
    return rows[first], hashes[first]


def _passed(train: Stream, table: Hashes, n: int, threads: int) -> Hits:
    """Where the n-grams of a table occur, by their numbers: of each the first places, one more than are kept."""
    starts = max(0, train.tokens - n + 1)  # of n-grams
    bits = min(max(16, (_SPARSE * len(table)).bit_length()), _LARGEST_FILTER)
    head, tail = np.uint64(64 - bits), np.uint64((1 << bits) - 1)
    heads, tails = _marked(table >> head, bits), _marked(table & tail, bits)

    def look(first: int) -> Hits:
        stop = min(first + _PART, starts)
        found: list[Hits] = []
        seen = np.zeros(len(table), np.uint8)
        for at in range(first, stop, _BLOCK):
            hashes = hashes_of(train.span(at, min(at + _BLOCK, stop) + n - 1), n)
            maybe = _set(heads, hashes >> head)
            maybe = maybe[_set(tails, hashes[maybe] & tail)]
            number = np.minimum(np.searchsorted(table, hashes[maybe]), len(table) - 1)
            hit = table[number] == hashes[maybe]
            ids = number[hit]
            kept = _rank(ids) + seen[ids] <= PLACES
            np.add.at(seen, ids[kept], 1)
            found.append((ids[kept], maybe[hit][kept] + at))
        return _first(found)

    parts = range(0, starts, _PART)
    found: list[Hits] = []
    with ThreadPoolExecutor(max(1, min(threads, len(parts)))) as pool:
        for hits in pool.map(look, parts):
            found.append(hits)
            if sum(len(ids) for ids, _ in found[1:]) > max(_PART, len(found[0][0])):
                found = [_first(found)]  # the first places of all n-grams so far
    return _first(found)


def _marked(places: Hashes, bits: int) -> npt.NDArray[np.uint8]:
    """Bits, those at some places set. As bits they fit a cache: most of the time was spent waiting for memory."""
    found = np.zeros(1 << bits >> 3, np.uint8)
    np.bitwise_or.at(found, places >> np.uint64(3), np.left_shift(1, places.view(np.int64) & 7).astype(np.uint8))
    return found


def _set(marked: npt.NDArray[np.uint8], places: Hashes) -> Integers:
    """Which of some places have a bit that is set."""
    at = places.view(np.int64)
    found = marked.take(at >> 3)
    found >>= (at & 7).astype(np.uint8)
    found &= 1
    return np.flatnonzero(found.view(np.bool_))


def _first(found: Sequence[Hits]) -> Hits:
    """All together by number, and of each number the first ones."""
    none = np.empty(0, np.int64)
    ids, places = (np.concatenate([none, *(each[k] for each in found)]) for k in (0, 1))
    order = np.argsort(ids, kind="stable")
    kept = order[_rank(ids[order]) <= PLACES]
    return ids[kept], places[kept]


def _rank(ids: Integers) -> Integers:
    """How many equal ones stand before each."""
    order = np.argsort(ids, kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(ids)) - np.searchsorted(ids[order], ids[order])
    return ranks


def _overlap(windows: int, rows: Integers, first: Integers, stop: Integers, places: Integers) -> Overlap:
    """`places[first:stop]`: of each n-gram, which is one of the window `rows`."""
    every = np.bincount(rows, minlength=windows)
    shares = (np.bincount(rows, weights=stop > first, minlength=windows) / np.maximum(every, 1)).astype(np.float32)
    kept = (shares >= np.float32(DIRTY))[rows]
    first, many = first[kept], (stop - first)[kept]
    found = np.minimum(many, PLACES)
    at = np.repeat(first - np.cumsum(found) + found, found) + np.arange(found.sum())
    return Overlap(shares, rows[kept], found, many > PLACES, places[at])


def to_npz(overlap: Overlap) -> bytes:
    """The bytes of a file; equal ones are equal bytes."""
    file = io.BytesIO()
    np.savez_compressed(file, **{field.name: getattr(overlap, field.name) for field in fields(Overlap)})
    return file.getvalue()


def overlap_from(content: bytes) -> Overlap:
    """What `to_npz` wrote. CorruptError for anything else; nothing is unpickled."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = Overlap(**{field.name: arrays[field.name] for field in fields(Overlap)})
        if found.found.sum() != len(found.places) or len(found.window) != len(found.found):
            raise ValueError("its arrays do not fit each other")
        return found
    except (ValueError, KeyError, EOFError, OSError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise CorruptError(f"not a file of overlaps ({error})") from None


def _there(root: Path, key: str, *, whole: bool) -> list[Corpus]:
    """The corpus of a recipe key, if it is built (whoever builds it looks) and can be read."""
    try:
        return [open_corpus(root, recipe_of_key(root, key), whole=whole)]
    except FileNotFoundError:
        return []
    except (CorruptError, InputError) as error:
        print(f"warning: corpus {key[:12]} cannot be looked at ({error})", file=sys.stderr)
        return []


def _windows(measure: Measure, corpus: Corpus) -> Integers:
    split = corpus.validation.part(measure.part) if measure.part else corpus.validation
    return split.read(split.measured(measure), measure.seq_len)


def _name(windows_hash: str, trained: str) -> str:
    return f"overlap-{digest('overlap', OVERLAP_CODE, N_GRAM, windows_hash, trained)[:12]}.npz"
