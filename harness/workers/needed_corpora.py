"""The corpora that the jobs of a plan read, and what each must hold; built before anything is trained.

Without torch; `harness.launch` calls it, and so do jobs of a cluster that build (`harness.slurm.ingest_jobs`).

    needed = needed_corpora(plan, jobs)
    build_corpora(needed, store.root, progress=True)
"""

from __future__ import annotations

import contextlib
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.core import files
from harness.core.errors import CorruptError
from harness.corpora.corpus import Corpus
from harness.corpora.held_out import read_of
from harness.ingest.build import build
from harness.ingest.windows import require_windows
from harness.measure.overlap import Pair, find_overlaps
from harness.plan.jobs import Jobs
from harness.plan.plan import Plan, PlannedRun
from harness.store.history import Measure
from harness.texts.recipe import Recipe, corpus_folder

AT_ONCE = 5e8  # tokens that are looked at in less than a minute on two cores


@dataclass(frozen=True)
class Needed:
    """A corpus, and what is asked of it."""

    recipe: Recipe
    sizes: tuple[tuple[int, int], ...]
    """(seq_len, sequences of a batch; 0: it is only measured)."""
    measures: tuple[Measure, ...]
    pairs: tuple[Pair, ...] = ()
    """What of measured windows is to be looked for in what is trained on, where one of both is this corpus."""

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
    pairs = pairs_of(plan.left)
    return [
        Needed(
            jobs.recipes[key],
            tuple(sorted(sizes[key])),
            tuple(one for _, one in sorted(measures[key].items())),
            tuple((measure, other) for measure, other in pairs if key in (measure.key, other)),
        )
        for key in keys
    ]


def pairs_of(points: Iterable[PlannedRun]) -> list[Pair]:
    """All that runs measure, with all that each trains on, and with upstream and downstream where it does not."""
    found: dict[Pair, None] = {}
    for point in points:
        recipes = point.run.recipes
        held = {recipes[name].key for name in (point.run.upstream, point.run.downstream) if name in recipes}
        for measure in point.request.measures.values():
            found |= dict.fromkeys((measure, key) for key in sorted(held | point.program.corpora))
    return list(found)


def look_for_overlaps(
    pairs: Iterable[Pair], root: Path, *, progress: bool, built: Collection[str] = (), threads: int | None = None
) -> None:
    """Which measured windows are contained in what is trained on, where nobody has looked yet: once for all runs. Of
    what was not `built` just now (recipe keys) only where it takes seconds: `python -m analysis clean` does the rest.
    """
    try:
        few = [pair for pair in pairs if pair[1] in built or _tokens(root, pair[1]) <= AT_ONCE]
        made = find_overlaps(root, few, threads)
    except OSError as error:  # a store that others own
        print(f"warning: which measured windows are trained on is not known ({error})", file=sys.stderr)
        return
    most: dict[str, Measure] = {}
    for measure, _ in made:
        most[measure.corpus] = max(most.get(measure.corpus, measure), measure, key=lambda one: one.windows)
    for corpus, measure in sorted(most.items()) if progress else ():
        dirty = np.any([overlap.dirty for (one, _), overlap in made.items() if one == measure], axis=0)
        if dirty.any():
            told = f"{dirty.sum():,} of {len(dirty):,} windows that are measured are contained in what is trained on"
            print(f"corpus {corpus}: {told}", file=sys.stderr)


def build_corpora(needed: Sequence[Needed], root: Path, *, progress: bool, processes: int | None = None) -> None:
    """Build what is missing of them, and look which measured windows are contained in what is trained on. Raises
    InputError where one lacks the windows that are asked of it."""
    by_key = {one.recipe.key: one for one in needed}

    def check(recipe: Recipe, corpus: Corpus) -> None:
        by_key[recipe.key].check(corpus)

    recipes, measured = [one.recipe for one in needed], {one.recipe.key for one in needed if not one.trained}
    lacking = {key for key in by_key if not _tokens(root, key)}
    build(recipes, root, measured=measured, progress=progress, processes=processes, check=check)
    pairs = [pair for one in needed for pair in one.pairs]
    look_for_overlaps(pairs, root, progress=progress, built=lacking, threads=processes)


def _tokens(root: Path, key: str) -> int:
    """Tokens of a training split, as its manifest says; 0: it is not there."""
    with contextlib.suppress(FileNotFoundError, CorruptError, KeyError):
        return int(files.read_sealed(corpus_folder(root, key) / "manifest.json")["splits"]["train"]["tokens"])
    return 0
