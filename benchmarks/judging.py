"""Decisions from parts of a dense grid, judged by all of it and by runs that no question saw.

    python -m benchmarks.judging grid.csv                  what they come to, and which answers are most worth training
    python -m benchmarks.judging grid.csv answers.csv      with five further order seeds at those

Tables are of `python -m paper_figures --freeze`: the runs of sweeps/peak_replay.yaml of one base at three order seeds.
A question is a tolerance or weights, asked of 9 or 16 random cells at two seeds or three. True is what the surfaces of
all runs say, of the answers' too, most of which lie between cells. How far such surfaces miss those runs, without them,
is reported: no difference smaller than that is one.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.decide.arms import arms_of
from analysis.decide.decision import Decision, Model, Question, answer, at_points, candidates, front, model_of
from analysis.decide.ends import ends_of_table
from analysis.formulas.formula import Array
from benchmarks.workload import print_line

SUBSETS, CELLS = 100, (9, 16)
QUESTIONS = 4  # of a subset: as many tolerances as weights
TRAINED = 12  # answers that fresh runs are for
KNOBS = ["peak", "replay"]
ALLOWED = 0.01  # nats of regret that nobody minds
LEVEL = 0.9
BINS = (0.9, 0.95, 0.98, 0.995, 1.0)  # of the stated probability that a tolerance is kept


@dataclass(frozen=True)
class Truth:
    """What all runs say."""

    model: Model
    settings: pd.DataFrame
    """Everything that the whole grid reaches."""
    missed: float
    """Root mean square of what surfaces without the fresh runs miss their means by, in nats; NaN without any."""

    def at(self, settings: pd.DataFrame) -> pd.DataFrame:
        """Means over seeds at settings, in nats, and the sd of what single runs forget."""
        upstream = self.model.grid.upstream
        F, A = self.model.forgetting[upstream].at(settings), self.model.adaptation.at(settings)
        return pd.DataFrame({"forgets": F.mean, "adapts": A.mean, "sd": F.run_sd})


def grid_of(ends: pd.DataFrame) -> Model:
    """Forecasts from some runs."""
    found = model_of(arms_of(ends, KNOBS))
    assert found is not None
    return found


def truth_of(ends: pd.DataFrame, fresh: pd.DataFrame | None) -> Truth:
    """From the whole grid, and the fresh runs where there are some."""
    whole = grid_of(ends if fresh is None else pd.concat([ends, fresh], ignore_index=True))
    everything = at_points(whole, candidates(whole), Question({}))
    missed = float("nan")
    if fresh is not None:
        grid, without = arms_of(fresh, KNOBS), grid_of(ends)
        upstream = grid.upstream
        away = [
            np.nanmean(grid.forgetting[upstream], axis=1) - without.forgetting[upstream].at(grid.settings).mean,
            np.nanmean(grid.adaptation, axis=1) - without.adaptation.at(grid.settings).mean,
        ]
        missed = float(np.sqrt(np.mean(np.square(away))))
    return Truth(whole, everything.settings[everything.known].reset_index(drop=True), missed)


def asked(truth: Truth, random: np.random.Generator) -> list[Question]:
    """Tolerances from what hardly any setting keeps to what nearly all do, and weights from 1:4 to 4:1."""
    upstream, there = truth.model.grid.upstream, truth.at(truth.settings)
    low, high = np.quantile(there.forgets, (0.02, 0.9))
    limits = random.uniform(float(low), float(high), QUESTIONS // 2)
    weights = 4.0 ** random.uniform(-1, 1, QUESTIONS - QUESTIONS // 2)
    found = [Question({upstream: float(limit)}) for limit in limits]
    return found + [Question({}, weights=(1.0, float(weight))) for weight in weights]


def judge(truth: Truth, ends: pd.DataFrame, subsets: int) -> pd.DataFrame:
    """A row a question. `regret`: nats below the best setting that the runs of the subset reach; `whole`: that the
    whole grid does; `picked`: the regret of the best measured cell that keeps the limit. Where there is no answer, or
    no such cell, they are NaN."""
    cells = ends[KNOBS].drop_duplicates().sort_values(KNOBS).reset_index(drop=True)
    rows = []
    for number in range(subsets):
        random = np.random.default_rng(number)
        chosen = cells.iloc[random.choice(len(cells), CELLS[number % len(CELLS)], replace=False)]
        seeds = random.choice(sorted(ends.seed.unique()), 2 + number // len(CELLS) % 2, replace=False)
        own = ends.merge(chosen, on=KNOBS)
        model = grid_of(own[own.seed.isin(seeds)])
        for question in asked(truth, random):
            rows.append(
                {"subset": number, "cells": len(chosen), "seeds": len(seeds), **_judged(truth, model, question)}
            )
        print_line(f"judging: {number + 1} of {subsets} subsets")
    return pd.DataFrame(rows)


def _judged(truth: Truth, model: Model, question: Question) -> dict[str, Any]:
    found, upstream = answer(model, question), model.grid.upstream
    limit = question.limits.get(upstream, np.inf)
    reached = found.points.settings[found.points.known].reset_index(drop=True)
    best = {"regret": best_of(truth, reached, question), "whole": best_of(truth, truth.settings, question)}
    best["whole"] = max(best.values())  # both are looked for among a few settings
    told = {
        "limit": limit,
        "weight": question.weights[1],
        "verdict": found.verdict.kind,
        "can_be_kept": bool(np.isfinite(best["regret"])),
        **_front(truth, found),
    }
    cell = _picked(model, question)
    if cell is not None:
        there = truth.at(cell).iloc[0]
        told |= {"picked": best["regret"] - score(there, question), "picked_forgets": there.forgets}
    if found.answered and found.at is not None:
        point = found.points.settings.iloc[[found.at]]
        there = truth.at(point).iloc[0]
        told |= {name: float(point[name].iloc[0]) for name in KNOBS}
        told |= {name: value - score(there, question) for name, value in best.items()}
        told |= {"forgets": there.forgets, "adapts": there.adapts, "stated": float(found.points.kept[found.at])}
        told |= {
            "true": float(_below(limit, there)),
            "on_grid": bool((model.settings == point.iloc[0]).all(axis=1).any()),
        }
    return told


def score(there: Any, question: Question) -> Any:
    w, v = question.weights
    return there.adapts if question.limits else v * there.adapts - w * there.forgets


def best_of(truth: Truth, settings: pd.DataFrame, question: Question) -> float:
    """The most that one who knew the truth would get of these settings, asked the same; minus infinity: nothing."""
    there = truth.at(settings)
    limit = min([*question.limits.values(), np.inf])
    kept = _below(limit, there) >= question.confidence
    return float(np.where(kept, score(there, question), -np.inf).max(initial=-np.inf))


def _below(limit: float, there: Any) -> Any:
    """The probability that a single run forgets no more than this, were the means known."""
    from scipy.special import ndtr

    return ndtr((limit - there.forgets) / there.sd)


def _picked(model: Model, question: Question) -> pd.DataFrame | None:
    """The cell that is best by its measured means alone."""
    grid, good = model.grid, model.grid.good
    F, A = (np.nanmean(values[good], axis=1) for values in (grid.forgetting[grid.upstream], grid.adaptation))
    kept = question.limits.get(grid.upstream, np.inf) >= F
    if not kept.any():
        return None
    scores = score(pd.DataFrame({"forgets": F, "adapts": A}), question)
    return model.settings.iloc[[int(np.where(kept, scores, -np.inf).argmax())]]


def _front(truth: Truth, found: Decision) -> dict[str, float]:
    """How many of the pointwise bands of the front hold the truth, and how many there are."""
    points, upstream = found.points, found.model.grid.upstream
    at = front(points, upstream)
    there = truth.at(points.settings.iloc[at])
    inside = 0
    for outlook, true in ((points.forgetting[upstream], there.forgets), (points.adaptation, there.adapts)):
        low, high = outlook.mean_interval()
        inside += int(((low[at] <= true) & (true <= high[at])).sum())
    return {"bands": 2 * len(at), "bands_hold": inside}


def clustered(table: pd.DataFrame, statistic: Any, draws: int = 1000) -> tuple[float, float, float]:
    """A statistic of a table of questions, and its interval at LEVEL: whole subsets are drawn again."""
    parts = [part for _, part in table.groupby("subset")]
    random = np.random.default_rng(0)
    drawn = [
        statistic(pd.concat([parts[k] for k in random.integers(len(parts), size=len(parts))])) for _ in range(draws)
    ]
    low, high = np.nanquantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(statistic(table)), float(low), float(high)


def statistics(table: pd.DataFrame, truth: Truth) -> pd.DataFrame:
    """What is reported of the questions of a shift: name, value, low, high, questions."""
    allowed = max(ALLOWED, 2 * (0.0 if np.isnan(truth.missed) else truth.missed))
    answered = table[table.regret.notna()]
    limited = answered[np.isfinite(answered.limit)]
    feasible = answered[(answered.forgets <= answered.limit) & np.isfinite(answered.regret)]
    both = feasible[
        feasible.picked.notna() & (feasible.picked_forgets <= feasible.limit) & np.isfinite(feasible.picked)
    ]
    could = table[np.isfinite(table.limit) & table.can_be_kept]
    asked_of = {
        "answered, of tolerances that can be kept": (could, lambda one: one.regret.notna().mean()),
        "tolerance broken by the mean": (limited, lambda one: (one.forgets > one.limit).mean()),
        "tolerance broken by the mean by over .01": (limited, lambda one: (one.forgets > one.limit + ALLOWED).mean()),
        f"regret at most {allowed:.3f}": (feasible, lambda one: (one.regret <= allowed).mean()),
        f"regret at most {ALLOWED:g}": (feasible, lambda one: (one.regret <= ALLOWED).mean()),
        f"regret at most {allowed:.3f}, of the whole grid": (feasible, lambda one: (one.whole <= allowed).mean()),
        "mean regret in nats": (feasible, lambda one: one.regret.mean()),
        "regret less that of the best measured cell": (both, lambda one: (one.regret - one.picked).mean()),
        "stated probability that a tolerance is kept": (limited, lambda one: one.stated.mean()),
        "how often it would be": (limited, lambda one: one.true.mean()),
        "Brier score": (limited, lambda one: (one.stated**2 - 2 * one.stated * one.true + one.true).mean()),
        **{
            f"how often where {low:g} to {high:g} is stated": (
                limited[limited.stated.between(low, high, inclusive="left" if high < 1 else "both")],
                lambda one: one.true.mean(),
            )
            for low, high in itertools.pairwise(BINS)
        },
        "bands of the front that hold": (table, lambda one: one.bands_hold.sum() / one.bands.sum()),
    }
    rows = [(name, *clustered(part, found), len(part)) for name, (part, found) in asked_of.items() if len(part)]
    return pd.DataFrame(rows, columns=["name", "value", "low", "high", "questions"])


def worth_training(table: pd.DataFrame) -> pd.DataFrame:
    """Answers that fresh runs are for: spread over all of those that lie between cells."""
    between = table[table.peak.notna() & ~table.on_grid.astype(bool)][KNOBS].drop_duplicates()
    coded = np.log(np.add(between.to_numpy(), [0.0, 0.01]))
    scaled = (coded - coded.min(axis=0)) / np.ptp(coded, axis=0)
    taken = [int(np.abs(scaled - np.median(scaled, axis=0)).sum(axis=1).argmin())]
    while len(taken) < min(TRAINED, len(between)):
        away: Array = np.min([np.square(scaled - scaled[k]).sum(axis=1) for k in taken], axis=0)
        taken.append(int(away.argmax()))
    return between.iloc[taken].sort_values(KNOBS)


def main(grid: Path, answers: Path | None = None, subsets: int = SUBSETS) -> None:
    """Print the statistics of a grid, then the answers that are most worth training, as grids of a sweep."""
    ends = ends_of_table(grid)
    truth = truth_of(ends, None if answers is None else ends_of_table(answers))
    table = judge(truth, ends, subsets)
    print(f"{len(table)} questions; surfaces miss fresh runs by {truth.missed:.3f} nats (rms)")
    for one in statistics(table, truth).to_dict("records"):
        print(f"{one['name']:<55} {one['value']:7.3f}  ({one['low']:.3f} to {one['high']:.3f})  {one['questions']}")
    for setting in worth_training(table).to_dict("records"):
        print(f"- {{peak: {setting['peak']:g}, replay: {setting['replay']:g}}}")


if __name__ == "__main__":
    tables = [Path(name) for name in sys.argv[1:3]]
    main(tables[0], tables[1] if len(tables) > 1 else None)
