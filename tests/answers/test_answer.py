"""The verdict on an answer: what the data do not support says so, and gives no number that looks like an answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.answers.answer import Answer, check_amounts, check_loss, check_share, limit_of
from analysis.answers.optimise import compute_allocation, critical_share, domain_ability, limited_domain
from analysis.fitting.fit import Fit
from analysis.laws.library import LAWS
from harness.core.errors import InputError
from tests.known_fits import fit_of, scattered
from tests.planted import TRUTH

DCPT = LAWS["dcpt"]
GENERAL = {**TRUTH, "E": 2.0, "C": 0.4}
RANGE = {"N": (5e8, 4e9), "D": (1e8, 2.6e10), "r": (0.0, 1.0)}
AT = {"N": 1.8e9, "D": 1e10}


def pair(draws: int = 30, spread: float = 0.01) -> dict[str, Fit]:
    given = [scattered(DCPT, p, draws, spread, seed) if draws else None for seed, p in enumerate((GENERAL, TRUTH))]
    return {
        "general": fit_of(DCPT, GENERAL, draws=given[0], ranges=RANGE),
        "domain": fit_of(DCPT, TRUTH, draws=given[1], ranges=RANGE),
    }


def share(fits: dict[str, Fit] | None = None, **asked: Any) -> Answer:
    at: dict[str, Any] = {**AT, "tolerance": 0.03, "base_loss": 2.9, **asked}
    fits = fits or pair()
    return domain_ability(fits["general"], fits["domain"], **at)


def test_an_answer_inside_of_the_data_is_supported() -> None:
    verdict = share().verdict()
    assert (verdict.kind, verdict.supported, verdict.line) == ("supported", True, "")


def test_no_answer_leaves_no_number_that_looks_like_one() -> None:
    """Not even where some of the draws have an answer."""
    least = float(DCPT.value(GENERAL, {**AT, "r": 1.0}))
    for base_loss in (1.0, least - 1e-3):
        answer = share(base_loss=base_loss, tolerance=0.0)
        found = answer.document()
        assert (found["verdict"], found["supported"]) == ("no answer", False)
        assert list(found)[:3] == ["verdict", "supported", "why"]
        assert found["why"] == [f"the general loss stays at or above {least:.4f}, its limit is {base_loss:.4f}"]
        numbers = {key: found[key] for key in ("r", "values", "interval", "loss")}
        assert json.dumps(numbers) == (
            '{"r": null, "values": {"r": null}, "interval": null, "loss": {"general": null, "domain": null}}'
        )
    assert answer.share_infeasible is not None
    assert 0 < answer.share_infeasible < 1


def test_how_far_outside_of_the_data_an_answer_is_believed_can_be_said() -> None:
    near, far = share(N=8e9), share(N=8e10)
    assert near.verdict().line == "EXTRAPOLATED: N lies outside the fitted range by a factor of 2"
    assert near.verdict().supported
    assert far.verdict().line == "NOT SUPPORTED: N lies outside the fitted range by a factor of 20"
    assert not far.verdict().supported
    assert far.verdict(within=20).supported
    assert not near.verdict(within=1).supported
    assert far.document()["r"] is not None  # there is one, behind its verdict


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"converged": False}, "the fit of general has not converged"),
        ({"r2": -0.5}, "the fit of general is worse than the mean of its data (R² -0.5)"),
    ],
    ids=["not converged", "worse than the mean"],
)
def test_a_fit_that_is_none_supports_no_answer(change: dict[str, Any], why: str) -> None:
    fits = pair()
    answer = share({**fits, "general": replace(fits["general"], **change)})
    assert answer.verdict().line == f"NOT SUPPORTED: {why}"
    limited = limited_domain(replace(fits["domain"], **change), N=1.8e9, domain_tokens=5e9)
    assert limited.verdict().why == (why.replace("general", "domain"),)


def test_resamples_of_which_most_have_no_fit_support_no_answer() -> None:
    fits = pair()
    draws = scattered(DCPT, GENERAL, 30, 0.01)
    draws[::2] = np.nan
    assert share({**fits, "general": fit_of(DCPT, GENERAL, draws=draws, ranges=RANGE)}).verdict().supported
    draws[1] = np.nan
    half = share({**fits, "general": fit_of(DCPT, GENERAL, draws=draws, ranges=RANGE)})
    assert half.verdict().line == "NOT SUPPORTED: 16 of 30 resamples of general have no fit"


def test_an_interval_that_holds_everything_supports_no_answer() -> None:
    draws = np.array([[{**GENERAL, "E": E}[name] for name in DCPT.parameters] for E in (1.0, 2.0) * 20])
    wide = critical_share(
        fit_of(DCPT, GENERAL, draws=draws, ranges=RANGE),
        base_loss=float(DCPT.value(GENERAL, {**AT, "r": 0.97})),  # at E = 1 any share keeps it, at 2 hardly one
        **AT,
    )
    assert "the interval of r, 0.03 to 1, holds nearly all that can be chosen" in wide.verdict().line
    domain = fit_of(DCPT, TRUTH, draws=abs(scattered(DCPT, TRUTH, 60, 0.4)), ranges=RANGE)
    spread = compute_allocation(domain, flops=1e20, r=0.5)
    assert "spans a factor of" in spread.verdict().line


def test_an_end_that_only_the_search_has_supports_no_answer() -> None:
    """A law of N alone puts all of a budget into N; one whose loss falls with ever more replay never ends its run."""
    endless = fit_of(LAWS["chinchilla"], {"E": 1.0, "A": 0.0, "B": 100.0, "alpha": 0.3, "beta": 0.3}, ranges=RANGE)
    assert "no best size" in compute_allocation(endless, flops=1e20).verdict().line
    thin = fit_of(DCPT, {**TRUTH, "B": 3e4, "C": 0.0, "eta": 0.0}, ranges=RANGE)
    assert "the least share that is looked at" in limited_domain(thin, N=1.8e9, domain_tokens=5e9).verdict().line


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"N": 0.5},
            "N=0.5: no language model has so few parameters (below 10000); give it in parameters, billions as",
        ),
        ({"N": 1e15}, "so many parameters (above 1e+14)"),
        ({"D": 3}, "D=3: no run has so few tokens (below 1000); give it in tokens, billions as 0.5B"),
        ({"D": 1e19}, "so many tokens"),
        ({"base_loss": 300}, "it looks like perplexity; give nats per token, such as log(300) = 5.704"),
        ({"tolerance": 50}, "it looks like percent; write 50 % as 0.5"),
        ({"tolerance": 1.0}, "write 1 % as 0.01"),
        ({"tolerance": -300}, "write 3 % as 0.03"),
        ({"tolerance": float("nan")}, "is no share of the base loss"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as refused:
        share(**asked)
    assert told in str(refused.value)


def test_other_amounts_that_cannot_be_meant_are_refused() -> None:
    domain = pair()["domain"]
    for question, told in (
        (lambda: compute_allocation(domain, flops=1e-5, r=0.5), "no training run has so few FLOPs"),
        (lambda: compute_allocation(domain, flops=1e40, r=0.5), "no training run has so many FLOPs"),
        (lambda: compute_allocation(domain, flops=1e20, r=50), "r=50: is no share; it looks like percent; write 50 %"),
        (lambda: limited_domain(domain, N=1.8e9, domain_tokens=5), "domain-tokens=5: no run has so few tokens"),
        (lambda: check_share("r", -1), "give one in [0, 1]"),
        (lambda: check_loss(float("inf")), "is not a positive finite number"),
        (lambda: limit_of(21.0, 0.0), "perplexity"),
        (lambda: check_amounts(most_epochs=float("nan")), "is not a positive"),
    ):
        with pytest.raises(InputError) as refused:
            question()
        assert told in str(refused.value)
