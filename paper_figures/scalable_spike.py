"""2403.08763, section 7.1, figure 8: the upstream loss spikes where re-warming begins, on the same data, too; the more,
the higher the peak, and more under a shift."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.measures.arms import W1, by_seed, rewarmed, usual_rate
from analysis.results.tables import of_curves
from paper_figures import arms, shifts, style
from paper_figures.printed import LOOK, origin, printed, series

SWEEP = "scalable_weak scalable_strong"
CLAIMS = ("S8",)
SPLIT = shifts.SPLIT
PRINTED = printed("2403.08763", "text", quantity="rise")
USUAL = printed("2403.08763", "text", quantity="peak").value.item()  # that is 1x of the paper's base
OF_KIND = {"same": style.Look("#009e73", "-", "o"), "weak": style.Look("#e69f00", "-", "s")}
STRONG = [style.Look("#0072b2", "-", "^"), style.Look("#56b4e9", "-", "v"), style.Look("#cc79a7", "-", "D")]


def select(table: pd.DataFrame) -> pd.DataFrame:
    """Peaks on the same data, and onto others from the same base."""
    same = rewarmed(table, same_data=True, warmup=W1["warmup"])
    chosen = pd.concat([same, rewarmed(table, warmup=W1["warmup"], replay=0.0)])
    of_base = [chosen[name] for name in ("upstream", *SPLIT)]
    pairs = (chosen.upstream == chosen.downstream).groupby(of_base, dropna=False)
    return chosen[pairs.transform("any") & ~pairs.transform("all")].sort_index()


def draw(table: pd.DataFrame) -> Figure:
    chosen = select(table)
    ((rate, usual),) = usual_rate(table).items()
    peaks = sorted(chosen[rate].astype(float).unique())
    bases = sorted(chosen.upstream.unique())
    figure, axes = style.panels(len(bases), 3, row_height=1.8, width_ratios=[3, 2, 2])
    for row, base in zip(axes, bases, strict=True):
        parts = shifts.of(chosen[chosen.upstream == base])
        strong = iter(STRONG)
        looks = [OF_KIND.get(part.strength) or next(strong, style.CONSTANT) for part in parts]
        for part, look in zip(parts, looks, strict=True):
            label = f"{base}, unseen windows" if part.strength == "same" else part.name
            arm = [arms.Arm(label, None, look, part.table[part.table[rate] == usual])]
            arms.draw_curves(row[0], arm, "upstream", until=arms.EARLY)
            rises = rise_of(part.table)
            means = []
            for peak in peaks:
                own = by_seed(rises[rises[rate] == peak], "rise")
                if len(own):
                    arms.draw_point(row[1], peaks.index(peak), own, look)
                    means.append((peaks.index(peak), own.mean()))
            row[1].plot(*zip(*means, strict=True), color=look.color, linewidth=0.8)
            theirs = series(PRINTED[PRINTED["shift"] == part.strength], "peak", "rise")
            x = [peaks.index(peak / USUAL) for peak in theirs.index if peak / USUAL in peaks]
            y = [theirs[peak] for peak in theirs.index if peak / USUAL in peaks]
            row[2].plot(x, y, look.marker, color=LOOK.color, markerfacecolor="white", linestyle=LOOK.line)
        arms.draw_base(row[0], arm, "upstream")
        row[0].set_ylabel(f"upstream loss\n({base})")
        for panel in row[1:]:
            shifts.categories(panel, [arms.rate_text(rate, peak) for peak in peaks])
            panel.set_ylim(bottom=0)
    for panel, title in zip(axes[0], ("the beginning", "largest rise (nats)", "the paper's, 405M"), strict=True):
        panel.set_title(title)
    for panel in axes[-1][1:]:
        panel.set_xlabel("peak / peak of the base" if rate == "peak" else "peak learning rate")
    style.legend_above(figure, [row[0] for row in axes], 3)
    drawn = [arms.Arm("", None, style.CONSTANT, chosen)]
    words = [
        "The spike of the upstream loss (nats per token) after re-warming, where the base goes on with unseen windows",
        f"of its own corpus, and onto others. Left: the first {style.percent(arms.EARLY)}, at a {arms.RATES[rate]} of",
        f"{arms.rate_text(rate, usual)}. Middle: the",
        "largest loss along the run less the base's, by peak. Right: circles the same data, squares a weak shift.",
        origin(PRINTED),
        arms.learning_rates(drawn),
        arms.setting(drawn),
    ]
    return style.caption(figure, " ".join(words))


def rise_of(table: pd.DataFrame) -> pd.DataFrame:
    """A row a run: its settings, and `rise`, the largest upstream loss along it less that of its base, in nats."""
    rows = of_curves(table[table.role == "upstream"])
    runs = rows.drop_duplicates("run").set_index("run")
    base = rows[rows.D == 0].set_index("run").loss
    return runs.assign(rise=rows[rows.D > 0].groupby("run").loss.max() - base).reset_index()
