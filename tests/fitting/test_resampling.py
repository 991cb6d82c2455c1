"""Which rows are of one run: said by a column, guessed and told, or told to be unknown; never taken in silence."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.crossval import folds_of
from analysis.fitting.fit import fit_law
from analysis.fitting.resampling import grouping_of
from analysis.laws.continual import DCPT
from analysis.laws.law import Law
from analysis.laws.library import LAWS
from analysis.laws.sizes import CHINCHILLA
from harness.core.errors import InputError
from tests.planted import TRUTH, design, losses
from tests.reference import reference

NDR = DCPT.variables


def checkpoints() -> pd.DataFrame:
    """Three sizes, nine shares, eight checkpoints, and no column that says so."""
    return losses(design(8), TRUTH, 0, row_noise=0.001, run_noise=0.005).drop(columns="run")


def test_a_column_called_run_is_taken_in_whatever_capitals() -> None:
    table = design(3)
    for name in ("run", "Run", "RUN"):
        grouping = grouping_of(table.rename(columns={"run": name}), NDR)
        assert (grouping.name, grouping.runs, grouping.origin) == (name, 27, "given")


@pytest.mark.parametrize("name", ["run_id", "RunName", "exp", "Experiment ID", "model-name", "uid"])
def test_a_column_with_the_name_of_an_experiment_is_guessed(name: str) -> None:
    grouping = grouping_of(design(3).rename(columns={"run": name}), NDR)
    assert (grouping.name, grouping.runs, grouping.origin) == (name, 27, "guessed")


def test_a_name_whose_rows_are_of_different_sizes_or_that_numbers_the_rows_is_no_run() -> None:
    table = design(4).drop(columns="run")
    for column in (table.r.astype(str), np.arange(len(table)), "all"):
        assert grouping_of(table.assign(name=column), NDR).columns == ("N", "r")
    assert grouping_of(table.assign(name=table.N.where(table.index > 0)), NDR).columns == ("N", "r")


def test_rows_that_share_all_but_the_tokens_are_guessed_to_be_one_run() -> None:
    table = checkpoints()
    for order in (table, table.sample(frac=1, random_state=1), table.assign(D=np.round(table.D))):
        grouping = grouping_of(order, NDR)
        assert (grouping.columns, grouping.runs, grouping.origin) == (("N", "r"), 27, "guessed")


@pytest.mark.parametrize("knob", ["seed", "lr", "schedule"])
def test_another_knob_tells_runs_apart_that_share_size_and_share(knob: str) -> None:
    table = pd.concat([checkpoints().assign(**{knob: value}) for value in (1, 2)], ignore_index=True)
    noisy = table.assign(seconds=np.random.default_rng(0).random(len(table)))  # differs in every row: no knob
    assert grouping_of(noisy, NDR).columns == ("N", "r", knob)


def test_an_amount_of_tokens_that_does_not_grow_along_a_run_is_one_of_its_variables() -> None:
    points = itertools.product((1e8, 4e8), (1e9, 4e9), np.geomspace(1e9, 1e11, 6))
    table = pd.DataFrame(points, columns=["N", "U", "D"])
    assert grouping_of(table, {"N": "parameters", "D": "tokens", "U": "tokens"}).columns == ("N", "U")


def test_runs_without_checkpoints_are_runs_of_their_own() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"N": random.uniform(1e8, 1e10, 40), "D": random.uniform(1e9, 1e11, 40)})
    assert grouping_of(table, CHINCHILLA.variables).origin == "distinct"
    assert grouping_of(table.assign(r=0.5), {"r": "share"}).origin == "unknown"
    assert grouping_of(table, {"D": "tokens"}).origin == "unknown"  # may be the log of one run
    assert grouping_of(table, {"D": "tokens"}, None).origin == "given"


def test_several_columns_may_say_what_a_run_is() -> None:
    table = checkpoints().rename(columns={"r": "r, of python"}).assign(**{"a,b": 1})
    for group in ("N,r, of python", "N,what"):
        with pytest.raises(InputError, match="there is no column"):
            grouping_of(table, {"N": "parameters"}, group)
    assert grouping_of(table, {}, ("N", "r, of python")).runs == 27
    assert grouping_of(table, {}, "a,b").runs == 1  # the name of one column
    with pytest.raises(InputError, match="cells of N are missing"):
        grouping_of(table.assign(N=np.nan), {}, "N")


def test_a_fit_says_how_it_counted_its_rows_and_errs_as_runs_do() -> None:
    sizes = tuple(np.geomspace(1e8, 1e10, 12))
    table = losses(design(8, sizes=sizes, shares=(0.5,)), TRUTH, 0, row_noise=0.001, run_noise=0.005)
    bare = table.drop(columns="run")
    known, guessed = fit_law(CHINCHILLA, table), fit_law(CHINCHILLA, bare)
    rows, said = fit_law(CHINCHILLA, bare, group=None), fit_law(CHINCHILLA, bare, group=("N", "r"))
    assert (guessed.n_runs, guessed.group, guessed.grouped) == (12, "N", "guessed")
    assert guessed.se == pytest.approx(known.se, rel=1e-6)
    assert rows.se["alpha"] < 0.7 * guessed.se["alpha"]
    (warning,) = [text for text in guessed.warnings if "guessed" in text]
    assert "rows that share N count as one of 12 runs" in warning
    assert "--group N" in warning
    for fit in (known, rows, said):
        assert not [text for text in fit.warnings if "guessed" in text or "independent" in text]


def test_public_runs_that_no_column_tells_apart_are_said_to_count_as_independent() -> None:
    table = reference("chinchilla_epoch")
    table = table[table.in_besiroglu_fit == 1]
    table = table.assign(N=table.N_params, D=table.C_flop / (6 * table.N_params))
    fit = fit_law(CHINCHILLA, table)
    assert (fit.n_runs, fit.grouped) == (None, "unknown")
    assert fit.warnings[0].startswith("rows count as independent")


def test_public_checkpoints_are_guessed_to_be_runs() -> None:
    table = reference("mixinglaws_2mix")
    table = table.assign(N=table.N_params_nominal, D=table.D_tokens, r=table.github_ratio)
    assert grouping_of(table, NDR).runs == 10
    curves = reference("multipowerlaw_curves")
    curves = curves.assign(S1=curves.groupby(["model_M", "schedule"]).lr.cumsum(), S2=0.0)
    assert grouping_of(curves, LAWS["annealing"].variables).origin == "unknown"


def test_too_few_guessed_runs_are_not_resampled_but_may_be_said_to_be_none() -> None:
    table = checkpoints()
    table = table[table.r == 0.5]
    with pytest.raises(InputError, match=r"3 values of N are too few.*--group none"):
        fit_law(CHINCHILLA, table, bootstrap=20)
    assert fit_law(CHINCHILLA, table, bootstrap=20, group=None).draws is not None


def test_runs_are_left_out_by_the_guess_and_not_where_nothing_says_which_they_are() -> None:
    table = checkpoints()
    grouping = grouping_of(table, NDR)
    folds = folds_of(table, "run", count=30, grouping=grouping)
    assert len(folds) == 27
    assert {"run 5e+08, 0.33", "run 4e+09, 1"} <= {fold.name for fold in folds}
    with pytest.raises(InputError, match="the table has no column run, and nothing else says"):
        folds_of(table, "run")


def test_a_share_and_one_minus_the_other_are_one_run() -> None:
    """--map d=1-r of the general loss, d=r of the domain's: 1 - 0.9 is not 0.1 to the last digit."""
    shares = np.repeat([0.1, 0.3, 0.9], 4)
    runs = pd.DataFrame({"D": np.tile([1e9, 2e9, 4e9, 8e9], 3), "d": shares})
    runs["loss"] = 2 + 1e4 / runs.D**0.5 + shares
    other = runs.assign(d=1 - (1 - runs.d))
    assert other.d.tolist() != runs.d.tolist()
    law = Law("tokens", "E + B/D**beta", {"D": "tokens"}, ("E", "B"), {"beta": (0.05, 1.5)})
    one, two = (fit_law(law, table, group="D,d", bootstrap=20).draws for table in (runs, other))
    assert one is not None
    assert two is not None
    assert one.paired(two)
