"""The answers to the questions of a D-CPT law, against curves, tables and closed forms whose optimum is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.answers.answer import Answer
from analysis.answers.ensemble import ensembles, solve, status_of
from analysis.answers.optimise import compute_allocation, critical_share, curves, domain_ability, limited_domain
from analysis.fitting.fit import Fit, fit_law
from analysis.fitting.objective import Loss
from analysis.formulas.formula import Array
from analysis.laws.library import LAWS
from harness.core.errors import InputError
from tests.known_fits import fit_of, scattered
from tests.reference import reference

DCPT, MIXING = LAWS["dcpt"], LAWS["mixing"]
GENERAL = {
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
DOMAIN = {
    "E": 1.2,
    "A": 400.0,
    "B": 600.0,
    "C": 0.25,
    "alpha": 0.34,
    "beta": 0.34,
    "eta": 0.3,
    "gamma": 0.6,
    "eps": 0.1,
}
N, D = 1.8e9, 1e10
RANGE = {"N": (5e8, 4e9), "D": (1e8, 2.6e10), "r": (0.0, 1.0)}


def loss(law_parameters: dict[str, float], **columns: Any) -> Array:
    return DCPT.value(law_parameters, columns)


BASE = float(loss(GENERAL, N=N, D=D, r=0.3))  # a loss that a general share of 0.3 keeps


def pair(count: int = 0, spread: float = 0.01) -> tuple[Fit, Fit]:
    """The general and the domain fit, with paired draws."""
    drawn = [scattered(DCPT, p, count, spread, seed) if count else None for seed, p in enumerate((GENERAL, DOMAIN))]
    return (fit_of(DCPT, GENERAL, draws=drawn[0], ranges=RANGE), fit_of(DCPT, DOMAIN, draws=drawn[1], ranges=RANGE))


# --- the routine itself, on any curves -------------------------------------------------------------------------------

TABLE_5 = np.array(
    [
        [0.90, 2.9052, 1.7321],
        [0.91, 2.9193, 1.7312],
        [0.92, 2.9376, 1.7311],
        [0.924, 2.9445, 1.7291],
        [0.93, 2.9644, 1.7279],
        [0.94, 2.9848, 1.7265],
        [1.00, 3.4667, 1.7220],
    ]
)
TABLE_6 = np.array([[0.2, 0.7486], [0.5, 0.7448], [0.732, 0.7309], [0.8, 0.7398]])


def test_the_papers_table_5_crosses_its_limit_where_the_paper_says() -> None:
    """2406.01375, usage 1 on chemistry: T = 3 % of 2.8602; the losses that were measured, linear between them."""
    r, general, domain = TABLE_5.T

    def excess(x: Array) -> Array:
        return np.asarray(np.interp(x, r, general) - 2.8602 * 1.03)

    found = solve(lambda x: np.interp(x, r, domain), excess, r[0], r[-1])
    assert found[0] == pytest.approx(0.9244, abs=0.0005)
    assert status_of(found[0], lambda x: np.interp(x, r, domain), excess, r[0], r[-1]) == "on_limit"


@pytest.mark.parametrize("kind", ["linear", "cubic", "monotone"])
def test_the_papers_table_6_has_its_optimum_inside_the_bracket(kind: str) -> None:
    """2406.01375, usage 2 on music: losses at the shares r, with D = 5e9/r."""
    from scipy.interpolate import CubicSpline, PchipInterpolator

    r, domain = TABLE_6.T
    between = {
        "linear": lambda x: np.interp(x, r, domain),
        "cubic": CubicSpline(r, domain),
        "monotone": PchipInterpolator(r, domain),
    }[kind]
    found = solve(between, None, r[0], r[-1])
    assert 0.5 < found[0] < 0.8
    assert status_of(found[0], between, None, r[0], r[-1]) == "interior"
    if kind != "cubic":  # an interpolation that adds no minimum of its own
        assert found[0] == pytest.approx(0.732, abs=1e-6)


def test_of_several_crossings_the_best_admitted_point_is_found() -> None:
    def objective(x: Array) -> Array:
        return (x - 0.8) ** 2

    def excess(x: Array) -> Array:  # admitted in [0.1, 0.2], [0.5, 0.6] and [0.9, 0.97]
        return -((x - 0.1) * (x - 0.2) * (x - 0.5) * (x - 0.6) * (x - 0.9) * (x - 0.97)) * -1e3

    assert solve(objective, excess)[0] == pytest.approx(0.9, abs=1e-6)
    assert solve(lambda x: -objective(x), excess)[0] == pytest.approx(0.1, abs=1e-6)


def test_what_is_admitted_between_two_points_of_the_grid_is_found() -> None:
    found = solve(lambda x: -x, lambda x: np.abs(x - 0.30042) - 1e-5)
    assert found[0] == pytest.approx(0.30043, abs=1e-6)


def test_curves_of_many_rows_are_solved_at_once_and_to_the_seventh_digit() -> None:
    at = np.linspace(0.05, 0.95, 200)[:, None]
    assert solve(lambda x: (x - at) ** 2) == pytest.approx(at[:, 0], abs=2e-7)
    assert solve(lambda x: -x, lambda x: x - at) == pytest.approx(at[:, 0], abs=2e-7)


def test_a_point_without_a_loss_is_never_chosen() -> None:
    assert solve(lambda x: np.where(x < 0.5, np.nan, x))[0] == pytest.approx(0.5, abs=1e-6)
    assert np.isnan(solve(lambda x: np.full_like(x, np.nan))[0])


# --- usage 1 ---------------------------------------------------------------------------------------------------------


def test_usage_1_is_the_largest_share_that_keeps_the_general_loss() -> None:
    """Both losses of the planted laws fall with the share of their corpus, so the limit decides: general share 0.3."""
    general, domain = pair()
    answer = domain_ability(general, domain, N=N, D=D, tolerance=0.0, base_loss=BASE)
    assert answer.values["r"] == pytest.approx(0.7, abs=1e-6)
    assert (answer.status, answer.extrapolated, answer.paired, answer.share_infeasible) == ("on_limit", {}, None, None)
    assert answer.interval is None
    assert answer.loss["general"] == pytest.approx(answer.limit, abs=1e-6)
    assert answer.loss["domain"] == pytest.approx(float(loss(DOMAIN, N=N, D=D, r=0.7)), abs=1e-6)


def test_usage_1_without_a_need_for_the_limit_is_on_the_bound() -> None:
    general, domain = pair()
    answer = domain_ability(general, domain, N=N, D=D, tolerance=0.9, base_loss=BASE)
    assert (answer.status, answer.values["r"]) == ("on_bound", 1.0)


def test_usage_1_inside_when_more_downstream_data_stops_helping() -> None:
    general, _ = pair()
    turning = replace(general, parameters={**DOMAIN, "B": 1500.0, "eta": 1.5})
    answer = domain_ability(general, turning, N=N, D=D, tolerance=0.9, base_loss=BASE)
    grid = np.linspace(0, 1, 20_001)
    best = grid[loss(turning.parameters, N=N, D=D, r=grid).argmin()]
    assert answer.status == "interior"
    assert answer.values["r"] == pytest.approx(best, abs=1e-4)


def test_usage_1_infeasible_says_so_and_for_how_many_draws() -> None:
    general, domain = pair(200)
    answer = domain_ability(general, domain, N=N, D=D, tolerance=-0.5, base_loss=BASE)
    assert (answer.status, answer.interval, answer.share_infeasible) == ("infeasible", None, 1.0)
    assert math.isnan(answer.values["r"])
    document = json.loads(json.dumps(answer.document(), allow_nan=False))
    assert (document["r"], document["loss"]) == (None, {"general": None, "domain": None})


def test_an_interval_over_some_of_the_draws_says_how_many_have_no_answer() -> None:
    general, domain = pair(400)
    least = float(loss(GENERAL, N=N, D=D, r=np.linspace(0, 1, 1001)).min())
    answer = domain_ability(general, domain, N=N, D=D, tolerance=0.0, base_loss=least + 1e-3)
    assert answer.status == "on_limit"
    assert answer.share_infeasible is not None
    assert 0.2 < answer.share_infeasible < 0.8  # the draws' least losses lie on both sides of the limit
    assert answer.interval is not None


def test_the_answer_of_each_draw_is_that_of_the_draw_alone() -> None:
    general, domain = pair(20)
    assert general.draws is not None
    assert domain.draws is not None
    alone = []
    for g, d in zip(general.draws.parameters, domain.draws.parameters, strict=True):
        fits = (fit_of(DCPT, dict(zip(DCPT.parameters, map(float, p), strict=True)), ranges=RANGE) for p in (g, d))
        alone.append(domain_ability(*fits, N=N, D=D, tolerance=0.01, base_loss=BASE).values["r"])
    answer = domain_ability(general, domain, N=N, D=D, tolerance=0.01, base_loss=BASE)
    assert answer.interval is not None
    assert answer.interval["r"] == pytest.approx(np.quantile(alone, [0.05, 0.95]), abs=1e-9)


def test_a_point_outside_the_data_says_by_what_factor() -> None:
    general, domain = pair()
    answer = domain_ability(general, domain, N=7e9, D=2e7, tolerance=0.9, base_loss=BASE)
    assert answer.extrapolated == pytest.approx({"N": 7e9 / 4e9, "D": 1e8 / 2e7})
    narrow = replace(general, range={**RANGE, "r": (0.2, 0.7)})  # the answer's general share is 0
    answer = domain_ability(narrow, domain, N=N, D=D, tolerance=0.9, base_loss=10.0)
    assert answer.extrapolated == pytest.approx({"r": 1 + 0.2 / 0.5})


# --- paired draws ----------------------------------------------------------------------------------------------------


def test_draws_that_are_not_paired_are_refused_unless_said_to_be_independent() -> None:
    general, domain = pair(100)
    other = fit_of(DCPT, DOMAIN, draws=scattered(DCPT, DOMAIN, 80, 0.01), groups="other runs", ranges=RANGE)
    question = partial(domain_ability, N=N, D=D, tolerance=0.0, base_loss=BASE)
    assert question(general, domain).paired is True
    with pytest.raises(InputError, match="did not see the same resamples"):
        question(general, other)
    with pytest.raises(InputError, match="one fit has none"):
        question(general, replace(domain, draws=None), independent=True)
    apart = question(general, other, independent=True)
    assert apart.paired is False
    assert apart.interval is not None


def test_runs_told_apart_by_each_fits_own_share_are_not_paired() -> None:
    """r of one fit is 1 - r of the other: where shares lie symmetrically both have the same runs by name, and no pair
    of resamples would be of the same runs."""
    general, domain = (replace(fit, group="N,r") for fit in pair(20))
    with pytest.raises(InputError, match=r"tell them apart by one share: --map d=r for one .* --group N,d"):
        domain_ability(general, domain, N=N, D=D, tolerance=0.0, base_loss=BASE)
    general, domain = (replace(fit, group="N,d") for fit in (general, domain))
    assert domain_ability(general, domain, N=N, D=D, tolerance=0.0, base_loss=BASE).paired


def test_a_resample_without_a_fit_is_left_out_of_both() -> None:
    general, domain = pair(50)
    assert general.draws is not None
    assert domain.draws is not None
    holes = general.draws.parameters.copy()
    holes[[3, 7]] = np.nan
    (g, d), paired = ensembles([replace(general, draws=replace(general.draws, parameters=holes)), domain])
    kept = np.delete(domain.draws.parameters, [3, 7], axis=0)
    assert paired
    assert len(g.theta) == 49
    assert DCPT.outward(d.theta[1:]) == pytest.approx(kept)


# --- usages 2 and 3, critical share ----------------------------------------------------------------------------------


def test_usage_2_weighs_repetition_free_tokens_against_the_share() -> None:
    general, domain = pair(100)
    grid = np.linspace(1e-3, 1, 100_001)
    values = loss(DOMAIN, N=N, D=5e9 / grid, r=grid)
    answer = limited_domain(domain, N=N, domain_tokens=5e9)
    assert answer.values["r"] == pytest.approx(grid[values.argmin()], abs=1e-4)
    assert answer.values["D"] == pytest.approx(5e9 / answer.values["r"])
    assert (answer.status, answer.paired) == ("interior", None)
    share = 0.8 * answer.values["r"]  # the limit is what the general loss is there
    limit = float(loss(GENERAL, N=N, D=5e9 / share, r=1 - share))
    bounded = limited_domain(domain, N=N, domain_tokens=5e9, general=general, tolerance=0.0, base_loss=limit)
    assert (bounded.status, bounded.paired) == ("on_limit", True)
    assert bounded.values["r"] == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("flops", [1e18, 1e20, 6e22])
def test_usage_3_is_the_closed_form(flops: float) -> None:
    """N* = G (C/6)^(beta/(alpha+beta)), G = (alpha A/(beta B r^eta))^(1/(alpha+beta)), of the estimate and of draws."""
    domain = fit_of(DCPT, DOMAIN, draws=scattered(DCPT, DOMAIN, 300, 0.02), ranges=RANGE)
    assert domain.draws is not None
    r = 0.4
    p = dict(
        zip(DCPT.parameters, np.vstack([[DOMAIN[n] for n in DCPT.parameters], domain.draws.parameters]).T, strict=True)
    )
    both = p["alpha"] + p["beta"]
    G = (p["alpha"] * p["A"] / (p["beta"] * p["B"] * r ** p["eta"])) ** (1 / both)
    size = G * (flops / 6) ** (p["beta"] / both)
    answer = compute_allocation(domain, flops=flops, r=r)
    assert answer.values["N"] == pytest.approx(size[0], rel=1e-5)
    assert 6 * answer.values["N"] * answer.values["D"] == pytest.approx(flops)
    assert answer.interval is not None
    assert answer.interval["N"] == pytest.approx(np.quantile(size[1:], [0.05, 0.95]), rel=1e-5)
    assert answer.status == "interior"


def test_usage_3_among_sizes_that_exist() -> None:
    domain = fit_of(DCPT, DOMAIN, ranges=RANGE)
    free = compute_allocation(domain, flops=1e20, r=0.5).values["N"]
    answer = compute_allocation(domain, flops=1e20, r=0.5, sizes=[free / 9, free / 1.1, 8 * free])
    assert answer.values["N"] == pytest.approx(free / 1.1)
    assert answer.status == "interior"
    assert compute_allocation(domain, flops=1e20, r=0.5, sizes=[2 * free, 9 * free]).status == "on_bound"


def test_the_published_mixing_law_has_its_critical_share() -> None:
    """2403.16952 on Pythia-70M, Pile and Python: reducible loss exp(-3.7397 r - 1.6938) at a Pile share r.

    The irreducible part is not printed: it is what the losses measured at the four shares leave.
    """
    shares, measured = np.array([0.125, 0.25, 0.375, 0.5]), np.array([2.9262, 2.8805, 2.8571, 2.8388])
    irreducible = float((measured - np.exp(-3.7397 * shares - 1.6938)).mean())
    assert irreducible == pytest.approx(2.8104, abs=1e-4)
    law = fit_of(MIXING, {"c": irreducible, "k": math.exp(-1.6938), "t": -3.7397}, ranges={"r": (0.125, 0.5)})
    answer = critical_share(law, base_loss=2.8734)
    assert 1 - answer.values["r"] == pytest.approx(0.2862, abs=5e-4)
    assert (answer.status, answer.extrapolated) == ("on_limit", {})


def test_the_critical_share_of_the_public_table() -> None:
    """0.286 to 0.287 with the published irreducible loss; the law's own optimum, with that free, is 0.2831."""
    table = reference("mixinglaws_cpt70M")
    base = float(table[table.step == 0].pile_loss.iloc[0])
    end = table[(table.step == 10_000) & table.pile_ratio.isin([0.125, 0.25, 0.375, 0.5])]
    points = pd.DataFrame({"r": end.pile_ratio.to_numpy(), "loss": end.pile_loss.to_numpy()})
    squares = Loss("ls", residuals="raw")
    held, free = (fit_law(MIXING, points, loss=squares, fixed=fixed) for fixed in ({"c": 2.8104}, {}))
    assert (held.parameters["t"], math.log(held.parameters["k"])) == pytest.approx((-3.7397, -1.6938), abs=5e-3)
    assert 0.286 <= 1 - critical_share(held, base_loss=base).values["r"] <= 0.287
    assert 1 - critical_share(free, base_loss=base).values["r"] == pytest.approx(0.2831, abs=1e-4)


def test_the_critical_share_in_nats_and_at_the_ends() -> None:
    general, _ = pair()
    at = {"base_loss": BASE, "N": N, "D": D}
    relative = critical_share(general, **at, tolerance=0.02)
    absolute = critical_share(general, **at, increase=0.02 * BASE)
    assert relative.values["r"] == pytest.approx(absolute.values["r"], abs=1e-9)
    assert loss(GENERAL, N=N, D=D, r=1 - relative.values["r"]) == pytest.approx(1.02 * BASE, abs=1e-6)
    assert critical_share(general, **at, increase=9.0).status == "on_bound"
    assert critical_share(general, **at, tolerance=-0.9).status == "infeasible"


# --- from noisy tables to answers ------------------------------------------------------------------------------------


def noisy_fits(seed: int, draws: int) -> tuple[Fit, Fit]:
    """Fits of the planted laws to 540 points (3 N x 20 D x 9 r) with 0.5 % noise."""
    random = np.random.default_rng(seed)
    shares = [0.0, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1.0]
    points = [(n, d, r) for n in (5e8, 1.8e9, 4e9) for r in shares for d in np.geomspace(1e8, 2.6e10, 20)]
    table = pd.DataFrame(points, columns=["N", "D", "r"])
    table["run"] = [f"{n:g}, {r:g}" for n, _, r in points]
    fits = []
    for truth, share in ((GENERAL, 1 - table.r), (DOMAIN, table.r)):
        own = table.assign(r=share)
        own["loss"] = DCPT.value(truth, own) * np.exp(0.005 * random.normal(size=len(own)))
        fits.append(fit_law(DCPT, own, bootstrap=draws, seed=seed))
    return fits[0], fits[1]


def usage_1(general: Fit, domain: Fit) -> Answer:
    return domain_ability(general, domain, N=N, D=D, tolerance=0.02, base_loss=BASE)


def usage_2(_: Fit, domain: Fit) -> Answer:
    return limited_domain(domain, N=N, domain_tokens=2e9)


def recovered(seed: int, draws: int) -> tuple[bool, bool]:
    """Whether the intervals of usages 1 and 2 hold the optima of the truth."""
    truth, fits = pair(), noisy_fits(seed, draws)
    held = []
    for question in (usage_1, usage_2):
        known, found = question(*truth), question(*fits)
        assert found.interval is not None
        low, high = found.interval["r"]
        assert high - low < 0.2, "an interval that holds everything says nothing"
        held.append(low <= known.values["r"] <= high)
    return held[0], held[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_planted_optima_lie_in_the_intervals(seed: int) -> None:
    assert recovered(seed, draws=100) == (True, True)


@pytest.mark.slow
def test_planted_optima_lie_in_as_many_intervals_as_they_should() -> None:
    """90 % intervals from bootstraps of 27 runs: at least 5 of 7 hold the truth (a coverage of 90 %: 6.3 +- .8)."""
    held = np.array([recovered(seed, draws=60) for seed in range(7)])
    assert (held.sum(axis=0) >= 5).all()


# --- curves, input --------------------------------------------------------------------------------------------


def test_curves_hold_the_predictions_in_their_bands() -> None:
    general, domain = pair(200)
    table = curves(general, domain, N=N, D=D, points=11)
    assert table.general.to_numpy() == pytest.approx(loss(GENERAL, N=N, D=D, r=1 - np.linspace(0, 1, 11)))
    assert table.domain.to_numpy() == pytest.approx(loss(DOMAIN, N=N, D=D, r=np.linspace(0, 1, 11)))
    for name in ("general", "domain"):
        assert ((table[f"{name}_low"] < table[name]) & (table[name] < table[f"{name}_high"])).all()
    limited = curves(*pair(), N=N, domain_tokens=5e9, points=5)
    assert limited.domain.iloc[-1] == pytest.approx(float(loss(DOMAIN, N=N, D=5e9, r=1.0)))
    assert limited.domain_low.isna().all()


CHINCHILLA = fit_of(LAWS["chinchilla"], {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda g, d: domain_ability(g, d, N=-1, D=D, tolerance=0.03, base_loss=BASE), "N=-1: is not a positive"),
        (lambda g, d: domain_ability(g, d, N=N, D=math.nan, tolerance=0.03, base_loss=BASE), "D=nan: is not"),
        (lambda g, d: domain_ability(g, d, N=N, D=D, tolerance=3, base_loss=BASE), "write 3 % as 0.03"),
        (lambda g, d: domain_ability(g, d, N=N, D=D, tolerance=0.03, base_loss=0.0), "base_loss=0.0: is not"),
        (
            lambda _, d: domain_ability(CHINCHILLA, d, N=N, D=D, tolerance=0.03, base_loss=BASE),
            "chinchilla: does not say which of its variables",
        ),
        (lambda g, d: limited_domain(d, N=N, domain_tokens=5e9, general=g), "give all or none"),
        (lambda _, d: compute_allocation(d, flops=1e20), "dcpt depends on a share"),
        (lambda *_: compute_allocation(CHINCHILLA, flops=1e20, r=0.5), "chinchilla does not depend on a share"),
        (lambda _, d: compute_allocation(d, flops=1e20, r=1.5), "r=1.5: is no share"),
        (lambda _, d: compute_allocation(d, flops=1e20, r=0.5, sizes=[0.0]), "sizes"),
        (lambda g, _: critical_share(g, base_loss=BASE, tolerance=0.1, increase=0.1, N=N, D=D), "give one of the two"),
        (lambda g, _: critical_share(g, base_loss=BASE), "law=dcpt: depends on N, D, which this question"),
        (lambda g, d: curves(g, d, N=N), "give one of D and domain_tokens"),
    ],
)
def test_bad_input_is_refused_in_one_line(asked: Any, message: str) -> None:
    with pytest.raises(InputError) as refused:
        asked(*pair())
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_document_has_what_the_design_says() -> None:
    general, domain = pair(50)
    document = domain_ability(general, domain, N=N, D=D, tolerance=0.0, base_loss=BASE).document()
    assert {"usage", "r", "interval", "status", "loss", "limit", "extrapolated", "paired"} <= set(document)
    assert set(document["loss"]) == {"general", "domain"}
    json.dumps(document, allow_nan=False)
