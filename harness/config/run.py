"""One composed config, checked: a plain dict in, a `Run` in steps out.

No files but the user's checkpoint and texts (for their content hashes), no torch. `harness.compose`
makes the points of a sweep, `read_run` checks one of them, `harness.config.compile` turns it into a Program. Tokens in
configs, steps from here on. Every refusal is an `InputError`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.config.fields import (
    POSITIONS,
    ROLES,
    Config,
    as_number,
    choice,
    get,
    listing,
    number,
    roles,
    whole,
)
from harness.config.measuring import MeasureGrid, measurements
from harness.config.schedules import Tokens, schedules_named
from harness.config.shift import corpora
from harness.config.stages import Stage, base_stage, check_knobs, cpt_stages, seed_of
from harness.config.start import Origin, from_checkpoint, read_start, with_published_rates
from harness.core import units
from harness.core.errors import InputError
from harness.core.identity import RUN_NAME, rounded
from harness.program.program import Adam
from harness.program.shape import ModelShape, non_embedding, parameters
from harness.texts.listed import FilesSource, MegatronSource, key_of
from harness.texts.recipe import LocalSource, Recipe
from harness.texts.vocabulary import require_one_tokenizer


@dataclass(frozen=True)
class Run:
    """One checked point: everything that shapes its training and what is measured, in steps."""

    name: str
    """What it is called: the folder of its run.json begins with it. No part of what it is."""
    config: Config
    """The composed config without what only says how it is launched (`NOT_OF_A_RUN`)."""
    shape: ModelShape | None
    """Of a model from scratch; None: the root is a checkpoint."""
    init: int
    """Seed of the initial weights."""
    checkpoint: str | None
    """Hash of the root checkpoint's content; None: from scratch."""
    path: str | None
    """Where that checkpoint lies."""
    parameters: int
    """All of the model's."""
    non_embedding: int
    """Those outside the embeddings, N of the laws."""
    stages: tuple[Stage, ...]
    """What is trained, in order: the base's stage, if it makes one, comes first."""
    base_stages: int
    """How many of them make the base: 0 or 1."""
    recipes: Mapping[str, Recipe]
    """Of every corpus trained on or measured, by its name."""
    upstream: str
    """Name of the corpus whose loss is forgetting."""
    downstream: str
    """Name of the corpus whose loss is adaptation."""
    batch: int
    """Sequences per optimizer step."""
    seq_len: int
    """Tokens per sequence."""
    optimizer: Adam
    """AdamW's settings, the same in all stages."""
    precision: str
    """fp32, or bf16 (autocast over fp32 masters)."""
    measurements: MeasureGrid
    """Where and on how much losses are measured."""
    origin: Origin | None = None
    """Of a root checkpoint from a hub: its repository and commit, beside what it holds."""

    @property
    def tokens_per_step(self) -> int:
        return self.batch * self.seq_len

    @property
    def positions(self) -> int:
        """At how many positions it is measured, counted without making them; some are counted twice."""
        return sum(self._positions(i) for i in range(len(self.stages)))

    def _positions(self, i: int) -> int:
        base, steps = i < self.base_stages, self.stages[i].cut or self.stages[i].steps
        every = self.measurements.base_every if base else self.measurements.every
        return math.ceil(steps / every) + len(self.measurements.early)

    def check_positions(self) -> None:
        """InputError if there are more positions than a plan can hold."""
        if self.positions > POSITIONS:
            most = max(range(len(self.stages)), key=self._positions)
            field = "evaluate.base_every" if most < self.base_stages else "evaluate.every"
            why = f"losses would be measured at {self.positions:,} positions, above {POSITIONS:,}"
            hundredth = units.count(self.stages[most].steps * self.tokens_per_step / 100)
            raise InputError(field, get(self.config, field), why, f"give a larger one, such as {field}={hundredth}")


def read_run(config: Config) -> Run:
    """Check a composed config. Raises InputError naming field, value, why and remedy."""
    _check_kinds(config)
    config = with_published_rates({**config, "shift": _named_shift(config)})
    batch, seq_len = whole(config, "batch.sequences", 1), whole(config, "batch.seq_len", 1)
    recipes, upstream, downstream = corpora(config)
    _check_text(config, recipes)
    seed = whole(config, "seed", 0)
    start = config["start"]["kind"]
    base_seed = seed if config["base"]["seed"] is None else whole(config, "base.seed", 0)
    shape, content, path, origin = None, None, None, None
    vocab_size: int | None
    if from_checkpoint(config):
        root = read_start(config)
        content, path, origin = root.content, root.path, root.origin
        total, inner, vocab_size, positions = root.parameters, root.non_embedding, root.vocab_size, root.positions
    else:
        shape = _shape(config)
        total, inner, vocab_size, positions = parameters(shape), non_embedding(shape), shape.vocab_size, shape.seq_len
    _check_fit(config, seq_len, recipes, vocab_size, positions)
    own = Path(path or "") / "tokenizer.json"
    require_one_tokenizer(recipes, own if path is not None and own.is_file() else None)
    tokens = Tokens(config, batch * seq_len)
    check_knobs(config, tokens)
    base = [base_stage(config, tokens, upstream, base_seed)] if start == "pretrain" else []
    stages = cpt_stages(config, tokens, upstream, downstream, recipes, base[0] if base else None, seed)
    precision = choice(config, "precision", ("fp32", "bf16"), "pure fp16 has no fp32 masters and is refused")
    betas = listing(config, "optimizer.betas")
    if len(betas) != 2:
        raise InputError("optimizer.betas", betas, "not two numbers", "give optimizer.betas=[0.9,0.95]")
    beta1, beta2 = (as_number("optimizer.betas", beta, at_least=0, at_most=1 - 1e-9) for beta in betas)
    run = Run(
        name=config["name"] or _name(config, origin),
        config={key: value for key, value in config.items() if key not in NOT_OF_A_RUN},
        shape=shape,
        init=seed_of(config, "init", base_seed if start == "pretrain" else seed),
        checkpoint=content,
        path=path,
        parameters=total,
        non_embedding=inner,
        stages=tuple(base) + stages,
        base_stages=len(base),
        recipes=recipes,
        upstream=upstream,
        downstream=downstream,
        batch=batch,
        seq_len=seq_len,
        optimizer=Adam(
            rounded(beta1),
            rounded(beta2),
            rounded(number(config, "optimizer.eps", above=0)),
            rounded(number(config, "optimizer.weight_decay", at_least=0)),
            rounded(number(config, "optimizer.clip", above=0)),
        ),
        precision=precision,
        measurements=measurements(config, tokens, recipes),
        origin=origin,
    )
    run.check_positions()
    return run


NOT_OF_A_RUN = (
    "grids",
    "grids_at",
    "launch",
    "tracker",
    "root",
    "parent_stores",
    "do",
    "json",
    "max_points",
    "hydra",
    "name",
)


# --- the parts of a run ----------------------------------------------------------------------------------------------


def _check_kinds(config: Config) -> None:
    """Choices that exist, a usable name, and no knob that would play no part."""
    start = choice(config, "start.kind", ("pretrain", "hf", "pythia", "scratch"))
    choice(config, "shift.kind", ("corpora", "embedded", "local"))  # embedded: of a record of before
    number(config, "scale.flop_rate", above=0)
    if start != "hf":
        why = "only start=hf reads a checkpoint" if start != "pythia" else "start=pythia names its own"
        _unused(config, ("path", "revision"), why, "add start=hf")
    name = config["name"]
    if name is not None and not (isinstance(name, str) and RUN_NAME.fullmatch(name)):
        raise InputError("name", name, "it becomes the name of a folder", "use letters, digits and . = + , - _")


def _check_text(config: Config, recipes: Mapping[str, Recipe]) -> None:
    """`text` is of texts given by their path; a corpus of conf/ and a URL have a key of their own for it."""
    paths = [name for name, recipe in recipes.items() if isinstance(recipe.source, LocalSource)]
    if isinstance(config["text"], dict):
        local = config["shift"]["kind"] == "local"
        names = {role: role if local else one.name for role, one in zip(ROLES, roles(config), strict=True)}
        for key, value in config["text"].items():
            if names.get(key, key) not in paths:
                why = "no texts that are given by a path are called so"
                known = ", ".join(f"text.{name}" for name in paths) or "none"
                raise InputError(f"text.{key}", value, why, f"known: {known}; others have corpus.NAME.text")
        return
    if config["text"] == "text" or paths:
        return
    own = [key_of(n, r.source) for n, r in recipes.items() if isinstance(r.source, FilesSource | MegatronSource)]
    remedy = f"say {own[0]}.text={config['text']}" if own else "leave it out"
    raise InputError("text", config["text"], "no corpus of this run is read by it", remedy)


def _named_shift(config: Config) -> Config:
    """The shift with the names of what is trained, whatever it was derived from."""
    shift = config["shift"]
    if shift["kind"] == "local":
        return dict(shift)
    up, down = (one.name for one in roles(config))
    return {**shift, "name": shift["name"] or f"{up}_to_{down}", "upstream": up, "downstream": down}


def _unused(config: Config, knobs: tuple[str, ...], why: str, remedy: str) -> None:
    if (knob := next((knob for knob in knobs if config[knob] is not None), None)) is not None:
        raise InputError(knob, config[knob], why, remedy)


def _shape(config: Config) -> ModelShape:
    keys = ("layers", "hidden", "heads", "vocab_size", "seq_len")
    return ModelShape(**{key: whole(config, f"model.{key}", 1) for key in keys})


def _check_fit(
    config: Config, seq_len: int, recipes: Mapping[str, Recipe], vocab_size: int | None, positions: int | None
) -> None:
    """The batches must fit the model: its positions and its vocabulary."""
    if positions is not None and seq_len > positions:
        raise InputError("batch.seq_len", seq_len, f"the model has {positions} positions", f"give at most {positions}")
    for name, corpus in recipes.items():
        own = corpus.source.sequence if isinstance(corpus.source, MegatronSource) else seq_len + 1
        if seq_len != own - 1:
            why = f"{name} holds sequences of {own:,} tokens, inputs and targets of {own - 1:,}"
            raise InputError("batch.seq_len", seq_len, why, f"give batch.seq_len={own - 1}")
        if vocab_size is not None and corpus.vocab_size > vocab_size:
            why = f"the corpora's tokenizer has {corpus.vocab_size} tokens, the model embeds {vocab_size}"
            field = "corpus.vocab_size" if config["tokenizer"] is None else "tokenizer"
            raise InputError(field, config["tokenizer"] or corpus.vocab_size, why, "give a smaller tokenizer")


def _name(config: Config, origin: Origin | None) -> str:
    """A readable name for folders and tables; the key behind it tells runs apart, not the name."""
    start, schedule = config["start"], schedules_named(config)
    parts = [str(config["shift"]["name"]), schedule]
    if start["kind"] == "pretrain":
        parts += [f"at{_short(start['at'])}"] if float(start["at"]) != 1 else []
    elif start["kind"] in ("hf", "pythia"):
        model = Path(str(config["path"])).name if origin is None else origin.model
        parts.append(re.sub(r"[^\w.+=-]", "-", model) or start["kind"])
    else:
        parts.append(start["kind"])
    if config["stages"] is not None:
        parts.append(f"{len(config['stages'])}stages")
    if schedule != "constant":
        lr = config["lr"]
        parts.append(f"peak{_short(config['peak'] or 1)}x" if lr is None else f"lr{_short(lr)}")
        tokens = config["warmup_tokens"]
        parts.append(f"warmup{_short(config['warmup'])}" if tokens is None else f"warmup{_short(tokens)}")
    if float(config["replay"]):
        parts.append(f"replay{_short(config['replay'])}")
    if config["optimizer_state"] != "reset":
        parts.append("keep")
    if config["tokens"] != "1x" and config["stages"] is None:
        parts.append(f"tokens{_short(config['tokens'])}")
    return "-".join([*parts, f"seed{config['seed']}"])


def _short(value: object) -> str:
    """A checked number, or a multiple like 0.5x, as it stands in a name."""
    text = str(value)
    return text if text.endswith("x") else f"{units.parse(text):g}"
