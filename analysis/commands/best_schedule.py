"""`python -m analysis schedule`: the best peak, length and replay of continual pre-training, from fits of its laws.

python -m analysis schedule --general up.json --domain down.json --base-schedule base.csv \\
    --peaks 3e-5,1e-3 --horizons 1000,20000 --tolerance 0.01 --base-loss 2.87

The fits are of `cpt_dynamics` or its forms with replay (`fit ... --json`); the run is as long as its horizon. The best
is the least downstream loss under the tolerance, or the least sum with --weight.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.answers.schedule import SCALABLE, choose_schedule
from analysis.commands.mix import answer_lines, fits_of, warning_lines
from analysis.fitting.fit import Fit
from analysis.options.extrapolation import add_extrapolate, within_of
from analysis.options.schedules import OF_BASE, base_curves, only
from analysis.results.curves import DECAY
from harness.core.errors import InputError
from harness.core.options import path


def add_best_schedule_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--general", type=path, required=True, metavar="FIT", help="of the upstream loss")
    parser.add_argument("--domain", type=path, required=True, metavar="FIT", help="of the downstream loss")
    parser.add_argument(
        "--base-schedule",
        type=path,
        required=True,
        metavar="FILE",
        help="of the base: columns step and lr, or as for fit",
    )
    parser.add_argument("--base-warmup", type=int, metavar="STEPS", help="before the first row of that file (0: none)")
    parser.add_argument("--peaks", required=True, metavar="LOW,HIGH", help="between which to choose")
    parser.add_argument("--horizons", required=True, metavar="LOW,HIGH", help="updates between which to choose")
    parser.add_argument("--schedule", default="cosine", choices=SCALABLE, help="its shape (cosine)")
    parser.add_argument("--warmup", type=float, default=0.01, metavar="SHARE", help="of the horizon (0.01)")
    parser.add_argument("--min-ratio", type=float, default=0.1, metavar="RATIO", help="floor over peak (0.1)")
    parser.add_argument("--anneal", type=float, default=0.0, metavar="SHARE", help="of the horizon, of wsd (0)")
    parser.add_argument("--replays", metavar="SHARE,...", help="to choose from, for laws with replay")
    parser.add_argument(
        "--weight", type=float, metavar="W", help="of the upstream loss in the sum, in place of a tolerance"
    )
    parser.add_argument("--tolerance", type=float, metavar="T", help="relative rise of the upstream loss that is borne")
    parser.add_argument("--base-loss", type=float, metavar="L", help="upstream loss before continual pre-training")
    parser.add_argument("--independent", action="store_true", help="the fits' draws need not be of the same runs")
    add_extrapolate(parser)


def run(options: argparse.Namespace, _: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `schedule`, and its lines for a terminal. Raises InputError."""
    within, fits = within_of(options), fits_of(options)
    for role, fit in fits.items():
        if foreign := set(fit.law.variables) - {*OF_BASE, "replay"}:
            why = f"its law asks for {', '.join(sorted(foreign))}"
            raise InputError(role, fit.law.name, why, "give a fit of cpt_dynamics, or of its forms with replay")
    bases = base_curves(options, {})
    low, high = _pair("peaks", options.peaks)
    shortest, longest = (int(number) for number in _pair("horizons", options.horizons))
    answer = choose_schedule(
        fits["general"],
        fits["domain"],
        base_lrs=bases[only(bases, "", options.base_schedule)],
        peaks=(low, high),
        horizons=(shortest, longest),
        schedule=options.schedule,
        warmup=options.warmup,
        min_ratio=options.min_ratio,
        anneal=options.anneal,
        replays=None if options.replays is None else _numbers("replays", options.replays),
        weight=options.weight,
        tolerance=options.tolerance,
        base_loss=options.base_loss,
        decay=_decay(options, fits),
        independent=options.independent,
    )
    warnings = warning_lines(fits)
    return {**answer.document(within), "warnings": warnings}, [*answer_lines(answer, within), *warnings]


def _decay(options: argparse.Namespace, fits: dict[str, Fit]) -> float:
    """The momentum's decay with which both laws were fitted: another would mean other sums."""
    found = {role: float(_document(getattr(options, role)).get("decay") or DECAY) for role in fits}
    if len(set(found.values())) > 1:
        told = ", ".join(f"{role} {value:g}" for role, value in found.items())
        raise InputError("decay", told, "the fits were made with different ones", "fit both with one --decay")
    return found["general"]


def _document(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())  # a fit: it has been read
    return found


def _pair(name: str, text: str) -> tuple[float, float]:
    numbers = _numbers(name, text)
    if len(numbers) != 2:
        raise InputError(name, text, "is no range", "give the lowest, then the highest: LOW,HIGH")
    return numbers[0], numbers[1]


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(name, text, "not numbers", "separate them by commas, such as 0,0.05,0.25") from None
