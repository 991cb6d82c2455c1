"""Folders that ship with the program, found alike in a checkout, an installed package and a queued job's frozen code.

In a checkout `harness/conf` and `harness/sweeps` are links to the folders at its top; a wheel holds copies.
"""

from __future__ import annotations

from pathlib import Path

CODE = Path(__file__).resolve().parents[1]


def shipped(package: str, folder: str) -> Path:
    """A folder of data inside a package beside this one: `shipped("paper_figures", "data")`."""
    return (CODE.parent / package / folder).resolve()


CONF = shipped("harness", "conf")
SWEEPS = shipped("harness", "sweeps")
