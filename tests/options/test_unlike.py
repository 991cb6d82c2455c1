"""Runs that differ in what a law does not read are not fitted as one kind: they are named, with a set that is clean."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from analysis.formulas.expressions import evaluate
from analysis.laws.library import LAWS
from analysis.options.identified import identified
from analysis.options.unlike import refuse_unlike, unlike
from harness.core.errors import InputError


def grid(**columns: Any) -> pd.DataFrame:
    """Runs of one size and their curves: four shares, and `columns` of lists, one entry for each copy of the four."""
    copies = max([1, *map(len, columns.values())])
    rows = []
    for copy in range(copies):
        own = {name: values[copy] for name, values in columns.items()}
        for replay in (0.0, 0.1, 0.25, 0.5):
            for D in (1e5, 3e5, 6e5, 9e5):
                loss = 3 + 40 / D**0.35 + 0.3 * replay
                run = f"{copy}-{replay}"
                rows.append({"run": run, "N": 1e5, "D": D, "replay": replay, "r": 1 - replay, "loss": loss, **own})
    return pd.DataFrame(rows)


KNOBS = {
    "peak": [0.5, 1.0],
    "warmup": [0.0, 0.01],
    "start": ["pretrain", "scratch"],
    "shift": ["a_to_b", "a_to_a"],
    "schedule": ["cosine", "constant"],
    "base_tokens": [1_000, 2_000],
    "base_address": ["x", "y"],
    "model": ["mini", "small"],
    "corpus": ["docs", "python"],
    "optimizer_state": ["keep", "reset"],
}


@pytest.mark.parametrize("knob", KNOBS)
def test_a_setting_that_no_law_reads_is_named_with_the_rows_that_are_alike(knob: str) -> None:
    table = grid(**{knob: KNOBS[knob]})
    law = LAWS["dcpt_one_size"]
    with pytest.raises(InputError, match=f"columns={knob}: differ over the rows and dcpt_one_size") as told:
        refuse_unlike(table, {law.name: law.variables}, [])
    where = re.search('--where "(.*)" ', told.value.remedy)
    assert where, told.value
    kept = table[evaluate(where[1], table)]
    assert len(kept) == 16
    refuse_unlike(kept, {law.name: law.variables}, [])
    assert told.value.remedy.endswith(f"--pool {knob}")
    refuse_unlike(table, {law.name: law.variables}, [knob])


def test_what_a_law_reads_or_follows_from_it_is_no_other_kind() -> None:
    table = grid(N=[1e5, 1e6], model=["mini", "small"], seed=[0, 1], base_address=["x", "y"])
    assert unlike(table, LAWS["dcpt"].variables) == []  # the model is its size, each seed has a base
    assert unlike(table, LAWS["dcpt_one_size"].variables) == ["model", "N"]
    assert unlike(table, ["D"]) == ["model", "N", "replay", "r"]
    rates = grid(lr=[1e-3, 2e-3], schedule=["cosine", "constant"], base_tokens=[1, 2])
    assert unlike(rates, LAWS["cpt_replay_upstream"].variables) == []  # its sums hold all of that
    assert unlike(rates, LAWS["annealing"].variables) == ["base_tokens", "replay", "r"]
    made = grid(N=[1e5, 1e6])
    made = made.assign(M=made.D / made.N, C=6 * made.N * made.D)
    made.attrs["map"] = {"M": "D/N", "C": "6*N*D"}
    assert unlike(made, ["M", "C"]) == ["replay", "r"]


def test_a_law_without_tokens_is_of_one_amount_of_them() -> None:
    with pytest.raises(InputError, match='--where "D == 900000"') as told:
        refuse_unlike(grid(), {"mixing": ["r"]}, [])
    assert "columns=D: " in str(told.value)


def test_each_run_having_one_row_a_rate_tuned_to_its_size_is_no_other_kind() -> None:
    sizes = [1e5, 1e6, 1e7, 1e8]
    runs = pd.DataFrame({"run": list("abcd"), "N": sizes, "D": [1e7, 2e7, 4e7, 8e7], "lr": [4e-3, 2e-3, 1e-3, 5e-4]})
    assert unlike(runs, ["N", "D"]) == []
    assert unlike(pd.concat([runs, runs.assign(run=list("efgh"), lr=1e-3)]), ["N", "D"]) == ["lr"]


def test_several_laws_refuse_what_none_of_them_reads() -> None:
    laws = {name: LAWS[name].variables for name in ("dcpt", "chinchilla")}
    refuse_unlike(grid(N=[1e5, 1e6]), laws, [])  # one of them reads the shares
    table = grid(N=[1e5, 1e6, 1e5], peak=[1.0, 1.0, 0.5])
    with pytest.raises(InputError, match="columns=peak: differ over the rows and none of the laws reads them"):
        refuse_unlike(table, laws, [])
    with pytest.raises(InputError, match="pool=peek: no such column"):
        refuse_unlike(table, laws, ["peek"])


def test_the_laws_that_columns_identify() -> None:
    laws, why = identified(grid())
    names = {law.name for law in laws}
    assert names == {"dcpt_one_size", "dcpt_saturating_one_size", "bimix"}
    assert why["dcpt"].startswith("N: the same in all 16 rows")
    assert why["peak_replay"] == "there is no lr"
    assert "replay" in why["chinchilla"]
    assert "step_law_lr" not in why  # of no loss
    few = grid().query("D > 5e5")
    assert "8 different points for the 8 parameters" in identified(few)[1]["dcpt_saturating_one_size"]
    assert "peak_replay" in {law.name for law in identified(grid(lr=[1e-3, 2e-3], peak=[1, 2]))[0]}
