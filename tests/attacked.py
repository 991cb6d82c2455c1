"""Commands with input that nobody meant, each in a process of its own that is killed when it does not end.

    for attack, answer in attacked([Attack("harness.__main__", ("lr=-1",), folder), ...]): ...

A process is forked off a server that has torch imported, so that hundreds of calls take minutes.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import itertools
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

GUARD_SECONDS = 60
MEMORY = 12 * 2**30  # of address space: what asks for more than a machine has fails, instead of the machine
LONG_TOKENS, LARGE_MODEL = (
    20_000,
    300_000,
)  # more would be a right answer, but a long one: it is planned, not carried out
AT_ONCE = 2
LONGEST_LINE = 4_000
ERROR = re.compile(r"error: .+?=.*?: .+; .+", re.DOTALL)


@dataclass(frozen=True)
class Attack:
    """A call: the module whose `command` or `main` runs, its arguments, the folder for its working directory and more.

    `root`: the store it may change. `trains`: a plan that is short enough is carried out (else with do=plan).
    """

    module: str
    arguments: tuple[str, ...]
    folder: Path
    root: Path | None = None
    trains: bool = False

    def __str__(self) -> str:
        shown = " ".join(argument if len(argument) < 200 else f"{argument[:200]}..." for argument in self.arguments)
        return f"{self.module} {shown[max(shown.find('do='), 0) :]!r}"


@dataclass
class Answer:
    """What came of it. `states`: file of a state asked for -> checksum, if the status was 0 and training was asked."""

    status: int | None = None
    seconds: float = 0.0
    out: str = ""
    err: str = ""
    left: list[str] = field(default_factory=list)  # in the working and the temporary folder
    stored: list[str] = field(default_factory=list)  # files of the store that were not there before
    states: dict[str, str] = field(default_factory=dict)


def attacked(attacks: Iterable[Attack]) -> Iterator[tuple[Attack, Answer]]:
    """All of them, some at a time, in no order. An attack is drawn when it starts."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "harness.train.loop",
            "harness.launch",
            "analysis.commands.command_line",
            "paper_figures.drawing",
            "tests.attacked",
        ]
    )
    left, running = iter(attacks), dict[int, _Running]()
    while True:
        for attack in itertools.islice(left, AT_ONCE - len(running)):
            one = _Running(attack, context)
            running[one.process.sentinel] = one
        if not running:
            return
        first = min(one.ends for one in running.values())
        over = connection.wait(list(running), max(0.0, first - time.monotonic()))
        late = [sentinel for sentinel, one in running.items() if one.ends <= time.monotonic()]
        for sentinel in {*over, *late}:
            assert isinstance(sentinel, int)
            one = running.pop(sentinel)
            yield one.attack, one.answer()


class _Running:
    """The process of an attack, and what was there before it."""

    def __init__(self, attack: Attack, context: ForkServerContext) -> None:
        self.attack = attack
        self.places = [attack.folder / "here", attack.folder / "tmp"]
        for place in self.places:
            place.mkdir(parents=True, exist_ok=True)
        self.before = names_under(attack.root)
        self.process = context.Process(target=_child, args=(attack,))
        self.began = time.monotonic()
        self.ends = self.began + GUARD_SECONDS
        self.process.start()

    def answer(self) -> Answer:
        self.process.join(0.1)
        answer = Answer(self.process.exitcode, time.monotonic() - self.began)
        assert self.process.pid is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):  # what it started, or all of it where it hangs
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()
        folder = self.attack.folder
        answer.out, answer.err = ((folder / name).read_text("utf-8", "replace") for name in ("out", "err"))
        answer.left = sorted(name for place in self.places for name in names_under(place))
        stored = names_under(self.attack.root) - self.before
        answer.stored = sorted(name for name in stored if not name.startswith(("verified", "states/.bad-")))
        if (folder / "states.json").exists():
            answer.states = json.loads((folder / "states.json").read_text())
        return answer


def wrong_with(answer: Answer) -> str | None:
    """What no call may do, whatever it was given; None if all is well."""
    if answer.status is None:
        return f"no answer in {GUARD_SECONDS} s"
    if "Traceback" in answer.err + answer.out:
        return "a traceback"
    if answer.status not in (0, 1, 2, 130):
        return f"status {answer.status}"
    errors = [line for line in answer.err.splitlines() if line.startswith("error:")]
    if answer.status == 2 and (len(errors) != 1 or not ERROR.fullmatch(errors[0]) or answer.err[-1] != "\n"):
        return "status 2 without its one line"
    if any(len(line) > LONGEST_LINE for line in answer.err.splitlines()):
        return "a line that nobody reads to its end"
    if answer.status == 1 and not answer.err:
        return "status 1 without a word"
    if answer.left:
        return f"it left {answer.left}"
    if answer.status == 2 and answer.stored:
        return f"refused, but it stored {answer.stored}"
    return None


def files_of_store(root: Path) -> dict[str, str]:
    """What must not depend on how it came about, of every state that is stored."""
    folders = [path for path in (root / "states").glob("*") if re.fullmatch("[0-9a-f]{32}", path.name)]
    return {name: content for folder in folders for name, content in files_of(folder).items()}


def files_of(folder: Path) -> dict[str, str]:
    """The same of a state: the checksums of weights, optimizer and steps, and the measurements as they are written."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors" or path.name == "steps.jsonl":
            found[f"{folder.name}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name == "evaluations.csv":
            found[f"{folder.name}/{path.name}"] = path.read_text()
    return found


def differences(made: Mapping[str, str], undisturbed: Mapping[str, str], *, measurements: bool = True) -> list[str]:
    """Files of the same state that are not the same. Of measurements there may be more: those added to a base later."""
    found = []
    for name in made.keys() & undisturbed.keys():
        if not name.endswith(".csv"):
            wrong = made[name] != undisturbed[name]
        else:
            wrong = measurements and not set(undisturbed[name].splitlines()) <= set(made[name].splitlines())
        found += [name] if wrong else []
    return sorted(found)


def names_under(folder: Path | None) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder else set()


def _child(attack: Attack) -> None:
    os.setsid()
    folder = attack.folder
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8", line_buffering=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)
    os.chdir(folder / "here")
    (folder / "empty").mkdir(exist_ok=True)
    os.environ.update(TMPDIR=str(folder / "tmp"), PATH=str(folder / "empty"), CUDA_VISIBLE_DEVICES="")
    tempfile.tempdir = None
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    arguments = list(attack.arguments)
    long = attack.trains and _is_long(attack)
    sys.argv = [attack.module, *arguments, *(["do=plan"] if long else [])]
    module = importlib.import_module(attack.module)
    status: int | str | None
    try:
        if hasattr(module, "command"):
            status = module.command()
        else:
            from harness.cli import run_command

            status = run_command(module.main)
        if status == 0 and attack.trains and not long and "--keys" not in arguments:
            _require_states(attack)
    except SystemExit as end:  # argparse's --help, Hydra's flags
        status = end.code if end.code is not None else 0
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(status))


def _planned(attack: Attack):  # type: ignore[no-untyped-def]
    from harness.cli import plan_points, store_of
    from harness.compose.compose import collect, sweep_points

    if attack.module.endswith("sweep"):
        names = [argument for argument in attack.arguments if "=" not in argument]
        points = sweep_points(names, [argument for argument in attack.arguments if "=" in argument])
    else:
        points = collect(attack.arguments)
    store = store_of(points[0].config) if points else None
    return points, store, plan_points(points, store) if store else None


def _is_long(attack: Attack) -> bool:
    """Would it be right to train for minutes? What cannot be planned is refused by the command, and that is tried."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(Exception, SystemExit),
    ):
        points, _, plan = _planned(attack)
        if plan is None:
            return False
        tokens = sum(segment.tokens for segment in plan.to_train)
        large = max(point.run.parameters for point in plan.points)
        remote = any(point.config["tracker"].get("kind") == "wandb" for point in points)
        return tokens > LONG_TOKENS or large > LARGE_MODEL or remote
    return False


def _require_states(attack: Attack) -> None:
    """Status 0 of a run: every state of its plan is stored and whole."""
    points, store, plan = _planned(attack)
    if plan is None or points[0].config["do"] != "run" or points[0].config["launch"]["kind"] == "slurm":
        return
    assert not plan.to_train, f"{len(plan.to_train)} segments are left"
    found: dict[str, str] = {}
    for point in plan.points:
        address = point.path[-1].address
        info = store.state(address)
        assert info is not None, f"{address} is not stored"
        assert store.verify(address, full=True), f"{address} is damaged"
        found |= files_of(info.folder)
    (attack.folder / "states.json").write_text(json.dumps(found))
