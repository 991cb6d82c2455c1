"""From runs to arms: one setting of the knobs each, its runs the order seeds under one base.

Between `analysis.decide.ends` and the surface. What must not be pooled is refused with what to add.

    grid = arms_of(ends)                        # the knobs are those that vary
    grid.settings, grid.forgetting["docs"], grid.adaptation, grid.seeds

F = U(end) - U(base), A = V(base) - V(end), in nats per token. A run that failed, or whose upstream loss more than
doubled, is no missing point: its arm is known to be no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.formulas.formula import Array
from analysis.results.windows import left_out
from harness.core.errors import InputError
from harness.core.units import count

NUMERIC = ("peak", "lr", "replay", "warmup", "tokens", "min_ratio")
SHARES = ("replay", "warmup", "min_ratio")
CATEGORIES = ("schedule", "batch", "optimizer_state", "horizon")
KNOBS = (*NUMERIC, *CATEGORIES)
SAME = ("model", "N_total", "upstream", "downstream", "base_tokens", "at")  # for runs of several, nothing is pooled
DIVERGED = 1.0  # forgetting above this multiple of the base's upstream loss


@dataclass(frozen=True)
class Grid:
    """The arms of one model. Arrays have a row an arm, in the order of `settings`, and a column a seed."""

    settings: pd.DataFrame
    """A column a knob: numbers, or texts for categories."""
    numeric: tuple[str, ...]
    """Knobs that are numbers."""
    seeds: tuple[str, ...]
    """Of the columns: the order seed, with its base where several are averaged."""
    forgetting: dict[str, Array]
    """Corpus -> F (arms, seeds), NaN where there is no such run; the upstream corpus first, then those further ones
    that every run measured."""
    adaptation: Array
    """A (arms, seeds)."""
    failed: npt.NDArray[np.bool_]
    """Arms of which some run failed or diverged."""
    base: dict[str, float]
    """Loss of the base by corpus, the mean over bases."""
    sampling: dict[str, float]
    """Standard error of F (downstream: of A) that the choice of windows leaves: common to all arms, so that
    it counts against a limit and not between arms. 0 where it is not known."""
    base_spread: dict[str, float] | None
    """Their sd where several bases are averaged."""
    runs: list[list[str]]
    """Names of the runs of each arm that are done."""
    common: dict[str, Any]
    """What all runs share: model, upstream, downstream, run_tokens, base_address, ..."""
    notes: tuple[str, ...]
    """What was left out, and why."""

    @property
    def upstream(self) -> str:
        """The corpus whose loss is forgetting."""
        return next(iter(self.forgetting))

    @property
    def downstream(self) -> str:
        """The corpus that is adapted to."""
        return str(self.common["downstream"])

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        """Arms that have a number: some run is done, none failed."""
        return ~self.failed & np.isfinite(self.adaptation).any(axis=1)


def arms_of(ends: pd.DataFrame, knobs: Sequence[str] | None = None, bases: str = "one") -> Grid:
    """The arms of runs, see `analysis.decide.ends`. `knobs`: default those that vary. `bases`: "one" or "average".

    Raises InputError for runs of several models, corpora, lengths or bases, and for a setting that varies and is no
    knob.
    """
    if ends.empty:
        raise InputError("runs", "none", "nothing is recorded", "train some runs, or name their store: --root")
    notes = []
    without = ends.base_address.isna() if "base_address" in ends else pd.Series(False, index=ends.index)
    if without.any():
        notes.append(f"{without.sum()} runs from scratch are left out: they have no base to forget")
        ends = ends[~without]
    waiting = ~ends.status.isin(["done", "failed"])
    if waiting.any():
        notes.append(f"{waiting.sum()} runs are not done and count for nothing")
        ends = ends[~waiting]
    if ends.empty:
        raise InputError("runs", "none", "there is no run that ended from a base", "train some, or widen --where")
    for name in SAME:
        _one(ends, name)
    means = ends.status.eq("done") & ~ends.last_alone.astype(bool) if "last_alone" in ends else ends.status.eq("never")
    if means.any():
        which = "all ends are" if means.sum() == ends.status.eq("done").sum() else f"the ends of {means.sum()} runs are"
        notes.append(f"{which} means of the last few evaluations on few windows, which is less than the last on many")
    upstream, downstream = str(ends.upstream.iloc[0]), str(ends.downstream.iloc[0])
    if dirty := {
        name: ends[f"dirty {name}"][ends.status == "done"] for name in (upstream, downstream) if f"dirty {name}" in ends
    }:
        notes.append(f"final losses: {left_out({name: values.to_list() for name, values in dirty.items()})}")
    if upstream == downstream:
        raise InputError("downstream", downstream, "is upstream, too: nothing is adapted to", "give runs of a shift")
    ends = _with_tokens(ends, knobs)
    _check_shares(ends)
    chosen = _knobs(ends, knobs)
    label = _seeds(ends, bases)
    changes = {name: ends[f"final {name}"] - ends[f"base {name}"] for name in _corpora(ends, upstream, downstream)}
    base = {name: float(ends[f"base {name}"].drop_duplicates().mean()) for name in changes}
    failed = (
        (ends.status == "failed") | ~np.isfinite(changes[upstream]) | (changes[upstream] > DIVERGED * base[upstream])
    )
    if failed.any():
        notes.append(f"{failed.sum()} runs failed or diverged: their settings count as no answer")
    keys = pd.MultiIndex.from_frame(ends[chosen]) if chosen else pd.MultiIndex.from_arrays([[0] * len(ends)])
    arm, distinct = pd.factorize(keys, sort=True)
    seeds = sorted(set(label))
    row, column = arm, np.array([seeds.index(one) for one in label])
    twice = pd.Series(list(zip(row, column, strict=True)), index=ends.index).duplicated()
    if twice.any():
        at = int(np.argmax(twice))
        other = ends.run.iloc[int(np.argmax((row == row[at]) & (column == column[at])))]
        why = f"another run has its settings and its seed ({other})"
        raise InputError("run", ends.run.iloc[at], why, "keep one of them, or tell them apart: --where")

    def table(values: pd.Series[Any]) -> Array:
        found = np.full((len(distinct), len(seeds)), np.nan)
        found[row, column] = np.where(failed, np.nan, values.to_numpy(dtype=float))
        return found

    first = ends.assign(arm=arm).drop_duplicates("arm").sort_values("arm")
    several = ends.base_address.nunique() > 1 if "base_address" in ends else False
    of_bases = ends.drop_duplicates("base_address") if several else ends
    names = ends.run.to_numpy()
    return Grid(
        settings=first[chosen].reset_index(drop=True),
        numeric=tuple(name for name in chosen if name in NUMERIC),
        seeds=tuple(seeds),
        forgetting={name: table(change) for name, change in changes.items() if name != downstream},
        adaptation=-table(changes[downstream]),
        failed=np.bincount(row[failed.to_numpy()], minlength=len(distinct)) > 0,
        base=base,
        sampling={name: _sampling(ends, name) for name in changes},
        base_spread={name: float(of_bases[f"base {name}"].std()) for name in changes} if several else None,
        runs=[[str(name) for name in names[(row == k) & ~failed.to_numpy()]] for k in range(len(distinct))],
        common={str(name): ends[name].iloc[0] for name in ends if ends[name].nunique(dropna=False) == 1},
        notes=tuple(notes),
    )


def _sampling(ends: pd.DataFrame, corpus: str) -> float:
    known = ends[f"sampling {corpus}"].dropna() if f"sampling {corpus}" in ends else pd.Series(dtype=float)
    return float(known.mean()) if len(known) else 0.0


def _corpora(ends: pd.DataFrame, upstream: str, downstream: str) -> list[str]:
    """Upstream, downstream, and the further corpora that every run that is done measured."""
    done = ends[ends.status == "done"]
    measured = [str(name).removeprefix("final ") for name in ends if str(name).startswith("final ")]
    whole = [
        name
        for name in measured
        if f"base {name}" in ends and done[[f"final {name}", f"base {name}"]].notna().all(axis=None)
    ]
    for name in (upstream, downstream):
        if f"final {name}" not in ends or f"base {name}" not in ends:
            raise InputError("corpus", name, "its loss is not measured at the end and at the base", "measure it")
    return [upstream, downstream, *sorted(set(whole) - {upstream, downstream})]


def _one(ends: pd.DataFrame, name: str) -> None:
    """InputError where runs differ in what no decision pools."""
    if name not in ends or (counts := ends[name].value_counts()).size <= 1:
        return
    listed = ", ".join(f"{_text(value)} ({number} runs)" for value, number in counts.items())
    raise InputError(name, listed, "a decision is of one", f'add --where "{_condition(ends, name)}"')


def _condition(ends: pd.DataFrame, name: str) -> str:
    """That holds for the most frequent value of a column."""
    value = ends[name].value_counts().index[0]
    return f"{name} == {value.item() if isinstance(value, np.generic) else value!r}"


def _check_shares(ends: pd.DataFrame) -> None:
    """InputError where a share lies outside of [0, 1]: of percent, the answer would be a recipe that nobody can run."""
    for name in (name for name in SHARES if name in ends):
        values = pd.to_numeric(ends[name], errors="coerce")
        outside = values[~values.between(0, 1) & values.notna()]
        if len(outside):
            of_hundred = outside.between(1, 100).all()
            why = "is no share" + ("; it looks like percent" if of_hundred else "")
            remedy = f"with --table: --map {name}={name}/100" if of_hundred else "give shares in [0, 1]"
            raise InputError(name, f"{outside.max() if of_hundred else outside.iloc[0]:g}", why, remedy)


def _with_tokens(ends: pd.DataFrame, knobs: Sequence[str] | None) -> pd.DataFrame:
    """The length of a run is a knob only where it is asked for: a longer run is another budget."""
    if "run_tokens" not in ends:
        return ends
    if knobs is None or "tokens" not in knobs:
        _one(ends, "run_tokens")
    return ends.assign(tokens=ends.run_tokens.astype(float))


def _knobs(ends: pd.DataFrame, asked: Sequence[str] | None) -> list[str]:
    """The knobs, numbers first. Those by which nothing is told apart beside the categories are none."""
    for name in asked or ():
        if name not in KNOBS:
            raise InputError("knobs", name, "is no knob", f"choose of {', '.join(KNOBS)}")
        if name not in ends or ends[name].isna().all():
            raise InputError("knobs", name, "the runs do not say it", f"choose of those that vary: {_varying(ends)}")
    multiples = "peak" in ends and ends.peak.notna().all()
    skipped = {"lr"} if multiples and "lr" not in (asked or ()) else {"peak"}
    usual = [name for name in KNOBS if name in ends and name not in skipped and name != "tokens"]
    there = [name for name in KNOBS if name in usual or name in (asked or ())]
    categories = [name for name in there if name in CATEGORIES and ends[name].nunique(dropna=False) > 1]
    groups = [rows for _, rows in ends.groupby(categories, dropna=False)] if categories else [ends]
    numbers = [name for name in there if name in NUMERIC and any(rows[name].nunique() > 1 for rows in groups)]
    varying = [*numbers, *categories]
    if asked is not None and (left := [name for name in varying if name not in asked]):
        name = left[0]
        why = f"it varies ({_levels(ends[name])}) and is not among --knobs"
        raise InputError("knobs", name, why, f'name it, or add --where "{_condition(ends, name)}"')
    return [name for name in varying if asked is None or name in asked]


def _seeds(ends: pd.DataFrame, bases: str) -> list[str]:
    """Of each run its order seed, and its base where several are averaged. InputError for several bases otherwise."""
    seeds = ends.seed if "seed" in ends else pd.Series(0, index=ends.index)
    if "base_address" not in ends or ends.base_address.nunique() == 1:
        return [str(seed) for seed in seeds]
    if bases != "average":
        counts = ends.base_address.value_counts()
        of_seed = {base: sorted({int(seed) for seed in seeds[ends.base_address == base]}) for base in counts.index}
        listed = ", ".join(f"{str(base)[:8]} ({n} runs, seed {_listed(of_seed[base])})" for base, n in counts.items())
        why = "several bases are several models, and the next run has one"
        remedy = f'add --where "seed == {of_seed[counts.index[0]][0]}", or average them: --bases average'
        raise InputError("base", listed, why, remedy)
    number = {base: k for k, base in enumerate(dict.fromkeys(ends.base_address))}
    return [f"base {number[base]} seed {seed}" for base, seed in zip(ends.base_address, seeds, strict=True)]


def _varying(ends: pd.DataFrame) -> str:
    return ", ".join(name for name in KNOBS if name in ends and ends[name].nunique() > 1) or "none does"


def _levels(column: pd.Series[Any]) -> str:
    return ", ".join(_text(value) for value in sorted(column.dropna().unique()))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _text(value: Any) -> str:
    number = isinstance(value, int | float | np.number)
    return count(float(value)) if number and abs(float(value)) >= 1e4 else f"{value:g}" if number else str(value)
