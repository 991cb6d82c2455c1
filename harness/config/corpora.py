"""From the keys of a corpus (conf/corpus/NAME.yaml) to its recipe, by what its listing says.

Beneath `harness.config.shift`. Files here are listed as a plan is made; for those of a server the listing that a store
keeps is read, and no server is asked (`harness.texts.listings` asks one). What was never listed stands as `NOT_LISTED`.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.config.fields import Config, as_number
from harness.core.errors import InputError
from harness.core.files import user_path
from harness.core.identity import digest
from harness.corpora.megatron import pairs
from harness.formats.fields import Where
from harness.formats.reading import SUFFIXES, suffix_of
from harness.model.checkpoints import repository_of
from harness.texts.listed import FilesSource, Listing, MegatronSource, Part
from harness.texts.listings import is_remote, kept, local_listing
from harness.texts.recipe import CORPUS_CODE, Recipe, TokenizerRecipe
from harness.texts.remote import MEGATRON

NOT_LISTED = "not listed"
_WEIGHTS_OFF = 1e-6  # of what they should sum up to, since configs round them


def files_recipe(
    name: str,
    part: str,
    entry: Config,
    tokenizer: TokenizerRecipe,
    share: float | None,
    longest: int,
    roots: list[Path],
) -> Recipe:
    """The recipe of a corpus of listed files, or of one `part` of it; `share` is held out unless the corpus says files.

    Raises InputError for a key that cannot be used and for files that are not there.
    """
    field = f"corpus.{name}"
    train = listed(f"{field}.files", patterns_of(f"{field}.files", entry["files"]), roots, entry["kind"])
    own: Listing | None = None
    if isinstance(entry["validation"], str | list):
        patterns = patterns_of(f"{field}.validation", entry["validation"])
        own = listed(f"{field}.validation", patterns, roots, _kind(entry, patterns))
        share = 0.5  # plays no part; one value, so that the key has one
    elif share is None:
        share = as_number(f"{field}.validation", entry["validation"], above=0, at_most=0.9)
    if entry["kind"] == "megatron":
        sequence = _whole(f"{field}.sequence", entry["sequence"], 2)
        for key, files in (("files", train), ("validation", own)):
            if files is not None and any(file.name.endswith(MEGATRON) for file in files.files):
                pairs(f"{field}.{key}", files.files)  # what a listing tells is refused before anything is fetched
        text = _text(f"{field}.text", entry["text"])
        return Recipe(name, MegatronSource(train, sequence, own, text), tokenizer, share, CORPUS_CODE)
    parts = parts_of(field, entry["parts"])
    tokens = None if entry["tokens"] is None else _whole(f"{field}.tokens", entry["tokens"], 1)
    everything = parts if part and len(parts) > 1 else ()
    if part:
        one = next(p for p in parts if p.name == part)
        if tokens is not None and one.weight is not None:
            tokens = math.ceil(tokens * one.weight)
        parts = (Part(part, None, one.where),)
    source = FilesSource(
        train=train,
        parts=parts,
        validation=own,
        text=_text(f"{field}.text", entry["text"]),
        format=_format(f"{field}.format", entry["format"]),
        tokens=tokens,
        unit_bytes=_whole(f"{field}.unit_bytes", entry["unit_bytes"], 1),
        longest_document=longest,
        cut_for=everything,
    )
    return Recipe(f"{name}.{part}" if part else name, source, tokenizer, share, CORPUS_CODE)


def patterns_of(field: str, value: Any) -> tuple[str, ...]:
    """Paths, globs and URLs of `files:` or `validation:`; paths of the user's home and of this folder made whole."""
    given = value if isinstance(value, list) else [value]
    if not given:
        raise InputError(field, value, "says no files", "give a path, a glob or a URL, or a list of them")
    for one in given:
        if not isinstance(one, str) or not one:
            raise InputError(field, one, "neither a path nor a URL", "give a path, a glob or a URL, or a list of them")
    return tuple(one if is_remote(one) else str(user_path(field, one.removeprefix("file://"))) for one in given)


def remote_patterns(config: Config) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(field, patterns, kind) of every list of files that a server has to be asked for once."""
    for name, entry in config["corpus"].items():
        if isinstance(entry, dict) and entry.get("kind") in ("files", "megatron"):
            for key in ("files", "validation"):
                if isinstance(entry[key], str | list):
                    patterns = patterns_of(f"corpus.{name}.{key}", entry[key])
                    if any(is_remote(one) for one in patterns):
                        kind = _kind(entry, patterns) if key == "validation" else entry["kind"]
                        yield f"corpus.{name}.{key}", patterns, kind


def _kind(entry: Config, patterns: tuple[str, ...]) -> str:
    """Of files to validate on: sequences may be validated on texts."""
    return "files" if all(suffix_of(pattern) for pattern in patterns) else str(entry["kind"])


def tokenizers(config: Config) -> Iterator[tuple[str, str]]:
    """(field, OWNER/NAME) of the tokenizers on a hub that corpora name: of tokens, to compare them, and of texts where
    the run itself names none."""
    named = config["tokenizer"] is not None or config["start"]["kind"] not in ("pretrain", "scratch")
    for name, entry in config["corpus"].items():
        own = entry.get("tokenizer") if isinstance(entry, dict) else None
        if named and own is not None and entry["kind"] != "megatron":
            continue
        repository = None if own is None else repository_of(own)
        if repository is not None:
            yield f"corpus.{name}.tokenizer", repository


def listed(field: str, patterns: tuple[str, ...], roots: list[Path], kind: str) -> Listing:
    """The files, from a store's listing where a server has them; `NOT_LISTED` and no files if no store has it."""
    if any(is_remote(one) for one in patterns):
        return kept(patterns, roots) or Listing(f"{NOT_LISTED} {digest('patterns', patterns)}")
    return _local(field, patterns, kind)


_local = functools.lru_cache(maxsize=64)(local_listing)  # the points of a grid share their corpora


def parts_of(field: str, given: Any) -> tuple[Part, ...]:
    """The parts of a corpus; weights in sum 1, or 100 where they are per cent. Raises InputError."""
    if given is None:
        return (Part("all"),)
    if not isinstance(given, dict) or not given:
        raise InputError(f"{field}.parts", given, "not a mapping of parts", "give {NAME: {weight: 0.5, where: {...}}}")
    found = []
    for name, part in given.items():
        at = f"{field}.parts.{name}"
        if not isinstance(part, dict) or not set(part) <= {"weight", "where"}:
            other = (
                next((key for key in part if key not in ("weight", "where")), "") if isinstance(part, dict) else part
            )
            raise InputError(at, other, "not a key of a part", "a part has weight and where")
        weight = None if part.get("weight") is None else as_number(f"{at}.weight", part["weight"], above=0)
        found.append((str(name), weight, _where(f"{at}.where", part.get("where"))))
    weights = [weight for _, weight, _ in found if weight is not None]
    if weights and len(weights) < len(found):
        without = next(name for name, weight, _ in found if weight is None)
        raise InputError(
            f"{field}.parts.{without}", "null", "the other parts have weights", "give all of them, or none"
        )
    total = math.fsum(weights)
    scale = next((whole for whole in (1.0, 100.0) if abs(total / whole - 1) <= _WEIGHTS_OFF), None)
    if weights and scale is None:
        why = f"the weights of its {len(found)} parts sum up to {total:.9g}"
        raise InputError(f"{field}.parts", ", ".join(map(str, given)), why, "make it 1, or 100 for per cent")
    _refuse_unreachable(field, found)
    return tuple(Part(name, None if weight is None else weight / total, where) for name, weight, where in found)


def _refuse_unreachable(field: str, parts: list[tuple[str, float | None, Where]]) -> None:
    """InputError for a part that can never have a record, since each goes to the first part that picks it."""
    for number, (name, _, where) in enumerate(parts):
        own = {key: set(values) for key, values in where}
        for earlier, _, asked in parts[:number]:
            if all(key in own and own[key] <= set(values) for key, values in asked):
                at = f"{field}.parts.{earlier}"
                if asked:
                    value = ", ".join(f"{key}: [{', '.join(values)}]" for key, values in where)
                    why = f"{earlier}, which is before it, picks all of them"
                    raise InputError(f"{field}.parts.{name}.where", f"{{{value}}}", why, f"put {name} before {earlier}")
                why = f"it has no where, so it takes all records, and {name} behind it none"
                raise InputError(f"{at}.where", "null", why, f"give {at}.where, or put it last")


def _where(field: str, given: Any) -> Where:
    if given is None:
        return ()
    if not isinstance(given, dict):
        raise InputError(field, given, "not a mapping", "give {field: [values]}, dots for nesting")
    found = []
    for name, values in given.items():
        values = values if isinstance(values, list) else [values]
        if not values or any(isinstance(value, dict | list) for value in values):
            raise InputError(f"{field}.{name}", values, "not a list of values", "give [value, ...]")
        found.append((str(name), tuple(v if isinstance(v, str) else json.dumps(v) for v in values)))
    return tuple(found)


def _whole(field: str, value: Any, least: int) -> int:
    number = as_number(field, value, at_least=least, amount=True)
    if number != int(number):
        raise InputError(field, value, "not a whole number", "give a whole number")
    return int(number)


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(field, value, "not the name of a field", "give the field that holds the text: meta.text")
    return value


def _format(field: str, value: Any) -> str:
    suffix = "" if value is None else f".{str(value).lstrip('.')}"
    if suffix and suffix not in SUFFIXES:
        known = ", ".join(one[1:] for one in SUFFIXES)
        more = "; for Megatron's tokens say kind: megatron" if suffix == ".megatron" else ""
        raise InputError(field, value, "unknown format", f"known are {known}{more}")
    return suffix
