"""From the text of a formula to numpy functions of it and of its derivatives; sympy differentiates.

Beneath `analysis.laws.law`. A `Form` is a formula with the roles of its names; each function here works one thing out
from it, once per process. Functions take the arguments that `arguments` lays out: parameters of shape (K, 1), columns
of shape (n,), and the results broadcast to (K, n). Inside `sum(...)` everything has one axis more, which is summed
over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.core.errors import InputError

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Function = Callable[..., Any]

TINY = 1e-300  # stands for a variable of zero under a logarithm: 0**eta is 0 for every exponent that is not tiny too


@dataclass(frozen=True)
class Form:
    """A formula and what its names are. `log`: parameters given as their logarithms."""

    text: str
    parameters: tuple[str, ...]
    variables: tuple[str, ...]
    linear: tuple[str, ...]
    log: frozenset[str]


def arguments(theta: Array, data: Sequence[Array]) -> list[Array]:
    """The arguments of every function of this module, for `theta` of shape (K, P) and `data` from `columns_of`."""
    parameters = [theta[:, i, None] for i in range(theta.shape[1])]
    half = len(data) // 2
    return [*parameters, *data[:half], *(p[:, :, None] for p in parameters), *data[half:]]


def columns_of(form: Form, columns: Mapping[str, Any]) -> list[Array]:
    """The variables (n,) or, where a sum runs over them, (n, m), with their logarithms; outside, then inside sums."""
    plain = [np.asarray(columns[name], dtype=float) for name in form.variables]
    plain += [np.log(np.maximum(column, TINY)) for column in plain]
    return [*plain, *(column if column.ndim == 2 else column[:, None] for column in plain)]


@lru_cache(maxsize=64)
def value(form: Form) -> Function:
    """The formula."""
    return _function(form, _in_logs(form, form.log))


@lru_cache(maxsize=64)
def derivatives(form: Form) -> tuple[Function, tuple[tuple[int, int], ...]]:
    """A function that gives [value, *gradient, *hessian], and which (i, j), i <= j, of the Hessian: those not zero."""
    import sympy

    expression = _in_logs(form, form.log)
    symbols = [_symbol(name) for name in form.parameters]
    gradient = [sympy.diff(expression, symbol) for symbol in symbols]
    hessian = {(i, j): sympy.diff(gradient[i], symbols[j]) for i in range(len(symbols)) for j in range(i, len(symbols))}
    hessian = {pair: entry for pair, entry in hessian.items() if entry != 0}
    return _function(form, [expression, *gradient, *hessian.values()]), tuple(hessian)


@lru_cache(maxsize=64)
def basis(form: Form) -> tuple[Function, tuple[tuple[str, ...], ...]]:
    """A function that gives what each linear parameter multiplies and then the rest; and the parameters in each.

    InputError if the formula is not linear in them together.
    """
    import sympy

    linear = [_symbol(name) for name in form.linear]
    expression = _in_logs(form, form.log - set(form.linear))
    factors = [sympy.diff(expression, symbol) for symbol in linear]
    if linear and any(factor.has(*linear) for factor in factors):
        raise InputError("formula", form.text, f"is not linear in {', '.join(form.linear)} together", "declare fewer")
    factors.append(expression.subs(dict.fromkeys(linear, 0)))
    inside = [{str(symbol) for symbol in factor.free_symbols} for factor in factors]
    return _function(form, factors), tuple(tuple(p for p in form.parameters if p in names) for names in inside)


@lru_cache(maxsize=256)
def derivative(form: Form, wanted: tuple[str, ...]) -> Function:
    """The derivative with respect to variables, one after the other."""
    import sympy

    return _function(form, sympy.diff(_in_logs(form, form.log, powers=False), *map(_symbol, wanted)))


def substituted(form: Form, values: Mapping[str, float]) -> tuple[str, set[str]]:
    """The text with some parameters set, and the names left in it."""
    expression = _expression(form).subs({_symbol(name): value for name, value in values.items()})
    text = str(expression).replace("RowSum", "sum")
    return text, set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", text))


def _symbol(name: str) -> Any:
    import sympy

    return sympy.Symbol(name, real=True)


@lru_cache(maxsize=1)
def _row_sum() -> Any:
    """sum(...) of a formula as sympy sees it: derivatives pass into it."""
    import sympy

    class RowSum(sympy.Function):  # type: ignore[misc]
        def _eval_derivative(self, symbol: Any) -> Any:
            inner = self.args[0].diff(symbol)
            return RowSum(inner) if inner != 0 else sympy.Integer(0)

    return RowSum


@lru_cache(maxsize=256)
def _expression(form: Form) -> Any:
    from sympy.parsing.sympy_parser import parse_expr

    names = {name: _symbol(name) for name in (*form.parameters, *form.variables)}
    try:
        return parse_expr(form.text, local_dict={**names, "sum": _row_sum()})
    except (SyntaxError, TypeError, ValueError, AttributeError) as error:
        raise InputError("formula", form.text, f"cannot be read ({error})", "write it as Python arithmetic") from None


def _in_logs(form: Form, log: frozenset[str], powers: bool = True) -> Any:
    """The formula with the logarithms of some parameters for them, and powers of variables as exp(exponent * log)."""
    import sympy

    expression = _expression(form).xreplace({_symbol(name): sympy.exp(_symbol(name)) for name in log})
    logs = {_symbol(name): _symbol(f"log_{name}") for name in form.variables}

    def is_power(e: Any) -> bool:
        return bool(powers and e.is_Pow and e.base in logs and not e.exp.is_number)

    return expression.replace(is_power, lambda e: sympy.exp(e.exp * logs[e.base]))


def _function(form: Form, expressions: Any) -> Function:
    """Numpy code for one expression or a list of them, in which no subexpression is worked out twice."""
    import sympy

    row_sum = _row_sum()
    outside = [
        *map(_symbol, form.parameters),
        *map(_symbol, form.variables),
        *(_symbol(f"log_{name}") for name in form.variables),
    ]
    inside = {symbol: _symbol(f"inside_{symbol}") for symbol in outside}

    def inner(e: Any) -> Any:
        return e.replace(lambda s: isinstance(s, row_sum), lambda s: row_sum(s.args[0].xreplace(inside)))

    code = [inner(e) for e in expressions] if isinstance(expressions, list) else inner(expressions)
    names = [*outside, *(inside[symbol] for symbol in outside)]
    modules = [{"RowSum": lambda x: np.sum(x, axis=-1) if np.ndim(x) else x}, "numpy"]
    return sympy.lambdify(names, code, modules=modules, cse=True)  # type: ignore[no-any-return]
