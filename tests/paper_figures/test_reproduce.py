"""Committed tables are made again by the commands in their first lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.compose.compose import sweep_points
from harness.config.run import read_run
from harness.core.errors import InputError
from harness.core.shipped import SWEEPS
from paper_figures import data
from paper_figures.__main__ import main as freeze
from paper_figures.data import FROZEN
from paper_figures.reproduce import MICRO, main, parts_of

TABLES = sorted(file.stem for file in FROZEN.glob("*.csv"))
SMALL = ["seed=10", "scale.tokens=60000", "base.tokens=60000", "corpus.sample=0.05", "evaluate.windows=16"]
SMALL += ["evaluate.final_windows=null", "evaluate.early=[]", "launch.workers=1"]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_says_what_trains_its_runs(table: str) -> None:
    """No more than the sweeps of its commands have, which grow, as names change."""
    points = [point for part in parts_of(table) for point in sweep_points(part.sweeps, part.overrides, SWEEPS)]
    everything = data.frozen(table)
    assert everything.table.run.nunique() + len(everything.lacking) <= len({read_run(p.config).name for p in points})
    assert {*everything.table.seed} == {point.config["seed"] for point in points}


def test_the_micro_runs_are_some_of_those_of_mini() -> None:
    points = sweep_points(MICRO.sweeps, MICRO.overrides, SWEEPS)
    assert len(points) == 8
    assert MICRO.table in TABLES


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(InputError, match=r"table=rewarm_max: no such committed table; known: .*rewarm_max_lr"):
        main(["mini", "rewarm_max"])
    with pytest.raises(InputError, match="table=demo: micro is some runs of rewarm_warmup"):
        main(["micro", "demo"])
    with pytest.raises(InputError, match="scale=minni: no such choice; did you mean mini"):
        main(["minni"])


@pytest.mark.slow
def test_a_table_is_made_again_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data, "FROZEN", tmp_path / "data")
    monkeypatch.setattr("paper_figures.reproduce.MICRO", MICRO._replace(table="none", overrides=SMALL))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "none.csv").write_text((FROZEN / "rewarm_warmup.csv").read_text())  # of other runs
    root = ["--root", str(tmp_path / "store")]
    assert main(["micro", *root]) == 0
    assert "not compared: paper_figures/data/none.csv" in capfd.readouterr().out
    (tmp_path / "data" / "none.csv").unlink()
    assert freeze(["--freeze", "small", *root, "--sweep", "rewarm_warmup", *SMALL]) == 0
    rows = len(data.frozen("small").table)
    assert rows > 0
    (took,) = data.commands_of("small").values()
    expected = (
        r"#   3 runs, 240k tokens, 0\.\d\d hours of one worker: cpu .*, python 3.*, torch .*\n"  # two warm-ups are one
    )
    assert re.fullmatch(expected, took), took
    assert main(["mini", "--root", str(tmp_path / "anew")]) == 0
    told = capfd.readouterr().out
    assert f"1 of 1: small: rewarm_warmup {SMALL[0]}" in told
    assert f"reproduced: {rows} rows of seed 10 equal paper_figures/data/small.csv to the last bit" in told
    assert main(["mini", "--root", str(tmp_path / "anew")]) == 0  # nothing is left to train
    assert f"reproduced: {rows} rows" in capfd.readouterr().out
