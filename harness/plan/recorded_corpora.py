"""The corpora of a recorded run: as the store holds them, else made again from what the run's config names.

Used by `harness.peek` and `harness.evaluate`: a run can be looked into and measured wherever its texts have gone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.compose.compose import collect
from harness.compose.corpora import take_out, with_corpora
from harness.compose.listing import list_corpora
from harness.config.fields import Config, further, reference
from harness.config.shift import corpora
from harness.core import files
from harness.core.errors import CorruptError, InputError
from harness.core.plain import read_back
from harness.corpora.corpus import open_corpus
from harness.corpora.held_out import read_of
from harness.ingest.build import build
from harness.plan.recorded_runs import Document, corpus_names, program_of
from harness.store.store import Store
from harness.texts.listed import MegatronSource
from harness.texts.recipe import EmbeddedSource, Recipe, corpus_folder
from harness.texts.vocabulary import require_one_tokenizer


def corpora_of(document: Document, store: Store, names: Sequence[str], *, to_train: bool = True) -> dict[str, Recipe]:
    """The recipes of corpora of the run, by its names for them; all of them are built in the store, those that it
    does not train on as far as measuring reads them. Not `to_train`: none any further, for a tokenizer.

    Raises InputError for one that is neither stored nor can be made as it was. `further_corpus` is for any other.
    """
    keys = {name: key for key, name in corpus_names(document).items()}
    trained = program_of(document).corpora if to_train else frozenset()
    stored = {name: _stored(store, keys[name], keys[name] in trained) for name in names}
    found = {name: replace(recipe, name=name) for name, recipe in stored.items() if recipe is not None}
    missing = [name for name in names if name not in found]
    if not missing:
        return found
    settings = _settings(document, store)
    added = [name for name in missing if name not in _configured(document, settings)]  # measured later
    own = [name for name in missing if name not in added]
    try:
        found |= {name: further_corpus(document, store, name, None) for name in added}
        if not own:
            return found
        recorded = take_out(settings)
        made, _, _ = corpora(with_corpora(settings, {}, None, recorded))
    except InputError as error:
        why = f"the store has lost the tokens of {', '.join(missing)}, and they cannot be made again ({error})"
        raise InputError("run", document["name"], why, "put the texts back where they were") from None
    if any(name not in made or made[name].key != keys[name] for name in own):
        raise _no_longer(document)
    build([made[name] for name in own], store.root, measured={keys[name] for name in own} - trained)
    return {**found, **{name: made[name] for name in own}}


def further_corpus(
    document: Document, store: Store, asked: str, folder: Path | None, keys: Mapping[str, Any] = MappingProxyType({})
) -> Recipe:
    """The recipe of a corpus that the run's config does not name, in the run's tokens; it is built in the store.

    `asked`: the name of a corpus of conf/ or of `folder` (-cd), NAME=PATH or NAME=URL; `keys`: of it, in place of
    those of its file. Raises InputError, field sets.
    """
    one = reference("sets", asked)
    upstream = document["upstream"]
    (known,) = corpora_of(document, store, [upstream], to_train=False).values()
    place = corpus_folder(store.root, known) / "tokenizer.json"
    settings = _settings(document, store)
    take_out(settings)
    # A config that names this corpus and nothing else: the run's own texts need not be there any more.
    settings |= {"upstream": asked, "downstream": asked, "stages": None}
    settings |= {"shift": {"kind": "corpora", "name": None, "upstream": asked, "downstream": asked}}
    settings["evaluate"] = {**settings["evaluate"], "sets": []}
    try:
        settings = with_corpora(settings, {one.name: dict(keys)} if keys else {}, folder)
        entry = settings["corpus"].get(one.name)
        # Corpora of installed packages share one vocabulary that is trained on all of them.
        shared = known.tokenizer.trained_on and isinstance(known.source, EmbeddedSource)
        shared = shared and not one.path and (entry is None or entry["kind"] == "embedded")
        if not shared:
            settings["tokenizer"] = str(place)
        list_corpora([settings], [store.root, *store.parents], only_shown=False)
        (made,) = corpora(settings)[0].values()
    except InputError as error:
        if error.field not in ("upstream", "shift.upstream", one.name, f"shift.further.{one.name}"):
            raise
        more = "; -cd FOLDER names your own" if folder is None and error.why.startswith("no such corpus") else ""
        raise InputError("sets", asked, error.why, f"{error.remedy}{more}") from None
    if shared:
        if _vocabulary(made) != _vocabulary(known):
            raise _no_longer(document)
    elif isinstance(made.source, MegatronSource):
        require_one_tokenizer({one.name: made}, place)
    else:
        own = known.tokenizer if known.tokenizer.file else made.tokenizer  # which knows its end of a document
        made = replace(made, tokenizer=replace(own, path=str(place)))
    if made.key != next((key for key, name in corpus_names(document).items() if name == one.name), made.key):
        raise InputError("sets", asked, f"other texts are called {one.name} already", "give it another name: NAME=...")
    build([made], store.root, measured={made.key} - program_of(document).corpora)
    return made


def _configured(document: Document, settings: Config) -> set[str]:
    """The names of the corpora that a run's config says, each that a part is of among them."""
    named = [document["upstream"], document["downstream"], *(one.name for _, one in further(settings))]
    named += settings["shift"].get("further") or ()
    return {*named, *(name.rpartition(".")[0] for name in named)}


def _vocabulary(recipe: Recipe) -> object:
    """What a vocabulary of installed packages was trained on."""
    source = recipe.source
    assert isinstance(source, EmbeddedSource)
    return recipe.tokenizer, source.packages, source.python


def _settings(document: Document, store: Store) -> Config:
    """The run's config, over this store."""
    settings = completed(document["config"])
    settings["corpus"] = dict(settings["corpus"])
    return settings | {"root": str(store.root), "parent_stores": [str(parent) for parent in store.parents]}


def _no_longer(document: Document) -> InputError:
    why = "its texts or packages are no longer those it was made with"
    return InputError("run", document["name"], why, "restore them, or run it anew")


def completed(settings: Config) -> Config:
    """A recorded config with the defaults of keys that came later."""

    def merged(default: Any, value: Any) -> Any:
        both = isinstance(default, dict) and isinstance(value, dict)
        return {**default, **{k: merged(default.get(k), v) for k, v in value.items()}} if both else value

    filled = merged(collect([])[0].config, settings)
    assert isinstance(filled, dict)
    return filled


def _stored(store: Store, key: str, trained: bool) -> Recipe | None:
    """The recipe of a corpus in the store, found by its key, if what is read of it is there; one that is damaged is set
    aside."""
    for folder in files.listing(store.root / "corpora"):
        if folder == key[:12] or folder.endswith(f"-{key[:12]}"):
            try:
                manifest = files.read_sealed(store.root / "corpora" / folder / "manifest.json")
                recipe = read_back(Recipe, {**manifest["recipe"], "name": manifest["name"]})
                if recipe.key == key:
                    open_corpus(store.root, recipe, whole=read_of(recipe, whole=trained) is recipe)
                    return recipe
            except FileNotFoundError:  # only its validation
                return None
            except (CorruptError, OSError, KeyError, TypeError, ValueError) as error:
                print(f"warning: corpus {folder}: {error}", file=sys.stderr)  # made again, if it can be
    return None
