"""Where losses are measured: a grid that longer runs share."""

from __future__ import annotations

from harness.measure.request import grid
from tests.composed import points_of, run_of

BASE, STEP = 5859, 1172  # steps of the base and of continual pre-training at scale=mini


def test_measuring_is_on_a_fixed_grid() -> None:
    run = run_of("peak=1")
    (point,) = points_of("peak=1")
    positions = grid(run, point.spans[1])
    assert len(positions) == 13  # the base's end, and twelve of its own
    assert positions[0] == BASE
    assert positions[-1] == BASE + STEP
    longer = grid(run_of("tokens=2x"), points_of("tokens=2x")[0].spans[1])
    assert set(positions[:-1]) < set(longer)
