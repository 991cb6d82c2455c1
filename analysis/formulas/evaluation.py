"""Nodes of a graph as a list of numpy operations, in which nothing is worked out twice. No code is generated.

Beneath `analysis.formulas.formula`. What depends on parameters only, (K, 1), and on the table only, (n,), is put
together before it meets the other, so that few operations are of the size (K, n).

    run = compiled(graph, [value, *gradient], leaves=[("A", False), ("N", False)], parameters={"A"})
    run(A, N)      # a list: each of a shape that broadcasts to (K, n)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from analysis.formulas.graph import FUNCTIONS, Graph, Node

Function = Callable[..., Any]
Step = tuple[Callable[..., Any], int, list[int], int]  # operation, of the value in which slot, and others, into which
LEAVES = ("leaf", "number")
BINARY: dict[str, Callable[..., Any]] = {
    "multiply": np.multiply,
    "divide": np.divide,
    "add": np.add,
    "subtract": np.subtract,
}


def compiled(
    graph: Graph, wanted: Sequence[Node], leaves: Sequence[tuple[str, bool]], parameters: Collection[str]
) -> Callable[..., list[Any]]:
    """A function of the values of `leaves` that gives those of the nodes `wanted`."""
    ends = _Lowering(graph, frozenset(parameters)).of(wanted)
    needed = _needed(graph, ends)
    last = {part: node for node in needed for part in _parts(graph, node)} | dict.fromkeys(ends, -1)
    places = {name: i for i, name in enumerate(leaves)}
    slots: dict[Node, int] = {}
    free: list[int] = []  # slots whose values are not needed any more
    constants: list[float] = []
    steps: list[Step] = []
    for node in needed:
        kind, *key = graph.keys[node]
        if kind == "leaf":
            slots[node] = places[key[0], key[1]]
        elif kind == "number":
            slots[node] = len(leaves) + len(constants)
            constants.append(key[0])
    count = len(leaves) + len(constants)
    for node in needed:
        if node in slots:
            continue
        parts = _parts(graph, node)
        inputs = [slots[part] for part in parts]
        free += {slots[part] for part in parts if last[part] == node and graph.keys[part][0] not in LEAVES}
        if free:
            slots[node] = free.pop()
        else:
            slots[node], count = count, count + 1
        kind = graph.keys[node][0]
        steps.append((BINARY.get(kind) or FUNCTIONS[kind], inputs[0], inputs[1:], slots[node]))
    results, room = [slots[node] for node in ends], [None] * (count - len(leaves) - len(constants))

    def run(*arguments: Any) -> list[Any]:
        cells: list[Any] = [*arguments, *constants, *room]
        with np.errstate(all="ignore"):  # far from the data a law may overflow; what is not finite is never chosen
            for operation, first, others, slot in steps:
                if len(others) == 1:
                    cells[slot] = operation(cells[first], cells[others[0]])
                elif others:
                    cells[slot] = operation(cells[first], *[cells[part] for part in others])
                else:
                    cells[slot] = operation(cells[first])
        return [cells[slot] for slot in results]

    return run


def _needed(graph: Graph, ends: Sequence[Node]) -> list[Node]:
    """The nodes and all below them, parts before the whole."""
    found, waiting = set[Node](), list(ends)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += _parts(graph, node)
    return sorted(found)


def _parts(graph: Graph, node: Node) -> tuple[Node, ...]:
    kind, *parts = graph.keys[node]
    if kind in LEAVES:
        return ()
    if kind == "+":
        return tuple(part for part, _ in parts[1])
    if kind == "*":
        return tuple(part for part, _ in parts[1])
    return tuple(parts)


class _Lowering:
    """From sums and products of many to operations with two, which are nodes of the same graph."""

    def __init__(self, graph: Graph, parameters: frozenset[str]) -> None:
        self.graph, self.parameters = graph, parameters

    def of(self, wanted: Sequence[Node]) -> list[Node]:
        low: dict[Node, Node] = {}
        for node in _needed(self.graph, wanted):
            kind, *parts = self.graph.keys[node]
            if kind == "+":
                low[node] = self._sum(parts[0], [(part, factor) for part, factor in parts[1]], low)
            elif kind == "*":
                low[node] = self._product(parts[0], parts[1], low)
            elif kind in LEAVES:
                low[node] = node
            else:
                low[node] = self._step(kind, *(low[part] for part in parts))
        return [low[node] for node in wanted]

    def _step(self, kind: str, *parts: Node) -> Node:
        return self.graph.node((kind, *parts), parts)

    def _size(self, node: Node) -> int:
        """0: parameters only, (K, 1); 1: the table only, (n,); 2: both."""
        names = self.graph.names[node]
        return 0 if names <= self.parameters else 1 if not names & self.parameters else 2

    def _product(self, coefficient: float, factors: Sequence[tuple[Node, int]], low: dict[Node, Node]) -> Node:
        above: list[Node | None] = [None, None, None]
        below: list[Node | None] = [None, None, None]
        for node, power in factors:
            side, size = (above if power > 0 else below), self._size(node)
            raised = self._raised(low[node], abs(power))
            own = side[size]
            side[size] = raised if own is None else self._step("multiply", own, raised)
        number: Node | None = None if coefficient == 1.0 else self.graph.number(coefficient)
        found: Node | None = None
        for over, under in zip(above, below, strict=True):
            if over is None and under is None:
                continue
            if number is not None:  # taken by the smallest
                over, number = number if over is None else self._step("multiply", number, over), None
            if under is not None:
                over = self._step("divide", self.graph.number(1.0) if over is None else over, under)
            assert over is not None
            found = over if found is None else self._step("multiply", found, over)
        assert found is not None
        return found

    def _raised(self, node: Node, power: int) -> Node:
        if power == 1:
            return node
        half = self._raised(node, power // 2)
        square = self._step("multiply", half, half)
        return self._step("multiply", square, node) if power % 2 else square

    def _sum(self, constant: float, terms: Sequence[tuple[Node, float]], low: dict[Node, Node]) -> Node:
        found: Node | None = None
        for size in (0, 1, 2):
            total: Node | None = None
            for node, factor in sorted((t for t in terms if self._size(t[0]) == size), key=lambda t: t[1] < 0):
                key = self.graph.keys[node]
                part, sign = low[node], 1 if factor > 0 else -1
                if abs(factor) != 1.0:
                    factors = key[2] if key[0] == "*" else ((node, 1),)
                    part = self._product(abs(factor), factors, low)
                if total is None:
                    total = part if sign > 0 else self._step("multiply", self.graph.number(-1.0), part)
                else:
                    total = self._step("add" if sign > 0 else "subtract", total, part)
            if total is None:
                continue
            if constant != 0.0:  # taken by the smallest
                total, constant = self._step("add", total, self.graph.number(constant)), 0.0
            found = total if found is None else self._step("add", found, total)
        assert found is not None
        return found
