"""A mirror of the runs in wandb, online or offline. The store is the record: nothing is ever read back from here.

In the launcher's process, on a thread of its own: a slow network holds up no worker, and a failing wandb costs one
warning. One wandb run per run, its id the run's key. It is opened when the run's own part starts, with the history it
shares with other runs; a run that shares all of it is written when its last segment ends.

    with Tracker({"kind": "wandb", "mode": "offline", "project": "rewarm"}, store, plan) as mirror:
        mirror.event(job, event)                  # see harness.train.events
"""

from __future__ import annotations

import json
import queue
import shlex
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from harness.plan.jobs import Job
from harness.plan.plan import Plan, PlannedRun
from harness.program.program import Program
from harness.store.history import Row, changes, ends, final_positions
from harness.store.store import Store
from harness.train.events import Ended, Event, Measured, Progress, Started

EVERY_STEPS = 16  # of the steps.jsonl of a stored state, one line in so many; live, what the worker flushes

Entries = dict[int, dict[str, Any]]  # by position: what wandb logs there


class Tracker:
    """Mirrors events if `settings` say so (`kind: wandb`); else does nothing, and imports nothing."""

    def __init__(self, settings: Mapping[str, Any], store: Store, plan: Plan) -> None:
        self.settings, self.store, self.plan = settings, store, plan
        self._queue: queue.SimpleQueue[tuple[Job, Event] | None] = queue.SimpleQueue()
        self._runs: dict[str, Any] = {}  # open wandb runs by run key
        self._thread: threading.Thread | None = None
        self._folders: set[str] = set()  # where wandb wrote

    def event(self, job: Job, event: Event) -> None:
        """Take in an event; returns at once."""
        if self._thread is not None and job.trains:
            self._queue.put((job, event))

    def __enter__(self) -> Tracker:
        if self.settings["kind"] == "wandb":
            self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        if self._folders and self.settings["mode"] == "offline":
            runs = "1 run" if len(self._folders) == 1 else f"{len(self._folders)} runs"
            where = shlex.quote(str(self.store.root / "wandb"))
            print(f"wandb: {runs} in {where}; to send them: wandb sync {where}/offline-run-*", file=sys.stderr)

    # --- on the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                self._mirror(*item)
            for run in self._runs.values():  # interrupted: the next call goes on with them
                run.finish()
        except Exception as error:
            print(f"warning: wandb is left out from here on: {type(error).__name__}: {error}", file=sys.stderr)

    def _mirror(self, job: Job, event: Event) -> None:
        segment, program = job.segment, job.task.program
        own = self.plan.points[segment.runs[0]] if len(segment.runs) == 1 else None
        entries: Entries = {}
        match event:
            case Started(position) if own is not None and own.key not in self._runs:
                self._open(own)
                if position:
                    self._log(own, stored_entries(self.store, own, position))
            case Progress() if own is not None:
                add_steps(entries, program, event.steps)
                entries.setdefault(event.position - 1, {})["tokens_per_second"] = event.tokens_per_second
                self._log(own, entries)
            case Measured() if own is not None:
                add_steps(entries, program, event.steps)
                add_rows(entries, of_curves(own, event.rows))
                self._log(own, entries)
            case Ended("done"):
                for i in segment.runs:
                    if self.plan.points[i].path[-1] is segment:
                        self._finish(self.plan.points[i])
            case Ended("failed") if own is not None and own.key in self._runs:
                self._runs.pop(own.key).finish(exit_code=1)

    def _open(self, point: PlannedRun) -> None:
        import wandb

        self._runs[point.key] = run = wandb.init(
            id=point.key,
            name=point.run.name,
            project=self.settings["project"],
            mode=self.settings["mode"],
            dir=str(self.store.root),  # wandb makes a folder `wandb` in it
            config={**point.run.config, "address": point.program.address()},
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                save_code=False,
                x_disable_stats=True,
                x_disable_meta=True,
                disable_job_creation=True,
            ),
        )
        self._folders.add(run.settings.sync_dir)
        run.define_metric("tokens")
        run.define_metric("*", step_metric="tokens")

    def _log(self, point: PlannedRun, entries: Entries) -> None:
        """In order of position: wandb drops what lies before its last step, so nothing is logged twice."""
        for position, values in sorted(entries.items()):
            self._runs[point.key].log(values, step=position)

    def _finish(self, point: PlannedRun) -> None:
        if point.key not in self._runs:
            self._open(point)
            self._log(point, stored_entries(self.store, point, point.program.steps))
        run = self._runs.pop(point.key)
        run.summary.update(summary(point, self.store.rows(point.program.address())))
        run.finish()


def stored_entries(store: Store, point: PlannedRun, position: int) -> Entries:
    """The history of the state at a position: every evaluation that the run asks for, and one step in `EVERY_STEPS`."""
    entries: Entries = {}
    program = point.program
    address = program.address(position)
    info = store.state(address)
    if info is not None:
        lines = (info.folder / "steps.jsonl").read_text().splitlines()
        add_steps(entries, program, lines[EVERY_STEPS - 1 :: EVERY_STEPS])
    mine = (row for row in store.rows(address) if row.key in point.request.rows)
    add_rows(entries, of_curves(point, mine))
    return entries


def of_curves(point: PlannedRun, rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of a run's curves, under its own names: what is measured at ends alone is of other windows."""
    measures = point.request.measures
    own = (row for row in rows if row.windows_hash in measures and not measures[row.windows_hash].of_ends)
    return (replace(row, corpus=measures[row.windows_hash].corpus) for row in own)


def add_steps(entries: Entries, program: Program, lines: Iterable[str]) -> None:
    """Lines of steps.jsonl: the update that starts at a position."""
    for line in lines:
        step = json.loads(line)
        values = {f"train/{name}": step[name] for name in ("loss", "lr", "grad_norm")}
        entry = entries.setdefault(step["position"], {})
        entry.update({"tokens": program.tokens(step["position"] + 1), **values})


def add_rows(entries: Entries, rows: Iterable[Row]) -> None:
    """Channel losses. The weights at a position saw the tokens before it: that is what the row's tokens count."""
    for row in rows:
        entry = entries.setdefault(row.position, {})
        entry.update(
            {"tokens": row.tokens, f"loss/{row.corpus}": row.loss, f"bits_per_byte/{row.corpus}": row.bits_per_byte}
        )


def summary(point: PlannedRun, rows: list[Row]) -> dict[str, float]:
    """Final losses, and where there is a base forgetting = U(run) - U(base) and adaptation = V(base) - V(run)."""
    run, start = point.run, point.base_position
    names = {name: measure.corpus for name, measure in point.request.measures.items()}
    mine = [replace(row, corpus=names[row.windows_hash]) for row in rows if row.key in point.request.rows]
    curves = [row for row in mine if not point.request.measures[row.windows_hash].of_ends]
    finals = [row for row in mine if point.request.measures[row.windows_hash].of_ends]
    last = final_positions((position for position, _ in point.request.rows), start)
    found_ends = ends(curves, finals, last, start, point.program.steps)
    final = {corpus: end.loss for corpus, end in found_ends.items() if end.loss is not None}
    base = {corpus: end.base for corpus, end in found_ends.items() if end.base is not None}
    found = {f"final/{corpus}": loss for corpus, loss in sorted(final.items())}
    both = zip(("forgetting", "adaptation"), changes(final, base, run.upstream, run.downstream), strict=True)
    return {**found, **{name: value for name, value in both if value is not None}}
