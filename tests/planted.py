"""Tables of losses made from a known D-CPT law, for tests that ask whether the truth is found again."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.laws.continual import DCPT

SIZES = (5e8, 1.8e9, 4e9)
SHARES = (0.0, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1.0)  # the paper's nine
TRUTH = {"E": 1.6, "A": 400.0, "alpha": 0.33, "B": 300.0, "eta": 0.2, "beta": 0.33, "C": 0.6, "eps": 0.1, "gamma": 0.5}


def design(points: int = 20, sizes: tuple[float, ...] = SIZES, shares: tuple[float, ...] = SHARES) -> pd.DataFrame:
    """Columns N, r, D, run: `points` checkpoints of a run for every size and share."""
    tokens = np.geomspace(1.3e8, 2.6e10, points)
    table = pd.MultiIndex.from_product([sizes, shares, tokens], names=["N", "r", "D"]).to_frame(index=False)
    return table.assign(run=table.N.astype(str) + "-" + table.r.astype(str))


def losses(
    table: pd.DataFrame, truth: dict[str, float], seed: int, *, row_noise: float = 0.0, run_noise: float = 0.0
) -> pd.DataFrame:
    """The table with the law's losses, times lognormal noise of each row and of each run."""
    random = np.random.default_rng(seed)
    runs = table.run.unique()
    of_run = table.run.map(dict(zip(runs, random.standard_normal(len(runs)), strict=True))).to_numpy(dtype=float)
    noise = row_noise * random.standard_normal(len(table)) + run_noise * of_run
    return table.assign(loss=DCPT.value(truth, {name: table[name] for name in "NDr"}) * np.exp(noise))


def random_truth(seed: int) -> dict[str, float]:
    """A law drawn from wide ranges: terms that matter much and hardly, exponents from a fifth to one."""
    random = np.random.default_rng(seed)
    return {
        "E": random.uniform(1.0, 2.2),
        "A": 10 ** random.uniform(1.5, 3),
        "alpha": random.uniform(0.2, 0.5),
        "B": 10 ** random.uniform(2, 3.5),
        "eta": random.uniform(0.1, 0.8),
        "beta": random.uniform(0.2, 0.5),
        "C": 10 ** random.uniform(-2, -0.3),
        "eps": 10 ** random.uniform(-2, -0.5),
        "gamma": random.uniform(0.2, 1.0),
    }
