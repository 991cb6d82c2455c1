"""What S6, S7 and S9 to S11 look at, on planted runs: as claimed, against it, with too few seeds, without the arms."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.measures.rules import CONTRADICTED, INCONCLUSIVE, REPRODUCED, UNTESTABLE
from tests.measures.planted import SAME, SCRATCH, STRONG, WEAK, Arm, also, judged, planted

INFINITE = ("infinite_cosine", "infinite_inv_sqrt")


def schedules(more: float = 0.0, again: float = 0.0, rise: float = 0.0) -> list[Arm]:
    """Parts of one corpus; `more`: what infinite schedules lose to a cosine; `again`: what cosines for each part lose
    to one; `rise`: from part to part."""
    arms: list[Arm] = []
    for many in (1, 2, 3):
        own = SCRATCH | SAME | {"run_tokens": 1000 * many}
        loss = 4.0 + rise * many
        arms += [(own | {"schedule": name}, loss + more, 0.0) for name in INFINITE]
        arms += [(own, loss, 0.0)]
        arms += [(own | {"schedule": "+".join(["cosine"] * many)}, loss + again, 0.0)] if many > 1 else []
    return arms


def test_infinite_schedules_are_as_good_where_they_lose_nothing() -> None:
    found = judged(planted(schedules()), "S6")
    assert (found.verdict, len(found.parts)) == (REPRODUCED, 2 * (3 + 2)), found.why
    assert judged(planted(schedules(more=-0.1)), "S6").verdict == REPRODUCED
    assert judged(planted(schedules(more=0.05)), "S6").verdict == CONTRADICTED
    assert judged(planted(schedules(again=-0.05)), "S6").verdict == CONTRADICTED
    noisy = judged(planted(schedules(), noise=0.03), "S6")
    assert noisy.verdict == INCONCLUSIVE
    assert "could have told" in noisy.why
    lacking = judged(planted([arm for arm in schedules() if arm[0]["run_tokens"] < 3000]), "S6")
    assert (lacking.verdict, "over 3e+03 tokens" in lacking.why) == (UNTESTABLE, True)
    assert lacking.claim.command.startswith("python -m harness.sweep scalable_infinite seed=10,")


def test_what_is_forgotten_over_a_boundary_is_the_loss_after_the_second_part() -> None:
    assert judged(planted(schedules(rise=-0.1)), "S7").verdict == REPRODUCED
    risen = judged(planted(schedules(rise=0.1)), "S7")
    assert risen.verdict == CONTRADICTED
    assert risen.settled is not None
    assert risen.settled.contrast.mean == pytest.approx(0.1, abs=0.01)
    assert judged(planted(schedules(rise=-0.1), seeds=(10, 11, 12)), "S7").verdict == INCONCLUSIVE


def test_corpora_in_sequence_stand_beside_and_have_no_verdict() -> None:
    systems = SCRATCH | {"upstream": "systems", "downstream": "systems"}
    arms = [*schedules(), *((systems | {"schedule": name}, 4.0, 0.0) for name in (*INFINITE, "cosine"))]
    of_two = SCRATCH | WEAK | {"run_tokens": 2000, "replay": 0.5}
    arms += [(of_two | {"schedule": name}, 4.7, 3.5) for name in (*INFINITE, "cosine+cosine")]
    found = judged(planted(arms, noise=0.0), "S7")
    assert found.verdict != CONTRADICTED
    assert [line.partition(":")[0] for line in found.beside] == [
        f"systems to science, {name}" for name in (*INFINITE, "cosine+cosine")
    ]
    assert all("U +0.700 since part 1" in line for line in found.beside), found.beside


def kept(U: float, V: float) -> list[Arm]:
    return [({}, 4.5, 2.5), ({"optimizer_state": "keep"}, 4.5 + U, 2.5 + V)]


def test_a_kept_optimizer_ends_alike_only_within_both_margins() -> None:
    assert judged(planted(kept(0.02, 0.01)), "S9").verdict == REPRODUCED  # .05 of 1.5, .02 of 2.5
    assert judged(planted(kept(0.3, 0.0)), "S9").verdict == CONTRADICTED
    assert judged(planted(kept(0.0, -0.2)), "S9").verdict == CONTRADICTED
    lacking = judged(planted(kept(0.0, 0.0)[:1]), "S9")
    assert (lacking.verdict, "no run of w1 with optimizer_state=keep" in lacking.why) == (UNTESTABLE, True)
    assert lacking.claim.command.startswith("python -m harness.sweep scalable_optimizer seed=10,")


def sizes(slope: float, helped: float, of: tuple[float, ...] = (3e4, 1e5, 3e5, 6e5)) -> list[Arm]:
    return [
        ({"model": f"of {N:g}", "N": N, "replay": share}, 4.5 + slope * np.log(N / 1e5) - helped * (share > 0), 2.5)
        for N in of
        for share in (0.0, 0.05)
    ]


def test_larger_models_forget_less_by_the_slope_over_sizes() -> None:
    seeds = range(10, 15)
    found = judged(planted(sizes(-0.1, 0.3), seeds), "S10")
    assert (found.verdict, len(found.parts)) == (REPRODUCED, 5), found.why
    (slope,) = (part for part in found.parts if "slope" in part.contrast.name)
    assert slope.contrast.mean == pytest.approx(-0.1, abs=0.01)
    assert judged(planted(sizes(0.1, 0.3), seeds), "S10").verdict == CONTRADICTED
    assert judged(planted(sizes(-0.1, -0.3), seeds), "S10").verdict == CONTRADICTED
    assert judged(planted(sizes(0.0, 0.3), seeds), "S10").verdict == INCONCLUSIVE
    two = judged(planted(sizes(-0.1, 0.3, of=(3e4, 1e5)), seeds), "S10")
    assert (two.verdict, "2 sizes with and without 5% replay, and it takes 3" in two.why) == (UNTESTABLE, True)
    assert two.claim.command == "python -m harness.sweep scalable_sizes seed=10,11,12,13,14"


def domains(worse: float) -> list[Arm]:
    """By domain and mixed: the mean over sources is worse, though downstream's own corpus is better."""
    mixed = {"python": (0.4, 2.0), "cpp": (0.3, 2.5), "sympy": (0.3, 1.5)}
    staged = dict(mixed, python=(0.4, 1.7), cpp=(0.3, 2.7 + worse / 0.6), sympy=(0.3, 1.7 + worse / 0.6))
    of = {"code_domains": staged, "code_mixed": mixed}
    return [({"shift": name, "sources": sources}, 4.5, 0.0) for name, sources in of.items()]


def test_domains_one_after_the_other_are_judged_by_the_mean_over_sources_as_drawn() -> None:
    worse = judged(planted(domains(0.1)), "S11")
    assert worse.settled is not None
    assert worse.settled.contrast.mean == pytest.approx(0.1, abs=0.01)
    assert (worse.settled.verdict, worse.verdict) == (REPRODUCED, INCONCLUSIVE)
    assert "not looked at: merging" in worse.why
    assert judged(planted(domains(-0.1)), "S11").verdict == CONTRADICTED
    lacking = judged(planted(domains(0.1)[:1]), "S11")
    assert (lacking.verdict, "no runs of code_domains and code_mixed" in lacking.why) == (UNTESTABLE, True)


def test_several_sources_are_no_arm_of_one_of_them() -> None:
    """Code in three kinds reads as w1 of python, but for its sources."""
    found = judged(planted([*kept(0.0, 0.0), *domains(0.1)]), "S9")
    assert found.verdict == REPRODUCED
    assert {part.contrast.name.partition(":")[0] for part in found.parts} == {"docs to python"}


def test_models_and_lengths_are_not_mixed() -> None:
    arms = [*kept(0.0, 0.0), *also({"run_tokens": 5000}, kept(3.0, 3.0)[:1]), ({"model": "large", "N": 1e7}, 9.0, 9.0)]
    assert judged(planted(arms), "S9").verdict == REPRODUCED
    assert judged(planted([*also(STRONG, kept(0.0, 0.0)), *kept(0.5, 0.0)]), "S9").verdict == CONTRADICTED
