"""Amounts as people read and write them: tokens and parameters, bytes, times. What `count` writes, `parse` reads.

count(3_420_000)         -> "3.42M"            parse("0.6M")  -> 600000.0
size(17.4e6)             -> "17.4 MB"          duration(5400) -> "90 minutes"       clock(3661) -> "1:01:01"
percent(0.0125)          -> "1.250%"             decimal(1.5, 2) -> "1.50"
"""

from __future__ import annotations

import re

UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_WRITTEN = re.compile(
    r"\s*(?P<number>[-+]?[0-9][0-9_]*\.?[0-9_]*(?:e[-+]?[0-9]+)?|\.[0-9]+)\s*(?P<unit>[kmbt])\s*", re.I
)


def unit_of(number: float) -> tuple[float, str]:
    """The unit in which to write a number: (1e6, "M"); (1, "") below a thousand."""
    return next(((unit, name) for unit, name in UNITS if abs(number) >= 0.9995 * unit), (1.0, ""))


def count(number: float) -> str:
    """Three digits and a unit: 3.42M, 20B, 999."""
    unit, name = unit_of(number)
    return f"{_short(number / unit)}{name}"


def parse(text: str) -> float:
    """The number that a text writes: 0.6M, 300k, 20B, 1.5T, or one without a unit. ValueError for anything else."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        return float(text)
    unit = next(unit for unit, name in UNITS if name.lower() == written["unit"].lower())
    return float(f"{float(written['number']) * unit:.15g}")  # 0.6M is 600000, not 600000.0000000001


def size(number: float) -> str:
    """Bytes: 17.4 MB."""
    unit, name = next(
        ((u, n) for u, n in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if number >= 0.9995 * u), (1e3, "kB")
    )
    return f"{_short(number / unit)} {name}"


def duration(seconds: float) -> str:
    """About how long, for a plan: 0.1 minutes at least, minutes below two hours, hours."""
    minutes, hours = max(seconds / 60, 0.1), seconds / 3600
    if hours >= 2:
        return f"{_short(hours)} hours"
    return f"{minutes:.2g} minutes" if minutes < 9.5 else f"{minutes:.0f} minutes"


def clock(seconds: float) -> str:
    """h:mm:ss or m:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def percent(share: float, digits: int = 3) -> str:
    """A share as 1.250%; from ten times on as 2.79e+299 times, which no one would read with all its digits."""
    return f"{share:.{digits}%}" if abs(share) < 10 else f"{share:.3g} times"


def decimal(number: float, digits: int) -> str:
    """So many digits behind the point; of a large number three in all."""
    return f"{number:.{digits}f}" if abs(number) < 1e4 else f"{number:.3g}"


def _short(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 999.5 or number >= 1e9 else f"{number:.0f}"
