"""From fits to decisions: which share of downstream data, which model, how many tokens.

    answer = domain_ability(general, domain, N=1.8e9, D=1e10, tolerance=0.03, base_loss=2.8602)
    answer.values["r"], answer.interval["r"], answer.status

r is the downstream share of the stream, so the general corpus has 1 - r; each law's own r is the share of the corpus
whose loss it gives. Every question is solved for the estimate and all bootstrap draws at once
(`analysis.answers.ensemble`). Mixtures of more corpora are in `analysis.answers.simplex`, schedules in
`analysis.answers.schedule`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers.answer import Answer, answer_of, band, check_amounts, check_share, limit_of
from analysis.answers.ensemble import (
    EDGE,
    Curve,
    Ensemble,
    best_of,
    ensembles,
    extrapolation,
    farthest,
    solve,
    status_of,
)
from analysis.answers.measured import measured_along, share_against
from analysis.fitting.fit import Fit
from analysis.formulas.formula import Array
from harness.core.errors import InputError

LEAST_SHARE = 1e-4  # where the downstream tokens are limited: with a share of 0 the run would never end


def domain_ability(
    general: Fit,
    domain: Fit,
    *,
    N: float | None = None,
    D: float | None = None,
    tolerance: float,
    base_loss: float,
    independent: bool = False,
) -> Answer:
    """Usage 1 of 2406.01375: argmin_r L_d(N, D, r) subject to L_g(N, D, 1 - r) <= (1 + T) L_g0.

    N parameters, D tokens of continual pre-training, each for laws that read it; `base_loss` L_g0 the general loss
    before it. Raises InputError; for draws that are not paired, unless they are `independent`.
    """
    given = {name: value for name, value in (("N", N), ("D", D)) if value is not None}
    check_amounts(**given)
    _check_own_share(general, domain)
    limit = limit_of(base_loss, tolerance)
    (general_loss, domain_loss), paired = ensembles([general, domain], independent)
    r, found = _best_share(general_loss, domain_loss, limit, lambda _: given)
    fits = {"general": general, "domain": domain}
    return answer_of("domain_ability", {"r": r}, fits=fits, limit=limit, paired=paired, **found)


def limited_domain(
    domain: Fit,
    *,
    N: float | None = None,
    domain_tokens: float,
    general: Fit | None = None,
    tolerance: float | None = None,
    base_loss: float | None = None,
    independent: bool = False,
) -> Answer:
    """Usage 2 of 2406.01375: argmin_r L_d(N, D_d/r, r), where there are `domain_tokens` D_d, each seen once.

    With `general`, `tolerance` and `base_loss` also subject to L_g(N, D_d/r, 1 - r) <= (1 + T) L_g0. InputError.
    """
    given = {} if N is None else {"N": N}
    check_amounts(**given, domain_tokens=domain_tokens)
    asked = [general is not None, tolerance is not None, base_loss is not None]
    if any(asked) and not all(asked):
        raise InputError("tolerance", tolerance, "goes with a general fit and its base loss", "give all or none")
    fits = {"domain": domain, **({} if general is None else {"general": general})}
    _check_own_share(*fits.values())
    limit = None if base_loss is None or tolerance is None else limit_of(base_loss, tolerance)
    losses, paired = ensembles(list(fits.values()), independent)
    general_loss = None if general is None else losses[1]
    r, found = _best_share(general_loss, losses[0], limit, lambda r: {**given, "D": domain_tokens / r}, LEAST_SHARE)
    values = {"r": r, "D": domain_tokens / r}
    return answer_of("limited_domain", values, fits=fits, limit=limit, paired=paired, **found)


def compute_allocation(
    fit: Fit, *, flops: float, r: float | None = None, sizes: Sequence[float] | None = None, role: str = "domain"
) -> Answer:
    """Usage 3 of 2406.01375: argmin over N, D of L(N, D, r) subject to 6 N D = C `flops`, for any law with N and D.

    `r`: the share of the fit's corpus that is held fixed, for a law that has one. `sizes`: the N that exist.
    `role`: what the answer's loss is named by. Raises InputError.
    """
    check_amounts(flops=flops)
    if missing := [name for name in ("N", "D") if name not in fit.law.variables]:
        raise InputError("law", fit.law.name, f"has no {', '.join(missing)}", "fit one that has, such as chinchilla")
    held = {name: value for name, value in {"r": r}.items() if value is not None}
    if bool(fit.law.own_share) != (r is not None):
        why = f"{fit.law.name} {'depends' if r is None else 'does not depend'} on a share"
        raise InputError("r", r, why, "give one to a law that does, and to no other")
    if r is not None:
        check_share("r", r)
    (law,), _ = ensembles([fit])

    def objective(log_size: Array) -> Array:
        return law.loss({"N": np.exp(log_size), "D": flops / 6 / np.exp(log_size), **held})

    if sizes is None:
        most = math.log(flops / 6)  # the budget's largest model sees one token
        best = solve(objective, None, 0.0, most)
        status = status_of(best[0], objective, None, 0.0, most)
    else:
        check_amounts(**{f"sizes[{i}]": size for i, size in enumerate(sizes)})
        existing = np.log(np.sort(np.asarray(sizes, dtype=float)))[None]
        best, _ = best_of(objective, None, existing)
        status = "on_bound" if best[0] in (existing[0, 0], existing[0, -1]) else "interior"
    values = {"N": np.exp(best), "D": flops / 6 / np.exp(best)}
    at = {**{name: float(column[0]) for name, column in values.items()}, **held}
    endless = sizes is None and status == "on_bound"
    share = {} if r is None else {fit.law.own_share: r}
    runs = measured_along(fit, "N", lambda N: {"D": flops / 6 / N, **share, "N": N})
    outside = extrapolation(fit, at)
    against = runs.promised(at["N"], f"{role} loss", "N") if runs and not outside else []
    return answer_of(
        "compute_allocation",
        values,
        fits={role: fit},
        status=status,
        loss={role: law.loss(at)},
        extrapolated=outside,
        against=against,
        doubts=["the law has no best size: the whole budget goes into N or D"] if endless else [],
    )


def critical_share(
    general: Fit,
    *,
    base_loss: float,
    tolerance: float = 0.0,
    increase: float | None = None,
    N: float | None = None,
    D: float | None = None,
) -> Answer:
    """The largest downstream share r at which L_g(1 - r) <= (1 + T) L_g0: the critical mixture.

    `increase`: nats, in place of a relative tolerance; the critical mixture ratio of 2407.17467 is that of 0.05 (whose
    second condition, that the domain loss falls, is not asked here). N and D for a law that has them. InputError.
    """
    given = {name: value for name, value in (("N", N), ("D", D)) if value is not None}
    check_amounts(**given)
    _check_own_share(general)
    if increase is not None and tolerance:
        raise InputError("increase", increase, "there is a relative tolerance too", "give one of the two")
    if increase is not None and not (math.isfinite(increase) and increase >= 0):
        raise InputError("increase", increase, "is no rise of the loss", "give nats, 0 or more")
    limit = limit_of(base_loss, tolerance) + (increase or 0.0)
    (law,), _ = ensembles([general])

    def excess(r: Array) -> Array:
        return law.loss({**given, "r": 1 - r}) - limit

    r = solve(np.negative, excess)
    status = status_of(r[0], np.negative, excess)
    return answer_of(
        "critical_share",
        {"r": r},
        fits={"general": general},
        status=status,
        loss={"general": excess(r[:1, None]) + limit},
        limit=limit,
        extrapolated=extrapolation(general, {**given, "r": 1 - float(r[0])}),
        choice={"r": (0.0, 1.0)},
        doubts=_out_of_reach(r[0], excess, limit),
        against=share_against(general, None, lambda _: given, float(r[0]), limit, status),
    )


def curves(
    general: Fit,
    domain: Fit,
    *,
    N: float,
    D: float | None = None,
    domain_tokens: float | None = None,
    points: int = 201,
    independent: bool = False,
) -> pd.DataFrame:
    """Both predicted losses against the downstream share, for plots; with D tokens, or `domain_tokens`/r of them.

    Columns r, and for general and domain the loss, its band at LEVEL `_low`, `_high` (NaN without draws), and whether
    the data of its fit reach there, `_measured`.
    """
    if (D is None) == (domain_tokens is None):
        raise InputError("D", D, "it takes all tokens or the downstream ones", "give one of D and domain_tokens")
    r = np.linspace(0.0 if domain_tokens is None else LEAST_SHARE, 1.0, points)
    tokens = np.full(points, D) if domain_tokens is None else domain_tokens / r
    both, _ = ensembles([general, domain], independent)
    columns = {"r": r}
    for name, law, share in zip(("general", "domain"), both, (1 - r, r), strict=True):
        found = law.loss({"N": N, "D": tokens, "r": share})
        columns[name] = found[0]
        columns[f"{name}_low"], columns[f"{name}_high"] = band(found[1:])
        at = [{"N": N, "D": float(d), "r": float(s)} for d, s in zip(tokens, share, strict=True)]
        columns[f"{name}_measured"] = np.array([not extrapolation(law.fit, one) for one in at])
    return pd.DataFrame(columns)


def _best_share(
    general: Ensemble | None,
    domain: Ensemble,
    limit: float | None,
    given: Callable[[Array], Mapping[str, Any]],
    low: float = 0.0,
) -> tuple[Array, dict[str, Any]]:
    """Usages 1 and 2: r (K,) in [low, 1] of the least domain loss where the laws are `given(r)`, and the rest of the
    answer."""

    def domain_loss(r: Array) -> Array:
        return domain.loss({**given(r), "r": r})

    def general_loss(r: Array) -> Array:
        assert general is not None
        return general.loss({**given(r), "r": 1 - r})

    excess = None if limit is None else lambda r: general_loss(r) - limit
    r = solve(domain_loss, excess, low)
    best, at = float(r[0]), r[:1, None]
    there = {name: float(np.ravel(value)[0]) for name, value in given(r).items()}
    loss, outside = {"domain": domain_loss(at)}, extrapolation(domain.fit, {**there, "r": best})
    doubts = [] if excess is None or limit is None else _out_of_reach(r[0], excess, limit, low)
    if low > 0 and r[0] <= low * (1 + EDGE) + EDGE:
        doubts.append(f"the loss still falls at r = {low:g}, the least share that is looked at")
    if general is not None:
        loss = {"general": general_loss(at), **loss}
        outside = farthest(outside, extrapolation(general.fit, {**there, "r": 1 - best}))
    status = status_of(r[0], domain_loss, excess, low)
    against = share_against(None if general is None else general.fit, domain.fit, given, best, limit, status)
    return r, {
        "status": status,
        "loss": loss,
        "extrapolated": outside,
        "choice": {"r": (low, 1.0)},
        "doubts": doubts,
        "against": against,
    }


def _out_of_reach(best: float, excess: Curve, limit: float, low: float = 0.0) -> list[str]:
    """Why no share keeps the limit of the general loss; nothing if one does."""
    if not math.isnan(best):
        return []
    nearest = solve(excess, None, low)[:1, None]
    least = float(excess(nearest)[0, 0]) + limit
    if math.isnan(least):
        return ["the laws have no loss there"]
    return [f"the general loss stays at or above {least:.4f}, its limit is {limit:.4f}"]


def _check_own_share(*fits: Fit) -> None:
    for fit in fits:
        if not fit.law.own_share:
            why = f"does not say which of its variables ({', '.join(fit.law.variables)}) is the share of its corpus"
            raise InputError("law", fit.law.name, why, 'fit one that says so: dcpt, or your own with shares=("r",)')
