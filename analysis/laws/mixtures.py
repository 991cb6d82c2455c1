"""Laws of mixtures: those made for the domains at hand, with one or more parameters for each, and two of one share.

    mixing(["docs", "python", "cpp"])     # also find("mixing:docs,python,cpp") of analysis.laws.library

The domains are columns of the table, shares that sum to one. They may be called anything: formulas quote what is no
word, and a parameter that would be called as one of them gets a `_` behind its name.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from analysis.formulas.grammar import LONGEST_NAME, quoted
from analysis.laws.law import EXPONENT, FREE, Law
from harness.core.errors import InputError

BIMIX = Law(
    name="bimix",
    formula="(B/D**beta + C)/r**alpha",
    variables={"r": "share", "D": "tokens"},
    linear=("B", "C"),
    starts={"alpha": (0.01, 0.8), "beta": (0.05, 0.9)},
    bounds={"alpha": EXPONENT, "beta": EXPONENT},
    requirements=("dL/dr < 0", "dL/dD < 0"),
    shares=("r",),
    source="2405.14908, with the A of its A/r^alpha (B/s^beta + C) in B and C, D for its steps s; known from two notes",
    checked="mixinglaws_2mix",
)

_SEEN = "h*D/U"  # how often a token of the target is read
_WORTH = f"(min({_SEEN}, 1) + R*(1 - exp(-max({_SEEN} - 1, 0)/R)))"  # and how many such readings are worth as much

REPETITION_MIXTURE = Law(
    name="repetition_mixture",
    formula=f"E + A/N**alpha + B*N**delta/(U*{_WORTH})**beta + gamma*h",
    variables={"N": "parameters", "D": "tokens", "h": "share", "U": "tokens"},
    linear=("E", "A", "B", "gamma"),
    starts={"alpha": (0.05, 0.9), "delta": (0.0, 0.6), "beta": (0.05, 0.9), "R": (1.0, 100.0)},
    bounds={"alpha": EXPONENT, "delta": EXPONENT, "beta": EXPONENT, "gamma": FREE, "R": (1e-2, 1e6)},
    log=("R",),
    shares=("h",),
    source="2605.12715: loss on a target of U tokens, of which the stream of D tokens has a share h, so that each is "
    "read h D/U times; R as R_D of data_constrained. Known from an account of others",
)


def mixing(domains: Sequence[str]) -> Law:
    """Loss of one corpus under a mixture of k domains: c + k exp(sum of t_i r_i), 2403.16952.

    The shares sum to one, so the last domain is the one the others are compared with: its t is 0.
    """
    names = _domains(domains)
    c, k, *t = _free(names, "c", "k", *(f"t_{name}" for name in names[:-1]))
    formula = f"{c} + {k}*exp({' + '.join(map(_times, t, names[:-1]))})"
    return Law(
        name=f"mixing:{_listed(names)}",
        formula=formula,
        variables=dict.fromkeys(names[:-1], "share"),
        linear=(c, k),
        starts=dict.fromkeys(t, (-6.0, 6.0)),
        bounds=dict.fromkeys(t, (-100.0, 100.0)),
        shares=names,
        source="2403.16952, data mixing law",
        read="its authors' code, yegcjs/mixinglaws",
        checked="mixinglaws_2mix",
    )


def log_linear(domains: Sequence[str]) -> Law:
    """log L linear in the shares: the mixing law without its floor c."""
    law = mixing(domains)
    return replace(
        law.fixed({law.linear[0]: 0.0}),
        name=law.name.replace("mixing", "log_linear", 1),
        source="regression of log L; RegMix (2407.01492) regresses on shares",
        read="its definition",
    )


def quadratic(domains: Sequence[str]) -> Law:
    """Sum of b_i x_i and of q_ij x_i x_j over i < j: every quadratic in shares that sum to one can be written so."""
    names = _domains(domains)
    products = [(name,) for name in names] + [*itertools.combinations(names, 2)]
    wanted = [f"b_{one[0]}" if len(one) == 1 else f"q_{one[0]}__{one[1]}" for one in products]
    terms = dict(zip(_free(names, *wanted), products, strict=True))
    return Law(
        name=f"quadratic:{_listed(names)}",
        formula=" + ".join(_times(parameter, *one) for parameter, one in terms.items()),
        variables=dict.fromkeys(names, "share"),
        linear=tuple(terms),
        starts={},
        bounds=dict.fromkeys(terms, FREE),
        shares=names,
        source="regression of L on a quadratic of the shares (Scheffé's polynomial)",
        read="its definition",
        checked="mixinglaws_2mix",
    )


def shukor_additive(domains: Sequence[str]) -> Law:
    """E + 1/sum(C_i h_i^g_i) + A/N^alpha + B/D^beta, 2507.09404: the best mixture does not depend on the scale."""
    names = _domains(domains, "N", "D")
    E, A, B, alpha, beta, *own = _free(
        names, "E", "A", "B", "alpha", "beta", *(f"{x}_{n}" for x in "Cg" for n in names)
    )
    C, g = own[: len(names)], own[len(names) :]
    worth = " + ".join(f"{_times(c, name)}**{power}" for c, name, power in zip(C, names, g, strict=True))
    return Law(
        name=f"shukor_additive:{_listed(names)}",
        formula=f"{E} + 1/({worth}) + {A}/N**{alpha} + {B}/D**{beta}",
        variables=dict.fromkeys(names, "share") | {"N": "parameters", "D": "tokens"},
        linear=(E, A, B),
        starts=dict.fromkeys(C, (0.1, 30.0))
        | dict.fromkeys(g, (0.05, 2.0))
        | dict.fromkeys((alpha, beta), (0.05, 0.9)),
        bounds=dict.fromkeys((alpha, beta), EXPONENT) | dict.fromkeys(g, (0.0, 10.0)),
        log=tuple(C),
        requirements=("dL/dN < 0", "dL/dD < 0"),
        shares=names,
        source="2507.09404, additive law",
        read="the paper's text",
        checked="mixinglaws_2mix",
    )


def shukor_joint(domains: Sequence[str]) -> Law:
    """E + 1/sum(C_i h_i^g_i) + A(h)/N^alpha + B(h)/D^beta, A(h) = (sum of CA_i h_i)^gA, 2507.09404."""
    additive = shukor_additive(domains)
    names = additive.shares
    gA, gB, *own = _free(names, "gA", "gB", *(f"C{part}_{name}" for part in "AB" for name in names))
    E, A, B = additive.linear
    formula, sums = additive.formula, (own[: len(names)], own[len(names) :])
    for old, power, sizes in ((A, gA, sums[0]), (B, gB, sums[1])):
        formula = formula.replace(f" + {old}/", f" + ({' + '.join(map(_times, sizes, names))})**{power}/")
    return replace(
        additive,
        name=additive.name.replace("additive", "joint", 1),
        formula=formula,
        linear=(E,),
        starts={**additive.starts, gA: (0.2, 2.0), gB: (0.2, 2.0), **dict.fromkeys(own, (1.0, 1e4))},
        bounds={**additive.bounds, gA: (0.0, 10.0), gB: (0.0, 10.0)},
        log=(*additive.log, *own),
        source="2507.09404, joint law",
        checked="",
    )


def domains_of(text: str) -> list[str]:
    """`docs,"news, old",cpp` as names: those with a comma or a quotation mark are quoted as in a CSV file."""
    return next(csv.reader([text], skipinitialspace=True), [])


def _listed(domains: Sequence[str]) -> str:
    """The reverse."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(domains)
    return line.getvalue()


def _times(parameter: str, *domains: str) -> str:
    return "*".join([parameter, *map(quoted, domains)])


def _free(domains: Sequence[str], *wanted: str) -> list[str]:
    """Names of parameters, words that are no domain and no other parameter: as wanted where these are."""
    found: list[str] = []
    for name in wanted:
        word = re.sub(r"[^0-9A-Za-z_]", "_", name)
        while word in found or word in domains:
            word += "_"
        found.append(word)
    return found


def _domains(domains: Sequence[str], *others: str) -> tuple[str, ...]:
    """The domains, if they are two or more names of columns and none of the law's `others`. Raises InputError."""
    names, text = tuple(name.strip() for name in domains), ",".join(domains)
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        why = "not 2 or more different names of columns"
        raise InputError("domains", text, why, "write FAMILY:docs,python,cpp, as the table's columns")
    if bad := [name for name in names if "`" in name or not name.isprintable() or len(name) > LONGEST_NAME]:
        why = f"a name of one line of at most {LONGEST_NAME} letters without ` is due, not {bad[0][:20]!r}"
        raise InputError("domains", text, why, "rename the column")
    if taken := [name for name in names if name in others]:
        why = f"{taken[0]} is an amount in this law, so that no column of it can be a share"
        remedy = f"call the domain {taken[0]}_share: --map {taken[0]}_share={taken[0]},{taken[0]}=..."
        raise InputError("domains", text, why, remedy)
    return names
