"""Questions of the benchmark are those that `harness.answer` reads."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.decide.decision import Question
from benchmarks.asking import question_text
from harness.answering.question import read_question

CELLS = pd.DataFrame({"peak": [0.25, 1.0, 8.0], "replay": [0.5, 0.0, 0.01]})


def test_a_question_is_one_of_answer(tmp_path: Path) -> None:
    file = tmp_path / "question.yaml"
    for question, option in (
        (Question({"python": 0.25}), "--limit=python=0.2500"),
        (Question({}, weights=(1.0, 0.5)), "--weights=1:0.5"),
    ):
        file.write_text(question_text(question, "python_to_docs", CELLS), encoding="utf-8")
        found = read_question(file)
        assert found.knobs == {"peak": (0.25, 8.0), "replay": (0.0, 0.01, 0.5)}
        assert found.options == (option,)
        assert {"override /shift": "python_to_docs"} in found.settings["defaults"]
