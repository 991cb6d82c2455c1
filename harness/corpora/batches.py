"""Which windows make the batch at a position: a pure function of (program, position) and the sizes of the corpora.

No loader state: any position can be asked for at any time, in any order, by any process. Of several ranks each reads
its slice of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.corpora.corpus import Corpus
from harness.model.distributed import Ranks
from harness.program.mixture import assign, counts
from harness.program.program import Program

BLOCK = 64  # steps laid out at once: the bookkeeping then costs microseconds per step


@dataclass(frozen=True)
class Draws:
    """A block of slots of one phase: the source, epoch and window of each."""

    start: int  # position of the first step
    steps: int
    source: npt.NDArray[np.int64]  # index into the phase's sources, (steps * batch,)
    epoch: npt.NDArray[np.int64]
    window: npt.NDArray[np.int64]


class Batches:
    """The batches of a program over opened corpora (by recipe key)."""

    def __init__(self, program: Program, corpora: Mapping[str, Corpus], ranks: Ranks | None = None) -> None:
        self.program, self.corpora, self.ranks = program, corpora, ranks or Ranks()
        self._block: Draws | None = None

    def at(self, position: int) -> npt.NDArray[np.int64]:
        """This rank's tokens of the batch whose update starts at `position`, inputs and shifted targets.

        Shape (batch / ranks, seq_len + 1).
        """
        index, _ = self.program.phase_at(position)
        phase = self.program.phases[index]
        own = self.ranks.slice(phase.batch)
        sources, _, windows = (drawn[own] for drawn in self.draws(position))
        tokens = np.empty((len(windows), phase.seq_len + 1), dtype=np.int64)
        for j, source in enumerate(phase.sources):
            slots = np.flatnonzero(sources == j)
            if slots.size:
                tokens[slots] = self.corpora[source.corpus].train.read(windows[slots], phase.seq_len)
        return tokens

    def draws(self, position: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(source, epoch, window) of each slot of the whole batch at `position`."""
        block = self._block
        if block is None or not block.start <= position < block.start + block.steps:
            block = self._block = self._draw(position)
        batch = len(block.source) // block.steps
        slots = slice((position - block.start) * batch, (position - block.start + 1) * batch)
        return block.source[slots], block.epoch[slots], block.window[slots]

    def _draw(self, position: int) -> Draws:
        index, offset = self.program.phase_at(position)
        phase = self.program.phases[index]
        steps = min(BLOCK, phase.steps - offset)
        weights = [source.weight for source in phase.sources]
        first, last = offset * phase.batch, (offset + steps) * phase.batch
        source = assign(weights, first, last)
        before = counts(weights, first)
        epoch, window = np.zeros_like(source), np.zeros_like(source)
        for j, part in enumerate(phase.sources):
            slots = np.flatnonzero(source == j)
            drawn = self.program.cursors[index].get(part.corpus, 0) + int(before[j]) + np.arange(slots.size)
            split = self.corpora[part.corpus].train
            epoch[slots], window[slots] = split.order(drawn, phase.seq_len, part.order, part.corpus)
        return Draws(position, steps, source, epoch, window)
