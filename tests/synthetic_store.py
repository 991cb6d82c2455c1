"""Stores whose numbers are known, for the tests of analysis and of the figures: no corpus, no training, no torch.

`write` plans the runs of a sweep as the harness does and stores every state on their paths with rows of a given
formula; with `windows`, also the losses of single windows where base and run end, whose mean is that of the row.
`table_of`: what a table of such a store holds, without one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from analysis.results.facts import asked, facts
from analysis.results.tables import COLUMNS, SHARED
from harness.compose.compose import sweep_points
from harness.config.run import read_run
from harness.core.shipped import SWEEPS
from harness.plan.plan import Plan, PlannedRun, compile_points, plan
from harness.plan.run_file import run_document, write_documents
from harness.store.history import Row, rows_to_csv
from harness.store.store import WINDOWS, Store
from harness.store.windows import WINDOW, WindowLosses, to_npz

BYTES = 1000
WINDOW_TOKENS = 128
# (run, corpus, CPT tokens, CPT tokens at the end) -> nats per token
Loss = Callable[[PlannedRun, str, int, int], float]


def points_of(sweeps: Sequence[str], overrides: Sequence[str] = (), folder: Path = SWEEPS) -> list[PlannedRun]:
    composed = sweep_points(sweeps, overrides, folder)
    return compile_points((point.label, read_run(point.config)) for point in composed)


def write(
    root: Path,
    points: Sequence[PlannedRun],
    loss: Loss,
    stop_before: Callable[[PlannedRun], bool] = lambda _: False,
    *,
    windows: bool = False,
) -> Plan:
    """Store every run of `points`; those of `stop_before` only up to their base."""
    with mock.patch("harness.core.files.flush"):  # these stores need not survive a crash
        return _write(Store(root), plan(points), loss, stop_before, windows)


def _write(store: Store, planned: Plan, loss: Loss, stop_before: Callable[[PlannedRun], bool], windows: bool) -> Plan:
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

            ends = [row for row in rows if windows and point.request.measures[row.windows_hash].least is not None]

            def save(folder: Path, rows: list[Row] = rows, ends: list[Row] = ends) -> None:
                (folder / "weights.safetensors").write_bytes(b"weights")
                (folder / "evaluations.csv").write_text(rows_to_csv(rows))
                if ends:
                    (folder / WINDOWS).write_bytes(to_npz({row.key: windows_of(row) for row in ends}))

            drawn = {key: {"sequences": n, "epochs": 0.5} for key, n in program.drawn(segment.stop).items()}
            store.write_state(segment.address, save, {"position": segment.stop, "drawn": drawn, "kept": True})
    return planned


def row_of(point: PlannedRun, tokens: int, position: int, hash_: str, loss: Loss) -> Row:
    measure = point.request.measures[hash_]
    base = point.program.tokens(point.base_position or 0)
    end = point.program.tokens(point.program.steps)
    value = loss(point, measure.corpus, tokens - base, end - base)
    return Row(position, tokens, measure.corpus, measure.windows, hash_, value * 500, 500, BYTES)


def windows_of(row: Row) -> WindowLosses:
    """Windows that are hard or easy for every run, and a little for each its own way, with the row's mean."""
    made = np.empty(row.windows, WINDOW)
    own, shared = (
        np.random.default_rng([int(seed * 1e6) for seed in seeds]).normal(size=row.windows)
        for seeds in ([row.loss, row.position], [row.windows])
    )
    away = 0.25 * shared + 0.03 * own
    made["window"], made["token_count"] = 3 * np.arange(row.windows), WINDOW_TOKENS
    made["byte_count"] = 400 + np.arange(row.windows) % 97
    made["loss_sum"] = (row.loss + away - away.mean()) * WINDOW_TOKENS
    return made


def table_of(points: Sequence[PlannedRun], loss: Loss) -> pd.DataFrame:
    """The table that a store of these runs has, with the rows of their ends, from D = 0 on; nothing is written."""
    rows: list[dict[str, Any]] = []
    for point in points:
        document = run_document(point)
        own = facts(document, asked(document))
        shared = {name: getattr(own, name) for name in SHARED}
        end = point.program.tokens(point.program.steps) - own.base_tokens
        for corpus, hash_ in own.measures:
            role = {own.downstream: "downstream", own.upstream: "upstream"}.get(corpus, "further")
            row = {**shared, "status": "done", "corpus": corpus, "role": role, "r": own.shares.get(corpus, 0.0)}
            row["windows"] = document["measures"][hash_]["windows"]
            for one in document["requested"]:
                tokens = point.program.tokens(one["position"])
                D = tokens - own.base_tokens
                if one["windows_hash"] == hash_ and D >= 0:
                    at = {"position": one["position"], "tokens": tokens, "D": D}
                    rows.append({**row, **at, "loss": loss(point, corpus, D, end)})
    return pd.DataFrame(rows).reindex(columns=COLUMNS)
