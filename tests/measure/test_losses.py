"""Measuring leaves no trace in training, and gives the same rows whenever it is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.results.run_record import summary
from analysis.results.runs import read_runs
from analysis.results.windows import adaptation, difference, forgetting, mean
from harness.core.errors import InputError
from harness.corpora.corpus import open_corpus
from harness.plan.over_store import plan_over
from harness.plan.run_file import write_documents
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


def test_the_ends_are_measured_on_more_windows_and_all_else_stays_to_the_bit(
    texts: Path, undisturbed: Store, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    plan = planned(texts, store, "replay=0.25 evaluate.final_windows=9")
    train(plan, store)
    (point,) = plan.points
    end, base = end_of(point), point.base_position
    before, now = undisturbed.rows(end), store.rows(end)
    more = [row for row in now if row.key not in {row.key for row in before}]
    assert [row for row in now if row not in more] == before
    assert {(row.position, row.corpus, row.windows) for row in more} == {
        (at, corpus, 9) for at in (base, point.program.steps) for corpus in ("upstream", "downstream")
    }
    for name in ("weights.safetensors", "optimizer.safetensors", "steps.jsonl"):
        assert files_of(store, end)[name] == files_of(undisturbed, end)[name]
    kept = store.windows(end)  # those of the base are among them
    assert kept.keys() == {row.key for row in more}
    for row in more:
        own = kept[row.key]
        assert len(set(own["window"])) == 9
        assert own["loss_sum"].sum() == pytest.approx(row.loss_sum, rel=1e-6)
        assert (own["token_count"].sum(), own["byte_count"].sum()) == (row.token_count, row.byte_count)
    assert store.verify(end, full=True)

    later = Store(tmp_path / "later", [undisturbed.root])  # a run of before: measured, not trained again
    again = planned(texts, later, "replay=0.25 evaluate.final_windows=9")
    assert again.to_train == []
    assert [(e.position, len(e.hashes)) for e in again.evaluations] == [(base, 2), (point.program.steps, 2)]
    trainer = Trainer(States(later, torch.device("cpu")))
    recipes = {key: recipe for segment in again.segments for key, recipe in segment.recipes.items()}
    for one in again.evaluations:
        trainer.measure_stored(task_of(again, one.segment, recipes), one.position, one.hashes, lambda: False)
    assert plan_over(again.points, later).evaluations == []
    added = {**later.windows(point.path[0].address), **later.windows(str(point.program.address(base or 0)))}
    added |= later.windows(end)
    assert kept.keys() <= added.keys()  # those of before kept the few of its curve
    assert all(np.array_equal(added[key], kept[key]) for key in kept)


def test_a_corpus_of_fewer_windows_gives_all_it_has(texts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = planned(texts, store, "start=scratch evaluate.final_windows=100000")
    train(plan, store)
    (point,) = plan.points
    corpus = open_corpus(store.root, point.run.recipes["downstream"])
    (row,) = [row for row in store.rows(end_of(point)) if row.corpus == "downstream" and row.windows > 4]
    assert row.windows == corpus.validation.windows(16)
    assert sorted(store.windows(end_of(point))[row.key]["window"]) == list(range(row.windows))
    assert plan_over(plan.points, store).evaluations == []


def test_sampling_errors_are_paired_over_windows(texts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = planned(texts, store, *(f"replay={share} evaluate.final_windows=200" for share in (0, 0.25)))
    train(plan, store)
    write_documents(plan, store)
    runs = read_runs(tmp_path)
    one, other = (run.windows("upstream") for run in runs)
    assert one is not None
    assert other is not None
    for run, ends in zip(runs, (one, other), strict=True):
        found, entry = forgetting(ends), summary(run)
        assert found.value == pytest.approx(entry["forgetting"], abs=1e-5)
        assert mean(ends.end).value == pytest.approx(entry["loss"]["upstream"], rel=1e-6)
        assert found.windows == entry["measured"]["upstream"]["windows"]
        down = run.windows("downstream")
        assert down is not None
        assert adaptation(down).value == pytest.approx(entry["adaptation"], abs=1e-5)
        assert ends.base is not None
        change = (ends.end.loss_sum - ends.base.loss_sum) / ends.end.tokens
        draws = np.random.default_rng(0).integers(len(change), size=(4000, len(change)))
        assert found.se == pytest.approx(change[draws].mean(axis=1).std(), rel=0.1)  # the bootstrap
        assert found.se < 0.9 * np.hypot(mean(ends.end).se, mean(ends.base).se)
    apart = forgetting(one, other)
    assert apart.value == pytest.approx(forgetting(one).value - forgetting(other).value)
    assert apart.value == pytest.approx(difference(one.end, other.end).value)  # one base
    assert apart.se == pytest.approx(difference(one.end, other.end).se)
    half = one.end.part(one.end.window % 2 == 0)
    assert mean(half).value == pytest.approx(half.loss_sum.sum() / half.tokens.sum())
    with pytest.raises(InputError, match="compare losses of the same windows"):
        difference(half, one.end)
    with pytest.raises(InputError, match="no sampling error of so few"):
        one.end.part(one.end.window < 1)
