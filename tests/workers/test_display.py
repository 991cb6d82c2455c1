"""The display: numbers that add up, lines that fit 60 columns, plain lines without a terminal, a terminal left sane."""

from __future__ import annotations

import io

import pytest

from harness.plan.jobs import Job, Jobs
from harness.plan.plan import plan
from harness.store.history import Row
from harness.train.events import Assigned, Ended, Measured, Progress, Ready, Started
from harness.workers.display import Board, Display, Line, render, shortened, summary
from tests.composed import points_of
from tests.tiny import command, write_texts


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The training of the base after its warm-up: steps 6 to 60 of 64 tokens."""
    texts = tmp_path_factory.mktemp("texts")
    write_texts(texts)
    (point,) = points = points_of(command(texts, "warmup=0.1"))
    point.labels = ["warmup=0.1"]
    return next(job for job in Jobs(plan(points)).all if job.segment.stop == 60)


def progress(position: int, rate: float = 5000.0) -> Progress:
    return Progress(position, 3e-3, rate)


def rows(**losses: float) -> Measured:
    found = [Row(30, 1920, corpus, 4, "0" * 16, loss * 64, 64, 200) for corpus, loss in losses.items()]
    return Measured(tuple(found))


def shown(job: Job, stream: io.StringIO) -> Display:
    """A display in the middle of a segment."""
    display = Display(total=54 * 64, enabled=True, stream=stream)
    with display:
        display.event(0, None, Ready())
        display.event(0, job, Assigned())
        display.event(0, job, Started(6))
        display.event(0, job, rows(upstream=3.4921, downstream=5.8226))
        display.event(0, job, progress(33))
        display.tick(54 * 64.0)
    return display


def test_tokens_done_are_those_of_ended_segments_and_of_the_current_ones(job: Job) -> None:
    display = shown(job, io.StringIO())
    assert display.board.done == (33 - 6) * 64
    display.event(0, job, Ended("done"))
    assert display.board.done == display.board.total


@pytest.mark.parametrize("how", ["failed", "interrupted", "died"])
def test_a_segment_that_ended_early_counts_as_far_as_it_came(job: Job, how: str) -> None:
    display = shown(job, io.StringIO())
    display.event(0, job, Ended(how))
    assert display.board.done == (33 - 6) * 64


def test_time_left_is_not_known_before_a_worker_has_told_its_speed(job: Job) -> None:
    assert Board(total=10_000).seconds_left() is None
    assert Board(total=10_000, lines={0: Line(job)}).seconds_left() is None


def test_two_workers_halve_the_time_unless_one_path_is_longer(job: Job) -> None:
    board = Board(total=10_000, lines={i: Line(job, "", 6, rate=100.0) for i in range(2)}, longest_path=4_000)
    assert board.seconds_left() == 50
    board.longest_path = 9_000
    assert board.seconds_left() == 90


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal_and_say_what_matters(job: Job, width: int) -> None:
    overall, worker = render(shown(job, io.StringIO()).board, width)
    assert len(overall) <= width
    assert len(worker) <= width
    assert "50% of 3.46k tokens" in overall
    assert "left" in overall
    assert "33/60" in worker
    assert "3.492" in worker
    if width == 120:
        assert "downstream 5.823" in worker
        assert "lr 3.0e-03" in worker


def test_names_are_shortened_in_the_middle() -> None:
    assert shortened("warmup=0.1", 10) == "warmup=0.1"
    assert shortened("schedule=cosine warmup=0.005", 12) == "sch…up=0.005"


def test_without_a_terminal_plain_lines(job: Job) -> None:
    stream = io.StringIO()
    display = shown(job, stream)
    display.event(0, job, Ended("done"))
    lines = stream.getvalue().splitlines()
    assert lines == [
        "worker 0: base, warmup=0.1, steps 6 to 60",
        "worker 0: done base, warmup=0.1, upstream 3.4921, downstream 5.8226",
    ]


@pytest.mark.parametrize("windows", [(4, 64), (64, 4)])
def test_where_a_run_ends_the_loss_on_most_windows_is_told(job: Job, windows: tuple[int, int]) -> None:
    stream = io.StringIO()
    display = Display(total=64, enabled=True, stream=stream)
    display.event(0, job, Assigned())
    measured = [Row(30, 1920, "upstream", count, f"{count:016}", count * 64.0, 64, 200) for count in windows]
    display.event(0, job, Measured(tuple(measured)))
    display.event(0, job, Ended("done"))
    assert stream.getvalue().endswith("upstream 64.0000\n")


def test_losses_are_told_in_one_order_whatever_was_measured_first(job: Job) -> None:
    told = []
    for order in (("a", "downstream", "b", "upstream"), ("upstream", "b", "a", "downstream")):
        stream = io.StringIO()
        display = Display(total=64, enabled=True, stream=stream)
        display.event(0, job, Assigned())
        display.event(0, job, Started(6))
        display.event(0, job, rows(**dict.fromkeys(order, 2.0)))
        assert "upstream 2.000 downstream 2.000 a 2.000 b 2.000" in render(display.board, 140)[1]
        display.event(0, job, Ended("done"))
        told.append(stream.getvalue().splitlines()[-1])
    assert told == ["worker 0: done base, warmup=0.1, upstream 2.0000, downstream 2.0000, a 2.0000, b 2.0000"] * 2


def test_progress_lines_come_every_ten_seconds_at_most(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now = io.StringIO(), [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    display = shown(job, stream)
    before = len(stream.getvalue().splitlines())
    for _ in range(50):
        now[0] += 0.5
        display.tick(0.0)
    assert stream.getvalue().splitlines()[before:] == [summary(display.board)] * 2


def test_switched_off_it_says_only_what_must_be_said(job: Job) -> None:
    stream = io.StringIO()
    with Display(total=64, enabled=False, stream=stream) as display:
        display.event(0, job, Started(6))
        display.print_line("failed: base: the disk is full")
    assert stream.getvalue() == "failed: base: the disk is full\n"


def test_on_a_terminal_it_is_drawn_and_the_cursor_comes_back_after_an_error(job: Job) -> None:
    stream = Terminal()
    display = Display(total=64, enabled=True, stream=stream)

    def fail() -> None:
        with display:
            display.event(0, job, Assigned())
            display.event(0, job, Started(6))
            display.tick(0.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert "6/60" in stream.getvalue()
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")
