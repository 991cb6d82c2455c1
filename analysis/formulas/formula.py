"""From the text of a formula to numpy functions of it and of its derivatives.

Beneath `analysis.laws.law`. A `Form` is a formula with the roles of its names; each function here works one thing out
from it, once per process. Functions take the arguments that `arguments` lays out: parameters of shape (K, 1), columns
of shape (n,), and the results broadcast to (K, n). Inside `sum(...)` everything has one axis more, which is summed
over. The text is read by `analysis.formulas.grammar` and worked out node by node: nothing of it is ever run as code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.formulas import grammar
from analysis.formulas.evaluation import Function, compiled
from analysis.formulas.grammar import Call, Chain, GrammarError, Name, Number, Tree
from analysis.formulas.graph import TINY, Graph, Node, log_of
from harness.core.errors import InputError

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FUNCTIONS = {
    "exp": (1, 1),
    "log": (1, 1),
    "sqrt": (1, 1),
    "abs": (1, 1),
    "min": (2, grammar.MANY),
    "max": (2, grammar.MANY),
    "sum": (1, 1),
}
OPERATIONS = ("neg", "**")
MOST_NAMES = 500  # of a formula: a quadratic law of 22 corpora has 276
MOST_SECOND = 5_000  # second derivatives that are not zero, each of the size of the table: shukor_joint of 22 has 1,600


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


@lru_cache(maxsize=256)
def read(text: str) -> Tree:
    """A formula: arithmetic with FUNCTIONS, and nothing else. Raises InputError."""
    remedy = f"arithmetic and {', '.join(sorted(FUNCTIONS))} only"
    try:
        tree = grammar.parse(text, FUNCTIONS)
        _check(tree)
    except GrammarError as error:
        raise InputError("formula", text, f"cannot be read ({error})", remedy) from None
    return tree


@lru_cache(maxsize=64)
def value(form: Form) -> Function:
    """The formula."""
    return _first(_worked_out(form, lambda _, node: [node])[0])


@lru_cache(maxsize=64)
def derivatives(form: Form, by: tuple[str, ...] = ()) -> tuple[Function, tuple[tuple[int, int], ...]]:
    """A function that gives [value, *gradient, *hessian], and which (i, j), i <= j, of the Hessian: those not zero.

    `by`: variables, in place of the parameters.
    """
    pairs: list[tuple[int, int]] = []

    def wanted(graph: Graph, node: Node) -> list[Node]:
        names = by or form.parameters
        gradient = [graph.derivative(node, name) for name in names]
        hessian = []
        for i, slope in enumerate(gradient):
            for j in range(i, len(gradient)):
                entry = graph.derivative(slope, names[j])
                if graph.value(entry) != 0.0:
                    if len(pairs) == MOST_SECOND:
                        raise GrammarError(f"more than {MOST_SECOND:,} of its second derivatives are not zero")
                    pairs.append((i, j))
                    hessian.append(entry)
        return [node, *gradient, *hessian]

    return _worked_out(form, wanted)[0], tuple(pairs)


@lru_cache(maxsize=64)
def basis(form: Form) -> tuple[Function, tuple[tuple[str, ...], ...]]:
    """A function that gives what each linear parameter multiplies and then the rest; and the parameters in each.

    InputError if the formula is not linear in them together.
    """

    def wanted(graph: Graph, node: Node) -> list[Node]:
        factors = [graph.derivative(node, name) for name in form.linear]
        if any(graph.names[factor] & set(form.linear) for factor in factors):
            names = ", ".join(form.linear)
            raise InputError("formula", form.text, f"is not linear in {names} together", "declare fewer")
        rest = grammar.replaced(read(form.text), lambda part: Number(0.0) if part in zeros else part)
        return [*factors, _built(graph, form, rest, natural)]

    zeros, natural = {Name(name) for name in form.linear}, form.log - set(form.linear)
    function, inside = _worked_out(form, wanted, natural)
    return function, tuple(tuple(name for name in form.parameters if name in names) for names in inside)


@lru_cache(maxsize=256)
def derivative(form: Form, wanted: tuple[str, ...]) -> Function:
    """The derivative with respect to variables, one after the other."""

    def derived(graph: Graph, node: Node) -> list[Node]:
        for name in wanted:
            node = graph.derivative(node, name)
        return [node]

    return _first(_worked_out(form, derived)[0])


def substituted(form: Form, values: Mapping[str, float]) -> tuple[str, set[str]]:
    """The text with some parameters set, and the names left in it. GrammarError where it has no value any more."""

    for name, number in values.items():
        if not math.isfinite(number):
            raise GrammarError(f"{name} = {number} is no number")

    def change(part: Tree) -> Tree:
        return Number(float(values[part.name])) if isinstance(part, Name) and part.name in values else _simple(part)

    tree = grammar.replaced(read(form.text), change)
    return grammar.written(tree), set(grammar.names(tree))


def _check(tree: Tree) -> None:
    """GrammarError for what is no formula, such as a condition, and for what no law has."""
    found = grammar.names(tree)
    if len(found) > MOST_NAMES:
        raise GrammarError(f"it has more than {MOST_NAMES} names")
    if strange := [name for name in found if not name.isprintable()]:
        raise GrammarError(f"{strange[0]!r} is no name of one line")
    for node in grammar.nodes(tree):
        match node:
            case Chain(_, marks) if not set(marks) <= {"+", "-", "*", "/"}:
                raise GrammarError(f"it holds {next(mark for mark in marks if mark not in '+-*/')}")
            case Call(function, _) if function not in (*FUNCTIONS, *OPERATIONS):
                raise GrammarError(f"it holds a {function}")
            case Call("sum", (inner,)) if any(
                isinstance(n, Call) and n.function == "sum" for n in grammar.nodes(inner)
            ):
                raise GrammarError("a sum is inside another")
            case grammar.Text(text):
                raise GrammarError(f"it holds the text {text[:20]!r}")


def _worked_out(
    form: Form, wanted: Callable[[Graph, Node], list[Node]], log: frozenset[str] | None = None
) -> tuple[Callable[..., list[Any]], list[frozenset[str]]]:
    """Numpy operations for nodes made from the formula, and the names in each."""
    graph = Graph(form.variables)
    try:
        found = wanted(graph, _built(graph, form, read(form.text), form.log if log is None else log))
        leaves = [*form.parameters, *form.variables, *map(log_of, form.variables)]
        places = [(name, inside) for inside in (False, True) for name in leaves]
        inside = [graph.names[node] for node in found]
        return compiled(graph, found, places, form.parameters), inside
    except GrammarError as error:
        raise InputError("formula", form.text, str(error), "write a simpler one") from None


def _first(function: Callable[..., list[Any]]) -> Function:
    return lambda *values: function(*values)[0]


def _built(graph: Graph, form: Form, tree: Tree, log: frozenset[str], inside: bool = False) -> Node:
    """The node of a tree, with exp(leaf) for parameters given as logarithms. `inside` a sum."""

    def of(part: Tree) -> Node:
        return _built(graph, form, part, log, inside)

    match tree:
        case Number(number):
            return graph.number(number)
        case Name(name):
            leaf = graph.leaf(name, inside)
            return graph.call("exp", leaf) if name in log else leaf
        case Chain(parts, marks) if marks[0] in grammar.SIGNS:
            signs = [1.0, *(1.0 if mark == "+" else -1.0 for mark in marks)]
            return graph.sum((of(part), sign) for part, sign in zip(parts, signs, strict=True))
        case Chain(parts, marks):
            powers = [1, *(1 if mark == "*" else -1 for mark in marks)]
            return graph.product((of(part), power) for part, power in zip(parts, powers, strict=True))
        case Call("neg", (part,)):
            return graph.product([(of(part), 1)], -1.0)
        case Call("**", (base, exponent)):
            return graph.power(of(base), of(exponent))
        case Call("sum", (part,)):
            over = [graph.leaf(name, True) for name in grammar.names(part) if name in form.variables]
            inner = _built(graph, form, part, log, True)
            if not over:
                raise GrammarError("a sum has no variable inside")
            return graph.summed(inner, over)
        case Call("max" | "min" as function, (_, _, *_) as parts):  # by halves: what is deep has deep derivatives
            half = len(parts) // 2
            halves = (Call(function, parts[:half]), Call(function, parts[half:]))
            return graph.call(function, *(of(part if len(part.parts) > 1 else part.parts[0]) for part in halves))
        case Call(function, (part,)):
            return graph.call(function, of(part))
    raise AssertionError(tree)


def _simple(tree: Tree) -> Tree:
    """A part without what plays no part in it: zeros in sums and products, ones, operations with numbers only."""
    match tree:
        case Chain(parts, marks) if marks[0] in grammar.SIGNS:
            kept = [(m, part) for m, part in zip(("+", *marks), parts, strict=True) if part != Number(0.0)]
            if not kept:
                return Number(0.0)
            if kept[0][0] == "-":
                kept[0] = ("+", _simple(Call("neg", (kept[0][1],))))
            return _chain(kept)
        case Chain(parts, marks):
            kept = [*zip(("*", *marks), parts, strict=True)]
            if ("/", Number(0.0)) in kept:
                raise GrammarError("it divides by zero")
            if ("*", Number(0.0)) in kept:
                return Number(0.0)
            rest = [kept[0], *(pair for pair in kept[1:] if pair[1] != Number(1.0))]
            if len(rest) > 1 and rest[0][1] == Number(1.0) and rest[1][0] == "*":
                rest = rest[1:]
            return _chain(rest)
        case Call("**", (_, Number(0.0))) | Call("**", (Number(1.0), _)):
            return Number(1.0)
        case Call("**", (base, Number(1.0))):
            return base
        case Call("neg", (Number(number),)):
            return Number(-number)
        case Call(function, parts) if function != "sum" and all(isinstance(part, Number) for part in parts):
            return _constant(tree)
    return tree


def _chain(pairs: list[tuple[str, Tree]]) -> Tree:
    if len(pairs) == 1:
        return pairs[0][1]
    chain = Chain(tuple(part for _, part in pairs), tuple(mark for mark, _ in pairs[1:]))
    return _constant(chain) if all(isinstance(part, Number) for part in chain.parts) else chain


def _constant(tree: Tree) -> Number:
    """A part in which there is no name."""
    graph = Graph()
    found = graph.value(_built(graph, Form("", (), (), (), frozenset()), tree, frozenset()))
    if found is None or not math.isfinite(found):
        raise GrammarError("it has no value")
    return Number(found)
