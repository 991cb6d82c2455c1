"""`python -m analysis`: what a reader and a program get, and how wrong input is answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.report.show import lr_curve
from analysis.results.runs import read_runs
from harness.core.errors import CorruptError
from harness.plan.plan import PlannedRun
from harness.plan.recorded_runs import program_of
from harness.store.store import Store
from tests.called import document, refused
from tests.repository import REPOSITORY
from tests.synthetic_store import points_of, write


def loss(point: PlannedRun, corpus: str, tokens: int, _end: int) -> float:
    up = corpus == "docs"
    return (3.0 if up else 5.0) + (1 if up else -1) * max(tokens, 0) / 1e6 * (point.run.config["peak"] or 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "store"
    write(folder, points_of(["demo"]), loss, stop_before=lambda point: point.run.config["replay"] == 0.5)
    return folder


def test_runs_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "runs", "--root", str(root))
    assert found["schema"] == "rewarm.runs/1"
    assert len(found["runs"]) == 16
    required = {
        "run",
        "address",
        "base_address",
        "model",
        "N",
        "D",
        "replay",
        "lr",
        "warmup",
        "schedule",
        "start",
        "seed",
        "loss",
        "base_loss",
        "forgetting",
        "adaptation",
        "status",
    }
    for run in found["runs"]:
        assert required <= run.keys()
        undefined = run["start"] == "scratch" or run["status"] != "done"
        assert (run["forgetting"] is None) == (run["adaptation"] is None) == undefined
    quadruple = next(run for run in found["runs"] if run["peak"] == 4)
    assert quadruple["forgetting"] == pytest.approx(quadruple["loss"]["docs"] - 3)
    assert quadruple["adaptation"] == pytest.approx(5 - quadruple["loss"]["python"])


def test_runs_of_a_sweep_with_its_overrides(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "runs", "--root", str(root), "--sweep", "rewarm_warmup", "seed=0,1")
    assert [run["status"] for run in found["runs"]].count("missing") == 4
    assert {run["seed"] for run in found["runs"] if run["status"] == "missing"} == {1}


def test_runs_table_names_every_run_and_counts_states(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["runs", "--root", str(root)])
    text = capsys.readouterr().out
    assert all(run.facts.run in text for run in read_runs(root))
    assert text.splitlines()[-1] == "16 runs: 15 done, 1 missing"
    (row,) = [line for line in text.splitlines() if "peak4x" in line]
    assert row.split()[1:3] == ["done", "600k"]


def test_show_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "docs_to_python-cosine-peak1x-warmup0.01-replay0.25"
    found = document(capsys, "show", name, "--root", str(root))
    assert found["schema"] == "rewarm.show/1"
    phases = found["phases"]
    assert [phase["shape"] for phase in phases] == ["Ramp", "Cosine", "Ramp", "Cosine"]
    assert sum(phase["steps"] for phase in phases) == found["steps"]
    assert [phase["base"] for phase in phases] == [True, True, False, False]
    assert phases[2]["optimizer_state"] == "reset"
    assert phases[2]["restart"] == ["docs"]
    assert phases[2]["lr_first"] == 0.0  # the first update of a warm-up
    assert phases[3]["lr_first"] == pytest.approx(found["lr"])
    assert phases[3]["mixture"] == {"docs": 0.25, "python": 0.75}
    assert [stop["stored"] for stop in found["path"]] == [True] * len(found["path"])
    assert [stop["position"] for stop in found["path"] if stop["base"]] == [found["base_position"]]
    data = found["data"]
    assert sum(corpus["tokens"] for corpus in data.values()) == found["tokens"]
    assert data["python"]["cpt_tokens"] == data["python"]["tokens"] == pytest.approx(0.75 * found["D"], abs=128)
    assert data["docs"]["epochs"] == 0.5  # as the state says


def test_show_for_a_reader(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base_peak = next(run.facts.lr for run in read_runs(root) if run.facts.peak == 1)
    assert main(["show", "docs_to_python-cosine-peak2x", "--root", str(root)]) == 0
    text = capsys.readouterr().out
    for expected in (
        "continual pre-training",
        f"{2 * base_peak:.3g} to {0.2 * base_peak:.3g}",
        "optimizer reset",
        "final loss",
        "forgetting +",
        "┊",
    ):
        assert expected in text
    assert main(["show", "docs_to_python-cosine-peak1x-warmup0.01-replay0.5", "--root", str(root)]) == 0
    text = capsys.readouterr().out
    assert "no final loss yet" in text
    assert [line.split()[2] for line in text.splitlines() if line.endswith("  base")] == ["yes"]
    assert "  no  " in text  # what is not stored yet


def test_the_curve_shows_where_the_learning_rate_is(root: Path) -> None:
    run = next(run for run in read_runs(root) if run.facts.schedule == "constant" and run.facts.upstream != "python")
    program = program_of(run.document)
    lines = lr_curve(program, run.document["base_position"], width=40, height=5)
    peak = max(program.lr(position) for position in range(program.steps))
    assert lines[0].split()[0] == f"{peak:.3g}"
    assert all(len(line) <= 11 + 40 for line in lines)
    drawn = [
        [11 + 40 > column >= 11 and 0x2801 <= ord(mark) <= 0x28FF for column, mark in enumerate(line.ljust(51))]
        for line in lines[:5]
    ]
    assert any(drawn[0][11:15])  # at the peak soon after the start
    assert not any(any(row[40:]) for row in drawn[:4])  # low at the end: a tenth of the peak
    assert all(drawn[4][46:50])


def test_diff(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("docs_to_python-cosine-peak1x-warmup0.02", "docs_to_python-cosine-peak4x")
    found = document(capsys, "diff", *names, "--root", str(root))
    assert found["schema"] == "rewarm.diff/1"
    assert found["config"] == {"peak": {"a": None, "b": 4}, "warmup": {"a": 0.02, "b": 0.01}}
    assert found["common_steps"] == round(3e6 / 512)
    assert [phase["base"] for phase in found["phases"]["a"]] == [False, False]
    for pair in found["loss"].values():
        assert pair["difference"] == pytest.approx(pair["b"] - pair["a"])
    assert main(["diff", *names, "--root", str(root)]) == 0
    assert "warmup  0.02  ->  0.01" in capsys.readouterr().out
    assert document(capsys, "diff", names[0], names[0], "--root", str(root))["config"] == {}


def test_a_run_is_found_by_folder_name_and_key(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = read_runs(root)[3].facts
    for text in (run.run, run.name, run.key, run.key[:14]):
        assert document(capsys, "show", text, "--root", str(root))["run"] == run.run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["runs", "--root", "nowhere"], "root=nowhere: there is no store"),
        (["show", "x", "--root", "nowhere"], "root=nowhere: there is no store"),
        (["runs", "--sweep", "demmo"], "sweep=demmo: no such file"),
        (["runs", "--sweep", "demo", "warmupp=0.5"], "did you mean warmup?"),
        (["runs", "--sweep", "demo", "replay_order=1.5"], "replay_order=1.5"),
        (["runs", "seed=1"], "overrides need a sweep"),
        (["runs", "--swep"], "did you mean --sweep?"),
        (["show", "no-such-run"], "run=no-such-run: no such run"),
        (["show", "docs_to_python"], "runs begin so"),
        (["diff", "docs_to_python"], "required"),
        (["frobnicate"], "command=frobnicate: no such choice"),
        ([], "required"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    store = ["--root", str(root)] if arguments and arguments[0] != "frobnicate" and "--root" not in arguments else []
    assert expected in refused(monkeypatch, capsys, *arguments, *store)


def test_a_run_json_of_another_program_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Store(root).runs()[0]
    store = Store(tmp_path)
    store.write_run(first["name"], first["key"], {**first, "address": "0" * 32})
    with pytest.raises(CorruptError, match="does not have its address"):
        main(["show", first["name"], "--root", str(tmp_path)])
    store.write_run(first["name"], first["key"], {**first, "phase_steps": [1]})
    with pytest.raises(CorruptError, match="not a program"):
        main(["runs", "--root", str(tmp_path)])
    store.write_run(first["name"], first["key"], {name: first[name] for name in first if name != "parameters"})
    with pytest.raises(CorruptError, match="parameters"):
        main(["runs", "--root", str(tmp_path)])
    assert capsys.readouterr().out == ""


def test_the_module_as_a_command(root: Path) -> None:
    call = subprocess.run(
        [sys.executable, "-m", "analysis", "runs", "--root", str(root), "--json"],
        cwd=REPOSITORY,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(call.stdout)["runs"]) == 16
    assert call.stderr == ""


def test_runs_say_model_and_batch(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = document(capsys, "runs", "--root", str(root))["runs"]
    assert {(entry["batch"], entry["seq_len"], entry["precision"]) for entry in entries} == {(4, 128, "fp32")}
    assert main(["runs", "--root", str(root)]) == 0
    text = capsys.readouterr().out
    models = {(entry["model"], entry["N_total"]) for entry in entries}
    assert text.count("batch of 4 sequences of 128 tokens, fp32") == (1 if len(models) == 1 else len(entries))
