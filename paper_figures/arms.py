"""From a table to what a figure draws: arms (runs that differ in seed only), their curves and final losses, captions.

Which runs an arm is made of: `analysis.measures.arms`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.measures.arms import DECAYING, W1, baseline, rewarmed, scratch, usual_rate
from analysis.results.tables import ends_of, of_curves
from harness.store.history import FINAL_POSITIONS
from paper_figures.style import CONSTANT, NO_DECAY, SCRATCH, Look, amount, joined, ordered, times, token_unit

PEAKS = (0.25, 0.5, 1.0, 2.0, 4.0)
RATES = {"peak": "peak", "lr": "learning rate"}  # what a rate is called: a multiple of the base's peak, or a number
EARLY = 0.1  # share of a run that the panels of its beginning show


@dataclass(frozen=True)
class Arm:
    """Runs that differ in seed only. `table` has their rows at D >= 0."""

    label: str
    value: float | None  # of the knob that orders the arms; None: a baseline
    look: Look
    table: pd.DataFrame


@dataclass(frozen=True)
class Curve:
    """Loss of one role against tokens of continual pre-training: mean over seeds, and their range."""

    D: Any
    mean: Any
    low: Any
    high: Any
    seeds: int


def grid(
    table: pd.DataFrame, knob: str, label: Callable[[float], str], among: Sequence[float] | None = None
) -> list[Arm]:
    """One arm per value of a knob, in order. A peak looks the same whichever others are there, and any value among the
    ones given."""
    there = table[knob].astype(float)
    values = sorted(there.unique()) if among is None else sorted(among)
    looks = ordered(len(values))
    if knob == "peak" and set(values) <= set(PEAKS):
        looks = [ordered(len(PEAKS))[PEAKS.index(value)] for value in values]
    return [
        Arm(label(value), value, look, table[np.isclose(table[knob].astype(float), value) & (table.D >= 0)])
        for value, look in zip(values, looks, strict=True)
        if np.isclose(there, value).any()
    ]


def peaks(table: pd.DataFrame, same_data: bool = False) -> list[Arm]:
    """The arms of the paper's learning-rate figures: peaks, and the baselines that are there."""
    (rate,) = usual_rate(table)
    arms = grid(
        rewarmed(table, same_data=same_data, warmup=W1["warmup"], replay=0.0),
        rate,
        lambda value: f"{RATES[rate]} {rate_text(rate, value)}",
    )
    others = [
        ("re-warmed, no decay", NO_DECAY, baseline(table, "warmup_constant", same_data)),
        ("constant", CONSTANT, baseline(table, "constant", same_data)),
        ("from scratch", SCRATCH, scratch(table) if not same_data else table[:0]),
    ]
    return arms + [Arm(label, None, look, rows[rows.D >= 0]) for label, look, rows in others if len(rows)]


def rate_text(rate: str, value: float) -> str:
    """A learning rate as a multiple of the base's peak, or as it is."""
    return times(value) if rate == "peak" else f"{value:.3g}"


def select_peaks(table: pd.DataFrame, same_data: bool = False) -> pd.DataFrame:
    """The runs that `peaks` draws."""
    parts = [rewarmed(table, same_data=same_data, warmup=W1["warmup"], replay=0.0)]
    parts += [baseline(table, schedule, same_data) for schedule in ("constant", "warmup_constant")]
    parts += [] if same_data else [scratch(table)]
    return table.loc[sorted(set().union(*(part.index for part in parts)))]


def curve(arm: Arm, role: str) -> Curve:
    """The loss of one role at the positions that all seeds of an arm have."""
    rows = of_curves(arm.table[arm.table.role == role])
    seeds = rows.run.nunique()
    at = rows.groupby("D").loss.agg(["mean", "min", "max", "count"])
    at = at[at["count"] == seeds]
    return Curve(at.index.to_numpy(), at["mean"].to_numpy(), at["min"].to_numpy(), at["max"].to_numpy(), seeds)


def finals(arm: Arm, role: str) -> Any:
    """Final loss of each run of an arm, see `how_final`."""
    return ends_of(arm.table[arm.table.role == role]).sort_values("run").loss.to_numpy()


def even(table: pd.DataFrame) -> pd.DataFrame:
    """The table of one figure: with the rows of ends if all of its runs have them, else without, so that all final
    losses are taken alike."""
    return table if ends_of(table).alone.all() else of_curves(table)


def how_final(arms: Sequence[Arm]) -> str:
    """What the final losses of a figure are, for its caption."""
    found = ends_of(pd.concat([arm.table for arm in arms]))
    if not found.alone.all():
        return f"mean of the last {FINAL_POSITIONS} evaluations"
    dirty = found.dirty[found.dirty > 0]
    of = f" that are not contained in what is trained on ({dirty.max():,.0f} are)" if len(dirty) else ""
    return f"at the last position, on {found.windows.max():,} windows{of}"


def base_loss(arms: Sequence[Arm], role: str, *, final: bool = False) -> float | None:
    """Loss of the base, the mean over its seeds; None if all arms are from scratch. `final`: on the windows of final
    losses, not of curves."""
    rows = pd.concat([arm.table for arm in arms])
    rows = rows[(rows.role == role) & (rows.start != "scratch")]
    if rows.empty:
        return None
    if final:
        found = ends_of(rows).merge(rows[["run", "base_address"]].drop_duplicates(), on="run")
        return float(found.drop_duplicates("base_address").base.mean())
    rows = of_curves(rows)
    return float(rows[rows.D == 0].drop_duplicates("base_address").loss.mean())


def draw_curves(axes: Axes, arms: Sequence[Arm], role: str, *, until: float = 1.0) -> None:
    """Lines of a role over tokens, with the range over seeds as a band; `until` = share of the run to show."""
    total = max(float(arm.table.run_tokens.max()) for arm in arms)
    size, unit = token_unit(total * until)
    end = 1.03 * total * until  # the evaluation meant to be there may lie a step further
    for arm in arms:
        found = curve(arm, role)
        shown = np.less_equal(found.D, end)
        x = found.D[shown] / size
        axes.plot(x, found.mean[shown], label=arm.label, **arm.look.plot(markevery=max(1, int(shown.sum()) // 12)))
        if found.seeds > 1:
            axes.fill_between(x, found.low[shown], found.high[shown], color=arm.look.color, alpha=0.18, linewidth=0)
    axes.set_xlabel(f"continual pre-training ({unit} tokens)")
    axes.margins(x=0.02)


def draw_finals(axes: Axes, arms: Sequence[Arm], role: str, x: Callable[[float], float]) -> None:
    """Final losses of the ordered arms at x(value) with the range over seeds; baselines as lines across."""
    points = [(x(arm.value), finals(arm, role), arm.look) for arm in arms if arm.value is not None]
    axes.plot([p[0] for p in points], [p[1].mean() for p in points], color="0.6", linewidth=0.8, zorder=1)
    for at, losses, look in points:
        draw_point(axes, at, losses, look)
    for arm in arms:
        if arm.value is None:
            axes.axhline(finals(arm, role).mean(), color=arm.look.color, linestyle=arm.look.line, linewidth=1.2)


def draw_point(
    axes: Axes, x: float, values: Any, look: Look, *, across: bool = False, mean: float | None = None, **more: Any
) -> None:
    """The mean of values (or the one given) at x, with their range; `across`: along the x axis, at the height x."""
    at = float(np.mean(values)) if mean is None else mean
    spread = [[at - float(np.min(values))], [float(np.max(values)) - at]]
    found: dict[str, Any] = {"x": [at], "y": [x], "xerr": spread} if across else {"x": [x], "y": [at], "yerr": spread}
    axes.errorbar(**{**found, "color": look.color, "marker": look.marker, "markersize": 4.5, "linestyle": "", **more})


def crop(axes: Axes, arms: Sequence[Arm], role: str, after: float) -> bool:
    """Cut off from above what lies before the share `after` of a run, if it would hide the rest. True if something is.

    Of a run from scratch only the end has to be seen.
    """
    total = max(float(arm.table.run_tokens.max()) for arm in arms)
    everything: list[float] = []
    shown: list[float] = []
    for arm in arms:
        found, start = curve(arm, role), 0.95 if arm.look is SCRATCH else after
        everything += [*found.low, *found.high]
        late = np.greater_equal(found.D, start * total)
        shown += [*found.low[late], *found.high[late]]
    low = min(everything)
    if not shown or max(everything) - low < 1.6 * (max(shown) - low):
        return False
    margin = 0.06 * (max(shown) - low)
    axes.set_ylim(low - margin, max(shown) + margin)
    return True


def draw_base(axes: Axes, arms: Sequence[Arm], role: str, *, final: bool = False) -> None:
    """A dotted line across at the loss of the base."""
    loss = base_loss(arms, role, final=final)
    if loss is not None:
        axes.axhline(loss, color="0.35", linewidth=0.8, linestyle=(0, (1, 2)), label="base", zorder=1)


def setting(arms: Sequence[Arm], spread: str = "lines are their mean and bands their range") -> str:
    """The sentence every caption has: scale, model and size, tokens, corpora, seeds."""
    table = pd.concat([arm.table for arm in arms])
    sizes = table.drop_duplicates("model").sort_values("N_total")
    size = f"{_amounts(sizes.N)} parameters outside the embeddings, " if sizes.N.notna().all() else ""
    size += f"{_amounts(sizes.N_total)}{' in all' if size else ' parameters'}"
    started = table[table.start != "scratch"]
    base = f"{_amounts(started.base_tokens)} tokens of {_either(started.upstream)}" if len(started) else "none"
    theirs = started[started.start.isin(["hf", "pythia"])].model
    base = f"the checkpoint {_either(theirs)}" if len(theirs) else base
    same = table.upstream == table.downstream
    unseen = [f"{'unseen windows of ' if len(started) else ''}{_either(table.upstream[same])}"] if same.any() else []
    onto = " or ".join([*([_either(table.downstream[~same])] if not same.all() else []), *unseen])
    return (
        f"Scale {_either(table.scale)}; model {_either(sizes.model, ordered=True)} ({size}); base: {base}; "
        f"{'continued' if len(started) else 'trained'} on {_amounts(table.run_tokens)} tokens of {onto}; "
        f"{seeds_text(arms, spread)}."
    )


def _amounts(values: pd.Series[Any]) -> str:
    """`600 k`, or `600 k to 3 M`; what differs by the length of a few steps is one."""
    low, high = float(values.min()), float(values.max())
    return amount(high) if high < 1.01 * low else f"{amount(low)} to {amount(high)}"


def _either(names: pd.Series[Any], *, ordered: bool = False) -> str:
    """`docs`, `docs or systems`; in the order of the alphabet, unless they are `ordered`."""
    found = [str(name) for name in names.unique()]
    *others, last = found if ordered else sorted(found)
    return f"{', '.join(others)} or {last}" if others else last


def seeds_text(arms: Sequence[Arm], spread: str) -> str:
    """How many seeds, and how they are drawn."""
    counts = sorted({arm.table.seed.nunique() for arm in arms})
    if counts == [1]:
        return "one seed"
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{number} seeds, {spread}"


def loss_of(arms: Sequence[Arm], role: str) -> str:
    """The label of a loss axis: two lines, for panels are low."""
    one = arms[0].table.iloc[0]
    return f"{role} loss\n({textwrap.shorten(str(one[role]), 28, placeholder='…')})"


def learning_rates(arms: Sequence[Arm]) -> str:
    """What a peak of 1x is, or that of a checkpoint's runs where they have one, and a constant learning rate."""
    decayed = pd.concat([arm.table for arm in arms])
    decayed = decayed[decayed.schedule.isin(DECAYING) & (decayed.start != "scratch")]
    ((rate, value),) = usual_rate(decayed).items()
    usual = decayed[np.isclose(decayed[rate].astype(float), value)]
    if rate == "lr":
        rates = [f"peak {value:.3g}"] if decayed.lr.nunique() == 1 else []
    else:
        rates = [f"peak 1× = {usual.lr.iloc[0]:.3g}"] if len(usual) else []
    rates += [f"constant = {arm.table.lr.iloc[0]:.3g}, the base's final one" for arm in arms if arm.label == "constant"]
    return f"Learning rate: {joined(list(dict.fromkeys(rates)))}." if rates else ""


def least_span(axes: Axes, span: float) -> None:
    """Do not magnify: the y axis covers at least `span`."""
    low, high = axes.get_ylim()
    if high - low < span:
        axes.set_ylim((low + high - span) / 2, (low + high + span) / 2)
