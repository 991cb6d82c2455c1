"""Learning-rate curves from the command line, for laws whose variables are sums over them.

A table has its own columns lr and step; or --schedules names a second one, a row a logged step (run, step, lr; linear
between rows) or a row a schedule (run, schedule, peak, floor, warmup, horizon, anneal; amounts in steps). Laws of
continual pre-training also ask for the base: --base-schedule, a file as --schedules, after which the steps of the table
count from zero; or a column phase (base, cpt) in one of the two.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers.schedule import SCALABLE, drawn
from analysis.formulas.expressions import names_in
from analysis.formulas.formula import Array
from analysis.results.curves import DECAY, add_schedules, jumps, logged
from analysis.results.table_files import read_file
from analysis.results.tables import read
from harness.core.errors import InputError
from harness.core.options import path
from harness.program.schedule import NAMES, Schedule

VARIABLES = ("S1", "S2", "S1_base", "S1_cpt", "S2_base", "S2_cpt", "drop", "drop_lr", "drop_S")
OF_BASE = ("S1_base", "S2_base", "S1_cpt", "S2_cpt")
ALL = "all"  # the run of a table that names none
PHASES = ("base", "cpt")
SHOWN = 5  # of many

NAMED = {"peak": None, "floor": None, "warmup": 0, "horizon": None, "anneal": 0}


def add_schedule_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "learning rates, for laws of S1, S2, drop (columns lr and step, or a second table)"
    )
    group.add_argument(
        "--schedules",
        type=path,
        metavar="FILE",
        help="columns run, step, lr (linear between rows), or run, schedule, peak, floor, warmup, horizon, anneal",
    )
    group.add_argument(
        "--base-schedule", type=path, metavar="FILE", help="that of the base; steps of the table count from its end"
    )
    group.add_argument(
        "--warmup", type=int, metavar="STEPS", help="linear from zero, before the first row of a curve (0: none)"
    )
    group.add_argument("--base-warmup", type=int, metavar="STEPS", help="the same, before the first row of the base")
    group.add_argument("--decay", type=float, metavar="LAMBDA", help=f"of the annealing's momentum, a step ({DECAY:g})")


def asked(options: argparse.Namespace, table: pd.DataFrame, variables: Mapping[str, str]) -> bool:
    """Do the law's variables follow from learning rates that the table does not hold as sums? InputError if not, and
    curves are given."""
    lacking = [name for name in VARIABLES if name in variables and name not in table]
    given = [
        name for name in ("schedules", "base_schedule", "warmup", "base_warmup") if getattr(options, name) is not None
    ]
    if given and not lacking:
        name = given[0].replace("_", "-")
        why = f"plays no part: the law's variables are {', '.join(variables)}"
        raise InputError(name, getattr(options, given[0]), why, "leave it out, or fit a law of S1, S2 or drop")
    if not lacking:
        refuse_decay(options, variables)
    return bool(lacking)


def refuse_decay(options: argparse.Namespace, variables: Mapping[str, str]) -> None:
    """InputError for a decay that is given where no sum is worked out for the law's variables."""
    if options.decay is not None and not set(variables) & set(VARIABLES):
        why = "plays no part: no learning-rate sums are worked out for this law"
        raise InputError("decay", options.decay, why, "leave it out, or fit a law of S1, S2 or drop")


def decay_of(options: argparse.Namespace) -> float:
    """`--decay`. InputError for one that is none."""
    decay = DECAY if options.decay is None else float(options.decay)
    if not 0 < decay < 1:
        raise InputError("decay", decay, "not between 0 and 1", f"give one such as {DECAY:g}")
    return decay


def refuse_curves(options: argparse.Namespace) -> None:
    """InputError for curves that are given to the runs of a store, which has its own."""
    for name in ("schedules", "base_schedule", "warmup", "base_warmup"):
        if (value := getattr(options, name)) is not None:
            why = "is for a table: the runs of a store have their own learning rates"
            raise InputError(name.replace("_", "-"), value, why, "leave it out")


def with_schedules(
    options: argparse.Namespace, table: pd.DataFrame, columns: Mapping[str, str], variables: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """The table with what the law asks of its runs' learning rates, and what was read into them. Raises InputError."""
    decay = decay_of(options)
    if options.warmup is not None and options.warmup < 0:
        raise InputError("warmup", options.warmup, "a negative number of steps", "give 0 or more")
    table = _whole_steps(table)
    runs = list(map(str, table.run.unique()))
    log = _of_runs(_log(options.schedules, columns) if options.schedules is not None else _own_log(table), runs)
    notes = jumps(log)
    if options.base_schedule is not None:
        if "phase" in log:
            why = "the curves have a base already (phase)"
            raise InputError("base-schedule", options.base_schedule, why, "leave one of them out")
        curves, bases = logged(log, warmup=options.warmup), base_curves(options, columns)
        start = {}
        for run, lrs in curves.items():
            base = bases[run if run in bases else only(bases, run, options.base_schedule)]
            curves[run], start[run] = np.concatenate([base, lrs]), len(base)
        table = table.assign(step=table.step + table.run.astype(str).map(start).fillna(0).astype(np.int64))
    else:
        log, start = _phases(log) if set(variables) & set(OF_BASE) else (log, {})
        curves = logged(log, warmup=options.warmup)
    peak, longest = max(float(lrs.max()) for lrs in curves.values()), max(map(len, curves.values()))
    notes.append(f"learning rates of {len(curves)} runs, up to {peak:g}, of up to {longest} updates")
    if at := sorted(set(start.values())):
        more = " ..." if len(at) > SHOWN else ""
        notes.append(f"continual pre-training begins at update {', '.join(map(str, at[:SHOWN]))}{more}")
    table = add_schedules(table, curves, start=start or 0, decay=decay)
    before = table.S1 <= 0
    if before.any():
        notes.append(f"{before.sum()} rows from before the first update with a learning rate are left out")
    return table[~before], notes


def base_curves(options: argparse.Namespace, columns: Mapping[str, str]) -> dict[str, Array]:
    """The learning rates of bases: a curve for each run, or one. Raises InputError."""
    if options.base_warmup is not None and options.base_warmup < 0:
        raise InputError("base-warmup", options.base_warmup, "a negative number of steps", "give 0 or more")
    return logged(_log(options.base_schedule, columns), warmup=options.base_warmup, option="--base-warmup")


def only(curves: Mapping[str, Array], run: str, file: Path) -> str:
    """The name of the one curve there is. Raises InputError."""
    if len(curves) > 1:
        why = f"it has curves of {len(curves)} runs" + (f", and none of run {run}" if run else "")
        raise InputError("base-schedule", file, why, "give one curve, or one of each run")
    return next(iter(curves))


def _whole_steps(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a run and whole steps, one row each."""
    if "step" not in table:
        why = f"the law asks for the updates before each row (there are {', '.join(map(str, table.columns))})"
        raise InputError("table", "step", why, "give them: --map step=..., such as step=tokens/524288")
    if "run" not in table:
        table = table.assign(run=ALL)
    step = pd.to_numeric(table.step, errors="coerce").to_numpy(dtype=float)
    if not (np.isfinite(step).all() and (step >= 0).all() and np.abs(step - np.rint(step)).max(initial=0) < 1e-6):
        raise InputError("step", "the table", "not all whole numbers of zero or more", "give updates: --map step=...")
    table = table.assign(step=np.rint(step).astype(np.int64))
    twice = table.duplicated(["run", "step"])
    if twice.any():
        row = table[twice].iloc[0]
        why = f"run {row.run} has two rows at step {row.step}: of two models, corpora or runs of one name?"
        raise InputError("step", row.step, why, "keep one kind: --where ..., or tell runs apart: --map run=...")
    return table


def _own_log(table: pd.DataFrame) -> pd.DataFrame:
    if "lr" not in table:
        have = ", ".join(map(str, table.columns))
        why = f"the law asks for learning rates (there are {have})"
        raise InputError("table", "lr", why, "give them: --map lr=..., or a table of them: --schedules FILE")
    if table.groupby("run").lr.nunique().max() == 1:  # as in the tables of a store, where lr is the peak
        told = [text for name in ("schedule", "run") if name in table for text in table[name].astype(str).unique()]
        moving = [text for text in told if "constant" not in text and any(name in text for name in NAMES)]
        if moving:
            why = f"one value all through each run, of schedules such as {moving[0]}: is it the peak?"
            raise InputError("lr", f"{table.lr.iloc[0]:g}", why, "give the rate of every row, or --schedules FILE")
    return table[[name for name in ("run", "step", "lr", "phase") if name in table]]


def _log(file: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """A file of learning rates, a row a step or a row a schedule, as columns run, step, lr (and phase)."""
    raw = read_file(file, {"run", "schedule", "phase"})
    have = set(map(str, raw.columns))
    wanted = {name: expression for name, expression in columns.items() if name in ("run", "step", "lr", "phase")}
    fitting = {name: text for name, text in wanted.items() if text in have or set(names_in(text)) <= have}
    log = read(file, {name: text for name, text in fitting.items() if name not in have or text in have})
    if "run" not in log:
        log = log.assign(run=ALL)
    if {"step", "lr"} <= set(log.columns):
        return log[[name for name in ("run", "step", "lr", "phase") if name in log]]
    if {"schedule", "peak"} <= set(log.columns):
        return _named(log, file)
    why = f"neither step and lr, nor schedule and peak, are among its columns ({', '.join(map(str, log.columns))})"
    raise InputError("schedules", file, why, "give columns run, step, lr")


def _named(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Rows of schedules by name as every update of theirs; a run's rows follow each other."""
    parts: list[pd.DataFrame] = []
    ends: dict[str, int] = {}
    for number, row in enumerate(table.to_dict("records"), 1):
        run, name = str(row["run"]), str(row["schedule"])
        if name not in SCALABLE:
            why = f"row {number}: {name} cannot be drawn from a peak and a horizon"
            raise InputError("schedules", file, why, f"choose of {', '.join(SCALABLE)}; or log it: run, step, lr")
        given: dict[str, Any] = {str(key): row.get(key, default) for key, default in NAMED.items()}
        for key, value in given.items():
            if value is None and key == "floor" and name in ("constant", "warmup_constant"):
                given[key] = 0.0
            elif not isinstance(value, (int, float)) or not value >= 0 or (key not in ("peak", "floor") and value % 1):
                what = "a learning rate" if key in ("peak", "floor") else "a whole number of steps"
                raise InputError("schedules", file, f"row {number} has no {key}", f"give a column {key}, {what}")
        lrs = drawn(
            Schedule(
                name,
                max_lr=given["peak"],
                min_lr=given["floor"],
                warmup_steps=int(given["warmup"]),
                horizon_steps=int(given["horizon"]),
                anneal_steps=int(given["anneal"]),
            ),
            int(given["horizon"]),
        )
        first = ends.get(run, 0)
        steps = np.arange(first, first + len(lrs))
        ends[run] = first + len(lrs)
        parts.append(
            pd.DataFrame({"run": run, "step": steps, "lr": lrs, **({"phase": row["phase"]} if "phase" in row else {})})
        )
    return pd.concat(parts, ignore_index=True)


def _of_runs(log: pd.DataFrame, runs: Sequence[str]) -> pd.DataFrame:
    """The log of these runs; one curve without a name is everybody's."""
    if set(log.run) == {ALL} and ALL not in runs:
        return pd.concat([log.assign(run=run) for run in runs], ignore_index=True)
    known = log.run.astype(str)
    if lacking := [run for run in runs if run not in set(known)]:
        have = ", ".join(list(dict.fromkeys(known))[:SHOWN])
        raise InputError("run", lacking[0], "has no learning rates", f"give them, or leave it out (there are {have})")
    return log[known.isin(runs)]


def _phases(log: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """The log, and the update at which continual pre-training begins in each run: its first logged step there.

    Where both phases log that step, the base's rate there is that of the update before.
    """
    if "phase" not in log:
        why = "the law asks for the learning rates of the base, and where it ends"
        raise InputError("base-schedule", None, why, "give --base-schedule FILE, or a column phase (base, cpt)")
    phase = log.phase.astype(str)
    if not phase.isin(PHASES).all():
        raise InputError("phase", phase[~phase.isin(PHASES)].iloc[0], "no such phase", "write base or cpt")
    start, parts = {}, []
    for run, rows in log.groupby("run", sort=False):
        base, after = (rows[rows.phase == one] for one in PHASES)
        if base.empty or after.empty:
            remedy = "give both: --schedules FILE, or --base-schedule FILE"
            raise InputError("phase", run, f"the run has no {'base' if base.empty else 'cpt'}", remedy)
        first, end = int(after.step.min()), int(base.step.max())
        if end > first:
            why = f"run {run}: step {end} of the base is not before step {first} of cpt"
            raise InputError("step", run, why, "count steps from the root of the base, or give --base-schedule FILE")
        if first - end > 1:
            why = f"run {run}: the learning rate between step {end} of the base and step {first} of cpt is not known"
            raise InputError("step", run, why, "log the last step of the base and the first of cpt: --schedules FILE")
        base = base.assign(step=base.step.where(base.step < first, first - 1)).drop_duplicates("step")
        parts += [base, after]
        start[str(run)] = first
    return pd.concat(parts), start
