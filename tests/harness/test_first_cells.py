"""The first cell of every sweep file, trained on a sample of the embedded texts at a twentieth of the mini budgets."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.compose.compose import sweep_points
from harness.config.launching import read_launch
from harness.config.run import read_run
from harness.core.shipped import SWEEPS
from harness.launch import launch
from harness.plan.over_store import plan_over
from harness.plan.plan import compile_points
from harness.store.history import final_loss
from harness.store.store import Store

SMALLER = ["scale.tokens=30000", "scale.horizon=30000", "base.tokens=120000", "corpus.sample=0.1"]
SMALLER += ["evaluate.windows=16", "evaluate.final_windows=null", "evaluate.early=[]", "warmup=0.05"]


@pytest.mark.slow
def test_the_first_cell_of_every_sweep_trains(tmp_path: Path) -> None:
    labelled, settings = [], []
    for file in sorted(SWEEPS.glob("*.yaml")):
        given = SMALLER[:-1] if "warmup:" in file.read_text() else SMALLER  # those sweep the warm-up themselves
        cell = sweep_points([file.stem], given)[0]
        labelled.append((file.stem, read_run(cell.config)))
        settings.append(read_launch(cell.config))
    assert settings == [settings[0]] * len(settings)  # all are launched together
    store = Store(tmp_path)
    plan = plan_over(compile_points(labelled), store)
    outcome = launch(plan, settings[0], store, tracker={"kind": "off"}, progress=False)
    assert outcome.failures == []
    assert outcome.trained == plan.tokens_planned
    again = plan_over(compile_points(labelled), store)
    assert (again.to_train, again.evaluations) == ([], [])
    for point in again.points:
        rows = store.rows(point.program.address())
        trained = [name for name, _ in point.run.stages[-1].mixture]
        for name in trained:
            first = next(row for row in rows if row.corpus == name)
            assert final_loss(rows, name, first.windows_hash) < first.loss - 0.05, point.run.name
