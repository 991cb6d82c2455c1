"""`python -m analysis fit auto`: the laws that the columns identify, compared, and the best of them fitted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.__main__ import main
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
