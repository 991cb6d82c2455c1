"""2403.08763, section 6.1.2, figure 4 and table 12: peak learning rates under a weak and a strong shift, against a
constant learning rate and against no re-decay. Both re-warming and re-decaying are needed."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import DOWNSTREAM, UPSTREAM
from analysis.measures.arms import by_seed, usual_rate
from paper_figures import arms, shifts, style
from paper_figures.printed import LOOK, origin, printed, series, value

SWEEP = "scalable_weak scalable_strong"
CLAIMS = ("S1", "R3")
SPLIT = shifts.SPLIT
PRINTED = printed("2403.08763", "Table 12")
USUAL = printed("2403.08763", "text", quantity="peak").value.item()  # that is 1x of the paper's base


def select(table: pd.DataFrame) -> pd.DataFrame:
    """Peaks, no decay, constant and from scratch, where some run does not decay."""
    chosen = arms.select_peaks(table)
    flat = chosen.schedule.isin(["constant", "warmup_constant"])
    return chosen[flat.groupby([chosen[name] for name in ("upstream", "downstream", *SPLIT)]).transform("any")]


def draw(table: pd.DataFrame) -> Figure:
    parts = shifts.of(select(table))
    figure, axes = shifts.panels(parts, 4)
    drawn = []
    for column, part in zip(zip(*axes, strict=True), parts, strict=True):
        own = arms.peaks(part.table)
        for panel, role in zip(column[:2], ("downstream", "upstream"), strict=True):
            arms.draw_curves(panel, own, role)
            arms.crop(panel, own, role, 0.05)
        arms.draw_base(column[1], own, "upstream")
        column[0].set_xlabel("")
        _printed(column[3], part, _ends(column[2], part, own))
        drawn += own
    labels = (
        "downstream loss",
        "upstream loss",
        "final loss less\nthat of 1× (nats)",
        "the paper's, 405M:\nthe same (nats)",
    )
    shifts.name_rows(axes, labels)
    shifts.key(axes[2][0], [("final upstream", UPSTREAM), ("final downstream", DOWNSTREAM)])
    style.legend_above(figure, [axes[1][0], axes[2][0]], 5)
    words = [
        "Peak learning rates under several shifts. Validation loss (nats per token) along continual pre-training that",
        "is re-warmed over 1 % of its tokens and re-decayed to a tenth of the peak, against a constant learning rate,",
        "no re-decay and random weights. Third row: final losses less those of a peak of 1×, paired by seed (circles:",
        "upstream, squares: downstream, as in the last row). Steep beginnings are cut off where they would hide the",
        f"rest. Final loss: {arms.how_final(drawn)}.",
        origin(PRINTED),
        arms.learning_rates(drawn),
        arms.setting(drawn),
    ]
    return style.caption(figure, " ".join(words))


def _categories(own: list[arms.Arm]) -> list[arms.Arm]:
    """The arms that continue the base: constant, peaks in order, no decay."""
    flat = {arm.label: arm for arm in own if arm.value is None and arm.look is not style.SCRATCH}
    constant = [flat[name] for name in ("constant",) if name in flat]
    return [*constant, *(arm for arm in own if arm.value is not None), *(a for a in flat.values() if a not in constant)]


def _ends(axes: Axes, part: shifts.Shift, own: list[arms.Arm]) -> list[str]:
    """Final losses less those of the usual peak, by seed; the names along x."""
    ((_, rate),) = usual_rate(part.table).items()
    shown, ends = _categories(own), part.ends
    (usual,) = [ends[ends.run.isin(arm.table.run)] for arm in own if arm.value == rate]
    for number, arm in enumerate(shown):
        runs = ends[ends.run.isin(arm.table.run)]
        for letter, look, aside in (("U", UPSTREAM, -0.08), ("V", DOWNSTREAM, 0.08)):
            apart = (by_seed(runs, letter) - by_seed(usual, letter)).dropna()
            if len(apart):
                arms.draw_point(axes, number + aside, apart, look)
    names = [arm.label.split(", ")[-1].removeprefix("peak ").removeprefix("learning rate ") for arm in shown]
    _axis(axes, names)
    return names


def _printed(axes: Axes, part: shifts.Shift, names: list[str]) -> None:
    """The paper's for a shift of the same strength, at the same names: its peaks, and its constant learning rate."""
    rows = PRINTED[PRINTED["shift"] == part.strength]
    if rows.empty:
        axes.set_axis_off()
        return
    for letter, look in (("U", UPSTREAM), ("V", DOWNSTREAM)):
        by_peak = series(rows, "peak", letter)
        found = {"constant": value(rows, "constant", letter)}
        found |= {style.times(peak / USUAL): loss for peak, loss in by_peak.items()}
        x = [number for number, name in enumerate(names) if name in found]
        y = [found[names[number]] - by_peak[USUAL] for number in x]
        axes.plot(x, y, look.marker, color=LOOK.color, markerfacecolor="white", linestyle=LOOK.line)
    _axis(axes, names)


def _axis(axes: Axes, names: list[str]) -> None:
    axes.axhline(0, color="0.35", linewidth=0.8)
    shifts.categories(axes, names)
