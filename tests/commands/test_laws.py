"""`python -m analysis laws` as a user calls it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.commands.laws import WIDTH, every_law
from analysis.fitting.fit_file import read_fit
from analysis.laws.library import FAMILIES, LAWS, find
from tests.called import document, refused

MINE = """
[mine]
formula = "E + A/D**beta"
variables = {D = "tokens"}
linear = ["E", "A"]
starts = {beta = [0.05, 0.9]}
"""


SHARES = """
[mine]
formula = "E + a/(web + 0.05)**p - c*web*books + d*code**2"
variables = {web = "share", books = "share", code = "share"}
linear = ["E", "a", "c", "d"]
starts = {p = [0.1, 1.0]}
shares = ["web", "books", "code"]
"""


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["laws", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()


def test_every_law_is_listed_with_its_status_on_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys)
    assert max(map(len, lines)) <= WIDTH
    heads = [line for line in lines if line and not line.startswith(" ")]
    assert [head.split()[0] for head in heads[:-1]] == [*LAWS, *(f"{name}:DOMAINS" for name in FAMILIES)]
    statuses = {head.split()[0]: head.split(maxsplit=1)[1] for head in heads[:-1]}
    assert statuses["chinchilla"] == "verified"
    assert statuses["dcpt"] == "unverified: form not read"
    assert statuses["data_constrained"] == "unverified: no public table"
    assert statuses["forgetting"] == "unverified: form not read, no public table"
    verified = sum(status == "verified" for status in statuses.values())
    assert heads[-1].startswith(f"{len(statuses)} laws, {verified} verified")


@pytest.mark.parametrize("name", [*LAWS, "quadratic:a,b,c,d", "shukor_joint:some_long_name,another_long_name"])
def test_one_law_is_shown_with_its_parameters_on_80_columns(capsys: pytest.CaptureFixture[str], name: str) -> None:
    lines = shown(capsys, name)
    assert lines[0].startswith(name)
    assert max(map(len, lines)) <= WIDTH
    law = document(capsys, "laws", name)["laws"][0]
    text = "\n".join(lines)
    assert all(f"\n  {parameter} " in text for parameter in law["parameters"])
    assert all(f"{variable}: {unit}" in text for variable, unit in law["variables"].items())


def test_the_document_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "laws")
    assert found["schema"] == "rewarm.laws/1"
    by_name = {law["name"]: law for law in found["laws"]}
    assert set(by_name) == set(every_law())
    assert by_name["mixing"]["checked"] == ["mixinglaws_2mix", "mixinglaws_cpt70M"]
    assert by_name["dcpt"]["read"] is None
    assert by_name["dcpt"]["missing"] == ["form not read"]
    assert by_name["dcpt"]["shares"] == ["r"]
    assert by_name["chinchilla"]["variables"] == {"N": "parameters", "D": "tokens"}


def test_laws_of_ones_own_are_shown_and_unverified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.toml").write_text(MINE)
    lines = shown(capsys, str(tmp_path / "my.toml"))
    assert lines[0].split() == ["mine", "unverified:", "form", "not", "read,", "no", "public", "table"]
    assert "no source is given" in lines[3]
    wrong = MINE.replace("[mine]", "[wrong]").replace('"A"]', '"A", "C"]')
    (tmp_path / "two.toml").write_text(MINE + wrong)
    first, _, *lines = shown(capsys, str(tmp_path / "two.toml"))
    assert first.startswith("cannot be used: law wrong of two.toml=")
    assert lines[0].startswith("mine  ")
    assert "law wrong of two.toml=" in refused(monkeypatch, capsys, "laws", f"{tmp_path / 'two.toml'}:wrong")
    assert "did you mean dcpt?" in refused(monkeypatch, capsys, "laws", "dpct")
    assert "argument=chinchilla: not known here" in refused(monkeypatch, capsys, "laws", "dcpt", "chinchilla")


def test_a_law_of_ones_own_over_shares_reaches_mix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file, from a table to the best mixture: that of a grid of all of them."""
    (tmp_path / "my.toml").write_text(SHARES)
    law, truth = find(f"{tmp_path / 'my.toml'}:mine"), {"E": 1.5, "a": 0.3, "p": 0.5, "c": 0.4, "d": 0.2}
    table = pd.DataFrame(np.random.default_rng(0).dirichlet(np.ones(3), 40), columns=["web", "books", "code"])
    noise = 1 + 0.001 * np.random.default_rng(1).standard_normal(40)
    table.assign(loss=law.value(truth, table) * noise).to_csv(tmp_path / "runs.csv", index=False)
    with (tmp_path / "web.json").open("w") as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        assert main(["fit", str(tmp_path / "my.toml"), "--table", str(tmp_path / "runs.csv"), "--json"]) == 0
    answer = document(capsys, "mix", "--fit", f"web={tmp_path / 'web.json'}", "--tokens", "1e9")
    web, books = (x.reshape(-1) for x in np.meshgrid(np.arange(0, 1.001, 0.005), np.arange(0, 1.001, 0.005)))
    kept = web + books <= 1 + 1e-12
    shares = {"web": web[kept], "books": books[kept], "code": np.maximum(1 - web[kept] - books[kept], 0.0)}
    losses = law.value(read_fit(tmp_path / "web.json").parameters, shares)
    best = int(losses.argmin())
    assert answer["values"] == pytest.approx({name: float(shares[name][best]) for name in shares}, abs=0.005)
    assert answer["loss"]["web"] <= losses[best] + 1e-9
    refusal = refused(
        monkeypatch, capsys, "mix", "--fit", f"web={tmp_path / 'web.json'}", "--tokens", "1e9", "--given", "U=1"
    )
    assert "no law of web has such a variable" in refusal
