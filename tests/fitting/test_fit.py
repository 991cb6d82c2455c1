"""Fits of planted tables: the truth is found again, with honest intervals, and what cannot be known is said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.fit import Fit, fit_law, objective_of
from analysis.fitting.fit_file import from_document, to_document
from analysis.fitting.newton import minimise
from analysis.fitting.objective import Loss, huber, parse_loss
from analysis.fitting.profile import profile
from analysis.fitting.resampling import resamples
from analysis.fitting.search import search
from analysis.fitting.standard_errors import inform
from analysis.laws.continual import DCPT
from analysis.laws.law import FREE, Bound, Law
from analysis.laws.library import LAWS, find
from analysis.laws.redundant import redundant
from analysis.laws.sizes import CHINCHILLA
from harness.core.errors import InputError
from tests.planted import SIZES, TRUTH, design, losses, random_truth

CHINCHILLA_TRUTH = {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2000.0, "beta": 0.37}


def chinchilla_table(seed: int = 0, noise: float = 0.003, sizes: int = 12) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    N = np.repeat(np.geomspace(5e7, 1e10, sizes), 12)
    D = np.tile(np.geomspace(1e9, 3e11, 12), sizes)
    loss = CHINCHILLA.value(CHINCHILLA_TRUTH, {"N": N, "D": D}) * np.exp(noise * random.standard_normal(len(N)))
    return pd.DataFrame({"N": N, "D": D, "loss": loss})


# --- the optimum -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["ls", "huber:1e-3", "lad", "asymmetric:0.7"])
@pytest.mark.parametrize("residuals", ["log", "raw"])
def test_without_noise_the_truth_is_found_to_the_digit(loss: str, residuals: str) -> None:
    table = chinchilla_table(noise=0)
    fit = fit_law(CHINCHILLA, table, loss=parse_loss(loss, residuals))
    assert fit.parameters == pytest.approx(CHINCHILLA_TRUTH, rel=1e-4)
    assert fit.converged
    assert fit.r2 > 1 - 1e-9


@pytest.mark.slow
def test_the_best_known_objective_is_reached_for_sixteen_random_dcpt_laws() -> None:
    """Against descents of 2,000 steps from the truth itself and from the end found."""
    missed = []
    low, high = DCPT.inward_bounds
    for seed in range(16):
        truth = random_truth(1000 + seed)
        objective = objective_of(DCPT, losses(design(), truth, seed, row_noise=0.005), Loss())
        found = search(objective)
        start = np.stack([DCPT.inward(np.array([truth[name] for name in DCPT.parameters])), found.theta])
        best = min(minimise(objective, start, low, high, deltas=(3e-3, 1e-3), most_steps=2000).value.min(), found.value)
        if found.value > best * (1 + 1e-6):
            missed.append((seed, found.value / best - 1))
    assert missed == []


@pytest.mark.slow
def test_dcpt_with_r_of_zero_is_found_again() -> None:
    table = losses(design(), TRUTH, 3, row_noise=0.005)
    fit = fit_law(DCPT, table)
    low, high = DCPT.inward_bounds
    objective = objective_of(DCPT, table, Loss())
    start = DCPT.inward(np.array([[TRUTH[name] for name in DCPT.parameters]]))
    best = minimise(objective, start, low, high, deltas=(3e-3, 1e-3), most_steps=500).value.min()
    assert fit.objective <= best * (1 + 1e-6)
    assert fit.converged
    assert fit.starts["agree"] >= 3
    clean = DCPT.value(TRUTH, {name: table[name] for name in "NDr"})
    assert np.abs(fit.predict({name: table[name] for name in "NDr"}) / clean - 1).max() < 0.003
    assert all(share == 1.0 for share in fit.requirements.values())
    assert set(fit.requirements) == {"dL/dN < 0", "dL/dD < 0", "dL/dr < 0", "d2L/dDdr < 0"}


def test_the_minimum_is_a_minimum() -> None:
    """No derivative in it: small moves of every parameter never lower the sum of Huber losses."""
    table = chinchilla_table(noise=0.01)
    fit = fit_law(CHINCHILLA, table)

    def value(parameters: dict[str, float]) -> float:
        predicted = CHINCHILLA.value(parameters, table)
        return float(huber(np.log(predicted) - np.log(table.loss.to_numpy()), 1e-3).sum())

    assert fit.objective == pytest.approx(value(fit.parameters), rel=1e-9)
    for name, at in fit.parameters.items():
        for factor in (1 - 1e-5, 1 + 1e-5):
            assert value({**fit.parameters, name: at * factor}) >= fit.objective


def test_weights_of_zero_leave_rows_out() -> None:
    table = chinchilla_table()
    part = table.iloc[:100]
    spoiled = table.assign(weight=[1.0] * 100 + [0.0] * 44)
    spoiled.loc[spoiled.index[100:], "loss"] = 9.0 + np.arange(44)
    whole, weighted = fit_law(CHINCHILLA, part), fit_law(CHINCHILLA, spoiled, weights="weight")
    assert weighted.parameters == pytest.approx(whole.parameters, rel=1e-6)


def test_the_common_scale_of_weights_plays_no_part() -> None:
    table = chinchilla_table()
    given = np.random.default_rng(0).uniform(0.5, 2.0, len(table))
    one, *others = (fit_law(CHINCHILLA, table.assign(w=given * by), weights="w") for by in (1, 1e-300, 1e-200, 1e200))
    for other in others:
        assert other.converged
        assert other.parameters == pytest.approx(one.parameters, rel=1e-9)
        assert other.se == pytest.approx(one.se, rel=1e-6)
        assert other.condition == pytest.approx(one.condition, rel=1e-6)
        assert (other.unidentified, other.on_bound) == (one.unidentified, one.on_bound)


@pytest.mark.slow
def test_asymmetric_fits_lie_to_one_side() -> None:
    table = chinchilla_table(noise=0.01)
    share = {}
    for tau in (0.1, 0.5, 0.9):
        fit = fit_law(CHINCHILLA, table, loss=parse_loss(f"asymmetric:{tau}"))
        share[tau] = (table.loss > fit.predict(table)).mean()
    assert share[0.1] > 0.75
    assert 0.4 < share[0.5] < 0.6
    assert share[0.9] < 0.25


@pytest.mark.parametrize("name", ["dcpt_l1", "dcpt_l4", "dcpt_l5", "kaplan", "mixing", "cmr_ratio", "transfer"])
def test_every_law_finds_its_own_truth_again(name: str) -> None:
    law = LAWS[name]
    random = np.random.default_rng(5)
    truth = {p: float(np.mean(law.starts[p])) if p in law.starts else 0.7 for p in law.parameters}
    truth |= {
        "kaplan": {"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095},
        "dcpt_l5": {"E": 1.5, "A": 300.0, "B": 900.0, "sigma": 0.05},
        "dcpt_l4": {"A": 300.0, "B": 400.0, "c": 3.0},
        "dcpt_l1": {"A": 300.0, "B": 400.0, "eps": 0.1},
        "cmr_ratio": {"a": -0.4, "b": 2.0, "s": 0.4},
        "mixing": {"t": -3.0},
        "transfer": {"k": 20.0},
    }.get(name, {})
    units = {"parameters": (1e8, 1e10), "tokens": (1e8, 1e11), "share": (0.05, 1.0)}
    table = pd.DataFrame({v: random.uniform(*units[unit], 200) for v, unit in law.variables.items()})
    table["loss"] = law.value(truth, table)
    if name == "transfer":
        table["loss"] /= table.loss.median()  # no loss, and no size of one
        truth["k"] = float("nan")
    fit = fit_law(law, table, loss=Loss("ls"))
    assert fit.r2 > 1 - 1e-9
    assert fit.mre < 1e-5


# --- how sure --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", ["ls", "huber:1e-3", pytest.param("lad", marks=pytest.mark.slow)]
)  # the noise is three times the corner, or a million
def test_standard_errors_are_those_of_repeated_experiments(loss: str) -> None:
    kind = parse_loss(loss)
    fits = [fit_law(CHINCHILLA, chinchilla_table(seed), loss=kind, group=None) for seed in range(60)]
    estimates = np.array([list(fit.parameters.values()) for fit in fits])
    boot = fit_law(CHINCHILLA, chinchilla_table(0), loss=kind, group=None, bootstrap=300).se
    for i, (name, spread) in enumerate(zip(CHINCHILLA.parameters, estimates.std(axis=0, ddof=1), strict=True)):
        assert 0.75 < np.median([fit.se[name] for fit in fits]) / spread < 1.35
        assert 0.6 < boot[name] / spread < 1.6
        held = [fit.interval[name][0] <= list(CHINCHILLA_TRUTH.values())[i] <= fit.interval[name][1] for fit in fits]
        assert np.mean(held) > 0.78


def coverage(group: str | None, repetitions: int, draws: int) -> float:
    """Share of predictions whose 90 % interval holds the truth, with noise planted per run."""
    at = design(4, shares=(0.05, 0.15, 0.4, 0.6, 0.85, 0.95))
    columns = {name: at[name].to_numpy() for name in "NDr"}
    true = DCPT.value(TRUTH, columns)
    covered = []
    for seed in range(repetitions):
        table = losses(design(8), TRUTH, seed, row_noise=0.001, run_noise=0.005)
        fit = fit_law(DCPT, table, bootstrap=draws, group=group, seed=seed)
        low, high = np.nanquantile(fit.predict_draws(columns), [0.05, 0.95], axis=0)
        covered.append(((low <= true) & (true <= high)).mean())
    return float(np.mean(covered))


@pytest.mark.slow
def test_run_bootstraps_cover_and_row_bootstraps_do_not() -> None:
    """In small: the page on benchmarks has 400 tables."""
    assert 0.8 <= coverage("run", 6, 60) <= 0.98
    assert coverage(None, 3, 60) < 0.75


@pytest.mark.slow
def test_draws_are_the_same_runs_for_two_fits() -> None:
    table = losses(design(6), TRUTH, 0, row_noise=0.005)
    other = losses(design(6), {**TRUTH, "E": 2.0}, 1, row_noise=0.005).sample(frac=1, random_state=0)
    a, b = (fit_law(DCPT, t, bootstrap=20, seed=4) for t in (table, other))
    assert a.draws is not None
    assert b.draws is not None
    assert a.draws.paired(b.draws)
    fewer = fit_law(DCPT, other[other.r > 0], bootstrap=20, seed=4).draws
    another = fit_law(DCPT, other, bootstrap=20, seed=5).draws
    rows = fit_law(DCPT, other, bootstrap=20, seed=4, group=None).draws
    assert not any(a.draws.paired(d) for d in (fewer, another, rows) if d is not None)
    # The n-th resample of both counts the same runs equally often, however the rows are ordered.
    codes = [pd.factorize(t.run, sort=True)[0] for t in (table, other)]
    one, same = (
        pd.DataFrame({"run": t.run, "w": resamples(c, len(t), 3, 4)[2]}).groupby("run").w.first()
        for t, c in zip((table, other), codes, strict=True)
    )
    pd.testing.assert_series_equal(one, same)


@pytest.mark.parametrize("loss", ["ls", "huber:1e-3"])
def test_the_profile_crosses_where_the_standard_error_says_when_the_likelihood_is_round(loss: str) -> None:
    objective = objective_of(CHINCHILLA, chinchilla_table(), parse_loss(loss))
    found = search(objective)
    known = inform(objective, found, None)
    curve = profile(objective, found, known, "alpha")
    inside = curve.values[curve.rise <= curve.allowed]
    index = CHINCHILLA.parameters.index("alpha")
    half = 1.645 * known.se[index]
    assert inside.min() == pytest.approx(found.theta[index] - half, abs=0.35 * half)
    assert inside.max() == pytest.approx(found.theta[index] + half, abs=0.35 * half)
    assert curve.rise.min() < 1e-9 * curve.allowed


@pytest.mark.slow
def test_errors_by_run_are_those_of_repeated_experiments() -> None:
    """What is told between runs (alpha) is less sure than independent rows would make it, what within them more."""
    tables = [losses(design(8), TRUTH, seed, row_noise=0.001, run_noise=0.004) for seed in range(12)]
    fits = [fit_law(DCPT, table) for table in tables]
    as_rows = fit_law(DCPT, tables[0], group=None)
    assert as_rows.parameters == fits[0].parameters
    assert (fits[0].n_runs, as_rows.n_runs) == (27, None)
    for name in ("alpha", "beta", "eta"):
        spread = float(np.std([fit.parameters[name] for fit in fits], ddof=1))
        assert 0.5 < np.median([fit.se[name] for fit in fits]) / spread < 2
    assert as_rows.se["beta"] > 2 * fits[0].se["beta"]


@pytest.fixture(scope="module")
def two_sizes() -> Fit:
    return fit_law(DCPT, losses(design(8, sizes=SIZES[:2]), TRUTH, 0, row_noise=0.005))


@pytest.mark.slow
def test_profiles_hold_the_estimate_and_say_nothing_of_what_nothing_is_known(two_sizes: Fit) -> None:
    fit = two_sizes
    for name, (low, high) in fit.profile.items():
        assert low is None or low <= fit.parameters[name]
        assert high is None or high >= fit.parameters[name]
    low, high = fit.interval["alpha"]
    assert high - low > 0.5


def test_few_runs_are_not_resampled() -> None:
    table = losses(design(8), TRUTH, 0, row_noise=0.005)
    for column, why in (("one", "1 values of one are too few"), ("N", "3 values of N are too few")):
        with pytest.raises(InputError, match=why):
            fit_law(DCPT, table.assign(one=1), bootstrap=50, group=column)


@pytest.mark.slow
def test_rows_without_runs_are_no_pairs() -> None:
    table = losses(design(8), TRUTH, 0, row_noise=0.005).drop(columns="run")
    shuffled = table.sample(frac=1, random_state=0)
    a, b = (fit_law(DCPT, t, bootstrap=20, group=None).draws for t in (table, shuffled))
    assert a is not None
    assert b is not None
    assert not a.paired(b)


def test_laws_without_exponents_and_starts_that_run_out() -> None:
    table = chinchilla_table()
    fit = fit_law(CHINCHILLA, table, fixed={"alpha": 0.35, "beta": 0.37})
    assert fit.parameters == pytest.approx({"E": 1.8, "A": 480.0, "B": 2000.0}, rel=0.02)
    few = pd.DataFrame({"r": np.linspace(0.05, 0.95, 12)})
    few["loss"] = 2 + np.random.default_rng(3).uniform(0, 1, 12)  # nothing to agree on
    assert fit_law(LAWS["mixing"], few).n_points == 12


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_wrong_weights(value: float) -> None:
    with pytest.raises(InputError, match="weights=w: not numbers of zero or more"):
        fit_law(CHINCHILLA, chinchilla_table().assign(w=value), weights="w")


# --- what the data cannot tell ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_sizes_cannot_tell_their_term_apart(two_sizes: Fit) -> None:
    assert {"E", "A", "alpha"} <= set(two_sizes.unidentified)


@pytest.mark.slow
def test_tokens_in_proportion_to_size_leave_a_flat_fit() -> None:
    table = chinchilla_table()
    table = table[np.isclose(table.D, table.D.min())].assign(D=lambda t: 20 * t.N)
    many = pd.concat([table.assign(N=table.N * f, D=table.D * f) for f in (1, 1.3, 1.7)], ignore_index=True)
    noise = 0.003 * np.random.default_rng(0).standard_normal(36)
    many["loss"] = CHINCHILLA.value(CHINCHILLA_TRUTH, many) * np.exp(noise)
    fit = fit_law(CHINCHILLA, many)
    assert {"A", "B"} <= set(fit.unidentified)


@pytest.mark.slow
def test_one_share_is_refused_with_what_to_do() -> None:
    table = losses(design(8, shares=(0.5,)), TRUTH, 0, row_noise=0.005)
    with pytest.raises(InputError, match=r"r=0.5: the same in all 24 rows.*fit a law without r: `fit auto` compares"):
        fit_law(DCPT, table)
    one_size = losses(design(8, sizes=SIZES[:1]), TRUTH, 0, row_noise=0.005)
    with pytest.raises(InputError, match=r"N=5e\+08.*fit a law without N: `fit auto` compares"):
        fit_law(DCPT, one_size)
    assert fit_law(DCPT, one_size, fixed={"A": 0.0}).r2 > 0.98


@pytest.mark.slow
def test_a_term_that_is_not_there_sits_on_its_bound() -> None:
    """A loss that rises with D, as the upstream one does while it is forgotten: B/D**beta with B >= 0 cannot."""
    table = losses(design(10), {**TRUTH, "B": 1e-30}, 0, row_noise=1e-4)
    fit = fit_law(DCPT, table.assign(loss=table.loss + 0.02 * np.log(table.D / 1e8)))
    assert {"B", "eta", "beta"} & set(fit.on_bound)  # B/D**0 is as good as E
    assert {"B", "eta", "beta"} <= set(fit.unidentified)
    assert fit.r2_within_run is not None
    assert fit.r2_within_run < 0.05


def test_too_few_points() -> None:
    with pytest.raises(InputError, match="5 different points for the 5 parameters of chinchilla; give more points, or"):
        fit_law(CHINCHILLA, chinchilla_table().iloc[::31])
    twice = pd.concat([chinchilla_table().iloc[::31].assign(run=i) for i in range(4)], ignore_index=True)
    twice["loss"] += 1e-3 * np.arange(len(twice))
    with pytest.raises(InputError, match="5 different points"):
        fit_law(CHINCHILLA, twice)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("l2", "no such loss"),
        ("huber:x", "takes delta"),
        ("huber:0", "not positive"),
        ("ls:1", "takes no number"),
        ("asymmetric:1.5", "not inside"),
    ],
)
def test_wrong_losses(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_loss(text)


# --- what follows from a fit -----------------------------------------------------------------------------------------


def test_a_fit_survives_its_file() -> None:
    table = losses(design(6), TRUTH, 0, row_noise=0.005)
    fit = fit_law(DCPT, table, bootstrap=10)
    document = json.loads(json.dumps(to_document(fit), allow_nan=False))
    required = {
        "law",
        "target",
        "map",
        "loss",
        "parameters",
        "se",
        "interval",
        "objective",
        "n_points",
        "n_runs",
        "starts",
        "converged",
        "on_bound",
        "unidentified",
        "condition",
        "r2",
        "r2_within_run",
        "mre",
        "max_abs_z",
        "requirements",
        "range",
        "bootstrap",
    }
    assert required <= document.keys()
    assert document["loss"]["reduction"] == "sum"
    again = from_document(document)
    at = {"N": 1e9, "D": np.array([1e9, 1e10]), "r": 0.3}
    np.testing.assert_array_equal(again.predict(at), fit.predict(at))
    np.testing.assert_allclose(again.predict_draws(at), fit.predict_draws(at), rtol=1e-6)
    assert again.draws is not None
    assert fit.draws is not None
    assert again.draws.paired(fit.draws)
    other = {**document, "schema": "rewarm.runs/1"}
    for wrong, why in [
        ({}, "no schema: is not a fit"),
        (other, "runs/1: is not a fit"),
        ({**document, "loss": {"kind": "ls", "what": 1}}, "not as this version writes it"),
    ]:
        with pytest.raises(InputError, match=why):
            from_document(wrong)


def test_mixtures_of_three_domains_are_fitted() -> None:
    law, truth = find("mixing:docs,python,cpp"), {"c": 1.9, "k": 0.6, "t_docs": -2.0, "t_python": 0.8}
    table = pd.DataFrame(np.random.default_rng(0).dirichlet([1, 1, 1], 40), columns=["docs", "python", "cpp"])
    table["loss"] = law.value(truth, table)
    assert fit_law(law, table, loss=Loss("ls")).parameters == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(python=table.python * 0.3), "docs, python, cpp: in 12 rows they do not sum to one"),
        (lambda table: table.assign(cpp=table.cpp * 100), "cpp: .* it looks like percent; --map 'cpp=cpp/100'"),
    ],
)
def test_shares_that_do_not_sum_to_one_are_refused(change: Any, message: str) -> None:
    shares = np.random.default_rng(0).dirichlet((4, 4, 4), 12)
    table = pd.DataFrame(shares, columns=["docs", "python", "cpp"])
    table = table.assign(loss=2 + np.exp(-2 * table.docs))
    law = find("mixing:docs,python,cpp")
    fit_law(law, table)
    fit_law(law, table.drop(columns="cpp"))  # what the others leave over need not be a column
    with pytest.raises(InputError, match=message):
        fit_law(law, change(table))


@pytest.mark.parametrize(
    ("formula", "linear", "starts", "same"),
    [
        ("E + A*log(D/alpha)", ("E", "A"), {"alpha": (1.0, 1e6)}, ("E", "alpha")),
        ("E + A*B/D**beta", ("E", "A"), {"B": (1.0, 1e6), "beta": (0.05, 0.9)}, ("A", "B")),
        ("E + A/(c*D)**beta", ("E", "A"), {"c": (0.1, 3.0), "beta": (0.05, 0.9)}, ("A", "c")),
        ("E + A/D**(beta*gamma)", ("E", "A"), {"gamma": (0.1, 3.0), "beta": (0.05, 0.9)}, ("beta", "gamma")),
    ],
)
def test_a_formula_that_says_a_thing_twice_is_told_of_at_once(
    formula: str, linear: tuple[str, ...], starts: dict[str, tuple[float, float]], same: tuple[str, ...]
) -> None:
    """What no data can tell apart has no profile, but an open interval; the rest of the law is what it would be."""
    free = {"A": FREE} if "log" in formula else {}
    log = tuple(name for name in ("alpha", "B", "c") if name in starts)
    law = Law("twice", formula, {"D": "tokens"}, linear=linear, starts=starts, bounds=free, log=log)
    D = np.geomspace(1e8, 1e11, 40)
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(40))
    losses = 4 - 0.1 * np.log(D / 3e3) if "log" in formula else 1.8 + 40 / D**0.2
    fit = fit_law(law, pd.DataFrame({"D": D, "loss": losses * noise}), group=None)
    assert fit.converged
    assert fit.redundant == tuple(name for name in law.parameters if name in same)
    assert set(same) <= set(fit.unidentified)
    assert not set(same) & set(fit.profile)
    assert {fit.span(name) for name in same} == {"open"}
    assert any(f"no data identify {', '.join(fit.redundant)}" in warning for warning in fit.warnings)
    once = fit_law(law.fixed({same[1]: starts[same[1]][1]}), pd.DataFrame({"D": D, "loss": losses * noise}), group=None)
    assert once.redundant == ()
    assert fit.objective == pytest.approx(once.objective, rel=1e-6)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_no_law_of_the_library_says_a_thing_twice(name: str) -> None:
    law, random = LAWS[name], np.random.default_rng(0)
    decades = {unit: random.uniform(7, 10, 50) for unit in ("parameters", "tokens")}
    columns = {v: 10 ** decades[u] if u in decades else random.uniform(0.05, 1, 50) for v, u in law.variables.items()}
    assert redundant(Bound(law, columns)) == ()
