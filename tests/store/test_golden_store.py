"""A store of an earlier version (tests/golden/store) is read, planned as done, continued and extended by this one."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from analysis import __main__ as analysis_main
from analysis.results import tables
from analysis.results.run_record import final_losses
from analysis.results.runs import read_runs
from harness import __main__ as harness_main
from harness import evaluate, peek
from harness.store.store import Store
from tests.launched import STATE_FILES
from tests.repository import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden" / "store"
KNOBS = (
    "shift=local model.layers=1 model.hidden=8 model.heads=1 model.vocab_size=257 model.seq_len=16 "
    "batch.sequences=4 batch.seq_len=16 scale.tokens=1280 scale.horizon=1280 base.tokens=1280 base.peak=0.01 "
    "warmup=0 base.warmup=0 evaluate.windows=2 evaluate.early=[0.1x] evaluate.every=0.25x evaluate.base_every=0.5x "
    "evaluate.final_windows=null"
)
RUNS = {"trunk": ["schedule=constant"], "cosine": [], "replay": ["replay=0.25"]}
QUEUED = ["schedule=constant", "tokens=2x,3x"]
BASE = "ed7f59c7322393dac6eeb9cf65997c71"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a copy of the store as `runs`; the texts lie elsewhere than when it was made.

    Its cluster, if there is one here, knows nothing of the store's jobs.
    """
    shutil.copytree(GOLDEN / "root", tmp_path / "runs")
    shutil.copytree(GOLDEN / "texts", tmp_path / "moved")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "squeue").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*more: str, root: str = "runs") -> list[str]:
    further = "+shift.further={other: moved/other.jsonl}"
    return [
        *KNOBS.split(),
        "upstream=moved/upstream.jsonl",
        "downstream=moved/downstream.jsonl",
        further,
        f"root={root}",
        *more,
    ]


def planned(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert harness_main.main(command("do=plan", "json=true", *more)) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_its_results_are_read(here: Path) -> None:
    table = tables.load(here / "runs")
    done = table[table.status == "done"]
    assert sorted(done.name.unique()) == sorted(RUNS)
    assert sorted(done.corpus.unique()) == ["downstream", "upstream"]
    assert done.groupby("name").position.max().unique().tolist() == [40]
    replay = done[(done.name == "replay") & (done.corpus == "upstream") & (done.position == 40)]
    assert replay.r.item() == 0.25
    assert (replay.loss.item(), replay.D.item()) == (pytest.approx(3.6939, abs=1e-4), 1280)


def test_its_runs_are_done_wherever_the_texts_lie_now(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, knobs in RUNS.items():
        document = planned(capsys, *knobs)
        assert (document["tokens_planned"], document["evaluations"]) == (0, 0), name
        (point,) = document["points"]
        assert point["status"] == "done"
        assert list((here / "runs" / "runs").glob(f"{name}-{point['key'][:12]}"))


def test_it_is_continued_as_what_is_trained_anew(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Byte for byte, where this machine's bits are those of the one that made the store."""
    longer = ["schedule=constant", "tokens=2x", "launch=inline"]
    assert planned(capsys, *longer)["tokens_planned"] == 1280
    for root in ("runs", "new"):
        assert harness_main.main(command(*longer, root=root)) == 0
    old, new = Store(here / "runs"), Store(here / "new")
    assert new.addresses() <= old.addresses()
    (end,) = new.addresses() - {path.name for path in (GOLDEN / "root" / "states").iterdir()}
    if _bytes(old, BASE) == _bytes(new, BASE):
        assert _bytes(old, end) == _bytes(new, end)
    for address in new.addresses():
        here_, there = (load_file(store.root / "states" / address / "weights.safetensors") for store in (old, new))
        for name, tensor in here_.items():
            if not name.endswith(
                "query_key_value.bias"
            ):  # that of keys has no gradient but rounding, which Adam scales up
                np.testing.assert_allclose(tensor, there[name], rtol=1e-3, atol=1e-4)
        ours, theirs = ([row.loss for row in store.rows(address)] for store in (old, new))
        assert ours == pytest.approx(theirs, rel=1e-4)


def _bytes(store: Store, address: str) -> list[bytes]:
    return [(store.root / "states" / address / name).read_bytes() for name in STATE_FILES]


def test_its_runs_are_shown_looked_into_and_measured(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With no text left: the store has the tokens, and the recorded programs say the rest."""
    shutil.rmtree(here / "moved")
    assert analysis_main.main(["show", "replay"]) == 0
    assert "0.75 downstream + 0.25 upstream" in capsys.readouterr().out
    assert analysis_main.main(["diff", "trunk", "cosine"]) == 0
    assert peek.main(["replay", "--at", "25"]) == 0
    assert "--- slot 3: " in capsys.readouterr().out
    assert evaluate.main(["replay", "sets=other", "windows=4", "launch=inline"]) == 0
    (run,) = (run for run in read_runs(here / "runs", windows=4) if run.facts.name == "replay")
    assert set(final_losses(run)) == {"upstream", "downstream", "other"}
    assert {row.windows for row in run.rows} == {4}


def test_a_job_that_was_queued_then_is_not_submitted_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is known as its points' own. It runs the code that was frozen with it; here only its record is left."""
    cluster = here / "bin"
    answers = {
        "squeue": "echo '4242|N/A|PENDING|rewarm-7eea0c43ffb4'",
        "scontrol": "echo MaxArraySize=1000",
        "sbatch": 'case "$*" in *--test-only*) ;; *) echo "$*" >> submitted; echo "Submitted batch job 4243";; esac',
        "srun": "",
    }
    for name, body in answers.items():
        (cluster / name).write_text(f"#!/bin/sh\n{body}\n")
        (cluster / name).chmod(stat.S_IRWXU)
    document = planned(capsys, "-m", *QUEUED)
    assert [(point["status"], point.get("job")) for point in document["points"]] == [("queued", "4242")] * 2
    slurm = ["-m", *QUEUED, "launch=slurm", "launch.gpus_per_node=0", "launch.cpus=1"]
    assert harness_main.main(command(*slurm)) == 0
    assert "1 jobs are queued or running already: 4242" in capsys.readouterr().err
    assert not (here / "submitted").exists()
    (work,) = (here / "runs" / "jobs").glob("*/work-0.json")
    content = work.read_bytes()
    work.write_text('{"works": [{"task": {"of": "another version"}}]}')
    assert harness_main.main(command(*slurm)) == 0
    assert not (here / "submitted").exists()
    work.write_bytes(content)
    slurm += ["evaluate.every=0.125x"]  # more rows than the job will measure: what is missing comes after it
    assert harness_main.main(command(*slurm)) == 0
    assert "after afterany:4242" in capsys.readouterr().err
