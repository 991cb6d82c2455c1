"""Which files of a folder are texts to read, in which order, and what is left out.

Without reading any of them: `harness.texts.recipe` hashes what is listed here, `harness.texts.local` reads it.

    listed = text_files("data/german", "downstream")
    listed.files, listed.left_out           # [data/german/a.jsonl], {"hidden": [".DS_Store"]}
"""

from __future__ import annotations

import json
import os
import stat
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import InputError
from harness.core.regular import require_regular
from harness.formats.reading import PACKED, SUFFIXES, suffix_of

HIDDEN = "hidden"
BACKUPS = "backups of editors and systems"
NOTHING = "links to nothing"
AGAIN = "links to folders read already"
NOTES = "notes and caches of a saved dataset"
ABOUT = "files about a repository"
# Names, in small letters and up to a dot, of what lies beside the data of a repository. Of them only what is no data by
# its suffix is left out: a README.txt is read, as it ever was.
_ABOUT = ("readme", "license", "licence", "copying", "notice", "citation", "changelog", "contributing", "authors")


@dataclass(frozen=True)
class TextFiles:
    """The data files below a path, and by reason the names, relative to it, of what is no data."""

    files: list[Path]
    left_out: dict[str, list[str]]

    def left_out_text(self) -> str:
        """What is left out, with counts and examples; empty if nothing is."""
        return ", ".join(
            f"{len(names):,} {why} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for why, names in self.left_out.items()
        )


def text_files(path: str | Path, field: str) -> TextFiles:
    """Data files below `path` in reading order (sorted by relative path). Raises InputError.

    Linked folders are read like others, each real folder once, so a link that leads back ends nothing. Names that begin
    with `.` or `_` are markers of other tools and left out, as are backups, links to nothing, and what lies beside the
    data of a repository (README.md, LICENSE, dataset_infos.json, SHA256SUMS); any other suffix is refused, since data
    left out would be another corpus than the one asked for.
    """
    place = Path(path)
    try:
        if place.is_dir():
            listed = _folder(place, field)
        else:
            require_regular(field, place)
            listed = TextFiles([place], {})
        listed = _without_notes(listed, place, field)
    except InputError:
        raise
    except PermissionError as error:
        raise _unreadable(field, place, error) from None
    except (OSError, ValueError):  # a ValueError for a name with a null character
        raise InputError(field, path, "no such file or folder", "give a path that exists") from None
    for file in listed.files:
        if suffix_of(file) is None:
            remedy = f"known are {', '.join(SUFFIXES)}"
            if file.suffix.lower() in PACKED:
                remedy += "; unpack it"
            elif file != place:
                remedy += "; move it elsewhere, or let its name begin with _"
            raise InputError(field, file, f"unknown suffix {file.suffix!r}", remedy)
    if not listed.files:
        why = f"holds no texts; left out are {listed.left_out_text()}" if listed.left_out else "an empty folder"
        raise InputError(field, path, why, f"put files in it ({', '.join(SUFFIXES)})")
    return listed


def _folder(place: Path, field: str) -> TextFiles:
    files: list[Path] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    real, links = [place], list[Path]()
    above = {_identity(folder) for folder in place.resolve().parents}  # a link there would bring this folder along
    seen = set(above)
    while real or links:
        # Links come last: a folder that is here by itself is read under its own name, whatever links to it are called.
        folder = real.pop() if real else links.pop(0)
        try:
            identity = _identity(folder)
            if identity in seen:
                left_out[AGAIN].append(folder.relative_to(place).as_posix())
                continue
            seen.add(identity)
            with os.scandir(folder) as found:
                entries = [(Path(entry.path), entry.is_symlink()) for entry in found]
        except OSError as error:
            raise _unreadable(field, folder, error) from None
        for path, linked in entries:
            name = path.relative_to(place).as_posix()
            if path.name.startswith((".", "_")):
                left_out[HIDDEN].append(name)
                continue
            try:
                is_folder = stat.S_ISDIR(path.stat().st_mode)
            except OSError as error:
                if linked and not isinstance(error, PermissionError):  # what it names is gone, or is itself
                    left_out[NOTHING].append(name)
                    continue
                raise _unreadable(field, path, error) from None
            if is_folder:
                (links if linked else real).append(path)
            elif _is_backup(path.name):
                left_out[BACKUPS].append(name)
            elif _is_about(path.name):
                left_out[ABOUT].append(name)
            else:
                require_regular(field, path)
                files.append(path)
        links.sort()
    files.sort(key=lambda file: file.relative_to(place).as_posix())
    return TextFiles(files, {why: sorted(names) for why, names in sorted(left_out.items())})


def _without_notes(listed: TextFiles, place: Path, field: str) -> TextFiles:
    """Of a folder that `datasets.save_to_disk` wrote, the files of data alone, as its state.json names them."""
    names = set(listed.files)
    for file in listed.files:
        splits = _named(file, "splits", field) if file.name == "dataset_dict.json" else []
        if len(splits) > 1:
            why = f"a saved dataset of several splits ({', '.join(splits)})"
            raise InputError(field, file.parent, why, f"name one of them: {file.parent / splits[0]}")
        names -= {file} if splits else set()
        if file.name == "state.json" and file.with_name("dataset_info.json") in names:
            data = {file.with_name(name) for name in _named(file, "_data_files", field)}
            if data:
                lost = next(iter(sorted(data - names)), None)
                if lost is not None:
                    raise InputError(field, lost, "missing, state.json beside it names it", "save the dataset again")
                names -= {other for other in names if other.parent == file.parent} - data
    notes = sorted(file.relative_to(place).as_posix() for file in listed.files if file not in names)
    if not notes:
        return listed
    return TextFiles([file for file in listed.files if file in names], {**listed.left_out, NOTES: notes})


def _named(file: Path, key: str, field: str) -> list[str]:
    """The names that a note of a saved dataset lists under `key`; none if it is no such note."""
    try:
        described = json.loads(file.read_bytes())
    except OSError as error:
        raise _unreadable(field, file, error) from None
    except (ValueError, RecursionError):
        return []
    entries = described.get(key) if isinstance(described, dict) else None
    names = [entry.get("filename") if isinstance(entry, dict) else entry for entry in entries or []]
    return [name for name in names if isinstance(name, str)]


def _is_about(name: str) -> bool:
    lower = name.lower()
    if lower in ("dataset_infos.json", "sha256sums", "md5sums"):
        return True
    return suffix_of(lower) is None and lower.partition(".")[0] in _ABOUT


def _is_backup(name: str) -> bool:
    return (
        name.endswith(("~", ".swp", ".swo"))
        or name.startswith("~$")
        or (name.startswith("#") and name.endswith("#"))
        or name.lower() in ("thumbs.db", "desktop.ini")
    )


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _unreadable(field: str, path: Path, error: OSError) -> InputError:
    return InputError(field, path, f"cannot be read ({error.strerror})", "check its permissions")
