"""A trainer that takes no time: runs of a question get losses of a known formula, and analysis answers in this process.

world = World(tmp_path); world.install(monkeypatch); world.ask("question.yaml", "--within=0.02", "--budget=2e13")
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.__main__ import main as analysis_main
from harness import answer
from harness.compose.expand import GridPoint
from harness.config.run import read_run
from harness.plan.plan import PlannedRun, compile_points
from tests.synthetic_store import write

NOISE = 0.01  # sd of a run, in nats
U, V = 3.6, 5.7  # losses of the base


def forgetting(peak: float, replay: float) -> float:
    """Mean over order seeds, in nats."""
    return 0.25 + 0.1 * math.log(peak) - 0.11 * math.log((replay + 0.004) / 0.5)


def adaptation(peak: float, replay: float) -> float:
    """Mean over order seeds, in nats."""
    return 2.3 - 0.06 * (math.log(peak) - 0.3) ** 2 - 0.4 * replay


class World:
    """One store, and what is done to it."""

    def __init__(self, root: Path, *, stop_every: int | None = None) -> None:
        self.root, self.stop_every, self.events, self.trained = root, stop_every, 0, list[str]()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In place of training and of a further process."""
        monkeypatch.setattr(answer, "run_points", self.train)
        monkeypatch.setattr(answer, "analysis", self.analysis)

    def ask(self, *arguments: str) -> tuple[int, str]:
        """(status, stdout)."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = answer.main([*arguments, f"root={self.root}"])
        return status, out.getvalue()

    def happens(self) -> None:
        """Something; the process is stopped at each so many of them."""
        self.events += 1
        if self.stop_every and self.events % self.stop_every == 0:
            raise KeyboardInterrupt

    def train(self, points: Sequence[GridPoint]) -> int:
        for point in points:
            self.happens()
            (planned,) = compile_points([(point.label, read_run(point.config))])
            self.trained.append(planned.key)
            write(self.root, [planned], loss)
        return 0

    def analysis(self, call: Any, arguments: Sequence[str], as_json: bool) -> dict[str, Any]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = analysis_main([*arguments, f"--root={call.store.root}", *(["--json"] if as_json else [])])
        assert status in (0, 1)
        self.happens()  # before anybody has written down what was said
        if not as_json:
            print(out.getvalue())
        return dict(json.loads(out.getvalue())) if as_json else {}

    def kept(self) -> dict[str, bytes]:
        """All that the store holds of the question."""
        (folder,) = (self.root / "answers").iterdir()
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def loss(point: PlannedRun, corpus: str, tokens: int, end: int) -> float:
    config, up = point.run.config, corpus == point.run.upstream
    if tokens <= 0:
        return U if up else V
    peak, replay = float(config["peak"] or 1), float(config["replay"])
    seed = hashlib.sha256(repr((peak, replay, config["seed"], up)).encode()).digest()
    luck = NOISE * float(np.random.default_rng(int.from_bytes(seed[:8])).standard_normal()) * tokens / end
    change = forgetting(peak, replay) if up else -adaptation(peak, replay)
    return (U if up else V) + change * tokens / end + luck
