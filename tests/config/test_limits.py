"""Every number that a user gives has an upper end with a reason, and nothing that is planned takes for ever."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest

from harness.cli import run_points
from harness.compose.compose import collect
from harness.compose.expand import assign
from harness.config.fields import POSITIONS, Config, get
from harness.config.launching import read_launch
from harness.config.run import read_run
from harness.core.errors import InputError
from tests.composed import run_of

# Keys without a number as their default that take one.
OPTIONAL = (
    "lr",
    "peak",
    "horizon",
    "warmup_tokens",
    "anneal_tokens",
    "init",
    "order",
    "tokens",
    "base.seed",
    "validation",
)
OPTIONAL_OF_CORPORA = ("corpus.sample", "corpus.vocab_size")
OPTIONAL_OF_LAUNCHES = ("workers", "ranks", "micro_batch", "ranks_per_node", "mem", "lead", "at_once")
ELSEWHERE = ("max_points", "corpus.longest_document")  # read before there are points, and with texts of one's own
SETTINGS = (
    "",
    "schedule=wsd",
    "schedule=infinite_inv_sqrt",
    "evaluate=dense",
    "scale=paper",
    "launch=slurm",
    "schedule=constant",
    "start=scratch",
)


def numbers(composed: Config) -> list[str]:
    """The fields of a config that take a number."""
    found = [name for name in _leaves(composed) if name not in ELSEWHERE and _is_number(get(composed, name))]
    optional = [*OPTIONAL, *OPTIONAL_OF_CORPORA, *(f"launch.{name}" for name in OPTIONAL_OF_LAUNCHES)]
    return found + [name for name in optional if name.rpartition(".")[2] in _parent(composed, name)]


def _leaves(composed: Config, prefix: str = "") -> list[str]:
    inner = {name: value for name, value in composed.items() if isinstance(value, dict)}
    own = [f"{prefix}{name}" for name in composed if name not in inner]
    inner.pop("where", None)  # fields of records, with dots of their own
    return own + [leaf for name, value in inner.items() for leaf in _leaves(value, f"{prefix}{name}.")]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parent(composed: Config, name: str) -> Config:
    parent: Config = get(composed, name.rpartition(".")[0]) if "." in name else composed
    return parent


def _check(composed: Config) -> None:
    read_run(composed)
    read_launch(composed)


@pytest.mark.parametrize("chosen", SETTINGS)
def test_every_number_has_an_upper_end(chosen: str) -> None:
    (point,) = collect(chosen.split())
    found = numbers(point.config)
    assert len(found) > 30
    for name, value in itertools.product(found, (1e40, 10**400)):
        changed = copy.deepcopy(point.config)
        assign(changed, name, value)
        with pytest.raises(InputError) as caught:
            _check(changed)
        assert caught.value.field == name


@pytest.mark.parametrize("field", ["evaluate.early", "optimizer.betas"])
def test_so_have_the_numbers_of_lists(field: str) -> None:
    with pytest.raises(InputError, match=f"{field}="):
        run_of(f"{field}=[0.5,1e40]")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("lr=1e24", "lr=1e+24: above 10: AdamW moves every weight"),
        ("peak=5000", "peak=5000.0: 5000 x base.peak=0.003 is above 10"),
        ("tokens=1e30", "tokens=1e+30: above 1e+15: no collection of texts"),
        ("tokens=1e10x", "tokens=1e10x: above 1e+15"),
        ("tokens=1e12", "evaluate.every=0.1x: losses would be measured at 16,666,"),
        ("tokens=1e15", "such as evaluate.every=10T"),
        ("base.tokens=1e15", "such as evaluate.base_every=10T"),
        ("model.layers=1e9", "model.layers=1000000000.0: above 1000"),
        ("evaluate.windows=1e9", "evaluate.windows=1000000000.0: above 1e+06"),
    ],
)
def test_what_would_never_end_is_refused(given: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        run_of(given)
    assert said in str(caught.value)


def test_the_remedy_works_as_it_is_given() -> None:
    assert run_of("tokens=1e15", "evaluate.every=10T").positions < POSITIONS


def test_all_points_together_have_an_end(tmp_path: Path) -> None:
    seeds = ",".join(map(str, range(20)))
    points = collect(["-m", f"seed={seeds}", "tokens=20e9", f"root={tmp_path}", "do=plan"])
    with pytest.raises(InputError, match=r"20 points are measured at 6,66\d,\d+ positions together"):
        run_points(points)
