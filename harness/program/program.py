"""A run as data: a root and a tuple of phases. Everything that shapes the weights is in it, nothing else.

It knows no config, no file and no torch. `harness.config.compile` makes programs, cut at every learning-rate and data
boundary. A state is addressed by the prefix that made it (`Program.address`); learning rate and data are functions of
(program, position), where position = optimizer steps since the root.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from harness.core.identity import digest
from harness.program.mixture import counts
from harness.program.schedule import Shape, lr_at
from harness.program.shape import ModelShape

NUMERICS = 1  # raised when a golden loss moves: no state of another numerics is ever continued


@dataclass(frozen=True)
class Scratch:
    """Random weights of a shape."""

    shape: ModelShape
    """Layers, widths and vocabulary of the model."""
    seed: int
    """Of the random weights."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights by the hash of their content; where they lie is not part of what they are."""

    content: str
    """Hash of its files, wherever they lie."""


Root = Scratch | Checkpoint


@dataclass(frozen=True)
class Source:
    """One corpus of a mixture."""

    corpus: str
    """Recipe key."""
    weight: int
    """Integer share: of the sum over the phase's sources."""
    order: int
    """Seed of the permutation in which its windows are read."""
    restart: bool = False
    """Read from the first window again; else the cursor goes on."""


@dataclass(frozen=True)
class Adam:
    """AdamW's settings."""

    beta1: float
    """Decay of the first moment, per step."""
    beta2: float
    """Decay of the second moment, per step."""
    eps: float
    """Added to the root of the second moment."""
    weight_decay: float
    """Decoupled, times the learning rate; on matrices alone."""
    clip: float
    """Largest norm of the whole gradient."""


@dataclass(frozen=True)
class Phase:
    """Optimizer steps under one learning-rate shape on one mixture."""

    steps: int = field(metadata={"address": False})
    """Optimizer steps: the one field that is not part of the spec."""
    lr: Shape
    """Learning rate by steps since the shape's start."""
    sources: tuple[Source, ...]
    """The mixture; weights count relative to their sum."""
    batch: int
    """Sequences per optimizer step."""
    seq_len: int
    """Tokens per sequence."""
    optimizer: Adam
    """AdamW's settings."""
    optimizer_state: str = "keep"
    """keep, or reset: moments start from zero at the phase's first step."""
    precision: str = "fp32"
    """fp32, or bf16 (autocast over fp32 masters)."""
    lr_offset: int = 0
    """Steps of the shape that earlier phases took."""


@dataclass(frozen=True)
class Program:
    """A root and phases. Positions run from 0 (the root) to `steps`."""

    root: Root
    """Where position 0 comes from."""
    phases: tuple[Phase, ...]
    """In order; none of zero steps."""

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Position at which each phase starts, and the end of the last."""
        starts = [0]
        for phase in self.phases:
            starts.append(starts[-1] + phase.steps)
        return tuple(starts)

    @property
    def steps(self) -> int:
        return self.starts[-1]

    @cached_property
    def corpora(self) -> frozenset[str]:
        """Keys of the corpora that its phases draw from."""
        return frozenset(source.corpus for phase in self.phases for source in phase.sources)

    @cached_property
    def branch_keys(self) -> tuple[str, ...]:
        """One key per phase: what was before it and its spec. Programs that share one differ in lengths only."""
        keys, before = [], digest("root", NUMERICS, self.root)
        for phase in self.phases:
            keys.append(_hash(before, _spec(phase)))
            before = _hash(keys[-1], str(phase.steps))
        return tuple(keys)

    def phase_at(self, position: int) -> tuple[int, int]:
        """(phase index, steps done in it) of the update that starts at `position`."""
        index = min(bisect_right(self.starts, position) - 1, len(self.phases) - 1)
        return index, position - self.starts[index]

    def address(self, position: int | None = None) -> str:
        """32 hex characters of the prefix that ends at `position` (default: the whole program)."""
        position = self.steps if position is None else position
        assert 0 <= position <= self.steps
        if position == 0:
            return digest("root", NUMERICS, self.root)
        branch, steps = self.branch_at(position)
        return _hash(branch, str(steps))

    def branch_at(self, position: int) -> tuple[str, int]:
        """(branch key, steps on it) of the state at `position` > 0; its address follows from both."""
        index = bisect_left(self.starts, position) - 1  # the phase that holds the last update
        return self.branch_keys[index], position - self.starts[index]

    def lr(self, position: int) -> float:
        """Learning rate of the update that starts at `position`."""
        index, offset = self.phase_at(position)
        phase = self.phases[index]
        return float(lr_at(phase.lr, phase.lr_offset + offset))

    @cached_property
    def cursors(self) -> tuple[dict[str, int], ...]:
        """Per phase: sequences of each corpus drawn since its last restart, at the phase's first step."""
        cursors: list[dict[str, int]] = []
        drawn: dict[str, int] = {}
        for phase in self.phases:
            drawn = {**drawn, **{source.corpus: 0 for source in phase.sources if source.restart}}
            cursors.append(drawn)
            drawn = dict(drawn)
            for source, count in zip(phase.sources, _drawn(phase, phase.steps), strict=True):
                drawn[source.corpus] = drawn.get(source.corpus, 0) + count
        return tuple(cursors)

    def drawn(self, position: int) -> dict[str, int]:
        """Sequences drawn from each corpus (recipe key) since the root, up to `position`."""
        total: dict[str, int] = {}
        for phase, start in zip(self.phases, self.starts, strict=False):
            steps = min(max(position - start, 0), phase.steps)
            for source, count in zip(phase.sources, _drawn(phase, steps), strict=True):
                total[source.corpus] = total.get(source.corpus, 0) + count
        return total

    def tokens(self, position: int) -> int:
        """Tokens trained on from the root to `position`."""
        pairs = zip(self.phases, self.starts, strict=False)
        return sum(min(max(position - start, 0), p.steps) * p.batch * p.seq_len for p, start in pairs)

    def prefix(self, position: int) -> Program:
        """The program that stops at `position`."""
        kept = []
        for phase, start in zip(self.phases, self.starts, strict=False):
            if start < position:
                kept.append(replace(phase, steps=min(phase.steps, position - start)))
        return Program(self.root, tuple(kept))


def phase_entries(program: Program, names: Mapping[str, str], base_position: int | None) -> list[dict[str, Any]]:
    """The phases with realised steps, for documents; `lr_first` and `lr_last` are those of first and last update.

    `names`: what the run calls each corpus, by recipe key.
    """
    entries = []
    for phase, start in zip(program.phases, program.starts, strict=False):
        total = sum(source.weight for source in phase.sources)
        entries.append(
            {
                "start": start,
                "steps": phase.steps,
                "tokens": phase.steps * phase.batch * phase.seq_len,
                "base": start < (base_position or 0),
                "shape": type(phase.lr).__name__,
                "lr_first": float(lr_at(phase.lr, phase.lr_offset)),
                "lr_last": float(lr_at(phase.lr, phase.lr_offset + phase.steps - 1)),
                "mixture": {names.get(s.corpus, s.corpus[:12]): s.weight / total for s in phase.sources},
                "restart": [names.get(s.corpus, s.corpus[:12]) for s in phase.sources if s.restart],
                "optimizer_state": phase.optimizer_state,
            }
        )
    return entries


def _drawn(phase: Phase, steps: int) -> list[int]:
    return [int(n) for n in counts([source.weight for source in phase.sources], steps * phase.batch)]


def _hash(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


@lru_cache(maxsize=65536)
def _spec(phase: Phase) -> str:
    return digest(phase)
