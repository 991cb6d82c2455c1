"""From a published checkpoint without replay, upstream is measured and no more of it is fetched; with replay it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import disk, evaluate
from harness.__main__ import main
from harness.store.store import Store
from tests.hub_server import Hub
from tests.ingest.test_listed_files import content
from tests.published import KNOBS, PILE, SLIMPAJAMA, publish

CALL = ["start=pythia", "shift=pile_to_slimpajama", "peak=1", *(k for k in KNOBS if not k.startswith("launch."))]
CALL += ["launch=inline", "launch.micro_batch=4"]
CALL += ["corpus.pile.tokens=null", "corpus.slimpajama.tokens=null"]  # all files: so no unit is built that none needs
TRAIN = f"GET .*{PILE}.*train/"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as server:
        server.use(monkeypatch, tmp_path)
        publish(server, tmp_path)
        yield server


def call(root: Path, *more: str) -> int:
    return main([*CALL, f"root={root}", *more])


def rows(root: Path) -> dict[str, Any]:
    """Every row of every run, by the address of its last state."""
    store = Store(root)
    return {document["address"]: store.rows(document["address"]) for document in store.runs()}


def published(server: Hub, name: str) -> dict[str, int]:
    """Sizes of a dataset's files, which are compressed: another library makes a few bytes more or less."""
    repository = server.repositories["dataset", name]
    return {path: len(data) for path, data in repository.commits[repository.revisions["main"]].items()}


def tidied(root: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What of corpora is removed, where nothing is damaged."""
    capsys.readouterr()
    assert disk.main(["verify", f"root={root}"]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert disk.main(["gc", "--older", "0d", f"root={root}", "--json"]) == 0
    removed = json.loads(capsys.readouterr().out)["removed"]
    return sorted(one["kind"] for one in removed if one["kind"] in ("corpora", "shards", "listings", "fetched"))


@pytest.mark.slow
def test_upstream_is_fetched_when_something_trains_on_it(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, other = tmp_path / "runs", tmp_path / "other"
    assert call(root, "replay=0", "do=plan", "json=true") == 0
    expected = sum(published(server, SLIMPAJAMA).values()) + published(server, PILE)["val.jsonl.zst"]
    assert json.loads(capsys.readouterr().out)["fetch_bytes"] == expected, "of the Pile its validation file alone"
    assert call(root, "replay=0") == 0
    said = capsys.readouterr().err  # how many there are is up to a tokenizer of the installed packages' texts
    assert re.search(r"corpus pile: [\d,]+ validation tokens in", said), said
    (run,) = Store(root).runs()
    assert evaluate.main([run["name"], "sets=pile", "windows=30", f"root={root}", "launch=inline"]) == 0
    assert not server.count(TRAIN)
    assert tidied(root, capsys) == []
    before = rows(root)
    cut_short = shutil.copytree(root, tmp_path / "cut short")

    assert call(root, "replay=0.25") == 0
    assert server.count(TRAIN)
    assert tidied(root, capsys) == []
    assert call(other, "replay=0.25") == 0  # the whole corpus from the start
    assert call(other, "replay=0") == 0
    assert evaluate.main([run["name"], "sets=pile", "windows=30", f"root={other}", "launch=inline"]) == 0
    assert rows(root) == rows(other)
    assert before.items() <= rows(root).items()
    assert content(root / "shards") == content(other / "shards")
    mine, theirs = (
        {name: data for name, data in content(at / "corpora").items() if "overlap-" not in name} for at in (root, other)
    )
    assert mine == theirs  # what is looked for in them depends on what is measured while they are there

    # A run that trains on it is recorded, and its units are under way: they stay, and go where no run is to come.
    for path in (other / "shards").iterdir():
        if not (cut_short / "shards" / path.name).exists():
            shutil.copytree(path, cut_short / "shards" / path.name)
    (replayed,) = {path.name for path in (root / "runs").iterdir()} - {
        run.name for run in (cut_short / "runs").iterdir()
    }
    shutil.copytree(root / "runs" / replayed, cut_short / "runs" / replayed)
    assert tidied(cut_short, capsys) == []
    shutil.rmtree(cut_short / "runs" / replayed)
    assert set(tidied(cut_short, capsys)) == {"shards"}

    server.go_offline(monkeypatch)
    asked = server.count()
    assert call(root, "replay=0,0.25", "-m") == 0
    assert "nothing to train" in capsys.readouterr().err
    assert server.count() == asked
