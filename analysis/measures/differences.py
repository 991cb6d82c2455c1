"""Differences between arms, seed by seed, of their final losses, with what windows and the order of data do to them.

Between `analysis.measures.arms`, `contrast` and `analysis.measures.evidence`. A value is a weighted sum of columns of
ends, and a contrast one of values of arms, so that all of them, slopes too, have their errors from one place.

    combination("F of 5 % less none", [(1, with_replay, FORGETTING), (-1, none, FORGETTING)])
    difference("V of 0 to 1 %", one, other, "V")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.measures.arms import MissingError, w1_but
from analysis.measures.contrast import Contrast
from analysis.results.windows import Windows, average, mean

Value = Mapping[str, float]  # column of ends: its weight
Weighted = Sequence[tuple[float, pd.DataFrame, Value]]  # weight, runs of an arm, what of them
FORGETTING = {"U": 1.0, "U_base": -1.0}
BOTH = {"U": 0.5, "V": 0.5}


def combination(name: str, arms: Weighted) -> Contrast:
    """A weighted sum of values of arms, at the seeds that all of them have. Raises MissingError without any."""
    found = [_per_seed(runs, value) for _, runs, value in arms]
    seeds = sorted(set.intersection(*(set(one) for one in found)))
    if not seeds:
        raise MissingError(f"no seed that all arms of {name} have")
    weights = np.array([weight for weight, _, _ in arms])
    values = weights @ np.array([[one[seed] for seed in seeds] for one in found])
    of_seeds = [(weight, runs[runs.seed.isin(seeds)], value) for weight, runs, value in arms]
    of_windows, of_order = _of_windows(of_seeds), _of_order(of_seeds)
    return Contrast(name, values, of_windows, floor=of_order, seeds=tuple(seeds))


def difference(name: str, one: pd.DataFrame, other: pd.DataFrame, value: str | Value) -> Contrast:
    """one - other in a value, or a column of ends."""
    of = {value: 1.0} if isinstance(value, str) else value
    return combination(name, [(1.0, one, of), (-1.0, other, of)])


def change(name: str, runs: pd.DataFrame, value: Value) -> Contrast:
    """A value of one arm, such as a loss less that of its base."""
    return combination(name, [(1.0, runs, value)])


def slope(name: str, arms: Sequence[tuple[float, pd.DataFrame]], value: Value) -> Contrast:
    """Least-squares slope of a value on x, of arms (x, runs)."""
    x = np.array([at for at, _ in arms])
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return combination(name, [(float(weight), runs, value) for weight, (_, runs) in zip(weights, arms, strict=True)])


def with_order_noise(ends: pd.DataFrame, least: int) -> pd.DataFrame:
    """Ends with the columns U_order and V_order: what the order of the data alone does to a loss, an sd in nats, by
    pair of corpora. From runs of w1 in `ends` that share a base, `least` pairs of them at least; else NaN."""
    w1 = w1_but(ends)
    found = {}
    for pair, runs in w1[w1.base_address.notna()].groupby(["upstream", "downstream"]):
        of_base = runs.groupby(["base_address", "run_tokens"])
        freedom = len(runs) - of_base.ngroups
        if freedom >= least:
            for letter in "UV":
                squares = ((runs[letter] - of_base[letter].transform("mean")) ** 2).sum()
                found[pair, letter] = float(np.sqrt(squares / freedom))
    pairs = list(zip(ends.upstream, ends.downstream, strict=True))
    return ends.assign(**{f"{letter}_order": [found.get((pair, letter), np.nan) for pair in pairs] for letter in "UV"})


def sampling_error(terms: Sequence[tuple[float, Windows]]) -> float:
    """Standard error that the choice of windows leaves in a weighted sum of losses: of one corpus paired, window by
    window, of several corpora in quadrature. InputError if a corpus has different windows."""
    by_hash: dict[str, list[tuple[float, Windows]]] = {}
    for weight, windows in terms:
        by_hash.setdefault(windows.hash, []).append((weight, windows))
    variance = 0.0
    for own in by_hash.values():
        first = average([windows for _, windows in own])  # refuses different ones
        sums = np.asarray(sum(weight * windows.loss_sum for weight, windows in own))
        variance += mean(replace(first, loss_sum=sums)).se ** 2
    return float(np.sqrt(variance))


def _per_seed(runs: pd.DataFrame, value: Value) -> dict[int, float]:
    """A value by seed, the mean over its runs; of those that have it."""
    values = sum(weight * runs[column].to_numpy(float) for column, weight in value.items())
    by_seed: dict[int, list[float]] = {}
    for seed, one in zip(runs.seed.tolist(), np.asarray(values).tolist(), strict=True):
        if np.isfinite(one):
            by_seed.setdefault(seed, []).append(one)
    return {seed: sum(own) / len(own) for seed, own in by_seed.items()}


def _of_windows(arms: Weighted) -> float:
    """Standard error by the choice of windows; 0 where it is not known: a value has no single windows kept."""
    terms: list[tuple[float, Windows]] = []
    for weight, runs, value in arms:
        own = Counter(runs.seed.tolist())
        each = [1 / (own[seed] * len(own)) for seed in runs.seed.tolist()]
        for column, share in value.items():
            of = runs.get(f"{column}_windows")
            if of is None or any(one is None for one in of):
                return 0.0
            terms += [
                (weight * share * part * drawn, windows)
                for part, mixture in zip(each, of, strict=True)
                for drawn, windows in mixture
            ]
    return sampling_error(terms)


def _of_order(arms: Weighted) -> float:
    """sd that the order of the data alone leaves in a contrast of one seed; NaN where it is not known."""
    known = [
        (weight * share) ** 2 * float(runs[f"{column}_order"].mean()) ** 2 if f"{column}_order" in runs else np.nan
        for weight, runs, value in arms
        for column, share in value.items()
        if not column.endswith("_base")  # the order comes after it
    ]
    return float(np.sqrt(np.sum(known)))
