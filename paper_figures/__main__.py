"""`python -m paper_figures [FIGURE ...]`: draw figures from the committed tables, or from a store with --live.

python -m paper_figures                                        all of them, without any training
python -m paper_figures rewarm_fig1 --live --sweep demo        one, from the runs of a sweep in ./runs
python -m paper_figures --live --sweep demo seed=0,1,2         with the overrides that the sweep was called with
python -m paper_figures --sweep demo --check demo              and whether the runs equal the committed table
python -m paper_figures --freeze demo --sweep demo             a store's results into paper_figures/data/demo.csv
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from harness.errors import CorruptError, InputError
from paper_figures import compare, data, report, style
from paper_figures.data import Results

FIGURES = ("overview", "rewarm_fig1", "rewarm_fig2", "rewarm_fig3", "rewarm_fig4", "rewarm_fig5", "scalable_replay")
SPLIT = ("scale", "model", "shift", "run_tokens")  # runs that differ in these are never in one figure


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as the rest of the command line does."""

    def error(self, message: str) -> NoReturn:
        raise InputError("arguments", " ".join(sys.argv[1:]) or "none", message, f"see `{self.prog} --help`")


def main(arguments: Sequence[str]) -> int:
    options, rest = _parser().parse_known_args(arguments)
    names = [argument for argument in rest if "=" not in argument and not argument.startswith("-")]
    overrides = [argument for argument in rest if "=" in argument and not argument.startswith("-")]
    _check(options, names, overrides, [argument for argument in rest if argument.startswith("-")])
    if options.freeze:
        path = data.freeze(data.from_store(options.root, options.sweep, overrides), options.freeze, arguments)
        print(path)
        return 0
    drawn: list[report.Drawn] = []
    notes: list[str] = []
    live = data.from_store(options.root, options.sweep, overrides) if options.live or options.sweep else None
    for name in names or FIGURES:
        module = importlib.import_module(f"paper_figures.{name}")
        results = live or _frozen(module, required=bool(names))
        made, said = _draw(name, module, results, options.out) if results else ([], f"{name}: no frozen table")
        if said:
            notes.append(said)
            print(said, file=sys.stderr)
        if names and not made:
            raise InputError("figure", name, "no run of it is done", "`python -m analysis runs` shows what is there")
        drawn += made
    if not drawn:
        raise InputError("figure", "all", "no run of any is done", "run a sweep, then give --live --root and --sweep")
    if options.report:
        report.write(options.report, drawn, notes)
        print(options.report)
    if live and options.check:
        print(compare.verdict(live, options.check))
    return 0


def _draw(name: str, module: Any, results: Results, out: Path) -> tuple[list[report.Drawn], str]:
    """One figure for each setting in a table, and one line on the runs that are missing."""
    table = module.select(results.table)
    lacking = module.select(results.lacking) if len(results.lacking) else results.lacking
    said = f"{name}: missing: {', '.join(lacking.name)} (of {results.source})" if len(lacking) else ""
    if table.empty and not said:
        said = f"{name}: no run of it in {results.source}"
    drawn = []
    for suffix, part in _settings(table, getattr(module, "SPLIT", SPLIT)):
        figure = module.draw(part)
        paths = style.save(figure, out, name + suffix)
        print(paths[0])
        drawn.append(report.Drawn(name + suffix, paths[1], style.caption_of(figure)))
    return drawn, said


def _settings(table: pd.DataFrame, split: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """(what to add to the file's name, rows) of each setting; nothing is added if there is only one."""
    varying = [column for column in split if table[column].nunique() > 1]
    if not varying:
        if len(table):
            yield "", table
        return
    for values, part in table.groupby(varying, sort=True):
        yield "".join(f"-{value}" for value in values), part


def _frozen(module: Any, required: bool) -> Results | None:
    """The table of the figure's own sweep, or else of the demo."""
    own = [name for name in (module.SWEEP, "demo") if (data.FROZEN / f"{name}.csv").is_file()]
    return data.frozen(own[0] if own else module.SWEEP) if own or required else None


def _check(options: argparse.Namespace, names: Sequence[str], overrides: Sequence[str], unknown: Sequence[str]) -> None:
    if unknown:
        raise InputError("arguments", " ".join(unknown), "not known here", "see `python -m paper_figures --help`")
    for name in names:
        if name not in FIGURES:
            near = difflib.get_close_matches(name, FIGURES, n=1, cutoff=0.0)[0]
            raise InputError("figure", name, "no such figure", f"did you mean {near}? (known: {', '.join(FIGURES)})")
    if options.check and not (options.live or options.sweep):
        raise InputError("--check", options.check, "it compares a store", "give --live, or --sweep NAME")
    if overrides and not options.sweep:
        raise InputError("arguments", " ".join(overrides), "overrides need a sweep", "give --sweep NAME")
    if options.report:
        report.check(options.report)


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    usage = "python -m paper_figures [FIGURE ...] [options] [--sweep NAME [KNOB=VALUE ...]]"
    described = f"{__doc__}\nFigures: {', '.join(FIGURES)}"
    parser = Parser(prog="python -m paper_figures", usage=usage, description=described, formatter_class=plain)
    parser.add_argument("--live", action="store_true", help="read a store (default: the committed tables)")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="the store (default: runs)")
    parser.add_argument("--sweep", action="append", metavar="NAME", help="only the members of sweeps/NAME.yaml; live")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where they are written (default: figures)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="one page, .html or .md, with all that was drawn")
    parser.add_argument("--check", metavar="NAME", help="say at the end whether the store equals data/NAME.csv")
    parser.add_argument("--freeze", metavar="NAME", help="write the table to paper_figures/data/NAME.csv, draw nothing")
    return parser


def guarded() -> int:
    try:
        return main(sys.argv[1:])
    except (InputError, CorruptError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(guarded())
