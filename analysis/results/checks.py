"""Is a table fit for a law? What would spoil a fit in silence is refused first, in one line that says what to do.

Between `analysis.results.tables` and the fits.

    check(table, {"N": "parameters", "D": "tokens", "r": "share"})
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.formulas.expressions import as_numbers, numbers_of, quote, refuse_missing, row_numbers
from harness.core.errors import InputError

# Units of variables with one array a row: the learning rates of every step, and what `curves` makes of them.
ARRAYS = ("learning rates", "changes")
PERCENT = (
    0.5  # more than this part of the shares that are not 0 lie above 1: a column of percent, not a slip in some rows
)
SUMS = 0.02  # from one: shares that were rounded
PERPLEXITY = 12.5  # nats per token, log(2^18): what a model that knows nothing has with one of the largest vocabularies
# Unit -> below what all values, and above what any value, are no such amounts; and which median still means billions.
AMOUNTS = {"parameters": (1e4, 1e14, 20.0), "tokens": (1e5, 1e18, 5e3)}
# Laws take powers of these, which at zero are infinite or have no slope. Of several learning-rate sums (before and in
# continual pre-training) one may be zero.
POSITIVE = ("parameters", "tokens", "FLOPs")
TOGETHER = 10.0  # variance inflation: standard errors are three times those of a design whose amounts vary apart
SUM = "learning-rate sum"
NON_NEGATIVE = ("parameters", "tokens", "FLOPs", "steps", "learning rate")


def check(
    table: pd.DataFrame,
    variables: Mapping[str, str],
    *,
    target: str = "loss",
    fixed: Collection[str] = (),
    signed: bool = False,
) -> None:
    """InputError unless a law of these variables (name -> unit) can be fitted to the column `target`.

    Units: parameters, tokens, share, FLOPs, steps, learning rate, learning rates and changes (an array in each cell);
    any other is a plain number. `fixed` = variables whose parameters are not fitted: they may be constant.
    `signed`: a target other than the loss may be zero or negative. How many rows it takes is for the fit to say.
    """
    for name in (*variables, target):
        if name not in table.columns:
            have = ", ".join(str(column) for column in table.columns)
            also = ", or say what the law is of: --target COLUMN" if name == target else ""
            remedy = f"give it: --map {_shown(name)}=...{also}"
            raise InputError("table", name, f"there is no such column (there are {have})", remedy)
    if table.empty:
        raise InputError("table", target, "there are no rows", "keep some: a wider --where")
    numbers = _numbers(table, [name for name in (*variables, target) if variables.get(name) not in ARRAYS])
    _check_loss(table, numbers[target], signed and target != "loss")
    if len(table) > 1 and numbers[target].nunique() == 1:
        raise InputError(
            "column", target, f"the same in all {len(table)} rows: nothing to fit", "give rows that differ in it"
        )
    if "run" in table:
        refuse_missing(table["run"], "column", "run")
    for name, unit in variables.items():
        if unit in ARRAYS:
            _check_arrays(table[name], unit)
        if unit == "share":
            _check_share(table, numbers[name])
        if unit in NON_NEGATIVE:
            _check_sign(numbers[name], unit)
        if unit in POSITIVE:
            _check_zero(numbers[name], name, unit)
        if unit in AMOUNTS:
            _check_amount(table, numbers[name], unit)
    if sums := [name for name, unit in variables.items() if unit == SUM]:
        _check_zero(sum((numbers[name] for name in sums[1:]), numbers[sums[0]]), " + ".join(sums), SUM)
    _check_duplicates(table, variables, target)
    for name in variables:
        if (
            name in numbers
            and name not in fixed
            and numbers[name].nunique() == 1
            and not _beside(name, variables, numbers)
        ):
            why = f"the same in all {len(table)} rows: its parameters cannot be told apart"
            remedy = f"give rows with other values, or fit a law without {name}: `fit auto` compares those of a table"
            raise InputError(name, f"{numbers[name].iloc[0]:g}", why, remedy)


def check_sums(table: pd.DataFrame, shares: Collection[str]) -> None:
    """InputError where the shares of all domains of a mixture are columns and do not sum to one: what is missing would
    be taken for the last domain's."""
    if len(shares) < 2 or not set(shares) <= set(table):
        return
    columns = {name: as_numbers(table[name]) for name in shares}
    for column in columns.values():
        _check_share(table, column)
    total = pd.concat(columns, axis=1).sum(axis=1)
    if bad := list(table.index[~((total - 1).abs() <= SUMS)]):
        why = f"in {len(bad)} rows they do not sum to one, but to {total.min():.3g} to {total.max():.3g}"
        remedy = "name all domains of the mixture in the law, or map each to its share of their sum"
        raise InputError("shares", ", ".join(shares), f"{why} ({row_numbers(bad)})", remedy)


def grown_together(rows: pd.DataFrame | None, variables: Mapping[str, str]) -> list[str]:
    """What is to be said of amounts that rise together over the rows, so that their exponents cannot be told apart:
    their logarithms inflate the variance of each other's coefficient, 1/(1 - correlation^2), by more than TOGETHER."""
    amounts = [name for name, unit in variables.items() if unit in POSITIVE and rows is not None]
    found = []
    for a, b in itertools.combinations(amounts, 2):
        x, y = (np.log(as_numbers(rows[name]).to_numpy(dtype=float)) for name in (a, b) if rows is not None)
        if min(np.ptp(x), np.ptp(y)) > 0 and (together := float(np.corrcoef(x, y)[0, 1])) > math.sqrt(1 - 1 / TOGETHER):
            inflated = "without end" if together > 1 - 1e-12 else f"{1 / (1 - together**2):.0f} times"
            how = f"correlation of their logarithms {together:.3f}, which inflates variances {inflated}"
            remedy = f"add runs with other {b} at the same {a}"
            found.append(
                f"{a} and {b} grow together: above {TOGETHER:g} times exponents are not told apart ({how}); {remedy}"
            )
    return found


def _beside(name: str, variables: Mapping[str, str], numbers: Mapping[str, pd.Series[Any]]) -> bool:
    """A learning-rate sum beside one that varies: laws add them up, and that of a single base is constant."""
    return variables[name] == SUM and any(
        unit == SUM and numbers[other].nunique() > 1 for other, unit in variables.items()
    )


def _numbers(table: pd.DataFrame, names: Collection[str]) -> dict[str, pd.Series[Any]]:
    """Columns as floats. InputError for cells that are missing, no numbers or infinite, of all columns in one line."""
    bad: list[tuple[str, str]] = []
    for name in dict.fromkeys(names):
        column, numbers = table[name], as_numbers(table[name])
        kinds = {"missing": column.isna(), "no number": column.notna() & numbers.isna(), "infinite": np.isinf(numbers)}
        bad += [
            (name, f"{name} is {kind} in {row_numbers(list(column.index[cells]))}")
            for kind, cells in kinds.items()
            if cells.any()
        ]
    if len(bad) > 1:  # one kind in one column has a line of its own
        columns = list(dict.fromkeys(name for name, _ in bad))
        kept = " and ".join(f"isfinite({quote(name)})" for name in columns)
        remedy = f"fill them, or leave these rows out: --where '{kept}'"
        raise InputError("column", ", ".join(columns), "; ".join(text for _, text in bad), remedy)
    return {name: _finite(table[name]) for name in names}


def _finite(column: pd.Series[Any]) -> pd.Series[Any]:
    numbers = numbers_of(column, "column", column.name)
    if bad := list(column.index[~np.isfinite(numbers)]):
        raise InputError(
            "column",
            column.name,
            f"{len(bad)} values are not finite ({row_numbers(bad)})",
            f"leave these rows out: --where 'isfinite({quote(str(column.name))})'",
        )
    return numbers


def _shown(name: str) -> str:
    """A name as it is written in --map, in a shell."""
    return name if quote(name) == name else f"'{quote(name)}'"


def _source(table: pd.DataFrame, name: object) -> str:
    """What a name of the table was made of, as it is written in --map: a remedy says what to make of it instead."""
    expression = str(table.attrs.get("map", {}).get(name, name))
    return quote(expression) if expression.isidentifier() or expression in table.columns else f"({expression})"


def _check_arrays(column: pd.Series[Any], unit: str) -> None:
    for label, cell in column.items():
        values = np.asarray(cell)
        good = values.ndim == 1 and values.size > 0 and values.dtype.kind in "fiu"
        if not (good and np.isfinite(values).all() and (unit == "changes" or (values >= 0).all())):
            remedy = {
                "learning rates": "give one finite, non-negative number a step in each cell",
                "changes": "make them with analysis.results.curves.add_schedules",
            }[unit]
            raise InputError("column", column.name, f"{row_numbers([label])} holds no {unit}", remedy)


def _check_loss(table: pd.DataFrame, column: pd.Series[Any], signed: bool) -> None:
    if not signed and (bad := list(column.index[column <= 0])):
        also = "" if column.name == "loss" else ", or fit them as they are, not their logarithms: --residuals raw"
        raise InputError(
            "column",
            column.name,
            f"{len(bad)} losses are not positive ({row_numbers(bad)})",
            f"give losses in nats per token, or leave these rows out: --where '{quote(str(column.name))} > 0'{also}",
        )
    if column.name == "loss" and (median := float(column.median())) > PERPLEXITY:  # other targets are sizes or tokens
        raise InputError(
            "column",
            column.name,
            f"with a median of {median:.4g} it looks like perplexity",
            f"give nats per token: --map '{quote(str(column.name))}=log({_source(table, column.name)})'",
        )


def _check_share(table: pd.DataFrame, column: pd.Series[Any]) -> None:
    if bad := list(column.index[(column < 0) | (column > 1)]):
        name = quote(str(column.name))
        why = f"{len(bad)} shares are outside [0, 1] ({row_numbers(bad)})"
        positive = column[column > 0]
        if column.min() >= 0 and 1 < column.max() <= 100 and (positive > 1).mean() > PERCENT:
            why, remedy = (
                f"{why}; up to {column.max():g}, it looks like percent",
                f"--map '{name}={_source(table, column.name)}/100'",
            )
        else:
            why += f", such as {column[bad[0]]:g}"
            within = f"{name} >= 0 and {name} <= 1"
            remedy = f"give shares: --map {_shown(name)}=..., or leave these rows out: --where '{within}'"
        raise InputError("column", column.name, why, remedy)


def _check_sign(column: pd.Series[Any], unit: str) -> None:
    if bad := list(column.index[column < 0]):
        raise InputError(
            "column",
            column.name,
            f"{len(bad)} numbers of {unit} are negative ({row_numbers(bad)})",
            f"leave these rows out: --where '{quote(str(column.name))} > 0'",
        )


def _check_zero(column: pd.Series[Any], name: str, unit: str) -> None:
    if bad := list(column.index[column == 0]):
        raise InputError(
            "column",
            name,
            f"{len(bad)} rows have zero {unit} ({row_numbers(bad)}), where a power law has no value or no slope",
            f"leave these rows out: --where '{quote(name)} > 0'",
        )


def _check_amount(table: pd.DataFrame, column: pd.Series[Any], unit: str) -> None:
    """Amounts in millions or billions would fit as well, with coefficients that mean something else."""
    least, most, billions = AMOUNTS[unit]
    median = float(column.median())
    if column.max() < least:
        factor, sign, far = ("1e9" if median < billions else "1e6"), "*", f"at most {column.max():g}"
    elif column.max() > most:
        factor, sign, far = ("1e9" if median / 1e9 > least else "1e6"), "/", f"up to {column.max():g}"
    else:
        return
    other = {"1e9": "1e6", "1e6": "1e9"}[factor]
    why = f"{far} {unit}: it looks as if it were " + (f"in units of {factor}" if sign == "*" else f"{factor} too large")
    scaled = f"{quote(str(column.name))}={_source(table, column.name)}{sign}{factor}"
    raise InputError("column", column.name, why, f"--map '{scaled}' (or {sign}{other}, as the unit is)")


def _check_duplicates(table: pd.DataFrame, variables: Mapping[str, str], target: str) -> None:
    names = dict.fromkeys([*variables, *(["run"] if "run" in table.columns else []), target])
    arrays = [name for name, unit in variables.items() if unit in ARRAYS]
    keys = table[list(names)].assign(
        **{name: [np.asarray(cell, dtype=float).tobytes() for cell in table[name]] for name in arrays}
    )
    if bad := list(table.index[keys.duplicated()]):
        why = f"{len(bad)} rows repeat others with the same {', '.join(names)} ({row_numbers(bad)})"
        alike = keys.groupby(list(keys), sort=False, dropna=False).ngroup()
        others = [str(name) for name in table.columns if name not in names and table[name].map(np.isscalar).all()]
        differ = [name for name in others if (table[name].groupby(alike).nunique(dropna=False) > 1).any()]
        why += f" and differ in {', '.join(differ)}" if differ else ""
        raise InputError(
            "table",
            target,
            f"{why}: they would count twice and narrow every interval",
            f"keep one of each in the file, or tell them apart: --map run={quote(differ[0]) if differ else 'COLUMN'}",
        )
