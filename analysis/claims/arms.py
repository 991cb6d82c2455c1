"""Arms of the papers' experiments: which runs are re-warmed, constant, from scratch, ... and how each of them ended.

Beneath `analysis.claims.claims` and the figures of `paper_figures`. An arm is picked by what its runs are, not by the
sweep they came from, so that one table serves several claims and figures. Functions take a table of measurements or one
of ends (`ends_by_run`): both have the columns of a run's settings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.results.tables import ends_of

DECAYING = ("cosine", "cosine_clipped")
W1 = {"warmup": 0.01, "peak": 1.0, "replay": 0.0}  # the arm that others are compared with


def rewarmed(table: pd.DataFrame, *, same_data: bool = False, **knobs: float) -> pd.DataFrame:
    """Runs that re-warm and re-decay from the finished base, with the given knobs at their values."""
    chosen: pd.DataFrame = table[continued(table, same_data) & table.schedule.isin(DECAYING)]
    for knob, value in knobs.items():
        chosen = chosen[np.isclose(chosen[knob].astype(float), value)]
    return chosen


def w1_but(
    table: pd.DataFrame, *, warmup: float = 0.01, peak: float = 1.0, replay: float = 0.0, same_data: bool = False
) -> pd.DataFrame:
    """w1, but for what is given."""
    return rewarmed(table, same_data=same_data, warmup=warmup, peak=peak, replay=replay)


def usual_rate(table: pd.DataFrame) -> dict[str, float]:
    """The knob that says the learning rate, and its value of the arm that others are compared with: `peak` 1; of a
    checkpoint, whose peak nobody told, the `lr` that most re-warmed runs have, the middle one of several."""
    decayed = table[(table.start != "scratch") & table.schedule.isin(DECAYING)]
    if decayed.empty or decayed.peak.notna().any():
        return {"peak": W1["peak"]}
    counts = decayed.drop_duplicates("run").lr.astype(float).value_counts()
    often = sorted(counts[counts == counts.max()].index)
    return {"lr": float(often[(len(often) - 1) // 2])}


def at_usual_rate(table: pd.DataFrame, **knobs: float) -> pd.DataFrame:
    """Re-warmed to the usual rate, with the given knobs at their values."""
    return rewarmed(table, same_data=False, **knobs, **usual_rate(table))


def continued(table: pd.DataFrame, same_data: bool = False) -> Any:
    """Mask: runs from the finished base with a fresh optimizer, onto other data or on the same."""
    finished = (table.start != "scratch") & (table["at"] == 1) & (table.optimizer_state == "reset")
    return finished & ((table.upstream == table.downstream) == same_data)


def baseline(table: pd.DataFrame, schedule: str, same_data: bool = False) -> pd.DataFrame:
    """The arm of another schedule, everything else as in w1."""
    chosen: pd.DataFrame = table[continued(table, same_data) & (table.schedule == schedule) & (table.replay == 0)]
    if schedule == "constant":  # the one at the base's final learning rate: the lowest
        usual = np.isclose(chosen.lr.astype(float), chosen.lr.min())
    else:
        usual = np.isclose(chosen.warmup.astype(float), W1["warmup"])
        for knob, value in usual_rate(table).items():
            usual &= np.isclose(chosen[knob].astype(float), value)
    return chosen[usual]


def scratch(table: pd.DataFrame) -> pd.DataFrame:
    """Trained on the downstream corpus alone, from random weights."""
    plain = table.schedule.isin(DECAYING) & (table.replay == 0) & np.isclose(table.peak.astype(float), 1)
    return table[(table.start == "scratch") & (table.upstream != table.downstream) & plain]


def ends_by_run(table: pd.DataFrame) -> pd.DataFrame:
    """A row a run that is done: its settings, final losses U and V (upstream, downstream), those of its base U_base and
    V_base (NaN from scratch), and `alone`: whether these are of the last position on windows enough, not means of the
    last few evaluations."""
    shared = table.drop_duplicates("run").set_index("run")
    measured = ends_of(table)
    facts = shared.loc[measured.run, ["upstream", "downstream"]].reset_index(drop=True)
    for letter, role in (("U", "upstream"), ("V", "downstream")):
        own = measured[(measured.corpus == facts[role]).to_numpy()].set_index("run")
        shared[letter], shared[f"{letter}_base"] = own.loss, own.base
    shared["alone"] = measured.groupby("run").alone.all()
    return shared.reset_index()


def by_seed(ends: pd.DataFrame, value: str) -> pd.Series[float]:
    """A column of an arm by seed; of several runs of one seed, which are one arm's by their settings, the mean."""
    return ends.groupby("seed")[value].mean().sort_index()
