"""Profile intervals: where closed forms or brute force say that they end, and what is said where they do not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from analysis.commands.fit import fit_lines
from analysis.fitting import profile as profile_module
from analysis.fitting.fit import fit_law, objective_of
from analysis.fitting.fit_file import from_document, to_document
from analysis.fitting.objective import Loss, Objective
from analysis.fitting.profile import RESTARTS, Profile, profile, profiled
from analysis.fitting.search import Found, held, search
from analysis.fitting.standard_errors import inform
from analysis.laws.law import FREE, Law
from analysis.laws.library import LAWS
from benchmarks.profiles import CASES, CLOSE, RESULT, planted, study

SQUARES = Loss("ls", residuals="raw")
LINE = Law("line", "a + b*x", {"x": ""}, ("a", "b"), {}, bounds={"a": FREE, "b": FREE})
VARIABLES = {"x": ""}


def table(count: int = 12, noise: float = 0.1, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    x = np.linspace(0, 1, count)
    return pd.DataFrame({"x": x, "loss": 2 + 0.5 * x + noise * random.standard_normal(count)})


def profile_of(law: Law, rows: pd.DataFrame, name: str, loss: Loss = SQUARES) -> tuple[Profile, Found]:
    objective = objective_of(law, rows, loss)
    found = search(objective)
    return profile(objective, found, inform(objective, found, None), name), found


def students(rows: pd.DataFrame, name: str) -> tuple[float, float]:
    """The 90 % interval of a regression line's parameter, from the textbook."""
    X = np.stack([np.ones(len(rows)), rows.x], axis=1)
    inverse = np.linalg.inv(X.T @ X)
    beta = inverse @ X.T @ rows.loss.to_numpy()
    variance = ((rows.loss - X @ beta) ** 2).sum() / (len(rows) - 2)
    i = ("a", "b").index(name)
    reach = student.ppf(0.95, len(rows) - 2) * np.sqrt(variance * inverse[i, i])
    return beta[i] - reach, beta[i] + reach


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_profile_of_a_regression_line_is_students_interval(name: str) -> None:
    rows = table(6)
    curve, _ = profile_of(LINE, rows, name)
    low, high = students(rows, name)
    assert (curve.low, curve.high) == pytest.approx((low, high), abs=2e-3 * (high - low))


def test_a_free_slope_is_not_flat_for_its_size_alone() -> None:
    rows = table().assign(x=lambda rows: 1e-6 * rows.x)
    fit = fit_law(LINE, rows, loss=SQUARES, group=None)
    assert fit.se["b"] > 1e4
    assert fit.profile == {}
    assert fit.unidentified == ()


def test_an_interval_ends_on_a_logarithmic_scale_where_it_does_on_the_other() -> None:
    """`b` positive is fitted by its logarithm, in which the same profile is lopsided; below, zero is not excluded."""
    positive = replace(LINE, bounds={"a": FREE})
    for noise in (0.1, 0.4):
        rows = table(noise=noise)
        curve, _ = profile_of(positive, rows, "b")
        low, high = students(rows, "b")
        assert curve.high == pytest.approx(high, rel=5e-3)
        assert curve.low is None if low < 0 else curve.low == pytest.approx(low, rel=5e-3)


def test_what_plays_no_part_is_open_on_both_sides() -> None:
    starts = {"b": (0.1, 1.0), "k": (0.1, 1.0)}
    law = Law("idle", "a + 1e-30*x**b/(1 + k*x)", VARIABLES, ("a",), starts, log=("k",))
    fit = fit_law(law, table(), loss=SQUARES, group=None)
    assert {"b", "k"} <= set(fit.unidentified)
    assert fit.profile["b"] == fit.profile["k"] == (None, None)
    assert fit.interval["b"] == (-np.inf, np.inf)
    [line] = [line for line in fit_lines(fit) if line.startswith("b ")]
    assert " open " in line
    assert " 0 " not in line


def ridge(bound: float) -> Law:
    """Only p q is told, and q is bounded: p ends where q does."""
    starts = {"p": (0.1, 5.0), "q": (0.5, bound)}
    return Law("ridge", "p*q*x + c", VARIABLES, ("c",), starts, bounds={"q": (0.5, bound), "p": (0.0, 100.0)})


def test_a_ridge_ends_where_the_other_parameter_meets_its_bound() -> None:
    rows = table(noise=1e-4)
    rows["loss"] = 1 + 2 * rows.x + 1e-4 * np.random.default_rng(0).standard_normal(len(rows))
    p, _ = profile_of(ridge(4.0), rows, "p")
    assert (p.low, p.high) == pytest.approx((0.5, 4.0), abs=0.005 * 3.5)  # walls, enclosed to a part of the width
    q, _ = profile_of(ridge(4.0), rows, "q")
    assert (q.low, q.high) == (None, None)


def test_a_crossing_beside_a_bound_is_told_from_none() -> None:
    """A bound a little further out leaves the end where it is, one before it opens the interval."""
    rows = table(noise=0.02)
    _, high = students(rows, "b")
    curve, _ = profile_of(replace(LINE, bounds={"a": FREE, "b": (-5.0, 1.001 * high)}), rows, "b")
    assert curve.high == pytest.approx(high, rel=1e-4)
    curve, _ = profile_of(replace(LINE, bounds={"a": FREE, "b": (-5.0, 0.999 * high)}), rows, "b")
    assert curve.high is None
    assert curve.values.max() == pytest.approx(0.999 * high)
    assert (curve.values < 0.999 * high).sum() == len(curve.values) - 1  # no copies of the bound


def test_two_basins_are_spanned() -> None:
    """(b² - 1)² told with noise: 1 and -1 fit alike, 0 does not."""
    law = Law("square", "a + b**2*x", VARIABLES, ("a",), {"b": (-3.0, 3.0)}, bounds={"a": FREE, "b": (-5.0, 5.0)})
    rows = table(noise=0.01)
    curve, _ = profile_of(law, rows, "b")
    low, high = np.sqrt(students(rows, "b"))
    assert (curve.low, curve.high) == pytest.approx((-high, high), rel=2e-3)
    assert curve.rise[np.abs(curve.values).argmin()] > 10 * curve.allowed
    assert low > 0.5


def test_a_better_optimum_that_a_profile_sees_is_taken() -> None:
    law = Law("double", "a + (b**2 - 0.1*b)*x", VARIABLES, ("a",), {"b": (-1.0, 3.0)}, bounds={"b": (-1.0, 3.0)})
    x = np.linspace(0, 1, 12)
    rows = pd.DataFrame({"x": x, "loss": 2 + 1.5 * x + 0.05 * np.random.default_rng(0).standard_normal(12)})
    objective = objective_of(law, rows, SQUARES)
    right = search(objective)
    assert right.theta[1] > 0
    theta = np.array([2.0 + 0.2, -1.0])
    wrong = replace(right, theta=theta, value=float(objective.value(theta[None])[0]), agree=3)
    found, known, profiles = profiled(objective, replace(wrong, twins=theta[None] + 0.5), None)  # the twin: to be flat
    assert found.value <= right.value * (1 + 1e-9)
    assert found.theta == pytest.approx(right.theta, rel=1e-4)
    assert found.tried > wrong.tried
    for curve in profiles.values():
        assert curve.rise.min() >= 0
    assert known.on_bound == ()


def test_a_fit_that_does_not_converge_is_not_profiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its profiles see a lower value each time."""
    calls = []

    def curves(_: Objective, found: Found, *__: Any) -> list[Any]:
        calls.append(found.value)
        at = found.theta[None]
        return [profile_module._Curve(0, found.value, 1.0, at[:, 0], at, np.array([found.value / 4]), np.zeros(1))]

    def improved(_: Objective, found: Found, *__: Any) -> Found:
        return replace(found, value=found.value / 2, sure=sure)

    monkeypatch.setattr(profile_module, "_curves", curves)
    monkeypatch.setattr(profile_module, "improved", improved)
    objective = objective_of(LINE, table(), SQUARES)
    found = search(objective)
    for sure, times in ((False, 1), (True, RESTARTS + 1)):
        calls.clear()
        ended, *_ = profiled(objective, found, None)
        assert (ended.converged, len(calls) - 1) == (sure, times)  # the last of what turned out flat on the way


def test_open_ends_survive_a_file() -> None:
    fit = fit_law(ridge(4.0), table(noise=0.01), loss=SQUARES, group=None)
    document = json.loads(json.dumps(to_document(fit), allow_nan=False))
    assert document["interval"]["q"] == [None, None]
    again = from_document(document)
    assert again.interval == fit.interval
    assert again.profile == fit.profile


@pytest.mark.slow
@pytest.mark.parametrize("name", ["D-CPT, one size", "Chinchilla, D = 20 N", "mixing law, five domains"])
def test_ends_are_those_of_brute_force(name: str) -> None:
    """A cut of `python -m benchmarks profiles`."""
    [case] = [case for case in CASES if case.name == name]
    found = study(case, starts=16)
    assert found[["low_error", "high_error"]].to_numpy().max() <= CLOSE


def test_the_committed_ends_are_of_all_twelve_fits_and_near() -> None:
    found = pd.read_csv(RESULT)
    assert list(zip(found.fit, found.parameter, strict=True)) == [(c.name, name) for c in CASES for name in c.names]
    assert len(CASES) == 12
    assert found[found.flat].fit.nunique() >= 6
    assert found[["low_error", "high_error"]].to_numpy().max() <= CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("loss", [Loss("ls"), Loss()], ids=["ls", "huber"])
def test_what_is_allowed_covers_where_the_rows_of_a_run_err_together(loss: Loss) -> None:
    """Of 60 tables of 16 runs, noise of .5 % a run and .1 % a row: the share whose profile at the truth is allowed,
    of what is told within runs (beta) and between them (alpha)."""
    law, truth = LAWS["chinchilla"], {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2000.0, "beta": 0.37}
    at, held_in = law.inward(np.array([truth[name] for name in law.parameters])), []
    for seed in range(60):
        rows = planted(
            "chinchilla", truth, 0.001, 0.005, seed, N=np.geomspace(5e7, 1e10, 16), D=np.geomspace(1e9, 3e11, 8)
        )
        objective = objective_of(law, rows, loss)
        found = search(objective)
        known = inform(objective, found, rows.run.to_numpy())
        starting = np.repeat(np.stack([found.theta, at])[None], len(at), axis=0)
        _, value, _ = held(objective, np.arange(len(at)), at, starting, 1e-12)
        held_in.append(value - found.value <= known.allowed(0.9))
    share = dict(zip(law.parameters, np.mean(held_in, axis=0), strict=True))
    assert all(0.78 <= share[name] <= 0.99 for name in ("alpha", "beta")), share
