"""Which runs of one model to train next: those after which the decision is expected to lose least, per FLOP.

Above `analysis.decide.decision` and `analysis.design.candidates`, which writes the sweep file.

    found = further_runs(decision, budget_flops=2e13, sweep=Path("sweeps/demo.yaml"))
    found.points, found.regret_now, found.regret_predicted, found.sweep_file

The regret of a decision is what the best setting would have over the one that looks best: E[max u] - max E[u], over
draws of the surfaces' means at settings of a grid over the knobs' ranges, known or not. u is the adaptation (or the
weighted sum), less PRICE times what a limit is overrun by when the noise of the next run is counted. A run shrinks the
draws to what they would be after it (conditioning by Matheron's rule), at means that stay. Runs are added one by one,
each the one that takes off most.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers.answer import UnsupportedError, check_amounts
from analysis.decide.arms import Grid
from analysis.decide.decision import Decision, alike
from analysis.decide.forecast import Outlook
from analysis.design.candidates import read_sweep
from analysis.formulas.formula import Array
from harness.compose.compose import sweep_points
from harness.compose.sweep_file import sweep_text
from harness.config.run import read_run
from harness.core.errors import InputError
from harness.plan.cost import flops_of
from harness.plan.plan import compile_points, plan
from harness.plan.run_file import run_document

VALUES = {1: 25, 2: 9, 3: 5}  # of a knob, by how many there are; those that were run beside
MOST_SETTINGS = 200  # that are looked at beside those that were run
DRAWS = 400
LEAST_FREEDOM = 4.0  # of draws with tails: of fewer, most of a decision's regret would be that of surfaces nobody has
PRICE = 2.0  # nats of adaptation for a nat by which a limit is overrun
MOST_RUNS = 24


@dataclass(frozen=True)
class Proposed:
    """A run to train."""

    knobs: Mapping[str, Any]
    """Its setting."""
    seed: int
    """That no run of this setting has."""
    flops: float
    """Of continual pre-training and measuring; the base exists."""
    gain_per_flop: float
    """Regret that it takes off, in nats for a FLOP, after all runs before it."""


@dataclass(frozen=True)
class Further:
    """The runs, the most gainful first."""

    points: tuple[Proposed, ...]
    regret_now: float
    """Expected, in nats."""
    regret_predicted: float
    """The same after the runs."""
    sweep_file: str
    """That trains them."""

    def document(self) -> dict[str, Any]:
        """As part of the JSON document `decide`."""
        points = [
            {"knobs": dict(one.knobs), "seed": one.seed, "flops": one.flops, "gain_per_flop": one.gain_per_flop}
            for one in self.points
        ]
        regret = {"regret_now": self.regret_now, "regret_predicted": self.regret_predicted}
        return {
            "points": points,
            "flops": sum(one.flops for one in self.points),
            **regret,
            "sweep_file": self.sweep_file,
        }


def further_runs(
    found: Decision, budget_flops: float, sweep: Path, overrides: Sequence[str] = (), most_runs: int = MOST_RUNS
) -> Further:
    """The runs that `budget_flops` buys, at most so many. `sweep`: the file that the runs came from, with the overrides
    it was called with, whose settings are kept.

    Raises InputError for a budget below one run, and for a sweep that continues another base; UnsupportedError where
    there is no surface to judge by.
    """
    check_amounts(budget=budget_flops)
    model = found.model
    if model.refused:
        why = next(iter(model.refused.values()))
        remedy = "run a coarse grid first: three values of each knob"
        raise UnsupportedError(
            "next", f"{len(model.settings)} settings", f"there is no surface to judge by: {why}", remedy
        )
    base = read_sweep(sweep)
    settings = _settings(found)
    flops = _flops(model.grid, sweep, _grids(model.grid, settings.iloc[[0]], [0], overrides))
    count = min(int(budget_flops / flops), most_runs)
    if count < 1:
        raise InputError("next", f"{budget_flops:.3g}", f"a run costs {flops:.3g} FLOPs", "give that at least")
    chosen, regrets = _chosen(found, settings, count)
    seeds = _seeds(model.grid, settings, chosen)
    gains = -np.diff(regrets) / flops
    points = [
        Proposed(_row(settings, i), seed, flops, float(gain))
        for i, seed, gain in zip(chosen, seeds, gains, strict=True)
    ]
    comment = f"Proposed runs: expected regret of the decision from {regrets[0]:.3g} to {regrets[-1]:.3g} nats."
    grids = _grids(model.grid, settings.iloc[chosen], seeds, overrides)
    text = sweep_text(grids, base, base_seed=_base_seed(model.grid), comment=comment)
    return Further(tuple(points), float(regrets[0]), float(regrets[-1]), text)


def regret_of(found: Decision) -> Array | None:
    """What the best setting would have over the recommended one, in nats (DRAWS,). None without a recommendation, or
    without a surface to judge by."""
    if found.at is None or not found.answered or found.model.refused:
        return None
    random = np.random.default_rng(0)
    some = random.permutation(len(found.points.settings))[:MOST_SETTINGS]  # finer, where the runs reach
    settings = pd.concat([_settings(found), found.points.settings.iloc[some]]).drop_duplicates(ignore_index=True)
    losses = [_Drawn(forecast, settings, random) for forecast in found.model.forecasts.values()]
    value = _worth(found, list(found.model.forecasts), losses, [_with_tails(one, random) for one in losses])
    own = int(np.flatnonzero(alike(settings, found.points.settings.iloc[found.at], ()))[0])
    return np.asarray(value.max(axis=1) - value[:, own])


def _with_tails(one: _Drawn, random: np.random.Generator) -> Array:
    """Draws of Student's t with the degrees of freedom of the surface: that of few arms is less sure than it says."""
    freedom = max(float(one.outlook.freedom.min()), LEAST_FREEDOM)
    return np.asarray(one.draws * np.sqrt(freedom / random.chisquare(freedom, DRAWS))[:, None])


def _settings(found: Decision) -> pd.DataFrame:
    """Settings of a grid over the ranges of the knobs, for each combination of categories those that were run with it;
    the arms, and the recommended setting."""
    model, coding = found.model, found.model.coding
    group = coding.group(model.settings)
    product: list[dict[str, Any]] = []
    for one in np.unique(group):
        arms = model.settings[group == one]
        kind = {name: arms[name].iloc[0] for name in coding.categories}
        between = {name: coding.between(name, VALUES.get(len(coding.levels), 0)) for name in coding.levels}
        inside = [x[(x >= arms[name].min()) & (x <= arms[name].max())] for name, x in between.items()]
        product += [{**dict(zip(between, values, strict=True)), **kind} for values in itertools.product(*inside)]
    some = np.sort(np.random.default_rng(0).permutation(len(product))[:MOST_SETTINGS])
    parts = [model.settings, pd.DataFrame([product[i] for i in some], columns=list(model.settings))]
    parts += [found.points.settings.iloc[[found.at]]] if found.at is not None else []
    return pd.concat(parts).drop_duplicates(ignore_index=True)


def _chosen(found: Decision, settings: pd.DataFrame, count: int) -> tuple[list[int], Array]:
    """Which settings to run, one by one, and the regret before, between and after (count + 1,)."""
    random = np.random.default_rng(0)
    losses = [_Drawn(forecast, settings, random) for forecast in found.model.forecasts.values()]
    names = list(found.model.forecasts)
    chosen: list[int] = []
    regrets = [_regret(found, names, losses, [one.draws for one in losses])]
    for _ in range(count):
        noise = [random.standard_normal(DRAWS) for _ in losses]
        after = [
            _regret(found, names, losses, [one.after(i, luck) for one, luck in zip(losses, noise, strict=True)])
            for i in range(len(settings))
        ]
        best = int(np.argmin(after))
        for one, luck in zip(losses, noise, strict=True):
            one.run(best, luck)
        chosen.append(best)
        regrets.append(min(after[best], regrets[-1]))
    return chosen, np.array(regrets)


class _Drawn:
    """One loss: draws of its means at settings around what is expected, (DRAWS, n)."""

    def __init__(self, forecast: Any, settings: pd.DataFrame, random: np.random.Generator) -> None:
        self.outlook: Outlook = forecast.at(settings)
        self.covariance = forecast.widened**2 * forecast.surface.covariance(settings, settings)
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        self.draws: Array = random.standard_normal((DRAWS, len(settings))) @ root.T

    def after(self, i: int, luck: Array) -> Array:
        """The draws after one run at a setting with such luck (DRAWS,)."""
        error = self.draws[:, i] + self.outlook.run_sd[i] * luck
        return np.asarray(self.draws - np.outer(error, self._gain(i)))

    def run(self, i: int, luck: Array) -> None:
        """Take the run as done."""
        draws, gain = self.after(i, luck), self._gain(i)
        self.draws, self.covariance = draws, self.covariance - np.outer(gain, self.covariance[i])

    def _gain(self, i: int) -> Array:
        return np.asarray(self.covariance[:, i] / (self.covariance[i, i] + self.outlook.run_sd[i] ** 2))


def _regret(found: Decision, names: Sequence[str], losses: Sequence[_Drawn], draws: Sequence[Array]) -> float:
    """E[max u] - max E[u]."""
    value = _worth(found, names, losses, draws)
    return float(value.max(axis=1).mean() - value.mean(axis=0).max())


def _worth(found: Decision, names: Sequence[str], losses: Sequence[_Drawn], draws: Sequence[Array]) -> Array:
    """u of every setting (DRAWS, n)."""
    from scipy.special import stdtrit

    question, grid = found.question, found.model.grid
    means = {name: one.outlook.mean + drawn for name, one, drawn in zip(names, losses, draws, strict=True)}
    w, v = (0.0, 1.0) if question.limits else question.weights
    value = v * means[grid.downstream] - w * means[grid.upstream]
    for name, limit in question.limits.items():
        outlook = losses[names.index(name)].outlook
        margin = stdtrit(outlook.run_freedom, question.confidence) * outlook.run_sd
        value = value - PRICE * np.maximum(means[name] + margin - limit, 0.0)
    return np.asarray(value)


def _seeds(grid: Grid, settings: pd.DataFrame, chosen: Sequence[int]) -> list[int]:
    """For each run the smallest seed that its setting has not, so that seeds are common to settings."""
    numbers = [int(name.rpartition(" ")[2]) for name in grid.seeds]
    present = np.isfinite(grid.adaptation)
    taken: dict[int, set[int]] = {}
    found = []
    for i in chosen:
        if i not in taken:
            arms = np.flatnonzero(alike(grid.settings, settings.iloc[i], ()))
            taken[i] = {numbers[k] for arm in arms for k in np.flatnonzero(present[arm])}
        fresh = (seed for seed in itertools.count(min(numbers)) if seed not in taken[i])
        found.append(next(fresh))
        taken[i].add(found[-1])
    return found


def _grids(grid: Grid, settings: pd.DataFrame, seeds: Sequence[int], overrides: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a sweep file: the knobs that vary, those that all runs share, and what the sweep was called with."""
    shared: dict[str, Any] = {
        name: grid.common[name] for name in ("warmup", "replay", "schedule") if name in grid.common
    }
    rate = "peak" if pd.notna(grid.common.get("peak", np.nan)) else "lr"
    shared |= {rate: grid.common[rate]} if rate in grid.common and not {"peak", "lr"} & {*settings} else {}
    called = dict(one.split("=", 1) for one in overrides if not one.startswith(("seed=", "base.")))
    return [
        {**called, **{name: _plain(value) for name, value in shared.items()}, **_row(settings, i), "seed": seed}
        for i, seed in enumerate(seeds)
    ]


def _flops(grid: Grid, sweep: Path, grids: Sequence[Mapping[str, Any]]) -> float:
    """Of a run that the sweep is extended by. InputError where it has another base or another length than the data."""
    row = ",".join(f"{name}:{value}" for name, value in grids[0].items() if name != "seed")
    calls = [f"grids=[{{{row}}}]", f"base.seed={_base_seed(grid)}", f"seed={grids[0]['seed']}"]
    points = [(point.label, read_run(point.config)) for point in sweep_points([sweep.stem], calls, sweep.parent)]
    (planned,) = plan(compile_points(points)).points
    base = run_document(planned)["base_address"]
    if (known := grid.common.get("base_address")) is not None and base != known:
        why = f"{sweep.name} continues the base {str(base)[:8]}, and the runs that of {str(known)[:8]}"
        raise InputError("base-sweep", sweep, why, "name the sweep that they came from, with the KNOB=VALUE it had")
    at = planned.base_position or 0
    trained = planned.program.tokens(planned.program.steps) - planned.program.tokens(at)
    if (length := grid.common.get("run_tokens", trained)) != trained:
        why = f"{sweep.name} trains {trained:.4g} tokens, and the runs have {length:.4g}"
        raise InputError("base-sweep", sweep, why, "name the sweep that they came from, with the KNOB=VALUE it had")
    rows = [key for key in planned.request.rows if key[0] > at]
    return float(flops_of(planned, trained, rows, planned.request.measures))


def _base_seed(grid: Grid) -> int:
    known = grid.common.get("base_seed")
    return (
        int(known)
        if known is not None and pd.notna(known)
        else min(int(name.rpartition(" ")[2]) for name in grid.seeds)
    )


def _row(settings: pd.DataFrame, i: int) -> dict[str, Any]:
    return {str(name): _plain(value) for name, value in settings.iloc[i].items()}


def _plain(value: Any) -> Any:
    """As YAML has it."""
    return float(value) if isinstance(value, float | np.floating) else value.item() if hasattr(value, "item") else value
