"""2403.08763, section 6.2, figure 5 and table 2: replay under a weak and a strong shift. A little removes most of the
forgetting, and costs little downstream."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import DOWNSTREAM, UPSTREAM
from analysis.measures.arms import W1, at_usual_rate, by_seed
from analysis.measures.contrast import share_removed
from paper_figures import arms, shifts, style
from paper_figures.printed import LOOK, origin, printed, series, value

SWEEP = "scalable_weak scalable_strong"
CLAIMS = ("S2", "S3")
SPLIT = shifts.SPLIT
PRINTED = printed("2403.08763", "Table 2", "baselines")
LEVEL = 0.9
LABELS = ("downstream loss", "upstream loss", "ours (nats)", "the paper's,\n405M (nats)", "share removed")


def select(table: pd.DataFrame) -> pd.DataFrame:
    """w1 and the same with replay; and w1 of the same base onto other corpora."""
    chosen = at_usual_rate(table, warmup=W1["warmup"])
    several = chosen.groupby(["upstream", "downstream", *SPLIT], dropna=False).replay.transform("nunique") > 1
    of_base = several.groupby([chosen[name] for name in ("upstream", *SPLIT)], dropna=False).transform("any")
    return chosen[several | (of_base & (chosen.replay == 0))]


def draw(table: pd.DataFrame) -> Figure:
    everything = shifts.of(select(table))
    parts = [part for part in everything if part.table.replay.nunique() > 1]
    shares = sorted(table.replay.astype(float).unique())
    figure, axes = shifts.panels(parts, 5, row_height=1.3)
    drawn = []
    for column, part in zip(zip(*axes, strict=True), parts, strict=True):
        own = arms.grid(part.table, "replay", lambda share: f"replay {style.percent(share)}", shares)
        for panel, role in zip(column[:2], ("downstream", "upstream"), strict=True):
            arms.draw_curves(panel, own, role)
            arms.crop(panel, own, role, 0.1)
        column[0].set_xlabel("")
        arms.draw_base(column[1], own, "upstream")
        _ours(column[2], column[4], part, shares)
        _printed(column[3], column[4], part, shares)
        others = [one for one in everything if one not in parts and one.upstream == part.upstream]
        for other in others:
            arms.draw_point(column[2], 0.12, by_seed(_forgetting(other), "F"), UPSTREAM, markerfacecolor="white")
            column[2].text(0.5, _forgetting(other).F.mean(), other.name, va="center", fontsize=style.SMALL)
        for panel in column[2:]:
            panel.axhline(0, color="0.35", linewidth=0.8)
            shifts.categories(panel, [f"{100 * share:g}" for share in shares])
        column[4].axhline(1, color="0.35", linewidth=0.8)
        column[4].set_xlabel("replay (% of the stream)")
        drawn += own
    shifts.name_rows(axes, LABELS)
    looks = zip((f"replay {style.percent(share)}" for share in shares), style.ordered(len(shares)), strict=True)
    shifts.key(axes[2][0], [*looks], lines=True)
    shifts.key(axes[2][0], [("forgetting", UPSTREAM), ("what replay costs downstream", DOWNSTREAM)])
    style.legend_above(figure, [axes[2][0], axes[1][0]], 5)
    words = [
        "Replay under several shifts. Validation loss (nats per token) along continual pre-training when a share of",
        "the stream is drawn from upstream; the number of tokens is the same for all. Third row: forgetting, the final",
        "upstream loss less the base's, and what replay costs, the final downstream loss less that without (open: of",
        "the same base onto another corpus, without replay). Fourth row: the same of the paper's losses. Last row:",
        "the share of the forgetting that replay removes, 1 − F(x)/F(0), with its interval by Fieller",
        f"({style.percent(LEVEL)}; none where F(0)'s own holds 0). Final loss: {arms.how_final(drawn)}.",
        origin(PRINTED),
        arms.learning_rates(drawn),
        arms.setting(drawn),
    ]
    return style.caption(figure, " ".join(words))


def _forgetting(part: shifts.Shift) -> pd.DataFrame:
    """Ends with F, what each run forgets."""
    return part.ends.assign(F=lambda runs: runs.U - runs.U_base)


def _ours(axes: Axes, removed: Axes, part: shifts.Shift, shares: list[float]) -> None:
    """Forgetting and cost by replay, and the share of the former that is removed."""
    ends = _forgetting(part)
    none = ends[np.isclose(ends.replay.astype(float), 0)]
    for number, share in enumerate(shares):
        some = ends[np.isclose(ends.replay.astype(float), share)]
        if some.empty:
            continue
        arms.draw_point(axes, number - 0.08, by_seed(some, "F"), UPSTREAM)
        paired = pd.DataFrame({name: by_seed(runs, "F") for name, runs in (("some", some), ("none", none))}).dropna()
        if share == 0 or paired.empty:
            continue
        arms.draw_point(axes, number + 0.08, (by_seed(some, "V") - by_seed(none, "V")).dropna(), DOWNSTREAM)
        gone, interval = share_removed(paired.some, paired.none, LEVEL)
        arms.draw_point(removed, number, [gone, *(interval or ())], UPSTREAM, mean=gone)


def _printed(axes: Axes, removed: Axes, part: shifts.Shift, shares: list[float]) -> None:
    """The paper's of a shift of the same strength."""
    rows = PRINTED[PRINTED["shift"] == part.strength]
    base = value(rows, "base", "U")
    if base is None:
        axes.set_axis_off()
        return
    F, V = series(rows, "replay", "U") - base, series(rows, "replay", "V")
    own = [share for share in F.index if share in shares]
    x = [shares.index(share) for share in own]
    for y, look in ((F[own], UPSTREAM), ((V - V[0])[own], DOWNSTREAM)):
        axes.plot(x, y, look.marker, color=LOOK.color, markerfacecolor="white", linestyle=LOOK.line)
    gone = (1 - F / F[0])[own]
    removed.plot(x[1:], gone.iloc[1:], LOOK.marker, color=LOOK.color, markerfacecolor="white", linestyle=LOOK.line)
