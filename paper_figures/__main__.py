"""`python -m paper_figures [FIGURE ...]`: draw figures from the committed tables, or from a store with --live.

python -m paper_figures                                        all of them, without any training
python -m paper_figures rewarm_fig1 --live --sweep demo        one, from the runs of a sweep in ./runs
python -m paper_figures --live --sweep demo seed=0,1,2         with the overrides that the sweep was called with
python -m paper_figures --sweep demo --check demo              and whether the runs equal the committed table
python -m paper_figures --freeze demo --sweep demo             a store's results added to paper_figures/data/demo.csv,
                                                               losses of single windows to demo_windows.parquet
python -m paper_figures --report report.html                   verdicts on all claims, figures and their numbers
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.core.command import check_folder, guarded
from harness.core.errors import InputError
from harness.core.options import Parser, path

FIGURES = (
    "overview",
    "rewarm_fig1",
    "rewarm_fig2",
    "rewarm_fig3",
    "rewarm_fig4",
    "rewarm_fig5",
    "rewarm_fig6",
    "rewarm_fig7",
    "scalable_warmup",
    "scalable_peaks",
    "scalable_replay",
    "scalable_forgetting",
    "scalable_spike",
    "scalable_baselines",
    "scalable_sizes",
    "scalable_infinite",
    "scalable_optimizer",
    "scalable_domains",
    "dcpt_ratio",
    "dcpt_trends",
    "data_order",
    "exchange",
    "peak_replay",
)


def main(arguments: Sequence[str]) -> int:
    options, words = parser().read(arguments)
    names = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    _check(options, names, overrides)

    from paper_figures import compare, data, drawing, report

    if options.freeze:
        results = data.from_store(options.root, options.sweep, overrides)
        print("\n".join(data.freeze(results, options.freeze, arguments)))
        return 0
    live = data.from_store(options.root, options.sweep, overrides) if options.live or options.sweep else None
    compared = compare.verdict(live, options.check) if live and options.check else None
    drawn, notes = drawing.draw(names or FIGURES, live, options.out, required=bool(names))
    if options.report:
        report.write(options.report, drawn, notes)
        print(options.report)
    if compared:
        print(compared)
    return 0


def _check(options: argparse.Namespace, names: Sequence[str], overrides: Sequence[str]) -> None:
    for name in names:
        if name not in FIGURES:
            near = difflib.get_close_matches(name, FIGURES, n=1, cutoff=0.0)[0]
            raise InputError("figure", name, "no such figure", f"did you mean {near}? (known: {', '.join(FIGURES)})")
    if options.check and not (options.live or options.sweep):
        raise InputError("--check", options.check, "it compares a store", "give --live, or --sweep NAME")
    if overrides and not options.sweep:
        raise InputError("arguments", " ".join(overrides), "overrides need a sweep", "give --sweep NAME")
    if options.report:
        from analysis.report.page import check_page

        check_page("--report", options.report)
    check_folder("--out", options.out)


def parser() -> Parser:
    """Of this command, which frozen tables name in their first lines."""
    plain = argparse.RawDescriptionHelpFormatter
    usage = "python -m paper_figures [FIGURE ...] [options] [--sweep NAME [KNOB=VALUE ...]]"
    described = f"{__doc__}\nFigures: {', '.join(FIGURES)}"
    parser = Parser(prog="python -m paper_figures", usage=usage, description=described, formatter_class=plain)
    parser.add_argument("--live", action="store_true", help="read a store (default: the committed tables)")
    parser.add_argument("--root", type=path, default=Path("runs"), help="the store (default: runs)")
    parser.add_argument("--sweep", action="append", metavar="NAME", help="only the members of sweeps/NAME.yaml; live")
    parser.add_argument("--out", type=path, default=Path("figures"), help="where they are written (default: figures)")
    parser.add_argument(
        "--report", type=path, metavar="FILE", help="one page, .html or .md: verdicts, what was drawn, its numbers"
    )
    parser.add_argument("--check", metavar="NAME", help="say at the end whether the store equals data/NAME.csv")
    parser.add_argument("--freeze", metavar="NAME", help="add runs to paper_figures/data/NAME.csv, draw nothing")
    return parser


def command() -> int:
    """The installed command `rewarm-figures`."""
    return guarded(main)


if __name__ == "__main__":
    sys.exit(command())
