"""The corpora that a config names, each with the keys of its file: conf/corpus/NAME.yaml, or one in the folder of -cd.

    config = with_corpora(config, folder)       # config["corpus"]["pile"] = {kind: files, files: hf://..., ...}

Hydra takes no part: a run's record holds the corpora that it names and no others, whatever conf/ knows. Corpora of
installed packages stand in it only where a key of theirs was given.
"""

from __future__ import annotations

import copy
import difflib
import functools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from harness.compose import keys
from harness.config.fields import SETS, Config, Reference, further, roles
from harness.core.errors import InputError
from harness.core.shipped import CONF

_SHARED = ("sample", "vocab_size", "longest_document")  # keys of `corpus` itself
# What a corpus of one's own need not state.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "embedded": {"sample": None, "validation": None},
    "files": {"format": None, "text": "text", "parts": None, "tokens": None, "tokenizer": None, "validation": 0.02}
    | {"unit_bytes": 1 << 30},
    "megatron": {"validation": 0.001, "text": "text", "tokenizer": None, "sequence": 2049},
}


def take_out(config: Config) -> dict[str, Any]:
    """The keys that were given of single corpora, by name, out of `corpus`, which keeps those of all of them."""
    given = config.get("corpus")
    if not isinstance(given, dict):
        return {}
    return {name: given.pop(name) for name in [n for n in given if n not in _SHARED and isinstance(given[n], dict)]}


def with_corpora(
    config: Config, given: dict[str, Any], folder: Path | None, recorded: dict[str, Any] | None = None
) -> Config:
    """The config with the corpora that it names; `given` are their keys from the command line and the sweep file.

    Of those that are `recorded` (a run's own, whole) no file is looked for: it may have gone, or say other things.
    Raises InputError for a corpus or a key that does not exist.
    """
    for name, own in given.items():
        if name not in _named_by(config):  # of another point of a grid, or a slip
            _file(name, folder, f"corpus.{name}", next(iter(own), ""))
    found = {}
    for field, one in _wanted(config):
        if one.path:
            for key, value in given.get(one.name, {}).items():
                why = f"{one.name} is a path, which has no keys of its own (text= and validation= are of all paths)"
                remedy = f"name the files by a URL, {one.name}=file:///..., or leave it out"
                raise InputError(f"corpus.{one.name}.{key}", value, why, remedy)
            continue
        base, part = _of_part(one, [*known(folder), *(recorded or ())])
        if base in found:
            continue
        own = given.get(base, {})
        if recorded and "kind" in recorded.get(base, ()):
            stated = recorded[base]
        elif one.url:
            stated = {"kind": "files", "files": one.url}
        else:
            stated = _resolved(config, _file(base, folder, field, one.name), base)
        entry = _checked(base, stated, own)
        if entry["kind"] != "embedded" or own or base not in _shipped():
            found[base] = entry
        if part and part not in (entry.get("parts") or {}):
            parts = ", ".join(entry.get("parts") or ()) or "none"
            raise InputError(field, one.name, f"{base} has no part {part}", f"known: {parts}")
    return {**config, "corpus": {**config["corpus"], **found}} if found else config


def known(folder: Path | None = None) -> list[str]:
    """The names of all corpora."""
    own = [] if folder is None else [file.stem for file in (folder / "corpus").glob("*.yaml")]
    return sorted({*_shipped(), *own})


@functools.cache
def _shipped() -> frozenset[str]:
    return frozenset(file.stem for file in (CONF / "corpus").glob("*.yaml"))


def _wanted(config: Config) -> Iterator[tuple[str, Reference]]:
    if config["shift"].get("kind") == "local":  # of its own names are paths; what is only measured has any
        own = {"upstream", "downstream", *(config["shift"].get("further") or ())}
        yield from ((field, one) for field, one in further(config) if field == SETS and one.name not in own)
        return
    for role, one in zip(("upstream", "downstream"), roles(config), strict=True):
        yield (role if config[role] is not None else f"shift.{role}"), one
    yield from further(config)


def _named_by(config: Config) -> set[str]:
    return {part for _, one in _wanted(config) for part in (one.name, one.name.rpartition(".")[0])}


def _of_part(one: Reference, names: Collection[str]) -> tuple[str, str]:
    """Corpus and part: `slimpajama.C4`; a corpus whose name has a dot comes first."""
    base, dot, part = one.name.rpartition(".")
    return (base, part) if dot and not one.url and one.name not in names else (one.name, "")


def _file(name: str, folder: Path | None, field: str, value: object) -> dict[str, Any]:
    """The keys of a corpus' file. Raises InputError if there is none."""
    own = None if folder is None else folder / "corpus" / f"{name}.yaml"
    has_own = own is not None and own.is_file()
    if has_own and name in _shipped():
        raise InputError(field, name, f"it is in {folder} and in the program's conf", "rename yours")
    if not has_own and name not in _shipped():
        names = known(folder)
        near = difflib.get_close_matches(name, names, n=1)
        remedy = f"did you mean {near[0]}? known: {', '.join(names)}" if near else f"known: {', '.join(names)}"
        path = f"{name}=./{name}" if field == SETS else f"./{name}"  # what is only measured has a name in tables
        or_path = f"{path}, which is here" if Path(name).exists() else "a path with a slash"
        raise InputError(field, value, f"no such corpus as {name}", f"{remedy}; or give {or_path}, or a URL")
    file = own if has_own and own is not None else CONF / "corpus" / f"{name}.yaml"
    return copy.deepcopy(_read(file, file.stat().st_mtime_ns))


@functools.lru_cache(maxsize=256)
def _read(file: Path, changed: int) -> dict[str, Any]:  # noqa: ARG001  a file that changed is read again
    from harness.compose import user_files

    content = user_files.read(file)
    if not isinstance(content, dict) or "kind" not in content:
        raise InputError("file", file, "says no kind", f"begin with kind: {' | '.join(_DEFAULTS)}")
    return {str(key): value for key, value in content.items()}


def _resolved(config: Config, stated: dict[str, Any], name: str) -> dict[str, Any]:
    """With the values that `${...}` of a corpus' file names."""
    if "${" not in str(stated):
        return stated
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        whole = OmegaConf.create({**config, "_corpus": stated})
        resolved = OmegaConf.to_container(whole["_corpus"], resolve=True)
    except (OmegaConfBaseException, RecursionError) as error:
        why = str(error).split("\n")[0] or "keys that name each other in a circle"
        raise InputError(f"corpus.{name}", "${...}", why, "name a key that exists") from None
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _checked(name: str, stated: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A corpus' keys: its file's, what was given in their place, and the defaults of its kind."""
    merged = {**stated, **own}
    kind = merged["kind"]
    if not isinstance(kind, str) or kind not in _DEFAULTS:
        raise InputError(
            f"corpus.{name}.kind", kind, "no such kind of corpus", f"choose one of: {', '.join(_DEFAULTS)}"
        )
    allowed = keys.corpus_keys(kind)
    for key, value in merged.items():
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            remedy = f"did you mean corpus.{name}.{near[0]}?" if near else f"known: {', '.join(allowed)}"
            raise InputError(f"corpus.{name}.{key}", value, f"not a key of a corpus of kind {kind}", remedy)
    if kind != "embedded" and not merged.get("files"):
        raise InputError(f"corpus.{name}.files", merged.get("files"), "says no files", "give a path, a glob or a URL")
    return {"kind": kind, **_DEFAULTS[kind], **merged}
