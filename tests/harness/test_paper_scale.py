"""The papers' sweeps at scale=paper, from a hub to the table: checkpoints, data in its published layout, training.

Sizes are shrunk, and nothing else: the grids are those of sweeps/, the corpora those of conf/corpus, and the vocabulary
is as large as Pythia's.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import read_runs
from harness.__main__ import main
from harness.cli import run_points
from harness.compose.compose import collect, sweep_points
from harness.config.start import PYTHIA_STEPS
from harness.core.errors import InputError
from tests.hub_server import Hub
from tests.published import KNOBS, MODEL, PAPERS, PICKLED_STEP, STEPS, publish, shrunk_sweeps


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
    revisions = server.repositories[MODEL].revisions
    assert commits == {revisions[f"step{step}"] for step in STEPS if step != PICKLED_STEP}

    early = [
        *overrides,
        "start=pythia",
        f"start.at={PICKLED_STEP / PYTHIA_STEPS}",
        "tokens=640",
        "warmup=0",
        "name=early",
    ]
    with pytest.raises(InputError, match=r"^path=EleutherAI/pythia-410m@step512: .*allow_pickled=true") as refused:
        main(early)
    assert "\n" not in str(refused.value)
    assert main([*early, "allow_pickled=true"]) == 0
    (run,) = [run for run in read_runs(root) if run.facts.name == "early"]
    assert (run.status, run.document["checkpoint"]["commit"]) == ("done", revisions["step512"])

    server.go_offline(monkeypatch)
    shutil.rmtree(tmp_path / "hf_home")
    asked, states = server.count(), sorted(path.name for path in (root / "states").iterdir())
    for points in (sweep_points(PAPERS, overrides, folder), collect(early)):
        assert run_points(points) == 0
        assert "nothing to train" in capsys.readouterr().err
    assert server.count() == asked
    assert sorted(path.name for path in (root / "states").iterdir()) == states
