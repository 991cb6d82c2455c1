"""Losses shaped like the real thing, for tables of every sweep of the papers: no training, and numbers that are known.

table("scalable_weak")      # its runs at seeds 10 to 12, planned once; what figures are tested on
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from harness.plan.plan import PlannedRun
from tests.synthetic_store import points_of, table_of

SEEDS = (10, 11, 12)
FAR = {"science": 0.3, "python": 1.0, "cpp": 1.3, "sympy": 1.2, "german": 1.3, "slimpajama": 0.25}
OWN = {"docs": 3.6, "systems": 3.7, "science": 3.9, "python": 3.3, "cpp": 3.0, "sympy": 3.1}
N_TOTAL = 362e3


def loss(point: PlannedRun, corpus: str, tokens: int, end: int) -> float:
    """Nats per token after so many tokens of continual pre-training."""
    config, x = point.run.config, max(tokens, 0) / end
    upstream, downstream = (str(point.run.config["shift"][role]) for role in ("upstream", "downstream"))
    size: float = (point.program.root.shape.hidden / 64) ** -0.3 if hasattr(point.program.root, "shape") else 1.0
    schedule, own = str(config["schedule"]["name"]), OWN.get(corpus, 3.4) * size
    peak = 0.1 if schedule == "constant" else float(config["peak"] or 1.0)
    replay, warmup = float(config["replay"]), float(config["warmup"])
    if config["start"]["kind"] == "scratch" and config["lr"]:
        return own + 0.05 * math.log2(float(config["lr"]) / 5e-3) ** 2 + 4 * math.exp(-8 * x)
    drawn = _drawn(config, upstream, downstream, tokens)
    rate = 1.0 if x < 1 else 0.0  # the anneal at the end
    if config["start"]["kind"] == "scratch":
        known = sum(drawn.get(corpus, {}).values()) + 0.25 * sum(sum(of.values()) for of in drawn.values())
        stale = sum(share for name, of in drawn.items() if name != corpus for share in list(of.values())[-1:])
        late = 0.02 * rate + (0.03 if schedule != "cosine" and x < 1 else 0.0)
        return own + 4 / (1 + 30 * known) + late + 0.2 * FAR.get(corpus, 0.8) * min(stale, 1.0)
    far = FAR.get(downstream, 0.7)
    spike = 0.4 * peak * math.exp(-((x / 0.012) ** 2)) * (x > 0) * max(0.0, 1 - warmup / 0.01)
    if corpus == upstream:
        rise: float = (0.12 if upstream == downstream else 0.25 + far) * math.sqrt(peak) * (1 - math.exp(-9 * x)) * size
        rise *= (max(tokens, 1) / 6e5) ** 0.15
        back = 0.6 if schedule in ("constant", "warmup_constant") else 1 - 0.35 * x
        mixed: float = 1 + 25 * replay**0.8
        return own + rise * back / mixed + spike - 0.02 * x
    share = drawn.get(corpus, {})
    learnt = sum(share.values()) * end / 6e5
    decay = 0.0 if schedule in ("constant", "warmup_constant") else 0.08 * x
    later = sum(units for name, of in drawn.items() for at, units in of.items() if at > max(share, default=99))
    decay -= 0.3 * far * (1 - math.exp(-6 * later))  # what comes after its own stage
    gap = 1.6 * far * size * (1 + 12 * learnt * math.sqrt(peak)) ** -0.45 if share else 1.6 * far
    kept = bool(config["optimizer_state"] == "keep") * -0.03 * math.exp(-x / 0.05) * (x > 0)
    return own + gap - decay + 0.01 * math.log2(peak) ** 2 * x + spike + kept


def _drawn(config: Any, upstream: str, downstream: str, tokens: int) -> dict[str, dict[int, float]]:
    """Corpus -> stage -> units of 600 k tokens (the whole run is one, where it has no stages) drawn up to here."""
    replay, budget = float(config["replay"]), 6e5
    usual = {downstream: 1 - replay, upstream: replay} if upstream != downstream else {upstream: 1.0}
    stages = config["stages"] or [{"mixture": usual, "tokens": "1e9x"}]
    names, left = {"upstream": upstream, "downstream": downstream}, max(tokens, 0) / budget
    found: dict[str, dict[int, float]] = {}
    for number, stage in enumerate(stages):
        units = min(left, float(str(stage["tokens"]).rstrip("x")))
        left -= units
        for name, share in stage["mixture"].items():
            if units * float(share) > 0:
                found.setdefault(names.get(name, name), {})[number] = units * float(share)
    return found


@cache
def table(*sweeps: str) -> pd.DataFrame:
    """The table of sweeps at SEEDS, that differ by the luck of a run and of its base, .01 nats each."""
    own_seeds = sweeps == ("data_order",)
    first = table_of(points_of(sweeps, [] if own_seeds else [f"seed={SEEDS[0]}"]), loss)
    parts = []
    for seed in (None,) if own_seeds else SEEDS:
        one = first.copy() if seed is None else first.assign(seed=seed)
        for name in ("run", "address", "base_address"):
            one[name] = one[name].where(one[name].isna(), f"{seed} " + one[name].astype(str))
        luck = {key: _luck(key) for key in {*one.run, *one.base_address.dropna()}}
        moved = one.run.map(luck) * (one.D / one.run_tokens) + one.base_address.map(luck).fillna(0.0)
        parts.append(one.assign(loss=one.loss + 0.01 * moved))
    return pd.concat(parts, ignore_index=True)


def _luck(key: str) -> float:
    return float(np.random.default_rng(list(key.encode())).standard_normal())
