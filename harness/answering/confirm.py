"""Fresh order seeds of the setting that was recommended: whoever looks often believes a lucky one.

    rows = fresh_rows(question, decision["recommended"]["knobs"], tried)
    told = confirmation(decision, runs)            # entries of `python -m analysis runs --json`

The mean of the fresh runs is held against what was said before: the joint 90 % prediction interval of all losses (by
Bonferroni; the noise of a mean of n runs is that of one over the root of n), and every limit. Worse than that is not
confirmed; better is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean, stdev
from typing import Any

from harness.answering.question import Question

CONFIRM = 3  # runs
NEAR = 1e-6  # relative: the same value
LEVEL = 0.9  # of the intervals of `decide`, and of the joint one


def fresh_rows(
    question: Question, knobs: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Runs of one setting with seeds that no run has."""
    first = max(int(row["seed"]) for row in tried) + 1
    return [{**{name: knobs[name] for name in question.knobs}, "seed": first + k} for k in range(CONFIRM)]


def confirmation(before: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the fresh runs say of the decision that was made without them; losses in nats per token."""
    point, done = before["recommended"], [run for run in runs if run["status"] == "done"]
    told: dict[str, Any] = {"knobs": point["knobs"], "seeds": [run["seed"] for run in runs], "n": len(done)}
    if len(done) < len(runs):
        return {**told, "forgetting": {}, "adaptation": None, "confirmed": False, "why": "a fresh run diverged"}
    changes, losses = point["forgetting"], len(point["forgetting"]) + 1
    down = str(done[0]["downstream"])
    windows = {name: float(one["sampling"]) for name, one in before["surface"].items()}
    forgetting = {name: _held(_rises(done, name), one, losses, windows[name]) for name, one in changes.items()}
    adaptation = _held([-rise for rise in _rises(done, down)], point["adaptation"], losses, windows[down])
    why = [f"{name} is forgotten more than was said" for name, one in forgetting.items() if one["side"] > 0]
    why += ["less is adapted than was said"] if adaptation["side"] < 0 else []
    for name, limit in before["question"]["limits"].items():
        why += [f"{name} is not kept within its limit"] if forgetting[name]["nats"] > limit["nats"] else []
    return {**told, "forgetting": forgetting, "adaptation": adaptation, "confirmed": not why, "why": "; ".join(why)}


def stands(told: Mapping[str, Any], after: Mapping[str, Any], within: float) -> bool:
    """Whether the setting is still the answer now that its fresh runs count, too: the runs do not tell it from what is
    recommended, or what it reached is as good to so many nats."""
    point = after["recommended"]
    if point is None or told["adaptation"] is None:
        return False
    if all(_among(value, after["as_good"][name]) for name, value in told["knobs"].items()):
        return True
    weights = after["question"]["weights"] or {}
    *_, v = weights.values() or [1.0]
    gap = v * (point["adaptation"]["nats"] - told["adaptation"]["nats"])
    for name, one in point["forgetting"].items():
        gap -= weights.get(name, 0.0) * (one["nats"] - told["forgetting"][name]["nats"])
    return bool(abs(gap) <= within)


def _among(value: Any, ends: Sequence[Any]) -> bool:
    """Of a number whether it lies between, of a category whether it is one of them."""
    if isinstance(value, str):
        return value in ends
    return bool(ends[0] * (1 - NEAR) <= value <= ends[1] * (1 + NEAR))


def confirmation_line(told: Mapping[str, Any]) -> str:
    """For a terminal."""
    verdict = "confirmed" if told["stands"] else "as was said, but with them another setting is better"
    verdict = verdict if told["confirmed"] else f"NOT CONFIRMED: {told['why']}"
    if told["adaptation"] is None:
        return f"  {verdict}"
    parts = [f"{name} {_text(one)}" for name, one in told["forgetting"].items()]
    return f"  {verdict}: {told['n']} fresh seeds forget {', '.join(parts)}, and adapt {_text(told['adaptation'])}"


def _rises(runs: Sequence[Mapping[str, Any]], corpus: str) -> list[float]:
    return [float(run["loss"][corpus]) - float(run["base_loss"][corpus]) for run in runs]


def _held(values: Sequence[float], said: Mapping[str, Any], losses: int, sampling: float) -> dict[str, Any]:
    """The mean of the fresh runs against the interval of what was said of it. They are measured on the same windows, so
    that what these leave in doubt, the same for all runs, is no part of it."""
    mean, run = ((said[name][1] - said[name][0]) / 2 for name in ("interval_mean", "interval_run"))
    normal = NormalDist()
    single, joint = (normal.inv_cdf(1 - (1 - LEVEL) / (2 * many)) for many in (1, losses))
    noise = max(run**2 - mean**2, 0.0) / len(values)
    half = joint / single * math.sqrt(max(mean**2 - (single * sampling) ** 2, 0.0) + noise)
    found = fmean(values)
    side = 0 if abs(found - said["nats"]) <= half else 1 if found > said["nats"] else -1
    interval = [said["nats"] - half, said["nats"] + half]
    return {"nats": found, "sd": stdev(values), "said": said["nats"], "interval": interval, "side": side}


def _text(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['nats']:+.3f} ± {one['sd']:.3f} nats (said {low:+.3f} to {high:+.3f})"
