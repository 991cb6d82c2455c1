"""Ten questions about a shift, each from nothing: rounds of `python -m harness.answer`, held against a dense grid.

    python -m benchmarks.asking grid.csv answers.csv --shift python_to_docs --budget FLOPS [root=...] [KEY=VALUE ...]

Grid and answers as for `benchmarks.judging`, whose truth and kinds of questions these are: five tolerances, five
weights. All questions may share a store, which spares training: none reads runs of another's rounds. A question that is
answered already is not asked again. FLOPS are those of all continual runs of a question, the three that confirm too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.decide.decision import Question
from analysis.decide.ends import ends_of_table
from benchmarks.judging import KNOBS, Truth, asked, best_of, score, truth_of
from benchmarks.workload import print_line

TOLERANCES, WEIGHTS = 5, 5
WITHIN = 0.02  # nats


def questions(truth: Truth) -> list[Question]:
    """The first so many of each kind."""
    random = np.random.default_rng(0)
    drawn = [question for _ in range(max(TOLERANCES, WEIGHTS)) for question in asked(truth, random)]
    limited = [question for question in drawn if question.limits]
    return limited[:TOLERANCES] + [question for question in drawn if not question.limits][:WEIGHTS]


def question_text(question: Question, shift: str, cells: pd.DataFrame) -> str:
    """A question as the file of `harness.answer`: the ranges of the grid, one base."""
    replay = sorted(cells.replay.unique())
    lines = [f"shift: {shift}", "base: {seed: 0}"]
    lines.append(
        f"knobs: {{peak: [{cells.peak.min():g}, {cells.peak.max():g}], replay: [0, {replay[1]:g}, {replay[-1]:g}]}}"
    )
    lines += [f"limit: [{name}={limit:.4f}]" for name, limit in question.limits.items()]
    lines += [] if question.limits else [f"weights: '{question.weights[0]:g}:{question.weights[1]:.4g}'"]
    return "\n".join(lines) + "\n"


def ask(file: Path, budget: float, words: Sequence[str]) -> dict[str, Any]:
    """What `python -m harness.answer --json` tells, kept beside the question."""
    told = file.with_suffix(".json")
    if not told.exists():
        command = [sys.executable, "-m", "harness.answer", str(file), f"--within={WITHIN}", f"--budget={budget:g}"]
        done = subprocess.run([*command, "--json", *words], stdout=subprocess.PIPE, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(done.returncode)
        told.write_bytes(done.stdout)
    return dict(json.loads(told.read_text(encoding="utf-8")))


def judged(truth: Truth, question: Question, told: dict[str, Any]) -> dict[str, Any]:
    """A row: what was recommended with which certainty after how many runs, and what it comes to."""
    found, upstream = told["decision"], truth.model.grid.upstream
    runs = sum(len(one["decision"].get("confirmation", {}).get("seeds", [])) for one in told["rounds"])
    row = {
        "limit": question.limits.get(upstream, np.nan),
        "weight": np.nan if question.limits else question.weights[1],
        "rounds": len(told["rounds"]),
        "flops": told["flops"],
        "confirming": runs,
        "confirmed": told["confirmed"],
        "verdict": found["verdict"],
    }
    point = found["recommended"]
    if point is None:
        return row
    there = truth.at(pd.DataFrame([{name: point["knobs"][name] for name in KNOBS}])).iloc[0]
    regret = found.get("regret") or {}
    return row | {
        **{name: point["knobs"][name] for name in KNOBS},
        "forgets": there.forgets,
        "adapts": there.adapts,
        "stated_kept": point.get("p_kept", np.nan),
        "stated_regret": regret.get("upper", np.nan),
        "regret": best_of(truth, truth.settings, question) - score(there, question),
    }


def main(arguments: Sequence[str]) -> None:
    """Ask, judge, print; the table is CSV on stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--shift", required=True)
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--folder", type=Path, default=Path("questions"))
    parser.add_argument("words", nargs="*")
    options = parser.parse_intermixed_args(arguments)
    ends = ends_of_table(options.grid)
    truth = truth_of(ends, ends_of_table(options.answers))
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, question in enumerate(questions(truth), start=1):
        file = options.folder / f"question{number:02}.yaml"
        file.write_text(question_text(question, options.shift, ends[KNOBS]), encoding="utf-8")
        rows.append({"question": number, **judged(truth, question, ask(file, options.budget, options.words))})
        print_line(f"asking: {number} answered")
    print(pd.DataFrame(rows).to_csv(index=False, float_format="%.4g"), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
