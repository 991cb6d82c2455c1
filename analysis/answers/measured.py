"""What the measured runs say of an answer, for every law: one that they contradict is none.

A law is believed between its runs only as far as they carry it. Along the variable that a question chooses (a share, a
size) the runs nearest to the question's other variables are looked up, their losses moved there by the law; at the
answer the law may not promise less than they had on either side, its optimum may not be an end that nobody measured,
and corrected by what it misses them by it must come to about the same answer.

    runs = measured_along(fit, "r", lambda r: {"N": 1e8, "D": 1e10, "r": r})
    runs.promised(0.03, "domain loss", "r")              # why the runs say otherwise; nothing if they do not
    share_against(general, domain, lambda r: {"N": 1e8, "D": 1e10}, 0.03, limit, "on_limit")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.fitting.fit import Fit
from analysis.formulas.formula import Array
from analysis.results.checks import POSITIVE

ALLOWED = 0.01  # of the loss: laws of losses are wrong by as much
SURELY = 0.005  # of a limit: a share that keeps to it by the runs does so by as much
SURE = 3.0  # standard errors that are no contradiction
HALF = 0.5  # of the difference between two neighbours: a curve between them may bend by as much
NEAR = 0.25  # of the range of the data: rows farther from a question's other variables say nothing of it
TOGETHER = 0.02  # of the range: rows this much farther than the nearest count, too
ALIKE = 1e-6  # relative difference of two settings that are one
POINTS = 401  # of a grid of shares
BESIDE = 2  # nearest mixtures for each domain

Columns = Callable[[Array], Mapping[str, Any]]


@dataclass(frozen=True)
class Measured:
    """A fit's runs along x, a variable of its law, or what a question has in its place."""

    fit: Fit
    columns: Columns
    """The law's variables at x (m,)."""
    at: Array
    """Measured x (m,), ascending."""
    loss: Array
    """Of the runs there, (m,), moved to the question's other variables by the law."""
    noise: float
    """Standard error of `loss`, a share of it, by the scatter of runs alike; 0 where there are none."""

    def predicted(self, x: Array) -> Array:
        """The law's losses, (m,)."""
        with np.errstate(all="ignore"):
            found = self.fit.law.value(self.fit.parameters, self.columns(x))
        return np.broadcast_to(found, np.shape(x))

    def corrected(self, x: Array) -> Array:
        """The law times what it misses the runs by, between which that is interpolated."""
        return np.asarray(self.predicted(x) * np.interp(x, self.at, self.loss / self.predicted(self.at)))

    def allowed(self, loss: float) -> float:
        """Nats by which a law may miss a loss."""
        return (ALLOWED + SURE * self.noise) * loss

    def around(self, x: float) -> tuple[int, ...]:
        """The settings on both sides, or the one that it is, or the two nearest of one side."""
        same = np.flatnonzero(np.abs(self.at - x) <= ALIKE * max(1.0, abs(x)))
        if same.size:
            return (int(same[0]),)
        above = int(np.searchsorted(self.at, x))
        if 0 < above < len(self.at):
            return above - 1, above
        return tuple(range(2)) if above == 0 else (len(self.at) - 1, len(self.at) - 2)

    def promised(self, x: float, loss: str, name: str) -> list[str]:
        """Why the runs do not carry the `loss` that the law promises at x, which is called `name`."""
        promise = float(self.predicted(np.array([x]))[0])
        near = [i for i in self.around(x) if i < len(self.at)]
        if not near or not math.isfinite(promise):
            return []
        there = self.loss[near]
        inside = len(near) == 1 or min(self.at[near]) < x < max(self.at[near])
        least, bend = float(there.min()), HALF * float(np.ptp(there))
        if not inside:
            trend = (there[0] - there[1]) / (self.at[near[0]] - self.at[near[1]]) * (x - self.at[near[0]])
            least, bend = min(float(there[0]), float(there[0] + trend)), HALF * abs(float(trend))
        if promise >= least - bend - self.allowed(least):
            return self._missed(x, promise, loss, name) if inside else []
        runs = " and ".join(f"{self.loss[i]:.4f} at {name} = {self.at[i]:.4g}" for i in sorted(near))
        return [f"the law says a {loss} of {promise:.4f} at {name} = {x:.4g}; the nearest runs had {runs}"]

    def _missed(self, x: float, promise: float, loss: str, name: str) -> list[str]:
        """Why a law that promises no less than the runs had on one side does by what it misses them by."""
        there = float(self.corrected(np.array([x]))[0])
        if promise >= there - self.allowed(there):
            return []
        return [f"the law says a {loss} of {promise:.4f} at {name} = {x:.4g}, by the nearest runs it is {there:.4f}"]


@np.errstate(all="ignore")  # where a share is 0, tokens of which there are so many are infinite
def measured_along(fit: Fit, variable: str, columns: Columns, rest: bool = False) -> Measured | None:
    """The runs of a fit along a variable, which is x, or 1 - x as the `rest`, at the other `columns` (of x) of a
    question. None where the fit holds no rows, or none of them is near."""
    rows, law = fit.rows, fit.law
    if rows is None or variable not in rows or variable not in law.variables:
        return None
    own = rows[variable].to_numpy(dtype=float)
    observed = rows[fit.target].to_numpy(dtype=float)
    with np.errstate(all="ignore"):
        missed = observed / fit.predict(rows)
    others = [name for name in (*law.variables, *fit.fixed) if name in rows and name != variable]
    runs = rows["run"].to_numpy() if "run" in rows else np.arange(len(rows))
    settings = _distinct(own)
    at, moved, noises = [], [], []
    for setting in settings:
        here = np.flatnonzero(np.abs(own - setting) <= ALIKE * max(1.0, abs(setting)))
        x = 1 - setting if rest else setting
        point = {**fit.fixed, **columns(np.array([x]))}
        distance = _distances(fit, others, point)[here]
        if not np.isfinite(missed[here]).all() or distance.min() > NEAR:
            continue
        close = here[distance <= distance.min() + TOGETHER]
        at.append(x)
        moved.append(float(missed[close].mean()))
        each = [missed[close][runs[close] == run].mean() for run in dict.fromkeys(runs[close].tolist())]
        noises += [float(np.var(each, ddof=1)) / len(each)] if len(each) > 1 else []
    order = np.argsort(at)
    noise = float(np.sqrt(np.mean(noises))) if noises else 0.0
    found = Measured(fit, columns, np.array(at)[order], np.array(moved)[order], noise)
    found = replace(found, loss=found.predicted(found.at) * found.loss) if at else found
    kept = np.isfinite(found.loss) & (found.loss > 0)
    return replace(found, at=found.at[kept], loss=found.loss[kept]) if kept.any() else None


@np.errstate(all="ignore")
def share_against(
    general: Fit | None, domain: Fit | None, given: Columns, r: float, limit: float | None, status: str
) -> list[str]:
    """What the measured runs have against `r`, the share of the domain that laws choose where they are `given(r)`, with
    a `limit` of the general loss: nothing if they carry it."""
    if math.isnan(r):
        return []
    own = [(fit, fit.law.own_share, at) for fit, at in ((domain, r), (general, 1 - r)) if fit is not None]
    if status == "on_bound" and (found := unmeasured_end(own, "r", r)):
        return found
    upstream, downstream = _along_share(general, given, True), _along_share(domain, given, False)
    for role, runs in (("domain", downstream), ("general", upstream)):
        if runs is not None and (found := runs.promised(r, f"{role} loss", "r")):
            return found
    at = np.array([r])
    if upstream is not None and limit is not None and status != "on_bound":
        there, most = float(upstream.corrected(at)[0]), upstream.allowed(limit)
        if there - limit > most or (domain is None and limit - there > most):
            side = "above" if there > limit else "below"
            return [f"by the nearest runs the general loss at r = {r:.4g} is {there:.4f}, {side} its limit {limit:.4f}"]
    if downstream is None or (limit is not None and upstream is None):
        return []
    grid = np.linspace(0, 1, POINTS)
    losses, kept = downstream.corrected(grid), np.ones(POINTS, dtype=bool)
    if limit is not None and upstream is not None:
        kept = upstream.corrected(grid) <= limit * (1 - SURELY)
    best = int(np.where(kept & np.isfinite(losses), losses, np.inf).argmin())
    here = float(downstream.corrected(at)[0])
    if kept[best] and here - losses[best] > downstream.allowed(here):
        within = "" if limit is None else " within the limit"
        told = f"by the nearest runs r = {grid[best]:.4g} has a domain loss of {losses[best]:.4f}{within}"
        return [f"{told}, r = {r:.4g} one of {here:.4f}"]
    return []


def _along_share(fit: Fit | None, given: Columns, rest: bool) -> Measured | None:
    """The runs of a fit along the share of the domain, of which its own share is x or the `rest`."""
    if fit is None:
        return None
    share = fit.law.own_share
    return measured_along(fit, share, lambda x: {**given(x), share: 1 - x if rest else x}, rest)


def mixture_promised(fit: Fit, point: Mapping[str, float], loss: str) -> list[str]:
    """Why the runs of the nearest mixtures do not carry the loss that a law of several shares promises at a `point`."""
    rows, law = fit.rows, fit.law
    shares = [name for name in law.variables if name in law.shares]
    if rows is None or not shares:
        return []
    others = [name for name in law.variables if name not in shares]
    distance = _distances(fit, others, point) if others else np.zeros(len(rows))
    near = np.flatnonzero(distance <= distance.min() + TOGETHER)
    measured = rows.iloc[near]
    at = {name: measured[name].to_numpy(dtype=float) if name in shares else point[name] for name in law.variables}
    with np.errstate(all="ignore"):
        moved = measured[fit.target].to_numpy(dtype=float) * fit.predict(at) / fit.predict(measured)
        promise = float(fit.predict({name: point[name] for name in law.variables}))
    away = np.sqrt(sum((measured[name].to_numpy(dtype=float) - point[name]) ** 2 for name in shares))
    close = np.argsort(away, kind="stable")[: BESIDE * len(shares) + 1]
    there = moved[close][np.isfinite(moved[close])]
    if not there.size or not math.isfinite(promise):
        return []
    least = float(there.min())
    if promise >= least - HALF * float(np.ptp(there)) - ALLOWED * least:
        return []
    return [
        f"the law says a {loss} of {promise:.4f} there, where runs of the nearest mixtures had at least {least:.4f}"
    ]


def unmeasured_end(fits: Sequence[tuple[Fit, str, float]], name: str, value: float) -> list[str]:
    """Why an optimum at an end of a share is not carried: of fits, each with its variable and the value there, one has
    no run at that end."""
    for fit, variable, own in fits:
        low, high = share_range(fit, variable) or (own, own)
        if not low - ALIKE <= own <= high + ALIKE:
            why = f"the law's optimum is the end {name} = {value:.4g}"
            ends = sorted((low, high)) if own == value else sorted((1 - low, 1 - high))
            return [f"{why}, and no run was there: theirs are from {ends[0]:.4g} to {ends[1]:.4g}"]
    return []


def share_range(fit: Fit, name: str) -> tuple[float, float] | None:
    """Of a share over the fit's runs, also of the one that its law has no variable for; None where it is not known."""
    if name != fit.law.rest:
        return fit.range.get(name)
    if fit.rows is None:
        return None
    rest = 1 - fit.rows[[share for share in fit.law.shares if share != name]].astype(float).sum(axis=1)
    return float(rest.min()), float(rest.max())


def unmeasured_mixture(fit: Fit, point: Mapping[str, float]) -> list[str]:
    """The same of a mixture: a share that is none or all, as in no run; unless some run came so near to it that the law
    says the same there. `point`: the shares of all domains."""
    for name in fit.law.shares:
        if name not in point or min(point[name], 1 - point[name]) > ALIKE:
            continue
        low, high = share_range(fit, name) or (0.0, 1.0)
        near = float(np.clip(point[name], low, high))
        if abs(near - point[name]) <= TOGETHER:
            there, here = (fit.predict({**point, name: share}) for share in (near, point[name]))
            if abs(there - here) <= ALLOWED * abs(there):
                continue
        if found := unmeasured_end([(fit, name, point[name])], name, point[name]):
            return found
    return []


def _distances(fit: Fit, names: Sequence[str], point: Mapping[str, Any]) -> Array:
    """How far each row is from a point in these variables, in parts of the data's range; outside counts as its end."""
    assert fit.rows is not None
    total = np.zeros(len(fit.rows))
    for name in names:
        column, to = fit.rows[name].to_numpy(dtype=float), float(np.ravel(point[name])[0])
        if (fit.law.variables.get(name) in POSITIVE or column.min() > 0) and to > 0 and column.min() > 0:
            column, to = np.log(column), math.log(to)
        span = float(np.ptp(column))
        if span > 0:
            total += ((column - np.clip(to, column.min(), column.max())) / span) ** 2
    return np.sqrt(total)


def _distinct(values: Array) -> Array:
    """Ascending, without those that are one but for rounding."""
    ordered = np.unique(values)
    fresh: npt.NDArray[np.bool_] = np.diff(ordered, prepend=-np.inf) > ALIKE * np.maximum(1.0, np.abs(ordered))
    return np.asarray(ordered[fresh])
