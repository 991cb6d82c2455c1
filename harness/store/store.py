"""The store on disk: states, runs, leases, failures. Folders appear complete or not at all; damage is seen and named.

Without torch: tensors are files here. Reading creates nothing. Parent stores are read; all that is
written there is a note of who reads them (`children`).

    <root>/store.json                     {"format": 1}
    <root>/states/<address>/              what training wrote, state.json; {evaluations,final_windows}-<sha12>.* later
    <root>/measurements/<address>/        the same, added to a state that lies in a parent store
    <root>/runs/<name>-<key12>/run.json   <root>/failures/<address>.json   <root>/leases/<address>.json
    <root>/verified/<address>.json        which files of it were found whole (`harness.store.verified`)

    store = Store(Path("runs"), parents=[Path("/shared/runs")])
    store.write_state(address, save_into_folder, {"position": 100, "tokens": 51_200})   # under store.lease(address)
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from harness.core import files, regular
from harness.core.errors import CorruptError, InputError
from harness.core.identity import RUN_NAME
from harness.store import children
from harness.store.history import Row, merge, rows_to_csv
from harness.store.lease import Lease, acquire, owner
from harness.store.state import StateInfo, checked, identity_of, read_meta, read_or_warn, rows_of
from harness.store.verified import is_remembered, remember
from harness.store.windows import WindowHistory, losses_of, merged, to_npz

FORMAT = 1
EVALUATIONS = "evaluations.csv"
_ADDRESS = re.compile("[0-9a-f]{32}")
WINDOWS = "final_windows.npz"
_ADDED = {name: re.compile(name.replace(".", r"-([0-9a-f]{12})\.")) for name in (EVALUATIONS, WINDOWS)}
_UNREADABLE = (CorruptError, FileNotFoundError, UnicodeDecodeError)
T = TypeVar("T")


class Store:
    """The states under `root`, and those of `parents`. InputError for a newer format or a parent that is no store."""

    def __init__(self, root: str | Path, parents: str | Path | Sequence[str | Path] = ()) -> None:
        parents = [parents] if isinstance(parents, str | Path) else parents
        self.root = Path(os.path.abspath(root))
        self.parents = tuple(p for p in (Path(os.path.abspath(parent)) for parent in parents) if p != self.root)
        self._states = self.root / "states"
        self._ready = False  # for writing
        self._ignored: set[Path] = set()  # damaged, but not ours to rename
        files.check_format("root", self.root, FORMAT, required=False)
        for parent in self.parents:
            files.check_format("parent_stores", parent, FORMAT, required=True)

    def addresses(self) -> set[str]:
        """Every state of this store and its parents, by one directory listing each."""
        found: set[str] = set()
        for store in (self.root, *self.parents):
            ignored = {path.name for path in self._ignored if path.parent == store / "states"}
            found.update(n for n in files.listing(store / "states") if _ADDRESS.fullmatch(n) and n not in ignored)
        return found

    def state(self, address: str) -> StateInfo | None:
        """The state, from this store before its parents; None if there is none. Checks state.json, not the tensors."""
        for store in (self.root, *self.parents):
            folder = store / "states" / address
            if folder not in self._ignored:
                try:
                    return StateInfo(address, folder, read_meta(folder), readonly=store != self.root)
                except CorruptError as error:
                    self._set_aside(folder, error)
                except (FileNotFoundError, NotADirectoryError):
                    continue
        return None

    def rows(self, address: str) -> list[Row]:
        """Every measurement of a state: its own, then those added later, in this store and its parents."""
        return merge(*self.histories(address, rows_of))

    def windows(self, address: str) -> WindowHistory:
        """The losses of single windows that were kept with rows."""
        return merged(*self.histories(address, losses_of, WINDOWS))

    def histories(self, address: str, parse: Callable[[bytes, str], T], name: str = EVALUATIONS) -> list[T]:
        """`parse(content, source)` of every file of `rows` (or `windows`), of two equal keys the first counts.

        A damaged history (`parse` may raise CorruptError, too) is a damaged state: set aside, named, and as if it had
        never been stored. A damaged file of added rows is set aside alone.
        """
        found: list[T] = []
        if info := self.state(address):
            try:
                if name in info.meta["files"]:
                    found.append(checked(info.folder / name, info.meta["files"][name], parse))
            except _UNREADABLE as error:
                self._set_aside(info.folder, error)
                return self.histories(address, parse, name)
            found += self._added(info.folder, parse, name)
        for store in (self.root, *self.parents):
            found += self._added(store / "measurements" / address, parse, name)
        return found

    def verify(self, address: str, *, full: bool = False) -> bool:
        """True if every file of the state holds what its checksum says; else it is set aside and named on stderr.

        Files that were verified before, by any process, and have not changed since are not read again unless `full`.
        """
        if (info := self.state(address)) is None:
            return False
        try:
            began, found = time.time(), identity_of(info)
            if not full and is_remembered(self._verified(address), found):
                return True
            for name, expected in info.meta["files"].items():
                if files.sha256(info.folder / name) != expected:
                    raise CorruptError(f"{info.folder / name}: the checksum does not match")
        except _UNREADABLE as error:
            self._set_aside(info.folder, error)
            return False
        if (self.root / "store.json").exists():  # looking into parents makes no store
            remember(self._verified(address), found, began)
        return True

    def unverified_bytes(self, address: str, *, full: bool = False) -> int:
        """How much `verify` would have to read."""
        if (info := self.state(address)) is None:
            return 0
        try:
            found = identity_of(info)
        except (FileNotFoundError, CorruptError):
            return 0
        return 0 if not full and is_remembered(self._verified(address), found) else sum(s for s, *_ in found.values())

    def write_state(self, address: str, write_files: Callable[[Path], None], meta: dict[str, Any]) -> Path:
        """Store a state: `write_files(folder)` writes the rest, `meta` and their checksums become state.json.

        All or nothing: an error (a full disk, a signal, one of `write_files`) leaves nothing, a kill only what the next
        writer removes. If the address appeared meanwhile the first one stays and rows it lacks are added to it; one
        that is not `measured` gives way.
        """
        assert _ADDRESS.fullmatch(address), address
        assert not {"files", "sha256"} & meta.keys(), "state.json has these for its checksums"
        self._begin_writing()
        folder, target = self._states / files.temporary_name(), self._states / address
        try:
            folder.mkdir()
            write_files(folder)
            checksums = {name: files.sha256(folder / name) for name in sorted(os.listdir(folder))}
            (folder / "state.json").write_bytes(files.seal({**meta, "address": address, "files": checksums}))
            files.flush_folder(folder)
            try:
                os.rename(folder, target)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                there = self.state(address)
                if target in self._ignored:
                    raise CorruptError(f"{target}: damaged, and not ours to rename; {files.owner_of(target)}") from None
                if there is not None and not there.measured and not there.readonly:
                    self.remove(address)
                    os.rename(folder, target)
                elif EVALUATIONS in checksums:
                    kept = losses_of((folder / WINDOWS).read_bytes(), WINDOWS) if WINDOWS in checksums else {}
                    self.add_rows(address, checked(folder / EVALUATIONS, checksums[EVALUATIONS], rows_of), kept)
            files.flush(self._states)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # no longer there under this name if all went well
        return target

    def add_rows(self, address: str, rows: Iterable[Row], windows: WindowHistory | None = None) -> None:
        """Add measurements taken later. Only rows with a key of their own are written, to a new file; no file changes.
        `windows`: the losses of their windows, where they are kept.

        They go into the state's folder, or under measurements/ if this store does not have the state itself.
        """
        known = {row.key for row in self.rows(address)}
        if new := [row for row in merge(rows) if row.key not in known]:
            info = self.state(address)
            folder = info.folder if info and not info.readonly else self.root / "measurements" / address
            written = {EVALUATIONS: rows_to_csv(new).encode()}
            if kept := {row.key: windows[row.key] for row in new if windows and row.key in windows}:
                written = {WINDOWS: to_npz(kept), **written}  # rows come last: they say that nothing is left to measure
            for name, content in written.items():
                added = name.replace(".", f"-{hashlib.sha256(content).hexdigest()[:12]}.")
                self._write_file(folder / added, content)

    def remove(self, address: str) -> None:
        """Remove a state of this store (a parent's stays). It disappears as one; rows under measurements/ stay."""
        self._begin_writing()
        doomed = self._states / files.temporary_name()  # killed half-way, it is cleared away as any temporary folder
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._states / address, doomed)
            shutil.rmtree(doomed)

    def lease(self, address: str) -> Lease | None:
        """The lease on writing a state, as a context manager; None while another holds it (see `lease.acquire`)."""
        self._begin_writing()
        return acquire(self.root / "leases", address)

    def at_work(self, address: str) -> dict[str, Any] | None:
        """Who is making a state, or measures from it: {host, pid, position, ...}; None if nobody."""
        return owner(self.root / "leases", address)

    def write_run(self, run_name: str, key: str, document: dict[str, Any]) -> Path:
        """Record what was asked for in runs/<name>-<key12>/run.json; written again only if it differs. The file."""
        if not RUN_NAME.fullmatch(run_name):
            remedy = "use at most 200 letters, digits and . = + , - _"
            raise InputError("name", repr(run_name), "it becomes the name of a folder", remedy)
        path, content = self.root / "runs" / f"{run_name}-{key[:12]}" / "run.json", files.dump(document)
        with contextlib.suppress(FileNotFoundError, CorruptError):
            if regular.content(path) == content:
                return path
        self._write_file(path, content)
        return path

    def runs(self, loads: Callable[[bytes], Any] = json.loads) -> list[dict[str, Any]]:
        """Every run.json of this store (not of its parents), by folder name. A damaged one is named and left out."""
        return list(self.each_run(loads))

    def each_run(self, loads: Callable[[bytes], Any] = json.loads) -> Iterator[dict[str, Any]]:
        """The same, one after the other."""
        for name in sorted(files.listing(self.root / "runs")):
            if (document := read_or_warn(self.root / "runs" / name / "run.json", loads)) is not None:
                yield document

    def failure(self, address: str) -> dict[str, Any] | None:
        """{position, last_good, log, reason} of the last failed try to reach a state, or None."""
        return read_or_warn(self.root / "failures" / f"{address}.json")

    def write_failure(self, address: str, position: int, last_good: int | str | None, log: str, reason: str) -> None:
        document = {"position": position, "last_good": last_good, "log": log, "reason": reason}
        self._write_file(self.root / "failures" / f"{address}.json", files.dump(document))

    def clear_failure(self, address: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (self.root / "failures" / f"{address}.json").unlink()

    def disk_free(self) -> int:
        """Bytes this user may still write where the store lies, or will lie."""
        return shutil.disk_usage(files.nearest_existing(self.root)).free

    def check_writable(self) -> None:
        """InputError if the store cannot be written or made here. Tries it, and leaves nothing behind."""
        files.check_writable("root", self.root, ("states", "leases", "runs", "failures", "measurements"))

    def _verified(self, address: str) -> Path:
        return self.root / "verified" / f"{address}.json"

    def _begin_writing(self) -> None:
        """Before the first write: the folders, store.json, and away with what dead writers left."""
        if self._ready:
            return
        for folder in (self._states, self.root / "leases"):
            folder.mkdir(parents=True, exist_ok=True)
            files.remove_leavings(folder)
        if not (self.root / "store.json").exists():
            files.write_file(self.root / "store.json", files.dump({"format": FORMAT}), self._states)
        for parent in self.parents:
            children.note(parent, self.root)
        self._ready = True

    def _write_file(self, path: Path, content: bytes) -> None:
        self._begin_writing()
        if path.parent.parent != self._states:  # never a new folder in place of a state just removed
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            files.set_aside(path)
        files.write_file(path, content, self._states)

    def _added(self, folder: Path, parse: Callable[[bytes, str], T], kind: str) -> list[T]:
        found: list[T] = []
        for name in sorted(files.listing(folder)):
            if (match := _ADDED[kind].fullmatch(name)) and folder / name not in self._ignored:
                try:
                    found.append(checked(folder / name, match[1], parse))
                except _UNREADABLE as error:
                    self._set_aside(folder / name, error)
        return found

    def _set_aside(self, path: Path, error: Exception) -> None:
        """Put a damaged folder or file out of the way, and say so; where it is not ours to rename, ignore it."""
        if not path.exists():
            return  # removed or set aside by another process while we read
        ours = path.is_relative_to(self._states) or path.is_relative_to(self.root / "measurements")
        if aside := files.set_aside(path) if ours else None:
            outcome = f"set aside as {aside.name}"
        else:
            self._ignored.add(path)
            outcome = "ignored, for it is not ours to rename"
        print(f"warning: {error}; {path.name} is damaged: {outcome}", file=sys.stderr)
