"""Sequences that were fetched stay as long as a corpus needs them, and are fetched again where they are damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pytest

from harness.corpora import tokenizer
from harness.corpora.corpus import open_corpus
from harness.disk import main
from harness.ingest.build import build
from harness.store.store import Store
from harness.store.usage import inventory
from harness.texts.listed import MegatronSource, listing
from harness.texts.recipe import CORPUS_CODE, Recipe, given_tokenizer
from tests.megatron_files import listed, write_pair


def test_sequences_are_verified_kept_and_removed_with_their_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def called(*arguments: str) -> dict[str, list[dict[str, str]]]:
        main([*arguments, f"root={tmp_path / 'runs'}", "--json"])
        return dict(json.loads(capsys.readouterr().out))

    sequences = np.random.default_rng(0).integers(0, 257, (50, 17))
    write_pair(tmp_path / "data" / "document", sequences)
    fsspec.filesystem("memory").put(str(tmp_path / "data"), "/kept", recursive=True)
    tokenizer.train(["a text"], 280).save(str(tmp_path / "tokenizer.json"))
    train = listing(replace(f, url=f"memory://kept/{f.name}") for f in listed(tmp_path / "data").files)
    recipe = Recipe("p", MegatronSource(train, 17), given_tokenizer(tmp_path / "tokenizer.json"), 0.1, CORPUS_CODE)
    root = Store(tmp_path / "runs").root
    root.mkdir()
    (root / "store.json").write_text('{"format": 1}')
    build([recipe], root, progress=False)
    assert called("verify")["damaged"] == []
    (data,) = (entry.path for entry in inventory(root) if entry.kind == "sequences" and entry.bytes == 50 * 17 * 2)
    status, content = data.stat(), bytearray(data.read_bytes())
    content[99] ^= 1
    data.write_bytes(content)
    (found,) = called("verify")["damaged"]
    assert data.name in found["why"]
    assert not data.exists()
    assert status.st_size == len(content)
    build([recipe], root, progress=False)
    assert (open_corpus(root, recipe).train.read(np.arange(45), 16) == sequences[:45]).all()
    assert called("verify")["damaged"] == []
    removed = called("gc", "--older", "0d")["removed"]  # no recorded run needs the corpus, nor its sequences
    assert sorted(one["kind"] for one in removed if one["kind"] in ("corpora", "sequences")) == [
        "corpora",
        "sequences",
        "sequences",
    ]
