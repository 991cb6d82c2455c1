"""What a user calls a corpus: its name, a path, or a URL, each with a name of one's own if wanted.

reference("downstream", "german", "downstream")             # Reference("german")
reference("downstream", "./law", "downstream")              # Reference("downstream", path="./law")
reference("upstream", "law=hf://datasets/a/b/*.parquet")    # Reference("law", url="hf://...")
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.config.fields import Config, listing
from harness.core.errors import InputError

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


def reference(field: str, value: object, unnamed: str = "") -> Reference:
    """What `value` of `field` asks for; `unnamed` is the name of a path or a URL that has none. Raises InputError."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    match = _NAMED.fullmatch(text) if "://" not in text.partition("=")[0] else None
    name, place = (match[1], match[2]) if match else (unnamed, text)
    is_url, is_path = "://" in place, "/" in place or place.startswith(("~", "."))
    if is_url or is_path:
        if not name:
            raise InputError(field, value, "it needs a name in tables", f"give NAME={place}")
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


def further(config: Config) -> Iterator[tuple[str, Reference]]:
    """(field, corpus) of what is only measured, and of what the stages draw from."""
    for value in listing(config, "evaluate.sets"):
        yield "evaluate.sets", reference("evaluate.sets", value)
    for number, stage in enumerate(config["stages"] if isinstance(config["stages"], list) else []):
        mixture = stage.get("mixture") if isinstance(stage, dict) else None
        for name in mixture if isinstance(mixture, dict) else {}:
            if name not in ("upstream", "downstream"):
                yield f"stages[{number}].mixture", reference(f"stages[{number}].mixture", name)
