"""Rules against simulated truths: how often each verdict is given where the claim holds, and where it does not."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from analysis.measures.contrast import Contrast, sign_power
from analysis.measures.rules import (
    CONTRADICTED,
    INCONCLUSIVE,
    REPRODUCED,
    Part,
    combined,
    deciding,
    equal,
    no_worse,
    sign,
)

DELTA, SD, SEEDS = 0.01, 0.006, 8


def drawn(effect: float, rule: object, number: int = 400) -> list[str]:
    """Verdicts on so many experiments of a true effect."""
    assert callable(rule)
    random = np.random.default_rng(0)
    values = effect + SD * random.standard_normal((number, SEEDS))
    return [rule(Contrast("x", one)).verdict for one in values]


def share(verdicts: list[str], verdict: str) -> float:
    return sum(one == verdict for one in verdicts) / len(verdicts)


def test_a_sign_is_claimed_wrongly_as_seldom_as_its_level_says() -> None:
    at_none = drawn(0.0, partial(sign, side=1))
    assert share(at_none, REPRODUCED) == pytest.approx(0.025, abs=0.02)
    assert share(at_none, CONTRADICTED) == pytest.approx(0.025, abs=0.02)
    assert share(drawn(0.02, partial(sign, side=1)), REPRODUCED) > 0.99
    assert share(drawn(0.02, partial(sign, side=-1)), CONTRADICTED) > 0.99


def test_equality_takes_evidence_and_a_wide_interval_is_none() -> None:
    rule = partial(equal, delta=DELTA)
    assert share(drawn(0.0, rule), REPRODUCED) > 0.9
    assert share(drawn(DELTA, rule), REPRODUCED) == pytest.approx(0.05, abs=0.03)
    assert share(drawn(0.03, rule), CONTRADICTED) > 0.99
    assert share(drawn(-0.03, rule), CONTRADICTED) > 0.99
    two = Contrast("x", np.array([-0.02, 0.021]))
    assert equal(two, DELTA).verdict == INCONCLUSIVE


def test_no_worse_allows_better_and_refuses_worse() -> None:
    rule = partial(no_worse, delta=DELTA)
    assert share(drawn(-0.05, rule), REPRODUCED) == 1
    assert share(drawn(DELTA, rule), REPRODUCED) == pytest.approx(0.05, abs=0.03)
    assert share(drawn(0.03, rule), CONTRADICTED) > 0.99


@pytest.mark.parametrize("rule", [partial(sign, side=1), partial(equal, delta=DELTA), partial(no_worse, delta=DELTA)])
def test_p_and_the_verdict_agree(rule: object) -> None:
    assert callable(rule)
    random = np.random.default_rng(1)
    for effect in (-0.02, -0.008, 0.0, 0.004, 0.012):
        for _ in range(40):
            part: Part = rule(Contrast("x", effect + SD * random.standard_normal(SEEDS)))
            below = 0.025 if part.margin is None else 0.05
            assert (part.p < below) == (part.verdict == REPRODUCED), part


def test_one_seed_settles_nothing() -> None:
    found = sign(Contrast("x", np.array([0.5])), 1)
    assert (found.verdict, found.needed) == (INCONCLUSIVE, None)
    assert math.isnan(found.could_tell)


def part(verdict: str, p: float) -> Part:
    return Part(Contrast("x", np.zeros(3)), verdict, (0.0, 0.0), 0.95, None, p, sign_power)


def test_a_claim_of_several_parts_makes_all_of_them() -> None:
    good, open_, bad = part(REPRODUCED, 0.01), part(INCONCLUSIVE, 0.3), part(CONTRADICTED, 0.99)
    assert combined([good, good]) == REPRODUCED
    assert combined([good, open_]) == INCONCLUSIVE
    assert combined([good, open_, bad]) == CONTRADICTED
    assert deciding([good, open_, bad]) is bad
    assert deciding([good, open_]) is open_
    worse = part(REPRODUCED, 0.02)
    assert deciding([good, worse]) is worse
