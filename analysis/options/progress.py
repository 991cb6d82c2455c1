"""A progress bar on stderr for what takes longer than two seconds, where stderr is a terminal.

with bar("bootstrap") as progress:
    fit_law(law, table, bootstrap=1000, progress=progress)
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from analysis.fitting.search import Progress

PATIENCE = 2.0  # seconds before a bar appears


@contextlib.contextmanager
def bar(label: str) -> Iterator[Progress]:
    """Gives the function that is told how many are done, and of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
    task, begun, started = shown.add_task(label), time.monotonic(), False

    def progress(done: int, of: int) -> None:
        nonlocal started
        if not started and time.monotonic() - begun > PATIENCE:
            shown.start()
            started = True
        shown.update(task, completed=done, total=of)

    try:
        yield progress
    finally:
        if started:
            shown.stop()
