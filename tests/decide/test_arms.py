"""Runs become arms only where they may be pooled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.decide.arms import arms_of
from analysis.decide.ends import ends_of_store, ends_of_table
from analysis.results.windows import Ends, WindowReader, Windows, forgetting
from harness.core.errors import InputError
from tests.decide.planted import Truth, product
from tests.repository import REPOSITORY
from tests.synthetic_store import points_of, write

DEMO = REPOSITORY / "paper_figures" / "data" / "demo.csv"


def runs(seeds: int = 2) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return Truth.drawn(random).ends(product(peak=(0.5, 1.0, 2.0), replay=(0.0, 0.05, 0.25)), seeds, random)


def test_arms_are_settings_and_their_runs_order_seeds() -> None:
    ends = runs()
    grid = arms_of(ends.sample(frac=1, random_state=1))
    assert grid.numeric == ("peak", "replay")
    assert grid.seeds == ("0", "1")
    assert grid.settings.to_numpy().tolist() == [[p, r] for p in (0.5, 1.0, 2.0) for r in (0.0, 0.05, 0.25)]
    one = ends[(ends.peak == 2) & (ends.replay == 0.05)]
    assert grid.forgetting["docs"][7] == pytest.approx((one["final docs"] - one["base docs"]).to_numpy())
    assert grid.adaptation[7] == pytest.approx((one["base code"] - one["final code"]).to_numpy())
    assert grid.base == {"docs": 3.6, "code": 5.7}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"downstream": "cpp"}, "downstream=code (17 runs), cpp (1 runs): a decision is of one; add --where"),
        ({"model": "small"}, "model=mini (17 runs), small (1 runs)"),
        ({"run_tokens": 1_200_128}, "run_tokens=600k (17 runs), 1.2M (1 runs)"),
        ({"base_address": "f" * 32}, "several bases are several models"),
        ({"seed": 1}, "another run has its settings and its seed ("),
        ({"replay": 5.0}, "replay=5: is no share; it looks like percent; with --table: --map replay=replay/100"),
        ({"warmup": -0.1}, "warmup=-0.1: is no share; give shares in [0, 1]"),
    ],
)
def test_what_must_not_be_pooled_is_refused(change: dict[str, object], told: str) -> None:
    ends = runs()
    for name, value in change.items():
        ends.loc[0, name] = value  # type: ignore[call-overload]
    with pytest.raises(InputError) as refused:
        arms_of(ends)
    assert told in str(refused.value)
    assert "np." not in str(refused.value)  # a condition that --where reads


def test_a_setting_that_varies_and_is_no_knob_is_refused() -> None:
    with pytest.raises(InputError, match=r"it varies .0, 0.05, 0.25. and is not among --knobs"):
        arms_of(runs(), ["peak"])
    with pytest.raises(InputError, match="is no knob"):
        arms_of(runs(), ["peaks"])


def test_runs_from_scratch_and_unfinished_ones_count_for_nothing() -> None:
    ends = runs()
    ends.loc[0, "base_address"] = None
    ends.loc[1, "status"] = "queued"
    grid = arms_of(ends)
    assert len(grid.settings) == 8
    assert grid.notes == (
        "1 runs from scratch are left out: they have no base to forget",
        "1 runs are not done and count for nothing",
    )


def test_a_run_that_failed_or_diverged_makes_its_arm_no_answer() -> None:
    ends = runs()
    ends.loc[0, "status"], ends.loc[0, "final docs"], ends.loc[0, "final code"] = "failed", np.nan, np.nan
    ends.loc[17, "final docs"] = 7.3  # more than twice the base's 3.6
    grid = arms_of(ends)
    assert grid.failed.tolist() == [True, *[False] * 7, True]
    assert not grid.good[[0, 8]].any()
    assert "2 runs failed or diverged" in grid.notes[-1]


def test_bases_are_averaged_where_that_is_asked_for() -> None:
    ends = runs()
    ends["base_address"] = ends.seed.map({0: "a" * 32, 1: "b" * 32})
    ends.loc[ends.seed == 1, "base docs"] += 0.1
    grid = arms_of(ends, bases="average")
    assert grid.seeds == ("base 0 seed 0", "base 1 seed 1")
    assert grid.base_spread is not None
    assert grid.base_spread["docs"] == pytest.approx(0.1 / np.sqrt(2))
    assert grid.base["docs"] == pytest.approx(3.65)


def test_what_a_category_fixes_is_no_knob_beside_it() -> None:
    """A constant schedule has its own rate and no warm-up: that tells nothing beside its name."""
    ends = runs()
    constant = ends.iloc[:2].assign(schedule="constant", peak=0.1, replay=0.05, run=["c0", "c1"])
    ends["peak"] = 1.0
    ends = pd.concat([ends.drop_duplicates(["replay", "seed"]), constant], ignore_index=True)
    grid = arms_of(ends)
    assert list(grid.settings) == ["replay", "schedule"]


def test_a_further_corpus_counts_where_every_run_measured_it() -> None:
    ends = runs()
    ends["final german"], ends["base german"] = 2.2, 2.0
    assert list(arms_of(ends).forgetting) == ["docs", "german"]
    ends.loc[3, "final german"] = np.nan
    assert list(arms_of(ends).forgetting) == ["docs"]


def test_the_committed_table_says_what_is_to_be_added() -> None:
    ends = ends_of_table(DEMO)
    assert len(ends) == 48
    with pytest.raises(InputError, match=r"downstream=python \(39 runs\), docs \(6 runs\)"):
        arms_of(ends[ends.start == "pretrain"])
    with pytest.raises(InputError, match=r"add --where .seed == 0., or average them: --bases average"):
        arms_of(ends[ends.downstream == "python"])


def test_the_error_of_the_windows_is_read_from_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = points_of(["scalable_replay"], ["base.seed=0"])
    write(tmp_path, points, lambda _, corpus, D, end: 3.0 + (corpus == "docs") * D / max(end, 1))
    random = np.random.default_rng(0)
    count = np.full(50, 100)
    start, end = (Windows("h", np.arange(50), random.normal(300, 20, 50), count, 4 * count) for _ in range(2))
    kept = Ends(end, start)
    monkeypatch.setattr(WindowReader, "of", lambda *_: kept)
    grid = arms_of(ends_of_store(tmp_path))
    assert grid.sampling == pytest.approx(dict.fromkeys(("docs", "python"), forgetting(kept).se))
    monkeypatch.setattr(WindowReader, "of", lambda *_: None)
    assert set(arms_of(ends_of_store(tmp_path)).sampling.values()) == {0.0}


def test_an_empty_store_says_so() -> None:
    with pytest.raises(InputError, match="nothing is recorded"):
        arms_of(pd.DataFrame())


def test_a_table_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("run,corpus,loss\na,docs,3.1\n")
    with pytest.raises(InputError, match="give it: --map upstream"):
        ends_of_table(file)
