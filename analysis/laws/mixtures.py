"""Laws of mixtures: those made for the domains at hand, with one or more parameters for each, and two of one share.

    mixing(["docs", "python", "cpp"])     # also find("mixing:docs,python,cpp") of analysis.laws.library

The domains are columns of the table, shares that sum to one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from analysis.laws.law import EXPONENT, FREE, Law
from harness.core.errors import InputError

EXPONENTS = {"alpha": (0.05, 0.9), "beta": (0.05, 0.9)}
BOUNDS = {"alpha": (0.0, 3.0), "beta": (0.0, 3.0)}

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
    names = _domains(domains, 2)[:-1]
    formula = f"c + k*exp({' + '.join(f't_{name}*{name}' for name in names)})"
    return Law(
        name=f"mixing:{','.join(domains)}",
        formula=formula,
        variables=dict.fromkeys(names, "share"),
        linear=("c", "k"),
        starts={f"t_{name}": (-6.0, 6.0) for name in names},
        bounds={f"t_{name}": (-100.0, 100.0) for name in names},
        shares=tuple(domains),
        source="2403.16952, data mixing law",
        read="its authors' code, yegcjs/mixinglaws",
        checked="mixinglaws_2mix",
    )


def log_linear(domains: Sequence[str]) -> Law:
    """log L linear in the shares: the mixing law without its floor c."""
    law = mixing(domains).fixed({"c": 0.0})
    return replace(
        law,
        name=f"log_linear:{','.join(domains)}",
        source="regression of log L; RegMix (2407.01492) regresses on shares",
        read="its definition",
    )


def quadratic(domains: Sequence[str]) -> Law:
    """Sum of b_i x_i and of q_ij x_i x_j over i < j: every quadratic in shares that sum to one can be written so."""
    names = _domains(domains, 2)
    terms = {f"b_{n}": n for n in names} | {f"q_{m}__{n}": f"{m}*{n}" for m, n in itertools.combinations(names, 2)}
    return Law(
        name=f"quadratic:{','.join(domains)}",
        formula=" + ".join(f"{parameter}*{term}" for parameter, term in terms.items()),
        variables=dict.fromkeys(names, "share"),
        linear=tuple(terms),
        starts={},
        bounds=dict.fromkeys(terms, FREE),
        shares=tuple(domains),
        source="regression of L on a quadratic of the shares (Scheffé's polynomial)",
        read="its definition",
        checked="mixinglaws_2mix",
    )


def shukor_additive(domains: Sequence[str]) -> Law:
    """E + 1/sum(C_i h_i^g_i) + A/N^alpha + B/D^beta, 2507.09404: the best mixture does not depend on the scale."""
    names = _domains(domains, 2)
    formula = f"E + 1/({' + '.join(f'C_{n}*{n}**g_{n}' for n in names)}) + A/N**alpha + B/D**beta"
    starts = {**{f"C_{n}": (0.1, 30.0) for n in names}, **{f"g_{n}": (0.05, 2.0) for n in names}, **EXPONENTS}
    return Law(
        name=f"shukor_additive:{','.join(domains)}",
        formula=formula,
        variables=dict.fromkeys(names, "share") | {"N": "parameters", "D": "tokens"},
        linear=("E", "A", "B"),
        starts=starts,
        bounds={**BOUNDS, **{f"g_{n}": (0.0, 10.0) for n in names}},
        log=tuple(f"C_{n}" for n in names),
        requirements=("dL/dN < 0", "dL/dD < 0"),
        shares=tuple(domains),
        source="2507.09404, additive law",
        read="the paper's text",
        checked="mixinglaws_2mix",
    )


def shukor_joint(domains: Sequence[str]) -> Law:
    """E + 1/sum(C_i h_i^g_i) + A(h)/N^alpha + B(h)/D^beta, A(h) = (sum of CA_i h_i)^gA, 2507.09404."""
    names = _domains(domains, 2)
    sums = {part: " + ".join(f"C{part}_{n}*{n}" for n in names) for part in "AB"}
    formula = f"E + 1/({' + '.join(f'C_{n}*{n}**g_{n}' for n in names)})"
    formula += f" + ({sums['A']})**gA/N**alpha + ({sums['B']})**gB/D**beta"
    additive = shukor_additive(domains)
    sizes = {f"C{part}_{n}": (1.0, 1e4) for part in "AB" for n in names}
    return Law(
        name=f"shukor_joint:{','.join(domains)}",
        formula=formula,
        variables=additive.variables,
        linear=("E",),
        starts={**additive.starts, "gA": (0.2, 2.0), "gB": (0.2, 2.0), **sizes},
        bounds={**additive.bounds, "gA": (0.0, 10.0), "gB": (0.0, 10.0)},
        log=(*additive.log, *sizes),
        requirements=additive.requirements,
        shares=tuple(domains),
        source="2507.09404, joint law",
        read="the paper's text",
    )


def _domains(domains: Sequence[str], least: int) -> list[str]:
    names = list(domains)
    if len(names) < least or len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
        why = f"not {least} or more different names of columns"
        raise InputError("domains", ",".join(names), why, "write FAMILY:docs,python,cpp, as the table's columns")
    return names
