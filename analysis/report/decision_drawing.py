"""A decision as a figure: the surfaces where the runs reach, the arms, the limit, and what can be had.

Above `analysis.decide.decision` and `analysis.figures`; `analysis.commands.decide` calls it with --plot.

    draw(Path("decision.png"), found)

Two knobs whose inside is known: a map of forgetting and one of adaptation; else curves of the knob of which most is
known, or its values side by side if it is a category. All other knobs are as recommended. Bands are pointwise, at
`analysis.fitting.fit.LEVEL`.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.decide.coding import Mask
from analysis.decide.decision import Decision, alike, front
from analysis.figures.axes import legend
from analysis.figures.style import DOWNSTREAM, REFERENCE, UPSTREAM, Look, save
from analysis.fitting.fit import LEVEL
from analysis.formulas.formula import Array

FILLED = 0.25  # of the product of two knobs that must be known for a map
STAR: dict[str, Any] = {
    "marker": "*",
    "markersize": 9,
    "markeredgecolor": "black",
    "markeredgewidth": 0.6,
    "linestyle": "",
}
CHANGES = ("forgetting", "adaptation")


def draw(path: Path, found: Decision) -> Path:
    """The file: png, pdf or svg. Raises InputError."""
    pair = _pair(found)
    if pair is not None:
        panels = [lambda ax, what=what: surface_map(ax, found, pair, what) for what in CHANGES]
    else:
        panels = [lambda ax, what=what: curve(ax, found, what) for what in CHANGES]
    return save(path, *panels, lambda ax: exchange(ax, found))


def surface_map(ax: Axes, found: Decision, pair: tuple[str, str], what: str) -> Axes:
    """A mean over two knobs in nats, with the arms in the colours of their own means."""
    points, model = found.points, found.model
    own = _plane(found, points.settings, pair) & points.known
    coding, names = model.coding, list(model.coding.levels)
    columns = [names.index(name) for name in pair]
    places = coding.numbers(points.settings)[own][:, columns]
    x, y = (np.unique(places[:, side]) for side in (0, 1))
    cells = (np.searchsorted(y, places[:, 1]), np.searchsorted(x, places[:, 0]))

    def table(values: Array) -> Any:
        filled = np.full((len(y), len(x)), np.nan)
        filled[cells] = values[own]
        return np.ma.masked_invalid(filled)

    mean, measured = _values(found, what)
    shown = ax.pcolormesh(x, y, table(mean), cmap="viridis", shading="nearest", rasterized=True)
    of_arms = _plane(found, model.settings, pair)
    at = coding.numbers(model.settings)[of_arms][:, columns]
    norm: dict[str, Any] = {"cmap": shown.cmap, "norm": shown.norm}
    ax.scatter(
        at[:, 0],
        at[:, 1],
        s=22,
        c=measured[of_arms],
        edgecolors="white",
        linewidths=0.8,
        label="measured",
        zorder=4,
        **norm,
    )
    if found.question.limits and min(len(x), len(y)) > 1:
        kept = table(points.kept)
        if kept.min() < found.question.confidence < kept.max():
            ax.contour(x, y, kept, levels=[found.question.confidence], colors="white", linewidths=1.4)
            ax.plot([], [], color="0.6", label=f"kept with {found.question.confidence:.0%}")
    _star(ax, found, coding.numbers(points.settings)[:, columns])
    for axis, name in ((ax.xaxis, pair[0]), (ax.yaxis, pair[1])):
        levels = coding.levels[name]
        everywhere = {other: np.full(len(levels), coding.levels[other][0]) for other in names}
        units = coding.numbers(pd.DataFrame({**everywhere, name: levels}))
        axis.set_ticks(units[:, names.index(name)], [f"{level:g}" for level in levels])
        axis.set_label_text(name)
    ax.grid(False)
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.colorbar(shown, ax=ax, label=f"{_name(found, what)} (nats)")
    return legend(ax)


def curve(ax: Axes, found: Decision, what: str) -> Axes:
    """A mean along one knob with its bands, and the arms on this line with their runs; of a category a mean for each of
    its values. Of a single setting, that one."""
    points, model = found.points, found.model
    knob = _knob(found)
    free = () if knob is None else (knob,)
    place = _places(found, points.settings, knob)
    line = np.flatnonzero(_plane(found, points.settings, free) & points.known)
    line = line[np.argsort(place[line])]
    mean, measured = _values(found, what)
    outlook = points.adaptation if what == "adaptation" else points.forgetting[model.grid.upstream]
    bands = (
        (outlook.mean_interval(), 0.3, f"{LEVEL:.0%} of the mean"),
        (outlook.run_interval(), 0.12, f"{LEVEL:.0%} of the next run"),
    )
    _along(
        ax,
        place[line],
        mean[line],
        [(band.T[line].T, alpha, label) for band, alpha, label in bands],
        _look(what),
        knob in model.coding.levels,
    )
    arms = _plane(found, model.settings, free)
    at = _places(found, model.settings, knob)[arms]
    ax.plot(at, measured[arms], _look(what).marker, color="black", markersize=4, label="measured mean", zorder=4)
    limit = found.question.limits.get(model.grid.upstream)
    if what == "forgetting" and limit is not None:
        ax.axhline(limit, **REFERENCE.plot(), label="limit")
    _star(ax, found, np.column_stack([place, mean]))
    ax.set_xticks(at, [] if knob is None else [_tick(value) for value in model.settings[knob][arms]])
    ax.set(xlabel=knob or "the only setting", ylabel=f"{_name(found, what)} (nats)")
    return legend(ax)


def _along(ax: Axes, x: Array, mean: Array, bands: Any, look: Look, continuous: bool) -> None:
    """A line with bands; where nothing lies between the values, marks with bars."""
    drawn = look.plot(marker="") | ({} if continuous else {"marker": "_", "linestyle": ""})
    ax.plot(x, mean, **drawn, label="mean")
    for (low, high), alpha, label in bands:
        if continuous and len(x) > 1:
            ax.fill_between(x, low, high, color=look.color, alpha=alpha, linewidth=0, label=label)
        else:
            ax.vlines(x, low, high, color=look.color, alpha=2 * alpha, linewidth=6, label=label)
    if not continuous:
        ax.set_xlim(x.min() - 0.5, x.max() + 0.5)


def _places(found: Decision, settings: pd.DataFrame, knob: str | None) -> Array:
    """Where settings stand along a knob (n,): in units of its range, or by the order of a category."""
    coding = found.model.coding
    if knob is not None and knob in coding.levels:
        return np.asarray(coding.numbers(settings)[:, list(coding.levels).index(knob)])
    if knob is None:
        return np.zeros(len(settings))
    return np.asarray(coding.kinds(settings)[:, list(coding.categories).index(knob)], dtype=float)


def _tick(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def exchange(ax: Axes, found: Decision) -> Axes:
    """Forgetting against adaptation: arms, and the front with its bands. Between values of a category lies nothing."""
    points, model = found.points, found.model
    upstream = model.grid.upstream
    at = np.array(front(points, upstream, most=40), dtype=int)
    F, A = points.forgetting[upstream], points.adaptation
    low, high = A.mean_interval()
    ends = 1 + np.flatnonzero(np.diff(model.coding.group(points.settings.iloc[at])))
    for number, part in enumerate(np.split(at, ends)):
        label = f"front, {LEVEL:.0%} of the mean" if number == 0 else None
        marker = "." if len(part) == 1 else ""
        ax.plot(F.mean[part], A.mean[part], color=DOWNSTREAM.color, marker=marker, label=label)
        ax.fill_between(F.mean[part], low[part], high[part], color=DOWNSTREAM.color, alpha=0.25, linewidth=0)
        ax.vlines(F.mean[part[:1]], low[part[:1]], high[part[:1]], color=DOWNSTREAM.color, alpha=0.25, linewidth=1.5)
    forgot, adapted = (_values(found, what)[1] for what in CHANGES)
    ax.plot(forgot, adapted, "o", color="black", markersize=3, linestyle="", label="measured mean")
    limit = found.question.limits.get(upstream)
    if limit is not None:
        ax.axvline(limit, **REFERENCE.plot(), label="limit")
    _star(ax, found, np.column_stack([F.mean, A.mean]))
    ax.set(xlabel=f"{_name(found, 'forgetting')} (nats)", ylabel=f"{_name(found, 'adaptation')} (nats)")
    return legend(ax)


def _star(ax: Axes, found: Decision, places: Array) -> None:
    if found.at is not None:
        text = "recommended" if found.answered else "nearest, no answer"
        x, y = places[found.at]
        ax.plot([x], [y], **STAR, color="#d55e00" if found.answered else "white", label=text, zorder=6)


def _values(found: Decision, what: str) -> tuple[Array, Array]:
    """Means at the points, and those measured."""
    upstream = found.model.grid.upstream
    if what == "adaptation":
        return found.points.adaptation.mean, found.model.adaptation.surface.means
    return found.points.forgetting[upstream].mean, found.model.forgetting[upstream].surface.means


def _name(found: Decision, what: str) -> str:
    grid = found.model.grid
    return f"adaptation to {grid.downstream}" if what == "adaptation" else f"forgetting of {grid.upstream}"


def _look(what: str) -> Look:
    return DOWNSTREAM if what == "adaptation" else UPSTREAM


def _plane(found: Decision, settings: pd.DataFrame, free: tuple[str, ...]) -> Mask:
    """Settings that differ from the recommended one in the free knobs at most."""
    if found.at is None:
        return np.zeros(len(settings), dtype=bool)
    return alike(settings, found.points.settings.iloc[found.at], free)


def _pair(found: Decision) -> tuple[str, str] | None:
    """The two knobs of which most is known together, if that is enough for a map."""
    best: tuple[int, tuple[str, str]] | None = None
    for pair in itertools.combinations(found.model.coding.levels, 2):
        own = found.points.settings[_plane(found, found.points.settings, pair) & found.points.known]
        values = [own[name].nunique() for name in pair]
        if min(values) > 2 and len(own) >= FILLED * values[0] * values[1]:
            best = max(best or (0, pair), (len(own), pair))
    return None if best is None else best[1]


def _knob(found: Decision) -> str | None:
    """The knob of which most is known at the recommended point, of as much a number; None if no other setting is."""
    names = [*found.model.coding.levels, *found.model.coding.categories]
    counts = {name: int((_plane(found, found.points.settings, (name,)) & found.points.known).sum()) for name in names}
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and counts[best] > 1 else None
