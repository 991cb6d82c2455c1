"""The statistics beneath a decision: surfaces, the noise of runs, and where runs say something."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.decide.choice import choose, forms
from analysis.decide.coding import Coding, inside_of_others, known, near
from analysis.decide.forecast import Outlook
from analysis.decide.noise import SLOPE, noise_of, single
from analysis.decide.surface import Form, Surface, fit
from tests.decide.planted import PEAKS, REPLAYS, Truth, cross, product

NUMERIC = ("peak", "replay")
GRID = product(peak=PEAKS, replay=REPLAYS)


def test_replay_has_a_scale_on_which_none_is_finite() -> None:
    coding = Coding.of(GRID, NUMERIC)
    x = coding.numbers(GRID)
    assert x.min() == 0
    assert x.max() == 1
    at = coding.numbers(pd.DataFrame({"peak": 1.0, "replay": [0.0, 0.01, 0.05]}))[:, 1]
    assert at[1] == pytest.approx(np.log(2) / np.log(51))
    assert coding.ranks(pd.DataFrame({"peak": [2.0], "replay": [0.05]})).tolist() == [[3, 2]]
    between = coding.between("replay", 40)
    assert set(REPLAYS) <= set(between)
    assert not ((between > 0) & (between < 0.01)).any()


def test_a_quadratic_is_found_exactly() -> None:
    coding = Coding.of(GRID, NUMERIC)
    x, y = coding.numbers(GRID).T
    means = 1 + 2 * x - y + 0.5 * x * y - x**2
    found = choose(GRID, NUMERIC, means, 1e-8 * np.eye(36))
    assert found is not None
    choice = found.surface
    assert (choice.form.trend, choice.form.offset) == ("quadratic", 1.0)
    assert found.error < 1e-3
    assert found.inside < 1e-3
    inside = pd.DataFrame({"peak": [0.7, 3.0], "replay": [0.02, 0.3]})
    u, v = choice.coding.numbers(inside).T
    assert choice.at(inside)[0] == pytest.approx(1 + 2 * u - v + 0.5 * u * v - u**2, abs=1e-3)


@pytest.mark.parametrize("form", forms(GRID, NUMERIC), ids=lambda form: f"{form}-{form.offset}")
def test_an_arm_is_left_out_without_fitting_again(form: Form) -> None:
    random = np.random.default_rng(1)
    truth, settings = Truth.drawn(random), GRID.iloc[::2].reset_index(drop=True)
    noise = np.diag(truth.noise(settings) ** 2)
    means = truth.forgetting(settings) + truth.noise(settings) * random.standard_normal(18)
    surface = fit(form, settings, NUMERIC, means, noise)
    assert surface is not None
    errors, sds = surface.left_out
    for k in (4, 9, 13):
        rest = np.arange(18) != k
        of_rest = (settings[rest], means[rest], noise[np.ix_(rest, rest)])
        others = Surface(form, surface.coding, *of_rest, surface.parameters, surface.columns)
        mean, sd = others.at(settings.iloc[[k]])
        assert errors[k] == pytest.approx(means[k] - mean[0], abs=1e-6)
        assert sds[k] == pytest.approx(np.hypot(sd[0], truth.noise(settings)[k]), rel=1e-5)


def test_the_nested_error_is_that_of_new_arms() -> None:
    """The mean absolute error that is told, against that at settings that were not run, over tables."""
    told, true = [], []
    for seed in range(12):
        random = np.random.default_rng(seed)
        truth = Truth.drawn(random)
        chosen = np.sort(random.choice(36, 18, replace=False))
        rest = np.setdiff1d(np.arange(36), chosen)
        settings = GRID.iloc[chosen].reset_index(drop=True)
        noise = np.diag(truth.noise(settings) ** 2 / 3)
        means = truth.forgetting(settings) + np.sqrt(np.diag(noise)) * random.standard_normal(18)
        found = choose(settings, NUMERIC, means, noise)
        assert found is not None
        told.append(found.error)
        true.append(np.abs(found.surface.at(GRID.iloc[rest])[0] - truth.forgetting(GRID.iloc[rest])).mean())
    assert 0.5 < np.mean(told) / np.mean(true) < 2


def test_an_only_arm_of_a_category_is_no_arm_to_leave_out() -> None:
    settings = pd.concat([GRID[["peak"]].drop_duplicates(), pd.DataFrame({"peak": [0.25]})], ignore_index=True)
    settings["schedule"] = ["cosine"] * 6 + ["constant"]
    means = np.log(settings.peak.to_numpy()) * 0.1 + (settings.schedule == "constant")
    found = choose(settings, ("peak",), means.to_numpy(), 1e-4 * np.eye(7))
    assert found is not None
    assert np.isfinite(found.error)
    linear = fit(Form("linear", False, 1.0), settings, ("peak",), means.to_numpy(), 1e-4 * np.eye(7))
    assert linear is not None
    assert np.isnan(linear.left_out[0]).tolist() == [False] * 6 + [True]


def test_an_end_that_the_others_do_not_reach_chooses_no_surface() -> None:
    """A jump at an end that nobody can tell from the others is most of the mean error, and none of that inside."""
    settings = product(peak=(0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0))
    means = 0.1 * np.log(settings.peak.to_numpy()) + 0.4 * (settings.peak == 8)
    found = choose(settings, ("peak",), means.to_numpy(), 1e-6 * np.eye(9))
    assert found is not None
    assert found.inside < 0.1 < 0.5 < found.error * 9
    assert inside_of_others(settings, Coding.of(settings, ("peak",))).tolist() == [False, *[True] * 7, False]


def test_candidates_that_predict_as_well_differ_most_near_no_replay() -> None:
    """What c of log(replay + c) is, is told by runs at no replay alone."""
    random = np.random.default_rng(3)
    truth = Truth.drawn(random)
    settings = GRID[(GRID.replay > 0) | GRID.peak.isin((0.25, 8.0))].iloc[::2].reset_index(drop=True)
    noise = np.diag(truth.noise(settings) ** 2 / 2)
    means = truth.forgetting(settings) + np.sqrt(np.diag(noise)) * random.standard_normal(len(settings))
    found = choose(settings, NUMERIC, means, noise)
    assert found is not None
    spread = found.spread(pd.DataFrame({"peak": [1.5, 1.5], "replay": [0.0, 0.25]}))
    assert spread[0] > 2 * spread[1] > 0


# --- the noise of runs -----------------------------------------------------------------------------------------------


def test_the_noise_and_what_runs_of_a_seed_share_are_found() -> None:
    random = np.random.default_rng(2)
    coded = random.uniform(size=(200, 2))
    sd = 0.01 * np.exp(1.5 * coded[:, 0])
    luck, own = random.standard_normal((1, 12)), random.standard_normal((200, 12))
    noise = noise_of(3 + sd[:, None] * (np.sqrt(0.4) * luck + np.sqrt(0.6) * own), coded)
    assert noise is not None
    assert noise.sd(np.array([[0.0, 0.5], [1.0, 0.5]])) == pytest.approx([0.01, 0.0448], rel=0.15)
    assert noise.common == pytest.approx(0.4, abs=0.2)
    few = noise_of(sd[:9, None] * random.standard_normal((9, 2)), coded[:9])
    assert few is not None
    assert np.abs(few.slopes[1:]).max() < 2 * SLOPE  # not the spread of nine variances with one degree of freedom each


def test_runs_of_one_seed_are_no_independent_ones() -> None:
    random = np.random.default_rng(3)
    luck = random.standard_normal((1, 3))
    coded = random.uniform(size=(30, 1))
    noise = noise_of(0.01 * (luck + 0.05 * random.standard_normal((30, 3))), coded)
    assert noise is not None
    assert noise.common > 0.9
    assert noise.freedom(np.array([[0.5]]))[0] < 4  # of 60, were they independent
    covariance = noise.covariance(coded, np.ones((30, 3), dtype=bool))
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) > 0.9


def test_one_seed_has_an_honest_default() -> None:
    assert noise_of(np.ones((5, 1)), np.zeros((5, 1))) is None
    noise = single(0.0, 1, freedom=3.0)
    assert not noise.measured
    assert noise.sd(np.zeros((1, 1)))[0] == pytest.approx(0.02 * np.sqrt(2))


# --- where runs say something ----------------------------------------------------------------------------------------


def reached(settings: pd.DataFrame, points: pd.DataFrame, failed: list[int] | None = None) -> list[bool]:
    bad = np.zeros(len(settings), dtype=bool)
    bad[failed or []] = True
    return [bool(one) for one in known(points, settings, bad, Coding.of(settings, NUMERIC))]


def test_the_inside_of_a_cross_is_not_known_and_its_arms_are() -> None:
    settings = cross()
    inside = pd.DataFrame({"peak": [0.9, 2.0, 0.5, 1.1], "replay": [0.04, 0.1, 0.1, 0.06]})
    assert not any(reached(settings, inside))
    along = pd.DataFrame({"peak": [0.7, 1.0, 3.0], "replay": [0.05, 0.2, 0.05]})
    assert all(reached(settings, along))
    assert all(reached(settings, settings))
    assert near(inside, settings, Coding.of(settings, NUMERIC)).all()  # which is why nearness is not enough


def test_one_arm_in_a_corner_does_not_tell_the_inside_of_a_cross() -> None:
    settings = pd.concat([cross(), pd.DataFrame({"peak": [2.0], "replay": [0.1]})], ignore_index=True)
    assert reached(settings, pd.DataFrame({"peak": [1.5, 0.5], "replay": [0.08, 0.01]})) == [True, False]


def test_a_grid_is_known_inside_and_not_outside() -> None:
    assert all(reached(GRID, GRID))
    inside = product(peak=(0.3, 1.7, 7.0), replay=(0.02, 0.3))
    assert all(reached(GRID, inside))
    outside = pd.DataFrame({"peak": [0.2, 9.0, 1.0], "replay": [0.05, 0.05, 0.6]})
    assert not any(reached(GRID, outside))


def test_beside_an_arm_that_failed_nothing_is_known() -> None:
    failed = GRID.index[(GRID.peak == 1) & (GRID.replay == 0.05)].tolist()
    points = pd.DataFrame({"peak": [1.0, 1.2, 1.8], "replay": [0.05, 0.05, 0.05]})
    assert reached(GRID, points, failed) == [False, False, True]


@pytest.mark.parametrize("freedom", [1.0, 2.0, 30.0])
def test_no_run_is_surer_than_its_mean(freedom: float) -> None:
    """A mean of few degrees of freedom has long tails, beside which the noise of a run is well known."""
    outlook = Outlook(*(np.array([value]) for value in (0.15, 0.005, freedom, 0.008, 14.0)))
    (low, high), (lowest, highest) = outlook.mean_interval()[:, 0], outlook.run_interval()[:, 0]
    assert lowest <= low < high <= highest
    assert outlook.below(0.175)[0] <= outlook.below(0.175, run=False)[0]
    assert outlook.below(0.125)[0] >= outlook.below(0.125, run=False)[0]
    assert outlook.below(float(outlook.reached(0.9)[0]))[0] == pytest.approx(0.9)
