"""The commands as a stranger uses them: statuses, one line per refusal, nothing left behind."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from analysis.results.run_record import final_losses
from analysis.results.runs import read_runs
from harness import __main__ as harness_main
from harness import evaluate, peek, sweep
from harness.cli import run_command
from tests.tiny import KNOBS, write_texts


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    write_texts(tmp_path)
    return tmp_path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def call(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, main: Callable[[Sequence[str]], int] = harness_main.main
) -> int:
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    return run_command(main)


def local(texts: Path, *more: str) -> list[str]:
    return [*KNOBS.split(), f"upstream={texts}/upstream", f"downstream={texts}/downstream", *more]


def refused(capsys: pytest.CaptureFixture[str], status: int, *words: str, progress: bool = False) -> None:
    """Status 2, one line on stderr that holds these words, nothing on stdout. `progress`: the texts had to be read."""
    out, err = capsys.readouterr()
    assert status == 2, err
    assert out == ""
    *before, last = err.splitlines()
    assert progress or not before, err
    assert last.startswith("error: ")
    assert "Traceback" not in err
    for word in words:
        assert word in last


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("lrr=1", ("lrr=1", "did you mean lr?")),
        ("replay=1.5", ("replay=1.5", "at most 1")),
        ("warmup=-1", ("warmup=-1",)),
        ("lr=0", ("lr=0",)),
        ("lr=nan", ("lr=nan",)),
        ("tokens=10", ("tokens=10", "one batch")),
        ("hydra/launcher=submitit_slurm", ("hydra/launcher=submitit_slurm", "launch=local")),
        ("hydra/sweeper=optuna", ("hydra/sweeper=optuna",)),
        ("launch=moon", ("launch=moon", "inline, local")),
        ("launch=slurm launch.ranks=2", ("launch.ranks=2: not a key of the launch that was chosen",)),
        ("do=cancel", ("do=cancel", "there is no scancel here")),
        ("lr=[", ("lr=[",)),
        ("-cd nowhere -cn demo", ("-cd=", "nowhere: no such folder", "leave -cd out")),
        ("-cn nothing", ("-cn=nothing: no such sweep file",)),
    ],
)
def test_a_bad_argument_is_one_line_and_leaves_nothing(
    argument: str,
    words: tuple[str, ...],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(here))  # a SLURM may be here
    refused(capsys, call(monkeypatch, *argument.split()), *words)
    assert os.listdir(here) == []


def test_a_machine_without_slurm_is_told_so(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(here))
    refused(capsys, call(monkeypatch, "launch=slurm"), "there is no sbatch on PATH", "launch=local", progress=True)
    assert os.listdir(here) == []


def test_one_bad_point_stops_a_grid_of_a_hundred_before_anything_trains(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "grid.yaml").write_text(
        "defaults: [config, _self_]\ngrids:\n  - {seed: [" + ", ".join(map(str, range(99))) + "]}\n  - {warmup: [3]}\n"
    )
    refused(capsys, call(monkeypatch, "-cd", str(here), "-cn", "grid"), "point 100 of 100 (warmup=3)", "above 1")
    assert os.listdir(here) == ["grid.yaml"]


def test_bad_texts_are_refused_and_leave_nothing(
    texts: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (texts / "empty").mkdir()
    (texts / "latin1.txt").write_bytes("grüße aus köln".encode("latin-1") * 50)
    (texts / "no.parquet").write_bytes(b"this is not parquet")
    (texts / "rows.jsonl").write_text('{"body": "a text"}\n' * 50)
    (texts / "short.txt").write_text("too short")
    for name, words in (
        ("nowhere", ("downstream=", "nowhere")),
        ("empty", ("downstream=", "empty")),
        ("latin1.txt", ("latin1.txt", "UTF-8")),
        ("no.parquet", ("no.parquet",)),
        ("rows.jsonl", ("text", "body")),
        ("short.txt", ("downstream",)),
    ):
        status = call(monkeypatch, *local(texts), f"downstream={texts}/{name}")
        refused(capsys, status, *words, progress=True)
        assert os.listdir(here) == [], name


def test_an_unusable_root_is_refused(
    texts: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "file").write_text("in the way")
    refused(capsys, call(monkeypatch, *local(texts), "root=file/store"), "root=")
    (here / "newer").mkdir()
    (here / "newer/store.json").write_text('{"format": 99}')
    refused(capsys, call(monkeypatch, *local(texts), "root=newer"), "root=", "99")
    assert sorted(os.listdir(here)) == ["file", "newer"]


def test_a_disk_that_is_full_before_the_start_is_refused(
    texts: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    refused(capsys, call(monkeypatch, *local(texts)), "root=", "are free")
    assert os.listdir(here) == []


def test_a_run_from_the_command_line_then_again_then_measured_then_looked_at(
    texts: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = local(texts, "replay=0.25", "name=mine")
    assert call(monkeypatch, *arguments) == 0
    assert os.listdir(here) == ["runs"]
    capsys.readouterr()
    assert call(monkeypatch, *arguments, "do=plan", "json=true") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tokens_planned"] == 0
    assert document["points"][0]["status"] == "done"
    assert call(monkeypatch, *arguments, "json=true") == 0
    assert json.loads(capsys.readouterr().out)["points"][0]["run"] == "mine"

    assert call(monkeypatch, "mine", "windows=5", "launch=inline", main=evaluate.main) == 0
    assert "0 tokens trained" in capsys.readouterr().err
    assert call(monkeypatch, "mine", "windows=5", "launch=inline", main=evaluate.main) == 0
    assert "\n0 measurements of stored states added" in capsys.readouterr().err
    (run,) = read_runs(Path("runs"), windows=5)  # measured at stored positions: the end of the warm-up is no final loss
    assert {row.position for row in run.rows if row.position > run.base_position} == {64, 100}
    assert final_losses(run) == {row.corpus: row.loss for row in run.rows if row.position == 100}
    for added in Path("runs/states").glob(f"{run.facts.address}/evaluations-*.csv"):
        added.unlink()  # as if the state had been damaged and made again
    assert read_runs(Path("runs"))[0].status == "done"
    refused(capsys, call(monkeypatch, "mine", main=evaluate.main), "sets=")
    refused(capsys, call(monkeypatch, "yours", "sets=cpp", main=evaluate.main), "run=yours")

    assert call(monkeypatch, "mine", "--at", "70", main=peek.main) == 0
    shown = capsys.readouterr().out
    assert shown.count("--- slot") == 4
    assert ".txt" in shown
    refused(capsys, call(monkeypatch, "mine", "--at", "100", main=peek.main), "--at=100", "0 to 99")


def test_sweeps_by_name(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "rewarm_warmup", "rewarm_max_lr", "seed=0,1", "do=plan", "json=true", main=sweep.main) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["runs"] == 2 * (4 + 8 - 1)  # 1 % warm-up at the base's peak is in both
    refused(capsys, call(monkeypatch, "rewarm_warmpu", main=sweep.main), "rewarm_warmup")
    refused(capsys, call(monkeypatch, main=sweep.main), "demo")
    assert os.listdir(here) == []


def test_flags_and_overrides_come_in_any_order(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "two.yaml").write_text("defaults: [config, _self_]\ngrids:\n  - {seed: [0, 1]}\n")
    assert call(monkeypatch, "scale=paper", "-cd", str(here), "json=true", "-cn", "two", "do=plan") == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 2


def test_help_says_what_there_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    for word in ("schedule:", "sweeps/", "do=plan"):
        assert word in done.stdout


def test_shell_completion_is_for_the_installed_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/rewarm", "-sc", "install=bash"])
    assert run_command(harness_main.main) == 0
    assert capsys.readouterr().out.rstrip().endswith("-F hydra_bash_completion rewarm")


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"], ["--info", "defaults"]])
def test_a_reader_of_what_hydra_shows_may_leave(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Left(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "argv", ["harness", *flags])
    monkeypatch.setattr(sys, "stdout", Left())
    assert run_command(harness_main.main) == 0
