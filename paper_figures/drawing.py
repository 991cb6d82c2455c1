"""How the figures become files: each from its own table, one file for each setting in it.

A figure is a module with `SWEEP`, whose table it reads when no store is given (or several, with spaces between),
`CLAIMS`, those of `analysis.claims` that it shows, `select` and `draw`; the first sentence of its docstring is its
title on a page.

    drawn, notes = draw(["rewarm_fig1"], None, Path("figures"), required=True)
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.core.errors import InputError
from paper_figures import arms, data, style
from paper_figures.data import Results

SPLIT = ("scale", "model", "shift", "run_tokens")  # runs that differ in these are never in one figure
IN_DEMO = ("demo", "rewarm_warmup", "rewarm_max_lr", "rewarm_same_data", "scalable_replay", "peak_replay")


@dataclass(frozen=True)
class Drawn:
    """A figure on disk."""

    name: str
    """Of its files: the module's, and the setting where it has several."""
    title: str
    shows: str
    """Said where it is not seen."""
    claims: Sequence[str]
    """Those that it shows."""
    image: Path
    """SVG, without the caption."""
    caption: str
    rows: pd.DataFrame
    """What it is drawn from."""
    tables: Sequence[str]
    """The names of the committed tables; none: a store."""


def draw(names: Sequence[str], live: Results | None, out: Path, *, required: bool) -> tuple[list[Drawn], list[str]]:
    """These figures as files, from a store or the committed tables; and lines on what is missing. Raises InputError if
    all are, or one that is `required`."""
    drawn: list[Drawn] = []
    notes: list[str] = []
    without: list[str] = []
    left = live.table if live else pd.DataFrame()
    for name in names:
        module = importlib.import_module(f"paper_figures.{name}")
        results = live or _frozen(module, required)
        made, note = _draw(name, module, results, out) if results else ([], "")
        notes += [note] if note else []
        without += [] if made or note else [name]
        if required and not made:
            raise InputError("figure", name, "no run of it is done", "`python -m analysis runs` shows what is there")
        drawn += made
        if live:
            left = left[~left.run.isin(set(module.select(live.table).run))]
    if without:
        notes.append(
            f"not drawn, for want of runs in {live.source if live else 'paper_figures/data'}: {', '.join(without)}"
        )
    if live and not required and len(left):
        notes.append(_in_none(left))
    for note in notes:
        print(note, file=sys.stderr)
    if not drawn:
        raise InputError("figure", "all", "no run of any is done", "run a sweep, then give --live --root and --sweep")
    return drawn, notes


def _in_none(left: pd.DataFrame) -> str:
    """One line on runs that are in no figure, and why."""
    runs = left.drop_duplicates("run")
    scratch, same = runs.start == "scratch", runs.upstream == runs.downstream
    why = {
        "from scratch, with other knobs than the baseline of the others": scratch,
        "on the data of their base, with a warm-up or a schedule that no figure shows": same & ~scratch,
    }
    parts = [f"{', '.join(runs.name[which])} ({text})" for text, which in why.items() if which.any()]
    return f"in no figure: {'; '.join(parts)}"


def _draw(name: str, module: Any, results: Results, out: Path) -> tuple[list[Drawn], str]:
    """One figure for each setting in a table, and one line on the runs that are missing."""
    table = module.select(results.table)
    lacking = module.select(results.lacking) if len(results.lacking) else results.lacking
    note = f"{name}: missing: {', '.join(lacking.name)} (of {results.source})" if len(lacking) else ""
    drawn = []
    for suffix, part in settings(table, getattr(module, "SPLIT", SPLIT)):
        rows = arms.even(part)
        figure = module.draw(rows)
        paths = style.save(figure, out, name + suffix)
        print(paths[0])
        shows = " ".join(str(module.__doc__).partition("\n\n")[0].split())
        title = shows.partition(". ")[0].removesuffix(".") + suffix.replace("-", ", ")
        caption = style.caption_of(figure)
        drawn.append(Drawn(name + suffix, title, shows, module.CLAIMS, paths[-1], caption, rows, results.frozen))
    return drawn, note


def settings(table: pd.DataFrame, split: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """(what to add to the file's name, rows) of each setting; nothing is added if there is only one."""
    varying = [column for column in split if table[column].nunique() > 1]
    if not varying:
        if len(table):
            yield "", table
        return
    for values, part in table.groupby(varying, sort=True):
        yield "".join(f"-{value}" for value in values), part


def _frozen(module: Any, required: bool) -> Results | None:
    """The tables of the figure's own sweeps that are there, or else of the demo, where it has such runs."""

    def there(names: Sequence[str]) -> list[str]:
        return [name for name in names if (data.FROZEN / f"{name}.csv").is_file()]

    sweeps = module.SWEEP.split()
    own = there(sweeps) or there(["demo"] if set(sweeps) & set(IN_DEMO) else [])
    return data.frozen_together(own or sweeps) if own or required else None
