"""Rows survive the text form bit for bit, histories merge by key, and a damaged table is refused."""

from __future__ import annotations

import dataclasses
import math
import random
import struct

import pytest

from harness.core.errors import CorruptError, InputError
from harness.store.history import HEADER, Measure, Row, final_loss, merge, rows_from_csv, rows_to_csv


def row(position: int, corpus: str = "docs", windows_hash: str = "a" * 16, loss_sum: float = 100.0) -> Row:
    return Row(position, position * 512, corpus, 64, windows_hash, loss_sum, 8192, 30_000)


def test_round_trip_is_exact_for_any_finite_float() -> None:
    rng = random.Random(1)
    losses = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 1e16, 12345.0]
    while len(losses) < 500:
        (value,) = struct.unpack("<d", rng.randbytes(8))
        if math.isfinite(value):
            losses.append(value)
    rows = [row(position, loss_sum=loss) for position, loss in enumerate(losses)]
    text = rows_to_csv(rows)
    back = rows_from_csv(text)
    assert [struct.pack("<d", r.loss_sum) for r in back] == [struct.pack("<d", r.loss_sum) for r in rows]
    assert back == rows
    assert rows_to_csv(back) == text


def test_equal_histories_are_equal_bytes_whatever_their_order() -> None:
    rows = [row(p, corpus, h * 16) for p in (10, 9, 100) for corpus in ("python", "docs") for h in "ba"]
    text = rows_to_csv(rows)
    assert rows_to_csv(rows[::-1]) == text
    order = [(r.position, r.corpus, r.windows_hash) for r in rows_from_csv(text)]
    assert order == sorted(order)
    assert text.startswith("position,tokens,corpus,windows,windows_hash,loss_sum,token_count,byte_count\n9,4608,docs,")


def test_numpy_scalars_are_written_as_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert rows_to_csv([row(1, loss_sum=numpy.float64(1.5))]) == rows_to_csv([row(1, loss_sum=1.5)])


def test_an_empty_history_round_trips() -> None:
    assert rows_from_csv(rows_to_csv([])) == []


GOOD = rows_to_csv([row(1), row(2)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER,
        GOOD[:-1],  # the last newline: a cut that leaves well-formed rows would not be seen otherwise
        GOOD[:-4],
        GOOD.replace("position,", "step,"),
        GOOD.replace(",docs,", ",docs,more,"),
        GOOD.replace("\n1,", "\none,"),
        GOOD.replace(",100.0,", ",nan,"),
        GOOD.replace(",100.0,", ",inf,"),
        GOOD.replace(",8192,", ",0,"),
        GOOD.replace(",8192,", ",8192.0,"),
        GOOD + "\n",
        "<html>\n",
    ],
)
def test_nonsense_is_refused_and_the_file_named(text: str) -> None:
    with pytest.raises(CorruptError, match=r"some/evaluations\.csv"):
        rows_from_csv(text, "some/evaluations.csv")


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_cannot_be_written(loss: float) -> None:
    with pytest.raises(InputError, match="loss_sum="):
        rows_to_csv([row(1, loss_sum=loss)])


@pytest.mark.parametrize("name", ["a,b", "a\nb", 'a"b', ""])
def test_a_name_that_breaks_the_table_cannot_be_written(name: str) -> None:
    with pytest.raises(InputError, match="corpus="):
        rows_to_csv([row(1, corpus=name)])


def test_merge_keeps_the_first_of_a_key_and_all_keys() -> None:
    first, second = [row(2), row(1)], [row(2, loss_sum=7.0), row(3), row(2, windows_hash="b" * 16)]
    merged = merge(first, second)
    assert [(r.position, r.windows_hash[0], r.loss_sum) for r in merged] == [
        (1, "a", 100.0),
        (2, "a", 100.0),
        (2, "b", 100.0),
        (3, "a", 100.0),
    ]
    assert merge() == []


def test_loss_and_bits_per_byte() -> None:
    measured = row(1, loss_sum=8192 * 2.0)
    assert measured.loss == 2.0
    assert measured.bits_per_byte == pytest.approx(2.0 / math.log(2) * 8192 / 30_000, rel=1e-15)
    assert measured.key == (1, "a" * 16)


def test_final_loss_is_the_mean_of_the_last_three_positions() -> None:
    rows = [row(p, loss_sum=8192 * loss) for p, loss in ((30, 3.0), (10, 100.0), (40, 5.0), (20, 1.0))]
    rows += [row(50, corpus="python", windows_hash="c" * 16, loss_sum=8192 * 50.0)]
    assert final_loss(rows, "docs") == pytest.approx(3.0)
    assert final_loss(rows[:1], "docs") == pytest.approx(3.0)
    assert final_loss([*rows, *rows], "docs") == pytest.approx(3.0)  # a row given twice counts once


def test_final_loss_refuses_to_mix_windows_or_to_invent() -> None:
    rows = [row(1), row(2, windows_hash="b" * 16, loss_sum=8192 * 4.0)]
    with pytest.raises(InputError, match="corpus=docs"):
        final_loss(rows, "docs")
    assert final_loss(rows, "docs", "b" * 16) == 4.0
    with pytest.raises(InputError, match="corpus=cpp"):
        final_loss(rows, "cpp")


def test_the_hash_names_the_windows_and_nothing_else() -> None:
    measure = Measure("docs", key="k" * 32, windows=64, seq_len=128)
    assert len(measure.hash) == 16
    assert set(measure.hash) <= set("0123456789abcdef")
    assert dataclasses.replace(measure, corpus="renamed").hash == measure.hash
    another = dataclasses.replace(measure, key="l" * 32)
    more, longer = dataclasses.replace(measure, windows=65), dataclasses.replace(measure, seq_len=256)
    assert len({measure.hash, another.hash, more.hash, longer.hash}) == 4


def test_measured_windows_are_evenly_spaced() -> None:
    measure = Measure("docs", "k", windows=4, seq_len=128)
    assert measure.indices(4) == [0, 1, 2, 3]
    assert measure.indices(100) == [12, 37, 62, 87]
    assert measure.indices(7) == [math.floor((i + 0.5) * 7 / 4) for i in range(4)]
    with pytest.raises(InputError, match=r"evaluate\.windows=4"):
        measure.indices(3)
