"""Enumerate the points of a sweep: `grids:` is a list of products whose union is the sweep.

Level 1. Hydra composes once per set of group choices (the caller passes `compose`); the other knobs are set on copies,
which takes milliseconds for hundreds of points. Analysis uses the same function to know a sweep's members.
"""

from __future__ import annotations

import copy
import difflib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.fields import Config
from harness.shipped import CONF

Compose = Callable[[tuple[str, ...]], Config]  # group overrides, e.g. ("schedule=wsd",) -> composed config


@dataclass(frozen=True)
class Point:
    """One point of a sweep: its composed config, and the choices that tell it from the others."""

    label: str
    config: Config


def groups(conf: Path = CONF) -> set[str]:
    """The choices that Hydra composes: the folders of conf/."""
    return {folder.name for folder in conf.iterdir() if folder.is_dir()}


def expand(compose: Compose, config: Config, overridden: Iterable[str] = ()) -> list[Point]:
    """All points of a composed config, in the order of its grids; `overridden` are knobs the command line set.

    Raises InputError for an unknown knob, a grid that is not a product of lists, and a knob both swept and overridden.
    """
    grids = config["grids"]
    if not grids:
        return [Point("", config)]
    if not isinstance(grids, list):
        raise InputError("grids", grids, "not a list of products", "give a list like [{warmup: [0, 0.01]}]")
    known_groups, fixed = groups(), set(overridden)
    composed: dict[tuple[str, ...], Config] = {}
    points = []
    for product in grids:
        for choices in _products(product):
            clash = fixed & set(choices)
            if clash:
                knob = sorted(clash)[0]
                raise InputError(knob, choices[knob], "this sweep file sweeps it", "leave it out, or edit grids")
            chosen = tuple(f"{k}={_plain(v)}" for k, v in choices.items() if k in known_groups)
            if chosen not in composed:
                composed[chosen] = compose(chosen)
            point = copy.deepcopy(composed[chosen])
            for knob, value in choices.items():
                if knob not in known_groups:
                    assign(point, knob, value)
            points.append(Point(" ".join(f"{k}={_plain(v)}" for k, v in choices.items()), point))
    return points


def assign(config: Config, field: str, value: Any) -> None:
    """Set a dotted field that exists; an unknown one is refused with the nearest known one."""
    *parents, last = field.split(".")
    target: Any = config
    for key in parents:
        target = target.get(key) if isinstance(target, dict) else None
    if not isinstance(target, dict) or last not in target:
        raise unknown_key(field, value, config)
    target[last] = value


def unknown_key(field: str, value: object, config: Config) -> InputError:
    """The refusal of a key that does not exist, with the nearest that does."""
    if field in fields(config):
        group = field.split(".")[0]
        return InputError(field, value, f"not a key of the {group} that was chosen", f"see conf/{group}")
    known = [*fields(config), *groups()]
    near = difflib.get_close_matches(field.split(".")[-1], known, n=1, cutoff=0.7)
    near = near or difflib.get_close_matches(field, known, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else "`python -m harness --cfg job` shows all keys"
    return InputError(field, value, "unknown key", remedy)


def fields(config: Config, prefix: str = "") -> list[str]:
    """All dotted fields of a config."""
    found = []
    for key, value in config.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += fields(value, f"{prefix}{key}.")
    return found


def _products(product: Any) -> Iterable[dict[str, Any]]:
    if not isinstance(product, dict):
        raise InputError("grids", product, "not a mapping of lists", "give knobs and lists of values")
    values: list[Sequence[Any]] = [v if isinstance(v, list) else [v] for v in product.values()]
    if not product or not all(values):
        raise InputError("grids", product, "a product of nothing", "give each knob at least one value")
    for combination in itertools.product(*values):
        yield dict(zip(product, combination, strict=True))


def _plain(value: Any) -> str:
    return "null" if value is None else str(value)
