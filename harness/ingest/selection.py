"""Which units make a corpus, and where its budget ends: what is to be built, and the manifest of what is.

Beneath `harness.ingest.assemble`. A budget takes whole units in their order and cuts the last one exactly; where parts
have weights, each part is cut at its own share of the budget, so that one pass over the corpus reads each part once.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.core import files
from harness.core.errors import InputError
from harness.core.identity import canonical, digest
from harness.corpora.grouping import Group, groups
from harness.corpora.tokenizer import token_dtype
from harness.corpora.units import DOCUMENT, UNITS_FORMAT, finished_units, shards_folder
from harness.program.mixture import counts, integer_weights
from harness.texts.fetch import is_here
from harness.texts.listed import FilesSource, Part, key_of, part_key
from harness.texts.recipe import Recipe

Unit = dict[str, Any]

TEXT_PER_TOKEN = 3.5  # bytes, about: what a budget or a disk needs before anything is known
# Times a budget. Before anything of a corpus is built: compressed files often hold less text than they are taken for,
# and a token of English with a vocabulary of 50k is some 4.5 bytes of it. After that its own tokens per byte are known.
_MORE, _MORE_ONCE_KNOWN = 2.0, 1.1


def weights_of(source: FilesSource) -> tuple[int, ...] | None:
    """The weights of its parts as integers, in their order; None where it has none. Raises InputError."""
    given = {part.name: part.weight for part in source.parts if part.weight is not None}
    if len(source.parts) == 1 or not given:
        return None
    found = integer_weights({name: float(weight) for name, weight in given.items()})
    return tuple(found[part.name] for part in source.parts)


def needed_tokens(source: FilesSource) -> tuple[int, ...] | None:
    """Training tokens that a budget asks of each part, or of all (one number); None: there is no budget."""
    if source.tokens is None:
        return None
    weights = weights_of(source)
    return (source.tokens,) if weights is None else tuple(map(int, counts(weights, source.tokens)))


def train_tokens(units: Sequence[Unit], source: FilesSource) -> list[int]:
    """Training tokens of units, as `needed_tokens` counts them: of each part, or of all parts of the corpus."""
    names = [(f"{number}-train",) for number in source.numbers]
    together = names if weights_of(source) else [tuple(name for one in names for name in one)]
    return [sum(unit["tokens"].get(name, 0) for unit in units for name in one) for one in together]


def suffices(units: Sequence[Unit], needed: tuple[int, ...] | None, source: FilesSource) -> bool:
    """Is nothing missing of a group: has it ended, or does it hold what is needed of it?"""
    if units and units[-1]["last"]:
        return True
    if needed is None or not units:
        return False
    return all(have >= need for have, need in zip(train_tokens(units, source), needed, strict=True))


def share(source: FilesSource) -> float:
    """Of the tokens of its units that are its own, about."""
    return source.tokens / source.tokens_read if source.tokens and source.tokens_read else 1.0


def field_of_group(recipe: Recipe, group: Group) -> str:
    """The key of a config that names the files of a group."""
    return f"{key_of(recipe.name, source_of(recipe))}.{'files' if group.split == 'train' else 'validation'}"


def source_of(recipe: Recipe) -> FilesSource:
    """The source of a recipe whose source is listed files."""
    assert isinstance(recipe.source, FilesSource)
    return recipe.source


def wanted_groups(recipe: Recipe, root: Path) -> list[Group]:
    """The groups that are not built and that the corpus may need.

    Of a budget: as many as should give each part its tokens, by what the groups that are built gave of it. Where none
    is, by an estimate, and twice as many, so that it is seldom short; what is short is told by `require_built`.
    """
    source, shards = source_of(recipe), shards_folder(root)
    everything, needed = groups(recipe, source), needed_tokens(source)
    units = {group.key: finished_units(shards, group) for group in everything}
    if needed is None:
        return [group for group in everything if not suffices(units[group.key], None, source)]
    seen = [group for group in everything if group.split == "train" and suffices(units[group.key], None, source)]
    text, have = sum(group.text for group in seen), np.zeros(len(needed))
    for group in seen:
        have += train_tokens(units[group.key], source)
    if text:  # of what was never met as much text again is looked through as was so far
        rates, goal = np.where(have > 0, have, np.array(needed) / 2) / text, np.array(needed) * _MORE_ONCE_KNOWN
    else:
        rates, goal = np.array(needed) / sum(needed) / TEXT_PER_TOKEN * share(source), np.array(needed) * _MORE
    wanted, expected, left = list[Group](), np.zeros(len(needed)), np.array(needed)
    short = False  # is a group of text to train on missing?
    for group in everything:
        train = group.split == "train"
        if train and ((expected >= goal).all() if short else not left.any()):
            continue
        known = units[group.key]
        if not suffices(known, tuple(left) if train and not short else None, source):
            wanted.append(group)
            short |= train
            expected += group.text * rates * train
        elif train:
            expected += train_tokens(known, source)
            left = np.maximum(0, left - train_tokens(known, source))
    return wanted


def require_built(recipe: Recipe, root: Path) -> None:
    """InputError if the corpus needs what is neither built nor lies on this machine: there may be no network here."""
    source, shards = source_of(recipe), shards_folder(root)
    needed = needed_tokens(source)
    left = None if needed is None else np.array(needed)
    for group in groups(recipe, source):
        own = left if group.split == "train" else None  # what is needed of it; None: all
        if own is not None and not own.any():
            continue
        units = finished_units(shards, group)
        if suffices(units, None if own is None else tuple(own), source):
            left = left if own is None else np.maximum(0, own - train_tokens(units, source))
            continue
        if all(is_here(file) for file in group.files):
            return  # it is built from where it lies; how many tokens that gives is not known
        why, remedy = "is neither built nor fetched", "run the command again: it fetches what is missing"
        if own is None or needed is None:
            raise InputError(field_of_group(recipe, group), group.files[0].name, why, remedy)
        short = ", ".join(part.name for part, more in zip(source.parts, own, strict=False) if more)
        of = f" (too few of {short})" if len(own) > 1 else ""
        why = f"what was fetched holds {sum(needed) - int(own.sum()):,} of these training tokens{of}"
        raise InputError(f"{key_of(recipe.name, source)}.tokens", source.tokens, why, remedy)


def selected(
    recipe: Recipe, source: FilesSource, shards: Path, units: Sequence[Unit], folder: Path, end: int
) -> dict[str, Any]:
    """The manifest; `units` are those of all groups in order, `folder` holds the small files already."""
    _require_parts(recipe, source, units)
    taken = _cut(recipe, source, units)
    names = [part.name for part in source.parts]
    splits = {
        split: [_counted(shards, units, taken, f"{k}-{split}") for k in source.numbers]
        for split in ("train", "validation")
    }
    if not any(part["documents"] for parts in splits.values() for part in parts):
        which, files_read = "files", source.train.files
        if not files_read and source.validation:
            which, files_read = "validation", source.validation.files
        field, value = f"{key_of(recipe.name, source)}.{which}", f"{len(files_read):,} files"
        raise InputError(field, value, "hold no documents", "give files with some text in them")
    used = [(unit, tokens) for unit, tokens in zip(units, taken, strict=True) if tokens]
    content = [
        (unit["key"], unit["files"][f"{name}.bin"], many) for unit, tokens in used for name, many in tokens.items()
    ]
    return {
        "format": UNITS_FORMAT,
        "name": recipe.name,
        "key": recipe.key,
        "recipe": canonical(recipe),
        "vocab_size": recipe.vocab_size,
        "end_of_document": end,
        "dtype": token_dtype(recipe.vocab_size),
        "content": digest("units", content),
        "parts": names,
        **({"numbers": list(source.numbers)} if source.cut_for else {}),
        "weights": weights_of(source),
        "splits": {split: {**_sum(parts), "parts": parts} for split, parts in splits.items()},
        "units": [{"key": unit["key"], "tokens": tokens} for unit, tokens in used],
        "documents": sum(part["documents"] for parts in splits.values() for part in parts),
        **{name: sum(unit[name] for unit, _ in used) for name in ("duplicates", "empty", "in_no_part")},
        "pieces": 0,
        "files": {file.name: files.sha256(file) for file in sorted(folder.iterdir())},
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "packages": [],
        },
    }


def _require_parts(recipe: Recipe, source: FilesSource, units: Sequence[Unit]) -> None:
    """InputError for a part that has none of the records; where there are no texts at all, that is another fault."""
    if any(unit["shards"] or unit["in_no_part"] for unit in units):
        for part in source.parts:
            _require_part(recipe, source, units, part, ("train", "validation"))


def _require_part(
    recipe: Recipe, source: FilesSource, units: Sequence[Unit], part: Part, splits: tuple[str, ...]
) -> None:
    number = source.numbers[source.parts.index(part)]
    if any(f"{number}-{split}" in unit["shards"] for unit in units for split in splits):
        return
    read, of = sum(unit["records"] for unit in units), "" if len(splits) > 1 else f" to {splits[0]} on"
    where = ", ".join(f"{field}: [{', '.join(values)}]" for field, values in part.where)
    why = f"none of the {read:,} records that were read gives {part.name} a text{of}"
    remedy = "compare it with the records: values are the same to the letter, and the first part that picks one has it"
    raise InputError(part_key(recipe.name, source, part.name), f"{{{where}}}", why, remedy)


def _cut(recipe: Recipe, source: FilesSource, units: Sequence[Unit]) -> list[dict[str, int]]:
    """Tokens of each shard of each unit that belong to the corpus; none of a unit behind the end of the budget."""
    needed = needed_tokens(source)
    own = {f"{number}-{split}" for number in source.numbers for split in ("train", "validation")}
    tokens = [{name: many for name, many in unit["tokens"].items() if name in own} for unit in units]
    if needed is None:
        return tokens
    left = list(needed)
    taken: list[dict[str, int]] = []
    for of_unit in tokens:
        train = {name: many for name, many in of_unit.items() if name.endswith("-train")}
        rest = {name: many for name, many in of_unit.items() if name not in train}
        if not any(left) and (train or source.validation is None):
            taken.append({})
            continue
        if len(left) == 1:
            cut = _in_proportion(train, left[0])
            left[0] -= sum(cut.values())
        else:
            cut = {name: min(many, left[int(name.split("-")[0])]) for name, many in train.items()}
            for name, many in cut.items():
                left[int(name.split("-")[0])] -= many
        taken.append({name: many for name, many in {**cut, **rest}.items() if many})
    if any(left):
        for part, more in zip(source.parts, left, strict=False):
            if more and len(left) > 1:
                _require_part(recipe, source, units, part, ("train",))
        missing = ", ".join(part.name for part, more in zip(source.parts, left, strict=False) if more)
        have = sum(needed) - sum(left)
        why = f"the files hold {have:,} of these training tokens" + (
            f" (too few of {missing})" if len(left) > 1 else ""
        )
        raise InputError(
            f"{key_of(recipe.name, source)}.tokens", source.tokens, why, "give a smaller budget, or more files"
        )
    return taken


def _in_proportion(tokens: dict[str, int], most: int) -> dict[str, int]:
    """At most so many tokens in all, of each shard by its size."""
    total = sum(tokens.values())
    if total <= most:
        return dict(tokens)
    ends = [0]
    for many in tokens.values():
        ends.append(ends[-1] + many)
    return {name: most * b // total - most * a // total for name, a, b in zip(tokens, ends, ends[1:], strict=False)}


def _counted(shards: Path, units: Sequence[Unit], taken: Sequence[dict[str, int]], name: str) -> dict[str, int]:
    """Documents, tokens and bytes of a shard over all units; of a cut one, its whole documents and the one cut."""
    total: Counter[str] = Counter(documents=0, tokens=0, bytes=0)
    for unit, tokens in zip(units, taken, strict=True):
        many = tokens.get(name, 0)
        if not many:
            continue
        described = unit["shards"][name]
        documents, size = described["documents"], described["bytes"]
        if many < described["tokens"]:
            index = np.fromfile(shards / unit["key"] / f"{name}.documents", DOCUMENT)
            documents = int(np.searchsorted(index["end"], many, side="left")) + 1
            size = int(index["size"][:documents].sum())
        total.update(documents=documents, tokens=many, bytes=size)
    return dict(total)


def _sum(parts: Sequence[dict[str, int]]) -> dict[str, int]:
    return {name: sum(part[name] for part in parts) for name in ("documents", "tokens", "bytes")}
