"""From collected points to an exit status: check all, plan together, show or launch.

Shared by the commands. Status: 0 done, 1 some point failed, 2 wrong input (one line), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.compose.expand import GridPoint
from harness.compose.listing import list_corpora
from harness.compose.resolving import fetch_checkpoints, resolve_checkpoints
from harness.config.compile import compile_run
from harness.config.fields import ALL_POSITIONS, Config, choice, listing, text
from harness.config.launching import Launch, read_launch, read_tracker
from harness.config.run import read_run
from harness.core.command import guarded, narrowed, refused
from harness.core.errors import InputError
from harness.core.files import user_path
from harness.core.units import size
from harness.plan.cost import totals
from harness.plan.over_store import plan_over
from harness.plan.plan import Plan, compile_points
from harness.report import plan_document, plan_lines, total_lines
from harness.store.lease import recording
from harness.store.store import Store
from harness.workers.ranks import require_ranks, run_on_rank_0

LONG_CHECK_BYTES = 10**9  # a second or more: then it is said
CHECK_SECONDS = 10.0  # between two lines about how far a check is


def run_command(command: Callable[[Sequence[str]], int]) -> int:
    """Run a command on sys.argv, on rank 0 if torchrun started several; what was given wrong becomes one line and 2."""
    try:
        require_ranks()
    except InputError as error:
        return refused(error)
    return run_on_rank_0(lambda: guarded(command, "interrupted; nothing was started"))


def run_points(points: list[GridPoint]) -> int:
    """Plan the points together and do what `do=` says."""
    if not points:
        return 0  # --help, --cfg and the like
    settings = points[0].config
    for key in ("root", "parent_stores", "do", "json", "launch", "tracker"):
        if any(point.config[key] != settings[key] for point in points):
            raise InputError(key, "different", "all points of a call share it", "give one value")
    do = choice(settings, "do", ("run", "plan", "cancel"))
    as_json = settings["json"]
    if not isinstance(as_json, bool):
        raise InputError("json", as_json, "not true or false", "give json=true")
    launching, tracker = read_launch(settings), read_tracker(settings)
    store = store_of(settings)
    if do != "cancel":
        list_corpora((point.config for point in points), [store.root, *store.parents], only_shown=do == "plan")
        resolve_checkpoints([point.config for point in points], store.root, store.parents, run=do == "run")
    planned = plan_points(points, store)
    if do == "plan":
        document = plan_document(planned, store)
        print(json.dumps(document) if as_json else "\n".join(narrowed(plan_lines(document), tables=False)))
        for warning in document["warnings"]:
            print(f"warning: {warning}", file=sys.stderr)
        return 0
    if do == "cancel":
        from harness.slurm.cancelling import cancel

        cancelled, left = cancel(planned, store)
        if as_json:
            print(json.dumps({"schema": "rewarm.cancel/1", "cancelled": cancelled, "left": left}))
        if cancelled or not left:
            print(f"cancelled: {', '.join(cancelled)}" if cancelled else "nothing of this is queued", file=sys.stderr)
        if left:
            print(f"left, since jobs of other commands go on from them: {', '.join(left)}", file=sys.stderr)
        return 0
    status = execute(planned, lambda: plan_points(points, store), launching, tracker, store)
    if as_json:
        print(json.dumps(plan_document(plan_points(points, store), store)))
    return status


def store_of(settings: Config) -> Store:
    """The store and its parents, as `root` and `parent_stores` name them."""
    return Store(
        user_path("root", text(settings, "root")),
        [user_path("parent_stores", path) for path in listing(settings, "parent_stores")],
    )


def execute(
    planned: Plan,
    replan: Callable[[], Plan],
    launching: Launch,
    tracker: Mapping[str, Any],
    store: Store,
    recorded: Callable[[], object] = lambda: None,
) -> int:
    """Launch a plan over states and a disk that are checked first. The status. `replan` looks at the store again.

    `recorded` is called once its runs are, or it has failed before.
    """
    store.check_writable()
    with contextlib.ExitStack() as stack:
        stack.callback(recorded)
        stack.enter_context(recording(store.root / "leases"))
        planned = _verified(planned, replan, store, launching.verify)
        costs = totals(planned)
        _check_space(costs["disk_bytes"], store)
        _bring_checkpoints(planned)
        print("\n".join(narrowed(total_lines(costs), sys.stderr, tables=False)), file=sys.stderr)
        from harness.launch import launch

        outcome = launch(planned, launching, store, tracker=tracker, progress=True, recorded=stack.close)
    return 130 if outcome.interrupted else 1 if outcome.failures else 0


def _verified(planned: Plan, replan: Callable[[], Plan], store: Store, mode: str) -> Plan:
    """The plan over whole states: those that turn out damaged are set aside, named, and planned again.

    `mode`: once, and what has not changed since is not read again; full, everything is; off, nothing.
    """
    checked: set[str] = set()
    while mode != "off":
        left = {s.address for s in planned.segments if s.stored is not None} - checked
        sizes = {address: store.unverified_bytes(address, full=mode == "full") for address in sorted(left)}
        done, total, last_line = 0, sum(sizes.values()), time.monotonic()
        if total > LONG_CHECK_BYTES:
            print(f"checking {len(left)} stored states, {size(total)} (launch.verify)", file=sys.stderr)
        whole = True
        for address, left_bytes in sizes.items():
            whole &= store.verify(address, full=mode == "full")
            done += left_bytes
            if time.monotonic() - last_line > CHECK_SECONDS:
                last_line = time.monotonic()
                print(f"checked {size(done)} of {size(total)}", file=sys.stderr)
        if whole:
            break
        checked |= left
        planned = replan()
    return planned


def _bring_checkpoints(planned: Plan) -> None:
    """Fetch what lies on a hub and is trained from; refuse a checkpoint whose tensors are not its config's.

    Before anything starts. It takes torch, so a plan that is only shown, or has nothing left to train, does without.
    """
    left = [*planned.to_train, *(evaluation.segment for evaluation in planned.evaluations)]
    paths = sorted({segment.path for segment in left if segment.path is not None})
    runs = [point.run for point in reversed(planned.points)]  # of two names of the same files the first one's counts
    named = {run.path: (run.origin.repository, run.origin.commit) for run in runs if run.origin is not None}
    fetch_checkpoints({path: named.get(path) for path in paths})
    for path in paths:
        from harness.model.build import check_checkpoint

        check_checkpoint(path)


def _check_space(needed: int, store: Store) -> None:
    free = store.disk_free()
    if needed > free:
        why = f"the plan stores {size(needed)}, {size(free)} are free"
        raise InputError("root", store.root, why, "free some, or name another root")


def plan_points(points: Sequence[GridPoint], store: Store) -> Plan:
    """Check every point before anything starts; the first bad one is named."""
    runs, positions = [], 0
    for number, point in enumerate(points, start=1):
        try:
            run = read_run(point.config)
            compile_run(run)
            positions += run.positions
            runs.append((point.label, run))
        except InputError as error:
            if len(points) == 1:
                raise
            where = f"point {number} of {len(points)} ({point.label or 'no choices'}): "
            raise InputError(where + error.field, error.value, error.why, error.remedy) from None
    if positions > ALL_POSITIONS:
        why = f"{len(points)} points are measured at {positions:,} positions together, above {ALL_POSITIONS:,}"
        every = runs[0][1].config["evaluate"]["every"]
        raise InputError("evaluate.every", every, why, "give a larger one, or plan fewer points at a time")
    return plan_over(compile_points(runs), store)
