"""The first round has the ends and the middle of every knob; what is farthest is not what was tried."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from harness.answering.first import farthest, first_rows
from harness.answering.question import Question, read_question
from harness.core.errors import InputError


def asked(tmp_path: Path, knobs: str) -> Question:
    file = tmp_path / "q.yaml"
    file.write_text(f"knobs: {knobs}\n")
    return read_question(file)


def test_two_knobs_are_five_settings_and_a_second_seed(tmp_path: Path) -> None:
    rows = first_rows(asked(tmp_path, "{peak: [0.25, 4], replay: [0, 0.01, 0.5]}"))
    assert [(row["peak"], row["replay"], row["seed"]) for row in rows] == [
        (0.25, 0.0, 0),  # half of the low ends have no replay, half the smallest
        (0.25, 0.5, 0),
        (4.0, 0.01, 0),
        (4.0, 0.5, 0),
        (1.0, 0.0707, 0),
        (1.0, 0.0707, 1),
    ]


@pytest.mark.parametrize(
    ("knobs", "runs"),
    [
        ("{peak: [0.5, 2]}", 4),
        ("{replay: [0, 0.5]}", 5),  # 0, the smallest, the middle twice, the largest
        ("{peak: [0.5, 2], replay: [0.05, 0.5], warmup: [0, 0.1]}", 10),
        ("{schedule: [cosine, wsd]}", 3),
        ("{peak: [0.5, 2], schedule: [cosine, wsd, infinite_cosine]}", 10),
    ],
)
def test_all_values_of_every_knob_are_tried(tmp_path: Path, knobs: str, runs: int) -> None:
    question = asked(tmp_path, knobs)
    rows = first_rows(question)
    assert len(rows) == runs
    assert len({tuple(row.items()) for row in rows}) == runs
    for name, values in question.knobs.items():
        assert {*values} <= {row[name] for row in rows}
    assert sorted(row["seed"] for row in rows) == [0] * (runs - 1) + [1]


def test_too_many_knobs_to_begin_with_are_refused(tmp_path: Path) -> None:
    knobs = "{peak: [1, 2], replay: [0, 0.5], warmup: [0, 0.1], min_ratio: [0, 0.1], schedule: [a, b, c, d]}"
    with pytest.raises(InputError, match="68 runs to begin with"):
        first_rows(asked(tmp_path, knobs))


def test_what_is_farthest_is_new_until_nothing_is(tmp_path: Path) -> None:
    question = asked(tmp_path, "{peak: [0.25, 4], replay: [0.01, 0.5]}")
    rows = first_rows(question)
    for _ in range(24):
        rows.append(farthest(question, rows))
    settings = [tuple(row[name] for name in ("peak", "replay")) for row in rows]
    assert len({*settings}) == 25  # a grid of five by five
    assert len({(*setting, row["seed"]) for setting, row in zip(settings, rows, strict=True)}) == len(rows)
    for peak, replay in itertools.product((0.5, 2.0), (0.0266, 0.188)):
        assert (peak, replay) in settings
