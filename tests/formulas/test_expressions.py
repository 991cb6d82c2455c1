"""Arithmetic and conditions over columns are what they say: in floats, texts as texts, a wrong one refused."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.formulas.expressions import as_numbers, evaluate, evaluated, names_in, numbers_of
from harness.core.errors import InputError


def table(**columns: Any) -> pd.DataFrame:
    values = {"params": [2 * 10**9, 7], "tokens": [10**12, 9], "run": ["NA", "007"], "good": [True, True]}
    return pd.DataFrame({**values, **columns})


@pytest.mark.parametrize("kind", ["int64", "int32", "uint32", "uint64", "int16", "float32", "bool", "Int64"])
def test_whole_numbers_do_not_wrap(kind: str) -> None:
    """Products, powers, differences and sums of what a file stores in few bits are those of the numbers."""
    small = pd.DataFrame({"a": pd.Series([1, 1, 0], dtype=kind), "b": pd.Series([0, 1, 1], dtype=kind)})
    assert evaluate("a + b", small).tolist() == [1.0, 2.0, 1.0]
    assert evaluate("a - b", small).tolist() == [1.0, 0.0, -1.0]
    assert evaluate("-b", small).tolist() == [0.0, -1.0, -1.0]
    assert evaluate("((a + 1) * 1000) ** 9 * b", small).tolist() == [0.0, 2.0**9 * 1e27, 1e27]


def test_the_product_of_parameters_and_tokens() -> None:
    assert evaluate("6 * params * tokens", table()).tolist() == [1.2e22, 378.0]
    assert evaluate("params ** 2", table(params=np.array([2**31 - 1, 3], dtype=np.int32)))[0] == float(2**31 - 1) ** 2
    assert evaluate("6 * params * tokens > 1e20", table()).tolist() == [True, False]
    assert evaluate("10 ** 30 * params", table()).tolist() == pytest.approx([2e39, 7e30])
    assert evaluate("params ** -1", table())[1] == 1 / 7


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("run != 'NA'", [False, True]),
        ("run == '007'", [False, True]),
        ("run == 7", [False, True]),  # as numbers; a text that is none equals none
        ("run != 7", [True, False]),
        ("run in ['NA', 'b']", [True, False]),
        ("run not in ['NA', 'b']", [False, True]),
        ("run == ['NA', 'b']", [True, False]),
        ("params in [7, 8]", [False, True]),
        ("params == '7'", [False, True]),
        ("startswith(run, '0')", [False, True]),
        ("endswith(lower(run), 'na')", [True, False]),
        ("contains(run, '.') or contains(run, '00')", [False, True]),  # plain text: a point is a point
        ("startswith(`my name`, '0')", [False, True]),
        ("model == '70M' and not model in ('160M', '410M')", [True, False]),
        ("model < '200M'", [False, True]),
        ("run in ['NA', 7]", [True, True]),
        ("params not in {8, 9, 10}", [True, True]),
        ("params not in (-7, 7)", [True, False]),
        ("when in ['2026-02-01']", [False, True]),
        ("max(params, tokens, 1e13) == 1e13", [True, True]),
        ("min(abs(-params), 10) == 7", [False, True]),
        ("isfinite(run)", [False, True]),
        ("params > 1 and tokens < 10", [False, True]),
        ("params > 1 & tokens < 10 | run == 'NA'", [True, True]),
        ("not params > 7", [False, True]),
        ("~(params > 7)", [False, True]),
        ("1 < params < 10", [False, True]),
        ("good + good >= 2", [True, True]),
        ("good", [True, True]),
        ("good == True", [True, True]),
        ("isna(gap)", [False, True]),
        ("notna(gap) and gap > 0", [True, False]),
        ("gap > 0 or params == 7", [True, True]),
        ("`my loss` > 2", [True, False]),
        ("when > '2026-01-15'", [False, True]),
        ("log(params) > 2 and abs(-params) == 7", [False, False]),
    ],
)
def test_conditions(condition: str, kept: list[bool]) -> None:
    times = pd.to_datetime(["2026-01-01", "2026-02-01"])
    texts = {"my name": [None, "07"], "model": ["70M", "160M"]}
    given = table(gap=[1.0, None], when=times, **{"my loss": [3.0, 2.0]}, **texts)
    assert evaluate(condition, given).tolist() == kept


def test_functions_and_names() -> None:
    assert evaluate("log10(tokens)", table())[0] == pytest.approx(12)
    assert evaluate("sqrt(params) * exp(0)", table())[1] == pytest.approx(math.sqrt(7))
    assert names_in("log(`my loss`) * params ** tokens") == {"my loss", "params", "tokens"}


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("params +", "does not evaluate (a name or a number is due where the end is)"),
        ("logg(params)", "no function logg"),
        ("params > 'many'", "could not convert string to float: 'many'"),
        ("params and tokens > 1", "params is not a condition"),
        ("__import__('os').getcwd()", "no attributes and methods"),
        ("params.__class__", "no attributes and methods); write functions, such as startswith(params, 'a')"),
        ("run.str.startswith('a')", "write startswith(run, 'TEXT')"),
        ("`my run`.str.contains('a')", "write contains(`my run`, 'TEXT')"),
        ("run.isin(['a'])", "write run in [...]"),
        ("params.between(1, 2)", "write LOW <= params <= HIGH"),
        ("tokens.isna()", "write isna(tokens)"),
        ("loss.to_csv('x')", "no attributes and methods"),
        ("startswith(params, 'a')", "startswith is of the texts of a column"),
        ("startswith(run, params)", "looks for a text in quotes, not for params"),
        ("max(params)", "max takes 2 to 1,000 arguments, not 1"),
        ("abs(params, 2)", "abs takes 1 argument, not 2"),
        ("params in [tokens]", "in a list of numbers and texts"),
        ("run < ['a']", "a list can only be looked through"),
        ("[1, 2, 3, 4] * params > 0", "a list can only be looked through"),
        ("-[1] < params", "a list can only be looked through"),
        ("max([1], params) > 0", "a list can only be looked through"),
        ("params = 7", "write == for equality"),
        ("params ^ 2", "write ** for powers"),
        ("run == 'a", "the text is not closed"),
        ("params[0]", "'[' at character 7 has no place there"),
        ("[n for n in params]", ", is due where 'for' at character 4 is"),
        ("lambda: 1", "':' at character 7"),
        ("0x10 + params", "'0x' at character 1 is no number"),
        ("2 ** 0.5 > params and params", "params is not a condition"),
        ("(-1) ** 0.5 > params", "(-1)**0.5 is no finite number"),
        ("parms > 1", "t.csv has no column parms; it has params"),
        ("`my los` > 1", "t.csv has no column my los"),
        ("run < None", "does not evaluate"),
        ("tokens in 'abc'", "`in` needs a list"),
        ("(" * 3000 + "params" + ")" * 3000, "does not evaluate"),
        ("params > 1" + "0" * 5000, "does not evaluate"),
        ("9**9**9**9 > params", "does not evaluate"),
        ("", "does not evaluate"),
    ],
)
def test_what_does_not_evaluate_is_refused_in_one_line(expression: str, why: str) -> None:
    with pytest.raises(InputError) as refusal:
        evaluated(expression, table(), "t.csv", "--where", expression)
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("expression", "remedy"),
    [
        ("params (M)*1e6", "write `params (M)`, in backticks"),
        ("tokens [B] * 2", "write `tokens [B]`, in backticks"),
        ("6 * 2nd", "write `2nd`, in backticks"),
        ("val-loss", "write `val-loss`, in backticks"),
        ("`params (M)` * nothing", "it has params (M), tokens [B], 2nd, val-loss"),
    ],
)
def test_a_column_whose_name_is_no_word_stands_in_backticks(expression: str, remedy: str) -> None:
    odd = pd.DataFrame({"params (M)": [1.0], "tokens [B]": [1.0], "2nd": [1.0], "val-loss": [1.0]})
    with pytest.raises(InputError, match=re.escape(remedy)):
        evaluated(expression, odd, "t.csv", "--map", expression)


def test_cells_as_numbers() -> None:
    assert as_numbers(pd.Series(["1e5", " 2 ", "x", None])).tolist()[:2] == [1e5, 2.0]
    assert as_numbers(pd.Series(["1e5", " 2 ", "x", None])).isna().tolist() == [False, False, True, True]
    with pytest.raises(InputError, match=r"is not a number; give numbers .* --where 'isfinite\(`my loss`\)'"):
        numbers_of(pd.Series(["1,234", "2"], name="my loss"), "--map", "loss=my loss")
    with pytest.raises(InputError, match="is not a number"):
        numbers_of(pd.Series([[1, 2], [3]], name="rates"), "--map", "lr=rates")
