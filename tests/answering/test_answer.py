"""The loop from a question to a setting: it ends near the best, within its budget, and comes to the same end when it is
stopped on its way."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import answer
from harness.answering import rounds
from harness.answering.rounds import Rounds
from harness.core.errors import InputError
from harness.slurm.status import status_of
from tests.answering.planted_runs import NOISE, U, World, adaptation, forgetting
from tests.repository import REPOSITORY
from tests.tiny import write_texts

ONE = "shift: docs_to_python\nknobs: {replay: [0.01, 0.5]}\ntolerance: 12%\n"
TWO = "shift: docs_to_python\nknobs: {peak: [0.25, 8], replay: [0, 0.5]}\ntolerance: 15%\n"
CALL = ("--within=0.02", "--budget=2.5e13")


def question(folder: Path, text: str) -> str:
    file = folder / "asked.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(
    ("kind", "upper", "confirmed", "affordable", "step"),
    [
        ("round", 0.1, None, 4, "round"),
        ("round", 0.1, None, 3, "confirm"),  # the runs that confirm are kept
        ("round", 0.1, None, 2, "end"),
        ("round", 0.01, None, 9, "confirm"),
        ("round", None, None, 9, "round"),  # no surface, or no answer
        ("confirm", 0.01, True, 9, "end"),
        ("confirm", 0.1, True, 9, "round"),
        ("confirm", 0.1, True, 3, "end"),
        ("confirm", 0.01, False, 9, "confirm"),
        ("confirm", 0.1, False, 9, "round"),
        ("confirm", 0.1, False, 2, "end"),
    ],
)
def test_what_comes_after_a_round(
    kind: str, upper: float | None, confirmed: bool | None, affordable: int, step: str
) -> None:
    call = answer.Call(None, None, None, within=0.02, budget=1.0, each=2, tell=print)  # type: ignore[arg-type]
    found: dict[str, Any] = {"recommended": {"knobs": {}}, "regret": None if upper is None else {"upper": upper}}
    if confirmed is not None:
        found["confirmation"] = {"confirmed": confirmed, "stands": True}
    assert answer.next_step(call, kind, found, affordable) == step
    if step == "confirm":
        assert answer.next_step(call, kind, {**found, "recommended": None}, affordable) == "end"


@pytest.mark.slow
def test_it_ends_with_a_setting_near_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path / "runs")
    world.install(monkeypatch)
    status, shown = world.ask(question(tmp_path, ONE), *CALL)
    assert status == 0
    lines = shown.splitlines()
    assert lines[0].startswith("round 1: 4 runs")
    assert any(line.startswith("  confirmed: 3 fresh seeds forget docs") for line in lines)
    assert any(line.startswith("train with replay ") for line in lines)  # the page of `decide`
    kept = {name: content for name, content in world.kept().items() if name.endswith(".json")}
    found = json.loads(kept[max(kept)])["recommended"]["knobs"]["replay"]
    values = np.geomspace(0.01, 0.5, 400)
    allowed = [value for value in values if forgetting(1.0, value) + 1.3 * NOISE <= 0.12 * U]
    assert forgetting(1.0, found) <= 0.12 * U
    assert max(adaptation(1.0, value) for value in allowed) - adaptation(1.0, found) < 0.02
    trained, events = list(world.trained), world.events
    again, same = world.ask(question(tmp_path, ONE), *CALL)  # nothing is trained or decided anew: the page alone
    assert (again, same, world.trained, world.events) == (status, shown, trained, events + 1)


@pytest.mark.slow
def test_stopped_anywhere_it_comes_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every third thing that happens: while it trains, before what was decided is written down, before the page."""
    file = question(tmp_path, ONE)
    whole, stopped = World(tmp_path / "whole"), World(tmp_path / "stopped", stop_every=3)
    whole.install(monkeypatch)
    told = whole.ask(file, *CALL)
    stopped.install(monkeypatch)
    stops = 0
    while True:
        try:
            assert stopped.ask(file, *CALL) == told
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops > 4
    assert stopped.kept() == whole.kept()
    assert sorted(stopped.trained) == sorted(whole.trained)  # no run twice


@pytest.mark.slow
def test_two_knobs_stay_within_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path / "runs")
    world.install(monkeypatch)
    status, shown = world.ask(question(tmp_path, TWO), "--within=0.0001", "--budget=1.5e13")
    one_run = 7.15e12 / 6
    assert 6 + 3 <= len(world.trained) <= 1.5e13 / one_run  # surer than that it does not get: all is spent
    assert len(world.trained) > 1.5e13 / one_run - 2
    *_, last = [line for line in shown.splitlines() if "fresh seeds forget" in line]
    assert status == (0 if last.startswith("  confirmed: ") else 1)


def test_runs_that_a_cluster_still_has_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path / "runs")
    world.install(monkeypatch)
    monkeypatch.setattr(answer, "run_points", lambda _: 0)  # as launch=slurm, which submits and returns
    monkeypatch.setattr(rounds, "status_of", lambda *_: {"status": "queued"})
    status, shown = world.ask(question(tmp_path, ONE), *CALL)
    assert status == 0
    assert shown.splitlines()[-1] == "round 1: waiting for 4 of 4 runs; call again when they have ended"
    assert [*world.kept()] == ["01-round.yaml"]
    told = json.loads(world.ask(question(tmp_path, ONE), *CALL, "--json")[1])
    assert (told["schema"], told["decision"], told["confirmed"]) == ("rewarm.answer/1", None, False)
    assert told["why"].startswith("round 1: waiting for 4 of 4 runs")
    failure = {"status": "failed", "failure": {"reason": "killed"}}
    monkeypatch.setattr(rounds, "status_of", lambda *_: failure)
    status, shown = world.ask(question(tmp_path, ONE), *CALL)
    assert status == 1
    assert "4 runs are not done (killed)" in shown
    assert [*world.kept()] == ["01-round.yaml"]  # a fault of the machine is no answer about a setting


def test_what_diverges_is_an_answer_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path / "runs")
    world.install(monkeypatch)

    def fate(point, plan, store, queue):  # type: ignore[no-untyped-def]
        lost = {"status": "failed", "failure": {"reason": "the loss at step 9 is not finite; the last good state is"}}
        return lost if point.run.config["replay"] == 0.01 else status_of(point, plan, store, queue)

    monkeypatch.setattr(rounds, "status_of", fate)
    monkeypatch.setattr(answer, "decided", lambda *_: (_ for _ in ()).throw(answer.EndedError(3)))
    assert world.ask(question(tmp_path, ONE), *CALL)[0] == 3  # that it came so far
    assert len(world.trained) == 3


@pytest.mark.parametrize(
    ("text", "call", "message"),
    [
        ("knobs: {peak: [8, 0.25]}", CALL, "knobs.peak=.*no range; give the smallest and the largest"),
        ("knobs: {peak: [0, 8]}", CALL, "knobs.peak=.*goes beyond"),
        ("knobs: {replay: [0.1, 1]}", CALL, "knobs.replay=.*goes beyond"),
        ("knobs: {speed: [1, 8]}", CALL, "knobs.speed=.*is no knob; choose of peak, lr"),
        ("knobs: {peak: [1, 8], lr: [1, 2]}", CALL, "are one knob"),
        ("shift: docs_to_python", CALL, "says no knobs"),
        ("knobs: {peak: [1, 8]}\ntolerance: 5 percent", CALL, "tolerance=.*is no number"),
        ("knobs: {peak: [1, 8]}\nlimit: [python=5%]", CALL, "limit=python: is what is adapted to; choose of docs"),
        ("knobs: {peak: [1, 8]}\nlimit: [greek=5%]", CALL, "limit=greek: is not measured"),
        ("knobs: {peak: [1, 8]}\nweights: 1:2\ntolerance: 5%", CALL, "weights=.*plays no part"),
        ("knobs: {peak: [1, 8]}\nseed: 3", CALL, "seed=3: is none of a question's settings"),
        ("knobs: {peak: [1, 8]}\npeak: 3", CALL, "peak=3: is a knob, too"),
        ("knobs: {peak: [1, 8]}\nwarmupp: 3", CALL, "did you mean warmup"),
        ("knobs: {peak: [1, 8]}", ("--within=0.02", "--budget=1e12"), "budget=1e.12: 4 runs to begin with and 3"),
        ("knobs: {peak: [1, 8]}", ("--within=0", "--budget=1e13"), "within=0.0: is not above 0"),
        ("knobs: {peak: [1, 8]}", (*CALL, "tokens=2x"), "argument=tokens=2x: is not for a call"),
        ("knobs: {peak: [1, 8]}", (*CALL, "shift=docs_to_cpp"), "argument=shift=docs_to_cpp: is not for a call"),
    ],
)
def test_a_wrong_question_is_one_line_and_leaves_nothing(
    tmp_path: Path, text: str, call: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        answer.main([question(tmp_path, text), *call, f"root={tmp_path}/runs"])
    assert not (tmp_path / "runs").exists()


TINY = """shift: local
upstream: {texts}/upstream
downstream: {texts}/downstream
model: {{layers: 1, hidden: 16, heads: 2, vocab_size: 300, seq_len: 16}}
batch: {{sequences: 4, seq_len: 16}}
scale: {{tokens: 2560, horizon: 2560}}
base: {{tokens: 3840, peak: 0.01, warmup: 0.1}}
warmup: 0.1
evaluate: {{windows: 4, early: [0.1x], every: 0.25x, base_every: 0.5x, final_windows: 64}}
knobs: {{replay: [0.05, 0.5]}}
weights: "1:1"
"""


@pytest.mark.slow
def test_killed_while_it_trains_it_goes_on(tmp_path: Path) -> None:
    """A real model, a real SIGKILL, the real command."""
    write_texts(tmp_path / "texts")
    file = question(tmp_path, TINY.format(texts=tmp_path / "texts"))
    command = [sys.executable, "-m", "harness.answer", file, "--within=5", "--budget=1.5e9", "launch=inline"]
    command += [f"root={tmp_path}/runs"]
    settings = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(REPOSITORY)}}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **settings)  # type: ignore[call-overload]
    states = tmp_path / "runs" / "states"
    for _ in range(1200):
        if process.poll() is not None or (states.is_dir() and len(list(states.glob("*/state.json"))) >= 3):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder,) = (tmp_path / "runs" / "answers").iterdir()
    assert [file.name for file in folder.iterdir()] == ["01-round.yaml"]
    before = {path: path.stat().st_mtime_ns for path in states.glob("*/state.json")}
    assert len(before) >= 3
    done = subprocess.run(command, capture_output=True, text=True, check=False, **settings)  # type: ignore[call-overload]
    assert done.returncode in (0, 1), done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before  # what was trained stays
    shown = done.stdout.splitlines()
    assert shown[0].startswith("round 1: 4 runs")
    assert any("3 fresh seeds forget upstream" in line for line in shown)
    assert any(line.startswith("train with replay") for line in shown)
    last = json.loads(max(folder.glob("*-decision.json")).read_text())
    assert (done.returncode == 0) == answer.is_confirmed(last)
    assert last["confirmation"]["n"] == 3
    assert all(math.isfinite(one["nats"]) for one in last["confirmation"]["forgetting"].values())


def test_rounds_are_read_in_order(tmp_path: Path) -> None:
    from harness.answering.question import read_question
    from harness.store.store import Store

    asked = Rounds(Store(tmp_path / "runs"), read_question(Path(question(tmp_path, ONE))), [])
    for number in range(1, 13):
        asked.add("confirm" if number == 11 else "round", "x")
    assert [int(file.name.split("-")[0]) for file in asked.files] == [*range(1, 13)]
    assert [asked.kind(number) for number in (10, 11, 12)] == ["round", "confirm", "round"]
