"""What `--map` and `--where` say: arithmetic and conditions over the columns of a table, and their cells as numbers.

Below `analysis.results.tables`; `analysis.formulas.grammar` reads the text, so it can do nothing but be worked out.

    evaluate("6 * params * tokens", table)                 # in floats: the product of integer columns does not wrap
    evaluate("run != 'NA' and isfinite(loss)", table)      # a condition: True or False for every row

Names are columns (in backticks if they are no words); `and`, `or`, `not`, comparisons, `in [...]`; and FUNCTIONS.
"""

from __future__ import annotations

import difflib
import functools
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

from analysis.formulas import grammar
from analysis.formulas.grammar import Call, Chain, GrammarError, Name, Number, Text, Tree
from harness.core.errors import InputError
from harness.core.units import parse

_OF_ONE: Any = (np.log, np.log2, np.log10, np.log1p, np.exp, np.expm1, np.sqrt, np.floor, np.ceil, np.isfinite)
OF_NUMBERS: dict[str, Callable[..., Any]] = {"abs": np.abs, "round": np.rint} | {f.__name__: f for f in _OF_ONE}
OF_SEVERAL: dict[str, Callable[..., Any]] = {"min": np.minimum, "max": np.maximum}
OF_TEXTS: dict[str, Any] = {"startswith": str.startswith, "endswith": str.endswith, "contains": operator.contains}
FUNCTIONS = {
    **dict.fromkeys((*OF_NUMBERS, "isna", "notna", "lower"), (1, 1)),
    **dict.fromkeys(OF_SEVERAL, (2, grammar.MANY)),
    **dict.fromkeys(OF_TEXTS, (2, 2)),
}
OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "and": operator.and_,
    "or": operator.or_,
}
TRUTH = {"True": 1.0, "False": 0.0}
LISTS = "a list can only be looked through, as in run in ['a', 'b']"
METHOD = re.compile(r"(?<!\w)(\w+|`[^`]*`)\.(?:str\.)?([A-Za-z_]\w*)")  # as pandas has them; some are functions here
METHODS = {"isin": "{0} in [...]", "between": "LOW <= {0} <= HIGH"}


class UnknownColumnError(ValueError):
    """A name, its argument, that no column has."""


def evaluate(expression: str, columns: pd.DataFrame | Mapping[str, pd.Series[Any]]) -> Any:
    """The value: a Series, or a number. Cells of a text column count as numbers in arithmetic, NaN if they are none.

    Raises UnknownColumnError for a name that is no column, GrammarError for what is no expression, else ArithmeticError
    and ValueError, as Python and numpy say.
    """
    tree = grammar.parse(expression, FUNCTIONS)
    with np.errstate(all="ignore"):  # log(0), 1/0 in a row: whoever needs numbers refuses what is not finite
        return _finite(_Evaluation(columns).of(tree), tree)


def names_in(expression: str) -> set[str]:
    """The names of columns that an expression speaks of. GrammarError if it is none."""
    return set(grammar.names(grammar.parse(expression, FUNCTIONS))) - set(TRUTH)


def evaluated(
    expression: str, columns: pd.DataFrame | Mapping[str, pd.Series[Any]], source: str, field: str, value: str
) -> Any:
    """`evaluate` for a user: InputError, for `field=value`, names what `source` does not have or what is no formula."""
    try:
        return evaluate(expression, columns)
    except UnknownColumnError as error:
        known, name = [str(column) for column in columns], str(error.args[0])
        near = difflib.get_close_matches(name, known) or known[:20]
        remedy = _in_backticks(expression, columns) or f"it has {', '.join(near)}"
        raise InputError(field, value, f"{source} has no column {name}", remedy) from None
    except (ValueError, ArithmeticError, TypeError) as error:  # whatever Python and numpy say about what a user wrote
        remedy = _said_otherwise(expression, columns) or {
            "--where": "write a condition over columns, such as 'in_fit == 1'",
            "--map": "write arithmetic over columns, such as D=C/(6*N)",
        }.get(field, "write arithmetic or a condition over columns")
        raise InputError(field, value, f"it does not evaluate ({one_line(error)})", remedy) from None


def row_numbers(index: Any, most: int = 5) -> str:
    """The first rows of an index for a message, counted as in the file of `read`, whose header is row 1."""
    numbers = [str(label + 2) if isinstance(label, (int, np.integer)) else str(label) for label in list(index)[:most]]
    return f"row{'s' if len(index) > 1 else ''} {', '.join(numbers)}{', ...' if len(index) > most else ''}"


def numbers_of(column: pd.Series[Any], field: str, value: object) -> pd.Series[Any]:
    """A column as floats. InputError, for `field=value`, if cells are missing or one is no number; both are named."""
    refuse_missing(column, field, value)
    numbers: pd.Series[Any] = as_numbers(column)
    if wrong := list(column.index[numbers.isna()]):
        cell = str(column[wrong[0]])
        why = f"{cell[:60]!r} of {column.name} in {row_numbers(wrong[:1])} is not a number"
        leave = f"leave these rows out: --where 'isfinite({quote(str(column.name))})'"
        whole = f"name another column: all {len(column)} cells of this one are like it"
        remedy = f"{_as_number(cell)}, or {whole if len(wrong) == len(column) else leave}"
        raise InputError(field, value, why, remedy)
    return numbers


def _as_number(cell: str) -> str:
    """How a cell would be written as a number: an amount such as 10M with its zeros."""
    try:
        return f"write it as {parse(cell[:60]):.15g}"
    except ValueError:
        return "give numbers (1234.5, no separators of thousands)"


def refuse_missing(column: pd.Series[Any], field: str, value: object) -> None:
    """InputError, for `field=value`, if cells are missing."""
    if missing := list(column.index[column.isna()]):
        why = f"{len(missing)} of {len(column)} cells of {column.name} are missing ({row_numbers(missing)})"
        leave = f"leave these rows out: --where 'notna({quote(str(column.name))})'"
        raise InputError(field, value, why, f"fill them, or {leave}")


def as_numbers(value: Any) -> Any:
    """Floats of a column, NaN for cells that are no numbers, or of a number."""
    if not isinstance(value, pd.Series):
        return np.float64(value)
    if not is_numeric_dtype(value.dtype):
        value = pd.Series([_number(cell) for cell in value], index=value.index, name=value.name, dtype=float)
    return value.astype(float)


def is_text(value: Any) -> bool:
    """Is it a text, or a column that holds some?"""
    return isinstance(value, str) or (isinstance(value, pd.Series) and not is_numeric_dtype(value.dtype))


def quote(name: str) -> str:
    """The name of a column as it is written in an expression."""
    return grammar.quoted(name)


def one_line(error: Exception) -> str:
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    return " ".join(text.split()) or type(error).__name__


def _finite(value: Any, tree: Tree) -> Any:
    """What was worked out. GrammarError for a number, the same in all rows, that is none: 9**9**9, 1/0."""
    if isinstance(value, float) and not math.isfinite(value):
        raise GrammarError(f"{grammar.written(tree)[:60]} is no finite number")
    return value


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):  # a list of learning rates, a text, an integer of 400 digits
        return np.nan


def _in_backticks(expression: str, columns: Iterable[object]) -> str:
    """How to write the name of a column such as `params (M)` that stands there bare; nothing if none does."""
    bare = re.sub("`[^`]*`", "", expression)
    odd = [name for name in map(str, columns) if not name.isidentifier() and name in bare]
    return f"write {quote(max(odd, key=len))}, in backticks" if odd else ""


def _said_otherwise(expression: str, columns: Iterable[object]) -> str:
    """How to write the column or its method that was written in it; nothing if there is none."""
    if odd := _in_backticks(expression, columns):
        return odd
    if (match := METHOD.search(expression)) is None or match[1][0].isdigit():
        return ""
    column, method = match[1], match[2]
    if method in FUNCTIONS:
        more = ", 'TEXT'" if method in OF_TEXTS else ""
        return f"write {method}({column}{more})"
    if method in METHODS:
        return f"write {METHODS[method].format(column)}"
    return f"write functions, such as startswith({column}, 'a'); there are {', '.join(FUNCTIONS)}"


class _Evaluation:
    """On the columns of a table."""

    def __init__(self, columns: pd.DataFrame | Mapping[str, pd.Series[Any]]) -> None:
        self.columns = columns
        self.numbers: dict[str, Any] = {}  # columns as floats: those of texts take long

    def of(self, node: Tree) -> Any:
        match node:
            case Number(value):
                return np.float64(value)  # too large a power is infinite, as in a column, and no exception
            case Text(value):
                return value
            case Name(name) if name in self.columns:
                return self.columns[name]
            case Name(name) if name in TRUTH:
                return TRUTH[name]
            case Name("None"):
                raise GrammarError("None is no value; isna(COLUMN) says where a cell is missing")
            case Name(name):
                raise UnknownColumnError(name)
            case Chain(parts, marks) if marks[0] in grammar.COMPARISONS:
                sides = [_finite(self._side(part), part) for part in parts]
                return functools.reduce(operator.and_, map(self._compared, marks, sides, sides[1:]))
            case Chain(parts, marks):
                total = self._number(parts[0])
                for mark, part in zip(marks, parts[1:], strict=True):
                    total = OPERATORS[mark](total, self._number(part))
                return total
            case Call("and" | "or" as word, parts):
                return functools.reduce(OPERATORS[word], map(self._condition, parts))
            case Call("not", (part,)):
                return ~self._condition(part)
            case Call("list"):  # in arithmetic it would be taken for a column, cell by cell
                raise GrammarError(LISTS)
            case Call("neg", (part,)):
                return -self._number(part)
            case Call("**", (base, exponent)):
                return self._number(base) ** self._number(exponent)
            case Call("isna" | "notna" as name, (part,)):
                return pd.isna(self.of(part)) if name == "isna" else pd.notna(self.of(part))
            case Call("lower", (part,)):
                return _of_texts("lower", self.of(part), str.lower, "str")
            case Call(name, (part, wanted)) if name in OF_TEXTS:
                if not isinstance(wanted, Text):
                    raise GrammarError(f"{name} looks for a text in quotes, not for {grammar.written(wanted)[:40]}")
                return _of_texts(name, self.of(part), lambda cell: OF_TEXTS[name](cell, wanted.value), "bool")
            case Call(name, (part,)):
                return OF_NUMBERS[name](self._number(part))
            case Call(name, parts):
                return functools.reduce(OF_SEVERAL[name], map(self._number, parts))

    def _number(self, node: Tree) -> Any:
        """Floats."""
        if not isinstance(node, Name) or node.name not in self.columns:
            return _finite(as_numbers(self.of(node)), node)
        if node.name not in self.numbers:
            self.numbers[node.name] = as_numbers(self.columns[node.name])
        return self.numbers[node.name]

    def _condition(self, node: Tree) -> Any:
        value = self.of(node)
        if isinstance(value, pd.Series) and is_bool_dtype(value.dtype):
            return value
        raise GrammarError(f"{grammar.written(node)[:200]} is not a condition")

    def _side(self, node: Tree) -> Any:
        """Of a comparison, the one place for a list."""
        return (
            [self.of(item) for item in node.parts]
            if isinstance(node, Call) and node.function == "list"
            else self.of(node)
        )

    def _compared(self, mark: str, left: Any, right: Any) -> Any:
        """Texts are compared with texts, all else as numbers; a text that is no number equals none."""
        if isinstance(left, list) or (isinstance(right, list) and mark not in ("in", "not in", "==", "!=")):
            raise GrammarError(LISTS)
        if isinstance(right, list):
            found = _among(left, right)
            return found if mark in ("in", "==") else ~found
        as_they_are = any(isinstance(side, pd.Series) and is_datetime64_any_dtype(side.dtype) for side in (left, right))
        if not (as_they_are or (is_text(left) and is_text(right))):
            left, right = as_numbers(left), as_numbers(right)
        return OPERATORS[mark](left, right)


def _among(column: Any, items: list[Any]) -> Any:
    """Which cells are one of the items."""
    if not isinstance(column, pd.Series) or not all(isinstance(item, str | float) for item in items):
        raise GrammarError("cells of a column can be looked for in a list of numbers and texts")
    if is_datetime64_any_dtype(column.dtype):
        return column.isin([pd.Timestamp(item) for item in items])
    texts = [item for item in items if isinstance(item, str)] if is_text(column) else []
    numbers = [float(item) for item in items if item not in texts]
    found = column.isin(texts)
    return found | as_numbers(column).isin(numbers) if numbers else found


def _of_texts(name: str, column: Any, function: Callable[[str], Any], kind: Any) -> Any:
    """A function of every text of a column; of a cell that is none, the cell, or False where it is a condition."""
    if not isinstance(column, pd.Series) or (not is_text(column) and column.notna().any()):
        raise GrammarError(f"{name} is of the texts of a column")
    cells = [function(cell) if isinstance(cell, str) else None if kind == "str" else False for cell in column]
    return pd.Series(cells, index=column.index, name=column.name, dtype=kind)
