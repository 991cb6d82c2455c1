"""The set of runs that makes the variance of an answer smallest within a budget: greedy, then exchanges.

Beneath `analysis.design.next_runs`. Information is in coordinates in which that of the data is the identity: with the
gradient `target` (m,) of the answer, its variance after some runs is target' (I + sum of their gains)^-1 target.

    chosen = best_set(Choice(gains, costs, cells, room, target, budget))
    order, errors = ordered(choice, chosen)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.formulas.formula import Array, Integers

FIRSTS = 20  # runs that a set is started from


@dataclass(frozen=True)
class Choice:
    """What there is to choose from: C runs with their information `gains` (C, m, m) and `costs` (C,), of which those of
    one of the `cells` (C,) may be taken as often as it has `room`; costs must not exceed `budget`, and runs `most`."""

    gains: Array
    costs: Array
    cells: Integers
    room: Integers
    target: Array
    budget: float
    most: float = math.inf

    def allowed(self, chosen: Sequence[int]) -> Integers:
        """The runs that may be added to the chosen ones."""
        if len(chosen) >= self.most:
            return np.empty(0, dtype=np.int64)
        left = self.room - np.bincount(self.cells[list(chosen)], minlength=len(self.room))
        affordable = self.costs <= self.budget - self.costs[list(chosen)].sum()
        return np.flatnonzero(affordable & (left > 0)[self.cells])

    def variance(self, chosen: Sequence[int]) -> float:
        """Of the answer after the chosen runs."""
        return float(self._variances(self._total(chosen))[0])

    def variances(self, chosen: Sequence[int], more: Sequence[int] | Integers) -> Array:
        """Of the answer after the chosen runs and one more, for each of `more`."""
        return self._variances(self._total(chosen) + self.gains[more])

    def _total(self, chosen: Sequence[int]) -> Array:
        return np.asarray(np.eye(len(self.target)) + self.gains[list(chosen)].sum(axis=0))[None]

    def _variances(self, matrices: Array) -> Array:
        target = np.broadcast_to(self.target[:, None], (len(matrices), len(self.target), 1))
        return np.asarray(np.linalg.solve(matrices, target)[..., 0] @ self.target)


def best_set(choice: Choice) -> list[int]:
    """The runs to take, some perhaps more than once.

    Greedy by gain for a FLOP can spend everything on cheap runs where one dear run would do more, so greedy by gain
    alone is tried as well (Leskovec et al. 2007), both from nothing and from each of some single runs; each set is
    exchanged to a local optimum, and the best one kept. It was the best of all sets in each of 1,560 random problems of
    7 to 30 runs (1,500 of 7, 60 of 30 with at most three taken), with fixed costs and without.
    """
    found = []
    for start, price in itertools.product(_starts(choice), (choice.costs, np.ones_like(choice.costs))):
        chosen, before = _filled(choice, start, price), list[int]()
        while chosen != before:
            before = chosen
            chosen = _filled(choice, _exchanged(choice, chosen), price)
        found.append(chosen)
    return min(found, key=choice.variance)


def _starts(choice: Choice) -> list[list[int]]:
    """Nothing, and FIRSTS single runs: the most gainful of each cell, then the second of each, and so on."""
    allowed = choice.allowed([])
    order = allowed[choice.variances([], allowed).argsort(kind="stable")]
    cells = choice.cells[order]
    rank = np.array([int((cells[:place] == cell).sum()) for place, cell in enumerate(cells)], dtype=np.int64)
    return [[], *([int(run)] for run in order[rank.argsort(kind="stable")][:FIRSTS])]


def ordered(choice: Choice, chosen: Sequence[int]) -> tuple[list[int], list[float]]:
    """The chosen runs in the order of their gain for a FLOP; the standard error before the first and after each."""
    left, order = list(chosen), list[int]()
    errors = [choice.variance([]) ** 0.5]
    while left:
        after = np.sqrt(choice.variances(order, left))
        best = int(((errors[-1] - after) / choice.costs[left]).argmax())
        errors.append(float(after[best]))
        order.append(left.pop(best))
    return order, errors


def blocks(parts: Sequence[Array]) -> Array:
    """Block-diagonal (C, m, m) of parts (C, m_i, m_i)."""
    ends = np.cumsum([0, *(part.shape[-1] for part in parts)])
    found = np.zeros((len(parts[0]), ends[-1], ends[-1]))
    for part, start, stop in zip(parts, ends, ends[1:], strict=False):
        found[:, start:stop, start:stop] = part
    return found


def _filled(choice: Choice, chosen: Sequence[int], price: Array) -> list[int]:
    """Runs added, one after the other, by what each takes off the variance over its price, while the budget lasts."""
    chosen = list(chosen)
    while (allowed := choice.allowed(chosen)).size:
        taken = choice.variance(chosen) - choice.variances(chosen, allowed)
        best = int((taken / price[allowed]).argmax())
        if not taken[best] > 0:
            break
        chosen.append(int(allowed[best]))
    return chosen


def _exchanged(choice: Choice, chosen: Sequence[int]) -> list[int]:
    """One run after the other exchanged for the one that leaves the least variance."""
    chosen = list(chosen)
    for place in range(len(chosen)):
        others = chosen[:place] + chosen[place + 1 :]
        allowed = choice.allowed(others)
        left = choice.variances(others, allowed)
        if left.min() < choice.variance(chosen) * (1 - 1e-9):
            chosen[place] = int(allowed[left.argmin()])
    return chosen
