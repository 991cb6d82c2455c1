"""`python -m analysis fit | mix | next` as a user calls them: what they print, and what a wrong call is told."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.answers.optimise import critical_share
from analysis.commands.mix import answer_lines, warning_lines
from analysis.fitting.fit_file import from_document, read_fit
from harness.core.errors import InputError
from tests.called import document, refused
from tests.planted import TRUTH, design, losses

GENERAL = {**TRUTH, "E": 2.0, "C": 0.4}
POINT = ["--N", "1.8e9", "--D", "1e10"]
CRITICAL = ["--general", "F/general.json", *POINT, "--base-loss", "3"]
TWICE = ["--fit", "docs=F/domain.json", "--fit", "docs=F/general.json"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """domain.csv and general.csv of the same 27 runs, with columns of somebody else's names."""
    folder = tmp_path_factory.mktemp("tables")
    runs = design(8)
    for name, truth, seed in (("domain", TRUTH, 0), ("general", GENERAL, 1)):
        table = losses(runs.assign(r=runs.r if name == "domain" else 1 - runs.r), truth, seed, row_noise=0.002)
        theirs = table.rename(columns={"N": "params", "r": "share", "loss": "val_loss", "run": "id"})
        theirs.assign(billions=theirs.D / 1e9).drop(columns="D").to_csv(folder / f"{name}.csv", index=False)
    return folder


MAP = "N=params,D=billions*1e9,r=share,loss=val_loss,run=id"


@pytest.fixture(scope="module")
def fits(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """domain.json and general.json with 40 paired draws, and unpaired.json of another seed."""
    folder = tmp_path_factory.mktemp("fits")
    with pytest.MonkeyPatch.context() as patch:
        for name, table, seed in (("domain", "domain", 0), ("general", "general", 0), ("unpaired", "general", 1)):
            path = folder / f"{name}.json"
            with path.open("w") as file:
                patch.setattr(sys, "stdout", file)
                main(
                    [
                        "fit",
                        "dcpt",
                        "--table",
                        str(tables / f"{table}.csv"),
                        "--map",
                        MAP,
                        "--bootstrap",
                        "40",
                        "--seed",
                        str(seed),
                        "--json",
                    ]
                )
    return folder


def test_fit_json(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(
        capsys,
        "fit",
        "dcpt",
        "--table",
        str(tables / "domain.csv"),
        "--map",
        MAP,
        "--bootstrap",
        "20",
        "--loss",
        "huber:1e-3",
    )
    assert found["schema"] == "rewarm.fit/1"
    assert found["law"] == "dcpt"
    assert found["n_points"] == 216
    assert found["n_runs"] == 27
    assert found["map"]["D"] == "billions*1e9"
    assert found["converged"] is True
    assert found["r2"] > 0.999
    assert len(found["bootstrap"]["draws"]) == 20


def test_fit_for_a_reader(tables: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    figure = tmp_path / "fit.png"
    assert (
        main(
            [
                "fit",
                "dcpt",
                "--table",
                str(tables / "domain.csv"),
                "--map",
                MAP,
                "--where",
                "params > 6e8",
                "--plot",
                str(figure),
            ]
        )
        == 0
    )
    captured = capsys.readouterr()
    assert captured.err == ""
    for expected in (
        "dcpt: loss = E + A/N**alpha",
        "144 rows of 18 runs (run); huber 0.001 of log residuals",
        "90% interval",
        "dL/dr < 0 at ",
        "not identified",
        "intervals from standard errors",
    ):
        assert expected in captured.out
    assert figure.stat().st_size > 10_000


def test_mix_answers_the_paper_s_three_usages(fits: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    both = ["--general", str(fits / "general.json"), "--domain", str(fits / "domain.json")]
    figure = tmp_path / "mix.pdf"
    first = document(capsys, "mix", *both, *POINT, "--tolerance", "0.03", "--base-loss", "2.9", "--plot", str(figure))
    assert first["schema"] == "rewarm.mix/1"
    assert {"usage", "r", "interval", "status", "loss", "limit", "extrapolated", "paired"} <= first.keys()
    assert first["paired"] is True
    assert first["limit"] == pytest.approx(2.9 * 1.03)
    low, high = first["interval"]["r"]
    assert low <= first["r"] <= high
    assert first["loss"]["general"] <= first["limit"] + 1e-4
    assert figure.exists()
    second = document(capsys, "mix", "--domain", str(fits / "domain.json"), "--N", "1.8e9", "--domain-tokens", "5e9")
    assert second["usage"] == "limited_domain"
    third = document(capsys, "mix", "--domain", str(fits / "domain.json"), "--flops", "1e20", "--r", "0.5")
    assert 6 * third["values"]["N"] * third["values"]["D"] == pytest.approx(1e20)
    fourth = document(capsys, "mix", "--general", str(fits / "general.json"), *POINT, "--base-loss", "3.0")
    assert fourth["usage"] == "critical_share"
    assert main(["mix", *both, *POINT, "--tolerance", "0.03", "--base-loss", "2.9"]) == 0
    text = capsys.readouterr().out
    assert f"r = {first['r']:.4g}   90% interval" in text
    assert "limit of the general loss 2.9870" in text


def test_next_prints_a_sweep_file(
    fits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    monkeypatch.setenv("COLUMNS", "60")  # a narrow terminal wraps what is read, not what is a file

    sweep = tmp_path / "theirs.yaml"
    sweep.write_text(
        "defaults: [config, override scale: paper, override schedule: warmup_constant, _self_]\n"
        "peak: 0.5\nevaluate: {every: 1e9}\n"
    )
    arguments = [
        "next",
        "--base-sweep",
        str(sweep),
        "--run-cost",
        "60s",
        "--runs",
        "3",
        "--general",
        str(fits / "general.json"),
        "--domain",
        str(fits / "domain.json"),
        *POINT,
        "--tolerance",
        "0.03",
        "--base-loss",
        "2.9",
        "--budget",
        "1e21",
        "--models",
        "pythia-410m,pythia-1.4b",
    ]
    found = document(capsys, *arguments)
    assert found["schema"] == "rewarm.next/1"
    assert found["flops"] <= 1e21
    assert {"model", "N", "D", "r", "flops", "gain_per_flop"} <= found["points"][0].keys()
    assert main(arguments) == 0
    text = capsys.readouterr().out
    swept = yaml.safe_load(text)
    assert swept["peak"] == 0.5  # as the sweep that is extended
    assert len(swept["grids"]) == len(found["points"])
    assert len(swept["grids"]) == 3
    lines = text.splitlines()
    assert "90% interval" in lines[1]
    assert "".join(lines[2:4]).replace("# ", " ").strip() == (
        "beside what it trains and measures, a run costs 9.6e+15 FLOPs: 60 s a run, as given, at the 1.6e+14 FLOP/s "
        "that scale=paper assumes"
    )


def bad(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The table with one thing wrong."""
    spoil: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "few": lambda t: t.iloc[::50],
        "one size": lambda t: t[t.params == t.params.max()],
        "constant": lambda t: t.assign(share=0.5),
        "missing": lambda t: t.assign(val_loss=t.val_loss.where(t.index != 3)),
        "negative": lambda t: t.assign(val_loss=t.val_loss.where(t.index != 3, -1.0)),
        "percent": lambda t: t.assign(share=100 * t.share),
        "outside": lambda t: t.assign(share=t.share + 120),
        "units": lambda t: t.assign(params=t.params / 1e9),
        "duplicate": lambda t: pd.concat([t, t.iloc[:3]]),
        "text": lambda t: t.assign(val_loss=t.val_loss.astype(object).where(t.index != 3, "n/a ")),
    }
    return spoil[kind](table)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("few", "5 different points for the 9 parameters of dcpt"),
        ("one size", "or fit a law without N: dcpt_one_size, dcpt_saturating_one_size, "),
        ("constant", "the same in all 216 rows"),
        ("missing", "missing"),
        ("negative", "losses are not positive (row 5)"),
        ("percent", "looks like percent; --map 'r=share/100'"),
        ("outside", "shares are outside [0, 1]"),
        ("units", "as if it were in units of 1e9; --map 'N=params*1e9'"),
        ("duplicate", "3 rows repeat others"),
        ("text", "n/a"),
    ],
)
def test_bad_tables_are_refused_in_one_line(
    tables: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    expected: str,
) -> None:
    path = tmp_path / "bad.csv"
    bad(pd.read_csv(tables / "domain.csv"), kind).to_csv(path, index=False)
    assert expected in refused(monkeypatch, capsys, "fit", "dcpt", "--table", str(path), "--map", MAP)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fit", "dcptt", "--table", "T"], "no such law"),
        (["fit", "dcpt", "--table", "nowhere.csv"], "nowhere.csv"),
        (["fit", "dcpt", "--table", "T", "--map", "N=parms"], "it has params"),
        (["fit", "dcpt", "--table", "T", "--map", MAP, "--loss", "huber:-1"], "not positive"),
        (["fit", "dcpt", "--table", "T", "--map", MAP, "--fix", "delta=1"], "no parameter of dcpt"),
        (["fit", "dcpt", "--table", "T", "--map", MAP, "--fix", "A"], "write --fix NAME=NUMBER"),
        (["fit", "dcpt", "--table", "T", "--map", MAP, "--bootstrap", "-1"], "fewer than 20 resamples"),
        (["fit", "dcpt", "--table", "T", "--map", MAP, "--group", "runn"], "group=runn: there is no column runn"),
        (["fit", "dcpt", "--table", "T", "--map", MAP, "--plot", "fit.jpeg"], "no kind of file for it"),
        (["fit", "dcpt", "--table", "T", "--map", MAP, "lr=1"], "give --table FILE or KNOB=VALUE, not both"),
        (["fit", "dcpt", "--root", "nowhere"], "there is no store"),
        (["mix"], "no fit to decide by"),
        (["mix", "--domain", "F/domain.json"], "give --general, --domain-tokens or --flops"),
        (["mix", "--domain", "F/domain.json", "--general", "F/general.json"], "give --N"),
        (["mix", "--domain", "F/domain.json", "--general", "T", *POINT], "cannot be read"),
        (
            [
                "mix",
                "--domain",
                "F/domain.json",
                "--general",
                "F/unpaired.json",
                *POINT,
                "--tolerance",
                "0.03",
                "--base-loss",
                "2.9",
            ],
            "independent",
        ),
        (["mix", "--fit", "docs"], "write --fit docs=docs.json"),
        (["mix", *TWICE, "--tokens", "1e9"], "docs is given twice"),
        (["mix", "--fit", "docs=F/domain.json", "--tokens", "1e9", "--D", "1e9"], "D=1000000000.0: plays no part"),
        (["mix", "--domain", "F/domain.json", "--flops", "1e20", "--r", "0.5", "--N", "1e9"], "N=1000000000.0: plays"),
        (
            ["mix", "--domain", "F/domain.json", "--general", "F/general.json", "--flops", "1e20", "--r", "0.5"],
            "general.json: plays no part in the best N and D",
        ),
        (
            [
                "mix",
                "--domain",
                "F/domain.json",
                "--general",
                "F/general.json",
                *POINT,
                "--tolerance",
                "0.03",
                "--base-loss",
                "2.9",
                "--increase",
                "0.1",
            ],
            "increase=0.1: plays no part in the share under a tolerance",
        ),
        (["mix", "--domain", "F/domain.json", *POINT, "--domain-tokens", "5e9"], "D=10000000000.0: plays no part"),
        (["mix", *CRITICAL, "--r", "0"], "r=0.0: plays no part"),
        (["mix", *CRITICAL, "--weights", "a=1"], "weights=a=1: plays no"),
        (["mix", *CRITICAL, "--tokens", "1"], "tokens=1.0: plays no part"),
        (["mix", *CRITICAL, "--available", "a=1"], "plays no part"),
        (["mix", *CRITICAL, "--most-epochs", "4"], "plays no part"),
        (["mix", *CRITICAL, "--increase", "nan"], "is no rise of the loss"),
        (["mix", *CRITICAL, "--increase", "-1"], "is no rise of the loss"),
        (
            [
                "next",
                "--domain",
                "F/domain.json",
                "--general",
                "F/general.json",
                "--N",
                "1.8e9",
                "--domain-tokens",
                "5e9",
                "--budget",
                "1e21",
            ],
            "general.json: plays no part in the next runs for limited downstream tokens",
        ),
        (
            [
                "next",
                "--domain",
                "F/domain.json",
                "--N",
                "1.8e9",
                "--domain-tokens",
                "5e9",
                "--tolerance",
                "0.03",
                "--budget",
                "1e21",
            ],
            "tolerance=0.03: plays no part",
        ),
        (
            [
                "next",
                "--domain",
                "F/domain.json",
                "--N",
                "1.8e9",
                "--domain-tokens",
                "5e9",
                "--base-loss",
                "2.9",
                "--budget",
                "1e21",
            ],
            "base-loss=2.9: plays no part",
        ),
        (["next", "--domain", "F/domain.json"], "--budget"),
        (
            [
                "next",
                "--domain",
                "F/domain.json",
                "--general",
                "F/general.json",
                *POINT,
                "--tolerance",
                "0.03",
                "--base-loss",
                "2.9",
                "--budget",
                "1",
                "--models",
                "pythia-410m",
            ],
            "budget",
        ),
    ],
)
def test_wrong_calls_are_one_line_and_status_2(
    tables: Path,
    fits: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    places = {"T": str(tables / "domain.csv")}
    given = [places.get(argument, argument.replace("F/", f"{fits}/")) for argument in arguments]
    assert expected in refused(monkeypatch, capsys, *given)


def test_the_loss_of_an_allocation_is_named_by_its_fit(fits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for role in ("general", "domain"):
        found = document(capsys, "mix", f"--{role}", str(fits / f"{role}.json"), "--flops", "1e20", "--r", "0.5")
        assert list(found["loss"]) == [role]


def test_a_decision_warns_of_what_it_is_built_on(fits: Path) -> None:
    fit = read_fit(fits / "domain.json")
    assert fit.draws is not None
    sure = replace(fit, unidentified=(), on_bound=(), draws=replace(fit.draws, failed=0))
    assert warning_lines({"domain": sure}) == []
    unsure = replace(fit, unidentified=("A", "alpha"), on_bound=("C",), draws=replace(fit.draws, failed=3))
    assert warning_lines({"domain": unsure}) == [
        "warning: the fit of domain: the data do not identify A, alpha",
        "warning: the fit of domain: on a bound, where intervals are not what they say: C",
        "warning: the fit of domain: 3 of 40 resamples have no fit and are left out",
    ]


def test_an_interval_is_told_of_only_where_there_is_one(fits: Path) -> None:
    general = read_fit(fits / "general.json")
    nowhere = answer_lines(critical_share(general, base_loss=0.1, N=1.8e9, D=1e10))
    assert "100% of the draws have no answer" in nowhere


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"parameters": {"E": 1.6}}, "parameters E are not"),
        ({"parameters": {"E": None}, "merge": True}, "E = None is not inside"),
        ({"parameters": {"E": -1.0}, "merge": True}, "E = -1.0 is not inside"),
        ({"parameters": {"E": math.nan}, "merge": True}, "E = nan is not inside"),
        ({"parameters": {"E": "1.6"}, "merge": True}, "parameters are not all numbers"),
        ({"range": {}}, "range is of nothing"),
        ({"range": {"N": [2e9, 1e9]}, "merge": True}, "range of N is"),
        ({"rows": {"N": [1e9]}}, "rows lack"),
        ({"n_points": 5}, "rows are not 5 rows"),
        ({"converged": "no"}, "converged is 'no'"),
        ({"n_runs": "many"}, "n_runs is 'many'"),
        ({"bootstrap": {"draws": [[1.0] * 3] * 3}, "merge": True}, "draws are not rows of 9 parameters"),
    ],
)
def test_a_file_that_no_fit_wrote_is_refused(fits: Path, change: dict[str, Any], why: str) -> None:
    document = json.loads((fits / "domain.json").read_text())
    merge = change.pop("merge", False)
    changed = {key: {**document[key], **value} if merge else value for key, value in change.items()}
    with pytest.raises(InputError, match="not as this version writes it") as refusal:
        from_document({**document, **changed})
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_fit_of_another_law_is_refused(
    tables: Path, fits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["fit", "chinchilla", "--table", str(tables / "domain.csv"), "--map", MAP, "--pool", "r", "--json"]) == 0
    )
    other = tmp_path / "chinchilla.json"
    other.write_text(capsys.readouterr().out)
    assert read_fit(other).law.name == "chinchilla"
    told = refused(
        monkeypatch,
        capsys,
        "mix",
        "--general",
        str(other),
        "--domain",
        str(fits / "domain.json"),
        *POINT,
        "--tolerance",
        "0.03",
        "--base-loss",
        "2.9",
        "--independent",
    )
    assert "chinchilla" in told
