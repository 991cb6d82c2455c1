"""`python -m analysis runs | show | diff | laws | fit | compare | isoflop | mix | schedule | next | decide | ...`.

The command line over the rooms of analysis, from results to decisions: `laws`, `fit`, `compare`, `isoflop`, `mix`,
`schedule`, `next` and `decide` are modules of `analysis.commands`; `runs`, `show` and `diff` print what
`analysis.results` reads, `claims` what `analysis.claims` finds, `forecast` what `analysis.forecasts` froze.

python -m analysis runs --sweep demo              members of a sweep, those not started too
python -m analysis runs --sweep demo seed=0,1     with the overrides that the sweep was called with
python -m analysis show docs_to_python-cosine     a run by name, folder or key, or the beginning of one
python -m analysis laws                           those that can be fitted: formula, source, verified or not
python -m analysis fit dcpt --sweep dcpt --corpus python --bootstrap 1000 --json > python.json
python -m analysis compare dcpt chinchilla --sweep dcpt --corpus python --by run
python -m analysis isoflop --table runs.csv --map N=params,D=tokens --at 1e22
python -m analysis mix --general docs.json --domain python.json --N 1e5 --D 6e5 --tolerance 0.05 --base-loss 3.66
python -m analysis next ... --budget 1e13 > sweeps/next.yaml
python -m analysis decide --sweep demo --where "downstream == 'python'" --tolerance 25%
python -m analysis forecast --freeze further --fit python=python.json --sweep next
python -m analysis claims                         a verdict on every claim of the papers, from the committed tables

`COMMAND --help` tells more. `--json`: one document on stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.core.command import guarded


def main(arguments: Sequence[str]) -> int:
    from analysis.commands.command_line import run  # scipy and pandas take a second, in which Ctrl-C is one line, too

    return run(arguments, str(__doc__))


def command() -> int:
    """The installed command `rewarm-analysis`."""
    return guarded(main)


if __name__ == "__main__":
    sys.exit(command())
