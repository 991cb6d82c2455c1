"""The best mixture of k corpora: shares on the simplex, with caps from the tokens that each corpus has.

    fits = {"math": fit_law(find("mixing:docs,python,math"), ...), "docs": ...}     # loss on a corpus -> its fit
    answer = best_mixture(fits, {"math": 0.7, "docs": 0.3}, tokens=1e10, available={"math": 2e9}, most_epochs=4)

An interior-point method (Newton steps along a falling logarithmic barrier) takes the estimate and every bootstrap draw
together. The mixing law is convex in the shares, so that its minimum is the global one; other laws need not be, so it
runs from the middle of what is allowed and from near k of its corners, these are looked at themselves, and it runs on
every face, where some shares are zero: where slopes are infinite at zero nothing inside leads there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.decide.answer import Answer, answer_of, check_amounts
from analysis.decide.ensemble import Ensemble, ensembles, extrapolation, farthest
from analysis.fitting.fit import Fit
from analysis.formulas.formula import Array
from harness.core.errors import InputError

BARRIERS = np.concatenate([np.geomspace(0.1, 1e-11, 24), np.full(4, 1e-11)])  # one Newton step each
HALVINGS = 10  # of a step that is too long
NEAR = 0.9  # of the way from the middle to a corner: the barrier wants starts inside
ZERO = 1e-6  # a share this near to zero or to its cap is there
PROBES = 256  # points at which the curvature is looked at
ROUNDING = 1e-9  # of the largest curvature
MOST_FACES = 8  # domains up to which all 2^k - 1 faces are looked at


@dataclass(frozen=True)
class _Blend:
    """sum of w_t L_t(shares) over the targets t, with its derivatives; shares (1 or K, ..., k)."""

    laws: tuple[Ensemble, ...]
    weights: tuple[float, ...]
    targets: tuple[str, ...]
    domains: tuple[str, ...]
    given: Mapping[str, float]  # N and D

    def columns(self, target: str, shares: Array) -> dict[str, Any]:
        """The variables of a target's law: of those that are shares the domain's, or of the one its own; N and D."""
        return {**self.given, **{name: shares[..., i] for name, i in self.places(target).items()}}

    def places(self, target: str) -> dict[str, int]:
        """Variable that is a share -> the number of its domain, which may be called as another variable is."""
        law = self.laws[self.targets.index(target)].fit.law
        if law.own_share:
            return {law.own_share: self.domains.index(target)}
        return {name: self.domains.index(name) for name in law.variables if name in law.shares}

    def loss(self, shares: Array) -> Array:
        """(K, ...)."""
        parts = zip(self.weights, self.laws, self.targets, strict=True)
        return np.asarray(sum(weight * law.loss(self.columns(target, shares)) for weight, law, target in parts))

    def repeated(self, count: int) -> _Blend:
        """The same with all draws `count` times, one after the other."""
        return replace(self, laws=tuple(replace(law, theta=np.tile(law.theta, (count, 1))) for law in self.laws))

    def derivatives(self, shares: Array) -> tuple[Array, Array]:
        """Gradient (K, k) and Hessian (K, k, k) at shares (K, k). A domain that a formula does not name, because the
        others imply it, has none: on the simplex only differences count."""
        rows, k = len(self.laws[0].theta), len(self.domains)
        gradient, hessian = np.zeros((rows, k)), np.zeros((rows, k, k))
        for weight, law, target in zip(self.weights, self.laws, self.targets, strict=True):
            columns = self.columns(target, shares[:, None])
            place = self.places(target)
            for name, i in place.items():
                gradient[:, i] += weight * law.loss(columns, by=(name,))[:, 0]
            for (a, i), (b, j) in itertools.combinations_with_replacement(place.items(), 2):
                second = weight * law.loss(columns, by=(a, b))[:, 0]
                hessian[:, i, j] += second
                if i != j:
                    hessian[:, j, i] += second
        return gradient, hessian


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
    blend = _Blend(tuple(laws), tuple(weights[name] for name in fits), tuple(fits), names, given)
    shares = _minimum(blend, caps)
    first = shares[:1]
    loss = {target: law.loss(blend.columns(target, first[:, None])) for target, law in zip(fits, laws, strict=True)}
    at = [{name: float(np.ravel(x)[0]) for name, x in blend.columns(target, first).items()} for target in fits]
    held = bool(((caps < 1) & (first[0] >= caps - ZERO)).any())
    status = "on_limit" if held else "on_bound" if (first[0] <= ZERO).any() else "interior"
    return answer_of(
        "mixture",
        dict(zip(names, shares.T, strict=True)),
        fits=fits,
        status=status,
        loss=loss,
        paired=paired,
        extrapolated=farthest(*(extrapolation(fit, point) for fit, point in zip(fits.values(), at, strict=True))),
        choice=dict.fromkeys(names, (0.0, 1.0)),
    )


def _minimum(blend: _Blend, caps: Array) -> Array:
    """Shares (K, k) of the least loss: of the estimate from all starts, of the draws from two, its answer being one."""
    rows = len(blend.laws[0].theta)
    if caps.sum() <= 1 + ZERO:
        return np.tile(caps / caps.sum(), (rows, 1))
    corners = [_corner(caps, first) for first in range(len(caps))]
    estimate = replace(blend, laws=tuple(replace(law, theta=law.theta[:1]) for law in blend.laws))
    found = _best_end(estimate, corners, corners, caps)
    best = _best_end(blend, list(found), corners, caps)
    if not _is_convex(blend, estimate):
        best = _better(blend, [best, *_face_ends(blend, estimate, caps)])
    best[best < ZERO] = 0.0
    return np.asarray(best / best.sum(-1, keepdims=True))


def _best_end(blend: _Blend, near: Sequence[Array], corners: Sequence[Array], caps: Array) -> Array:
    """The best (K, k) of the ends reached from the middle of what is allowed and from near some points (k,), and of the
    corners: where a slope is infinite at a share of zero, one can be a minimum that nothing inside leads to."""
    rows = len(blend.laws[0].theta)
    return _better(blend, [_end_on(blend, caps, near), *(np.tile(corner, (rows, 1)) for corner in corners)])


def _better(blend: _Blend, ends: Sequence[Array]) -> Array:
    """Of points (K, k) each row's best, (K, k)."""
    shares = np.stack(ends, axis=1)
    losses = blend.loss(shares)
    return np.asarray(shares[np.arange(len(shares)), np.where(np.isnan(losses), np.inf, losses).argmin(-1)])


def _is_convex(blend: _Blend, estimate: _Blend) -> bool:
    """Whether no curvature along the simplex is negative, at PROBES points of the estimate and one of each draw: a
    minimum on a face is then one that the descent from inside reaches."""
    k, random = len(blend.domains), np.random.default_rng(0)
    along = np.eye(k) - 1 / k
    for one in (estimate.repeated(PROBES), blend):
        shares = np.maximum(random.dirichlet(np.full(k, 0.5), len(one.laws[0].theta)), ZERO)  # also near the faces
        _, hessian = one.derivatives(shares / shares.sum(-1, keepdims=True))
        if not np.isfinite(hessian).all():
            return False
        curvature = np.linalg.eigvalsh(along @ hessian @ along)
        if (curvature[:, 0] < -ROUNDING * np.abs(curvature).max(-1)).any():
            return False
    return True


def _face_ends(blend: _Blend, estimate: _Blend, caps: Array) -> list[Array]:
    """Ends (K, k) on the faces: of the estimate on all, of the draws on those that are best for some draw there."""
    faces = _faces(caps)
    if not faces:
        return []
    rows = len(blend.laws[0].theta)
    ends = [_end_on(estimate, face, _corners(face)) for face in faces]
    tiled = [np.tile(end, (rows, 1)) for end in ends]
    losses = blend.loss(np.stack(tiled, axis=1))
    chosen = np.unique(np.where(np.isnan(losses), np.inf, losses).argmin(-1))
    return [*tiled, *(_end_on(blend, faces[i], list(ends[i])) for i in chosen if rows > 1)]


def _faces(caps: Array) -> list[Array]:
    """The caps (k,) with those of all others than some domains 0, wherever these domains may fill the run."""
    k = len(caps)
    if k > MOST_FACES:
        return []
    kept = [np.isin(range(k), some) for count in range(1, k) for some in itertools.combinations(range(k), count)]
    return [face for some in kept if (face := np.where(some, caps, 0.0)).sum() >= 1 - ZERO and (caps[some] > 0).all()]


def _end_on(blend: _Blend, face: Array, near: Sequence[Array]) -> Array:
    """The best (K, k) on a face, reached from its middle and from near some of its points (k,)."""
    rows, middle = len(blend.laws[0].theta), face / face.sum()
    if face.sum() <= 1 + ZERO:
        return np.tile(middle, (rows, 1))
    starts = np.stack([middle, *(middle + NEAR * (point - middle) for point in near)])
    ends = _descended(blend.repeated(len(starts)), np.repeat(starts, rows, axis=0), face)
    return _better(blend, list(ends.reshape(len(starts), rows, -1)))


def _corners(caps: Array) -> list[Array]:
    return [_corner(caps, first) for first in range(len(caps)) if caps[first] > 0]


def _corner(caps: Array, first: int) -> Array:
    """Shares as large as the caps allow, in order from one domain on."""
    order = np.roll(np.arange(len(caps)), -first)
    filled = np.minimum(np.cumsum(caps[order]), 1.0)
    corner = np.empty_like(caps)
    corner[order] = np.diff(filled, prepend=0.0)
    return corner


def _descended(blend: _Blend, shares: Array, caps: Array) -> Array:
    """Newton steps on loss - mu sum log h - mu sum log(cap - h) subject to sum h = 1, as mu falls; shares (K, k)."""
    k, scale = len(caps), sum(blend.weights)
    free = caps > 0

    def barrier(h: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-(np.log(h) + np.log(caps - h))[..., free].sum(-1))

    for mu in BARRIERS * scale:
        gradient, hessian = blend.derivatives(shares)
        gradient = np.where(free, gradient, 0.0)  # at a share that stays zero a slope may be infinite
        hessian = np.where(free & free[:, None], hessian, 0.0)
        values, axes = np.linalg.eigh(hessian)
        hessian = (axes * np.maximum(values, 0.0)[:, None]) @ np.swapaxes(axes, 1, 2)  # downhill where not convex
        room = np.where(free, caps - shares, 1.0)
        inside = np.where(free, shares, 1.0)
        slope = gradient - mu * (1 / inside - 1 / room)
        system = np.zeros((len(shares), k + 1, k + 1))
        system[:, :k, :k] = hessian * free * free[:, None]
        system[:, range(k), range(k)] += mu * (1 / inside**2 + 1 / room**2)
        system[:, k, :k] = system[:, :k, k] = free
        right = np.concatenate([-slope * free, np.zeros((len(shares), 1))], axis=1)
        step = np.linalg.solve(system, right[..., None])[:, :k, 0] * free
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(step < 0, shares / -step, np.where(step > 0, room / step, np.inf)).min(-1)
        lengths = np.minimum(1.0, 0.99 * reach)[:, None] * np.append(0.5 ** np.arange(HALVINGS), 0.0)
        trials = shares[:, None] + lengths[..., None] * step[:, None]
        merit = blend.loss(trials) + mu * barrier(trials)
        chosen = np.where(np.isnan(merit), np.inf, merit).argmin(-1)
        shares = trials[np.arange(len(trials)), chosen]
    return shares


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
