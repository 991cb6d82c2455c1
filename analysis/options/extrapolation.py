"""Options of commands that answer: how far outside of the data an answer is believed, and what its status is then."""

from __future__ import annotations

import argparse

from analysis.answers.answer import FARTHEST
from harness.core.errors import InputError


def add_extrapolate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--extrapolate",
        type=float,
        default=FARTHEST,
        metavar="FACTOR",
        help=f"how far outside of the data an answer is believed ({FARTHEST:g}); beyond, it ends with status 1",
    )
    add_strict(parser)


def add_strict(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--strict", action="store_true", help="an extrapolation ends with status 1, as no answer does")


def within_of(options: argparse.Namespace) -> float:
    """`--extrapolate`. Raises InputError."""
    if not options.extrapolate >= 1:
        raise InputError(
            "extrapolate", options.extrapolate, "is no factor of at least 1", "give one; 1 is inside the data"
        )
    return float(options.extrapolate)
