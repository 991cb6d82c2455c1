"""Dataclasses as JSON has them, and back: work of queued jobs, programs of recorded runs. Nothing is unpickled.

text = json.dumps(plain(task))
task = read_back(Task, json.loads(text))
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def plain(value: Any) -> Any:
    """Dataclasses, tuples, sets and mappings as JSON has them; floats keep every bit."""
    if is_dataclass(value):
        return {"kind": type(value).__name__, **{f.name: plain(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def read_back(kind: type[T], value: Any) -> T:
    """The dataclass that `plain` or `identity.canonical` wrote, a field that is missing at its default.

    TypeError, KeyError or ValueError if it was another one, or has fields that this version does not know.
    """
    return cast(T, _reader(cast(Hashable, kind))(value))


@functools.cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """The function that makes a value of a type, as a field declares it, from its JSON."""
    origin, parts = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        readers = {f.name: _reader(hints[f.name]) for f in fields(kind)}
        return lambda value: kind(**{name: readers[name](item) for name, item in value.items() if name != "kind"})
    if isinstance(kind, types.UnionType):
        choices = {part.__name__: _reader(part) for part in parts if isinstance(part, type) and is_dataclass(part)}
        return lambda value: choices[value["kind"]](value) if choices and value is not None else value
    if origin is tuple and parts[-1] is not Ellipsis:
        each = [_reader(part) for part in parts]
        return lambda value: tuple(reader(item) for reader, item in zip(each, value, strict=True))
    if origin in (tuple, frozenset):
        convert = _reader(parts[0])
        return lambda value: origin(convert(item) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        convert = _reader(parts[1])
        return lambda value: {key: convert(item) for key, item in value.items()}
    return Path if kind is Path else lambda value: value
