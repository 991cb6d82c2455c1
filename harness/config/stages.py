"""The stages of a run: what is trained, on which mixture, for how many steps, under which learning-rate schedule.

Beneath `harness.config.run`: shares and tokens become steps here. One CPT stage comes from the flat knobs; a `stages:`
list replaces it, and a stage without a schedule continues the running one.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.fields import MOST, Config, as_number, choice, get, listing, number, whole
from harness.config.schedules import Tokens, final_lr, schedule_of
from harness.config.start import from_checkpoint
from harness.core.errors import InputError
from harness.program.mixture import counts, integer_weights
from harness.program.schedule import Schedule
from harness.texts.listed import MegatronSource
from harness.texts.recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """A stretch of training on one mixture. `schedule=None` continues the running one; `cut` ends the stage early."""

    mixture: tuple[tuple[str, int], ...]  # (corpus, integer weight)
    steps: int
    schedule: Schedule | None
    order: int  # seed of the data order
    optimizer_state: str = "keep"
    restart: tuple[str, ...] = ()  # corpora read again from their first window
    reshuffle: tuple[str, ...] = ()  # corpora read in another permutation than before
    cut: int | None = None


def check_knobs(config: Config, tokens: Tokens) -> None:
    """The flat knobs are numbers within their limits, also those that play no part in this run. Raises InputError."""
    for field in ("tokens", "horizon", "warmup_tokens", "anneal_tokens", "base.tokens", "scale.horizon"):
        if get(config, field) is not None:
            tokens.of(field)
    for field in ("warmup", "min_ratio", "base.warmup", "base.min_ratio"):
        number(config, field, at_least=0, at_most=1)
    own = ["scale.peak"] if config["scale"].get("peak") is not None else []  # runs of before have none
    for field in ("lr", "peak", "base.peak", *own):
        if get(config, field) is not None:
            number(config, field, above=0)


def base_stage(config: Config, tokens: Tokens, upstream: str, seed: int) -> Stage:
    base = config["base"]
    steps = tokens.steps("base.tokens")
    peak = number(config, "base.peak", above=0)
    knobs = {"warmup": base["warmup"], "min_ratio": base["min_ratio"], "horizon": base["tokens"], "anneal_tokens": None}
    schedule = schedule_of("base.schedule", base["schedule"], peak, steps, steps, knobs, tokens, peak, prefix="base.")
    at = number(config, "start.at", above=0, at_most=1)
    cut = None if at == 1 else round(at * steps)
    if cut == 0:
        raise InputError("start.at", at, f"no step of the base's {steps}", "ask for a later point of the base")
    return Stage(((upstream, 1),), steps, schedule, seed, cut=cut)


def cpt_stages(
    config: Config,
    tokens: Tokens,
    upstream: str,
    downstream: str,
    corpora: Mapping[str, Recipe],
    base: Stage | None,
    seed: int,
) -> tuple[Stage, ...]:
    """Continual pre-training: one stage from the flat knobs, or the `stages` list."""
    order = seed_of(config, "order", seed)
    state = choice(config, "optimizer_state", ("keep", "reset"))
    replay = number(config, "replay", at_least=0, at_most=1)
    original = choice(config, "replay_order", ("original", "reshuffle")) == "original"
    entries = config["stages"]
    if entries is not None and replay:
        raise InputError("replay", replay, "stages state their own mixtures", "put the share into each stage's mixture")
    for knob, default in (("tokens", "1x"), ("warmup_tokens", None)):
        if entries is not None and config[knob] != default:
            raise InputError(knob, config[knob], "stages state their own", "leave it out")
    if replay and upstream == downstream:
        raise InputError("replay", replay, f"upstream and downstream are both {upstream}", "leave replay at 0")
    if entries is None:
        shares = {downstream: 1.0 - replay, upstream: replay} if replay else {downstream: 1.0}
        entries = [{"mixture": shares, "tokens": config["tokens"], "schedule": config["schedule"]}]
    elif not isinstance(entries, list) or not entries:
        raise InputError("stages", entries, "not a list of stages", "give [{mixture: {...}, tokens: 1x}, ...]")
    entries = [
        _stage_entry(f"stages[{i}]", e, config if i == 0 else None, corpora, upstream, downstream)
        for i, e in enumerate(entries)
    ]
    lengths = [tokens.steps(f"{e['field']}.tokens" if config["stages"] else "tokens", e["tokens"]) for e in entries]
    # A checkpoint has read all of an upstream that has an order of its own, which is its training's.
    seen = from_checkpoint(config) and isinstance(corpora[upstream].source, MegatronSource)
    stages = []
    for i, entry in enumerate(entries):
        schedule = None
        if entry["schedule"] is not None:
            until = next((j for j in range(i + 1, len(entries)) if entries[j]["schedule"] is not None), len(entries))
            schedule = _cpt_schedule(config, entry, sum(lengths[i:until]), tokens, base)
        first = i == 0
        weights = _weights(
            entry, lengths[i] * whole(config, "batch.sequences", 1), "" if config["stages"] else "replay"
        )
        replays = first and base is not None and upstream in weights and (len(weights) > 1 or bool(replay))
        replayed = (upstream,) if replays else ()  # replay reads upstream again, from the base's first window
        again = seen and upstream in weights
        reshuffle = (upstream,) if again and (len(weights) == 1 or not original) else () if original else replayed
        seen = seen and not again
        goes_on = first and base is not None and upstream in weights and not replays
        if goes_on and base is not None and config["order"] is not None and order != base.order:
            why = f"{upstream} goes on in the base's order {base.order}"
            raise InputError("order", order, why, "leave order out, or change the corpus")
        stages.append(
            Stage(
                mixture=tuple(weights.items()),
                steps=lengths[i],
                schedule=schedule,
                order=order,
                optimizer_state=state if first and config["start"]["kind"] != "scratch" else "keep",
                restart=tuple(entry.get("restart", replayed)),
                reshuffle=reshuffle,
            )
        )
    return tuple(stages)


def _weights(entry: Config, sequences: int, flat: str) -> dict[str, int]:
    """The mixture of a stage as integers. InputError unless it can be drawn exactly, and each corpus is.

    `flat`: the knob that gave it, if it is not a stage of a list.
    """
    try:
        weights = integer_weights(entry["mixture"])
        drawn = counts(tuple(weights.values()), sequences)
    except InputError as error:
        raise InputError(flat or f"{entry['field']}.{error.field}", error.value, error.why, error.remedy) from None
    for name, count in zip(weights, drawn, strict=True):
        if not count:
            share = f"{entry['mixture'][name]:g} of {sequences:,} sequences"
            why = f"a share of {name} so small that none of it is drawn ({share})"
            raise InputError(
                flat or f"{entry['field']}.mixture", f"{entry['mixture'][name]:g}", why, "raise it, or give 0"
            )
    return weights


def _stage_entry(
    field: str, entry: Any, first: Config | None, corpora: Collection[str], upstream: str, downstream: str
) -> Config:
    allowed = {
        "mixture",
        "tokens",
        "schedule",
        "lr",
        "peak",
        "warmup",
        "min_ratio",
        "horizon",
        "anneal_tokens",
        "restart",
    }
    if not isinstance(entry, dict):
        raise InputError(field, entry, "not a mapping", "give {mixture: {corpus: share}, tokens: 1x}")
    for key in entry:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(allowed))}"
            raise InputError(f"{field}.{key}", entry[key], "unknown key", remedy)
    for key in ("mixture", "tokens"):
        if key not in entry:
            raise InputError(field, entry, f"has no {key}", f"state the stage's {key}")
    alias = {"upstream": upstream, "downstream": downstream}
    mixture: dict[str, float] = {}
    if not isinstance(entry["mixture"], dict):
        raise InputError(f"{field}.mixture", entry["mixture"], "not a mapping", "give {corpus: share, ...}")
    for given, share in entry["mixture"].items():
        name = str(given)
        corpus = alias.get(name, name)
        if corpus not in corpora:
            raise InputError(f"{field}.mixture", name, "no such corpus", f"known: {', '.join(corpora)}")
        mixture[corpus] = mixture.get(corpus, 0.0) + as_number(f"{field}.mixture.{name}", share, at_least=0, at_most=1)
    restarted = [alias.get(name, name) for name in listing(entry, "restart")] if "restart" in entry else []
    for name in restarted:
        if name not in mixture:
            raise InputError(f"{field}.restart", name, "not in the stage's mixture", f"known: {', '.join(mixture)}")
    schedule = entry.get("schedule")
    if schedule is None and first is not None:
        schedule = first["schedule"]
    if schedule is None:
        for key in ("lr", "peak", "warmup", "min_ratio", "horizon", "anneal_tokens"):
            if key in entry:
                why = "the stage continues the running schedule"
                raise InputError(f"{field}.{key}", entry[key], why, "leave it out, or give the stage a schedule")
    restart = {"restart": restarted} if "restart" in entry else {}
    return {**entry, **restart, "mixture": mixture, "schedule": schedule, "field": field}


def _cpt_schedule(config: Config, entry: Config, steps: int, tokens: Tokens, base: Stage | None) -> Schedule:
    """The schedule of a CPT stage: the stage's own knobs, else the flat ones."""
    names = ("warmup", "min_ratio", "horizon", "anneal_tokens")
    knobs = {name: entry.get(name, config[name]) for name in names}
    own = {name: entry[name] for name in ("lr", "peak") if entry.get(name) is not None}
    given = own or {name: config[name] for name in ("lr", "peak") if config[name] is not None}
    prefix = f"{entry['field']}." if config["stages"] else ""
    if len(given) > 1:
        raise InputError(f"{prefix}lr", given["lr"], f"peak={given['peak']} is given too", "give one of them")
    hf = config["start"]["kind"] == "hf"
    base_peak = None if hf and config["base"]["peak"] is None else number(config, "base.peak", above=0)
    schedule = entry["schedule"] if isinstance(entry["schedule"], dict) else {"name": entry["schedule"]}
    if schedule.get("name") == "constant":
        peak = None
    elif "lr" in given:
        peak = as_number(f"{prefix}lr", given["lr"], above=0)
    elif base_peak is None or (hf and not given):  # of a checkpoint a multiple of nothing, or nobody's choice
        remedy = "give lr=..., or base.peak=... for peak= to be a multiple of it"
        raise InputError("lr", "null", "a checkpoint does not tell the peak it was trained at", remedy)
    else:
        multiple = as_number(f"{prefix}peak", given.get("peak", 1), above=0)
        peak = multiple * base_peak
        if peak > MOST["lr"][0]:
            why = f"{multiple:g} x base.peak={base_peak:g} is above {MOST['lr'][0]}: {MOST['lr'][1]}"
            raise InputError(f"{prefix}peak", multiple, why, f"give at most {0.99 * MOST['lr'][0] / base_peak:.3g}")
    base_lr: float | None
    if base is not None and base.schedule is not None:
        base_lr = final_lr(base.schedule, base.steps)
    else:  # from scratch: what the base of this scale would end at
        floor = number(config, "base.min_ratio", at_least=0, at_most=1)
        base_lr = None if hf or base_peak is None else base_peak * floor
    if not config["stages"]:
        knobs["warmup_tokens"] = config["warmup_tokens"]
    field = f"{prefix}schedule"
    return schedule_of(field, entry["schedule"], peak, steps, steps, knobs, tokens, base_lr, prefix=prefix)


def seed_of(config: Config, field: str, default: int) -> int:
    return default if config[field] is None else whole(config, field, 0)
