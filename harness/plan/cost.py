"""What a plan costs: tokens, FLOPs, hours, disk, and what sharing saves.

totals(plan)["flops"], totals(plan)["disk_bytes"]       # printed by harness.report, checked before a launch
flops_of(point, tokens, rows)                           # of a part of a run
"""

from __future__ import annotations

from typing import Any

from harness.plan.plan import Plan, PlannedRun
from harness.program.shape import flops_per_token

BYTES_PER_PARAMETER = 12  # fp32 weights and Adam's two moments
MEASURED = 1 / 3  # a measured token costs a forward pass, of a trained one's three


def totals(plan: Plan) -> dict[str, Any]:
    """What the plan shares, what is done, and what the rest costs. FLOPs are those of training and measuring."""
    flops = sum(flops_of(plan.points[each.runs[0]], each.tokens, len(each.rows)) for each in plan.to_train)
    rate = min((float(point.run.config["scale"]["flop_rate"]) for point in plan.points), default=1.0)
    stored = sum(BYTES_PER_PARAMETER * plan.points[segment.runs[0]].run.parameters for segment in plan.to_train)
    return {
        "runs": len(plan.points),
        "segments": len(plan.segments),
        "segments_to_train": len(plan.to_train),
        "evaluations": len(plan.evaluations),
        "tokens_if_separate": plan.tokens_if_separate,
        "tokens_planned": plan.tokens_planned,
        "tokens_done": plan.tokens_done,
        "flops": flops,
        "hours": flops / rate / 3600,
        "disk_bytes": stored,
    }


def flops_of(point: PlannedRun, tokens: float, rows: int) -> float:
    """FLOPs of a stretch of a run that trains `tokens` and measures `rows`, each on the run's windows."""
    measured = rows * point.run.measurements.windows * point.run.seq_len
    return (tokens + measured * MEASURED) * _flops(point)


def _flops(point: PlannedRun) -> float:
    shape = point.run.shape
    if shape is None:  # a checkpoint: the usual estimate from its parameters
        return 6.0 * point.run.parameters
    return float(flops_per_token(shape, point.run.seq_len))
