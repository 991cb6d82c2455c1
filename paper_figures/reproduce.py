"""`python -m paper_figures.reproduce mini|micro`: train the runs of committed tables anew, and compare them.

python -m paper_figures.reproduce micro                  minutes on two cores: the base and the warm-ups of two seeds
python -m paper_figures.reproduce mini                   every table: hours
python -m paper_figures.reproduce mini rewarm_max_lr     one table
python -m paper_figures.reproduce mini --root STORE      where states go; the same command goes on after an interruption

A table names the commands that froze it; the sweeps and seeds that these name are trained. Rows equal the committed
ones to the last bit with the same requirements.lock, Python and instruction set; elsewhere the largest difference
stands beside what seeds do.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.core.command import guarded
from harness.core.errors import InputError
from harness.core.options import Parser, path
from harness.core.shipped import SWEEPS


class Part(NamedTuple):
    """Runs of a committed table."""

    table: str
    sweeps: list[str]
    overrides: list[str]


MICRO = Part("rewarm_warmup", ["rewarm_warmup"], ["seed=0,1"])
"""Of mini's runs: two bases, one for each of two cores, and four arms of each."""


def main(arguments: Sequence[str]) -> int:
    options, words = _parser().read(arguments)
    from paper_figures import compare, data

    if words and options.scale == "micro":
        raise InputError("table", words[0], f"micro is some runs of {MICRO.table}", "give mini to name tables")
    parts = [MICRO] if options.scale == "micro" else [part for name in _tables(words) for part in parts_of(name)]
    for number, (name, sweeps, overrides) in enumerate(parts, start=1):
        print(f"{number} of {len(parts)}: {name}: {' '.join(sweeps)} {shlex.join(overrides)}", flush=True)
        began = time.monotonic()
        for sweep in sweeps:
            trained = [sys.executable, "-m", "harness", "-m", "-cd", str(SWEEPS), "-cn", sweep, *overrides]
            status = subprocess.run([*trained, f"root={options.root}"], check=False).returncode
            if status:
                return status
        print(compare.verdict(data.from_store(options.root, sweeps, overrides), name))
        print(f"{(time.monotonic() - began) / 60:.3g} minutes", flush=True)
    return 0


def parts_of(name: str) -> Iterator[Part]:
    """What was trained for a committed table, command by command."""
    from paper_figures.__main__ import parser
    from paper_figures.data import commands_of

    for command in commands_of(name):
        options, words = parser().read(shlex.split(command))
        if not options.sweep:
            why = f"`{command}` names no sweep, so nobody can train its runs"
            raise InputError("table", name, why, "freeze it with --sweep NAME")
        yield Part(name, options.sweep, words)


def _tables(names: Sequence[str]) -> Sequence[str]:
    from paper_figures.data import FROZEN

    known = sorted(file.stem for file in FROZEN.glob("*.csv"))
    for name in names:
        if name not in known:
            raise InputError("table", name, "no such committed table", f"known: {', '.join(known)}")
    return names or known


def _parser() -> Parser:
    plain = argparse.RawDescriptionHelpFormatter
    usage = "python -m paper_figures.reproduce mini|micro [TABLE ...] [--root ROOT]"
    made = Parser(prog="python -m paper_figures.reproduce", usage=usage, description=__doc__, formatter_class=plain)
    made.add_argument("scale", choices=("mini", "micro"), help="all runs of the committed tables, or a few of them")
    made.add_argument("--root", type=path, default=Path("runs"), help="the store (default: runs)")
    return made


if __name__ == "__main__":
    sys.exit(guarded(main))
