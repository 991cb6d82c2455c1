"""Contrasts against closed forms, simulations and the numbers of textbooks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.measures.contrast import (
    Contrast,
    Resampled,
    detectable,
    equivalence_power,
    holm,
    no_worse_power,
    seeds_for,
    share_removed,
    sign_power,
)

VALUES = np.array([0.012, 0.003, 0.009, 0.015, 0.004])


def test_the_interval_and_p_are_those_of_the_paired_t_test() -> None:
    one = Contrast("x", VALUES)
    theirs = stats.ttest_1samp(VALUES, 0.0)
    low, high = theirs.confidence_interval(0.95)
    assert one.interval(0.95) == pytest.approx((low, high), rel=1e-9)
    assert one.p(0.0) == pytest.approx(theirs.pvalue, rel=1e-6)
    assert one.p(0.005) == pytest.approx(stats.ttest_1samp(VALUES, 0.005).pvalue, rel=1e-6)


def test_windows_and_a_typical_sd_widen_it_in_quadrature() -> None:
    plain = Contrast("x", VALUES)
    wider = Contrast("x", VALUES, windows_se=0.002)
    assert wider.half(0.9) == pytest.approx(math.hypot(plain.half(0.9), 0.002 * stats.norm.ppf(0.95)))
    assert Contrast("x", VALUES, typical_sd=0.1).sd == 0.1
    assert Contrast("x", VALUES, typical_sd=1e-9).sd == pytest.approx(VALUES.std(ddof=1))
    assert wider.p(0.0) > plain.p(0.0)
    low, high = wider.interval(1 - wider.p(0.0))
    assert min(abs(low), abs(high)) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("values", [[], [0.3]])
def test_of_fewer_than_two_seeds_nothing_is_known(values: list[float]) -> None:
    one = Contrast("x", np.array(values))
    assert one.half(0.9) == math.inf
    assert one.p(0.0) == 1.0


def test_equal_values_are_as_sure_as_can_be() -> None:
    assert Contrast("x", np.full(3, 0.1)).p(0.0) == 1e-12


def test_holm_adjusts_as_published() -> None:
    """Holm 1979: the smallest times m, the next times m - 1, never falling, at most 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_the_power_of_equivalence_is_that_of_a_simulation_and_of_the_rules() -> None:
    assert equivalence_power(5, 0.01, 0.009) == pytest.approx(0.39, abs=0.01)
    assert equivalence_power(10, 0.01, 0.009) == pytest.approx(0.89, abs=0.01)
    random = np.random.default_rng(0)
    drawn = random.standard_normal((20_000, 4)) * 0.01
    half = stats.t.ppf(0.95, 3) * drawn.std(axis=1, ddof=1) / 2
    inside = np.abs(drawn.mean(axis=1)) + half < 0.02
    assert equivalence_power(4, 0.02, 0.01) == pytest.approx(inside.mean(), abs=0.01)


def test_the_power_of_signs_is_that_of_a_simulation() -> None:
    random = np.random.default_rng(1)
    drawn = 0.01 + random.standard_normal((20_000, 5)) * 0.009
    t = drawn.mean(axis=1) / (drawn.std(axis=1, ddof=1) / math.sqrt(5))
    assert sign_power(5, 0.01, 0.009) == pytest.approx((t > stats.t.ppf(0.975, 4)).mean(), abs=0.01)
    assert no_worse_power(5, 0.01, 0.009) == pytest.approx((t > stats.t.ppf(0.95, 4)).mean(), abs=0.01)


@pytest.mark.parametrize("power", [sign_power, no_worse_power, equivalence_power])
def test_the_seeds_needed_are_the_first_that_suffice(power: object) -> None:
    assert callable(power)
    needed = seeds_for(power, 0.01, 0.012)
    assert needed is not None
    assert power(needed, 0.01, 0.012) >= 0.8 > power(needed - 1, 0.01, 0.012)
    assert power(needed, detectable(power, needed, 0.012), 0.012) == pytest.approx(0.8)
    assert seeds_for(power, 1e-6, 1.0) is None
    assert seeds_for(power, 0.0, 0.01) is None


def test_the_interval_of_a_share_holds_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    held = 0
    for _ in range(2000):
        luck = 0.05 * random.standard_normal(6)
        whole, part = 1.0 + luck, 0.4 + 0.5 * luck + 0.05 * random.standard_normal(6)
        _, interval = share_removed(part, whole, 0.9)
        assert interval is not None
        held += interval[0] <= 0.6 <= interval[1]
    assert held / 2000 == pytest.approx(0.9, abs=0.02)


def test_a_share_of_what_may_be_nothing_has_no_interval() -> None:
    value, interval = share_removed([0.1, -0.1, 0.05], [0.2, -0.3, 0.1], 0.9)
    assert interval is None
    assert math.isfinite(value) or value == math.inf or value == -math.inf


def test_resampled_intervals_are_quantiles_of_the_draws_and_p_agrees() -> None:
    draws = 0.02 + 0.01 * np.random.default_rng(3).standard_normal(999)
    one = Resampled("R2 less .97", draws, unit="runs", estimate=0.021, number=36)
    assert one.interval(0.95) == pytest.approx((0.0004, 0.0396), abs=0.002)
    assert (one.mean, one.n) == (0.021, 36)
    assert one.sd / math.sqrt(36) == pytest.approx(0.01, rel=0.1)  # runs needed follow from it as seeds do
    for bound in (-0.005, 0.01, 0.03, 0.05):
        low, high = one.interval(0.95)
        assert (one.p(bound) < 0.05) == (not low <= bound <= high), bound
    assert one.p(1.0) == 1 / 999
    assert Resampled("x", draws, estimate=0.02, number=1).interval(0.9) == (-math.inf, math.inf)
