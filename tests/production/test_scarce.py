"""Scarce domain data: what was measured before what others say, and where runs that repeat turn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.answers.answer import EXTRAPOLATED
from analysis.decide.arms import arms_of
from analysis.production.scarce import WORTH, Scarce, scarce_data, with_scarce
from tests.decide.planted import Truth, product

random = np.random.default_rng(0)
ENDS = Truth.drawn(random).ends(product(peak=(0.5, 1.0, 2.0), replay=(0.0, 0.1, 0.5)), 1, random)
GRID = arms_of(ENDS)
TOLD = {"verdict": "supported", "why": [], "extrapolated": {}}


def curve(run: str, least: float) -> pd.DataFrame:
    """A loss that is least after this share of the run."""
    share = np.linspace(0.1, 1, 10)
    return pd.DataFrame(
        {"run": run, "corpus": "code", "D": 6e5 * share, "windows": 64, "loss": 3 + (share - least) ** 2}
    )


CURVES = pd.concat([curve("run0", 0.5), curve("run1", 1.0)], ignore_index=True)


def scarce(epochs: dict[str, float] | None, tokens: float = 1e5) -> Scarce:
    return scarce_data(GRID, 0.25, tokens=tokens, run_tokens=6e5, epochs=epochs, curves=CURVES)


def test_what_is_read_is_counted_without_the_replay() -> None:
    found = scarce(None)
    assert found.epochs == pytest.approx(4.5)
    assert found.worth == pytest.approx((1 + WORTH * (1 - np.exp(-3.5 / WORTH))) / 4.5)
    assert scarce(None, tokens=9e5).worth == 1


def test_without_repeats_that_is_said_before_any_number() -> None:
    assert scarce({"run0": 0.4}).lines[0].startswith("no run here reads code more than once: nothing measured")
    assert scarce(None).lines[0].startswith("a table does not say how often runs read code")
    assert "not measured here" in scarce({"run0": 0.4}).lines[2]
    told = with_scarce(TOLD, scarce({"run0": 0.4}))
    assert told["verdict"] == EXTRAPOLATED
    assert told["why"][0].startswith("code is read 4.5 times; no run here reads code more than once")


def test_runs_that_repeat_say_where_they_turn() -> None:
    found = scarce({"run0": 6.0, "run1": 8.0, "of another grid": 99.0})
    assert dict(found.turned) == pytest.approx({"run0": 3.0})
    assert (
        found.lines[0]
        == "2 runs here read code up to 8 times; the loss of 1 rises again by over 0.01 nats, from 3 times on"
    )
    assert found.beyond == "code is read 4.5 times, and the loss of runs here rises again from 3 times on"
    none = scarce({"run1": 8.0})
    assert none.lines[0].endswith("the loss of none rises again by over 0.01 nats")
    assert none.beyond == ""
    assert with_scarce(TOLD, none)["verdict"] == "supported"
