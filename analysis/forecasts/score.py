"""A frozen forecast beside what was measured.

found = score(read_forecast(path), read_runs("runs"))
found.inside, found.by_chance                          # 17, (14, 20): of 18 that are measured
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.fitting.fit import LEVEL
from analysis.forecasts.forecast import Forecast, Said
from analysis.results.run_record import RunRecord, final_losses

BAND = 0.95


@dataclass(frozen=True)
class Scored:
    """One loss that was said; `measured` is None until its run is done."""

    said: Said
    measured: float | None

    @property
    def inside(self) -> bool | None:
        """Whether its interval holds what was measured."""
        return None if self.measured is None else self.said.low <= self.measured <= self.said.high

    @property
    def error(self) -> float | None:
        """Predicted less measured, relative to the latter."""
        return None if self.measured is None else self.said.predicted / self.measured - 1


@dataclass(frozen=True)
class Score:
    """All of a forecast."""

    rows: Sequence[Scored]

    @property
    def measured(self) -> list[Scored]:
        return [row for row in self.rows if row.measured is not None]

    @property
    def inside(self) -> int:
        return sum(bool(row.inside) for row in self.measured)

    @property
    def by_chance(self) -> tuple[int, int]:
        """How many right intervals would hold, from and to, at BAND, if the losses erred independently."""
        from scipy.stats import binom

        low, high = binom.interval(BAND, len(self.measured), LEVEL) if self.measured else (0, 0)
        return int(low), int(high)

    @property
    def mean_error(self) -> float:
        """Mean of the relative errors: a bias that all share; NaN where nothing is measured."""
        return float(np.mean([row.error for row in self.measured])) if self.measured else float("nan")

    def document(self) -> dict[str, Any]:
        """For JSON."""
        low, high = self.by_chance
        return {
            "measured": len(self.measured),
            "of": len(self.rows),
            "inside": self.inside,
            "inside_by_chance": [low, high],
            "mean_error": self.mean_error if self.measured else None,
            "rows": [
                {
                    **{
                        name: getattr(row.said, name)
                        for name in ("run", "corpus", "predicted", "low", "high", "beyond")
                    },
                    "measured": row.measured,
                    "inside": row.inside,
                }
                for row in self.rows
            ],
        }


def score(forecast: Forecast, runs: Sequence[RunRecord]) -> Score:
    """The forecast beside the runs that are done."""
    done = {run.facts.key: run for run in runs if run.status == "done"}
    return Score([Scored(one, _measured(done.get(one.key), one.corpus, forecast.of)) for one in forecast.said])


def _measured(run: RunRecord | None, corpus: str, of: str) -> float | None:
    if run is None:
        return None
    if of == "end":
        final: float | None = final_losses(run).get(corpus)
        return final
    last = [row for row in run.rows if row.corpus == corpus and row.position == run.document["steps"]]
    return float(last[-1].loss) if last else None
