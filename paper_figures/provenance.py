"""Where the committed tables come from: the commands that made them, what was trained, which commit they came with.

blocks_of(["rewarm_warmup"], {"rewarm_warmup": [Link("rewarm_fig1", "figure-rewarm_fig1")]})
"""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from analysis.report.blocks import Block, Code, Heading, Line, Link, Table, Text
from harness.core.shipped import CODE
from harness.core.units import count
from paper_figures import data

OF_A_BASE = ["model", "upstream", "seed"]


def blocks_of(tables: Sequence[str], shown_in: Mapping[str, Sequence[Link]]) -> list[Block]:
    """A row a table, its anchor `table-NAME`; then their first lines. `shown_in`: figures drawn from each."""
    header = ("table", "runs", "seeds", "tokens of runs", "tokens of bases", "commit", "figures")
    rows: list[list[Line]] = []
    for name in tables:
        runs = data.frozen(name).measured.drop_duplicates("run")
        trained = [count(float(runs.run_tokens.sum())), count(tokens_of_bases(runs))]
        facts = [f"{name}.csv", str(len(runs)), seeds(runs.seed), *trained, _commit_of(name) or "-"]
        rows.append([*facts, separated(shown_in.get(name, ())) or "-"])
    return [
        Text(f"This page was written by rewarm{_version()}{_commit()}."),
        Text(
            "Verdicts are of all of these tables (paper_figures/data), whose first lines say what made them. Tokens of "
            "runs are as if each were trained by itself; each base counts once, however many runs continue it. The "
            "commit is the one that last changed the table."
        ),
        Table(header, rows, (1, 3, 4), "tables", [f"table-{name}" for name in tables]),
        Heading("Their first lines", 3, "commands"),
        *(Code("\n".join((f"{name}.csv", *data.first_lines(name)))) for name in tables),
    ]


def tokens_of_bases(runs: pd.DataFrame) -> float:
    """Tokens that the bases of runs (a row each) were trained on, each of them once. Where runs also start from earlier
    points of a base, these are not further ones."""
    bases = runs.drop_duplicates("base_address").sort_values("base_tokens", kind="stable")
    whole, points = bases[bases["at"] == 1], bases[bases["at"] < 1].drop_duplicates(OF_A_BASE, keep="last")
    theirs = points.merge(whole[OF_A_BASE].drop_duplicates(), on=OF_A_BASE)
    return float(whole.base_tokens.sum() + points.base_tokens.sum() - theirs.base_tokens.sum())


def seeds(numbers: Iterable[int]) -> str:
    """`0 to 2, 5`: no seed twice."""
    parts: list[list[int]] = []
    for seed in sorted({int(number) for number in numbers}):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(f"{part[0]} to {part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts)


def separated(links: Sequence[Link]) -> list[str | Link]:
    """Links with commas between them."""
    return [part for k, link in enumerate(links) for part in ((", ", link) if k else (link,))]


def _version() -> str:
    try:
        return f" {importlib.metadata.version('rewarm')}"
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return ""


def _commit() -> str:
    """Of the program; nothing where git does not know it: an installed package, say."""
    if not _git("ls-files", str(CODE)):
        return ""
    changed = " and changes that are not committed" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return f", commit {_git('rev-parse', '--short=12', 'HEAD')}{changed}"


def _commit_of(name: str) -> str:
    """`1a2b3c4d5e6f (2026-01-31)`."""
    file = str(data.FROZEN / f"{name}.csv")
    if _git("rev-parse", "--is-shallow-repository") == "true" or _git("status", "--porcelain", "--", file):
        return ""
    return _git("log", "-1", "--abbrev=12", "--format=%h (%as)", "--", file)


def _git(*words: str) -> str:
    """What git says about the folder of the program; nothing where it fails."""
    command = ["git", "-C", str(CODE.parent), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
