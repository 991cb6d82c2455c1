"""A learning-rate schedule drawn in steps: from shares, tokens and multiples of a peak to a `Schedule`.

Beneath `harness.config.stages`; the shapes themselves are in `harness.program.schedule`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from harness.config.fields import Config, as_number, check_most, get
from harness.core.errors import InputError
from harness.core.identity import rounded
from harness.core.shipped import CONF
from harness.program.schedule import NAMES, OPEN_ENDED, Schedule, lr_at, pieces


def tokens_of(field: str, value: Any, budget: float) -> float:
    """An amount of tokens: a number (600000, 0.6M, 20B) or a multiple of the scale's budget (0.5x)."""
    if isinstance(value, str) and value.endswith("x"):
        tokens = as_number(field, value[:-1], shown=value, above=0) * budget
        check_most(field, tokens, value)
        return tokens
    return as_number(field, value, amount=True, above=0)


def schedules_named(config: Mapping[str, Any]) -> str:
    """The schedules of continual pre-training by name, `cosine`; of stages that begin another one, `cosine+cosine`."""
    default = config["schedule"]["name"]
    if config["stages"] is None:
        return str(default)
    named = [stage.get("schedule", None if i else default) for i, stage in enumerate(config["stages"])]
    return "+".join(str(s["name"] if isinstance(s, dict) else s) for s in named if s is not None)


class Tokens:
    """Amounts of tokens: numbers or multiples of the scale's CPT budget, and their steps."""

    def __init__(self, config: Config, per_step: int) -> None:
        self.config, self.per_step = config, per_step
        self.budget = as_number("scale.tokens", get(config, "scale.tokens"), amount=True, above=0)

    def of(self, field: str, value: Any = ...) -> float:
        """Tokens of a field; `value`, where it is not in the config under that name."""
        return tokens_of(field, get(self.config, field) if value is ... else value, self.budget)

    def steps(self, field: str, value: Any = ...) -> int:
        """Steps of at least one; fewer tokens than one batch are refused."""
        tokens = self.of(field, value)
        if tokens < self.per_step:
            why = f"{tokens:g} tokens, fewer than one batch of {self.per_step}"
            shown = get(self.config, field) if value is ... else value
            raise InputError(field, shown, why, "ask for more tokens")
        return round(tokens / self.per_step)


def schedule_of(
    field: str,
    given: Any,
    peak: float | None,
    steps: int,
    closed_horizon: int,
    knobs: Mapping[str, Any],
    tokens: Tokens,
    base_lr: float | None,
    *,
    prefix: str,
) -> Schedule:
    """The schedule of `steps` steps. `peak`: None for a constant one; `base_lr`: where the base ended, if any."""
    settings = _schedule_settings(field, given)
    name = settings["name"]
    if name == "constant":
        lr = settings["lr"] if settings["lr"] is not None else base_lr
        if lr is None:
            raise InputError(f"{field}.lr", "null", "no base tells a final learning rate", "give schedule.lr=...")
        lr = as_number(f"{field}.lr", lr, above=0)
        return Schedule(name, rounded(lr), rounded(lr), 0, steps)
    assert peak is not None
    if knobs["horizon"] is not None:
        horizon = tokens.steps(f"{prefix}horizon", knobs["horizon"])
    else:
        horizon = tokens.steps("scale.horizon") if name in OPEN_ENDED else closed_horizon
    if knobs.get("warmup_tokens") is None:
        warmup = _share_of_steps(f"{prefix}warmup", knobs["warmup"], horizon)
    else:
        warmup = tokens.steps("warmup_tokens", knobs["warmup_tokens"])
        if warmup > horizon:
            why = f"longer than the horizon of {horizon * tokens.per_step} tokens"
            raise InputError("warmup_tokens", knobs["warmup_tokens"], why, "shorten it or raise horizon=")
    min_lr = rounded(as_number(f"{prefix}min_ratio", knobs["min_ratio"], at_least=0, at_most=1) * peak)
    anneal = cooldown = 0
    constant_lr = None
    if knobs["anneal_tokens"] is not None:
        if "anneal" not in settings:
            raise InputError(f"{prefix}anneal_tokens", knobs["anneal_tokens"], f"{name} has no anneal", "leave it out")
        anneal = tokens.steps(f"{prefix}anneal_tokens", knobs["anneal_tokens"])
    elif "anneal" in settings:
        anneal = _share_of_steps(f"{field}.anneal", settings["anneal"], steps)
    if "cooldown" in settings:
        cooldown = _share_of_steps(f"{field}.cooldown", settings["cooldown"], horizon)
        ratio = as_number(f"{field}.constant_ratio", settings["constant_ratio"], above=0, at_most=1)
        constant_lr = rounded(ratio * peak)
        if min_lr == 0:
            raise InputError(f"{prefix}min_ratio", 0, "an exponential anneal never reaches 0", "give a floor above 0")
    timescale = as_number(f"{field}.timescale", settings.get("timescale", 1.0), above=0)
    drawn = Schedule(name, rounded(peak), min_lr, warmup, horizon, cooldown, constant_lr, anneal, timescale)
    try:
        pieces(drawn, steps)
    except InputError as error:  # it speaks of steps; what was given are these
        by_tokens = {part for part in ("warmup", "anneal") if knobs.get(f"{part}_tokens") is not None}
        given_as = {
            "warmup": (f"{prefix}warmup", knobs["warmup"]),
            "anneal": (f"{field}.anneal", settings.get("anneal")),
            "min_lr": (f"{prefix}min_ratio", knobs["min_ratio"]),
            "min_ratio": (f"{prefix}min_ratio", knobs["min_ratio"]),
            "schedule.constant_lr": (f"{field}.constant_ratio", settings.get("constant_ratio")),
        }
        given_as |= {part: (f"{prefix}{part}_tokens", knobs[f"{part}_tokens"]) for part in by_tokens}
        known, value = given_as.get(error.field, (error.field, error.value))
        why = (
            error.why
            if value == error.value
            else f"{error.value}{' ' if error.why.startswith('is ') else ': '}{error.why}"
        )
        raise InputError(known, value, why, error.remedy) from None
    return drawn


def final_lr(schedule: Schedule, steps: int) -> float:
    """The learning rate at which a schedule of so many steps ends."""
    shape, length = pieces(schedule, steps)[-1]
    return rounded(float(lr_at(shape, length)))


def _schedule_settings(field: str, given: Any) -> Config:
    """A schedule by name (its settings come from conf/schedule) or a mapping that overrides some of them."""
    settings = dict(given) if isinstance(given, dict) else {"name": given}
    name = settings.get("name")
    if name not in NAMES:
        raise InputError(field, name, "no such schedule", f"known: {', '.join(sorted(NAMES))}")
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
