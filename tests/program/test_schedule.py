"""Schedules against closed forms written down a second time, and against the papers' golden values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.program import schedule
from harness.program.schedule import (
    NAMES,
    OPEN_ENDED,
    Constant,
    Cosine,
    CosineClipped,
    Exponential,
    InverseSqrt,
    Linear,
    Ramp,
    Schedule,
    Shape,
    lr_at,
)

T, W = 132_366, 1_324  # Ibrahim et al. 2024 at 405M: 300B tokens in batches of 1104 x 2048, 1 % warm-up
TOP, FLOOR, LEVEL = 3e-4, 3e-5, 1.65e-4
PAPER: dict[str, Any] = {"max_lr": TOP, "min_lr": FLOOR, "warmup_steps": W, "horizon_steps": T, "steps": T}
COOLDOWN, ANNEAL = 79_420, 19_855  # 60 % and 15 % of T
INFINITE: dict[str, Any] = {**PAPER, "cooldown_steps": COOLDOWN, "constant_lr": LEVEL, "anneal_steps": ANNEAL}


def pieces(name: str, *, steps: int, **drawn: Any) -> tuple[tuple[Shape, int], ...]:
    return schedule.pieces(Schedule(name, **drawn), steps)


def curve(schedule: tuple[tuple[Shape, int], ...]) -> np.ndarray:
    return np.concatenate([lr_at(shape, np.arange(steps)) for shape, steps in schedule])


def lr(schedule: tuple[tuple[Shape, int], ...], t: int) -> float:
    """The LR after t updates; at the very end, what the last shape would give next."""
    for shape, steps in schedule[:-1]:
        if t < steps:
            return lr_at(shape, t)
        t -= steps
    return lr_at(schedule[-1][0], t)


# ---- golden values of the papers


def test_cosine_has_the_papers_values() -> None:
    cosine = pieces("cosine", **PAPER)
    assert lr(cosine, 0) == 0
    assert lr(cosine, W) == pytest.approx(3e-4, rel=1e-12)
    assert lr(cosine, W + (T - W) // 4) == pytest.approx(2.6046e-4, abs=2e-9)
    assert lr(cosine, W + (T - W) // 2) == pytest.approx(1.65e-4, rel=1e-8)
    assert lr(cosine, T) == pytest.approx(3e-5, rel=1e-12)


def test_gupta_cosine_reaches_its_floor_at_240_of_297_billion_tokens() -> None:
    steps, warmup = 297_000, 2_970  # a million tokens a step, warm-up 1 %
    schedule = pieces("cosine_clipped", max_lr=3e-4, min_lr=3e-5, warmup_steps=warmup, horizon_steps=steps, steps=steps)
    values = curve(schedule)
    at_floor = np.flatnonzero(values[warmup:] == 3e-5) + warmup
    assert at_floor[0] / 1000 == pytest.approx(239.1, abs=0.05)
    assert len(at_floor) == steps - at_floor[0]  # and it stays there
    standard = curve(pieces("cosine", max_lr=3e-4, min_lr=3e-5, warmup_steps=warmup, horizon_steps=steps, steps=steps))
    assert standard[warmup:].min() > 3e-5  # the other cosine reaches it only after its last step


# ---- closed forms


def test_cosine_equals_equation_2_everywhere() -> None:
    t = np.arange(T)
    expected = np.where(t <= W, TOP * t / W, FLOOR + (TOP - FLOOR) / 2 * (np.cos(np.pi * (t - W) / (T - W)) + 1))
    np.testing.assert_allclose(curve(pieces("cosine", **PAPER)), expected, rtol=1e-8)


@pytest.mark.parametrize("floor", [3e-5, 0.0])
def test_cosine_clipped_equals_gpt_neox_before_its_fix(floor: float) -> None:
    def neox(done: int) -> float:
        clamped = min(done, T - W)
        if done <= W:
            return TOP * clamped / W
        return max(TOP / 2.0 * (math.cos(math.pi * (clamped - W) / T) + 1), floor)

    schedule = pieces("cosine_clipped", **{**PAPER, "min_lr": floor, "steps": T + 100})
    for t in [*range(0, T, 997), W - 1, W, W + 1, T - W - 1, T - W, T - W + 1, T - 1, T, T + 99]:
        assert lr(schedule, t) == pytest.approx(neox(t), rel=1e-8)


def test_linear_falls_in_a_straight_line() -> None:
    values = curve(pieces("linear", **PAPER))
    np.testing.assert_allclose(values[W:], np.interp(np.arange(W, T), [W, T], [TOP, FLOOR]), rtol=1e-8)
    np.testing.assert_allclose(values[:W], np.interp(np.arange(W), [0, W], [0, TOP]), rtol=1e-8)


def test_infinite_cosine_has_the_four_phases() -> None:
    t = np.arange(T)
    n = t - W
    last = T - ANNEAL
    cooldown = LEVEL + (TOP - LEVEL) / 2 * (np.cos(np.pi * n / COOLDOWN) + 1)
    anneal = LEVEL * np.exp(-np.log(LEVEL / FLOOR) * (t - last) / ANNEAL)
    expected = np.select([t < W, n < COOLDOWN, t < last], [TOP * t / W, cooldown, np.full(T, LEVEL)], anneal)
    schedule = pieces("infinite_cosine", **INFINITE)
    assert [steps for _, steps in schedule] == [W, COOLDOWN, T - W - COOLDOWN - ANNEAL, ANNEAL]
    np.testing.assert_allclose(curve(schedule), expected, rtol=1e-8)
    assert lr(schedule, T) == pytest.approx(FLOOR, rel=1e-12)


@pytest.mark.parametrize("timescale", [1.0, 10.0])
def test_infinite_inverse_square_root_cools_down_by_h(timescale: float) -> None:
    def h(x: np.ndarray) -> np.ndarray:
        return 1 / np.sqrt(1 + timescale * x) - 1

    n = np.arange(COOLDOWN)
    expected = TOP + (LEVEL - TOP) / h(np.array(1.0)) * h(n / COOLDOWN)
    values = curve(pieces("infinite_inv_sqrt", **INFINITE, timescale=timescale))
    np.testing.assert_allclose(values[W : W + COOLDOWN], expected, rtol=1e-8)
    np.testing.assert_array_equal(values[W + COOLDOWN : T - ANNEAL], LEVEL)


def test_wsd_holds_the_peak_and_falls_linearly_at_the_end() -> None:
    schedule = pieces("wsd", **PAPER, anneal_steps=10_000)
    assert schedule[1:] == ((Constant(TOP), T - W - 10_000), (Linear(TOP, FLOOR, 10_000), 10_000))
    assert lr(schedule, T - 5_000) == pytest.approx(1.65e-4)


def test_constant_has_no_warmup_and_warmup_constant_no_end() -> None:
    assert pieces("constant", **{**PAPER, "max_lr": 3e-5}) == ((Constant(3e-5), T),)
    assert pieces("warmup_constant", **PAPER) == ((Ramp(2.26586103e-07), W), (Constant(TOP), T - W))


# ---- what sharing between runs rests on


def test_a_stopped_run_is_a_prefix_of_the_one_that_goes_on() -> None:
    for name in ("cosine", "cosine_clipped", "linear", "constant", "warmup_constant"):
        whole = pieces(name, **PAPER)
        for steps in (1, W - 1, W, W + 1, T // 6, T - 1):
            short = pieces(name, **{**PAPER, "steps": steps})
            assert short[:-1] == whole[: len(short) - 1]
            assert short[-1][0] == whole[len(short) - 1][0]
            assert short[-1][1] <= whole[len(short) - 1][1]


@pytest.mark.parametrize("name", ["infinite_cosine", "infinite_inv_sqrt", "wsd"])
def test_the_trunk_does_not_depend_on_steps(name: str) -> None:
    anneal = 5_000
    trunk = curve(pieces(name, **{**INFINITE, "steps": 2 * T, "anneal_steps": 0}))
    whole = pieces(name, **{**INFINITE, "steps": 2 * T, "anneal_steps": 0})
    for steps in (W + anneal, W + anneal + 1, T // 3, T, 2 * T):
        branch = pieces(name, **{**INFINITE, "steps": steps, "anneal_steps": anneal})
        np.testing.assert_array_equal(curve(branch)[: steps - anneal], trunk[: steps - anneal])
        assert [shape for shape, _ in branch[:-1]] == [shape for shape, _ in whole[: len(branch) - 1]]
        last, length = branch[-1]
        assert length == anneal
        assert lr_at(last, 0) == pytest.approx(trunk[min(steps - anneal, 2 * T - 1)], rel=1e-8)
        assert lr_at(last, anneal) == pytest.approx(FLOOR, rel=1e-12)


def test_past_the_horizon_the_floor_holds() -> None:
    for name in ("cosine", "linear"):
        schedule = pieces(name, **{**PAPER, "steps": T + 500})
        assert schedule[-1] == (Constant(FLOOR), 500)
    assert pieces("cosine_clipped", **{**PAPER, "steps": T + 500})[-1] == (CosineClipped(TOP, FLOOR, T, W), T - W + 500)
    for shape in (Cosine(2.0, 1.0, 10), InverseSqrt(2.0, 1.0, 10), Exponential(2.0, 1.0, 10), Linear(2.0, 1.0, 10)):
        assert lr_at(shape, 0) == pytest.approx(2, rel=1e-15)
        assert lr_at(shape, 10) == lr_at(shape, 10_000) == pytest.approx(1, rel=1e-15)
        np.testing.assert_allclose(lr_at(shape, np.array([10, 11, 99])), 1, rtol=1e-15)


def test_pieces_sum_to_steps_and_none_is_empty() -> None:
    rng = np.random.default_rng(0)
    for name in sorted(NAMES):
        for _ in range(200):
            warmup, cooldown, anneal, extra = (int(x) for x in rng.integers(0, 6, 4))
            given: dict[str, Any] = {
                **PAPER,
                "warmup_steps": warmup,
                "horizon_steps": int(rng.integers(2 * warmup, 20)) if name not in OPEN_ENDED else 0,
                "steps": warmup + anneal + extra,
            }
            if name in OPEN_ENDED:
                given |= {"cooldown_steps": cooldown, "anneal_steps": anneal, "constant_lr": LEVEL}
            schedule = pieces(name, **given)
            assert sum(steps for _, steps in schedule) == given["steps"]
            assert all(steps > 0 for _, steps in schedule)
            values = curve(schedule) if schedule else np.zeros(0)
            assert np.all((values >= 0) & (values <= TOP * (1 + 1e-8)))


def test_lrs_written_differently_give_equal_shapes() -> None:
    one = pieces("cosine", **{**PAPER, "max_lr": 0.1 + 0.2, "min_lr": 0.03})
    assert one == pieces("cosine", **{**PAPER, "max_lr": 0.3, "min_lr": 0.1 * 0.3})


def test_no_cooldown_and_no_warmup_leave_no_trace() -> None:
    schedule = pieces("infinite_cosine", **{**INFINITE, "warmup_steps": 0, "cooldown_steps": 0})
    assert schedule == ((Constant(LEVEL), T - ANNEAL), (Exponential(LEVEL, FLOOR, ANNEAL), ANNEAL))


# ---- ints and arrays


def test_ints_and_arrays_agree() -> None:
    n = np.arange(0, 300, 7)
    for name in sorted(NAMES):
        given: dict[str, Any] = {"max_lr": TOP, "min_lr": FLOOR, "warmup_steps": 20, "horizon_steps": 200}
        for shape, _ in pieces(name, **given, steps=250, cooldown_steps=60, constant_lr=LEVEL, anneal_steps=50):
            many = lr_at(shape, n)
            assert many.dtype == np.float64
            assert many.shape == n.shape
            one = [lr_at(shape, int(i)) for i in n]
            assert all(type(value) is float for value in one)
            np.testing.assert_allclose(many, one, rtol=1e-13)


# ---- refusals


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("cosin", {}, "schedule=cosin"),
        ("cosine", {"max_lr": 0.0}, "lr=0"),
        ("cosine", {"max_lr": float("nan")}, "lr=nan"),
        ("constant", {"max_lr": -1e-3}, "lr=-"),
        ("cosine", {"min_lr": 4e-4}, "min_lr"),
        ("linear", {"min_lr": float("nan")}, "min_lr"),
        ("cosine", {"warmup_steps": -1}, "warmup"),
        ("cosine", {"warmup_steps": T + 1}, "warmup"),
        ("linear", {"warmup_steps": T + 1}, "warmup"),
        ("cosine_clipped", {"warmup_steps": T // 2 + 1}, "warmup"),
        ("infinite_cosine", {"constant_lr": None}, "constant_lr"),
        ("infinite_cosine", {"constant_lr": 4e-4}, "constant_lr"),
        ("infinite_inv_sqrt", {"timescale": 0.0}, "timescale"),
        ("infinite_cosine", {"min_lr": 0.0}, "min_ratio"),
        ("infinite_cosine", {"min_lr": 2e-4}, "min_lr"),
        ("infinite_cosine", {"steps": W + ANNEAL - 1}, "anneal"),
        ("wsd", {"steps": W + ANNEAL - 1}, "anneal"),
        ("wsd", {"steps": ANNEAL - 1, "warmup_steps": 0}, "anneal"),
    ],
)
def test_what_cannot_be_is_refused_by_name(name: str, change: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=field):
        pieces(name, **{**INFINITE, **change})
