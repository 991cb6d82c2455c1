"""Forgetting and adaptation of every arm side by side: what each choice costs upstream and gains downstream."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.measures.arms import W1, at_usual_rate, baseline, rewarmed, usual_rate
from analysis.results.tables import ends_of
from paper_figures import arms, style
from paper_figures.arms import Arm
from paper_figures.style import Look

SWEEP = "demo"
CLAIMS = ("R1", "R3", "R7", "S1", "S2", "S3")
SPLIT = ("scale", "model", "upstream", "run_tokens")  # same-data runs belong to the picture of their upstream corpus
MIXED = Look("#0072b2", "-", "o")
SAME = Look("#d55e00", "-", "s")


def select(table: pd.DataFrame) -> pd.DataFrame:
    parts = [select_ for _, select_ in groups(table)]
    return table.loc[sorted(set().union(*(part.index for part in parts)))]


def groups(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The knobs of the paper, each with the runs that turn it and nothing else; w1 is in several of them."""
    decayed = rewarmed(table, replay=0.0)
    usual = np.isclose(decayed.warmup, W1["warmup"])
    same = rewarmed(table, same_data=True, warmup=W1["warmup"])
    return [
        ("warmup", at_usual_rate(table, replay=0.0)),
        ("peak", decayed[usual]),
        ("warmup_constant", baseline(table, "warmup_constant")),
        ("constant", baseline(table, "constant")),
        ("replay", at_usual_rate(table, warmup=W1["warmup"])),
        ("same constant", baseline(table, "constant", same_data=True)),
        ("same peak", same),
    ]


def arms_of(table: pd.DataFrame) -> list[tuple[str, list[Arm]]]:
    """(heading, arms) of each group that is there."""
    found = dict(groups(table))
    ((rate, usual),) = usual_rate(table).items()

    def single(label: str, name: str, look: Look) -> list[Arm]:
        return [Arm(label, None, look, found[name][found[name].D >= 0])] if len(found[name]) else []

    def several(name: str, knob: str, text: str, look: Look) -> list[Arm]:
        def label(value: float) -> str:
            return arms.rate_text(rate, value) if knob == rate else style.percent(value)

        made = arms.grid(found[name], knob, label) if len(found[name]) else []
        return [Arm(f"{text} {arm.label}", arm.value, look, arm.table) for arm in made]

    onto = [
        ("warm-up", several("warmup", "warmup", "warm-up", MIXED)),
        (
            "learning rate",
            single("constant, the base's last", "constant", MIXED)
            + several("peak", rate, "re-warmed to", MIXED)
            + single(f"re-warmed to {arms.rate_text(rate, usual)}, no decay", "warmup_constant", MIXED),
        ),
        ("replay", several("replay", "replay", "replay", MIXED)),
        (
            "same data",
            single("same data, constant", "same constant", SAME)
            + several("same peak", rate, "same data, re-warmed to", SAME),
        ),
    ]
    return [(heading, group) for heading, group in onto if group]


def differences(arm: Arm) -> tuple[np.ndarray, np.ndarray]:
    """Forgetting and adaptation of each run of an arm (adaptation is empty on the same data)."""
    upstream, downstream = (
        ends_of(arm.table[arm.table.role == role]).sort_values("run") for role in ("upstream", "downstream")
    )
    return (upstream.loss - upstream.base).to_numpy(), (downstream.base - downstream.loss).to_numpy()


def draw(table: pd.DataFrame) -> Figure:
    grouped = arms_of(table)
    everything = [arm for _, group in grouped for arm in group]
    height = 0.165 * len(everything) + 0.09 * len(grouped) + 0.35
    figure, [[left, right]] = style.panels(1, 2, row_height=height, sharey=True)
    ((rate, usual),) = usual_rate(table).items()
    reference = set(at_usual_rate(table, warmup=W1["warmup"], replay=0.0).run)
    warm = "1× the base's peak" if rate == "peak" else f"a learning rate of {usual:.3g}"
    y, ticks, labels = 0.0, [], []
    for _, group in grouped:
        for arm in group:
            for axes, values in zip((left, right), differences(arm), strict=True):
                if len(values):
                    look, face = arm.look, "white" if set(arm.table.run) == reference else arm.look.color
                    axes.plot([values.min(), values.max()], [y, y], color=look.color, linewidth=2.5, alpha=0.35)
                    axes.plot([values.mean()], [y], look.marker, color=look.color, markersize=4.5, markerfacecolor=face)
                    number = f"{values.mean():+.3f}".replace("-", "−")
                    axes.annotate(
                        number, (values.max(), y), (6, 0), textcoords="offset points", va="center", fontsize=style.SMALL
                    )
            ticks.append(y)
            labels.append(arm.label)
            y += 1
        y += 0.6
    left.set_yticks(ticks, labels)
    left.set_ylim(y - 0.8, -0.8)
    left.axvline(0, color="0.35", linewidth=0.8)
    left.set_xlabel("forgetting (nats, less is better)")
    right.set_xlabel("adaptation (nats, more is better)")
    left.margins(x=0.2)
    right.margins(x=0.2)
    right.tick_params(axis="y", length=0)
    shifted = [arm for arm in everything if arm.look is MIXED]
    words = [
        "What each choice costs upstream and gains downstream. Forgetting: final upstream loss minus the base's.",
        f"Adaptation: the base's downstream loss minus the final one. Final: {arms.how_final(everything)}; nats per",
        f"token. Unless said otherwise: warm-up 1 %, re-warmed to {warm}, re-decayed to a tenth of it, no",
        "replay (open circles: that very arm). Same data: upstream continued on unseen windows, where adaptation is",
        "forgetting with the other sign. From scratch has neither.",
        arms.setting(shifted or everything, "points are their mean and bars their range"),
    ]
    return style.caption(figure, " ".join(words))
