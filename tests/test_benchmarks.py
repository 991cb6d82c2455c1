"""The comparisons are fair: the bare loop trains and measures what the harness does; verdicts say what was found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import bare
from benchmarks.table import Row, document, lines, machine
from benchmarks.workload import Workload
from harness.store import Store
from harness.task import task_of
from tests.tiny import end_of, planned, train, write_texts


def test_the_bare_loop_has_the_losses_of_the_harness(tmp_path: Path) -> None:
    """Same weights, batches, schedule, optimizer and evaluations, or the ratio of their speeds means nothing."""
    torch.set_num_threads(1)
    write_texts(tmp_path)
    store = Store(tmp_path / "store")
    plan = planned(tmp_path, store, "start=scratch replay=0.25")
    (point,) = plan.points
    recipes = {key: recipe for segment in plan.segments for key, recipe in segment.recipes.items()}
    tasks = tuple(task_of(plan, segment, recipes) for segment in plan.to_train)
    assert point.run.shape is not None
    work = Workload(tasks, point.run.shape, point.run.seq_len, point.run.batch, plan.tokens_planned)
    theirs = bare.run(work, store.root)
    train(plan, store)
    folder = store.root / "states" / end_of(point)
    losses = [json.loads(line)["loss"] for line in (folder / "steps.jsonl").read_text().splitlines()]
    assert len(theirs.losses) == len(losses) == point.program.steps
    np.testing.assert_allclose(theirs.losses[:20], losses[:20], rtol=2e-6)
    rows = {row.key: row for row in store.rows(end_of(point))}
    wanted = sorted(tasks[-1].rows)
    assert theirs.tokens_measured == sum(rows[key].token_count for key in wanted)
    np.testing.assert_allclose(theirs.measured, [rows[key].loss_sum for key in wanted], rtol=1e-4)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("faster", "tokens/s", (97.0, 110.0, 99.0), (100.0, 100.0, 100.0), 0.97), "met"),
        (Row("slower", "tokens/s", (90.0,), (100.0,), 1.0), "missed by 10.0%"),
        (Row("bound", "s", (120.0,), (100.0,), 1.0, at_most=True), "missed by 20.0%"),
        (Row("separate", "s", (10.0,), (40.0,), 3.0, inverse=True), "met"),
        (Row("seconds", "s", (1.0, 6.0, 7.0), target=5.0, at_most=True), "missed by 20.0%"),
        (Row("no target", "s", (1.0,)), ""),
    ],
    ids=lambda value: value.name if isinstance(value, Row) else "",
)
def test_a_verdict_is_the_medians(row: Row, verdict: str) -> None:
    assert row.verdict == verdict
    assert verdict in lines(machine(), [row])[3]
    assert json.loads(json.dumps(document(machine(), [row])))["rows"][0]["verdict"] == verdict


def test_the_header_names_no_host() -> None:
    assert set(machine()) == {"cpu", "cores", "load", "system", "python", "torch", "transformers"}
