"""Enumerate the points of a sweep: what the command line sweeps, times `grids:`, a list of products to be united.

Hydra composes once per set of group choices (the caller passes `compose`); the other knobs are set on copies, which
takes milliseconds for hundreds of points. Nothing is enumerated before it was counted. Analysis uses the same function
to know a sweep's members.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from harness.compose import keys
from harness.compose.corpora import take_out, with_corpora
from harness.compose.overrides import MOST_LEVELS, Knob
from harness.config.fields import Config, whole
from harness.core.errors import InputError

Choices: TypeAlias = dict[str, Any]  # knob -> value


@dataclass(frozen=True)
class Composed:
    """What Hydra made of a set of group choices, before any knob is set; `${...}` stands where it stood."""

    config: Config
    chosen: Mapping[str, str]


Compose: TypeAlias = Callable[[tuple[tuple[str, str], ...]], Composed]


@dataclass(frozen=True)
class GridPoint:
    """One point of a sweep: its composed config, the choices that were swept, and those that tell it from others."""

    label: str
    config: Config
    choices: Choices


def expand(
    knobs: Sequence[Knob], compose: Compose, groups: Iterable[str], folder: Path | None = None
) -> list[GridPoint]:
    """All points, the first knob of the command line outermost, then the grids in their order; `folder` may hold
    corpora of the user's own.

    Raises InputError for an unknown knob, a grid that is not a product of lists, a knob both swept and given, and more
    points than `max_points`.
    """
    known_groups = set(groups)

    def config_of(choices: Choices, *, a_point: bool = True) -> Config:
        chosen = tuple((k, str(v)) for k, v in choices.items() if k in known_groups and not isinstance(v, dict))
        composed = compose(chosen)
        config = copy.deepcopy(composed.config)
        for knob, value in choices.items():
            if knob not in known_groups or isinstance(value, dict):
                _refuse_nested(knob, value)
                assign(config, knob, value)
        _tell_base_peak(config)
        config = _resolved(config)
        given = take_out(config)
        if a_point or not {"grids", "max_points"} <= config.keys():
            keys.check(config, composed.chosen)
            _refuse_overridden(config, choices)
        return with_corpora(config, given, folder) if a_point else config

    first = config_of({knob.key: next(iter(knob.values())) for knob in knobs}, a_point=False)
    given_keys = {knob.key for knob in knobs}
    most, combinations = whole(first, "max_points", 1), math.prod(knob.count for knob in knobs)
    _refuse_many(combinations * _size(grids_of(first, given_keys)), most)
    swept = [knob.key for knob in knobs if knob.count > 1]
    varied = bool(swept) and (
        bool(grids_of(first, given_keys)) or any(key in known_groups or key in ("grids", "grids_at") for key in swept)
    )
    points: list[GridPoint] = []
    for values in itertools.product(*(knob.values() for knob in knobs)):
        given = dict(zip((knob.key for knob in knobs), values, strict=True))
        own = {key: given[key] for key in swept}
        grids = grids_of(config_of(given, a_point=False) if varied else first, given_keys)
        _refuse_many(len(points) + _size(grids), most)
        for choices in (choices for product in grids for choices in _products(product)) if grids else [{}]:
            _refuse_clash(given, choices, known_groups)
            points.append(GridPoint("", config_of({**given, **choices}), {**own, **choices}))
    return points


def grids_of(config: Config, given: Iterable[str]) -> Any:
    """The grids of a sweep at its scale, unless `grids` was `given`."""
    at = config.get("grids_at") or {}
    if not isinstance(at, dict):
        raise InputError("grids_at", at, "not a mapping of scales", "give {paper: [{warmup: [0, 0.01]}]}")
    scale = config["scale"].get("name") if isinstance(config.get("scale"), dict) else None
    return config["grids"] if "grids" in given or scale not in at else at[scale]


def labelled(points: Sequence[GridPoint]) -> list[GridPoint]:
    """The points with labels: the choices by which they differ; where that tells some not apart, which sweep, or which
    point of the call it is."""
    if not points:
        return []
    first = points[0].choices
    same = {k for k in first if all(k in p.choices and str(p.choices[k]) == str(first[k]) for p in points)} | {SWEEP}
    labels = [_text({k: v for k, v in p.choices.items() if k not in same}) for p in points]
    twice = Counter(labels)
    for number, point in enumerate(points):
        if twice[labels[number]] > 1 and SWEEP in point.choices:
            labels[number] = _text(point.choices)
    twice = Counter(labels)
    for number, label in enumerate(labels):
        if twice[label] > 1:
            labels[number] = f"{label or _text(points[number].choices)} (point {number + 1})".lstrip()
    return [replace(point, label=label) for point, label in zip(points, labels, strict=True)]


SCALES_PEAK = "${scale.peak}"  # what scales say of base.peak: nobody gave another one
SWEEP = "sweep"  # the choice of a sweep file, where a call names several


def assign(config: Config, field: str, value: Any) -> None:
    """Set a dotted field; the keys of a mapping are set one by one. `keys.check` finds what should not be there."""
    *parents, last = field.split(".")
    target: Any = config
    for key in parents:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    if isinstance(value, dict) and isinstance(target.get(last), dict):
        for key, inner in value.items():
            assign(target[last], str(key), inner)
    else:
        target[last] = copy.deepcopy(value)


def _resolved(config: Config) -> Config:
    """With the values that `${...}` names; most configs have none, and OmegaConf takes milliseconds."""
    if not _interpolated(config):
        return config
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except (OmegaConfBaseException, RecursionError) as error:
        field = str(getattr(error, "full_key", None) or "arguments")
        why = (
            "keys that name each other in a circle" if isinstance(error, RecursionError) else str(error).split("\n")[0]
        )
        raise InputError(field, "${...}", why, "name a key that exists, or escape it: \\${") from None
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _interpolated(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_interpolated(item) for item in value.values())
    if isinstance(value, list):
        return any(_interpolated(item) for item in value)
    return isinstance(value, str) and "${" in value


def _refuse_nested(knob: str, value: Any) -> None:
    levels, inside = knob.count("."), [value]
    while inside and levels <= MOST_LEVELS:
        levels += 1
        inner = [one.values() if isinstance(one, dict) else one for one in inside if isinstance(one, dict | list)]
        inside = [item for items in inner for item in items]
    if levels > MOST_LEVELS:
        raise InputError(knob, "[...", f"nested more than {MOST_LEVELS} levels deep", "`--keys` lists what each holds")


def _refuse_many(count: int, most: int) -> None:
    if count > most:
        raise InputError("max_points", f"{most:,}", f"{count:,} points are asked for", "ask for fewer, or raise it")


def _size(grids: Any) -> int:
    """How many points, without making one."""
    if not isinstance(grids, list):
        raise InputError("grids", grids, "not a list of products", "give a list like [{warmup: [0, 0.01]}]")
    return sum(math.prod(len(values) for values in _lists(product).values()) for product in grids) or 1


def _lists(product: Any) -> dict[str, list[Any]]:
    if not isinstance(product, dict):
        raise InputError("grids", product, "not a mapping of lists", "give knobs and lists of values")
    lists = {str(knob): value if isinstance(value, list) else [value] for knob, value in product.items()}
    if not lists or not all(lists.values()):
        raise InputError("grids", product, "a product of nothing", "give each knob at least one value")
    return lists


def _products(product: Any) -> Iterator[Choices]:
    lists = _lists(product)
    for combination in itertools.product(*lists.values()):
        yield dict(zip(lists, combination, strict=True))


def _refuse_clash(given: Choices, swept: Choices, groups: set[str]) -> None:
    """A knob that the file sweeps cannot be given as well, nor a mapping that holds it, nor a key of such a mapping."""
    for knob, value in swept.items():
        for other in given:
            inside = other.startswith(f"{knob}.") and knob not in groups
            around = knob.startswith(f"{other}.") and (other not in groups or isinstance(given[other], dict))
            if knob == other or inside or around:
                why = f"this sweep file sweeps it ({knob}={value})"
                raise InputError(other, given[other], why, "leave it out, or edit grids")


def _refuse_overridden(config: Config, choices: Choices) -> None:
    """A rate of the base that was given by hand, where the start brings the one that its base was trained at."""
    if config["start"].get("kind") != "pythia":
        return
    for knob, value in choices.items():
        inside = {f"{knob}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {knob: value}
        for key, instead in (("base.peak", "lr="), ("base.min_ratio", "min_ratio=")):
            if key in inside:
                why = "a published Pythia brings its own: model.peak, and a floor of model.floor of it"
                raise InputError(key, inside[key], why, f"leave it out; {instead} is that of the run")


def _tell_base_peak(config: Config) -> None:
    """Where nobody gave it, the peak of the base is that of the scale's own, and that of a checkpoint is not known."""
    base, start, scale = (config.get(name) for name in ("base", "start", "scale"))
    if isinstance(base, dict) and base.get("peak") == SCALES_PEAK and isinstance(start, dict):
        base["peak"] = None if start.get("kind") == "hf" else scale.get("peak") if isinstance(scale, dict) else None


def _text(choices: Choices) -> str:
    return " ".join(f"{key}={'null' if value is None else value}" for key, value in choices.items())
