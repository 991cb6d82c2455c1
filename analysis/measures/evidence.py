"""What measures of claims are made of: arms that must be there, contrasts paired by seed, tests over pairs of corpora.

Between `analysis.measures.arms`, `rules` and the papers (`rewarm`, `scalable`). A measure takes the evidence of the
seeds that a verdict is of and gives tests; where an arm, a position or a shift is not there it raises `MissingError`.

U, V = final losses upstream and downstream; w1 = warm-up 1 %, peak 1x, no replay; h = share of the run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from analysis.forecasts.forecast import Forecast
from analysis.formulas.formula import Array
from analysis.measures.arms import NEAR, MissingError, arm, baseline, ends_by_run, strength, w1_but
from analysis.measures.contrast import Contrast
from analysis.measures.differences import difference, with_order_noise
from analysis.measures.rules import Part, sign
from analysis.results.tables import of_curves
from analysis.results.windows import FrozenWindows

LEAST = 0.01  # nats: a smaller difference is none
OF_ADAPTATION, OF_FORGETTING = 0.02, 0.05  # of those of w1
PAIRS = 5  # of runs that differ in the order of the data alone, for a noise floor
SETTING = ("model", "run_tokens", "rate")  # what runs share that are compared


@dataclass(frozen=True)
class Evidence:
    """Runs of one pair of corpora, or of several."""

    curves: Mapping[tuple[str, str], tuple[Array, Array]]
    """By run and role, or a further corpus: shares h of the run, 0 at its base, and the losses there."""
    ends: pd.DataFrame
    """A row a run: `arms.ends_by_run`."""
    forecasts: Sequence[Forecast] = ()
    """What was frozen of runs before they were trained."""

    @staticmethod
    def from_table(
        table: pd.DataFrame, forecasts: Sequence[Forecast] = (), windows: Sequence[FrozenWindows] = ()
    ) -> Evidence:
        """Of measurements, as a frozen table has them, and the `windows` beside it. One training that was measured on
        several grids is one run: the densest."""
        rows = of_curves(table.loc[table.D >= 0, ["run", "corpus", "role", "windows", "D", "run_tokens", "loss"]])
        curves = {}
        rows = rows.assign(role=rows.role.where(rows.role != "further", rows.corpus))
        for (run, role), own in rows.groupby(["run", "role"]):
            curves[str(run), str(role)] = ((own.D / own.run_tokens).to_numpy(float), own.loss.to_numpy(float))
        ends = ends_by_run(table, windows)
        points = ends.run.map(rows.groupby("run").size())
        address = ends.address.astype(object).where(ends.address.notna(), ends.run)
        same = [address, *(ends[name] for name in ("upstream", "downstream", "start", "at"))]
        densest = points.eq(points.groupby(same, dropna=False).transform("max"))
        first = ~pd.concat(same, axis=1)[densest].duplicated()
        return Evidence(curves, with_order_noise(ends[densest][first], PAIRS), forecasts)

    def of(self, runs: pd.DataFrame) -> Evidence:
        """The part that some runs (rows of `ends`) are."""
        return replace(self, ends=runs)

    @property
    def name(self) -> str:
        """Of its pair of corpora."""
        return f"{self.ends.upstream.iloc[0]} to {self.ends.downstream.iloc[0]}"


@dataclass(frozen=True)
class Test:
    """A contrast and the rule it is judged by."""

    contrast: Contrast
    rule: Callable[[Contrast], Part]
    pair: str = ""
    """Of corpora that it is of."""
    part: str = ""
    """Of its claim, which takes tests of several parts."""


def judged(tests: Sequence[Test]) -> list[Part]:
    """The parts; an sd below the median of the claim's contrasts is luck, and not believed."""
    sds = [test.contrast.sd for test in tests if test.contrast.n > 1 and test.contrast.unit == "seeds"]
    typical = float(np.median(sds)) if sds else 0.0
    named = [replace(test.contrast, name=f"{test.pair}: {test.contrast.name}", typical_sd=typical) for test in tests]
    return [test.rule(contrast) for test, contrast in zip(tests, named, strict=True)]


def over_shifts(
    evidence: Evidence,
    measure: Callable[[Evidence], list[Test]],
    same_data: bool = False,
    by: Sequence[str] = SETTING,
) -> list[Test]:
    """The tests of every pair of corpora that has them. Runs of a pair that differ in what `by` names (by default
    model, tokens and the rate that peaks are multiples of) are not compared: of those that have the arms, the most
    are. Raises MissingError where none has."""
    tests, lacking = [], []
    for _, ends in evidence.ends.groupby(["upstream", "downstream"], sort=True):
        if (ends.upstream.iloc[0] == ends.downstream.iloc[0]) != same_data:
            continue
        alike = sorted(ends.groupby(list(by), dropna=False), key=lambda one: -len(one[1]))
        whole = evidence.of(ends)
        for number, (_, runs) in enumerate(alike):
            one = evidence.of(runs)
            try:
                tests += [replace(test, pair=one.name, part=test.part or strength(runs)) for test in measure(one)]
                break
            except MissingError as error:
                if number == 0:
                    lacking.append(f"{whole.name}: {error}")
    if not tests:
        raise MissingError("; ".join(lacking) or ("no runs on the same data" if same_data else "no runs of a shift"))
    return tests


def gathered(*measures: Callable[[], list[Test]]) -> list[Test]:
    """The tests of all parts that are there. Raises MissingError where none is."""
    tests, lacking = [], []
    for measure in measures:
        try:
            tests += measure()
        except MissingError as error:
            lacking.append(str(error))
    if not tests:
        raise MissingError("; ".join(dict.fromkeys(lacking)) or "no runs")
    return tests


def deltas(ends: pd.DataFrame, same_data: bool = False) -> tuple[float, float]:
    """delta_U and delta_V in nats, from what w1 forgets and adapts."""
    w1 = arm(w1_but(ends, same_data=same_data), "w1")
    forgets, adapts = float((w1.U - w1.U_base).mean()), float((w1.V_base - w1.V).mean())
    return max(LEAST, OF_FORGETTING * forgets), max(LEAST, OF_ADAPTATION * adapts)


def long(ends: pd.DataFrame) -> pd.DataFrame:
    """Runs of as many tokens as the base of their corpora, whether they begin from it or not."""
    base_tokens = float(ends.base_tokens.max())
    runs = ends[(ends.run_tokens >= (1 - NEAR) * base_tokens) & (ends.run_tokens <= (1 + NEAR) * base_tokens)]
    if runs.empty or base_tokens == 0:
        raise MissingError(f"no run of as many tokens as its base ({base_tokens:.3g})")
    return runs


def at(evidence: Evidence, runs: pd.DataFrame, h: float, role: str) -> pd.DataFrame:
    """Runs with the column `there`: their loss at the evaluation nearest to h. Raises MissingError if none is near."""
    there = []
    for run in runs.run:
        shares, losses = evidence.curves.get((run, role), (np.empty(0), np.empty(0)))
        away = np.abs(shares / h - 1)
        if away.min(initial=np.inf) > NEAR:
            raise MissingError(f"no evaluation near h = {h:g}")
        there.append(losses[away.argmin()])
    return runs.assign(there=np.array(there, dtype=float))


def ladder(name: str, arms: Sequence[tuple[str, pd.DataFrame]], value: str, rising: bool) -> Iterator[Test]:
    """Every adjacent sign test of an order of arms."""
    for (left, one), (right, other) in itertools.pairwise(arms):
        contrast = difference(f"{name}, {right} less {left}", other, one, value)
        yield Test(contrast, partial(sign, side=1 if rising else -1))


def peaks(ends: pd.DataFrame, values: Iterable[float], same_data: bool = False) -> list[tuple[str, pd.DataFrame]]:
    """The arms of peaks, without replay and with the usual warm-up."""
    return [(f"{peak:g}x", arm(w1_but(ends, same_data=same_data, peak=peak), f"peak {peak:g}x")) for peak in values]


def constant(ends: pd.DataFrame, same_data: bool = False) -> tuple[str, pd.DataFrame]:
    """The arm at the base's final learning rate."""
    return "constant", arm(baseline(ends, "constant", same_data), "the constant learning rate")


def spiked(evidence: Evidence, runs: pd.DataFrame, until: float = 0.02, least: int = 20) -> pd.DataFrame:
    """Runs with the column `spike`: the largest U up to the share `until`. Raises MissingError for fewer evaluations up
    to h = .05 than `least`: a spike lies between them."""
    curves = [evidence.curves[run, "upstream"] for run in runs.run]
    fewest = min(int(((h > 0) & (h <= 0.05)).sum()) for h, _ in curves)
    if fewest < least:
        raise MissingError(f"{fewest} evaluations up to h = .05, and it takes {least}")
    return runs.assign(spike=[float(losses[h <= until].max()) for h, losses in curves])
