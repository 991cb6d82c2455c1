"""The least of a sum of laws over the simplex, for the estimate and every draw of fits together.

Beneath `analysis.answers.simplex`. An interior-point method: Newton steps along a falling logarithmic barrier, from the
middle of what is allowed, from near its corners and, where the sum is not convex, on every face.

    least(Blend(laws, weights, targets, domains, given), caps)      # shares (K, k)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.answers.ensemble import Ensemble
from analysis.formulas.formula import Array

BARRIERS = np.concatenate([np.geomspace(0.1, 1e-11, 24), np.full(4, 1e-11)])  # one Newton step each
HALVINGS = 10  # of a step that is too long
NEAR = 0.9  # of the way from the middle to a corner: the barrier wants starts inside
ZERO = 1e-6  # a share this near to zero or to its cap is there
PROBES = 256  # points at which the curvature is looked at
ROUNDING = 1e-9  # of the largest curvature
MOST_FACES = 8  # domains up to which all 2^k - 1 faces are looked at


@dataclass(frozen=True)
class Blend:
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

    def weighed(self) -> Blend:
        """The same without the targets that weigh nothing."""
        kept = np.flatnonzero(np.array(self.weights) > 0).tolist()
        return replace(
            self,
            laws=tuple(self.laws[i] for i in kept),
            weights=tuple(self.weights[i] for i in kept),
            targets=tuple(self.targets[i] for i in kept),
        )

    def repeated(self, count: int) -> Blend:
        """The same with all draws `count` times, one after the other."""
        return replace(self, laws=tuple(replace(law, theta=np.tile(law.theta, (count, 1))) for law in self.laws))

    def derivatives(self, shares: Array) -> tuple[Array, Array]:
        """Gradient (K, k) and Hessian (K, k, k) at shares (K, k). A domain that a formula does not name, because the
        others imply it, has none: on the simplex only differences count."""
        rows, k = len(self.laws[0].theta), len(self.domains)
        gradient, hessian = np.zeros((rows, k)), np.zeros((rows, k, k))
        for weight, law, target in zip(self.weights, self.laws, self.targets, strict=True):
            places = self.places(target)
            at = np.array([*places.values()], dtype=np.int64)
            slopes, curvature = law.derivatives(self.columns(target, shares), tuple(places))
            gradient[:, at] += weight * slopes
            hessian[:, at[:, None], at] += weight * curvature
        return gradient, hessian


def least(blend: Blend, caps: Array) -> Array:
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


def _best_end(blend: Blend, near: Sequence[Array], corners: Sequence[Array], caps: Array) -> Array:
    """The best (K, k) of the ends reached from the middle of what is allowed and from near some points (k,), and of the
    corners: where a slope is infinite at a share of zero, one can be a minimum that nothing inside leads to."""
    rows = len(blend.laws[0].theta)
    return _better(blend, [_end_on(blend, caps, near), *(np.tile(corner, (rows, 1)) for corner in corners)])


def _better(blend: Blend, ends: Sequence[Array]) -> Array:
    """Of points (K, k) each row's best, (K, k)."""
    shares = np.stack(ends, axis=1)
    losses = blend.loss(shares)
    return np.asarray(shares[np.arange(len(shares)), np.where(np.isnan(losses), np.inf, losses).argmin(-1)])


def _is_convex(blend: Blend, estimate: Blend) -> bool:
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


def _face_ends(blend: Blend, estimate: Blend, caps: Array) -> list[Array]:
    """Ends (K, k) on the faces: of the estimate on all, of the draws on those that are best for some draw there."""
    faces = _faces(caps)
    if not faces:
        return []
    rows = len(blend.laws[0].theta)
    starts = [_starts(face, _corners(face)) for face in faces]
    bounds = np.repeat(faces, list(map(len, starts)), axis=0)
    ends = _descended(estimate.repeated(len(bounds)), np.concatenate(starts), bounds)
    parts = np.split(ends, np.cumsum(list(map(len, starts)))[:-1])
    found = [np.tile(_better(estimate, [end[None] for end in part]), (rows, 1)) for part in parts]
    losses = blend.loss(np.stack(found, axis=1))
    chosen = np.unique(np.where(np.isnan(losses), np.inf, losses).argmin(-1))
    return [*found, *(_end_on(blend, faces[i], [found[i][0]]) for i in chosen if rows > 1)]


def _faces(caps: Array) -> list[Array]:
    """The caps (k,) with those of all others than some domains 0, wherever these domains may fill the run."""
    k = len(caps)
    if k > MOST_FACES:
        return []
    kept = [np.isin(range(k), some) for count in range(1, k) for some in itertools.combinations(range(k), count)]
    return [face for some in kept if (face := np.where(some, caps, 0.0)).sum() >= 1 - ZERO and (caps[some] > 0).all()]


def _starts(face: Array, near: Sequence[Array]) -> Array:
    """The middle of a face, and points near some of its points, (S, k); the one point of a face that is a point."""
    middle = face / face.sum()
    if face.sum() <= 1 + ZERO:
        return np.asarray(middle[None])
    return np.stack([middle, *(middle + NEAR * (point - middle) for point in near)])


def _end_on(blend: Blend, face: Array, near: Sequence[Array]) -> Array:
    """The best (K, k) on a face, reached from its middle and from near some of its points (k,)."""
    rows, starts = len(blend.laws[0].theta), _starts(face, near)
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


def _descended(blend: Blend, shares: Array, caps: Array) -> Array:
    """Newton steps on loss - mu sum log h - mu sum log(cap - h) subject to sum h = 1, as mu falls; shares (K, k), caps
    (k,) or (K, k). Where the caps are just enough there is nothing to choose."""
    k, scale = shares.shape[1], sum(blend.weights)
    caps = np.broadcast_to(caps, shares.shape)
    settled = caps.sum(1, keepdims=True) <= 1 + ZERO
    free = (caps > 0) & ~settled
    both = free[:, :, None] & free[:, None]

    def barrier(h: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-np.where(free[:, None], np.log(h) + np.log(caps[:, None] - h), 0.0).sum(-1))

    for mu in BARRIERS * scale:
        gradient, hessian = blend.derivatives(shares)
        gradient = np.where(free, gradient, 0.0)  # at a share that stays zero a slope may be infinite
        hessian = np.where(both, hessian, 0.0)
        values, axes = np.linalg.eigh(hessian)
        hessian = (axes * np.maximum(values, 0.0)[:, None]) @ np.swapaxes(axes, 1, 2)  # downhill where not convex
        room = np.where(free, caps - shares, 1.0)
        inside = np.where(free, shares, 1.0)
        slope = gradient - mu * (1 / inside - 1 / room)
        system = np.zeros((len(shares), k + 1, k + 1))
        system[:, :k, :k] = hessian * both
        system[:, range(k), range(k)] += mu * (1 / inside**2 + 1 / room**2)
        system[:, k, :k] = system[:, :k, k] = free
        system[:, k, k] = settled[:, 0]
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
