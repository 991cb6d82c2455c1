"""Laws as formulas: their derivatives, their roles, what a wrong one is told."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.formulas import formula
from analysis.laws import library
from analysis.laws.continual import DCPT
from analysis.laws.law import FREE, Bound, Law
from analysis.laws.library import LAWS, find
from analysis.laws.schedules import MULTI_POWER
from harness.core.errors import InputError

FAMILIES = [make(("a", "b", "c")) for make in library.FAMILIES.values()]
KINKED = [
    Law("v", "E + sqrt((a - D)**2)", {"D": "share"}, ("E",), {"a": (0.1, 0.9)}),
    Law("power", "E + A*((a - D)**2)**gamma", {"D": "share"}, ("E", "A"), {"a": (0.1, 0.9), "gamma": (0.2, 1.5)}),
    Law("hinge", "E + A*max(D - a, 0)**gamma", {"D": "share"}, ("E", "A"), {"a": (0.1, 0.9), "gamma": (0.2, 1.5)}),
    Law(
        "least",
        "E + A/min(D, N, a)**gamma",
        {"D": "share", "N": "share"},
        ("E", "A"),
        {"a": (0.1, 0.9), "gamma": (0.2, 1.5)},
    ),
    Law("size", "E + A*abs(D - a)", {"D": "share"}, ("E", "A"), {"a": (0.1, 0.9)}),
    Law("root", "E + A*sqrt(max(0, D - a))", {"D": "share"}, ("E", "A"), {"a": (0.1, 0.9)}),
    Law("sums", "E + sum(max(drop - a, 0)) + sum(sqrt(abs(drop - a)))", {"drop": "changes"}, ("E",), {"a": (0.1, 0.9)}),
    Law("both", "E + max(a*D, b*D, abs(a - b))", {"D": "share"}, ("E",), {"a": (0.1, 0.9), "b": (0.1, 0.9)}),
]


def example(law: Law, n: int = 7) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Some parameters (2, P) inside the law's ranges, and columns in the range of their units."""
    random = np.random.default_rng(0)
    spans = {
        "parameters": (1e8, 1e10),
        "tokens": (1e8, 1e11),
        "tokens or steps": (1, 1e4),
        "FLOPs": (1e18, 1e22),
        "changes": (1e-5, 1e-4),
        "tokens per parameter": (5, 500),
        "nats per token": (2, 4),
        "what is scaled": (1e3, 1e6),
    }
    columns = {}
    for name, unit in law.variables.items():
        size = (n, 4) if unit == "changes" else n
        columns[name] = random.uniform(*spans.get(unit, (0.1, 0.9)), size=size)
    values = [random.uniform(*law.starts.get(name, (0.5, 2.0)), size=2) for name in law.parameters]
    return law.inward(np.stack(values, axis=1)), columns


@pytest.mark.parametrize("law", [*LAWS.values(), *FAMILIES, *KINKED], ids=lambda law: law.name)
def test_derivatives_agree_with_differences(law: Law) -> None:
    theta, columns = example(law)
    bound = Bound(law, columns)
    value, gradient, hessian = bound.derivatives(theta)
    assert np.isfinite(value).all()
    np.testing.assert_allclose(value, bound.value(theta))
    full = np.zeros((*gradient.shape[:2], gradient.shape[1], gradient.shape[2]))
    for i, j, entry in hessian:
        full[:, i, j] = full[:, j, i] = entry
    step = 1e-5
    for i in range(theta.shape[1]):
        ahead, behind = theta.copy(), theta.copy()
        ahead[:, i] += step
        behind[:, i] -= step
        slope = (bound.value(ahead) - bound.value(behind)) / (2 * step)
        np.testing.assert_allclose(gradient[:, i], slope, rtol=2e-5, atol=1e-7 * np.abs(value).max())
        bend = (bound.derivatives(ahead)[1] - bound.derivatives(behind)[1]) / (2 * step)
        np.testing.assert_allclose(full[:, i], bend, rtol=2e-4, atol=1e-6 * np.abs(bend).max() + 1e-11)


@pytest.mark.parametrize("law", [*LAWS.values(), *FAMILIES, *KINKED], ids=lambda law: law.name)
def test_a_law_is_what_its_linear_parameters_multiply(law: Law) -> None:
    theta, columns = example(law)
    bound, natural = Bound(law, columns), law.outward(theta)
    *factors, rest = bound.basis(theta)
    total = rest + sum(
        natural[:, law.parameters.index(name), None] * factor for name, factor in zip(law.linear, factors, strict=True)
    )
    np.testing.assert_allclose(total, bound.value(theta), rtol=1e-12)


@pytest.mark.parametrize("law", [*LAWS.values(), *FAMILIES], ids=lambda law: law.name)
def test_every_law_says_where_it_is_from(law: Law) -> None:
    assert law.source
    assert "unverified" not in law.source  # that is its status, which follows from `read` and `checked`


def test_dcpt_is_the_papers_formula() -> None:
    parameters = {
        "E": 1.5,
        "A": 300.0,
        "alpha": 0.3,
        "B": 900.0,
        "eta": 0.4,
        "beta": 0.35,
        "C": 0.2,
        "eps": 0.1,
        "gamma": 0.6,
    }
    N, D, r = 1.8e9, 1e10, 0.7
    by_hand = 1.5 + 300 / N**0.3 + 900 * r**0.4 / D**0.35 + 0.2 / (r + 0.1) ** 0.6
    assert DCPT.value(parameters, {"N": N, "D": D, "r": r}) == pytest.approx(by_hand, rel=1e-14)
    without = 1.5 + 300 / N**0.3 + 0.2 / 0.1**0.6
    assert DCPT.value(parameters, {"N": N, "D": D, "r": 0.0}) == pytest.approx(without, rel=1e-14)  # 0**eta is 0
    at_ratios = DCPT.value(parameters, {"N": N, "D": np.array([[1e9], [1e10]]), "r": np.array([0.1, 0.5, 0.9])})
    assert at_ratios.shape == (2, 3)
    np.testing.assert_allclose(
        DCPT.trend(parameters, {"N": np.array([N]), "D": np.array([D]), "r": np.array([r])}, "d2L/dDdr < 0"),
        -0.35 * 0.4 * 900 * r**-0.6 / D**1.35,
    )


def test_sums_run_over_the_second_axis() -> None:
    random = np.random.default_rng(1)
    drop, lr, S = (random.uniform(1e-5, 1e-4, (3, 5)) for _ in range(3))
    parameters = {"L0": 2.6, "A": 0.6, "alpha": 0.45, "B": 400.0, "C": 2.0, "beta": 0.6, "gamma": 0.65}
    effects = drop * (1 - (1 + 2.0 * lr**-0.65 * S) ** -0.6)
    by_hand = [2.6 + 0.6 / 2.0**0.45 - 400 * sum(row) for row in effects.tolist()]
    theta = MULTI_POWER.inward(np.array([[parameters[name] for name in MULTI_POWER.parameters]]))
    bound = Bound(MULTI_POWER, {"S1": np.full(3, 2.0), "drop": drop, "drop_lr": lr, "drop_S": S})
    np.testing.assert_allclose(bound.value(theta)[0], by_hand, rtol=1e-13)


def test_fixing_a_parameter_drops_what_plays_no_part_any_more() -> None:
    law = DCPT.fixed({"A": 0.0, "eps": 0.1})
    assert set(law.parameters) == {"E", "B", "eta", "beta", "C", "gamma"}
    assert set(law.variables) == {"D", "r"}
    assert "dL/dN < 0" not in law.requirements
    whole = {"E": 1.5, "A": 0.0, "alpha": 1.0, "B": 9.0, "eta": 0.4, "beta": 0.3, "C": 0.2, "eps": 0.1, "gamma": 0.6}
    part = {name: whole[name] for name in law.parameters}
    assert law.value(part, {"D": 1e9, "r": 0.3}) == pytest.approx(DCPT.value(whole, {"N": 1e9, "D": 1e9, "r": 0.3}))
    with pytest.raises(InputError, match="no parameter of dcpt; choose of E, A"):
        DCPT.fixed({"delta": 1.0})
    with pytest.raises(InputError, match="fix fewer parameters"):
        LAWS["mixing"].fixed({"c": 1.0, "k": 1.0, "t": 0.0})


@pytest.mark.parametrize(
    ("law", "name", "value", "bounds"),
    [
        ("kaplan", "alpha_D", 0.0, "0.001 to 3"),
        ("chinchilla", "A", -1.0, "0 to inf"),
        ("dcpt", "gamma", 6.5, "0 to 6"),
        ("dcpt", "E", float("nan"), "0 to inf"),
    ],
)
def test_a_parameter_is_fixed_inside_of_its_bounds(law: str, name: str, value: float, bounds: str) -> None:
    with pytest.raises(InputError, match=f"fix={name}=.*: outside of its bounds in {law}, {bounds}; fix it inside"):
        LAWS[law].fixed({name: value})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("dcptt", "no such law; did you mean dcpt"),
        ("mixing:a", "not 2 or more"),
        ("shukor_joint:N,d", "N is an amount in this law"),
    ],
)
def test_a_law_that_there_is_not_is_told_why(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        find(text)


@pytest.mark.parametrize(
    ("text", "linear", "starts", "why"),
    [
        ("E + A*D", ("E",), {}, "A is not declared"),
        ("E + D", ("E", "A"), {}, "A does not occur"),
        ("E + A*B*D", ("E", "A", "B"), {}, "not linear in E, A, B together"),
        ("E + A/D**", ("E", "A"), {}, "cannot be read"),
        ("E + A*(D", ("E", "A"), {}, "cannot be read"),
        ("E + A*D.real", ("E", "A"), {}, "there are no attributes"),
        ("E + A*[D][0]", ("E", "A"), {}, "has no place there"),
        ("E + A*open(D)", ("E", "A"), {}, "there is no function open"),
    ],
)
def test_a_wrong_definition_is_told_why(
    text: str, linear: tuple[str, ...], starts: dict[str, tuple[float, float]], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        formula.basis(Law("wrong", text, {"D": "tokens"}, linear, starts).form)


def test_a_linear_parameter_inside_a_sum() -> None:
    law = Law("inside", "E + sum(A/N**alpha)", {"N": "changes"}, ("E", "A"), {"alpha": (0.1, 0.9)})
    sizes = np.array([[1.0, 2.0], [3.0, 4.0]])
    *factors, rest = Bound(law, {"N": sizes}).basis(law.inward(np.array([[1.0, 2.0, 0.5]])))
    np.testing.assert_allclose(factors[1][0], (sizes**-0.5).sum(1))
    assert not rest.any()


@pytest.mark.parametrize("law", KINKED, ids=lambda law: law.name)
def test_a_kink_has_a_value_and_derivatives(law: Law) -> None:
    """At the kink itself the derivative is between those of its sides."""
    theta, columns = example(law, 6)
    theta[:, [law.parameters.index(name) for name in law.starts if name in ("a", "b")]] = 0.5
    bound = Bound(law, {name: np.full_like(column, 0.5) for name, column in columns.items()})
    value, gradient, hessian = bound.derivatives(theta)
    np.testing.assert_array_equal(value, bound.value(theta))
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    assert all(np.isfinite(entry).all() for _, _, entry in hessian)
    at, sides = law.parameters.index("a"), []
    for step in (-1e-7, 1e-7):
        moved = theta.copy()
        moved[:, at] += step
        sides.append((bound.value(moved) - value) / step)
    assert (gradient[:, at] >= np.minimum(*sides) - 1e-5).all()
    assert (gradient[:, at] <= np.maximum(*sides) + 1e-5).all()


def test_no_members_of_a_batch_have_no_values() -> None:
    law = KINKED[2]
    theta, columns = example(law)
    assert Bound(law, columns).value(theta[:0]).shape == (0, 7)
    assert Bound(law, columns).derivatives(theta[:0])[1].shape == (0, len(law.parameters), 7)


def test_a_term_without_the_variable_counts_once_for_each_of_a_sum() -> None:
    law = Law("offset", "E + sum(a + x*b)", {"x": "changes"}, ("E", "a", "b"), {}, bounds=dict.fromkeys("ab", FREE))
    bound = Bound(law, {"x": np.array([[1.0, 2.0, 4.0]])})
    theta = law.inward(np.array([[1.0, 0.5, 2.0]]))
    value, gradient, _ = bound.derivatives(theta)
    assert value.tolist() == [[1 + 3 * 0.5 + 2 * 7.0]]
    assert gradient[0].tolist() == [[1.0], [3.0], [7.0]]
    assert [part.tolist() for part in bound.basis(theta)] == [[[1.0]], [[3.0]], [[7.0]], [[0.0]]]


@pytest.mark.parametrize("text", ["max(E, A*D)", "E + abs(A - D)", "E + min(A, D)", "E + A*max(A, D)", "E + sqrt(A*D)"])
def test_what_is_linear_is_not_linear_inside_a_kink(text: str) -> None:
    law = Law("kinked", text, {"D": "tokens"}, ("E", "A") if "A" in text else ("E",), {})
    with pytest.raises(InputError, match=r"is not linear in E, A together; declare fewer$"):
        formula.basis(law.form)


@pytest.mark.parametrize("requirement", ["d2L/dNdD > 0", "dL/dr < 0", "dL < 0", "N < 0"])
def test_a_requirement_that_is_no_derivative_is_refused_when_the_law_is_made(requirement: str) -> None:
    variables = {"N": "parameters", "D": "tokens"}
    starts = {"alpha": (0.05, 1.5)}
    with pytest.raises(InputError, match=r"write it as dL/dN < 0, with < 0 and variables of the law: N, D"):
        Law("mine", "E + A/(N*D)**alpha", variables, ("E", "A"), starts, requirements=(requirement,))


ODD = ("c,k,t_c", "web pages,a-b,2news", "exp,min,log", "E,A,beta", 'a_b,a-b,"a,b"', "in,lambda,日本", "t_a,a,g_a")


@pytest.mark.parametrize("domains", ODD)
@pytest.mark.parametrize("family", library.FAMILIES)
def test_corpora_may_be_called_anything(family: str, domains: str) -> None:
    """As a parameter, as a function, as no word: the law is that of plain names, and its formula reads back as it."""
    law, plain = find(f"{family}:{domains}"), find(f"{family}:one,two,three")
    names = dict(zip(law.shares, plain.shares, strict=True))
    assert len(law.parameters) == len(plain.parameters)
    assert not set(law.parameters) & set(law.shares)
    assert find(law.name) == law
    random = np.random.default_rng(0)
    values = random.uniform(0.5, 1.5, len(law.parameters))
    shares = dict(zip(names, random.dirichlet(np.ones(3), 5).T, strict=True))
    sizes = {name: random.uniform(5.0, 9.0, 5) for name in ("N", "D") if name in law.variables}
    found = law.value(dict(zip(law.parameters, values, strict=True)), {**shares, **sizes})
    renamed = {names[name]: column for name, column in shares.items()}
    expected = plain.value(dict(zip(plain.parameters, values, strict=True)), {**renamed, **sizes})
    np.testing.assert_array_equal(found, expected)
    assert law.fixed({law.parameters[-1]: 1.0}).parameters == law.parameters[:-1]


def test_a_quoted_name_is_no_function_and_no_number() -> None:
    law = Law("quoted", "E + a*`2 exp(x)`*exp", {"2 exp(x)": "share", "exp": "share"}, ("E", "a"), {})
    assert law.value({"E": 1.0, "a": 2.0}, {"2 exp(x)": 3.0, "exp": 5.0}) == 31.0
    assert law.fixed({"E": 0.0}).formula == "a*`2 exp(x)`*exp"


@pytest.mark.parametrize(("law", "name"), [("mixing", "k"), ("chinchilla", "A"), ("dcpt", "eps")])
def test_a_parameter_below_its_bound_is_refused_where_the_law_has_no_value(law: str, name: str) -> None:
    one = LAWS[law]
    parameters = dict.fromkeys(one.parameters, 1.0) | {name: -1.0}
    with pytest.raises(InputError, match=f"{name} = -1: outside of its bounds, "):
        one.value(parameters, dict.fromkeys(one.variables, 0.5))
