"""From listed files to a corpus: fetch, build in units, and the manifest that puts units in order.

`harness.ingest.build` calls it. Units are built by as many processes as there are groups to build (a process reads a
group once; where groups are fewer than cores, each has processes that tokenise for it). What is built already, by
whomever and for whatever corpus, is used; what is built stays, so that a killed command goes on.

    manifest = assemble(recipe, root, folder, processes, display)
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.core import files
from harness.core.errors import InputError
from harness.core.units import count
from harness.corpora import tokenizer
from harness.corpora.grouping import Group, groups
from harness.corpora.units import finished_units, shards_folder
from harness.ingest.processes import Shared, pool
from harness.ingest.progress import PlainDisplay
from harness.ingest.selection import (
    TEXT_PER_TOKEN,
    field_of_group,
    needed_tokens,
    selected,
    share,
    source_of,
    suffices,
    train_tokens,
)
from harness.ingest.trained_tokenizer import tokenizer_json
from harness.ingest.units import (
    GroupTask,
    Stopped,
    build_group,
    build_in_process,
)
from harness.texts.fetch import fetch, is_here
from harness.texts.listed import FilesSource, key_of, without_files
from harness.texts.recipe import Recipe

Units = list[dict[str, Any]]

_FETCH_AHEAD = 2  # groups that are fetched while others are built
_SMALL_BYTES = 4 << 20  # below this no process is started


def fetched_folder(root: Path) -> Path:
    """Where files are while they are on their way, and until what they hold is built."""
    return root / "fetched"


def build_units(recipe: Recipe, root: Path, vocabulary: Path, processes: int, display: PlainDisplay) -> list[Units]:
    """The units of each group that the corpus needs, in order; built where they are missing. Raises InputError."""
    return build_groups(recipe, groups(recipe, source_of(recipe)), root, vocabulary, processes, display)


def build_groups(
    recipe: Recipe, some: Sequence[Group], root: Path, vocabulary: Path, processes: int, display: PlainDisplay
) -> list[Units]:
    """The same of some groups alone, as a job of a cluster has them."""
    source = source_of(recipe)
    shards = shards_folder(root)
    shards.mkdir(parents=True, exist_ok=True)
    files.remove_leavings(shards)
    work = _Work(recipe, source, some, shards, fetched_folder(root), vocabulary)
    units = [finished_units(shards, group) for group in some]
    missing = [group for group, there in zip(some, units, strict=True) if not suffices(there, None, source)]
    have = sum(sum(train_tokens(there, source)) for there in units)
    try:
        text = _check_disk(recipe, source, root, missing, have)
        display.expect(text)
        if not missing or (processes == 1 and sum(group.text for group in missing) < _SMALL_BYTES):
            return work.in_order(None, None, display)
        number = max(1, min(processes, len(missing)))
        with pool(number, max(1, processes // number)) as (executor, shared):
            return work.in_order(executor, shared, display, number)
    finally:
        with contextlib.suppress(OSError):  # it holds units, as it should
            shards.rmdir()


def fetch_groups(recipe: Recipe, some: Sequence[Group], root: Path) -> None:
    """Bring the files of groups into the store, for jobs where there is no network. Raises InputError."""
    source = source_of(recipe)
    _check_disk(recipe, source, root, some, fetched=True)
    with ThreadPoolExecutor(_FETCH_AHEAD) as threads:
        there = [
            threads.submit(fetch, file, fetched_folder(root), f"{key_of(recipe.name, source)}.files")
            for group in some
            for file in group.files
        ]
        try:
            for one in there:
                one.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


class _Work:
    """The groups of one corpus on their way."""

    def __init__(
        self,
        recipe: Recipe,
        source: FilesSource,
        everything: Sequence[Group],
        shards: Path,
        fetched: Path,
        vocabulary: Path,
    ) -> None:
        # Groups have their files; the listings of 60,000 would go to each process with each of them.
        bare = without_files(source)
        self.recipe, self.source, self.groups = replace(recipe, source=bare), source, everything
        self.shards, self.fetched, self.vocabulary = shards, fetched, vocabulary
        self.end = end_of_document(recipe, vocabulary)
        self.needed = needed_tokens(source)
        self.built: dict[int, Units] = {}
        self.train = sum(group.split == "train" for group in everything)

    def in_order(self, executor: Any, shared: Shared | None, display: PlainDisplay, processes: int = 1) -> list[Units]:
        """Build until nothing that is needed is missing; the first that fails ends all."""
        stop = shared.stop if shared else threading.Event()
        remote = any(not is_here(file) for group in self.groups for file in group.files[:1])
        ahead = _FETCH_AHEAD if remote and executor else 0
        running: dict[Future[Units], int] = {}
        waiting = iter(range(len(self.groups)))
        with ThreadPoolExecutor(processes + ahead) as threads:
            try:
                following = next(waiting, None)
                while running or following is not None:
                    while following is not None and len(running) < processes + ahead:
                        if running and self._may_suffice(following):
                            break  # what is under way may be enough
                        if self._suffices(following):
                            following = next(waiting, None)
                            continue
                        running[threads.submit(self._one, following, executor, display, stop)] = following
                        following = next(waiting, None)
                    done, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
                    for future in done:
                        self.built[running.pop(future)] = future.result()
                    if shared:
                        display.read(int(shared.bytes.value))
            except BaseException:
                stop.set()
                raise
        return [self.built[at] for at in sorted(self.built)]

    def _one(self, at: int, executor: Any, display: PlainDisplay, stop: Any) -> Units:
        group = self.groups[at]
        task = GroupTask(self.recipe, group, (), self.vocabulary, self.end, self.shards, self._remaining(at))
        units = finished_units(self.shards, group)
        if suffices(units, task.needed, self.source):
            return units
        field = field_of_group(self.recipe, group)

        def goes_on(size: int = 0) -> None:
            if stop.is_set():
                raise Stopped
            if executor is None:
                display.add(size)

        task = replace(task, paths=tuple(fetch(f, self.fetched, field, lambda _: goes_on()) for f in group.files))
        units = build_group(task, goes_on) if executor is None else executor.submit(build_in_process, task).result()
        for file, path in zip(group.files, task.paths, strict=True):
            if not is_here(file):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are on their way
            self.fetched.rmdir()
        return units

    def _remaining(self, at: int) -> tuple[int, ...] | None:
        """Training tokens that the groups before this one leave to be had, as far as those are built."""
        if self.needed is None or at >= self.train:
            return None
        have = [train_tokens(self.built[j], self.source) for j in range(at) if j in self.built]
        return tuple(max(0, need - sum(one[k] for one in have)) for k, need in enumerate(self.needed))

    def _suffices(self, at: int) -> bool:
        """Are the groups before this one enough?"""
        left = self._remaining(at)
        return left is not None and not any(left)

    def _may_suffice(self, at: int) -> bool:
        """May they be, with those under way?"""
        left = self._remaining(at)
        if left is None:
            return False
        under_way = sum(self.groups[j].text for j in range(at) if j not in self.built)
        return under_way / TEXT_PER_TOKEN * share(self.source) >= sum(left)


def assemble(recipe: Recipe, root: Path, folder: Path, processes: int, display: PlainDisplay) -> dict[str, Any]:
    """Write tokenizer and bytes per token into the empty `folder`; returns the manifest. Raises InputError."""
    source = source_of(recipe)
    vocabulary = folder / "tokenizer.json"
    vocabulary.write_bytes(tokenizer_json(recipe.tokenizer, source.longest_document))
    sizes = tokenizer.bytes_per_token(vocabulary, recipe.vocab_size)
    (folder / "token_bytes.bin").write_bytes(sizes.astype("<i4").tobytes())
    built = build_units(recipe, root, vocabulary, processes, display)
    units = [unit for of_group in built for unit in of_group]
    return selected(recipe, source, shards_folder(root), units, folder, end_of_document(recipe, vocabulary))


def end_of_document(recipe: Recipe, vocabulary: Path) -> int:
    """The id of the token that follows each document."""
    found = tokenizer.load(vocabulary).token_to_id(recipe.tokenizer.end_of_document)
    assert found is not None, "the recipe found it"
    return int(found)


def _check_disk(
    recipe: Recipe, source: FilesSource, root: Path, missing: Sequence[Group], have: int = 0, fetched: bool = False
) -> float:
    """InputError if what is missing will not fit: its tokens, and the files on their way (all of them if `fetched`).

    The bytes of text that are to be read, about; `have` are the training tokens that are built.
    """
    text = sum(group.text for group in missing)
    if source.tokens is not None:
        text = min(text, max(0, source.tokens - have) / share(source) * TEXT_PER_TOKEN)
    tokens = text / TEXT_PER_TOKEN * (2 if recipe.vocab_size < 65536 else 4)
    sizes = sorted(sum(file.size for file in group.files if not is_here(file)) for group in missing)
    needed = tokens + sum(sizes if fetched else sizes[-1 - _FETCH_AHEAD :])
    free = shutil.disk_usage(files.nearest_existing(root)).free
    if needed > free:
        why = f"{recipe.name} takes some {count(needed)} bytes, {count(free)} are free"
        raise InputError("root", root, why, f"choose another place, or a smaller {key_of(recipe.name, source)}.tokens")
    return text
