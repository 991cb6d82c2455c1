"""Which trained runs answer the questions of usages 1 and 2, and how well, on planted laws and losses."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.forecasts.forecast import Forecast, Said
from analysis.forecasts.usages import questions
from analysis.laws.law import Law

VARIABLES = {"N": "parameters", "D": "tokens", "r": "share"}
# The domain's loss falls with its share and tokens; the general one rises with what is left of neither.
GENERAL = Law("general", "E + C*(1 - r)", {"r": "share"}, ("E", "C"), {})
DOMAIN = Law("domain", "E + B*sqrt(r)/D**0.4 + C/(r + 0.1)", {"D": "tokens", "r": "share"}, ("E", "B", "C"), {})
PARAMETERS = {"general": {"E": 3.0, "C": 1.0}, "domain": {"E": 1.0, "B": 100.0, "C": 0.3}}
BASE = 3.0
D = 600_000


def domain_loss(D: float, r: float) -> float:
    return float(DOMAIN.value(PARAMETERS["domain"], {"D": D, "r": r}))


def run(key: str, tokens: float, r: float, **others: Any) -> dict[str, Any]:
    shared = {"upstream": "systems", "downstream": "python", "N": 1e5, "schedule": "wsd", "peak": 0.5, "seed": 10}
    losses = {"U": 3.0 + r, "V": domain_loss(tokens, max(r, 1e-6)), "U_base": BASE, "V_base": 5.0}
    return {"key": key, **shared, "run_tokens": tokens, "replay": 1 - r, **losses, **others}


def frozen(keys: list[str], V: float, of: str = "end") -> Forecast:
    fits = {
        corpus: {"definition": asdict(law), "parameters": PARAMETERS[law.name]}
        for corpus, law in (("systems", GENERAL), ("python", DOMAIN))
    }
    said = [Said(key, key, "python", V, V - 0.01, V + 0.01, {}) for key in keys]
    said += [Said(key, key, "systems", 0.0, 0.0, 0.1, {}) for key in keys]
    return Forecast(of, None, "2026", fits, said, 0)


# A tolerance of 10 % of 3 nats allows a share of .3 of the domain, of 3 % one of .09.
GRID = [run(f"r{r}", D, r) for r in (0.0, 0.1, 0.2, 0.25, 0.5, 1.0)]


def test_the_run_at_the_laws_share_answers_and_is_held_against_its_neighbours() -> None:
    ends = pd.DataFrame([*GRID, run("answer", D, 0.3, U=3.31)])
    (one,) = questions([frozen(["answer"], domain_loss(D, 0.3))], ends).to_dict("records")
    assert one["question"] == "systems to python, N 100000, D 600000, tolerance 0.1"
    assert (one["usage"], one["inside"]) == (1, 0.5)
    assert one["over"] == pytest.approx(0.01)
    assert one["allowed"] == pytest.approx(0.3)
    assert one["regret"] == pytest.approx(domain_loss(D, 0.3) - domain_loss(D, 0.25)), "the best of those within"
    assert one["adapts"] == pytest.approx(5.0 - domain_loss(D, 0.3))


def test_a_run_at_another_share_answers_nothing() -> None:
    ends = pd.DataFrame([*GRID, run("other", D, 0.4)])
    assert questions([frozen(["other"], 2.0)], ends).empty
    assert questions([frozen(["r0.1"], 2.0)], pd.DataFrame(GRID)).question.str.endswith("tolerance 0.03").all()
    assert questions([frozen(["answer"], 2.0, of="curve")], pd.DataFrame([*GRID, run("answer", D, 0.3)])).empty
    assert questions([frozen(["answer"], 2.0)], pd.DataFrame([run("answer", D, 0.3)])).empty, "nothing beside it"
    assert questions([], pd.DataFrame(GRID)).empty


def test_with_few_tokens_of_the_domain_the_answer_is_held_against_both_ends() -> None:
    own = 60_000.0
    shares = np.linspace(0.02, 1, 981)
    best = float(shares[np.argmin([domain_loss(own / r, r) for r in shares])])
    ends = pd.DataFrame([run(f"r{r}", own / r, r) for r in (0.1, 1.0)] + [run("answer", own / best, best)])
    (one,) = questions([frozen(["answer"], domain_loss(own / best, best))], ends).to_dict("records")
    assert one["usage"] == 2
    assert one["less_least"] == pytest.approx(domain_loss(own / best, best) - domain_loss(own / 0.1, 0.1))
    assert one["less_all"] == pytest.approx(domain_loss(own / best, best) - domain_loss(own, 1.0))


def test_seeds_of_one_question_are_one_row() -> None:
    both = [
        {**one, "seed": seed, "key": f"{one['key']} {seed}"}
        for one in [*GRID, run("answer", D, 0.3)]
        for seed in (1, 2)
    ]
    found = questions([frozen(["answer 1", "answer 2"], domain_loss(D, 0.3))], pd.DataFrame(both))
    assert len(found) == 1
