"""What the sweeps train is what claims look at: planned runs with invented losses leave no claim untested."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.claims.claim import SWEEP
from analysis.claims.claims import CLAIMS
from analysis.claims.verdict import judge
from analysis.measures.evidence import Evidence
from analysis.measures.rules import UNTESTABLE
from harness.compose.compose import sweep_points
from harness.config.run import read_run
from harness.plan.plan import compile_points
from tests.synthetic_store import table_of

MADE = [claim for claim in CLAIMS if claim.make]
NAMES = sorted({name for claim in MADE for name in claim.make.removeprefix(SWEEP).split()})


def rows(points: Any, random: np.random.Generator) -> pd.DataFrame:
    """Measurements that planned runs ask for, with losses of no meaning."""
    compiled = compile_points((point.label, read_run(point.config)) for point in points)
    return table_of(compiled, lambda *_: 4 + 0.01 * random.standard_normal())


def table(points: Any, seeds: range) -> pd.DataFrame:
    """The same for several seeds."""
    first = rows(points, np.random.default_rng(0))
    parts = []
    for seed in seeds:
        one = first.assign(seed=seed, loss=first.loss + 0.01 * np.random.default_rng(seed).standard_normal(len(first)))
        for name in ("run", "address", "base_address"):
            one[name] = one[name].where(one[name].isna(), one[name].astype(str) + f" {seed}")
        parts.append(one)
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def trained() -> pd.DataFrame:
    """All sweeps that claims name, for the seeds that they ask for."""
    return table(sweep_points(NAMES, ["seed=10"]), range(10, 20))


@pytest.mark.slow
def test_every_claim_finds_its_arms_in_the_sweeps_that_it_names(trained: pd.DataFrame) -> None:
    found = {one.claim.id: one for one in judge(trained, MADE)}
    assert {name: one.why for name, one in found.items() if one.verdict == UNTESTABLE} == {}
    tests = {name: len(one.parts) for name, one in found.items()}
    assert (tests["R6"], tests["R8"], tests["S4"], tests["S5"], tests["S6"], tests["S7"]) == (1, 3 * 2, 2, 4, 10, 2)
    assert (tests["S9"], tests["S10"], tests["S11"], tests["X1"]) == (4, 2 * 5, 1, 1)
    assert all(not math.isnan(part.contrast.mean) for one in found.values() for part in one.parts)
    assert all(part.contrast.n == one.claim.seeds for one in found.values() for part in one.parts)
    assert len(found["S7"].beside) == 2 * 4


@pytest.mark.slow
def test_the_orders_of_the_data_give_a_noise_floor_and_no_verdict(trained: pd.DataFrame) -> None:
    orders = rows(sweep_points(["data_order"], []), np.random.default_rng(1))
    ends = Evidence.from_table(pd.concat([trained, orders], ignore_index=True)).ends
    known = ends[ends.U_order.notna()]
    assert set(zip(known.upstream, known.downstream, strict=True)) == {("systems", "science"), ("docs", "python")}
    assert not set(orders.seed) & {0, 1, 2, *range(10, 20)}
