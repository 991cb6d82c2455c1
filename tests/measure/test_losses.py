"""Measuring leaves no trace in training, and gives the same rows whenever it is done."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.plan.task import task_of
from harness.store.store import Store
from harness.train.loop import Interrupted, Trainer
from harness.train.states import States
from tests.tiny import end_of, files_of, planned, train


def test_measuring_leaves_no_trace_in_training(texts: Path, undisturbed: Store, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = planned(texts, store, "replay=0.25 evaluate.every=10x evaluate.base_every=10x evaluate.early=[]")
    train(plan, store)
    end = end_of(plan.points[0])
    assert len(store.rows(end)) < len(undisturbed.rows(end))
    for name in ("weights.safetensors", "optimizer.safetensors", "steps.jsonl"):
        assert files_of(store, end)[name] == files_of(undisturbed, end)[name]


def test_rows_measured_from_stored_weights_equal_those_measured_along_the_way(
    texts: Path, undisturbed: Store, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    train(planned(texts, store, "replay=0.25 evaluate.windows=3"), store)
    plan = planned(texts, store, "replay=0.25")
    recipes = {key: recipe for segment in plan.segments for key, recipe in segment.recipes.items()}
    end = plan.points[0].path[-1]
    task = task_of(plan, end, recipes)
    hashes = tuple(sorted({h for position, h in plan.points[0].request.rows if position == end.stop}))
    rows = Trainer(States(store, torch.device("cpu"))).measure_stored(task, end.stop, hashes, lambda: False)
    known = {row.key: row for row in undisturbed.rows(end.address)}
    assert rows
    assert all(known[row.key] == row for row in rows)


def test_a_measurement_that_is_interrupted_keeps_what_it_has_measured(texts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    train(planned(texts, store, "replay=0.25 evaluate.windows=3"), store)
    plan = planned(texts, store, "replay=0.25")
    recipes = {key: recipe for segment in plan.segments for key, recipe in segment.recipes.items()}
    end = plan.points[0].path[-1]
    hashes = tuple(sorted({h for position, h in plan.points[0].request.rows if position == end.stop}))
    before, asked = len(store.rows(end.address)), [0]

    def should_stop() -> bool:
        asked[0] += 1
        return asked[0] > 1  # each corpus is one chunk of windows

    with pytest.raises(Interrupted):
        Trainer(States(store, torch.device("cpu"))).measure_stored(
            task_of(plan, end, recipes), end.stop, hashes, should_stop
        )
    assert len(hashes) == 2
    assert len(store.rows(end.address)) == before + 1
