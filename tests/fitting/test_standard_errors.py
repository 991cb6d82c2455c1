"""Standard errors where the rows of a run err together, against their definitions for a line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.fit import fit_law, objective_of
from analysis.fitting.objective import Loss
from analysis.fitting.search import search
from analysis.fitting.standard_errors import Information, _inverse, inform
from analysis.formulas.formula import Array
from analysis.laws.law import FREE, Law
from analysis.laws.library import LAWS

LINE = Law("line", "a + b*x", {"x": "number"}, linear=("a", "b"), starts={}, bounds={"a": FREE, "b": FREE})
SQUARES = Loss("ls", residuals="raw")


def line(weighted: bool = False) -> pd.DataFrame:
    """Seven runs of three to nine rows, in no order; the last is far from the others."""
    random = np.random.default_rng(0)
    run = np.repeat(np.arange(7), [3, 9, 4, 5, 5, 6, 8])
    x = run + random.random(len(run)) + 6.0 * (run == 6)
    loss = 9 + 0.2 * x + random.standard_normal(7)[run] + 0.2 * random.standard_normal(len(run))
    weight = random.uniform(0.2, 2.0, len(run)) if weighted else np.ones(len(run))
    return pd.DataFrame({"x": x, "loss": loss, "run": run, "weight": weight}).sample(frac=1, random_state=1)


def information(table: pd.DataFrame) -> Information:
    objective = objective_of(LINE, table, SQUARES, weights="weight")
    return inform(objective, search(objective), np.asarray(table.run))


def regression(table: pd.DataFrame) -> tuple[Array, Array]:
    """The line's rows, times the roots of their weights, and its coefficients."""
    root = np.sqrt(table.weight.to_numpy())
    rows = np.stack([np.ones(len(table)), table.x], axis=1) * root[:, None]
    return rows, np.linalg.lstsq(rows, table.loss.to_numpy() * root, rcond=None)[0]


@pytest.mark.parametrize("weighted", [False, True])
def test_the_covariance_is_that_of_leaving_out_one_run_at_a_time(weighted: bool) -> None:
    table = line(weighted)
    _, whole = regression(table)
    moved = np.stack([regression(table[table.run != run])[1] - whole for run in range(7)])
    np.testing.assert_allclose(information(table).covariance, moved.T @ moved, rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_degrees_of_freedom_are_those_of_bell_and_mccaffrey(weighted: bool) -> None:
    """From the n x n matrices of their definition: the variance's estimate is a sum of squares of errors' sums."""
    table = line(weighted)
    X, _ = regression(table)
    runs = [np.flatnonzero(table.run == run) for run in range(7)]
    inverse, root = np.linalg.inv(X.T @ X), np.sqrt(table.weight.to_numpy())
    residual = np.eye(len(X)) - X @ inverse @ X.T
    shared = np.stack([np.where(table.run == run, root, 0.0) for run in range(7)], axis=1)
    for i, found in enumerate(information(table).degrees):
        sums = np.stack(
            [residual[:, own] @ np.linalg.inv(residual[np.ix_(own, own)]) @ X[own] @ inverse[i] for own in runs], axis=1
        )
        values = np.linalg.eigvalsh(sums.T @ shared @ shared.T @ sums)
        assert found == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-6)


def test_one_run_far_from_the_others_leaves_few_degrees_of_freedom() -> None:
    assert information(line()).degrees[1] < 4
    near = line()
    near = near.assign(x=near.x - 6.0 * (near.run == 6))
    assert information(near).degrees[1] > information(line()).degrees[1]


def test_many_runs_of_one_row_are_as_rows_without_a_run() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"x": random.random(600), "run": np.arange(600)})
    table["loss"] = 3 + table.x + 0.1 * random.standard_normal(600)
    runs, rows = (fit_law(LINE, table, loss=SQUARES, group=group) for group in ("run", None))
    assert runs.se == pytest.approx(rows.se, rel=0.1)
    assert runs.interval["b"] == pytest.approx(rows.interval["b"], abs=0.005)


def test_fewer_runs_than_parameters_widen_all_and_are_warned_of() -> None:
    table = line()
    fit = fit_law(LINE, table[table.run < 3], loss=SQUARES)
    assert fit.se["b"] >= fit.cramer_rao["b"]
    assert "3 runs for 2 parameters are too few to say how far runs differ" in fit.warnings


@pytest.mark.parametrize("share", [0.5, 1e-3, 1e-6])
def test_a_parameter_with_any_share_of_a_direction_that_no_row_speaks_of_is_not_known(share: float) -> None:
    """`share` of c moves with a and b, which no row tells apart: what c's rows say of it elsewhere does not help."""
    x = np.linspace(-1, 1, 50)
    a, c, d = np.ones(50), x, x**2
    slopes = np.stack([a, a + share * c, c, d])  # along (1, -1, share, 0) nothing changes
    inverse, _, _, blind = _inverse(slopes @ slopes.T)
    assert blind.tolist() == [True, True, True, False]
    assert np.isinf(np.diag(inverse)).tolist() == blind.tolist()


@pytest.mark.slow
def test_no_error_in_a_flat_valley_looks_precise() -> None:
    """A power of one exponent in truth, two in the law: what the second does is open, and drags others along."""
    T = np.geomspace(1e8, 2e10, 40)
    noise = 1e-3 * np.random.default_rng(0).standard_normal(40)
    for loss in (0.1 + 0.003 * np.log(T / 1e8), 2 - 0.5 * (T / 1e8) ** -0.3):
        fit = fit_law(LAWS["cmr_general"], pd.DataFrame({"T": T, "loss": loss + noise}), loss=SQUARES, group=None)
        assert fit.unidentified
        for name, (low, high) in fit.interval.items():
            if name in fit.profile and np.isfinite(fit.se[name]):
                ends = np.clip([low, high], *fit.law.bound(name))
                assert np.abs(ends - fit.parameters[name]).max() <= 3 * 1.65 * fit.se[name] * (1 + 1e-9)
        assert fit.se["a2"] == np.inf
