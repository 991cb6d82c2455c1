"""Which runs to train next: those that narrow the answer to a question most for their FLOPs.

Above `analysis.fitting.fit`, `analysis.design.questions` and `analysis.design.sensitivity`;
`analysis.design.candidates` says what can be run.

    evidence = {"general": Evidence(fit, table), "domain": Evidence(fit, table)}
    question = share_under_tolerance(N=2.2e6, D=6e5, tolerance=0.05, base_loss=3.4)
    proposal = next_runs(evidence, question, budget_flops=1e13, store=Store(Path("runs")))

A c-optimal design (Elfving 1952; Silvey, Optimal Design, 1980): near the fit the answer is linear in the parameters of
the laws, with gradient c, so that its variance is c' M^-1 c, where M is the Fisher information of all runs. Runs are
added by what they take off it for a FLOP, then exchanged while that helps. The rows of a run err together: log losses
have the covariance `row` I + `run` 1 1', both estimated from the residuals; errors of the two losses count as
independent. What a proposal promises holds as far as the law does. A run costs what it trains and measures, and what it
takes to begin it (`analysis.design.costs`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.answers.answer import (
    FARTHEST,
    MOST_WITHOUT,
    NONE,
    UnsupportedError,
    check_amounts,
    doubts_of,
)
from analysis.answers.ensemble import ensembles, extrapolation, farthest
from analysis.design.candidates import (
    SHARES,
    Candidate,
    Seeds,
    candidates,
    models_near,
    numbered,
    read_sweep,
    seeds_of,
    token_grid,
)
from analysis.design.costs import run_cost
from analysis.design.proposal import Proposal
from analysis.design.questions import Question
from analysis.design.selection import Choice, best_set, blocks, ordered
from analysis.design.sensitivity import Evidence, Space, gain, gradient_of, space_of
from analysis.fitting.fit import LEVEL, Fit
from analysis.formulas.formula import Array
from harness.core.errors import InputError
from harness.core.shipped import SWEEPS
from harness.program.shape import ModelShape
from harness.store.store import Store

VARIABLES = ("N", "D", "r")


def next_runs(
    evidence: Mapping[str, Evidence],
    question: Question,
    budget_flops: float,
    *,
    sweep: Path = SWEEPS / "dcpt.yaml",
    store: Store | None = None,
    cost: str | None = None,
    most_runs: int | None = None,
    models: Sequence[str] | None = None,
    shares: Sequence[float] | None = None,
    most_tokens: float | None = None,
    most_seeds: int = 3,
    independent: bool = False,
) -> Proposal:
    """The runs for at most `budget_flops` that narrow the answer most. `evidence` by role: general, domain.

    `sweep`: the sweep file that the data came from, which the runs extend. `store`, `cost`: where what a run costs
    beside its tokens is measured, or how much it is (1e12, 40s), see `costs.run_cost`. `most_runs`: how many at most.
    `models` of conf/model (default: those near the data's); `shares` of the domain (default: the nine of the paper and
    the answer, if it is one, as far as the data go); runs of up to `most_tokens` (default: the data's longest);
    `most_seeds` of one model and share, with those of the data: what the law misses there no repeat averages out (and
    one of pure replay, which reads the base's own order whatever its seed). `independent`: the fits' draws need not be
    paired. FLOPs are those of continual pre-training: bases exist. Raises InputError, and UnsupportedError for a fit
    that is none, and an answer that does not exist, that no parameter moves or that the data do not determine at all.
    """
    check_amounts(budget=budget_flops)
    if most_runs is not None and most_runs < 1:
        raise InputError("runs", most_runs, "is no number of runs", "give 1 or more")
    base = read_sweep(sweep)
    fits = _fits(evidence, question)
    value, drawn = _answers(question, fits, independent)
    gradient = gradient_of(question, fits)
    spaces = [space_of(role, evidence[role], gradient[role], question) for role in fits if np.any(gradient[role])]
    seeds, base_seed = _seeds(evidence)
    shapes = models_near({float(N) for one in evidence.values() for N in one.table.N}, models)
    runs = _runs(evidence, sweep, shapes, shares or _shares(evidence, value if question.share else None), most_tokens)
    each = run_cost(cost, store, shapes, sweep)
    runs = [replace(run, flops=run.flops + each.flops(run.N)) for run in runs]
    choice = _choice(spaces, runs, seeds, most_seeds, budget_flops, most_runs or math.inf)
    order, errors = ordered(choice, best_set(choice))
    now = _interval(value, errors[0], drawn, question.share)
    left = errors[-1] / errors[0]
    gains = 2 * _quantile() * -np.diff(errors) / choice.costs[order]
    return Proposal(
        question=question.name,
        value=value,
        points=numbered([runs[i] for i in order], map(float, gains), seeds),
        flops=float(choice.costs[order].sum()),
        cost=each,
        se_now=errors[0],
        se_predicted=errors[-1],
        interval_now=now,
        interval_predicted=(value - (value - now[0]) * left, value + (now[1] - value) * left),
        noise={space.role: space.noise for space in spaces},
        base_seed=base_seed,
        base=base,
        extrapolated=farthest(*(extrapolation(fits[role], question.at(value, role)) for role in fits)),
    )


def _fits(evidence: Mapping[str, Evidence], question: Question) -> dict[str, Fit]:
    """The fits that the question is about, checked."""
    for role in question.roles:
        if role not in evidence:
            raise InputError("question", question.name, f"it needs the {role} fit", "give it with its table")
    fits = {role: evidence[role].fit for role in question.roles}
    for role, fit in fits.items():
        if other := [name for name in fit.law.variables if name not in VARIABLES]:
            raise InputError(
                "law",
                fit.law.name,
                f"depends on {', '.join(other)}, which no choice of runs sets",
                "take a law of N, D and r, such as dcpt",
            )
        if lacking := [name for name in VARIABLES if name not in fit.law.variables]:
            raise InputError(
                "law",
                fit.law.name,
                f"the {role} fit has no {', '.join(lacking)}",
                "fit a law of N, D and r, such as dcpt, to runs that differ in them",
            )
        if doubts := doubts_of({role: fit}):
            remedy = "fix parameters, leave out rows that the law cannot follow, or try --loss ls"
            raise UnsupportedError("fit", f"{role} {fit.law.name}", "; ".join(doubts), remedy)
    return fits


def _answers(question: Question, fits: Mapping[str, Fit], independent: bool) -> tuple[float, Array]:
    """The answer of the estimate, and of the draws that have one."""
    both, _ = ensembles(list(fits.values()), independent)
    answers = question.value(dict(zip(fits, both, strict=True)))
    value, drawn = float(answers[0]), answers[1:]
    kept = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(kept) < MOST_WITHOUT * len(drawn):
        without = f"{len(drawn) - len(kept)} of {len(drawn)} draws have no answer"
        why = without if np.isfinite(value) else "there is no answer"
        raise UnsupportedError("question", question.name, why, "allow more, such as a larger tolerance", NONE)
    return value, kept


def _interval(value: float, se: float, drawn: Array, share: bool) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    if drawn.size:
        low, high = np.quantile(drawn, [tail, 1 - tail])
    else:
        low, high = value - _quantile() * se, value + _quantile() * se
        low, high = (max(low, 0.0), min(high, 1.0)) if share else (low, high)
    return float(low), float(high)


def _quantile() -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + LEVEL) / 2))


def _runs(
    evidence: Mapping[str, Evidence],
    sweep: Path,
    shapes: Mapping[str, ModelShape],
    shares: Sequence[float],
    most_tokens: float | None,
) -> list[Candidate]:
    """The runs that could be trained, inside of what the data support."""
    first, last = (end(float(end(one.table.D)) for one in evidence.values()) for end in (min, max))
    longest = last if most_tokens is None else most_tokens
    lengths = token_grid(first, longest)
    if longest > FARTHEST * last:
        why = f"the longest run of the data has {last:.3g}, and a law is not believed beyond {FARTHEST:g} times that"
        raise InputError("most-tokens", f"{longest:.4g}", why, f"give at most {FARTHEST * last:.3g}")
    return candidates(sweep, shapes, lengths, shares, first)


def _shares(evidence: Mapping[str, Evidence], answer: float | None) -> list[float]:
    """Shares of the domain to choose from: those of the paper and the answer, inside of the data's."""
    own = np.concatenate([_of_domain(role, one) for role, one in evidence.items()])
    low, high = round(float(own.min()), 6), round(float(own.max()), 6)
    offered = [*SHARES, low, high, *([] if answer is None else [round(answer, 3)])]
    return [share for share in dict.fromkeys(offered) if low <= share <= high]


def _choice(
    spaces: Sequence[Space], runs: Sequence[Candidate], seeds: Seeds, most_seeds: int, budget: float, most: float
) -> Choice:
    """What there is to choose from, for a budget that buys something of it."""
    costs = np.array([run.flops for run in runs])
    if not budget >= costs.min():
        remedy = f"give at least {costs.min():.3g} FLOPs, or allow smaller models or shorter runs"
        raise InputError("budget", f"{budget:.3g}", f"the cheapest run costs {costs.min():.3g}", remedy)
    cells = list(dict.fromkeys((run.N, run.r) for run in runs))
    room = np.array([(most_seeds if r > 0 else 1) - len(seeds.get((N, r), ())) for N, r in cells])
    choice = Choice(
        gains=blocks([np.stack([gain(space, run) for run in runs]) for space in spaces]),
        costs=costs,
        cells=np.array([cells.index((run.N, run.r)) for run in runs]),
        room=room,
        target=np.concatenate([space.target for space in spaces]),
        budget=budget,
        most=most,
    )
    if not choice.allowed([]).size:
        raise InputError(
            "seeds",
            most_seeds,
            "the data have as many runs of each model and share that the budget buys",
            "allow more seeds, other shares or other models",
        )
    return choice


def _seeds(evidence: Mapping[str, Evidence]) -> tuple[dict[tuple[int, float], set[int]], int]:
    """The seeds of the runs that exist, by size and share of the domain; and the smallest."""
    found: dict[tuple[int, float], set[int]] = {}
    for role, one in evidence.items():
        for key, seeds in seeds_of(one.table, _of_domain(role, one)).items():
            found.setdefault(key, set()).update(seeds)
    return found, min((seed for seeds in found.values() for seed in seeds), default=0)


def _of_domain(role: str, one: Evidence) -> Array:
    """The share of the domain at each row of a table; without a column r all of the stream is the role's corpus."""
    own = one.table.r.to_numpy(dtype=float) if "r" in one.table else np.ones(len(one.table))
    return own if role == "domain" else 1 - own
