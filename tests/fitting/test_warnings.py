"""What speaks against a fit is said before its numbers, to whoever reads it: on a terminal, in JSON, in a decision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.commands.fit import fit_lines
from analysis.commands.mix import warning_lines
from analysis.fitting.fit import Fit, fit_law
from analysis.fitting.fit_file import from_document, to_document
from analysis.fitting.objective import Loss
from analysis.fitting.resampling import Draws
from analysis.laws.law import FREE, Law
from analysis.laws.sizes import CHINCHILLA
from tests.known_fits import fit_of

PARAMETERS = {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2000.0, "beta": 0.37}
GOOD = fit_of(CHINCHILLA, PARAMETERS, ranges={"N": (1e8, 1e10), "D": (1e9, 1e11)})
HALF = Draws(np.zeros((40, 5)), "run", "the runs", 0, 3)


def chinchilla_rows() -> pd.DataFrame:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"N": 10 ** random.uniform(8, 10, 40), "D": 10 ** random.uniform(9, 11, 40)})
    return table.assign(loss=CHINCHILLA.value(PARAMETERS, table) * np.exp(0.003 * random.standard_normal(40)))


def test_a_good_fit_has_nothing_to_say() -> None:
    assert GOOD.warnings == []
    assert fit_law(CHINCHILLA, chinchilla_rows()).warnings == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"converged": False}, "NOT CONVERGED"),
        ({"r2": -0.3}, "R² is -0.30: the mean of all losses is closer to them than this law"),
        ({"r2_within_run": 0.3}, "it explains 30% of what happens along the runs"),
        ({"r2_within_run": -2.0}, "it explains 0% of what happens along the runs"),
        ({"mre": 0.3}, "it misses the losses by 30% on average"),
        ({"max_abs_z": 12.2}, "a row lies 12 robust standard deviations from the law"),
        ({"requirements": {"dL/dN < 0": 0.0}}, "dL/dN < 0, as its paper demands, holds at 0% of the rows"),
        ({"condition": 1e12}, "condition 1e+12: the data hardly tell the parameters apart"),
        ({"unidentified": ("A", "E")}, "the data do not identify A, E"),
        ({"on_bound": ("E",)}, "on a bound, where intervals are not what they say: E"),
        ({"n_points": 7}, "7 rows for 5 parameters: nearly any law would run through them"),
        ({"n_runs": 6}, "6 runs for 5 parameters are too few to say how far runs differ"),
        ({"draws": HALF}, "3 of 40 resamples have no fit and are left out"),
        ({"grouped": "guessed", "group": "N,r"}, "runs are guessed: rows that share N,r count as one of 10 runs"),
        ({"grouped": "unknown", "n_runs": None}, "rows count as independent"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_number_that_contradicts_a_fit_is_said(changed: dict[str, Any], said: str) -> None:
    fit = replace(GOOD, **changed)
    (warning,) = fit.warnings
    assert warning.startswith(said)
    assert warning_lines({"general": GOOD, "domain": fit}) == [f"warning: the fit of domain: {warning}"]


@pytest.mark.slow
def test_sizes_and_tokens_that_grow_together_are_told() -> None:
    """As in a grid that trains every size on 20 tokens a parameter: the sum of both terms is all that it shows."""
    random = np.random.default_rng(1)
    table = chinchilla_rows()

    def told(scatter: float, power: float = 1.0) -> list[str]:
        tokens = 20e9 * (table.N / 1e9) ** power * 10 ** (scatter * random.standard_normal(40))
        rows = table.assign(D=tokens)
        rows["loss"] = CHINCHILLA.value(PARAMETERS, rows) * np.exp(0.003 * random.standard_normal(40))
        return [text for text in fit_law(CHINCHILLA, rows).warnings if "grow together" in text]

    (exact,) = told(0.0)
    assert exact.startswith("N and D grow together: above 10 times exponents are not told apart")
    assert "correlation of their logarithms 1.000, which inflates variances without end" in exact
    (near,) = told(0.1)
    assert 30 < float(near.partition("inflates variances ")[2].split()[0]) < 60
    assert near.endswith("add runs with other D at the same N")
    assert told(0.4) == []
    assert told(0.0, power=-1.0) == []  # one falls as the other grows: the loss has a valley


def test_warnings_stand_before_the_numbers_and_in_the_file() -> None:
    table = chinchilla_rows().assign(loss=lambda rows: 2 + 0.1 * np.log10(rows.N))  # grows with the size
    fit = fit_law(CHINCHILLA, table)
    lines = fit_lines(fit)
    said = [i for i, line in enumerate(lines) if line.startswith("warning: ")]
    assert len(said) == len(fit.warnings) >= 2
    assert max(said) < next(i for i, line in enumerate(lines) if "estimate" in line)
    document = to_document(fit)
    assert document["warnings"] == fit.warnings == from_document(document).warnings
    before = {name: value for name, value in document.items() if name not in ("group", "grouped", "warnings")}
    assert from_document(before).warnings[1:] == fit.warnings  # a file of before: who knows how rows were counted
    assert from_document(before).warnings[0].startswith("rows count as independent")


@pytest.mark.slow
def test_rows_that_diverged_are_named_the_farthest_first() -> None:
    table = chinchilla_rows().assign(run=[f"r{i}" for i in range(40)])
    table.loc[[7, 21], "loss"] = (9.0, 4.0)
    fit = fit_law(CHINCHILLA, table)
    (said,) = (text for text in fit.warnings if "robust standard deviations" in text)
    assert said.startswith("2 rows lie far off (")
    first, second = said[said.index("(") + 1 : said.index(")")].split("; ")
    assert (first, second) == tuple(
        f"N {row.N:.5g}, D {row.D:.5g}, loss {row.loss:.5g}, run {row.run}" for row in table.loc[[7, 21]].itertuples()
    )
    five = fit_law(CHINCHILLA, table.assign(loss=table.loss.where(table.index % 8 != 0, 9.0)))
    assert any(text.startswith("7 rows lie far off") and "; ...), up to" in text for text in five.warnings)


def test_a_law_that_falls_below_zero_between_its_rows_is_told_of() -> None:
    bounds = dict.fromkeys("abc", FREE)
    law = Law("fall", "a - b*log(N) - c*log(D)", {"N": "parameters", "D": "tokens"}, tuple("abc"), {}, bounds)
    table = pd.DataFrame({"N": [1e8, 1e9, 1e10] * 3, "D": [1e11, 1e10, 1e9] * 3})
    table["D"] *= np.repeat([1, 2, 3], 3)
    table["loss"] = 26 - 0.5 * np.log(table.N) - 0.5 * np.log(table.D) + 1e-3 * np.arange(9)
    fit = fit_law(law, table, loss=Loss("ls", residuals="raw"), group=None)
    assert not [text for text in fit.warnings if "below zero" in text]
    steep = replace(fit, parameters={"a": 50.0, "b": 1.1, "c": 1.1})
    assert (steep.predict(table) > 0).all()
    assert "it predicts a loss below zero inside the range of the data" in steep.warnings


def test_a_table_of_parameters_is_as_wide_as_their_names() -> None:
    law = Law("long", "E + a_slope_of_size*x", {"x": "number"}, ("E", "a_slope_of_size"), {})
    table = pd.DataFrame({"x": np.arange(1.0, 9.0), "loss": 2 + np.arange(8) + 0.1 * np.sin(np.arange(8))})
    lines = fit_lines(fit_law(law, table, loss=Loss("ls")))
    (head,) = (line for line in lines if "estimate" in line)
    for name in law.parameters:
        (row,) = (line for line in lines if line.startswith(f"{name} "))
        assert row[: head.index("estimate") + len("estimate")].split()[0] == name
        assert row[head.index("estimate") + len("estimate")] == " "


def test_a_fit_is_told_how_many_rows_it_used_not_how_many_there_are() -> None:
    table = chinchilla_rows().assign(w=[1.0] * 30 + [0.0] * 10)
    table.loc[35, "N"] = 9e13  # of no weight: outside of the range
    fit: Fit = fit_law(CHINCHILLA, table, weights="w")
    assert fit.n_points == 30
    assert fit.range["N"][1] < 1e11
