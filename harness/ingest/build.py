"""Make the corpora that a root lacks: one folder each, complete or not at all.

Above `harness.ingest.shards`, which writes the files; `harness.corpora.corpus` opens what is made here.

    build([recipe], root)
    build([recipe], root, measured={recipe.key})     # only as far as measuring reads it
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.core import files
from harness.core.cores import cores
from harness.core.errors import CorruptError, InputError
from harness.core.identity import canonical
from harness.corpora.corpus import VALIDATION_FORMAT, Corpus, open_corpus, read_corpus, splits_made
from harness.corpora.held_out import read_of
from harness.ingest.assemble import assemble
from harness.ingest.pretokenized import pretokenized
from harness.ingest.processes import workers
from harness.ingest.progress import display_of
from harness.ingest.shards import ingest
from harness.texts.embedded import OrderedMap
from harness.texts.listed import FilesSource, MegatronSource
from harness.texts.recipe import LocalSource, Recipe
from harness.texts.text_files import text_files

_SMALL_BYTES = 4 << 20  # local files below this are read without other processes, which take a second to start


def build(
    recipes: Sequence[Recipe],
    root: Path,
    *,
    measured: Collection[str] = (),
    progress: bool = True,
    processes: int | None = None,
    check: Callable[[Recipe, Corpus], None] = lambda *_: None,
) -> None:
    """Ingest what `root` lacks; damaged folders are set aside, named on stderr, and made again.

    Of the corpora with keys in `measured` only what measuring reads (`read_of`); what is there of one stays as it is.
    `check` is called for each of them and may raise InputError (`require_windows`) before anything is kept.
    Raises InputError, and leaves nothing behind then, nor on Ctrl-C or a full disk. Two processes at once are safe.
    """
    wanted = list({recipe.folder: recipe for recipe in recipes}.values())
    readings = {recipe.folder: read_of(recipe, whole=recipe.key not in measured) for recipe in wanted}

    def is_ready(recipe: Recipe) -> Corpus | None:
        return _ready(root, recipe, whole=readings[recipe.folder] is recipe)

    ready = [is_ready(recipe) for recipe in wanted]
    for recipe, corpus in zip(wanted, ready, strict=True):
        if corpus is not None:
            check(recipe, corpus)
    if all(ready):
        return
    finished: list[tuple[Path, Recipe]] = []
    with _exclusive(root / "corpora") as folder:
        missing = [recipe for recipe in wanted if not is_ready(recipe)]  # another process may have been faster
        try:
            read = [readings[recipe.folder] for recipe in missing]
            with _workers(read, processes) as ordered_map, display_of(read, progress) as display:
                for recipe, reading in zip(missing, read, strict=True):
                    temporary = folder / files.temporary_name()
                    finished.append((temporary, recipe))
                    temporary.mkdir()
                    display.begin(reading)
                    if isinstance(reading.source, FilesSource):
                        manifest = assemble(reading, root, temporary, processes or cores(), display)
                    elif isinstance(reading.source, MegatronSource):
                        manifest = pretokenized(reading, root, temporary, processes or cores(), display)
                    else:
                        manifest = ingest(reading, temporary, ordered_map, display.report)
                    if reading is not recipe:
                        manifest = _without_train(manifest, recipe)
                    (temporary / "manifest.json").write_bytes(files.seal(manifest))
                    files.flush_folder(temporary)
                    display.end(manifest)
                    check(recipe, read_corpus(temporary, recipe, manifest))
            for temporary, recipe in finished:
                _put(temporary, folder / recipe.folder, root, recipe)
            files.flush(folder)
        finally:
            for temporary, _ in finished:
                shutil.rmtree(temporary, ignore_errors=True)


def _without_train(manifest: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The manifest of a corpus of which only its validation was read."""
    splits = {"validation": manifest["splits"]["validation"]}
    return {**manifest, "format": VALIDATION_FORMAT, "key": recipe.key, "recipe": canonical(recipe), "splits": splits}


def _put(made: Path, final: Path, root: Path, recipe: Recipe) -> None:
    """Give what was made its name. Where the validation alone was there already, the manifest is replaced by that of
    the whole, and the rest is the same. Where there are no locks, the first of two processes wins."""
    if not final.exists():
        made.rename(final)
    elif "train" not in splits_made(root, recipe):
        (made / "manifest.json").replace(final / "manifest.json")
        files.flush(final)


def _ready(root: Path, recipe: Recipe, *, whole: bool) -> Corpus | None:
    try:
        return open_corpus(root, recipe, whole=whole)
    except FileNotFoundError:
        return None
    except CorruptError as error:
        print(f"corpus {recipe.name}: {error}; made again", file=sys.stderr)
        return None


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[Path]:
    """The folder, made if need be and locked; of what was made, what is empty in the end is removed."""
    made: list[Path] = []
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            while True:
                for path in [*reversed(folder.parents), folder]:
                    if not path.exists():
                        path.mkdir(exist_ok=True)
                        made.append(path)
                try:
                    descriptor = os.open(folder, os.O_RDONLY)
                except FileNotFoundError:  # removed by another process that failed
                    continue
                with contextlib.suppress(OSError):  # some network file systems have no locks: then both build, one wins
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                if folder.exists() and os.fstat(descriptor).st_ino == folder.stat().st_ino:
                    break
                os.close(descriptor)
        except OSError as error:
            why = f"cannot be written ({error.strerror})"
            raise InputError("root", folder.parent, why, "choose a folder you may write") from None
        stack.callback(os.close, descriptor)
        files.remove_leavings(folder)
        yield folder


def _remove_empty(folders: list[Path]) -> None:
    for path in reversed(folders):
        with contextlib.suppress(OSError):  # not empty
            path.rmdir()


def _workers(recipes: Sequence[Recipe], processes: int | None) -> contextlib.AbstractContextManager[OrderedMap]:
    # A given tokenizer may fail as no trained one does: by never ending, or by ending its process.
    recipes = [recipe for recipe in recipes if not isinstance(recipe.source, FilesSource | MegatronSource)]
    # those start their own
    simple = all(isinstance(r.source, LocalSource) and not r.tokenizer.path for r in recipes)
    small = simple and all(_size(r) < _SMALL_BYTES for r in recipes)
    return workers(processes or (1 if small else cores()))


def _size(recipe: Recipe) -> int:
    assert isinstance(recipe.source, LocalSource)
    return sum(file.stat().st_size for file in text_files(recipe.source.path, recipe.name).files)
