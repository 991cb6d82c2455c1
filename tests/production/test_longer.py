"""A production run longer than the runs: how planted peaks and forgetting move with tokens is found, and applied."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.answers.answer import EXTRAPOLATED
from analysis.decide.arms import arms_of
from analysis.decide.decision import Question
from analysis.decide.page import document
from analysis.production.lengths import drift_of_curves, drift_of_lengths, lengths_of
from analysis.production.longer import EXPONENT, longer_run, with_longer
from analysis.report.decision_lines import lines
from tests.decide.planted import BASE, Truth, product

LENGTHS = (600_000, 1_200_000, 2_400_000)
SETTINGS = product(peak=(0.25, 0.5, 1.0, 2.0, 4.0, 8.0), replay=(0.01, 0.1, 0.5))
NONE = pd.DataFrame({"run": []})
BEST_ADAPTATION = Question({}, weights=(0.0, 1.0))


def ends(lengths: tuple[int, ...], exponent: float = 0.0, drift: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Runs of several lengths: the best peak is D^exponent, forgetting grows by `drift` when D grows by e."""
    random = np.random.default_rng(seed)
    truth = replace(Truth.drawn(random), best=0.5, quiet=0.004, louder=0.1)
    found = []
    for tokens in lengths:
        fold = np.log(tokens / LENGTHS[0])
        own = replace(truth, best=truth.best + exponent * fold, level=truth.level + drift * fold)
        found.append(own.ends(SETTINGS, 2, random).assign(run_tokens=tokens))
    table = pd.concat(found, ignore_index=True)
    return table.assign(run=[f"run{k}" for k in range(len(table))])


@pytest.mark.parametrize("exponent", [-0.32, 0.0, 0.2])
def test_the_exponent_of_the_best_peak_is_found(exponent: float) -> None:
    grids = lengths_of(ends(LENGTHS, exponent), None, "one")
    assert len(grids) == 3
    found, longer = longer_run(grids, BEST_ADAPTATION, 9_600_000, NONE)
    assert found is not None
    assert longer is not None
    assert longer.exponent is not None
    assert longer.exponent.low - 0.05 < exponent < longer.exponent.high + 0.05
    assert longer.exponent.high - longer.exponent.low < 0.5
    assert longer.left is not None
    assert longer.moved == pytest.approx(longer.left * 4**longer.exponent.value)


def test_runs_of_one_length_take_the_exponent_of_a_paper_and_say_so() -> None:
    grids = lengths_of(ends(LENGTHS[:1]), None, "one")
    limit = 0.12 * BASE["docs"]
    question = Question({"docs": limit})
    found, longer = longer_run(grids, question, 1_800_000, NONE)
    assert found is not None
    assert longer is not None
    assert (longer.exponent, longer.drift, longer.a) == (None, None, EXPONENT)
    assert longer.left is not None
    assert longer.moved == pytest.approx(longer.left * 3**EXPONENT)
    told = with_longer(document(found), longer, question)
    assert told["verdict"] == EXTRAPOLATED
    assert told["for_tokens"]["exponent_interval"] is None
    shown = lines(told, "docs", "code")
    assert shown[0].startswith("EXTRAPOLATED: 1.8M tokens are 3 times the 600k of the runs; peak ")
    assert "(2409.19913, of pre-training from scratch; not measured here)" in shown[0]
    assert shown[1].startswith("of runs of 600k tokens: train with")
    assert any(line.startswith("  to know it, run two further lengths") for line in shown)


def test_what_a_wrong_peak_costs_is_read_off_the_surface() -> None:
    """By the planted adaptation, whose price of a peak is 0.06 (log peak - best)^2."""
    grids = lengths_of(ends(LENGTHS[:1]), None, "one")
    _, longer = longer_run(grids, BEST_ADAPTATION, 2_400_000, NONE)
    assert longer is not None
    away = EXPONENT * np.log(4)
    for name in ("too_high", "too_low"):
        risk = longer.risks[name]
        assert risk["known"]
        assert risk["adaptation"] == pytest.approx(-0.06 * away**2, abs=0.01)
    _, far = longer_run(grids, BEST_ADAPTATION, 20_000_000_000, NONE)
    assert far is not None
    assert [risk["known"] for risk in far.risks.values()] == [False, False]


def test_limits_are_tightened_by_what_forgetting_grows() -> None:
    grids = lengths_of(ends(LENGTHS, drift=0.05), None, "one")
    drift = drift_of_lengths(grids)
    assert drift is not None
    assert drift.means["docs"] == pytest.approx(0.05, abs=0.01)
    assert drift.number == len(SETTINGS)
    limit = 0.2 * BASE["docs"]
    found, longer = longer_run(grids, Question({"docs": limit}), 9_600_000, NONE)
    assert found is not None
    assert longer is not None
    assert found.question.limits["docs"] == pytest.approx(limit - 0.05 * np.log(4), abs=0.02)
    assert "the limit is tightened" in longer.why
    told = with_longer(document(found), longer, Question({"docs": limit}))
    assert told["question"]["limits"]["docs"]["nats"] == limit


def test_the_length_of_the_runs_is_no_extrapolation() -> None:
    grids = lengths_of(ends(LENGTHS[:1]), None, "one")
    found, longer = longer_run(grids, BEST_ADAPTATION, 610_000, NONE)
    assert found is not None
    assert longer is None


def test_curves_inside_of_a_decay_tell_nothing_and_those_at_a_constant_rate_do() -> None:
    table = ends(LENGTHS[:1])
    grid = arms_of(table)
    D = np.linspace(1e5, 6e5, 11)
    rows = [
        pd.DataFrame({"run": run, "corpus": corpus, "D": D, "loss": 3 + slope * np.log(D), "windows": 64})
        for run in table.run[:3]
        for corpus, slope in (("docs", 0.1), ("code", -0.2))
    ]
    curves = pd.concat(rows, ignore_index=True)
    assert drift_of_curves(curves.assign(schedule="cosine"), grid) is None
    drift = drift_of_curves(curves.assign(schedule="warmup_constant"), grid)
    assert drift is not None
    assert drift.means == pytest.approx({"docs": 0.1, "code": 0.2})
    assert (drift.number, drift.of_curves) == (3, True)
