"""2403.08763, section 5.2 and appendix A.1: the sources of downstream one after the other, or mixed in every batch.
Domain by domain is worse."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.measures.arms import ends_by_run, w1_but
from analysis.measures.strategies import DOMAINS
from analysis.results.tables import ends_of
from paper_figures import arms, shifts, style
from paper_figures.arms import Arm

SWEEP = "scalable_domains"
CLAIMS = ("S11",)
SPLIT = ("scale", "model")
LABELS = ("domain by domain", "mixed")


def select(table: pd.DataFrame) -> pd.DataFrame:
    """w1 over the sources of downstream in stages, and mixed."""
    return w1_but(table[table["shift"].isin([*DOMAINS, *DOMAINS.values()])])


def draw(table: pd.DataFrame) -> Figure:
    chosen = select(table)
    staged, mixed = (chosen[chosen["shift"].isin(names)] for names in (list(DOMAINS), list(DOMAINS.values())))
    looks = style.ordered(2)
    own = [Arm(label, None, look, rows) for label, look, rows in zip(LABELS, looks, (staged, mixed), strict=True)]
    shares = staged[staged.r > 0].groupby("corpus").r.mean()
    sources = list(shares.index)
    corpora = [*sources, staged.upstream.iloc[0]]
    columns = min(3, len(corpora) + 1)
    figure, axes = style.panels(-(-(len(corpora) + 1) // columns), columns, row_height=1.6)
    panels = [panel for row in axes for panel in row]
    for panel, corpus in zip(panels, corpora, strict=False):
        told = [Arm(arm.label, None, arm.look, arm.table.assign(role=arm.table.corpus)) for arm in own]
        arms.draw_curves(panel, told, corpus)
        share = (
            f", {style.percent(float(round(shares[corpus], 3)))} of downstream" if corpus in shares else ", upstream"
        )
        panel.set_title(f"{corpus}{share}")
    last = panels[len(corpora)]
    _apart(last, staged, mixed, corpora)
    for panel in panels[len(corpora) + 1 :]:
        panel.set_axis_off()
    shifts.name_rows(axes, ["loss (nats per token)"] * len(axes))
    style.legend_above(figure, panels[0], 2)
    words = [
        "Sources of downstream one after the other, or mixed. Validation loss on each of them, and upstream, along",
        "continual pre-training. Last panel: the final loss domain by domain less that mixed, paired by seed, of each",
        "corpus and of the mean over the sources, weighted as they are drawn.",
        f"Final loss: {arms.how_final(own)}. No number of the paper's was found.",
        arms.learning_rates(own),
        arms.setting([Arm("", None, looks[0], chosen.assign(downstream=style.joined(sources)))]),
    ]
    return style.caption(figure, " ".join(words))


def _apart(axes: Axes, staged: pd.DataFrame, mixed: pd.DataFrame, corpora: list[str]) -> None:
    """Differences of final losses by seed, of each corpus and of the mean over sources."""
    one, other = (
        ends_of(runs).merge(runs[["run", "seed"]].drop_duplicates(), on="run").pivot(index="seed", columns="corpus")
        for runs in (staged, mixed)
    )
    means = [ends_by_run(runs).set_index("seed").V for runs in (staged, mixed)]
    found = {corpus: (one.loss[corpus] - other.loss[corpus]).dropna() for corpus in corpora}
    found["mean"] = (means[0] - means[1]).dropna()
    for number, values in enumerate(found.values()):
        arms.draw_point(axes, number, values, style.ordered(2)[0])
    axes.axhline(0, color="0.35", linewidth=0.8)
    shifts.categories(axes, list(found))
    axes.set_title("final loss, by domain less mixed (nats)")
