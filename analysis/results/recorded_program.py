"""What a table needs of a run's program.

Between `harness.plan.recorded_runs`, which reads the program back from a run.json, and the tables.

    program = program_of(document)
    program.lr(position), program.drawn(position), peak_lr(program, base), shares(program, base)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from harness.program.program import Phase, Program
from harness.program.schedule import Constant, Ramp, lr_at


def cpt_phases(program: Program, base_position: int) -> Iterator[tuple[Phase, int]]:
    """The phases after the base, each with its steps there."""
    for phase, start in zip(program.phases, program.starts, strict=False):
        steps = start + phase.steps - max(start, base_position)
        if steps > 0:
            yield phase, steps


def peak_lr(program: Program, base_position: int) -> float:
    """The peak learning rate of continual pre-training: that of its shapes, reached or not.

    A warm-up knows no peak; where nothing follows it, the peak is the learning rate it ends at.
    """
    shapes = [(phase.lr, phase.lr_offset + steps) for phase, steps in cpt_phases(program, base_position)]
    peaks = [s.lr if isinstance(s, Constant) else s.max_lr for s, _ in shapes if not isinstance(s, Ramp)]
    return max(peaks or [s.start + s.slope * n for s, n in shapes if isinstance(s, Ramp)], default=0.0)


def warmup_steps(program: Program, base_position: int) -> int:
    """Steps of the first warm-up after the base."""
    first = next(cpt_phases(program, base_position), None)
    return first[1] if first and isinstance(first[0].lr, Ramp) else 0


def shares(program: Program, base_position: int) -> dict[str, float]:
    """Share of each corpus (by recipe key) in the stream of continual pre-training, over all of its stages."""
    stretches = list(cpt_phases(program, base_position))
    total = sum(steps for _, steps in stretches)
    mixtures = {tuple((s.corpus, s.weight) for s in phase.sources) for phase, _ in stretches}
    found: dict[str, float] = {}
    for phase, steps in stretches:
        weights = sum(source.weight for source in phase.sources)
        for source in phase.sources:
            share = source.weight / weights  # one mixture all through: no rounding on top
            if len(mixtures) > 1:
                share = found.get(source.corpus, 0.0) + share * steps / total
            found[source.corpus] = share
    return found


def lr_curve(program: Program) -> npt.NDArray[np.float64]:
    """The learning rate of every update, from the root to the end."""
    parts = [lr_at(phase.lr, phase.lr_offset + np.arange(phase.steps)) for phase in program.phases]
    return np.concatenate(parts)
