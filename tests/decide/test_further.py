"""Further runs are worth most where the decision is in doubt."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.decide.arms import arms_of
from analysis.decide.decision import Decision, Question, decide
from analysis.decide.further import _chosen, _settings
from tests.decide.planted import BASE, Truth, product


def proposed(found: Decision, count: int) -> tuple[pd.DataFrame, list[float]]:
    settings = _settings(found)
    chosen, regrets = _chosen(found, settings, count)
    return settings.iloc[chosen], [float(one) for one in regrets]


def decided(truth: Truth, settings: pd.DataFrame, random: np.random.Generator, share: float) -> Decision:
    found = decide(arms_of(truth.ends(settings, 2, random)), Question({"docs": share * BASE["docs"]}))
    assert found is not None
    return found


def test_regret_falls_with_every_run() -> None:
    random = np.random.default_rng(0)
    found = decided(Truth.drawn(random), product(peak=(0.5, 1.0, 4.0), replay=(0.0, 0.05, 0.5)), random, 0.1)
    _, regrets = proposed(found, 4)
    assert (np.diff(regrets) <= 0).all()
    assert regrets[4] < 0.8 * regrets[0]


def test_runs_are_proposed_where_the_limit_lies() -> None:
    """Of many truths most proposals are settings whose forgetting is near the limit: not the far corners."""
    near = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        truth = Truth.drawn(random)
        settings = product(peak=(0.5, 1.0, 2.0, 4.0), replay=(0.0, 0.05, 0.25))
        away = np.abs(truth.forgetting(settings) - 0.1 * BASE["docs"])
        runs, _ = proposed(decided(truth, settings, random, 0.1), 2)
        near += (np.abs(truth.forgetting(runs) - 0.1 * BASE["docs"]) < np.median(away)).tolist()
    assert np.mean(near) > 0.6
