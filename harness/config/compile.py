"""From a checked run to its program: the stages of a config, cut at every learning-rate and data boundary.

A warm-up is a phase of its own, and so is each stage's part of every learning-rate shape; two phases are joined where
nothing tells them apart.

    program, spans = compile_run(run)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from harness.config.run import Run
from harness.config.stages import Stage
from harness.core.identity import digest
from harness.program.mixture import ORIGINAL
from harness.program.program import Checkpoint, Phase, Program, Root, Scratch, Source
from harness.program.schedule import Constant, Shape, pieces
from harness.texts.listed import MegatronSource


@dataclass(frozen=True)
class StageSpan:
    """Where a stage of a run lies in its program: positions (start, stop]."""

    start: int
    stop: int
    base: bool


def compile_run(run: Run) -> tuple[Program, tuple[StageSpan, ...]]:
    """The program of a run and the stretch of each of its stages."""
    root: Root
    if run.shape is not None:
        root = Scratch(run.shape, run.init)
    else:
        assert run.checkpoint is not None
        root = Checkpoint(run.checkpoint)
    phases: list[Phase] = []
    spans: list[StageSpan] = []
    position, orders = 0, dict[str, int]()
    for group in _schedule_groups(run.stages):
        schedule = group[0].schedule
        assert schedule is not None
        shapes = _pieces(schedule, sum(stage.steps for stage in group))
        offset = 0  # steps since the schedule's start
        for stage in group:
            sources = _sources(run, stage, orders)
            steps = stage.steps if stage.cut is None else stage.cut
            for k, (shape, shape_offset, length) in enumerate(_window(shapes, offset, steps)):
                first = k == 0
                phases.append(
                    Phase(
                        steps=length,
                        lr=shape,
                        lr_offset=0 if isinstance(shape, Constant) else shape_offset,
                        sources=sources if first else tuple(replace(s, restart=False) for s in sources),
                        batch=run.batch,
                        seq_len=run.seq_len,
                        optimizer=run.optimizer,
                        optimizer_state=stage.optimizer_state if first and position else "keep",
                        precision=run.precision,
                    )
                )
            spans.append(StageSpan(position, position + steps, base=len(spans) < run.base_stages))
            position, offset = position + steps, offset + steps
    return Program(root, _joined(phases)), tuple(spans)


_pieces = lru_cache(maxsize=4096)(pieces)  # the points of a grid share most of their schedules


def _schedule_groups(stages: tuple[Stage, ...]) -> list[list[Stage]]:
    """Stages that share one schedule: each that names one, with those that continue it."""
    groups: list[list[Stage]] = []
    for stage in stages:
        if stage.schedule is not None:
            groups.append([stage])
        else:
            groups[-1].append(stage)
    return groups


def _window(shapes: tuple[tuple[Shape, int], ...], start: int, steps: int) -> list[tuple[Shape, int, int]]:
    """The parts of the schedule in [start, start + steps): (shape, offset in the shape, steps)."""
    parts, at = [], 0
    for shape, length in shapes:
        low, high = max(at, start), min(at + length, start + steps)
        if low < high:
            parts.append((shape, low - at, high - low))
        at += length
    return parts


def _sources(run: Run, stage: Stage, orders: dict[str, int]) -> tuple[Source, ...]:
    """The mixture of a stage; a restart of a corpus that was never read is no restart."""
    sources = []
    for name, weight in stage.mixture:
        recipe = run.recipes[name]
        key = recipe.key
        first = ORIGINAL if isinstance(recipe.source, MegatronSource) else stage.order
        order = orders.get(key, first)  # a corpus keeps its permutation, read on or read again
        if name in stage.reshuffle:
            order = int(digest("reshuffle", order, stage.order)[:8], 16)
        sources.append(Source(key, weight, order, restart=name in stage.restart and key in orders))
        orders[key] = order
    return tuple(sources)


def _joined(phases: list[Phase]) -> tuple[Phase, ...]:
    """Join a phase to the one before if nothing tells them apart: one constant LR, and a neutral second."""
    joined: list[Phase] = []
    for phase in phases:
        if joined and isinstance(phase.lr, Constant):
            last = joined[-1]
            unrestarted = tuple(replace(source, restart=False) for source in last.sources)
            if replace(phase, steps=0) == replace(last, steps=0, sources=unrestarted, optimizer_state="keep"):
                joined[-1] = replace(last, steps=last.steps + phase.steps)
                continue
        joined.append(phase)
    return tuple(joined)
