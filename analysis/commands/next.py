"""`python -m analysis next`: the runs that would narrow an answer most, as a sweep file.

python -m analysis next --general docs.json --domain python.json --N 1e5 --D 6e5 --tolerance 0.05 --base-loss 3.66 \\
    --budget 1e13 --base-sweep sweeps/dcpt.yaml > sweeps/next.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from analysis.commands.decide import add_question, check_read, fits_of, needed
from analysis.decide.questions import Question, share_of_limited_domain, share_under_tolerance
from analysis.design.next_runs import Proposal, next_runs
from analysis.design.sensitivity import Evidence
from analysis.fitting.fit import LEVEL
from analysis.results.expressions import one_line
from harness.core.errors import InputError
from harness.core.options import amount, path
from harness.core.regular import require_regular
from harness.core.shipped import SWEEPS


def add_next_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)
    parser.add_argument("--budget", type=amount, required=True, metavar="FLOPS", help="to spend on further runs")
    parser.add_argument(
        "--base-sweep",
        type=path,
        metavar="FILE",
        default=SWEEPS / "dcpt.yaml",
        help="the sweep file that the data came from, whose settings are kept",
    )
    parser.add_argument("--models", metavar="NAME,...", help="of conf/model (default: sizes near the data's)")
    parser.add_argument("--most-tokens", type=amount, metavar="D", help="of a run (default: the data's longest)")


def propose(options: argparse.Namespace, _: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `next`, and for a terminal the sweep file with the runs as a comment. Raises InputError."""
    proposal, base = proposal_for(options)
    comment = [f"# {line}".rstrip() for line in proposal_lines(proposal)]
    return proposal.document(base), [*comment, *proposal.sweep_file(base).splitlines()]


def proposal_for(options: argparse.Namespace) -> tuple[Proposal, dict[str, Any]]:
    """Further runs, and the settings of the sweep they extend. Raises InputError."""
    import yaml

    limited = options.domain_tokens is not None
    check_read(options, "the next runs for limited downstream tokens" if limited else "the share under a tolerance")
    try:
        require_regular("base-sweep", options.base_sweep)
        base = yaml.safe_load(options.base_sweep.read_text())
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        why = f"cannot be read ({one_line(error)})"
        raise InputError("base-sweep", options.base_sweep, why, "name a sweep file") from None
    if not isinstance(base, dict):
        raise InputError("base-sweep", options.base_sweep, "is no sweep file", "name one, such as sweeps/dcpt.yaml")
    evidence = {}
    for role, fit in fits_of(options).items():
        if fit.rows is None:
            raise InputError(role, fit.law.name, "the fit does not hold its rows", "fit a law of N, D and r")
        evidence[role] = Evidence(fit, fit.rows)
    models = options.models.split(",") if options.models else None
    proposal = next_runs(
        evidence,
        _question(options),
        options.budget,
        models=models,
        most_tokens=options.most_tokens,
        independent=options.independent,
    )
    return proposal, base


def proposal_lines(proposal: Proposal) -> list[str]:
    """Further runs for a terminal."""
    now, then = proposal.interval_now, proposal.interval_predicted
    lines = [
        f"{proposal.question}: {proposal.value:.4g}",
        f"{LEVEL:.0%} interval {now[0]:.4g} to {now[1]:.4g} now, {then[0]:.4g} to {then[1]:.4g} expected after "
        f"{len(proposal.points)} runs of {proposal.flops:.3g} FLOPs",
        "",
        f"{'model':<12} {'N':>9} {'D':>9} {'r':>6} {'seed':>4} {'FLOPs':>9}",
    ]
    for point in proposal.points:
        lines.append(
            f"{point.model:<12} {point.N:>9.4g} {point.D:>9.4g} {point.r:>6.3g} {point.seed:>4} {point.flops:>9.3g}"
        )
    return lines


def _question(options: argparse.Namespace) -> Question:
    if options.domain_tokens is not None:
        return share_of_limited_domain(N=needed(options, "N"), domain_tokens=options.domain_tokens)
    asked = {name: needed(options, name) for name in ("N", "D", "tolerance", "base_loss")}
    return share_under_tolerance(**asked)
