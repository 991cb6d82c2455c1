"""`python -m harness.sweep NAME... [overrides]`: several sweep files planned as one, sharing what they can.

    python -m harness.sweep rewarm_warmup rewarm_max_lr scale=mini seed=0,1 do=plan

Overrides are those of `python -m harness` (`--keys` there lists them), and hold for all files; `a=1,2` runs each value.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.cli import run_command, run_points
from harness.compose.compose import sweep_points
from harness.compose.overrides import call_of
from harness.core.errors import InputError
from harness.core.shipped import SWEEPS


def main(arguments: Sequence[str]) -> int:
    call = call_of(arguments)
    if call.shows:
        print(__doc__)
        return 0
    names = [argument for argument in call.overrides if "=" not in argument]
    if not names:
        known = ", ".join(sorted(file.stem for file in SWEEPS.glob("*.yaml")))
        raise InputError("sweep", "none", "no sweep file named", f"name some of: {known}")
    return run_points(sweep_points(names, [argument for argument in call.overrides if "=" in argument]))


if __name__ == "__main__":
    sys.exit(run_command(main))
