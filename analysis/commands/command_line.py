"""What `python -m analysis` does: its options, its commands, their documents and their lines for a terminal."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.answers.answer import EXTRAPOLATED
from analysis.claims import command as claims_command
from analysis.commands import best_schedule as best_schedule_command
from analysis.commands import compare as compare_command
from analysis.commands import decide as decide_command
from analysis.commands import fit as fit_command
from analysis.commands import fit_auto
from analysis.commands import isoflop as isoflop_command
from analysis.commands import laws as laws_command
from analysis.commands import mix as mix_command
from analysis.commands import next as next_command
from analysis.forecasts import command as forecast_command
from analysis.report import clean as clean_command
from analysis.report.runs_table import csv_text, entries_of, flat, gathered, ordered, table_lines
from analysis.report.show import (
    diff_document,
    diff_lines,
    last_positions,
    measured_otherwise,
    show_document,
    show_lines,
)
from analysis.results.facts import folder_name
from analysis.results.run_record import RunRecord
from analysis.results.runs import read_runs
from analysis.results.windows import left_out
from harness.core.command import check_file, narrowed, terminal_width, unwritable
from harness.core.errors import InputError
from harness.core.options import Parser, path, refuse_words
from harness.plan.recorded_runs import find_run, program_of
from harness.store.store import Store

PLAIN = argparse.RawDescriptionHelpFormatter
Output = tuple[dict[str, Any], list[str]]  # a command's document, and its lines for a terminal


def run(arguments: Sequence[str], description: str) -> int:
    parser = _parser(description)
    swept = any(word.startswith(("--sweep", "sweep=")) for word in arguments)
    options, words = parser.read(arguments, keep=("seed",) if swept else ())
    overrides = [word for word in words if "=" in word and options.command in SWEPT]
    refuse_words([word for word in words if word not in overrides], parser, arguments)
    if getattr(options, "plot", None):
        from analysis.figures.style import SUFFIXES

        check_file("--plot", options.plot, SUFFIXES)
    if getattr(options, "report", None):
        from analysis.report.page import check_page

        check_page("--report", options.report)
    options.given = list(arguments)
    document, lines = COMMANDS[options.command](options, overrides)
    if options.json:
        print(json.dumps({"schema": f"rewarm.{options.command}/1", **document}, allow_nan=False))
    elif lines:
        print("\n".join(lines if options.command in FILES or getattr(options, "next", None) else narrowed(lines)))
    extrapolated = document.get("verdict") == EXTRAPOLATED and getattr(options, "strict", False)
    return 0 if document.get("supported", True) and not extrapolated else 1


def _runs(options: argparse.Namespace, overrides: Sequence[str]) -> Output:
    if options.csv:
        check_file("--csv", options.csv, (".csv",))
    runs = read_runs(options.root, options.sweep, overrides=overrides, parents=options.parent, windows=options.windows)
    entries = entries_of(Store(options.root, options.parent), runs)
    document = {"root": str(options.root), "sweep": options.sweep, "runs": entries}
    rows = [flat(entry) for entry in entries] if options.by is None else gathered(runs, entries)
    rows = ordered(rows, options.sort, options.largest)
    if options.by is not None:
        document["by"], document["groups"] = options.by, rows
    if options.csv:
        try:
            options.csv.write_text(csv_text(rows), encoding="utf-8")
        except OSError as error:
            raise unwritable("--csv", options.csv, error) from None
        return document, [str(options.csv)]
    progress = {run.facts.run: _status(run) for run in runs}
    shown = [{**row, "status_text": progress.get(row["run"], row["status"])} for row in rows]
    return document, runs_lines(runs, entries, table_lines(shown, terminal_width()))


def _show(options: argparse.Namespace, _: Sequence[str]) -> Output:
    run = _one(options, options.run[0])
    document = show_document(Store(options.root, options.parent), run)
    return document, show_lines(document, program_of(run.document))


def _diff(options: argparse.Namespace, _: Sequence[str]) -> Output:
    document = diff_document(*(_one(options, name) for name in options.run))
    return document, diff_lines(document)


SWEPT = ("runs", "clean", "fit", "compare", "decide", "forecast")  # commands that take the overrides of a sweep
FILES = ("next",)  # commands that print a file: a line that is wrapped would be another one
COMMANDS: dict[str, Callable[[argparse.Namespace, Sequence[str]], Output]] = {
    "runs": _runs,
    "show": _show,
    "diff": _diff,
    "clean": clean_command.run,
    "laws": laws_command.run,
    "fit": fit_auto.run,
    "compare": compare_command.run,
    "isoflop": isoflop_command.run,
    "mix": mix_command.mix,
    "schedule": best_schedule_command.run,
    "next": next_command.propose,
    "decide": decide_command.run,
    "forecast": forecast_command.run,
    "claims": claims_command.run,
}


def runs_lines(runs: Sequence[RunRecord], entries: Sequence[Mapping[str, Any]], table: Sequence[str]) -> list[str]:
    """The table of runs, and below it what its losses are and how many runs of which status there are."""
    counts = sorted(Counter(run.status for run in runs).items())
    lines = list(table)
    other = sum(_otherwise(run, entry) for run, entry in zip(runs, entries, strict=True))
    if other:
        lines.append(
            f"the losses of {other} runs are on other windows, or of fewer evaluations, than they asked for: show"
        )
    lines += _how_final(entries)
    return [*lines, f"{len(runs)} runs: " + (", ".join(f"{n} {status}" for status, n in counts) or "none is recorded")]


def _how_final(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the losses of a table are; no line without a loss."""
    measured = [
        [on for corpus, on in e["measured"].items() if corpus in (e["upstream"], e["downstream"])] for e in entries
    ]
    means = sum(any(on["is"] == "mean" for on in each) for each in measured)
    windows = sorted({on["windows"] for each in measured for on in each if on["is"] == "end"})
    if not windows and not means:
        return []
    among = f"; in {means} of {len(entries)} runs the mean of the last evaluations on fewer" if means else ""
    on = f"{windows[0]} to {windows[-1]}" if len(windows) > 2 else " or ".join(map(str, windows))
    how = f"of the last position, on {on} windows{among}" if windows else "mean of the last evaluations"
    corpora = dict.fromkeys(entry[role] for entry in entries for role in ("upstream", "downstream"))
    dirty = {name: [e["measured"][name].get("dirty") for e in entries if name in e["measured"]] for name in corpora}
    lines = [f"losses: {how}", f"losses: {left_out(dirty)}"]
    whole = [(entry, entry["on_all_windows"]) for entry in entries if entry["on_all_windows"]]
    for name in ("forgetting", "adaptation"):
        moved = [e[name] - all_[name] for e, all_ in whole if e[name] is not None and all_[name] is not None]
        if moved:
            lines.append(f"{name}: {min(moved):+.4f} to {max(moved):+.4f} against that on all windows")
    return lines


def _otherwise(run: RunRecord, entry: Mapping[str, Any]) -> bool:
    """Is one of the two losses of a table not of the run's own windows at all of its last positions?"""
    both = {entry["upstream"], entry["downstream"]} & set(entry["loss"])
    windows, last = run.document["config"]["evaluate"]["windows"], last_positions(run.document) if both else 0
    return any(measured_otherwise(entry, corpus, windows, last) for corpus in both)


def _status(run: RunRecord) -> str:
    """A run's status for a terminal; of one at work, how far it is."""
    position = run.fate.get("position")
    return run.status if position is None else f"{run.status} (step {position} of {run.document['steps']})"


def _one(options: argparse.Namespace, text: str) -> RunRecord:
    root, parents = options.root, options.parent
    if not (root / "store.json").exists():
        raise InputError("root", root, "there is no store (no store.json)", "name the folder of a store: --root")
    wanted = folder_name(find_run(Store(root, parents), text))
    return next(run for run in read_runs(root, parents=parents, windows=options.windows) if run.facts.run == wanted)


def _parser(description: str) -> Parser:
    parser = Parser(prog="python -m analysis", description=description, formatter_class=PLAIN)
    output = Parser(add_help=False)
    output.add_argument("--json", action="store_true", help="one JSON document on stdout")
    store = Parser(add_help=False)
    store.add_argument("--root", type=path, default=Path("runs"), help="the store (default: runs)")
    store.add_argument(
        "--parent", type=path, action="append", default=[], metavar="STORE", help="a further store, read only"
    )
    store.add_argument("--windows", type=int, help="losses on so many windows, where they were measured")
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser(
        "runs",
        parents=[store, output],
        help="final losses, forgetting, adaptation",
        usage="python -m analysis runs [options] [--sweep NAME [KNOB=VALUE ...]]",
    )
    runs.add_argument("--sweep", action="append", metavar="NAME", help="only the members of sweeps/NAME.yaml")
    runs.add_argument(
        "--by", choices=("seed",), help="seed: a line for runs that differ in the seed only: mean ± sd, n"
    )
    runs.add_argument("--sort", metavar="COLUMN", help="by a column of --csv, or `base upstream`; the smallest first")
    runs.add_argument("--largest", action="store_true", help="with --sort: the largest first")
    runs.add_argument("--csv", type=path, metavar="FILE", help="all columns into a file, instead of a table")
    show = commands.add_parser("show", parents=[store, output], help="program, learning rates, data and losses")
    show.add_argument("run", nargs=1, metavar="RUN", help="name, folder or key, or the beginning of one")
    diff = commands.add_parser("diff", parents=[store, output], help="what tells two runs apart")
    diff.add_argument("run", nargs=2, metavar="RUN", help="as for show")
    clean = commands.add_parser(
        "clean",
        parents=[store, output],
        help="measured windows that are contained in what is trained on",
        description=clean_command.__doc__,
        formatter_class=PLAIN,
    )
    clean_command.add_clean_arguments(clean)
    laws = commands.add_parser(
        "laws",
        parents=[output],
        help="the laws that can be fitted: formula, source, and whether it is verified",
        description=laws_command.__doc__,
        formatter_class=PLAIN,
    )
    laws_command.add_arguments(laws)
    fit = commands.add_parser(
        "fit",
        parents=[store, output],
        help="a law fitted to runs or to a table",
        description=fit_command.__doc__,
        formatter_class=PLAIN,
    )
    fit_command.add_arguments(fit)
    compared = commands.add_parser(
        "compare",
        parents=[store, output],
        help="laws by how well they predict what they have not seen",
        description=compare_command.__doc__,
        formatter_class=PLAIN,
    )
    compare_command.add_compare_arguments(compared)
    isoflop = commands.add_parser(
        "isoflop",
        parents=[output],
        help="the best model size and tokens of a compute budget",
        description=isoflop_command.__doc__,
        formatter_class=PLAIN,
    )
    isoflop_command.add_isoflop_arguments(isoflop)
    mix = commands.add_parser(
        "mix",
        parents=[output],
        help="the best share, mixture or model size, with an interval",
        description=mix_command.__doc__,
        formatter_class=PLAIN,
    )
    mix_command.add_mix_arguments(mix)
    best = commands.add_parser(
        "schedule",
        parents=[output],
        help="the best peak, length and replay of continual pre-training",
        description=best_schedule_command.__doc__,
        formatter_class=PLAIN,
    )
    best_schedule_command.add_best_schedule_arguments(best)
    further = commands.add_parser(
        "next",
        parents=[output],
        help="the runs that would narrow an answer most",
        description=next_command.__doc__,
        formatter_class=PLAIN,
    )
    next_command.add_next_arguments(further)
    decided = commands.add_parser(
        "decide",
        parents=[store, output],
        help="the setting of one model with most adaptation under a limit of forgetting",
        description=decide_command.__doc__,
        formatter_class=PLAIN,
    )
    decide_command.add_decide_arguments(decided)
    forecast = commands.add_parser(
        "forecast",
        parents=[store, output],
        help="what fits say of runs before they are trained, frozen, and what became of it",
        description=forecast_command.__doc__,
        formatter_class=PLAIN,
    )
    forecast_command.add_forecast_arguments(forecast)
    claims = commands.add_parser(
        "claims",
        parents=[output],
        help="the papers' claims, and whether our runs say so",
        description=claims_command.__doc__,
        formatter_class=PLAIN,
    )
    claims_command.add_claims_arguments(claims)
    return parser
