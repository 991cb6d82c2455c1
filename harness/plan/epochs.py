"""How often a run reads the texts of its corpora, once the store holds them.

Without torch: the counts stand in the manifests of the corpora.

    epochs = Epochs(store.root)
    epochs.of_phases(point), epochs.of_run(point), epochs.warnings(plan.points)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from harness.core import files
from harness.core.errors import CorruptError
from harness.core.units import count
from harness.plan.cost import corpus_id
from harness.plan.plan import PlannedRun
from harness.texts.listed import FilesSource, MegatronSource
from harness.texts.recipe import Recipe, corpus_folder

MANY = 4  # up to here repeated tokens teach nearly as much as new ones (Muennighoff et al. 2023, 2305.16264)


class Epochs:
    """Of the corpora below one root; None of one that is not built yet."""

    def __init__(self, root: Path) -> None:
        self._tokens = cache(lambda recipe: _train_tokens(root, recipe))
        self._shares = cache(lambda recipe: _shares(root, recipe))

    def of_phases(self, point: PlannedRun) -> list[dict[str, float | None]]:
        """By phase and corpus: how often the phase reads it."""
        program = point.program
        drawn = [program.drawn(position) for position in program.starts]
        return [
            self._named(point, {s.corpus: after.get(s.corpus, 0) - before.get(s.corpus, 0) for s in phase.sources})
            for phase, before, after in zip(program.phases, drawn[:-1], drawn[1:], strict=True)
        ]

    def of_run(self, point: PlannedRun) -> dict[str, float | None]:
        """By corpus: how often all phases together read it."""
        return self._named(point, point.program.drawn(point.program.steps))

    def warnings(self, points: Sequence[PlannedRun]) -> list[str]:
        """A line for each corpus that some run reads more than `MANY` times."""
        most: dict[str, float] = defaultdict(float)
        runs: dict[str, int] = defaultdict(int)
        recipes: dict[str, Recipe] = {}
        for point in points:
            for name, epochs in self.of_run(point).items():
                if epochs is not None and epochs > MANY:
                    recipe = next(recipe for recipe in point.run.recipes.values() if recipe.name == name)
                    key = corpus_id(recipe)
                    recipes[key] = recipe
                    most[key] = max(epochs, most[key])
                    runs[key] += 1
        return [
            f"{recipe.name} is read {_short(most[key])} times by {runs[key]} of {len(points)} runs: it has"
            f" {count(self._tokens(recipe) or 0)} tokens, and beyond {MANY} epochs repeated ones teach less and less"
            for key, recipe in recipes.items()
        ]

    def _named(self, point: PlannedRun, drawn: dict[str, int]) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for recipe in point.run.recipes.values():
            if recipe.key in drawn:
                shares = self._shares(recipe)
                if shares:  # of the part that is read most often
                    seq_len, many = point.run.seq_len, drawn[recipe.key]
                    found[recipe.name] = max(many * share / max(1, (t - 1) // seq_len) for share, t in shares)
                    continue
                tokens = self._tokens(recipe)
                own = recipe.source.sequence if isinstance(recipe.source, MegatronSource) else 0
                windows = None if tokens is None else tokens // own if own else (tokens - 1) // point.run.seq_len
                found[recipe.name] = drawn[recipe.key] / windows if windows else None
        return found


def epochs_text(epochs: float | None) -> str:
    return "unknown epochs" if epochs is None else f"{_short(epochs)} epochs"


def _short(epochs: float) -> str:
    return f"{epochs:.3g}" if epochs < 1000 else f"{epochs:,.0f}"


def _train_tokens(root: Path, recipe: Recipe) -> int | None:
    """Tokens to train on; None of texts that are not tokens yet."""
    try:
        manifest = files.read_sealed(corpus_folder(root, recipe) / "manifest.json")
        return int(manifest["splits"]["train"]["tokens"])
    except (CorruptError, OSError, KeyError, TypeError, ValueError):  # not built, or to be built again
        if not isinstance(recipe.source, MegatronSource):
            return None
        width = 2 if recipe.vocab_size < 65_500 else 4  # as its writers choose; only for this forecast
        held_out = 0.0 if recipe.source.validation else recipe.validation
        data = sum(file.size for file in recipe.source.train.files if file.name.endswith(".bin"))
        return round(data / width * (1 - held_out)) or None


def _shares(root: Path, recipe: Recipe) -> list[tuple[float, int]]:
    """(share of the draws, training tokens) of each part of a corpus whose parts have weights; none of others."""
    if not isinstance(recipe.source, FilesSource):
        return []
    try:
        manifest = files.read_sealed(corpus_folder(root, recipe) / "manifest.json")
        weights, parts = manifest["weights"] or [], manifest["splits"]["train"]["parts"]
    except (CorruptError, OSError, KeyError, TypeError, ValueError):
        return []
    return [(weight / sum(weights), int(part["tokens"])) for weight, part in zip(weights, parts, strict=False)]
