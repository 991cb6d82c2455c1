"""A run's program, read back from its run.json: the phases, and what a table needs of them.

Between `harness.program` and the tables. The recorded form is enough: neither the data nor the packages that the run
was trained with have to be there.

    program = program_of(document)
    program.lr(position), program.drawn(position), peak_lr(program, base), shares(program, base)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import CorruptError
from harness.program import Adam, Checkpoint, Phase, Program, Scratch, Source
from harness.schedule import Constant, Cosine, CosineClipped, Exponential, InverseSqrt, Linear, Ramp, lr_at
from harness.shape import ModelShape

_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        Adam,
        Checkpoint,
        Constant,
        Cosine,
        CosineClipped,
        Exponential,
        InverseSqrt,
        Linear,
        ModelShape,
        Ramp,
        Scratch,
        Source,
    )
}


def program_of(document: Mapping[str, Any]) -> Program:
    """The program of a run.json. CorruptError if there is none in it."""
    try:
        pairs = zip(document["program"]["phases"], document["phase_steps"], strict=True)
        # its length is not part of what a phase is: it stands beside the program
        phases = tuple(Phase(steps=steps, **_fields(form)) for form, steps in pairs)
        return Program(_value(document["program"]["root"]), phases)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"run.json of {document.get('name')}: not a program ({error!r})") from None


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


def _value(form: Any) -> Any:
    """The dataclasses that `identity.canonical` wrote; the neutral fields it left out have their defaults."""
    if isinstance(form, list):
        return tuple(_value(item) for item in form)
    return _made(form["kind"], tuple(_fields(form).items())) if isinstance(form, dict) else form


def _fields(form: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(item) for name, item in form.items() if name != "kind"}


@lru_cache(maxsize=65536)  # thousands of runs have the same optimizer and the same sources
def _made(kind: str, fields: tuple[tuple[str, Any], ...]) -> Any:
    return _KINDS[kind](**dict(fields))


def lr_curve(program: Program) -> npt.NDArray[np.float64]:
    """The learning rate of every update, from the root to the end."""
    parts = [lr_at(phase.lr, phase.lr_offset + np.arange(phase.steps)) for phase in program.phases]
    return np.concatenate(parts)
