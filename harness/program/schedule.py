"""Learning rates: the shapes a phase can have, and how a named schedule is cut into them.

`pieces` cuts a `Schedule`, named as a user names it, into (shape, steps) pairs, one per phase of a program;
training then asks `lr_at(shape, n)` before every update. n = updates completed since the shape's start, so the first
update of a warm-up has LR 0, as in GPT-NeoX. Nothing is stored or stepped: the LR is a function of position.

A shape holds only what changes its values. A warm-up, a constant and the trunk of an infinite schedule do not hold
their length, and a cosine holds its horizon rather than the steps it is run for: so a shorter run is a prefix of a
longer one. Past its horizon every shape stays at its last value.

    for shape, steps in pieces(Schedule("cosine", max_lr=3e-4, min_lr=3e-5, warmup_steps=1324, horizon_steps=132366),
                               22000): ...
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never, overload

import numpy as np
import numpy.typing as npt

from harness.core.errors import InputError
from harness.core.identity import rounded


@dataclass(frozen=True)
class Constant:
    lr: float


@dataclass(frozen=True)
class Ramp:
    """LR start + slope * n. `slope` is LR per step; a warm-up of W steps has slope max_lr / W."""

    slope: float
    start: float = 0.0


@dataclass(frozen=True)
class Cosine:
    """min + (max - min)/2 (1 + cos(pi n/H)): Ibrahim et al. 2024, equation 2; H steps, warm-up not included."""

    max_lr: float
    min_lr: float
    horizon: int


@dataclass(frozen=True)
class CosineClipped:
    """max(min, max/2 (1 + cos(pi m/T))), m = min(n, T - 2W): GPT-NeoX before August 2023, what Gupta et al. ran.

    A cosine to zero over all T steps, cut off at the floor. `horizon` T includes the `warmup` W; n counts from the end
    of warm-up. GPT-NeoX clamped the total step at T - W, which is m <= T - 2W.
    """

    max_lr: float
    min_lr: float
    horizon: int
    warmup: int


@dataclass(frozen=True)
class InverseSqrt:
    """max + (min - max) h(n/H)/h(1), h(x) = 1/sqrt(1 + a x) - 1, a = timescale: Ibrahim et al. 2024, section 7."""

    max_lr: float
    min_lr: float
    horizon: int
    timescale: float = 1.0


@dataclass(frozen=True)
class Exponential:
    """max (min/max)^(n/H): the anneal of the infinite schedules."""

    max_lr: float
    min_lr: float
    horizon: int


@dataclass(frozen=True)
class Linear:
    """max (1 - n/H) + min n/H."""

    max_lr: float
    min_lr: float
    horizon: int


Shape: TypeAlias = Constant | Ramp | Cosine | CosineClipped | InverseSqrt | Exponential | Linear

DECAYS: dict[str, Callable[[float, float, int], Shape]] = {"cosine": Cosine, "linear": Linear}
"""Closed schedules that fall from the peak to the floor by one shape, given (max_lr, min_lr, horizon)."""
CLOSED = frozenset({*DECAYS, "cosine_clipped"})
OPEN_ENDED = frozenset({"warmup_constant", "infinite_cosine", "infinite_inv_sqrt", "wsd"})
NAMES = CLOSED | OPEN_ENDED | {"constant"}


@overload
def lr_at(shape: Shape, n: int) -> float: ...
@overload
def lr_at(shape: Shape, n: npt.NDArray[Any]) -> npt.NDArray[np.float64]: ...
def lr_at(shape: Shape, n: int | npt.NDArray[Any]) -> float | npt.NDArray[np.float64]:
    """The LR of the update that follows n completed ones (n >= 0, an int or an array of them).

    The int form is what trains: it uses the C library's functions, numpy's may differ from them in the last bit.
    """
    if isinstance(n, np.ndarray):
        return np.asarray(_formula(shape, n.astype(np.float64), np, np.minimum, np.maximum), dtype=np.float64)
    return float(_formula(shape, n, math, min, max))


def _formula(shape: Shape, n: Any, library: Any, lower: Any, higher: Any) -> Any:
    """One text of each formula, for ints (math, min, max) and for arrays (numpy, minimum, maximum)."""
    if isinstance(shape, Constant):
        return shape.lr + 0.0 * n
    if isinstance(shape, Ramp):
        return shape.start + shape.slope * n
    if isinstance(shape, CosineClipped):
        clamped = lower(n, shape.horizon - 2 * shape.warmup)
        return higher(shape.min_lr, shape.max_lr / 2 * (1 + library.cos(math.pi * clamped / shape.horizon)))
    done = lower(n, shape.horizon) / shape.horizon
    if isinstance(shape, Cosine):
        return shape.min_lr + (shape.max_lr - shape.min_lr) / 2 * (1 + library.cos(math.pi * done))
    if isinstance(shape, InverseSqrt):
        fall = (1 / library.sqrt(1 + shape.timescale * done) - 1) / (1 / math.sqrt(1 + shape.timescale) - 1)
        return shape.max_lr + (shape.min_lr - shape.max_lr) * fall
    if isinstance(shape, Exponential):
        return shape.max_lr * (shape.min_lr / shape.max_lr) ** done
    if isinstance(shape, Linear):
        return shape.max_lr * (1 - done) + shape.min_lr * done
    assert_never(shape)


@dataclass(frozen=True)
class Schedule:
    """A named schedule drawn in steps, before it is cut into shapes. What a schedule has no place for plays no part."""

    name: str
    """One of `NAMES`."""
    max_lr: float
    """The peak; of `constant` its one value."""
    min_lr: float
    """The floor that decays and anneals end at."""
    warmup_steps: int
    """Linear from 0 to the peak; the horizon includes them."""
    horizon_steps: int
    """What a closed schedule is drawn for; it may be run for fewer steps, or more at its floor."""
    cooldown_steps: int = 0
    """From the peak to `constant_lr`, of the infinite schedules."""
    constant_lr: float | None = None
    """The level of an infinite schedule after its cooldown."""
    anneal_steps: int = 0
    """The last steps of an open-ended schedule, which fall to the floor; 0: none."""
    timescale: float = 1.0
    """a of `InverseSqrt`."""


def pieces(schedule: Schedule, steps: int) -> tuple[tuple[Shape, int], ...]:
    """The first `steps` steps of a schedule, cut at every boundary of its LR: (shape, steps) pairs, none of zero steps.

    cosine, cosine_clipped, linear: warm-up, then the decay to min_lr at `horizon_steps` (warm-up included), then
    constant at min_lr (cosine_clipped holds its own floor). constant: max_lr, no warm-up. warmup_constant: warm-up,
    max_lr. infinite_cosine, infinite_inv_sqrt: warm-up, cooldown to `constant_lr` over `cooldown_steps`, constant.
    wsd: warm-up, max_lr. The last `anneal_steps` of the infinite ones (exponential) and of wsd (linear) fall to min_lr
    from wherever the trunk is by then; what comes before them does not depend on `steps`. LRs are per update and
    `rounded`. Raises InputError.
    """
    name, warmup, anneal = schedule.name, schedule.warmup_steps, schedule.anneal_steps
    if name not in NAMES:
        raise InputError("schedule", name, "is no schedule", f"choose one of {', '.join(sorted(NAMES))}")
    _check_counts(
        steps=steps,
        warmup=warmup,
        horizon=schedule.horizon_steps,
        cooldown=schedule.cooldown_steps,
        anneal=anneal,
    )
    top = _checked_lr("lr", schedule.max_lr)
    if name == "constant":
        return tuple(_cut([(Constant(top), steps)], steps))
    ramp: list[tuple[Shape, int]] = [(Ramp(rounded(top / warmup)), warmup)] if warmup else []
    if name in CLOSED:
        return tuple(_cut([*ramp, *_closed(schedule, top, steps)], steps))
    trunk = [*ramp, *_trunk(schedule, top, steps)]
    if name == "warmup_constant" or not anneal:
        return tuple(_cut(trunk, steps))
    branch = steps - anneal
    if branch < warmup:
        why = f"the anneal would begin at step {branch}, inside the warm-up of {warmup} steps"
        raise InputError("anneal", f"{anneal} steps", why, "give more tokens, or a shorter anneal or warm-up")
    start = _lr_of(trunk, branch)
    floor = _floor(schedule.min_lr, start)
    if name != "wsd" and floor == 0:
        raise InputError("min_ratio", floor, "an exponential anneal never reaches zero", "give a positive value")
    fall: Shape = Linear(start, floor, anneal) if name == "wsd" else Exponential(start, floor, anneal)
    return tuple(_cut([*_cut(trunk, branch), (fall, anneal)], steps))


def _closed(schedule: Schedule, top: float, steps: int) -> list[tuple[Shape, int]]:
    warmup, horizon, floor = schedule.warmup_steps, schedule.horizon_steps, _floor(schedule.min_lr, top)
    if warmup > horizon:
        raise InputError("warmup", f"{warmup} steps", f"is longer than the horizon of {horizon} steps", "shorten it")
    if schedule.name == "cosine_clipped":
        if 2 * warmup > horizon:  # GPT-NeoX's clamp at T - W would fall into the warm-up and the LR jump at its end
            why = f"is more than half the horizon of {horizon} steps, which cosine_clipped does not define"
            raise InputError("warmup", f"{warmup} steps", why, "shorten it, or use schedule=cosine")
        return [(CosineClipped(top, floor, horizon, warmup), steps)]
    decay = horizon - warmup
    shape = DECAYS[schedule.name]
    return [*([(shape(top, floor, decay), decay)] if decay else []), (Constant(floor), steps)]


def _trunk(schedule: Schedule, top: float, steps: int) -> list[tuple[Shape, int]]:
    """What follows the warm-up of an open-ended schedule, `steps` or more steps of it."""
    name, cooldown = schedule.name, schedule.cooldown_steps
    if name in ("warmup_constant", "wsd"):
        return [(Constant(top), steps)]
    if schedule.constant_lr is None:
        raise InputError("schedule.constant_lr", None, f"{name} needs the LR of its constant phase", "give one")
    level = _checked_lr("schedule.constant_lr", schedule.constant_lr)
    if level > top:
        raise InputError("schedule.constant_lr", level, f"is above the peak LR {top}", "give the peak or less")
    if not cooldown:
        return [(Constant(level), steps)]
    if name == "infinite_cosine":
        return [(Cosine(top, level, cooldown), cooldown), (Constant(level), steps)]
    scale = _checked_lr("schedule.timescale", schedule.timescale)
    return [(InverseSqrt(top, level, cooldown, scale), cooldown), (Constant(level), steps)]


def _cut(segments: Iterable[tuple[Shape, int]], steps: int) -> Iterator[tuple[Shape, int]]:
    """The first `steps` steps of the segments."""
    for shape, length in segments:
        if steps == 0:
            return
        yield shape, min(length, steps)
        steps -= min(length, steps)
    assert steps == 0, "the segments are shorter than what is asked of them"


def _lr_of(segments: Iterable[tuple[Shape, int]], position: int) -> float:
    """The (rounded) LR at a position of the segments; a boundary belongs to the segment that begins there."""
    for shape, length in segments:
        if position < length:
            return rounded(lr_at(shape, position))
        position -= length
    raise AssertionError("the position lies past the segments")


def _check_counts(**counts: int) -> None:
    for field, count in counts.items():
        if count < 0:
            raise InputError(field, count, "is a negative number of steps", "give zero or more")


def _checked_lr(field: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InputError(field, value, "is not a positive finite number", "give a positive one, such as 3e-4")
    return rounded(value)


def _floor(value: float, top: float) -> float:
    if not 0 <= value < math.inf:
        raise InputError("min_lr", value, "is not a finite number of zero or more", "give one, such as a tenth of lr")
    if rounded(value) > top:
        raise InputError("min_lr", value, f"is above the LR {top} that it falls from", "give a lower one")
    return rounded(value)
