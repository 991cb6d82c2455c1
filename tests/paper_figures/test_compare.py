"""The line at the end of `make demo`: equal to the last bit, or how far apart beside the noise of a seed."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from paper_figures.compare import verdict
from paper_figures.data import Results, frozen


def store(*seeds: int) -> Results:
    """The committed rows of some seeds, as a store would give them."""
    table = frozen("demo").table
    return Results(table[table.seed.isin(seeds)].copy().astype({"horizon": object}), table[:0], "runs")


def changed(results: Results, number: int, by: float) -> Results:
    losses = results.table.loss.to_numpy(copy=True)
    losses[number] += by
    return Results(results.table.assign(loss=losses), results.lacking, results.source)


def test_the_committed_rows_reproduce_themselves() -> None:
    line = verdict(store(0), "demo")
    assert line == "reproduced: 390 rows of seed 0 equal paper_figures/data/demo.csv to the last bit"
    assert verdict(store(0, 2), "demo").startswith("reproduced: 780 rows of seeds 0, 2 equal")


@pytest.mark.parametrize("by", [1e-15, 1e-3])
def test_one_row_that_moved_is_found(by: float) -> None:
    whole = store(0)
    row = whole.table.iloc[17]
    line = verdict(changed(whole, 17, by), "demo")
    assert line.startswith("not to the last bit: 1 of 390 rows of seed 0 differ from paper_figures/data/demo.csv")
    assert "(by another processor)" in line
    assert f"({row['name']}, {row.corpus}, D={row.D})" in line
    seeds = frozen("demo").table
    same = seeds[(seeds.D == row.D) & (seeds.corpus == row.corpus)]
    same = same[same.name.str[:-1] == row["name"][:-1]]  # all but the seed
    spread = re.search(r"where 3 seeds have a standard deviation of (\S+)$", line)
    assert spread is not None
    assert float(spread[1]) == pytest.approx(same.loss.std(), rel=0.05)
    largest = re.search(r"the largest by (\S+) nats", line)
    assert largest is not None
    assert float(largest[1]) == pytest.approx(by, rel=0.2)


def test_the_largest_difference_is_told_not_the_first() -> None:
    line = verdict(changed(changed(store(0), 3, 1e-4), 200, -2e-2), "demo")
    assert "2 of 390 rows" in line
    assert "the largest by 0.02 nats per token" in line


def test_what_is_not_there_is_counted() -> None:
    whole = store(0)
    first = whole.table.run == whole.table.run.iloc[0]
    part = Results(whole.table[~first], whole.table[first][:1], "runs")
    assert verdict(part, "demo").endswith(f"to the last bit; {first.sum()} further rows are not there")


def test_other_settings_are_not_compared_with_these() -> None:
    """Runs of the same names over another base, or of a seed that the table lacks."""
    other = store(0).table.assign(base_tokens=1_500_000)
    assert verdict(Results(other, other[:0], "runs"), "demo").startswith(
        "not compared: paper_figures/data/demo.csv (seed"
    )
    other = store(0).table.assign(seed=7)
    assert "seeds 0, 1, 2) has no row of the runs" in verdict(Results(other, other[:0], "runs"), "demo")


def test_other_packages_are_told_from_another_processor() -> None:
    other = changed(store(0), 5, 1e-3).table.assign(address="0")
    assert "by other packages, texts or settings" in verdict(Results(other, other[:0], "runs"), "demo")


def test_missing_values_and_types_do_not_keep_rows_apart() -> None:
    """A store's table has None, wide integers and plain texts where the file's has NaN and its own types."""
    table = store(0).table.astype({"lr": object, "base_tokens": object, "name": object})
    table["horizon"] = pd.Series([None] * len(table), index=table.index, dtype=object)
    assert verdict(Results(table, table[:0], "runs"), "demo").startswith("reproduced: 390 rows")
