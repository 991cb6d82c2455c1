"""Losses of single windows in a small file: what goes in comes out, runs of a grid fit, and bases are there once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from analysis.results.runs import read_runs
from analysis.results.tables import ends_of
from analysis.results.windows import (
    Ends,
    FrozenWindows,
    Windows,
    adaptation,
    average,
    difference,
    forgetting,
    left_out,
    mean,
    windows_table,
    with_clean_ends,
    write_windows,
)
from harness.core.errors import InputError
from harness.plan.plan import PlannedRun
from tests.synthetic_store import points_of, write


def loss(point: PlannedRun, corpus: str, tokens: int, end: int) -> float:
    config, x = point.run.config, max(tokens, 0) / end
    return 3 + (corpus == "docs") + 0.1 * x * (float(config["warmup"]) + int(config["seed"]) * 0.01 + 1)


def test_what_was_frozen_is_what_the_states_hold(tmp_path: Path) -> None:
    write(tmp_path, points_of(["rewarm_warmup"], ["seed=0,1"]), loss, windows=True)
    runs, file = read_runs(tmp_path), tmp_path / "x.parquet"
    kept = {run.facts.run: {name: ends for name in run.ends if (ends := run.windows(name))} for run in runs}
    table = windows_table((run.facts.run, run.facts.base_address, kept[run.facts.run]) for run in runs)
    write_windows(table, file)
    bases = {run.facts.base_address for run in runs}
    assert len(table) == (len(runs) + len(bases)) * 2 * 1024
    assert len(runs) > len(bases) == 2
    frozen = FrozenWindows(file)
    for run in runs:
        for corpus, change in (("docs", forgetting), ("python", adaptation)):
            there, back = kept[run.facts.run][corpus], frozen.of(run.facts.run, run.facts.base_address, corpus)
            assert back is not None
            assert back.end.hash == there.end.hash
            assert np.array_equal(back.end.window, there.end.window)
            assert np.array_equal(back.end.bytes, there.end.bytes)
            np.testing.assert_allclose(back.end.loss_sum, there.end.loss_sum, rtol=1e-7)
            assert change(back).value == pytest.approx(change(there).value, abs=1e-7)
            assert change(back).se == pytest.approx(change(there).se, rel=1e-4)
            assert mean(back.end).value == pytest.approx(run.ends[corpus].loss, abs=1e-6)
            assert back.end.clean is None  # nobody has looked
    assert frozen.of("another", None, "docs") is None
    assert frozen.of(runs[0].facts.run, None, "cpp") is None
    assert frozen.of(runs[0].facts.run, "f" * 32, "docs") is None  # its base's are not there
    scratch = frozen.of(runs[0].facts.run, cast(Any, float("nan")), "docs")  # as a table says that there is none
    assert scratch is not None
    assert scratch.base is None


def made(generator: np.random.Generator, many: int, clean: np.ndarray | None = None) -> Windows:
    window, tokens, bytes_ = np.arange(many), np.full(many, 128), generator.integers(200, 600, many)
    return Windows("1" * 16, window, generator.normal(400, 30, many), tokens, bytes_, clean)


def ends(number: int, clean: np.ndarray) -> dict[tuple[str, str], Ends]:
    generator, found = np.random.default_rng(0), {}
    bytes_ = {corpus: generator.integers(200, 600, 1024) for corpus in ("docs", "python")}
    for run in range(number):
        for corpus in bytes_:
            one, base = made(generator, 1024, clean), made(generator, 1024, clean)
            found[f"run-{run}", corpus] = Ends(*(Windows(**{**vars(w), "bytes": bytes_[corpus]}) for w in (one, base)))
    return found


def test_a_grid_of_108_runs_takes_less_than_2_mb(tmp_path: Path) -> None:
    clean = np.arange(1024) % 50 != 0
    known = ends(108, clean)
    corpora, file = ("docs", "python"), tmp_path / "x.parquet"
    runs = [(f"run-{n}", f"{n % 10:032}", {name: known[f"run-{n}", name] for name in corpora}) for n in range(108)]
    write_windows(windows_table(runs), file)
    assert file.stat().st_size < 1e6  # .78, of which nearly all is losses
    back = FrozenWindows(file).of("run-7", f"{7:032}", "python")
    assert back is not None
    assert back.base is not None
    for one in (back.end, back.base):
        assert one.clean is not None
        assert np.array_equal(one.clean, clean)
    assert mean(back.end.part(clean)).windows == clean.sum()
    part = back.end.part(clean)
    assert part.clean is not None
    assert part.clean.all()


def test_the_error_of_a_mean_over_seeds_is_that_of_a_bootstrap_over_windows() -> None:
    generator = np.random.default_rng(1)
    shared, seeds = generator.normal(0, 20, 500), 3
    one, other = (
        [Windows(**{**vars(w := made(generator, 500)), "loss_sum": w.loss_sum + shared}) for _ in range(seeds)]
        for _ in range(2)
    )
    found = difference(average(one), average(other))
    change = np.mean([a.loss_sum - b.loss_sum for a, b in zip(one, other, strict=True)], axis=0) / 128
    draws = change[generator.integers(500, size=(4000, 500))].mean(axis=1)
    assert found.value == pytest.approx(change.mean())
    assert found.se == pytest.approx(draws.std(), rel=0.05)
    with pytest.raises(InputError, match="compare losses of the same windows"):
        average([one[0], one[1].part(one[1].window > 3)])


def test_another_file_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"run": ["a"], "loss": [1.0]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="holds no losses of single windows"):
        FrozenWindows(tmp_path / "x.parquet")


@pytest.mark.parametrize("clean", [np.arange(1024) % 8 > 0, np.arange(1024) < 30, np.zeros(1024, bool)])
def test_final_losses_of_a_table_are_of_the_clean_windows_however_few_they_are(clean: np.ndarray) -> None:
    """Fewer than of the curve (64), too; where none is clean all of them count, and none is said to be left out."""
    known = ends(1, clean)["run-0", "docs"]
    assert known.base is not None
    rows = [
        {"run": "run-0", "corpus": "docs", "base_address": "b", "start": "pretrain", "D": d, "windows": n, "loss": loss}
        for d, n, loss in [(0, 64, 9.0), (5, 64, 8.0), (10, 64, 7.0), (0, 1024, 3.0), (10, 1024, 2.0)]
    ]
    table = pd.DataFrame(rows).assign(bits_per_byte=1.0)
    windows = FrozenWindows(windows_table([("run-0", "b", {"docs": known})]))
    (end,) = ends_of(with_clean_ends(table, windows)).to_dict("records")
    assert end["alone"]
    if not clean.any():
        assert (end["loss"], end["base"], end["windows"]) == (2.0, 3.0, 1024)
        assert left_out({"docs": [end["dirty"]]}).startswith(
            "all windows count, contained in what is trained on or not"
        )
        return
    assert end["loss"] == pytest.approx(mean(known.end.part(clean)).value)
    assert end["base"] == pytest.approx(mean(known.base.part(clean)).value)
    assert (end["windows"], end["dirty"]) == (clean.sum(), 1024 - clean.sum())
    assert f"({1024 - clean.sum()} of docs)" in left_out({"docs": [end["dirty"]]})
