"""Scarce domain data: how often the recommended run reads it, what that is worth, and where runs that repeat turn.

Above `analysis.decide`; `analysis.commands.decide --domain-tokens` calls it.

    scarce = scarce_data(point, domain_tokens=3e8, run_tokens=2e9, epochs=epochs_of_store(...), curves=table, grid=grid)
    scarce.lines, scarce.document()

e = (1 - replay) D / U epochs. What others found of pre-training from scratch (2305.16264, equation and appendix A): e
readings are worth 1 + R (1 - exp(-(e - 1)/R)) first ones, R = 15.4; up to 4 are nearly as good as new text. A run here
turns where its downstream loss is TURN above its own least one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers.answer import EXTRAPOLATED
from analysis.decide.arms import Grid
from analysis.results.run_record import epochs_of
from analysis.results.runs import read_runs
from analysis.results.tables import of_curves
from harness.core.units import count
from harness.store.store import Store

WORTH = 15.387756  # R of 2305.16264
TURN = 0.01  # nats


@dataclass(frozen=True)
class Scarce:
    """What is said of repeats."""

    corpus: str
    tokens: float
    """There are of it."""
    drawn: float
    """That the recommended run reads."""
    repeated: Mapping[str, float]
    """Runs here that read it more than once -> epochs at their end."""
    turned: Mapping[str, float]
    """Of these those whose loss rises again -> epochs at which it was least."""
    told: bool
    """Whether it is known how often runs read it."""

    @property
    def epochs(self) -> float:
        """Of the recommended run."""
        return self.drawn / self.tokens

    @property
    def worth(self) -> float:
        """Tokens read for the first time that are worth as much, as a share of those that are read."""
        more = max(self.epochs - 1, 0.0)
        return float((min(self.epochs, 1) + WORTH * (1 - np.exp(-more / WORTH))) / self.epochs)

    @property
    def beyond(self) -> str:
        """Why the data here do not support such a run; empty where they do."""
        most, turns = max(self.repeated.values(), default=1.0), min(self.turned.values(), default=np.inf)
        read = f"{self.corpus} is read {self.epochs:.3g} times"
        if self.epochs >= turns:
            return f"{read}, and the loss of runs here rises again from {turns:.3g} times on"
        if self.epochs <= most:
            return ""
        return f"{read}, up to {most:.3g} times by runs here" if self.repeated else f"{read}; {self._measured}"

    @property
    def lines(self) -> list[str]:
        """For a terminal: what was measured before what others say."""
        amounts = f"{count(self.drawn)} tokens of {self.corpus}, of which there are {count(self.tokens)}"
        found = [self._measured, f"the recommended run reads {amounts}: {self.epochs:.3g} epochs"]
        if self.epochs > 1:
            found.append(
                f"by 2305.16264 (pre-training from scratch; not measured here) they are worth {self.worth:.0%} of as "
                f"many new ones; a further epoch is worth less than half of one after {1 + WORTH * np.log(2):.3g}"
            )
        return found

    @property
    def _measured(self) -> str:
        if not self.told:
            return f"a table does not say how often runs read {self.corpus}: nothing measured tells where it turns"
        if not self.repeated:
            return f"no run here reads {self.corpus} more than once: nothing measured tells where it turns"
        text = f"{len(self.repeated)} runs here read {self.corpus} up to {max(self.repeated.values()):.3g} times; "
        if not self.turned:
            return f"{text}the loss of none rises again by over {TURN:g} nats"
        turns = min(self.turned.values())
        return f"{text}the loss of {len(self.turned)} rises again by over {TURN:g} nats, from {turns:.3g} times on"

    def document(self) -> dict[str, Any]:
        """As part of the JSON document `decide`."""
        return {
            "corpus": self.corpus,
            "tokens": self.tokens,
            "drawn": self.drawn,
            "epochs": self.epochs,
            "worth": self.worth,
            "runs_that_repeat": len(self.repeated) if self.told else None,
            "most_epochs": max(self.repeated.values(), default=None),
            "turns": min(self.turned.values(), default=None),
            "lines": self.lines,
        }


def scarce_data(
    grid: Grid,
    replay: float,
    *,
    tokens: float,
    run_tokens: float,
    epochs: Mapping[str, float] | None,
    curves: pd.DataFrame,
) -> Scarce:
    """Of a run of `run_tokens` with a share of `replay`. `epochs`: of the downstream corpus by run; None if unknown."""
    own = {run for names in grid.runs for run in names}
    repeated = {run: each for run, each in (epochs or {}).items() if run in own and each > 1}
    turned = {
        run: at for run, each in repeated.items() if (at := _turn(curves, run, grid.downstream, each)) is not None
    }
    return Scarce(grid.downstream, tokens, (1 - replay) * run_tokens, repeated, turned, epochs is not None)


def _turn(curves: pd.DataFrame, run: str, corpus: str, epochs: float) -> float | None:
    """At how many epochs the loss of a run was least, if it rose again."""
    rows = curves[(curves.run == run) & (curves.corpus == corpus) & (curves.D > 0)]
    rows = of_curves(rows).sort_values("D")
    if rows.empty or rows.loss.iloc[-1] < rows.loss.min() + TURN:
        return None
    return float(epochs * rows.D.iloc[int(rows.loss.to_numpy().argmin())] / rows.D.iloc[-1])


def epochs_of_store(root: Path, sweep: Sequence[str] | None, **reading: Any) -> dict[str, float]:
    """How often each run of a store that is done read its downstream corpus, by run. Raises InputError."""
    store = Store(root, reading.get("parents", ()))
    found = {}
    for run in read_runs(root, sweep, **reading):
        known = epochs_of(store, run.document).get(run.facts.downstream)
        if run.status == "done" and known is not None:
            found[run.facts.run] = float(known)
    return found


def with_scarce(told: dict[str, Any], scarce: Scarce) -> dict[str, Any]:
    """The document of a decision with what is said of repeats."""
    found = {**told, "domain_tokens": scarce.document()}
    if not scarce.beyond:
        return found
    return {
        **found,
        "verdict": EXTRAPOLATED,
        "why": [*told["why"], scarce.beyond],
        "extrapolated": {**told["extrapolated"], "epochs": scarce.epochs},
    }
