"""An answer that the measured runs contradict is none, whatever the law and its fit: corners, bounds, holes, misses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.answers.answer import Answer
from analysis.answers.ensemble import settled
from analysis.answers.optimise import compute_allocation, critical_share, domain_ability
from analysis.answers.simplex import best_mixture
from analysis.fitting.fit import Fit, fit_law
from analysis.laws.law import Law
from analysis.laws.library import LAWS, find
from tests.known_fits import fit_of
from tests.repository import REPOSITORY

SHARES = (0.5, 0.75, 0.95, 0.99, 1.0)
TOKENS = (1e8, 1e9, 1e10)


def run_of(
    law: Law, parameters: dict[str, float], columns: pd.DataFrame, truth: Callable[..., Any] | None = None
) -> Fit:
    """The fit of a law to runs at these columns, whose losses are the law's own, or those of a truth."""
    loss = law.value(parameters, columns) if truth is None else truth(columns)
    rows = columns.assign(loss=loss, run=[str(i) for i in range(len(columns))])
    ranges = {name: (float(columns[name].min()), float(columns[name].max())) for name in law.variables}
    return replace(fit_of(law, parameters, ranges=ranges), rows=rows)


def shares(name: str, values: tuple[float, ...] = SHARES) -> pd.DataFrame:
    """Runs at every share with every amount of tokens, and of one size."""
    return pd.DataFrame([{name: r, "D": D, "N": 1e9} for r in values for D in TOKENS])


FLAT = run_of(LAWS["mixing"], {"c": 2.9, "k": 0.1, "t": -1.0}, shares("r", tuple(np.linspace(0, 1, 11))))
DIP = Law(
    "dip",
    "E + A*r - B*exp(-((r - place)/0.02)**2)",
    {"r": "share"},
    ("E", "A", "B"),
    {"place": (0.0, 1.0)},
    shares=("r",),
)
PIT = Law(
    "pit",
    "E + A*(log(N) - 21)**2 + C/D - B*exp(-((log(N) - place)/0.1)**2)",
    {"N": "parameters", "D": "tokens"},
    ("E", "A", "B", "C"),
    {"place": (0.0, 50.0)},
)


def share_of(domain: Fit, general: Fit = FLAT, **asked: Any) -> Answer:
    return domain_ability(general, domain, **{"N": 1e9, "D": 1e9, "tolerance": 0.5, "base_loss": 4.0, **asked})


L3 = {"E": 1.0, "A": 0.0, "alpha": 0.3, "B": 40.0, "beta": 0.14, "eta": 1e-3, "C": 0.2, "gamma": 0.3, "eps": 5.0}
CASES: dict[str, tuple[Law, dict[str, float], tuple[float, ...]]] = {
    "a corner at r = 0": (LAWS["dcpt"], L3, SHARES),
    "a corner of one size": (
        LAWS["dcpt_one_size"],
        {name: value for name, value in L3.items() if name not in ("A", "alpha")},
        (0.05, 0.5, 1.0),
    ),
    "a corner that saturates": (LAWS["dcpt_saturating"], {**L3, "D_s": 1e8}, SHARES),
    "a corner of a power": (LAWS["cmr_ratio"], {"b": 1.0, "a": 2.4, "s": 1e-3}, SHARES),
    "a corner in peak and replay": (
        LAWS["peak_replay"],
        {"E": 1.0, "B": 10.0, "kappa": 0.0, "beta": 0.1, "C": 1.0, "mu": 0.0, "D_s": 1e9, "eps": 1e-6, "gamma": 1e-9},
        (0.1, 0.5),
    ),
    "an end of an exponential": (LAWS["mixing"], {"c": 2.0, "k": 2.0, "t": -1.0}, (0.0, 0.25, 0.6)),
    "an end of a power of r": (LAWS["bimix"], {"B": 3.0, "C": 1.0, "alpha": 0.3, "beta": 0.1}, (0.1, 0.4, 0.8)),
    "an end of L1": (LAWS["dcpt_l1"], {k: v for k, v in L3.items() if k != "eta"} | {"eps": 0.1}, (0.0, 0.5, 0.9)),
    "an end of L4": (
        LAWS["dcpt_l4"],
        {"E": 1.0, "A": 1.0, "alpha": 0.3, "B": 10.0, "beta": 0.1, "b": 0.0, "C": 1.0, "c": 1.0},
        (0.0, 0.5, 0.9),
    ),
    "an end of L5": (
        LAWS["dcpt_l5"],
        {"E": 1.0, "A": 1.0, "alpha": 0.3, "B": 100.0, "beta": 0.2, "sigma": 0.01},
        (0.1, 0.5, 0.9),
    ),
    "a hole between two runs": (DIP, {"E": 3.0, "A": 0.5, "B": 2.0, "place": 0.6}, (0.0, 0.5, 0.75, 1.0)),
    "a hole beside a run": (DIP, {"E": 3.0, "A": 0.5, "B": 0.9, "place": 0.93}, (0.0, 0.5, 0.75, 1.0)),
}


@pytest.mark.parametrize("case", CASES)
def test_where_the_law_goes_beyond_what_its_runs_carry_there_is_no_answer(case: str) -> None:
    """Every law fits its own runs to the last digit; only between or beside them it has what no run shows."""
    law, parameters, at = CASES[case]
    fit = run_of(law, parameters, shares(law.own_share, at).assign(lr=1e-3))
    answer = share_of(settled(fit, {"lr": 1e-3}) if "lr" in law.variables else fit)
    verdict = answer.verdict()
    assert (verdict.kind, verdict.supported, answer.status) == ("no answer", False, "contradicted")
    assert verdict.line.startswith("NO ANSWER: the law")
    document = answer.document()
    assert document["r"] is None
    assert document["interval"] is None
    assert set(document["loss"].values()) == {None}


def test_the_same_laws_answer_where_runs_carry_them() -> None:
    everywhere = tuple(np.linspace(0, 1, 21))
    for case in ("an end of an exponential", *(f"an end of {name}" for name in ("a power of r", "L1", "L4", "L5"))):
        law, parameters, _ = CASES[case]
        fit = run_of(law, parameters, shares("r", everywhere[1:]))
        general = run_of(LAWS["mixing"], {"c": 2.0, "k": 1.0, "t": -1.0}, shares("r", everywhere))
        answer = share_of(fit, general, tolerance=0.0, base_loss=float(general.predict({"r": 0.4})))
        assert answer.verdict().kind == "supported", (case, answer.verdict())
        assert answer.values["r"] == pytest.approx(0.6, abs=1e-6)


def test_a_limit_that_the_runs_cross_elsewhere_is_no_answer() -> None:
    """A law may miss its runs by little where the loss is flat, and by half of all shares where the limit is."""
    law, parameters = LAWS["mixing"], {"c": 3.4, "k": 1.0, "t": -3.0}
    at = shares("r", tuple(np.linspace(0, 1, 11)))
    missing = run_of(law, parameters, at, lambda rows: 3.3 + np.exp(-3 * rows.r))
    domain = run_of(law, {"c": 3.0, "k": 0.8, "t": -1.5}, at)
    limit = {"tolerance": 0.0, "base_loss": 3.47}
    answer = share_of(domain, missing, **limit)
    assert answer.status == "contradicted"
    assert "by the nearest runs" in answer.verdict().line
    assert share_of(domain, run_of(law, parameters, at), **limit).verdict().kind == "supported"
    assert critical_share(missing, base_loss=3.47).status == "contradicted"
    assert critical_share(run_of(law, parameters, at), base_loss=3.47).status == "on_limit"


def test_outside_of_the_sizes_it_is_answered_as_extrapolation() -> None:
    """A larger model, which such laws are for: the shape in the shares is held to the runs of the nearest size."""
    law = LAWS["dcpt"]
    whole = {**L3, "A": 50.0, "eta": 0.5, "eps": 0.1}
    columns = pd.concat([shares("r", (0.0, 0.25, 0.5, 0.75, 1.0)).assign(N=N) for N in (1e8, 1e9)], ignore_index=True)
    answer = share_of(run_of(law, whole, columns), N=3e9)
    assert answer.verdict().line == "EXTRAPOLATED: N lies outside the fitted range by a factor of 3"
    half = columns[columns.r >= 0.5].reset_index(drop=True)
    assert share_of(run_of(law, {**whole, "eta": 1e-3}, half), N=3e9).status == "contradicted"


def test_a_size_that_lies_in_a_hole_of_the_law_is_no_answer() -> None:
    sizes = pd.DataFrame([{"N": N, "D": D} for N in np.geomspace(1e8, 1e10, 5) for D in np.geomspace(1e8, 1e11, 7)])
    whole = {"E": 2.0, "A": 0.01, "B": 1.0, "C": 1e6, "place": float(np.log(5e8))}
    assert compute_allocation(run_of(PIT, whole, sizes), flops=6e19).status == "contradicted"
    assert compute_allocation(run_of(PIT, {**whole, "B": 0.0}, sizes), flops=6e19).verdict().supported


def test_a_mixture_that_no_run_was_near_is_no_answer() -> None:
    law = find("mixing:a,b,c")
    parameters = {"c_": 2.0, "k": 2.0, "t_a": -2.0, "t_b": -0.5}
    middle = [(0.2, 0.2, 0.6), (0.3, 0.3, 0.4), (0.4, 0.2, 0.4), (0.2, 0.5, 0.3), (0.5, 0.3, 0.2)]
    columns = pd.DataFrame(middle, columns=["a", "b", "c"])
    answer = best_mixture({"x": run_of(law, parameters, columns)}, {"x": 1.0}, tokens=1e9)
    assert answer.status == "contradicted"
    corners = pd.concat([columns, pd.DataFrame(np.eye(3), columns=["a", "b", "c"])], ignore_index=True)
    assert best_mixture({"x": run_of(law, parameters, corners)}, {"x": 1.0}, tokens=1e9).verdict().supported


def test_settled_at_a_rate_the_runs_of_others_are_moved_there() -> None:
    law = LAWS["peak_replay"]
    own = {"E": 1.0, "B": 30.0, "kappa": 0.2, "beta": 0.1, "C": 0.5, "mu": 0.3, "D_s": 1e9, "eps": 0.1, "gamma": 0.4}
    columns = pd.concat([shares("r").assign(lr=lr) for lr in (1e-3, 3e-3)], ignore_index=True)
    fit = settled(run_of(law, own, columns), {"lr": 2e-3})
    assert fit.rows is not None
    assert fit.rows.loss.to_numpy() == pytest.approx(law.value(own, columns.assign(lr=2e-3)))
    assert share_of(fit).verdict().kind == "supported"


def measured(corpus: str) -> pd.DataFrame:
    """The demo's runs of one peak, warm-up and schedule, that differ in replay."""
    table = pd.read_csv(REPOSITORY / "paper_figures" / "data" / "demo.csv", comment="#")
    kind = f"corpus == '{corpus}' and D > 0 and start == 'pretrain' and schedule == 'cosine' and warmup == 0.01"
    return table.query(f"{kind} and peak == 1 and shift == 'docs_to_python'")


@pytest.mark.slow
def test_the_demo_gives_no_answer_that_its_runs_do_not() -> None:
    """The limit of 5 % lies at half of the stream, or a little more of it, by the runs."""
    found = {}
    for law in (LAWS["dcpt"].fixed({"A": 0.0}), LAWS["dcpt_saturating_one_size"], LAWS["bimix"]):
        general, domain = (fit_law(law, measured(corpus)) for corpus in ("docs", "python"))
        answer = domain_ability(general, domain, D=6e5, tolerance=0.05, base_loss=3.615)
        found[law.name] = answer.verdict().kind
        assert not answer.verdict().supported or 0.4 < answer.values["r"] < 0.55, law.name
    assert "no answer" in found.values()
    mixed = pd.read_csv(REPOSITORY / "paper_figures" / "data" / "demo.csv", comment="#").query("D > 0")
    general, domain = (
        fit_law(LAWS["dcpt"], mixed[mixed.corpus == corpus], fixed={"A": 0.0}) for corpus in ("docs", "python")
    )
    line = domain_ability(general, domain, D=6e5, tolerance=0.05, base_loss=3.615).verdict().line
    assert line == "NO ANSWER: the law's optimum is the end r = 0, and no run was there: theirs are from 0.5 to 1"
