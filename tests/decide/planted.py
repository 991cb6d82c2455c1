"""Grids of runs from a known surface, for tests that ask whether what is said of it is true.

truth = Truth.drawn(random)
ends = truth.ends(settings, seeds=3, random=random)         # as of `analysis.decide.ends`
truth.forgetting(settings), truth.adaptation(settings), truth.noise(settings)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.formulas.formula import Array

PEAKS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
REPLAYS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5)
BASE = {"docs": 3.6, "code": 5.7}


def product(**values: tuple[float, ...]) -> pd.DataFrame:
    """All settings of a factorial grid."""
    return pd.DataFrame(list(itertools.product(*values.values())), columns=list(values))


def cross(centre: tuple[float, float] = (1.0, 0.05)) -> pd.DataFrame:
    """Two one-factor sweeps."""
    peaks, replays = pd.DataFrame({"peak": PEAKS}), pd.DataFrame({"replay": REPLAYS})
    return pd.concat([peaks.assign(replay=centre[1]), replays.assign(peak=centre[0])]).drop_duplicates(
        ignore_index=True
    )


@dataclass(frozen=True)
class Truth:
    """F falls steeply with the first replay and then with its logarithm, less so at low peaks; A has a best peak and
    pays for replay; the noise rises with the peak, and part of it is common to the runs of one order seed."""

    level: float
    steep: float
    rise: float
    bent: float
    best: float
    price: float
    quiet: float
    louder: float
    common: float
    c: float

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Truth:
        """One of many."""
        return cls(
            level=random.uniform(0.05, 0.3),
            steep=random.uniform(0.1, 0.3),
            rise=random.uniform(0.1, 0.35),
            bent=random.uniform(0.0, 0.06),
            best=random.uniform(-0.5, 1.2),
            price=random.uniform(0.2, 0.6),
            quiet=10 ** random.uniform(-2.3, -1.7),
            louder=random.uniform(0.2, 0.6),
            common=random.uniform(0.0, 0.8),
            c=10 ** random.uniform(-3.5, -2),
        )

    def forgetting(self, settings: pd.DataFrame) -> Array:
        """Mean over order seeds, in nats."""
        peak, less = np.log(settings.peak.to_numpy(float)), -np.log(settings.replay.to_numpy(float) + self.c)
        height = self.steep * (less + np.log(0.5 + self.c)) * (1 + 0.3 * np.tanh(peak))
        return np.asarray(self.level + height + self.rise * peak + self.bent * peak**2)

    def adaptation(self, settings: pd.DataFrame) -> Array:
        """Mean over order seeds, in nats."""
        peak, replay = np.log(settings.peak.to_numpy(float)), settings.replay.to_numpy(float)
        return np.asarray(2.3 - 0.06 * (peak - self.best) ** 2 - self.price * replay - 0.02 * replay * peak)

    def noise(self, settings: pd.DataFrame) -> Array:
        """sd of a run, in nats."""
        return np.asarray(self.quiet * np.exp(self.louder * np.log(settings.peak.to_numpy(float))))

    def runs(self, settings: pd.DataFrame, seeds: int, random: np.random.Generator) -> tuple[Array, Array]:
        """F and A (settings, seeds)."""
        sd = self.noise(settings)[:, None]
        found = []
        for mean, scale in ((self.forgetting(settings), 1.0), (self.adaptation(settings), 0.6)):
            luck = np.sqrt(self.common) * random.standard_normal((1, seeds))
            own = np.sqrt(1 - self.common) * random.standard_normal((len(settings), seeds))
            found.append(mean[:, None] + scale * sd * (luck + own))
        return found[0], found[1]

    def ends(self, settings: pd.DataFrame, seeds: int, random: np.random.Generator) -> pd.DataFrame:
        """The runs as a table."""
        F, A = self.runs(settings, seeds, random)
        rows = settings.loc[settings.index.repeat(seeds)].reset_index(drop=True)
        rows["seed"] = np.tile(np.arange(seeds), len(settings))
        rows["final docs"], rows["base docs"] = BASE["docs"] + F.ravel(), BASE["docs"]
        rows["final code"], rows["base code"] = BASE["code"] - A.ravel(), BASE["code"]
        return rows.assign(
            run=[f"run{k}" for k in range(len(rows))],
            status="done",
            base_address="0" * 32,
            model="mini",
            upstream="docs",
            downstream="code",
            schedule="cosine",
            run_tokens=600_064,
        )
