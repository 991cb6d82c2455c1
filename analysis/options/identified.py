"""Which laws the columns of a table identify: those that a fit of it may be of, and why the others may not.

laws, why = identified(table)           # LAWS["dcpt_one_size"], ...; {"chinchilla": "N is the same in all rows"}
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from numbers import Real

import pandas as pd

from analysis.fitting.fit import check_rows
from analysis.fitting.objective import Loss
from analysis.laws.law import Law
from analysis.laws.library import LAWS, OF_NO_LOSS
from analysis.options.schedules import VARIABLES
from analysis.options.unlike import unlike
from analysis.results.checks import ARRAYS, SUM
from harness.core.errors import InputError

SHOWN = 6  # names in a sentence
OF_LOSSES = {name: law for name, law in LAWS.items() if name not in OF_NO_LOSS}


def identified(
    table: pd.DataFrame, pooled: Sequence[str] = (), loss: Loss | None = None
) -> tuple[list[Law], dict[str, str]]:
    """The laws of losses whose variables are columns that vary, with more different points than parameters, which read
    every setting that tells the rows' runs apart but those `pooled`; and of the others why not, by name."""
    laws, why = [], {}
    for name, law in OF_LOSSES.items():
        if missing := [variable for variable in law.variables if variable not in table]:
            why[name] = f"there is no {', '.join(missing)}"
        elif apart := [setting for setting in unlike(table, law.variables) if setting not in pooled]:
            why[name] = f"does not read {', '.join(apart)}"
        else:
            try:
                check_rows(law, table, "loss", loss or Loss())
                laws.append(law)
            except InputError as error:
                why[name] = f"{error.field}: {error.why}"
    return laws, why


def refuse_constant(law: Law, table: pd.DataFrame, pooled: Sequence[str]) -> None:
    """InputError where one size, one share or one rate is all there is of what the law reads, with the laws that the
    columns identify. Of learning-rate sums a law adds up one may be the same, see `check`."""
    for name, unit in law.variables.items():
        if name not in table or unit == SUM or unit in ARRAYS or len(table) < 2 or table[name].nunique() != 1:
            continue
        known = [] if name in VARIABLES else [one.name for one in identified(table, pooled)[0]]
        shown = ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")
        value = table[name].iloc[0]
        why = f"the same in all {len(table)} rows: its parameters cannot be told apart"
        instead = f", or fit a law without {name}: {shown} (`fit auto` compares them)" if known else ""
        if name in VARIABLES and (factor := _factor(law, name)):  # of one base: its term is a part of the floor
            instead = f", or leave it out: --fix {factor}=0"
        raise InputError(
            name, f"{value:g}" if isinstance(value, Real) else value, why, f"give rows with other values{instead}"
        )


def _factor(law: Law, variable: str) -> str:
    """The parameter without which nothing but this variable drops out of the law; empty if there is none."""
    for name in law.linear:
        with contextlib.suppress(InputError):  # a formula of which that leaves nothing
            if set(law.fixed({name: 0.0}).variables) == set(law.variables) - {variable}:
                return name
    return ""
