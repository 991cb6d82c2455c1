"""The table of measurements: what its columns mean, checked on a store whose losses are known."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from synthetic_store import BYTES, points_of, write

from analysis.runs import base_losses, final_losses, read_runs, summary
from analysis.tables import COLUMNS, load
from harness.errors import InputError
from harness.history import Measure, Row
from harness.plan import Point
from harness.store import Store

STEP = 512  # tokens of an optimizer step at mini


def known_loss(point: Point, corpus: str, D: int, _end: int) -> float:
    """Upstream 3 at the base, + 1 per million tokens after it, + replay; downstream 5, - 1 per million."""
    millions = max(D, 0) / 1e6
    return 3 + millions + point.run.config["replay"] if corpus == "docs" else 5 - millions


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("known") / "store"
    write(folder, points_of(["demo"]), known_loss)
    return folder


@pytest.fixture(scope="module")
def table(root: Path) -> pd.DataFrame:
    return load(root, "demo")


def one(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows of the one run of docs_to_python with these values, else as the defaults."""
    usual = {"shift": "docs_to_python", "schedule": "cosine", "start": "pretrain", "peak": 1.0, "warmup": 0.01,
             "replay": 0.0, **values}  # fmt: skip
    for name, value in usual.items():
        table = table[table[name] == value]
    assert table.run.nunique() == 1
    return table


def test_one_row_per_run_position_and_corpus(table: pd.DataFrame) -> None:
    assert tuple(table.columns) == COLUMNS
    assert not table.duplicated(["run", "position", "corpus"]).any()
    assert table.notna().drop(columns=["horizon", "base_address"]).all().all()
    assert table.run.nunique() == 16
    assert set(table.status) == {"done"}


def test_the_store_and_the_sweep_give_the_same_rows(root: Path, table: pd.DataFrame) -> None:
    order = ["run", "position", "corpus"]
    every = load(root).sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(every, table.sort_values(order, ignore_index=True))


def test_tokens_count_from_the_base_and_is_negative_before_it(table: pd.DataFrame) -> None:
    run = one(table)
    base = int(run.base_tokens.iloc[0])
    assert base == round(3e6 / STEP) * STEP
    assert (run.tokens - base == run.D).all()
    assert (run.tokens == run.position * STEP).all()
    assert run.D.min() == -base
    assert (run.D == 0).sum() == 2
    assert run.D.max() == run.run_tokens.iloc[0]
    scratch = table[table.start == "scratch"]
    assert scratch.D.min() == 0
    assert (scratch.base_tokens == 0).all()
    assert scratch.base_address.isna().all()


def test_r_is_the_share_of_the_rows_corpus(table: pd.DataFrame) -> None:
    replay = one(table, replay=0.05)
    assert set(replay[replay.role == "upstream"].r) == {0.05}
    assert set(replay[replay.role == "downstream"].r) == {0.95}
    assert set(table[table["shift"] == "docs_to_docs"].r) == {1.0}
    assert set(one(table)[one(table).corpus == "docs"].r) == {0.0}


def test_roles_and_sizes(table: pd.DataFrame) -> None:
    shifted, same = table[table["shift"] == "docs_to_python"], table[table["shift"] == "docs_to_docs"]
    assert dict(zip(shifted.corpus, shifted.role, strict=True)) == {"docs": "upstream", "python": "downstream"}
    assert set(same.role) == {"upstream"}
    assert set(table.N) == {100_096}
    assert set(table.N_total) == {362_240}


def test_learning_rates_and_warmups(table: pd.DataFrame) -> None:
    peak = float(one(table).lr.iloc[0])
    assert one(table, peak=4.0).lr.iloc[0] == pytest.approx(4 * peak)
    constant = table[(table.schedule == "constant") & (table["shift"] == "docs_to_python")]
    assert constant.lr.iloc[0] == pytest.approx(0.1 * peak)
    assert constant.peak.iloc[0] == pytest.approx(0.1)
    assert (constant.warmup == 0).all()
    assert (constant.warmup_tokens == 0).all()
    assert one(table, warmup=0.02).warmup_tokens.iloc[0] == round(0.02 * 600_064 / STEP) * STEP


def test_losses_are_per_token_and_bits_per_byte(table: pd.DataFrame) -> None:
    end = one(table)[one(table).D == 600_064].set_index("role")
    assert end.loss["upstream"] == pytest.approx(3.600064)
    assert end.loss["downstream"] == pytest.approx(4.399936)
    assert end.bits_per_byte["upstream"] == pytest.approx(3.600064 * 500 / (math.log(2) * BYTES))


def test_final_loss_forgetting_and_adaptation(root: Path, table: pd.DataFrame) -> None:
    runs = {run.facts.run: run for run in read_runs(root)}
    rows = one(table, replay=0.25)
    entry = summary(runs[rows.run.iloc[0]])
    last = sorted(set(rows[rows.D > 0].D))[-3:]
    expected = sum(last) / 3e6  # the mean of the last three evaluations
    assert entry["loss"] == pytest.approx({"docs": 3 + expected + 0.25, "python": 5 - expected})
    assert entry["base_loss"] == pytest.approx({"docs": 3.25, "python": 5.0})  # at the very state it started from
    assert entry["forgetting"] == pytest.approx(expected)
    assert entry["adaptation"] == pytest.approx(expected)
    assert entry["D"] == 600_064
    assert entry["replay"] == 0.25
    assert entry["status"] == "done"


def test_forgetting_is_undefined_from_scratch(root: Path) -> None:
    (scratch,) = [run for run in read_runs(root) if run.facts.start == "scratch"]
    entry = summary(scratch)
    assert entry["forgetting"] is None
    assert entry["adaptation"] is None
    assert entry["base_loss"] == {}
    assert set(entry["loss"]) == {"docs", "python"}
    assert entry["base_address"] is None


def test_the_final_loss_never_reaches_back_into_the_base(tmp_path: Path) -> None:
    points = points_of(["rewarm_warmup"], ["evaluate.every=1x", "evaluate.early=[]", "seed=3"])
    write(tmp_path, points, known_loss)
    for run in read_runs(tmp_path):
        assert final_losses(run)["docs"] == pytest.approx(3.600064)  # one evaluation after the base
        assert base_losses(run)["docs"] == 3.0


def test_status_is_derived_from_what_is_stored(tmp_path: Path) -> None:
    points = points_of(["demo"])
    unfinished = [point.key for point in points if point.run.config["warmup"] == 0.02]
    write(tmp_path, points, known_loss, stop_before=lambda point: point.key in unfinished)
    store = Store(tmp_path)

    def statuses() -> dict[str, str]:
        return {run.facts.key: run.status for run in read_runs(tmp_path)}

    assert {key for key, status in statuses().items() if status == "missing"} == set(unfinished)
    (point,) = [point for point in points if point.key in unfinished]
    store.write_failure(point.program.address(), 6000, None, "log", "not finite")
    assert statuses()[point.key] == "failed"
    other = next(point for point in points if point.run.config["peak"] == 4)
    store.remove(other.program.address())
    assert statuses()[other.key] == "partial"
    (run,) = [run for run in read_runs(tmp_path) if run.facts.key == other.key]
    assert final_losses(run) == {}
    assert summary(run)["forgetting"] is None
    assert run.rows


def test_members_never_started_are_missing(root: Path) -> None:
    runs = read_runs(root, ["demo", "scalable_replay"], overrides=["seed=0"])
    missing = {run.facts.replay for run in runs if run.status == "missing"}
    assert missing == {0.005, 0.1}
    assert len(runs) == 18
    assert {run.status for run in read_runs(root, "demo", overrides=["seed=7"])} == {"missing"}


def test_measurements_added_later_appear(tmp_path: Path) -> None:
    """As the harness does it: the run's document asks for more, the rows are added to stored states."""
    point = next(point for point in points_of(["demo"]) if point.run.config["replay"] == 0.5)
    write(tmp_path, [point], known_loss)
    store, (document,) = Store(tmp_path), Store(tmp_path).runs()
    more = Measure("docs", point.run.recipes["docs"].key, 512, 128)
    further = Measure("cpp", "c" * 32, 64, 128)
    added = [Row(document["steps"], document["tokens"], m.corpus, m.windows, m.hash, 1000.0, 500, 900)
             for m in (more, further)]  # fmt: skip
    store.add_rows(document["address"], added)
    assert set(load(tmp_path).corpus) == {"docs", "python"}  # nobody asked for them
    for m in (more, further):
        document["measures"][m.hash] = {"corpus": m.corpus, "key": m.key, "windows": m.windows, "seq_len": m.seq_len}
        document["requested"].append({"position": document["steps"], "windows_hash": m.hash})
    store.write_run(document["name"], document["key"], document)
    table = load(tmp_path)
    assert set(table[table.corpus == "docs"].windows) == {64}
    assert table[table.corpus == "cpp"].role.tolist() == ["further"]
    assert table[table.corpus == "cpp"].loss.tolist() == [2.0]
    assert table[table.corpus == "cpp"].r.tolist() == [0.0]
    asked = load(tmp_path, windows=512)
    assert asked[asked.corpus == "docs"].loss.tolist() == [2.0]


def test_rows_of_a_parent_store_count(root: Path, tmp_path: Path) -> None:
    parent, child = Store(root), Store(tmp_path)
    for document in parent.runs():
        child.write_run(document["name"], document["key"], document)
    assert {run.status for run in read_runs(tmp_path)} == {"missing"}
    assert {run.status for run in read_runs(tmp_path, parents=[root])} == {"done"}


def test_wrong_input_is_refused(tmp_path: Path, root: Path) -> None:
    with pytest.raises(InputError, match="root"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match="sweep=demos"):
        load(root, "demos")
    with pytest.raises(InputError, match="need a sweep"):
        load(root, overrides=["seed=1"])


def test_no_torch_is_loaded() -> None:
    code = "import sys, analysis.tables, analysis.__main__, paper_figures.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
