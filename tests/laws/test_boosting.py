"""Trees as a baseline: beside laws on the same folds, absent with one line, and read by nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.laws.boosting import Boosted
from analysis.laws.continual import DCPT
from harness.core.errors import InputError
from tests.called import document, refused
from tests.planted import TRUTH, design, losses


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("boosting") / "runs.csv"
    losses(design(6), TRUTH, 0, row_noise=0.002).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A package of the same calls, whose trees are the nearest row: what it was trained on, call by call."""
    seen: list[Any] = []

    def train(settings: dict[str, Any], data: tuple[Any, Any], num_boost_round: int) -> Any:
        rows, values = data
        seen.append(SimpleNamespace(settings=settings, rows=rows, values=values, rounds=num_boost_round))
        scale = rows.std(0) + 1e-12

        def predict(asked: Any) -> Any:
            return values[(((asked[:, None] - rows) / scale) ** 2).sum(-1).argmin(1)]

        return SimpleNamespace(predict=predict)

    package = ModuleType("lightgbm")
    vars(package).update(Dataset=lambda rows, values: (rows, values), train=train)
    monkeypatch.setitem(sys.modules, "lightgbm", package)
    return seen


def test_trees_are_compared_with_laws_on_the_same_folds(
    runs: str, stand_in: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    call = ("compare", "chinchilla", "lightgbm", "--table", runs, "--pool", "r", "--by", "N", "--seed", "7")
    found = document(capsys, *call)
    assert {law["law"] for law in found["laws"]} == {"chinchilla", "lightgbm"}
    trees = next(law for law in found["laws"] if law["law"] == "lightgbm")
    assert (trees["parameters"], trees["objective"]) == (None, None)
    assert len(trees["folds"]) == len(found["laws"][0]["folds"]) == len(stand_in) - 1  # and the whole table
    table = pd.read_csv(runs)
    for name, trained in zip(sorted(table.N.unique()), stand_in[1:], strict=True):
        kept = table[name != table.N]
        np.testing.assert_array_equal(trained.rows, kept[["N", "D"]].to_numpy(float))
        np.testing.assert_allclose(trained.values, np.log(kept.loss))
        assert trained.settings["seed"] == 7
    assert main(call) == 0
    assert "nan" not in capsys.readouterr().out


def test_losses_that_are_changes_are_not_taken_in_logarithms(stand_in: list[Any]) -> None:
    table = pd.DataFrame({"D": [1.0, 2.0, 3.0], "change": [-0.5, 0.1, 0.4]})
    trees = Boosted({"D": "tokens"}, raw=True)
    trees.fit(table, "change")
    np.testing.assert_array_equal(trees.predict(table), table.change)
    assert stand_in[0].values.tolist() == table.change.tolist()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lightgbm"], "reads the variables of the laws that it is compared with"),
        (["chinchilla", "lightgbm", "--weights", "w", "--map", "w=1"], "lightgbm does not weigh rows"),
        (["chinchilla", "lightgbm", "lightgbm"], "lightgbm: is given twice"),
    ],
)
def test_what_trees_cannot_do_is_refused(
    runs: str,
    stand_in: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    assert told in refused(monkeypatch, capsys, "compare", *words, "--table", runs, "--pool", "r")
    assert stand_in == []


def test_absent_or_broken_it_is_one_line(
    runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    told = refused(monkeypatch, capsys, "compare", "chinchilla", "lightgbm", "--table", runs)
    assert "is an extra that is not installed; pip install 'rewarm[lightgbm]'" in told
    monkeypatch.delitem(sys.modules, "lightgbm")
    (tmp_path / "lightgbm.py").write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"libgomp\.so\.1: cannot open .*apt-get install libgomp1"):
        Boosted({"N": "parameters"})
    with pytest.raises(InputError, match="drop is a curve"):
        Boosted({"drop": "changes"})


def test_the_package_itself_learns_inside_of_the_data_and_not_beyond() -> None:
    pytest.importorskip("lightgbm")
    table = losses(design(8), TRUTH, 0)
    trees = Boosted(DCPT.variables)
    trees.fit(table, "loss")
    assert np.abs(trees.predict(table) / table.loss - 1).mean() < 0.01
    first = trees.predict(table)
    trees.fit(table, "loss")
    np.testing.assert_array_equal(trees.predict(table), first)
    beyond = table.assign(D=1e4 * table.D.max())
    assert trees.predict(beyond).min() >= table.loss.min() * 0.95  # trees do not extrapolate, which laws do
