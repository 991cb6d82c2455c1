"""`python -m analysis isoflop`: the verdict, the minima, and columns as people have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.answers.isoflop import optimal
from analysis.options.budgets import to_budgets
from harness.core.errors import InputError
from tests.called import document, refused
from tests.reference import reference

EXPONENT = 0.45


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five budgets of nine sizes around N* = 2e9 (C/1e20)^.45, skewed valleys, errors of .2 %."""
    random, parts = np.random.default_rng(0), []
    for C in np.geomspace(1e19, 1e21, 5):
        x = np.linspace(-1.2, 1.2, 9)
        loss = 1 + (C / 1e19) ** -0.08 * (np.exp(-0.3 * x) / 0.3 + np.exp(0.5 * x) / 0.5) / 3
        N = 2e9 * (C / 1e20) ** EXPONENT * np.exp(x)
        parts.append(pd.DataFrame({"params": N, "tokens": C / (6 * N), "val": loss, "Budget": C}))
    table = pd.concat(parts, ignore_index=True)
    table["val"] *= np.exp(random.normal(0, 2e-3, len(table)))
    path = tmp_path_factory.mktemp("isoflop") / "runs.csv"
    table.to_csv(path, index=False)
    return path


MAP = ("--map", "N=params,D=tokens,loss=val")


def test_the_power_laws_of_both_sizes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "isoflop", "--table", str(runs), *MAP, "--at", "1e22", "--extrapolate", "10")
    assert found["schema"] == "rewarm.isoflop/1"
    assert found["supported"] is True
    assert found["notes"] == ["C is the column Budget"]
    for of, exponent, best in (("N", EXPONENT, 2e9 * 100**EXPONENT), ("D", 1 - EXPONENT, None)):
        low, high = found["sizes"][of]["law"]["alpha"]["interval"]
        assert low < exponent < high
        if best is not None:
            assert found["sizes"][of]["best"]["interval"][0] < best < found["sizes"][of]["best"]["interval"][1]
    table = pd.read_csv(runs).rename(columns={"params": "N", "tokens": "D", "val": "loss", "Budget": "C"})
    assert found["sizes"]["N"]["law"]["alpha"]["estimate"] == optimal(table).parameters["alpha"]


def test_the_verdict_comes_first_and_minima_say_why_not(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["isoflop", "--table", str(runs), *MAP, "--of", "N", "--at", "9e20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("N* = ")
    assert "5 of 5 budgets" in lines[0]
    beyond = "C lies outside the fitted range by a factor of 10"
    for more, status, kind in (([], 1, "NOT SUPPORTED"), (["--extrapolate", "10.1"], 0, "EXTRAPOLATED")):
        assert main(["isoflop", "--table", str(runs), *MAP, "--of", "N", "--at", "1e22", *more]) == status
        assert capsys.readouterr().out.splitlines()[0] == f"{kind}: {beyond}"
    far = document(capsys, "isoflop", "--table", str(runs), *MAP, "--at", "1e22", status=1)
    assert (far["verdict"], far["supported"]) == ("not supported", False)
    assert max(map(len, lines)) <= 110
    table = pd.read_csv(runs)
    small = table[table.params < table.groupby("Budget").params.transform("median")]
    path = tmp_path / "small.csv"
    small.to_csv(path, index=False)
    assert main(["isoflop", "--table", str(path), *MAP, "--of", "N", "--plot", str(tmp_path / "a.png")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("NO POWER LAW of N*: 0 of 5 budgets have a minimum to be trusted")
    table_lines = [line for line in lines if line.endswith(("  no", "  yes"))]
    assert (len(table_lines), max(map(len, table_lines)) <= 80) == (5, True)
    assert sum(line.count(",") + 1 for line in lines if line.startswith("not trusted: ")) == 5
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_budgets_are_computed_where_no_column_says_them(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """6 N D of runs that stop up to 2 % early or late; or N and a budget alone."""
    table = pd.read_csv(runs)
    random = np.random.default_rng(0)
    table["tokens"] *= random.uniform(0.98, 1.02, len(table))
    path = tmp_path / "achieved.csv"
    table.drop(columns="Budget").to_csv(path, index=False)
    found = document(capsys, "isoflop", "--table", str(path), *MAP)
    assert found["notes"][0] == "C is 6 N D"
    assert "5 budgets, from which runs depart by up to" in found["notes"][1]
    assert [row["points"] for row in found["sizes"]["N"]["minima"]] == [9] * 5
    table.drop(columns="tokens").to_csv(path, index=False)
    found = document(capsys, "isoflop", "--table", str(path), "--map", "N=params,loss=val")
    assert "D is C/(6 N)" in found["notes"]


def test_a_budget_is_what_runs_meant(runs: Path) -> None:
    """Achieved FLOPs are put together within 5 %; what lies between budgets is refused, unless they are named."""
    table = pd.read_csv(runs).rename(columns={"Budget": "C"})
    budgets = np.unique(table.C)
    random = np.random.default_rng(0)
    achieved = table.assign(C=table.C * np.exp(random.uniform(-0.02, 0.02, len(table))))
    grouped, departure = to_budgets(achieved)
    assert grouped.groupby("C").size().tolist() == [9] * 5
    np.testing.assert_allclose(np.sort(grouped.C.unique()), budgets, rtol=0.02)
    assert 0.01 < departure < 0.05
    assert to_budgets(table)[1] == 0.0
    wild = table.assign(C=table.C * np.exp(random.uniform(-0.3, 0.3, len(table))))
    with pytest.raises(InputError, match=r"off the nearest budget .*name the budgets meant: --budgets"):
        to_budgets(wild)
    grouped, departure = to_budgets(wild, [float(C) for C in budgets])
    pd.testing.assert_series_equal(grouped.C, table.C)
    assert 0.2 < departure < 0.5
    with pytest.raises(InputError, match="off the nearest budget"):
        to_budgets(wild, [1e19])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--map", "N=params,D=tokens"], "loss: there is no such column"),
        (["--map", "loss=val"], "N: there is no such column"),
        ([*MAP, "--bootstrap", "3"], "too few for an interval"),
        ([*MAP, "--budgets", "1e19,x"], "not positive numbers"),
        ([*MAP, "--budgets", "1e19"], "off the nearest budget"),
        ([*MAP, "--of", "r"], "no such choice"),
        ([*MAP, "--map", "C=6*params*tokens*1.5", "--plot", "x.bmp"], "x.bmp"),
        ([*MAP, "--at", "-3"], "-3"),
        ([*MAP, "--seed", "-3"], "a negative number"),
        ([*MAP, "--map", "C=Budget/1e15"], "6 N D is 1e+15 times as much: other units?"),
        ([*MAP, "--map", "C=0"], "not a positive number in 45 rows"),
        ([*MAP, "--map", "w=-1", "--weights", "w"], "not numbers of zero or more"),
        (["--map", "N=params/1e9,D=tokens,loss=val"], "in units of 1e9"),
    ],
)
def test_wrong_input_is_one_line(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refused(monkeypatch, capsys, "isoflop", "--table", str(runs), *arguments)


def test_llama_3_in_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = reference("isoflops_openathena")
    path = tmp_path / "isoflops.csv"
    table.to_csv(path, index=False)
    arguments = ("--map", "N=params,D=tokens", "--where", "experiment == 'llama_3__raw_loss'", "--at", "3.8e25")
    far = (*arguments, "--extrapolate", "4000")
    best = document(capsys, "isoflop", "--table", str(path), *far)["sizes"]
    assert best["D"]["best"]["interval"][0] < 16.55e12 < best["D"]["best"]["interval"][1]
    assert best["N"]["best"]["interval"][0] < 402e9 < best["N"]["best"]["interval"][1]


def valleys(span: float, noise: float, sizes: int = 9) -> pd.DataFrame:
    """Five budgets over a factor of `span`, each of the same runs' sizes by number."""
    random, parts = np.random.default_rng(1), []
    for C in 1e20 * np.geomspace(1, span, 5):
        x = np.linspace(-1.2, 1.2, sizes)
        loss = 1 + (C / 1e19) ** -0.08 * (np.exp(-0.3 * x) / 0.3 + np.exp(0.5 * x) / 0.5) / 3
        N = 2e9 * (C / 1e20) ** EXPONENT * np.exp(x)
        parts.append(
            pd.DataFrame({"C": C, "N": N, "D": C / (6 * N), "loss": loss * np.exp(random.normal(0, noise, sizes))})
        )
    return pd.concat(parts, ignore_index=True)


def test_budgets_too_close_for_an_exponent_are_told_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over a factor of 1.5, errors of 1 % leave an exponent anywhere; the span that is named would do."""
    path = tmp_path / "close.csv"
    valleys(1.5, 0.01).to_csv(path, index=False)
    assert main(["isoflop", "--table", str(path), "--of", "N"]) == 1
    told = capsys.readouterr().out.splitlines()[0]
    assert told.startswith("NOT SUPPORTED: budgets over a factor of 1.5 tell the exponent of N* to ")
    wanted = float(told.rpartition("about ")[2])
    valleys(wanted, 0.01).to_csv(path, index=False)
    assert main(["isoflop", "--table", str(path), "--of", "N"]) == 0
    assert f"over a factor of {wanted:.3g}" in capsys.readouterr().out.splitlines()[0]
    low, high = document(capsys, "isoflop", "--table", str(path), "--of", "N")["sizes"]["N"]["law"]["alpha"]["interval"]
    assert (high - low) / 2 == pytest.approx(0.1, rel=0.7)


def test_too_few_sizes_are_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "few.csv"
    valleys(100, 0.001, sizes=3).to_csv(path, index=False)
    told = refused(monkeypatch, capsys, "isoflop", "--table", str(path))
    assert "no budget has 4 different N: the most is 3, of 5 budgets; train more sizes at each budget" in told


def test_runs_in_several_budgets_are_told_and_lines_keep_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shared.csv"
    table = valleys(100, 0.001)
    table.assign(run=table.groupby("C").cumcount()).to_csv(path, index=False)
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["isoflop", "--table", str(path), "--of", "N"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "warning: 9 runs are points of several budgets, and err"
    assert max(map(len, lines)) <= 70  # the rows of the table of minima, which are not broken
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["isoflop", "--table", str(path), "--of", "N"]) == 0
    assert capsys.readouterr().out.startswith("warning: 9 runs are points of several budgets, and err together there: ")


@pytest.mark.parametrize("rounding", [0.0, 2e-16, 1e-9])
def test_budgets_that_only_rounding_tells_apart_are_one(rounding: float) -> None:
    """6 N D of D = C/(6 N) is not C to the last bit."""
    random = np.random.default_rng(0)
    C = np.repeat([1e18, 3e18, 1e19], 7)
    table, departure = to_budgets(pd.DataFrame({"C": C * (1 + rounding * random.uniform(-1, 1, len(C)))}))
    assert table.C.nunique() == 3
    assert table.C.to_numpy() == pytest.approx(C, rel=1e-6)
    assert departure <= 1e-6
