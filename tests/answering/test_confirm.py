"""What fresh seeds say: worse than was said is not confirmed, and windows that all runs share are no excuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.answering.confirm import confirmation, stands

TRIES = 3000


def decision(sd_mean: float, sd_run: float, sampling: float = 0.0, limit: float = 9.0) -> dict[str, Any]:
    wide = 1.6448536 * np.hypot(sd_mean, sampling), 1.6448536 * np.sqrt(sd_mean**2 + sampling**2 + sd_run**2)
    said = {"interval_mean": [-wide[0], wide[0]], "interval_run": [-wide[1], wide[1]], "nats": 0.0}
    return {
        "recommended": {"knobs": {"peak": 1.0}, "forgetting": {"docs": said}, "adaptation": said},
        "question": {"limits": {"docs": {"nats": limit}}},
        "surface": {name: {"sampling": sampling} for name in ("docs", "python")},
    }


def runs(forgets: list[float], adapts: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "status": "done",
            "seed": k,
            "downstream": "python",
            "loss": {"docs": 3 + f, "python": 5 - a},
            "base_loss": {"docs": 3, "python": 5},
        }
        for k, (f, a) in enumerate(zip(forgets, adapts, strict=True))
    ]


@pytest.mark.parametrize("sampling", [0.0, 0.3])
def test_the_interval_holds_nine_of_ten(sampling: float) -> None:
    random, inside = np.random.default_rng(0), 0
    before = decision(0.1, 0.2, sampling)
    for _ in range(TRIES):
        truth = 0.1 * random.standard_normal(2)
        fresh = [(one + 0.2 * random.standard_normal(3)).tolist() for one in truth]
        told = confirmation(before, runs(*fresh))
        inside += told["forgetting"]["docs"]["side"] == 0 and told["adaptation"]["side"] == 0
    assert inside / TRIES == pytest.approx(0.9, abs=0.02)


def test_worse_is_not_confirmed_and_better_is() -> None:
    before = decision(0.1, 0.1)
    assert confirmation(before, runs([0.0, 0.05, 0.1], [0.0, 0.1, 0.0]))["confirmed"]
    assert confirmation(before, runs([-1.0, -1.1, -1.2], [1.0, 1.1, 1.2]))["confirmed"]
    worse = confirmation(before, runs([1.0, 1.1, 1.2], [0.0, 0.0, 0.1]))
    assert not worse["confirmed"]
    assert worse["why"] == "docs is forgotten more than was said"
    less = confirmation(before, runs([0.0, 0.1, 0.0], [-1.0, -1.1, -1.2]))
    assert less["why"] == "less is adapted than was said"
    over = confirmation(decision(0.1, 0.1, limit=0.02), runs([0.0, 0.05, 0.1], [0.0, 0.1, 0.0]))
    assert over["why"] == "docs is not kept within its limit"


def test_a_run_that_diverged_confirms_nothing() -> None:
    fresh = runs([0.0, 0.05, 0.1], [0.0, 0.1, 0.0])
    fresh[1]["status"] = "failed"
    told = confirmation(decision(0.1, 0.1), fresh)
    assert (told["confirmed"], told["why"]) == (False, "a fresh run diverged")


def test_it_stands_as_long_as_what_is_recommended_is_as_good() -> None:
    def after(forgets: float, adapts: float, weights: dict[str, float] | None) -> dict[str, Any]:
        point = {"forgetting": {"docs": {"nats": forgets}}, "adaptation": {"nats": adapts}}
        good = {"peak": [1.5, 2.0]}
        return {"recommended": point, "question": {"weights": weights}, "as_good": good}

    told = confirmation(decision(0.1, 0.1), runs([0.0, 0.05, 0.1], [0.0, 0.1, 0.2]))
    assert stands(told, after(0.0, 0.11, None), 0.02)
    assert not stands(told, after(0.05, 0.13, None), 0.02)
    even = {"docs": 1.0, "python": 1.0}
    assert stands(told, after(0.08, 0.13, even), 0.02)  # it adapts .03 more, and forgets .03 more
    assert not stands(told, after(0.05, 0.13, even), 0.02)
    assert not stands(told, {"recommended": None}, 0.02)
    far = after(0.05, 0.5, None)
    assert not stands(told, far, 0.02)
    assert stands(told, {**far, "as_good": {"peak": [0.7, 1.0]}}, 0.02)  # the runs do not tell it from the best
