"""One piece of work, as it goes to a worker: a segment to train, or rows to measure from a stored state.

Without torch, so that the process that plans can make tasks and the one that trains can unpickle them.

    task = task_of(plan, segment, recipes)           # for `harness.train.loop.Trainer.advance`
    is_stored(task, store)                           # whether there is nothing left to do
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.measure.request import RowKey
from harness.plan.plan import Plan, Segment
from harness.program.program import Program
from harness.store.history import Measure
from harness.store.store import Store
from harness.texts.listed import FilesSource, without_files
from harness.texts.recipe import Recipe


@dataclass(frozen=True)
class Task:
    """One segment to train, (start, stop] of a program with the rows to measure on the way; or, with a `position`,
    rows to measure from the state that is stored there (0: from the root). Picklable."""

    program: Program
    """Of a run through the segment."""
    start: int
    """Position of the state that training goes on from."""
    stop: int
    """Position of the state to make."""
    stops: tuple[int, ...]
    """Positions on the way from the root whose states are kept."""
    rows: frozenset[RowKey]
    """Wanted from the root on: if a state on the way turns out damaged, it is made again whole."""
    measures: Mapping[str, Measure]
    """What the rows measure, by windows hash."""
    recipes: Mapping[str, Recipe]
    """By corpus key."""
    path: str | None
    """Where the root's checkpoint lies."""
    final: bool = False
    """Every run through it ends here."""
    position: int | None = None
    """Where to measure; None: train."""
    hashes: tuple[str, ...] = ()
    """Of the windows to measure at `position`."""

    @property
    def address(self) -> str:
        return self.program.address(self.stop)

    @property
    def own_rows(self) -> frozenset[RowKey]:
        """Rows measured on the segment itself; position 0 belongs to the first."""
        return frozenset(key for key in self.rows if key[0] > self.start or not self.start)


def is_stored(task: Task, store: Store) -> bool:
    """Is the state there, with the rows that the task measures? Its tensors are not looked at: `Store.verify` does."""
    if store.state(task.address) is None:
        return False
    wanted = task.own_rows if task.position is None else {(task.position, name) for name in task.hashes}
    return wanted <= {row.key for row in store.rows(task.address)}


def task_of(plan: Plan, segment: Segment, recipes: Mapping[str, Recipe]) -> Task:
    """The task of training a segment. `recipes`: of the whole plan by key, so that one corpus has one folder."""
    path = [segment]
    while path[-1].parent is not None:
        path.append(path[-1].parent)
    return Task(
        program=segment.program,
        start=segment.start,
        stop=segment.stop,
        stops=tuple(sorted(s.stop for s in path[1:] if s.kept)),
        rows=frozenset().union(*(s.rows for s in path)),
        measures={name: measure for s in path for name, measure in s.measures.items()},
        recipes={key: _bare(recipes[key]) for key in segment.recipes},
        path=segment.path,
        final=all(plan.points[i].path[-1] is segment for i in segment.runs),
    )


def _bare(recipe: Recipe) -> Recipe:
    """The recipe without the list of its files, which may be 60,000: whoever trains finds the corpus by its key."""
    if not isinstance(recipe.source, FilesSource):
        return recipe
    return replace(recipe, source=without_files(recipe.source))
