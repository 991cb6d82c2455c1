"""`python -m analysis fit LAW ... --report FILE`: a fit that can be published, as one page.

Above `analysis.report.page`, which writes it. What speaks against the fit stands first; then law, data, parameters,
figures, what the law predicts that it has not seen, and what it takes to do it again.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers.compare import Comparison, compare
from analysis.figures import fits
from analysis.fitting.fit import LEVEL, Fit, objective_of
from analysis.fitting.objective import row_weights
from analysis.fitting.profile import Profile, profiled
from analysis.fitting.resampling import grouping_of
from analysis.fitting.search import search
from analysis.fitting.standard_errors import Information
from analysis.report.blocks import Block, Code, Heading, Items, Page, Picture, Table, Text
from analysis.report.page import write_page
from analysis.results.table_files import read_file
from harness.core.errors import InputError
from harness.core.files import sha256
from harness.core.units import decimal, percent

MOST_PANELS = 9  # of a figure
WORTH_KNOWING = 0.9  # of a correlation's size
MOST_PAIRS = 10
PACKAGES = ("rewarm", "numpy", "scipy", "pandas", "matplotlib")


def write_report(
    path: Path, fit: Fit, table: pd.DataFrame, options: argparse.Namespace, group: str | None, document: Any
) -> None:
    """The page of a fit of `options` to a table. `group`: as `fit_law` took it; `document`: of `fit --json`, which lies
    beside a Markdown page. Raises InputError if it cannot be written."""
    if options.weights:
        table = table[row_weights(table, options.weights) > 0]
    objective = objective_of(fit.law, table, fit.loss, fit.target, options.weights)
    grouping = grouping_of(table, fit.law.variables, group)
    found = search(objective, options.seed)  # the same again: a Fit holds the ends of its profiles only
    _, known, profiles = profiled(objective, found, grouping.clusters, LEVEL, options.seed)
    drawn = [one for name, one in profiles.items() if name in fit.profile][:MOST_PANELS]
    blocks = [
        *_law(fit),
        *_doubts(fit),
        *_data(fit, table, options),
        *_parameters(fit, known),
        *_figures(fit, table, drawn),
        *_unseen(fit, table, options, group),
        *_again(options),
    ]
    beside = {"fit.json": json.dumps(document, allow_nan=False).encode()}
    write_page("--report", path, Page(f"{fit.law.name} fitted to {fit.target}", blocks, beside))


def _law(fit: Fit) -> list[Block]:
    law = fit.law
    given = ", ".join(f"{name} = {value:g}" for name, value in fit.fixed.items())
    with_numbers = ", ".join(f"{name} = {value:.6g}" for name, value in fit.parameters.items())
    lines = [
        f"{fit.target} = {law.formula}",
        f"with {with_numbers}",
        *([f"given, not fitted: {given}"] if given else []),
    ]
    source = f"Source: {law.source or 'none is given'}."
    units = [(name, unit) for name, unit in law.variables.items()]
    return [
        Code("\n".join(lines)),
        Text(f"{source} Status: {law.status}."),
        Table(("variable", "unit"), units),
    ]


def _doubts(fit: Fit) -> list[Block]:
    """What does not hold: first, for it says whether the rest may be built on."""
    held = [f"{text} holds at {share:.0%} of the rows" for text, share in fit.requirements.items() if share == 1]
    unread = [f"the law is {fit.law.status}: {'; '.join(fit.law.missing)}"] if fit.law.missing else []
    lines = [*fit.warnings, *unread] or [
        "nothing that is looked for: convergence, R², requirements, bounds, identification"
    ]
    return [Heading("What speaks against it"), Items(lines), *([Text("; ".join(held))] if held else [])]


def _data(fit: Fit, table: pd.DataFrame, options: argparse.Namespace) -> list[Block]:
    rows: list[tuple[str, str]] = []
    if options.table is not None:
        whole = len(read_file(options.table))
        rows += [("file", str(options.table)), ("sha256", sha256(options.table)), ("rows of the file", str(whole))]
    else:
        rows += [("store", str(options.root)), ("sweep", ", ".join(options.sweep or ["all runs"]))]
        rows += [("corpus", str(options.corpus))]
    for option in ("schedules", "base_schedule"):
        file = getattr(options, option)
        rows += [(f"--{option.replace('_', '-')}", str(file))] if file else []
        rows += [("sha256", sha256(Path(file)))] if file and Path(file).is_file() else []
    rows += [("--map", text) for text in options.map] + [("--where", text) for text in options.where]
    runs = "each row counts as one" if fit.n_runs is None else f"{fit.n_runs}, told apart by {fit.group}"
    rows += [("rows fitted", str(len(table))), ("runs", runs)]
    rows += [("weights", options.weights)] if options.weights else []
    names = [name for name in (*fit.law.variables, fit.target) if table[name].dtype != object]
    ranges = [
        (name, f"{table[name].min():.6g}", f"{table[name].max():.6g}", f"{table[name].nunique()}") for name in names
    ]
    return [
        Heading("Data"),
        Table(("", ""), rows),
        Table(("column", "least", "most", "different values"), ranges, (1, 2, 3)),
        *([Items(notes)] if (notes := table.attrs.get("notes")) else []),
    ]


def _parameters(fit: Fit, known: Information) -> list[Block]:
    rows = []
    for name, value in fit.parameters.items():
        low, high = fit.interval[name]
        notes = [
            note
            for note, names in (("not identified", fit.unidentified), ("on its bound", fit.on_bound))
            if name in names
        ]
        notes += ["profile"] if name in fit.profile else []
        ends = [f"{end:.5g}" if np.isfinite(end) else "open" for end in (low, high)]
        error = f"{fit.se[name]:.3g}" if np.isfinite(fit.se[name]) else "-"
        rows.append((name, f"{value:.6g}", *ends, error, ", ".join(notes)))
    if fit.draws is not None:
        how = f"{len(fit.draws.parameters)} bootstrap resamples by {fit.draws.group} ({fit.draws.failed} without a fit)"
    else:
        how = (
            "standard errors "
            + ("that count rows as independent" if fit.n_runs is None else "by run")
            + ", Student's t"
        )
    within = "" if fit.r2_within_run is None else f", within runs {decimal(fit.r2_within_run, 4)}"
    loss = (
        f"{fit.loss.kind}{f' {fit.loss.delta:g}' if fit.loss.kind == 'huber' else ''} of {fit.loss.residuals} residuals"
    )
    header = ("parameter", "estimate", f"{LEVEL:.0%} from", "to", "se", "")
    agree = f"{fit.starts['agree']} of {fit.starts['tried']} starts agree on it"
    text = (
        f"Objective (sum of {loss}): {fit.objective:.8g}; {agree}. "
        f"R² {decimal(fit.r2, 5)}{within}; mean relative error {percent(fit.mre)}; largest residual "
        f"{decimal(fit.max_abs_z, 1)} robust standard deviations; condition {fit.condition:.3g}."
    )
    flat = ", ".join(fit.profile)
    blocks: list[Block] = [
        Heading("Parameters"),
        Table(header, rows, (1, 2, 3, 4)),
        Text(f"Intervals from {how}{f'; of {flat} from their profiles' if flat else ''}."),
        Text(text),
    ]
    pairs = _correlated(fit, known)
    if pairs:
        told = f"Estimates that move together, as correlations of size {WORTH_KNOWING:g} or more"
        blocks += [
            Text(f"{told} (of logarithms where the fit moves those):"),
            Table(("", "", "correlation"), pairs, (2,)),
        ]
    return blocks


def _correlated(fit: Fit, known: Information) -> list[tuple[str, str, str]]:
    """The pairs of parameters that the data hardly tell apart, the closest first."""
    names = fit.law.parameters
    with np.errstate(all="ignore"):
        errors = np.sqrt(np.diag(known.covariance))
        correlation = known.covariance / np.outer(errors, errors)
    found = [(correlation[i, k], names[i], names[k]) for i in range(len(names)) for k in range(i)]
    worth = [one for one in found if np.isfinite(one[0]) and abs(one[0]) >= WORTH_KNOWING]
    worth.sort(key=lambda one: -abs(one[0]))
    return [(second, first, f"{value:+.3f}") for value, first, second in worth[:MOST_PAIRS]]


def _figures(fit: Fit, table: pd.DataFrame, drawn: list[Profile]) -> list[Block]:
    by = fits.told_apart_by(fit, table, None)
    along = fits.lines_along(fit, table)[:MOST_PANELS]
    numeric = [name for name in fit.law.variables if table[name].dtype != object and table[name].nunique() > 1]
    blocks: list[Block] = [
        Heading("Figures"),
        Picture(
            "predicted",
            "Predicted against observed, and the errors in order against normal quantiles.",
            (
                partial(fits.fit_against_data, fit=fit, table=table, by=by),
                partial(fits.quantiles, fit=fit, table=table),
            ),
        ),
    ]
    if along:
        draw = [
            partial(fits.fit_against_data, fit=fit, table=table, x=x, by=fits.told_apart_by(fit, table, x))
            for x in along
        ]
        blocks.append(Picture("curves", f"Data and law along {', '.join(along)}.", draw))
    draw = [partial(fits.residuals, fit=fit, table=table, x=x, by=by) for x in (None, *numeric[: MOST_PANELS - 1])]
    caption = "Errors of the law against its prediction and every variable; the band is one robust standard deviation."
    blocks.append(Picture("residuals", caption, draw))
    if drawn:
        caption = f"Profiles of what the data say little of: {', '.join(one.name for one in drawn)}."
        blocks.append(Picture("profiles", caption, [partial(fits.profile, found=one) for one in drawn]))
    return blocks


def _unseen(fit: Fit, table: pd.DataFrame, options: argparse.Namespace, group: str | None) -> list[Block]:
    """Cross-validation by run, and by size."""
    blocks: list[Block] = [Heading("What it predicts that it has not seen")]
    for by, leave in (("run", "each"), ("N", "each"), ("N", "largest")):
        if by != "run" and by not in fit.law.variables:
            continue
        what = {"run": "runs left out", "N": "sizes left out"}[by] if leave == "each" else "sizes from the smaller ones"
        try:
            found = compare(
                [fit.law],
                table,
                by=by,
                leave=leave,
                loss=fit.loss,
                target=fit.target,
                group=group,
                seed=options.seed,
                weights=options.weights,
            )
        except InputError as error:
            blocks.append(Text(f"Not by {by}: {error.why}."))
            continue
        blocks += [Text(f"Mean relative error, {what}: {percent(found.laws.error.iloc[0])}."), _folds(found)]
    return blocks


def _folds(found: Comparison) -> Table:
    rows = []
    for row in found.folds.to_dict("records"):
        error = "-" if row["why"] else percent(row["error"])
        note = row["why"] or ("" if row["converged"] else "not converged")
        rows.append((str(row["left_out"]), str(row["n"]), error, str(note)))
    return Table(("left out", "rows", "error", ""), rows, (1, 2))


def _again(options: argparse.Namespace) -> list[Block]:
    """What it takes to do it again."""
    command = shlex.join(["python", "-m", "analysis", *options.given])
    return [
        Heading("To do it again"),
        Code(command),
        Table(("", "version"), [*_versions().items(), ("seed", str(options.seed))]),
    ]


def _versions() -> Mapping[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout
            found[name] = "not installed"
    return found
