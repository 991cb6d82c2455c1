"""What R2, R6 and R8 look at, on planted runs: as claimed, against it, with too few seeds, without the arms."""

from __future__ import annotations

import math

import pytest

from analysis.measures.rules import CONTRADICTED, INCONCLUSIVE, REPRODUCED, UNTESTABLE
from tests.measures.planted import DENSE, SAME, SCRATCH, STRONG, WEAK, Arm, Curve, judged, planted


def from_scratch(curve: Curve) -> list[Arm]:
    return [(WEAK | SCRATCH | {"curve": curve}, 4.0, 3.0)]


def test_a_slope_is_that_of_the_second_half() -> None:
    down = judged(planted(from_scratch(lambda h: -0.2 * math.log(h)), h=DENSE), "R6")
    assert down.verdict == REPRODUCED, down.why
    assert down.settled is not None
    assert down.settled.contrast.mean == pytest.approx(-0.2, abs=0.01)
    assert down.changes == 0
    turned = judged(planted(from_scratch(lambda h: abs(h - 0.5)), h=DENSE), "R6")
    assert turned.verdict == CONTRADICTED, "it falls at first, and rises after h = .5"


def test_a_slope_takes_runs_from_scratch_under_a_weak_shift() -> None:
    few = judged(planted(from_scratch(lambda h: -0.2 * math.log(h)), seeds=range(10, 13), h=DENSE), "R6")
    assert few.verdict == INCONCLUSIVE
    assert "3 of its 10 seeds are there, which alone are reproduced" in few.why
    strong = judged(planted([(STRONG | SCRATCH, 4.0, 3.0)]), "R6")
    assert (strong.verdict, strong.claim.command) == (
        UNTESTABLE,
        "python -m harness.sweep scalable_weak seed=10,11,12,13,14,15,16,17,18,19",
    )
    assert "systems to python: no weak shift" in strong.why
    assert "no run of training from scratch" in judged(planted([(WEAK, 4.0, 3.0)]), "R6").why


def together(power: float, wave: float = 0.0) -> list[Arm]:
    """Same-data runs whose second corpus follows the first, as its power, but for waves."""
    return [
        (
            SAME
            | {
                "peak": peak,
                "curve": lambda h: 0.4 * (1 - h),
                "further": {"python": lambda h: 3 + power * 0.4 * (1 - h) + wave * math.sin(60 * h)},
            },
            3.0,
            0.0,
        )
        for peak in (0.5, 1.0, 2.0)
    ]


def test_perplexities_move_together_where_they_do() -> None:
    linear = judged(planted(together(0.8), h=DENSE), "R8")
    assert (linear.verdict, len(linear.parts)) == (REPRODUCED, 3), linear.why
    waves = judged(planted(together(0.2, wave=0.2), h=DENSE), "R8")
    assert waves.verdict == CONTRADICTED
    few = judged(planted(together(0.8), seeds=range(10, 12), h=DENSE), "R8")
    assert few.verdict == INCONCLUSIVE


def test_perplexities_take_a_second_corpus_that_is_measured() -> None:
    arms = [({**knobs, "further": {}}, U, V) for knobs, U, V in together(0.8)]
    found = judged(planted(arms, h=DENSE), "R8")
    assert (found.verdict, found.claim.command.split()[3]) == (UNTESTABLE, "rewarm_same_data")
    assert "no second corpus is measured" in found.why


def test_a_spike_is_looked_for_only_where_it_could_be_seen() -> None:
    def spiked(high: float) -> Curve:
        return lambda h: high if h < 0.015 else 0.1

    def arms(none: float, long: float) -> list[Arm]:
        return [({"warmup": share, "curve": spiked(high)}, 4.5, 2.5) for share, high in ((0, none), (0.02, long))]

    assert judged(planted(arms(0.9, 0.3), h=DENSE), "R2").verdict == REPRODUCED
    assert judged(planted(arms(0.3, 0.9), h=DENSE), "R2").verdict == CONTRADICTED
    sparse = judged(planted(arms(0.9, 0.3)), "R2")
    assert sparse.verdict == UNTESTABLE
    assert "2 evaluations up to h = .05, and it takes 20" in sparse.why
