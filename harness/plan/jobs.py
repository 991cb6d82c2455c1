"""What is left of a plan, as jobs with an order: which may start now, and which of those should.

Pure: no process, no clock. A segment may start when its parent is stored and what is measured from the parent's weights
has been measured (its own history carries those rows). Of the jobs that may start, the one with the longest path of
tokens behind it goes first; among those within `NEAR` of it, a worker gets the continuation of what it has just made,
whose tensors are still in its memory.

    jobs = Jobs(plan)
    job = jobs.take(after=None, now=0.0); jobs.done(job)      # or failed(job), busy(job, until)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from harness.plan.plan import Evaluation, Plan, Segment
from harness.plan.task import Task, task_of

NEAR = 0.9  # share of the longest path at which a hot state outweighs the order: loading one takes milliseconds
MEASURED_COST = 1 / 3  # a token measured costs a forward pass, one trained three


@dataclass(eq=False)
class Job:
    """A task of the plan, what it waits for, and what has become of it."""

    segment: Segment
    task: Task
    name: str
    upstream: str = ""  # names of corpora: their losses are shown first
    downstream: str = ""
    waits_for: list[Job] = field(default_factory=list)
    path: float = 0.0  # tokens of the longest path that starts with this job
    status: str = "waiting"  # waiting running done failed blocked
    not_before: float = 0.0

    @cached_property
    def key(self) -> str:
        """32 hex characters: the address of what it trains, or those of what it measures."""
        if self.task.position is None:
            return self.segment.address
        return Evaluation(self.segment, self.task.position, self.task.hashes).key

    @property
    def trains(self) -> bool:
        return self.task.position is None

    @property
    def tokens(self) -> int:
        """Tokens to train."""
        return self.segment.tokens if self.trains else 0

    @property
    def ended(self) -> bool:
        return self.status in ("done", "failed", "blocked")


@dataclass(frozen=True)
class Failure:
    """A segment that could not be trained, or rows that could not be measured, and the runs that miss it."""

    runs: list[str]
    address: str
    position: int  # last step known to be reached
    last_good: int | None  # last step whose state is stored, where known
    reason: str
    log: str


@dataclass
class Outcome:
    """What came of a launch."""

    trained: int = 0  # tokens
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False


class Jobs:
    """All jobs of a plan, parents first, and what has become of them."""

    def __init__(self, plan: Plan) -> None:
        self.recipes = {key: recipe for segment in plan.segments for key, recipe in segment.recipes.items()}
        self.all: list[Job] = []
        evaluations: dict[Segment, list[Job]] = {}
        for evaluation in plan.evaluations:
            segment = evaluation.segment
            task = task_of(plan, segment, self.recipes)
            task = replace(task, position=evaluation.position, hashes=evaluation.hashes)
            job = Job(segment, task, f"{name_of(plan, segment)}, measured", *_channels(plan, segment))
            evaluations.setdefault(segment, []).append(job)
            self.all.append(job)
        trained: dict[Segment, Job] = {}
        for segment in plan.to_train:
            task = task_of(plan, segment, self.recipes)
            job = trained[segment] = Job(segment, task, name_of(plan, segment), *_channels(plan, segment))
            if segment.parent is not None:
                parent = trained.get(segment.parent)
                job.waits_for = [*evaluations.get(segment.parent, ()), *([parent] if parent else [])]
            self.all.append(job)
        for job in reversed(self.all):
            job.path += _cost(job)
            for earlier in job.waits_for:
                earlier.path = max(earlier.path, job.path)

    @property
    def open(self) -> bool:
        """Is anything left that can still be done?"""
        return any(not job.ended for job in self.all)

    @property
    def width(self) -> int:
        """How many workers are worth starting: the jobs that can start at once, or all end at once."""
        waited_for = {id(earlier) for job in self.all for earlier in job.waits_for}
        return max(sum(not job.waits_for for job in self.all), sum(id(job) not in waited_for for job in self.all))

    @property
    def longest_path(self) -> float:
        """Tokens of the longest path among what has not ended."""
        return max((job.path for job in self.all if not job.ended), default=0.0)

    def take(self, after: Job | None, now: float) -> Job | None:
        """The job to start now, marked as running; `after`: what the worker that asks made last."""
        ready = [
            job
            for job in self.all
            if job.status == "waiting" and job.not_before <= now and all(earlier.ended for earlier in job.waits_for)
        ]
        if not ready:
            return None
        chosen = max(ready, key=lambda job: job.path)
        if after is not None:
            hot = [job for job in ready if job.segment.parent is after.segment and job.path >= NEAR * chosen.path]
            chosen = max(hot, key=lambda job: job.path, default=chosen)
        chosen.status = "running"
        return chosen

    def done(self, job: Job) -> None:
        job.status = "done"

    def busy(self, job: Job, until: float) -> None:
        """Another process is at it: look again at `until`."""
        job.status, job.not_before = "waiting", until

    def failed(self, job: Job) -> None:
        """A failure blocks what continues from it. A measurement that failed blocks nothing: it only went before."""
        job.status = "failed"
        for later in self.all:  # parents first
            if any(earlier.trains and earlier.status in ("failed", "blocked") for earlier in later.waits_for):
                later.status = "blocked"


def name_of(plan: Plan, segment: Segment) -> str:
    """What a segment is called on a display: the run, or what runs share, with the choices that all of them made."""
    points = [plan.points[i] for i in segment.runs]
    is_base = all(point.base_position and segment.stop <= point.base_position for point in points)
    if len(points) == 1 and not is_base:
        return points[0].labels[0] or points[0].run.name
    choices = [point.labels[0].split() for point in points]
    common = " ".join(one for one in choices[0] if all(one in own for own in choices))
    what = ("base" if is_base else "trunk") + (f" of {len(points)} runs" if len(points) > 1 else "")
    return f"{what}, {common}" if common else what


def _channels(plan: Plan, segment: Segment) -> tuple[str, str]:
    """Upstream and downstream, as the first run through the segment calls them."""
    run = plan.points[segment.runs[0]].run
    return run.upstream, run.downstream


def _cost(job: Job) -> float:
    measures, rows = job.task.measures, job.task.own_rows if job.trains else [(0, name) for name in job.task.hashes]
    measured = sum(measures[name].windows * measures[name].seq_len for _, name in rows)
    return job.tokens + MEASURED_COST * measured
