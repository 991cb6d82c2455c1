"""How a plan is cut into SLURM jobs: one per stretch of the trie that does not branch, and what it waits for.

Beneath `harness.slurm.submit`. Pure: the queue is given.

    for chain in chains(Jobs(plan), queue):          # those it waits for come before it
        chain.jobs, chain.dependency()
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from harness.plan.jobs import Job, Jobs
from harness.slurm.submissions import Submitted


@dataclass(eq=False)
class Chain:
    """Jobs of the plan that one SLURM job does one after the other."""

    jobs: list[Job]
    waits_for: list[tuple[str, Chain | str]] = field(default_factory=list)  # afterok or afterany; a number if queued
    number: str | None = None  # once it is submitted

    @property
    def name(self) -> str:
        """What it is for: the last that it makes."""
        return self.jobs[-1].name

    def dependency(self) -> str | None:
        """As sbatch takes it; None if a chain it waits for has not been submitted."""
        numbers = [(kind, other if isinstance(other, str) else other.number) for kind, other in self.waits_for]
        return None if any(n is None for _, n in numbers) else ",".join(sorted({f"{kind}:{n}" for kind, n in numbers}))


def chains(jobs: Jobs, queue: Mapping[str, Submitted], short: frozenset[str] = frozenset()) -> list[Chain]:
    """What is to be submitted, cut where the trie branches; chains come after those they wait for.

    `queue`: by key. `short`: keys of jobs in it that measure less than is asked for now; the rest comes after them.
    """
    waits_for = {id(job): [one for one in job.waits_for if not one.ended] for job in jobs.all}
    followers = Counter(id(earlier) for job in jobs.all for earlier in waits_for[id(job)])
    found: dict[int, Chain | str] = {}  # by job
    for job in jobs.all:
        known = queue.get(job.key)
        queued = known.job if known is not None and known.in_queue else None
        if job.ended:
            continue
        if queued is not None and job.key not in short:
            found[id(job)] = queued
            continue
        earlier = waits_for[id(job)]
        only = found[id(earlier[0])] if len(earlier) == 1 and queued is None else None
        if isinstance(only, Chain) and followers[id(earlier[0])] == 1:
            only.jobs.append(job)
            found[id(job)] = only
        else:
            waits = [("afterok" if one.trains else "afterany", found[id(one)]) for one in earlier]
            found[id(job)] = Chain([job], waits if queued is None else [*waits, ("afterany", queued)])
    return list({id(chain): chain for chain in found.values() if isinstance(chain, Chain)}.values())


def job_name(group: Sequence[Chain]) -> str:
    """What squeue shows: a run's name, or how many."""
    name = group[0].name if len(group) == 1 else f"{len(group)}-runs"
    return "rewarm-" + re.sub(r"[^\w.=+-]+", "-", name)[:80]


def listed(numbers: Sequence[str]) -> str:
    """Job numbers for a person: 12 or 12_[0-3,7]."""
    arrays: dict[str, list[int]] = {}
    for number in numbers:
        array, _, index = number.partition("_")
        arrays.setdefault(array, []).extend([int(index)] if index else [])
    texts = []
    for array, indices in arrays.items():
        rows = [[i for _, i in row] for _, row in groupby(enumerate(sorted(indices)), lambda pair: pair[1] - pair[0])]
        parts = ",".join(f"{row[0]}-{row[-1]}" if len(row) > 1 else f"{row[0]}" for row in rows)
        texts.append(f"{array}_[{parts}]" if len(indices) > 1 else f"{array}_{parts}" if parts else array)
    return " ".join(texts)
