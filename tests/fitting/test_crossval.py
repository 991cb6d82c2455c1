"""What cross-validation leaves out, what it cannot leave out, and how weights enter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.crossval import MOST_VALUES, cross_validate
from analysis.fitting.fit import fit_law
from analysis.laws.library import CHINCHILLA
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


def test_weights_are_those_of_the_fit() -> None:
    table = losses_of(6, 6)
    spoilt = table.loss.where(table.index % 5 != 0, 2 * table.loss)
    table = table.assign(loss=spoilt, weight=(table.index % 5 != 0).astype(float), double=2.0)
    found = cross_validate(CHINCHILLA, table, by="N", weights="weight")
    good = table[table.weight > 0]
    pd.testing.assert_frame_equal(found, cross_validate(CHINCHILLA, good, by="N"), rtol=1e-3)
    assert found.mre.max() < 0.02
    plain = cross_validate(CHINCHILLA, table, by="N")
    pd.testing.assert_frame_equal(plain, cross_validate(CHINCHILLA, table, by="N", weights="double"), rtol=1e-3)


def test_parts_that_leave_too_few_rows_are_not_left_out() -> None:
    table = losses_of(6, 4)
    found = cross_validate(CHINCHILLA, table, by="largest-N")
    assert len(found) == 4
    assert found.n.tolist() == [4, 8, 12, 16]  # 8 rows are left for 5 parameters
    few = losses_of(6, 2)
    assert cross_validate(CHINCHILLA, few, by="largest-N").n.tolist() == [2, 4, 6]  # not 8: 4 rows would be left
    least = losses_of(3, 2)
    assert fit_law(CHINCHILLA, least).n_points == 6  # just enough for all, too few for any part
    with pytest.raises(InputError, match="too few different rows are left for the 5 parameters of chinchilla"):
        cross_validate(CHINCHILLA, least, by="N")


def test_no_more_parts_than_runs() -> None:
    found = cross_validate(CHINCHILLA, losses_of(4, 6), by="run", folds=9)
    assert found.n.tolist() == [6] * 4


def test_many_largest_sizes_are_a_few_parts() -> None:
    found = cross_validate(CHINCHILLA, losses_of(3, 60), by="largest-D")
    assert len(found) == MOST_VALUES
    assert found.n.is_monotonic_increasing
    assert found.n.iloc[0] == 3


def test_a_column_of_text_is_refused_and_not_offered() -> None:
    table = losses_of(4, 4).assign(corpus="docs")
    with pytest.raises(InputError, match="corpus is no column of numbers; choose run, largest-COLUMN or of N, D, loss"):
        cross_validate(CHINCHILLA, table, by="corpus")
    with pytest.raises(InputError, match=r"cells of note are missing \(row 2\)"):
        cross_validate(CHINCHILLA, table.assign(note=[np.nan, *range(15)]), by="note")
