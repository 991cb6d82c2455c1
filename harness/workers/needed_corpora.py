"""The corpora that the jobs of a plan read, and what each must hold; built before anything is trained.

Without torch; `harness.launch` calls it, and so do jobs of a cluster that build (`harness.slurm.ingest_jobs`).

    needed = needed_corpora(plan, jobs)
    build_corpora(needed, store.root, progress=True)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.corpora.corpus import Corpus
from harness.corpora.held_out import read_of
from harness.ingest.build import build
from harness.ingest.windows import require_windows
from harness.plan.jobs import Jobs
from harness.plan.plan import Plan
from harness.store.history import Measure
from harness.texts.recipe import Recipe


@dataclass(frozen=True)
class Needed:
    """A corpus, and what is asked of it."""

    recipe: Recipe
    sizes: tuple[tuple[int, int], ...]
    """(seq_len, sequences of a batch; 0: it is only measured)."""
    measures: tuple[Measure, ...]

    @property
    def trained(self) -> bool:
        """Does a run draw from it?"""
        return any(sequences for _, sequences in self.sizes)

    @property
    def reading(self) -> Recipe:
        """What is read of it: the recipe, or that of its validation alone."""
        return read_of(self.recipe, whole=self.trained)

    @property
    def whole(self) -> bool:
        return self.reading is self.recipe

    def check(self, corpus: Corpus) -> None:
        """InputError unless the corpus holds the windows that are asked of it."""
        for seq_len, sequences in self.sizes:
            require_windows(self.recipe, corpus, seq_len, sequences)
        for measure in self.measures:
            require_windows(self.recipe, corpus, measure.seq_len, 0, measure.fewest)
            split = corpus.validation.part(measure.part) if measure.part else corpus.validation
            split.measured(measure)  # a part may hold too few where the whole does not


def needed_corpora(plan: Plan, jobs: Jobs) -> list[Needed]:
    """What the jobs that are left read."""
    measures: dict[str, dict[str, Measure]] = defaultdict(dict)
    keys: dict[str, None] = {}
    for job in jobs.all:
        keys.update(dict.fromkeys(job.task.recipes))
        for measure in job.task.measures.values():
            measures[measure.key][measure.hash] = measure
    sizes: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for point in plan.left:
        for recipe in point.run.recipes.values():
            trained = recipe.key in point.program.corpora
            sizes[recipe.key].add((point.run.seq_len, point.run.batch if trained else 0))
    return [
        Needed(jobs.recipes[key], tuple(sorted(sizes[key])), tuple(one for _, one in sorted(measures[key].items())))
        for key in keys
    ]


def build_corpora(needed: Sequence[Needed], root: Path, *, progress: bool, processes: int | None = None) -> None:
    """Build what is missing of them. Raises InputError where one lacks the windows that are asked of it."""
    by_key = {one.recipe.key: one for one in needed}

    def check(recipe: Recipe, corpus: Corpus) -> None:
        by_key[recipe.key].check(corpus)

    recipes, measured = [one.recipe for one in needed], {one.recipe.key for one in needed if not one.trained}
    build(recipes, root, measured=measured, progress=progress, processes=processes, check=check)
