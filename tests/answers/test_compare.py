"""Laws side by side: the same folds for all, a ranking only where the errors carry it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from analysis.answers.compare import compare
from analysis.formulas.formula import Array
from analysis.laws.continual import DCPT, DCPT_L1
from analysis.laws.law import Law
from analysis.laws.sizes import CHINCHILLA, KAPLAN
from benchmarks.verdicts import study, told_apart
from harness.core.errors import InputError
from tests.planted import TRUTH, design, losses


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return losses(design(8), TRUTH, 0, row_noise=0.002, run_noise=0.002)


def test_the_law_that_made_the_losses_is_told_from_one_without_the_share(table: pd.DataFrame) -> None:
    found = compare([CHINCHILLA, DCPT], table)
    assert found.verdict == "best is dcpt; worse is chinchilla"
    assert found.laws.standing.tolist() == ["best", "worse"]
    assert found.laws.parameters.tolist() == [9, 5]
    assert (found.n_points, found.n_runs, found.unused) == (216, 27, 0)
    best, worse = (found.folds[found.folds.law == name] for name in ("dcpt", "chinchilla"))
    assert best.left_out.tolist() == worse.left_out.tolist()
    assert best.n.sum() == 216
    ratio = worse.error.to_numpy() / best.error.to_numpy()
    assert found.laws.ratio[1] == pytest.approx(np.exp(np.log(ratio).mean()))
    assert found.laws.low[1] > 1


def test_the_same_curve_written_twice_is_not_told_apart(table: pd.DataFrame) -> None:
    """Two laws whose predictions differ by their noise alone."""
    half = Law(
        "half",
        "E + A/N**(alpha/2) + B*r**eta/D**beta + C/(r + eps)**gamma",
        DCPT.variables,
        DCPT.linear,
        {**DCPT.starts, "alpha": (0.1, 1.8)},
        {**DCPT.bounds, "alpha": (0.0, 6.0)},
        DCPT.log,
    )
    found = compare([DCPT, half], table, by="r")
    assert found.verdict.startswith("not told apart: ")
    assert found.laws.low[1] <= 1 <= found.laws.high[1]


def test_one_law_is_judged_and_not_ranked(table: pd.DataFrame) -> None:
    found = compare([DCPT], table, by="r")
    assert found.verdict.startswith("dcpt predicts what it has not seen to 0.")
    assert found.folds.left_out.tolist()[1] == "r = 0.1"
    assert found.folds.r2[1:].min() > 0.99


def test_one_fold_gives_no_ranking(table: pd.DataFrame) -> None:
    """Of three sizes only the largest has two smaller ones, which a law of N takes."""
    found = compare([DCPT, DCPT_L1], table, by="N", leave="largest")
    assert found.verdict.startswith("not ranked: ")
    assert found.laws.folds.tolist() == [1, 1]
    assert set(found.folds.why) == {"one value of N is left", ""}


def test_a_law_that_cannot_be_fitted_on_all_folds_stands_behind_those_that_can(table: pd.DataFrame) -> None:
    without = Law("no_size", "E + B/D**beta", {"D": "tokens"}, ("E", "B"), {"beta": (0.05, 0.9)})
    found = compare([DCPT, without], table, by="N", leave="largest")
    assert found.laws.law.tolist() == ["no_size", "dcpt"]
    assert found.laws.folds.tolist() == [2, 1]


def test_rows_at_which_a_law_has_no_value_play_no_part_for_any(table: pd.DataFrame) -> None:
    missing = table.assign(r=table.r.where(table.index % 4 != 0))
    found = compare([CHINCHILLA, DCPT], missing, by="D")
    assert (found.n_points, found.unused) == (162, 54)
    same = compare([CHINCHILLA, DCPT], missing.dropna(), by="D")
    pd.testing.assert_frame_equal(found.folds, same.folds)
    with pytest.raises(InputError, match="no row has them all"):
        compare([CHINCHILLA, DCPT], table.assign(r=np.nan), by="D")


@pytest.mark.slow
def test_weights_are_those_of_the_fit() -> None:
    table = losses(design(8), TRUTH, 0, row_noise=0.002)
    spoilt = table.loss.where(table.index % 5 != 0, 2 * table.loss)
    table = table.assign(loss=spoilt, weight=(table.index % 5 != 0).astype(float))
    found = compare([DCPT], table, by="r", weights="weight")
    good = compare([DCPT], table[table.weight > 0], by="r")
    pd.testing.assert_frame_equal(found.folds, good.folds, rtol=1e-3)
    assert found.n_points == good.n_points == 172


class Nearest:
    """No law: the loss of the row whose tokens are nearest."""

    name = "nearest"
    variables: Mapping[str, str] = {"D": "tokens"}

    def fit(self, table: pd.DataFrame, target: str) -> None:
        self.known = table.set_index("D")[target].sort_index()

    def predict(self, table: pd.DataFrame) -> Array:
        at = np.clip(np.searchsorted(self.known.index, table.D), 0, len(self.known) - 1)
        return np.asarray(self.known.to_numpy()[at])


def test_anything_that_fits_and_predicts_can_be_compared(table: pd.DataFrame) -> None:
    found = compare([Nearest(), DCPT], table)
    assert found.verdict == "best is dcpt; worse is nearest"
    assert found.laws.parameters.isna().tolist() == [False, True]


@pytest.mark.slow
def test_large_differences_are_never_told_the_wrong_way_round() -> None:
    """The study of benchmarks/results/verdicts.csv, on a part of its tables."""
    results = study(range(30))
    told = told_apart(results, "se")
    assert told[results.truth >= 0.003].mean() > 0.4
    assert not told[results.truth < 0].any() or results.truth[told].min() > -0.003


def test_what_cannot_be_compared_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="law=dcpt: is given twice"):
        compare([DCPT, DCPT], table)
    two = table[table.N < 2e9]
    part = two.D.rank(method="dense").where(two.N < 1e9, 9.0)  # the larger size is the last part
    with pytest.raises(InputError, match=r"no law can be fitted on what is left .one value of N is left"):
        compare([CHINCHILLA], two.assign(part=part), by="part", leave="largest")
    with pytest.raises(InputError, match=r"N=1\.8e\+09: the same in all"):
        compare([CHINCHILLA, KAPLAN], table[table.N == 1.8e9], by="D")
