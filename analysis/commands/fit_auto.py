"""`python -m analysis fit auto ...`: the laws that the columns identify, compared; and the best of them fitted.

python -m analysis fit auto --sweep mine --corpus python --json > python.json

Which laws these are, `analysis.options.identified` says; they are compared as `compare --by run` does. The document is
that of the fit of the best one, which `mix` reads, with the comparison in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.answers.compare import WORSE, Comparison, compare
from analysis.commands import compare as compare_command
from analysis.commands import fit as fit_command
from analysis.commands.fit import group_of
from analysis.fitting.fit import fit_law
from analysis.fitting.objective import parse_loss
from analysis.fitting.resampling import grouping_of
from analysis.laws.law import Law
from analysis.options.identified import OF_LOSSES, identified
from analysis.options.progress import bar
from analysis.options.schedules import VARIABLES
from analysis.options.unlike import refuse_unlike
from harness.core.errors import InputError

AUTO = "auto"
FEWEST = 3  # runs of which some can be left out


def run(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `fit`, and its lines for a terminal. Raises InputError."""
    if options.law != AUTO:
        return fit_command.run(options, overrides)
    if options.fix or options.target != "loss":
        field, value = ("fix", options.fix) if options.fix else ("target", options.target)
        raise InputError(field, value, "is for a law that is named: auto tries laws of losses", "leave it out")
    rates = options.table is None or options.schedules or options.base_schedule
    variables = {
        name: unit
        for law in OF_LOSSES.values()
        for name, unit in law.variables.items()
        if rates or name not in VARIABLES
    }
    table = fit_command.rows_of(options, fit_command.columns_of(options), overrides, variables)
    fit_command.check_columns(options, table)
    loss, pooled = parse_loss(options.loss, options.residuals), fit_command.pooled_of(options)
    laws, why = identified(table, pooled, loss)
    if not laws:
        there = {name: set(law.variables) for name, law in OF_LOSSES.items() if set(law.variables) <= set(table)}
        refuse_unlike(table, there, pooled)
        reasons = "; ".join(f"{name}: {text}" for name, text in why.items() if name in there)
        remedy = "give columns of a law (`laws`): --map, or other rows: --where"
        raise InputError("law", AUTO, f"no law can be fitted ({reasons or 'none reads these columns'})", remedy)
    grouping = grouping_of(
        table, {name: unit for law in laws for name, unit in law.variables.items()}, group_of(options)
    )
    runs = grouping.runs
    with bar("laws") as progress:
        found = compare(
            laws,
            table,
            by="D" if runs is not None and runs < FEWEST and "D" in table else "run",  # of one run all rows err alike
            loss=loss,
            group=group_of(options),
            seed=options.seed,
            weights=options.weights,
            progress=progress,
        )
    options.law, taken, sure = _taken(found, laws, table, options, runs)
    document, lines = fit_command.run(options, overrides)
    left_out = {name: text for name, text in why.items() if not text.startswith("there is no")}
    compared = {**compare_command.document(found), "left_out": left_out, "identified": sure, "taken": taken}
    lines = [
        *([] if sure else [taken, ""]),
        *compare_command.comparison_lines(found),
        *(["", "left out:"] if left_out else []),
        *(f"  {name}: {text}" for name, text in left_out.items()),
        "",
        *([taken] if sure else []),
        *lines,
    ]
    return {**document, "compared": compared}, lines


def _taken(
    found: Comparison, laws: Sequence[Law], table: pd.DataFrame, options: argparse.Namespace, runs: int | None
) -> tuple[str, str, bool]:
    """Of the best law and those not told apart from it the first whose parameters the rows identify and are fewer than
    the runs, else the one that lacks least; why it; and whether the rows identify it."""
    by_name = {law.name: law for law in laws}
    unsure: dict[str, str] = {}
    lacking: dict[str, tuple[bool, bool, int]] = {}

    def too_many(name: str) -> bool:
        return runs is not None and len(by_name[name].parameters) >= runs

    near = [str(name) for name, is_ in zip(found.laws.law, found.laws.standing, strict=True) if is_ != WORSE]
    near.sort(key=too_many)
    for name in near:
        fit = fit_law(
            by_name[name],
            table,
            loss=parse_loss(options.loss, options.residuals),
            group=group_of(options),
            seed=options.seed,
            weights=options.weights,
        )
        if not fit.unidentified and fit.converged:
            but = "; ".join(f"{other}: {which}" for other, which in unsure.items())
            taken = f"taken: {name}, whose parameters the rows identify{f' ({but})' if but else ''}"
            break
        told = f"not identified: {', '.join(fit.unidentified)}" if fit.unidentified else "its fit has not converged"
        unsure[name] = told
        lacking[name] = (too_many(name), not fit.converged, len(fit.unidentified))
    else:
        name = min(near, key=lambda one: lacking[one])
        taken = (
            "these rows identify all parameters of no law that predicts as well as the best. "
            f"Taken: {name}, for what it predicts among them, not for its parameters ({unsure[name]})"
        )
    if too_many(name):
        of = f"{runs} run{'' if runs == 1 else 's'}"
        all_are = ", as are those of every law as good" if all(map(too_many, near)) else ""
        taken += f"; its {len(by_name[name].parameters)} parameters are too many for {of}{all_are}"
    return name, taken, name not in unsure
