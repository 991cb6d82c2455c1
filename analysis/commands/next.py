"""`python -m analysis next`: the runs that would narrow an answer most, as a sweep file.

python -m analysis next --general docs.json --domain python.json --N 1e5 --D 6e5 --tolerance 0.05 --base-loss 3.66 \\
    --budget 1e13 --base-sweep sweeps/dcpt.yaml > sweeps/next.yaml
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.answers.answer import FARTHEST, UnsupportedError
from analysis.commands.mix import add_question, check_read, fits_of, needed
from analysis.design.next_runs import next_runs
from analysis.design.proposal import Proposal
from analysis.design.questions import Question, share_of_limited_domain, share_under_tolerance
from analysis.design.sensitivity import Evidence
from analysis.fitting.fit import LEVEL
from analysis.options.extrapolation import within_of
from harness.core.errors import InputError
from harness.core.options import amount, path
from harness.core.shipped import SWEEPS
from harness.store.store import Store

WIDTH = 100  # of lines that are wrapped


def add_next_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)
    parser.add_argument("--budget", type=amount, required=True, metavar="FLOPS", help="to spend on further runs")
    parser.add_argument("--runs", type=int, metavar="N", help="at most so many runs")
    parser.add_argument(
        "--base-sweep",
        type=path,
        metavar="FILE",
        default=SWEEPS / "dcpt.yaml",
        help="the sweep file that the data came from, whose settings are kept",
    )
    parser.add_argument("--models", metavar="NAME,...", help="of conf/model (default: sizes near the data's)")
    parser.add_argument("--most-tokens", type=amount, metavar="D", help="of a run (default: the data's longest)")
    parser.add_argument(
        "--root", type=path, metavar="STORE", help="where the times of runs are measured (default: runs, if it is one)"
    )
    parser.add_argument(
        "--run-cost",
        metavar="COST",
        help="of a run beside its tokens: FLOPs (1e12) or seconds (40s); default: measured in the store",
    )


def propose(options: argparse.Namespace, _: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `next`, and for a terminal the sweep file with the runs as a comment. Raises InputError."""
    within = within_of(options)
    try:
        proposal = proposal_for(options)
    except UnsupportedError as error:
        if not options.json:  # stdout would become a sweep file
            print(error.verdict.line, file=sys.stderr)
        none = dict.fromkeys(("flops", "run_cost", "interval_now", "interval_predicted", "extrapolated", "sweep_file"))
        return {**error.verdict.document(), "points": [], **none}, []
    comment = [f"# {line}".rstrip() for line in proposal_lines(proposal, within)]
    return proposal.document(within), [*comment, *proposal.sweep_file.splitlines()]


def proposal_for(options: argparse.Namespace) -> Proposal:
    """Further runs. Raises InputError."""
    limited = options.domain_tokens is not None
    check_read(options, "the next runs for limited downstream tokens" if limited else "the share under a tolerance")
    root = options.root or Path("runs")
    if not (found := (root / "store.json").exists()) and options.root is not None:
        raise InputError("root", root, "there is no store (no store.json)", "name the folder of a store")
    evidence = {}
    for role, fit in fits_of(options).items():
        if fit.rows is None:
            raise InputError(role, fit.law.name, "the fit does not hold its rows", "fit a law of N, D and r")
        evidence[role] = Evidence(fit, fit.rows)
    return next_runs(
        evidence,
        _question(options),
        options.budget,
        sweep=options.base_sweep,
        store=Store(root) if found else None,
        cost=options.run_cost,
        most_runs=options.runs,
        models=options.models.split(",") if options.models else None,
        most_tokens=options.most_tokens,
        independent=options.independent,
    )


def proposal_lines(proposal: Proposal, within: float = FARTHEST) -> list[str]:
    """Further runs for a terminal: the verdict first, where something speaks against it."""
    now, then = proposal.interval_now, proposal.interval_predicted
    verdict = proposal.verdict(within)
    width = max([12, *(len(point.model) for point in proposal.points)])
    lines = [
        *([verdict.line] if verdict.line else []),
        f"{proposal.question}: {proposal.value:.4g}",
        f"{LEVEL:.0%} interval {now[0]:.4g} to {now[1]:.4g} now, {then[0]:.4g} to {then[1]:.4g} expected after "
        f"{len(proposal.points)} runs of {proposal.flops:.3g} FLOPs",
        *textwrap.wrap(
            f"beside what it trains and measures, a run costs {cost_text(proposal)}: {proposal.cost.source}", WIDTH
        ),
        "",
        f"{'model':<{width}} {'N':>9} {'D':>9} {'r':>6} {'seed':>4} {'FLOPs':>9}",
    ]
    for point in proposal.points:
        amounts = f"{point.N:>9.4g} {point.D:>9.4g} {point.r:>6.3g} {point.seed:>4} {point.flops:>9.3g}"
        lines.append(f"{point.model:<{width}} {amounts}")
    return lines


def cost_text(proposal: Proposal) -> str:
    """FLOPs that a run costs beside its tokens, over the proposed sizes."""
    ends = [f"{end(proposal.cost.flops(point.N) for point in proposal.points):.3g}" for end in (min, max)]
    return " to ".join(dict.fromkeys(ends)) + " FLOPs"


def _question(options: argparse.Namespace) -> Question:
    if options.domain_tokens is not None:
        return share_of_limited_domain(N=needed(options, "N"), domain_tokens=options.domain_tokens)
    asked = {name: needed(options, name) for name in ("N", "D", "tolerance", "base_loss")}
    return share_under_tolerance(**asked)
