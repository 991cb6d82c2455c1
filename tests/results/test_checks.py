"""What would spoil a fit in silence is refused, in one line that says what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.results.checks import check
from harness.core.errors import InputError

UNITS = {"N": "parameters", "D": "tokens", "r": "share", "C": "FLOPs", "K": "anything"}


def good(**columns: Any) -> pd.DataFrame:
    """Four rows that pass, with some columns replaced."""
    values = {
        "N": [7e7, 7e7, 4e8, 4e8],
        "D": [1e9, 2e9, 1e9, 2e9],
        "r": [0.0, 0.5, 0.5, 1.0],
        "C": [1e18, 2e18, 3e18, 4e18],
        "K": [-1.0, 0.0, 1.0, 2.0],
        "loss": [3.0, 2.9, 2.8, 2.7],
        "run": list("aabb"),
    }
    return pd.DataFrame({**values, **columns})


def refusal(table: pd.DataFrame, variables: dict[str, str] | None = None, **options: Any) -> str:
    with pytest.raises(InputError) as refused:
        check(table, UNITS if variables is None else variables, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_good_table_passes() -> None:
    check(good(), UNITS)
    check(good().rename(columns={"loss": "val"}), UNITS, target="val")
    check(good().drop(columns="run"), UNITS)
    check(good(p=0.0, r=[0, 0, 0.5, 1]), {"r": "share", "p": "share"}, fixed=["p"])  # a share may be zero
    check(good(N=[100_096] * 2 + [362_240] * 2, D=[2e5, 4e5, 2e5, 4e5]), UNITS)  # the smallest scale is no wrong unit


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"N": [7e7, None, 4e8, None]}, "column=N: 2 of 4 cells of N are missing (rows 3, 5); fill them"),
        ({"loss": [3.0, np.inf, 2.8, 2.7]}, "column=loss: 1 values are not finite (row 3); leave these rows out"),
        (
            {"loss": [3.0, np.inf, None, 2.7], "D": [1e9, 2e9, 1e9, "n/a"]},
            "column=D, loss: D is no number in row 5; loss is missing in row 4; loss is infinite in row 3; "
            "fill them, or leave these rows out: --where 'isfinite(D) and isfinite(loss)'",
        ),
        ({"K": ["a", "1", "2", "3"]}, "column=K: 'a' of K in row 2 is not a number"),
        ({"loss": [3.0, -0.1, 0.0, 2.7]}, "column=loss: 2 losses are not positive (rows 3, 4); give losses in nats"),
        (
            {"loss": [30.0, 29.0, 18.0, 21.0]},
            "with a median of 25 it looks like perplexity; give nats per token: --map 'loss=log(loss)'",
        ),
        (
            {"r": [0, 5, 50, 100]},
            "column=r: 3 shares are outside [0, 1] (rows 3, 4, 5); up to 100, it looks like percent; --map 'r=r/100'",
        ),
        (
            {"r": [-0.1, 0.5, 0.5, 1.0]},
            "column=r: 1 shares are outside [0, 1] (row 2), such as -0.1; give shares: --map r=..., or leave",
        ),
        (
            {"r": [0.1, 0.5, 0.5, 1000]},
            "column=r: 1 shares are outside [0, 1] (row 5), such as 1000; give shares: --map r=..., or leave",
        ),
        (
            {"r": [0.1, 0.5, 0.9, 1.2]},  # one bad value is a bad value
            "column=r: 1 shares are outside [0, 1] (row 5), such as 1.2; give shares: --map r=..., or leave",
        ),
        (
            {"r": [0, 0.5, 1, 50]},  # half a percent is a share of many mixtures
            "column=r: 1 shares are outside [0, 1] (row 5), such as 50; give shares",
        ),
        ({"r": [0.5, 1, 2, 5]}, "column=r: 2 shares are outside [0, 1] (rows 4, 5), such as 2; give shares"),
        ({"r": [0, 0.5, 2, 5]}, "it looks like percent; --map 'r=r/100'"),
        (
            {"D": [-5e8, 1e9, 0, 2e9]},
            "column=D: 1 numbers of tokens are negative (row 2); leave these rows out: --where 'D > 0'",
        ),
        ({"N": [-7e7, 7e7, 4e8, 4e8]}, "column=N: 1 numbers of parameters are negative (row 2)"),
        (
            {"N": [0.07, 0.07, 0.4, 0.4]},
            "column=N: at most 0.4 parameters: it looks as if it were in units of 1e9; --map 'N=N*1e9'",
        ),
        ({"N": [70, 70, 410, 1400]}, "--map 'N=N*1e6'"),
        (
            {"D": [20, 20, 300, 300]},
            "column=D: at most 300 tokens: it looks as if it were in units of 1e9; --map 'D=D*1e9'",
        ),
        ({"D": [20_000, 30_000, 20_000, 30_000]}, "--map 'D=D*1e6'"),
        (
            {"N": [7e16, 7e16, 4e17, 4e17]},
            "column=N: up to 4e+17 parameters: it looks as if it were 1e9 too large; --map 'N=N/1e9'",
        ),
        ({"N": [1e6, 1e6, 4e14, 4e14]}, "--map 'N=N/1e9'"),
        ({"D": [1e19, 2e19, 1e19, 2e19]}, "column=D: up to 2e+19 tokens"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(columns: dict[str, Any], message: str) -> None:
    assert message in refusal(good(**columns))


def test_a_missing_column_is_named_with_those_there_are() -> None:
    message = "table=D: there is no such column (there are N, r, C, K, loss, run); give it: --map D=..."
    assert refusal(good().drop(columns="D")) == message
    assert refusal(good(), target="val").startswith("table=val: there is no such column")


def test_no_rows_are_refused() -> None:
    assert "there are no rows" in refusal(good().iloc[:0])


def test_rows_are_named_as_in_the_file_they_came_from() -> None:
    """`tables.read` keeps the numbers of the file's rows when it filters."""
    assert "(row 5)" in refusal(good(loss=[3.0, 2.9, 2.8, -1.0]).iloc[2:])


def test_duplicate_rows_are_refused() -> None:
    table = pd.concat([good(), good().iloc[[1]]], ignore_index=True)
    message = "table=loss: 1 rows repeat others with the same N, D, r, C, K, run, loss (row 6): they would count twice"
    assert message in refusal(table)
    table.loc[4, "run"] = "another"  # the same setting and loss, but another run says so
    check(table, UNITS)
    told = refusal(table.drop(columns="run").assign(seed=[0, 0, 0, 0, 1], note=list("aaaaa")))
    assert "repeat others with the same N, D, r, C, K, loss (row 6) and differ in seed: they would count twice" in told
    assert told.endswith("--map run=seed")


def test_a_constant_variable_is_refused_unless_fixed() -> None:
    table = good(N=7e7)
    message = "N=7e+07: the same in all 4 rows: its parameters cannot be told apart; give rows with other values, or "
    assert refusal(table) == message + "fit a law without N: `fit auto` compares those of a table"
    check(table, UNITS, fixed=["N"])
    with pytest.raises(InputError, match="r=0"):
        check(good(N=7e7, r=0.0), UNITS, fixed=["N"])


def test_zeros_that_a_power_law_has_no_value_at_are_refused() -> None:
    """The base itself has trained on D = 0 tokens: B/D**beta is infinite there, C*D**gamma has no slope."""
    message = "column=D: 1 rows have zero tokens (row 2), where a power law has no value or no slope; leave these rows"
    assert refusal(good(D=[0, 1e9, 1e9, 2e9])) == f"{message} out: --where 'D > 0'"
    assert "column=N: 2 rows have zero parameters (rows 2, 3)" in refusal(good(N=[0, 0, 4e8, 4e8]))
    assert "column=C: 1 rows have zero FLOPs" in refusal(good(C=[0, 1e18, 2e18, 3e18]))
    units = {"S1_base": "learning-rate sum", "S1_cpt": "learning-rate sum"}
    check(good(S1_base=[1.0, 1.0, 1.0, 2.0], S1_cpt=[0.0, 1.0, 2.0, 0.0]), units)  # continual pre-training begins
    both = good(S1_base=[0.0, 1.0, 1.0, 2.0], S1_cpt=[0.0, 1.0, 2.0, 0.0])
    assert "column=S1_base + S1_cpt: 1 rows have zero learning-rate sum (row 2)" in refusal(both, units)


def test_a_constant_loss_is_refused() -> None:
    assert "column=loss: the same in all 4 rows: nothing to fit" in refusal(good(loss=3.0))


def test_rows_of_no_run_are_refused() -> None:
    assert (
        "column=run: 1 of 4 cells of run are missing (row 4); fill them, or leave these rows out: --where 'notna(run)'"
        in refusal(good(run=["a", "a", None, "b"]))
    )


def test_arrays_of_learning_rates() -> None:
    units = {"N": "parameters", "lrs": "learning rates"}
    rates = [np.full(5, 1e-3), np.linspace(1e-3, 0, 7), np.full(5, 1e-3), np.full(5, 1e-3)]
    check(good(lrs=rates), units)
    check(good(lrs=[np.full(5, 1e-3)] * 4), units)  # one schedule for all: nothing of it is fitted alone
    again = pd.concat([good(lrs=rates), good(lrs=[rate.copy() for rate in rates]).iloc[[1]]], ignore_index=True)
    assert "repeat others with the same N, lrs, run, loss (row 6)" in refusal(again, units)


@pytest.mark.parametrize(
    "cell", [np.array([1e-3, np.nan]), np.array([1e-3, -1e-3]), np.zeros((2, 2)), np.array([]), 1e-3, None, "1e-3"]
)
def test_what_are_no_learning_rates_is_refused(cell: Any) -> None:
    rates = [np.full(3, 1e-3), cell, np.full(3, 1e-3), np.full(3, 1e-3)]
    message = refusal(good(lrs=pd.Series(rates, dtype=object)), {"lrs": "learning rates"})
    assert message.startswith("column=lrs: row 3 holds no learning rates; give one finite, non-negative number a step")


# --- remedies, followed to the letter --------------------------------------------------------------------------------


def written(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False)
    return path


def losses() -> pd.DataFrame:
    """Twelve runs in the words of somebody else, their losses those of a law."""
    N, D = (part.ravel() for part in np.meshgrid([1e7, 3e7, 1e8, 3e8], [2e8, 6e8, 2e9]))
    names = [f"r{i:02}" for i in range(12)]
    return pd.DataFrame(
        {"run": names, "params": N, "my tokens": D, "val": 1.7 + 400 / N**0.34 + 410 / D**0.28, "w": 1.0}
    )


@pytest.mark.parametrize(
    "damage",
    [
        {"my tokens": 0},
        {"my tokens": -5e8},
        {"my tokens": None},
        {"my tokens": "many"},
        {"my tokens": float("inf")},
        {"params": 0},
        {"val": 0},
        {"val": -1.0},
        {"val": "diverged"},
        {"val": None},
        {"run": None},
        {"w": -1.0},
        {"w": None},
    ],
    ids=str,
)
def test_the_condition_that_a_refusal_names_leaves_the_rows_out(tmp_path: Path, damage: dict[str, Any]) -> None:
    table = losses().astype(object)
    for name, value in damage.items():
        table.loc[3, name] = value
    path = written(table, tmp_path / "t.csv")
    arguments = ["fit", "chinchilla", "--table", str(path), "--map", "N=params,D=my tokens,loss=val", "--weights", "w"]
    with pytest.raises(InputError) as refused:
        main(arguments)
    condition = re.search("--where '(.*)'", refused.value.remedy)
    assert condition, refused.value
    assert main([*arguments, "--where", condition[1]]) == 0
    assert main([*arguments, "--where", "params > 1e7", "--where", condition[1]]) == 0  # beside another one


@pytest.mark.parametrize(("column", "unit"), [("my tokens", 1e9), ("params", 1e6), ("params", 1e-9), ("val", None)])
def test_the_map_that_a_refusal_names_mends_the_unit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, unit: float | None
) -> None:
    table = losses()
    right = ["fit", "chinchilla", "--json", "--map", "N=params,D=my tokens,loss=val", "--table"]
    assert main([*right, str(written(table, tmp_path / "right.csv"))]) == 0
    expected = json.loads(capsys.readouterr().out)["parameters"]
    table[column] = np.exp(table[column]) if unit is None else table[column] / unit  # perplexity, millions, billions
    wrong = [*right, str(written(table, tmp_path / "wrong.csv"))]
    with pytest.raises(InputError) as refused:
        main(wrong)
    remedy = re.search("--map '(.*)'", refused.value.remedy)
    assert remedy, refused.value
    assert main([*wrong, "--map", remedy[1]]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == pytest.approx(expected, rel=1e-3)
