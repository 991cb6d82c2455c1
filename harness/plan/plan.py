"""All runs of a sweep as one trie: what they share, what is stored, what is left to train, and what it costs.

Pure: `plan(points, stored)` needs no store, no corpus and no torch. One rule makes all reuse: *to reach a position,
start from the deepest stored state on the way that covers what is asked*. A stop is a position whose state is kept
(phase ends, branch points, ends of runs); a segment is the stretch between two neighbouring stops.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harness.config.compile import StageSpan, compile_run
from harness.config.run import Run
from harness.core.identity import digest
from harness.measure.request import Request, RowKey, request
from harness.program.program import Program
from harness.store.history import Measure
from harness.texts.recipe import Recipe

Rows = Callable[[str], frozenset[RowKey] | None]  # of the state at an address; None: not stored
Lengths = Callable[[str], Iterable[int]]  # steps of a branch at which states are stored


@dataclass
class PlannedRun:
    """One distinct run of the plan."""

    run: Run
    """The checked point."""
    program: Program
    """What it trains."""
    spans: tuple[StageSpan, ...]
    """Where each of its stages lies, in positions."""
    request: Request
    """The rows it asks for."""
    labels: list[str]
    """The sweep points that turned out to be this run."""
    path: list[Segment] = field(default_factory=list)
    """Its segments from the root to its end."""
    recorded_key: str | None = None
    """The key of a run that is read back, whatever is asked of it now; None: of one that is planned."""

    @property
    def base_position(self) -> int | None:
        """Where continual pre-training starts; None from scratch."""
        if self.run.base_stages:
            return self.spans[self.run.base_stages - 1].stop
        return 0 if self.run.checkpoint else None

    @cached_property
    def key(self) -> str:
        """The run's identity: its program and the rows it can't do without."""
        return self.recorded_key or digest("run", self.program.address(), sorted(self.request.required))


@dataclass(eq=False)
class Segment:
    """The training between two stops, (start, stop]; its end state's address names it."""

    address: str
    """Of the state at its end."""
    start: int
    """Position of the state before it; 0: the root."""
    stop: int
    """Position of its last update's end."""
    program: Program
    """Of some run through it: up to `stop` they are all the same."""
    recipes: dict[str, Recipe]
    """By corpus key, of all runs through it."""
    path: str | None
    """Where the root's checkpoint lies."""
    parent: Segment | None
    """The segment that ends where this one starts; None at the root."""
    kept: bool
    """Whether some run's phase ends here; else it is a save on the way, which an interrupted segment stored."""
    runs: list[int] = field(default_factory=list)
    """Indices of the points through it."""
    rows: set[RowKey] = field(default_factory=set)
    """What is measured while it trains; position 0 belongs to the first segment."""
    measures: dict[str, Measure] = field(default_factory=dict)
    """What these rows measure, by windows hash."""
    stored: frozenset[RowKey] | None = None
    """Rows of the stored state at its end; None: no state is there."""
    train: bool = False
    """Whether it has to be trained."""

    @property
    def tokens(self) -> int:
        return self.program.tokens(self.stop) - self.program.tokens(self.start)


@dataclass(frozen=True)
class Evaluation:
    """Rows to measure from stored weights: the state at `segment`'s end, or the root (position 0)."""

    segment: Segment
    """At whose end the state lies."""
    position: int
    """That end, or 0 for the root."""
    hashes: tuple[str, ...]
    """Of the windows to measure."""

    @property
    def key(self) -> str:
        """32 hex characters of its own; what a segment trains has its address for a key."""
        return digest("measure", self.segment.address, self.position, self.hashes)


@dataclass
class Plan:
    """Distinct runs, their trie (`segments`, parents first) and what is left to do."""

    points: list[PlannedRun]
    """The distinct runs."""
    segments: list[Segment]
    """The trie of their training; parents come first."""
    evaluations: list[Evaluation]
    """Rows that are missing at stored states."""

    @cached_property
    def names(self) -> list[str]:
        """What a person calls each point: its run, with its choices where other runs of the plan have the same name."""
        same = Counter(point.run.name for point in self.points)
        return [
            f"{point.run.name} ({point.labels[0]})" if same[point.run.name] > 1 and point.labels[0] else point.run.name
            for point in self.points
        ]

    @property
    def to_train(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.train]

    @property
    def tokens_planned(self) -> int:
        return sum(segment.tokens for segment in self.to_train)

    @property
    def tokens_done(self) -> int:
        return sum(segment.tokens for segment in self.segments) - self.tokens_planned

    @property
    def tokens_if_separate(self) -> int:
        """Tokens of all runs if each trained its own root to its own end."""
        return sum(point.program.tokens(point.program.steps) for point in self.points)

    @cached_property
    def left(self) -> list[PlannedRun]:
        """The runs through what is to be trained or measured."""
        found = {i for segment in self.to_train for i in segment.runs}
        found |= {i for evaluation in self.evaluations for i in evaluation.segment.runs}
        return [self.points[i] for i in sorted(found)]

    @cached_property
    def trained_on(self) -> frozenset[str]:
        """Keys of the corpora that these draw from: they are made whole, others as far as measuring reads them."""
        return frozenset(key for point in self.left for key in point.program.corpora)

    @cached_property
    def evaluations_of(self) -> dict[str, list[Evaluation]]:
        """By address of their segment."""
        found: dict[str, list[Evaluation]] = defaultdict(list)
        for evaluation in self.evaluations:
            found[evaluation.segment.address].append(evaluation)
        return dict(found)


def compile_points(labelled: Iterable[tuple[str, Run]]) -> list[PlannedRun]:
    """Distinct runs: points whose program and request are equal are one, whatever they were called."""
    points: dict[str, PlannedRun] = {}
    for label, run in labelled:
        program, spans = compile_run(run)
        point = PlannedRun(run, program, spans, request(run, spans), [label])
        known = points.setdefault(point.key, point)
        if known is not point:
            known.labels.append(label)
            known.request = known.request.joined(point.request)
    return list(points.values())


def plan(points: Sequence[PlannedRun], stored: Rows = lambda _: None, lengths: Lengths = lambda _: ()) -> Plan:
    """Lay all runs into one trie and mark what must be trained and what can be measured from stored weights."""
    stops = _stops(points, lengths)
    segments: dict[str, Segment] = {}
    for index, point in enumerate(points):
        point.path = _path(index, point, stops, segments, stored)
    for point in points:
        _mark(point)
    planned = Plan(list(points), list(segments.values()), [])
    planned.evaluations = _evaluations(planned)
    return planned


def _stops(points: Sequence[PlannedRun], lengths: Lengths) -> dict[str, dict[int, bool]]:
    """Per branch (see `Program.branch_keys`): the lengths with a state, and whether some run's phase ends there."""
    ends: dict[str, set[int]] = defaultdict(set)
    for point in points:
        for branch, phase in zip(point.program.branch_keys, point.program.phases, strict=True):
            ends[branch].add(phase.steps)
    return {branch: {n: n in own for n in sorted(own | set(lengths(branch)))} for branch, own in ends.items()}


def _path(
    index: int, point: PlannedRun, stops: dict[str, dict[int, bool]], segments: dict[str, Segment], stored: Rows
) -> list[Segment]:
    """The segments from the root to the end of a run; new ones are added to `segments`."""
    program, path = point.program, list[Segment]()
    rows = sorted(point.request.rows)
    taken = 0
    recipes = {recipe.key: recipe for recipe in point.run.recipes.values()}
    for branch, phase, start in zip(program.branch_keys, program.phases, program.starts, strict=False):
        for length, kept in stops[branch].items():
            if length > phase.steps:
                break
            stop = start + length
            address = program.address(stop)
            segment = segments.get(address)
            if segment is None:
                parent = path[-1] if path else None
                begin = parent.stop if parent else 0
                segment = Segment(
                    address, begin, stop, program, {}, point.run.path, parent, kept, stored=stored(address)
                )
                segments[address] = segment
            segment.runs.append(index)
            segment.recipes.update(recipes)
            # Where one run keeps the losses of the windows that another sums up, they are kept.
            asked = point.request.measures
            segment.measures |= {h: m for h, m in asked.items() if m.least is not None or h not in segment.measures}
            until = taken
            while until < len(rows) and rows[until][0] <= stop:
                until += 1
            segment.rows.update(rows[taken:until])
            taken = until
            path.append(segment)
    return path


def _mark(point: PlannedRun) -> None:
    """Mark the segments after the deepest stored state that covers what the run requires."""
    deepest = -1
    for i in range(len(point.path) - 1, -1, -1):
        if point.path[i].stored is not None and not _missing(point, i):
            deepest = i
            break
    for segment in point.path[deepest + 1 :]:
        segment.train = True


def _missing(point: PlannedRun, index: int) -> bool:
    """Does a required row up to the state at `index` exist nowhere, nor can be measured from stored weights?"""
    stop = point.path[index].stop
    stored = [segment for segment in point.path[: index + 1] if segment.stored is not None]
    have = set().union(*(segment.stored or () for segment in stored))
    measurable = {0} | {segment.stop for segment in stored}
    return any(row not in have and row[0] not in measurable for row in point.request.required if row[0] <= stop)


def _evaluations(planned: Plan) -> list[Evaluation]:
    """Rows wanted at stored positions that no state on the way holds."""
    todo: dict[tuple[str, int], set[str]] = defaultdict(set)
    by_address = {segment.address: segment for segment in planned.segments}
    for point in planned.points:
        kept = [segment for segment in point.path if segment.stored is not None and not segment.train]
        if not kept:
            continue
        have = set().union(*(segment.stored or () for segment in kept))
        places = {segment.stop: segment for segment in kept}
        places.setdefault(0, kept[0])  # the root can always be made again
        for position, windows in point.request.rows - have:
            if position in places:
                todo[places[position].address, position].add(windows)
    return [Evaluation(by_address[a], position, tuple(sorted(h))) for (a, position), h in sorted(todo.items())]
