"""`python -m analysis fit LAW ...`: a law fitted to anybody's table, or to the runs of a store.

python -m analysis fit chinchilla --table runs.csv --map N=params,D=tokens,loss=val_loss --bootstrap 1000
python -m analysis fit dcpt --sweep dcpt --corpus python --bootstrap 1000 --json > python.json
python -m analysis fit auto --sweep mine --corpus python            (of the laws that the columns identify the best)
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.answers.answer import FARTHEST, doubts_of, verdict_of
from analysis.fitting.fit import LEVEL, Fit, fit_law
from analysis.fitting.fit_file import to_document
from analysis.fitting.objective import parse_loss
from analysis.fitting.resampling import GUESS
from analysis.formulas.assignments import parse_map, parse_numbers
from analysis.formulas.expressions import names_in
from analysis.laws.library import FAMILIES, LAWS, find
from analysis.options.identified import refuse_constant
from analysis.options.progress import bar
from analysis.options.schedules import (
    VARIABLES,
    add_schedule_arguments,
    asked,
    decay_of,
    refuse_curves,
    refuse_decay,
    with_schedules,
)
from analysis.options.unlike import refuse_unlike
from analysis.results.curves import add_schedules
from analysis.results.recorded_program import lr_curve
from analysis.results.runs import read_runs
from analysis.results.tables import TEXTS, keep, read, table_of
from harness.core.errors import InputError
from harness.core.options import path
from harness.core.units import decimal, percent
from harness.plan.recorded_runs import program_of

LAW_NAMES = ", ".join([*LAWS, *(f"{family}:DOMAINS" for family in FAMILIES)])
FEWEST_DRAWS = 20  # of a bootstrap
FAR = 10.0  # mean relative error of a fit that has nothing to do with its data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "law",
        metavar="LAW",
        help=f"auto, or {LAW_NAMES}; or your FILE.toml:NAME (`laws` says what each is)",
    )
    add_rows(parser)
    how = parser.add_argument_group("errors")
    how.add_argument(
        "--bootstrap", type=int, default=0, metavar="N", help="resamples, for intervals of predictions (0: none)"
    )
    parser.add_argument("--plot", type=path, metavar="FILE", help="fit against data, and residuals: png, pdf or svg")
    parser.add_argument("--report", type=path, metavar="FILE", help="all of it as a page to publish: html or md")


def add_rows(parser: argparse.ArgumentParser) -> None:
    """The options of what is fitted, and how, that `fit` and `compare` share."""
    parser.add_argument("--trust", action="store_true", help="take laws from FILE.py:NAME too, which is run as Python")
    source = parser.add_argument_group("rows: a table, or the runs of a store (after the base, see --root)")
    source.add_argument("--table", type=path, metavar="FILE", help="a CSV or Parquet file")
    source.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=COLUMN,...",
        help="what the law's variables and `loss` (and `run`) are in the table: columns, numbers, or "
        "expressions such as D=flops/(6*params)",
    )
    source.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="keep the rows where it holds, such as 'D > 1e9' (given again: where all hold)",
    )
    source.add_argument(
        "--pool",
        default="",
        metavar="COLUMN,...",
        help="settings that vary over the rows and that no law here reads: runs that differ in them are of one kind",
    )
    source.add_argument("--sweep", action="append", metavar="NAME", help="members of sweeps/NAME.yaml (KNOB=VALUE ...)")
    source.add_argument("--corpus", metavar="NAME", help="of a store: whose loss to fit; r is its share")
    add_schedule_arguments(parser)
    how = parser.add_argument_group("the fit")
    how.add_argument(
        "--loss",
        default="huber:1e-3",
        metavar="LOSS",
        help="ls, huber:DELTA, lad or asymmetric:TAU[:DELTA], summed (default: huber:1e-3)",
    )
    how.add_argument("--residuals", default="log", choices=("log", "raw"), help="of losses or their logarithms (log)")
    how.add_argument("--fix", default="", metavar="NAME=VALUE,...", help="parameters not to fit")
    how.add_argument("--target", default="loss", metavar="COLUMN", help="what the law says: loss, or another amount")
    how.add_argument("--weights", metavar="COLUMN", help="weights of the rows")
    how.add_argument(
        "--group",
        default=GUESS,
        metavar="COLUMN,...",
        help="what the rows of a run share, for they err together (run, else a guess); none: each row is a run",
    )
    how.add_argument("--seed", type=int, default=0, help="of resamples and starts; fits with equal ones are paired (0)")


def run(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `fit`, and its lines for a terminal. Raises InputError."""
    law, fixed = find(options.law, options.trust), parse_numbers(options.fix, "fix")
    columns = columns_of(options)
    if options.bootstrap and options.bootstrap < FEWEST_DRAWS:
        why = f"fewer than {FEWEST_DRAWS} resamples give no interval"
        raise InputError("bootstrap", options.bootstrap, why, "give 0 or, say, 1000")
    loss = parse_loss(options.loss, options.residuals)
    table = rows_of(options, columns, overrides, {**law.fixed(fixed).variables, **law.domains})
    check_columns(options, table)
    refuse_unlike(table, {law.name: law.fixed(fixed).variables}, pooled_of(options))
    refuse_constant(law.fixed(fixed), table, pooled_of(options))
    with bar("bootstrap") as progress:
        fit = fit_law(
            law,
            table,
            loss=loss,
            fixed=fixed,
            target=options.target,
            group=group_of(options),
            bootstrap=options.bootstrap,
            seed=options.seed,
            weights=options.weights,
            progress=progress,
        )
    refuse_far(law.name, fixed, fit.mre)
    verdict = verdict_of(doubts_of({fit.law.name: fit}), {}, FARTHEST)
    document = {**verdict.document(), **to_document(fit, columns)}
    if options.plot:
        _plot(options.plot, fit, table)
    if set(law.variables) & set(VARIABLES):
        document["decay"] = decay_of(options)
    document["notes"] = notes = table.attrs.get("notes", [])
    if options.report:
        from analysis.report.fit_report import write_report  # matplotlib takes a second

        write_report(options.report, fit, table, options, group_of(options), document)
    return document, [*([verdict.line] if verdict.line else []), *fit_lines(fit), *notes]


def columns_of(options: argparse.Namespace) -> dict[str, str]:
    """What `--map` says: name -> expression. Raises InputError."""
    return {name: expression for text in options.map for name, expression in parse_map(text).items()}


def pooled_of(options: argparse.Namespace) -> list[str]:
    """The columns of `--pool`."""
    return [name.strip() for name in options.pool.split(",") if name.strip()]


def refuse_far(law: str, fixed: Mapping[str, float], error: float) -> None:
    """InputError where what is fixed leaves a law nowhere near its data: `error`, a mean relative one, above FAR."""
    if fixed and error > FAR:
        given = ",".join(f"{name}={value:g}" for name, value in fixed.items())
        why = f"with that the best fit of {law} misses what it is fitted to by {error:.3g} times as much"
        raise InputError("fix", given, why, "fix what a fit without it comes near to, or leave it out")


def check_columns(options: argparse.Namespace, table: pd.DataFrame) -> None:
    """InputError for a seed below zero, or a column that is named and not there."""
    if options.seed < 0:
        raise InputError("seed", options.seed, "a negative number", "give 0 or more")
    if options.weights is not None and options.weights not in table:
        have = ", ".join(map(str, table.columns))
        raise InputError("weights", options.weights, "no such column", f"there are {have}")


def group_of(options: argparse.Namespace) -> str | None:
    """What `--group` says; None: rows are independent."""
    return None if options.group == "none" else str(options.group)


def rows_of(
    options: argparse.Namespace, columns: Mapping[str, str], overrides: Sequence[str], variables: Mapping[str, str]
) -> pd.DataFrame:
    """The table of `--table`, or that of a store's runs after the base, with learning-rate sums if the law asks."""
    conditions = [f"({one})" for one in options.where] if len(options.where) > 1 else options.where
    where = " and ".join(conditions) or None
    if options.table is not None:
        of_a_store = {"sweep": options.sweep, "corpus": [options.corpus or ""], "KNOB=VALUE": overrides}
        for name, given in of_a_store.items():
            if text := ",".join(given or []):
                flag, field = (f"--{name} NAME", name) if name.islower() else (name, text.partition("=")[0])
                value = text if name.islower() else text.partition("=")[2]
                raise InputError(field, value, "is for the runs of a store", f"give --table FILE or {flag}, not both")
        table = read(options.table, columns, where)
        _check_mapped(options, columns, where, variables)
        if asked(options, table, variables):
            table, notes = with_schedules(options, table, columns, variables)
            table.attrs |= {"map": dict(columns), "notes": notes}
        return table
    refuse_curves(options)
    if columns:
        why = "is for a table: the runs of a store have N, D, r and their own losses"
        raise InputError("map", ",".join(options.map), why, "leave it out")
    parents = options.parent
    runs = read_runs(options.root, options.sweep, overrides=overrides, parents=parents, windows=options.windows)
    table = table_of(runs)
    known = sorted(table.corpus.unique())
    if options.corpus not in known:
        why = "whose loss?" if options.corpus is None else "not among those measured"
        raise InputError("corpus", options.corpus, why, f"choose of {', '.join(known) or 'none: nothing is measured'}")
    table = table[(table.corpus == options.corpus) & (table.D > 0)].reset_index(drop=True)
    refuse_decay(options, variables)
    if set(variables) & set(VARIABLES):
        schedules = {one.facts.run: lr_curve(program_of(one.document)) for one in runs}
        start = {one.facts.run: one.base_position for one in runs}
        table = add_schedules(table.assign(step=table.position), schedules, start=start, decay=decay_of(options))
    if where:
        table = keep(table, where, str(options.root))
    return table


def _check_mapped(
    options: argparse.Namespace, columns: Mapping[str, str], where: str | None, variables: Mapping[str, str]
) -> None:
    """InputError for a name in --map that nothing reads: misspelt, it would leave the table's own column in place.

    The variables of any law are taken, so that one --map serves several laws.
    """
    options_name = {options.target, options.weights or options.target, *options.group.split(",")}
    conditions = names_in(where) if where else set()
    known = sorted({*variables, *options_name, *conditions, *TEXTS, "seed", "step", "lr", "phase"} - {GUESS, "none"})
    any_law = {name for law in LAWS.values() for name in law.variables}
    for name in columns:
        if name not in any_law and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            remedy = f"write {near[0]}=..." if near else f"names that are read: {', '.join(known)}"
            raise InputError("map", f"{name}={columns[name]}", "nothing reads a column of this name", remedy)


def fit_lines(fit: Fit) -> list[str]:
    """A fit for a terminal: what speaks against it before its numbers."""
    runs = (
        ", each of them a run"
        if fit.n_runs is None
        else f" of {fit.n_runs} run{'s' if fit.n_runs > 1 else ''} ({fit.group})"
    )
    if fit.grouped == "unknown":
        runs = ", counted as independent"
    corner = {"huber": f" {fit.loss.delta:g}", "asymmetric": f" {fit.loss.tau:g}"}.get(fit.loss.kind, "")
    agree = f"{fit.starts['agree']} of {fit.starts['tried']} starts agree"
    width = max(len(name) for name in fit.parameters)
    lines = [
        f"{fit.law.name}: {fit.target} = {fit.law.formula}",
        f"{fit.n_points} rows{runs}; {fit.loss.kind}{corner} of {fit.loss.residuals} residuals, "
        f"summed: {fit.objective:.6g}; {agree}",
        *([f"{fit.law.status} law: {'; '.join(fit.law.missing)}"] if fit.law.missing else []),
        *(f"warning: {text}" for text in fit.warnings),
        "",
        f"{'':{width}}  {'estimate':>12}  {f'{LEVEL:.0%} interval':>28}  {'se':>9}",
    ]
    for name, value in fit.parameters.items():
        note = "not identified" if name in fit.unidentified else ""
        note += (", " if note else "") + "on its bound" if name in fit.on_bound else ""
        note += (", " if note else "") + "profile" if name in fit.profile else ""
        lines.append(f"{name:{width}}  {value:>12.6g}  {fit.span(name):>28}  {fit.error(name):>9}  {note}".rstrip())
    within = "" if fit.r2_within_run is None else f" (within runs {decimal(fit.r2_within_run, 4)})"
    lines += [
        "",
        f"R² {decimal(fit.r2, 5)}{within}, mean relative error {percent(fit.mre)}, "
        f"largest |z| {decimal(fit.max_abs_z, 1)}, condition {fit.condition:.3g}",
    ]
    lines += [f"{text} at {share:.0%} of the rows" for text, share in fit.requirements.items()]
    if fit.draws is None:
        by = "" if fit.n_runs is None else " by runs"
        lines.append(f"intervals from standard errors{by} (--bootstrap N for those of predictions)")
    elif fit.n_runs is None:
        lines.append(f"intervals from {len(fit.draws.parameters)} resamples by {fit.draws.group}")
    else:
        resampled = f"those of predictions from {len(fit.draws.parameters)} resamples by {fit.draws.group}"
        lines.append(f"intervals from standard errors by runs, {resampled}")
    if fit.profile:
        lines.append(f"those of {', '.join(fit.profile)} from their profiles, with a bootstrap and without")
    return lines


def _plot(path: Path, fit: Fit, table: pd.DataFrame) -> None:
    """Losses along the variable that most rows lie on lines of, or predicted against observed; and residuals."""
    from analysis.figures.fits import fit_against_data, lines_along, residuals, told_apart_by
    from analysis.figures.style import save

    x = next(iter(lines_along(fit, table)), None)
    by = told_apart_by(fit, table, x)
    save(path, lambda ax: fit_against_data(ax, fit, table, x=x, by=by), lambda ax: residuals(ax, fit, table, by=by))
