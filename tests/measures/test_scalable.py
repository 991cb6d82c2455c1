"""What S2 to S5, S8 and X1 look at, on planted runs: as claimed, against it, with too few seeds, without the arms."""

from __future__ import annotations

import pytest

from analysis.measures.rules import CONTRADICTED, INCONCLUSIVE, REPRODUCED, UNTESTABLE
from tests.measures.planted import DENSE, OTHER, SCRATCH, STRONG, WEAK, Arm, Curve, also, judged, planted

REPLAY: list[Arm] = [({"replay": x}, 4.5 - 0.3 * i, 2.5 + 0.02 * i) for i, x in enumerate((0.0, 0.05, 0.25, 0.5))]
LONG = {"run_tokens": 5000}
FIVE = range(10, 15)


def test_forgetting_falls_with_replay_and_a_stronger_shift_forgets_more() -> None:
    less = [(knobs, U - 0.5, V) for knobs, U, V in also(WEAK, REPLAY)]
    found = judged(planted([*less, *also(STRONG, REPLAY)]), "S2")
    assert (found.verdict, found.changes, len(found.parts)) == (REPRODUCED, 0, 7), found.why
    assert any("removes 0.20" in line for line in found.beside), found.beside
    more = [(knobs, U + 0.5, V) for knobs, U, V in also(WEAK, REPLAY)]
    assert judged(planted([*more, *also(STRONG, REPLAY)]), "S2").verdict == CONTRADICTED
    turned = [({**knobs, "replay": 0.5 - knobs["replay"]}, U, V) for knobs, U, V in also(STRONG, REPLAY)]
    assert judged(planted([*less, *turned]), "S2").verdict == CONTRADICTED


def test_two_strong_shifts_say_nothing_of_a_stronger_one() -> None:
    found = judged(planted([*REPLAY, *also(OTHER, REPLAY)]), "S2")
    assert found.verdict == UNTESTABLE
    assert "nothing of a strong shift less a weak one" in found.why
    assert {part.verdict for part in found.parts} == {REPRODUCED}
    assert found.p_adjusted is None


def costs(weak: float, strong: float) -> list[Arm]:
    return [
        *also(WEAK, [({}, 4.0, 3.0), ({"replay": 0.05}, 3.8, 3.0 + weak)]),
        *also(STRONG, [({}, 4.5, 2.5), ({"replay": 0.25}, 4.0, 2.5 + strong)]),
    ]


def test_replay_costs_little_within_the_margin_of_its_shift() -> None:
    assert judged(planted(costs(0.01, 0.1)), "S3").verdict == REPRODUCED  # delta_V .04 and three times .05
    assert judged(planted(costs(0.1, 0.1)), "S3").verdict == CONTRADICTED
    assert judged(planted(costs(0.01, 0.3)), "S3").verdict == CONTRADICTED
    few = judged(planted(costs(0.01, 0.1), seeds=range(10, 14)), "S3")
    assert (few.verdict, "4 of its 10 seeds" in few.why) == (INCONCLUSIVE, True)
    strong = judged(planted(costs(0.01, 0.1)[2:]), "S3")
    assert (strong.verdict, "nothing of weak" in strong.why) == (UNTESTABLE, True)


def baselines(better: float) -> list[Arm]:
    """Continued as long as the base, and the union; `better`: the mean loss of the former."""
    arms: list[Arm] = []
    for shift, share in ((WEAK, 0.05), (STRONG, 0.25)):
        arms += also(shift | LONG, [({}, 3.6, 3.0), ({"replay": share}, 3.4 - better, 3.1 - better)])
        arms += [(shift | SCRATCH | {"replay": 0.5, "run_tokens": 10_000}, 3.4, 3.1)]
        arms += [(shift | SCRATCH | LONG, 4.4, 3.4)]
        arms += [(shift | SCRATCH | {"replay": 0.5, "run_tokens": 2000}, 1.0, 1.0)]  # corpora in sequence, no union
        arms += also(shift, [({}, 2.0, 2.0), ({"replay": share}, 2.0, 2.0)])  # shorter ones, which it is not of
    return arms


def test_continued_runs_match_the_union_of_all_tokens() -> None:
    found = judged(planted(baselines(0.0), FIVE), "S4")
    assert found.verdict == REPRODUCED, found.why
    assert found.settled is not None
    assert found.settled.margin == pytest.approx(0.04, abs=0.002)  # 2 % of what w1 adapts over as many tokens
    assert judged(planted(baselines(-0.3), FIVE), "S4").verdict == CONTRADICTED
    few = judged(planted(baselines(0.0), (10, 11)), "S4")
    assert few.verdict == INCONCLUSIVE
    assert "could have told" in few.why
    without = [arm for arm in baselines(0.0) if arm[0].get("run_tokens") != 10_000]
    found = judged(planted(without, FIVE), "S4")
    assert "no run of the union, for the tokens of both" in found.why
    assert found.claim.command == "python -m harness.sweep scalable_baselines seed=10,11,12,13,14"


def test_continued_runs_beat_scratch_as_long_as_the_base() -> None:
    assert judged(planted(baselines(0.0), FIVE), "S5").verdict == REPRODUCED
    assert judged(planted(baselines(-1.5), FIVE), "S5").verdict == CONTRADICTED
    short = [arm for arm in baselines(0.0) if "run_tokens" not in arm[0]]
    found = judged(planted([*short, *also(SCRATCH | STRONG, [({}, 4.4, 3.4)])], FIVE), "S5")
    assert (found.verdict, "no run of as many tokens as its base" in found.why) == (UNTESTABLE, True)


def spikes(of_shift: float, of_same: float) -> list[Arm]:
    """Upstream losses that rise with the peak early in the run: so much more than the end, at 1x."""

    def rising(high: float) -> Curve:
        return lambda h: high if h < 0.03 else 0.1

    same = {"upstream": "systems", "downstream": "systems"}
    return [
        (shift | {"peak": peak, "curve": rising(high * peak)}, 3.5, 3.0)
        for shift, high in ((WEAK, of_shift), (same, of_same))
        for peak in (0.5, 1.0, 2.0)
    ]


def test_spikes_grow_with_the_peak_and_are_larger_under_a_shift() -> None:
    found = judged(planted(spikes(0.6, 0.3), h=DENSE), "S8")
    assert (found.verdict, len(found.parts)) == (REPRODUCED, 2 + 2 + 2), found.why
    assert judged(planted(spikes(0.3, 0.6), h=DENSE), "S8").verdict == CONTRADICTED
    alone = judged(planted(spikes(0.6, 0.3)[:3], h=DENSE), "S8")
    assert alone.verdict == UNTESTABLE
    assert "nothing of the same data, a shift less the same data" in alone.why


@pytest.mark.parametrize("more", [0.1, -0.1])
def test_peak_and_replay_interact_on_either_side(more: float) -> None:
    arms: list[Arm] = [
        (
            {"peak": peak, "replay": replay},
            4.0 + 0.2 * (peak == 2) - 0.5 * (replay > 0) + more * (peak == 2 and replay > 0),
            2.5,
        )
        for peak in (1.0, 2.0)
        for replay in (0.0, 0.05)
    ]
    found = judged(planted(arms), "X1")
    assert found.verdict == REPRODUCED
    assert found.settled is not None
    assert found.settled.contrast.mean == pytest.approx(more, abs=0.01)
    assert found.settled.contrast.n == 5, "as many seeds as were fixed, though more are there"
