"""The table of measurements: what its columns mean, checked on a store whose losses are known."""

from __future__ import annotations

import copy
import hashlib
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.formulas.assignments import parse_map
from analysis.results.run_record import base_losses, final_losses, summary
from analysis.results.runs import read_runs
from analysis.results.tables import COLUMNS, TEXT, ends_of, load, of_curves, read, table_of
from harness.compose.compose import sweep_points
from harness.compose.expand import assign
from harness.config.run import read_run
from harness.core.errors import CorruptError, InputError
from harness.core.files import seal
from harness.measure.request import Request, RowKey
from harness.plan.plan import PlannedRun, compile_points
from harness.store.history import HEADER, Measure, Row, rows_to_csv
from harness.store.store import Store
from tests.repository import REPOSITORY
from tests.synthetic_store import BYTES, points_of, write

STEP = 512  # tokens of an optimizer step at mini


def known_loss(point: PlannedRun, corpus: str, D: int, _end: int) -> float:
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
    usual = {
        "shift": "docs_to_python",
        "schedule": "cosine",
        "start": "pretrain",
        "peak": 1.0,
        "warmup": 0.01,
        "replay": 0.0,
        **values,
    }
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
    expected = 0.600064  # that of the last position: it is measured on many windows
    assert entry["measured"]["docs"] == {"windows": 1024, "positions": 1, "is": "end"}
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
    runs = read_runs(tmp_path)
    assert len(runs) == len(points)
    for run in runs:
        assert final_losses(run)["docs"] == pytest.approx(3.600064)  # one evaluation after the base
        assert base_losses(run)["docs"] == 3.0


def test_without_many_windows_at_base_and_end_it_is_the_mean_of_the_last_three(tmp_path: Path) -> None:
    """Of both or of none, for each corpus: a run of before, one whose base was made before, and one of few windows."""
    points = points_of(["rewarm_warmup"], ["seed=3"])[:1]
    many = {m.hash: m.corpus for m in points[0].request.measures.values() if m.of_ends}
    docs, base = next(h for h, corpus in many.items() if corpus == "docs"), points[0].base_position or 0
    missing: dict[str, set[RowKey]] = {
        "before": {(at, h) for at in (base, points[0].program.steps) for h in many},
        "base": {(base, docs)},
        "end": {(points[0].program.steps, docs)},
    }
    for name, gone in missing.items():
        (point,) = points
        asked = Request(point.request.required, point.request.wanted - gone, point.request.measures)
        write(tmp_path / name, [replace(point, request=asked, path=[])], known_loss)
        (run,) = read_runs(tmp_path / name)
        last = sorted({row.position for row in run.rows})[-3:]
        expected = sum((at - run.base_position) * STEP for at in last) / 3e6
        entry = summary(run)
        assert entry["measured"]["docs"] == {"windows": 64, "positions": 3, "is": "mean"}
        assert entry["measured"]["python"]["is"] == ("mean" if name == "before" else "end")
        assert entry["forgetting"] == pytest.approx(expected)
        ends = ends_of(table_of([run], ends=True)).set_index("corpus")
        assert ends.loss.to_dict() == pytest.approx(entry["loss"])
        assert ends.base.to_dict() == pytest.approx(entry["base_loss"])
    few = points_of(["rewarm_warmup"], ["seed=3", "evaluate.final_windows=null"])[:1]
    write(tmp_path / "few", few, known_loss)
    assert summary(read_runs(tmp_path / "few")[0])["measured"]["docs"]["is"] == "mean"


def test_a_curve_of_very_many_windows_ends_at_its_last_position(tmp_path: Path) -> None:
    """As at scale=paper: the same windows at the ends and everywhere."""
    knobs = ["seed=3", "evaluate.windows=20480", "evaluate.final_windows=20480"]
    write(tmp_path, points_of(["rewarm_warmup"], knobs)[:1], known_loss)
    (run,) = read_runs(tmp_path)
    assert summary(run)["measured"]["docs"] == {"windows": 20480, "positions": 1, "is": "end"}
    assert summary(run)["forgetting"] == pytest.approx(0.600064)
    table = table_of([run], ends=True)
    assert len(table) == len(load(tmp_path))
    assert ends_of(table).alone.all()
    assert of_curves(table).equals(table)


def test_ends_of_a_table_are_those_of_its_runs(root: Path) -> None:
    runs = read_runs(root)
    table = table_of(runs, ends=True)
    found = {(one.run, one.corpus): one for one in ends_of(table).to_records(index=False)}
    for run in runs:
        for corpus, end in run.ends.items():
            row = found[run.facts.run, corpus]
            assert (row.loss, row.windows, row.alone) == (end.loss, end.windows, end.alone)
            assert math.isnan(row["base"]) if end.base is None else row["base"] == end.base
    pd.testing.assert_frame_equal(of_curves(table).reset_index(drop=True), table_of(runs))


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
    added = [
        Row(document["steps"], document["tokens"], m.corpus, m.windows, m.hash, 1000.0, 500, 900)
        for m in (more, further)
    ]
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
    code = "import sys, analysis.commands.command_line, paper_figures.drawing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- many runs at once -----------------------------------------------------------------------------------------------


def rows_one_by_one(root: Path, parents: list[Path] | None = None) -> dict[str, list[Row]]:
    """By run the rows it asked for: the straightforward way, state by state over `Store.rows`."""
    store, found = Store(root, parents or []), {}
    for document in store.runs():
        asked = {(row["position"], row["windows_hash"]) for row in document["requested"]}
        rows: dict[tuple[int, str], Row] = {}
        for stop in sorted(document["path"], key=lambda stop: stop["position"], reverse=True):
            if len(rows) < len(asked):
                mine = [row for row in store.rows(stop["address"]) if row.position <= stop["position"]]
                rows = {**{row.key: row for row in mine if row.key in asked}, **rows}
        curves = {hash_ for hash_, measure in document["measures"].items() if measure["windows"] == 64}
        mine = [row for _, row in sorted(rows.items()) if row.windows_hash in curves]
        found[f"{document['name']}-{document['key'][:12]}"] = mine
    return found


def assert_equal(root: Path, parents: list[Path] | None = None) -> pd.DataFrame:
    """The table of a store has exactly the rows that one gets one by one, to the last bit."""
    table = load(root, parents=parents or [])
    expected = rows_one_by_one(root, parents)
    one_by_one = [
        (run, r.position, r.tokens, r.corpus, r.windows, r.loss, r.bits_per_byte)
        for run in sorted(expected)
        for r in expected[run]
    ]
    columns = ["run", "position", "tokens", "corpus", "windows", "loss", "bits_per_byte"]
    expected_table = pd.DataFrame(one_by_one, columns=columns).astype({"run": TEXT, "corpus": TEXT})
    pd.testing.assert_frame_equal(table[columns], expected_table, check_exact=True)
    return table


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 runs: those of replay .5 got to their bases only, and of every seventh the end is gone."""
    folder = tmp_path_factory.mktemp("many") / "store"
    configs = [(seed, copy.deepcopy(point.config)) for point in sweep_points(["demo"], []) for seed in range(15)]
    for seed, one in configs:
        assign(one, "seed", seed)
    points = compile_points((str(number), read_run(one)) for number, (_, one) in enumerate(configs))
    assert len(points) == 240

    def loss(point: PlannedRun, corpus: str, D: int, _end: int) -> float:
        return known_loss(point, corpus, D, 0) + math.sin(D + point.run.init) / 7

    write(folder, points, loss, stop_before=lambda point: point.run.config["replay"] == 0.5)
    store = Store(folder)
    for point in points[::7]:
        store.remove(point.program.address())
    return folder


def test_many_runs_are_read_as_one_by_one(many: Path) -> None:
    table = assert_equal(many)
    assert table.run.nunique() == 240
    assert set(table.status) == {"done", "partial", "missing"}


def test_a_text_takes_no_more_room_than_a_number(many: Path) -> None:
    """Ten thousand runs have two million rows, and a path of 80 letters in each of them."""
    table = load(many)
    assert len(table) > 5000
    assert table.memory_usage(index=False).max() == 8 * len(table)


def test_texts_of_a_table_are_texts_to_pandas(many: Path, tmp_path: Path) -> None:
    """Whatever one does with those of any other table: they were categories once, and filters and sums broke."""
    table = load(many)
    copied = pd.DataFrame({name: table[name].tolist() for name in ("run", "corpus", "status", "loss")})
    assert table.run.dtype == "str"
    same: list[Callable[[pd.DataFrame], Any]] = [
        lambda t: t[t.corpus == "docs"].loss.sum(),
        lambda t: (t.run < t.run.iloc[1000]).sum(),
        lambda t: t[t.run.isin(t.run.unique()[:7])].loss.sum(),
        lambda t: t.query("status == 'done' and corpus != 'docs'").loss.sum(),
        lambda t: t.groupby(["status", "corpus"]).loss.sum().to_dict(),
        lambda t: t.groupby("run").corpus.first().tolist(),
        lambda t: t.corpus.head(9).sum(),
        lambda t: (t.corpus + "/" + t.status).value_counts().to_dict(),
        lambda t: t.corpus.str.upper().unique().tolist(),
        lambda t: t.corpus.map({"docs": 1, "python": 2}).sum(),
        lambda t: t.sort_values(["corpus", "run"], kind="stable").loss.tolist(),
        lambda t: t.merge(pd.DataFrame({"corpus": ["docs"], "more": [2.0]}), on="corpus").more.sum(),
        lambda t: pd.concat([t, copied]).corpus.dtype == "str",
        lambda t: t.corpus.replace("docs", "prose").eq("prose").sum(),
        lambda t: t.pivot_table(index="run", columns="corpus", values="loss").sum().to_dict(),
    ]
    for do in same:
        assert do(table) == do(copied)
    table.to_parquet(tmp_path / "table.parquet")
    assert pd.read_parquet(tmp_path / "table.parquet")[copied.columns].equals(copied)


def test_rows_added_twice_count_once_and_the_first_wins(many: Path, tmp_path: Path) -> None:
    """Two stores measured the same rows of a state that lies in a third; this one's come first."""
    stores = [Store(tmp_path / name, [many]) for name in ("here", "there")]
    (address,) = {
        document["base_address"]
        for document in Store(many).runs()
        if "scratch" not in document["name"] and document["config"]["seed"] == 3
    }
    documents = [document for document in Store(many).runs() if document["base_address"] == address]
    further = Measure("cpp", "c" * 32, 64, 128)
    position, tokens = documents[0]["base_position"], 10**6
    for number, store in enumerate(stores):
        store.add_rows(address, [Row(position, tokens, "cpp", 64, further.hash, 500.0 * (2 + number), 500, 900)])
    for document in documents:
        document["measures"][further.hash] = {"corpus": "c++", "key": "c" * 32, "windows": 64, "seq_len": 128}
        document["requested"].append({"position": position, "windows_hash": further.hash})
        stores[0].write_run(document["name"], document["key"], document)
    table = load(tmp_path / "here", parents=[many, tmp_path / "there"])
    added = table[table.corpus == "c++"]  # as the runs call it
    assert len(added) == len(documents)
    assert set(added.loss) == {2.0}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "the checksum does not match"),
        ("nonsense", "not a complete table"),
        (HEADER + "\n1,2,docs,64,x,nan,5,5\n", "line 2 is not an evaluation"),
        (HEADER + "\n1,2,docs,64,x,3.5,5,5\n\n", "line 3 is not an evaluation"),
        (HEADER + "\n1,2,docs,64,x,3.5,0,5\n", "line 2 is not an evaluation"),
    ],
    ids=["changed", "no table", "not finite", "empty line", "no tokens"],
)
def test_a_damaged_state_is_set_aside_and_the_next_serves(
    many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, says: str
) -> None:
    root = tmp_path / "store"
    shutil.copytree(many, root)
    whole = load(root)
    hurt = whole[whole.status == "done"].iloc[0]
    folder = root / "states" / hurt.address
    if content is None:
        (folder / "evaluations.csv").write_text(rows_to_csv([Row(1, 512, "docs", 64, "x" * 16, 3.5, 5, 5)]))
    else:  # with the right checksum: its writer was wrong
        state = Store(root).state(hurt.address)
        assert state is not None
        meta = {**state.meta, "files": {"evaluations.csv": digest(content)}}
        meta.pop("sha256")
        (folder / "evaluations.csv").write_text(content)
        (folder / "state.json").write_bytes(seal(meta))
    left = load(root)
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert says in warning
    assert f"set aside as .bad-{hurt.address}-1" in warning
    assert not folder.exists()
    mine = left[left.run == hurt.run]
    assert set(mine.status) == {"partial"}
    assert 0 < len(mine) < (whole.run == hurt.run).sum()
    pd.testing.assert_frame_equal(
        left[left.run != hurt.run].reset_index(drop=True), whole[whole.run != hurt.run].reset_index(drop=True)
    )
    assert_equal(root)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_states_without_measurements_and_stores_without_runs_give_no_rows(tmp_path: Path) -> None:
    (point,) = [point for point in points_of(["demo"]) if point.run.config["replay"] == 0.05]
    store = Store(tmp_path)
    write(tmp_path, [point], known_loss)
    (document,) = store.runs()
    for stop in document["path"]:
        store.remove(stop["address"])
        store.write_state(stop["address"], lambda _: None, {"position": stop["position"]})
    assert load(tmp_path).empty
    assert {run.status for run in read_runs(tmp_path)} == {"partial"}
    shutil.rmtree(tmp_path / "runs")
    assert tuple(load(tmp_path).columns) == COLUMNS


def test_a_run_json_that_says_too_little_is_named(root: Path, tmp_path: Path) -> None:
    (document, *_) = Store(root).runs()
    wrong: list[dict[str, Any]] = [
        {"config": {}},
        {"requested": [{"position": 1}]},
        {"program": {"root": {"kind": "no"}}},
    ]
    for broken in wrong:
        Store(tmp_path).write_run(document["name"], document["key"], {**document, **broken})
        with pytest.raises(CorruptError, match=document["name"]):
            load(tmp_path)


# --- files of others -------------------------------------------------------------------------------------------------

CSV = """# made by hand
id,billions,C,pile ratio,val_loss,in_fit
a,1,12e18,0.5,3.0,1
b,2,48e18,0.25,2.5,1
c,3,x,,2.0,0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "theirs.csv").write_text(CSV)
    return tmp_path / "theirs.csv"


def test_a_map_gives_columns_numbers_and_expressions(file: Path) -> None:
    columns = parse_map("N=billions*1e9, D=C/(6*billions*1e9),r=pile ratio,loss=val_loss,run=id,T=7e7")
    table = read(file, columns, where="in_fit == 1")
    assert list(table.columns[:6]) == ["N", "D", "r", "loss", "run", "T"]
    assert table.N.tolist() == [1e9, 2e9]
    assert table.run.tolist() == ["a", "b"]
    assert set(table["T"]) == {7e7}
    assert table.loss.dtype == float
    assert table.in_fit.tolist() == [1, 1]  # what the map does not give stays as it is


def test_an_expression_is_arithmetic_on_numbers(file: Path) -> None:
    file.write_text(CSV.replace("x,,", "54e18,1,"))
    table = read(file, {"D": "C / (6 * billions * 1e9)", "logs": "log(val_loss)", "same": "`pile ratio` + 0"})
    assert table.D.tolist() == [2e9, 4e9, 3e9]
    assert table.logs.tolist() == pytest.approx([math.log(3), math.log(2.5), math.log(2)])
    assert table.same.tolist() == [0.5, 0.25, 1.0]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_csv_gz_and_parquet_are_the_same_table(tmp_path: Path, name: str) -> None:
    original = pd.DataFrame({"N": [10**9, 2 * 10**9], "loss": [3.1, 0.1 + 0.2], "run": ["a", "b"]})
    (original.to_parquet if name.endswith("parquet") else original.to_csv)(tmp_path / name, index=False)
    pd.testing.assert_frame_equal(read(tmp_path / name, {}), original, check_exact=True)


def test_a_frozen_table_is_read_below_its_comment() -> None:
    frozen = REPOSITORY / "paper_figures" / "data" / "demo.csv"
    table = read(frozen, {}, where="role == 'upstream' and D > 0")
    assert tuple(table.columns) == COLUMNS
    assert (table.D > 0).all()


def test_rows_are_counted_as_in_the_file_after_a_filter(file: Path) -> None:
    with pytest.raises(InputError, match=r"1 of 2 cells of pile ratio are missing \(row 4\)"):
        read(file, {"r": "pile ratio"}, where="billions > 1")


@pytest.mark.parametrize(
    ("columns", "where", "message"),
    [
        ("N=bilions", None, "--map=N=bilions: theirs.csv has no column bilions; it has billions"),
        ("N=params*2", None, "theirs.csv has no column params; it has id, billions, C, pile ratio, val_loss, in_fit"),
        ("D=C", None, "--map=D=C: 'x' of C in row 4 is not a number; give numbers"),
        ("D=C*2", None, "--map=D=C*2: 'x' of C in row 4 is not a number; give numbers"),
        ("r=pile ratio", None, "--map=r=pile ratio: 1 of 3 cells of pile ratio are missing (row 4); fill them"),
        ("r=`pile ratio`*2", None, "1 of 3 cells of pile ratio are missing (row 4)"),
        ("N=id", None, "'a' of id in row 2 is not a number"),
        ("N=billions*", None, "--map=N=billions*: it does not evaluate (a name or a number is due where the end is"),
        ("N=billions=3", None, "it does not evaluate ('=' at character 9: write == for equality)"),
        ("N=billions > 3", None, "it is no amount; write arithmetic"),
        ("N=@pd", None, "it does not evaluate ('@' at character 1: it is no part of an expression)"),
        ("N=billions", "in_fit == 2", "--where=in_fit == 2: it leaves no row of theirs.csv; write a wider condition"),
        (
            "N=billions",
            "in_fit =",
            "--where=in_fit =: it does not evaluate ('=' at character 8: write == for equality)",
        ),
        ("N=billions", "infit == 1", "--where=infit == 1: theirs.csv has no column infit; it has in_fit"),
        ("N=billions", "in_fit", "--where=in_fit: it is not a condition; compare columns"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(file: Path, columns: str, where: str | None, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        read(file, parse_map(columns), where)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", None, "there is no such file; name a CSV, CSV.gz or Parquet file"),
        (".", None, "it is a folder or a device, not a file; name a CSV, CSV.gz or Parquet file"),
        ("t.csv", b"", "it cannot be read as a table (No columns to parse from file)"),
        ("t.csv", b"N,loss\n", "it has no rows"),
        ("t.csv", b"\xff\xfe\x00", "it is not UTF-16 (byte 0x0 in line 1); save the table as UTF-8"),
        ("t.csv", b"N,loss\n1,2,3\n", "Expected 2 fields in line 2, saw 3); give a CSV (numbers with a decimal point)"),
        ("t.csv.gz", b"N,loss\n1,2\n", "it cannot be read as a table (Not a gzipped file"),
        ("t.parquet", b"N,loss\n1,2\n", "it cannot be read as a table ("),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read(tmp_path / name, {})
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_map_is_split_at_commas_outside_parentheses() -> None:
    assert parse_map("N=params, D = C/(6*N) ,r=f(a, b),run=id") == {
        "N": "params",
        "D": "C/(6*N)",
        "r": "f(a, b)",
        "run": "id",
    }
    assert parse_map("r=pile ratio") == {"r": "pile ratio"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("N", "'N' is not NAME"),
        ("N=", "'N=' is not NAME"),
        ("=x", "'=x' is not NAME"),
        ("N=a,", "'' is not NAME"),
        ("my N=a", "'my N=a' is not NAME"),
        ("N=a,N=b", "N is given twice"),
    ],
)
def test_a_map_that_is_none_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_map(text)


def test_an_amount_may_name_the_runs_too(tmp_path: Path) -> None:
    """Of one run a size, N is both: a number where a law reads it, and as it is written where it is a name."""
    file = tmp_path / "runs.csv"
    file.write_text("N,D,loss,seed\n1e8,1e9,3.0,01\n1e9,1e9,2.5,02\n")
    table = read(file, {"run": "N"}, where="N > 2e8")
    assert table.N.tolist() == [1e9]
    assert table.run.tolist() == ["1e9"]
    assert read(file, {"run": "seed"}).run.tolist() == ["01", "02"]
