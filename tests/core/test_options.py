"""Options of all commands: in any dialect, and one line for what is typed wrongly."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import analysis.__main__
import harness.__main__
import paper_figures.__main__
from harness import disk, evaluate, export, peek, sweep
from harness.compose.compose import collect
from harness.core import command
from harness.core.errors import InputError
from harness.core.options import Parser, amount, path

Main = Callable[[Sequence[str]], int]
MAINS: dict[str, Main] = {
    "harness": harness.__main__.main,
    "sweep": sweep.main,
    "evaluate": evaluate.main,
    "peek": peek.main,
    "disk": disk.main,
    "export": export.main,
    "analysis": analysis.__main__.main,
    "figures": paper_figures.__main__.main,
}


@pytest.fixture
def parser() -> Parser:
    made = Parser(prog="try")
    made.add_argument("words", nargs="*")
    made.add_argument("--root", type=path, default=Path("runs"))
    made.add_argument("--most-tokens", type=amount)
    made.add_argument("--map", action="append", default=[])
    made.add_argument("--seed", type=int)
    made.add_argument("--live", action="store_true")
    return made


@pytest.mark.parametrize(
    "line",
    [
        "--root here --most-tokens 0.6M --live",
        "--root=here --most-tokens=600k --live=true",
        "root=here most-tokens=6e5 live=true",
        "root=here most_tokens=600000 live=True",
        "--root here --most_tokens 0.6M live=TRUE",
    ],
)
def test_an_option_may_be_written_in_three_ways(parser: Parser, line: str) -> None:
    options, words = parser.read(line.split())
    assert (options.root, options.most_tokens, options.live, words) == (Path("here"), 600_000, True, [])


def test_a_value_with_an_equals_sign_is_a_value(parser: Parser) -> None:
    options, words = parser.read(
        ["--map", "root=params,seed=1", "map=N=params", "seed=1", "--root", "a=b"], keep=["seed"]
    )
    assert options.map == ["root=params,seed=1", "N=params"]
    assert (options.root, options.seed, options.words) == (Path("a=b"), None, ["seed=1"])
    assert not parser.read(["live=false"])[0].live
    assert words == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("harness --rooot x", "rooot=x: unknown key; did you mean root?"),
        ("harness --root", "--root: nothing follows it"),
        ("harness root=", "root=: not a text"),
        ("harness tokenizer=", "tokenizer=: not a path"),
        ("sweep", "sweep=none: no sweep file named"),
        ("sweep demo --root", "--root: nothing follows it"),
        ("sweep demo --peek=1", "peek=1: unknown key; did you mean peak?"),
        ("evaluate", "runs and sets= (or windows=) are needed"),
        ("evaluate run --set cpp", "set=cpp: unknown key; did you mean sets?"),
        ("evaluate run sets=", "sets=: nothing is given"),
        ("peek", "the following arguments are required: run, --at"),
        ("peek run --att 1", "--att=: no such option; did you mean --at?"),
        ("peek run --at x", "--at=x: not a whole number"),
        ("peek run at=1 --root", "--root=: nothing follows it"),
        ("peek run at=1 rot=x", "rot=x: not known here; did you mean --root?"),
        ("analysis", "the following arguments are required: command"),
        ("analysis run", "command=run: no such choice; did you mean runs?"),
        ("analysis runs root=", "--root=: nothing is given"),
        ("analysis runs --root --json", "--root=: --json follows, and no value"),
        ("analysis runs --rot=/nowhere", "--rot=/nowhere: no such option; did you mean --root?"),
        ("analysis runs json=maybe", "--json=maybe: not true or false"),
        ("analysis runs rooms", "argument=rooms: not known here; did you mean --root?"),
        (
            "analysis runs root=~no.such.user/x",
            "--root=~no.such.user/x: no such user has a home here; write the path out",
        ),
        ("analysis rusn --root s3", "command=rusn: no such choice; did you mean runs?"),
        ("analysis --root s3 rusn", "command=rusn: no such choice; did you mean runs?"),
        ("analysis --root=s3", "the following arguments are required: command"),
        ("disk usag --root s3", "usage|gc|verify|rm|relist=usag: no such choice; did you mean usage?"),
        ("disk usage --root=s3 --rnus=x", "--rnus=x: no such option; did you mean --runs?"),
        ("disk gc --older 5", "--older=5: not an age; give a number with s, m, h, d or w, such as 30d"),
        ("export run folder --push bad name", "argument=name: not known here"),
        ("export run folder --push=x.y", "--push=x.y: not the name of a repository"),
        ("analysis mix N=many", "--N=many: not a number"),
        ("analysis fit chinchilla residuals=lag", "--residuals=lag: no such choice; did you mean log?"),
        ("figures --lve", "--lve=: no such option; did you mean --live?"),
        ("figures out=", "--out=: nothing is given"),
        ("figures lr=3", "overrides need a sweep"),
    ],
)
def test_what_is_typed_wrongly_is_one_line(given: str, said: str) -> None:
    name, *arguments = given.split()
    with pytest.raises(InputError) as caught:
        MAINS[name](arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["sweep", "evaluate"])
def test_help_is_given(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "-h"):
        assert MAINS[name]([flag]) == 0
        assert f"python -m harness.{name}" in capsys.readouterr().out


def test_a_store_is_named_alike_everywhere(tmp_path: Path) -> None:
    """No command takes --root or its value for something else."""
    root = str(tmp_path / "none")
    for arguments in (["--root", root], [f"--root={root}"], [f"root={root}"]):
        for name, more in (("analysis", ["runs"]), ("peek", ["run", "at=1"]), ("evaluate", ["run", "sets=cpp"])):
            with pytest.raises(InputError, match=r"no such run|there is no store"):
                MAINS[name]([*more, *arguments])
        assert sweep.main(["demo", *arguments, "do=plan", "--json"]) == 0
        assert collect(["do=plan", *arguments])[0].config["root"] == root


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_nothing_that_is_printed_fails(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "loss 2 ± 0.1 → r² ≤ 1 … ━━ Grüße ┊ 漢 \udce9"
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr(sys, "argv", ["x"])
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)

    def main(_: Sequence[str]) -> int:
        print(text)
        raise InputError("name", text, "why", "remedy")

    assert command.guarded(main) == 2
    for stream in (out, err):
        stream.flush()
        buffer = stream.buffer
        assert isinstance(buffer, io.BytesIO)
        printed = buffer.getvalue().decode(encoding)
        assert printed.count("\n") == 1
        assert "loss 2 " in printed
        if encoding == "ascii":
            assert "2 +/- 0.1 -> r2 <= 1 ~ -- Gru" in printed
            assert "| ? ?" in printed
