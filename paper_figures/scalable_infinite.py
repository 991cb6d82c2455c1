"""2403.08763, sections 7.2 to 7.4, figure 10: infinite schedules, annealed after each of several parts, against one
cosine over all parts so far, and one for each. They are as good, and forget little over the boundaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import HashableList

from analysis.measures.arms import by_seed, ends_by_run
from analysis.measures.strategies import COOLDOWNS
from analysis.results.tables import ends_of
from paper_figures import arms, shifts, style
from paper_figures.arms import Arm

SWEEP = "scalable_infinite"
CLAIMS = ("S6", "S7")
SPLIT = ("scale", "model")
LOOKS = {
    "infinite_cosine": style.Look("#0072b2", "-", "o"),
    "infinite_inv_sqrt": style.Look("#56b4e9", (0, (5, 1.2)), "s"),
    "cosine": style.Look("black", "-", "^"),
    "repeated": style.Look("#d55e00", (0, (3, 1, 1, 1)), "D"),
}
LABELS = {
    **{name: f"infinite, {told}" for name, told in COOLDOWNS.items()},
    "cosine": "one cosine over all parts",
    "repeated": "a cosine for each part",
}
LEAST_SPAN = 0.06  # nats


def select(table: pd.DataFrame) -> pd.DataFrame:
    """Runs from random weights of pairs of corpora with an infinite schedule, as long and mixed as one of these."""
    fresh = table[(table.start == "scratch") & np.isclose(table.peak.astype(float), 1)]
    alike = ["upstream", "downstream", *SPLIT]
    units = fresh.replay.astype(float).round(1).rename("mixed"), (fresh.run_tokens / 1e3).round(-1).rename("long")
    infinite = fresh.schedule.isin(COOLDOWNS).groupby([*(fresh[name] for name in alike), *units]).transform("any")
    return fresh[infinite]


def draw(table: pd.DataFrame) -> Figure:
    chosen = select(table)
    chosen = chosen.assign(kind=chosen.schedule.where(~chosen.schedule.str.contains("+", regex=False), "repeated"))
    unit = float(chosen[chosen.schedule.isin(COOLDOWNS)].run_tokens.min())
    chosen = chosen.assign(parts=(chosen.run_tokens / unit).round().astype(int))
    one = chosen[chosen.upstream == chosen.downstream]
    longest = one.groupby("upstream").parts.transform("max")
    several = one[longest > 1]
    sequences = [rows for _, rows in chosen[chosen.upstream != chosen.downstream].groupby("parts")]
    rows: list[HashableList[str]] = [["curves"] * 6, ["ends", "ends", "ends", "apart", "apart", "apart"]]
    rows += [[f"sequence {n}" for n in range(len(sequences)) for _ in range(6 // len(sequences))]] if sequences else []
    figure = Figure(figsize=(style.PAGE, 1.9 * len(rows) + 0.35), layout="constrained")
    axes = figure.subplot_mosaic(rows)
    _curves(axes["curves"], several)
    _against_cosine(axes["ends"], several)
    _since(axes["apart"], chosen)
    for number, own in enumerate(sequences):
        _sequence(axes[f"sequence {number}"], own)
    style.legend_above(figure, axes["curves"], 4)
    drawn = [Arm("", None, style.SCRATCH, chosen)]
    corpora = {name: None for own in sequences for name in own[own.r > 0].corpus.unique()}
    words = [
        "Infinite schedules. Top: validation loss on one corpus (nats per token) along training in parts, where the",
        "branches are anneals. Middle left: final losses after each part, less those of one cosine over all parts so",
        "far, paired by seed; right: the loss on the first corpus less that where its own first part ended.",
        f"Bottom: parts of different corpora ({style.joined(list(corpora))}), final losses on each less those of one"
        " cosine."
        if sequences
        else "",
        f"Final loss: {arms.how_final(drawn)}. No number of the paper's was found.",
        arms.setting([Arm("", None, style.SCRATCH, several)]),
    ]
    return style.caption(figure, " ".join(words))


def _curves(axes: Axes, table: pd.DataFrame) -> None:
    """All lengths of each schedule; the longest has its name."""
    own = []
    for kind, look in LOOKS.items():
        of_kind = table[table.kind == kind]
        for parts, rows in of_kind.groupby("parts"):
            label = LABELS[kind] if parts == of_kind.parts.max() else "_"
            own.append(Arm(label, None, look, rows))
    arms.draw_curves(axes, own, "upstream")
    arms.crop(axes, own, "upstream", 0.2)
    unit = float(table.run_tokens.min())
    for part in range(1, int(table.parts.max())):
        axes.axvline(part * unit / style.token_unit(float(table.run_tokens.max()))[0], color="0.6", linewidth=0.8)
    axes.set_xlabel(axes.get_xlabel().replace("continual pre-training", "training"))
    axes.set_ylabel(f"loss\n({table.upstream.iloc[0]})")


def _points(axes: Axes, place: float, kind: str, values: pd.Series[Any]) -> None:
    """A point of one schedule beside those of the others."""
    if len(values):
        aside = 0.12 * (list(LOOKS).index(kind) - 1.5)
        arms.draw_point(axes, place + aside, values, LOOKS[kind])


def _against_cosine(axes: Axes, table: pd.DataFrame) -> None:
    ends = ends_by_run(table)
    parts = sorted(ends.parts.unique())
    for number, many in enumerate(parts):
        there = ends[ends.parts == many]
        cosine = by_seed(there[there.kind == "cosine"], "U")
        for kind in LOOKS:
            _points(axes, number, kind, (by_seed(there[there.kind == kind], "U") - cosine).dropna())
    _axis(axes, [f"{many} part{'s' if many > 1 else ''}" for many in parts], "final loss less\none cosine's (nats)")


def _since(axes: Axes, chosen: pd.DataFrame) -> None:
    """Loss on the first corpus at the end, less where its own part ended under the same schedule."""
    ends = ends_by_run(chosen)
    first = ends[(ends.upstream == ends.downstream) & (ends.parts == 1)]
    later = ends[ends.parts > 1]
    names: list[str] = []
    later = later.assign(several=later.upstream != later.downstream)
    for (several, parts, upstream, _), runs in later.groupby(["several", "parts", "upstream", "downstream"]):
        for kind in LOOKS:
            before = first[(first.upstream == upstream) & (first.kind == ("cosine" if kind == "repeated" else kind))]
            own = by_seed(runs[runs.kind == kind], "U") - by_seed(before, "U")
            _points(axes, len(names), kind, own.dropna())
        names.append(f"{parts} parts,\n{f'{parts} corpora' if several else 'the same'}")
    _axis(axes, names, "first corpus, since\nits part (nats)")


def _sequence(axes: Axes, table: pd.DataFrame) -> None:
    """Final losses on each corpus of a sequence, less those of one cosine."""
    roles = table[table.r > 0].drop_duplicates("corpus").set_index("corpus").role
    corpora = sorted(map(str, roles.index), key=lambda name: ("upstream", "further", "downstream").index(roles[name]))
    ends = ends_of(table).merge(table[["run", "seed", "kind"]].drop_duplicates(), on="run")
    for number, corpus in enumerate(corpora):
        there = ends[ends.corpus == corpus]
        cosine = by_seed(there[there.kind == "cosine"], "loss")
        for kind in LOOKS:
            _points(axes, number, kind, (by_seed(there[there.kind == kind], "loss") - cosine).dropna())
    axes.set_title(f"{len(corpora)} corpora, a part each")
    _axis(axes, corpora, "final loss less\none cosine's (nats)")


def _axis(axes: Axes, names: list[str], label: str) -> None:
    axes.axhline(0, color="0.35", linewidth=0.8)
    arms.least_span(axes, LEAST_SPAN)
    shifts.categories(axes, names)
    axes.set_ylabel(label)
