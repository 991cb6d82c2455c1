"""Where fits start: linear parameters are solved for, and those that must not be negative are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls

from analysis.fitting.fit import objective_of
from analysis.fitting.objective import Loss
from analysis.fitting.starts import _least_squares, starts, through
from analysis.laws.library import find


@pytest.mark.parametrize("count", [6, 40])
def test_unknowns_are_held_at_zero_however_many_they_are(count: int) -> None:
    """Of few all subsets are tried; of forty there would be 10^12."""
    random = np.random.default_rng(0)
    factors, target = random.uniform(size=(3, 100, count)), random.normal(size=(3, 100))
    target += factors @ random.normal(size=count)
    gram, right = np.einsum("tni,tnj->tij", factors, factors), np.einsum("tni,tn->ti", factors, target)
    found, left = _least_squares(gram, right, (target**2).sum(-1), np.ones(count, dtype=bool))
    assert (found >= 0).all()
    for k in range(3):
        _, residual = nnls(factors[k], target[k])
        assert left[k] == pytest.approx(((factors[k] @ found[k] - target[k]) ** 2).sum())
        assert residual**2 * (1 - 1e-9) <= left[k] <= residual**2 * (1 + 1e-9 if count < 9 else 1.05)


@pytest.mark.parametrize("law", ["dcpt", "shukor_additive:web,code,books"], ids=["on grids", "sampled"])
def test_grids_through_a_minimum_move_one_term_or_two_and_reach_the_bounds(law: str) -> None:
    """The other parameters stay as the minimum has them, but for the linear ones, which are solved for."""
    objective = objective_of(find(law), falling(), Loss())
    names, linear = objective.bound.law.parameters, objective.bound.law.linear
    theta = next(starts(objective, 1))[0]
    found = through(objective, theta, 4)
    moved = {frozenset(n for n, a, b in zip(names, one, theta, strict=True) if abs(a - b) > 1e-9) for one in found}
    terms = [{"alpha"}, {"eta", "beta"}, {"eps", "gamma"}]
    if law != "dcpt":
        terms = [{"alpha"}, {"beta"}, {f"{letter}_{domain}" for letter in "Cg" for domain in ("web", "code", "books")}]
    for one in moved:
        assert sum(bool(term & one) for term in terms) <= 2
    for term in terms:
        assert any(one - set(linear) and one - set(linear) <= term for one in moved)
    low, high = objective.bound.law.inward_bounds
    assert ((found >= low) & (found <= high)).all()
    everything = through(objective, theta, 20_000)
    exponent = names.index("beta")
    assert {0.0, 3.0} <= set(everything[:, exponent])


def falling() -> pd.DataFrame:
    """Losses of no law in particular, that fall with N, with D and with the first share."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.dirichlet([1, 1, 1], 60), columns=["web", "code", "books"])
    table = table.assign(N=10 ** random.uniform(8, 10, 60), D=10 ** random.uniform(9, 11, 60), r=table.web)
    return table.assign(loss=1.5 + 300 / table.N**0.3 + 900 / table.D**0.35 + 0.2 * (1 - table.web))
