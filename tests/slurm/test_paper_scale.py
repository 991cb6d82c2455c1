"""A paper's sweep at scale=paper on a real SLURM: from a hub, corpora built by jobs, on nodes that ask no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import read_runs
from harness.__main__ import main
from tests.hub_server import Hub
from tests.published import KNOBS, publish, shrunk_sweeps
from tests.slurm.cluster import queue, until


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.usefixtures("box")
def test_a_papers_sweep_runs_on_a_cluster_and_again_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps, root = shrunk_sweeps(tmp_path / "sweeps"), tmp_path / "root"
    jobs = ["launch=slurm", "launch.gpus_per_node=0", "launch.cpus=1", "launch.ingest.build=jobs"]
    knobs = [knob for knob in KNOBS if not knob.startswith("launch.workers")]
    knobs += ["corpus.pile.tokens=null", "corpus.slimpajama.tokens=null"]  # all files, so that none is fetched later
    call = ["-cd", str(sweeps), "-cn", "rewarm_warmup", *knobs, *jobs, f"root={root}"]
    with Hub() as server:
        server.use(monkeypatch, tmp_path)
        publish(server, tmp_path)
        assert main(call) == 0, capsys.readouterr().err
        server.go_offline(monkeypatch)  # before the first job has ended: what they need is in the store
        asked = server.count()
        until(lambda: not queue())
        runs = read_runs(root)
        assert [run.status for run in runs] == ["done"] * 4, capsys.readouterr().err
        capsys.readouterr()
        assert main(call) == 0
        assert "nothing to train" in capsys.readouterr().err
        assert server.requests[asked:] == []
