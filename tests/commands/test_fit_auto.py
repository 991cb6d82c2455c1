"""`python -m analysis fit auto`: the laws that the columns identify, compared, and the best of them fitted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.laws.library import LAWS
from tests.called import document, refused
from tests.repository import REPOSITORY

DEMO = str(REPOSITORY / "paper_figures" / "data" / "demo.csv")
KIND = "D > 1e5 and start == 'pretrain' and shift == 'docs_to_python' and schedule == 'cosine' and warmup == 0.01"


def test_unlike_runs_are_named_before_anything_is_fitted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(monkeypatch, capsys, "fit", "auto", "--table", DEMO, "--where", "corpus == 'python' and D > 0")
    assert "none of the laws reads them" in told
    assert "--where \"start == 'pretrain'" in told
    told = refused(monkeypatch, capsys, "fit", "auto", "--table", DEMO, "--fix", "E=1")
    assert "fix=E=1: is for a law that is named" in told
    told = refused(monkeypatch, capsys, "fit", "auto", "--table", DEMO, "--map", "loss=peak,target=loss")
    assert "nothing reads a column of this name" in told


def test_one_size_is_told_the_laws_that_can_be_fitted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = f"{KIND} and corpus == 'python' and peak == 1"
    told = refused(monkeypatch, capsys, "fit", "dcpt", "--table", DEMO, "--where", rows)
    assert "or fit a law without N: dcpt_one_size, dcpt_saturating_one_size, bimix (`fit auto` compares them)" in told
    assert "--fix" not in told


def tokens(tmp_path: Path, runs: int) -> str:
    """A file of runs of one size that differ in tokens alone."""
    D = np.geomspace(1e8, 1e10, 24)
    loss = (2 + 3e3 / D**0.4) * np.exp(0.003 * np.random.default_rng(0).standard_normal(24))
    file = tmp_path / f"{runs}.csv"
    pd.DataFrame({"run": np.arange(24) % runs, "N": 1e8, "D": D, "loss": loss}).to_csv(file, index=False)
    return str(file)


def test_runs_of_one_size_that_differ_in_tokens_have_a_law(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "fit", "auto", "--table", tokens(tmp_path, runs=6))
    assert (found["law"], found["compared"]["by"], found["converged"]) == ("chinchilla_one_size", "run", True)
    assert main(["fit", "auto", "--table", tokens(tmp_path, runs=1)]) == 0  # nothing to leave out but tokens
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "24 rows of 1 run, 10 folds by D"
    (taken,) = (line for line in lines if line.startswith("taken: "))
    assert taken.endswith("; its 3 parameters are too many for 1 run, as are those of every law as good")
    assert lines.index(taken) < next(i for i, line in enumerate(lines) if "estimate" in line)
    (head,) = (line for line in lines if line.startswith("left out  "))
    assert head.endswith(" chinchilla_one_size")


@pytest.mark.slow
def test_a_law_with_fewer_parameters_than_runs_is_taken_before_one_with_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of eight runs: Chinchilla's has five parameters, Farseer's, which fits as well, nine."""
    columns = pd.DataFrame([(N, D) for N in np.geomspace(1e8, 6e9, 8) for D in np.geomspace(1e9, 1e11, 5)])
    columns.columns = ["N", "D"]
    noise = 0.004 * np.random.default_rng(3).standard_normal(40)
    loss = LAWS["chinchilla"].value({"E": 1.8, "A": 480, "alpha": 0.35, "B": 2000, "beta": 0.37}, columns)
    file = tmp_path / "runs.csv"
    columns.assign(run=np.repeat(np.arange(8), 5), loss=loss * np.exp(noise)).to_csv(file, index=False)
    found = document(capsys, "fit", "auto", "--table", str(file))
    count = {law["law"]: law["parameters"] for law in found["compared"]["laws"] if law["standing"] != "worse"}
    assert count[found["law"]] < 8 < max(count.values())


@pytest.mark.slow
def test_where_the_rows_identify_no_law_that_is_the_first_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two sizes no law of size and tokens has parameters that the rows can tell apart."""
    columns = pd.DataFrame([(N, D) for N in (1e8, 1e9) for D in np.geomspace(1e9, 1e11, 12)], columns=["N", "D"])
    noise = 0.002 * np.random.default_rng(0).standard_normal(24)
    loss = LAWS["chinchilla"].value({"E": 1.8, "A": 480, "alpha": 0.35, "B": 2000, "beta": 0.37}, columns)
    file = tmp_path / "runs.csv"
    columns.assign(run=np.repeat(np.arange(8), 3), loss=loss * np.exp(noise)).to_csv(file, index=False)
    found = document(capsys, "fit", "auto", "--table", str(file))
    counts = {law["law"]: law["parameters"] for law in found["compared"]["laws"] if law["standing"] != "worse"}
    assert not found["compared"]["identified"]
    assert counts[found["law"]] < 8 or min(counts.values()) >= 8  # no law of too many where there are others
    assert main(["fit", "auto", "--table", str(file)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert found["compared"]["taken"] == first
    assert first.startswith("these rows identify all parameters of no law that predicts as well as the best. Taken: ")
    assert "not for its parameters (not identified: " in first


@pytest.mark.slow
def test_the_best_law_of_own_runs_reaches_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for role, corpus in (("general", "docs"), ("domain", "python")):
        rows = f"{KIND} and corpus == '{corpus}' and peak == 1"
        found = document(capsys, "fit", "auto", "--table", DEMO, "--where", rows)
        names = [law["law"] for law in found["compared"]["laws"]]
        assert found["law"] in names
        assert {"dcpt_one_size", "dcpt_saturating_one_size"} <= set(names)
        assert found["compared"]["left_out"]["dcpt"].startswith("N: the same in all")
        file = tmp_path / f"{role}.json"
        file.write_text(json.dumps(found))
        files += [f"--{role}", str(file)]
    status = main(["mix", *files, "--D", "6e5", "--tolerance", "0.1", "--base-loss", "3.615"])  # no law reads --N
    printed = capsys.readouterr().out
    assert status in (0, 1)
    assert printed.startswith("r = 0.6") if status == 0 else printed.startswith(("NO ANSWER", "NOT SUPPORTED"))


@pytest.mark.slow
def test_a_law_of_peak_and_replay_reaches_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for role, corpus in (("general", "docs"), ("domain", "python")):
        rows = f"{KIND} and corpus == '{corpus}'"
        found = document(capsys, "fit", "peak_replay", "--table", DEMO, "--where", rows)
        assert found["converged"]
        assert found["mre"] < 0.02
        file = tmp_path / f"{role}.json"
        file.write_text(json.dumps(found))
        files += [f"--{role}", str(file)]
    call = ["mix", *files, "--D", "6e5", "--tolerance", "0.1", "--base-loss", "3.615", "--given", "lr=3e-3"]
    status = main([*call, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (status, found["verdict"]) == (0, "supported"), found["why"]
    assert 0.6 < found["r"] < 0.72  # by the runs themselves .66
