"""The stages of a run: what is trained, on which mixture, for how many steps, under which learning-rate schedule.

Level 1, the part of `config` that turns shares and tokens into steps. One CPT stage comes from the flat knobs; a
`stages:` list replaces it, and a stage without a schedule continues the running one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.fields import Config, as_number, choice, get, number, whole
from harness.identity import rounded
from harness.mixture import integer_weights
from harness.schedule import OPEN_ENDED

CONF = Path(__file__).resolve().parent.parent / "conf"
SCHEDULES = ("cosine", "cosine_clipped", "constant", "warmup_constant", "infinite_cosine", "infinite_inv_sqrt", "wsd",
             "linear")  # fmt: skip


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule drawn in steps; `schedule.pieces` takes exactly these."""

    name: str
    max_lr: float
    min_lr: float
    warmup_steps: int
    horizon_steps: int
    cooldown_steps: int = 0
    constant_lr: float | None = None
    anneal_steps: int = 0
    timescale: float = 1.0


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


class Tokens:
    """Amounts of tokens: numbers or multiples of the scale's CPT budget, and their steps."""

    def __init__(self, config: Config, per_step: int) -> None:
        self.config, self.per_step = config, per_step
        self.budget = number(config, "scale.tokens", above=0)

    def of(self, field: str, value: Any = None) -> float:
        value = get(self.config, field) if value is None else value
        if isinstance(value, str) and value.endswith("x"):
            return as_number(field, value[:-1], shown=value, above=0) * self.budget
        return as_number(field, value, above=0)

    def steps(self, field: str, value: Any = None) -> int:
        """Steps of at least one; fewer tokens than one batch are refused."""
        tokens = self.of(field, value)
        if tokens < self.per_step:
            why = f"fewer tokens than one batch of {self.per_step}"
            raise InputError(field, get(self.config, field) if value is None else value, why, "ask for more tokens")
        return round(tokens / self.per_step)


def base_stage(config: Config, tokens: Tokens, upstream: str, seed: int) -> Stage:
    base = config["base"]
    steps = tokens.steps("base.tokens")
    peak = number(config, "base.peak", above=0)
    knobs = {"warmup": base["warmup"], "min_ratio": base["min_ratio"], "horizon": None, "anneal_tokens": None}
    schedule = _schedule("base.schedule", base["schedule"], peak, steps, steps, knobs, tokens, None, prefix="base.")
    at = number(config, "start.at", above=0, at_most=1)
    cut = None if at == 1 else round(at * steps)
    if cut == 0:
        raise InputError("start.at", at, f"no step of the base's {steps}", "ask for a later point of the base")
    return Stage(((upstream, 1),), steps, schedule, seed, cut=cut)


def cpt_stages(
    config: Config, tokens: Tokens, upstream: str, downstream: str, corpora: Collection[str],
    base_order: int | None, seed: int,
) -> tuple[Stage, ...]:  # fmt: skip
    """Continual pre-training: one stage from the flat knobs, or the `stages` list. `base_order` None: no base."""
    base = base_order is not None
    order = seed_of(config, "order", seed)
    state = choice(config, "optimizer_state", ("keep", "reset"))
    replay = number(config, "replay", at_least=0, at_most=1)
    original = choice(config, "replay_order", ("original", "reshuffle")) == "original"
    entries = config["stages"]
    if entries is not None and replay:
        raise InputError("replay", replay, "stages state their own mixtures", "put the share into each stage's mixture")
    if replay and upstream == downstream:
        raise InputError("replay", replay, f"upstream and downstream are both {upstream}", "leave replay at 0")
    if entries is None:
        shares = {downstream: 1.0 - replay, upstream: replay} if replay else {downstream: 1.0}
        if replay == 1:
            shares = {upstream: 1.0}
        entries = [{"mixture": shares, "tokens": config["tokens"], "schedule": config["schedule"]}]
    elif not isinstance(entries, list) or not entries:
        raise InputError("stages", entries, "not a list of stages", "give [{mixture: {...}, tokens: 1x}, ...]")
    entries = [_stage_entry(f"stages[{i}]", e, config if i == 0 else None, corpora, upstream, downstream)
               for i, e in enumerate(entries)]  # fmt: skip
    lengths = [tokens.steps(f"{e['field']}.tokens" if config["stages"] else "tokens", e["tokens"]) for e in entries]
    stages = []
    for i, entry in enumerate(entries):
        schedule = None
        if entry["schedule"] is not None:
            until = next((j for j in range(i + 1, len(entries)) if entries[j]["schedule"] is not None), len(entries))
            schedule = _cpt_schedule(config, entry, sum(lengths[i:until]), tokens)
        first = i == 0
        replays = first and base and upstream in entry["mixture"] and len(entry["mixture"]) > 1
        replayed = (upstream,) if replays else ()  # replay reads upstream again, from the base's first window
        continued = first and base and upstream in entry["mixture"] and not replayed
        if continued and config["order"] is not None and order != base_order:
            why = f"{upstream} goes on in the base's order {base_order}"
            raise InputError("order", order, why, "leave order out, or change the corpus")
        stages.append(
            Stage(
                mixture=tuple(integer_weights(entry["mixture"]).items()),
                steps=lengths[i],
                schedule=schedule,
                order=order,
                optimizer_state=state if first and (base or config["start"]["kind"] == "hf") else "keep",
                restart=tuple(entry.get("restart", replayed)),
                reshuffle=() if original else replayed,
            )
        )
    return tuple(stages)


def _stage_entry(
    field: str, entry: Any, first: Config | None, corpora: Collection[str], upstream: str, downstream: str
) -> Config:
    allowed = {"mixture", "tokens", "schedule", "lr", "peak", "warmup", "min_ratio", "horizon", "anneal_tokens",
               "restart"}  # fmt: skip
    if not isinstance(entry, dict):
        raise InputError(field, entry, "not a mapping", "give {mixture: {corpus: share}, tokens: 1x}")
    for key in entry:
        if key not in allowed:
            raise InputError(f"{field}.{key}", entry[key], "unknown key", f"known: {', '.join(sorted(allowed))}")
    for key in ("mixture", "tokens"):
        if key not in entry:
            raise InputError(field, entry, f"has no {key}", f"state the stage's {key}")
    alias = {"upstream": upstream, "downstream": downstream}
    mixture: dict[str, float] = {}
    for name, share in entry["mixture"].items():
        corpus = alias.get(name, name)
        if corpus not in corpora:
            raise InputError(f"{field}.mixture", name, "no such corpus", f"known: {', '.join(corpora)}")
        mixture[corpus] = mixture.get(corpus, 0.0) + as_number(f"{field}.mixture.{name}", share, at_least=0, at_most=1)
    for name in entry.get("restart", ()):
        if alias.get(name, name) not in mixture:
            raise InputError(f"{field}.restart", name, "not in the stage's mixture", f"known: {', '.join(mixture)}")
    schedule = entry.get("schedule")
    if schedule is None and first is not None:
        schedule = first["schedule"]
    restart = {"restart": [alias.get(n, n) for n in entry["restart"]]} if "restart" in entry else {}
    return {**entry, **restart, "mixture": mixture, "schedule": schedule, "field": field}


def _cpt_schedule(config: Config, entry: Config, steps: int, tokens: Tokens) -> Schedule:
    """The schedule of a CPT stage: the stage's own knobs, else the flat ones."""
    names = ("warmup", "min_ratio", "horizon", "anneal_tokens")
    knobs = {name: entry.get(name, config[name]) for name in names}
    own = {name: entry[name] for name in ("lr", "peak") if entry.get(name) is not None}
    given = own or {name: config[name] for name in ("lr", "peak") if config[name] is not None}
    prefix = f"{entry['field']}." if config["stages"] else ""
    if len(given) > 1:
        raise InputError(f"{prefix}lr", given["lr"], f"peak={given['peak']} is given too", "give one of them")
    hf = config["start"]["kind"] == "hf"
    base_peak = number(config, "base.peak", above=0)
    schedule = entry["schedule"] if isinstance(entry["schedule"], dict) else {"name": entry["schedule"]}
    if schedule.get("name") == "constant":
        peak = None
    elif "lr" in given:
        peak = as_number(f"{prefix}lr", given["lr"], above=0)
    elif hf:
        raise InputError("lr", "null", "a checkpoint does not tell the peak it was trained at", "give lr=...")
    else:
        peak = as_number(f"{prefix}peak", given.get("peak", 1), above=0) * base_peak
    final = None if hf else base_peak * number(config, "base.min_ratio", at_least=0, at_most=1)
    horizon_steps = steps
    if config["warmup_tokens"] is not None and not config["stages"]:
        knobs["warmup_tokens"] = config["warmup_tokens"]
    return _schedule(f"{prefix}schedule", entry["schedule"], peak, steps, horizon_steps, knobs, tokens, final,
                     prefix=prefix)  # fmt: skip


def _schedule(
    field: str, given: Any, peak: float | None, steps: int, closed_horizon: int, knobs: Mapping[str, Any],
    tokens: Tokens, final_lr: float | None, *, prefix: str,
) -> Schedule:  # fmt: skip
    settings = _schedule_settings(field, given)
    name = settings["name"]
    if name == "constant":
        lr = settings["lr"] if settings["lr"] is not None else final_lr
        if lr is None:
            raise InputError(f"{field}.lr", "null", "no base tells a final learning rate", "give schedule.lr=...")
        lr = as_number(f"{field}.lr", lr, above=0)
        return Schedule(name, rounded(lr), rounded(lr), 0, steps)
    assert peak is not None
    if knobs["horizon"] is not None:
        horizon = tokens.steps(f"{prefix}horizon", knobs["horizon"])
    else:
        horizon = tokens.steps("scale.horizon") if name in OPEN_ENDED else closed_horizon
    warmup = _share_of_steps(f"{prefix}warmup", knobs["warmup"], horizon)
    if knobs.get("warmup_tokens") is not None:
        warmup = tokens.steps("warmup_tokens", knobs["warmup_tokens"])
        if warmup > horizon:
            why = f"longer than the horizon of {horizon * tokens.per_step} tokens"
            raise InputError("warmup_tokens", knobs["warmup_tokens"], why, "shorten it or raise horizon=")
    min_lr = rounded(as_number(f"{prefix}min_ratio", knobs["min_ratio"], at_least=0, at_most=1) * peak)
    anneal = cooldown = 0
    constant_lr = None
    if "anneal" in settings:
        anneal = _share_of_steps(f"{field}.anneal", settings["anneal"], steps)
        if knobs["anneal_tokens"] is not None:
            anneal = tokens.steps(f"{prefix}anneal_tokens", knobs["anneal_tokens"])
    if "cooldown" in settings:
        cooldown = _share_of_steps(f"{field}.cooldown", settings["cooldown"], horizon)
        ratio = as_number(f"{field}.constant_ratio", settings["constant_ratio"], above=0, at_most=1)
        constant_lr = rounded(ratio * peak)
        if min_lr == 0:
            raise InputError(f"{prefix}min_ratio", 0, "an exponential anneal never reaches 0", "give a floor above 0")
    timescale = as_number(f"{field}.timescale", settings.get("timescale", 1.0), above=0)
    return Schedule(name, rounded(peak), min_lr, warmup, horizon, cooldown, constant_lr, anneal, timescale)


def _schedule_settings(field: str, given: Any) -> Config:
    """A schedule by name (its settings come from conf/schedule) or a mapping that overrides some of them."""
    settings = dict(given) if isinstance(given, dict) else {"name": given}
    name = settings.get("name")
    if name not in SCHEDULES:
        raise InputError(field, name, "no such schedule", f"known: {', '.join(SCHEDULES)}")
    known = _schedule_file(str(name))
    for key in settings:
        if key not in known:
            why = f"{name} has no such setting"
            raise InputError(f"{field}.{key}", settings[key], why, f"known: {', '.join(known)}")
    return {**known, **settings}


@lru_cache
def _schedule_file(name: str) -> Config:
    from omegaconf import OmegaConf  # only when a schedule is named inside a stage or a base

    return dict(OmegaConf.to_container(OmegaConf.load(CONF / "schedule" / f"{name}.yaml")))  # type: ignore[arg-type]


def _share_of_steps(field: str, share: Any, steps: int) -> int:
    value = as_number(field, share, at_least=0, at_most=1)
    count = round(value * steps)
    if value and not count:
        why = f"a non-zero share of zero steps ({value} of {steps})"
        raise InputError(field, share, why, "raise it, give 0, or train for longer")
    return count




def seed_of(config: Config, field: str, default: int) -> int:
    return default if config[field] is None else whole(config, field, 0)
