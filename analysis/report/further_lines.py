"""How sure a decision is, and the runs that would make it surer, for a terminal and as part of its document.

Above `analysis.decide.further`; `python -m analysis decide --within NATS --next FLOPS` prints it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from analysis.decide.decision import Decision
from analysis.decide.further import Further, regret_of
from analysis.decide.page import setting_text
from analysis.fitting.fit import LEVEL
from harness.core.errors import InputError


def regret(found: Decision, within: float) -> dict[str, Any] | None:
    """What the best setting may have over the recommended one, in nats. Raises InputError."""
    if not 0 < within < math.inf:
        raise InputError("within", within, "is no number of nats above 0", "give one, such as .02")
    draws = regret_of(found)
    if draws is None:
        return None
    found_within = {"within": within, "certain": float((draws <= within).mean())}
    return {"expected": float(draws.mean()), "upper": float(np.quantile(draws, LEVEL)), "level": LEVEL, **found_within}


def regret_lines(told: dict[str, Any] | None) -> list[str]:
    """The same for a terminal."""
    if told is None:
        return ["", "how much better another setting may be is not known: there is no surface, or no answer"]
    return [
        "",
        f"another setting is expected to be {told['expected']:.3g} nats better, with {told['level']:.0%} certainty at "
        f"most {told['upper']:.3g}; within {told['within']:g} nats with {told['certain']:.0%}",
    ]


def further_lines(further: Further) -> list[str]:
    """Proposed runs for a terminal."""
    return [
        f"expected regret {further.regret_now:.3g} nats now, {further.regret_predicted:.3g} after "
        f"{len(further.points)} runs of {sum(one.flops for one in further.points):.3g} FLOPs",
        *(f"  {setting_text(dict(one.knobs))}, seed {one.seed}" for one in further.points),
        "",
    ]
