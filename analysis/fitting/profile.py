"""Profile intervals: how far one parameter can go while all others follow, before the fit is clearly worse.

For parameters whose likelihood is flat or lopsided, where a standard error says little. `fit_law` asks for
it after its search.

    low, high = profile_interval(objective, found, known, "alpha", level=0.9)     # None: open on that side
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.fitting.newton import minimise
from analysis.fitting.objective import Objective
from analysis.fitting.search import Found, descent, inward_bounds
from analysis.fitting.standard_errors import Information
from analysis.laws.formula import Array

POINTS = 10  # values of the parameter on each side
REACH = 5.0  # standard errors to either side, where they are finite


@dataclass(frozen=True)
class Profile:
    """`values` of the parameter (outward), the `rise` of the objective above its minimum, and the rise `allowed`."""

    name: str
    values: Array
    rise: Array
    allowed: float


def profile(objective: Objective, found: Found, known: Information, name: str, level: float = 0.9) -> Profile:
    """The objective minimised over all other parameters, at POINTS values to either side of the estimate.

    Each value starts from where its neighbour ended, outwards and back again: along a curved valley a start from the
    estimate would stay on its slope.
    """
    from scipy.stats import chi2

    law = objective.bound.law
    index, estimate = law.parameters.index(name), found.theta
    low, high = inward_bounds(law)
    reach = min(REACH * float(known.se[index]), 20.0 if law.on_log_scale(name) else np.inf)
    if not np.isfinite(reach):
        span = law.starts.get(name, (0.0, 10.0 * abs(float(estimate[index])) + 1.0))
        reach = 2 * float(span[1] - span[0])
    steps = np.concatenate([[0.0], np.geomspace(1e-2, 1, POINTS)]) * max(reach, 1e-12)
    sides = np.clip(estimate[index] + np.stack([-steps, steps], axis=1), low[index], high[index])  # (POINTS + 1, 2)
    value = np.full(sides.shape, np.inf)
    ends = np.repeat(np.repeat(estimate[None, None], len(sides), axis=0), 2, axis=1)
    value[0] = found.value
    _, exact = descent(objective)
    for order in (range(1, len(sides)), range(len(sides) - 1, 0, -1)):
        for k in order:
            neighbour = k - 1 if order.step > 0 else min(k + 1, len(sides) - 1)
            theta = ends[neighbour].copy()
            theta[:, index] = sides[k]
            lows, highs = np.repeat(low[None], 2, axis=0), np.repeat(high[None], 2, axis=0)
            lows[:, index] = highs[:, index] = sides[k]
            end = minimise(objective, theta, lows, highs, deltas=exact[-1:], tolerance=1e-6, most_steps=60)
            reached = objective.value(end.theta)
            better = reached < value[k]
            value[k, better], ends[k, better] = reached[better], end.theta[better]
    values = np.concatenate([sides[::-1, 0], sides[1:, 1]])
    rise = np.maximum(np.concatenate([value[::-1, 0], value[1:, 1]]) - found.value, 0.0)
    theta = np.repeat(estimate[None], len(values), axis=0)
    theta[:, index] = values
    return Profile(name, law.outward(theta)[:, index], rise, 0.5 * float(chi2.ppf(level, 1)) * float(known.unit[index]))


def profile_interval(
    objective: Objective, found: Found, known: Information, name: str, level: float
) -> tuple[float | None, float | None]:
    """Where the profile crosses what is allowed; None on a side where it does not within reach."""
    found_profile = profile(objective, found, known, name, level)
    values, rise, allowed = found_profile.values, found_profile.rise, found_profile.allowed
    lowest = POINTS  # where the estimate is
    ends: list[float | None] = []
    for side in (range(lowest, -1, -1), range(lowest, len(values))):
        end, before = None, lowest
        for i in side:
            if rise[i] > allowed:
                share = (allowed - rise[before]) / (rise[i] - rise[before])
                end = float(values[before] + share * (values[i] - values[before]))
                break
            before = i
        ends.append(end)
    return ends[0], ends[1]
