"""`fit --report` as a reader of the page finds it: what speaks against the fit, and all it takes to do it again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.fitting.fit_file import read_fit
from analysis.laws.sizes import CHINCHILLA
from tests.called import refused

TRUTH = {"E": 1.7, "A": 400.0, "alpha": 0.34, "B": 410.0, "beta": 0.28}
SIZES, TOKENS = np.geomspace(1e8, 1e10, 6), np.geomspace(1e9, 1e11, 6)
ODD = "D|tokens <b>"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "runs.csv"
    made = pd.MultiIndex.from_product([SIZES, TOKENS], names=["N", "D"]).to_frame(index=False)
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(len(made)))
    made = made.assign(loss=CHINCHILLA.value(TRUTH, made) * noise, run=made.N.map("{:.3g} params".format))
    made.rename(columns={"D": ODD}).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def page(table: Path) -> Path:
    """A Markdown report."""
    out = table.with_name("out.md")
    law = ["fit", "chinchilla", "--table", str(table), "--map", f"D={ODD}", "--where", "N > 2e8", "--fix", "E=1.7"]
    assert main([*law, "--report", str(out)]) == 0
    return out


def test_the_page_says_what_was_done(page: Path, table: Path) -> None:
    text = page.read_text()
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "What speaks against it",
        "Data",
        "Parameters",
        "Figures",
        "What it predicts that it has not seen",
        "To do it again",
    ]
    assert hashlib.sha256(table.read_bytes()).hexdigest() in text
    for expected in (
        "given, not fitted: E = 1.7",
        "| rows of the file | 36 |",
        "| rows fitted | 30 |",
        "| --where | N &gt; 2e8 |",
        "| runs | 5, told apart by run |",
        "standard errors by run, Student's t",
        "Mean relative error, runs left out: 0.",
        "| N = 1e+10 | 6 | 0.",
        "--fix E=1.7 --report",
        "| scipy | ",
    ):
        assert expected in text, expected
    assert "2203.15556" in text


def test_the_fit_lies_beside_the_page(page: Path) -> None:
    folder = page.with_name("out_files")
    names = {path.name for path in folder.iterdir()}
    assert {"predicted.png", "curves.png", "residuals.png", "fit.json"} <= names
    assert read_fit(folder / "fit.json").n_points == 30
    for name in names:
        assert (f"out_files/{name}" in page.read_text()) == name.endswith(".png")


def test_names_of_the_table_are_escaped(page: Path) -> None:
    text = page.read_text()
    assert "D\\|tokens &lt;b&gt;" in text
    assert "<b>" not in text.replace(f"'D={ODD}'", "")  # but in the command, which stands in a fence


def test_html_is_one_file_and_says_first_what_does_not_hold(table: Path) -> None:
    out, law = table.with_name("out.html"), ["--map", f"D={ODD}", "--where", "N > 2e8", "--fix", "E=1.7"]
    assert main(["fit", "chinchilla", "--table", str(table), *law, "--report", str(out)]) == 0
    text = out.read_text()
    assert text.count("data:image/png;base64,") >= 3
    doubts, parameters = text.index("What speaks against it"), text.index("<h2>Parameters")
    assert "5 runs for 4 parameters are too few" in text[doubts:parameters]


@pytest.mark.parametrize(
    ("name", "why"),
    [("out.pdf", "no kind of file for it"), ("nowhere/out.md", "there is no folder"), ("runs.md", "that is no report")],
)
def test_where_no_page_can_be_is_refused_before_the_fit(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, why: str
) -> None:
    table.with_name("runs.md").write_text("mine")
    told = refused(monkeypatch, capsys, "fit", "dcpt", "--table", "nowhere.csv", "--report", str(table.parent / name))
    assert why in told
    assert table.with_name("runs.md").read_text() == "mine"
