"""The language of formulas and conditions: what it reads, how it is written again, and where it ends."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from analysis.formulas import formula, grammar
from analysis.formulas.expressions import FUNCTIONS
from analysis.formulas.grammar import Call, Chain, GrammarError, Name, parse, written
from analysis.laws.law import Law
from analysis.laws.library import LAWS
from harness.core.errors import InputError
from tests.repository import REPOSITORY


def test_operations_bind_as_in_python() -> None:
    assert parse("a - b + c", {}) == Chain((Name("a"), Name("b"), Name("c")), ("-", "+"))
    assert parse("-a**-b**c", {}) == Call(
        "neg", (Call("**", (Name("a"), Call("neg", (Call("**", (Name("b"), Name("c"))),)))),)
    )
    assert parse("a/b*c", {}) == Chain((Name("a"), Name("b"), Name("c")), ("/", "*"))
    assert parse("not a < 1 <= b", {}) == Call("not", (parse("a < 1 <= b", {}),))
    assert parse("a and b or c", {}) == Call("or", (parse("a and b", {}), Name("c")))


@pytest.mark.parametrize(
    "text", ["1 + 2*3 - 4/5/6", "2**3**2 - (-2)**2", "-2**2 + (3 - (2 - 1))", "7 // 2 % 2 * 3", "6/(2*3)"]
)
def test_numbers_are_worked_out_as_in_python(text: str) -> None:
    law = Law("constant", f"E*({text.replace('//', '/').replace('%', '*')})*D", {"D": "tokens"}, ("E",), {})
    expected = eval(text.replace("//", "/").replace("%", "*"))
    assert law.value({"E": 1.0}, {"D": 1.0}) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        *(law.formula for law in LAWS.values()),
        "a - (b - c) - (d + e)",
        "a/(b*c)/(d/e)",
        "(-a)**2 - (-2)**b**(c + 1)",
        "a*(-b) - -c",
        "max(a, min(b, 1e-30), 3e25)*abs(-c)",
        "not (a and not b) or c < d < 2",
        "`odd name` in ['x', \"it's\", 3] and a not in [1]",
        "startswith(a, 'b') == (c > (d < e))",
        "a % (b // c) % d",
    ],
)
def test_what_is_written_reads_back(text: str) -> None:
    functions = {**FUNCTIONS, **formula.FUNCTIONS}
    tree = parse(text, functions)
    assert parse(written(tree), functions) == tree


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a + " * 5_001 + "a", "it has 20,005 characters, more than 20,000"),
        ("a+" * 5_000 + "a", "more than 5,000 names, numbers and operations"),
        ("(" * 41 + "a" + ")" * 41, "more than 40 operations are inside each other"),
        ("a" * 101, "has more than 100 characters"),
        ("a + 1e309", "the number 1e309... is too large"),
        ("max(" + "a," * 1_000 + "a)", "max takes 2 to 1,000 arguments, not 1,001"),
    ],
)
def test_its_bounds(text: str, why: str) -> None:
    with pytest.raises(GrammarError, match=why):
        parse(text, FUNCTIONS)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("E + 9**9**9**9*D", "a part of it is too large"),
        ("E + D/(2 - 2)", "it divides by zero"),
        ("E + D*(-1)**0.5", "no real number"),
        ("E + D*log(-1)", "no finite number"),
        ("E + exp(D*" + " + ".join(f"a{i}" for i in range(498)) + ")", "of its second derivatives are not zero"),
        ("E*D*" + "*".join(f"(a{i} + D)" for i in range(300)), "its derivatives are too large"),
        ("E + D*" + " + ".join(f"a{i}" for i in range(501)), "has more than 500 names"),
        ("E + D*class", "class is no name of a parameter"),
        ("E + D*__import__", "__import__ is no name of a parameter"),
        ("E + sum(E)*D", "a sum has no variable inside"),
        ("E + sum(D*sum(D))", "a sum is inside another"),
        ("E + (D > 1)", "it holds >"),
        ("E + D*'a'", "it holds the text 'a'"),
    ],
)
def test_a_formula_that_asks_for_too_much_is_refused(text: str, why: str) -> None:
    names = [name for name in grammar.names(parse(text, formula.FUNCTIONS)) if name not in ("D", "E")]
    with pytest.raises(InputError, match=why):
        formula.derivatives(Law("large", text, {"D": "tokens"}, ("E",), dict.fromkeys(names, (0.1, 1.0))).form)


def test_whole_powers_of_powers_are_worked_out() -> None:
    law = Law("powers", "(((k*D)**64)**64)**64", {"D": "tokens"}, (), {"k": (0.1, 1.0)})
    assert law.value({"k": 0.5}, {"D": np.array([2.0, 1.0, 3.0])}).tolist() == [1.0, 0.0, np.inf]


RUNS_TEXT = {"eval", "exec", "compile", "__import__", "globals", "locals", "vars", "setattr", "delattr"}
READS_CODE = {"pickle", "marshal", "shelve", "dill", "joblib", "sympy", "numexpr"}


def test_no_module_runs_text_but_the_one_that_is_trusted_to() -> None:
    found = set()
    for package in ("analysis", "paper_figures"):
        for file in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNS_TEXT
                method = isinstance(node, ast.Attribute) and node.attr in (
                    "eval",
                    "query",
                    "exec_module",
                    "read_pickle",
                )
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
                if called or method or {name.partition(".")[0] for name in modules} & READS_CODE:
                    found.add(file.relative_to(REPOSITORY).as_posix())
    assert found == {"analysis/laws/law_file.py"}
