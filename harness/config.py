"""One composed config, checked: a plain dict in, a `Run` in steps out.

Level 1: no files but the user's checkpoint and texts (for their content hashes), no torch. Hydra composes (`__main__`),
`expand` enumerates the points of a sweep, `read` checks one point, `program.compile_run` turns it into a Program.
Tokens in configs, steps from here on. Every refusal is an `InputError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from harness import hub, recipe
from harness.errors import InputError
from harness.fields import Config, choice, number, whole
from harness.identity import rounded
from harness.recipe import Recipe
from harness.shape import ModelShape, non_embedding, parameters
from harness.stages import Stage, Tokens, base_stage, cpt_stages, seed_of


@dataclass(frozen=True)
class Measurements:
    """Where losses are measured: offsets in steps from the start of each stage."""

    windows: int
    early: tuple[int, ...]
    every: float  # steps; offsets are its multiples, rounded, so that they fall on the ends of runs
    base_every: float
    sets: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One checked point: everything that shapes its training and what is measured, in steps."""

    name: str
    config: Config
    shape: ModelShape | None  # None: a checkpoint
    init: int
    checkpoint: str | None  # content hash
    path: str | None
    parameters: int
    non_embedding: int
    stages: tuple[Stage, ...]
    base_stages: int  # how many of them make the base: 0 or 1
    recipes: Mapping[str, Recipe]  # by corpus name
    upstream: str
    downstream: str
    batch: int  # sequences per optimizer step
    seq_len: int
    optimizer: tuple[float, float, float, float, float]  # beta1, beta2, eps, weight decay, clip
    precision: str
    measurements: Measurements

    @property
    def tokens_per_step(self) -> int:
        return self.batch * self.seq_len


def read(config: Config) -> Run:
    """Check a composed config. Raises InputError naming field, value, why and remedy."""
    batch, seq_len = whole(config, "batch.sequences", 1), whole(config, "batch.seq_len", 1)
    recipes, upstream, downstream = _corpora(config)
    seed = whole(config, "seed", 0)
    start = config["start"]["kind"]
    base_seed = seed if config["base"]["seed"] is None else whole(config, "base.seed", 0)
    init = base_seed if start == "pretrain" else seed
    shape, content, path = None, None, None
    if start == "hf":
        path = _path(config)
        content, facts = hub.checkpoint_content(path), hub.checkpoint_shape_facts(path)
        total, inner, vocab_size, positions = facts.parameters, facts.non_embedding, facts.vocab_size, facts.seq_len
    else:
        shape = _shape(config)
        total, inner, vocab_size, positions = parameters(shape), non_embedding(shape), shape.vocab_size, shape.seq_len
    _check_fit(config, recipes, vocab_size, positions)
    tokens = Tokens(config, batch * seq_len)
    base = [base_stage(config, tokens, upstream, base_seed)] if start == "pretrain" else []
    base_order = base_seed if base else None
    stages = cpt_stages(config, tokens, upstream, downstream, recipes, base_order, seed)
    precision = choice(config, "precision", ("fp32", "bf16"), "pure fp16 has no fp32 masters and is refused")
    optimizer = config["optimizer"]
    beta1, beta2 = optimizer["betas"]
    return Run(
        name=config["name"] or _name(config),
        config={key: value for key, value in config.items() if key not in NOT_OF_A_RUN},
        shape=shape,
        init=seed_of(config, "init", init),
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
        optimizer=(
            rounded(beta1),
            rounded(beta2),
            rounded(number(config, "optimizer.eps", above=0)),
            rounded(number(config, "optimizer.weight_decay", at_least=0)),
            rounded(number(config, "optimizer.clip", above=0)),
        ),
        precision=precision,
        measurements=_measurements(config, tokens, recipes),
    )


NOT_OF_A_RUN = ("grids", "launch", "tracker", "root", "parent_stores", "do", "json", "hydra", "name")


# --- the parts of a run ----------------------------------------------------------------------------------------------


def _corpora(config: Config) -> tuple[dict[str, Recipe], str, str]:
    shift, sample = config["shift"], config["corpus"]["sample"]
    if sample is not None:
        sample = number(config, "corpus.sample", above=0, at_most=1)
    given = config["corpus"]["vocab_size"]
    vocab_size = whole(config, "corpus.vocab_size", 257) if given is not None else int(config["model"]["vocab_size"])
    upstream, downstream = str(shift["upstream"]), str(shift["downstream"])
    tokenizer = config["tokenizer"]
    if tokenizer is None and config["start"]["kind"] == "hf":
        tokenizer = str(hub.tokenizer_file(_path(config)))
    if shift["kind"] == "embedded":
        names = [upstream, downstream, *config["evaluate"]["sets"]]
        for stage in config["stages"] if isinstance(config["stages"], list) else []:
            mixture = stage.get("mixture") if isinstance(stage, dict) else None
            names += [n for n in mixture or {} if n not in ("upstream", "downstream")]
        unique = tuple(dict.fromkeys(names))
        return _embedded(unique, sample, vocab_size, tokenizer), upstream, downstream
    paths = {}
    for name, path in {"upstream": config["upstream"], "downstream": config["downstream"], **shift["further"]}.items():
        if path is None:
            raise InputError(name, "null", "shift=local needs a folder or file of texts", f"give {name}=PATH")
        paths[name] = str(path)
    return _local(tuple(paths.items()), str(config["text"]), vocab_size, tokenizer), upstream, downstream


@lru_cache(maxsize=4096)  # the points of a grid share their corpora
def _embedded(
    names: tuple[str, ...], sample: float | None, vocab_size: int, tokenizer: str | None
) -> dict[str, Recipe]:
    return {n: recipe.embedded(n, sample=sample, vocab_size=vocab_size, tokenizer=tokenizer) for n in names}


@lru_cache(maxsize=64)
def _local(paths: tuple[tuple[str, str], ...], text: str, vocab_size: int, tokenizer: str | None) -> dict[str, Recipe]:
    companions = dict(paths)  # the tokenizer is trained on all of them
    return {
        name: recipe.local(name, path, text=text, vocab_size=vocab_size, companions=companions, tokenizer=tokenizer)
        for name, path in paths
    }


def _path(config: Config) -> str:
    if config["path"] is None:
        raise InputError("path", "null", "start=hf needs a checkpoint", "give path=FOLDER")
    return str(config["path"])


def _shape(config: Config) -> ModelShape:
    model = config["model"]
    if model["hidden"] % model["heads"]:
        raise InputError("model.heads", model["heads"], f"does not divide hidden={model['hidden']}", "choose a divisor")
    return ModelShape(**{key: model[key] for key in ("layers", "hidden", "heads", "vocab_size", "seq_len")})


def _check_fit(config: Config, recipes: Mapping[str, Recipe], vocab_size: int, positions: int | None) -> None:
    """The batches must fit the model: its positions and its vocabulary."""
    seq_len = config["batch"]["seq_len"]
    if positions is not None and seq_len > positions:
        raise InputError("batch.seq_len", seq_len, f"the model has {positions} positions", f"give at most {positions}")
    for corpus in recipes.values():
        if corpus.vocab_size > vocab_size:
            why = f"the corpora's tokenizer has {corpus.vocab_size} tokens, the model embeds {vocab_size}"
            field = "corpus.vocab_size" if config["tokenizer"] is None else "tokenizer"
            raise InputError(field, config["tokenizer"] or corpus.vocab_size, why, "give a smaller tokenizer")


def _measurements(config: Config, tokens: Tokens, recipes: Mapping[str, Recipe]) -> Measurements:
    evaluate = config["evaluate"]
    for name in evaluate["sets"]:
        if name not in recipes:
            raise InputError("evaluate.sets", name, "no such corpus", f"known: {', '.join(recipes)}")
    for field in ("evaluate.every", "evaluate.base_every"):
        tokens.steps(field)  # at least one
    early = tuple(sorted({tokens.steps("evaluate.early", value) for value in evaluate["early"]}))
    return Measurements(
        windows=whole(config, "evaluate.windows", 1),
        early=early,
        every=tokens.of("evaluate.every") / tokens.per_step,
        base_every=tokens.of("evaluate.base_every") / tokens.per_step,
        sets=tuple(evaluate["sets"]),
    )


def _name(config: Config) -> str:
    """A readable name for folders and tables; the key behind it tells runs apart, not the name."""
    start, schedule = config["start"], config["schedule"]["name"]
    parts = [config["shift"]["name"], schedule]
    if start["kind"] == "pretrain":
        parts += [f"at{start['at']:g}"] if start["at"] != 1 else []
    else:
        parts.append(start["kind"])
    if config["stages"] is not None:
        parts.append(f"{len(config['stages'])}stages")
    if schedule != "constant":
        parts.append(f"lr{config['lr']:g}" if config["lr"] is not None else f"peak{config['peak'] or 1:g}x")
        warmup = config["warmup_tokens"]
        parts.append(f"warmup{config['warmup']:g}" if warmup is None else f"warmup{warmup}")
    if config["replay"]:
        parts.append(f"replay{config['replay']:g}")
    if config["optimizer_state"] != "reset":
        parts.append("keep")
    if config["tokens"] != "1x" and config["stages"] is None:
        parts.append(f"tokens{config['tokens']}")
    return "-".join([*parts, f"seed{config['seed']}"])
