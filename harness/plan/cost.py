"""What a plan costs: tokens, FLOPs, hours, disk, and what sharing saves.

totals(plan)["flops"], totals(plan)["disk_bytes"]       # printed by harness.report, checked before a launch
corpora_to_make(plan, root)["corpora_bytes"]            # of tokens that the store does not hold yet
flops_of(point, tokens, rows, measures)                 # of a part of a run
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from harness.config.corpora import NOT_LISTED
from harness.config.start import NOT_RESOLVED
from harness.core.units import count, size
from harness.corpora.corpus import splits_made
from harness.corpora.held_out import read_of
from harness.measure.request import RowKey
from harness.plan.plan import Plan, PlannedRun
from harness.program.shape import flops_per_token
from harness.store.history import Measure
from harness.texts.listed import FilesSource, MegatronSource, Part, key_of
from harness.texts.recipe import Recipe, TokenizerRecipe

BYTES_PER_PARAMETER = 12  # fp32 weights and Adam's two moments
MEASURED = 1 / 3  # a measured token costs a forward pass, of a trained one's three
GPUS = {"A100": 312e12, "H100": 989e12}  # dense bf16 FLOP/s of the SXM cards, by NVIDIA's data sheets
MFU = 0.4  # the share of them that a plan supposes: assumed, like `scale.flop_rate`, and not measured
BYTES_OF_TEXT = {".zst": 3.5, ".gz": 3.5, ".parquet": 2.0}  # a byte of such a file holds; of others one
BYTES_PER_TOKEN = 4.0  # of text, by a vocabulary of some 50,000
LARGE = 1e9  # bytes to make or to fetch of which a plan says that nothing will train on them


def totals(plan: Plan) -> dict[str, Any]:
    """What the plan shares, what is done, and what the rest costs. FLOPs are those of training and measuring."""
    flops = sum(flops_of(plan.points[s.runs[0]], s.tokens, s.rows, s.measures) for s in plan.to_train)
    rate = min((float(point.run.config["scale"]["flop_rate"]) for point in plan.points), default=1.0)
    stored = sum(BYTES_PER_PARAMETER * plan.points[segment.runs[0]].run.parameters for segment in plan.to_train)
    return {
        "runs": len(plan.points),
        "runs_without_size": sum(not point.run.parameters for point in plan.points),
        "segments": len(plan.segments),
        "segments_to_train": len(plan.to_train),
        "evaluations": len(plan.evaluations),
        "tokens_if_separate": plan.tokens_if_separate,
        "tokens_planned": plan.tokens_planned,
        "tokens_done": plan.tokens_done,
        "flops": flops,
        "hours": flops / rate / 3600,
        "mfu": MFU,
        "gpu_hours": {name: flops / (MFU * peak) / 3600 for name, peak in GPUS.items()},
        "disk_bytes": stored,
    }


def flops_of(point: PlannedRun, tokens: float, rows: Iterable[RowKey], measures: Mapping[str, Measure]) -> float:
    """FLOPs of a stretch of a run that trains `tokens` and measures `rows`; `measures` = their windows, by hash."""
    measured = sum(measures[name].windows * measures[name].seq_len for _, name in rows)
    return (tokens + measured * MEASURED) * _flops(point)


def corpora_to_make(plan: Plan, root: Path) -> dict[str, Any]:
    """`corpora_bytes` of tokens that a store at `root` will hold beside what it holds, and `fetch_bytes` to bring for
    them from elsewhere; of listed files, about. Texts of one's own and of packages are not counted.

    Of the corpora in `corpora_not_listed` nothing is to fetch by this count, and no tokens of those in
    `corpora_without_size`, which have no budget either: it is at least so much then.
    """
    same: dict[str, dict[str, Recipe]] = {}
    for recipe in _recipes(plan).values():
        reading = read_of(recipe, whole=recipe.key in plan.trained_on)
        if ("train" if reading is recipe else "validation") not in splits_made(root, recipe):
            same.setdefault(_texts(recipe), {})[recipe.key] = reading
    wanted: list[Recipe] = []
    for readings in same.values():
        # A tokenizer that nobody has looked at yet is most likely that of another checkpoint of the plan.
        known = [reading for reading in readings.values() if tokenizer_known(reading)]
        wanted += known or [max(readings.values(), key=_size)]
    sizes: dict[str, tuple[float, float]] = {}
    for reading in wanted:  # what is made of the same units counts once: parts of a corpus, and all of it
        units = _units(reading)
        sizes[units] = max(_size(reading), sizes.get(units, (0.0, 0.0)))
    return {
        "corpora_bytes": sum(own for own, _ in sizes.values()),
        "fetch_bytes": sum(fetched for _, fetched in sizes.values()),
        "corpora_not_listed": _named(reading for reading in wanted if not _is_listed(reading)),
        "corpora_without_size": _named(reading for reading in wanted if _has_no_size(reading)),
    }


def only_measured(plan: Plan, root: Path) -> list[str]:
    """A line for each large corpus that is to be made whole though no run of the plan trains on it, since what is
    validated on is cut out of its texts."""
    lines: dict[str, None] = {}
    for recipe in _recipes(plan).values():
        source = recipe.source
        if recipe.key in plan.trained_on or not isinstance(source, FilesSource | MegatronSource):
            continue
        made, fetched = _size(recipe)
        if source.validation is not None or (max(made, fetched) < LARGE and not _has_no_size(recipe)):
            continue
        if splits_made(root, recipe):
            continue
        tokens = f"{count(made / (2 if recipe.vocab_size < 65_536 else 4))} tokens"
        cost = f"{size(made)}, {size(fetched)} to fetch" if fetched else size(made)
        whole = "whole, however large (it is not listed yet)" if _has_no_size(recipe) else f"with {tokens} ({cost})"
        key = key_of(recipe.name, source)
        fewer = f"; {key}.tokens=1M makes fewer, as another corpus" if isinstance(source, FilesSource) else ""
        remedy = f"with files of its own to validate on ({key}.validation=) those alone are read{fewer}"
        lines[f"{recipe.name} is only measured, on a share of its texts, and so made {whole}: {remedy}"] = None
    return list(lines)


def _recipes(plan: Plan) -> dict[str, Recipe]:
    """By key, of all that is left to do."""
    return {recipe.key: recipe for point in plan.left for recipe in point.run.recipes.values()}


def _named(recipes: Iterable[Recipe]) -> list[str]:
    """The corpora of a config that these are, or are parts of."""
    found = ((one.name, one.source) for one in recipes)
    keys = {key_of(name, source) for name, source in found if isinstance(source, FilesSource | MegatronSource)}
    return sorted(key.removeprefix("corpus.") for key in keys)


def _is_listed(recipe: Recipe) -> bool:
    """False as long as a server was not asked for its files."""
    source = recipe.source
    listings = (source.train, source.validation) if isinstance(source, FilesSource | MegatronSource) else ()
    return not any(listed and listed.digest.startswith(NOT_LISTED) for listed in listings)


def _has_no_size(recipe: Recipe) -> bool:
    return not _is_listed(recipe) and getattr(recipe.source, "tokens", None) is None


def tokenizer_known(recipe: Recipe) -> bool:
    """False as long as its file stands for one on a hub that was not asked: such a name tells no two corpora apart."""
    return not recipe.tokenizer.file.startswith((NOT_LISTED, NOT_RESOLVED))


def corpus_id(recipe: Recipe) -> str:
    """What a corpus is counted by: its key, but one for all tokenizers that are not known yet."""
    return recipe.key if tokenizer_known(recipe) else _texts(recipe)


def _texts(recipe: Recipe) -> str:
    """The key of a corpus, whatever its tokenizer."""
    return replace(recipe, tokenizer=TokenizerRecipe(0)).key


def _units(recipe: Recipe) -> str:
    """What its units are, however many of them it takes."""
    source = recipe.source
    if not isinstance(source, FilesSource):
        return recipe.key
    parts = tuple(Part("", None, part.where) for part in source.parts_of_units)
    return replace(recipe, source=replace(source, parts=parts, cut_for=(), tokens=None)).key


def _size(recipe: Recipe) -> tuple[float, float]:
    """Bytes of (its tokens in the store, files to fetch)."""
    source = recipe.source
    if not isinstance(source, FilesSource | MegatronSource):
        return 0.0, 0.0
    listed = [*source.train.files, *(source.validation.files if source.validation else ())]
    remote = float(sum(file.size for file in listed if "://" in file.url))
    if isinstance(source, MegatronSource):  # read where they lie, or kept as they come
        return remote, remote
    text = sum(file.size * BYTES_OF_TEXT.get(PurePosixPath(file.name).suffix, 1.0) for file in listed)
    tokens = text / BYTES_PER_TOKEN or source.tokens_read or 0.0  # not listed yet: its budget is known
    share = 1.0 if source.tokens_read is None or not tokens else min(1.0, source.tokens_read / tokens)
    return tokens * share * (2 if recipe.vocab_size < 65_536 else 4), remote * share


def _flops(point: PlannedRun) -> float:
    shape = point.run.shape
    if shape is None:  # a checkpoint: the usual estimate from its parameters
        return 6.0 * point.run.parameters
    return float(flops_per_token(shape, point.run.seq_len))
