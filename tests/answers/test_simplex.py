"""The best mixture against fine grids, scipy's solver and closed forms, for several laws and caps."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.answers.simplex import best_mixture
from analysis.fitting.fit import Fit, fit_law
from analysis.formulas.formula import Array
from analysis.laws.library import LAWS, find
from harness.core.errors import InputError
from tests.known_fits import fit_of, scattered

THREE = find("mixing:docs,python,cpp")
TRUTH = {
    "docs": {"c": 1.5, "k": 1.2, "t_docs": -4.0, "t_python": 0.5},
    "python": {"c": 1.8, "k": 1.0, "t_docs": 0.3, "t_python": -3.0},
    "cpp": {"c": 2.0, "k": 0.4, "t_docs": 1.6, "t_python": 1.2},
}
WEIGHTS = {"docs": 0.4, "python": 0.3, "cpp": 0.3}
TOKENS = 1e10
SHARES = {"docs": (0.0, 1.0), "python": (0.0, 1.0)}


def three(count: int = 0, spread: float = 0.02, groups: str = "the runs") -> dict[str, Fit]:
    """Fits of the loss on each of three corpora."""
    return {
        name: fit_of(
            THREE,
            truth,
            draws=scattered(THREE, truth, count, spread, seed) if count else None,
            groups=groups,
            ranges=SHARES,
        )
        for seed, (name, truth) in enumerate(TRUTH.items())
    }


def total(parameters: dict[str, dict[str, float]], **shares: Any) -> Array:
    return np.asarray(sum(WEIGHTS[name] * THREE.value(parameters[name], shares) for name in parameters))


def best_on_grid(parameters: dict[str, dict[str, float]], caps: tuple[float, float, float], step: float) -> list[float]:
    """The shares of the least weighted loss among all multiples of `step` that the caps allow."""
    axis = np.arange(0, 1 + step / 2, step)
    docs, python = (x.reshape(-1) for x in np.meshgrid(axis, axis))
    cpp = 1 - docs - python
    kept = (cpp >= -1e-12) & (docs <= caps[0] + 1e-12) & (python <= caps[1] + 1e-12) & (cpp <= caps[2] + 1e-12)
    docs, python, cpp = docs[kept], python[kept], cpp[kept]
    best = int(total(parameters, docs=docs, python=python).argmin())
    return [float(docs[best]), float(python[best]), float(cpp[best])]


@pytest.mark.parametrize(
    ("available", "epochs", "caps", "status"),
    [
        (None, None, (1.0, 1.0, 1.0), "interior"),
        ({"docs": 1e9}, 2, (0.2, 1.0, 1.0), "on_limit"),
        ({"docs": 3e9, "cpp": 1e9}, 1, (0.3, 1.0, 0.1), "on_limit"),
        ({"python": 0.0}, 4, (1.0, 0.0, 1.0), "on_limit"),
        ({"docs": 8e9}, 1, (0.8, 1.0, 1.0), "interior"),
    ],
    ids=["free", "one cap", "two caps", "none of one", "a cap that does not matter"],
)
def test_three_domains_against_a_fine_grid(
    available: dict[str, float] | None, epochs: float | None, caps: tuple[float, float, float], status: str
) -> None:
    answer = best_mixture(three(), WEIGHTS, tokens=TOKENS, available=available, most_epochs=epochs)
    assert list(answer.values.values()) == pytest.approx(best_on_grid(TRUTH, caps, 0.001), abs=0.001)
    assert sum(answer.values.values()) == pytest.approx(1.0, abs=1e-12)
    assert (answer.status, answer.interval, answer.limit) == (status, None, None)
    docs, python, _ = best_on_grid(TRUTH, caps, 0.001)
    assert sum(WEIGHTS[name] * answer.loss[name] for name in WEIGHTS) <= total(TRUTH, docs=docs, python=python) + 1e-9


def test_a_domain_that_does_not_help_gets_nothing() -> None:
    harmful = {name: {**truth, "t_python": 2.0} for name, truth in TRUTH.items()}
    fits = {name: fit_of(THREE, truth, ranges=SHARES) for name, truth in harmful.items()}
    answer = best_mixture(fits, WEIGHTS, tokens=TOKENS)
    assert (answer.values["python"], answer.status) == (0.0, "on_bound")
    assert list(answer.values.values()) == pytest.approx(best_on_grid(harmful, (1, 1, 1), 0.001), abs=0.001)


def test_five_domains_against_scipys_solver() -> None:
    from scipy.optimize import minimize

    names = [f"d{i}" for i in range(5)]
    law, random = find(f"mixing:{','.join(names)}"), np.random.default_rng(5)
    caps = np.array([0.1, 0.15, 1, 0.3, 1])
    slopes = random.normal(size=(5, 4)) - 3 * np.eye(5, 4)
    truth = {
        name: {
            "c": 1.0,
            "k": float(random.uniform(0.3, 1.5)),
            **{f"t_{other}": float(slopes[i, j]) for j, other in enumerate(names[:-1])},
        }
        for i, name in enumerate(names)
    }
    weights = dict.fromkeys(names, 1.0)

    def loss(h: Array) -> float:
        return float(sum(law.value(truth[name], dict(zip(names[:-1], h[:-1], strict=True))) for name in names))

    rule = {"type": "eq", "fun": lambda h: h.sum() - 1}
    known = minimize(
        loss,
        caps / caps.sum(),
        method="SLSQP",
        bounds=[(0, cap) for cap in caps],
        constraints=[rule],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    fits = {name: fit_of(law, truth[name]) for name in names}
    available = {name: cap * TOKENS for name, cap in zip(names, caps, strict=True) if cap < 1}
    answer = best_mixture(fits, weights, tokens=TOKENS, available=available, most_epochs=1)
    assert sum(answer.loss.values()) <= known.fun + 1e-9
    assert list(answer.values.values()) == pytest.approx(known.x, abs=1e-4)


def test_the_interval_is_that_of_the_draws_solved_one_by_one() -> None:
    fits = three(12)
    answer = best_mixture(fits, WEIGHTS, tokens=TOKENS, available={"docs": 3.6e9}, most_epochs=1)
    alone = []
    for i in range(12):
        own = {
            name: dict(zip(THREE.parameters, map(float, fit.draws.parameters[i]), strict=True))
            for name, fit in fits.items()
            if fit.draws is not None
        }
        alone.append(best_on_grid(own, (0.36, 1.0, 1.0), 0.002))
    assert answer.interval is not None
    for name, column in zip(WEIGHTS, np.array(alone).T, strict=True):
        assert answer.interval[name] == pytest.approx(np.quantile(column, [0.05, 0.95]), abs=0.003)
    assert (answer.paired, answer.share_infeasible) == (True, 0.0)


def test_the_planted_optimum_lies_in_the_intervals_from_noisy_runs() -> None:
    random = np.random.default_rng(2)
    mixtures = random.dirichlet(np.ones(3), size=40)
    fits = {}
    for name, truth in TRUTH.items():
        table = pd.DataFrame(mixtures, columns=list(TRUTH)).assign(run=[f"run {i}" for i in range(40)])
        table["loss"] = THREE.value(truth, table) * np.exp(0.003 * random.normal(size=40))
        fits[name] = fit_law(THREE, table, bootstrap=100)
    answer = best_mixture(fits, WEIGHTS, tokens=TOKENS)
    assert answer.interval is not None
    for name, share in best_mixture(three(), WEIGHTS, tokens=TOKENS).values.items():
        low, high = answer.interval[name]
        assert low <= share <= high
        assert high - low < 0.2


def test_caps_that_leave_one_mixture_give_that() -> None:
    available = {"docs": 2e9, "python": 3e9, "cpp": 5e9}
    answer = best_mixture(three(20), WEIGHTS, tokens=TOKENS, available=available, most_epochs=1)
    assert answer.values == pytest.approx({"docs": 0.2, "python": 0.3, "cpp": 0.5})
    assert answer.status == "on_limit"


def test_a_law_of_mixture_size_and_tokens() -> None:
    """Shukor's additive law (2507.09404) has a pole in the slope at a share of zero; its optimum is scale-free."""
    law = find("shukor_additive:docs,python,cpp")
    truth = {
        "E": 1.0,
        "A": 400.0,
        "alpha": 0.34,
        "B": 800.0,
        "beta": 0.33,
        "C_docs": 2.0,
        "g_docs": 0.5,
        "C_python": 1.0,
        "g_python": 0.7,
        "C_cpp": 0.1,
        "g_cpp": 0.9,
    }
    fit = {"docs": fit_of(law, truth)}
    answer = best_mixture(fit, {"docs": 1.0}, tokens=TOKENS, N=1e9)
    axis = np.arange(0, 1.0005, 0.001)
    docs, python = (x.reshape(-1) for x in np.meshgrid(axis, axis))
    docs, python = docs[docs + python <= 1], python[docs + python <= 1]
    shares = {"docs": docs, "python": python, "cpp": 1 - docs - python}
    best = int(law.value(truth, {**shares, "N": 1e9, "D": TOKENS}).argmin())
    assert list(answer.values.values()) == pytest.approx([float(x[best]) for x in shares.values()], abs=0.001)
    assert best_mixture(fit, {"docs": 1.0}, tokens=9e12, N=7e9).values == pytest.approx(answer.values, abs=1e-5)


def test_fits_in_the_share_of_their_own_corpus() -> None:
    """Two D-CPT laws, whose optimum a grid over the one share gives."""
    law = LAWS["dcpt"]
    general = {
        "E": 1.6,
        "A": 500.0,
        "B": 300.0,
        "C": 0.12,
        "alpha": 0.33,
        "beta": 0.33,
        "eta": 0.3,
        "gamma": 0.7,
        "eps": 0.02,
    }
    domain = {**general, "C": 0.25, "gamma": 0.6, "eps": 0.1}
    fits = {
        "pile": fit_of(law, general, ranges={"r": (0.0, 1.0)}),
        "python": fit_of(law, domain, ranges={"r": (0.3, 0.5)}),
    }
    answer = best_mixture(fits, {"pile": 0.5, "python": 0.5}, tokens=TOKENS, N=1e9)
    r = np.linspace(0, 1, 100_001)
    loss = sum(law.value(p, {"N": 1e9, "D": TOKENS, "r": share}) for p, share in ((general, 1 - r), (domain, r)))
    best = float(r[int(np.argmin(loss))])
    assert answer.values["python"] == pytest.approx(best, abs=1e-4)
    assert answer.extrapolated == pytest.approx({"r": best / 0.5}, rel=1e-3)


def test_a_minimum_in_a_corner_that_no_descent_leads_to() -> None:
    """The slope of B r^eta is infinite at r = 0, so that every path from inside is turned away from the corners."""
    law = LAWS["dcpt"]
    law_parameters = {
        "E": 1.6,
        "A": 500.0,
        "B": 3000.0,
        "C": 0.01,
        "alpha": 0.33,
        "beta": 0.33,
        "eta": 0.3,
        "gamma": 0.7,
        "eps": 0.02,
    }
    fits = {name: fit_of(law, law_parameters) for name in ("pile", "python")}
    answer = best_mixture(fits, {"pile": 0.6, "python": 0.4}, tokens=TOKENS, N=1e9)
    r = np.linspace(0, 1, 10_001)
    one, other = (law.value(law_parameters, {"N": 1e9, "D": TOKENS, "r": share}) for share in (r, 1 - r))
    assert answer.values["pile"] == r[(0.6 * one + 0.4 * other).argmin()] == 0.0
    assert answer.status == "on_bound"


@pytest.mark.parametrize("count", [0, 30])
def test_a_minimum_on_a_face_that_no_descent_leads_to(count: int) -> None:
    """Two of three corpora share the run: at a share of zero slopes are infinite, so that it is no limit of paths."""
    law, random = LAWS["dcpt"], np.random.default_rng(3)
    base = {"E": 1.4, "A": 300.0, "alpha": 0.34, "beta": 0.36}
    truth = {
        "a": {**base, "B": 431.0, "eta": 0.52, "C": 0.19, "eps": 0.02, "gamma": 0.4},
        "b": {**base, "B": 1871.0, "eta": 0.12, "C": 0.06, "eps": 0.19, "gamma": 1.0},
        "c": {**base, "B": 864.0, "eta": 0.54, "C": 0.21, "eps": 0.06, "gamma": 0.4},
    }
    weights = {"a": 0.8, "b": 0.7, "c": 0.6}
    noise = 1 + 1e-4 * random.normal(size=(count, len(law.parameters)))
    fits = {
        name: fit_of(law, p, draws=noise * [p[key] for key in law.parameters] if count else None)
        for name, p in truth.items()
    }
    answer = best_mixture(fits, weights, tokens=TOKENS, N=1e9)
    axis = np.arange(0, 1.0005, 0.005)
    a, b = (x.reshape(-1) for x in np.meshgrid(axis, axis))
    a, b = a[a + b <= 1], b[a + b <= 1]
    shares = {"a": a, "b": b, "c": np.maximum(1 - a - b, 0.0)}
    losses = {name: law.value(p, {"N": 1e9, "D": TOKENS, "r": shares[name]}) for name, p in truth.items()}
    loss = np.sum([weights[name] * losses[name] for name in truth], axis=0)
    best = int(np.argmin(loss))
    assert list(answer.values.values()) == pytest.approx([float(x[best]) for x in shares.values()], abs=0.005)
    assert (answer.values["b"], answer.status) == (0.0, "on_bound")
    assert sum(weights[name] * answer.loss[name] for name in weights) <= loss[best]
    if count:
        assert answer.interval is not None
        assert answer.interval["b"] == (0.0, 0.0)
        low, high = answer.interval["a"]
        assert low <= answer.values["a"] <= high


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"available": {"docs": 1e9, "python": 1e9, "cpp": 1e9}, "most_epochs": 2}, "2 epochs of all domains are 0.6"),
        ({"available": {"docs": 1e9}}, "most_epochs=None: goes with the available tokens"),
        ({"available": {"rust": 1e9}, "most_epochs": 1}, "rust: is no domain of the mixture; choose of docs, python"),
        ({"available": {"docs": math.nan}, "most_epochs": 1}, "is no amount of tokens of docs"),
        ({"weights": {"docs": 1.0}}, "there are fits of docs, python, cpp"),
        ({"weights": {"docs": -1.0, "python": 1.0, "cpp": 1.0}}, "not all are positive or zero"),
        ({"domains": ["docs", "cpp"]}, "its python is neither a share of docs, cpp nor given"),
        ({"tokens": 0.0}, "tokens=0.0: is not a positive"),
    ],
)
def test_bad_input_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        best_mixture(three(), **{"weights": WEIGHTS, "tokens": TOKENS, **options})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_fits_whose_draws_are_not_paired_are_refused() -> None:
    fits = {**three(20), "cpp": three(20, groups="other runs")["cpp"]}
    with pytest.raises(InputError, match="not paired"):
        best_mixture(fits, WEIGHTS, tokens=TOKENS)
    assert best_mixture(fits, WEIGHTS, tokens=TOKENS, independent=True).paired is False


def test_fits_of_different_mixtures_are_refused() -> None:
    fits = {**three(), "cpp": fit_of(find("mixing:docs,cpp"), {"c": 1.0, "k": 1.0, "t_docs": 1.0})}
    with pytest.raises(InputError, match="different mixtures"):
        best_mixture(fits, WEIGHTS, tokens=TOKENS)


def test_seven_domains_of_a_law_that_is_not_convex_take_seconds() -> None:
    """127 faces, of the estimate and fifty draws, in 1 s where it took 30: all faces at once, all derivatives in one
    call. The best is looked for among vertices and pairs by brute force, where a fine grid of seven has no end."""
    names = [f"d{i}" for i in range(7)]
    law, random = find("quadratic:" + ",".join(names)), np.random.default_rng(2)
    truth = dict(zip(law.parameters, random.normal(2.0, 0.7, len(law.parameters)), strict=True))
    draws = np.array([*truth.values()]) + random.normal(0, 0.02, (50, len(truth)))
    fits = {"d0": fit_of(law, truth, draws=draws)}
    begun = time.process_time()
    answer = best_mixture(fits, {"d0": 1.0}, tokens=1e10)
    assert time.process_time() - begun < 6.0
    assert answer.status == "on_bound"
    share = np.linspace(0, 1, 2001)
    for first, second in itertools.combinations(names, 2):
        columns = dict.fromkeys(names, np.zeros_like(share)) | {first: share, second: 1 - share}
        assert answer.loss["d0"] <= law.value(truth, columns).min() + 1e-6
    assert answer.loss["d0"] == pytest.approx(float(law.value(truth, answer.values)), abs=1e-9)


@pytest.mark.parametrize("caps", [{}, {"available": {"docs": 2e9}, "most_epochs": 1.0}])
def test_the_verdict_does_not_depend_on_the_order_of_the_domains(caps: dict[str, Any]) -> None:
    """Whichever domain is the one that the others leave over: an end at which no run was is no answer."""
    random = np.random.default_rng(0)
    mixtures = 0.1 + 0.7 * random.dirichlet((1, 1, 1), 24)
    table = pd.DataFrame(mixtures, columns=["docs", "python", "cpp"]).assign(run=range(24))
    loss = 2 + np.exp(-2 * table.docs - 1 * table.python) * (1 + 1e-3 * random.standard_normal(24))
    told = []
    for order in itertools.permutations(("docs", "python", "cpp")):
        fit = fit_law(find(f"mixing:{','.join(order)}"), table.assign(loss=loss), bootstrap=0)
        answer = best_mixture({"docs": fit}, {"docs": 1.0}, tokens=TOKENS, **caps)
        told.append((answer.verdict().kind, answer.status, sorted(answer.extrapolated)))
    assert told == [told[0]] * len(told)
    assert told[0][:2] == ("no answer", "contradicted")
