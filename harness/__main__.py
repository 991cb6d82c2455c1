"""`python -m harness`: one run, or a grid with -m, or a sweep file with -cd FOLDER -cn NAME. Hydra's flags apply."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.cli import carry_out, guarded
from harness.compose import collect


def main(arguments: Sequence[str]) -> int:
    return carry_out(collect(arguments))


def command() -> int:
    """The installed command `rewarm`."""
    return guarded(main)


if __name__ == "__main__":
    sys.exit(command())
