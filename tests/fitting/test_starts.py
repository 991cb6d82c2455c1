"""Where fits start: linear parameters are solved for, and those that must not be negative are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from analysis.fitting.starts import _least_squares


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
