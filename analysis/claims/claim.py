"""What one claim is: a row of the table of claims.

Beneath `rewarm`, `scalable` and `dcpt` of `analysis.claims`, which hold the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analysis.measures.contrast import MOST_SEEDS
from analysis.measures.evidence import Evidence, Test

REWARM, SCALABLE, DCPT = "2308.04014", "2403.08763", "2406.01375"
OURS = "beyond the papers"
SWEEP = "python -m harness.sweep "
FIRST = 10  # the first of the seeds that verdicts are of


@dataclass(frozen=True)
class Claim:
    """One row of the table of claims."""

    id: str
    paper: str
    claim: str
    statistic: str
    rule: str
    measure: Callable[[Evidence], list[Test]]
    make: str = ""
    """The command that trains its runs, but for their seeds; empty: its measure says so itself."""
    seeds: int = MOST_SEEDS
    """Of how many its verdict is, fixed before they were trained; laws are of all there are."""
    shifts: int = 1
    """Pairs of corpora that a verdict takes."""
    takes: tuple[str, ...] = ()
    """Parts that a verdict takes, as its tests name them."""
    unmeasured: str = ""
    """The part of it that the measure does not look at: without it nothing is reproduced."""
    of_laws: bool = False
    """Laws are fitted for it, to means over seeds, for many seconds: it is not asked anew without each seed."""
    beside: Callable[[Evidence], list[str]] | None = None
    """What is printed beside the verdict and has none: numbers of another scale than the paper's."""

    @property
    def command(self) -> str:
        """What trains its runs."""
        seeds = ",".join(str(FIRST + k) for k in range(self.seeds))
        return f"{self.make} seed={seeds}" if self.make else ""
