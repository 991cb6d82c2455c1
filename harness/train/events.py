"""What is told of a job while it is carried out: by the trainer, the worker around it, and the launcher.

Picklable. A worker sends `Ready` once, then for every job `Started`, `Progress` and `Measured` as they come, and one
`Ended`. Display, tracker and the progress file of a SLURM job are made of these and of nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from harness.store.history import Row


@dataclass(frozen=True)
class Ready:
    """A worker has imported what it needs."""


@dataclass(frozen=True)
class Assigned:
    """A worker was given a job."""


@dataclass(frozen=True)
class Started:
    """Training goes on from this stored position, or from the root."""

    position: int


@dataclass(frozen=True)
class Progress:
    """Every few steps. `steps`: the last line of steps.jsonl."""

    position: int
    lr: float
    tokens_per_second: float
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Rows that were measured. `steps`: as above."""

    rows: tuple[Row, ...]
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """A job has ended, or what was at it has."""

    how: str
    """done, busy (another process has the lease), interrupted, failed, died."""
    trained: int = 0
    """Tokens."""
    reason: str = ""
    """Why it failed; so of the next two."""
    position: int = 0
    """The last step known to be reached."""
    last_good: int | None = None
    """The last step whose state is stored, where that is known."""
    warnings: tuple[str, ...] = ()
    """What the job has printed that a person should see."""
    parted: bool = False
    """Its ranks can do nothing together any more."""


Event: TypeAlias = Ready | Assigned | Started | Progress | Measured | Ended
