"""Build the units of one group of files: read once, from record to record, each unit a folder as it ends.

Called by `harness.ingest.assemble` in processes of its own, and by jobs on a cluster. The bytes of a unit depend on its
texts and the recipe alone: not on who builds it, nor on what was there before. Reading goes on while a batch is being
tokenised; a few batches are in memory, and 100 bytes for each document of the unit.

    finished = build_group(GroupTask(...))
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import files
from harness.core.errors import InputError
from harness.corpora import tokenizer
from harness.corpora.grouping import Group
from harness.corpora.tokenizer import EncodingError
from harness.corpora.unit_writer import Batch, Encoded, UnitWriter
from harness.corpora.units import finished_units
from harness.formats.fields import Record
from harness.ingest import processes
from harness.ingest.selection import field_of_group, suffices
from harness.texts.listed import FilesSource
from harness.texts.local import read_records
from harness.texts.recipe import Recipe

_BATCH_CHARACTERS = 1 << 20
_AHEAD = 2  # batches that wait for the tokenizer, beside those it has


@dataclass(frozen=True)
class GroupTask:
    """What a process must know to build a group."""

    recipe: Recipe
    """Its listings may be empty: the group has its files."""
    group: Group
    paths: tuple[Path, ...]
    """Where the files lie now, in the group's order."""
    vocabulary: Path
    """tokenizer.json"""
    end: int
    """Id of the end-of-document token."""
    shards: Path
    """<root>/shards"""
    needed: tuple[int, ...] | None
    """Training tokens of each part (of all parts, if there is one number) after which no further unit is needed."""


class Stopped(BaseException):
    """Told to stop on the way; the units that are finished stay."""


def build_group(
    task: GroupTask, progress: Callable[[int], None] = lambda _: None, stop: Callable[[], bool] = lambda: False
) -> list[dict[str, Any]]:
    """The manifests of the group's units, built where they are missing. Raises InputError, and Stopped.

    `progress` is told of bytes of text as they are read.
    """
    units, source = finished_units(task.shards, task.group), task.recipe.source
    assert isinstance(source, FilesSource)
    if suffices(units, task.needed, source):
        return units
    _check_unchanged(task)
    with processes.helpers() as encoders:
        pending: deque[tuple[Future[Encoded], Batch]] = deque()
        writer = UnitWriter(task.recipe, task.group, len(units), task.shards)
        batch = Batch()

        def write_next() -> None:
            future, written = pending.popleft()
            writer.add(_result(future, written, task), written)

        def submit() -> None:
            nonlocal batch
            if batch.texts:
                work = (str(task.vocabulary), task.end, writer.dtype, batch.texts)
                pending.append((encoders.submit(tokenizer.encode, work), batch))
            batch = Batch()
            while len(pending) > processes.own_cores() + _AHEAD:
                write_next()

        def finish(last: bool) -> None:
            submit()
            while pending:
                write_next()
            units.append(writer.finish(last))

        try:
            for place, record in _records(task, source, units[-1]["ended"] if units else None):
                if writer.text_bytes >= source.unit_bytes:  # there is one more record, so this unit is not the last
                    finish(last=False)
                    if suffices(units, task.needed, source):
                        return units
                    writer = UnitWriter(task.recipe, task.group, len(units), task.shards)
                progress(writer.take(place, record, batch))
                if batch.characters >= _BATCH_CHARACTERS:
                    submit()
                if stop():
                    raise Stopped
            finish(last=True)
            return units
        finally:
            for future, _ in pending:
                future.cancel()
            writer.discard()


def _check_unchanged(task: GroupTask) -> None:
    for file, path in zip(task.group.files, task.paths, strict=True):
        try:
            known = file.version.removeprefix("sha256 ") if file.version.startswith("sha256 ") else None
            same = path.stat().st_size == file.size and (known is None or files.sha256_once(path) == known)
        except OSError as error:
            raise _changed(task, file.name, f"cannot be read ({error.strerror})") from None
        if not same:
            raise _changed(task, file.name, "has changed since it was listed")


def _changed(task: GroupTask, name: str, why: str) -> InputError:
    return InputError(field_of_group(task.recipe, task.group), name, why, "run the command again")


def _records(
    task: GroupTask, source: FilesSource, ended: tuple[int, int] | None
) -> Iterator[tuple[tuple[int, int], Record]]:
    """The records behind those of the units that are there, with (number of the file, how many of it so far)."""
    first_file, first_record = ended or (0, 0)
    field = field_of_group(task.recipe, task.group)
    for number, (file, path) in enumerate(zip(task.group.files, task.paths, strict=True)):
        if number < first_file:
            continue
        behind = first_record if number == first_file else 0
        for count, record in enumerate(read_records(path, source, name=file.name, field=field), 1):
            if count > behind:
                yield (number, count), record


def _result(future: Future[Encoded], batch: Batch, task: GroupTask) -> Encoded:
    try:
        return future.result()
    except EncodingError as failed:
        _, number, line, _, _ = batch.documents[failed.index]
        name = task.group.files[number].name
        where = f"{name}:{line}" if line else name
        remedy = "repair its regular expressions, or take that document out"
        raise InputError("tokenizer", task.recipe.tokenizer.path, f"{failed.why} on {where}", remedy) from None


def build_in_process(task: GroupTask) -> list[dict[str, Any]]:
    """`build_group` in a process of a pool."""
    return build_group(task, processes.report, processes.stopped)
