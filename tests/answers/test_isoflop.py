"""IsoFLOP: minima of valleys, the power law through them, and what Llama 3 and Chinchilla published."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.answers.isoflop import grid, minima, optimal, power_law, read_off, scatter
from analysis.fitting.fit import Fit, fit_law
from analysis.fitting.objective import Loss
from analysis.laws.library import LAWS
from benchmarks.isoflop import study, summary
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


def valley(x: np.ndarray, loss: np.ndarray, C: float = 1e20) -> pd.DataFrame:
    return pd.DataFrame({"C": C, "N": np.exp(20 + x), "loss": loss})


def skewed(x: np.ndarray, at: float = 0.25) -> np.ndarray:
    """A valley of Chinchilla's form, lowest at `at`."""
    return np.asarray(2 + 0.4 * (np.exp(-0.25 * (x - at)) / 0.25 + np.exp(0.6 * (x - at)) / 0.6))


def test_a_parabola_is_read_off_exactly() -> None:
    """Minimum and loss; and weights: a point that weighs nothing is not there."""
    x = np.linspace(-1, 1, 7)
    table = valley(x, 2.5 + 0.3 * (x - 0.25) ** 2).assign(weight=1.0)
    table.loc[6, ["loss", "weight"]] = 2.6, 0.0
    found = minima(table, "N", weights="weight", form="parabola").iloc[0]
    assert np.log(found.N) == pytest.approx(20.25)
    assert found.loss == pytest.approx(2.5)
    assert found.trusted
    assert found.se < 1e-6
    assert abs(np.log(minima(table, "N", form="parabola").iloc[0].N) - 20.25) > 0.01


@pytest.mark.parametrize("reach", [1.0, 2.0, 2.8])
def test_a_skewed_valley_is_read_off_where_a_parabola_errs(reach: float) -> None:
    """Sizes from 7 to 270 fold: without noise, the parabola's error grows with the width, the curve's does not."""
    x = np.linspace(-reach, reach, 9)
    table = pd.concat([valley(x + shift, skewed(x), C) for shift, C in ((0.0, 1e20), (0.5, 3e20), (1.0, 1e21))])
    curve, parabola = (float(np.log(minima(table, form=form).N[0])) for form in ("skewed", "parabola"))
    assert curve == pytest.approx(20.25, abs=2e-3)
    assert abs(parabola - 20.25) > 0.01 * reach**2


def test_the_interval_of_a_minimum_holds_its_truth() -> None:
    """90 % intervals of 30 tables of three budgets, and standard errors against the spread of the estimates."""
    x, random = np.linspace(-1.5, 1.5, 10), np.random.default_rng(0)
    rows = []
    for seed in range(30):
        table = pd.concat(
            [valley(x, skewed(x) * np.exp(random.normal(0, 2e-3, len(x))), C) for C in (1e20, 3e20, 1e21)]
        )
        rows.append(read_off(table, bootstrap=300, seed=seed).minima)
    found = pd.concat(rows)
    at = np.exp(20.25)
    assert 0.8 <= found.low.le(at).mul(found.high.ge(at)).mean() <= 0.96
    assert np.sqrt((found.se**2).mean()) == pytest.approx(np.log(found.N).std(), rel=0.2)


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (3 - 0.1 * np.linspace(-1, 1, 8) ** 2, "no minimum"),
        (3 + 0.1 * (np.linspace(-1, 1, 8) - 2) ** 2, "the minimum lies outside of the sizes"),
        (3 + np.array([1, -1, -1, 1, -1, -1, 1.1, -0.5]) * 0.01, "of the draws have no minimum"),
        (3 - 0.3 * np.linspace(-1, 1, 12) + np.append(np.zeros(11), 1.0), "it rests on one point"),
    ],
    ids=["downwards", "outside", "noise", "one point"],
)
def test_what_is_no_minimum_is_not_trusted_and_says_why(loss: np.ndarray, why: str) -> None:
    found = minima(valley(np.linspace(-1, 1, len(loss)), loss)).iloc[0]
    assert not found.trusted
    assert why in found.why


def test_points_of_another_curve_are_seen() -> None:
    """A step inside of the valley: the residuals beside each other are alike, in every window."""
    x = np.linspace(-1, 1, 40)
    table = valley(x, 3 + 0.3 * x**2 + 0.1 * np.tanh(8 * np.sin(9 * x)) + np.random.default_rng(0).normal(0, 1e-3, 40))
    found = read_off(table)
    assert found.valleys.lack_of_fit < 0.01
    assert found.minima.iloc[0].why == "the points do not follow the curve"


def test_a_window_is_narrowed_until_the_curve_fits() -> None:
    """Walls far from the minimum, as of a diverged run: they are left out, and the minimum stays."""
    x = np.linspace(-3.5, 3.5, 29)
    loss = (
        skewed(x) + np.where(np.abs(x) > 2.4, 0.8 * (np.abs(x) - 2.4), 0) + np.random.default_rng(0).normal(0, 2e-3, 29)
    )
    found = read_off(pd.concat([valley(x, loss, C) for C in (1e20, 1e21, 1e22)]))
    assert np.isfinite(found.valleys.window)
    assert found.minima.used.max() < 29
    assert found.valleys.lack_of_fit > 0.1
    np.testing.assert_allclose(np.log(found.minima.N), 20.25, atol=0.1)


def test_too_few_sizes_have_no_curve() -> None:
    few = pd.DataFrame({"C": 1e20, "N": [1e8, 3e8, 9e8], "loss": [3.0, 2.8, 2.9]})
    x = np.linspace(-1, 1, 8)
    found = minima(pd.concat([few, valley(x, skewed(x), 1e21)]))
    assert np.isnan(found.N[0])
    assert found.why.tolist() == ["3 of 4 sizes", ""]


def test_the_planted_power_law_is_found() -> None:
    """Without noise; with the grid of shapes the curve is right to a few parts in ten thousand."""
    for of, exponent in (("N", EXPONENT), ("D", 1 - EXPONENT)):
        fit = optimal(simulated(), of)
        assert fit.converged
        assert fit.parameters["alpha"] == pytest.approx(exponent, abs=2e-4)
    assert float(optimal(simulated()).predict({"C": 1e20})) == pytest.approx(G * (1e20 / 6) ** EXPONENT, rel=2e-3)


def test_intervals_cover_and_are_paired() -> None:
    """90 % intervals over 24 repetitions."""
    covered = 0
    for seed in range(24):
        low, high = optimal(simulated(0.002, seed), bootstrap=200, seed=seed).interval["alpha"]
        covered += low <= EXPONENT <= high
    assert 19 <= covered <= 24
    table = simulated(0.002)
    sizes, tokens = (optimal(table, of, bootstrap=100, seed=3).draws for of in "ND")
    assert sizes is not None
    assert tokens is not None
    assert sizes.paired(tokens)
    np.testing.assert_allclose(sizes.parameters[:, 1] + tokens.parameters[:, 1], 1.0, atol=1e-9)  # of one budget 6 N D


def test_minima_that_scatter_widen_the_interval() -> None:
    """Minima off the power law by 20 %, of curves that are sure: the interval is that of the scatter."""
    x, off = np.linspace(-1, 1, 9), 0.2 * np.array([1.0, -1.2, 0.8, -1.0, 0.4])
    table = pd.concat([valley(x + 0.5 * np.log(C / 1e19) + e, skewed(x), C) for C, e in zip(BUDGETS, off, strict=True)])
    found = read_off(table)
    assert scatter(found) == pytest.approx(off.std(ddof=2), rel=0.15)
    low, high = power_law(found).interval["alpha"]
    exact = 2 * 1.645 * off.std(ddof=2) / (np.log(BUDGETS).std() * np.sqrt(len(BUDGETS)))
    assert exact < high - low < 2.5 * exact  # wider than a normal's: three degrees of freedom


@pytest.mark.slow
def test_the_study_of_the_page_in_small() -> None:
    """`python -m benchmarks isoflop`, its first 40 tables: coverage, and errors below a parabola's."""
    results = study(40)
    answered = results[results.estimate.notna()]
    covered = (answered.low <= answered.exponent) & (answered.exponent <= answered.high)
    assert 34 <= covered.sum() <= 40
    both = answered[answered.parabola.notna()]
    ours, theirs = (np.sqrt(((both[name] - both.exponent) ** 2).mean()) for name in ("estimate", "parabola"))
    assert ours < theirs
    assert {len(line) for line in summary(results)} == {11}


Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(C=table.C * (1 + 1e-9 * np.arange(len(table)))), "no budget has 4 different N"),
        (lambda table: table.drop(columns="N"), "there is no such column"),
        (lambda table: table.assign(loss=table.loss.where(table.index != 3)), "missing"),
        (lambda table: table[table.C < 3e19], "1 of 1 budgets have a minimum to be trusted"),
    ],
)
def test_tables_without_an_answer_are_refused_in_one_line(change: Change, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        optimal(change(simulated()))
    assert "\n" not in str(error.value)


def test_no_size_but_n_and_d() -> None:
    with pytest.raises(InputError, match=r"of=r: is no size; choose N \(parameters\) or D \(tokens\)"):
        minima(simulated(), "r")


def line_through(table: pd.DataFrame, of: str) -> Fit:
    """Approach 2 as published: parabolas through all points, a line through their minima, each weighing the same."""
    found = minima(table, of, form="parabola")
    return fit_law(LAWS["compute_optimal"], found.loc[found.inside, ["C", of]], target=of, loss=Loss("ls"))


@pytest.mark.parametrize("experiment", ["llama_3__raw_loss", "llama_3__exp_loss"])
def test_llama_3s_optimal_sizes(experiment: str) -> None:
    """Published: D* = A C^alpha with (alpha, A) = (.537, .299), that is 16.3 T tokens at 3.8e25 (the text: 16.55 T, and
    402 B parameters). Parabolas give these digits; the intervals of skewed curves hold them, and both amounts."""
    table = public(experiment)
    published = line_through(table, "D")
    if experiment == "llama_3__raw_loss":
        assert round(published.parameters["alpha"], 3) == 0.537
        assert round(published.parameters["A"], 3) == 0.299
    for of, alpha, amount in (("D", 0.537, 16.55e12), ("N", 0.463, 402e9)):
        fit = optimal(table, of)
        assert fit.n_points >= 9
        assert fit.interval["alpha"][0] < alpha < fit.interval["alpha"][1]
        low, high = np.quantile(fit.predict_draws({"C": 3.8e25}), [0.05, 0.95])
        assert low < amount < high


def test_chinchillas_optimal_sizes() -> None:
    """Approach 2 of 2203.15556: N* ~ C^.49, D* ~ C^.51, digits that parabolas through the points of its figure give.

    Skewed curves through them say .50 to .58: below the lower end lies .49, inside lies approach 3 as 2404.10102 refits
    it to the same points, .513."""
    table = public("epochai_chinchilla__massivetext__chinchilla")
    for of, published in (("N", 0.49), ("D", 0.51)):
        assert round(line_through(table, of).parameters["alpha"], 2) == published
    low, high = optimal(table).interval["alpha"]
    assert low < 0.513 < high
    assert (low, high) == pytest.approx((0.505, 0.582), abs=0.005)


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
