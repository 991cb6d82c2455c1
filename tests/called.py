"""`python -m analysis` as a user calls it: its document, or the one line of a refusal."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from analysis.__main__ import command, main


def document(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    """What `--json` prints: exactly one document on stdout, nothing on stderr."""
    assert main([*arguments, "--json"]) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    found: dict[str, Any] = json.loads(captured.out)
    return found


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line on stderr of a call that ends with status 2."""
    monkeypatch.setattr(sys, "argv", ["analysis", *arguments])
    assert command() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err
