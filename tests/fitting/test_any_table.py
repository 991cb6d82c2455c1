"""Any law on any part of any committed table: refused in one line, or a fit with a verdict; never a traceback.

100 draws of a law, a table, rows and the columns that stand for its variables: amounts in place of shares, tokens in
place of sizes, one row, one value, rates that are zero.
"""

from __future__ import annotations

import functools
import random
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.answers.answer import FARTHEST, doubts_of, verdict_of
from analysis.fitting.fit import fit_law
from analysis.fitting.fit_file import from_document, to_document
from analysis.fitting.objective import Loss
from analysis.laws.law import Law
from analysis.laws.library import LAWS, find
from analysis.options.schedules import VARIABLES
from analysis.results.curves import add_schedules
from harness.core.errors import InputError
from tests.reference import reference
from tests.repository import REPOSITORY

DRAWS, BLOCK = 100, 20
MOST_ROWS = 40
TABLES = sorted(
    [*(REPOSITORY / "paper_figures" / "data").glob("*.csv"), *REPOSITORY.glob("analysis/notebooks/data/*.csv")]
)
PUBLIC = (
    "chinchilla_epoch",
    "isoflops_openathena",
    "mixinglaws_2mix",
    "mixinglaws_cpt70M",
    "multipowerlaw_curves",
)
LOSSES = [Loss(), Loss("ls"), Loss("lad"), Loss("huber", 0.1, residuals="raw"), Loss("asymmetric", tau=0.9)]


@functools.cache
def table(name: str) -> pd.DataFrame:
    return reference(name) if name in PUBLIC else pd.read_csv(Path(name), comment="#")


def drawn(number: int) -> tuple[Law, pd.DataFrame, Loss, str | None]:
    """A law, the rows and columns that it is fitted to, how, and the column of its runs."""
    choose = random.Random(number)
    whole = table(str(choose.choice([*TABLES, *PUBLIC])))
    if choose.random() < 0.6:  # one kind of rows: of a corpus, a run, a size, a share
        by = choose.choice([name for name in whole if whole[name].nunique() < 40])
        whole = whole[whole[by] == choose.choice(sorted(whole[by].dropna().unique().tolist(), key=str) or [None])]
    rows = whole.sample(min(len(whole), choose.choice([1, 3, 8, 20, MOST_ROWS])), random_state=number)
    numbers = [name for name in rows if pd.api.types.is_numeric_dtype(rows[name])]
    law = choose.choice([*LAWS.values(), find("mixing:a,b,c"), find("quadratic:a,b,c"), find("shukor_additive:a,b")])
    columns = {name: rows[name] for name in ("run", "seed") if name in rows}
    for name in law.variables:
        if name in rows and choose.random() < 0.8:
            columns[name] = rows[name]
        elif numbers and choose.random() < 0.95:
            column = rows[choose.choice(numbers)].astype(float)
            largest = column.abs().max()
            share = law.variables[name] == "share" and largest > 1
            columns[name] = column / largest if share else column * (choose.choice([1.0, 1e6]))
    losses = [name for name in rows if "loss" in str(name)]
    if losses:
        columns["loss"] = rows[choose.choice(losses)]
    found = pd.DataFrame(columns).reset_index(drop=True)
    if set(law.variables) & set(VARIABLES) and choose.random() < 0.9 and len(found):
        peak, begin = choose.choice([0.0, 1e-5, 3e-3, 1.0]), choose.choice([0, 50])
        curve = np.concatenate([np.full(50, 3e-3), peak * np.linspace(1, choose.choice([0, 0.1, 1]), 100)])
        steps = np.linspace(1, 150, len(found)).astype(int)
        found = found.assign(step=steps, run=found.get("run", "one"))
        found = add_schedules(found, dict.fromkeys(map(str, found.run.unique()), curve), start=begin)
    return law, found, choose.choice(LOSSES), choose.choice(["run", None, "guess"])


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, DRAWS, BLOCK))
def test_a_law_on_rows_and_columns_of_any_table_is_refused_or_fitted(first: int) -> None:
    for number in range(first, first + BLOCK):
        law, rows, loss, group = drawn(number)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # numbers that overflow in silence
            told, fit = "", None
            try:
                fit = fit_law(law, rows, loss=loss, group=group)
            except InputError as error:
                told = str(error)
        if fit is None:
            assert "\n" not in told, (number, law.name)
            continue
        verdict = verdict_of(doubts_of({law.name: fit}), {}, FARTHEST)
        assert verdict.supported == (fit.converged and not fit.r2 < 0), (number, law.name)
        assert from_document(to_document(fit)).law == fit.law
