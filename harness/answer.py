"""`python -m harness.answer QUESTION.yaml --within NATS --budget FLOPS [KEY=VALUE ...]`: from a question to a recipe.

    python -m harness.answer question.yaml --within 0.02 --budget 2e13
    python -m harness.answer question.yaml --within 0.02 --budget 2e13 launch=slurm launch.partition=gpu

A first round tries the ends and the middle of every knob; each further one trains the runs that `python -m analysis
decide --next` proposes. When no other setting is better by more than --within with 90 % certainty, or the budget of
FLOPs (of continual runs; bases come beside it) is spent, three fresh order seeds confirm the answer, and the page of
`decide` ends it. Stopped at any moment, the same command goes on. Runs of a cluster are waited for by calling it again.
docs/decide.md tells of the file. Status 1: no answer, or one that the fresh seeds do not confirm.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.answering.confirm import CONFIRM, confirmation, confirmation_line, fresh_rows, stands
from harness.answering.first import farthest, first_rows
from harness.answering.question import Question, check_corpora, read_question
from harness.answering.rounds import Rounds, flops_of_run
from harness.answering.shown import decision_line, round_line
from harness.cli import run_command, run_points, store_of
from harness.compose.compose import sweep_points
from harness.compose.sweep_file import sweep_text
from harness.core.errors import InputError
from harness.core.options import Parser, amount, path
from harness.core.shipped import CODE
from harness.store.store import Store

EACH = 2  # runs of a round
SURE = 0.9
OF_A_CALL = ("root", "parent_stores", "launch", "tracker")  # what may be given beside the question


@dataclass(frozen=True)
class Call:
    """What was asked, and where."""

    question: Question
    store: Store
    rounds: Rounds
    within: float
    budget: float
    each: int
    tell: Callable[[str], None]


class EndedError(Exception):
    """Nothing more is to be done in this call: with which status, and why."""

    def __init__(self, status: int, why: str = "") -> None:
        super().__init__(status, why)
        self.status, self.why = status, why


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m harness.answer", description=__doc__)
    parser.add_argument(
        "question", type=path, metavar="QUESTION.yaml", help="knobs, their ranges, what may be forgotten"
    )
    parser.add_argument(
        "--within", type=float, required=True, metavar="NATS", help="by which another setting may be better"
    )
    parser.add_argument("--budget", type=amount, required=True, metavar="FLOPS", help="to spend on continual runs")
    parser.add_argument("--each", type=int, default=EACH, metavar="N", help=f"runs of a round ({EACH})")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options, words = parser.read(arguments)
    for word in words:
        key = word.partition("=")[0]
        if key.split(".")[0] not in OF_A_CALL or "=" not in word:
            raise InputError("argument", word, "is not for a call", f"set it in {options.question.name}")
    for name, value, good in (("within", options.within, options.within > 0), ("each", options.each, options.each > 0)):
        if not good:
            raise InputError(name, value, "is not above 0", "give a larger one")
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        call = _call(options, words)
        try:
            status, told = answered(call)
        except EndedError as ended:
            if ended.why:
                call.tell(ended.why)
            status, told = ended.status, {"rounds": [], "confirmed": False, "decision": None, "why": ended.why}
        if not options.json and told["decision"] is not None:
            print()
            sys.stdout.flush()
            decide(call, len(call.rounds.files), as_json=False)
    if options.json and told.get("why") != "":  # a refusal, an interruption: they have said so themselves
        print(json.dumps({"schema": "rewarm.answer/1", **told}))
    return status


def _call(options: Any, words: Sequence[str]) -> Call:
    """The call, checked before anything starts."""
    question = read_question(options.question)
    rows = first_rows(question)
    text = sweep_text(rows, question.settings, comment="The first round: ends and middle of the knobs.")
    with tempfile.TemporaryDirectory() as folder:  # what is refused leaves nothing behind
        file = Path(folder, "first.yaml")
        file.write_text(text, encoding="utf-8")
        store = store_of(sweep_points([str(file)], words)[0].config)
        trial = Rounds(store, question, words, Path(folder))
        trial.add("round", text)
        planned = trial.planned(1)
    run = planned[0]
    check_corpora(question, [one.corpus for one in run.request.measures.values()], run.run.downstream)
    if not all(map(flops_of_run, planned)):
        raise InputError(
            "budget", f"{options.budget:.3g}", "the checkpoint's size is not known", "give its folder: path="
        )
    least = sum(map(flops_of_run, planned)) + CONFIRM * flops_of_run(run)
    if options.budget < least:
        why = f"{len(rows)} runs to begin with and {CONFIRM} that confirm cost {least:.3g} FLOPs"
        raise InputError("budget", f"{options.budget:.3g}", why, "give that at least, or fewer knobs")
    call = Call(question, store, Rounds(store, question, words), options.within, options.budget, options.each, print)
    if not call.rounds.files:
        call.rounds.add("round", text)
    return call


def answered(call: Call) -> tuple[int, dict[str, Any]]:
    """All rounds, those that are there already first. (status, what `--json` tells.) Raises EndedError."""
    rounds, told, spent, number = call.rounds, list[dict[str, Any]](), 0.0, 0
    while True:
        number += 1
        kind, cost = rounds.kind(number), rounds.flops(number)
        spent += cost
        left = call.budget - spent
        runs = rounds.planned(number)
        affordable = int(left / flops_of_run(runs[0]) + 1e-9)
        call.tell(round_line(number, kind, [_row(point, call.question) for point in runs], cost))
        found = rounds.decision(number)
        if found is None:
            _train(call, number)
            found = decided(call, number, left, affordable)
            if kind == "confirm":
                before = rounds.decision(number - 1)
                assert before is not None
                told_before = confirmation(before, fresh(call, number))
                found["confirmation"] = {**told_before, "stands": stands(told_before, found, call.within)}
            rounds.write_decision(number, found)
        if "confirmation" in found:
            call.tell(confirmation_line(found["confirmation"]))
        call.tell(decision_line(found, spent, call.budget))
        told.append({"kind": kind, "flops": cost, "decision": found})
        if number < len(rounds.files):
            continue
        step = next_step(call, kind, found, affordable)
        if step == "end":
            document = {"rounds": told, "flops": spent, "confirmed": is_confirmed(found), "decision": found}
            return 0 if is_confirmed(found) else 1, document
        rounds.add(step, _text(call, step, number, found, left, affordable))


def next_step(call: Call, kind: str, found: Mapping[str, Any], affordable: int) -> str:
    """round, confirm or end. A round leaves enough for the runs that confirm."""
    regret = found.get("regret")
    sure = regret is not None and regret["upper"] <= call.within
    if sure and kind == "confirm" and is_confirmed(found):
        return "end"
    if affordable > CONFIRM and not sure:
        return "round"
    last = kind == "confirm" and is_confirmed(found)
    return "confirm" if found["recommended"] and affordable >= CONFIRM and not last else "end"


def is_confirmed(found: Mapping[str, Any]) -> bool:
    """By fresh seeds, and as good as what is recommended with them."""
    told = found.get("confirmation", {})
    return bool(told.get("confirmed")) and bool(told.get("stands"))


def _text(call: Call, step: str, number: int, found: dict[str, Any], left: float, affordable: int) -> str:
    """The sweep file of the next round."""
    tried = [_row(point, call.question) for k in range(1, number + 1) for point in call.rounds.planned(k)]
    settings = call.question.settings
    if step == "confirm":
        comment = "Fresh order seeds of the setting that was recommended: does the next run do what was said?"
        return sweep_text(fresh_rows(call.question, found["recommended"]["knobs"], tried), settings, comment=comment)
    if "next" not in found:  # decided when there was no budget left
        found = decided(call, number, left, affordable)
    if found["next"] is not None:
        return str(found["next"]["sweep_file"])
    rows = list(tried)
    for _ in range(min(call.each, affordable - CONFIRM)):
        rows.append(farthest(call.question, rows))
    return sweep_text(rows[len(tried) :], settings, comment="No surface tells what to try: far from what was tried.")


def _row(point: Any, question: Question) -> dict[str, Any]:
    """The knobs of a run and its seed, as the sweep file has them."""
    config = point.run.config
    known = {**config, "schedule": config["schedule"]["name"]}
    return {**{name: known[name] for name in question.knobs}, "seed": int(config["seed"])}


def _train(call: Call, number: int) -> None:
    """All runs of a round; raises EndedError where some are still to come."""
    points = call.rounds.points(number)
    fates = call.rounds.fates(number)
    left = [point for point in points if fates[point.label][0] not in ("done", "diverged")]
    status = run_points(left) if left else 0
    if status == 130:
        raise EndedError(status)
    fates = call.rounds.fates(number)
    waiting = [status for status, _ in fates.values() if status in ("queued", "running")]
    failed = [why for status, why in fates.values() if status not in ("done", "diverged", "queued", "running")]
    if failed:
        first = failed[0] or "not begun"
        raise EndedError(1, f"round {number}: {len(failed)} runs are not done ({first}); the same command goes on")
    if waiting:
        why = f"round {number}: waiting for {len(waiting)} of {len(fates)} runs; call again when they have ended"
        raise EndedError(0, why)


def decided(call: Call, number: int, left: float, affordable: int) -> dict[str, Any]:
    """What the runs up to a round say, and while there is budget the next ones."""
    more: list[str] = []
    if affordable > CONFIRM:
        runs = min(call.each, affordable - CONFIRM)
        more = [f"--next={left:.17g}", f"--runs={runs}", f"--base-sweep={call.rounds.files[0]}"]
    return decide(call, number, more)


def decide(call: Call, number: int, more: Sequence[str] = (), *, as_json: bool = True) -> dict[str, Any]:
    """`python -m analysis decide` of the rounds so far: its document, or its page on stdout."""
    files = [f"--sweep={file}" for file in call.rounds.files[:number]]
    knobs = f"--knobs={','.join(call.question.knobs)}"
    return analysis(
        call, ["decide", *files, knobs, f"--within={call.within:g}", *call.question.options, *more], as_json
    )


def fresh(call: Call, number: int) -> list[dict[str, Any]]:
    """The runs of one round as `python -m analysis runs` tells them."""
    return list(analysis(call, ["runs", f"--sweep={call.rounds.files[number - 1]}"], True)["runs"])


def analysis(call: Call, arguments: Sequence[str], as_json: bool) -> dict[str, Any]:
    """A command of analysis, which this room knows by its command line alone. Raises EndedError with its refusal."""
    stores = [f"--root={call.store.root}", *(f"--parent={parent}" for parent in call.store.parents)]
    command = [sys.executable, "-m", "analysis", *arguments, *stores, *(["--json"] if as_json else [])]
    paths = os.pathsep.join(filter(None, [str(CODE.parent), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE if as_json else None, check=False
    )
    if done.returncode not in (0, 1) or (as_json and not done.stdout.strip()):
        raise EndedError(done.returncode or 1)
    return dict(json.loads(done.stdout)) if as_json else {}


def command() -> int:
    """The installed command `rewarm-answer`."""
    return run_command(main)


if __name__ == "__main__":
    sys.exit(command())
