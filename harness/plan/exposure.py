"""Which measured windows a recorded run was trained on: those that its corpora contain, and those that it has read.

Beneath `analysis`. What is contained was found when the corpora were built (`harness.measure.overlap`), for all runs
alike: windows that count for one arm count for every other. What a run has read by a position follows from its program,
as the order of its batches does (`harness.corpora.batches`): an n-gram is read once the window in which it begins was
drawn.

    exposure = Exposure(store)
    exposure.clean(document, windows_hash)                      # (windows,) of bool; None: nobody has looked
    exposure.read(document, windows_hash, position).sum()       # dirty windows that the run has read by then
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.core import files
from harness.core.errors import CorruptError
from harness.corpora.corpus import Corpus, read_corpus, recipe_of_key
from harness.corpora.splits import Stream
from harness.measure.overlap import DIRTY, N_GRAM, Overlap, Pair, find_overlaps, overlap_of
from harness.plan.recorded_runs import program_of
from harness.program.mixture import Integers, counts
from harness.program.program import Program
from harness.store.history import Measure
from harness.store.store import Store
from harness.texts.recipe import corpus_folder

__all__ = ("DIRTY", "N_GRAM", "Exposure", "read_by")

Document = Mapping[str, Any]  # a run.json
Mask = npt.NDArray[np.bool_]

_DRAWS = 1 << 20  # sequences looked at together


class Exposure:
    """Of the runs of a store; what was found of its corpora is read once."""

    def __init__(self, store: Store) -> None:
        self._root, roots = store.root, [store.root, *store.parents]
        self._overlap = cache(lambda *names: overlap_of(roots, *names))
        self._corpus = cache(lambda key: _corpus(store, key))

    def overlaps(self, document: Document, windows_hash: str) -> dict[str, Overlap]:
        """By the recipe key of what is trained on; empty unless all that the run trains on was looked at. Upstream and
        downstream count where they are not trained on, too: arms that are compared are measured on the same windows."""
        measure, trained = document["measures"][windows_hash], _trained(document)
        found = {key: self._overlap(measure["key"], windows_hash, key) for key in sorted(_held(document))}
        known = {key: overlap for key, overlap in found.items() if overlap is not None}
        return known if trained <= known.keys() else {}

    def clean(self, document: Document, windows_hash: str) -> Mask | None:
        """Which windows share less than DIRTY of their n-grams with each of the corpora; None: nobody has looked."""
        dirty = [overlap.dirty for overlap in self.overlaps(document, windows_hash).values()]
        return ~np.any(dirty, axis=0) if dirty else None

    def read(self, document: Document, windows_hash: str, position: int) -> tuple[Mask, int]:
        """(the dirty windows that the run has read by a position, how many further ones it may have): what is known of
        n-grams that occur oftener than was kept is some of their places. Raises FileNotFoundError without the corpora.
        """
        program, found = program_of(document), self.overlaps(document, windows_hash)
        surely, perhaps = [], []
        for key in sorted(found.keys() & program.corpora):
            overlap = found[key]
            places = read_by(program, position, key, self._corpus(key).train, overlap.places)
            owner = np.repeat(np.arange(len(overlap.found)), overlap.found)
            grams = np.bincount(owner, weights=places, minlength=len(overlap.found)) > 0
            surely.append(_contained(overlap, grams))
            perhaps.append(_contained(overlap, grams | (overlap.more & (program.drawn(position).get(key, 0) > 0))))
        windows = max((len(overlap.shares) for overlap in found.values()), default=0)
        mask = np.any([np.zeros(windows, np.bool_), *surely], axis=0)
        return mask, int((np.any([mask, *perhaps], axis=0) & ~mask).sum())

    def look(self, documents: Iterable[Document]) -> None:
        """Look for what nobody has looked for yet of some runs, where their corpora are in the store."""
        pairs: dict[Pair, None] = {}
        for document in documents:
            held = sorted(_held(document))
            for windows_hash in document["measures"]:
                pairs |= dict.fromkeys((self.measure(document, windows_hash), key) for key in held)
        find_overlaps(self._root, pairs)

    def measure(self, document: Document, windows_hash: str) -> Measure:
        """What a windows hash of a run stands for; of a split with fewer windows all that there are."""
        return Measure(**document["measures"][windows_hash], least=1)

    def corpus(self, key: str) -> Corpus:
        """By its recipe key, nothing of it verified. Raises FileNotFoundError."""
        return self._corpus(key)


def read_by(program: Program, position: int, key: str, train: Stream, places: Integers) -> Mask:
    """Which places of a training split (in tokens) lie in windows that a program has drawn by a position."""
    read = np.zeros(len(places), np.bool_)
    for index, (phase, start) in enumerate(zip(program.phases, program.starts, strict=False)):
        steps = min(max(position - start, 0), phase.steps)
        windows = train.windows_at(places, phase.seq_len)
        for j, source in enumerate(phase.sources):
            if source.corpus != key:
                continue
            first = program.cursors[index].get(key, 0)
            stop = first + int(counts([one.weight for one in phase.sources], steps * phase.batch)[j])
            for at in range(first, stop, _DRAWS):
                _, drawn = train.order(np.arange(at, min(at + _DRAWS, stop)), phase.seq_len, source.order, key)
                read |= np.isin(windows, drawn)
    return read


def _contained(overlap: Overlap, grams: Mask) -> Mask:
    """The dirty windows of which enough n-grams are among some."""
    size = len(overlap.shares)
    every = np.bincount(overlap.window, minlength=size)
    found: Mask = np.bincount(overlap.window, weights=grams, minlength=size) >= DIRTY * np.maximum(every, 1)
    return found


def _trained(document: Document) -> set[str]:
    return {source["corpus"] for phase in document["program"]["phases"] for source in phase["sources"]}


def _held(document: Document) -> set[str]:
    """Recipe keys of what a run's windows are looked for in."""
    names = (document["upstream"], document["downstream"])
    return _trained(document) | {one["key"] for one in document["measures"].values() if one["corpus"] in names}


def _corpus(store: Store, key: str) -> Corpus:
    for root in (store.root, *store.parents):
        with contextlib.suppress(FileNotFoundError, CorruptError):
            folder, recipe = corpus_folder(root, key), recipe_of_key(root, key)
            return read_corpus(folder, recipe, files.read_sealed(folder / "manifest.json"))
    raise FileNotFoundError(f"corpus {key[:12]} is not in {store.root}")
