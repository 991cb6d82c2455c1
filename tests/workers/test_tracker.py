"""The wandb mirror, read back from its offline file: the run's key, its losses by tokens, its summary."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.compose.compose import collect
from harness.launch import launch
from harness.plan.over_store import plan_over
from harness.plan.plan import PlannedRun
from harness.store.store import Store
from harness.workers.tracker import summary
from tests.composed import points_of
from tests.launched import settings
from tests.tiny import command, write_texts

OFFLINE = {"kind": "wandb", "mode": "offline", "project": "rewarm"}
RUNS = (
    "warmup=0.1",
    "warmup=0.1 tokens=0.1x schedule=warmup_constant horizon=1x",
    "warmup=0.1 schedule=warmup_constant horizon=1x",
)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[PlannedRun]]:
    folder = tmp_path_factory.mktemp("tracker")
    write_texts(folder / "texts")
    store = Store(folder / "root")
    points = points_of(*(command(folder / "texts", knobs) for knobs in RUNS))
    assert launch(plan_over(points, store), settings("inline"), store, tracker=OFFLINE, progress=False).failures == []
    import wandb

    wandb.teardown()  # as at the end of a process: until then its service may be writing
    return store, points


def read_back(store: Store, key: str) -> tuple[Any, list[dict[str, Any]], dict[str, Any]]:
    """(run record, history, summary) of the one offline run with this id."""
    from wandb.proto import wandb_internal_pb2

    (path,) = (store.root / "wandb").glob(f"offline-run-*-{key}/*.wandb")
    run, history, totals = None, [], dict[str, Any]()
    for data in logged_records(path.read_bytes()):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]  # protobuf makes it on import; no stub
        record.ParseFromString(data)
        if record.HasField("run"):
            run = record.run
        if record.HasField("history"):
            items = record.history.item
            history.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
        if record.HasField("summary"):
            totals.update({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.summary.update})
    return run, history, totals


def logged_records(content: bytes) -> Iterator[bytes]:
    """The records of a .wandb file, a LevelDB log: blocks of 32 KiB, each piece with checksum, length and kind."""
    assert content[:4] == b":W&B"
    at, record = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # too little left in the block for a header
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


def test_an_offline_run_holds_what_the_store_holds(mirrored: tuple[Store, list[PlannedRun]]) -> None:
    store, points = mirrored
    for point in points:  # one alone, one that is wholly a part of another, and that other
        run, history, totals = read_back(store, point.key)
        assert run.run_id == point.key
        assert run.display_name == point.run.name
        assert run.project == "rewarm"
        rows = store.rows(point.program.address())
        for corpus in ("upstream", "downstream"):
            logged = [(entry["tokens"], entry[f"loss/{corpus}"]) for entry in history if f"loss/{corpus}" in entry]
            assert logged == [(row.tokens, row.loss) for row in rows if row.corpus == corpus]
        steps = [entry["_step"] for entry in history]
        assert steps == sorted(steps)
        assert any("train/grad_norm" in entry for entry in history)
        for name, value in summary(point, rows).items():
            assert totals[name] == pytest.approx(value)


def test_the_summary_has_forgetting_and_adaptation(mirrored: tuple[Store, list[PlannedRun]]) -> None:
    store, points = mirrored
    point = points[0]
    rows = store.rows(point.program.address())
    base = {row.corpus: row.loss for row in rows if row.position == 60}
    last = {c: [row.loss for row in rows if row.corpus == c][-3:] for c in base}
    final = {corpus: sum(losses) / 3 for corpus, losses in last.items()}
    found = summary(point, rows)
    assert found["forgetting"] == pytest.approx(final["upstream"] - base["upstream"])
    assert found["adaptation"] == pytest.approx(base["downstream"] - final["downstream"])
    assert found["adaptation"] > 0  # it learns


def test_offline_says_where_it_wrote_and_how_to_send_it(
    mirrored: tuple[Store, list[PlannedRun]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is to be copied into a shell names exactly the folders that are there."""
    store = Store(tmp_path / "a root")
    launch(plan_over(mirrored[1][:1], store), settings("inline"), store, tracker=OFFLINE, progress=False)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wandb: ")]
    told = line.split("wandb sync ")[1]
    listed = subprocess.run(["bash", "-c", f"ls -d {told}"], capture_output=True, text=True, check=True).stdout
    assert listed.splitlines() == [str(path) for path in (store.root / "wandb").glob("offline-run-*")]
    assert "1 runs" not in line


def test_no_scale_switches_it_on() -> None:
    for scale in ("mini", "small", "paper"):
        assert collect([f"scale={scale}"])[0].config["tracker"] == {"kind": "off"}


def test_a_wandb_that_fails_costs_a_warning_and_no_training(
    mirrored: tuple[Store, list[PlannedRun]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # import wandb raises
    store, points = Store(tmp_path), mirrored[1][:1]
    outcome = launch(plan_over(points, store), settings("inline"), store, tracker=OFFLINE, progress=False)
    assert outcome.failures == []
    assert points[0].program.address() in store.addresses()
    assert capsys.readouterr().err.count("warning: wandb") == 1


def test_switched_off_wandb_is_not_imported(
    mirrored: tuple[Store, list[PlannedRun]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    launch(plan_over(mirrored[1][:1], store), settings("inline"), store, tracker={"kind": "off"}, progress=False)
    assert "wandb" not in sys.modules
    assert not (tmp_path / "wandb").exists()
