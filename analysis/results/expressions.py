"""What `--map` and `--where` say: arithmetic and conditions over the columns of a table, and their cells as numbers.

Below `analysis.results.tables`.

    evaluate("6 * params * tokens", table)                 # in floats: the product of integer columns does not wrap
    evaluate("run != 'NA' and isfinite(loss)", table)      # a condition: True or False for every row

Names are columns (in backticks if they are no words), `and`, `or`, `not`, comparisons and `in [...]` make conditions,
FUNCTIONS and the methods of a column (`run.str.startswith("a")`) can be called.
"""

from __future__ import annotations

import ast
import difflib
import functools
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

from harness.core.errors import InputError

OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.And: operator.and_,
    ast.Or: operator.or_,
}
OF_NUMBERS = ("abs", "log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "floor", "ceil", "round", "isfinite")
FUNCTIONS = (*OF_NUMBERS, "isna", "notna")
NAMED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|[&|]")  # texts; columns in backticks; `and` and `or` as pandas has them


class UnknownColumnError(ValueError):
    """A name that no column has."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no column {name}")


def evaluate(expression: str, columns: pd.DataFrame | Mapping[str, pd.Series[Any]]) -> Any:
    """The value: a Series, or a number. Cells of a text column count as numbers in arithmetic, NaN if they are none.

    Raises UnknownColumnError for a name that is no column, else whatever Python and numpy say.
    """
    tree, quoted = _parsed(expression)
    with np.errstate(all="ignore"):  # log(0), 1/0: whoever needs numbers refuses what is not finite
        return _value(tree, columns, quoted)


def names_in(expression: str) -> set[str]:
    """The names of columns that an expression speaks of. SyntaxError if it is none."""
    tree, quoted = _parsed(expression)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}
    return {quoted.get(name, name) for name in names}


def evaluated(
    expression: str, columns: pd.DataFrame | Mapping[str, pd.Series[Any]], source: str, field: str, value: str
) -> Any:
    """`evaluate` for a user: InputError, for `field=value`, names what `source` does not have or what is no formula."""
    try:
        return evaluate(expression, columns)
    except UnknownColumnError as error:
        known = [str(column) for column in columns]
        near = difflib.get_close_matches(error.name, known) or known[:20]
        raise InputError(field, value, f"{source} has no column {error.name}", f"it has {', '.join(near)}") from None
    except Exception as error:  # whatever Python and numpy say about what a user wrote
        remedy = {
            "--where": "write a condition over columns, such as 'in_fit == 1'",
            "--map": "write arithmetic over columns, such as D=C/(6*N)",
        }[field]
        raise InputError(field, value, f"it does not evaluate ({one_line(error)})", remedy) from None


def parse_map(text: str) -> dict[str, str]:
    """`N=params,D=C/(6*N)` as {name: expression}; commas inside parentheses separate nothing. Raises InputError."""
    remedy = "write NAME=COLUMN, NAME=NUMBER or NAME=EXPRESSION, with commas between them"
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    columns: dict[str, str] = {}
    for part in parts:
        name, _, expression = (piece.strip() for piece in part.partition("="))
        if not name.isidentifier() or not expression:
            raise InputError("--map", text, f"{part.strip()!r} is not NAME=EXPRESSION", remedy)
        if name in columns:
            raise InputError("--map", text, f"{name} is given twice", "give it once")
        columns[name] = expression
    return columns


def parse_numbers(text: str, field: str) -> dict[str, float]:
    """`A=0,alpha=0.3` as {name: number}; none if the text is empty. Raises InputError, naming the option `field`."""
    try:
        pairs = [part.partition("=") for part in text.split(",")] if text else []
        return {name.strip(): float(value) for name, _, value in pairs}
    except ValueError:
        raise InputError(field, text, "not NAME=NUMBER,...", f"write --{field} NAME=NUMBER,NAME=NUMBER") from None


def row_numbers(index: Any, most: int = 5) -> str:
    """The first rows of an index for a message, counted as in the file of `read`, whose header is row 1."""
    numbers = [str(label + 2) if isinstance(label, (int, np.integer)) else str(label) for label in list(index)[:most]]
    more = ", ..." if len(index) > most else ""
    return f"row{'s' if len(index) > 1 else ''} {', '.join(numbers)}{more}"


def numbers_of(column: pd.Series[Any], field: str, value: object) -> pd.Series[Any]:
    """A column as floats. InputError, for `field=value`, if cells are missing or one is no number; both are named."""
    refuse_missing(column, field, value)
    numbers: pd.Series[Any] = as_numbers(column)
    if wrong := list(column.index[numbers.isna()]):
        why = f"{str(column[wrong[0]])[:60]!r} of {column.name} in {row_numbers(wrong[:1])} is not a number"
        leave = f"leave these rows out: --where 'isfinite({quote(str(column.name))})'"
        raise InputError(field, value, why, f"give numbers (1234.5, no separators of thousands), or {leave}")
    return numbers


def refuse_missing(column: pd.Series[Any], field: str, value: object) -> None:
    """InputError, for `field=value`, if cells are missing."""
    if missing := list(column.index[column.isna()]):
        why = f"{len(missing)} of {len(column)} cells of {column.name} are missing ({row_numbers(missing)})"
        leave = f"leave these rows out: --where 'notna({quote(str(column.name))})'"
        raise InputError(field, value, why, f"fill them, or {leave}")


def as_numbers(value: Any) -> Any:
    """Floats of a column, NaN for cells that are no numbers, or of a number."""
    if not isinstance(value, pd.Series):
        return float(value)
    if not is_numeric_dtype(value.dtype):
        value = pd.Series([_number(cell) for cell in value], index=value.index, name=value.name, dtype=float)
    return value.astype(float)


def is_text(value: Any) -> bool:
    """Is it a text, or a column that holds some?"""
    return isinstance(value, str) or (isinstance(value, pd.Series) and not is_numeric_dtype(value.dtype))


def quote(name: str) -> str:
    """The name of a column as it is written in an expression."""
    return name if name.isidentifier() else f"`{name}`"


def one_line(error: Exception) -> str:
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    return " ".join(text.split()) or type(error).__name__


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):  # a list of learning rates, a text, an integer of 400 digits
        return np.nan


def _parsed(expression: str) -> tuple[ast.expr, dict[str, str]]:
    """The syntax tree, and what names in it stand for columns that are written in backticks."""
    quoted: dict[str, str] = {}

    def plain(match: re.Match[str]) -> str:
        text = match[0]
        if text[0] != "`":
            return {"&": " and ", "|": " or "}.get(text, text)
        name = f"_column_{len(quoted)}"
        quoted[name] = text[1:-1]
        return name

    return ast.parse(NAMED.sub(plain, expression).strip(), mode="eval").body, quoted


def _value(node: ast.expr, columns: pd.DataFrame | Mapping[str, pd.Series[Any]], quoted: Mapping[str, str]) -> Any:
    def of(part: ast.expr) -> Any:
        return _value(part, columns, quoted)

    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            if quoted.get(name, name) not in columns:
                raise UnknownColumnError(quoted.get(name, name))
            return columns[quoted.get(name, name)]
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [of(item) for item in items]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](as_numbers(of(left)), as_numbers(of(right)))
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
            return ~_condition(operand, of(operand))
        case ast.UnaryOp(op=op, operand=operand):
            return OPERATORS[type(op)](as_numbers(of(operand)))
        case ast.BoolOp(op=op, values=parts):
            return functools.reduce(OPERATORS[type(op)], [_condition(part, of(part)) for part in parts])
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [of(part) for part in (left, *others)]
            results = [_compared(*pair) for pair in zip(ops, sides, sides[1:], strict=False)]
            return functools.reduce(operator.and_, results)
        case ast.Call(func=ast.Name(id="isna" | "notna" as name), args=[part], keywords=[]):
            return getattr(pd, name)(of(part))
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in OF_NUMBERS:
            return getattr(np, name)(*(as_numbers(of(part)) for part in parts))
        case ast.Call(func=ast.Attribute() as method, args=parts, keywords=named):
            return of(method)(*map(of, parts), **{str(one.arg): of(one.value) for one in named})
        case ast.Attribute(value=part, attr=name) if not name.startswith("_"):
            return getattr(of(part), name)
        case ast.Call(func=ast.Name(id=name)):
            raise ValueError(f"no function {name} of so many values; there are {', '.join(FUNCTIONS)}")
    raise ValueError(f"{ast.unparse(node)} is no arithmetic and no condition")


def _condition(node: ast.expr, value: Any) -> Any:
    if isinstance(value, pd.Series) and is_bool_dtype(value.dtype):
        return value
    raise ValueError(f"{ast.unparse(node)} is not a condition")


def _compared(op: ast.cmpop, left: Any, right: Any) -> Any:
    """Texts are compared with texts, all else as numbers; a text that is no number equals none."""
    if isinstance(op, (ast.In, ast.NotIn)) or (isinstance(right, list) and isinstance(op, (ast.Eq, ast.NotEq))):
        if not isinstance(right, Collection) or isinstance(right, str):
            raise ValueError("`in` needs a list, such as ['a', 'b']")
        found = functools.reduce(operator.or_, [_compared(ast.Eq(), left, item) for item in right], False)
        return found if isinstance(op, (ast.In, ast.Eq)) else ~found
    as_they_are = any(isinstance(side, pd.Series) and is_datetime64_any_dtype(side.dtype) for side in (left, right))
    if not (as_they_are or (is_text(left) and is_text(right))):
        left, right = as_numbers(left), as_numbers(right)
    return OPERATORS[type(op)](left, right)
