"""What a user assigns on the command line: `--map NAME=EXPRESSION,...`, `--fix NAME=NUMBER,...` and their like.

parse_map("N=params,D=C/(6*N)")            # {"N": "params", "D": "C/(6*N)"}
parse_numbers("`web pages`=1e9", "available")
"""

from __future__ import annotations

import math

from analysis.formulas import grammar
from harness.core.errors import InputError


def parse_map(text: str) -> dict[str, str]:
    """`N=params,D=C/(6*N)` as {name: expression}; a name that is no word stands in backticks. InputError."""
    remedy = "write NAME=COLUMN, NAME=NUMBER or NAME=EXPRESSION, with commas between them"
    if len(text) > 10 * grammar.LONGEST:
        raise InputError("--map", text, f"it has {len(text):,} characters", remedy)
    columns: dict[str, str] = {}
    for part in _parts(text):
        quoted, (name, expression) = part.startswith("`"), pair_of(part)
        if not (name and expression and (quoted or name.isidentifier())):
            also = "; what is no word stands in backticks" if name and expression else ""
            raise InputError("--map", text, f"{part!r} is not NAME=EXPRESSION", remedy + also)
        if name in columns:
            raise InputError("--map", text, f"{name} is given twice", "give it once")
        columns[name] = expression
    return columns


def parse_numbers(text: str, field: str) -> dict[str, float]:
    """`A=0,alpha=0.3` as {name: number}; none if the text is empty. Raises InputError, naming the option `field`."""
    found: dict[str, float] = {}
    for part in _parts(text) if text else ():
        name, number = pair_of(part)
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name or math.isnan(value):
            why = f"{part[:60]!r} is not NAME=NUMBER"
            raise InputError(field, text, why, f"write --{field} NAME=NUMBER,NAME=NUMBER")
        if name in found:
            raise InputError(field, text, "a name is given twice", "give it once")
        found[name] = value
    return found


def pair_of(text: str) -> tuple[str, str]:
    """`NAME=VALUE` in two; a name that holds = or a comma stands in backticks. The value is empty if there is none."""
    if text.startswith("`"):
        name, _, rest = text[1:].partition("`")
        before, _, value = rest.partition("=")
        return ("" if before.strip() else name), value.strip()
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _parts(text: str) -> list[str]:
    """A text at its commas; those inside parentheses, texts and backticks separate nothing."""
    parts, depth, closing = [""], 0, ""
    for character in text:
        if closing:
            closing = "" if character == closing else closing
        elif character in "'\"`":
            closing = character
        else:
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        if character == "," and depth == 0 and not closing:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
