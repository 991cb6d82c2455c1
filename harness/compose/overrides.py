"""A command line as it was typed: flags, and `key=value` in Hydra's grammar, as knobs with their values.

Hydra composes the groups that were chosen (`harness.compose.compose`); the values of knobs are set afterwards
(`harness.compose.expand`), so that a mistake is named by us, in one line that says what to type instead.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.errors import InputError

# Hydra's flags that show something, with the words that follow them.
_CFG, _INFO = ("job", "hydra", "all"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
SHOWING: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("-h", "--help", "--hydra-help", "--version", "--resolve", "-sc", "--shell-completion"), ()
)
SHOWING |= {"-c": _CFG, "--cfg": _CFG, "-i": _INFO, "--info": _INFO}
MOST_LEVELS = 32  # of mappings and lists inside each other, the dots of a key counted; conf/ has three
PLAIN = re.compile(r"[\w/.+|?*@%$:-]", re.ASCII)  # characters that stand for themselves in Hydra's grammar
# A corpus with a name of one's own, NAME=PATH, and a list of such: a second = has no place in the grammar.
NAMED = re.compile(r"(upstream|downstream|evaluate\.sets)=[A-Za-z0-9][\w.-]*=[^'\"]*")
LISTED = re.compile(r"evaluate\.sets=\[([^][{}'\"]+)\]")
HOME = re.compile(r"(?<![\w/.])~[\w/.+@%-]*")
OF_HYDRA = {
    "hydra.launcher": "use launch=local or launch=slurm",
    "hydra.sweeper": "use -m or grids",
    "hydra.searchpath": "put your own choices into the folder of -cd",
    "hydra.job.chdir": "go to the folder before you call",
}


@dataclass(frozen=True)
class Call:
    """The arguments of one call. `shows`: a flag of Hydra's asks it to show something, and for no run."""

    folder: str | None
    name: str | None
    multirun: bool
    shows: bool
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Knob:
    """One `key=value` with its `count` values, several where it is swept; a range is written out only by `values`."""

    key: str
    count: int
    values: Callable[[], Iterable[Any]]


def call_of(arguments: Sequence[str]) -> Call:
    """Flags and overrides in any order. `--key value` and `--key=value` are `key=value`."""
    given: dict[str, str | None] = {"-cd": None, "-cn": None}
    long = {"--config-dir": "-cd", "--config-name": "-cn", "--config-path": "-cp"}
    multirun = shows = False
    overrides, left = [], list(arguments)
    while left:
        argument = left.pop(0)
        flag, joined, value = argument.partition("=")
        flag = long.get(flag, flag)
        if flag in ("-m", "--multirun"):
            multirun = True
        elif flag in SHOWING:
            shows, words = True, SHOWING[flag]
            if joined or (left and left[0] in words):
                value = value if joined else left.pop(0)
            elif words and flag not in ("-i", "--info"):
                raise InputError(
                    "argument", flag, "nothing follows it that it knows", f"give one of {', '.join(words)}"
                )
            if value and words and value not in words:
                raise InputError(flag, value, "it knows no such word", f"give one of {', '.join(words)}")
        elif flag in ("-cd", "-cn", "-cp", "-p", "--package") or re.match("--[a-z]", flag):
            if flag == "--json" and not joined and (not left or left[0].lower() not in ("true", "false")):
                joined, value = "=", "true"
            if not joined and not left:
                raise InputError("argument", flag, "nothing follows it", f"give {flag} VALUE")
            value = value if joined else left.pop(0)
            if flag == "-cp":
                raise InputError("-cp", value, "conf/ is the program's own", "add a folder of yours: -cd FOLDER")
            if flag in ("-p", "--package"):
                continue  # of --cfg, for Hydra
            if flag in given:
                given[flag] = value
            else:
                overrides.append(f"{flag[2:]}={value}")
        elif argument.startswith("-"):
            raise InputError("argument", argument, "no such flag", "see `python -m harness --help`")
        else:
            overrides.append(argument)
    return Call(given["-cd"], given["-cn"], multirun, shows, tuple(overrides))


def knobs_of(overrides: Iterable[str], *, multirun: bool) -> list[Knob]:
    """Each override parsed; of several values for a key the last counts. Raises InputError for what is no override.

    Without `multirun` a knob has one value.
    """
    knobs: dict[str, Knob] = {}
    for text in overrides:
        knob = _knob(text)
        if knob.count != 1 and not multirun:
            literal = quoted(knob.key, text.partition("=")[2])
            why = f"{knob.count:,} values" if knob.count else "no value"
            raise InputError(knob.key, text.partition("=")[2], why, f"add -m to run each; as one text: {literal}")
        knobs.pop(knob.key, None)
        knobs[knob.key] = knob
    return list(knobs.values())


def quoted(key: str, value: str) -> str:
    """What to type in a shell so that a value reaches the program as it is."""
    from hydra.core.override_parser.types import Quote, QuotedString

    text = value.replace("${", "\\${")  # else OmegaConf would look for a key of that name
    return shlex.quote(f"{key}={QuotedString(text, Quote.double).with_quotes()}")


def hydras_own(key: str, value: object) -> InputError:
    """The refusal of a setting of Hydra's."""
    where = next((part for part in OF_HYDRA if key.replace("/", ".").startswith(part)), "")
    remedy = OF_HYDRA.get(where, "leave it out; results go to root=FOLDER")
    return InputError(key, value, "the program sets Hydra's own settings", remedy)


def _knob(text: str) -> Knob:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import OverrideType, ValueType
    from hydra.errors import HydraException

    name, equals, value = text.partition("=")
    key = name.lstrip("+~")
    if key.split(".")[0].split("/")[0] == "hydra":
        raise hydras_own(key, value)
    if name.startswith("~"):
        raise InputError("argument", text, "no key can be taken away", f"give {key}=null, or another choice")
    if not equals or not re.fullmatch(r"\w[\w-]*([./]\w[\w.-]*)*(@.*)?", key) or ".." in key:
        raise InputError(
            "argument", text, "not key=value", "see `python -m harness --keys`" if equals else f"give {key}=..."
        )
    if "~" in value and not re.search("[\"']", value):  # it begins the path of a home, and has no place in the grammar
        text = f"{name}=" + HOME.sub(r'"\g<0>"', value)
    if NAMED.fullmatch(text):
        text = f'{name}="{value}"'
    elif LISTED.fullmatch(text):
        text = f"{name}={_with_quotes(value)}"
    try:
        parsed = OverridesParser.create().parse_override(text)
    except (HydraException, RecursionError, ValueError, ArithmeticError) as error:
        raise _unreadable(key, value, error) from None
    assert parsed.type in (OverrideType.CHANGE, OverrideType.ADD, OverrideType.FORCE_ADD)
    if parsed.package is not None:
        raise InputError(key, value, "a package cannot be chosen", f"give {parsed.key_or_group}={value}")
    if parsed.value_type == ValueType.ELEMENT:
        number_of_words = isinstance(parsed.value(), (int, float)) and "_" in value  # 2024_10 may name a folder
        return Knob(key, 1, lambda: [value if number_of_words else parsed.value()])
    if parsed.value_type == ValueType.RANGE_SWEEP:
        return _range(key, value, parsed)
    if parsed.value_type in (ValueType.SIMPLE_CHOICE_SWEEP, ValueType.CHOICE_SWEEP):
        values = [_plain(item) for item in parsed.sweep_iterator()]
        return Knob(key, len(values), lambda: values)
    raise InputError(key, value, "neither values nor a range of them", "list the values: a,b,c")


def _range(key: str, text: str, parsed: Any) -> Knob:
    """A range is counted without being written out."""
    sweep = parsed.value()
    start, stop, step = sweep.start, sweep.stop, sweep.step
    try:
        if not all(math.isfinite(x) for x in (start, stop, step)) or not step:
            raise ValueError
        count = len(range(start, stop, step)) if isinstance(sweep.range(), range) else math.ceil((stop - start) / step)
    except (ValueError, OverflowError):
        raise InputError(key, text, "not a range that ends", "give range(start,stop,step)") from None
    if count < 1:
        raise InputError(key, text, "a range without a value", "give range(start,stop,step) with start before stop")
    return Knob(key, count, parsed.sweep_iterator)


def _unreadable(key: str, value: str, error: Exception) -> InputError:
    literal = f"quote it, in a shell: {quoted(key, value)}" if len(value) < 200 else "quote it"
    for opened, closed in ("[]", "{}"):
        if value.startswith(opened) and value.count(opened) > value.count(closed):
            return InputError(key, value, f"{opened} is not closed", f"close it; where it is a text, {literal}")
    if re.search(r"^,|,,|,$", value) and value.strip(","):
        listed = ",".join(part for part in value.split(",") if part)
        return InputError(key, value, "nothing beside a comma", f"give {key}={listed}; where it is a text, {literal}")
    strange = next((character for character in value if not PLAIN.match(character)), None)
    if strange is None or isinstance(error, RecursionError):
        return InputError(key, value, "not a value in Hydra's grammar", f"where it is a text, {literal}")
    if re.fullmatch(r"\[[^][{}'\"]+\]", value):  # a list stays one: its items are quoted
        literal = f"quote the item, in a shell: {shlex.quote(f'{key}={_with_quotes(value)}')}"
    return InputError(key, value, f"{strange!r} has a meaning of its own in Hydra's grammar", literal)


def _with_quotes(listed: str) -> str:
    """A list as it was typed, `[a=./b, c]`, with quotes around what the grammar does not take as it is."""
    items = [item.strip() for item in listed[1:-1].split(",")]
    return "[" + ",".join(item if all(map(PLAIN.match, item)) else f'"{item}"' for item in items) + "]"


def _plain(value: Any) -> Any:
    """A parsed value without Hydra's marks of quotes."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return getattr(value, "text", value)
