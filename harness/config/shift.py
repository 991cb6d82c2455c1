"""The corpora that a config names: their recipes, and which are upstream and downstream.

Beneath `harness.config.run`. Nothing is read but hashes of the user's files (`harness.texts.recipe`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.config.corpora import NOT_LISTED, files_recipe
from harness.config.fields import SETS, Config, Reference, as_number, further, listing, number, roles, text_of, whole
from harness.config.start import tokenizer_of
from harness.core.errors import InputError
from harness.core.files import user_path
from harness.model.checkpoints import kept, repository_of
from harness.texts import recipe
from harness.texts.listed import FilesSource
from harness.texts.recipe import LONGEST_DOCUMENT, Recipe, TokenizerRecipe, field_of, given_tokenizer


def corpora(config: Config) -> tuple[dict[str, Recipe], str, str]:
    """The recipes by corpus name, and which of them are upstream and downstream."""
    shift, sample = config["shift"], config["corpus"]["sample"]
    if sample is not None:
        sample = number(config, "corpus.sample", above=0, at_most=1)
    given = config["corpus"]["vocab_size"]
    vocab_size = whole(config, "corpus.vocab_size" if given is not None else "model.vocab_size", 257)
    validation = None if config.get("validation") is None else number(config, "validation", above=0, at_most=0.9)
    upstream, downstream = str(shift["upstream"]), str(shift["downstream"])
    given_file = None if config["tokenizer"] is None else str(user_path("tokenizer", config["tokenizer"]))
    tokenizer = given_file or tokenizer_of(config)
    if shift["kind"] != "local":
        return _by_names(config, sample, vocab_size, tokenizer, validation)
    others = shift["further"]
    if not isinstance(others, dict):
        raise InputError("shift.further", others, "not a mapping", "give '+shift.further={name: PATH}'")
    paths = {}
    for role in ("upstream", "downstream"):
        if config[role] is None:
            raise InputError(role, "null", "shift=local needs a folder or file of texts", f"give {role}=PATH")
        if role in others:
            raise InputError(f"shift.further.{role}", others[role], f"{role}=PATH gives it", "give another name")
        paths[role] = str(user_path(role, config[role]))
    paths |= {str(name): str(user_path(f"shift.further.{name}", path)) for name, path in others.items()}
    for role, name in (("upstream", upstream), ("downstream", downstream)):
        if name not in paths:
            raise InputError(f"shift.{role}", name, "no such corpus", f"known: {', '.join(paths)}")
    made = _Made(config, sample, vocab_size, validation)
    fields = {name: field_of(name) for name in paths}
    recipes = made.of_paths(tuple(paths.items()), tokenizer, fields)
    for field, one in further(config):
        if field == SETS and one.name not in recipes:
            found = made.measured(one, tokenizer, recipes[upstream].tokenizer)
            recipes |= {key: recipe for key, recipe in found.items() if key not in recipes}
            fields[one.name], paths[one.name] = field, one.written
    return _distinct(recipes, fields, paths, upstream, downstream)


def check_set(name: str, recipes: Mapping[str, Recipe]) -> None:
    """InputError unless `name` is a corpus, or NAME.PART of one that has such a part."""
    if name in recipes:
        return
    corpus, _, part = name.partition(".")
    if not part or corpus not in recipes:
        raise InputError(SETS, name, "no such corpus", f"known: {', '.join(recipes)}")
    source = recipes[corpus].source
    parts = [one.name for one in source.parts] if isinstance(source, FilesSource) else []
    if part not in parts:
        remedy = f"known: {', '.join(parts)}" if parts else f"give {corpus}"
        raise InputError(SETS, name, f"{corpus} has no part {part}", remedy)


def _by_names(
    config: Config,
    sample: float | None,
    vocab_size: int,
    tokenizer: str | TokenizerRecipe | None,
    validation: float | None,
) -> tuple[dict[str, Recipe], str, str]:
    """The corpora of a shift by names, paths and URLs. Those that are only measured are made with the tokenizer of the
    others, and never change it."""
    up, down = roles(config)
    trained = {up.name, down.name, *(one.name for field, one in further(config) if field != SETS)}
    asked: dict[str, tuple[str, Reference]] = {}
    for field, one in [("upstream", up), ("downstream", down), *further(config)]:
        if one.name in (up.name, down.name) and not (one.path or one.url) and field not in ("upstream", "downstream"):
            continue
        other = asked.setdefault(one.name, (field, one))[1]
        if other != one:
            why = f"{other.place or 'a corpus of conf/'} is called {one.name} too"
            raise InputError(field, one.place or one.name, why, "give one of them another name: NAME=...")
    made = _Made(config, sample, vocab_size, validation)
    paths = {name: str(user_path(field, one.path)) for name, (field, one) in asked.items() if one.path}
    fields = {name: field for name, (field, _) in asked.items()}
    recipes: dict[str, Recipe] = {}
    if own_paths := tuple((name, path) for name, path in paths.items() if name in trained):
        recipes |= made.of_paths(own_paths, tokenizer, fields)
    for name, (field, one) in sorted(asked.items(), key=lambda item: item[0] not in trained):
        if name in trained:
            recipes |= {} if one.path else made.by_name(field, one, tokenizer, tokenizer)
        else:
            found = made.measured(one, tokenizer, recipes[up.name].tokenizer)
            recipes |= {key: recipe for key, recipe in found.items() if key not in recipes}
    places = {name: one.written if field == SETS else one.place or name for name, (field, one) in asked.items()}
    return _distinct(recipes, fields, places, up.name, down.name)


@dataclass(frozen=True)
class _Made:
    """Recipes of corpora as a config names them, by name."""

    config: Config
    sample: float | None
    vocab_size: int
    validation: float | None

    def of_paths(
        self, paths: tuple[tuple[str, str], ...], tokenizer: str | TokenizerRecipe | None, fields: Mapping[str, str]
    ) -> dict[str, Recipe]:
        """Texts of the user's, which share a tokenizer that is trained on all of them unless one is given. `fields`:
        which gives each, by name."""
        texts = tuple((name, text_of(self.config, name)) for name, _ in paths)
        try:
            return dict(_local(paths, texts, self.vocab_size, tokenizer, self.validation, self._longest()))
        except InputError as error:
            field = next((fields[name] for name, _ in paths if field_of(name) == error.field), error.field)
            raise InputError(field, error.value, error.why, error.remedy) from None

    def by_name(
        self, field: str, one: Reference, tokenizer: str | TokenizerRecipe | None, given: str | TokenizerRecipe | None
    ) -> dict[str, Recipe]:
        """A corpus of conf/, of a URL, or a part of one. `given`: the tokenizer for one whose config names another."""
        base, dot, part = one.name.rpartition(".")
        own = self.config["corpus"].get(one.name)
        entry, part = (own, "") if own or not dot else (self.config["corpus"].get(base), part)
        if not isinstance(entry, dict) or entry["kind"] == "embedded":
            found = _embedded(one.name, entry or {}, self.sample, self.vocab_size, tokenizer, self.validation)
            return {one.name: found}
        whole_name = base if part else one.name
        part = "" if field == SETS else part  # what is only measured is so within its corpus
        stores = _stores(self.config)
        tokens = given if entry["tokenizer"] is not None else tokenizer
        recipe_of_tokens = _files_tokenizer(whole_name, entry, tokens, self.vocab_size, stores)
        found = files_recipe(whole_name, part, entry, recipe_of_tokens, self.validation, self._longest(), stores)
        return {found.name: found}

    def measured(
        self, one: Reference, given: str | TokenizerRecipe | None, shared: TokenizerRecipe
    ) -> dict[str, Recipe]:
        """What is only measured is made with the tokenizer of the others (`shared`), and never changes it."""
        if not one.path:
            return self.by_name(SETS, one, given or shared, given)
        return self.of_paths(((one.name, str(user_path(SETS, one.path))),), given or shared, {one.name: SETS})

    def _longest(self) -> int:
        if self.config["corpus"].get("longest_document") is None:
            return LONGEST_DOCUMENT
        return whole(self.config, "corpus.longest_document", 1)


def _files_tokenizer(
    name: str, entry: Config, tokenizer: str | TokenizerRecipe | None, vocab_size: int, stores: list[Path]
) -> TokenizerRecipe:
    """What makes tokens of a corpus of listed files: no vocabulary is trained on it. Of tokens, what made them: that it
    is the run's is checked by `harness.texts.vocabulary`."""
    own, made = entry["tokenizer"], entry["kind"] == "megatron"
    if made and own is None:
        why = f"the files of {name} are tokens, and do not tell of which tokenizer"
        raise InputError(f"corpus.{name}.tokenizer", "null", why, "give the one that made them")
    if tokenizer is not None and not made:
        return given_tokenizer(tokenizer)
    if own is None:
        why = f"no vocabulary is trained on {name}, whatever its size"
        raise InputError("tokenizer", "null", why, f"give tokenizer=FILE, or corpus.{name}.tokenizer")
    repository = repository_of(own)
    if repository is None:
        return given_tokenizer(user_path(f"corpus.{name}.tokenizer", own))
    found = kept(repository, "", stores)
    if found is None:
        return TokenizerRecipe(vocab_size, file=f"{NOT_LISTED} {repository}")
    return given_tokenizer(found.folder)


def _stores(config: Config) -> list[Path]:
    parents = [user_path("parent_stores", path) for path in listing(config, "parent_stores")]
    return [user_path("root", config["root"]), *parents]


def _distinct(
    recipes: dict[str, Recipe], fields: Mapping[str, str], places: Mapping[str, str], upstream: str, downstream: str
) -> tuple[dict[str, Recipe], str, str]:
    """Without a name for the same texts twice; upstream and downstream may be the same."""
    if recipes[downstream].key == recipes[upstream].key:  # the same texts: upstream continued
        downstream = upstream
    own: dict[str, str] = {}
    for name, one in recipes.items():
        if own.setdefault(one.key, name) != name and name not in (upstream, downstream, "downstream"):
            raise InputError(
                fields.get(name, SETS), places.get(name, name), f"the same texts as {own[one.key]}", "leave it out"
            )
    return {name: one for name, one in recipes.items() if own[one.key] == name}, upstream, downstream


def _embedded(
    name: str,
    entry: Config,
    sample: float | None,
    vocab_size: int,
    tokenizer: str | TokenizerRecipe | None,
    validation: float | None,
) -> Recipe:
    field = f"corpus.{name}"
    if entry.get("sample") is not None:
        sample = as_number(f"{field}.sample", entry["sample"], above=0, at_most=1)
    if entry.get("validation") is not None:
        validation = as_number(f"{field}.validation", entry["validation"], above=0, at_most=0.9)
    return _installed(name, sample, vocab_size, tokenizer, validation)


@lru_cache(maxsize=4096)  # the points of a grid share their corpora
def _installed(
    name: str, sample: float | None, vocab_size: int, tokenizer: str | TokenizerRecipe | None, validation: float | None
) -> Recipe:
    return recipe.embedded(name, sample=sample, vocab_size=vocab_size, tokenizer=tokenizer, validation=validation)


@lru_cache(maxsize=64)
def _local(
    paths: tuple[tuple[str, str], ...],
    texts: tuple[tuple[str, str], ...],
    vocab_size: int,
    tokenizer: str | TokenizerRecipe | None,
    validation: float | None,
    longest: int,
) -> dict[str, Recipe]:
    companions = dict(paths)  # the tokenizer is trained on all of them
    return {
        name: recipe.local(
            name,
            path,
            text=dict(texts)[name],
            vocab_size=vocab_size,
            companions=companions,
            texts=dict(texts),
            tokenizer=tokenizer,
            validation=validation,
            longest_document=longest,
        )
        for name, path in paths
    }
