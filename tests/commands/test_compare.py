"""`python -m analysis compare` as a user calls it: the verdict first, every fold of every law, refusals in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.__main__ import main
from tests.called import document, refused
from tests.planted import TRUTH, design, losses


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("compare") / "runs.csv"
    losses(design(8), TRUTH, 0, row_noise=0.002).rename(columns={"D": "tokens"}).to_csv(file, index=False)
    return str(file)


def test_the_verdict_stands_first(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "chinchilla", "dcpt", "--table", table, "--map", "D=tokens", "--folds", "5"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert lines[:2] == ["best is dcpt; worse is chinchilla", "216 rows of 27 runs, 5 folds by run"]
    assert lines[3].split()[:2] == ["law", "error"]
    assert lines[4].startswith("dcpt ")
    assert "part 5 of the runs, 5" in captured.out
    assert max(map(len, lines)) <= 80


def test_the_document_holds_every_fold(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--map", "D=tokens", "--where", "N > 6e8", "--fix", "E=1.6"]
    found = document(capsys, "compare", "chinchilla", "dcpt", "--table", table, *where, "--by", "tokens")
    assert found["schema"] == "rewarm.compare/1"
    assert found["laws"][0]["law"] == "dcpt"
    assert [law["parameters"] for law in found["laws"]] == [8, 4]  # E is given to both
    assert [len(law["folds"]) for law in found["laws"]] == [8, 8]
    assert found["laws"][1]["low"] > 1


def test_a_law_that_cannot_be_judged_is_said(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "dcpt", "--table", table, "--map", "D=tokens", "--by", "N", "--leave", "largest"]) == 0
    captured = capsys.readouterr()
    assert "dcpt cannot be judged on N = 1.8e+09: one value of N is left" in captured.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["dcpt", "dcpt"], "law=dcpt: is given twice"),
        (["dcpt", "dcptt"], "no such law"),
        (["dcpt", "--by", "K"], "the table has no column K"),
        (["dcpt", "--leave", "small"], "choose of each, largest"),
        (["dcpt", "--folds", "1"], "fewer than two"),
        (["dcpt", "--fix", "kappa=1"], "no law has this parameter"),
        (["dcpt", "--seed", "-1"], "a negative number"),
        (["dcpt", "lr=1"], "give --table FILE or KNOB=VALUE, not both"),
        (["dcpt", "--group", "runn"], "there is no column runn"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    assert expected in refused(monkeypatch, capsys, "compare", *arguments, "--table", table, "--map", "D=tokens")


def test_fit_leaves_comparing_to_compare(
    table: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(monkeypatch, capsys, "fit", "dcpt", "--table", table, "--validate", "N")
    assert "no such option" in told
    assert Path(table).exists()
