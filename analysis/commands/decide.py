"""`python -m analysis decide`: from the runs of one model to a setting: the most adaptation that a limit allows.

python -m analysis decide --sweep demo --where "downstream == 'python'" --tolerance 25%
python -m analysis decide --table grid.csv --tolerance 5% --limit german=2% --confidence .95 --plot decision.png
python -m analysis decide --weights 1:2

The runs are those of one model and one pair of corpora, its knobs (peak, replay, warmup, schedule, ...) those that
vary. With a tolerance, the answer is the setting with most adaptation of those whose next single run keeps it with the
confidence asked for; without, the one with the least weighted sum of the two losses. It lies between arms only where
the runs reach and a surface is sure. Status 1: there is no answer, or with --strict one that is an extrapolation.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.answers.answer import UnsupportedError, check_amounts
from analysis.commands.fit import columns_of
from analysis.decide.arms import KNOBS, Grid, arms_of
from analysis.decide.decision import Decision, Question, decide
from analysis.decide.ends import curves_of_table, ends_of_store, ends_of_table
from analysis.decide.further import MOST_RUNS, further_runs
from analysis.decide.page import document
from analysis.formulas.assignments import pair_of
from analysis.options.extrapolation import add_strict
from analysis.production.lengths import lengths_of
from analysis.production.longer import longer_run, with_longer
from analysis.production.scarce import epochs_of_store, scarce_data, with_scarce
from analysis.report.decision_lines import lines
from analysis.report.further_lines import further_lines, regret, regret_lines
from analysis.results.tables import keep, load
from harness.core.errors import InputError
from harness.core.options import amount, path
from harness.core.shipped import SWEEPS


def add_decide_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_argument_group("runs: those of a store (--root), or a table")
    source.add_argument("--sweep", action="append", metavar="NAME", help="members of sweeps/NAME.yaml, or of FILE.yaml")
    source.add_argument("--table", type=path, metavar="FILE", help="as `python -m paper_figures --freeze` writes it")
    source.add_argument("--map", action="append", default=[], metavar="NAME=COLUMN,...", help="columns of the table")
    source.add_argument(
        "--where", action="append", default=[], metavar="CONDITION", help="keep the runs where it holds"
    )
    source.add_argument("--knobs", metavar="NAME,...", help=f"default: those that vary of {', '.join(KNOBS)}")
    source.add_argument(
        "--bases", default="one", choices=("one", "average"), help="average: runs of several bases count together (one)"
    )
    asked = parser.add_argument_group("the question")
    asked.add_argument("--tolerance", metavar="SHARE", help="of the base's upstream loss that it may rise: 5%% or .05")
    asked.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NATS|CORPUS=SHARE",
        help="the upstream rise in nats, or that of any corpus as a share of its base loss (given again: all)",
    )
    asked.add_argument("--confidence", type=float, default=0.9, metavar="P", help="that the next run keeps them (.9)")
    asked.add_argument("--weights", metavar="U:V", help="of the two losses, without a limit (1:1)")
    asked.add_argument(
        "--extrapolate", action="store_true", help="also settings between arms of which the runs do not tell"
    )
    asked.add_argument("--within", type=float, metavar="NATS", help="how surely no setting is better by more")
    add_strict(asked)
    production = parser.add_argument_group("the production run, where it is none of these: an extrapolation")
    production.add_argument("--for-tokens", type=amount, metavar="D", help="it is trained on, such as 20e9")
    production.add_argument("--domain-tokens", type=amount, metavar="N", help="of the downstream corpus that exist")
    more = parser.add_argument_group("what to run next: stdout is then a sweep file")
    more.add_argument("--next", type=amount, metavar="FLOPS", help="the runs that this buys, after which it is surest")
    more.add_argument("--runs", type=int, metavar="N", help="at most so many runs")
    more.add_argument("--base-sweep", type=path, metavar="FILE", help="that the runs came from (default: --sweep)")
    parser.add_argument("--plot", type=path, metavar="FILE", help="the surfaces and the front: png, pdf or svg")


def run(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `decide`, and its lines for a terminal. Raises InputError."""
    amounts = {name: getattr(options, name) for name in ("for_tokens", "domain_tokens")}
    check_amounts(**{name: value for name, value in amounts.items() if value is not None})
    found, told = _decided(options, overrides)
    grid = found.model.grid
    if options.plot:
        from analysis.report.decision_drawing import draw  # matplotlib takes a second

        draw(options.plot, found)
    shown = lines(told, grid.upstream, grid.downstream)
    if options.within is not None:
        told["regret"] = regret(found, options.within)
        shown += regret_lines(told["regret"])
    if options.next is None:
        return told, shown
    try:
        further = further_runs(found, options.next, *sweep_of(options, overrides), options.runs or MOST_RUNS)
    except UnsupportedError as error:
        if not options.json:  # stdout would become a sweep file
            raise
        return {**told, "next": None, "notes": [*told["notes"], str(error)]}, []
    comment = [f"# {line}".rstrip() for line in [*shown[:1], "", *further_lines(further)]]
    return {**told, "next": further.document()}, [*comment, *further.sweep_file.splitlines()]


def _decided(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[Decision, dict[str, Any]]:
    """The decision and its document, with what is said of a production run that is none of the runs."""
    if options.for_tokens is None:
        grids = [grid_of(options, overrides)]
    else:
        grids = lengths_of(ends_of(options, overrides), knobs_of(options), options.bases)
    grid = grids[-1]
    question = question_of(options, grid)
    asked = options.for_tokens is not None or options.domain_tokens is not None
    curves = _curves(options, overrides) if asked else pd.DataFrame()
    found, longer = decide(grid, question), None
    if options.for_tokens is not None:
        found, longer = longer_run(grids, question, options.for_tokens, curves)
    if found is None:
        raise InputError("runs", len(grid.settings), "every setting failed or diverged", "try lower peaks")
    told = document(found)
    if longer is not None:
        told = with_longer(told, longer, question)
    point = told["recommended"]
    if options.domain_tokens is not None and point is not None:
        epochs = None if options.table else epochs_of_store(options.root, options.sweep, **_reading(options, overrides))
        replay = float(point["knobs"].get("replay", grid.common.get("replay", 0.0)))
        run_tokens = float(options.for_tokens or grid.common["run_tokens"])
        amounts = {"tokens": options.domain_tokens, "run_tokens": run_tokens}
        told = with_scarce(told, scarce_data(grid, replay, **amounts, epochs=epochs, curves=curves))
    return found, told


def _curves(options: argparse.Namespace, overrides: Sequence[str]) -> pd.DataFrame:
    if options.table is not None:
        return curves_of_table(options.table, columns_of(options))
    return load(options.root, options.sweep, **_reading(options, overrides))


def _reading(options: argparse.Namespace, overrides: Sequence[str]) -> dict[str, Any]:
    return {"overrides": overrides, "parents": options.parent, "windows": options.windows}


def sweep_of(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[Path, Sequence[str]]:
    """The sweep file that further runs extend, and what it was called with. Raises InputError."""
    if options.runs is not None and options.runs < 1:
        raise InputError("runs", options.runs, "is no number of runs", "give 1 or more")
    if options.base_sweep is not None:
        return options.base_sweep, overrides
    if options.sweep is None or len(options.sweep) > 1:
        why = "which sweep do further runs extend?"
        raise InputError("next", options.next, why, "give --base-sweep FILE, or one --sweep NAME")
    name = options.sweep[0]
    return Path(name) if name.endswith(".yaml") else SWEEPS / f"{name}.yaml", overrides


def grid_of(options: argparse.Namespace, overrides: Sequence[str]) -> Grid:
    """The arms that the options name. Raises InputError."""
    return arms_of(ends_of(options, overrides), knobs_of(options), options.bases)


def ends_of(options: argparse.Namespace, overrides: Sequence[str]) -> pd.DataFrame:
    """The runs that the options name. Raises InputError."""
    if options.table is not None:
        for name, given in (("sweep", options.sweep), ("KNOB=VALUE", overrides)):
            if given:
                raise InputError(name, ",".join(given), "is for the runs of a store", "give it or --table, not both")
        ends, source = ends_of_table(options.table, columns_of(options)), options.table.name
    else:
        if options.map:
            raise InputError("map", ",".join(options.map), "is for a table", "leave it out")
        ends, source = ends_of_store(options.root, options.sweep, **_reading(options, overrides)), str(options.root)
    return keep(ends, " and ".join(f"({one})" for one in options.where), source) if options.where else ends


def knobs_of(options: argparse.Namespace) -> list[str] | None:
    """`--knobs`."""
    return None if options.knobs is None else [name.strip() for name in options.knobs.split(",") if name.strip()]


def question_of(options: argparse.Namespace, grid: Grid) -> Question:
    """What is asked. Raises InputError."""
    if not 0.5 <= options.confidence < 1:
        raise InputError("confidence", options.confidence, "is no probability from .5 to 1", "give one, such as .9")
    limits: dict[str, float] = {}
    if options.tolerance is not None:
        limits[grid.upstream] = share("tolerance", options.tolerance) * grid.base[grid.upstream]
    for text in options.limit:
        name, _ = pair_of(text) if "=" in text else (grid.upstream, "")
        if name not in grid.forgetting:
            why = "is what is adapted to" if name == grid.downstream else "is not measured at every end"
            raise InputError("limit", text, f"{name} {why}", f"choose of {', '.join(grid.forgetting)}")
        if name in limits:
            raise InputError("limit", text, f"{name} has a limit already", "give one of each corpus")
        limits[name] = share("limit", pair_of(text)[1]) * grid.base[name] if "=" in text else _nats(text)
    if limits and options.weights is not None:
        raise InputError("weights", options.weights, "plays no part beside a limit", "leave one of them out")
    return Question(limits, options.confidence, _weights(options.weights or "1:1"), options.extrapolate)


def share(field: str, text: str) -> float:
    """`5%` or `.05`. Raises InputError."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not -1 < value < 1:
        percent = text.replace(".", "", 1).isdigit() and 1 <= value < 100
        why = "is no share of the base's loss" + ("; it looks like percent" if percent else "")
        raise InputError(field, text, why, f"write {text}%" if percent else "write 5% or .05")
    return value


def _nats(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError("limit", text, "is no number of nats, and no CORPUS=SHARE", "write .2, or docs=5%")
    return value


def _weights(text: str) -> tuple[float, float]:
    parts = text.split(":")
    try:
        u, v = (float(part) for part in parts)
    except ValueError:
        u = v = math.nan
    if not (math.isfinite(u + v) and u >= 0 and v >= 0 and u + v > 0):
        raise InputError("weights", text, "are not two weights U:V, none negative", "write 1:2")
    return u, v
