"""`python -m harness`: one run, or a grid with -m, or a sweep file with -cd FOLDER -cn NAME. Hydra's flags apply.

`--keys` lists every key with its default and its meaning, `--help` the choices.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from harness.core.command import guarded


def main(arguments: Sequence[str]) -> int:
    from harness.cli import run_points
    from harness.compose import keys
    from harness.compose.compose import collect

    if "--keys" in arguments:
        print("\n".join(keys.listing(min(shutil.get_terminal_size((120, 24)).columns, 120))))
        return 0
    return run_points(collect(arguments))


def command() -> int:
    """The installed command `rewarm`."""
    return guarded(_start, "interrupted; nothing was started")


def _start(_: Sequence[str]) -> int:
    from harness.cli import run_command  # numpy and yaml take half a second, in which Ctrl-C is one line, too

    return run_command(main)


if __name__ == "__main__":
    sys.exit(command())
