"""The papers' sweeps at scale=paper, from a hub to the table: checkpoints, data in its published layout, training.

Sizes are shrunk, and nothing else: the grids are those of sweeps/, the corpora those of conf/corpus.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import read_runs
from harness.cli import run_points
from harness.compose.compose import sweep_points
from tests.hub_server import Hub
from tests.published import KNOBS, MODEL, PAPERS, publish, shrunk_sweeps


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as server:
        server.use(monkeypatch, tmp_path)
        publish(server, tmp_path)
        yield server


@pytest.mark.slow
def test_the_papers_sweeps_run_from_a_hub_and_again_without_one(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, folder = tmp_path / "root", shrunk_sweeps(tmp_path / "sweeps")
    overrides = [*KNOBS, f"root={root}"]
    points = sweep_points(PAPERS, overrides, folder)
    assert len(points) == 4 + 5 + 4 + 7 + 12
    assert run_points(points) == 0, capsys.readouterr().err
    runs = read_runs(root)
    assert {run.status for run in runs} == {"done"}
    bases = {run.facts.model for run in runs if run.facts.start == "pythia"}
    assert bases == {"pythia-410m", "pythia-410m@step10000", "pythia-410m@step27000"}
    weak = [run for run in runs if run.facts.downstream == "slimpajama"]
    names = ("CommonCrawl", "C4", "Github", "Arxiv", "Book", "Wikipedia", "StackExchange")
    parts = {f"slimpajama.{name}" for name in names}  # of 21 windows, by their weights
    assert {row.corpus for run in weak for row in run.rows} == {"pile", "slimpajama", *parts}
    commits = {run.document["checkpoint"]["commit"] for run in runs if run.facts.start == "pythia"}
    assert commits == {commit for name, commit in server.repositories[MODEL].revisions.items() if name != "main"}

    server.go_offline(monkeypatch)
    shutil.rmtree(tmp_path / "hf_home")
    asked, states = server.count(), sorted(path.name for path in (root / "states").iterdir())
    assert run_points(sweep_points(PAPERS, overrides, folder)) == 0
    assert "nothing to train" in capsys.readouterr().err
    assert server.count() == asked
    assert sorted(path.name for path in (root / "states").iterdir()) == states
