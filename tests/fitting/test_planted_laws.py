"""Laws on tables planted by themselves, in the units and the numbers of rows that people have: the truth is found.

That proves a law's own form and the fit, not that the form is its paper's: `test_public_tables` and `Law.read` do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.fit import fit_law
from analysis.formulas.formula import Array
from analysis.laws.law import Law
from analysis.laws.library import find

Truth = dict[str, float]


def product(**axes: Array) -> pd.DataFrame:
    grids = np.meshgrid(*axes.values(), indexing="ij")
    return pd.DataFrame({name: grid.reshape(-1) for name, grid in zip(axes, grids, strict=True)})


def sizes_and_tokens(sizes: int, tokens: int) -> pd.DataFrame:
    return product(N=np.geomspace(6e7, 6e9, sizes), D=np.geomspace(1e9, 3e11, tokens))


def repeated() -> pd.DataFrame:
    """Runs of all lengths on four amounts of unique tokens: up to 500 epochs, and models up to 9e9."""
    table = product(N=np.geomspace(7e6, 9e9, 7), D=np.geomspace(1e8, 9e11, 6), U=np.array([1e8, 1.5e9, 2.5e10, 1e12]))
    return table.assign(U=np.minimum(table.U, table.D)).drop_duplicates().reset_index(drop=True)


def scarce() -> pd.DataFrame:
    """A target of 5e7 or 5e8 tokens mixed into a long stream: read a tenth of once to 300 times."""
    sizes, tokens = np.array([1.4e8, 3.5e8, 8e8]), np.geomspace(1e9, 5e10, 6)
    return product(N=sizes, D=tokens, h=np.array([0.05, 0.1, 0.2, 0.4, 0.8]), U=np.array([5e7, 5e8]))


def mixtures(count: int, *domains: str) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(1).dirichlet(np.ones(len(domains)), count), columns=list(domains))


def line(name: str, low: float, high: float, count: int) -> pd.DataFrame:
    return pd.DataFrame({name: np.geomspace(low, high, count)})


FEW = ("web", "books", "code")
CASES: dict[str, tuple[str, Callable[[], pd.DataFrame], Truth, float]] = {
    # The published values of C4, rounded.
    "data_constrained": (
        "data_constrained",
        repeated,
        {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.353, "beta": 0.353, "R_D": 15.4, "R_N": 5.31},
        0.003,
    ),
    "over_training": (
        "over_training",
        lambda: product(M=np.array([5.0, 10, 20, 40, 80, 160, 320, 640]), C=np.geomspace(1e17, 1e22, 6)),
        {"E": 1.8, "a": 300.0, "b": 600.0, "eta": 0.14},
        0.003,
    ),
    "downstream_error": (
        "downstream_error",
        lambda: pd.DataFrame({"L": np.linspace(2.2, 4.5, 60)}),
        {"epsilon": 0.85, "k": 2.1, "gamma": 0.76},
        0.003,
    ),
    "step_law_lr": (
        "step_law_lr",
        lambda: sizes_and_tokens(6, 5),
        {"c": 1.79, "a": -0.713, "b": 0.307},
        0.02,
    ),
    "step_law_batch": ("step_law_batch", lambda: sizes_and_tokens(6, 5), {"d": 0.58, "e": 0.571}, 0.02),
    "bnsl of steps": (
        "bnsl",
        lambda: line("X", 1e2, 1e5, 60),
        {"a": 1.5, "b": 8.0, "c0": 0.3, "c1": 0.5, "d1": 3e3, "f1": 0.3},
        0.002,
    ),
    "bnsl of FLOPs": (
        "bnsl",
        lambda: line("X", 1e18, 1e25, 60),
        {"a": 1.5, "b": 5e5, "c0": 0.3, "c1": 0.5, "d1": 1e21, "f1": 0.3},
        0.002,
    ),
    "farseer": (
        "farseer",
        lambda: sizes_and_tokens(15, 15),
        {"E": 1.5, "a3": 0.5, "g3": -0.3, "B": 80.0, "a2": 1.6, "g2": -0.2, "beta": 0.2, "a1": 0.35, "g1": -0.1},
        0.001,
    ),
    "droppo_elibol": (
        "droppo_elibol",
        lambda: sizes_and_tokens(10, 10),
        {"L_inf": 1.7, "alpha": 0.5, "N_c": 1e8, "alpha_N": 0.3, "D_c": 1e9, "alpha_D": 0.3},
        0.002,
    ),
    "bimix": (
        "bimix",
        lambda: product(r=np.array([0.05, 0.1, 0.2, 0.4, 0.8]), D=np.geomspace(1e9, 1e11, 12)),
        {"B": 300.0, "C": 2.0, "alpha": 0.08, "beta": 0.3},
        0.003,
    ),
    "repetition_mixture": (
        "repetition_mixture",
        scarce,
        {"E": 1.5, "A": 90.0, "alpha": 0.25, "B": 60.0, "delta": 0.1, "beta": 0.28, "R": 12.0, "gamma": 0.4},
        0.002,
    ),
    "quadratic": (
        "quadratic:web,books,code",
        lambda: mixtures(60, *FEW),
        {"b_web": 2.9, "b_books": 3.1, "b_code": 3.6, "q_web__books": -0.4, "q_web__code": -1.0, "q_books__code": 0.2},
        0.002,
    ),
    "log_linear": (
        "log_linear:web,books,code",
        lambda: mixtures(60, *FEW),
        {"k": 3.4, "t_web": -0.3, "t_books": -0.1},
        0.002,
    ),
}
SLOW = ("farseer", "droppo_elibol", "data_constrained", "repetition_mixture")


def planted(law: Law, table: pd.DataFrame, truth: Truth, noise: float, seed: int) -> pd.DataFrame:
    exact = law.value(truth, {name: table[name] for name in law.variables})
    return table.assign(planted=exact * np.exp(noise * np.random.default_rng(seed).standard_normal(len(table))))


@pytest.mark.parametrize("case", [pytest.param(case, marks=[pytest.mark.slow] * (case in SLOW)) for case in CASES])
def test_the_truth_is_found_in_a_planted_table(case: str) -> None:
    """Converged, every parameter within four standard errors, and residuals as large as the noise."""
    name, make, truth, noise = CASES[case]
    law = find(name)
    fit = fit_law(law, planted(law, make(), truth, noise, seed=4), target="planted", group=None)
    assert fit.converged
    assert not fit.on_bound
    scale = {name: fit.se[name] / (fit.parameters[name] if law.on_log_scale(name) else 1.0) for name in truth}
    for name, value in fit.parameters.items():
        off = np.log(value / truth[name]) if law.on_log_scale(name) else value - truth[name]
        assert abs(off) <= 4 * scale[name], name
    assert fit.mre == pytest.approx(noise * np.sqrt(2 / np.pi), rel=0.3)


def test_data_constrained_has_its_authors_values() -> None:
    """The two models of figure 1 in the README of huggingface/datablations, with its coefficients of C4."""
    a, b, e, exponent, r_d, r_n = 6.255414, 7.3049974, 0.6254804, 0.3526596, 15.387756, 5.309743
    fitted = {
        "A": np.exp(a),
        "B": np.exp(b),
        "E": np.exp(e),
        "alpha": exponent,
        "beta": exponent,
        "R_D": r_d,
        "R_N": r_n,
    }
    law = find("data_constrained")
    for size, tokens, loss in ((6.34e9, 242e9, 2.2256440889984477), (8.67e9, 178e9, 2.2269634075087867)):
        assert law.value(fitted, {"N": size, "D": tokens, "U": 25e9}) == pytest.approx(loss, rel=1e-12)
    once = {"N": 1e9, "D": 1e10, "U": 1e11}  # more unique tokens than were read: as many as were read
    assert law.value(fitted, once) == law.value(fitted, once | {"U": 1e10})


def test_over_training_is_chinchillas_law_in_other_variables() -> None:
    chinchilla = {"E": 1.8, "A": 400.0, "alpha": 0.3, "B": 900.0, "beta": 0.3}
    N, D = np.array([1e8, 1e9, 7e9]), np.array([2e9, 3e11, 1e12])
    a, b = 400.0 * 6**0.15, 900.0 * 6**0.15
    found = find("over_training").value({"E": 1.8, "a": a, "b": b, "eta": 0.15}, {"M": D / N, "C": 6 * N * D})
    np.testing.assert_allclose(found, find("chinchilla").value(chinchilla, {"N": N, "D": D}), rtol=1e-12)


def test_droppo_and_elibols_law_holds_chinchillas_and_kaplans() -> None:
    N, D, law = np.array([1e8, 7e9]), np.array([2e9, 1e12]), find("droppo_elibol")
    whole = {"L_inf": 1.8, "N_c": 1e7, "alpha_N": 0.3, "D_c": 1e9, "alpha_D": 0.25, "alpha": 1.0}
    parts = {"E": 1.8, "A": 1e7**0.3, "alpha": 0.3, "B": 1e9**0.25, "beta": 0.25}
    np.testing.assert_allclose(law.value(whole, {"N": N, "D": D}), find("chinchilla").value(parts, {"N": N, "D": D}))
    coupled = whole | {"L_inf": 0.0, "alpha": 0.25}
    kaplan = {name: whole[name] for name in ("N_c", "D_c", "alpha_N", "alpha_D")}
    np.testing.assert_allclose(law.value(coupled, {"N": N, "D": D}), find("kaplan").value(kaplan, {"N": N, "D": D}))


def test_a_target_that_is_read_once_has_no_repeats() -> None:
    truth = CASES["repetition_mixture"][2]
    law = find("repetition_mixture")
    point = {"N": 1e8, "D": 1e10, "h": 0.1, "U": 1e9}
    by_hand = 1.5 + 90 / 1e8**0.25 + 60 * 1e8**0.1 / 1e9**0.28 + 0.4 * 0.1
    assert law.value(truth, point) == pytest.approx(by_hand, rel=1e-12)
    often = law.value(truth, point | {"U": 1e8})  # ten times
    worth = 1e8 * (1 + 12 * (1 - np.exp(-9 / 12)))
    assert often == pytest.approx(by_hand - 60 * 1e8**0.1 * (1e9**-0.28 - worth**-0.28), rel=1e-12)
