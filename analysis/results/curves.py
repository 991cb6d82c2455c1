"""Learning-rate curves as variables of laws: what a law with a schedule needs to know about the steps before a row.

`lrs` is the learning rate of every update since the root, warm-up included: lrs[i] is that of update i. A row at step s
was measured after s updates, that is after lrs[:s].

    table = add_schedules(table, {"cosine": lrs, ...})    # columns S1, S2, drop, drop_lr, drop_S for the laws
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.formulas.formula import Array, Integers
from harness.core.errors import InputError

DECAY = 0.999  # lambda of S2: how fast the annealing's momentum fades, per step (2505.07796 sets it by hand)
LARGEST = 1.0  # a learning rate
JUMP, MOST_JUMPS = 0.2, 3  # of the peak: changes between logged steps that are told, unless there are many
RATIO, PARTS = 1.5, 24  # which changes of the learning rate the multi-power law takes together, see `changes`


def lr_sum(lrs: Array, steps: Integers) -> Array:
    """S1: the sum of the learning rates of all updates before each step (the area under the schedule)."""
    return np.concatenate([[0.0], np.cumsum(lrs)])[steps]


def annealing(lrs: Array, steps: Integers, decay: float = DECAY) -> Array:
    """S2 = sum over updates i of m_i, m_i = decay m_{i-1} + (lr_{i-1} - lr_i): 2408.11029.

    Rises of the learning rate do not count (the warm-up, re-warming): only what is annealed away does.
    """
    from scipy.signal import lfilter

    falls = np.maximum(-np.diff(lrs, prepend=lrs[:1]), 0.0)
    momentum = lfilter([1.0], [1.0, -decay], falls)
    return np.concatenate([[0.0], np.cumsum(momentum)])[steps]


@dataclass(frozen=True)
class Changes:
    """The changes of the learning rate before each row, in groups: arrays of shape (rows, groups).

    `drop`: how far it fell (negative: rose); `lr`: where to; `S`: the sum of learning rates from there to the row. A
    group without a change has drop 0, lr 1 and S 0.
    """

    drop: Array
    lr: Array
    S: Array


def changes(lrs: Array, steps: Integers, ratio: float = RATIO, parts: int = PARTS) -> Changes:
    """For the multi-power law (2503.12811), which sums over all changes, those of the warm-up too.

    Changes of one sign are joined, at their weighted mean learning rate and position, where they belong to the same of
    `parts` equal parts of all change and their distances to the row lie within `ratio` of each other: the effect of a
    recent change still grows, and that of a change at a low learning rate is another one.
    """
    falls = -np.diff(lrs, prepend=0.0)
    total = np.concatenate([[0.0], np.cumsum(lrs)])
    back = np.unique(np.ceil(ratio ** np.arange(np.log(len(lrs) + 1) / np.log(ratio) + 2)).astype(np.int64))
    found = []
    for sign in (1.0, -1.0):
        size = np.maximum(sign * falls, 0.0)
        sums = [np.concatenate([[0.0], np.cumsum(size * of)]) for of in (1.0, lrs, total[:-1])]
        equal = np.searchsorted(sums[0], sums[0][-1] * np.arange(1, parts) / parts)
        edges = np.concatenate([steps[:, None] - back, np.broadcast_to(equal, (len(steps), len(equal)))], axis=1)
        edges = np.sort(np.clip(np.pad(edges, ((0, 0), (1, 1))), 0, steps[:, None]), axis=1)
        edges[:, -1] = steps
        weight, lr, place = (part[edges[:, 1:]] - part[edges[:, :-1]] for part in sums)
        there = weight > 1e-12 * size.max(initial=0.0)
        weight = np.where(there, weight, 1.0)
        columns = (
            np.where(there, sign * weight, 0.0),
            np.where(there, lr / weight, 1.0),
            np.where(there, total[steps][:, None] - place / weight, 0.0),
        )
        used = there.any(0)
        found.append([column[:, used] for column in columns])
    return Changes(*(np.concatenate(pair, axis=1) for pair in zip(*found, strict=True)))


def interpolated(steps: Integers, lrs: Array, until: int, warmup: int | None = None) -> Array:
    """The learning rate of every update up to `until`, from some logged along the way: linear between them.

    Before the first logged step: a linear warm-up from zero over `warmup` updates (default: up to the first logged
    step), then constant. A sudden drop is as sharp as the log: log both of its sides.
    """
    if np.any(np.diff(steps) <= 0) or np.any(lrs < 0):
        raise InputError("lr", "the log", "steps do not rise, or a rate is negative", "sort it; one line per step")
    every = np.arange(until)
    found = np.interp(every, steps, lrs)
    length = int(steps[0] if warmup is None else warmup)
    rising = every < min(length, until)
    found[rising] = lrs[0] * every[rising] / max(length, 1)
    return np.asarray(found, dtype=float)


def logged(log: pd.DataFrame, *, warmup: int | None = None, option: str = "--warmup") -> dict[str, Array]:
    """The learning rate of every update of each run up to its last logged one, from columns run, step and lr.

    lr is that of update `step` (the first is 0), linear between rows; a large change between two rows with constant
    rates on its other sides is sudden, at the later one (`jumps` tells). `warmup`: see `interpolated`; a log that
    begins later than 0 needs it (`option`: how a user gives it). A step may be there twice with one rate (the losses of
    two corpora). InputError for what would be another curve in silence: rates that are negative, all zero or too large
    to be any, steps that fall or have two rates, and a beginning that is not known.
    """
    curves = {}
    for run, rows in log.drop_duplicates(["run", "step", "lr"]).groupby("run", sort=False):
        steps, lrs = rows.step.to_numpy(dtype=float), rows.lr.to_numpy(dtype=float)
        _check_log(str(run), steps, lrs)
        steps, first = np.unique(steps.astype(np.int64), return_index=True)
        lrs = lrs[first]
        begin = _begin(str(run), steps, warmup, option)
        places, sudden = _jumps(steps, lrs)
        at = places[sudden]
        steps, lrs = np.insert(steps, at + 1, steps[at + 1] - 1), np.insert(lrs, at + 1, lrs[at])
        curves[str(run)] = interpolated(steps, lrs, int(steps[-1]) + 1, begin)
    return curves


def _check_log(run: str, steps: Array, lrs: Array) -> None:
    of = f"run {run}: " if run else ""
    if not (np.isfinite(steps).all() and (steps >= 0).all() and (steps == np.rint(steps)).all()):
        raise InputError(
            "step", run, "not all whole numbers of zero or more", "give updates since the root: --map step=..."
        )
    if not (np.isfinite(lrs).all() and (lrs >= 0).all()):
        raise InputError("lr", run, "not all numbers of zero or more", "give the rate of every row: --map lr=...")
    if not lrs.max() > 0:
        raise InputError("lr", run, "the learning rate is zero throughout", "give that of every update: --map lr=...")
    if lrs.max() > LARGEST:
        why = f"{of}up to {lrs.max():g}, no learning rate per update: it looks like other units"
        raise InputError("lr", f"{lrs.max():g}", why, "write it as it multiplies the update: --map lr=lr*1e-4")
    fall = np.flatnonzero(np.diff(steps) < 0)
    if len(fall):
        why = f"{of}step {steps[fall[0] + 1]:.0f} comes after step {steps[fall[0]]:.0f}"
        raise InputError("step", run, why, "sort the rows, or tell what are two runs apart: --map run=...")
    twice = np.flatnonzero((np.diff(steps) == 0) & (np.diff(lrs) != 0))
    if len(twice):
        at = twice[0]
        why = f"{of}step {steps[at]:.0f} has two learning rates, {lrs[at]:g} and {lrs[at + 1]:g}"
        raise InputError("lr", run, why, "tell the runs apart: --map run=...")


def _begin(run: str, steps: Integers, warmup: int | None, option: str) -> int:
    """Over how many updates the rate rises to the first logged one."""
    if steps[0] == 0:
        return 0
    spacing = int(np.diff(steps).max(initial=0))
    if warmup is None:
        why = f"the learning rate of run {run} is not known before step {steps[0]}: a warm-up?"
        remedy = f"{option} STEPS (linear from zero; 0: none), or whole curves: --schedules FILE"
        raise InputError("lr", f"from step {steps[0]}", why, remedy)
    if steps[0] > warmup + spacing:
        why = f"the learning rate of run {run} is not known between its warm-up and step {steps[0]}"
        raise InputError(option, warmup, why, "give whole curves: --schedules FILE (run, step, lr)")
    return min(warmup, int(steps[0]))


def jumps(log: pd.DataFrame) -> list[str]:
    """How a log's changes by more than JUMP between two steps that are not neighbours are read, a line a run."""
    found = []
    for run, rows in log.groupby("run", sort=False):
        one = rows.drop_duplicates("step").sort_values("step")
        steps, lrs = one.step.to_numpy(dtype=float), one.lr.to_numpy(dtype=float)
        places, sudden = _jumps(steps, lrs)
        if 0 < len(places) <= MOST_JUMPS:
            at = places[0]
            how = f"as sudden, at step {steps[at + 1]:.0f}: it is constant on both sides" if sudden[0] else "as a line"
            found.append(
                f"run {run}: the learning rate goes from {lrs[at]:g} to {lrs[at + 1]:g} between steps {steps[at]:.0f} "
                f"and {steps[at + 1]:.0f}, read {how}"
            )
    return found


def _jumps(steps: Array, lrs: Array) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """After which rows the rate changes by more than JUMP of the peak before the next one, and where it is constant
    before and after."""
    change = np.abs(np.diff(lrs)) / max(float(lrs.max()), 1e-300)
    places = np.flatnonzero((change > JUMP) & (np.diff(steps) > 1))
    flat = np.concatenate([[False], change < 1e-6, [False]])  # the stretch before each row, and after the last
    return places, flat[places] & flat[places + 2]


def add_schedules(
    table: pd.DataFrame, schedules: Mapping[str, Array], *, start: Mapping[str, int] | int = 0, decay: float = DECAY
) -> pd.DataFrame:
    """The table with what laws ask of a schedule. Needs columns `run` and `step`; `start`: the update at which
    continual pre-training begins (0: there is none).

    S1, S2: of all updates; S1_base, S2_base, S1_cpt, S2_cpt: of those before and after `start`; drop, drop_lr, drop_S:
    arrays, see `Changes`. Raises InputError for a run without a schedule, or one shorter than its rows.
    """
    parts = []
    for run, rows in table.groupby("run", sort=False):
        name = str(run)
        if name not in schedules:
            raise InputError("run", name, "has no learning-rate curve", f"known: {', '.join(list(schedules)[:5])}")
        lrs, steps = np.asarray(schedules[name], dtype=float), rows.step.to_numpy(dtype=np.int64)
        if steps.max(initial=0) > len(lrs):
            why = f"is measured at step {steps.max()}, its learning-rate curve ends at {len(lrs)}"
            raise InputError("run", name, why, "give the whole curve")
        begin = start if isinstance(start, int) else start.get(name, 0)
        base = lrs[:begin]
        until = np.minimum(steps, begin)
        found = changes(lrs, steps)
        columns: dict[str, Any] = {
            "S1": lr_sum(lrs, steps),
            "S2": annealing(lrs, steps, decay),
            "S1_base": lr_sum(base, until),
            "S2_base": annealing(base, until, decay) if begin else np.zeros(len(steps)),
            "S1_cpt": lr_sum(lrs[begin:], np.maximum(steps - begin, 0)),
            "S2_cpt": annealing(lrs[begin:], np.maximum(steps - begin, 0), decay),
            "drop": list(found.drop),
            "drop_lr": list(found.lr),
            "drop_S": list(found.S),
        }
        parts.append(rows.assign(**columns))
    return _padded(pd.concat(parts).loc[table.index])


def _padded(table: pd.DataFrame) -> pd.DataFrame:
    """All rows with the same number of groups of changes."""
    width = max(len(cell) for cell in table["drop"])
    for name, value in (("drop", 0.0), ("drop_lr", 1.0), ("drop_S", 0.0)):
        cells: Any = [np.pad(cell, (0, width - len(cell)), constant_values=value) for cell in table[name]]
        table[name] = pd.Series(cells, index=table.index, dtype=object)
    return table
