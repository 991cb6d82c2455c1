"""What a run wants measured, and where: a pure function of the run and the stretches of its stages.

Measuring leaves no trace in training and is not in the program. A corpus that the run has been trained on, and both
channels from the start of continual pre-training, are *required* at every position of the grid; any further corpus, and
the parts of one, are *wanted*: measured wherever training passes, and at stored positions of what is already trained.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from harness.config.compile import StageSpan
from harness.config.run import Run
from harness.program.mixture import counts, integer_weights, require_every_part
from harness.store.history import Measure
from harness.texts.listed import FilesSource, Part

RowKey = tuple[int, str]  # (position, hash of the windows)
UNEVEN = 0.02  # of all windows: how far a part's share of them may be from its weight before it is said


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
    named = {run.upstream, run.downstream, *run.measurements.sets}
    named |= {name for stage in run.stages for name, _ in stage.mixture}
    for name in sorted(named & set(run.recipes)):
        if weights := _weights(run.recipes[name].source):
            require_every_part(name, weights, run.measurements.windows)
    measures = measures_of(run, named | set(run.recipes))
    everything = {full for full in measures if full in named or split_name(full, run.recipes)[0] in named}
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
    finals = measures_of(run, named | set(run.recipes), final=True)
    wanted |= {(position, finals[name].hash) for position in _ends(run, spans) for name in everything}
    kept = {measure.hash: measure for measure in [*measures.values(), *finals.values()]}
    return Request(frozenset(required), frozenset(wanted - required), kept)


def _ends(run: Run, spans: tuple[StageSpan, ...]) -> set[int]:
    """Where the run ends, and where its base does: what forgetting and adaptation are differences of."""
    bases = {span.start for span in spans if not span.base and (run.base_stages or run.checkpoint is not None)}
    return {spans[-1].stop, *([min(bases)] if bases else [])}


def measures_of(run: Run, named: Collection[str], *, final: bool = False) -> dict[str, Measure]:
    """What is measured under each name: the corpora and parts of corpora that are named, and, of a named corpus whose
    parts are drawn by weights, each of its parts as NAME.PART.

    On `evaluate.windows` windows each; `final`: on `evaluate.final_windows`, or all that there are. A part that nobody
    named is measured on those among its corpus's windows that are its own, so that all parts together cost as much as
    their corpus once more.
    """
    settings, seq_len = run.measurements, run.seq_len
    windows = settings.final_windows if final else settings.windows
    measures: dict[str, Measure] = {}
    for full in sorted(named):
        name, part = split_name(full, run.recipes)
        recipe = run.recipes[name]
        measures[full] = Measure(full, recipe.key, windows, seq_len, part, settings.windows if final else None)
        least = {} if part or not final else dict(_shares(recipe.source, settings.windows))
        for one, share in [] if part else _shares(recipe.source, windows):
            if share and f"{name}.{one}" not in named:
                measures[f"{name}.{one}"] = Measure(f"{name}.{one}", recipe.key, share, seq_len, one, least.get(one))
    return measures


def split_name(name: str, corpora: Collection[str]) -> tuple[str, str]:
    """(corpus, part) that a name stands for: NAME, or NAME.PART; the part is empty for a whole corpus."""
    corpus, _, part = name.partition(".")
    return (name, "") if name in corpora or not part else (corpus, part)


def _shares(source: object, windows: int) -> list[tuple[str, int]]:
    """(part, how many of the corpus's measured windows are its own); none of a corpus without weighted parts."""
    weights = _weights(source)
    if not weights:
        return []
    return [(name, int(share)) for name, share in zip(weights, counts(list(weights.values()), windows), strict=True)]


def _weights(source: object) -> dict[str, int]:
    """The weights of parts, in their order; empty of a corpus without weighted parts."""
    parts = source.parts if isinstance(source, FilesSource) else ()
    return part_weights(parts)


def part_weights(parts: Sequence[Part]) -> dict[str, int]:
    """Weights by which parts are drawn, as integers in the parts' order; empty unless there are several with one."""
    weights = {part.name: part.weight for part in parts if part.weight is not None}
    if len(parts) < 2 or len(weights) < len(parts):
        return {}
    exact = integer_weights(weights)
    return {part.name: exact[part.name] for part in parts}


def uneven(runs: Iterable[Run]) -> list[str]:
    """A line for each corpus whose measured windows are not divided as its weights are, to `UNEVEN` of all."""
    found: dict[str, None] = {}
    for run in runs:
        windows = run.measurements.windows
        for name, recipe in run.recipes.items():
            weights = _weights(recipe.source)
            if not weights or run.measurements.windows * UNEVEN >= 1:  # counts are less than one window off
                continue
            wanted = {part: weight / sum(weights.values()) for part, weight in weights.items()}
            taken = {part: share / windows for part, share in _shares(recipe.source, windows)}
            most = max(wanted, key=lambda part: abs(taken[part] - wanted[part]))
            if abs(taken[most] - wanted[most]) > UNEVEN:
                found[
                    f"evaluate.windows={windows}: the loss of {name} is measured with other weights than it is drawn"
                    f" by, {most} with {taken[most]:.3g} in place of {wanted[most]:.3g};"
                    f" {math.ceil(1 / UNEVEN)} windows are within {UNEVEN:g}"
                ] = None
    return list(found)


def grid(run: Run, span: StageSpan) -> list[int]:
    """Positions measured in a stage: its start, dense early ones, then every so many steps, and its end."""
    settings = run.measurements
    length = span.stop - span.start
    every = settings.base_every if span.base else settings.every
    early = () if span.base else settings.early
    regular = (round(k * every) for k in range(1, math.ceil(length / every)))
    offsets = {0, length, *regular, *early}
    return sorted(span.start + offset for offset in offsets if offset <= length)
