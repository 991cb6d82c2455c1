"""The corpora of a recorded run: as the store holds them, else made again from what the run's config names.

Used by `harness.peek` and `harness.evaluate`: a run can be looked into and measured wherever its texts have gone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.compose.compose import collect
from harness.compose.corpora import take_out, with_corpora
from harness.config.fields import Config
from harness.config.shift import corpora
from harness.core import files
from harness.core.errors import CorruptError, InputError
from harness.core.plain import read_back
from harness.corpora.corpus import open_corpus
from harness.ingest.build import build
from harness.plan.recorded_runs import Document, corpus_names
from harness.store.store import Store
from harness.texts.recipe import Recipe


def corpora_of(document: Document, store: Store, names: Sequence[str]) -> dict[str, Recipe]:
    """The recipes of corpora, by the run's names for them; all of them are built in the store.

    Raises InputError for one that is neither stored nor can be made as it was.
    """
    keys = {name: key for key, name in corpus_names(document).items()}
    stored = {name: _stored(store, keys[name]) for name in names if name in keys}
    found = {name: replace(recipe, name=name) for name, recipe in stored.items() if recipe is not None}
    missing = [name for name in names if name not in found]
    if not missing:
        return found
    settings = completed(document["config"])
    settings["evaluate"] = {**settings["evaluate"], "sets": missing}
    settings |= {"root": str(store.root), "parent_stores": [str(parent) for parent in store.parents]}
    try:
        made, _, _ = corpora(with_corpora(settings, take_out(settings), None))
    except InputError as error:
        if missing[0] not in keys:
            raise
        why = f"the store has lost the tokens of {', '.join(missing)}, and they cannot be made again ({error})"
        raise InputError("run", document["name"], why, "put the texts back where they were") from None
    for name in missing:
        if name not in made and name not in keys:
            raise InputError("sets", name, "no such corpus", f"known: {', '.join(dict.fromkeys([*keys, *made]))}")
    own = {document["upstream"], *(name for name in missing if name in keys)}  # the rest has the tokenizer of these
    if any(name not in made or made[name].key != keys[name] for name in own):
        why = "its texts or packages are no longer those it was made with"
        raise InputError("run", document["name"], why, "restore them, or run it anew")
    build([made[name] for name in missing], store.root)
    return {**found, **{name: made[name] for name in missing}}


def completed(settings: Config) -> Config:
    """A recorded config with the defaults of keys that came later."""

    def merged(default: Any, value: Any) -> Any:
        both = isinstance(default, dict) and isinstance(value, dict)
        return {**default, **{k: merged(default.get(k), v) for k, v in value.items()}} if both else value

    filled = merged(collect([])[0].config, settings)
    assert isinstance(filled, dict)
    return filled


def _stored(store: Store, key: str) -> Recipe | None:
    """The recipe of a whole corpus in the store, found by its key; one that is damaged is set aside."""
    for folder in files.listing(store.root / "corpora"):
        if folder == key[:12] or folder.endswith(f"-{key[:12]}"):
            try:
                manifest = files.read_sealed(store.root / "corpora" / folder / "manifest.json")
                recipe = read_back(Recipe, {**manifest["recipe"], "name": manifest["name"]})
                if recipe.key == key:
                    open_corpus(store.root, recipe)
                    return recipe
            except (CorruptError, OSError, KeyError, TypeError, ValueError) as error:
                print(f"warning: corpus {folder}: {error}", file=sys.stderr)  # made again, if it can be
    return None
