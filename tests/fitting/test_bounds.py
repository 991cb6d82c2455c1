"""Optima on the bounds of a law: they are reached, said to be there, and left again when the data ask for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import lsq_linear

from analysis.fitting.fit import objective_of
from analysis.fitting.newton import within
from analysis.fitting.objective import Loss
from analysis.fitting.search import search
from analysis.laws.library import DCPT


def test_a_quadratic_in_a_box_has_its_minimum_where_scipy_finds_it() -> None:
    random = np.random.default_rng(0)
    count, size = 200, 9
    jacobian = random.normal(size=(count, 14, size))
    target = random.normal(size=(count, 14))
    matrix, slope = jacobian.transpose(0, 2, 1) @ jacobian, -(target[:, None] @ jacobian)[:, 0]
    low, high = -0.1 * random.exponential(size=(count, size)), 0.1 * random.exponential(size=(count, size))
    low[random.random(low.shape) < 0.2] = 0.0
    low[:, 0] = -np.inf
    found = within(matrix, slope, low, high)
    for z, A, b, *ends in zip(found, jacobian, target, low, high, strict=True):
        best = lsq_linear(A, b, tuple(ends), method="bvls", tol=1e-14)
        assert 0.5 * ((A @ z - b) ** 2).sum() == pytest.approx(best.cost, rel=1e-10)
    held = low == high
    assert (found[held] == 0).all()


def share_free(seed: int) -> pd.DataFrame:
    """A D-CPT table whose data term does not depend on the share: eta = 0 in truth."""
    points = pd.MultiIndex.from_product(
        [(7e7, 1.5e8, 3e8, 6e8, 1.2e9), (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7), (1e9, 2e9, 4e9, 8e9, 1.6e10)],
        names=["N", "r", "D"],
    ).to_frame(index=False)
    truth = {"E": 1.6, "A": 300.0, "alpha": 0.32, "B": 900.0, "eta": 0.0, "beta": 0.33}
    truth |= {"C": 0.06, "eps": 0.03, "gamma": 0.35}
    noise = np.random.default_rng(seed).standard_normal(len(points))
    return points.assign(loss=DCPT.value(truth, points) * np.exp(0.004 * noise))


@pytest.mark.parametrize("seed", [1, 2, 3, 4])  # 0 and 5 have their minimum inside
def test_an_exponent_of_zero_is_found_on_its_bound(seed: int) -> None:
    """As low as the fit that is told so, or lower where noise asks for another exponent."""
    table = share_free(seed)
    free, told = (search(objective_of(law, table, Loss())) for law in (DCPT, DCPT.fixed({"eta": 0.0})))
    assert free.value <= told.value * (1 + 1e-9)
    assert free.converged
    if free.value > told.value * (1 - 1e-6):
        assert DCPT.outward(free.theta)[DCPT.parameters.index("eta")] == pytest.approx(0.0, abs=1e-15)
