"""What is read from others can only be worked out or be refused: `tests.hostile`, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import expressions
from tests.repository import REPOSITORY

LONGEST_LINE = 4_000


def met(folder: Path, *every: str) -> list[dict[str, Any]]:
    """What each expression did where it was met."""
    here = folder / "here"
    here.mkdir()
    command = [sys.executable, "-m", "tests.hostile", str(folder), *every]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(here.iterdir()) == []
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def wrong(one: dict[str, Any]) -> bool:
    """Whether it did more than be refused in one line. Some that are only large, numbers to fix, and words that a
    parameter may be called (`exp` without a call is no more than that), are answered."""
    if one["events"] or "Warning" in one["err"]:
        return True
    if one["status"] in (0, 1):  # 1: such a fit supports nothing
        named = one["place"] == "parameter" and one["text"].isalpha()
        return not (one["kind"] == "size" or one["place"] == "fix" or named)
    line = one["err"].startswith("error: ") and one["err"].count("\n") == 1 and len(one["err"]) < LONGEST_LINE
    return not (one["status"] == 2 and line and one["out"] == "" and one["err"][:-1].isprintable())


def test_no_expression_does_anything(tmp_path: Path) -> None:
    found = met(tmp_path, "9")
    assert len(found) == len(expressions()) > 250
    assert [one for one in found if wrong(one)] == []


@pytest.mark.slow
def test_no_expression_does_anything_anywhere(tmp_path: Path) -> None:
    found = met(tmp_path)
    assert len(found) == 9 * len(expressions())
    assert [one for one in found if wrong(one)] == []
