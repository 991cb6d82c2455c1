"""Laws and decisions on any subset of any committed table: an answer, a refusal or no answer, never a traceback.

python -m tests.fuzzed 300 --first 0          a line for each draw that is at fault, and how the others ended

A draw is a committed table of which runs, rows and values of columns are left out at random, and a command on it: fit,
fit auto, compare or decide, with options and maps at random. Most draws are MEANT to be answered: a decision of one
base and pair of corpora, a fit of rows behind the base of one corpus, of a law of columns that vary, which pools all
settings. Each is a process with CPU_SECONDS at most.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import multiprocessing
import resource
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.options.unlike import SETTINGS
from tests.repository import REPOSITORY

CPU_SECONDS = 40
TABLES = (
    *sorted((REPOSITORY / "paper_figures" / "data").glob("*.csv")),
    *sorted((REPOSITORY / "analysis" / "notebooks" / "data").glob("*.csv")),
)
MEANT = 0.8
KINDS = ("upstream", "downstream", "base_address", "start")  # of which a decision has one each
ENDS = ("answered", "no answer", "refused", "too long")  # that are as they should be


@dataclass(frozen=True)
class Draw:
    """A command on a table."""

    table: str
    words: tuple[str, ...]


def drawn(number: int, folder: Path) -> Draw:
    """One draw, its table written into the folder."""
    random = np.random.default_rng(number)
    meant, decides = random.random() < MEANT, random.random() < 0.4
    tables = [table for table in TABLES if decides <= _of_runs(table)] if meant else TABLES
    source = tables[random.integers(len(tables))]
    rows = pd.read_csv(source, comment="#")
    if meant and not decides:
        for name in [name for name in ("corpus", "D") if name in rows]:
            rows = rows[rows[name] > 0 if name == "D" else rows[name] == random.choice(rows[name].dropna().unique())]
    for _ in range(random.integers(4)):  # of some columns some values
        column = random.choice(rows.columns)
        values = rows[column].dropna().unique()
        if 1 < len(values) <= 60:
            kept = random.choice(values, random.integers(1, len(values)), replace=False)
            rows = rows[rows[column].isin(kept)]
    if "run" in rows and random.random() < 0.6 and len(rows):
        runs = rows.run.unique()
        rows = rows[rows.run.isin(random.choice(runs, random.integers(1, len(runs) + 1), replace=False))]
    if random.random() < 0.4:
        rows = rows.sample(frac=random.uniform(0.05, 1), random_state=int(random.integers(2**31)))
    if random.random() < 0.2:
        rows = rows.drop(columns=random.choice(rows.columns, 1))
    file = folder / f"{number}.csv"
    if decides:
        if meant and len(rows) and set(KINDS) <= set(rows):
            one = rows.sample(1, random_state=int(random.integers(2**31)))[list(KINDS)]
            rows = rows.merge(one, on=list(KINDS))
        words = _decide(random)
    else:
        columns = list(map(str, rows.columns))
        words = _fit(random, columns, [name for name in columns if rows[name].nunique() > 1] if meant else None)
        pooled = [name for name in SETTINGS if name in rows]
        words += ["--pool", ",".join(pooled)] if meant and pooled else []
    rows.to_csv(file, index=False)
    return Draw(source.name, (*words, "--table", str(file)))


def _decide(random: np.random.Generator) -> list[str]:
    words = ["decide"]
    question = random.integers(4)
    if question == 0:
        words += ["--tolerance", f"{random.choice([0.5, 2, 5, 10, 25, 60])}%"]
    elif question == 1:
        words += ["--limit", f"{random.uniform(-0.1, 2):.3g}", "--confidence", str(random.choice([0.5, 0.9, 0.99]))]
    elif question == 2:
        words += ["--weights", str(random.choice(["1:1", "0:1", "1:0", "3:1"]))]
    if random.random() < 0.6:
        words += ["--where", str(random.choice(["downstream == 'python'", "seed == 0", "start == 'pretrain'"]))]
    words += ["--bases", "average"] if random.random() < 0.5 else []
    words += ["--extrapolate"] if random.random() < 0.3 else []
    words += ["--knobs", str(random.choice(["peak", "replay", "peak,replay", "schedule", "lr,replay"]))] * (
        random.random() < 0.3
    )
    words += ["--for-tokens", str(random.choice(["6e5", "2e6", "20e9"]))] if random.random() < 0.4 else []
    words += ["--domain-tokens", str(random.choice(["1e5", "3e9"]))] if random.random() < 0.3 else []
    return [word for word in words if word]


def _of_runs(table: Path) -> bool:
    """Whether it has the columns that decisions are made of."""
    return set(KINDS) <= set(pd.read_csv(table, comment="#", nrows=0).columns)


def _fit(random: np.random.Generator, columns: list[str], varied: list[str] | None) -> list[str]:
    """`varied`: of a law of these columns, if there is any."""
    from analysis.laws.library import LAWS, OF_NO_LOSS

    names = [name for name, law in LAWS.items() if name not in OF_NO_LOSS and set(law.variables) <= set(varied or ())]
    names = names if len(names) > 1 else list(LAWS)
    if random.random() < 0.15:
        words, variables = ["fit", "auto"], ["N", "D", "r"]
    elif random.random() < 0.3:
        chosen = random.choice(names, 2, replace=False)
        words = ["compare", *map(str, chosen)]
        variables = [name for law in chosen for name in LAWS[str(law)].variables]
    else:
        law = str(random.choice(names))
        words, variables = ["fit", law], list(LAWS[law].variables)
    numbers = [
        name for name in ("N", "D", "r", "replay", "lr", "peak", "warmup", "tokens", "position") if name in columns
    ]
    maps = {}
    for name in dict.fromkeys(variables):
        if name not in columns and random.random() < 0.8:
            maps[name] = str(random.choice([*numbers, "1e5", "0.5"]) if numbers else 1e5)
    if "step" not in columns and "position" in columns and random.random() < 0.5:
        maps["step"] = "position"
    words += ["--map", ",".join(f"{name}={value}" for name, value in maps.items())] if maps else []
    conditions = ["D > 0", "corpus == 'python'", "corpus == 'docs'", "role == 'upstream'"]
    for condition in random.choice(conditions, random.integers(3 if varied is None else 2), replace=False):
        if condition.split()[0] in columns:
            words += ["--where", str(condition)]
    words += ["--bootstrap", "20"] if words[0] == "fit" and random.random() < 0.2 else []
    return words


def ended(draw: Draw) -> tuple[str, str]:
    """How a draw ended, of ENDS or "fault", and what it printed."""
    here, there = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(target=_carried_out, args=(draw, there))
    process.start()
    there.close()
    try:
        found: tuple[str, str] = here.recv()
    except EOFError:  # killed
        found = ("", "")
    process.join()
    if found[0]:
        return found
    return (
        ("too long", "")
        if process.exitcode == -24 or process.exitcode == -9
        else ("fault", f"died: {process.exitcode}")
    )


def _carried_out(draw: Draw, answer: Any) -> None:
    from analysis.__main__ import main
    from harness.core.command import guarded

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    sys.argv = ["analysis", *draw.words]
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # of numpy: it stands on a terminal among the answer
            status = guarded(main)
    except BaseException:  # what a user would see as a traceback
        answer.send(("fault", traceback.format_exc()))
        return
    text, refusal = out.getvalue() + err.getvalue(), err.getvalue()
    one_line = refusal.startswith("error: ") and refusal.count("\n") == 1
    wrong = (status == 2 and not one_line) or (status == 0 and "nan" in out.getvalue().lower().split())
    answer.send(("fault" if wrong else {0: "answered", 1: "no answer", 2: "refused"}.get(status, "fault"), text))


def fuzzed(first: int, draws: int) -> Iterator[tuple[int, Draw, str, str]]:
    """Draws one after the other, and how each ended."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + draws):
            draw = drawn(number, Path(folder))
            yield number, draw, *ended(draw)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("draws", type=int)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    for number, draw, end, text in fuzzed(options.first, options.draws):
        counts[f"{draw.words[0]}: {end}"] += 1
        if end in ("fault", "too long"):
            print(f"{number} {end} {draw.table}: {' '.join(draw.words)}\n{text[-3000:]}", flush=True)
    print(dict(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
