"""`python -m analysis compare LAW LAW ...`: which law predicts best what it has not seen?

python -m analysis compare chinchilla kaplan --table runs.csv --map N=params,D=tokens --by N
python -m analysis compare dcpt dcpt_saturating --sweep dcpt --corpus python --by run --folds 5
python -m analysis compare chinchilla --table runs.csv --by N --leave largest
python -m analysis compare mixing:docs,python,cpp lightgbm --table runs.csv      (an extra: rewarm[lightgbm])

Every law is fitted without a part of the rows and predicts them, for every part; all laws have the same parts. What may
be said of their order stands first.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers.compare import Comparison, compare
from analysis.commands.fit import add_rows, check_columns, columns_of, group_of, pooled_of, refuse_far, rows_of
from analysis.fitting.crossval import FOLDS, LEAVE, Predictor
from analysis.fitting.fit import LEVEL
from analysis.fitting.objective import parse_loss
from analysis.formulas.assignments import parse_numbers
from analysis.laws.boosting import NAME, Boosted
from analysis.laws.law import Law
from analysis.laws.library import find_all
from analysis.options.progress import bar
from analysis.options.unlike import refuse_unlike
from harness.core.errors import InputError
from harness.core.units import percent

WIDEST = 14  # letters of a law's name within its line
WIDTH = 80  # of a terminal: as many laws have their folds shown there


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "law",
        metavar="LAW",
        nargs="+",
        help=f"as for fit, FILE.toml for all of a file; {NAME} for trees; one alone is judged",
    )
    add_rows(parser)
    how = parser.add_argument_group("what is left out")
    how.add_argument("--by", default="run", metavar="BY", help="run, or a variable, each of its values in turn (run)")
    how.add_argument(
        "--leave", default="each", metavar="WHICH", help="each, or largest: every value from the smaller ones (each)"
    )
    how.add_argument("--folds", type=int, default=FOLDS, metavar="K", help=f"parts of runs or of many values ({FOLDS})")


def run(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `compare`, and its lines for a terminal. Raises InputError."""
    overrides = [*overrides, *(word for word in options.law if "=" in word)]
    words = [word for word in options.law if "=" not in word]
    found_of = [find_all(word, options.trust) for word in words if word != NAME]
    laws, wrong = [law for laws, _ in found_of for law in laws], [error for _, errors in found_of for error in errors]
    fixed = parse_numbers(options.fix, "fix")
    laws = _fixed(laws, fixed)
    if options.leave not in LEAVE:
        raise InputError("leave", options.leave, "is no way to leave out", f"choose of {', '.join(LEAVE)}")
    variables = {name: unit for law in laws for name, unit in law.variables.items()}
    predictors: list[Law | Predictor] = [*laws, *(_boosted(options, variables) for word in words if word == NAME)]
    domains = {name: unit for law in laws for name, unit in law.domains.items()}
    table = rows_of(options, columns_of(options), overrides, {**variables, **domains})
    check_columns(options, table)
    refuse_unlike(table, {one.name: one.variables for one in predictors}, pooled_of(options))
    with bar("laws") as progress:
        found = compare(
            predictors,
            table,
            by=options.by,
            leave=options.leave,
            folds=options.folds,
            loss=parse_loss(options.loss, options.residuals),
            target=options.target,
            group=group_of(options),
            seed=options.seed,
            weights=options.weights,
            progress=progress,
        )
    for law, error in zip(found.laws.law, found.laws.error, strict=True):
        refuse_far(law, fixed, float(error))
    notes = [*(f"left out, cannot be used: {error}" for error in wrong), *table.attrs.get("notes", [])]
    return {**document(found), "notes": notes}, [*comparison_lines(found), *(["", *notes] if notes else [])]


def _boosted(options: argparse.Namespace, variables: Mapping[str, str]) -> Boosted:
    """Trees over the variables of all laws. Raises InputError."""
    if not variables:
        why = "reads the variables of the laws that it is compared with, and there is none"
        raise InputError("law", NAME, why, "name one: compare chinchilla lightgbm ...")
    if options.weights is not None:
        raise InputError("weights", options.weights, f"{NAME} does not weigh rows", f"leave it out, or {NAME}")
    return Boosted(variables, options.seed, raw=options.residuals == "raw")


def _fixed(laws: Sequence[Law], fixed: dict[str, float]) -> list[Law]:
    """The laws, each with those of the fixed parameters that it has."""
    for name in fixed:
        if not any(name in law.parameters for law in laws):
            known = dict.fromkeys(parameter for law in laws for parameter in law.parameters)
            raise InputError("fix", name, "no law has this parameter", f"choose of {', '.join(known)}")
    return [law.fixed({name: value for name, value in fixed.items() if name in law.parameters}) for law in laws]


def document(found: Comparison) -> dict[str, Any]:
    """A comparison as JSON; numbers that there are not become null."""
    folds = {law: _records(rows.drop(columns="law")) for law, rows in found.folds.groupby("law")}
    return {
        "verdict": found.verdict,
        "supported": found.supported,
        "by": found.by,
        "leave": found.leave,
        "n_points": found.n_points,
        "n_runs": found.n_runs,
        "warnings": list(found.warnings),
        "unused": found.unused,
        "laws": [{**law, "folds": folds[law["law"]]} for law in _records(found.laws.drop(columns="folds"))],
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    known = table.notna() & ~table.isin([np.inf, -np.inf])
    return [
        {str(name): value for name, value in row.items()}
        for row in table.astype(object).where(known, None).to_dict("records")
    ]


def comparison_lines(found: Comparison) -> list[str]:
    """A comparison for a terminal."""
    runs = "" if found.n_runs is None else f" of {found.n_runs} run{'s' if found.n_runs > 1 else ''}"
    first = found.folds.law == found.folds.law.iloc[0]
    what = {"each": found.by, "largest": f"{found.by}, each value predicted from the smaller ones"}[found.leave]
    lines = [found.verdict, f"{found.n_points} rows{runs}, {first.sum()} folds by {what}"]
    lines += [f"warning: {text}" for text in found.warnings]
    if found.unused:
        lines.append(f"{found.unused} rows are left out, at which a law has no value of a variable")
    width = min(max(len("law"), *map(len, found.laws.law)), WIDEST)
    head = f"{'law':<{width}}  {'error':>8}  {'± folds':>8}"
    several = len(found.laws) > 1
    head += f"  {'ratio':>6}  {f'{LEVEL:.0%} interval':>15}" if several else ""
    lines += ["", f"{head}  {'in sample':>9}  {'params':>6}"]
    for law in found.laws.to_dict("records"):
        name = str(law["law"])
        if len(name) > WIDEST:
            lines.append(name)
            name = ""
        spread = _narrow(law["spread"]) if law["spread"] == law["spread"] else "-"
        line = f"{name:<{width}}  {_narrow(law['error']):>8}  {spread:>8}"
        if several:
            best = law["standing"] == "best"
            span = f"{law['low']:.3g} to {law['high']:.3g}" if law["se"] == law["se"] else ""
            line += f"  {'':>6}  {'':>15}" if best else f"  {law['ratio']:>6.3g}  {span:>15}"
        count = "" if pd.isna(law["parameters"]) else f"{law['parameters']:.0f}"
        objective = "" if np.isnan(law["objective"]) else f"{law['objective']:.3g}"
        lines.append(f"{line}  {objective:>9}  {count:>6}")
    lines += ["", "error: mean relative error of what was left out, averaged over the folds"]
    lines += ["ratio: to the best law's error, fold by fold (geometric mean)"] if several else []
    lines += ["in sample: the objective of the fit to all rows"]
    for name, converged in zip(found.laws.law, found.laws.converged, strict=True):
        own = found.folds[found.folds.law == name]
        lines += [] if converged else [f"NOT CONVERGED: the fit of {name} to all rows"]
        if open_ends := int((~own.converged & (own.why == "")).sum()):
            lines.append(f"NOT CONVERGED: the fits of {name} to {open_ends} of the folds")
        for why, rows in own[own.why != ""].groupby("why", sort=False):
            lines.append(f"{name} cannot be judged on {', '.join(rows.left_out)}: {why}")
    return [*lines, "", *_fold_lines(found, list(found.folds.left_out[first]))]


def _narrow(share: float) -> str:
    """A share in eight letters."""
    return percent(share).replace(" times", "x")


def _fold_lines(found: Comparison, names: Sequence[str]) -> list[str]:
    """The errors of every fold, for the first laws."""
    wide = max(len("left out"), *map(len, names))
    widths = {law: max(12, len(law)) for law in found.laws.law}
    room = WIDTH - wide - len("    rows") - np.cumsum([2 + width for width in widths.values()])
    laws = list(widths)[: max(1, int((room >= 0).sum()))]
    lines = [f"{'left out':<{wide}}  {'rows':>6}  " + "  ".join(f"{law:>{widths[law]}}" for law in laws)]
    for name in names:
        rows = found.folds[found.folds.left_out == name].set_index("law")
        cells = [f"{'-' if rows.why[law] else percent(rows.error[law]):>{widths[law]}}" for law in laws]
        lines.append(f"{name:<{wide}}  {rows.n.iloc[0]:>6}  {'  '.join(cells)}")
    return lines
