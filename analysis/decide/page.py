"""A decision as a document: the verdict, the recommendation, and what there is to check it by.

Above `analysis.decide.decision`; `analysis.commands.decide` prints it. Losses in nats per token; "share" is that of the
base's loss; intervals at `analysis.fitting.fit.LEVEL`, pointwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.decide.coding import nearest
from analysis.decide.decision import Decision, Model, Question, alike, effects, excess, front
from analysis.decide.forecast import Outlook
from analysis.decide.noise import LEAST_SINGLE_SD
from analysis.formulas.formula import Array

NEAREST = 3  # measured arms beside the recommendation


def document(found: Decision) -> dict[str, Any]:
    """The body of the JSON document `decide`, its verdict first."""
    model, points, question = found.model, found.points, found.question
    grid = model.grid
    at = found.at
    point = None if at is None else _point(found, at)
    best = best_measured(model, question)
    why = list(found.verdict.why)
    if not found.answered:
        why = [_shortage(found, point)]
    return {
        "verdict": found.verdict.kind,
        "supported": found.verdict.supported,
        "why": why,
        "question": _question(found),
        "recommended": point if found.answered else None,
        "closest": None if found.answered else point,
        "as_good": _ranges(points.settings[found.as_good], grid.numeric) if found.answered else {},
        "best_measured": None if best is None else _arm(model, best, question),
        "nearest": [] if at is None else _beside(model, points.settings.iloc[[at]], question),
        "knobs": [] if at is None else effects(found),
        "front": [_point(found, i) for i in front(points, grid.upstream)],
        "surface": {name: _surface(model, name) for name in model.forecasts},
        "extrapolated": {"setting": True} if found.verdict.why else {},
        "base": grid.base,
        "base_spread": grid.base_spread,
        "arms": len(model.settings),
        "runs": sum(map(len, grid.runs)),
        "notes": [*grid.notes, *_notes(model), *_edge(found)],
    }


def best_measured(model: Model, question: Question) -> int | None:
    """The arm with the most adaptation (or the best weighted sum) of those whose own runs say that the next one keeps
    the limits with the confidence; None if there is none."""
    score = _adaptation(model) if question.limits else _weighted(model, question)
    kept = _own_kept(model, question) >= question.confidence
    return int(np.where(kept, score, -np.inf).argmax()) if kept.any() else None


def _adaptation(model: Model) -> Array:
    return np.asarray(model.adaptation.surface.means)


def _weighted(model: Model, question: Question) -> Array:
    w, v = question.weights
    return np.asarray(v * _adaptation(model) - w * model.forgetting[model.grid.upstream].surface.means)


def _own_kept(model: Model, question: Question) -> Array:
    """Probability that the next run of each arm keeps all limits, from the arm's own mean and the noise of runs."""
    broken = np.zeros(len(model.settings))
    for name, limit in question.limits.items():
        forecast = model.forgetting[name]
        outlook = forecast.at(model.settings)
        own = Outlook(
            forecast.surface.means,
            np.sqrt(np.diag(forecast.surface.noise) + forecast.sampling**2),
            outlook.run_freedom,
            outlook.run_sd,
            outlook.run_freedom,
        )
        broken += 1 - own.below(limit)
    return np.asarray(1 - np.minimum(broken, 1))


def _question(found: Decision) -> dict[str, Any]:
    question, base = found.question, found.model.grid.base
    limits = {name: {"nats": limit, "share": limit / base[name]} for name, limit in question.limits.items()}
    upstream, downstream = found.model.grid.upstream, found.model.grid.downstream
    weights = None if limits else {upstream: question.weights[0], downstream: question.weights[1]}
    return {"limits": limits, "confidence": question.confidence if limits else None, "weights": weights}


def _point(found: Decision, i: int) -> dict[str, Any]:
    """A point of a decision: knobs, forgetting of every corpus, adaptation, probabilities."""
    points, grid, asked = found.points, found.model.grid, bool(found.question.limits)
    return {
        "knobs": _knobs(points.settings.iloc[i]),
        "measured": bool(alike(found.model.settings, points.settings.iloc[i], ()).any()),
        "forgetting": {name: _change(one, i, grid.base[name]) for name, one in points.forgetting.items()},
        "adaptation": _change(points.adaptation, i, grid.base[grid.downstream]),
        "p_kept": float(points.kept[i]) if asked else None,
        "p_kept_mean": float(points.mean_kept[i]) if asked else None,
    }


def _change(outlook: Outlook, i: int, base: float) -> dict[str, Any]:
    mean, run = outlook.mean_interval()[:, i], outlook.run_interval()[:, i]
    value = float(outlook.mean[i])
    return {
        "nats": value,
        "share": value / base,
        "interval_mean": [float(end) for end in mean],
        "interval_run": [float(end) for end in run],
    }


def _arm(model: Model, k: int, question: Question) -> dict[str, Any]:
    """An arm as it was measured."""
    grid = model.grid
    number = int(np.flatnonzero(grid.good)[k])
    return {
        "knobs": _knobs(model.settings.iloc[k]),
        "n": len(grid.runs[number]),
        "forgetting": {name: _measured(values[number], grid.base[name]) for name, values in grid.forgetting.items()},
        "adaptation": _measured(grid.adaptation[number], grid.base[grid.downstream]),
        "p_kept": float(_own_kept(model, question)[k]) if question.limits else None,
        "runs": grid.runs[number],
    }


def _measured(values: Array, base: float) -> dict[str, Any]:
    there = values[np.isfinite(values)]
    sd = float(there.std(ddof=1)) if len(there) > 1 else None
    return {"nats": float(there.mean()), "share": float(there.mean()) / base, "sd": sd}


def _beside(model: Model, point: pd.DataFrame, question: Question) -> list[dict[str, Any]]:
    """The arms nearest to a point, and what the surfaces say of each without having seen it."""
    order = nearest(point, model.settings, model.coding)[0][:NEAREST]
    left_out = {name: one.left_out() for name, one in model.forecasts.items()}
    return [
        {
            **_arm(model, int(k), question),
            "without_it": {name: _finite(values[k]) for name, values in left_out.items()},
        }
        for k in order
    ]


def _surface(model: Model, name: str) -> dict[str, Any]:
    forecast = model.forecasts[name]
    noise = forecast.noise.sd(model.coding.numbers(model.settings))
    return {
        "kind": forecast.kind,
        "error": _finite(forecast.choice.error),
        "error_inside": _finite(forecast.choice.inside),
        "refused": forecast.refused or None,
        "run_sd": [float(noise.min()), float(noise.max())],
        "sampling": forecast.sampling,
        "common": forecast.noise.common,
        "measured_noise": forecast.noise.measured,
    }


def _ranges(settings: pd.DataFrame, numeric: tuple[str, ...]) -> dict[str, Any]:
    """Of each knob what is as good: from, to; or the values of a category."""
    found: dict[str, Any] = {}
    for name in settings:
        values = settings[name]
        ends = [float(values.min()), float(values.max())] if name in numeric else sorted(map(str, values.unique()))
        found[str(name)] = ends
    return found


def _shortage(found: Decision, point: dict[str, Any] | None) -> str:
    """How near the nearest comes, and what to try."""
    question, base = found.question, found.model.grid.base
    if point is None or found.at is None or not question.limits:
        return "the runs reach no setting at all"
    over = {name: _wider(found, name) for name in question.limits}
    worst = max(over, key=lambda name: over[name])
    limits = ", ".join(f"{name} by at most {limit / base[name]:.2%}" for name, limit in question.limits.items())
    runs = _runs_within(found)
    told = (
        f"no setting that the runs reach raises {limits} with {question.confidence:.0%} probability, and "
        f"{'no measured run keeps it' if runs == 0 else f'{runs} measured runs keep it'}; "
        f"the nearest, {setting_text(point['knobs'])}, raises {worst} by {point['forgetting'][worst]['share']:.2%}: "
        f"its next run keeps it with {point['p_kept']:.0%}, and "
        f"{(question.limits[worst] + over[worst]) / base[worst]:.2%} with {question.confidence:.0%}"
    )
    tries = _tries(found, found.at)
    return f"{told}; try {tries}" if tries else told


def _wider(found: Decision, name: str) -> float:
    """By how many nats the limit of one corpus would have to be wider at the nearest point."""
    assert found.at is not None
    one = Question({name: found.question.limits[name]}, found.question.confidence)
    return float(excess(found.points, one)[found.at])


def _runs_within(found: Decision) -> int:
    """How many measured runs keep all limits."""
    kept = np.isfinite(found.model.grid.adaptation)
    for name, limit in found.question.limits.items():
        kept &= np.nan_to_num(found.model.grid.forgetting[name], nan=np.inf) <= limit
    return int(kept.sum())


def _tries(found: Decision, at: int) -> str:
    """Beyond the ends of what was run, where the nearest point is at one; more seeds, where its mean may keep it."""
    return " or ".join([*_ends(found, at), *(["more seeds there"] if found.points.mean_kept[at] >= 0.5 else [])])


def _ends(found: Decision, at: int) -> list[str]:
    """Knobs of which a point has the first or the last value that was run, as what lies beyond; 0 has no beyond."""
    ends = []
    own = found.points.settings.iloc[at]
    for name, levels in found.model.coding.levels.items():
        value = float(own[name])
        if len(levels) > 1 and value == levels[-1]:
            ends.append(f"{name} above {value:g}")
        elif len(levels) > 1 and value == levels[0] and value > 0:
            ends.append(f"{name} below {value:g}")
    return ends


def _notes(model: Model) -> list[str]:
    """What a reader must know of the statistics."""
    found = [f"no surface of {name} answers between arms, {why}" for name, why in model.refused.items()]
    found += ["every arm answers by its own mean"] if found else []
    if not model.adaptation.noise.measured:
        found.append(
            f"one seed each: the noise of runs is taken for what the surface leaves over (an sd of {LEAST_SINGLE_SD:g} "
            "nats at least), its variance doubled for the luck that runs of one seed share"
        )
    if model.grid.base_spread is not None:
        spread = ", ".join(f"{name} {sd:.3g}" for name, sd in model.grid.base_spread.items())
        found.append(f"averaged over several bases, whose own losses have an sd of {spread}; a run is of one of them")
    return found


def _edge(found: Decision) -> list[str]:
    """That more may lie beyond what was run."""
    if not (found.answered and found.at is not None and (ends := _ends(found, found.at))):
        return []
    return [f"the answer lies at an end of what was run: {' and '.join(ends)} is not known, and may be better"]


def setting_text(knobs: dict[str, Any]) -> str:
    """Knobs in a line."""
    told = [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in knobs.items()]
    return ", ".join(told) or "the only setting"


def _knobs(row: pd.Series[Any]) -> dict[str, Any]:
    return {
        str(name): float(value) if isinstance(value, int | float | np.number) else str(value)
        for name, value in row.items()
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
