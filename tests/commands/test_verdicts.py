"""What a command ends with: 0 for an answer that the data support, 1 for none or another, 2 for a wrong question."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.fitting.fit_file import to_document
from tests.answers.test_answer import pair
from tests.called import refused

LIMIT = ["--N", "1.8e9", "--D", "1e10", "--tolerance", "0.03", "--base-loss"]


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name a general and a domain fit."""
    folder = tmp_path_factory.mktemp("verdicts")
    for role, fit in pair().items():
        (folder / f"{role}.json").write_text(json.dumps(to_document(fit)))
    return [word for role in ("general", "domain") for word in (f"--{role}", str(folder / f"{role}.json"))]


def first_line(capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> str:
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()[0]


def test_the_verdict_is_the_first_line_and_the_status(fits: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert first_line(capsys, 0, "mix", *fits, *LIMIT, "2.9").startswith("r = ")
    assert first_line(capsys, 1, "mix", *fits, *LIMIT, "1.9").startswith(
        "NO ANSWER: the general loss stays at or above"
    )
    far = ["mix", *fits, *LIMIT, "2.9", "--D", "5e11"]
    assert first_line(capsys, 1, *far) == "NOT SUPPORTED: D lies outside the fitted range by a factor of 19.2"
    assert first_line(capsys, 0, *far, "--extrapolate", "20").startswith("EXTRAPOLATED: D lies outside")
    assert first_line(capsys, 1, *far, "--extrapolate", "19").startswith("NOT SUPPORTED")


def test_the_document_begins_with_the_verdict(fits: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for loss, status, kind in (("2.9", 0, "supported"), ("1.9", 1, "no answer")):
        assert main(["mix", *fits, *LIMIT, loss, "--json"]) == status
        found = json.loads(capsys.readouterr().out)
        assert list(found)[:4] == ["schema", "verdict", "supported", "why"]
        assert (found["verdict"], found["supported"]) == (kind, status == 0)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--extrapolate", "0.5"], "extrapolate=0.5: is no factor of at least 1"),
        (["--extrapolate", "nan"], "is no factor"),
        (["--D", "1e-5"], "no run has so few tokens"),
        (["--tolerance", "50"], "write 50 % as 0.5"),
        (["--tolerance", "-1"], "write 3 % as 0.03"),
    ],
)
def test_a_wrong_question_is_status_2(
    fits: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    told: str,
) -> None:
    assert told in refused(monkeypatch, capsys, "mix", *fits, *LIMIT, "2.9", *more)
    assert Path(sys.argv[0]).name == "analysis"


def test_a_fit_that_is_none_ends_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Losses that rise with every token: the law's trend is worse than their mean."""
    table = tmp_path / "rising.csv"
    rows = [f"{N:g},{D:g},{2 + 1e-9 * D:g}" for N in (1e8, 4e8, 1e9) for D in (1e9, 2e9, 4e9, 8e9)]
    table.write_text("\n".join(["N,D,loss", *rows]))
    call = ["fit", "chinchilla", "--table", str(table), "--fix", "E=1,alpha=0.3,beta=0.3,A=1"]
    line = first_line(capsys, 1, *call)
    assert line.startswith("NOT SUPPORTED: the fit of chinchilla is worse than the mean of its data (R²")
    assert main([*call, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert list(found)[:3] == ["schema", "verdict", "supported"]


def test_an_amount_that_no_law_depends_on_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for role, fit in pair().items():
        file = tmp_path / f"{role}.json"
        law = fit.law.fixed({"A": 0.0})
        parameters = {name: fit.parameters[name] for name in law.parameters}
        ranges = {name: ends for name, ends in fit.range.items() if name != "N"}
        kept = replace(fit, law=law, fixed={"A": 0.0}, parameters=parameters, range=ranges, draws=None, rows=None)
        file.write_text(json.dumps(to_document(kept)))
        files += [f"--{role}", str(file)]
    main(["mix", *files, *LIMIT, "2.9"])
    told = capsys.readouterr().out
    assert "warning: --N plays no part in the loss of general, domain: with A=0 its law has no N" in told
    assert "--D plays" not in told
