"""A round as lines for a terminal.

round_line(2, "round", rows, flops), decision_line(decision, spent, budget)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FINEST = 0.001  # nats: what is looked at lies no nearer to each other
FEW = 4  # runs that are named one by one


def round_line(number: int, kind: str, rows: Sequence[Mapping[str, Any]], flops: float) -> str:
    """What a round trains."""
    what = "fresh seeds that confirm" if kind == "confirm" else "the ends and the middle of the knobs"
    named = number > 1 or len(rows) <= FEW
    texts = [_knobs(row) for row in rows]
    what = "; ".join(texts) if named and kind == "round" else f"{what}: {texts[0]}" if kind == "confirm" else what
    return f"round {number}: {len(rows)} runs, {flops:.3g} FLOPs: {what}"


def decision_line(found: Mapping[str, Any], spent: float, budget: float) -> str:
    """What is decided after it, and how surely."""
    used = f"{spent:.3g} of {budget:.3g} FLOPs are spent"
    point = found["recommended"]
    if point is None:
        return f"  {found['verdict'].upper()}: {'; '.join(found['why'])}; {used}"
    parts = [f"{name} {one['nats']:+.3f} ({one['share']:+.2%})" for name, one in point["forgetting"].items()]
    kept = "" if point["p_kept"] is None else f", the next run keeps it with {point['p_kept']:.0%}"
    regret = found.get("regret")
    better = (
        "how much better another is, is not known"
        if regret is None
        else f"no other is better by more than {max(regret['upper'], FINEST):.3g} nats with {regret['level']:.0%}"
    )
    changes = f"forgets {', '.join(parts)}, adapts {point['adaptation']['nats']:+.3f}"
    return f"  {_knobs(point['knobs'])}: {changes}{kept}; {better}; {used}"


def _knobs(row: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
    )
