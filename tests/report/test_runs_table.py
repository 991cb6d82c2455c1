"""Runs as a table: means over seeds are those of the runs, it fits the terminal, and CSV holds what JSON does."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.report.runs_table import table_lines
from harness.plan.plan import PlannedRun
from tests.synthetic_store import points_of, write

SWEEP = ["peak_replay"]
CALL = ["base.seed=0", "seed=0,1,2"]


def loss(point: PlannedRun, corpus: str, tokens: int, end: int) -> float:
    config = point.run.config
    if tokens <= 0:
        return 4.0 if corpus == "docs" else 5.0
    luck = 0.01 * (int(config["seed"]) ** 2 + 1) * (float(config["peak"]) + 0.1)
    shift = 0.3 * float(config["peak"]) - float(config["replay"]) if corpus == "docs" else -2.0
    return (4.0 if corpus == "docs" else 5.0) + (shift + luck) * tokens / end


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 settings of three seeds; the last seed of peak 8 was not trained to its end."""
    folder = tmp_path_factory.mktemp("runs") / "store"
    points = points_of(SWEEP, CALL)
    write(folder, points, loss, lambda point: point.run.config["peak"] == 8 and point.run.config["seed"] == 2)
    return folder


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["runs", *arguments]) == 0
    return capsys.readouterr().out


def test_seeds_are_gathered_to_mean_and_sd(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(told(capsys, "--root", str(root), "--by", "seed", "--json"))
    assert len(found["runs"]) == 108
    assert len(found["groups"]) == 36
    for group in found["groups"]:
        own = [run for run in found["runs"] if all(run[knob] == group[knob] for knob in ("peak", "replay"))]
        done = [run for run in own if run["status"] == "done"]
        assert group["n"] == len(done) == (2 if group["peak"] == 8 else 3)
        assert group["status"] == ("done" if group["peak"] != 8 else "2 done, 1 missing")
        for name in ("forgetting", "adaptation", "forgetting_share"):
            assert group[name] == pytest.approx(fmean(run[name] for run in done))
            assert group[f"sd {name}"] == pytest.approx(stdev(run[name] for run in done))
        assert group["loss docs"] == pytest.approx(fmean(run["loss"]["docs"] for run in done))
        assert group["base docs"] == 4.0
        assert group["sd base docs"] is None  # one base
        assert group["forgetting_share"] == pytest.approx(group["forgetting"] / 4)
        assert group["epochs python"] == 0.5
        assert group["seed"] == "0, 1, 2"


def test_runs_of_other_bases_are_not_gathered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = [p for p in points_of(SWEEP, ["base.seed=0,1", "seed=3,4"]) if p.run.config["peak"] == 1]
    write(tmp_path, points, lambda *_: 3.0)
    groups = json.loads(told(capsys, "--root", str(tmp_path), "--by", "seed", "--json"))["groups"]
    assert [group["n"] for group in groups] == [2] * 12


@pytest.mark.parametrize("by", [[], ["--by", "seed"]])
def test_csv_is_the_json_and_is_sorted(root: Path, capsys: pytest.CaptureFixture[str], by: list[str]) -> None:
    file = root.parent / "runs.csv"
    assert told(capsys, "--root", str(root), *by, "--sort", "adaptation", "--largest", "--csv", str(file)).split() == [
        str(file)
    ]
    table = pd.read_csv(file)
    found = json.loads(told(capsys, "--root", str(root), *by, "--json"))
    entries = {entry["run"]: entry for entry in found["groups" if by else "runs"]}
    assert len(table) == len(entries) == (36 if by else 108)
    there = table.adaptation.dropna()
    assert there.is_monotonic_decreasing
    assert table.adaptation[len(there) :].isna().all()
    for row in table.to_dict("records"):
        entry: dict[str, Any] = entries[row["run"]]
        docs = entry["loss docs"] if by else entry["loss"].get("docs")
        assert row["loss docs"] == pytest.approx(docs) or (docs is None and pd.isna(row["loss docs"]))
        assert row["batch"] == 4


def test_losses_of_roles_sort_too_and_an_unknown_column_is_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(capsys, "--root", str(root), "--by", "seed", "--sort", "base upstream").splitlines()
    assert sum("peak" in line and "done" in line for line in lines) == 36
    with pytest.raises(Exception, match="did you mean forgetting"):
        main(["runs", "--root", str(root), "--sort", "forgeting"])
    with pytest.raises(Exception, match="no kind of file"):
        main(["runs", "--root", str(root), "--csv", str(root.parent / "runs.xlsx")])


@pytest.mark.parametrize(
    ("by", "width"),
    [([], 60), ([], 80), ([], 140), ([], 250), *((["--by", "seed"], width) for width in (80, 100, 140, 250))],
)
def test_it_fits_the_terminal(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int, by: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = told(capsys, "--root", str(root), *by).splitlines()
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if "peak" in line or "…" in line]
    assert len(rows) == len({row.split("  ")[0] for row in rows}) == (36 if by else 108)  # names stay apart
    assert all("%" in row for row in rows if "done" in row)
    assert any("forgetting" in line for line in lines)


def test_nothing_is_no_table() -> None:
    assert table_lines([]) == []
    assert table_lines([], 80) == []
