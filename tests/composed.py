"""Composed configs for tests: what a command line would give."""

from __future__ import annotations

from functools import cache

from harness import config
from harness.compose import collect
from harness.config import Run
from harness.plan import PlannedRun, compile_points


@cache
def run_of(*overrides: str) -> Run:
    """The run of one command line."""
    (point,) = collect(overrides)
    return config.read(point.config)


def points_of(*command_lines: str) -> list[PlannedRun]:
    """The distinct runs of several command lines (overrides separated by blanks), planned as one sweep would."""
    return compile_points([(line, run_of(*line.split())) for line in command_lines])
