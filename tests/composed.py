"""Composed configs for tests: what a command line would give."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from harness.compose.compose import collect
from harness.config.run import Run, read_run
from harness.plan.plan import PlannedRun, compile_points


@cache
def run_of(*overrides: str) -> Run:
    """The run of one command line. `lr=overflow`: a rate that no config may have, and no finite loss."""
    (point,) = collect(["lr=10" if override == "lr=overflow" else override for override in overrides])
    run = read_run(point.config)
    if "lr=overflow" not in overrides:
        return run
    *before, last = run.stages
    assert last.schedule is not None
    return replace(run, stages=(*before, replace(last, schedule=replace(last.schedule, max_lr=1e30, min_lr=1e29))))


def points_of(*command_lines: str) -> list[PlannedRun]:
    """The distinct runs of several command lines (overrides separated by blanks), planned as one sweep would."""
    return compile_points([(line, run_of(*line.split())) for line in command_lines])
