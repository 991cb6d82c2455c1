"""Servers are asked once which files the corpora of a call are; a plan without them says so, a run ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.compose.compose import collect
from harness.compose.listing import list_corpora
from harness.config.corpora import NOT_LISTED
from harness.config.run import read_run
from harness.formats.servers import UnreachableError
from harness.texts.listed import FilesSource
from tests.hub_server import Hub
from tests.repository import REPOSITORY

TOKENIZER = next((REPOSITORY / "tests" / "golden" / "store").rglob("tokenizer.json"))


def source(*arguments: str) -> FilesSource:
    (point,) = collect(arguments)
    found = read_run(point.config).recipes["law"].source
    assert isinstance(found, FilesSource)
    return found


def test_asked_once_then_known_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "store"
    call = ("downstream=law=hf://datasets/some/law@v1/*.jsonl.zst", f"tokenizer={TOKENIZER}", f"root={root}")
    with Hub() as hub:
        hub.use(monkeypatch, tmp_path)
        hub.commit("some/law", {f"{n}.jsonl.zst": bytes([n]) for n in range(3)}, revision="v1", kind="dataset")
        configs = [point.config for point in collect(["-m", *call, "seed=0,1"])]
        hub.go_offline(monkeypatch)
        list_corpora(configs, [root], only_shown=True)
        assert "corpus.law.files=hf://datasets/some/law@v1/*.jsonl.zst: was never listed" in capsys.readouterr().err
        assert source(*call).train.digest.startswith(NOT_LISTED)
        with pytest.raises(UnreachableError):
            list_corpora(configs, [root], only_shown=False)
        assert not root.exists(), "nothing is left behind"
        hub.use(monkeypatch, tmp_path)
        list_corpora(configs, [root], only_shown=False)
        asked = hub.count()
        assert hub.count("/api/datasets/some/law/tree") == 1
        assert hub.count("GET /storage") == 0, "nothing is downloaded"
        assert len(source(*call).train.files) == 3
        hub.go_offline(monkeypatch)
        list_corpora(configs, [root], only_shown=False)
        list_corpora(configs, [tmp_path / "own", root], only_shown=False)  # a parent store knows, too
        assert hub.count() == asked
