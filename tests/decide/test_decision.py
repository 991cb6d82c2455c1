"""A decision against planted surfaces: what it says of itself is true, and where nothing is known it is silent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from analysis.answers.answer import EXTRAPOLATED, NONE, SUPPORTED
from analysis.decide.arms import arms_of
from analysis.decide.coding import Coding
from analysis.decide.decision import Decision, Question, answer, at_points, decide, front, model_of
from analysis.decide.forecast import missed
from analysis.decide.noise import single
from analysis.decide.page import best_measured, document
from analysis.decide.surface import Form, Surface
from tests.decide.planted import BASE, PEAKS, REPLAYS, Truth, cross, product

GRID = product(peak=PEAKS, replay=REPLAYS)


def decided(ends: pd.DataFrame, share: float | None, **more: Any) -> Decision:
    grid = arms_of(ends)
    limits = {} if share is None else {"docs": share * grid.base["docs"]}
    found = decide(grid, Question(limits, **more))
    assert found is not None
    return found


def recommended(found: Decision) -> pd.DataFrame:
    assert found.at is not None
    return found.points.settings.iloc[[found.at]]


def judged(seed: int, cells: int, seeds: int) -> dict[str, list[float]]:
    """One planted truth, known from some cells of the grid: coverage, calibration and regret of some questions."""
    random = np.random.default_rng(seed)
    truth = Truth.drawn(random)
    settings = GRID.iloc[np.sort(random.choice(36, cells, replace=False))].reset_index(drop=True)
    model = model_of(arms_of(truth.ends(settings, seeds, random)))
    assert model is not None
    found: dict[str, list[float]] = {name: [] for name in ("mean", "run", "said", "true", "regret", "picked")}
    points = at_points(model, GRID, Question({}))
    at = points.settings
    for outlook, mean, scale in (
        (points.forgetting["docs"], truth.forgetting(at), 1.0),
        (points.adaptation, truth.adaptation(at), 0.6),
    ):
        drawn = mean + scale * truth.noise(at) * random.standard_normal(len(at))
        for name, (low, high), value in (
            ("mean", outlook.mean_interval(), mean),
            ("run", outlook.run_interval(), drawn),
        ):
            found[name] += ((low <= value) & (value <= high))[points.known].astype(float).tolist()
    within = truth.forgetting(GRID)[:, None] + norm.ppf(0.9) * truth.noise(GRID)[:, None]
    for share in random.choice(np.linspace(0.02, 0.4, 20), 3, replace=False):
        limit = share * BASE["docs"]
        decision = answer(model, Question({"docs": limit}))
        picked = best_measured(model, decision.question)
        if not decision.answered or picked is None or not (within <= limit).any():
            continue
        own = recommended(decision)
        best = truth.adaptation(GRID)[within[:, 0] <= limit].max()
        found["said"].append(float(decision.points.kept[decision.at]))
        found["true"].append(float(norm.cdf((limit - truth.forgetting(own)) / truth.noise(own))[0]))
        found["regret"].append(float(best - truth.adaptation(own)[0]))
        found["picked"].append(float(best - truth.adaptation(settings)[picked]))
    return found


def summed(tables: int, cells: int, seeds: int, first: int) -> dict[str, float]:
    every = [judged(first + k, cells, seeds) for k in range(tables)]
    return {name: float(np.mean([value for one in every for value in one[name]])) for name in every[0]}


def test_what_is_said_is_true() -> None:
    found = summed(tables=6, cells=16, seeds=3, first=0)
    assert found["mean"] > 0.8
    assert found["run"] > 0.8
    assert found["true"] > found["said"] - 0.06
    assert found["regret"] < found["picked"]


@pytest.mark.slow
@pytest.mark.parametrize(("cells", "seeds"), [(9, 2), (16, 3), (36, 2), (16, 1)])
def test_what_is_said_is_true_over_many_tables(cells: int, seeds: int) -> None:
    found = summed(tables=30, cells=cells, seeds=seeds, first=1000)
    assert found["mean"] > 0.85
    assert found["run"] > 0.85
    assert found["true"] > found["said"] - 0.03
    assert found["true"] > 0.9
    assert found["regret"] < 0.012
    assert found["regret"] < found["picked"] + 0.002


@pytest.mark.slow
def test_intervals_of_cells_without_runs_hold_near_no_replay() -> None:
    """Where candidates that predict the arms as well are far from each other: at no replay, and at its first value."""
    held = []
    for seed in range(40):
        random = np.random.default_rng(1000 + seed)
        truth = Truth.drawn(random)
        settings = GRID.iloc[np.sort(random.choice(36, 16, replace=False))].reset_index(drop=True)
        model = model_of(arms_of(truth.ends(settings, 2 + seed % 2, random)))
        assert model is not None
        points = at_points(model, GRID, Question({}))
        at = points.settings
        seen = at.merge(settings, how="left", indicator=True)["_merge"].eq("both").to_numpy()
        low, high = points.forgetting["docs"].mean_interval()
        mean = truth.forgetting(at)
        held += ((low <= mean) & (mean <= high))[points.known & ~seen & (at.replay < 0.02).to_numpy()].tolist()
    assert len(held) > 100
    assert 0.8 < np.mean(held) < 0.97


def test_a_cross_is_not_answered_inside() -> None:
    """The best setting under the limit lies inside of the cross; what is recommended lies on one of its arms."""
    random = np.random.default_rng(4)
    truth = Truth.drawn(random)
    found = decided(truth.ends(cross(), 3, random), 0.1)
    settings = found.points.settings
    assert ((settings.peak == 1) | (settings.replay == 0.05)).all()
    wide = decided(truth.ends(cross(), 3, random), 0.1, extrapolate=True)
    own = recommended(wide)
    assert own.peak.item() != 1
    assert own.replay.item() != 0.05
    assert wide.verdict.kind == EXTRAPOLATED
    assert wide.verdict.line.startswith("EXTRAPOLATED: the runs do not reach this setting")


def test_no_setting_keeps_it_and_what_to_try_is_told() -> None:
    random = np.random.default_rng(5)
    truth = replace(Truth.drawn(random), level=0.4)
    found = decided(truth.ends(product(peak=(1.0, 2.0, 4.0), replay=(0.0, 0.05, 0.25)), 3, random), 0.01)
    assert found.verdict.kind == NONE
    told = document(found)
    assert told["recommended"] is None
    assert told["closest"]["knobs"] == {"peak": 1.0, "replay": 0.25}
    assert "no measured run keeps it; the nearest, peak 1, replay 0.25, raises docs by" in told["why"][0]
    assert told["why"][0].endswith("try peak below 1 or replay above 0.25")


def test_the_next_run_is_less_sure_than_the_mean() -> None:
    random = np.random.default_rng(6)
    truth = Truth.drawn(random)
    found = decided(truth.ends(GRID, 3, random), 0.1)
    points = found.points
    likely = points.mean_kept > 0.5
    assert (points.kept <= points.mean_kept + 0.02)[likely].all()
    assert (points.adaptation.run_interval()[1] >= points.adaptation.mean_interval()[1]).all()


def test_more_confidence_costs_adaptation() -> None:
    random = np.random.default_rng(7)
    truth = Truth.drawn(random)
    ends = truth.ends(GRID, 3, random)
    reached = [
        decided(ends, 0.08, confidence=p).points.score[decided(ends, 0.08, confidence=p).at] for p in (0.6, 0.99)
    ]
    assert reached[1] <= reached[0] + 0.002


def test_one_knob_is_enough() -> None:
    random = np.random.default_rng(8)
    truth = Truth.drawn(random)
    settings = product(replay=REPLAYS).assign(peak=1.0)
    limit = float(truth.forgetting(pd.DataFrame({"peak": [1.0], "replay": [0.07]}))[0]) + 0.02
    found = decided(truth.ends(settings, 3, random), limit / BASE["docs"])
    assert list(recommended(found)) == ["replay"]
    assert 0.05 < recommended(found).replay.item() < 0.15


def test_a_surface_that_misses_an_arm_is_refused() -> None:
    """A plane through a cliff that is known to a thousandth of a nat."""
    settings = product(peak=PEAKS)
    means = np.where(settings.peak > 1, 1.0, 0.0)
    plane = Form("linear", smooth=False, offset=1.0)
    flat = Surface(plane, Coding.of(settings, ("peak",)), settings, means, 1e-6 * np.eye(6), np.array([-20.0]), (0, 1))
    assert missed(flat, single(0.02, 1, 5.0), np.ones((6, 1))).startswith("it misses the arm of peak 1 by 0.371 nats")
    assert missed(replace(flat, means=settings.peak.to_numpy() * 0), single(0.02, 1, 5.0), np.ones((6, 1))) == ""


def test_without_a_surface_measured_arms_answer() -> None:
    random = np.random.default_rng(9)
    truth = Truth.drawn(random)
    settings = product(peak=(1.0, 2.0), replay=(0.05,))
    model = model_of(arms_of(truth.ends(settings, 3, random)))
    assert model is not None
    assert model.refused == dict.fromkeys(("docs", "code"), "too few settings were run")
    found = answer(model, Question({"docs": 3.0}))
    assert found.verdict.kind == SUPPORTED
    assert len(found.points.settings) == 2
    told = document(found)
    assert "every arm answers by its own mean" in told["notes"]
    assert told["recommended"]["adaptation"]["nats"] == pytest.approx(told["best_measured"]["adaptation"]["nats"])


def test_a_diverged_arm_is_never_the_answer() -> None:
    random = np.random.default_rng(10)
    truth = replace(Truth.drawn(random), best=3.0)  # the higher the peak the better
    ends = truth.ends(GRID, 2, random)
    assert recommended(decided(ends, None, weights=(0.0, 1.0))).peak.item() == 8
    ends.loc[ends.peak == 8, "final docs"] = 9.0
    found = decided(ends, None, weights=(0.0, 1.0))
    assert 4 <= recommended(found).peak.item() < 6
    assert "12 runs failed or diverged: their settings count as no answer" in document(found)["notes"]


def test_where_only_runs_without_replay_are_left_they_answer() -> None:
    random = np.random.default_rng(15)
    ends = Truth.drawn(random).ends(product(peak=PEAKS, replay=(0.0, 0.05)), 2, random)
    ends.loc[ends.replay > 0, "status"] = "failed"
    assert recommended(decided(ends, None)).replay.item() == 0


def test_a_single_setting_answers_for_itself() -> None:
    random = np.random.default_rng(16)
    ends = Truth.drawn(random).ends(product(peak=(1.0,), replay=(0.05,)), 3, random)
    told = document(decided(ends, 0.9))
    assert told["recommended"]["knobs"] == {}
    assert told["recommended"]["p_kept"] > 0.9


def test_the_choice_of_windows_counts_against_a_limit_and_not_between_arms() -> None:
    random = np.random.default_rng(17)
    truth = Truth.drawn(random)
    ends = truth.ends(GRID, 3, random)
    plain, sampled = decided(ends, 0.1), decided(ends.assign(**{"sampling docs": 0.03}), 0.1)
    assert sampled.points.forgetting["docs"].sd.min() >= 0.03
    assert sampled.model.forgetting["docs"].difference_sd(GRID, GRID.iloc[[7]]) == pytest.approx(
        plain.model.forgetting["docs"].difference_sd(GRID, GRID.iloc[[7]])
    )
    assert sampled.points.score[sampled.at] <= plain.points.score[plain.at]


def test_of_equal_settings_the_surest_is_taken() -> None:
    random = np.random.default_rng(11)
    truth = replace(Truth.drawn(random), price=0.0, best=0.0, quiet=0.005, louder=0.0)
    found = decided(truth.ends(GRID, 3, random), 0.2)
    assert found.points.kept[found.at] > 0.97  # replay costs nothing here
    assert found.as_good.sum() > 5


def test_several_limits_hold_together() -> None:
    random = np.random.default_rng(12)
    truth = Truth.drawn(random)
    ends = truth.ends(GRID, 3, random)
    ends["base german"] = 2.0
    ends["final german"] = (
        2.0 + 0.5 * (ends["final docs"] - ends["base docs"]) + 0.002 * random.standard_normal(len(ends))
    )
    grid = arms_of(ends)
    both = decide(grid, Question({"docs": 0.4, "german": 0.1}))
    one = decide(grid, Question({"german": 0.1}))
    assert both is not None
    assert one is not None
    assert both.at is not None
    assert both.points.forgetting["german"].reached(0.9)[both.at] <= 0.1
    assert both.points.score.max() <= one.points.score.max() + 1e-9


def test_a_category_is_told_apart() -> None:
    random = np.random.default_rng(13)
    truth = Truth.drawn(random)
    settings = product(peak=(0.5, 1.0, 2.0), replay=(0.0, 0.05, 0.25))
    cosine = truth.ends(settings, 2, random)
    linear = truth.ends(settings, 2, random).assign(schedule="linear")
    linear["final code"] -= 0.1
    ends = pd.concat([cosine, linear.assign(run=linear.run + "l")], ignore_index=True)
    found = decided(ends, 0.3)
    assert recommended(found).schedule.item() == "linear"
    (worth,) = (one for one in document(found)["knobs"] if one["knob"] == "schedule")
    adapted = {end["value"]: end["adaptation"] for end in worth["ends"]}
    assert adapted["linear"] - adapted["cosine"] == pytest.approx(0.1, abs=0.03)


def test_the_front_holds_what_is_not_beaten() -> None:
    random = np.random.default_rng(14)
    truth = Truth.drawn(random)
    points = decided(truth.ends(GRID, 2, random), None).points
    at = front(points, "docs")
    F, A = points.forgetting["docs"].mean[at], points.adaptation.mean[at]
    assert 3 < len(at) <= 12
    assert (np.diff(F) > 0).all()
    assert (np.diff(A) > 0).all()
    assert not ((points.forgetting["docs"].mean < F[3]) & (points.adaptation.mean > A[3]))[points.known].any()
