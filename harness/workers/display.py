"""What a person sees while workers train: an overall bar and a line per worker, or plain lines without a terminal.
With launch=slurm a worker is a job of the cluster.

The launcher tells it every event of a worker (`harness.train.events`) and calls `tick` now and then; it draws at most
twice a second, since the cores belong to the workers. All goes to stderr.

    with Display(total_tokens, jobs, enabled=True) as display:
        display.event(worker_index, job, event); display.tick(longest_path)
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from harness.core.units import clock, count
from harness.plan.jobs import Job
from harness.store.history import in_order
from harness.train.events import Assigned, Ended, Event, Measured, Progress, Ready, Started

if TYPE_CHECKING:
    from rich.live import Live

DRAW_SECONDS = 0.5
LINE_SECONDS = 10.0  # between two lines of progress where there is no terminal
MINIMAL_NAME = 16  # columns


@dataclass
class Line:
    """What one worker is doing."""

    job: Job | None = None
    note: str = "starting"
    position: int = 0
    lr: float = 0.0
    rate: float = 0.0  # tokens per second
    losses: dict[str, float] = field(default_factory=dict)  # by corpus, in whatever order

    @property
    def tokens(self) -> int:
        """Tokens of the current segment that are done."""
        if self.job is None or not self.job.trains:
            return 0
        program, segment = self.job.task.program, self.job.segment
        return program.tokens(max(self.position, segment.start)) - program.tokens(segment.start)

    @property
    def shown(self) -> list[tuple[str, float]]:
        """(corpus, loss), in an order that is the same for every run."""
        first = (self.job.upstream, self.job.downstream) if self.job is not None else ("", "")
        return [(corpus, self.losses[corpus]) for corpus in in_order(self.losses, *first)]


@dataclass
class Board:
    """All that is shown."""

    total: int  # tokens to train
    ended: int = 0  # tokens of segments that have ended
    lines: dict[int | str, Line] = field(default_factory=dict)  # in the order shown
    longest_path: float = 0.0  # tokens that have to be trained one after the other
    note: str = ""

    @property
    def done(self) -> int:
        return self.ended + sum(line.tokens for line in self.lines.values())

    @property
    def rates(self) -> list[float]:
        return [line.rate for line in self.lines.values() if line.job is not None and line.rate]

    def seconds_left(self) -> float | None:
        """What is left at today's rates, but no less than the longest path takes one worker; None: not known yet."""
        if not self.rates:
            return None
        running = max((line.tokens for line in self.lines.values()), default=0)
        longest = max(0.0, self.longest_path - running)
        return max((self.total - self.done) / sum(self.rates), longest / max(self.rates))


def render(board: Board, width: int) -> list[str]:
    """The lines of the live display, none longer than `width` (60 at least looks right)."""
    return [
        line[:width]
        for line in (
            _overall(board, width),
            *(_worker(n, x, width) for n, x in board.lines.items()),
            *([board.note] if board.note else []),
        )
    ]


def summary(board: Board) -> str:
    """The progress in one plain line."""
    left = board.seconds_left()
    rate = f", {count(sum(board.rates))} tokens/s" if board.rates else ""
    return f"{_share(board):4.0%} of {count(board.total)} tokens{rate}" + (f", {clock(left)} left" if left else "")


def _overall(board: Board, width: int) -> str:
    text = " " + summary(board)
    room = max(0, min(40, width - len(text)))
    filled = round(_share(board) * room)
    return "━" * filled + "─" * (room - filled) + text


def _share(board: Board) -> float:
    return min(1.0, board.done / board.total) if board.total else 1.0


def _worker(number: int | str, line: Line, width: int) -> str:
    head = f"{number} "
    if line.job is None:
        return f"{head}{line.note}"
    if line.note:
        return f"{head}{line.note} {line.job.name}"
    step = f"{line.position}/{line.job.segment.stop}"
    named = " ".join(f"{corpus} {loss:.3f}" for corpus, loss in line.shown)
    bare = " ".join(f"{loss:.3f}" for _, loss in line.shown)
    lr, rate = f"lr {line.lr:.1e}", f"{count(line.rate)} tok/s"
    tail = ""
    for parts in ((step, lr, named, rate), (step, lr, bare, rate), (step, bare, rate), (step, bare), (step,)):
        tail = "  ".join(part for part in parts if part)
        if width - len(head) - len(tail) - 2 >= MINIMAL_NAME:
            break
    room = max(1, width - len(head) - len(tail) - 2)
    return f"{head}{shortened(line.job.name, room):<{room}}  {tail}"


def shortened(name: str, room: int) -> str:
    """The name within `room` columns; its end tells runs of a sweep apart, so the middle goes."""
    if len(name) <= room:
        return name
    front = (room - 1) // 3
    return name[:front] + "…" + name[len(name) - (room - 1 - front) :] if room > 1 else "…"


class Display:
    """Shows a `Board`: live on a terminal, as plain lines elsewhere, nothing but `print_line` if not enabled.

    `who`: what a line is about, before its number.
    """

    def __init__(self, total: int, enabled: bool, who: str = "worker", stream: TextIO | None = None) -> None:
        self.board, self.who = Board(total), who
        self.stream = sys.stderr if stream is None else stream
        self.enabled, self.terminal = enabled, enabled and self.stream.isatty()
        self._live: Live | None = None
        self._drawn = 0.0
        self._lined = time.monotonic()

    def __enter__(self) -> Display:
        if self.terminal:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self.stream), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()  # shows the cursor again, whatever happened
            self._live = None

    def print_line(self, text: str) -> None:
        """A line that stays: failures, warnings."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    def event(self, worker: int | str, job: Job | None, event: Event) -> None:
        """Take in what was told of a worker. `job`: the one it is at."""
        line = self.board.lines.setdefault(worker, Line())
        match event:
            case Ready():
                line.note = "idle"
            case Assigned():
                self.board.lines[worker] = Line(job, note="loading")
            case Started(position):
                line.position, line.note = position, ""
                assert job is not None
                self._plain(f"{self.who} {worker}: {job.name}, steps {position} to {job.segment.stop}")
            case Progress(position, lr, rate):
                line.position, line.lr, line.rate = position, lr, rate
            case Measured(rows):
                # of several sets of windows, as where a run ends, the largest counts, as in tables
                ordered = sorted(rows, key=lambda row: (row.position, row.windows))
                line.losses.update({row.corpus: row.loss for row in ordered})
            case Ended("busy"):
                self.board.lines[worker] = Line(note="idle")
            case Ended(how):
                self._end(worker, line, job, how)

    def _end(self, worker: int | str, line: Line, job: Job | None, how: str) -> None:
        if job is not None and job.trains:
            self.board.ended += job.tokens if how == "done" else line.tokens
        if job is not None and how == "done":
            losses = "".join(f", {corpus} {loss:.4f}" for corpus, loss in line.shown)
            self._plain(f"{self.who} {worker}: done {job.name}{losses}")
        self.board.lines[worker] = Line(note="starting" if how == "died" else "idle")

    def tick(self, longest_path: float) -> None:
        """Draw if it is time to."""
        now = time.monotonic()
        self.board.longest_path = longest_path
        if self._live is not None and now - self._drawn >= DRAW_SECONDS:
            self._drawn = now
            from rich.text import Text

            text = "\n".join(render(self.board, self._live.console.width))
            self._live.update(Text(text, no_wrap=True, overflow="crop"), refresh=True)
        elif not self.terminal and now - self._lined >= LINE_SECONDS:
            self._lined = now
            self._plain(summary(self.board))

    def _plain(self, text: str) -> None:
        if self.enabled and not self.terminal:
            print(text, file=self.stream, flush=True)
