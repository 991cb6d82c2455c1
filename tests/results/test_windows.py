"""Losses of several sets of windows: the run's own are shown, and what is of others says so."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.commands.command_line import runs_lines
from analysis.report.show import diff_document, diff_lines, show_document, show_lines
from analysis.results.facts import _windows
from analysis.results.run_record import RunRecord, summary
from analysis.results.runs import read_runs
from harness.plan.recorded_runs import program_of
from harness.store.store import Store
from tests.synthetic_store import points_of, write

WEIGHTS = {"A": 50, "C4": 30, "B": 20}
MIX = {"mix": {"parts": {name: {"weight": many, "where": {"s": [name]}} for name, many in WEIGHTS.items()}}}


def chosen(sets: list[str], wanted: int | None, later: tuple[int, ...] = (4, 16)) -> int:
    """On how many windows mix.C4 is shown: the run measured 10 of mix, 3 of them of this part, others measured more."""
    on = {"own": 3, "whole": 10, **{str(many): many for many in later}}
    measures = {h: {"corpus": "mix.C4", "part": "C4", "windows": many, "seq_len": 8} for h, many in on.items()}
    rows = frozenset((position, hash_) for position in (0, 5) for hash_ in on)
    settings = {"evaluate": {"windows": 10, "sets": sets}, "corpus": MIX}
    return on[_windows(measures, rows, settings, wanted)["mix.C4"]]


def test_rows_of_other_windows_do_not_replace_the_runs_own() -> None:
    assert chosen([], None) == 3  # not the 10 that `harness.evaluate RUN sets=mix.C4` takes
    assert chosen([], None, later=(2, 1)) == 3
    assert chosen(["mix.C4"], None) == 10  # the run itself asked for the part
    assert chosen([], 16) == 16
    assert chosen([], 999) == 3  # not measured on so many


def told(runs: list[RunRecord]) -> list[str]:
    return runs_lines(runs, [summary(run) for run in runs], [])


def test_what_is_of_fewer_positions_or_other_windows_says_so(tmp_path: Path) -> None:
    point = next(p for p in points_of(["demo"], ["evaluate.final_windows=null"]) if p.run.downstream == "python")
    write(tmp_path, [point], lambda *_: 3.0)
    (run,) = read_runs(tmp_path)
    program, store = program_of(run.document), Store(tmp_path)
    plain = "\n".join(show_lines(show_document(store, run), program))
    assert "mean of the last 3 evaluations" in plain
    assert "of them only" not in plain
    last, corpora = run.measured["position"].max(), list(run.facts.windows)
    few = run.measured[(run.measured["position"] == last) | (run.measured["corpus"] != corpora.index("python"))]
    few = few.copy()
    few["windows"] = np.where(few["corpus"] == corpora.index("python"), 16, few["windows"])
    document = copy.deepcopy(dict(run.document))
    document["measures"]["f" * 16] = {"corpus": "docs", "key": "k", "windows": 1024, "seq_len": 128}
    document["requested"] = [*document["requested"], {"position": int(last), "windows_hash": "f" * 16}]
    other = replace(run, measured=few, document=document)
    assert summary(other)["measured"]["python"] == {"windows": 16, "positions": 1, "is": "mean"}
    lines = show_lines(show_document(store, other), program)
    (python,) = [line for line in lines if line.startswith("python") and "3.0000" in line]
    assert python.endswith("(on 16 windows, mean of 1 of them only)")
    assert "the losses of 1 runs" in "\n".join(told([run, other]))
    assert "the losses of" not in "\n".join(told([run]))
    assert "docs: other losses are on 1024 windows, see --windows 1024" in lines
    moved = replace(run, facts=replace(run.facts, windows={**run.facts.windows, "docs": "f" * 16}))
    assert "losses: mean of the last evaluations" in told([run])
    assert "losses: all windows count, contained in what is trained on or not (python -m analysis clean)" in told([run])
    compared = diff_document(run, moved)
    assert list(compared["loss"]) == ["python"]
    assert "docs: a and b are measured on different windows" in diff_lines(compared)


def test_tables_and_show_say_in_one_place_what_a_final_loss_is(tmp_path: Path) -> None:
    point = next(point for point in points_of(["demo"]) if point.run.downstream == "python")
    write(tmp_path, [point], lambda *_: 3.0)
    (run,) = read_runs(tmp_path)
    lines = show_lines(show_document(Store(tmp_path), run), program_of(run.document))
    assert "final loss (of the last position, nats per token; of 1024 windows where no other number stands)" in lines
    assert "docs         3.0000   base 3.0000" in lines
    assert not any("--windows" in line for line in lines)  # those of the curve are no other losses of the end
    assert "losses: of the last position, on 1024 windows" in told([run])
    curves = np.array(run.measured[run.measured["corpus"] != len(run.facts.windows)])  # one corpus: as it was before
    before = replace(run, measured=curves)
    said = "losses: of the last position, on 1024 windows; in 1 of 2 runs the mean of the last evaluations on fewer"
    assert said in told([run, before])
    corpus = next(iter(run.facts.finals))
    (line,) = [
        line for line in show_lines(show_document(Store(tmp_path), before), program_of(run.document)) if "mean" in line
    ]
    assert line.startswith(corpus)
    assert line.endswith("(on 64 windows, mean of the last 3)")
    assert diff_document(run, before)["not_comparable"] == [corpus]
    (asked,) = read_runs(tmp_path, windows=64)  # by name: the curve's, as before
    assert summary(asked)["measured"]["docs"] == {"windows": 64, "positions": 3, "is": "mean"}
