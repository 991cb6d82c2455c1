"""What is tried first where nothing is known: the ends and the middle of every knob, one setting with two seeds.

    rows = first_rows(question)            # of a sweep file: [{"peak": 0.25, "replay": 0.0, "seed": 0}, ...]
    row = farthest(question, rows)         # farthest from all that was tried, where no surface tells what to try

The middle is that of the logarithm for a peak, a learning rate and a replay. Where replay may be 0, half of the
settings at its lower end have none and half the smallest share above: of two knobs five settings, in six runs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.answering.question import Question
from harness.core.errors import InputError

LOGARITHMIC = ("peak", "lr", "replay")
MOST = 64  # runs of a first round
PARTS = 4  # of a range, at whose ends `farthest` looks

Row = dict[str, Any]


def first_rows(question: Question) -> list[Row]:
    """The runs of the first round. Raises InputError for more knobs than a first round can have."""
    numbers = question.numbers
    rows: list[Row] = []
    for kinds in _kinds(question):
        for ends in itertools.product((0, 1), repeat=len(numbers)):
            rows.append({**{name: _end(question, name, ends) for name in numbers}, **kinds})
        middle = {name: between(question, name, 0.5) for name in numbers}
        rows += [{**middle, **kinds}] if numbers else []
        if numbers == ["replay"] and len(question.knobs["replay"]) == 3:  # no other knob to halve its ends by
            rows.append({"replay": question.knobs["replay"][1], **kinds})
    if len(rows) >= MOST:
        raise InputError("knobs", ", ".join(question.knobs), f"{len(rows)} runs to begin with", "give fewer knobs")
    twice = next(row for row in rows if all(row[name] == between(question, name, 0.5) for name in numbers))
    return [{**row, "seed": 0} for row in rows] + [{**twice, "seed": 1}]


def farthest(question: Question, tried: Sequence[Row]) -> Row:
    """Of a grid over the knobs the setting that is farthest from all that were tried; where none is new, the middle
    once more."""
    numbers = question.numbers
    choices = []
    for kinds in _kinds(question):
        for parts in itertools.product(range(PARTS + 1), repeat=len(numbers)):
            row = {name: between(question, name, part / PARTS) for name, part in zip(numbers, parts, strict=True)}
            choices.append({**row, **kinds})
    best = max(choices, key=lambda row: min(_distance(question, row, other) for other in tried))
    seeds = [other["seed"] for other in tried if _distance(question, best, other) == 0]
    return {**best, "seed": next(seed for seed in itertools.count() if seed not in seeds)}


def between(question: Question, name: str, share: float) -> float:
    """At a share of the range of a number, on its scale: 0 is its lower end, of replay from 0 the smallest above."""
    *_, low, high = question.knobs[name]
    if name in LOGARITHMIC:
        value = math.exp((1 - share) * math.log(low) + share * math.log(high))
    else:
        value = (1 - share) * low + share * high
    return float(low if share == 0 else high if share == 1 else f"{value:.3g}")


def _end(question: Question, name: str, ends: Sequence[int]) -> float:
    at = question.numbers.index(name)
    values = question.knobs[name]
    none = name == "replay" and len(values) == 3 and not ends[at] and sum(ends) % 2 == 0
    return float(values[0] if none else between(question, name, ends[at]))


def _kinds(question: Question) -> list[Row]:
    names = [name for name in question.knobs if name not in question.numbers]
    return [dict(zip(names, one, strict=True)) for one in itertools.product(*(question.knobs[name] for name in names))]


def _distance(question: Question, one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Between settings, in ranges of the numbers; another category is one range away."""
    apart = [float(one[name] != other[name]) for name in question.knobs if name not in question.numbers]
    for name in question.numbers:
        ends = [_scaled(name, between(question, name, share)) for share in (0, 1)]
        values = [max(_scaled(name, float(row[name])), ends[0]) for row in (one, other)]
        apart.append((values[0] - values[1]) / (ends[1] - ends[0]))
    return math.hypot(*apart)


def _scaled(name: str, value: float) -> float:
    return math.log(value) if name in LOGARITHMIC and value > 0 else -math.inf if name in LOGARITHMIC else value
