"""The best schedule of continual pre-training: its peak learning rate, its horizon and the share of replay.

    answer = choose_schedule(upstream, downstream, base_lrs=lrs, peaks=(3e-5, 1e-3), horizons=(1000, 20000),
                             tolerance=0.01, base_loss=2.87)

For fits of laws of learning rates such as `cpt_dynamics` and its replay forms (2505.07796), whose variables S1 and S2
follow from the schedule (`analysis.results.curves`). Per unit of peak they depend on the horizon alone, which is what
makes a search over both cheap: for each horizon the best peak, then the best horizon.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.answers.answer import Answer, answer_of, check_amounts, limit_of
from analysis.answers.ensemble import SLACK, Ensemble, ensembles, extrapolation, farthest, solve
from analysis.fitting.fit import Fit
from analysis.formulas.formula import Array
from analysis.results.curves import DECAY, annealing, lr_sum
from harness.core.errors import InputError
from harness.program.schedule import Schedule, lr_at, pieces

SCALABLE = ("cosine", "cosine_clipped", "linear", "constant", "warmup_constant", "wsd")  # with the peak, all of it
POINTS, FINER = 41, 5  # of the grids over peak and horizon, see `ensemble.solve`: to 2e-4 of a logarithmic range
TABULATED = 128  # horizons for which S1 and S2 are summed up; linear between them
EDGE = 1e-3  # of a logarithmic range: this near to an end is on it


@dataclass(frozen=True)
class _Question:
    """What is minimised: `weight` L_up + (1 - weight) L_down where L_up is at most `limit`."""

    upstream: Ensemble
    downstream: Ensemble
    base: Mapping[str, float]  # S1_base, S2_base
    sums: tuple[Array, Array, Array]  # log horizons, and S1 and S2 per unit of peak for each
    peaks: tuple[float, float]  # logarithms, as those of the horizons
    weight: float
    limit: float  # infinite if there is none

    def columns(self, peak: Array, horizon: Array, replay: float) -> dict[str, Array | float]:
        """The laws' variables at logarithms of peak and horizon."""
        at, S1, S2 = self.sums
        return {
            **self.base,
            "replay": replay,
            "S1_cpt": np.exp(peak) * np.interp(horizon, at, S1),
            "S2_cpt": np.exp(peak) * np.interp(horizon, at, S2),
        }

    def value(self, peak: Array, horizon: Array, replay: float) -> Array:
        columns = self.columns(peak, horizon, replay)
        if not self.weight:
            return self.downstream.loss(columns)
        return self.weight * self.upstream.loss(columns) + (1 - self.weight) * self.downstream.loss(columns)

    def best_peak(self, horizon: Array, replay: float) -> Array:
        """Log peaks (K, m) for log horizons (1 or K, m); NaN where no peak is admitted."""
        shaped = horizon[..., None]

        def excess(peak: Array) -> Array:
            return self.upstream.loss(self.columns(peak, shaped, replay)) - self.limit

        return solve(
            lambda peak: self.value(peak, shaped, replay),
            excess if np.isfinite(self.limit) else None,
            *self.peaks,
            points=POINTS,
            finer=FINER,
        )

    def best(self, replays: Sequence[float]) -> tuple[Array, ...]:
        """Log peak, log horizon and replay, each (K,); NaN where there is no answer."""
        found = []
        for replay in replays:

            def profile(horizon: Array, replay: float = replay) -> Array:
                return self.value(self.best_peak(horizon, replay), horizon, replay)

            log = self.sums[0]
            horizon = solve(profile, None, log[0], log[-1], points=POINTS, finer=FINER)[:, None]
            peak = self.best_peak(horizon, replay)
            found.append((peak[:, 0], horizon[:, 0], self.value(peak, horizon, replay)[:, 0]))
        peaks, horizons, values = (np.stack(column) for column in zip(*found, strict=True))
        index = np.where(np.isnan(values), np.inf, values).argmin(0)
        rows = np.arange(len(index))
        found_any = np.isfinite(values[index, rows])
        return tuple(
            np.where(found_any, column, np.nan)
            for column in (peaks[index, rows], horizons[index, rows], np.asarray(replays)[index])
        )


def choose_schedule(
    upstream: Fit,
    downstream: Fit,
    *,
    base_lrs: Array,
    peaks: tuple[float, float],
    horizons: tuple[int, int],
    schedule: str = "cosine",
    warmup: float = 0.01,
    min_ratio: float = 0.1,
    anneal: float = 0.0,
    replays: Sequence[float] | None = None,
    weight: float | None = None,
    tolerance: float | None = None,
    base_loss: float | None = None,
    decay: float = DECAY,
    independent: bool = False,
) -> Answer:
    """argmin over peak, horizon (and replay) of w L_up + (1 - w) L_down at the end of the schedule, or of L_down
    subject to L_up <= (1 + T) `base_loss`.

    `base_lrs`: the learning rate of every update of the base. `peaks`, `horizons`: lowest and highest learning rate,
    and numbers of updates; the run is as long as its horizon. `warmup`, `anneal` (of wsd): shares of the horizon;
    `min_ratio`: the floor over the peak. `replays`: the shares to choose from, for laws with replay. `weight` w, else
    `tolerance` T and `base_loss`. Losses are named general (upstream) and domain. Raises InputError.
    """
    if schedule not in SCALABLE:
        raise InputError("schedule", schedule, "cannot be chosen by its peak", f"take one of {', '.join(SCALABLE)}")
    _check_ranges(peaks, horizons, warmup)
    limit = _limit(weight, tolerance, base_loss)
    _check_replays(replays, upstream, downstream)
    shares = [0.0] if replays is None else list(replays)
    (up, down), paired = ensembles([upstream, downstream], independent)
    lengths = np.unique(np.rint(np.geomspace(*horizons, TABULATED)).astype(np.int64))
    shape = {"warmup": warmup, "min_ratio": min_ratio, "anneal": anneal}
    sums = np.array([_sums(lr_curve(schedule, 1.0, int(length), **shape), decay) for length in lengths])
    base = dict(zip(("S1_base", "S2_base"), _sums(np.asarray(base_lrs, dtype=float), decay), strict=True))
    question = _Question(
        up, down, base, (np.log(lengths), *sums.T), (math.log(peaks[0]), math.log(peaks[1])), weight or 0.0, limit
    )
    peak, horizon, replay = question.best(shares)
    chosen = {} if replays is None else {"replay": replay}
    values = {"peak": np.exp(peak), "horizon": np.rint(np.exp(horizon)), **chosen}
    point = question.columns(peak[:1, None], horizon[:1, None], float(replay[0]))
    at = {name: float(np.ravel(x)[0]) for name, x in point.items()}
    return answer_of(
        "schedule",
        values,
        fits={"general": upstream, "domain": downstream},
        status=_status(question, shares),
        paired=paired,
        limit=limit if math.isfinite(limit) else None,
        loss={"general": up.loss(point), "domain": down.loss(point)},
        extrapolated=farthest(extrapolation(upstream, at), extrapolation(downstream, at)),
        choice={} if replays is None else {"replay": (min(shares), max(shares))},
    )


def lr_curve(schedule: str, peak: float, horizon: int, *, warmup: float, min_ratio: float, anneal: float) -> Array:
    """The learning rate of every update of a schedule of `horizon` updates, (horizon,)."""
    named = Schedule(
        schedule,
        max_lr=peak,
        min_lr=min_ratio * peak,
        warmup_steps=round(warmup * horizon),
        horizon_steps=horizon,
        anneal_steps=round(anneal * horizon),
    )
    return drawn(named, horizon)


def drawn(schedule: Schedule, steps: int) -> Array:
    """The learning rate of each of the first updates of a schedule, (steps,). Raises InputError."""
    return np.concatenate([lr_at(shape, np.arange(length)) for shape, length in pieces(schedule, steps)])


def _sums(lrs: Array, decay: float) -> tuple[float, float]:
    """S1 and S2 after all updates; none, and both are 0."""
    if not len(lrs):
        return 0.0, 0.0
    end = np.array([len(lrs)])
    return float(lr_sum(lrs, end)[0]), float(annealing(lrs, end, decay)[0])


def _status(question: _Question, replays: Sequence[float]) -> str:
    """Of the estimate, see `Answer.status`."""
    first = replace(
        question,
        upstream=replace(question.upstream, theta=question.upstream.theta[:1]),
        downstream=replace(question.downstream, theta=question.downstream.theta[:1]),
    )
    best = [float(column[0]) for column in first.best(replays)]
    if math.isnan(best[0]):
        return "infeasible"
    free = [column[:, None] for column in replace(first, limit=math.inf).best(replays)]
    if first.upstream.loss(first.columns(free[0], free[1], float(free[2][0, 0])))[0, 0] > first.limit + SLACK:
        return "on_limit"
    ranges = [first.peaks, (first.sums[0][0], first.sums[0][-1]), (min(replays), max(replays))]
    spans = [(x, low, high) for x, (low, high) in zip(best, ranges, strict=True) if low < high]
    held = any(min(x - low, high - x) <= EDGE * (high - low) for x, low, high in spans)
    return "on_bound" if held else "interior"


def _limit(weight: float | None, tolerance: float | None, base_loss: float | None) -> float:
    """The upstream loss admitted, infinite if losses are weighted."""
    if weight is not None and tolerance is None and base_loss is None:
        if not 0 <= weight <= 1:
            raise InputError("weight", weight, "is no share", "give that of the upstream loss, in [0, 1]")
        return math.inf
    if weight is None and tolerance is not None and base_loss is not None:
        return limit_of(base_loss, tolerance)
    raise InputError("weight", weight, "what is best is not said", "give a weight, or a tolerance and a base loss")


def _check_ranges(peaks: tuple[float, float], horizons: tuple[int, int], warmup: float) -> None:
    for name, (low, high) in (("peaks", peaks), ("horizons", horizons)):
        check_amounts(**{f"{name}[0]": low, f"{name}[1]": high})
        if not low < high:
            raise InputError(name, f"{low:g}, {high:g}", "is no range", "give the lowest, then the highest")
    if warmup and round(warmup * horizons[0]) < 1:
        raise InputError("warmup", warmup, f"is less than one of {horizons[0]} updates", "raise it, or the horizons")


def _check_replays(replays: Sequence[float] | None, *fits: Fit) -> None:
    depends = any("replay" in fit.law.variables for fit in fits)
    if depends != (replays is not None):
        why = "the laws depend on it" if depends else "the laws do not depend on it"
        raise InputError("replays", replays, why, "give shares to choose from to laws with replay, and to no others")
    if replays is not None and not (len(replays) and all(0 <= share <= 1 for share in replays)):
        raise InputError("replays", replays, "are no shares", "give some in [0, 1]")
