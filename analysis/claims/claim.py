"""What one claim is: a row of the table of claims.

Beneath `rewarm`, `scalable` and `dcpt` of `analysis.claims`, which hold the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analysis.measures.evidence import Evidence, Test

REWARM, SCALABLE, DCPT = "2308.04014", "2403.08763", "2406.01375"
OURS = "beyond the papers"


@dataclass(frozen=True)
class Claim:
    """One row of the table of claims."""

    id: str
    paper: str
    claim: str
    statistic: str
    rule: str
    measure: Callable[[Evidence], list[Test]] | None
    shifts: int = 1
    """Pairs of corpora that a verdict takes."""
    lacks: str = ""
    """Without a measure: what one would take."""
    unmeasured: str = ""
    """The part of it that the measure does not look at: without it nothing is reproduced."""
    of_laws: bool = False
    """Laws are fitted for it, to means over seeds, for many seconds: it is not asked anew without each seed."""
    beside: Callable[[Evidence], list[str]] | None = None
    """What is printed beside the verdict and has none: numbers of another scale than the paper's."""
