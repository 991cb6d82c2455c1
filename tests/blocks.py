"""Blocks of the documentation as something to run: what each is marked as, and one command after the other.

A block is a fence of README.md, CONTRIBUTING.md or docs/; an HTML comment above it, which a page hides, marks it:

    <!-- block: fast; PATH := texts/upstream -->    NAME := what stands for it when it is run, as often as needed
    <!-- block: plan, status 2 -->                  the exit status of its last command, if not 0
    <!-- block: file sweeps/mine.yaml -->           not run: written there, for the blocks below
    <!-- block: output 2 -->                        its first two lines stand in what the block above printed
    <!-- block: patch conf/config.yaml -->          a diff of that file, without line numbers, in a copy of all,
                                                    where the blocks below it run
    <!-- block: picture -->                         neither commands nor output

Kinds that run: `fast` and `slow` (trained at tiny settings, `TINY`), `plan` (as it stands, with do=plan), `slurm` (as
plan, and on a real SLURM at tiny settings). `python -m ...`, `rewarm...` and torchrun run in this process, `make` says
what it would do (`make -n`), all else goes to bash.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.repository import REPOSITORY
from tests.tiny import command

TINY = command(Path("texts")).split()
KINDS = ("fast", "slow", "plan", "slurm", "file", "output", "patch", "picture")
RUN = ("sh", "python")  # languages that are run, or need a reason not to be
INSTALLED = {"rewarm": "harness", "rewarm-analysis": "analysis", "rewarm-figures": "paper_figures"}
PLANS = ("harness", "harness.sweep")  # modules that take do=plan
_FENCE = re.compile(r"(?ms)^(?:<!-- block: ([^\n]*?) -->\n+)?^(```+|~~~+)([^\n]*)\n(.*?)^\2[ \t]*$")


@dataclass(frozen=True)
class Block:
    """One fence of a page. `words`: of its mark, before the substitutions."""

    page: str
    line: int
    language: str
    text: str
    words: tuple[str, ...]
    stands_for: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def argument(self) -> str:
        return self.words[1] if len(self.words) > 1 else ""

    @property
    def status(self) -> int:
        return int(self.words[2]) if self.words[1:2] == ("status",) else 0

    @property
    def substituted(self) -> str:
        """The text with what stands for its names."""
        text = self.text
        for name, value in self.stands_for:
            text = text.replace(name, value)
        return text

    @property
    def commands(self) -> list[str]:
        """Lines of a shell block, continued ones joined; comments and empty lines left out."""
        joined = self.substituted.replace("\\\n", " ").splitlines()
        return [line.strip() for line in joined if line.strip() and not line.strip().startswith("#")]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Every fence of a page, in order."""
    text, found = page.read_text(encoding="utf-8"), []
    for match in _FENCE.finditer(text):
        mark, *pairs = (match[1] or "").split(";")
        words = tuple(mark.replace(",", " ").split())
        named = [tuple(part.strip() for part in pair.split(":=", 1)) for pair in pairs]
        assert all(len(pair) == 2 for pair in named), f"{page.name}: {match[1]}: write NAME := VALUE"
        line = text.count("\n", 0, match.start(2)) + 1
        stands_for = tuple((pair[0], pair[1]) for pair in named)
        found.append(Block(page.name, line, match[3].strip(), match[4], words, stands_for))
    return found


@dataclass
class Bench:
    """A folder in which the blocks of a page run, in order; `copy`: of the repository, once it is patched."""

    folder: Path
    printed: str = ""
    copy: Path | None = None
    names: dict[str, object] = field(default_factory=dict)

    def run(self, block: Block, *, plan: bool, on_cluster: bool = False) -> None:
        """Run one block; `plan`: nothing is trained."""
        if block.kind == "output":
            compare(block, self.printed)
            return
        if block.kind == "file":
            path = (self.copy or self.folder) / block.argument
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            return
        if block.kind == "patch":
            self.copy = self.copy or copied(self.folder / "copy")
            path = self.copy / block.argument
            path.write_text(patched(path.read_text(encoding="utf-8"), block), encoding="utf-8")
            return
        if block.kind not in ("fast", "slow", "plan", "slurm"):
            return
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            if block.language == "python":
                exec(compile(block.substituted, str(block), "exec"), self.names)
            else:
                for number, line in enumerate(block.commands, start=1):
                    expected = block.status if number == len(block.commands) else 0
                    status = self._command(line, plan=plan or block.kind == "plan", on_cluster=on_cluster)
                    assert status == expected, f"{block}: {line}: status {status}\n{printed.getvalue()[-2000:]}"
        self.printed = printed.getvalue()

    def _command(self, line: str, *, plan: bool, on_cluster: bool) -> int:
        words = shlex.split(os.path.expandvars(line), comments=True)
        if words[0] == "make":
            return _bash(f"make -n -C {REPOSITORY} {shlex.join(words[1:])}")
        module = module_of(words)
        if module is None:
            return _bash(line)
        if self.copy:
            asked = " do=plan" if plan and module[0] in PLANS else ""
            return _bash(f"cd {self.copy} && PYTHONPATH={self.copy} nice {line}{asked}")
        name, arguments = module
        target = io.StringIO()
        for sign in (">", "2>"):
            if sign in arguments:  # `> python.json`
                at = arguments.index(sign)
                arguments, file = arguments[:at] + arguments[at + 2 :], Path(arguments[at + 1])
                with contextlib.redirect_stdout(target):
                    status = self._module(name, arguments, plan=plan, on_cluster=on_cluster)
                file.write_text(target.getvalue(), encoding="utf-8")
                return status
        return self._module(name, arguments, plan=plan, on_cluster=on_cluster)

    def _module(self, name: str, arguments: list[str], *, plan: bool, on_cluster: bool) -> int:
        asks = any(word.startswith(("do=", "-", "--")) and word not in ("-m", "-cd", "-cn") for word in arguments)
        if name in PLANS and plan and not asks:
            arguments = [*arguments, "do=plan"]
        elif name in PLANS and not plan and not asks:
            tiny = [word for word in TINY if not (on_cluster and word.startswith("launch="))]
            arguments = [*arguments, *tiny]
        return run_module(name, arguments)


def module_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The module that a command runs in Python, and its arguments; None for another command."""
    if words[0] in INSTALLED:
        return INSTALLED[words[0]], words[1:]
    if words[0] == "torchrun" or words[:2] == ["python", "-m"]:
        at = words.index("-m") + 1
        return words[at], words[at + 1 :]
    return None


def run_module(name: str, arguments: list[str]) -> int:
    """`python -m name arguments` in this process. Its exit status."""
    before = sys.argv
    sys.argv = [name, *arguments]
    try:
        runpy.run_module(name, run_name="__main__")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    finally:
        sys.argv = before
    return 0


def copied(folder: Path) -> Path:
    """A copy of what runs."""
    for name in ("harness", "analysis", "paper_figures", "tests", "conf", "sweeps", "pyproject.toml"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def patched(text: str, block: Block) -> str:
    """The text with each hunk's old lines, which stand in it once, replaced by its new ones."""
    for hunk in re.split(r"(?m)^@@.*\n", block.text):
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +"))
        assert not lines or (old and text.count(old) == 1), f"{block}: {text.count(old)} times there:\n{old}"
        text = text.replace(old, new) if lines else text
    return text


def compare(block: Block, printed: str) -> None:
    """The first lines of an output block, as many as its mark says (default: all), stand in what was printed.

    `...` is anything, over lines, too.
    """
    lines = block.substituted.splitlines()
    lines = lines[: int(block.argument)] if block.argument else lines
    expected = ".*?".join(re.escape(part) for part in "\n".join(lines).strip().split("..."))
    tidy = "\n".join(line.rstrip() for line in printed.splitlines())
    assert re.search(expected, tidy, re.DOTALL), f"{block}: this is not what is printed:\n{printed[-1500:]}"


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """The current folder, for a while."""
    with contextlib.chdir(folder):
        yield


def _bash(line: str) -> int:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, timeout=600, env={**os.environ, "PATH": path}
    )
    print(done.stdout + done.stderr)
    return done.returncode
