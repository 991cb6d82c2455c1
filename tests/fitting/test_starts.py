"""Where fits start: linear parameters are solved for, and those that must not be negative are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from analysis.fitting.starts import _least_squares, crossed
from analysis.laws.library import DCPT


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


def test_a_minimum_takes_one_term_from_another() -> None:
    """The terms of D-CPT are E, A N^-alpha, B r^eta D^-beta and C (r + eps)^-gamma; what is the same is no start."""
    names = DCPT.parameters
    theta, other = np.zeros(len(names)), np.arange(1.0, 1 + len(names))
    found = crossed(DCPT, theta, np.stack([other, theta]))
    taken = [{name for name, new in zip(names, one, strict=True) if new} for one in found]
    assert taken == [{"E"}, {"A", "alpha"}, {"B", "eta", "beta"}, {"C", "eps", "gamma"}]
    assert all(np.isin(one, [*other, 0.0]).all() for one in found)
