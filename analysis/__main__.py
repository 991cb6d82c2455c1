"""`python -m analysis runs | show RUN | diff A B`: what a store holds. `--json`: one document on stdout.

python -m analysis runs --sweep demo              members of a sweep, those not started too
python -m analysis runs --sweep demo seed=0,1     with the overrides that the sweep was called with
python -m analysis show docs_to_python-cosine     a run by name, folder or key, or the beginning of one
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from analysis.facts import folder_name
from analysis.programs import program_of
from analysis.runs import RunRecord, read_runs, summary
from analysis.show import diff_document, diff_lines, show_document, show_lines
from harness.errors import CorruptError, InputError
from harness.recorded import find_run
from harness.store import Store


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as the rest of the command line does."""

    def error(self, message: str) -> NoReturn:
        raise InputError("arguments", " ".join(sys.argv[1:]) or "none", message, f"see `{self.prog} --help`")


def main(arguments: Sequence[str]) -> int:
    options, rest = _parser().parse_known_args(arguments)
    overrides = [argument for argument in rest if "=" in argument and not argument.startswith("-")]
    unknown = [argument for argument in rest if argument not in overrides]
    if unknown or (overrides and options.command != "runs"):
        why, remedy = "not known here", "see `python -m analysis --help`"
        raise InputError("arguments", " ".join(unknown or overrides), why, remedy)
    parents = [Path(parent) for parent in options.parent]
    if options.command == "runs":
        runs = read_runs(options.root, options.sweep, overrides=overrides, parents=parents, windows=options.windows)
        if options.json:
            _print_json("runs", {"root": str(options.root), "sweep": options.sweep, "runs": [summary(r) for r in runs]})
        else:
            print("\n".join(runs_lines(runs)))
        return 0
    runs = [_one(options.root, name, parents, options.windows) for name in options.run]
    if options.command == "show":
        document = show_document(Store(options.root, parents), runs[0])
        lines = [] if options.json else show_lines(document, program_of(runs[0].document))
    else:
        document = diff_document(*runs)
        lines = [] if options.json else diff_lines(document)
    if options.json:
        _print_json(options.command, document)
    else:
        print("\n".join(lines))
    return 0


def runs_lines(runs: Sequence[RunRecord]) -> list[str]:
    """The table of runs for a terminal; losses are final losses, in nats per token."""
    width = max([len("run"), *(len(run.facts.run) for run in runs)])
    columns = ("upstream", "downstream", "forgetting", "adaptation")
    lines = [f"{'run':<{width}}  {'status':<7}  {'tokens':>7}  " + "  ".join(f"{name:>10}" for name in columns)]
    for run in runs:
        entry = summary(run)
        loss = entry["loss"]
        values = (loss.get(entry["upstream"]), loss.get(entry["downstream"]), entry["forgetting"], entry["adaptation"])
        cells = [" " * 9 + "-" if value is None else f"{value:10.4f}" if i < 2 else f"{value:+10.4f}"
                 for i, value in enumerate(values)]  # fmt: skip
        lines.append(f"{run.facts.run:<{width}}  {run.status:<7}  {entry['D'] / 1e6:6.4g}M  {'  '.join(cells)}")
    counts = {status: sum(run.status == status for run in runs) for status in ("done", "partial", "failed", "missing")}
    return [*lines, f"{len(runs)} runs: " + ", ".join(f"{n} {status}" for status, n in counts.items() if n or not runs)]


def _one(root: Path, text: str, parents: Sequence[Path], windows: int | None) -> RunRecord:
    if not (root / "store.json").exists():
        raise InputError("root", root, "there is no store (no store.json)", "name the folder of a store: --root")
    wanted = folder_name(find_run(Store(root, parents), text))
    return next(run for run in read_runs(root, parents=parents, windows=windows) if run.facts.run == wanted)


def _print_json(name: str, document: dict[str, Any]) -> None:
    print(json.dumps({"schema": f"rewarm.{name}/1", **document}, allow_nan=False))


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="python -m analysis", description=__doc__, formatter_class=plain)
    common = Parser(add_help=False)
    common.add_argument("--root", type=Path, default=Path("runs"), help="the store (default: runs)")
    common.add_argument("--parent", action="append", default=[], metavar="STORE", help="a further store, read only")
    common.add_argument("--windows", type=int, help="losses on so many windows, where they were measured")
    common.add_argument("--json", action="store_true", help="one JSON document on stdout")
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("runs", parents=[common], help="table of runs: final losses, forgetting, adaptation",
                               usage="python -m analysis runs [options] [--sweep NAME [KNOB=VALUE ...]]")  # fmt: skip
    runs.add_argument("--sweep", action="append", metavar="NAME", help="only the members of sweeps/NAME.yaml")
    show = commands.add_parser("show", parents=[common], help="program, learning rates, parents, data and losses")
    show.add_argument("run", nargs=1, metavar="RUN", help="name, folder or key, or the beginning of one")
    diff = commands.add_parser("diff", parents=[common], help="what tells two runs apart")
    diff.add_argument("run", nargs=2, metavar="RUN", help="as for show")
    return parser


def guarded() -> int:
    try:
        return main(sys.argv[1:])
    except (InputError, CorruptError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head`
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(guarded())
