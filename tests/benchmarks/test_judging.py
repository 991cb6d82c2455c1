"""The judging of decisions, on runs whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks import judging

PEAKS, REPLAYS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0), (0.0, 0.01, 0.05, 0.1, 0.25, 0.5)
NOISE = 0.01


def forgets(peak: float, replay: float) -> float:
    return float((0.8 + 0.3 * np.log(4 * peak)) * (replay + 0.02) ** -0.2 / 2)


def adapts(peak: float, replay: float) -> float:
    return float(2.4 - 0.06 * np.log(peak / 1.5) ** 2 - 0.4 * replay)


def ends(seeds: range, settings: list[tuple[float, float]] | None = None) -> pd.DataFrame:
    """As `ends_of_table` gives them."""
    random = np.random.default_rng(min(seeds))
    rows = []
    for peak, replay in settings or [(p, r) for p in PEAKS for r in REPLAYS]:
        for seed in seeds:
            luck = NOISE * random.standard_normal(2)
            rows.append(
                {
                    "run": f"{peak} {replay} {seed}",
                    "status": "done",
                    "model": "mini",
                    "upstream": "docs",
                    "downstream": "python",
                    "base_address": "base",
                    "base_seed": 0,
                    "seed": seed,
                    "peak": peak,
                    "lr": 0.003 * peak,
                    "replay": replay,
                    "last_alone": True,
                    "base docs": 3.6,
                    "final docs": 3.6 + forgets(peak, replay) + luck[0],
                    "base python": 5.7,
                    "final python": 5.7 - adapts(peak, replay) + luck[1],
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def truth() -> judging.Truth:
    return judging.truth_of(ends(range(3)), ends(range(3, 8), [(1.3, 0.07), (3.0, 0.2)]))


@pytest.mark.slow
def test_what_is_true_is_what_the_runs_were_made_with(truth: judging.Truth) -> None:
    at = pd.DataFrame({"peak": [0.7, 1.3, 3.0], "replay": [0.03, 0.07, 0.2]})
    told = truth.at(at)
    assert told.forgets.to_numpy() == pytest.approx([forgets(*row) for row in at.to_numpy()], abs=0.02)
    assert told.adapts.to_numpy() == pytest.approx([adapts(*row) for row in at.to_numpy()], abs=0.02)
    assert told.sd.to_numpy() == pytest.approx(NOISE, rel=0.5)
    assert 0 < truth.missed < 0.02


@pytest.mark.slow
def test_regret_is_what_the_truth_would_have_given_more(truth: judging.Truth) -> None:
    table = judging.judge(truth, ends(range(3)), 2)
    assert len(table) == 2 * judging.QUESTIONS
    answered = table[table.regret.notna()]
    assert len(answered) > 0
    assert (answered.whole >= answered.regret - 1e-12).all()  # the whole grid reaches no less than a part of it
    kept = answered[answered.true >= 0.9]
    assert (kept.regret > -0.01).all()
    assert (table.bands_hold <= table.bands).all()
    told = judging.statistics(table, truth).set_index("name")
    assert told.value["bands of the front that hold"] > 0.5
    assert (told.low <= told.value).all()
    assert (told.value <= told.high).all()
    settings = judging.worth_training(table)
    assert 0 < len(settings) <= judging.TRAINED
