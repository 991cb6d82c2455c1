"""A forecast comes before its runs, cannot be changed, and its intervals hold what they say."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.fitting.fit import fit_law
from analysis.forecasts.forecast import next_run, read_forecast
from analysis.laws.library import LAWS
from harness.core.errors import InputError
from harness.plan.plan import PlannedRun
from harness.plan.run_file import run_document
from harness.store.history import Row
from tests import synthetic_store
from tests.called import document, refused
from tests.synthetic_store import Loss, points_of, row_of, write

TRUTH = {"E": 1.8, "A": 40.0, "alpha": 0.35, "B": 60.0, "beta": 0.33}
LAW = LAWS["chinchilla"]
KEPT = (0.0, 0.2, 0.5, 0.67)  # shares of replay whose runs are there; of the others nobody trained any


def off(point: PlannedRun) -> float:
    """How far a run lies from the law, relative."""
    return float(np.random.default_rng(int(point.key[:8], 16)).normal(0, 0.003))


def loss(point: PlannedRun, corpus: str, D: int, _: int) -> float:
    """Chinchilla's law of size and tokens, whatever the replay: runs err as one."""
    clean = LAW.value(TRUTH, {"N": size(point), "D": float(max(D, 1e4))})
    return float(clean) * (1 + off(point)) + (corpus == "docs")


def size(point: PlannedRun) -> float:
    """Parameters outside the embeddings."""
    return float(run_document(point)["non_embedding"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a part of a sweep."""
    root = tmp_path_factory.mktemp("forecast") / "store"
    write(root, [point for point in points_of(["dcpt"]) if point.run.config["replay"] in KEPT], loss)
    return root


@pytest.fixture(scope="module")
def fit(trained: Path) -> Path:
    """The fit of the downstream losses of that part."""
    file = trained.parent / "python.json"
    with file.open("w") as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        words = ["--sweep", "dcpt", "--root", str(trained), "--corpus", "python", "--pool", "replay,lr,r"]
        assert main(["fit", "chinchilla", *words, "--bootstrap", "200", "--json"]) == 0
    return file


@pytest.fixture
def frozen(trained: Path, fit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """A forecast of the other part."""
    return document(capsys, "forecast", "--freeze", "rest", *words(trained, tmp_path), *of(fit))


def words(root: Path, folder: Path) -> list[str]:
    return ["--root", str(root), "--folder", str(folder)]


def of(fit: Path) -> list[str]:
    return ["--fit", f"python={fit}", "--sweep", "dcpt"]


def test_what_is_said_is_the_law_at_runs_that_nobody_began(frozen: dict[str, Any], fit: Path) -> None:
    points = points_of(["dcpt"])
    others = [point for point in points if point.run.config["replay"] not in KEPT]
    assert {one["key"] for one in frozen["said"]} == {point.key for point in others}
    assert frozen["left_out"] == len(points) - len(others)
    parameters = json.loads(fit.read_text())["parameters"]
    for one, point in zip(frozen["said"], others, strict=True):
        tokens = point.program.tokens(point.program.steps) - point.program.tokens(point.base_position or 0)
        assert one["predicted"] == pytest.approx(float(LAW.value(parameters, {"N": size(point), "D": tokens})))
        assert one["low"] < one["predicted"] < one["high"]
        assert 1 < (one["high"] / one["low"] - 1) / (2 * 1.645 * 0.003) < 8  # twelve runs for five parameters
        assert one["beyond"] == {}
    assert len(frozen["fits"]["python"]["runs"]) == len(points) - len(others)


def test_a_forecast_is_neither_replaced_nor_changed(
    frozen: dict[str, Any],
    trained: Path,
    fit: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, arguments = tmp_path / "rest.json", words(trained, tmp_path)
    text = file.read_text()
    assert "is frozen already" in refused(monkeypatch, capsys, "forecast", "--freeze", "rest", *arguments, *of(fit))
    assert file.read_text() == text
    assert read_forecast(file).document()["hash"] == frozen["hash"]
    low = frozen["said"][0]["low"]
    for changed in (text.replace(repr(low), repr(low - 0.1)), text.replace('"made": "2', '"made": "1')):
        assert changed != text
        file.write_text(changed)
        told = refused(monkeypatch, capsys, "forecast", "--score", "rest", *arguments)
        assert "was changed after it was frozen" in told
    for broken in ("{}", "[]", "no JSON", '{"hash": 1}'):
        file.write_text(broken)
        assert f"forecast={file}: " in refused(monkeypatch, capsys, "forecast", "--score", "rest", *arguments)


@pytest.mark.slow
def test_the_score_counts_what_the_intervals_hold(
    frozen: dict[str, Any],
    trained: Path,
    fit: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["forecast", "--score", "rest", *words(trained, tmp_path)]
    assert main(arguments) == 0
    number = len(frozen["said"])
    assert capsys.readouterr().out == f"rest: none of {number} losses is measured yet; nothing can be said\n"
    points = points_of(["dcpt"])
    for shift, verdict in ((0.0, ""), (0.2, "FEWER THAN CHANCE: ")):
        root = tmp_path / f"store{shift}"
        write(root, points, lambda *run, shift=shift: loss(*run) + shift)
        arguments = ["forecast", "--score", "rest", *words(root, tmp_path)]
        found = document(capsys, *arguments)
        by_key = {point.key[:12]: point for point in points}
        measured = {row["run"]: row["measured"] for row in found["rows"]}
        for row in found["rows"]:
            point = by_key[row["run"].rsplit("-", 1)[1]]
            tokens = point.program.tokens(point.program.steps) - point.program.tokens(point.base_position or 0)
            assert measured[row["run"]] == pytest.approx(loss(point, "python", tokens, 0) + shift)
            assert row["inside"] == (row["low"] <= row["measured"] <= row["high"])
        assert found["inside"] == sum(row["inside"] for row in found["rows"])
        assert (found["inside"] == 0) == bool(shift)
        assert found["mean_error"] == pytest.approx(
            np.mean([r["predicted"] / r["measured"] - 1 for r in found["rows"]])
        )
        again = refused(monkeypatch, capsys, "forecast", "--freeze", "late", *words(root, tmp_path), *of(fit))
        assert f"{len(points)} runs: all {len(points)} runs are begun or done" in again
        assert main(arguments) == 0
        first = capsys.readouterr().out.splitlines()[0]
        assert first.startswith(
            f"{verdict}{found['inside']} of {number} intervals of 90% hold what was measured; right "
        )


def test_what_is_outside_of_the_data_is_said_first(
    trained: Path, fit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = ["tokens=2.4e6", "horizon=2.4e6"]
    assert main(["forecast", "--freeze", "longer", *words(trained, tmp_path), *of(fit), *longer]) == 0
    first, second, *_, last = capsys.readouterr().out.splitlines()
    assert first == "EXTRAPOLATED: D lies outside the fitted range by a factor of 4"
    assert second == "27 of 27 losses are of runs outside of the data"
    assert last.endswith("  outside of the data in D")
    strict = [*words(trained, tmp_path), *of(fit), *longer, "--strict"]
    assert main(["forecast", "--freeze", "strict", *strict]) == 1
    assert main(["forecast", "--freeze", "near", *strict[:-1], "--extrapolate", "2"]) == 1
    assert "NOT SUPPORTED: D lies outside" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--freeze", "../x"], "--freeze=../x: is no name"),
        (["--score", "x", "--windows", "64"], "the forecast says on which it is"),
        (["--score", "x", "peak=1"], "the forecast says what it is of"),
        (["--freeze", "x"], "--fit CORPUS=FIT is missing"),
        (["--freeze", "x", "--fit", "python=FIT"], "--sweep NAME is missing"),
        (["--freeze", "x", "--fit", "FIT", "--sweep", "dcpt"], "is not CORPUS=FIT"),
        (["--freeze", "x", "--fit", "cpp=FIT", "--sweep", "dcpt"], "name the fit by its corpus: docs and python"),
        (["--freeze", "x", "--fit", "python=FIT", "--fit", "python=FIT", "--sweep", "dcpt"], "is given twice"),
        (["--freeze", "x", "--fit", "python=FIT", "--sweep", "none"], "none"),
        (["--score", "x"], "x.json: is no forecast"),
        (["--score", "x", "--sweep", "dcpt"], "the forecast says what it is of"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    trained: Path,
    fit: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    given = [word.replace("FIT", str(fit)) for word in arguments]
    assert message in refused(monkeypatch, capsys, "forecast", *given, *words(trained, tmp_path))
    assert not list(tmp_path.iterdir())


def planted(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Runs of several rows that err as one, a further setting, and what a run there comes to."""
    random = np.random.default_rng(seed)
    settings = pd.MultiIndex.from_product([(1e7, 3e7, 1e8, 3e8), (1, 2, 3, 4)], names=["N", "_"]).to_frame(index=False)
    runs = [
        pd.DataFrame({"run": number, "N": N, "D": np.geomspace(1e9, 2e10, 5), "off": random.normal(0, 0.004)})
        for number, N in enumerate(settings.N)
    ]
    table = pd.concat(runs, ignore_index=True)
    table["loss"] = LAW.value(TRUTH | {"A": 400.0, "B": 900.0}, table) * np.exp(table.off)
    there = pd.DataFrame({"N": [1e8], "D": [2e10]})
    truth = float(LAW.value(TRUTH | {"A": 400.0, "B": 900.0}, there)[0]) * np.exp(random.normal(0, 0.004))
    return table, there, truth


def test_without_resamples_or_with_few_runs_there_is_no_interval() -> None:
    table, there, _ = planted(0)
    with pytest.raises(InputError, match="has no resamples, so no interval; fit with --bootstrap"):
        next_run(fit_law(LAW, table, group="run"), there)
    few = table[table.run.isin([0, 3, 5, 10, 15])]
    with pytest.raises(InputError, match="5 runs for 5 parameters leave nothing to tell its errors by"):
        next_run(fit_law(LAW, few, group="run", bootstrap=20), there)


def test_fixed_parameters_are_no_parameters_of_the_fit() -> None:
    """What the law misses is told by as many degrees of freedom whether a formula or --fix has the number."""
    table, there, _ = planted(1)
    fixed = fit_law(LAW, table, group="run", bootstrap=40, fixed={"alpha": 0.35, "beta": 0.33})
    written = replace(LAW.fixed({"alpha": 0.35, "beta": 0.33}), name="written")
    same = fit_law(written, table, group="run", bootstrap=40)
    assert np.concatenate(next_run(fixed, there)) == pytest.approx(np.concatenate(next_run(same, there)))


@pytest.mark.slow
def test_a_final_loss_is_held_against_final_losses(
    trained: Path, fit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On more windows than curves, on which all runs lose a tenth of a nat more."""
    assert main(["forecast", "--freeze", "ends", "--of", "end", *words(trained, tmp_path), *of(fit)]) == 0
    assert main(["forecast", "--freeze", "curves", *words(trained, tmp_path), *of(fit)]) == 0
    capsys.readouterr()

    def of_more(point: PlannedRun, tokens: int, position: int, hash_: str, loss: Loss) -> Row:
        more = 0.1 * (point.request.measures[hash_].least is not None)
        return row_of(point, tokens, position, hash_, lambda *run: loss(*run) + more)

    monkeypatch.setattr(synthetic_store, "row_of", of_more)
    root = tmp_path / "store"
    write(root, points_of(["dcpt"]), loss)
    ends, curves = (
        {
            row["run"]: row["measured"]
            for row in document(capsys, "forecast", "--score", name, *words(root, tmp_path))["rows"]
        }
        for name in ("ends", "curves")
    )
    assert ends == pytest.approx({run: measured + 0.1 for run, measured in curves.items()})


@pytest.mark.slow
def test_nine_intervals_of_ten_hold_the_next_run() -> None:
    held = []
    for seed in range(25):
        table, there, truth = planted(seed)
        low, high = next_run(fit_law(LAW, table, group="run", bootstrap=100), there)
        held.append(low[0] <= truth <= high[0])
    assert np.mean(held) >= 0.72  # three standard errors of nine in ten
