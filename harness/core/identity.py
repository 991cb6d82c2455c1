"""What makes two things the same: one canonical form for values, and its digest.

Every address in a store (states, runs, corpora) is a `digest` of frozen dataclasses. Ten thousand programs are digested
for one plan, so what depends on a class only (its fields and their defaults) is worked out once per class.

    digest(Phase(...), root)      -> "5f0c..." (32 hex characters)
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeAlias

from harness.core.errors import InputError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

RUN_NAME = re.compile(r"[^\W.-][\w.=+,-]{0,199}")
"""What a run may be called: it becomes the name of a folder."""

_NO_DEFAULT = object()
_fields_of: dict[type, tuple[tuple[str, object], ...]] = {}  # class -> (field, canonical default) ...
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def rounded(x: float) -> float:
    """x at 9 significant digits: what a float is in an address, and the value that trains."""
    return float(f"{x:.9g}")


def canonical(value: object) -> Json:
    """The JSON form of a value in which equal things are written alike.

    A dataclass becomes {"kind": class name, field: ...} without the fields that equal their declared default, so that
    a field added later with a neutral default changes no address, and without fields of metadata {"address": False}.
    Floats are `rounded`, integral ones become ints (1 and 1.0 are one key). Raises InputError for NaN and infinity,
    TypeError for what has no canonical form (sets, paths, tensors ...).
    """
    return _canonical(value, "value")


def canonical_json(value: object) -> str:
    """`canonical` as compact ASCII JSON with sorted keys."""
    return _encode(_canonical(value, "value"))


def digest(*values: object) -> str:
    """32 hex characters of the sha256 over the canonical JSON of the list of values."""
    text = _encode([_canonical(value, "value") for value in values])
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def _canonical(value: Any, where: str) -> Json:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value  # type: ignore[no-any-return]
    if kind is float:
        return _number(value, where)
    if kind is tuple or kind is list:
        return [_canonical(item, where) for item in value]
    known = _fields_of.get(kind)
    if known is None:
        if not is_dataclass(kind):
            return _unusual(value, where)
        known = _fields_of[kind] = _describe(kind)
    form: dict[str, Json] = {"kind": kind.__name__}
    for name, default in known:
        item = _canonical(getattr(value, name), name)
        if default is _NO_DEFAULT or item != default:
            form[name] = item
    return form


def _number(value: float, where: str) -> int | float:
    if not math.isfinite(value):
        raise InputError(where, value, "is not a finite number, so nothing can be addressed by it", "give a number")
    short = rounded(value)
    return int(short) if short.is_integer() else short


def _unusual(value: object, where: str) -> Json:
    """Mappings, and subclasses of the plain types (a numpy float64, an enum of strings)."""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"{where}: a mapping with keys other than strings has no canonical form")
        return {str(key): _canonical(value[key], key) for key in sorted(value)}
    if isinstance(value, (tuple, list)):
        return [_canonical(item, where) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _number(float(value), where)
    raise TypeError(f"{where}: a {type(value).__name__} has no canonical form")


def _describe(kind: type) -> tuple[tuple[str, object], ...]:
    addressed = [field for field in fields(kind) if field.metadata.get("address", True)]
    assert all(field.name != "kind" for field in addressed), f"{kind.__name__}: the name `kind` is taken by the class"
    return tuple((field.name, _default(field)) for field in addressed)


def _default(field: Field[Any]) -> object:
    if field.default is not MISSING:
        return _canonical(field.default, field.name)
    if field.default_factory is not MISSING:
        return _canonical(field.default_factory(), field.name)
    return _NO_DEFAULT
