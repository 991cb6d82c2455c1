"""Amounts as people read and write them."""

from __future__ import annotations

import pytest

from harness.core.units import clock, count, duration, parse, size


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.7, "1k"),
        (1000, "1k"),
        (3_420_000, "3.42M"),
        (999_999, "1M"),
        (2e10, "20B"),
        (1.5e12, "1.5T"),
        (1e15, "1000T"),
        (-2_500, "-2.5k"),
    ],
)
def test_counts(number: float, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("20B", 2e10),
        ("0.6M", 6e5),
        ("300k", 3e5),
        ("1.5T", 1.5e12),
        ("7b", 7e9),
        (" 3.42 M ", 3.42e6),
        (".5k", 500),
        ("4e5", 4e5),
        ("1_000", 1000),
        ("2e1k", 2e4),
        ("12", 12),
    ],
)
def test_written_amounts_are_read(text: str, number: float) -> None:
    assert parse(text) == number


@pytest.mark.parametrize("text", ["", "B", "20G", "1x", "1kk", "k1", "20 B B", "1..2M", "_1M"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="float"):
        parse(text)


@pytest.mark.parametrize("number", [1, 999, 1_000, 12_300, 999_499, 3.42e6, 2e10, 1.5e12, 9.99e14])
def test_what_is_written_is_read_back(number: float) -> None:
    assert parse(count(number)) == pytest.approx(number, rel=0.005)


def test_bytes_and_times() -> None:
    assert [size(n) for n in (500, 17.4e6, 999_999_999, 2.5e12)] == ["0.5 kB", "17.4 MB", "1 GB", "2.5 TB"]
    assert [duration(s) for s in (0, 90, 5400, 7140, 7200, 3600 * 1e5)] == [
        "0.1 minutes",
        "1.5 minutes",
        "90 minutes",
        "119 minutes",
        "2 hours",
        "100000 hours",
    ]
    assert [clock(s) for s in (59.6, 3661)] == ["1:00", "1:01:01"]
