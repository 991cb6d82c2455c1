"""2403.08763, section 6.3, figures 6 and 7, table 2: continual pre-training with replay, for as many tokens as its base
had, against the union of both corpora and against downstream alone, from random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.measures.arms import NEAR, W1, by_seed, rewarmed, scratch, union
from paper_figures import arms, shifts, style
from paper_figures.printed import LOOK, origin, printed, series, value

SWEEP = "scalable_baselines"
CLAIMS = ("S4", "S5", "R4")
SPLIT = ("scale", "model")
PRINTED = printed("2403.08763", "Table 2", "baselines")
UNION, ALONE, BASE = "from scratch, union of both", "from scratch, downstream alone", "the base"
LOOKS = {UNION: style.Look("#009e73", "-", "P"), ALONE: style.SCRATCH, BASE: style.CONSTANT}
WITH, WITHOUT = style.Look("#0072b2", "-", "o"), style.Look("#d55e00", "-", "s")
COLUMNS = {"U": "upstream", "V": "downstream", "mean": "mean of both"}


def select(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs of corpora that have a union: it, downstream alone and re-warmed runs, as long as the base."""
    unions = table[(table.start == "scratch") & (table.replay > 0) & (table.upstream != table.downstream)]
    found = [table[:0]]
    for pair, own in unions.groupby(["upstream", "downstream", *SPLIT]):
        rows = table[(table[["upstream", "downstream", *SPLIT]] == list(pair)).all(axis=1)]
        new = float(own.run_tokens.max()) * (1 - float(own.replay.max()))  # downstream tokens of the union
        long = rows[(rows.run_tokens - new).abs() <= NEAR * new]
        share = float(own.replay.max())
        found += [union(rows, float(own.run_tokens.max()), share), rewarmed(long, warmup=W1["warmup"]), scratch(long)]
    return table.loc[sorted(set().union(*(part.index for part in found)))]


def draw(table: pd.DataFrame) -> Figure:
    parts = shifts.of(select(table))
    theirs = [PRINTED[PRINTED["shift"] == part.strength] for part in parts]
    rows = 2 * len(parts)
    figure, axes = style.panels(rows, 3, row_height=1.5, sharey="row", height_ratios=[9, 6] * len(parts))
    for number, (part, printed_rows) in enumerate(zip(parts, theirs, strict=True)):
        _draw(axes[2 * number], ours(part))
        axes[2 * number][0].set_title(f"{part.title}\nupstream")
        axes[2 * number + 1][0].set_title("the paper's, 405M: upstream")
        for row in axes[2 * number : 2 * number + 2]:
            for panel, label in zip(row[1:], [*COLUMNS.values()][1:], strict=True):
                panel.set_title(label)
        _draw(axes[2 * number + 1], of_paper(printed_rows), grey=True)
    for panel in axes[-1]:
        panel.set_xlabel("final loss (nats per token)")
    drawn = [arms.Arm("", None, WITH, part.table) for part in parts]
    words = [
        "Continual pre-training against training from scratch. Final losses of the base, of runs that re-warm it to",
        "multiples of its peak without and with replay, for as many tokens as it had, of random weights on as many",
        "downstream tokens alone, and on both corpora mixed for the tokens of base and run together. The second row of",
        f"each shift is the paper's. Final loss: {arms.how_final(drawn)}.",
        origin(PRINTED),
        arms.learning_rates(drawn),
        arms.setting(drawn, "points are their mean and bars their range"),
    ]
    return style.caption(figure, " ".join(words))


Losses: TypeAlias = "dict[str, dict[str, pd.Series[float]]]"  # arm -> U, V -> by seed


def ours(part: shifts.Shift) -> Losses:
    """The arms of one pair of corpora, from top to bottom."""
    ends = part.ends
    started, fresh = ends[ends.start != "scratch"], ends[ends.start == "scratch"]
    found = {BASE: started.drop_duplicates("seed").assign(U=lambda runs: runs.U_base, V=lambda runs: runs.V_base)}
    for _, runs in started.assign(share=started.replay.astype(float)).groupby(["share", "peak"]):
        share, peak = float(runs.share.iloc[0]), float(runs.peak.iloc[0])
        found[_name(share, style.times(peak))] = runs
    found[ALONE], found[UNION] = fresh[fresh.replay == 0], fresh[fresh.replay > 0]
    return {name: {letter: by_seed(runs, letter) for letter in "UV"} for name, runs in found.items() if len(runs)}


def of_paper(rows: pd.DataFrame) -> Losses:
    """The same arms of the paper's, a number each."""
    found: dict[str, dict[str, float | None]] = {BASE: {letter: value(rows, "base", letter) for letter in "UV"}}
    shares = series(rows, "replay", "U").index
    for share in [share for share in shares if share in (0.0, 0.05, 0.25)]:
        found[_name(share, "1×")] = {letter: series(rows, "replay", letter)[share] for letter in "UV"}
    for name, run in ((ALONE, "scratch"), (UNION, "union")):
        found[name] = {letter: value(rows, run, letter) for letter in "UV"}
    return {
        name: {letter: pd.Series([loss]) for letter, loss in losses.items() if loss is not None}
        for name, losses in found.items()
    }


def _name(share: float, peak: str) -> str:
    return f"re-warmed to {peak}, {f'replay {style.percent(share)}' if share else 'no replay'}"


def _draw(row: Sequence[Axes], losses: Losses, grey: bool = False) -> None:
    for height, (name, of) in enumerate(losses.items()):
        look = LOOKS.get(name) or (WITHOUT if "no replay" in name else WITH)
        if grey:
            look = style.Look(LOOK.color, "", look.marker)
        both = {**of, "mean": (of["U"] + of["V"]).dropna() / 2} if set(of) == {"U", "V"} else of
        for panel, letter in zip(row, COLUMNS, strict=True):
            if letter in both:
                face = "white" if grey else look.color
                arms.draw_point(panel, height, both[letter], look, across=True, markerfacecolor=face)
    row[0].set_yticks(range(len(losses)), list(losses))
    row[0].set_ylim(len(losses) - 0.5, -0.5)
    for panel in row[1:]:
        panel.tick_params(axis="y", length=0)
