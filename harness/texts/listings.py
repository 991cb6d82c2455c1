"""The files of a corpus: named by paths, globs and URLs, known by size and version, the answers of servers kept.

Above `harness.texts.remote`, which asks servers. A plan reads what a store kept, so that a later one, and one without
network, needs none; files of this machine are listed whenever they are asked for.

    local_listing("corpus.mine.files", ("/data/*.parquet",))
    resolve("corpus.pile.files", ("hf://datasets/a/b/train/*.jsonl.zst",), root)     # asks, keeps
    kept(patterns, [root])                                                           # the same, or None; asks nobody
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.core.errors import CorruptError, InputError
from harness.core.files import read_json, sha256_once, write_file
from harness.core.identity import digest
from harness.texts.listed import ListedFile, Listing, listing
from harness.texts.remote import MEGATRON, ask, fixed_part, of_a_known_kind
from harness.texts.text_files import text_files

LISTINGS = "listings"  # folder of a store


def is_remote(pattern: str) -> bool:
    """Is it a URL of another machine?"""
    return "://" in pattern and not pattern.startswith("file://")


def local_listing(field: str, patterns: Sequence[str], kind: str = "files") -> Listing:
    """Files of this machine by paths, folders and globs, known by their SHA-256. Raises InputError."""
    found: list[ListedFile] = []
    for number, pattern in enumerate(patterns):
        pattern = pattern.removeprefix("file://")
        base, names = _local_names(field, pattern, kind)
        for name in names:
            path = base / name
            try:
                version = f"sha256 {sha256_once(path)}"
                size = path.stat().st_size
            except OSError as error:
                raise InputError(field, path, f"cannot be read ({error.strerror})", "check its permissions") from None
            found.append(ListedFile(_numbered(name, number, patterns), size, version, str(path)))
    return listing(found)


def resolve(field: str, patterns: Sequence[str], root: Path, kind: str = "files") -> Listing:
    """Ask for the files of URLs (paths here may stand among them), and keep the answer below `root`."""
    found: list[ListedFile] = []
    for number, pattern in enumerate(patterns):
        if not is_remote(pattern):
            files: Iterable[ListedFile] = local_listing(field, [pattern], kind).files
        else:
            files = ask(field, pattern, kind)
        found += [
            ListedFile(_numbered(file.name, number, patterns), file.size, file.version, file.url) for file in files
        ]
    return keep(patterns, found, root)


def keep(patterns: Sequence[str], files: Iterable[ListedFile], root: Path) -> Listing:
    """Remember below `root` that these are the files of the patterns."""
    made = listing(files)
    place = _place(patterns, root)
    rows = [[file.name, file.size, file.version, file.url] for file in made.files]
    document = {"patterns": list(patterns), "digest": made.digest, "files": rows}
    place.parent.mkdir(parents=True, exist_ok=True)
    write_file(place, json.dumps(document, indent=0, ensure_ascii=False).encode(), place.parent)
    return made


def kept(patterns: Sequence[str], roots: Iterable[Path]) -> Listing | None:
    """What the first of these stores keeps of these files; None: none was ever told."""
    for root in roots:
        place = _place(patterns, root)
        try:
            changed = place.stat().st_mtime_ns
        except OSError:
            continue
        found = _read(place, changed)
        if found is not None:
            return found
    return None


def current(field: str, file: ListedFile) -> ListedFile:
    """What the server says of a listed file now, so that one that changed can be named. Raises InputError."""
    if not is_remote(file.url):
        (now,) = local_listing(field, [file.url], "any").files
    else:
        (now,) = ask(field, file.url, "any")
    return ListedFile(file.name, now.size, now.version, file.url)


_remembered: dict[Path, tuple[int, Listing | None]] = {}  # the points of a grid share their corpora


def _read(place: Path, changed: int) -> Listing | None:
    if place not in _remembered or _remembered[place][0] != changed:
        try:
            document = read_json(place)
            rows = document["files"] if document else []
            found = listing(ListedFile(str(n), int(s), str(v), str(u)) for n, s, v, u in rows)
            told = document is not None and found.digest == document["digest"]
        except (CorruptError, KeyError, TypeError, ValueError):
            told = False
        _remembered[place] = changed, found if told else None
    return _remembered[place][1]


def _place(patterns: Sequence[str], root: Path) -> Path:
    return root / LISTINGS / f"{digest('listing', list(patterns))[:16]}.json"


def _numbered(name: str, number: int, patterns: Sequence[str]) -> str:
    """Names of several patterns are told apart by their place among them."""
    return name if len(patterns) == 1 else f"{number}/{name}"


def _local_names(field: str, pattern: str, kind: str) -> tuple[Path, list[str]]:
    """(folder, names below it) of one path or glob."""
    path = Path(pattern)
    if not path.exists() and glob.has_magic(pattern):
        base = Path(fixed_part(pattern))
        found = sorted(Path(one) for one in glob.glob(pattern, recursive=True))
        names = [one.relative_to(base).as_posix() for one in found if one.is_file()]
        return base, of_a_known_kind(field, pattern, names, kind)
    if kind != "files":
        if path.is_file():
            return path.parent, of_a_known_kind(field, pattern, [path.name], kind)
        if path.is_dir():
            names = [one.name for one in path.iterdir() if one.suffix in MEGATRON]
            return path, of_a_known_kind(field, pattern, names, kind)
        raise InputError(field, pattern, "no such file or folder", "give a path that exists")
    files = text_files(path, field).files
    base = path if path.is_dir() else path.parent
    return base, [file.relative_to(base).as_posix() for file in files]
