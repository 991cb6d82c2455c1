"""Reading one field of a composed config: numbers within limits, whole numbers, choices; else one InputError.

A field is a dotted path (`base.peak`); the same path appears in the message.
"""

from __future__ import annotations

import math
from typing import Any

from harness.config.limits import check_most
from harness.core import units
from harness.core.errors import InputError

Config = dict[str, Any]


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
