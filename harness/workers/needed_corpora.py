"""The corpora that the jobs of a plan read, built before anything is trained.

Without torch; `harness.launch` calls it.
"""

from __future__ import annotations

from harness.corpora.corpus import Corpus
from harness.ingest.build import build
from harness.ingest.windows import require_windows
from harness.plan.jobs import Jobs
from harness.plan.plan import Plan
from harness.store.store import Store
from harness.texts.recipe import Recipe


def build_corpora(plan: Plan, jobs: Jobs, store: Store, progress: bool) -> None:
    """Build what is missing of the corpora that the jobs read; each must hold the windows that are asked of it."""
    recipes = {key: recipe for job in jobs.all for key, recipe in job.task.recipes.items()}
    measures = {measure.hash: measure for job in jobs.all for measure in job.task.measures.values()}
    sizes: dict[str, set[tuple[int, int]]] = {key: set() for key in recipes}
    for point in (plan.points[i] for i in {i for job in jobs.all for i in job.segment.runs}):
        drawn = {source.corpus for phase in point.program.phases for source in phase.sources}
        for recipe in point.run.recipes.values():
            sizes[recipe.key].add((point.run.seq_len, point.run.batch if recipe.key in drawn else 0))

    def check(recipe: Recipe, corpus: Corpus) -> None:
        for seq_len, sequences in sorted(sizes[recipe.key]):
            require_windows(recipe, corpus, seq_len, sequences)
        for measure in (measure for measure in measures.values() if measure.key == recipe.key):
            require_windows(recipe, corpus, measure.seq_len, 0, measure.windows)
            corpus.validation.measured(measure)  # of each part as many as its weight asks
            split = corpus.validation.part(measure.part) if measure.part else corpus.validation
            split.measured(measure)  # a part may hold too few where the whole does not

    build(list(recipes.values()), store.root, progress=progress, check=check)
