"""Expressions of people who mean harm, or do not know better: none may do anything but be refused in one line.

    python -m tests.hostile FOLDER        # all of them wherever a command reads text; what each did, as JSON
    python -m tests.hostile FOLDER 8      # each at one of eight places

Run in a process of its own: from the first expression on it has two gigabytes, a minute of processor time, and no file
outside of FOLDER, no import, no code and no process without its being recorded.
"""

from __future__ import annotations

import csv
import io
import json
import re
import resource
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

MEMORY, SECONDS = 2 * 2**30, 300
DEEP, LONG = 3_000, 100_000
EVENTS = (
    "exec",
    "compile",
    "import",
    "os.",
    "subprocess.",
    "socket.",
    "shutil.",
    "ctypes.",
    "marshal.",
    "pickle.",
    "code.",
)

EXPRESSIONS = {
    "attributes": """
        loss.to_csv('stolen')
        loss.values.tofile('stolen')
        loss.to_pickle('stolen')
        loss.to_json('stolen')
        loss.values.dump('stolen')
        loss.__class__
        loss.__init__.__func__.__globals__
        loss.__init__.__func__.__globals__['sys'].modules['os'].system('touch stolen')
        loss.__class__.__mro__[1].__subclasses__()
        loss.pipe(print)
        loss.apply(print)
        loss.map(str)
        loss.agg('to_csv', path_or_buf='stolen')
        loss.eval('1')
        loss.str.startswith('a')
        run.str.contains('(a+)+$')
        run.str.replace('a', 'b')
        run.str.repeat(1000000000)
        run.str
        run.isin(['a'])
        loss.max()
        loss.real
        D.real.imag
        (loss).to_csv('stolen')
        (loss + D).to_csv('stolen')
        loss . to_csv('stolen')
        `loss`.to_csv('stolen')
        'a'.__class__
        'a'.format(loss)
        '{0.__class__}'.format(loss)
        ().__class__.__bases__[0].__subclasses__()
        [].append(loss)
        1 .__class__
        1.0.__class__
        exp.__globals__
        exp(loss).__class__
        max.__self__
        sum.__self__.__dict__
        """,
    "the interpreter": """
        __import__('os').system('touch stolen')
        __import__('os')
        eval('1')
        eval(loss)
        exec('import os')
        compile('1', 'a', 'eval')
        open('stolen', 'w')
        open('/etc/passwd')
        globals()
        locals()
        vars()
        dir(loss)
        getattr(loss, 'to_csv')
        setattr(loss, 'a', 1)
        delattr(loss, 'a')
        input()
        breakpoint()
        exit()
        quit()
        help(loss)
        print(loss)
        type(loss)
        super()
        memoryview(loss)
        bytearray(1000000000)
        range(1000000000)
        list(loss)
        str(loss)
        id(loss)
        hash(loss)
        object()
        sympify('1')
        Symbol('x')
        lambdify(loss, loss)
        Integral(loss)
        read_csv('stolen')
        system('touch stolen')
        loss(1)
        exp
        exp()
        exp(loss, D)
        exp(x=loss)
        exp(*loss)
        exp(**loss)
        exp(loss)(loss)
        sum(sum(D))
        max()
        """,
    "Python": """
        lambda: 1
        lambda x: x
        [x for x in loss]
        {x for x in loss}
        {x: 1 for x in loss}
        (x for x in loss)
        (yield)
        (yield loss)
        await loss
        loss if loss else D
        (loss := 1)
        loss = 1
        loss += 1
        loss; loss
        import os
        from os import system
        del loss
        assert loss
        while 1: loss
        def f(): loss
        class A: loss
        return loss
        raise loss
        global loss
        with loss: loss
        try: loss
        f'{loss}'
        f"{__import__('os')}"
        b'a'
        r'a'
        u'a'
        'a' 'b'
        'a' % loss
        '%s' % loss
        '''a'''
        loss[0]
        loss[::]
        loss[loss]
        loss[...]
        {'a': 1}
        {**loss}
        *loss
        **loss
        @loss
        @pd.read_csv
        $loss
        ?loss
        !ls
        %timeit
        loss is None
        loss is not D
        loss -> D
        loss <> D
        loss << 2
        loss ^ 2
        loss ++
        loss and
        # loss
        loss # D
        loss \\ D
        1j
        0x10
        0b1
        0o7
        1_000
        1e
        1e5e5
        .
        ...
        ()
        (,)
        (loss
        loss)
        [loss
        'loss
        `loss
        ``
        ,
        """,
}


def expressions() -> list[tuple[str, str]]:
    """(kind, expression), more than two hundred, always the same."""
    found = [(kind, line.strip()) for kind, lines in EXPRESSIONS.items() for line in lines.strip().splitlines()]
    nested = {
        "(": ")",
        "exp(": ")",
        "abs(": ")",
        "sqrt(": ")",
        "-": "",
        "+": "",
        "~": "",
        "not ": "",
        "2**": "",
        "loss**": "",
        "[": "]",
        "max(1, ": ")",
        "loss in [": "]",
        "1/(1+": ")",
        "lower(": ")",
    }
    size = [
        *(opened * DEEP + "loss" + closed * DEEP for opened, closed in nested.items()),
        *(opened * 39 + "k" + closed * 39 for opened, closed in nested.items()),
        "9**9**9**9",
        "9**9**9**9*loss",
        "9**(9**(9**(9*D/D)))*k",
        "(9*k)**99999999**k",
        "((((9*k)**64)**64)**64)**64",
        "(9**99999999*k)**99999999",
        "10**400",
        "1e308*10*loss",
        "1e999",
        "0**-1",
        "1/0",
        "1/(D - D)",
        "(-1)**0.5",
        "log(-1)*k",
        "exp(1000)",
        "exp(exp(exp(10)))*k",
        "1" * LONG,
        "0." + "1" * LONG,
        "1" * LONG + "." + "1" * LONG,
        "loss + " * LONG,
        "loss+" * 5_000 + "1",
        "loss*" * 5_000 + "1",
        "loss<" * 5_000 + "1",
        "loss==1 and " * 2_000 + "loss",
        "'a'*1000000000",
        "'a'*10**9",
        "'a'*loss",
        "['a']*1000000000",
        "[1]*10**9",
        "loss*['a']",
        "run in [" + "'a'," * 6_000 + "]",
        "'" + "a" * LONG + "'",
        "n" * LONG,
        "`" + "n" * LONG + "`",
        "n" * LONG + ".a",
        "(" * LONG,
        ")" * LONG,
        "'" * LONG,
        "." * LONG,
        "n." * 50_000,
        " " * LONG,
        "max(" + ",".join(["k"] * 2_000) + ")",
        "max(" + ",".join(f"k{i}*D" for i in range(900)) + ")",
        "*".join(f"(a{i} + D)" for i in range(400)),
        "exp(" + "*".join(f"(a{i} + D)" for i in range(120)) + ")",
        "1/(" + "+".join(f"exp(a{i}*D)" for i in range(300)) + ")",
        "exp(-" * 19 + "k" + ")*D" * 19,
        "exp(-a0*D/(1 + " * 19 + "k*b" + "))" * 19,
        "(a + D)**(b + D)**(c + D)**(d + D)**(e + D)",
        "sum(" * 30 + "D" + ")" * 30,
        "sqrt(" * 39 + "(k - D)**2" + ")" * 39,
        "abs(k - " * 39 + "D" + ")" * 39,
        "max(D, k, " * 39 + "a" + ")" * 39,
        "k**0.5" * 1_000,
        "log(" * 39 + "k" + ")" * 39,
    ]
    likenesses = [
        "ｌｏｓｓ",
        "lоss",  # a Cyrillic o
        "ｅｘｅｃ('1')",
        "__import__",
        "__builtins__",
        "__class__",
        "__debug__",
        "None",
        "lambda",
        "True",
        "_",
        "loss\u200b",
        "\u202eloss",
        "lo\u0301ss > ",
        "\ufeffloss.a",
        "loss\x00",
        "\x00",
        "loss\n.to_csv('stolen')",
        "loss\r\n+\r\nopen('stolen')",
        "\x1b[2J\x1b]0;stolen\x07",
        "loss ＞ 1",
        "loss × 2",
        "loss²",
        "٣ + ٤.x",
        "½",
        "∞",
        "🙂",
        "\u2028loss\u2028open('stolen')",
        "'\x1b[31m' + loss",
        'loss == "\'".a',
    ]
    return [*found, *(("size", text) for text in size), *(("likenesses", text) for text in likenesses)]


def entries(folder: Path, document: dict[str, Any]) -> dict[str, Callable[[str], list[str]]]:
    """Where a command reads text of somebody: name -> the command that meets an expression there."""
    table = folder / "table.csv"
    fit = ["fit", "chinchilla", "--table", str(table)]

    def law(name: str, **keys: object) -> list[str]:
        """A TOML file with keys in place of those of a law that would be right."""
        right = {"formula": "E + A/D**k", "variables": {"D": "tokens"}, "linear": ["E", "A"], "starts": {"k": [0.1, 1]}}
        lines = [f"{key} = {_toml(value)}" for key, value in {**right, **keys}.items()]
        (folder / "law.toml").write_text(f"[{_toml(name)}]\n" + "\n".join(lines), encoding="utf-8")
        return ["fit", f"{folder}/law.toml", "--table", str(table)]

    def formula(text: str) -> list[str]:
        names = dict.fromkeys(re.findall(r"(?<!\w)[A-Za-z_]\w*", text[:30_000]))
        rest = [
            name for name in names if name != "D" and name not in ("exp", "log", "sqrt", "abs", "max", "min", "sum")
        ]
        return law("hostile", formula=text, linear=[], starts={name: [0.1, 1] for name in rest})

    def fit_file(text: str) -> list[str]:
        changed = {**document, "definition": {**document["definition"], "formula": text}}
        (folder / "fit.json").write_text(json.dumps(changed))
        return ["mix", "--general", f"{folder}/fit.json", "--N", "1e8", "--D", "1e9", "--base-loss", "3"]

    return {
        "where": lambda text: [*fit, f"--where={text}"],
        "map": lambda text: [*fit, f"--map=loss={text}"],
        "formula": formula,
        "fit file": fit_file,
        "requirement": lambda text: law("mine", requirements=[text]),
        "parameter": lambda text: law("mine", formula=f"E + A/D**{text}", starts={text: [0.1, 1]}),
        "law": lambda text: ["fit", text, "--table", str(table)],
        "column": lambda text: [*fit, "--map", f"loss=`{text}`+`{text}`", "--table", _strange(folder, text)],
        "fix": lambda text: [*fit, f"--fix=E={text}"],
    }


def _strange(folder: Path, name: str) -> str:
    """A table with a column of this name, and fewer rows than a law has parameters."""
    with (folder / "strange.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["N", "D", name], *([10**8 + i, 10**9 + 7 * i * i, 2 + i / 10] for i in range(3))])
    return f"{folder}/strange.csv"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value).replace("\x7f", "\\u007f")  # texts and lists are written as in JSON


def _recorded(folder: Path, events: list[str]) -> Callable[[str, tuple[Any, ...]], None]:
    inside = str(folder)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and not str(arguments[0]).startswith(inside):
            events.append(f"open {arguments[0]}")
        elif (
            event == "open"
            and arguments[1] not in ("r", "rb", None)
            and not str(arguments[0]).endswith((".toml", ".json", "strange.csv"))
        ):
            events.append(f"open {arguments[0]} {arguments[1]}")
        elif event.startswith(EVENTS):
            events.append(f"{event} {str(arguments)[:100]}")

    return hook


def main(folder: Path, every: int = 1) -> list[dict[str, Any]]:
    """Each expression at each place, or at one in `every`: status, line, seconds, and what else it did."""
    from analysis.__main__ import command

    def called(arguments: list[str]) -> tuple[int | str, str, str]:
        sys.argv = ["analysis", *arguments]
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status: int | str
            try:
                status = command()
            except BaseException as error:  # what a user would see as a traceback
                status = f"{type(error).__name__}: {error}"[:300]
        return status, out.getvalue(), err.getvalue()

    sizes = [(N, D) for N in (2e7, 6e7, 2e8) for D in (1e9, 3e9, 9e9, 3e10)]
    rows = [f"{D},{1.7 + 400 / D**0.3 + 400 / N**0.34},{N},r{i}" for i, (N, D) in enumerate(sizes)]
    (folder / "table.csv").write_text("\n".join(["D,loss,N,run", *rows]))
    status, out, err = called(["fit", "chinchilla", "--table", str(folder / "table.csv"), "--json"])
    assert status == 0, err
    places = entries(folder, json.loads(out))
    for place in places.values():  # what is imported once for all
        called(place("loss > 1"))
        called(place("E"))
        called(place("0.1"))  # a number to fix, with which rows lie far off
    events: list[str] = []
    found = []
    hook = _recorded(folder, events)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime) + SECONDS, int(used.ru_utime) + 2 * SECONDS))
    sys.addaudithook(lambda event, arguments: hook(event, arguments))
    for i, (kind, text) in enumerate(expressions()):
        for name in list(places)[i % every :: every]:
            arguments = places[name](text)
            events.clear()
            began = time.process_time()
            status, out, err = called(arguments)
            seconds = time.process_time() - began
            found.append(
                {"kind": kind, "place": name, "text": text[:60], "status": status, "out": out[:200], "err": err[:3000]}
                | {"seconds": seconds, "events": list(events)}
            )
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *map(int, sys.argv[2:]))))
