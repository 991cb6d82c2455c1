"""What is run: command lines turned into plans and tasks, over stores that share nothing but the built corpora."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.compose.compose import collect
from harness.config.run import read_run
from harness.core.errors import CorruptError
from harness.corpora.corpus import open_corpus
from harness.ingest.build import build
from harness.plan.over_store import plan_over
from harness.plan.plan import Plan, compile_points
from harness.plan.task import Task, task_of
from harness.program.shape import ModelShape
from harness.store.store import Store
from harness.texts.recipe import Recipe

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Bench:
    """How much to measure, and where there is room for it."""

    scratch: Path  # removed in the end; holds corpora/
    pairs: int
    sweep_pairs: int
    quick: bool  # tiny amounts: shows that the benchmarks work, not how fast anything is
    all_points: bool


@dataclass(frozen=True)
class Workload:
    """One run: the tasks a worker would get for it, parents first."""

    tasks: tuple[Task, ...]
    shape: ModelShape
    seq_len: int
    batch: int
    tokens: int


def planned(arguments: Sequence[str], store: Store) -> Plan:
    """The plan of a command line over a store."""
    return plan_over(compile_points((point.label, read_run(point.config)) for point in collect(arguments)), store)


def workload(
    model: str, tokens: int, *, measured: bool = True, warmup: float = 0.01, more: Sequence[str] = ()
) -> Workload:
    """A run from random weights at scale=mini with a quarter of replay, of the embedded corpora, `tokens` long.

    `measured`: with the evaluations of conf/evaluate, as dense as in every run (per token a little denser: `early`).
    """
    knobs = [f"model={model}", "start=scratch", "replay=0.25", f"tokens={tokens}", f"warmup={warmup}", *more]
    plan = planned(knobs, Store(Path("no store")))
    recipes = {key: r for segment in plan.segments for key, r in segment.recipes.items()}
    tasks = [task_of(plan, segment, recipes) for segment in plan.to_train]
    if not measured:
        tasks = [replace(task, rows=frozenset()) for task in tasks]
    run = plan.points[0].run
    assert run.shape is not None
    return Workload(tuple(tasks), run.shape, run.seq_len, run.batch, plan.tokens_planned)


def training(bench: Bench, model: str, *, measured: bool = True) -> Workload:
    """What the loops are compared on: seconds per run, so that pairs can be interleaved. States are saved as often as
    in a run three times as long: what costs once weighs more here than for a user."""
    if bench.quick:
        return workload(model, 16384, measured=measured, warmup=0.1)
    return workload(model, 200_000 if model == "mini" else 80_000, measured=measured)


def corpora(recipes: Sequence[Recipe], scratch: Path, root: Path) -> None:
    """<scratch>/corpora: those built under `root` as links, the others built here."""
    (scratch / "corpora").mkdir()
    for recipe in {recipe.folder: recipe for recipe in recipes}.values():
        with contextlib.suppress(FileNotFoundError, CorruptError):
            (scratch / "corpora" / recipe.folder).symlink_to(open_corpus(root, recipe).folder.resolve())
    build(recipes, scratch, progress=True)


@contextlib.contextmanager
def fresh_store(scratch: Path) -> Iterator[Path]:
    """The root of an empty store whose corpora are built."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="store-") as folder:
        (Path(folder) / "corpora").symlink_to(scratch / "corpora")
        yield Path(folder)


def command(*arguments: str, status: int = 0) -> float:
    """Seconds of `python -m harness ARGUMENTS`, process start to exit. RuntimeError with its last words if it ends with
    another status."""
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode != status:
            output.seek(0)
            raise RuntimeError(output.read()[-2000:].decode(errors="replace"))
    return seconds


def print_line(text: str) -> None:
    """Progress, beside the table."""
    print(text, file=sys.stderr, flush=True)
