"""Arms of the papers' experiments: which runs are re-warmed, constant, from scratch, ... and how each of them ended.

Beneath `analysis.measures.evidence` and the figures of `paper_figures`. An arm is picked by what its runs are, not by
the sweep they came from, so that one table serves several claims and figures. Functions take a table of measurements or
one of ends (`ends_by_run`): both have the columns of a run's settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.formulas.formula import Array
from analysis.results.tables import ends_of
from analysis.results.windows import Ends, FrozenWindows

DECAYING = ("cosine", "cosine_clipped")
ANNEALED, FLAT = "wsd", "warmup_constant"  # schedules of grids of mixtures, whose points lie in no decay
OF_A_GRID = ["upstream", "schedule", "peak", "warmup"]  # what its runs share, whatever their domain
NEAR = 0.2  # relative: an evaluation, or a length, this far from what is asked for stands for it
KINDS = {
    **dict.fromkeys(("docs", "systems", "science"), "prose"),
    **dict.fromkeys(("python", "cpp", "sympy"), "code"),
    **dict.fromkeys(("pile", "slimpajama"), "English"),
    "german": "German",
}
CHOSEN = {"weak": 0.05, "strong": 0.25}  # replay that 2403.08763 settles on, by the strength of the shift
KEPT = ("loss", "base")  # of ends
W1 = {"warmup": 0.01, "peak": 1.0, "replay": 0.0}  # the arm that others are compared with


class MissingError(Exception):
    """What a claim lacks."""


def rewarmed(
    table: pd.DataFrame, *, same_data: bool = False, optimizer_state: str = "reset", **knobs: float
) -> pd.DataFrame:
    """Runs that re-warm and re-decay from the finished base, with the given knobs at their values."""
    chosen: pd.DataFrame = table[continued(table, same_data, optimizer_state) & table.schedule.isin(DECAYING)]
    for knob, value in knobs.items():
        chosen = chosen[np.isclose(chosen[knob].astype(float), value)]
    return chosen


def w1_but(
    table: pd.DataFrame,
    *,
    warmup: float = 0.01,
    peak: float = 1.0,
    replay: float = 0.0,
    same_data: bool = False,
    optimizer_state: str = "reset",
) -> pd.DataFrame:
    """w1, but for what is given."""
    own = rewarmed(table, same_data=same_data, optimizer_state=optimizer_state, warmup=warmup, peak=peak)
    return own[np.isclose(own.replay.astype(float), replay)]


def usual_rate(table: pd.DataFrame) -> dict[str, float]:
    """The knob that says the learning rate, and its value of the arm that others are compared with: `peak` 1; of a
    checkpoint, whose peak nobody told, the `lr` that most re-warmed runs have, the middle one of several."""
    decayed = table[(table.start != "scratch") & table.schedule.isin(DECAYING)]
    if decayed.empty or decayed.peak.notna().any():
        return {"peak": W1["peak"]}
    counts = decayed.drop_duplicates("run").lr.astype(float).value_counts()
    often = sorted(counts[counts == counts.max()].index)
    return {"lr": float(often[(len(often) - 1) // 2])}


def at_usual_rate(table: pd.DataFrame, **knobs: float) -> pd.DataFrame:
    """Re-warmed to the usual rate, with the given knobs at their values."""
    return rewarmed(table, same_data=False, optimizer_state="reset", **knobs, **usual_rate(table))


def continued(table: pd.DataFrame, same_data: bool = False, optimizer_state: str = "reset") -> Any:
    """Mask: runs from the finished base, onto other data or on the same; by default with a fresh optimizer."""
    finished = (table.start != "scratch") & (table["at"] == 1) & (table.optimizer_state == optimizer_state)
    return finished & ((table.upstream == table.downstream) == same_data)


def baseline(table: pd.DataFrame, schedule: str, same_data: bool = False) -> pd.DataFrame:
    """The arm of another schedule, everything else as in w1."""
    chosen: pd.DataFrame = table[continued(table, same_data) & (table.schedule == schedule) & (table.replay == 0)]
    if schedule == "constant":  # the one at the base's final learning rate: the lowest
        usual = np.isclose(chosen.lr.astype(float), chosen.lr.min())
    else:
        usual = np.isclose(chosen.warmup.astype(float), W1["warmup"])
        for knob, value in usual_rate(table).items():
            usual &= np.isclose(chosen[knob].astype(float), value)
    return chosen[usual]


def scratch(table: pd.DataFrame) -> pd.DataFrame:
    """Trained on the downstream corpus alone, from random weights."""
    plain = table.schedule.isin(DECAYING) & (table.replay == 0) & np.isclose(table.peak.astype(float), 1)
    return table[(table.start == "scratch") & (table.upstream != table.downstream) & plain]


def union(ends: pd.DataFrame, tokens: float, share: float) -> pd.DataFrame:
    """Trained on upstream and downstream mixed, from random weights: as many `tokens`, a `share` of them upstream."""
    mixed = (ends.start == "scratch") & ends.schedule.isin(DECAYING) & np.isclose(ends.peak.astype(float), 1)
    near = (ends.run_tokens - tokens).abs() <= NEAR * tokens
    return ends[mixed & near & ((ends.replay.astype(float) - share).abs() <= NEAR / 2)]


def strength(ends: pd.DataFrame) -> str:
    """Of the shift of one pair of corpora: `weak` within a kind of text, `strong` between two; empty: none, or one of
    corpora that KINDS does not know."""
    pair = [str(ends[role].iloc[0]) for role in ("upstream", "downstream")]
    kinds = [KINDS.get(name) for name in pair]
    return "" if None in kinds or pair[0] == pair[1] else "weak" if kinds[0] == kinds[1] else "strong"


def arm(runs: pd.DataFrame, what: str) -> pd.DataFrame:
    """The runs of an arm. Raises MissingError where there are none."""
    if runs.empty:
        raise MissingError(f"no run of {what}")
    return runs


def ends_by_run(table: pd.DataFrame, windows: Sequence[FrozenWindows] = ()) -> pd.DataFrame:
    """A row a run that is done: its settings, final losses U and V (upstream, downstream), those of its base U_base and
    V_base (NaN from scratch), and `alone`: whether these are of the last position on windows enough, not means of the
    last few evaluations. `rate`: the peak that 1x is of.

    A run that draws from several corpora beside upstream has them all as its `downstream`, python+cpp, and as V their
    mean, weighted as they are drawn. `windows`: columns U_windows, V_windows, U_base_windows, ... of what these losses
    are of, (weight, Windows) each; None where single windows are not kept.
    """
    shared = table.drop_duplicates("run").set_index("run")
    ends = ends_of(table)
    losses = {column: dict(zip(zip(ends.run, ends.corpus, strict=True), ends[column], strict=True)) for column in KEPT}
    alone = ends.groupby("run").alone.all().to_dict()
    drawn = table.loc[table.r > 0, ["run", "corpus", "r"]].drop_duplicates().groupby("run", sort=False)
    sources = {str(run): dict(zip(rows.corpus, rows.r, strict=True)) for run, rows in drawn}
    rows = []
    facts: Any
    for run, facts in zip(shared.index.astype(str), shared.itertuples(), strict=True):
        down = {name: share for name, share in sources.get(run, {}).items() if name != facts.upstream}
        down = down if len(down) > 1 else {facts.downstream: 1.0}
        own: dict[str, Any] = {"downstream": "+".join(sorted(down)), "alone": bool(alone[run])}
        for letter, mixture in (("U", {facts.upstream: 1.0}), ("V", down)):
            total = sum(mixture.values())
            for suffix, column in (("", "loss"), ("_base", "base")):
                each = [share / total * losses[column].get((run, name), np.nan) for name, share in mixture.items()]
                own[letter + suffix] = float(np.sum(each))
            single = [_windows(windows, run, facts.base_address, name) for name in mixture]
            for suffix, which in (("", "end"), ("_base", "base")):
                of = [None if one is None else getattr(one, which) for one in single]
                weights = [share / total for share in mixture.values()]
                own[f"{letter}{suffix}_windows"] = None if None in of else tuple(zip(weights, of, strict=True))
        rows.append(own)
    found = shared.drop(columns="downstream").join(pd.DataFrame(rows, index=shared.index)).reset_index()
    return found.assign(rate=(found.lr / found.peak.astype(float)).round(9))


def _windows(windows: Sequence[FrozenWindows], run: str, base: str | None, corpus: str) -> Ends | None:
    return next((found for one in windows if (found := one.of(run, base, corpus)) is not None), None)


def by_seed(ends: pd.DataFrame, value: str) -> pd.Series[float]:
    """A column of an arm by seed; of several runs of one seed, which are one arm's by their settings, the mean."""
    return ends.groupby("seed")[value].mean().sort_index()


@dataclass(frozen=True)
class Grid:
    """Sizes by lengths by mixtures of one general corpus and one domain. Of both losses a row a point and seed: N, D, r
    (the share of the corpus whose loss it is), seed, loss, and base, the loss at D = 0; nats per token."""

    name: str
    domain_corpus: str
    family: tuple[Any, ...]
    """Grids of one are of one general corpus, trained alike."""
    general: pd.DataFrame
    domain: pd.DataFrame

    @property
    def targets(self) -> dict[str, pd.DataFrame]:
        """Both losses over seeds: a row a point, its `run` all lengths of one size and mixture, which share a trunk."""
        found = {}
        for target, rows in (("general", self.general), ("domain", self.domain)):
            points = rows.groupby(["N", "D", "r"], as_index=False)[["loss", "base"]].mean()
            found[target] = points.assign(run=[f"N {N:g}, r {r:g}" for N, r in zip(points.N, points.r, strict=True)])
        return found

    @property
    def values(self) -> dict[str, int]:
        """How many sizes, lengths and shares."""
        return {name: self.general[name].nunique() for name in ("N", "D", "r")}

    def differences(self, target: str, along: str) -> tuple[Array, list[float]]:
        """Of a loss between neighbours in the grid, along `r`, `D` or both, (seeds, N, r, D), NaN where one is not
        there; and the shares r."""
        rows = self.general if target == "general" else self.domain
        wide = rows.pivot_table(index=["seed", "N", "r"], columns="D", values="loss")
        levels = [sorted(rows[name].unique()) for name in ("seed", "N", "r")]
        cube = wide.reindex(pd.MultiIndex.from_product(levels)).to_numpy().reshape(*map(len, levels), -1)
        for name in along:
            cube = np.diff(cube, axis={"r": 2, "D": 3}[name])
        return cube, levels[2]

    def with_constant(self, share: float) -> pd.DataFrame | None:
        """The domain's losses over seeds with what its constant is of: k1, the loss of the base, and k2, how far it
        falls in the cheapest run on the domain alone; and `cheap`: the cheapest points, for this `share` of the cost of
        all. None where that run costs more."""
        rows = self.targets["domain"].sort_values(["N", "D"], kind="stable")
        cost = rows.N * rows.D
        affordable = share * cost.groupby(rows.run).max().sum()  # the lengths of a run share a trunk
        first = rows[rows.r == 1].iloc[:1]
        if first.empty or cost[first.index[0]] > affordable:
            return None
        cheap = cost.sort_values(kind="stable").cumsum().reindex(rows.index) <= affordable
        k1 = float(first.base.iloc[0])
        return rows.assign(k1=k1, k2=k1 - float(first.loss.iloc[0]), cheap=cheap, of=self.name)


def mixture_grids(ends: pd.DataFrame, curves: Mapping[tuple[str, str], tuple[Array, Array]]) -> list[Grid]:
    """The grids among runs, each with two values at least of size, tokens and share. `ends`, `curves`: those of
    `analysis.measures.evidence.Evidence`. A run of the general corpus alone serves all domains of its family."""
    points, found = _mixture_points(ends[continued(ends) & ends.schedule.isin((ANNEALED, FLAT))], curves), []
    for key, family in points.groupby(OF_A_GRID, dropna=False):
        alone = family[family.r == 0].assign(downstream="").drop_duplicates(["N", "D", "seed"])
        for domain, own in family.groupby("downstream"):
            both = pd.concat([own[own.r > 0], alone], ignore_index=True)
            general, of_domain = (
                runs[["N", "D", "seed"]].assign(r=share.round(9), loss=runs[letter], base=runs[f"{letter}_base"])
                for runs, share, letter in ((both, 1 - both.r, "U"), (own, own.r, "V"))
            )
            grid = Grid(f"{own.upstream.iloc[0]} to {domain}", str(domain), key, general, of_domain)
            found += [grid] if min(grid.values.values()) > 1 else []
    return found


def _mixture_points(runs: pd.DataFrame, curves: Mapping[tuple[str, str], tuple[Array, Array]]) -> pd.DataFrame:
    """A row a point: of a run that is annealed its end, of one at a constant rate all that is measured after the
    warm-up. N, D, r (downstream), seed, U, V, U_base, V_base, and what the runs of a grid share."""
    annealed = runs[runs.schedule == ANNEALED]
    parts = [annealed.assign(D=annealed.run_tokens)]
    for _, run in runs[runs.schedule == FLAT].iterrows():
        U, V = (pd.Series(curves[run.run, role][1], curves[run.run, role][0]) for role in ("upstream", "downstream"))
        there = pd.DataFrame({"U": U, "V": V}).dropna()
        at = there[there.index * run.run_tokens > run.warmup_tokens]
        own = {name: run[name] for name in (*OF_A_GRID, "downstream", "N", "replay", "seed")}
        own |= {"U_base": there.U.get(0.0, np.nan), "V_base": there.V.get(0.0, np.nan)}
        parts.append(at.assign(D=(at.index * run.run_tokens).to_numpy().round(), **own))
    points = pd.concat(parts, ignore_index=True)
    return points.assign(r=(1 - points.replay.astype(float)).round(9), N=points.N.astype(float))
