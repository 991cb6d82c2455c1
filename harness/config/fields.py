"""Reading one field of a composed config: numbers within limits, whole numbers, choices; else one InputError.

The largest value of every number that a user gives is in `MOST`, with its reason: what is above would never end or
never train. A test holds that every number of conf/ has a limit.

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

from harness.core import units
from harness.core.errors import InputError

Config = dict[str, Any]
ROLES = ("upstream", "downstream")
SETS = "evaluate.sets"
_NAMED = re.compile(r"([A-Za-z0-9][\w.-]*)=(.+)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

TEXTS = "no collection of texts holds a hundredth of it"
CLUSTER = "no cluster has so many"
EXACT = "larger whole numbers are not exact in JSON"
STEP = "AdamW moves every weight by about that much at each step, and initial weights are near 0.02"
# Field, or the last part of it (`base.tokens`, `stages[0].tokens`), to largest value and reason. Shares, which end at
# 1, say so where they are read.
MOST = {
    "lr": (10, STEP),
    "base.peak": (10, STEP),
    "scale.peak": (10, STEP),
    "model.peak": (10, STEP),
    "peak": (10_000, "no base has so small a peak"),
    "tokens": (1e15, TEXTS),
    "horizon": (1e15, TEXTS),
    "warmup_tokens": (1e15, TEXTS),
    "anneal_tokens": (1e15, TEXTS),
    "early": (1e15, TEXTS),
    "every": (1e15, TEXTS),
    "base_every": (1e15, TEXTS),
    "timescale": (1e6, "an inverse square root is a step by then"),
    "seed": (9e15, EXACT),
    "init": (9e15, EXACT),
    "order": (9e15, EXACT),
    "batch": (1_000_000, "largest batches of the literature have some 10,000 sequences"),
    "sequences": (1_000_000, "largest batches of the literature have some 10,000 sequences"),
    "micro_batch": (1_000_000, "no batch has so many sequences"),
    "seq_len": (2**20, "attention over a million tokens fits no machine"),
    "layers": (1000, "the deepest language models have some 130 layers"),
    "hidden": (2**17, "the widest language models have some 20,000"),
    "heads": (2**14, "the largest language models have some 130 heads"),
    "vocab_size": (2**22, "the largest vocabularies have some 260,000 tokens"),
    "windows": (1_000_000, "all of them are measured at every position"),
    "final_windows": (1_000_000, "the losses of all of them are kept"),
    "eps": (1, "Adam's steps would shrink to nothing"),
    "weight_decay": (1000, "AdamW takes lr times as much off every weight at each step"),
    "clip": (1e30, "beyond what a gradient of fp32 can reach"),
    "flop_rate": (1e21, "a thousand times the fastest machine of the world"),
    "workers": (10_000, "no machine has room for so many"),
    "per_gpu": (1000, "no GPU has room for so many"),
    "save_every": (1e8, "longer than three years"),
    "ranks": (100_000, CLUSTER),
    "ranks_per_node": (10_000, CLUSTER),
    "nodes": (100_000, CLUSTER),
    "gpus_per_node": (1000, CLUSTER),
    "cpus": (10_000, CLUSTER),
    "mem": (1_000_000, "that is a petabyte, and no node has it"),
    "minutes": (525_600, "that is a year, and no cluster grants it"),
    "lead": (86_400, "that is a day, and no save takes it"),
    "at_once": (1_000_000, "no queue takes so many"),
    "retries": (1000, "what failed so often fails again"),
    "requeues": (1_000_000, "no job comes so far"),
    "unit_bytes": (1e12, "a unit is what a killed job has to build again"),
    "sequence": (2**20, "attention over a million tokens fits no machine"),
    "weight": (100, "weights sum up to 1, or to 100 where they are per cent"),
    "longest_document": (1e12, "a document is held in memory as a whole"),
    "max_points": (10_000_000, "to compose so many takes hours"),
    "parameters": (1e15, "no model has so many"),
}
POSITIONS = 500_000  # at which one run is measured: each is a row per corpus, and planning holds them all (5 s)
ALL_POSITIONS = 5_000_000  # of all runs of a plan: some minutes and 3 GB


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


def check_most(field: str, value: float, shown: object) -> None:
    """InputError for a value above the limit of its field, if there is one."""
    most, why = MOST.get(field) or MOST.get(field.rpartition(".")[2]) or (math.inf, "")
    if value > most:
        raise InputError(field, shown, f"above {most:g}: {why}", f"give at most {most:g}")


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


def text_of(config: Config, corpus: str) -> str:
    """The field of the texts of a corpus that is a path: `text`, or of each its own: `text.upstream`, `text.NAME`."""
    given, own = config["text"], [corpus]
    if not isinstance(given, dict):
        return name_of(config, "text")
    if config["shift"]["kind"] != "local":
        own += [role for role, one in zip(ROLES, roles(config), strict=True) if one.name == corpus]
    return next((name_of(config, f"text.{key}") for key in own if key in given), "text")


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
    for role in ROLES:
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
