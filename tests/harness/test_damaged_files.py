"""A hundred calls over files damaged at random: damage is named or made good, never taken for the right thing."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.slurm.submissions import record
from harness.store.lease import acquire
from harness.store.store import Store
from tests.attacked import Answer, Attack, attacked, differences, files_of_store, wrong_with
from tests.tiny import KNOBS, write_texts

CALLS = {"store": 30, "parent": 12, "reading": 15, "texts": 18, "checkpoint": 12, "table": 13}
MODULE = "harness.__main__"
LAW = """
[MINE]
formula = "E + B/D**beta"
variables = {D = "tokens"}
linear = ["E", "B"]
starts = {beta = [0.05, 0.9]}
bounds = {beta = [1e-3, 3.0]}
source = "a test"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two trained runs, rows added later and what dead processes left; texts, a checkpoint, tables."""
    folder = tmp_path_factory.mktemp("damage")
    write_texts(folder)
    _write_formats(folder / "formats")
    _done(folder, _command(folder, folder / "store", "-m", "replay=0,0.25"))
    store = Store(folder / "store")
    runs = store.root / "runs"
    name = sorted(os.listdir(runs))[0]
    shutil.copytree(store.root, folder / "evaluated")
    _done(folder, ("harness.evaluate", (name, "windows=6", "launch=inline", f"root={folder / 'evaluated'}")))
    shutil.copytree(folder / "evaluated", store.root, dirs_exist_ok=True)
    address = sorted(store.addresses())[0]
    lease = acquire(store.root / "leases", address)
    assert lease is not None
    left = lease.path.read_bytes().replace(f'"pid": {os.getpid()}'.encode(), b'"pid": 4194303')
    lease.release()
    lease.path.write_bytes(left)
    store.write_failure("f" * 32, 3, None, "a log", "a reason")
    (store.root / "jobs" / "token").mkdir(parents=True)
    record(store.root / "jobs" / "token", [[address]], "12")
    shape = LlamaConfig(
        vocab_size=320,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=16,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(shape).save_pretrained(folder / "model")
    tokenizer = next((store.root / "corpora").glob("*/tokenizer.json"))
    shutil.copy(tokenizer, folder / "model" / "tokenizer.json")
    _done(folder, _command(folder, folder / "hf", *_checkpoint(folder / "model")))
    _write_tables(folder / "tables")
    return folder


def _done(folder: Path, call: tuple[str, tuple[str, ...]]) -> None:
    ((_, answer),) = attacked([Attack(call[0], call[1], folder / "made")])
    assert (answer.status, wrong_with(answer)) == (0, None), answer.err


def _command(
    world: Path, root: Path, *more: str, upstream: str = "upstream", downstream: str = "downstream"
) -> tuple[str, tuple[str, ...]]:
    own = (f"upstream={world}/{upstream}", f"downstream={world}/{downstream}", f"root={root}")
    return MODULE, (*KNOBS.split(), *own, *more)


def _checkpoint(model: Path) -> tuple[str, ...]:
    return ("start=hf", f"path={model}", "lr=0.01")


def _write_formats(folder: Path) -> None:
    """The same texts in every format that is read."""
    folder.mkdir()
    draw = random.Random(1)
    texts = [" ".join(draw.choice(("alpha", "beta", "gamma", "delta")) for _ in range(80)) + "." for _ in range(400)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "a.txt").write_text("\n\n".join(texts))
    (folder / "a.jsonl").write_text(lines)
    (folder / "a.json").write_text(json.dumps([{"text": text} for text in texts]))
    (folder / "a.jsonl.zst").write_bytes(pa.compress(lines.encode(), codec="zstd", asbytes=True))
    pq.write_table(pa.table({"text": texts}), folder / "a.parquet")
    with (folder / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])


def _write_tables(folder: Path) -> None:
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = [(n, d, 1.7 + 400 / n**0.34 + 410 / d**0.28) for n in (1e7, 1e8, 1e9) for d in (1e9, 3e9, 1e10, 3e10)]
    columns = {key: [row[i] for row in rows] for i, key in enumerate(("N", "D", "loss"))}
    columns["loss"] = [loss * (1 + 1e-3 * draw.standard_normal()) for loss in columns["loss"]]
    table = pa.table({**columns, "run": [f"run{i}" for i in range(len(rows))]})
    pq.write_table(table, folder / "t.parquet")
    (folder / "t.csv").write_text(
        "\n".join(
            ",".join(map(str, row)) for row in [table.column_names, *zip(*table.to_pydict().values(), strict=True)]
        )
    )
    (folder / "mine.toml").write_text(LAW)
    fit = ("fit", f"{folder}/mine.toml:MINE", "--table", f"{folder}/t.csv", "--pool", "N", "--json")
    ((_, answer),) = attacked([Attack("analysis.__main__", fit, folder / "made")])
    assert answer.status == 0, answer.err
    (folder / "fit.json").write_text(answer.out)


def damaged(draw: random.Random, path: Path, beside: list[Path]) -> str:
    """Damage a file in one of many ways. What was done."""
    content = path.read_bytes()
    at = draw.randrange(max(len(content), 1))

    def flip() -> None:
        path.write_bytes(
            content[:at] + bytes([(content[at] if content else 0) ^ 1 << draw.randrange(8)]) + content[at + 1 :]
        )

    def replaced(make: Callable[[], object]) -> Callable[[], None]:
        def act() -> None:
            path.unlink()
            make()

        return act

    def listen() -> None:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket has a hundred characters at most
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(here)

    ways: dict[str, Callable[[], object]] = {
        "flipped": flip,
        "flipped again": flip,
        "truncated": lambda: path.write_bytes(content[:at]),
        "zeroed": lambda: path.write_bytes(content[:at] + bytes(min(512, len(content) - at)) + content[at + 512 :]),
        "appended": lambda: path.write_bytes(content + draw.randbytes(37)),
        "random": lambda: path.write_bytes(draw.randbytes(len(content) or 10)),
        "swapped": lambda: path.write_bytes(draw.choice(beside).read_bytes()),
        "emptied": lambda: path.write_bytes(b""),
        "deleted": path.unlink,
        "a folder": replaced(path.mkdir),
        "a FIFO": replaced(lambda: os.mkfifo(path)),
        "a socket": replaced(listen),
        "dangling": replaced(lambda: path.symlink_to(path.parent / "nowhere")),
        "a circle": replaced(lambda: path.symlink_to(path)),
        "deep": lambda: path.write_bytes(b'{"a": ' * 50_000 + b"1" + b"}" * 50_000),
        "a list": lambda: path.write_bytes(b"[]"),
        "null": lambda: path.write_bytes(b"null"),
        "another mapping": lambda: path.write_bytes(b'{"format": [], "sha256": {}, "key": 3}'),
    }
    way = draw.choice(list(ways))
    ways[way]()
    return f"{path.name} {way}"


def calls(world: Path, folder: Path, told: dict[Path, str]) -> Iterator[Attack]:
    draw = random.Random(20261126)
    for kind, count in CALLS.items():
        for number in range(count):
            own = folder / f"{kind}{number}"
            own.mkdir()
            attack, what = KINDS[kind](draw, world, own)
            told[own] = f"{kind}: {what}"
            yield attack


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def _one_of_each(draw: random.Random, root: Path) -> Path:
    """A file of a store: first its kind, so that small folders are drawn as often as large ones."""
    kinds = sorted({(path.relative_to(root).parts[0], path.suffix) for path in _files(root)})
    top, suffix = draw.choice(kinds)
    return draw.choice([p for p in _files(root) if (p.relative_to(root).parts[0], p.suffix) == (top, suffix)])


def _damage_store(draw: random.Random, root: Path) -> str:
    states = sorted((root / "states").iterdir())
    if draw.random() < 0.15:
        one, other = draw.sample(states, 2)
        shutil.rmtree(one)
        if draw.random() < 0.7:
            shutil.copytree(other, one)
        return f"{one.name} is a copy of {other.name}, or missing"
    path = _one_of_each(draw, root)
    what = damaged(draw, path, _files(path.parent))
    for lease in (root / "leases").glob("*.json"):
        if lease.is_file():
            os.utime(lease, (1e9, 1e9))
    return f"{path.relative_to(root).parent}/{what}"


def _in_a_store(draw: random.Random, world: Path, folder: Path) -> tuple[Attack, str]:
    root = folder / "store"
    shutil.copytree(world / "store", root)
    what = _damage_store(draw, root)
    module, arguments = _command(world, root, "-m", "replay=0,0.25")
    return Attack(module, arguments, folder, root, trains=True), what


def _in_a_parent(draw: random.Random, world: Path, folder: Path) -> tuple[Attack, str]:
    root, parent = folder / "store", folder / "parent"
    shutil.copytree(world / "store", parent)
    if draw.random() < 0.25:
        what = "every weights file flipped"
        for path in parent.glob("states/*/weights.safetensors"):
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
    else:
        what = _damage_store(draw, parent)
    module, arguments = _command(world, root, f"parent_stores=[{parent}]")
    return Attack(module, arguments, folder, root, trains=True), what


def _read(draw: random.Random, world: Path, folder: Path) -> tuple[Attack, str]:
    root = folder / "store"
    shutil.copytree(world / "store", root)
    name = sorted(os.listdir(root / "runs"))[0]
    what = _damage_store(draw, root)
    module, arguments = draw.choice(
        (
            ("harness.evaluate", (name, "windows=6", "launch=inline", f"root={root}")),
            ("harness.peek", (name, "--at", "70", "--root", str(root))),
            ("harness.export", (name, str(folder / "exported"), "--root", str(root))),
            ("harness.disk", (draw.choice(("usage", "verify")), "--root", str(root))),
            ("harness.disk", (*draw.choice((("gc", "--older", "0d"), ("rm", name))), "--root", str(root))),
            ("analysis.__main__", ("runs", "--root", str(root))),
            ("analysis.__main__", ("show", name, "--root", str(root))),
            ("analysis.__main__", ("fit", "dcpt", "--root", str(root), "--corpus", "downstream")),
            ("paper_figures.__main__", ("overview", "--live", "--root", str(root), "--out", str(folder / "figures"))),
        )
    )
    return Attack(module, arguments, folder, root), what


def _in_texts(draw: random.Random, world: Path, folder: Path) -> tuple[Attack, str]:
    suffix = draw.choice((".txt", ".jsonl", ".json", ".jsonl.zst", ".parquet", ".csv"))
    texts = folder / "texts"
    texts.mkdir()
    path = texts / f"a{suffix}"
    shutil.copy(world / "formats" / path.name, path)
    what = damaged(draw, path, _files(world / "formats"))
    given = draw.choice((texts, path))
    module, arguments = _command(world, folder / "store", f"downstream={given}")
    return Attack(module, arguments, folder, folder / "store", trains=True), what


def _in_a_checkpoint(draw: random.Random, world: Path, folder: Path) -> tuple[Attack, str]:
    model, root = folder / "model", folder / "store"
    shutil.copytree(world / "model", model)
    if draw.random() < 0.3:
        file = model / "config.json"
        config = json.loads(file.read_text())
        values: list[Any] = [None, -1, 0, 10**9, "x", [], {}, 1e308, True, "gpt2"]
        key, value = draw.choice(list(config)), draw.choice(values)
        file.write_text(json.dumps(config | {key: value}))
        what = f"config.json: {key}={value}"
    else:
        what = damaged(draw, draw.choice(_files(model)), _files(model))
    module, arguments = _command(world, root, *_checkpoint(model))
    return Attack(module, arguments, folder, root, trains=True), what


def _in_a_table(draw: random.Random, world: Path, folder: Path) -> tuple[Attack, str]:
    tables = folder / "tables"
    shutil.copytree(world / "tables", tables)
    name, arguments = draw.choice(
        (
            ("t.csv", ("fit", f"{tables}/mine.toml:MINE", "--table", f"{tables}/t.csv")),
            ("t.parquet", ("fit", f"{tables}/mine.toml:MINE", "--table", f"{tables}/t.parquet")),
            ("mine.toml", ("fit", f"{tables}/mine.toml:MINE", "--table", f"{tables}/t.csv")),
            ("fit.json", ("mix", "--fit", f"a={tables}/fit.json", "--tokens", "1e9")),
            ("fit.json", ("mix", "--general", f"{tables}/fit.json", "--N", "1e8", "--D", "1e9", "--base-loss", "3")),
            ("fit.json", ("next", "--domain", f"{tables}/fit.json", "--N", "1e8", "--D", "1e9", "--budget", "1e13")),
        )
    )
    what = damaged(draw, tables / name, _files(tables))
    return Attack("analysis.__main__", arguments, folder), what


KINDS: dict[str, Callable[[random.Random, Path, Path], tuple[Attack, str]]] = {
    "store": _in_a_store,
    "parent": _in_a_parent,
    "reading": _read,
    "texts": _in_texts,
    "checkpoint": _in_a_checkpoint,
    "table": _in_a_table,
}


@pytest.mark.slow
def test_damage_is_named_or_made_good(world: Path, tmp_path: Path) -> None:
    undisturbed = files_of_store(world / "store") | files_of_store(world / "hf")
    found: list[str] = []
    statuses: Counter[str] = Counter()
    told: dict[Path, str] = {}
    for attack, answer in attacked(calls(world, tmp_path, told)):
        what = told[attack.folder]
        statuses[f"{what.partition(':')[0]} {answer.status}"] += 1
        if wrong := wrong_with(answer) or _differs(attack, answer, undisturbed):
            found.append(f"{what}\n  {attack}\n  {wrong}\n  {answer.err[-1500:]}")
    print(sorted(statuses.items()))
    assert sum(statuses.values()) == sum(CALLS.values())
    assert not found, "\n\n".join(found)


def _differs(attack: Attack, answer: Answer, undisturbed: dict[str, str]) -> str | None:
    """Nothing that was made again or taken over differs from what an undisturbed call makes."""
    others = differences(answer.states, undisturbed)
    if attack.module == "harness.evaluate" and answer.status == 0 and attack.root is not None:
        others += differences(files_of_store(attack.root), undisturbed)
    return f"other bytes than undisturbed: {others}" if others else None
