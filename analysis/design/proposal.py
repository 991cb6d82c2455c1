"""What `analysis.design.next_runs` proposes, and the documents that it is told in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from analysis.answers.answer import FARTHEST, Verdict, verdict_of
from analysis.design.candidates import Proposed, sweep_file
from analysis.design.costs import RunCost
from analysis.design.information import Noise


@dataclass(frozen=True)
class Proposal:
    """Runs to train, the most gainful first."""

    question: str
    """What they narrow the answer to."""
    value: float
    """The answer."""
    points: tuple[Proposed, ...]
    """The runs."""
    flops: float
    """All that they cost."""
    cost: RunCost
    """What each costs beside its tokens, and where that is from."""
    se_now: float
    """Linearised standard error of the answer."""
    se_predicted: float
    """The same after the runs."""
    interval_now: tuple[float, float]
    """Of the answer, at LEVEL; from bootstrap draws where the fits have them, else from `se_now`."""
    interval_predicted: tuple[float, float]
    """The same, narrowed as the standard error narrows."""
    noise: dict[str, Noise]
    """Of each loss."""
    base_seed: int
    """Of the base to continue."""
    base: Mapping[str, Any]
    """Settings of the sweep that the runs extend."""
    extrapolated: Mapping[str, float]
    """Variable -> the factor by which what is asked lies outside of the data."""

    def verdict(self, within: float = FARTHEST) -> Verdict:
        """Whether the data support what is asked, see `analysis.answers.answer`."""
        return verdict_of((), self.extrapolated, within)

    @property
    def sweep_file(self) -> str:
        """A sweep file that trains the points, with the other settings of the sweep that they extend."""
        now, then = (f"[{low:.4g}, {high:.4g}]" for low, high in (self.interval_now, self.interval_predicted))
        comment = f"Proposed runs: {self.question},\nfrom {now} to about {then} for {self.flops:.3g} FLOPs."
        return sweep_file(self.points, self.base, base_seed=self.base_seed, comment=comment)

    def document(self, within: float = FARTHEST) -> dict[str, Any]:
        """The body of the JSON document `next`, its verdict first."""
        return {
            **self.verdict(within).document(),
            "points": [{each.name: getattr(point, each.name) for each in fields(Proposed)} for point in self.points],
            "flops": self.flops,
            "run_cost": {
                "flops": {str(N): self.cost.flops(N) for N in sorted({point.N for point in self.points})},
                "source": self.cost.source,
            },
            "interval_now": list(self.interval_now),
            "interval_predicted": list(self.interval_predicted),
            "extrapolated": dict(self.extrapolated),
            "sweep_file": self.sweep_file,
        }
