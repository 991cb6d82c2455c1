"""What a store keeps of a question: a sweep file a round, and what was decided after it. Killed at any moment, the same
command goes on from there: a round that is written is never proposed again.

    <root>/answers/<question>-<key12>/01-round.yaml, 01-decision.json, ..., 07-confirm.yaml, 07-decision.json

    rounds = Rounds(store, question, overrides)
    rounds.add("round", text); rounds.points(1); rounds.fates(1); rounds.flops(1)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.answering.question import Question
from harness.compose.compose import sweep_points
from harness.compose.expand import GridPoint
from harness.compose.listing import list_corpora
from harness.compose.resolving import resolve_checkpoints
from harness.config.run import read_run
from harness.core import files
from harness.plan.cost import flops_of
from harness.plan.over_store import plan_over
from harness.plan.plan import PlannedRun, compile_points, plan
from harness.slurm.status import status_of
from harness.slurm.submissions import submitted
from harness.store.store import Store

FOLDER = "answers"
DIVERGED = "is not finite"  # as training says it: what no repetition changes
KINDS = ("round", "confirm")


class Rounds:
    """Of one question in one store. Rounds are counted from 1."""

    def __init__(self, store: Store, question: Question, overrides: Sequence[str], folder: Path | None = None) -> None:
        self.store, self.overrides = store, overrides
        self._points: dict[int, list[GridPoint]] = {}
        self.folder = folder or store.root / FOLDER / f"{question.name}-{question.key}"

    @property
    def files(self) -> list[Path]:
        """The sweep files of rounds and confirmations, in order."""
        names = [name for name in files.listing(self.folder) if re.fullmatch(r"\d+-(round|confirm)\.yaml", name)]
        return [self.folder / name for name in sorted(names, key=lambda name: int(name.split("-")[0]))]

    def kind(self, number: int) -> str:
        """round, or confirm."""
        return self.files[number - 1].stem.partition("-")[2]

    def add(self, kind: str, text: str) -> None:
        """The next round, whole or not at all."""
        assert kind in KINDS
        self._write(f"{len(self.files) + 1:02}-{kind}.yaml", text.encode())

    def decision(self, number: int) -> dict[str, Any] | None:
        """What was decided after a round; None if nothing is yet."""
        return files.read_json(self.folder / f"{number:02}-decision.json")

    def write_decision(self, number: int, document: Mapping[str, Any]) -> None:
        """Keep it."""
        self._write(f"{number:02}-decision.json", files.dump(dict(document)))

    def _write(self, name: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_file(self.folder / name, content, self.folder)

    def points(self, number: int) -> list[GridPoint]:
        """The runs of a round: its file never changes."""
        if number in self._points:
            return self._points[number]
        points = sweep_points([str(self.files[number - 1])], self.overrides)
        configs, stores = [point.config for point in points], [self.store.root, *self.store.parents]
        list_corpora(configs, stores, only_shown=True)
        resolve_checkpoints(configs, self.store.root, self.store.parents, run=False)
        return self._points.setdefault(number, points)

    def planned(self, number: int) -> list[PlannedRun]:
        """The same, as they are planned over nothing."""
        return plan(compile_points([(point.label, read_run(point.config)) for point in self.points(number)])).points

    def flops(self, number: int) -> float:
        """Of the continual runs of a round, each for itself: training and measuring."""
        return sum(flops_of_run(point) for point in self.planned(number))

    def fates(self, number: int) -> dict[str, tuple[str, str]]:
        """Label -> (status, why it failed) of the runs of a round; `diverged` is what no repetition changes."""
        points = compile_points([(point.label, read_run(point.config)) for point in self.points(number)])
        over = plan_over(points, self.store)
        queue = submitted(self.store.root)
        found: dict[str, tuple[str, str]] = {}
        for point in over.points:
            fate = status_of(point, over, self.store, queue)
            why = str((fate.get("failure") or {}).get("reason", ""))
            diverged = fate["status"] == "failed" and DIVERGED in why
            found |= dict.fromkeys(point.labels, ("diverged" if diverged else str(fate["status"]), why))
        return found


def flops_of_run(point: PlannedRun) -> float:
    """Of continual pre-training and measuring; the base is not counted."""
    at = point.base_position or 0
    trained = point.program.tokens(point.program.steps) - point.program.tokens(at)
    rows = [key for key in point.request.rows if key[0] > at]
    return flops_of(point, trained, rows, point.request.measures)
