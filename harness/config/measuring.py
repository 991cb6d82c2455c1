"""Where the losses of a run are measured, and on how much: `evaluate` of a composed config, in steps.

Beneath `harness.config.run`; `harness.measure.request` says which rows that makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.config.fields import Config, listing, measured_sets, optional_whole, whole
from harness.config.schedules import Tokens
from harness.config.shift import check_set
from harness.core.errors import InputError
from harness.texts.recipe import Recipe

FINAL = "evaluate.final_windows"


@dataclass(frozen=True)
class MeasureGrid:
    """Where losses are measured: offsets in steps from the start of each stage."""

    windows: int
    """Validation windows of each corpus at a position."""
    final_windows: int
    """The same where base and run end, or all there are; no fewer than `windows`."""
    early: tuple[int, ...]
    """Offsets of the first, dense measurements, in steps."""
    every: float
    """Steps between the others, in continual pre-training: its multiples, rounded, fall on the ends of runs."""
    base_every: float
    """The same of the base."""
    sets: tuple[str, ...]
    """Corpora that are measured and not trained on, by name."""


def measurements(config: Config, tokens: Tokens, recipes: Mapping[str, Recipe]) -> MeasureGrid:
    """The grid of a config. Raises InputError for an unknown corpus, an offset of no step, fewer windows at ends."""
    for name in measured_sets(config):
        check_set(name, recipes)
    for field in ("evaluate.every", "evaluate.base_every"):
        tokens.steps(field)  # at least one
    windows, final = whole(config, "evaluate.windows", 1), optional_whole(config, FINAL, 1)
    if final is not None and final < windows:
        why = f"fewer than evaluate.windows={windows}, on which every position is measured"
        raise InputError(FINAL, final, why, f"give {FINAL}={windows} or more, or null for no further ones at the ends")
    return MeasureGrid(
        windows=windows,
        final_windows=windows if final is None else final,
        early=tuple(sorted({tokens.steps("evaluate.early", value) for value in listing(config, "evaluate.early")})),
        every=tokens.of("evaluate.every") / tokens.per_step,
        base_every=tokens.of("evaluate.base_every") / tokens.per_step,
        sets=measured_sets(config),
    )
