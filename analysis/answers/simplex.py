"""The best mixture of k corpora: shares on the simplex, with caps from the tokens that each corpus has.

    fits = {"math": fit_law(find("mixing:docs,python,math"), ...), "docs": ...}     # loss on a corpus -> its fit
    answer = best_mixture(fits, {"math": 0.7, "docs": 0.3}, tokens=1e10, available={"math": 2e9}, most_epochs=4)

An interior-point method (`analysis.answers.descent`) takes the estimate and every bootstrap draw together. The mixing
law is convex in the shares, so that its minimum is the global one; other laws need not be, so it runs from the middle
of what is allowed and from near k of its corners, these are looked at themselves, and it runs on every face, where some
shares are zero: where slopes are infinite at zero nothing inside leads there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.answers.answer import Answer, answer_of, check_amounts
from analysis.answers.descent import ZERO, Blend, least
from analysis.answers.ensemble import ensembles, extrapolation, farthest
from analysis.answers.measured import mixture_promised, unmeasured_mixture
from analysis.fitting.fit import Fit
from analysis.formulas.formula import Array
from harness.core.errors import InputError


def best_mixture(
    fits: Mapping[str, Fit],
    weights: Mapping[str, float],
    *,
    tokens: float,
    domains: Sequence[str] | None = None,
    N: float | None = None,
    available: Mapping[str, float] | None = None,
    most_epochs: float | None = None,
    independent: bool = False,
) -> Answer:
    """argmin over the shares h, sum h = 1, of sum_t w_t L_t(h), with h_j <= `most_epochs` available_j / tokens.

    `fits`: corpus whose loss it is -> fit of a law of shares (`Law.shares`: those of all domains by name, or that of
    the corpus itself), N and D; D is `tokens`, those of the run. `domains`: what is mixed, by default what the laws
    say, else the fits' corpora. `available`: tokens of the domains that are scarce. Status on_limit: a cap holds;
    on_bound: a share is zero. The answer's losses are those of each corpus. Raises InputError.
    """
    check_amounts(tokens=tokens, **({} if N is None else {"N": N}))
    names = tuple(domains or _domains(fits))
    _check_weights(fits, weights)
    caps = _caps(names, tokens, available, most_epochs)
    laws, paired = ensembles(list(fits.values()), independent)
    given = {"D": tokens} if N is None else {"N": N, "D": tokens}
    _check_variables(fits, names, given)
    blend = Blend(tuple(laws), tuple(weights[name] for name in fits), tuple(fits), names, given)
    shares = least(blend.weighed(), caps)
    first = shares[:1]
    loss = {target: law.loss(blend.columns(target, first[:, None])) for target, law in zip(fits, laws, strict=True)}
    at = [{name: float(np.ravel(x)[0]) for name, x in blend.columns(target, first).items()} for target in fits]
    held = bool(((caps < 1) & (first[0] >= caps - ZERO)).any())
    status = "on_limit" if held else "on_bound" if (first[0] <= ZERO).any() else "interior"
    mixed = dict(zip(names, map(float, first[0]), strict=True))
    against = [
        reason
        for (target, fit), point in zip(fits.items(), at, strict=True)
        for reason in (
            *(unmeasured_mixture(fit, {**mixed, **point}) if status != "interior" else ()),
            *mixture_promised(fit, point, f"{target} loss"),
        )
    ]
    return answer_of(
        "mixture",
        dict(zip(names, shares.T, strict=True)),
        fits=fits,
        status=status,
        loss=loss,
        paired=paired,
        extrapolated=farthest(
            *(extrapolation(fit, {**mixed, **point}) for fit, point in zip(fits.values(), at, strict=True))
        ),
        choice=dict.fromkeys(names, (0.0, 1.0)),
        against=list(dict.fromkeys(against)),
    )


def _caps(
    names: Sequence[str], tokens: float, available: Mapping[str, float] | None, most_epochs: float | None
) -> Array:
    """The largest share of each domain, (k,)."""
    if (available is None) != (most_epochs is None):
        raise InputError("most_epochs", most_epochs, "goes with the available tokens", "give both or neither")
    given = available or {}
    if unknown := sorted(set(given) - set(names)):
        raise InputError("available", unknown[0], "is no domain of the mixture", f"choose of {', '.join(names)}")
    if negative := [name for name, amount in given.items() if not amount >= 0]:
        raise InputError("available", given[negative[0]], f"is no amount of tokens of {negative[0]}", "give one")
    epochs = 1.0 if most_epochs is None else most_epochs
    check_amounts(most_epochs=epochs)
    caps = np.array([min(1.0, epochs * given.get(name, math.inf) / tokens) for name in names])
    if caps.sum() < 1 - ZERO:
        why = f"{epochs:g} epochs of all domains are {caps.sum():.3g} of the {tokens:.3g} tokens of the run"
        raise InputError("most_epochs", epochs, why, "allow more epochs, or give fewer tokens")
    return caps


def _domains(fits: Mapping[str, Fit]) -> list[str]:
    """What the laws say is mixed; of laws of the share of their own corpus, these corpora, or the one and the rest."""
    if silent := [fit.law.name for fit in fits.values() if not fit.law.shares]:
        why = "does not say that it is a law of shares"
        raise InputError("law", silent[0], why, "fit one that says so, such as mixing:..., or yours with shares=(...)")
    listed = {fit.law.shares for fit in fits.values() if not fit.law.own_share}
    if len({frozenset(names) for names in listed}) > 1:
        mixtures = "; ".join(sorted(",".join(names) for names in listed))
        raise InputError("domains", mixtures, "the fits are of different mixtures", "give the domains")
    return list(min(listed)) if listed else [*fits, *(["rest"] if len(fits) == 1 else [])]


def _check_weights(fits: Mapping[str, Fit], weights: Mapping[str, float]) -> None:
    if set(weights) != set(fits) or not fits:
        raise InputError("weights", ", ".join(weights), f"there are fits of {', '.join(fits)}", "give a weight to each")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights.values()) or not any(weights.values()):
        raise InputError("weights", list(weights.values()), "not all are positive or zero", "give shares of interest")


def _check_variables(fits: Mapping[str, Fit], names: Sequence[str], given: Mapping[str, float]) -> None:
    """InputError unless each law's variables are shares of the mixture, or given."""
    for target, fit in fits.items():
        own = fit.law.own_share
        shares = ({own} if target in names else set()) if own else set(fit.law.shares) & set(names)
        known = {*given, *shares}
        if unknown := [name for name in fit.law.variables if name not in known]:
            why = f"its {unknown[0]} is neither a share of {', '.join(names)} nor given"
            raise InputError("law", fit.law.name, why, f"give the domains and N, or --given {unknown[0]}=...")
