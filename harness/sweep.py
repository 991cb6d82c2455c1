"""`python -m harness.sweep NAME... [overrides]`: several sweep files planned as one, sharing what they can.

    python -m harness.sweep rewarm_warmup rewarm_max_lr scale=mini do=plan

Overrides hold for every point of every sweep.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.cli import guarded, run_points
from harness.compose.compose import sweep_points
from harness.core.errors import InputError
from harness.core.shipped import SWEEPS


def main(arguments: Sequence[str]) -> int:
    names = [argument for argument in arguments if "=" not in argument]
    if not names:
        known = ", ".join(sorted(file.stem for file in SWEEPS.glob("*.yaml")))
        raise InputError("sweep", "none", "no sweep file named", f"name some of: {known}")
    return run_points(sweep_points(names, [argument for argument in arguments if "=" in argument]))


if __name__ == "__main__":
    sys.exit(guarded(main))
