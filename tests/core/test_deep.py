"""JSON or YAML of 100,000 levels, wherever a file is read: named in one line, or set aside; never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.design.candidates import read_sweep
from analysis.fitting.fit_file import read_fit
from harness.core.errors import CorruptError, InputError
from harness.core.files import read_json
from harness.plan.run_file import loader
from harness.store.store import Store
from harness.texts.recipe import given_tokenizer

LEVELS = 100_000
JSON = '{"a":' * LEVELS + "1" + "}" * LEVELS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "deep.json").write_text(JSON)
    return tmp_path / "deep.json"


def test_files_of_a_user(file: Path) -> None:
    for read in (given_tokenizer, read_fit):
        with pytest.raises(InputError, match=r"=.*deep\.json: (not a tokenizer|cannot be read)") as refused:
            read(file)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 400


def test_a_sweep_file(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text(JSON)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    for name in ("deep.json", "bytes.yaml", "none.yaml"):
        with pytest.raises(InputError, match=r"base-sweep=.*cannot be read") as refused:
            read_sweep(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_files_of_a_store(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CorruptError, match="not a JSON object"):
        read_json(file)
    store = Store(tmp_path / "store")
    store.write_run("name", "k" * 32, {"key": "k" * 32, "name": "name"})
    (path,) = (tmp_path / "store" / "runs").glob("*/run.json")
    path.write_text(JSON)
    assert store.runs() == store.runs(loader()) == []
    assert "not a JSON object; left out" in capsys.readouterr().err
