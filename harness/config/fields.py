"""Reading one field of a composed config: numbers within limits, whole numbers, choices; else one InputError.

A field is a dotted path (`base.peak`); the same path appears in the message. A corpus is named, or a path or a URL:

    reference("downstream", "german")                           # Reference("german")
    reference("downstream", "./law", "downstream")              # Reference("downstream", path="./law")
    reference("upstream", "law=hf://datasets/a/b/*.parquet")    # Reference("law", url="hf://...")
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.config.limits import check_most
from harness.core import units
from harness.core.errors import InputError

Config = dict[str, Any]
SETS = "evaluate.sets"
_NAMED = re.compile(r"([A-Za-z0-9][\w.-]*)=(.+)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Reference:
    """One corpus as it is asked for."""

    name: str
    """What the run calls it."""
    path: str = ""
    """Texts of the user's, here."""
    url: str = ""
    """Files that fsspec lists and opens."""

    @property
    def place(self) -> str:
        """Path or URL; empty for a name alone."""
        return self.path or self.url

    @property
    def written(self) -> str:
        """As it is given where it needs a name."""
        return f"{self.name}={self.place}" if self.place else self.name


def get(config: Config, field: str) -> Any:
    """The value at a dotted field."""
    value: Any = config
    for key in field.split("."):
        value = value[key]
    return value


def number(
    config: Config,
    field: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> float:
    return as_number(field, get(config, field), above=above, at_least=at_least, at_most=at_most)


def as_number(
    field: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    shown: Any = None,
    amount: bool = False,
) -> float:
    """A finite number within limits, or InputError. An `amount` (of tokens, parameters) may have a unit: 0.6M, 20B."""
    shown = value if shown is None else shown
    try:
        if isinstance(value, bool) or value is None:
            raise ValueError
        parsed = units.parse(value) if amount and isinstance(value, str) else float(value)
    except OverflowError:  # a whole number of more than 308 digits
        parsed = math.inf
    except (TypeError, ValueError):
        raise InputError(
            field, shown, "not a number", "give a number" + (", such as 600000 or 0.6M" if amount else "")
        ) from None
    if not math.isfinite(parsed):
        raise InputError(field, shown, "not a finite number", "give a finite number")
    if above is not None and not parsed > above:
        raise InputError(field, shown, f"not above {above:g}", f"give a number above {above:g}")
    if at_least is not None and parsed < at_least:
        raise InputError(field, shown, f"below {at_least:g}", f"give at least {at_least:g}")
    if at_most is not None and parsed > at_most:
        raise InputError(field, shown, f"above {at_most:g}", f"give at most {at_most:g}")
    check_most(field, parsed, shown)
    return parsed


def whole(config: Config, field: str, least: int) -> int:
    value = number(config, field, at_least=least)
    if value != int(value):
        raise InputError(field, get(config, field), "not a whole number", "give a whole number")
    return int(value)


def optional_whole(config: Config, field: str, least: int) -> int | None:
    return None if get(config, field) is None else whole(config, field, least)


def flag(config: Config, field: str) -> bool:
    """True or false, or InputError (the text "no" would be true)."""
    value = get(config, field)
    if not isinstance(value, bool):
        raise InputError(field, value, "not true or false", f"give {field}=true or {field}=false")
    return value


def choice(config: Config, field: str, known: tuple[str, ...], why: str = "no such choice") -> str:
    value = get(config, field)
    if value not in known:
        raise InputError(field, value, why, f"choose one of: {', '.join(known)}")
    return str(value)


def listing(config: Config, field: str) -> list[Any]:
    """A list, or InputError (a string is no list of letters)."""
    value = get(config, field)
    if not isinstance(value, list):
        raise InputError(field, value, "not a list", f"give {field}=[...]")
    return value


def name_of(config: Config, field: str) -> str:
    """A name, which may look like a number, or InputError."""
    value = get(config, field)
    if not isinstance(value, str | int | float) or isinstance(value, bool) or not str(value):
        raise InputError(field, value, "not a name", f"give {field}=NAME")
    return str(value)


def text(config: Config, field: str) -> str:
    """A text, or InputError."""
    value = get(config, field)
    if not isinstance(value, str) or not value:
        raise InputError(field, value, "not a text", f"give {field}=TEXT")
    return value


def reference(field: str, value: object, unnamed: str = "") -> Reference:
    """What `value` of `field` asks for; `unnamed` is the name of a path or a URL that has none. Raises InputError."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    match = _NAMED.fullmatch(text) if "://" not in text.partition("=")[0] else None
    name, place = (match[1], match[2]) if match else (unnamed, text)
    is_url, is_path = "://" in place, "/" in place or place.startswith(("~", "."))
    if is_url or is_path:
        if not name:
            raise InputError(field, value, "it needs a name in tables", f"give {_with_a_name(place)}")
        return Reference(name, url=place) if is_url else Reference(name, path=place)
    if match:
        raise InputError(field, value, f"{place} is neither a path nor a URL", f"a path has a slash: {name}=./{place}")
    if not _NAME.fullmatch(text):
        raise InputError(field, value, "neither the name of a corpus, nor a path, nor a URL", "a path has a slash")
    return Reference(text)


def roles(config: Config) -> tuple[Reference, Reference]:
    """Upstream and downstream of a shift by names: the knobs in place of what the shift says."""
    found = []
    for role in ("upstream", "downstream"):
        field = role if config[role] is not None else f"shift.{role}"
        found.append(reference(field, config[role] if config[role] is not None else config["shift"][role], role))
    return found[0], found[1]


def measured_sets(config: Config) -> tuple[str, ...]:
    """The names of the corpora, and parts of corpora, that are only measured."""
    return tuple(one.name for one in _sets(config))


def further(config: Config) -> Iterator[tuple[str, Reference]]:
    """(field, corpus) of what is only measured, and of what the stages draw from."""
    for one in _sets(config):
        yield SETS, one
    for number, stage in enumerate(config["stages"] if isinstance(config["stages"], list) else []):
        mixture = stage.get("mixture") if isinstance(stage, dict) else None
        for name in mixture if isinstance(mixture, dict) else {}:
            if name not in ("upstream", "downstream"):
                yield f"stages[{number}].mixture", reference(f"stages[{number}].mixture", name)


def _sets(config: Config) -> list[Reference]:
    """What `evaluate.sets` asks for. InputError: the remedy is all of it as a shell takes it."""
    given = get(config, SETS)
    if isinstance(given, list):
        return [reference(SETS, value) for value in given]
    text = "" if given is None else str(given)
    if not text.startswith("["):
        text = f"[{_with_a_name(text) if '/' in text and '=' not in text else text}]"
    shown = "null" if given is None else given
    raise InputError(SETS, shown, "not a list", f"in a shell: {shlex.quote(f'{SETS}={text}')}")


def _with_a_name(place: str) -> str:
    """A path or a URL with the name that its last part suggests."""
    stem = place.rstrip("/").rpartition("/")[2].partition(".")[0]
    return f"{stem if _NAME.fullmatch(stem) else 'NAME'}={place}"
