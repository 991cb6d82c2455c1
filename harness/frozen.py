"""What a queued job needs, frozen as files named by their content: the code it runs, and dataclasses as JSON.

Level 3, without torch. A job may start hours after it was submitted: what is edited meanwhile must not reach it, and
nothing is unpickled.

    code = freeze_code(root / "jobs")                # jobs/code-<sha12>/ with harness/ and its conf/, for PYTHONPATH
    text = json.dumps(plain(task)); task = thaw(Task, json.loads(text))
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import types
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from harness import files as disk
from harness.shipped import CODE, CONF

T = TypeVar("T")


def freeze_code(folder: Path) -> Path:
    """A copy of harness/ with its conf/ below `folder`, made unless it is there: what runs now, whatever is edited."""
    parts = {"harness": (CODE, "*.py"), "harness/conf": (CONF, "*.yaml")}  # conf/ is a link in a checkout
    contents = {
        f"{name}/{path.relative_to(part).as_posix()}": path.read_bytes()
        for name, (part, pattern) in parts.items()
        for path in sorted(part.rglob(pattern))
    }
    hashed = hashlib.sha256(b"".join(name.encode() + b"\0" + content + b"\0" for name, content in contents.items()))
    return freeze(folder, f"code-{hashed.hexdigest()[:12]}", contents)


def freeze(folder: Path, name: str, contents: Mapping[str, bytes]) -> Path:
    """The folder `folder`/`name` with these files, made whole or not at all; one that is there is left as it is."""
    target, temporary = folder / name, folder / disk.temporary_name()
    folder.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        return target
    try:
        for path, content in contents.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            (temporary / path).write_bytes(content)
        os.rename(temporary, target)
    except OSError:
        if not target.is_dir():  # else another process has just made it
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


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


def thaw(kind: type[T], value: Any) -> T:
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
        one = _reader(parts[0])
        return lambda value: origin(one(item) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        one = _reader(parts[1])
        return lambda value: {key: one(item) for key, item in value.items()}
    return Path if kind is Path else lambda value: value
