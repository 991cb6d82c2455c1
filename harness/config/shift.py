"""The corpora that a config names: their recipes, and which are upstream and downstream.

Beneath `harness.config.run`. Nothing is read but hashes of the user's files (`harness.texts.recipe`).
"""

from __future__ import annotations

from functools import lru_cache

from harness.config.fields import Config, listing, name_of, number, whole
from harness.config.start import tokenizer_of
from harness.core.errors import InputError
from harness.core.files import user_path
from harness.texts import recipe
from harness.texts.recipe import LONGEST_DOCUMENT, Recipe, TokenizerRecipe


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
    if shift["kind"] == "embedded":
        names = [upstream, downstream, *(str(name) for name in listing(config, "evaluate.sets"))]
        for stage in config["stages"] if isinstance(config["stages"], list) else []:
            mixture = stage.get("mixture") if isinstance(stage, dict) else None
            named = mixture if isinstance(mixture, dict) else {}
            names += [str(name) for name in named if name not in ("upstream", "downstream")]
        unique = tuple(dict.fromkeys(names))
        return _embedded(unique, sample, vocab_size, tokenizer, validation), upstream, downstream
    further = shift["further"]
    if not isinstance(further, dict):
        raise InputError("shift.further", further, "not a mapping", "give '+shift.further={name: PATH}'")
    paths = {}
    for role in ("upstream", "downstream"):
        if config[role] is None:
            raise InputError(role, "null", "shift=local needs a folder or file of texts", f"give {role}=PATH")
        if role in further:
            raise InputError(f"shift.further.{role}", further[role], f"{role}=PATH gives it", "give another name")
        paths[role] = str(user_path(role, config[role]))
    paths |= {str(name): str(user_path(f"shift.further.{name}", path)) for name, path in further.items()}
    for role, name in (("upstream", upstream), ("downstream", downstream)):
        if name not in paths:
            raise InputError(f"shift.{role}", name, "no such corpus", f"known: {', '.join(paths)}")
    longest = LONGEST_DOCUMENT
    if config["corpus"].get("longest_document") is not None:
        longest = whole(config, "corpus.longest_document", 1)
    recipes = _local(tuple(paths.items()), name_of(config, "text"), vocab_size, tokenizer, validation, longest)
    if recipes[downstream].key == recipes[upstream].key:  # the same texts: upstream continued
        downstream = upstream
    own: dict[str, str] = {}
    for name, one in recipes.items():
        if own.setdefault(one.key, name) != name and name not in ("upstream", "downstream"):
            raise InputError(f"shift.further.{name}", paths[name], f"the same texts as {own[one.key]}", "leave it out")
    return {name: one for name, one in recipes.items() if own[one.key] == name}, upstream, downstream


@lru_cache(maxsize=4096)  # the points of a grid share their corpora
def _embedded(
    names: tuple[str, ...],
    sample: float | None,
    vocab_size: int,
    tokenizer: str | TokenizerRecipe | None,
    validation: float | None,
) -> dict[str, Recipe]:
    return {
        name: recipe.embedded(name, sample=sample, vocab_size=vocab_size, tokenizer=tokenizer, validation=validation)
        for name in names
    }


@lru_cache(maxsize=64)
def _local(
    paths: tuple[tuple[str, str], ...],
    text: str,
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
            text=text,
            vocab_size=vocab_size,
            companions=companions,
            tokenizer=tokenizer,
            validation=validation,
            longest_document=longest,
        )
        for name, path in paths
    }
