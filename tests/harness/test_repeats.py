"""Repeats in different units are counted, and so is what is both trained and validated on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.corpora import tokenizer
from harness.repeats import main
from tests.ingest.test_listed_files import built, listed, recipe_of, records, source_of, write


def test_repeats_are_counted_across_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vocabulary = tmp_path / "tokenizer.json"
    vocabulary.write_text(tokenizer.train([row["text"] for row in records(60)], 300).to_str())
    write(tmp_path / "data", {"a.jsonl": [*records(50), records(1)[0]], "b.jsonl": [*records(80, 1), *records(50)[:7]]})
    write(tmp_path / "own", {"v.jsonl": [*records(30, 9), *records(50)[:3]]})
    source = source_of(tmp_path / "data", validation=listed(tmp_path / "own"), unit_bytes=9_000)
    corpus = built(tmp_path / "root", recipe_of(source, vocabulary))
    assert main(["slim", "--root", str(tmp_path / "root"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["documents"] == corpus.train.documents + corpus.validation.documents
    within, across = found["within_units"], found["across_units"]
    assert within + across == 8
    assert across >= 7
    assert found["train_documents"] == 130 + across
    assert found["validation_in_train"] == 3
    assert main([corpus.folder.name[:5], "--root", str(tmp_path / "root")]) == 0
    assert "3 of 33 validation documents are trained on, too" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"corpus=slum: no such corpus of listed files .*\(slim\)"):
        main(["slum", "--root", str(tmp_path / "root")])
