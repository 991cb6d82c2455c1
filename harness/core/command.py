"""What all commands share: what they print, how they end, and where they may write.

A command imports what is slow inside its function, so that Ctrl-C finds `guarded` at work from the start.

    sys.exit(guarded(main))
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from harness.core.errors import CorruptError, InputError
from harness.core.files import denied

# Characters that the program writes, in ASCII. NFKD takes the rest: ² as 2.
PLAIN: dict[int, int | str] = {
    **str.maketrans("━─│┊┤└·−×…–—≈", "--||++*-x~--~"),
    **{ord(character): text for character, text in (("±", "+/-"), ("→", "->"), ("≤", "<="), ("≥", ">="))},
}


def plain_output() -> None:
    """From here on nothing that is printed fails: a character that stdout or stderr lacks becomes a plain one."""
    codecs.register_error("plain", _plain_characters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not a notebook's
            stream.reconfigure(errors="plain")


def guarded(command: Callable[[Sequence[str]], int], interrupted: str = "interrupted") -> int:
    """Run a command on sys.argv. Its status; 2 for wrong input, 130 for Ctrl-C, 1 for a disk that is full, a line each;
    0 where nobody reads its output any more (`| head`), and after --help."""
    plain_output()
    # Of small matrices, threads do nothing sooner, and on a machine whose cores train runs they wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        status = command(sys.argv[1:])
        sys.stdout.flush()
        return status
    except InputError as error:
        return refused(error)
    except CorruptError as error:  # begins with the name of the file
        return refused(CorruptError(f"file={error}; put back a copy of it, or move it away and call again"))
    except SystemExit as leaving:  # argparse and Hydra after --help and the like
        return leaving.code if isinstance(leaving.code, int) else 0
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except PermissionError as error:  # of a store that others write
        remedy = "ask its owner for `chmod -R g+rwX`, or use another folder"
        return refused(InputError("file", error.filename, denied(error), remedy))
    except OSError as error:  # a disk that fills up while corpora are made, say: what is stored stays
        if error.errno == errno.ENAMETOOLONG:
            return refused(InputError("file", error.filename, "the name is too long", "give a shorter one"))
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # Python would try again at its end, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain_characters(error: UnicodeError) -> tuple[str, int]:
    """What is written for characters that a terminal's or a pipe's encoding lacks: never a traceback."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(PLAIN)
    text = re.sub("[\u2801-\u28ff]", "*", text)  # dots of a curve
    plain = [unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?" for character in text]
    return "".join(plain), error.end


def narrowed(lines: Sequence[str], stream: TextIO | None = None, *, tables: bool = True) -> list[str]:
    """Lines as wide as the terminal that `stream` (stdout) is, or as COLUMNS says; `tables`: lines whose columns stand
    apart stay as they are."""
    if (width := terminal_width(stream)) is None:
        return list(lines)
    found: list[str] = []
    for line in lines:
        inside = line.strip()
        row = tables and len(re.findall(r"\S {2,}(?=\S)", inside)) > 1
        indent = line[: len(line) - len(line.lstrip())] + "    "
        whole = row or len(line) <= width
        found += (
            [line]
            if whole
            else textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        )
    return found


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Of stdout, or of `stream`, in characters, 40 at least; None where it is no terminal and COLUMNS says nothing."""
    if not (os.environ.get("COLUMNS") or (stream or sys.stdout).isatty()):
        return None
    return max(shutil.get_terminal_size().columns, 40)


def refused(error: Exception) -> int:
    """The one line of wrong input, and its status."""
    print(f"error: {error}", file=sys.stderr)
    return 2


def check_file(field: str, path: Path, suffixes: Sequence[str]) -> None:
    """InputError unless a file of one of these kinds can be written there: before work for it begins."""
    if path.suffix not in suffixes:
        kinds = f"choose of {', '.join(suffixes)}"
        raise InputError(field, path, f"{path.suffix or 'no suffix'} is no kind of file for it", kinds)
    if not path.parent.is_dir():
        raise InputError(field, path, f"there is no folder {path.parent}", "make it first")
    try:
        new = not path.exists()
        with path.open("ab"):  # what is there stays
            pass
        if new:
            path.unlink()
    except OSError as error:
        raise unwritable(field, path, error) from None


def check_folder(field: str, path: Path) -> None:
    """InputError unless files can be written into a folder, made or to be made: before work for them begins."""
    there = next(folder for folder in (path, *path.parents) if os.path.exists(folder))  # also where a name is too long
    if not there.is_dir():
        raise InputError(field, path, f"{there} is a file", "name a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(field, path, f"nothing can be written into {there}", "name another folder")


def unwritable(field: str, path: Path, error: OSError) -> InputError:
    return InputError(field, path, f"it cannot be written ({error.strerror or error})", "name another")
