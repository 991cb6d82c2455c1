"""What a run wants measured, and where: a pure function of the run and the stretches of its stages.

Measuring leaves no trace in training and is not in the program. A corpus that the run has been trained on, and both
channels from the start of continual pre-training, are *required* at every position of the grid; any further corpus is
*wanted*: measured wherever training passes, and at stored positions of what is already trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.config.compile import StageSpan
from harness.config.run import Run
from harness.store.history import Measure

RowKey = tuple[int, str]  # (position, hash of the windows)


@dataclass(frozen=True)
class Request:
    """Rows by key, and what each windows hash stands for."""

    required: frozenset[RowKey]
    wanted: frozenset[RowKey]
    measures: dict[str, Measure]

    @property
    def rows(self) -> frozenset[RowKey]:
        return self.required | self.wanted

    def joined(self, other: Request) -> Request:
        """Both requests at once, of runs that require the same."""
        assert self.required == other.required
        return Request(self.required, self.wanted | other.wanted, {**self.measures, **other.measures})


def request(run: Run, spans: tuple[StageSpan, ...]) -> Request:
    """The rows of a run."""
    settings = run.measurements
    measures = {name: Measure(name, r.key, settings.windows, run.seq_len) for name, r in run.recipes.items()}
    everything = {run.upstream, run.downstream, *settings.sets}
    everything |= {name for stage in run.stages for name, _ in stage.mixture}
    required: set[RowKey] = set()
    wanted: set[RowKey] = set()
    trained: set[str] = set()
    for span, stage in zip(spans, run.stages, strict=True):
        trained |= {name for name, _ in stage.mixture}
        must = trained if span.base else trained | {run.upstream, run.downstream}
        at_start = trained if span.base else must | {run.upstream, run.downstream}
        for position in grid(run, span):
            names = at_start if position == span.start else must
            required |= {(position, measures[name].hash) for name in names}
            wanted |= {(position, measures[name].hash) for name in everything}
    kept = {measure.hash: measure for measure in measures.values()}
    return Request(frozenset(required), frozenset(wanted - required), kept)


def grid(run: Run, span: StageSpan) -> list[int]:
    """Positions measured in a stage: its start, dense early ones, then every so many steps, and its end."""
    settings = run.measurements
    length = span.stop - span.start
    every = settings.base_every if span.base else settings.every
    early = () if span.base else settings.early
    regular = (round(k * every) for k in range(1, math.ceil(length / every)))
    offsets = {0, length, *regular, *early}
    return sorted(span.start + offset for offset in offsets if offset <= length)
