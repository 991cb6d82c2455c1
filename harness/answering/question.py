"""A question as a file: the settings of a sweep, the ranges of its knobs, and what is borne to be forgotten.

    question = read_question(Path("question.yaml"))
    question.knobs, question.settings, question.options        # options: those of `python -m analysis decide`

    # question.yaml
    shift: docs_to_python              # any key of a sweep file, groups by the name of a choice
    knobs: {peak: [0.25, 8], replay: [0, 0.5]}
    tolerance: 5%                      # or limit: [docs=5%, .2], or weights: 1:2; confidence: .95

`knobs`: of a number its smallest and its largest value, of a category (schedule, optimizer_state) all values. A replay
from 0 on may name the smallest share above it, too: [0, 0.01, 0.5].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.compose import keys
from harness.core.errors import InputError
from harness.core.identity import digest
from harness.core.regular import require_regular

NUMBERS = ("peak", "lr", "replay", "warmup", "min_ratio")
CATEGORIES = ("schedule", "optimizer_state")
ASKED = ("knobs", "tolerance", "limit", "weights", "confidence")
SMALLEST = 0.02  # of a replay from 0 on: the smallest share above it, as a share of the largest
NO_SETTINGS = ("seed", "grids", "grids_at", "root", "parent_stores", "do", "json", "launch", "tracker")


@dataclass(frozen=True)
class Question:
    """What is asked."""

    name: str
    """Of its file."""
    key: str
    """Of all that it says: another question has other rounds."""
    settings: Mapping[str, Any]
    """Of a sweep file: all that the runs share."""
    knobs: Mapping[str, tuple[Any, ...]]
    """Of a number its values in order (replay from 0: 0, the smallest above, the largest), of a category all values."""
    options: tuple[str, ...]
    """What `python -m analysis decide` is asked."""
    limits: tuple[str, ...]
    """The corpora that it names."""

    @property
    def numbers(self) -> list[str]:
        """Knobs that are numbers."""
        return [name for name in self.knobs if name in NUMBERS]


def read_question(file: Path) -> Question:
    """The question of a file. Raises InputError."""
    from harness.compose.user_files import read

    require_regular("question", file)
    told = read(file)
    if not isinstance(told, dict) or not isinstance(told.get("knobs"), dict) or not told["knobs"]:
        raise InputError("question", file, "says no knobs", "give knobs: {peak: [0.25, 8], replay: [0, 0.5]}")
    knobs = {str(name): _values(str(name), values) for name, values in told["knobs"].items()}
    if {"peak", "lr"} <= knobs.keys():
        raise InputError("knobs", "peak, lr", "are one knob", "give one of them")
    settings = {str(key): value for key, value in told.items() if key not in ASKED}
    for name in settings:
        if name in NO_SETTINGS:
            raise InputError(name, settings[name], "is none of a question's settings", f"leave it out of {file.name}")
        if name in knobs:
            raise InputError(name, settings[name], "is a knob, too", "leave one of them out")
    options, limits = _options(told)
    return Question(file.stem, digest("question", told)[:12], _with_groups(settings), knobs, options, limits)


def _with_groups(settings: Mapping[str, Any]) -> dict[str, Any]:
    """With choices of groups among the `defaults`, where a sweep file has them."""
    chosen = {name: value for name, value in settings.items() if name in keys.groups() and not isinstance(value, dict)}
    rest = {name: value for name, value in settings.items() if name not in (*chosen, "defaults")}
    given = list(settings.get("defaults") or ["config", "_self_"])
    overrides = [{f"override /{name}": str(value)} for name, value in chosen.items()]
    own = [one for one in given if one != "_self_"]
    return {"defaults": [*own, *overrides, "_self_"], **rest}


def _values(name: str, values: Any) -> tuple[Any, ...]:
    """Of a knob. Raises InputError."""
    if name in CATEGORIES:
        if not isinstance(values, list) or len({*map(str, values)}) < 2 or len({*map(str, values)}) < len(values):
            raise InputError(f"knobs.{name}", values, "are not two values or more", "give [cosine, wsd], say")
        return tuple(map(str, values))
    if name not in NUMBERS:
        raise InputError(f"knobs.{name}", values, "is no knob", f"choose of {', '.join((*NUMBERS, *CATEGORIES))}")
    good = isinstance(values, list) and all(type(one) in (int, float) and math.isfinite(one) for one in values)
    rising = good and all(one < other for one, other in itertools.pairwise(values))
    if not rising or not 2 <= len(values) <= (3 if name == "replay" and values[0] == 0 else 2):
        remedy = "give the smallest and the largest" + (", or [0, 0.01, 0.5]" if name == "replay" else "")
        raise InputError(f"knobs.{name}", values, "is no range", remedy)
    if values[0] < 0 or (values[0] == 0 and name in ("peak", "lr")) or (values[-1] >= 1 and name not in ("peak", "lr")):
        raise InputError(f"knobs.{name}", values, "goes beyond what it can be", "give other ends")
    if name == "replay" and values[0] == 0 and len(values) == 2:
        values = [0, float(f"{SMALLEST * values[1]:.3g}"), values[1]]
    return tuple(float(one) for one in values)


def _options(told: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(options of `decide`, corpora that have limits), each value checked before anything is trained."""
    found, limits = list[str](), list[str]()
    if "tolerance" in told:
        _share("tolerance", told["tolerance"])
        found.append(f"--tolerance={told['tolerance']}")
    given = told.get("limit", [])
    for one in given if isinstance(given, list) else [given]:
        corpus, equals, text = str(one).rpartition("=")
        _share("limit", text) if equals else _number("limit", text, -math.inf, math.inf)
        limits += [corpus] if equals else []
        found.append(f"--limit={one}")
    if "weights" in told:
        if found:
            raise InputError("weights", told["weights"], "plays no part beside a limit", "leave one of them out")
        parts = str(told["weights"]).split(":")
        if len(parts) != 2 or sum(_number("weights", part, 0, math.inf) for part in parts) <= 0:
            raise InputError("weights", told["weights"], "are not two weights U:V", 'write "1:2"')
        found.append(f"--weights={told['weights']}")
    if "confidence" in told:
        _number("confidence", told["confidence"], 0.5, 1 - 1e-9)
        found.append(f"--confidence={told['confidence']}")
    return tuple(found), tuple(limits)


def _share(field: str, given: Any) -> None:
    text = str(given)
    _number(field, text.removesuffix("%"), *((-100, 100) if text.endswith("%") else (-1, 1)))


def _number(field: str, text: Any, low: float, high: float) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not low <= value <= high:
        raise InputError(field, text, f"is no number from {low:g} to {high:g}", "see docs/decide.md")
    return value


def check_corpora(question: Question, measured: Sequence[str], downstream: str) -> None:
    """InputError for a limit of a corpus that the runs do not measure, before they are trained."""
    for name in question.limits:
        if name == downstream or name not in measured:
            why = "is what is adapted to" if name == downstream else "is not measured"
            raise InputError("limit", name, why, f"choose of {', '.join(sorted({*measured} - {downstream}))}")
