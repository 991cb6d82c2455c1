"""The notebooks: they run from the committed tables, only call, and are committed with what they show."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "analysis" / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def cells(name: str) -> list[dict[str, Any]]:
    return list(json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"])


def code(name: str) -> list[dict[str, Any]]:
    return [cell for cell in cells(name) if cell["cell_type"] == "code"]


def pictures(cell: dict[str, Any]) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell["outputs"])


def test_there_are_three() -> None:
    assert NOTEBOOKS == ["chinchilla_and_isoflop", "dcpt_mixture", "lr_annealing_and_multi_power"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_they_define_nothing(name: str) -> None:
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in code(name)))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_they_ask_first_and_open_with_a_figure(name: str) -> None:
    first, second = cells(name)[:2]
    assert first["cell_type"] == "markdown"
    assert "**Question.**" in "".join(first["source"])
    assert pictures(second) == 1
    assert all(cell["execution_count"] == number for number, cell in enumerate(code(name), 1))
    printed = "".join("".join(output.get("text", [])) for output in second["outputs"])
    assert "90 % interval" in printed  # the answer


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_they_run_from_the_committed_tables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the public tables of others, and as many figures per cell as are committed, where it needs none."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.delenv("REWARM_REFERENCE_DATA", raising=False)
    plt.switch_backend("Agg")
    space: dict[str, Any] = {}
    printed = io.StringIO()
    for number, cell in enumerate(code(name), 1):
        source = "".join(cell["source"])
        with contextlib.redirect_stdout(printed):
            exec(compile(source, f"{name}, cell {number}", "exec"), space)
        figures = len(plt.get_fignums())
        plt.close("all")
        assert figures == (0 if "REWARM_REFERENCE_DATA" in source else pictures(cell)), f"cell {number}"
    committed = "".join("".join(output.get("text", [])) for output in code(name)[0]["outputs"])
    assert committed.split("(")[0].split(":")[0] in printed.getvalue()
