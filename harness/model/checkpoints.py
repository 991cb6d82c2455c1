"""Checkpoints that a hub serves, as a store keeps them: what a name stands for, and the files themselves.

    <root>/checkpoints/resolved/<owner>--<name>-<8 hex>.json   a name and revision -> the commit, and the folder
    <root>/checkpoints/<12 hex>/               config, tokenizer, checkpoint.json; the weights once they are fetched

A plan needs what was resolved and nothing else, so that a later plan, analysis and a plan without network ask no hub
(`harness.model.hub` asks one). A folder is named by the content of its files: two commits that hold the same share it.
What is trained from it has the address that a folder with these files anywhere else gives (`content`).

    found = kept("someone/tiny", "main", [root])     # Resolved, or None
    missing(found.folder)                            # files that a run needs and that are not fetched yet
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import CorruptError, InputError
from harness.core.files import dump, read_json, write_file
from harness.core.identity import digest
from harness.model.pretrained import ShapeFacts

CHECKPOINTS = "checkpoints"  # folder of a store
RESOLVED = "resolved"
DESCRIPTION = "checkpoint.json"
# What the hub's client takes: no "--" and "..", no "-" or "." at an end, no ".git", at most 96 characters each.
REPOSITORY = re.compile(r"(?!.*(--|\.\.|\.git$))\w(?:[\w.-]{0,94}\w)?/\w(?:[\w.-]{0,94}\w)?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Resolved:
    """A repository at a revision, and where the store has it."""

    repository: str
    """OWNER/NAME."""
    revision: str
    """As it was asked for; empty: none was given, which is the hub's main."""
    commit: str
    """40 hex digits: what it stood for when it was resolved."""
    folder: Path
    """Its config and tokenizer, and its weights once a run needed them."""
    content: str
    """Hash of config and weights, as `checkpoint_content` gives it of a folder."""
    facts: ShapeFacts
    """Its sizes."""


def repository_of(path: object) -> str | None:
    """OWNER/NAME if `path` is the name of a repository; a folder of that name here comes first."""
    text = str(path)
    return text if REPOSITORY.fullmatch(text) and not Path(text).exists() else None


def meant_repository(path: object) -> str | None:
    """What to type for a repository that was named otherwise: by its address, with a revision or a slash behind it."""
    text = re.sub(r"^(hf://|https?://[^/]+/)(models/)?", "", str(path)).strip().rstrip("/")
    name, _, revision = text.partition("@") if "@" in text else text.partition("/tree/")
    return f"path={name}{f' revision={revision}' if revision else ''}" if REPOSITORY.fullmatch(name) else None


def kept(repository: str, revision: str, roots: Iterable[Path]) -> Resolved | None:
    """What the first of these stores resolved; one that holds all the files comes first. None: none ever did."""
    found = [one for root in roots if (one := _read(root, repository, revision)) is not None]
    return next((one for one in found if not missing(one.folder)), found[0] if found else None)


def keep(resolved: Resolved, files: Mapping[str, Mapping[str, Any]], root: Path) -> None:
    """Remember it: what the folder is to hold (`files`: name -> {size, sha256}), then what the name stands for."""
    described = {
        "repository": resolved.repository,
        "commit": resolved.commit,
        "content": resolved.content,
        "facts": asdict(resolved.facts),
        "files": {name: dict(entry) for name, entry in sorted(files.items())},
    }
    write_file(resolved.folder / DESCRIPTION, dump(described), resolved.folder)
    place = _place(root, resolved.repository, resolved.revision)
    place.parent.mkdir(parents=True, exist_ok=True)
    stands_for = {
        "repository": resolved.repository,
        "revision": resolved.revision,
        "commit": resolved.commit,
        "folder": resolved.folder.name,
    }
    write_file(place, dump(stands_for), place.parent)


def folder_for(sums: Mapping[str, str], root: Path) -> Path:
    """Where files of these SHA-256 sums lie."""
    return root / CHECKPOINTS / digest("checkpoint files", sorted(sums.items()))[:12]


def described(folder: Path) -> dict[str, Any] | None:
    """checkpoint.json of a folder: repository, commit, content, facts, files. None: no folder of a hub's checkpoint."""
    return read_json(folder / DESCRIPTION)


def missing(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> {size, sha256} of what the folder is to hold and does not. Files are whole once they are there."""
    document = described(folder) or {"files": {}}
    return {name: entry for name, entry in document["files"].items() if not _has(folder / name, entry["size"])}


def _has(file: Path, size: int) -> bool:
    try:
        return file.stat().st_size == size
    except OSError:
        return False


def _read(root: Path, repository: str, revision: str) -> Resolved | None:
    place = _place(root, repository, revision)
    try:
        pin = read_json(place)
        if pin is None:
            return None
        folder = root / CHECKPOINTS / str(pin["folder"])
        document = described(folder)
        if document is None:
            return None  # the folder was removed: it is resolved again
        facts = ShapeFacts(**document["facts"])
        return Resolved(repository, revision, str(pin["commit"]), folder, str(document["content"]), facts)
    except (CorruptError, KeyError, TypeError) as error:
        remedy = f"remove {place.name} and its folder: both are made again"
        raise InputError("path", repository, f"{place} is damaged ({error})", remedy) from None


def _place(root: Path, repository: str, revision: str) -> Path:
    name = f"{repository.replace('/', '--')}-{digest('revision', repository, revision)[:8]}.json"
    return root / CHECKPOINTS / RESOLVED / name
