"""What cross-validation leaves out, what it cannot leave out, and that a fold is the fit of what is left."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.crossval import MOST_VALUES, Nearest, cross_validate, folds_of, unseen
from analysis.fitting.fit import fit_law
from analysis.laws.sizes import CHINCHILLA
from harness.core.errors import InputError

TRUTH = {"E": 1.7, "A": 400.0, "alpha": 0.34, "B": 410.0, "beta": 0.28}


def losses_of(sizes: int, lengths: int) -> pd.DataFrame:
    """A run of every size, measured at every length."""
    table = pd.MultiIndex.from_product(
        [np.geomspace(1e8, 1e10, sizes), np.geomspace(1e9, 1e11, lengths)], names=["N", "D"]
    ).to_frame(index=False)
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(len(table)))
    runs = (table.N / 1e8).map("of {:.3g}".format)
    return table.assign(loss=CHINCHILLA.value(TRUTH, table) * noise, run=runs)


def counts(table: pd.DataFrame, by: str, **options: object) -> list[tuple[int, int]]:
    """(rows left out, rows kept) of every fold."""
    folds = folds_of(table, by, **options)  # type: ignore[arg-type]
    return [(int(fold.out.sum()), int(fold.kept.sum())) for fold in folds]


def test_every_row_is_left_out_once() -> None:
    table = losses_of(6, 5)
    for by in ("N", "D", "run"):
        assert (np.sum([fold.out for fold in folds_of(table, by)], axis=0) == 1).all()
        assert all((fold.out != fold.kept).all() for fold in folds_of(table, by))
    assert [fold.name for fold in folds_of(table, "N")][:2] == ["N = 1e+08", "N = 2.512e+08"]


def test_the_largest_are_predicted_from_the_smaller_ones() -> None:
    assert counts(losses_of(6, 5), "N", leave="largest") == [(5, 5 * k) for k in range(1, 6)]


def test_many_values_are_left_out_in_ranges() -> None:
    table = losses_of(3, 60)
    assert counts(table, "D", count=4) == [(45, 135)] * 4
    assert len(counts(losses_of(MOST_VALUES, 3), "N")) == MOST_VALUES
    name = folds_of(table, "D", count=4)[0].name
    assert name.startswith("D from 1e+09 to ")


def test_narrow_values_have_names_of_their_own() -> None:
    table = losses_of(3, 3)
    close = table.assign(N=table.N.map({1e8: 1e8, 1e9: 1e8 + 1, 1e10: 1e8 + 2}))
    assert len({fold.name for fold in folds_of(close, "N")}) == 3


def test_no_more_parts_than_runs() -> None:
    folds = folds_of(losses_of(4, 6), "run", count=9)
    assert [int(fold.out.sum()) for fold in folds] == [6] * 4
    assert sorted(fold.name for fold in folds)[0] == "run of 1"


def test_a_fold_is_the_fit_of_what_is_left() -> None:
    table = losses_of(6, 6)
    folds = folds_of(table, "N")
    tried = cross_validate(CHINCHILLA, table, folds)
    alone = fit_law(CHINCHILLA, table[folds[2].kept])
    np.testing.assert_allclose(tried.predicted[2], alone.predict(table), rtol=1e-6)
    assert tried.settled.all()


def test_why_a_law_cannot_be_fitted_is_said() -> None:
    folds = folds_of(losses_of(6, 3), "N", leave="largest")
    tried = cross_validate(CHINCHILLA, losses_of(6, 3), folds)
    assert tried.why == ("one value of N is left", *[""] * 4)
    assert np.isnan(tried.predicted[0]).all()
    few = losses_of(6, 2)
    tried = cross_validate(CHINCHILLA, few, folds_of(few, "N", leave="largest"))
    assert tried.why[1] == "4 different points are left for 5 parameters"


def test_what_cannot_be_left_out_is_refused() -> None:
    table = losses_of(4, 4).assign(corpus="docs")
    with pytest.raises(InputError, match=r"corpus is no column of numbers; choose run, or of N, D, loss"):
        folds_of(table, "corpus")
    with pytest.raises(InputError, match="the table has no column run"):
        folds_of(table.drop(columns="run"), "run")
    with pytest.raises(InputError, match=r"cells of note are missing \(row 2\)"):
        folds_of(table.assign(note=[np.nan, *range(15)]), "note")
    with pytest.raises(InputError, match="one has 1 values"):
        folds_of(table.assign(one=1.0), "one")
    with pytest.raises(InputError, match="runs have no order"):
        folds_of(table, "run", leave="largest")
    with pytest.raises(InputError, match="choose of each, largest"):
        folds_of(table, "N", leave="smallest")
    with pytest.raises(InputError, match="fewer than two"):
        folds_of(table, "N", count=1)


def test_the_nearest_row_is_near_in_logarithms_of_tokens_and_in_shares() -> None:
    table = pd.DataFrame({"D": [1e6, 1e7, 1e8], "r": [0.0, 0.0, 1.0], "loss": [3.0, 2.0, 1.0]})
    nearest = Nearest({"D": "tokens", "r": "share"})
    nearest.fit(table, "loss")
    asked = pd.DataFrame({"D": [2e6, 4e6, 6e7, 10**6.5], "r": [0.0, 0.0, 0.9, 0.0]})
    assert nearest.predict(asked) == pytest.approx([3.0, 2.0, 1.0, 2.5]), "the last is as near to two"


def test_each_row_is_predicted_without_the_part_that_it_is_in() -> None:
    table = pd.DataFrame({"D": [1e6, 1e7, 1e8, 1e9], "loss": [4.0, 3.0, 2.0, 1.0]})
    said = unseen(Nearest({"D": "tokens"}), table, "D", leave="largest")
    assert np.isnan(said[:2]).all(), "nothing is smaller than the smallest, and one value tells nothing"
    assert said[2:] == pytest.approx([3.0, 2.0])
    with pytest.raises(InputError, match="law=chinchilla: cannot be fitted without a part: 3 different points"):
        unseen(CHINCHILLA, losses_of(2, 2).assign(k=[1, 2, 3, 3]), "k")
