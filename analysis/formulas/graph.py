"""Formulas as one graph without repeats, in which every node is made simple as it is made, and its derivatives.

Beneath `analysis.formulas.formula`. A node is a number that counts up, so parts come before the whole; equal nodes are
one. Derivatives have a value everywhere: at a kink (abs, sqrt, max, min, a power at zero) it is a subgradient.

    graph = Graph()
    x = graph.leaf("x")
    graph.derivative(graph.call("sqrt", graph.product([(x, 2)])), "x")    # the node of sign(x)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from analysis.formulas.grammar import GrammarError

MOST_PARTS = 150_000  # of all nodes together: chinchilla 116, shukor_joint of 22 corpora, the largest in use, 52,000

LARGEST_POWER = 64  # a whole number above it is a power like others: exp(exponent log(base))
TINY = 1e-300  # stands for a variable of zero under a logarithm: 0**eta is 0 for every exponent that is not tiny too

Node: TypeAlias = int
Key: TypeAlias = tuple[Any, ...]


class Graph:
    """Nodes of one formula. What makes one raises GrammarError for a number that is none, and for too many nodes."""

    def __init__(self, variables: Collection[str] = ()) -> None:
        self.variables = frozenset(variables)
        self.keys: list[Key] = []
        self.names: list[frozenset[str]] = []  # leaves below each node
        self.known: dict[Key, Node] = {}
        self.derived: dict[tuple[Node, str], Node] = {}
        self.size = 0

    def node(self, key: Key, parts: Iterable[Node]) -> Node:
        if (found := self.known.get(key)) is not None:
            return found
        below = [self.names[part] for part in parts]
        self.size += 1 + len(below)
        if self.size > MOST_PARTS:
            raise GrammarError("its derivatives are too large")
        self.known[key] = len(self.keys)
        self.keys.append(key)
        self.names.append(frozenset().union(*below))
        return len(self.keys) - 1

    def number(self, value: float) -> Node:
        if not math.isfinite(value):
            raise GrammarError("a part of it is no finite number")
        return self.node(("number", float(value)), ())

    def leaf(self, name: str, inside: bool = False) -> Node:
        """A parameter, a variable or its logarithm; `inside` a sum it has one axis more."""
        node = self.node(("leaf", name, inside), ())
        self.names[node] = frozenset((name,))
        return node

    def value(self, node: Node) -> float | None:
        """Of a number."""
        return self.keys[node][1] if self.keys[node][0] == "number" else None

    def sum(self, terms: Iterable[tuple[Node, float]]) -> Node:
        """The sum of nodes times coefficients."""
        constant, found = 0.0, dict[Node, float]()
        for node, factor in terms:
            key = self.keys[node]
            if key[0] == "number":
                constant += factor * key[1]
            elif key[0] == "*" and key[1] != 1.0:
                bare = self.node(("*", 1.0, key[2]), (part for part, _ in key[2])) if _many(key[2]) else key[2][0][0]
                found[bare] = found.get(bare, 0.0) + factor * key[1]
            else:
                found[node] = found.get(node, 0.0) + factor
        kept = tuple(sorted((node, factor) for node, factor in found.items() if factor != 0.0))
        if not kept:
            return self.number(constant)
        if len(kept) == 1 and constant == 0.0:
            return self.product([(kept[0][0], 1)], kept[0][1])
        if not math.isfinite(constant) or not all(math.isfinite(factor) for _, factor in kept):
            raise GrammarError("a part of it is no finite number")
        return self.node(("+", constant, kept), (node for node, _ in kept))

    def product(self, factors: Iterable[tuple[Node, int]], coefficient: float = 1.0) -> Node:
        """The product of powers of nodes, times a number."""
        found: dict[Node, int] = {}
        exponents: list[tuple[Node, float]] = []
        waiting = list(factors)
        while waiting:
            node, power = waiting.pop()
            key = self.keys[node]
            if key[0] == "number":
                coefficient *= _power(key[1], power)
            elif key[0] == "*" and abs(power) == 1:  # (x y)² stays: x² and y² may be too large where it is not
                coefficient *= _power(key[1], power)
                waiting += [(part, inner * power) for part, inner in key[2]]
            elif key[0] == "exp":
                exponents.append((key[1], float(power)))
            else:
                found[node] = found.get(node, 0) + power
        if coefficient == 0.0:
            return self.number(0.0)
        if exponents:
            node = self.call("exp", self.sum(exponents))
            if (value := self.value(node)) is not None:
                coefficient *= value
            else:
                found[node] = 1
        kept = tuple(sorted((node, power) for node, power in found.items() if power != 0))
        if not math.isfinite(coefficient) or not kept:
            return self.number(coefficient)
        if coefficient == 1.0 and not _many(kept):
            return kept[0][0]
        return self.node(("*", coefficient, kept), (node for node, _ in kept))

    def power(self, base: Node, exponent: Node) -> Node:
        """base ** exponent. But for whole numbers it is exp(exponent log(base)), and 0 at a base of zero."""
        whole, value = self.value(exponent), self.value(base)
        if whole is not None and value is not None:
            return self.number(_power(value, whole))
        if whole is not None and whole == int(whole) and abs(whole) <= LARGEST_POWER:
            return self.product([(base, int(whole))])
        if whole == 0.5:
            return self.call("sqrt", base)
        logarithm = None if whole is not None else self._logarithm(base)
        if logarithm is None:
            logarithm = self.call("log0", base)
        return self.call("exp", self.product([(logarithm, 1), (exponent, 1)]))

    def _logarithm(self, node: Node) -> Node | None:
        """Of what is made of variables and of parameters given as logarithms."""
        key = self.keys[node]
        if key[0] == "exp":
            return int(key[1])
        if key[0] == "leaf" and key[1] in self.variables:
            return self.leaf(log_of(key[1]), key[2])
        if key[0] == "*" and key[1] > 0:
            parts = [(self._logarithm(part), power) for part, power in key[2]]
            known = [(part, float(power)) for part, power in parts if part is not None]
            return self.sum([*known, (self.number(math.log(key[1])), 1.0)]) if len(known) == len(parts) else None
        return None

    def call(self, function: str, *parts: Node) -> Node:
        """A function of nodes: one of FUNCTIONS."""
        if function == "sqrt":
            key = self.keys[parts[0]]
            if key[0] == "*" and key[1] == 1.0 and not _many(key[2]) and key[2][0][1] == 2:
                return self.call("abs", key[2][0][0])
        if function == "log" and self.keys[parts[0]][0] == "exp":
            return int(self.keys[parts[0]][1])
        values = [self.value(part) for part in parts]
        if all(value is not None for value in values):
            with np.errstate(all="ignore"):
                return self.number(float(FUNCTIONS[function](*values)))
        if function in ("max", "min") and parts[0] == parts[1]:
            return parts[0]
        if function == "choice" and parts[2] == parts[3]:
            return parts[2]
        return self.node((function, *parts), parts)

    def summed(self, node: Node, over: Sequence[Node]) -> Node:
        """The sum of a node along the last axis of the leaves `over`, which may no longer be in it."""
        if self.value(node) == 0.0:
            return node
        return self.node(("sum", node, *over), (node, *over))

    def derivative(self, node: Node, name: str) -> Node:
        """With respect to a leaf, or to a variable whose logarithm is a leaf too."""
        if name not in self.names[node] and log_of(name) not in self.names[node]:
            return self.number(0.0)
        if (found := self.derived.get((node, name))) is None:
            found = self.derived[node, name] = self._derivative(node, name)
        return found

    def _derivative(self, node: Node, name: str) -> Node:
        kind, *parts = self.keys[node]
        if kind == "leaf":
            if parts[0] == name:
                return self.number(1.0)
            return self.call("exp", self.product([(node, 1)], -1.0))  # of log x: 1/x
        if kind == "+":
            return self.sum((self.derivative(part, name), factor) for part, factor in parts[1])
        if kind == "*":
            coefficient, factors = parts
            terms = []
            for i, (part, power) in enumerate(factors):
                slope = self.derivative(part, name)
                if self.value(slope) != 0.0:
                    rest = [*factors[:i], (part, power - 1), *factors[i + 1 :]]
                    terms.append((self.product([*rest, (slope, 1)], coefficient * power), 1.0))
            return self.sum(terms)
        if kind == "sum":
            return self.summed(self.derivative(parts[0], name), parts[1:])
        if kind == "choice":
            return self.call("choice", *parts[:2], *(self.derivative(part, name) for part in parts[2:]))
        slopes = [self.derivative(part, name) for part in parts]
        if kind == "max":
            return self.call("choice", *parts, *slopes)
        if kind == "min":
            return self.call("choice", *reversed(parts), *slopes)
        if kind == "sign":
            return self.number(0.0)
        if kind == "recip0":
            return self.product([(node, 2), (slopes[0], 1)], -1.0)
        if kind == "exp":
            return self.product([(node, 1), (slopes[0], 1)])
        if kind == "log":
            return self.product([(parts[0], -1), (slopes[0], 1)])
        if kind == "sqrt":
            return self.product([(self.call("recip0", node), 1), (slopes[0], 1)], 0.5)
        outer = self.call({"log0": "recip0", "abs": "sign"}[kind], parts[0])
        return self.product([(outer, 1), (slopes[0], 1)])


def log_of(variable: str) -> str:
    """The leaf of a variable's logarithm; no name of a formula has a line break in it."""
    return f"log\n{variable}"


def _many(factors: Sequence[tuple[Node, int]]) -> bool:
    return len(factors) > 1 or factors[0][1] != 1


def _power(base: float, exponent: float) -> float:
    try:
        value = base**exponent
    except ZeroDivisionError:
        raise GrammarError("it divides by zero") from None
    except OverflowError:
        raise GrammarError("a part of it is too large") from None
    if isinstance(value, complex):
        raise GrammarError("a part of it is no real number")
    return float(value)


def _log0(x: Any) -> Any:
    if np.minimum.reduce(x, axis=None, initial=np.inf) > 0:
        return np.log(x)
    return np.where(np.less(x, 0), np.nan, np.log(np.maximum(x, TINY)))


def _recip0(x: Any) -> Any:
    if np.logical_and.reduce(x, axis=None):
        return np.divide(1.0, x)
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, np.divide(1.0, np.where(zero, 1.0, x)))


def _choice(p: Any, q: Any, x: Any, y: Any) -> Any:
    return np.where(np.greater_equal(p, q), x, y)


def _along(x: Any, *over: Any) -> Any:
    """The sum over the last axis, which is that of `over` where x has none of its own."""
    count = max(np.shape(leaf)[-1] for leaf in over)
    if np.ndim(x) == 0:
        return x * count
    return np.sum(x, axis=-1) if x.shape[-1] == count else x[..., 0] * count


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "max": np.maximum,
    "min": np.minimum,
    "sign": np.sign,
    "log0": _log0,  # log(x), that of TINY at 0; none below
    "recip0": _recip0,  # 1/x, but 0 at 0: the slope of |x| and of sqrt(x) there
    "choice": _choice,  # (p, q, x, y): x where p >= q, else y
    "sum": _along,
}
