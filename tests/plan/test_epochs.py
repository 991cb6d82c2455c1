"""How often texts are read, and what a plan says of model and batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import run_points
from harness.compose.compose import collect
from harness.corpora import corpus
from harness.ingest.build import build
from harness.plan.epochs import Epochs
from harness.plan.over_store import plan_over
from harness.plan.plan import Plan
from harness.report import plan_document, plan_lines
from harness.store.store import Store
from tests.composed import points_of
from tests.launched import launched
from tests.tiny import command

MANY = "tokens=1M replay=0.5 warmup=0.01 evaluate.every=0.1M"


def built(texts: Path, store: Store, *knobs: str) -> Plan:
    points = points_of(*(command(texts, line) for line in knobs))
    build([recipe for point in points for recipe in point.run.recipes.values()], store.root, progress=False)
    return plan_over(points, store)


def test_epochs_are_unknown_until_the_corpora_are_built(texts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    (point,) = (plan := plan_over(points_of(command(texts, MANY)), store)).points
    assert Epochs(store.root).of_run(point) == {"upstream": None, "downstream": None}
    document = plan_document(plan, store)
    assert document["warnings"] == []
    assert document["points"][0]["phases"][0]["epochs"] == {"upstream": None}
    assert "1 upstream (unknown epochs)" in "\n".join(plan_lines(document))


def test_epochs_of_each_phase_and_of_the_run(texts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = built(texts, store, MANY)
    (point,) = plan.points
    windows = {
        recipe.name: corpus.open_corpus(store.root, recipe).train.windows(16) for recipe in point.run.recipes.values()
    }
    (entry,) = plan_document(plan, store)["points"]
    first, *_, last = entry["phases"]
    assert first["epochs"] == {"upstream": pytest.approx(4 * first["steps"] / windows["upstream"])}
    assert last["epochs"]["downstream"] == pytest.approx(2 * last["steps"] / windows["downstream"], abs=1e-3)
    for name in windows:
        assert entry["epochs"][name] == pytest.approx(sum(p["epochs"].get(name, 0) for p in entry["phases"]))


def test_many_epochs_are_warned_of(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    plan = built(texts, store, MANY, "tokens=1x")
    few, many = plan.points[1], plan.points[0]
    assert Epochs(store.root).warnings([few]) == []
    told = Epochs(store.root).warnings([few, many])
    assert [line.split(" is read ")[0] for line in told] == ["upstream", "downstream"]
    assert all("by 1 of 2 runs" in line and "beyond 4 epochs" in line for line in told)
    run_points(collect([*command(texts, MANY).split(), f"root={tmp_path}", "do=plan", "json=true"]))
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["warnings"]) == 2
    assert captured.err.count("warning: ") == 2


@pytest.mark.slow
def test_a_run_warns_once_its_corpora_are_built(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    knobs = "start=scratch tokens=0.1M evaluate.every=0.05M evaluate.early=[] evaluate.windows=1"
    for _ in range(2):  # also when all is done
        launched(texts, tmp_path, [knobs])
        assert "warning: downstream is read " in capsys.readouterr().err


def test_a_plan_says_model_and_batch_once_if_all_share_them(texts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    same = plan_over(points_of(command(texts, "warmup=0.1"), command(texts, "warmup=0.2")), store)
    lines = plan_lines(plan_document(same, store))
    assert lines[0].startswith("model mini (")
    assert lines[0].endswith("parameters), batch of 4 sequences of 16 tokens, fp32")
    assert sum("batch of" in line for line in lines) == 1
    other = plan_over(points_of(command(texts), command(texts, "batch.sequences=8")), store)
    document = plan_document(other, store)
    assert [line.split("batch of ")[1][0] for line in plan_lines(document) if "batch of" in line] == ["4", "8"]
    keys = ("model", "batch", "seq_len", "precision")
    assert [tuple(entry[key] for key in keys) for entry in document["points"]] == [
        ("mini", 4, 16, "fp32"),
        ("mini", 8, 16, "fp32"),
    ]
