"""Contrasts of arms against arithmetic by hand, and what windows and the order of the data do to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.claims.claims import CLAIMS
from analysis.claims.verdict import judge
from analysis.measures.arms import MissingError, ends_by_run, w1_but
from analysis.measures.differences import BOTH, FORGETTING, change, combination, difference, sampling_error, slope
from analysis.results.windows import FROZEN_COLUMNS, FrozenWindows, Windows, write_windows
from harness.core.errors import InputError
from tests.measures.planted import Arm, planted

ARMS: list[Arm] = [({}, 4.5, 2.5), ({"replay": 0.25}, 4.0, 2.6)]
MANY = 200  # windows


def single(table: pd.DataFrame, path: Path, luck: float) -> FrozenWindows:
    """Losses of single windows of the ends of a table, as they are frozen: those of a run differ from those of its
    base's by `luck`, drawn anew for each run, and by the same for all of them."""
    random = np.random.default_rng(1)
    common = random.standard_normal(MANY)
    ends = table[table.windows == 1024].drop_duplicates(["run", "corpus", "D"])
    parts = []
    for _, row in ends.iterrows():
        own = 0.0 if row.D == 0 else luck * random.standard_normal(MANY)
        one = {"run": row.base_address if row.D == 0 else row.run, "corpus": row.corpus}
        one |= {"windows_hash": f"of {row.corpus}", "window": np.arange(MANY), "tokens": 128, "bytes": 400}
        parts.append(pd.DataFrame({**one, "loss": row.loss + common + own}))
    whole = pd.concat(parts).drop_duplicates(["run", "corpus", "window"])
    whole["clean"] = pd.array([pd.NA] * len(whole), dtype="boolean")
    write_windows(whole[list(FROZEN_COLUMNS)], path)
    return FrozenWindows(path)


def test_contrasts_are_weighted_sums_by_seed() -> None:
    ends = ends_by_run(planted(ARMS, seeds=(10, 11, 12)))
    none, some = w1_but(ends), w1_but(ends, replay=0.25)
    by_hand = (some.set_index("seed").U - none.set_index("seed").U).sort_index()
    found = difference("x", some, none, "U")
    assert found.values == pytest.approx(by_hand.to_numpy())
    assert found.seeds == (10, 11, 12)
    assert change("x", some, FORGETTING).values == pytest.approx((some.U - some.U_base).to_numpy())
    both = combination("x", [(1.0, some, BOTH), (-1.0, none, BOTH)])
    assert both.values == pytest.approx(((some.U + some.V).to_numpy() - (none.U + none.V).to_numpy()) / 2)
    fitted = slope("x", [(0.0, none), (1.0, none), (2.0, some)], {"U": 1.0})
    assert fitted.values == pytest.approx(by_hand.to_numpy() / 2)
    assert difference("x", some[some.seed > 10], none, "U").seeds == (11, 12)
    with pytest.raises(MissingError, match="no seed that all arms of x have"):
        difference("x", some[some.seed == 10], none[none.seed == 11], "U")


def test_what_windows_leave_in_a_difference_is_paired_and_falls_with_seeds(tmp_path: Path) -> None:
    table = planted(ARMS, seeds=range(10, 14))
    ends = ends_by_run(table, [single(table, tmp_path / "w.parquet", luck=0.1)])
    some, none = w1_but(ends, replay=0.25), w1_but(ends)
    of_four = difference("x", some, none, "U").windows_se
    assert of_four == pytest.approx(0.1 * np.sqrt(2 / 4 / MANY), rel=0.2)  # not the windows' own 1.0
    of_one = difference("x", some[some.seed == 10], none[none.seed == 10], "U").windows_se
    assert of_one == pytest.approx(2 * of_four, rel=0.2)
    assert change("x", none, FORGETTING).windows_se == pytest.approx(0.1 * np.sqrt(1 / 4 / MANY), rel=0.2)
    both = difference("x", some, none, BOTH).windows_se  # two corpora, in quadrature
    assert both == pytest.approx(of_four / np.sqrt(2), rel=0.2)
    assert difference("x", some.assign(there=1.0), none.assign(there=0.0), "there").windows_se == 0.0


def test_windows_beside_a_table_widen_its_intervals(tmp_path: Path) -> None:
    shifts = [({**knobs, "downstream": down}, U, V) for down in ("python", "cpp") for knobs, U, V in ARMS]
    table = planted([*shifts, *(({**knobs, "optimizer_state": "keep"}, U, V) for knobs, U, V in shifts)])
    claim = [claim for claim in CLAIMS if claim.id == "S9"]
    windows = [single(table, tmp_path / "mine_windows.parquet", luck=0.5)]
    (plain,), (wider,) = judge(table, claim), judge(table, claim, windows=windows)
    for one, other in zip(plain.parts, wider.parts, strict=True):
        assert other.contrast.windows_se == pytest.approx(0.5 * np.sqrt(2 / 10 / MANY), rel=0.25)
        assert other.interval[1] - other.interval[0] > one.interval[1] - one.interval[0]
    assert "leaves out what the choice of windows does" in plain.why
    assert "leaves out" not in wider.why


def test_losses_of_different_windows_are_refused() -> None:
    numbers = np.arange(4)
    one, other = (Windows("h", numbers + k, np.asarray(numbers, dtype=float), numbers + 1, numbers) for k in (0, 1))
    assert sampling_error([(1.0, one), (-1.0, one)]) == 0.0
    with pytest.raises(InputError, match="compare losses of the same windows"):
        sampling_error([(1.0, one), (-1.0, other)])
