"""How every command ends: one line and a status for what a user, a terminal, a pipe or a disk does to it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.command import check_file, check_folder, narrowed
from harness.core.errors import InputError

BODY = (
    "import sys\nfrom harness.core.command import guarded\ndef main(_):\n    {}\n    return 0\nsys.exit(guarded(main))"
)


def ended(body: str, stdout: int | None = subprocess.PIPE, **variables: str) -> tuple[int, str | None, str]:
    """Status, stdout and stderr of a command with this body."""
    code, environment = [sys.executable, "-c", BODY.format(body)], {**os.environ, **variables}
    done = subprocess.run(
        code, stdout=stdout, stderr=subprocess.PIPE, text=True, errors="replace", check=False, env=environment
    )
    return done.returncode, done.stdout, done.stderr


CORRUPT = "error: file=f: damaged; put back a copy of it, or move it away and call again"


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ("raise KeyboardInterrupt", 130, "interrupted"),
        ("from harness.core.errors import InputError; raise InputError('a', 1, 'b', 'c')", 2, "error: a=1: b; c"),
        ("from harness.core.errors import CorruptError; raise CorruptError('f: damaged')", 2, CORRUPT),
        ("raise OSError(36, '', 'n')", 2, "error: file=n: the name is too long; give a shorter one"),
        ("raise OSError(28, 'No space left on device', 'f')", 1, "error: [Errno 28] No space left on device: 'f'"),
    ],
)
def test_each_end_is_a_status_and_a_line(body: str, status: int, line: str) -> None:
    assert ended(f"print('before'); {body}") == (status, "before\n", line + "\n")


@pytest.mark.parametrize("text", ["'short'", "'long' * 100_000"])
def test_a_reader_that_left_is_no_error(text: str) -> None:
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    assert reader.stdin is not None
    reader.wait()
    assert ended(f"print({text})", reader.stdin.fileno()) == (0, None, "")
    reader.stdin.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("text", ["'short'", "'long' * 100_000"])
def test_output_that_cannot_be_written_is_an_error(text: str) -> None:
    with open("/dev/full", "w") as full:
        assert ended(f"print({text})", full.fileno()) == (1, None, "error: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "ascii:strict"])
def test_a_terminal_without_the_characters_gets_plain_ones(encoding: str) -> None:
    """R² and bars of a display, names of users, undecodable bytes of a file's name."""
    body = r"print('R\u00b2 \u2501\u2500 a\u2026 \u28c0 caf\u00e9 \u4e2d \udcff')"
    status, out, err = ended(body, PYTHONIOENCODING=encoding)
    assert (status, err) == (0, "")
    if encoding.startswith("ascii"):
        assert out == "R2 -- a~ * cafe ? ?\n"


@pytest.mark.parametrize("leaving", ["sys.exit()", "sys.exit(0)"])
def test_help_ends_with_status_0(leaving: str) -> None:
    assert ended(leaving) == (0, "", "")


@pytest.mark.parametrize("package", ["harness", "analysis", "paper_figures"])
def test_every_command_ends_so(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    module = importlib.import_module(f"{package}.__main__")
    monkeypatch.setattr(module, "main", interrupted)
    assert module.command() == 130
    captured = capsys.readouterr()
    assert captured.err.startswith("interrupted")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("package", ["harness", "analysis", "paper_figures"])
def test_commands_are_guarded_before_anything_slow_is_imported(package: str) -> None:
    slow = {"numpy", "yaml", "pandas", "matplotlib", "scipy", "torch"}
    code = f"import sys, {package}.__main__; assert not {slow} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_where_nothing_can_be_written_is_refused_first(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    for folder in (file, file / "a", file / "a" / "b"):
        with pytest.raises(InputError, match=f"--out={folder}: {file} is a file; name a folder"):
            check_folder("--out", folder)
    check_folder("--out", tmp_path / "new" / "folder")
    with pytest.raises(InputError, match="there is no folder"):
        check_file("--report", tmp_path / "new" / "page.html", [".html"])
    with pytest.raises(InputError, match="it cannot be written"):
        check_file("--report", tmp_path / f"{'x' * 300}.html", [".html"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_lines_fit_the_terminal_and_stay_whole_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    phase = (
        f"{' ' * 13}22114 steps  49999577088 tokens  CosineClipped lr 0.0003 to 0.00028  1 slimpajama (unknown epochs)"
    )
    lines = [f"{'word ' * 30}end", phase, "short", "x" * 90]
    assert narrowed(lines) == lines  # a file
    monkeypatch.setenv("COLUMNS", "80")
    wrapped = narrowed(lines, tables=False)
    assert [line for line in wrapped if len(line) > 80] == ["x" * 90], "a word is not torn"
    assert " ".join(" ".join(wrapped).split()) == " ".join(" ".join(lines).split())
    assert wrapped[wrapped.index("short") - 1] == f"{' ' * 17}1 slimpajama (unknown epochs)"
    assert phase in narrowed(lines), "the columns of a table stand one above the other"
