"""Which runs to train next: those that narrow the answer to a question most for their FLOPs.

Above `analysis.fitting.fit`, `analysis.decide.questions` and `analysis.design.sensitivity`;
`analysis.design.candidates` says what can be run.

    evidence = {"general": Evidence(fit, table), "domain": Evidence(fit, table)}
    question = share_under_tolerance(N=2.2e6, D=6e5, tolerance=0.05, base_loss=3.4)
    proposal = next_runs(evidence, question, budget_flops=1e13)

A c-optimal design (Elfving 1952; Silvey, Optimal Design, 1980): near the fit the answer is linear in the parameters of
the laws, with gradient c, so that its variance is c' M^-1 c, where M is the Fisher information of all runs. Runs are
added by what they take off it for a FLOP, then exchanged while that helps. The rows of a run err together: log losses
have the covariance `row` I + `run` 1 1', both estimated from the residuals; errors of the two losses count as
independent. What a proposal promises holds as far as the law does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from analysis.decide.ensemble import ensembles
from analysis.decide.questions import Question
from analysis.design.candidates import (
    SHARES,
    Candidate,
    Proposed,
    Seeds,
    candidates,
    models_near,
    numbered,
    seeds_of,
    sweep_file,
    token_grid,
)
from analysis.design.information import Noise
from analysis.design.selection import Choice, best_set, blocks, ordered
from analysis.design.sensitivity import Evidence, Space, gain, gradient_of, space_of
from analysis.fitting.fit import LEVEL, Fit
from analysis.laws.formula import Array
from harness.core.errors import InputError

MOST_WITHOUT = 0.5  # of the draws may have no answer
VARIABLES = ("N", "D", "r")


@dataclass(frozen=True)
class Proposal:
    """Runs to train, the most gainful first.

    `interval_now`: of the answer `value`, at LEVEL; from bootstrap draws where the fits have them, else from the
    linearised standard error `se_now`. `interval_predicted`: the same, narrowed as the standard error narrows to
    `se_predicted`. `base_seed`: of the base to continue.
    """

    question: str
    value: float
    points: tuple[Proposed, ...]
    flops: float
    se_now: float
    se_predicted: float
    interval_now: tuple[float, float]
    interval_predicted: tuple[float, float]
    noise: dict[str, Noise]
    base_seed: int

    def sweep_file(self, base: Mapping[str, Any]) -> str:
        """A sweep file that trains the points, with the other settings of the sweep `base`. Raises InputError."""
        now, then = (f"[{low:.4g}, {high:.4g}]" for low, high in (self.interval_now, self.interval_predicted))
        comment = f"Proposed runs: {self.question},\nfrom {now} to about {then} for {self.flops:.3g} FLOPs."
        return sweep_file(self.points, base, base_seed=self.base_seed, comment=comment)

    def document(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The body of the JSON document `next`; `base` as for `sweep_file`."""
        return {
            "points": [{each.name: getattr(point, each.name) for each in fields(Proposed)} for point in self.points],
            "flops": self.flops,
            "interval_now": list(self.interval_now),
            "interval_predicted": list(self.interval_predicted),
            "sweep_file": self.sweep_file(base),
        }


def next_runs(
    evidence: Mapping[str, Evidence],
    question: Question,
    budget_flops: float,
    *,
    models: Sequence[str] | None = None,
    shares: Sequence[float] | None = None,
    most_tokens: float | None = None,
    most_seeds: int = 3,
    independent: bool = False,
) -> Proposal:
    """The runs for at most `budget_flops` that narrow the answer most. `evidence` by role: general, domain.

    `models` of conf/model (default: those near the data's); `shares` of the domain (default: the nine of the paper and
    the answer, if it is one); runs of up to `most_tokens` (default: the data's longest); `most_seeds` of one model and
    share, with those of the data: what the law misses there no repeat averages out (and one of pure replay, which reads
    the base's own order whatever its seed). `independent`: the fits' draws need not be paired. FLOPs are those of the
    tokens of continual pre-training: bases exist, measuring is not counted. Raises InputError for a fit that has not
    converged, an answer that does not exist, that no parameter moves or that the data do not determine at all, and a
    budget that buys no run.
    """
    fits = _fits(evidence, question)
    value, drawn = _answers(question, fits, independent)
    gradient = gradient_of(question, fits)
    spaces = [space_of(role, evidence[role], gradient[role], question) for role in fits if np.any(gradient[role])]
    if shares is None:
        shares = [*SHARES, *([round(value, 3)] if question.share else [])]
    runs = _runs(evidence, models, shares, most_tokens)
    seeds, base_seed = _seeds(evidence)
    choice = _choice(spaces, runs, seeds, most_seeds, budget_flops)
    order, errors = ordered(choice, best_set(choice))
    now = _interval(value, errors[0], drawn, question.share)
    left = errors[-1] / errors[0]
    gains = 2 * _quantile() * -np.diff(errors) / choice.costs[order]
    return Proposal(
        question.name,
        value,
        numbered([runs[i] for i in order], map(float, gains), seeds),
        float(choice.costs[order].sum()),
        errors[0],
        errors[-1],
        now,
        (value - (value - now[0]) * left, value + (now[1] - value) * left),
        {space.role: space.noise for space in spaces},
        base_seed,
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
        if not fit.converged:
            agree = f"{fit.starts['agree']} of {fit.starts['tried']} starts agree"
            raise InputError(
                "fit",
                f"{role} {fit.law.name}",
                f"it has not converged ({agree})",
                "fix parameters, leave out rows that the law cannot follow, or try --loss ls",
            )
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
        raise InputError("question", question.name, why, "allow more, such as a larger tolerance")
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
    evidence: Mapping[str, Evidence], models: Sequence[str] | None, shares: Sequence[float], most_tokens: float | None
) -> list[Candidate]:
    """The runs that could be trained."""
    tables = [one.table for one in evidence.values()]
    longest = max(float(table.D.max()) for table in tables) if most_tokens is None else most_tokens
    lengths = token_grid(min(float(table.D.min()) for table in tables), longest)
    sizes = {float(N) for table in tables for N in table.N}
    return candidates(models_near(sizes, models), lengths, shares)


def _choice(spaces: Sequence[Space], runs: Sequence[Candidate], seeds: Seeds, most_seeds: int, budget: float) -> Choice:
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
        own = one.table.r.to_numpy(dtype=float) if "r" in one.table else np.ones(len(one.table))
        for key, seeds in seeds_of(one.table, own if role == "domain" else 1 - own).items():
            found.setdefault(key, set()).update(seeds)
    return found, min((seed for seeds in found.values() for seed in seeds), default=0)
