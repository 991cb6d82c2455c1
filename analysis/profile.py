"""Profile intervals: how far one parameter can go while all others follow, before the fit is clearly worse.

For parameters whose likelihood is flat or lopsided, where a standard error says little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.formula import Array
from analysis.information import Information
from analysis.newton import minimise
from analysis.objective import Objective
from analysis.search import Found, descent, inward_bounds

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
    """The objective minimised over all other parameters, at POINTS values to either side of the estimate."""
    from scipy.stats import chi2

    law = objective.bound.law
    index, estimate = law.parameters.index(name), found.theta
    low, high = inward_bounds(law)
    reach = min(REACH * float(known.se[index]), 20.0 if law.on_log_scale(name) else np.inf)
    if not np.isfinite(reach):
        span = law.starts.get(name, (0.0, 10.0 * abs(float(estimate[index])) + 1.0))
        reach = 2 * float(span[1] - span[0])
    steps = np.concatenate([-np.geomspace(1, 1e-2, POINTS), [0.0], np.geomspace(1e-2, 1, POINTS)]) * max(reach, 1e-12)
    values = np.unique(np.clip(estimate[index] + steps, low[index], high[index]))
    theta = np.repeat(estimate[None], len(values), axis=0)
    theta[:, index] = values
    lows, highs = np.repeat(low[None], len(values), axis=0), np.repeat(high[None], len(values), axis=0)
    lows[:, index] = highs[:, index] = values
    end = minimise(objective, theta, lows, highs, deltas=descent(objective)[1], tolerance=1e-6, most_steps=60)
    rise = np.maximum(objective.value(end.theta) - found.value, 0.0)
    outward = law.outward(theta)[:, index]
    return Profile(name, outward, rise, 0.5 * float(chi2.ppf(level, 1)) * known.unit)


def profile_interval(
    objective: Objective, found: Found, known: Information, name: str, level: float
) -> tuple[float | None, float | None]:
    """Where the profile crosses what is allowed; None on a side where it does not within reach."""
    found_profile = profile(objective, found, known, name, level)
    values, rise, allowed = found_profile.values, found_profile.rise, found_profile.allowed
    lowest = int(rise.argmin())
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
