"""The language of formulas and of conditions, whoever wrote them: names, numbers, texts, arithmetic, a few functions.

Beneath `formula` and `expressions`, which give a meaning to it. There is no attribute, no subscript, no assignment and
no way to name anything but what the caller looks up, so that a text can do nothing but be worked out, in bounded work.

    parse("E + A/N", {})    # Chain((Name("E"), Chain((Name("A"), Name("N")), ("/",))), ("+",))
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

LONGEST = 20_000  # characters: a quadratic law of 22 corpora, the largest in use, has 8,000
DEEPEST = 40  # parentheses, powers and signs inside each other: ten are many, and Python's own stack bears 1,000
MOST_NODES = 5_000  # names, numbers and operations: that law has 2,000
LONGEST_NAME = 100
MANY = 1_000  # arguments of a function
SIGNS = ("+", "-")
FACTORS = ("*", "/", "//", "%")
COMPARISONS = ("==", "!=", "<=", ">=", "<", ">", "in", "not in")
WORDS = ("and", "or", "not", "in")
TOKEN = re.compile(
    r"""(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<name>[^\W\d]\w*)
    |(?P<text>'[^']*'|"[^"]*")
    |`(?P<quoted>[^`]+)`
    |(?P<mark>\*\*|//|<=|>=|==|!=|[-+*/%<>(){}\[\],&|~])""",
    re.VERBOSE,
)
NO_PART = {  # what people write that is in no expression, and what to write
    ".": "there are no attributes and methods",
    "=": "write == for equality",
    "^": "write ** for powers",
    "!": "write != or not",
    "'": "the text is not closed",
    '"': "the text is not closed",
    "`": "the name is not closed",
}


class GrammarError(ValueError):
    """The text is no expression; says why, in one line."""


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Text:
    value: str


@dataclass(frozen=True)
class Name:
    name: str


@dataclass(frozen=True)
class Call:
    """A function, or an operation: `**`, `neg`, `not`, `and`, `or`, `list`."""

    function: str
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Chain:
    """Sums, products and comparisons, worked out from left to right: `a - b + c` is ((a, b, c), ("-", "+"))."""

    parts: tuple[Tree, ...]
    marks: tuple[str, ...]


Tree: TypeAlias = Number | Text | Name | Call | Chain


def parse(text: str, functions: Mapping[str, tuple[int, int]]) -> Tree:
    """The tree of an expression; `functions`: the fewest and most arguments of each. Raises GrammarError."""
    return _Reader(text, functions).whole()


def nodes(tree: Tree) -> Iterator[Tree]:
    """The tree and all its parts, each before its own."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Call | Chain):
            waiting.extend(reversed(node.parts))


def names(tree: Tree) -> list[str]:
    """The names in it, in the order in which they first occur."""
    return list(dict.fromkeys(node.name for node in nodes(tree) if isinstance(node, Name)))


def replaced(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """The tree with every part changed, the innermost first."""
    if isinstance(tree, Call | Chain):
        tree = replace(tree, parts=tuple(replaced(part, change) for part in tree.parts))
    return change(tree)


def quoted(name: str) -> str:
    """A name as it is written in an expression: in backticks if it is no word, or one of the language's."""
    return name if name.isidentifier() and name not in WORDS else f"`{name}`"


def written(tree: Tree, around: int = 0) -> str:
    """The text of a tree, which reads back as this tree. `around`: how tightly what stands around it binds."""
    match tree:
        case Number(value):
            text = repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
            own = 7 if value >= 0 else 5
        case Text(value):
            text, own = (f"'{value}'" if '"' in value else f'"{value}"'), 7
        case Name(name):
            text, own = quoted(name), 7
        case Chain(parts, marks):
            own = 3 if marks[0] in COMPARISONS else 4 if marks[0] in SIGNS else 5
            space = "" if own == 5 and marks[0] not in ("//", "%") else " "
            text = written(parts[0], own if own != 3 else 4)
            for mark, part in zip(marks, parts[1:], strict=True):
                text += f"{space}{mark}{space}{written(part, own + 1)}"
        case Call("neg", (part,)):
            text, own = f"-{written(part, 6)}", 5
        case Call("not", (part,)):
            text, own = f"not {written(part, 3)}", 2
        case Call("**", (base, exponent)):
            text, own = f"{written(base, 7)}**{written(exponent, 7)}", 6
        case Call("and" | "or" as word, parts):
            own = 1 if word == "and" else 0
            text = f" {word} ".join(written(part, own + 1) for part in parts)
        case Call("list", parts):
            text, own = f"[{', '.join(map(written, parts))}]", 7
        case Call(function, parts):
            text, own = f"{function}({', '.join(map(written, parts))})", 7
    return text if own >= around else f"({text})"


class _Reader:
    """One text on its way to a tree: recursive descent, at most DEEPEST calls of `_inside` inside each other."""

    def __init__(self, text: str, functions: Mapping[str, tuple[int, int]]) -> None:
        if len(text) > LONGEST:
            raise GrammarError(f"it has {len(text):,} characters, more than {LONGEST:,}")
        self.functions, self.at, self.depth, self.count = functions, 0, 0, 0
        self.tokens = list(_tokens(text))

    def whole(self) -> Tree:
        if not self.tokens:
            raise GrammarError("it is empty")
        tree = self._or()
        if self.at < len(self.tokens):
            raise GrammarError(f"{self._seen()} has no place there")
        return tree

    def _seen(self) -> str:
        _, text, place = self.tokens[self.at] if self.at < len(self.tokens) else ("", "", -1)
        return f"{text[:40]!r} at character {place + 1}" if text else "the end"

    def _mark(self, *wanted: str) -> str | None:
        """The next mark or word if it is one of these, which is then taken."""
        if self.at < len(self.tokens):
            kind, text, _ = self.tokens[self.at]
            if kind in ("mark", "word") and text in wanted:
                self.at += 1
                return text
        return None

    def _due(self, mark: str) -> None:
        if not self._mark(mark):
            raise GrammarError(f"{mark} is due where {self._seen()} is")

    def _counted(self, tree: Tree) -> Tree:
        self.count += 1
        if self.count > MOST_NODES:
            raise GrammarError(f"it has more than {MOST_NODES:,} names, numbers and operations")
        return tree

    def _inside(self, read: Callable[[], Tree]) -> Tree:
        """One level deeper."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise GrammarError(f"more than {DEEPEST} operations are inside each other")
        tree = read()
        self.depth -= 1
        return tree

    def _or(self) -> Tree:
        return self._joined("or", ("or", "|"), lambda: self._joined("and", ("and", "&"), self._not))

    def _joined(self, word: str, marks: tuple[str, ...], read: Callable[[], Tree]) -> Tree:
        parts = [read()]
        while self._mark(*marks):
            parts.append(read())
        return parts[0] if len(parts) == 1 else self._counted(Call(word, tuple(parts)))

    def _not(self) -> Tree:
        if self._mark("not"):
            return self._counted(Call("not", (self._inside(self._not),)))
        return self._chain(COMPARISONS, self._sum)

    def _sum(self) -> Tree:
        return self._chain(SIGNS, lambda: self._chain(FACTORS, self._unary))

    def _chain(self, wanted: tuple[str, ...], read: Callable[[], Tree]) -> Tree:
        parts, marks = [read()], []
        while (mark := self._mark(*wanted)) or (wanted is COMPARISONS and self._mark("not")):
            if mark is None:
                self._due("in")
            marks.append(mark or "not in")
            parts.append(self._list() if mark in (None, "in") else read())
        return self._counted(Chain(tuple(parts), tuple(marks))) if marks else parts[0]

    def _unary(self) -> Tree:
        if sign := self._mark("-", "+", "~"):
            part = self._inside(self._unary)
            return part if sign == "+" else self._counted(Call("neg" if sign == "-" else "not", (part,)))
        base = self._atom()
        if self._mark("**"):
            return self._counted(Call("**", (base, self._inside(self._unary))))
        return base

    def _list(self) -> Tree:
        """What `in` looks through: [a, b], (a, b) or {a, b}."""
        opened = self._mark("[", "(", "{")
        if opened is None:
            raise GrammarError("`in` needs a list, such as ['a', 'b']")
        return self._counted(Call("list", self._items({"[": "]", "(": ")", "{": "}"}[opened])))

    def _items(self, close: str) -> tuple[Tree, ...]:
        items: list[Tree] = []
        while not self._mark(close):
            if items:
                self._due(",")
                if self._mark(close):
                    break
            items.append(self._inside(self._or))
        return tuple(items)

    def _atom(self) -> Tree:
        if self._mark("("):
            tree = self._inside(self._or)
            self._due(")")
            return tree
        if self.at < len(self.tokens) and self.tokens[self.at][1] == "[":
            return self._list()
        if self.at >= len(self.tokens) or self.tokens[self.at][0] in ("mark", "word"):
            raise GrammarError(f"a name or a number is due where {self._seen()} is")
        kind, text, _ = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            if not math.isfinite(value := float(text)):
                raise GrammarError(f"the number {text[:20]}... is too large")
            return self._counted(Number(value))
        if kind == "text":
            return self._counted(Text(text[1:-1]))
        if kind == "name" and self._mark("("):
            return self._call(text)
        return self._counted(Name(text))

    def _call(self, function: str) -> Tree:
        if function not in self.functions:
            raise GrammarError(f"there is no function {function[:40]}; there are {', '.join(self.functions)}")
        parts = self._items(")")
        fewest, most = self.functions[function]
        if not fewest <= len(parts) <= most:
            wanted = f"{fewest}" if fewest == most else f"{fewest} to {most:,}"
            raise GrammarError(f"{function} takes {wanted} argument{'s' * (wanted != '1')}, not {len(parts):,}")
        return self._counted(Call(function, parts))


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """(kind, text, place) of every part: number, name, word, text, or mark."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = TOKEN.match(text, at)
        if match is None:
            why = NO_PART.get(text[at], "it is no part of an expression")
            raise GrammarError(f"{text[at]!r} at character {at + 1}: {why}")
        kind = str(match.lastgroup)
        found = match[kind]
        at = match.end()
        if kind == "number" and text[at : at + 1].isidentifier():
            raise GrammarError(f"{text[match.start() : at + 1]!r} at character {match.start() + 1} is no number")
        if kind in ("name", "quoted") and len(found) > LONGEST_NAME:
            raise GrammarError(f"the name {found[:20]}... has more than {LONGEST_NAME} characters")
        if kind == "name" and found in WORDS:
            kind = "word"
        yield kind, found, match.start()
