"""What a user sees of an ingest, on stderr: one bar on a terminal, elsewhere two lines a corpus.

`harness.ingest.build` calls begin, report and end.

    with display_of(recipes, progress=True) as display:
        display.begin(recipe)
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from harness.core.units import count, duration
from harness.ingest.shards import count_files
from harness.texts.listed import FilesSource
from harness.texts.recipe import LocalSource, Recipe
from harness.texts.text_files import text_files

_LINE_SECONDS = 60.0


class PlainDisplay:
    """A line when a corpus begins, one a minute where it is large, and one when it is done."""

    def __init__(self, enabled: bool) -> None:
        self.enabled, self.started = enabled, time.monotonic()
        self.expect(0.0)

    def begin(self, recipe: Recipe) -> None:
        self.recipe, self.started = recipe, time.monotonic()
        self.print_line(f"corpus {recipe.name}: reading {count_files(recipe):,} files")
        if left_out := _left_out(recipe):
            self.print_line(f"corpus {recipe.name}: left out are {left_out}")

    def report(self, files_read: int, tokens: int) -> None:
        pass

    def expect(self, size: float, what: str = "bytes of text") -> None:
        """So many bytes are to be read, about; `what` they are."""
        self.expected, self.bytes, self.what = size, 0, what
        self.since = self.told = time.monotonic()

    def add(self, size: int) -> None:
        """So many bytes more were read."""
        self.read(self.bytes + size)

    def read(self, size: int) -> None:
        """So many bytes were read since `expect`: a line a minute."""
        self.bytes = size
        if time.monotonic() - self.told >= _LINE_SECONDS:
            self.told = time.monotonic()
            self.print_line(f"corpus {self.recipe.name}: {self._so_far()}")

    def _so_far(self) -> str:
        seconds = time.monotonic() - self.since
        rate, left = self.bytes / max(seconds, 1e-9), max(0.0, self.expected - self.bytes)
        ends = f", {duration(left / rate)} left" if rate and left else ""
        return f"{count(self.bytes)} of some {count(self.expected)} {self.what}, {rate / 1e6:.1f} MB/s{ends}"

    def end(self, manifest: dict[str, Any]) -> None:
        made = manifest["splits"]
        train = f"{made['train']['tokens']:,} + " if "train" in made else ""
        validation = f"{made['validation']['tokens']:,} validation tokens"
        seconds, alone = time.monotonic() - self.started, "" if train else "; nothing trains on it yet"
        self.print_line(f"corpus {self.recipe.name}: {train}{validation} in {seconds:.0f} s{alone}")
        for note in _notes(self.recipe, manifest):
            self.print_line(f"corpus {self.recipe.name}: {note}")

    def print_line(self, line: str) -> None:
        if self.enabled:
            print(line, file=sys.stderr, flush=True)


class BarDisplay(PlainDisplay):
    """One bar over all corpora, on a terminal."""

    def __init__(self, bar: Any, recipes: Sequence[Recipe]) -> None:
        super().__init__(True)
        self.bar, self.before, self.total = bar, 0, {r.folder: count_files(r) for r in recipes}
        self.task = bar.add_task("corpora", total=sum(self.total.values()))

    def begin(self, recipe: Recipe) -> None:
        self.recipe, self.started = recipe, time.monotonic()
        self.bar.update(self.task, description=f"corpus {recipe.name}")
        if left_out := _left_out(recipe):
            self.print_line(f"corpus {recipe.name}: left out are {left_out}")

    def report(self, files_read: int, tokens: int) -> None:
        description = f"corpus {self.recipe.name} · {count(tokens)} tokens"
        self.bar.update(self.task, completed=self.before + files_read, description=description)

    def read(self, size: int) -> None:
        self.bytes = size
        share = min(1.0, size / max(1.0, self.expected))
        done = self.before + share * self.total[self.recipe.folder]
        self.bar.update(self.task, completed=done, description=f"corpus {self.recipe.name} · {self._so_far()}")

    def end(self, manifest: dict[str, Any]) -> None:
        self.before += self.total[self.recipe.folder]
        super().end(manifest)

    def print_line(self, line: str) -> None:
        self.bar.console.print(line, highlight=False)


def _left_out(recipe: Recipe) -> str:
    return text_files(recipe.source.path, recipe.name).left_out_text() if isinstance(recipe.source, LocalSource) else ""


def _notes(recipe: Recipe, manifest: dict[str, Any]) -> Iterator[str]:
    """What became of a user's own documents that they may not expect."""
    if not isinstance(recipe.source, LocalSource | FilesSource):
        return
    if isinstance(recipe.source, FilesSource) and recipe.source.cut_for:
        return  # what is counted in its units is of all parts
    repeats, empty, pieces = manifest["duplicates"], manifest["empty"], manifest["pieces"]
    total = manifest["documents"] + repeats + empty
    if other := manifest.get("in_no_part"):
        yield f"{other:,} records belong to none of its parts and are left out"
    if repeats:
        yield f"{repeats:,} of {total:,} documents are exact repeats of earlier ones and are left out"
    if empty:
        yield f"{empty:,} of {total:,} documents are empty and are left out"
    if pieces:
        documents = manifest["documents"]
        yield f"too few documents ({documents:,}) to hold some out: pieces of {pieces:,} characters or more are"


@contextlib.contextmanager
def display_of(recipes: Sequence[Recipe], progress: bool) -> Iterator[PlainDisplay]:
    """The display that fits stderr; says nothing unless `progress`."""
    if not (progress and sys.stderr.isatty()):
        yield PlainDisplay(progress)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        yield BarDisplay(bar, recipes)
