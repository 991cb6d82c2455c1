"""IsoFLOP: minima of parabolas, the power law through them, and what Llama 3 and Chinchilla published."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.decide.isoflop import grid, minima, optimal, parabolas
from analysis.fitting.fit import fit_law
from analysis.laws.library import LAWS
from harness.core.errors import InputError
from tests.reference import reference

PLANTED = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
EXPONENT = 0.37 / (0.35 + 0.37)  # of N*(C) = G (C/6)^(beta/(alpha + beta)), G = (alpha A/(beta B))^(1/(alpha + beta))
G = (0.35 * 480.0 / (0.37 * 2100.0)) ** (1 / 0.72)
BUDGETS = np.geomspace(1e19, 1e21, 5)


def simulated(noise: float = 0.0, seed: int = 0, sizes: int = 9) -> pd.DataFrame:
    """Losses of a planted law, around the best size of every budget."""
    around = np.geomspace(0.25, 4, sizes)
    table = pd.concat([grid(G * (C / 6) ** EXPONENT * around, [C]) for C in BUDGETS], ignore_index=True)
    errors = np.exp(np.random.default_rng(seed).normal(0, noise, len(table)))
    return table.assign(loss=LAWS["chinchilla"].value(PLANTED, table) * errors)


def public(experiment: str) -> pd.DataFrame:
    table = reference("isoflops_openathena").rename(columns={"params": "N", "tokens": "D", "budget": "C"})
    return table[table.experiment == experiment].reset_index(drop=True)


def test_a_grid_spends_its_budgets() -> None:
    table = grid([1e8, 1e9, 1e10], [1e19, 1e20])
    assert len(table) == 6
    np.testing.assert_allclose(6 * table.N * table.D, table.C)
    with pytest.raises(InputError, match=r"sizes=1000000000\.0,-1: not one or more positive numbers"):
        grid([1e9, -1], [1e19])


def test_a_parabola_is_read_off_exactly() -> None:
    """Minimum, loss, curvature; and weights: a point that weighs nothing is not there."""
    x = np.linspace(-1, 1, 7)
    table = pd.DataFrame({"C": 1e20, "N": np.exp(20 + x), "loss": 2.5 + 0.3 * (x - 0.25) ** 2, "weight": 1.0})
    table.loc[6, ["loss", "weight"]] = 2.6, 0.0
    found = minima(table, "N", weights="weight").iloc[0]
    assert np.log(found.N) == pytest.approx(20.25)
    assert (found.loss, found.curvature) == pytest.approx((2.5, 0.6))
    assert found.trusted
    assert found.se < 1e-6
    assert abs(np.log(minima(table, "N").iloc[0].N) - 20.25) > 0.01


def test_the_standard_error_of_a_minimum_is_its_spread() -> None:
    """The delta method against 400 repetitions of the noise."""
    x, spread = np.linspace(-1.5, 1.5, 12), 0.01
    noise = np.random.default_rng(0).normal(0, spread, (400, len(x)))
    found = [minima(pd.DataFrame({"C": 1e20, "N": np.exp(20 + x), "loss": 3 + 0.1 * x**2 + row})) for row in noise]
    every = pd.concat(found)
    assert np.sqrt((every.se**2).mean()) == pytest.approx(np.log(every.N).std(), rel=0.1)


@pytest.mark.parametrize(
    ("loss", "lacking"),
    [
        (3 - 0.1 * np.linspace(-1, 1, 8) ** 2, "convex"),  # opens downwards
        (3 + 0.1 * (np.linspace(-1, 1, 8) - 2) ** 2, "inside"),  # still falling at the largest size
        (3 + np.array([1, -1, 1, -1, 1, -1, 1, -0.99]) * 0.1, "convex"),  # noise alone
    ],
    ids=["downwards", "outside", "noise"],
)
def test_what_is_no_minimum_is_not_trusted(loss: np.ndarray, lacking: str) -> None:
    table = pd.DataFrame({"C": 1e20, "N": np.exp(20 + np.linspace(-1, 1, 8)), "loss": loss})
    found = minima(table).iloc[0]
    assert not found[lacking]
    assert not found.trusted


def test_three_points_have_no_standard_error() -> None:
    table = pd.DataFrame({"C": 1e20, "N": [1e8, 3e8, 9e8], "loss": [3.0, 2.8, 2.9]})
    found = minima(table).iloc[0]
    assert 1e8 < found.N < 9e8
    assert np.isnan(found.se)
    assert not found.trusted


def test_the_planted_power_law_is_found() -> None:
    """Without noise but for the parabola's own error: a Chinchilla valley is not quite one."""
    for of, exponent in (("N", EXPONENT), ("D", 1 - EXPONENT)):
        fit = optimal(simulated(), of)
        assert fit.converged
        assert fit.parameters["alpha"] == pytest.approx(exponent, abs=1e-3)
    assert float(optimal(simulated()).predict({"C": 1e20})) == pytest.approx(G * (1e20 / 6) ** EXPONENT, rel=0.03)


def test_bootstrap_intervals_cover_and_are_paired() -> None:
    """90 % intervals over 60 repetitions. Resampling the few points of a parabola errs on the wide side."""
    covered = 0
    for seed in range(60):
        low, high = optimal(simulated(0.002, seed), bootstrap=200, seed=seed).interval["alpha"]
        covered += low <= EXPONENT <= high
    assert 50 <= covered <= 60
    table = simulated(0.002)
    sizes, tokens = (optimal(table, of, bootstrap=100, seed=3).draws for of in "ND")
    assert sizes is not None
    assert tokens is not None
    assert sizes.paired(tokens)
    np.testing.assert_allclose(sizes.parameters[:, 1] + tokens.parameters[:, 1], 1.0, atol=1e-9)  # of one budget 6 N D


def test_draws_are_the_fit_of_their_resample() -> None:
    """The closed form of the draws against the public path on the resampled rows themselves."""
    table = simulated(0.002, sizes=6)
    fit = optimal(table, bootstrap=2, seed=5)
    random = np.random.default_rng(5)
    logs = []
    for _, points in table.groupby("C"):
        rows = points.iloc[random.integers(0, len(points), (2, len(points)))[0]]
        x = np.log(rows.N.to_numpy())
        half, slope, _ = np.polyfit(x - x.mean(), rows.loss, 2)
        logs.append(x.mean() - slope / (2 * half))
    assert fit.draws is not None
    assert fit.draws.parameters[0, 1] == pytest.approx(np.polyfit(np.log(BUDGETS), logs, 1)[0])


def test_weights_that_leave_two_sizes_give_no_parabola() -> None:
    found, _ = parabolas(np.array([0.0, 1.0, 2.0]), np.ones(3), np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]))
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], [1, 0, 0], atol=1e-12)


Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(C=table.C * (1 + 1e-9 * np.arange(len(table)))), "no budget has three different N"),
        (lambda table: table.drop(columns="N"), "there is no such column"),
        (lambda table: table.assign(loss=table.loss.where(table.index != 3)), "missing"),
        (lambda table: table[table.C < 3e19], "1 of 1 budgets have"),
    ],
)
def test_tables_without_an_answer_are_refused_in_one_line(change: Change, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        optimal(change(simulated()))
    assert "\n" not in str(error.value)


def test_no_size_but_n_and_d() -> None:
    with pytest.raises(InputError, match=r"of=r: is no size; choose N \(parameters\) or D \(tokens\)"):
        minima(simulated(), "r")


def test_llama_3s_optimal_tokens() -> None:
    """Published: D* = A C^alpha with (alpha, A) = (.537, .299), that is 16.3 T tokens at 3.8e25 (the text: 16.55 T)."""
    fit = optimal(public("llama_3__raw_loss"), "D", bootstrap=300)
    assert fit.n_points == 10  # every budget has a minimum to be trusted
    assert round(fit.parameters["alpha"], 3) == 0.537
    assert round(fit.parameters["A"], 3) == 0.299
    rounding = np.array([[0.2985, 0.5365], [0.2995, 0.5375]])  # what the published digits leave open
    low, high = rounding[:, 0] * 3.8e25 ** rounding[:, 1]
    assert low <= float(fit.predict({"C": 3.8e25})) <= high
    assert fit.interval["alpha"][0] < 0.537 < fit.interval["alpha"][1]


def test_chinchillas_optimal_sizes() -> None:
    """Approach 2 of 2203.15556: N* ~ C^.49, D* ~ C^.51 (points read off its figure)."""
    table = public("epochai_chinchilla__massivetext__chinchilla")
    for of, published in (("N", 0.49), ("D", 0.51)):
        fit = optimal(table, of, bootstrap=300)
        assert round(fit.parameters["alpha"], 2) == published
        assert fit.interval["alpha"][0] < published < fit.interval["alpha"][1]


@pytest.mark.parametrize(
    ("experiment", "published"),
    [
        ("llama_3__raw_loss", {"E": 0.5942, "A": 38.33, "B": 160.2, "alpha": 0.2835, "beta": 0.3157}),
        ("marin_202603__nemotron__llama_2", {"alpha": 0.6393, "beta": 0.4004}),
    ],
)
def test_chinchilla_forms_of_isoflop_tables(experiment: str, published: dict[str, float]) -> None:
    """All rows, flagged ones too, and the tokens of the table, which are not always C/(6 N)."""
    fit = fit_law(LAWS["chinchilla"], public(experiment))
    assert fit.converged
    for name, value in published.items():
        assert float(f"{fit.parameters[name]:.4g}") == pytest.approx(value, abs=1e-9), name
