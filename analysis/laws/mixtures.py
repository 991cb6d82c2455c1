"""Laws of mixtures, made for the domains at hand: one share, and one or more parameters, for each domain.

    mixing(["docs", "python", "cpp"])     # also find("mixing:docs,python,cpp") of analysis.laws.library

The domains are columns of the table, shares that sum to one.
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.laws.law import Law
from harness.core.errors import InputError

EXPONENTS = {"alpha": (0.05, 0.9), "beta": (0.05, 0.9)}
BOUNDS = {"alpha": (0.0, 3.0), "beta": (0.0, 3.0)}


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
        checked="mixinglaws_2mix, for two domains",
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
        source="2507.09404, additive law; unverified",
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
        source="2507.09404, joint law; unverified",
    )


def _domains(domains: Sequence[str], least: int) -> list[str]:
    names = list(domains)
    if len(names) < least or len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
        why = f"not {least} or more different names of columns"
        raise InputError("domains", ",".join(names), why, "write FAMILY:docs,python,cpp, as the table's columns")
    return names
