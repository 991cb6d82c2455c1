"""What one wants to know from fitted laws: a number, worked out for many sets of their parameters at once.

Between `analysis.answers.ensemble` and `analysis.design.next_runs`, which differentiates the number by the parameters
to see which runs would narrow it. `analysis.answers.optimise` answers the same for a reader.

    question = share_under_tolerance(N=1.8e9, D=1e10, tolerance=0.03, base_loss=2.8602)
    question.value({"general": ensemble, "domain": ensemble})

Fits go by the corpus whose loss they are of: "general" (upstream) or "domain" (downstream). r is the share of the
domain everywhere; the general law sees 1 - r.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.answers.answer import check_amounts, check_share, limit_of
from analysis.answers.ensemble import Ensemble, solve
from analysis.answers.optimise import LEAST_SHARE
from analysis.formulas.formula import Array
from harness.core.errors import InputError

FINER = 200  # answers are differentiated: to 1e-10, not the 1e-7 of `solve`
ROLES = ("general", "domain")


@dataclass(frozen=True)
class Question:
    """A number that follows from fits."""

    name: str
    """What is asked."""
    roles: tuple[str, ...]
    """Of the fits it follows from."""
    share: bool
    """Whether the number is a share of the domain."""
    value: Callable[[Mapping[str, Ensemble]], Array]
    """The number for each of K sets of the fits' parameters, (K,); NaN where there is none."""
    at: Callable[[float, str], Mapping[str, float]]
    """Where the answer lies for the law of a role: its variables, as far as there are any."""


def share_under_tolerance(*, N: float, D: float, tolerance: float, base_loss: float) -> Question:
    """Usage 1 of 2406.01375: r* = argmin_r L_d(N, D, r) subject to L_g(N, D, 1 - r) <= (1 + T) L_g0.

    For a model of `N` parameters after `D` tokens; `base_loss` L_g0 = general loss before continual pre-training.
    """
    check_amounts(N=N, D=D)
    limit = limit_of(base_loss, tolerance)

    def value(fits: Mapping[str, Ensemble]) -> Array:
        return solve(
            lambda r: fits["domain"].loss({"N": N, "D": D, "r": r}),
            lambda r: fits["general"].loss({"N": N, "D": D, "r": 1 - r}) - limit,
            finer=FINER,
        )

    return Question(
        f"r* at N={N:.4g}, D={D:.4g} where the general loss may reach {limit:.4f}",
        ROLES,
        True,
        value,
        _at(N, lambda _: D),
    )


def share_of_limited_domain(*, N: float, domain_tokens: float) -> Question:
    """Usage 2 of 2406.01375: r* = argmin_r L_d(N, D_d/r, r), where there are only D_d `domain_tokens`."""
    check_amounts(N=N, domain_tokens=domain_tokens)

    def value(fits: Mapping[str, Ensemble]) -> Array:
        return solve(
            lambda r: fits["domain"].loss({"N": N, "D": domain_tokens / r, "r": r}), low=LEAST_SHARE, finer=FINER
        )

    name = f"r* at N={N:.4g} with {domain_tokens:.4g} tokens of the domain"
    return Question(name, ("domain",), True, value, _at(N, lambda r: domain_tokens / r))


def loss_at(role: str, *, N: float, D: float, r: float) -> Question:
    """The loss of one role at a point; `r` = share of the domain. Nats per token."""
    _check_role(role)
    check_amounts(N=N, D=D)
    check_share("r", r)
    own = r if role == "domain" else 1 - r

    def value(fits: Mapping[str, Ensemble]) -> Array:
        return fits[role].loss({"N": N, "D": D, "r": own})[:, 0]

    return Question(
        f"{role} loss at N={N:.4g}, D={D:.4g}, r={r:.4g}", (role,), False, value, lambda *_: {"N": N, "D": D, "r": own}
    )


def parameter(role: str, name: str) -> Question:
    """A parameter of the fit of one role, in the law's own units."""
    _check_role(role)

    def value(fits: Mapping[str, Ensemble]) -> Array:
        law = fits[role].fit.law
        if name not in law.parameters:
            raise InputError("parameter", name, f"{law.name} has none such", f"choose of {', '.join(law.parameters)}")
        return np.asarray(law.outward(fits[role].theta)[:, law.parameters.index(name)])

    return Question(f"{name} of the {role} loss", (role,), False, value, lambda *_: {})


def _at(N: float, tokens: Callable[[float], float]) -> Callable[[float, str], Mapping[str, float]]:
    """`Question.at` where the answer is a share."""
    return lambda r, role: {"N": N, "D": tokens(r), "r": r if role == "domain" else 1 - r}


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise InputError("role", role, "no such loss", f"choose of {', '.join(ROLES)}")
