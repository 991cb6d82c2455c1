"""A law as data: its formula as text, with what the fits need to know of its names.

`Law` is what a definition in `analysis.laws.library` (or in a user's own file) says; `Bound` is a law on one table's
columns, with value, gradient and Hessian for many parameter vectors at once. No derivative is written by hand or taken
numerically (`analysis.formulas.formula`).

    law = Law("power", "E + A/N**alpha", {"N": "parameters"}, linear=("E", "A"), starts={"alpha": (0.05, 1.5)})
    law.value({"E": 1.8, "A": 480.0, "alpha": 0.35}, {"N": sizes})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from keyword import iskeyword
from typing import Any

import numpy as np
import pandas as pd

from analysis.formulas import formula, grammar
from analysis.formulas.formula import Array, Form, Integers
from harness.core.errors import InputError

EXPONENT = (0.0, 3.0)  # bounds of an exponent
FREE = (-float("inf"), float("inf"))


@dataclass(frozen=True)
class Law:
    """loss = formula(parameters, variables)."""

    name: str
    """What fits and commands call it."""
    formula: str
    """Arithmetic with exp, log, sqrt, abs, max, min and `sum(...)`, which runs over the second axis of the variables
    inside it (for example the drops of the learning rate before a step); `analysis.formulas.grammar` reads it. What is
    no word stands in backticks."""
    variables: Mapping[str, str]
    """Name -> unit. They are columns of a table, and may be called anything."""
    linear: tuple[str, ...]
    """Parameters that the formula is linear in together; fits solve for them inside."""
    starts: Mapping[str, tuple[float, float]]
    """For every other parameter the range that starts are laid over."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Of parameters where they are not (0, inf)."""
    log: tuple[str, ...] = ()
    """Parameters of `starts` whose range spans decades."""
    requirements: tuple[str, ...] = ()
    """What the law's paper demands on the data, written as `dL/dr < 0`."""
    shares: tuple[str, ...] = ()
    """The domains of a mixture, whose shares sum to one: variables of these names, where one may be left out of the
    formula because the others imply it. A single one is the share of the corpus whose loss it is."""
    source: str = ""
    """Paper and equation."""
    read: str = ""
    """Where its form was read, in a primary source: the paper's text, or its authors' code. Empty: nowhere."""
    checked: str = ""
    """The public tables that its fit is tested on, separated by commas. Empty: none."""

    def __post_init__(self) -> None:
        _check_roles(self)
        declared, used = {*self.variables, *self.linear, *self.starts}, self._names()
        wrong = [f"{name} is not declared" for name in used if name not in declared]
        wrong += [
            f"{name} is no name of a parameter (a word)" for name in {*self.linear, *self.starts} if _strange(name)
        ]
        wrong += [f"{name} does not occur" for name in sorted(declared - set(used))]
        wrong += [] if set(used) - set(self.variables) else ["it has no parameter"]
        given = [*self.variables, *self.linear, *self.starts]
        wrong += [f"{name} is declared twice" for name in dict.fromkeys(given) if given.count(name) > 1]
        wrong += [f"{name} is twice in log" for name in dict.fromkeys(self.log) if self.log.count(name) > 1]
        wrong += [f"{name} is twice in shares" for name in dict.fromkeys(self.shares) if self.shares.count(name) > 1]
        wrong += (
            [] if not self.shares or set(self.shares) & set(self.variables) else ["no name of its shares is a variable"]
        )
        if wrong:
            remedy = "every name is a variable, a linear parameter, or has starts"
            raise InputError(f"law {self.name}", self.formula, "; ".join(wrong), remedy)
        for requirement in self.requirements:
            self._differentiated(requirement)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Their names, in the order of the formula."""
        return tuple(name for name in self._names() if name not in self.variables)

    @cached_property
    def form(self) -> Form:
        log = frozenset(name for name in self.parameters if self.on_log_scale(name))
        return Form(self.formula, self.parameters, tuple(self.variables), self.linear, log)

    @property
    def own_share(self) -> str:
        """The variable that is the share of the corpus whose loss the law is of; empty if there is no such."""
        return self.shares[0] if len(self.shares) == 1 else ""

    @property
    def domains(self) -> dict[str, str]:
        """The columns of a table that hold the shares of all domains of a mixture, with their unit."""
        return dict.fromkeys(self.shares, "share") if len(self.shares) > 1 else {}

    @property
    def rest(self) -> str:
        """The share that the others leave over, for which the formula has no variable; empty if there is no such."""
        left = [name for name in self.shares if name not in self.variables]
        return left[0] if len(self.shares) > 1 and len(left) == 1 else ""

    @property
    def tables(self) -> list[str]:
        """The public tables of `checked`."""
        return [name.strip() for name in self.checked.split(",") if name.strip()]

    @property
    def missing(self) -> tuple[str, ...]:
        """What it lacks to be verified: that its form was read, and that a table which others published is fitted."""
        return tuple(
            why for why, there in (("form not read", self.read), ("no public table", self.checked)) if not there
        )

    @property
    def status(self) -> str:
        """verified or unverified. A planted table proves only one's own form, so that it does not count."""
        return "unverified" if self.missing else "verified"

    def bound(self, parameter: str) -> tuple[float, float]:
        return self.bounds.get(parameter, (0.0, np.inf))

    def on_log_scale(self, parameter: str) -> bool:
        """Whether fits move its logarithm: the valley of A/N**alpha is straight in (log A, alpha)."""
        return parameter in self.log or (parameter in self.linear and self.bound(parameter)[0] >= 0)

    def value(self, parameters: Mapping[str, Any], columns: Mapping[str, Any] | pd.DataFrame) -> Array:
        """The losses at columns that broadcast to one shape, in that shape. Raises InputError for a missing name, and
        for a parameter below zero that fits move the logarithm of."""
        given = {*parameters, *columns}
        names = [name for name in (*self.parameters, *self.variables) if name not in given]
        if names:
            raise InputError(f"law {self.name}", ", ".join(names), "has no value", "give one")
        if below := [name for name in self.parameters if self.on_log_scale(name) and parameters[name] < 0]:
            why = f"outside of its bounds, {self.bound(below[0])[0]:g} to {self.bound(below[0])[1]:g}"
            raise InputError(f"law {self.name}", f"{below[0]} = {parameters[below[0]]:g}", why, "give one inside")
        shaped = np.broadcast_arrays(*(np.asarray(columns[name], dtype=float) for name in self.variables))
        flat = {name: array.reshape(-1) for name, array in zip(self.variables, shaped, strict=True)}
        theta = self.inward(np.array([[float(parameters[name]) for name in self.parameters]]))
        return np.asarray(Bound(self, flat).value(theta)[0].reshape(shaped[0].shape))

    def inward(self, values: Array) -> Array:
        """From parameters (last axis) to what fits move: the logarithms of some."""
        return self._mapped(values, np.log)

    def outward(self, theta: Array) -> Array:
        """The reverse of `inward`."""
        return self._mapped(theta, np.exp)

    @property
    def inward_bounds(self) -> tuple[Array, Array]:
        """(P,) lower and upper bounds in the form of `inward`."""
        low, high = self.inward(np.array([self.bound(name) for name in self.parameters]).reshape(-1, 2).T)
        return low, high

    def fixed(self, values: Mapping[str, float]) -> Law:
        """This law with some parameters set for good; names that play no part any more drop out."""
        for name, value in values.items():
            if name not in self.parameters:
                raise InputError("fix", name, f"no parameter of {self.name}", f"choose of {', '.join(self.parameters)}")
            low, high = self.bound(name)
            if not low <= value <= high:
                why = f"outside of its bounds in {self.name}, {low:g} to {high:g}"
                raise InputError("fix", f"{name}={value:g}", why, "fix it inside of them")
        if not values:
            return self
        return self._without(values, "fix", "fix fewer parameters, or at other values")

    def at(self, values: Mapping[str, float]) -> Law:
        """This law at given values of some variables."""
        return self._without(values, "given", "give other values") if values else self

    def _without(self, values: Mapping[str, float], field: str, remedy: str) -> Law:
        """The law with numbers for some of its names, and without those that they make vanish."""
        given = ",".join(f"{k}={v:g}" for k, v in values.items())
        try:
            text, left = formula.substituted(self.form, values)
        except grammar.GrammarError as error:
            raise InputError(field, given, f"leaves nothing of {self.name}: {error}", remedy) from None
        if not left & set(self.parameters):
            raise InputError(field, given, f"leaves {text} of {self.name}", remedy)
        return replace(
            self,
            formula=text,
            variables={name: unit for name, unit in self.variables.items() if name in left},
            linear=tuple(name for name in self.linear if name in left),
            starts={name: span for name, span in self.starts.items() if name in left},
            bounds={name: ends for name, ends in self.bounds.items() if name in left},
            log=tuple(name for name in self.log if name in left),
            requirements=tuple(text for text in self.requirements if set(self._differentiated(text)) <= left),
            shares=self.shares if left & set(self.shares) else (),
        )

    def trend(self, parameters: Mapping[str, float], columns: Mapping[str, Any], requirement: str) -> Array:
        """The derivative that a requirement such as `d2L/dDdr < 0` speaks of, at the columns; shape (n,)."""
        wanted = self._differentiated(requirement)
        theta = self.inward(np.array([[parameters[name] for name in self.parameters]]))
        data = formula.columns_of(self.form, columns)
        found = formula.derivative(self.form, tuple(wanted))(*formula.arguments(theta, data))
        return np.asarray(np.broadcast_to(found, (1, len(data[0])))[0])

    def _differentiated(self, requirement: str) -> list[str]:
        """The variables that `dL/dr < 0` or `d2L/dDdr < 0` differentiates by."""
        for first in self.variables:
            if requirement == f"dL/d{first} < 0":
                return [first]
            for second in self.variables:
                if requirement == f"d2L/d{first}d{second} < 0":
                    return [first, second]
        first, known = next(iter(self.variables), "x"), ", ".join(self.variables)
        remedy = f"write it as dL/d{first} < 0, with < 0 and variables of the law: {known}"
        raise InputError(f"law {self.name}", requirement, "is no derivative of this law that is below 0", remedy)

    def _names(self) -> list[str]:
        return grammar.names(formula.read(self.formula))

    def _mapped(self, values: Array, function: Callable[[Array], Array]) -> Array:
        mapped = np.array(values, dtype=float)
        on_log = np.array([self.on_log_scale(name) for name in self.parameters], dtype=bool)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            mapped[..., on_log] = function(mapped[..., on_log])
        return mapped


class Bound:
    """A law on the columns of one table. `theta`, of shape (K, P), is in the form of `Law.inward`."""

    def __init__(self, law: Law, columns: Mapping[str, Any] | list[Array]) -> None:
        self.law = law
        self.data = columns if isinstance(columns, list) else formula.columns_of(law.form, columns)
        self.n = len(self.data[0])
        self.cells = max(column.size for column in self.data)  # with those of sums

    def taking(self, rows: Integers) -> Bound:
        """The law on some of the rows."""
        return Bound(self.law, [column[rows] for column in self.data])

    def value(self, theta: Array) -> Array:
        """Losses, (K, n)."""
        found = formula.value(self.law.form)(*self._arguments(theta))
        return np.broadcast_to(found, (len(theta), self.n))

    def derivatives(self, theta: Array) -> tuple[Array, Array, list[tuple[int, int, Array]]]:
        """Losses (K, n), gradient (K, P, n), and (i, j, values) of the Hessian's entries that are not zero."""
        function, pairs = formula.derivatives(self.law.form)
        found = function(*self._arguments(theta))
        parameters = theta.shape[1]
        gradient = np.empty((len(theta), parameters, self.n))
        for i in range(parameters):
            gradient[:, i] = found[1 + i]
        hessian = [(i, j, entry) for (i, j), entry in zip(pairs, found[1 + parameters :], strict=True)]
        return np.broadcast_to(found[0], (len(theta), self.n)), gradient, hessian

    def basis(self, theta: Array) -> list[Array]:
        """What each linear parameter multiplies, then what is left without them: (K, n), or (1, n) if the same."""
        function, _ = formula.basis(self.law.form)
        return [
            np.broadcast_to(part, (np.shape(part)[0] if np.ndim(part) == 2 else 1, self.n))
            for part in function(*self._arguments(theta))
        ]

    def _arguments(self, theta: Array) -> list[Array]:
        return formula.arguments(theta, self.data)


def _strange(name: str) -> bool:
    """Is it no word, or one of Python's? Variables may be so called, which are columns of other people's tables."""
    return not (name.isascii() and name.isidentifier()) or name.startswith("_") or iskeyword(name)


def _check_roles(law: Law) -> None:
    """InputError for bounds, starts and scales that are none, or of what has none."""
    field = f"law {law.name}"
    for name in (*law.bounds, *law.log):
        if name not in law.starts and (name in law.log or name not in law.linear):
            raise InputError(field, name, "has bounds or a scale, but is no parameter with starts", "mend its name")
    for name, (low, high) in law.bounds.items():
        if not low < high or (name in law.log and low < 0):
            raise InputError(field, f"bounds of {name} = {(low, high)}", "no range of it", "give (low, high)")
    for name, span in law.starts.items():
        if not (isinstance(span, tuple | list) and len(span) == 2 and -np.inf < span[0] < span[1] < np.inf):
            raise InputError(field, f"starts of {name} = {span}", "no range", "give (low, high)")
        if name in law.log and not span[0] > 0:
            raise InputError(field, f"starts of {name} = {span}", "has no logarithm", "begin above zero")
        low, high = law.bound(name)
        if not low <= span[0] < span[1] <= high:
            why = f"outside of its bounds, {low:g} to {high:g}"
            raise InputError(field, f"starts of {name} = {span}", why, "begin inside, or give other bounds")
