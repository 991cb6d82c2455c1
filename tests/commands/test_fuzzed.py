"""No traceback in any law, and in no decision, on any subset of any committed table (`tests.fuzzed` draws more)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.called import refused
from tests.fuzzed import ENDS, TABLES, drawn, fuzzed


def test_a_draw_is_the_same_again(tmp_path: Path) -> None:
    first, again = drawn(3, tmp_path), drawn(3, tmp_path)
    assert first == again
    assert len(TABLES) >= 11


@pytest.mark.slow
@pytest.mark.parametrize("first", [1000, 1010])
def test_no_draw_ends_in_a_traceback(first: int) -> None:
    faults = [(number, draw, text) for number, draw, end, text in fuzzed(first, 10) if end not in ENDS]
    assert not faults


def test_columns_of_no_law_are_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Draw 128: of no law nothing is unlike."""
    file = str(tmp_path / "curve.csv")
    pd.DataFrame({"schedule": ["a", "b"], "corpus": "docs", "loss": [3.0, 2.9]}).to_csv(file, index=False)
    line = refused(monkeypatch, capsys, "fit", "auto", "--table", file)
    assert "no law can be fitted (none reads these columns)" in line
