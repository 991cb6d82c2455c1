"""A figure with a column for each pair of corpora, weak shifts first: what 2403.08763 shows of two shifts.

parts = shifts.of(table)                            # a Shift each
figure, axes = shifts.panels(parts, 2)              # 2 rows by a column a shift, with their titles
shifts.name_rows(axes, ["upstream loss", "..."])    # when all is drawn
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.measures.arms import ends_by_run, strength
from paper_figures import style
from paper_figures.style import Look

SPLIT = ("scale", "model", "run_tokens")  # what makes files of their own; shifts are columns of one


@dataclass(frozen=True)
class Shift:
    """One pair of corpora."""

    name: str
    """`docs to python`."""
    strength: str
    """weak, strong, same; empty: of corpora that nobody has placed."""
    table: pd.DataFrame
    """The measurements of its runs."""

    @property
    def upstream(self) -> str:
        return str(self.table.upstream.iloc[0])

    @property
    def title(self) -> str:
        said = {"same": "\n(no shift)", "": ""}.get(self.strength, f"\n({self.strength} shift)")
        return self.name + said

    @property
    def ends(self) -> pd.DataFrame:
        """A row a run: `analysis.measures.arms.ends_by_run`."""
        return ends_by_run(self.table)


def of(table: pd.DataFrame) -> list[Shift]:
    """The pairs of corpora of a table: same data, weak, strong, others."""
    found = []
    for (upstream, downstream), rows in table.groupby(["upstream", "downstream"], sort=True):
        kind = "same" if upstream == downstream else strength(rows)
        found.append(Shift(f"{upstream} to {downstream}", kind, rows))
    return sorted(found, key=lambda one: ("same", "weak", "strong", "").index(one.strength))


def panels(parts: Sequence[Shift], rows: int, row_height: float = 1.45, **options: Any) -> tuple[Figure, list[Any]]:
    """Axes, `rows` lists of one for each shift; y labels belong to the first column."""
    width = style.PAGE if len(parts) > 1 else 4.6
    figure, axes = style.panels(rows, len(parts), row_height=row_height, width=width, **options)
    for panel, part in zip(axes[0], parts, strict=True):
        panel.set_title(part.title)
    return figure, axes


def name_rows(axes: Sequence[Sequence[Axes]], labels: Sequence[str]) -> None:
    """Labels of y axes at the first column; many columns leave room for short labels of x axes only."""
    for row, label in zip(axes, labels, strict=True):
        row[0].set_ylabel(label)
        for panel in row if len(row) > 3 else ():
            panel.set_xlabel(panel.get_xlabel().removeprefix("continual pre-training ").strip("()"))


def key(axes: Axes, looks: Sequence[tuple[str, Look]], *, lines: bool = False) -> None:
    """Entries of the legend, for what is drawn without a label of its own."""
    for label, look in looks:
        axes.plot([], [], **{**look.plot(), **({} if lines else {"linestyle": ""})}, label=label)


def categories(axes: Axes, labels: Sequence[str]) -> None:
    """Names along x at 0, 1, 2, ..., all of them inside."""
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
