"""What training promises: the same bits however it was cut, the losses of today, exact mixtures, nothing non-finite."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.report.show import show_document
from analysis.results.run_record import RunRecord
from analysis.results.runs import read_runs
from harness.core.errors import InputError
from harness.corpora.batches import Batches
from harness.corpora.corpus import open_corpus
from harness.model.build import build_scratch
from harness.plan.over_store import plan_over
from harness.plan.plan import Plan, PlannedRun
from harness.plan.run_file import write_documents
from harness.plan.task import Task, task_of
from harness.program.program import Adam, Phase
from harness.program.schedule import Constant
from harness.program.shape import ModelShape
from harness.store.store import Store
from harness.texts.recipe import Recipe
from harness.train.events import Event
from harness.train.loop import Interrupted, NonFiniteError, Trainer, _enter
from harness.train.states import States, build_optimizer
from tests.repository import REPOSITORY
from tests.tiny import end_of, files_of, planned, train

GOLDEN = REPOSITORY / "tests" / "golden" / "losses.json"


def steps_of(store: Store, address: str) -> list[dict[str, float]]:
    lines = (store.root / "states" / address / "steps.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_golden_losses(texts: Path, undisturbed: Store) -> None:
    """Twenty losses of a run with replay. If they move, training has changed: raise program.NUMERICS."""
    plan = planned(texts, undisturbed, "replay=0.25")
    losses = [step["loss"] for step in steps_of(undisturbed, end_of(plan.points[0]))][::5][:20]
    np.testing.assert_allclose(losses, json.loads(GOLDEN.read_text()), rtol=2e-6)


def test_a_stored_run_is_complete(texts: Path, undisturbed: Store) -> None:
    plan = planned(texts, undisturbed, "replay=0.25")
    assert plan.to_train == []
    assert plan.evaluations == []
    point = plan.points[0]
    rows = undisturbed.rows(end_of(point))
    assert {row.key for row in rows} >= point.request.required
    steps = steps_of(undisturbed, end_of(point))
    assert [step["position"] for step in steps] == list(range(point.program.steps))
    assert [step["lr"] for step in steps] == [point.program.lr(p) for p in range(point.program.steps)]
    first, last = ([r.loss for r in rows if r.corpus == "downstream" and r.position == p] for p in (60, 100))
    assert last[0] < first[0] - 0.1  # it learns
    state = undisturbed.state(end_of(point))
    assert state is not None
    assert state.meta["drawn"][point.run.recipes["upstream"].key]["sequences"] == 240 + 40
    assert state.meta["drawn"][point.run.recipes["downstream"].key]["sequences"] == 120
    timing = [json.loads(line) for line in (state.folder / "timing.jsonl").read_text().splitlines()]
    stretches = [(line["from"], line["to"]) for line in timing if line["from"] < line["to"]]
    assert [start for start, _ in stretches] == [0, *(stop for _, stop in stretches[:-1])]  # none is left out
    assert timing[0]["from"] == timing[0]["to"] == 0  # what it took to load
    assert stretches[-1][1] == point.program.steps


@pytest.mark.parametrize("at", [5, 17, 59, *(pytest.param(at, marks=pytest.mark.slow) for at in (4, 6, 31))])
def test_an_interrupted_run_ends_with_the_same_bits(at: int, texts: Path, undisturbed: Store, tmp_path: Path) -> None:
    """Cuts inside a warm-up, a cosine, an anneal, and inside evaluations, those of ends of runs among them."""
    for knobs in ("replay=0.25", "schedule=infinite_cosine"):
        store = Store(tmp_path / knobs)
        plan, cuts = planned(texts, store, knobs), 0
        end = end_of(plan.points[0])
        while plan.to_train and cuts < 200:
            try:
                train(plan, store, stop_at=at)
            except Interrupted:
                cuts += 1
            plan = plan_over(plan.points, store)
        assert cuts
        assert files_of(store, end) == files_of(undisturbed, end)


def test_stopped_inside_the_last_evaluation_only_that_is_left_to_do(texts: Path, tmp_path: Path) -> None:
    whole, store = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    trainer, last = up_to_the_last(texts, whole)
    asked = []

    def goes_on() -> bool:
        asked.append(False)
        return False

    trainer.advance(last, lambda _: None, goes_on)
    trainer, last = up_to_the_last(texts, store)
    answers = iter([*asked[:-2], True])  # inside the second of the two corpora
    with pytest.raises(Interrupted):
        trainer.advance(last, lambda _: None, lambda: next(answers))
    info = store.state(last.address)
    assert info is not None
    assert not info.kept
    assert [s.address for s in planned(texts, store, "start=scratch").to_train] == [last.address]
    begun: list[Event] = []
    trainer.advance(last, begun.append, lambda: False)
    assert getattr(begun[0], "position", None) == last.stop
    assert files_of(store, last.address) == files_of(whole, last.address)
    info = store.state(last.address)
    assert info is not None
    assert info.kept


def up_to_the_last(texts: Path, store: Store) -> tuple[Trainer, Task]:
    """A run from scratch is trained up to its last segment, which is left to do."""
    plan = planned(texts, store, "start=scratch")
    recipes = {key: recipe for segment in plan.segments for key, recipe in segment.recipes.items()}
    trainer = Trainer(States(store, torch.device("cpu")))
    first, last = (task_of(plan, segment, recipes) for segment in plan.segments)
    trainer.advance(first, lambda _: None, lambda: False)
    return trainer, last


def test_saves_on_the_way_leave_no_trace_and_are_pruned(texts: Path, undisturbed: Store, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = planned(texts, store, "replay=0.25")
    train(plan, store, Trainer(States(store, torch.device("cpu")), save_every=0.0))
    end = end_of(plan.points[0])
    assert files_of(store, end) == files_of(undisturbed, end)
    assert store.addresses() == {segment.address for segment in plan.segments}


def test_two_micro_batch_sizes_are_alike(texts: Path, undisturbed: Store, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = planned(texts, store, "replay=0.25")
    train(plan, store, Trainer(States(store, torch.device("cpu")), micro_batch=1))
    end = end_of(plan.points[0])
    ours, theirs = (np.array([s["loss"] for s in steps_of(which, end)]) for which in (store, undisturbed))
    np.testing.assert_allclose(ours[:20], theirs[:20], rtol=2e-6)


def test_a_run_reads_on_across_an_epoch_boundary(texts: Path, tmp_path: Path) -> None:
    knobs = "shift=local tokens=5x schedule=constant evaluate.every=5x validation=0.8"
    store = Store(tmp_path / "whole")
    plan = planned(texts, store, knobs)
    train(plan, store)
    end = end_of(plan.points[0])
    state = store.state(end)
    assert state is not None
    assert state.meta["drawn"][plan.points[0].run.recipes["downstream"].key]["epochs"] > 1
    cut = Store(tmp_path / "cut")
    with pytest.raises(Interrupted):
        train(planned(texts, cut, knobs), cut, stop_at=50)
    for _ in range(3):
        try:
            train(planned(texts, cut, knobs), cut, stop_at=83)
        except Interrupted:
            continue
    train(planned(texts, cut, knobs), cut)
    assert files_of(cut, end) == files_of(store, end)


def test_batches_are_exact_and_a_function_of_position(texts: Path, undisturbed: Store) -> None:
    (point,) = planned(texts, undisturbed, "replay=0.01 tokens=25x evaluate.every=10x").points
    corpora = {r.key: open_corpus(undisturbed.root, r) for r in point.run.recipes.values()}
    batches = Batches(point.program, corpora)
    start, stop = point.program.starts[-2], point.program.steps
    upstream = [corpora[s.corpus].name for s in point.program.phases[-1].sources].index("upstream")
    drawn = 0
    for done, position in enumerate(range(start, stop), start=1):
        sources, _, windows = batches.draws(position)
        drawn += int((sources == upstream).sum())
        assert abs(drawn - 0.01 * 4 * done) < 1  # exact at 1 % of batches of 4
        assert len(windows) == 4
    assert drawn == round(0.01 * 4 * (stop - start))
    for position in (stop - 1, start, start + 63, start + 64):  # any order, any process: the same tokens
        np.testing.assert_array_equal(batches.at(position), Batches(point.program, corpora).at(position))


def test_the_first_epoch_reads_every_window_once(texts: Path, undisturbed: Store) -> None:
    (point,) = planned(texts, undisturbed, "start=scratch tokens=10x schedule=constant schedule.lr=0.01").points
    corpora = {r.key: open_corpus(undisturbed.root, r) for r in point.run.recipes.values()}
    batches = Batches(point.program, corpora)
    downstream = corpora[point.run.recipes["downstream"].key]
    size = downstream.train.windows(16)
    windows = np.concatenate([batches.draws(position)[2] for position in range(size // 4)])
    assert len(np.unique(windows)) == len(windows)


def test_a_loss_that_is_not_finite_never_reaches_a_stored_state(texts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = planned(texts, store, "lr=overflow warmup=0 optimizer.clip=1e30")
    with pytest.raises(NonFiniteError, match=r"at step \d+ is not finite; the last good state is at step 60"):
        train(plan, store)
    assert end_of(plan.points[0]) not in store.addresses()
    rows = [row for address in store.addresses() for row in store.rows(address)]
    assert rows
    assert all(np.isfinite(row.loss_sum) for row in rows)


def test_a_damaged_state_is_set_aside_and_the_next_deepest_serves(
    texts: Path, undisturbed: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    plan = planned(texts, store, "replay=0.25")
    train(plan, store)
    before = plan.points[0].path[-2].address
    end = end_of(plan.points[0])
    store.remove(end)
    weights = store.root / "states" / before / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    train(planned(texts, store, "replay=0.25"), store)
    assert before in capsys.readouterr().err
    assert files_of(store, end) == files_of(undisturbed, end)
    assert before in store.addresses()  # made again on the way


def test_a_state_trained_on_other_tokens_of_the_same_recipe_is_refused(texts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = planned(texts, store, "")
    train(plan, store)
    state = store.state(plan.points[0].path[-1].address)
    assert state is not None
    meta = {k: v for k, v in state.meta.items() if k not in ("files", "sha256", "address")}
    meta["corpora"][plan.points[0].run.recipes["upstream"].key]["content"] = "0" * 32
    address = plan.points[0].path[1].address
    kept = {name: (store.root / "states" / address / name).read_bytes() for name in state.meta["files"]}
    store.remove(address)
    store.remove(plan.points[0].path[-1].address)
    store.remove(plan.points[0].path[-2].address)
    store.write_state(address, partial(put, kept), meta)
    with pytest.raises(InputError, match="other tokens of the same recipe"):
        train(planned(texts, store, ""), store)


def test_ends_without_optimizer_keep_it_where_another_run_goes_on(texts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = planned(texts, store, "schedule=constant", "schedule=constant tokens=2x")
    train(plan, store, Trainer(States(store, torch.device("cpu"), keep="weights")))
    ends = {point.run.config["tokens"]: store.root / "states" / end_of(point) for point in plan.points}
    assert (ends["1x"] / "optimizer.safetensors").exists()
    assert not (ends["2x"] / "optimizer.safetensors").exists()


def test_each_phase_has_its_own_optimizer_settings() -> None:
    """Weight decay of 0, too, may rise later; vectors never decay."""
    shape = ModelShape(layers=1, hidden=16, heads=2, vocab_size=64, seq_len=16)
    first = Phase(1, Constant(0.1), (), 4, 16, Adam(0.9, 0.95, 1e-8, weight_decay=0.0, clip=1.0))
    optimizer = build_optimizer(build_scratch(shape, 0), first)
    matrices, vectors = optimizer.param_groups
    for decay, beta in ((0.1, 0.8), (0.0, 0.7), (0.2, 0.9)):
        adam = Adam(beta, 0.95, beta / 1e6, decay, 1.0)
        _enter(replace(first, optimizer=adam), optimizer, reset=False)
        assert (matrices["weight_decay"], vectors["weight_decay"]) == (decay, 0.0)
        assert [group["betas"] for group in (matrices, vectors)] == [(beta, 0.95)] * 2
        assert [group["eps"] for group in (matrices, vectors)] == [beta / 1e6] * 2


def test_a_state_names_its_corpora_by_key_whatever_runs_call_them(texts: Path, tmp_path: Path) -> None:
    """One sweep from a to b and from b to a: `upstream` is one's corpus and the other's downstream."""
    up, down = texts / "upstream", texts / "downstream"
    store = Store(tmp_path)
    plan = planned(texts, store, "replay=0.25", f"replay=0.25 upstream={down} downstream={up}")
    train(plan, store)
    assert plan.points[0].run.recipes["upstream"].key == plan.points[1].run.recipes["downstream"].key
    for point in plan.points:
        state = store.state(end_of(point))
        assert state is not None
        keys = {point.run.recipes[name].key: n for name, n in (("upstream", 240 + 40), ("downstream", 120))}
        windows = {key: open_corpus(tmp_path, recipe).train.windows(16) for key, recipe in recipes_of(point).items()}
        assert {key: drawn["sequences"] for key, drawn in state.meta["drawn"].items()} == keys
        assert {key: d["epochs"] for key, d in state.meta["drawn"].items()} == {k: keys[k] / windows[k] for k in keys}
        assert state.meta["corpora"].keys() == keys.keys()
    shown = {run.document["key"]: show_document(store, run)["data"] for run in read_runs_of(plan, store)}
    for point in plan.points:
        data, state = shown[point.key], store.state(end_of(point))
        assert state is not None
        for name in ("upstream", "downstream"):
            assert data[name]["epochs"] == state.meta["drawn"][point.run.recipes[name].key]["epochs"]


def put(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def recipes_of(point: PlannedRun) -> dict[str, Recipe]:
    return {recipe.key: recipe for recipe in point.run.recipes.values()}


def read_runs_of(plan: Plan, store: Store) -> list[RunRecord]:
    write_documents(plan, store)
    return read_runs(store.root)


def test_a_state_of_before_has_names_and_is_read_all_the_same(texts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = planned(texts, store, "replay=0.25")
    train(plan, store)
    whole = files_of(store, end_of(plan.points[0]))
    (run,) = read_runs_of(plan, store)
    shown = show_document(store, run)["data"]
    names = {recipe.key: name for name, recipe in plan.points[0].run.recipes.items()}
    for segment in plan.segments:
        state = store.state(segment.address)
        assert state is not None
        meta = {k: v for k, v in state.meta.items() if k not in ("files", "sha256", "address")}
        meta["drawn"] = {names[key]: drawn for key, drawn in meta["drawn"].items()}
        meta["corpora"] = {names[key]: {"key": key, **corpus} for key, corpus in meta["corpora"].items()}
        kept = {name: (state.folder / name).read_bytes() for name in state.meta["files"]}
        store.remove(segment.address)
        store.write_state(segment.address, partial(put, kept), meta)
    assert show_document(store, run)["data"] == shown
    store.remove(end_of(plan.points[0]))
    train(planned(texts, store, "replay=0.25"), store)  # from the one before
    assert files_of(store, end_of(plan.points[0])) == whole


def test_the_same_texts_twice_are_the_same_data(texts: Path, tmp_path: Path) -> None:
    plan = planned(texts, Store(tmp_path), f"downstream={texts}/upstream")
    (point,) = plan.points
    assert point.run.downstream == point.run.upstream
    assert {source.corpus for phase in point.program.phases for source in phase.sources} == {
        point.run.recipes["upstream"].key
    }
    with pytest.raises(InputError, match="upstream and downstream are both upstream"):
        planned(texts, Store(tmp_path), f"downstream={texts}/upstream replay=0.1")
