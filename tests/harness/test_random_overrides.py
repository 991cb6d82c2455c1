"""Three hundred calls with overrides and sweep files drawn at random: each ends with a true status, and a line."""

# ruff: noqa: SIM905  (hundreds of words)

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.compose import keys
from tests.attacked import Answer, Attack, attacked, differences, files_of_store, wrong_with
from tests.tiny import KNOBS, write_texts

CALLS = 150
NUMBERS = """0 -1 1 2 3 0.5 1.5 -0.0 1e-8 1e-320 1e24 1e308 1e400 -1e308 nan inf -inf .nan 1_000 0x10 1e3x 0.1x -1x nanx
1e30x 1x1 0.6M 20B 3T -2M 12345678901234567890123 2**3 1/3 1,5 1e 0.1.2""".split()
EMPTY = ["", *"null ~ None '' [] {} [[]] [null] ???".split(), '""']
NESTED = """[1,2] [a,b] [1 [1, {a:1} {a:{b:{c:1}}} {1:2} {kind:hf} {name:wsd} {_target_:os.system} [0.1x,0.1x] [-1] {}
[{a:1}] [upstream] [nobody] [{}] {upstream:1,downstream:1} [{mixture:{downstream:1},tokens:1x}]
[{mixture:{nobody:1},tokens:1x}] [{mixture:{},tokens:0}] [{mixture:{downstream:-1},tokens:1e30}]""".split()
NESTED += ["[" * 3000, "[" * 400 + "]" * 400, "{a:" * 300 + "1" + "}" * 300]
TEXTS = ["a b", " ", "\t", "a\nb", "a" * 5000, "x" * 100_000, "\udcff", "\u202e"]
TEXTS += r"""true off yes ü 日本語 \ ' " a=b = $ } # * !tag &a @ - -- -m key:value ../x a/b %s {0}""".split()
INTERPOLATIONS = """${seed} ${lr} ${nothing} ${.} ${root}${root} ${${seed}} ${oc.env:HOME} ${oc.env:NOBODY,1} ${now:%Y}
${hydra:runtime.cwd} ${oc.decode:1} ${oc.select:lr} ${ a${seed}b ${base.peak}""".split()
RANGES = """range(1,4) range(1,100000000) range(0,1,0) range(0,nan) range(3,1) range(0.1,0.3,0.1) a,b choice(1,2)
interval(0,1) glob(*) shuffle(1,2) sort(3,2) int(3.5) str([1]) float(x) 1, tag(a,1) extend_list(1) , 0,0""".split()
FLAGS = """-m --multirun --help --version --cfg=job -c --info --nothing -x -cd -cn --keys --resolve --config-dir -p -- -
--shell-completion --experimental-rerun=x --run""".split()
HYDRA = """hydra.run.dir=x hydra.sweep.dir=x hydra.output_subdir=x hydra.job.chdir=true hydra/launcher=joblib ~hydra
hydra.mode=MULTIRUN +hydra.x=1 hydra=null hydra.searchpath=[file:///] hydra.verbose=true hydra/job_logging=none
hydra.job.config.override_dirname.kv_sep=: hydra.callbacks={a:{_target_:b}}""".split()
HEAD = "defaults: [config, _self_]\n"
# What a sweep file holds below that line, and whole ones; a semicolon ends a line.
BELOW = r"""
grids: {}
grids: 3
grids: [3]
grids: [{lr: []}]
grids: [{lr: {a: 1}}]
grids: [{lr: [1e-3], lr: [2e-3]}]
1: 2
? [a];: b
x: 1
lr: .nan
lr: 2020-01-01
lr: !!binary aGk=
lr: !!set {a, b}
model: null
model: {layers: two}
base: {pek: 1}
base: [1]
stages: [{}]
stages: {a: 1}
grids: [{hydra.run.dir: [x]}]
hydra: {run: {dir: x}}
grids: [{'': [1]}]
grids: [{null: [1]}]
grids: [{lr: [1e-3], peak: [1]}]
grids: [{seed: [0, 1], lr: ['${seed}']}]
grids: [{a.b.c: [1]}]
grids: [{lr.x: [1]}]
lr: 1e-3;lr: 2e-3
name: [a]
shift: local
""".strip("\n").split("\n")
WHOLE = r"""
# nothing
defaults: [config, _self_]
[1, 2]
text
a: [
a:;	- b
defaults: [sweep]
defaults: [nobody]
defaults: [config, sweep, _self_]
defaults: 3
defaults: {config: 1}
defaults: [{model: nobody}]
defaults: [config, {override /model: nobody}, _self_]
defaults: [config, {override model: mini}, _self_]
a: !!python/object/apply:os.getcwd []
a: !tag b
a: &x [*x]
a: *nobody
- - - -
---;a: 1;---;b: 2
%YAML 9.9
{a: 1}}
a: 'x
a: "\q"
# @package nowhere;defaults: [config]
defaults: [config, config, _self_]
defaults: [_self_, optional x: y, config]
<<: {a: 1}
defaults: [config, '${seed}', _self_]
defaults: [../config]
""".strip("\n").split("\n")
LAUGHS = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True))
SWEEP_FILES = [text.replace(";", "\n") + "\n" for text in [*(HEAD + text for text in BELOW), *WHOLE]]
SWEEP_FILES += [
    "",
    "a: \0\n",
    "\xff\xfe broken",
    "a: &a [1]\n" + LAUGHS,
    HEAD + "grids:\n" + "  - {seed: [0, 1]}\n" * 50,
]
SWEEP_FILES += [HEAD + "lr: " + "[" * 5000, HEAD + "lr: " + "{a: " * 2000 + "1" + "}" * 2000]
SWEEP_FILES += [HEAD + "grids: [{" + ", ".join(f"{key}: [{','.join('0' * 20)}]" for key in "abcdefgh") + "}]\n"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, a store with a trained run, and paths of every kind."""
    folder = tmp_path_factory.mktemp("overrides")
    write_texts(folder)
    (folder / "none").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "bytes").write_bytes(random.Random(0).randbytes(5000))
    (folder / "with = and space").mkdir()
    ((_, answer),) = attacked([_call(folder, folder / "first", folder / "store", (), trains=True)])
    assert (answer.status, wrong_with(answer)) == (0, None), answer.err
    assert answer.states
    return folder


def _call(
    world: Path, folder: Path, root: Path, more: tuple[str, ...], do: str = "run", trains: bool = False
) -> Attack:
    usual = (*KNOBS.split(), f"upstream={world}/upstream", f"downstream={world}/downstream", f"do={do}", f"root={root}")
    return Attack("harness.__main__", (*usual, *more), folder, root, trains)


def paths(world: Path) -> list[str]:
    names = (
        "none",
        "nowhere",
        "fifo",
        "dangling",
        "circle",
        "bytes",
        "upstream",
        "store",
        "upstream/000.txt",
        "a" * 300,
    )
    devices = (
        "/dev/zero",
        "/dev/null",
        "/dev/full",
        "/dev/stdin",
        "/dev",
        "/proc/self/mem",
        "/proc/self/fd",
        ".",
        "..",
    )
    return [*(f"{world}/{name}" for name in names), f"'{world}/with = and space'", *devices, "~/nowhere", "~nobody"]


def override(draw: random.Random, world: Path) -> str:
    """One argument: mostly a key of conf/ with a value of any kind."""
    every = keys.every_key()
    if draw.random() < 0.07:
        return draw.choice((*FLAGS, *HYDRA, *TEXTS))
    key = draw.choice([*every, *keys.groups(), *keys.groups()])
    if draw.random() < 0.03:
        key = draw.choice(
            (key[:-1], f"{key}.x", f"{key}s", key.replace(".", "/"), f"{key}@here", f"{key}..", key.upper())
        )
    kinds: list[tuple[int, Callable[[], str]]] = [
        (5, lambda: draw.choice(NUMBERS)),
        (2, lambda: draw.choice(EMPTY)),
        (2, lambda: draw.choice(NESTED)),
        (2, lambda: draw.choice(TEXTS)),
        (1, lambda: draw.choice(INTERPOLATIONS)),
        (1, lambda: draw.choice(RANGES)),
        (1, lambda: draw.choice(paths(world))),
        (12, lambda: usual(draw, key)),
    ]
    if draw.random() < 0.4 and key in every and key not in ("root", "do", "shift"):
        return f"{key}={usual(draw, key)}"
    if key in ("root", "parent_stores", "path", "upstream", "downstream", "tokenizer"):
        value = draw.choice(paths(world))
        value = f"[{value}]" if key == "parent_stores" else value
    else:
        value = draw.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])[0]()
    form = draw.choices(("{}={}", "+{}={}", "++{}={}", "~{}", "~{}={}", "--{}={}", "{}"), (60, 3, 3, 1, 1, 3, 1))[0]
    return form.format(key, value) if form.count("{}") == 2 else form.format(key)


def usual(draw: random.Random, key: str) -> str:
    """A value that somebody may well give: a choice, the default, or a number near it."""
    if key in keys.groups():
        return draw.choice(keys.groups()[key])
    default = (keys.every_key()[key].default if key in keys.every_key() else "1").strip('"')
    try:
        number = float(default.removesuffix("x"))
    except ValueError:
        return default if default != "null" else draw.choice(("null", "0", "1", "2", "0.5", "0.25x"))
    near = number * draw.choice((0.5, 1, 1.1, 2, 3)) + draw.choice((0, 0, 1))
    return f"{int(near) if near == int(near) else near:g}{'x' if default.endswith('x') else ''}"


def calls(world: Path, folder: Path) -> Iterator[Attack]:
    draw = random.Random(20261126)
    for number in range(CALLS):
        own = folder / str(number)
        root = own / "store"
        more = tuple(override(draw, world) for _ in range(draw.choice((1, 1, 2, 3))))
        kind = draw.choices(("run", "grid", "file", "other"), (14, 3, 5, 5))[0]
        if kind in ("run", "grid"):
            do = draw.choice(("plan", "run"))
            if draw.random() < 0.5:
                shutil.copytree(world / "store", root)
            yield _call(world, own, root, ("-m", *more) if kind == "grid" else more, do, trains=do == "run")
        elif kind == "file":
            own.mkdir()
            content = draw.choice(SWEEP_FILES)
            (own / "sweep.yaml").write_bytes(content.encode("latin-1" if content.startswith("\xff") else "utf-8"))
            own_call = _call(world, own, root, ("-cd", str(own), "-cn", "sweep", *more[1:]), "plan")
            yield own_call
        else:
            yield other(draw, world, own)


def other(draw: random.Random, world: Path, folder: Path) -> Attack:
    """The commands beside `python -m harness`."""
    store = draw.choice((f"{world}/store", *paths(world)))
    odd = draw.choice((*NUMBERS, *EMPTY, *TEXTS, *paths(world)))
    name = draw.choice(("local", "local-cosine", odd))
    table = draw.choice((*paths(world), str(Path(__file__))))
    number, drawn = draw.choice(NUMBERS), override(draw, world)
    analysis, figures = "analysis.__main__", "paper_figures.__main__"
    module, arguments = draw.choice(
        (
            ("harness.peek", [name, "--at", draw.choice(("0", "5", "99", odd)), "--root", store]),
            ("harness.export", [name, f"{folder}/exported", "--at", draw.choice(("60", odd)), "--root", store]),
            ("harness.disk", [draw.choice(("usage", "verify", odd)), "--runs", odd, "--root", store]),
            ("harness.disk", ["gc", "--dry-run", "--older", draw.choice(("0d", odd)), "--root", store, drawn]),
            ("harness.disk", ["rm", name, "--dry-run", "--root", store]),
            ("harness.evaluate", [name, "windows=6", "launch=inline", f"root={store}"]),
            ("harness.evaluate", [name, f"root={store}", drawn]),
            ("harness.sweep", [draw.choice(("demo", "rewarm_warmup", odd)), drawn, "do=plan"]),
            (analysis, ["runs", "--root", store, "--sweep", draw.choice(("demo", odd)), drawn]),
            (analysis, ["runs", "--root", store, "--parent", odd, "--windows", number]),
            (analysis, ["show", name, "--root", store]),
            (analysis, ["diff", name, odd, "--root", store, "--json"]),
            (analysis, ["fit", draw.choice(("chinchilla", "dcpt", "mixing", odd)), "--table", table]),
            (analysis, ["fit", "dcpt", "--root", store, "--corpus", odd, "--map", draw.choice((*TEXTS, "D=1"))]),
            (analysis, ["mix", "--general", table, "--domain", table, "--N", odd, "--D", number]),
            (analysis, ["next", "--domain", table, "--budget", number, "--models", odd]),
            (figures, [odd, "--out", f"{folder}/figures"]),
            (
                figures,
                ["overview", "--live", "--root", store, "--out", draw.choice(("/dev/null", f"{folder}/figures"))],
            ),
        )
    )
    return Attack(module, tuple(arguments), folder)


@pytest.mark.slow
def test_whatever_is_given_ends_with_a_true_status_and_a_line(world: Path, tmp_path: Path) -> None:
    undisturbed = files_of_store(world / "store")
    found, statuses = [], Counter[str]()
    for attack, answer in attacked(calls(world, tmp_path)):
        statuses[f"{attack.module} {answer.status}"] += 1
        if wrong := wrong_with(answer) or _differs(attack, answer, undisturbed):
            found.append(f"{attack}\n  {wrong}\n  {answer.err[-1500:]}")
    assert sum(statuses.values()) == CALLS
    print(sorted(statuses.items()))
    assert not found, "\n\n".join(found)


def _differs(attack: Attack, answer: Answer, undisturbed: dict[str, str]) -> str | None:
    others = differences(answer.states, undisturbed, measurements=False)
    return f"other bytes than undisturbed: {others}" if others and "micro_batch" not in str(attack) else None
