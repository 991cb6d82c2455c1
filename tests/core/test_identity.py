"""Equal things have one key, different things two, and a key never changes by accident."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.core.identity import canonical, canonical_json, digest, rounded


@dataclass(frozen=True)
class Inner:
    lr: float
    decay: float = 0.1


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    parts: tuple[Inner, ...] = ()
    options: dict[str, float] = field(default_factory=lambda: {"beta": 0.9})
    note: str | None = None
    place: str = field(default="", metadata={"address": False})


@dataclass(frozen=True)
class Same:
    lr: float
    decay: float = 0.1


def test_rounded_keeps_nine_significant_digits() -> None:
    assert rounded(0.1234567894999) == 0.123456789
    assert rounded(3e-4 / 1324) == 2.26586103e-07
    assert rounded(-1234567891.0) == -1234567890.0
    assert rounded(0.1 + 0.2) == 0.3
    for x in np.random.default_rng(0).lognormal(0, 10, 200):
        assert rounded(rounded(x)) == rounded(x)
        assert rounded(x) == pytest.approx(x, rel=5.1e-9)


def test_canonical_form_of_a_dataclass_is_its_kind_and_what_differs_from_the_defaults() -> None:
    value = Outer("a", Inner(1e-3, 0.2), parts=(Inner(2.0),), place="/somewhere")
    assert canonical(value) == {
        "kind": "Outer",
        "name": "a",
        "inner": {"kind": "Inner", "lr": 0.001, "decay": 0.2},
        "parts": [{"kind": "Inner", "lr": 2}],
    }


def test_json_is_compact_sorted_and_ascii() -> None:
    assert canonical_json({"b": [1, 2.5, None, True], "a": "é"}) == '{"a":"\\u00e9","b":[1,2.5,null,true]}'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0.0, -0.0),
        (0.3, 0.1 + 0.2),
        (1e-3, float("0.001")),
        (1e-3, np.float64(1e-3)),
        ((1, 2), [1.0, 2.0]),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1.0}),
        ({"a": 1, "b": 2}, OrderedDict(b=2, a=1)),
        (Inner(1e-3), Inner(0.001, decay=0.1)),
        (Inner(1e-3), Inner(0.001, decay=0.1 + 1e-13)),
        (Inner(1), Inner(1.0)),
        (Outer("a", Inner(1)), Outer("a", Inner(1), options={"beta": 0.9}, note=None)),
        (Outer("a", Inner(1), place="here"), Outer("a", Inner(1), place="there")),
    ],
)
def test_equal_things_have_one_digest(one: object, other: object) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, "1"),
        (None, "null"),
        (0.123456789, 0.123456788),
        ([1, 2], [2, 1]),
        ([[1], 2], [1, [2]]),
        (Inner(1), Inner(2)),
        (Inner(1), Inner(1, decay=0.0)),
        (Inner(1), Same(1)),
        (Outer("a", Inner(1)), Outer("a", Inner(1), note="")),
    ],
)
def test_different_things_have_different_digests(one: object, other: object) -> None:
    assert digest(one) != digest(other)


def test_digest_keeps_its_values_apart() -> None:
    keys = {digest("a", "b"), digest("ab"), digest(["a", "b"]), digest("b", "a"), digest(), digest("a", None, "b")}
    assert len(keys) == 6
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)


def test_golden_digests() -> None:
    """These addresses name folders on people's disks."""
    assert digest() == "4f53cda18c2baa0c0354bb5f9a3ecbe5"  # sha256 of the two characters []
    assert digest("base", 1, 2.5, None) == "ab5fca651b435ff77e1beca82526ba10"
    assert digest(Outer("a", Inner(3e-4), parts=(Inner(1.0), Inner(2.0, 0.0)))) == "5a9a2b8d16d7a6be3ab57b04b951fdda"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_by_name(bad: float) -> None:
    with pytest.raises(InputError, match=r"lr="):
        digest(Outer("a", Inner(bad)))
    with pytest.raises(InputError, match=r"beta="):
        canonical({"beta": bad})


@pytest.mark.parametrize("bad", [{1, 2}, Path("x"), object(), {1: 2}, b"x", Inner, np.arange(2)])
def test_what_has_no_canonical_form_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        canonical(bad)


def test_programs_that_differ_in_one_small_number_are_apart() -> None:
    programs = [Outer("a", Inner(i * 1e-7), parts=tuple(Inner(j, 0) for j in range(5))) for i in range(1000)]
    assert len({digest(program) for program in programs}) == 1000
