"""The best schedule against an exhaustive search over real learning-rate curves, and against a planted optimum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import pytest

from analysis.answers.schedule import choose_schedule, lr_curve
from analysis.fitting.fit import Fit
from analysis.formulas.formula import Array
from analysis.laws.law import Law
from analysis.laws.library import LAWS
from analysis.results.curves import DECAY, annealing, lr_sum
from harness.core.errors import InputError
from tests.known_fits import fit_of, scattered

LAW = LAWS["cpt_dynamics"]
UPSTREAM = {"L0": 3.0, "A": 0.49, "alpha": 0.5, "B": 0.8, "E": 5.0, "beta": 0.5, "C1": 0.3, "C2": 0.02}
DOWNSTREAM = {"L0": 3.0, "A": 0.41, "alpha": 0.6, "B": -0.6, "E": 200.0, "beta": 0.3, "C1": 0.28, "C2": 0.1}


class Shape(TypedDict):
    warmup: float
    min_ratio: float
    anneal: float


class Search(TypedDict):
    base_lrs: Array
    peaks: tuple[float, float]
    horizons: tuple[int, int]


class Question(TypedDict, total=False):
    weight: float
    tolerance: float
    base_loss: float


SHAPE: Shape = {"warmup": 0.01, "min_ratio": 0.1, "anneal": 0.0}
BASE = lr_curve("cosine", 2e-4, 20_000, **SHAPE)
SEARCH: Search = {"base_lrs": BASE, "peaks": (1e-5, 6e-4), "horizons": (1000, 10_000)}
# A law that is least at known sums: what the planted schedule has.
BOWL = Law(
    "bowl",
    "L0 + (log(S1_cpt) - s1)**2 + (log(S2_cpt) - s2)**2",
    {"S1_cpt": "sum", "S2_cpt": "annealed"},
    linear=("L0",),
    starts={"s1": (-5.0, 5.0), "s2": (-5.0, 5.0)},
    bounds={"s1": (-9.0, 9.0), "s2": (-9.0, 9.0)},
)


def sums(lrs: Any) -> tuple[float, float]:
    end = np.array([len(lrs)])
    return float(lr_sum(lrs, end)[0]), float(annealing(lrs, end)[0])


def at(peak: float, horizon: int, replay: float = 0.0) -> dict[str, float]:
    """The laws' variables after a cosine of this peak and horizon."""
    S1_base, S2_base = sums(BASE)
    S1, S2 = sums(lr_curve("cosine", peak, horizon, **SHAPE)) if horizon else (0.0, 0.0)
    return {"S1_base": S1_base, "S2_base": S2_base, "S1_cpt": S1, "S2_cpt": S2, "replay": replay}


BEFORE = float(LAW.value(UPSTREAM, at(0.0, 0)))


def fits(count: int = 0, ranges: Mapping[str, tuple[float, float]] | None = None) -> tuple[Fit, Fit]:
    """The upstream and the downstream fit."""
    draws = [scattered(LAW, p, count, 0.005, seed) if count else None for seed, p in enumerate((UPSTREAM, DOWNSTREAM))]
    return fit_of(LAW, UPSTREAM, draws=draws[0], ranges=ranges), fit_of(LAW, DOWNSTREAM, draws=draws[1], ranges=ranges)


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ({"weight": 0.4}, "on_bound"),
        ({"weight": 0.6}, "on_bound"),
        ({"weight": 1.0}, "on_bound"),
        ({"tolerance": 0.005, "base_loss": BEFORE}, "on_limit"),
        ({"tolerance": 0.03, "base_loss": BEFORE}, "on_limit"),
        ({"tolerance": 0.3, "base_loss": BEFORE}, "on_bound"),
    ],
)
def test_no_schedule_of_an_exhaustive_search_is_better(question: Question, status: str) -> None:
    """Every peak and horizon of a dense grid, each with the sums of its own learning-rate curve."""
    answer = choose_schedule(*fits(), **SEARCH, **question)
    weight, limit = question.get("weight", 0.0), (1 + question.get("tolerance", 9.0)) * BEFORE
    best = math.inf
    peaks = np.geomspace(1e-5, 6e-4, 300)
    for horizon in np.rint(np.geomspace(1000, 10_000, 30)).astype(int):
        unit = at(1.0, int(horizon))  # the sums are proportional to the peak: checked below
        columns = {**unit, "S1_cpt": peaks * unit["S1_cpt"], "S2_cpt": peaks * unit["S2_cpt"]}
        up, down = LAW.value(UPSTREAM, columns), LAW.value(DOWNSTREAM, columns)
        best = min(best, float(np.where(up <= limit, weight * up + (1 - weight) * down, math.inf).min()))
    reached = weight * answer.loss["general"] + (1 - weight) * answer.loss["domain"]
    assert best - 1e-3 < reached < best + 1e-5
    assert answer.loss["general"] <= limit + 1e-9
    assert answer.status == status
    exact = at(answer.values["peak"], int(answer.values["horizon"]))
    assert answer.loss["general"] == pytest.approx(float(LAW.value(UPSTREAM, exact)), abs=1e-4)
    assert answer.loss["domain"] == pytest.approx(float(LAW.value(DOWNSTREAM, exact)), abs=1e-4)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_a_planted_schedule_is_recovered(schedule: str) -> None:
    shape: Shape = {**SHAPE, "anneal": 0.2 if schedule == "wsd" else 0.0}
    S1, S2 = sums(lr_curve(schedule, 1.5e-4, 4000, **shape))
    bowl = fit_of(BOWL, {"L0": 2.0, "s1": math.log(S1), "s2": math.log(S2)})
    answer = choose_schedule(bowl, bowl, **SEARCH, schedule=schedule, **shape, weight=0.5)
    assert answer.values["peak"] == pytest.approx(1.5e-4, rel=0.005)
    assert answer.values["horizon"] == pytest.approx(4000, rel=0.005)
    assert (answer.status, answer.limit) == ("interior", None)
    assert answer.loss["domain"] == pytest.approx(2.0, abs=1e-4)


def test_sums_are_proportional_to_the_peak() -> None:
    one, other = (np.array(sums(lr_curve("cosine", peak, 3000, **SHAPE))) for peak in (1e-4, 7e-4))
    assert other == pytest.approx(7 * one, rel=1e-6)


def test_a_tolerance_that_nothing_keeps_is_infeasible() -> None:
    answer = choose_schedule(*fits(20), **SEARCH, tolerance=-0.2, base_loss=BEFORE)
    assert (answer.status, answer.interval, answer.share_infeasible) == ("infeasible", None, 1.0)
    assert all(math.isnan(value) for value in answer.values.values())


def test_each_draw_has_its_own_schedule() -> None:
    both = fits(8)
    answer = choose_schedule(*both, **SEARCH, tolerance=0.01, base_loss=BEFORE)
    alone = []
    for i in range(8):
        upstream, downstream = (
            fit_of(LAW, dict(zip(LAW.parameters, map(float, fit.draws.parameters[i]), strict=True)))
            for fit in both
            if fit.draws is not None
        )
        own = choose_schedule(upstream, downstream, **SEARCH, tolerance=0.01, base_loss=BEFORE)
        alone.append(own.values)
    peaks = [values["peak"] for values in alone]
    assert answer.interval is not None
    assert answer.share_infeasible == np.isnan(peaks).mean()
    assert answer.interval["peak"] == pytest.approx(np.nanquantile(peaks, [0.05, 0.95]), rel=1e-6)
    assert answer.paired is True


def test_what_lies_outside_the_fitted_curves_is_said() -> None:
    ranges = {"S1_base": (1.0, 2.5), "S2_base": (0.0, 0.2), "S1_cpt": (0.0, 0.5), "S2_cpt": (0.0, 10.0)}
    answer = choose_schedule(*fits(ranges=ranges), **SEARCH, weight=0.0)
    S1 = at(answer.values["peak"], int(answer.values["horizon"]))["S1_cpt"]
    assert answer.extrapolated == pytest.approx({"S1_cpt": S1 / 0.5}, rel=1e-3)


def test_replay_is_chosen_among_those_given() -> None:
    """Equation 8 of 2505.07796; the more the upstream loss counts, the more replay."""
    up, down = LAWS["cpt_replay_upstream"], LAWS["cpt_replay_downstream"]
    upstream = {
        "L0": 3.067,
        "A": 0.48,
        "alpha": 0.51,
        "C1": 0.28,
        "C2": 0.263,
        "a1": 0.055,
        "B": 0.276,
        "E": 99.35,
        "a2": 3.238,
        "beta": 0.189,
    }
    downstream = {
        "L0": 2.992,
        "A": 0.456,
        "alpha": 0.51,
        "C1": 0.285,
        "C2": 0.279,
        "a1": 0.037,
        "B": 0.02,
        "E": 100.34,
        "a2": 2.0,
        "beta": 0.15,
    }
    both, replays = (fit_of(up, upstream), fit_of(down, downstream)), (0.0, 0.25, 0.5, 0.75)
    chosen = []
    for weight in (0.0, 0.3, 0.6, 1.0):
        answer = choose_schedule(*both, **SEARCH, replays=replays, weight=weight)
        point = {name: answer.values[name] for name in ("peak", "replay")}
        losses = [
            weight * float(up.value(upstream, columns)) + (1 - weight) * float(down.value(downstream, columns))
            for columns in (at(point["peak"], int(answer.values["horizon"]), replay) for replay in replays)
        ]
        assert point["replay"] == replays[int(np.argmin(losses))]
        chosen.append(point["replay"])
    assert chosen == [0.0, 0.0, 0.75, 0.75]  # the shift is concave in the upstream loss: all or nothing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "weight=None: what is best is not said"),
        ({"weight": 0.5, "tolerance": 0.1}, "what is best is not said"),
        ({"tolerance": 0.1}, "what is best is not said"),
        ({"weight": 1.5}, "weight=1.5: is no share"),
        ({"weight": 0.5, "peaks": (1e-3, 1e-4)}, "peaks=0.001, 0.0001: is no range"),
        ({"weight": 0.5, "horizons": (0, 10)}, "is not a positive finite number"),
        ({"weight": 0.5, "horizons": (20, 100)}, "warmup=0.01: is less than one of 20 updates"),
        ({"weight": 0.5, "schedule": "infinite_cosine"}, "cannot be chosen by its peak; take one of cosine"),
        ({"weight": 0.5, "replays": [0.1]}, "the laws do not depend on it"),
        ({"weight": 0.5, "decay": DECAY, "min_ratio": 2.0}, "is above the LR"),
    ],
)
def test_bad_input_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        choose_schedule(*fits(), **{**SEARCH, **options})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_laws_with_replay_need_shares_to_choose_from() -> None:
    law = LAWS["cpt_replay_upstream"]
    fit = fit_of(law, dict.fromkeys(law.parameters, 0.5))
    with pytest.raises(InputError, match="the laws depend on it"):
        choose_schedule(fit, fit, **SEARCH, weight=0.5)
