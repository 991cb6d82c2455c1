"""Stores whose numbers are known, for the tests of analysis and of the figures: no corpus, no training, no torch.

`write` plans the runs of a sweep as the harness does and stores every state on their paths with rows of a given
formula.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

from harness.compose.compose import sweep_points
from harness.config.run import read_run
from harness.core.shipped import SWEEPS
from harness.plan.plan import Plan, PlannedRun, compile_points, plan
from harness.plan.run_file import write_documents
from harness.store.history import Row, rows_to_csv
from harness.store.store import Store

BYTES = 1000
# (run, corpus, CPT tokens, CPT tokens at the end) -> nats per token
Loss = Callable[[PlannedRun, str, int, int], float]


def points_of(sweeps: Sequence[str], overrides: Sequence[str] = (), folder: Path = SWEEPS) -> list[PlannedRun]:
    composed = sweep_points(sweeps, overrides, folder)
    return compile_points((point.label, read_run(point.config)) for point in composed)


def write(
    root: Path, points: Sequence[PlannedRun], loss: Loss, stop_before: Callable[[PlannedRun], bool] = lambda _: False
) -> Plan:
    """Store every run of `points`; those of `stop_before` only up to their base."""
    with mock.patch("harness.core.files.flush"):  # these stores need not survive a crash
        return _write(Store(root), plan(points), loss, stop_before)


def _write(store: Store, planned: Plan, loss: Loss, stop_before: Callable[[PlannedRun], bool]) -> Plan:
    write_documents(planned, store)
    for point in planned.points:
        base = point.base_position or 0
        for segment in point.path:
            if stop_before(point) and segment.stop > base:
                continue
            program = point.program
            rows = [
                row_of(point, program.tokens(position), position, hash_, loss)
                for position, hash_ in sorted(point.request.rows)
                if position <= segment.stop
            ]
            if store.state(segment.address) is not None:
                store.add_rows(segment.address, rows)
                continue

            def save(folder: Path, rows: list[Row] = rows) -> None:
                (folder / "weights.safetensors").write_bytes(b"weights")
                (folder / "evaluations.csv").write_text(rows_to_csv(rows))

            drawn = {key: {"sequences": n, "epochs": 0.5} for key, n in program.drawn(segment.stop).items()}
            store.write_state(segment.address, save, {"position": segment.stop, "drawn": drawn, "kept": True})
    return planned


def row_of(point: PlannedRun, tokens: int, position: int, hash_: str, loss: Loss) -> Row:
    measure = point.request.measures[hash_]
    base = point.program.tokens(point.base_position or 0)
    end = point.program.tokens(point.program.steps)
    value = loss(point, measure.corpus, tokens - base, end - base)
    return Row(position, tokens, measure.corpus, measure.windows, hash_, value * 500, 500, BYTES)
