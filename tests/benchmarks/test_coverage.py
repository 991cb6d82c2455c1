"""A cut of the coverage study: intervals by runs hold the truth about as often as they say, those by rows do not."""

from __future__ import annotations

import csv

import pytest

from benchmarks.coverage import ASKED, FAR, INSIDE, RESULT, TABLES, designs, study

MISSED = {("dcpt, 25 runs", "E"): 0.8, ("dcpt, 25 runs", "C"): 0.84}  # below what is asked, as docs/laws.md says


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chinchilla, 12 runs", "mixing of 3, 20 runs"])
def test_intervals_by_runs_hold_the_truth(name: str) -> None:
    found = study([name], tables=80, draws=60).set_index("quantity")
    parameters = found[found["where"] == "inside"].drop(index=[INSIDE, FAR])
    assert parameters["standard errors"].between(0.78, 0.98).all()  # 90 % +- 3.4 % of 80
    assert parameters["rows"].min() < 0.6
    assert found.bootstrap[[INSIDE, FAR]].between(0.75, 0.98).all()


def test_the_committed_shares_are_of_the_study_as_it_is() -> None:
    with RESULT.open() as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["design"] for row in rows)) == list(designs())
    told = {row["design"]: int(row["n"]) for row in rows if row["quantity"] == INSIDE}
    assert told == dict.fromkeys(designs(), TABLES)
    for row in rows:
        if row["where"] == "inside" and not row["design"].endswith("E = 0"):
            method = "bootstrap" if row["quantity"] in (INSIDE, FAR) else "standard errors"
            low = MISSED.get((row["design"], row["quantity"]), ASKED[0])
            assert low <= float(row[method]) <= ASKED[1], row
