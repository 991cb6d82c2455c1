"""The configs of the repository are ones that the harness can plan."""

from __future__ import annotations

import re

import pytest

from harness.compose.compose import sweep_points
from harness.config.run import read_run
from harness.plan.plan import compile_points
from harness.program.schedule import NAMES
from tests.repository import REPOSITORY


def test_each_schedule_has_a_config_of_its_name() -> None:
    names = []
    for file in (REPOSITORY / "conf" / "schedule").glob("*.yaml"):
        names += re.findall(r"(?m)^name: (\w+)", file.read_text(encoding="utf-8"))
        assert names[-1] == file.stem
    assert set(names) == NAMES


SWEEPS = sorted(file.stem for file in (REPOSITORY / "sweeps").glob("*.yaml"))
SCALES = sorted(file.stem for file in (REPOSITORY / "conf" / "scale").glob("*.yaml"))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("sweep", SWEEPS)
def test_each_sweep_compiles_at_every_scale(sweep: str, scale: str) -> None:
    points = sweep_points([sweep], [f"scale={scale}"])
    assert len(points) > 1
    compiled = compile_points((point.label, read_run(point.config)) for point in points)
    assert sum(len(point.labels) for point in compiled) == len(points)
    assert all(point.program.steps > 0 for point in compiled)
