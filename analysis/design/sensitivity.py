"""How an answer moves with the parameters of the fits it rests on, and what a further run would tell of them.

Below `analysis.design.next_runs`: near the fit the answer is linear in the parameters, with the gradient of
`gradient_of`; a `Space` has coordinates in which the data's information is the identity, and `gain` is that of one more
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.answers.answer import UnsupportedError
from analysis.answers.ensemble import Ensemble
from analysis.design.candidates import Candidate
from analysis.design.information import Noise, estimate_of, information, inside, noise_of, slopes_of
from analysis.design.questions import Question
from analysis.fitting.fit import Fit
from analysis.fitting.resampling import grouping_of
from analysis.fitting.standard_errors import SINGULAR
from analysis.formulas.formula import Array

STEP = 1e-4  # of central differences, in parameters or their logarithms
EXACT = 1e-8  # to which an answer is: a smaller difference is none
BLIND = 1e-3  # of the gradient may lie along what the data say nothing of


@dataclass(frozen=True)
class Evidence:
    """A fit with the table that it was fitted to. The r of a general table is the share of the general corpus."""

    fit: Fit
    table: pd.DataFrame


def gradient_of(question: Question, fits: Mapping[str, Fit]) -> dict[str, Array]:
    """Derivatives (P,) of the answer by the parameters of each fit, by central differences inside their bounds; 0 for
    parameters on a bound. Raises UnsupportedError if all are 0, or if there is no answer near the fit."""
    found = {}
    for role, fit in fits.items():
        count = len(fit.law.parameters)
        moves = STEP * np.concatenate([np.eye(count), -np.eye(count)])
        theta = {name: np.repeat(estimate_of(other), 2 * count, axis=0) for name, other in fits.items()}
        theta[role] = np.clip(theta[role] + moves, *fit.law.inward_bounds)
        answers = question.value({name: Ensemble(other, theta[name]) for name, other in fits.items()})
        if not np.isfinite(answers).all():
            raise UnsupportedError(
                "question",
                question.name,
                "parameters near the fit have no answer",
                "allow more, such as a larger tolerance",
            )
        change, step = answers[:count] - answers[count:], np.diag(theta[role]) - np.diag(theta[role][count:])
        found[role] = np.where(np.abs(change) > EXACT, change, 0.0) / step * inside(fit)
    if not any(np.any(part) for part in found.values()):
        raise UnsupportedError(
            "question",
            question.name,
            "its answer is on a bound, where no parameter moves it",
            "ask something that runs can narrow",
        )
    return found


@dataclass(frozen=True)
class Space:
    """The parameters of a fit in coordinates in which its data's information is the identity.

    `axes` (P, m): the parameters along each coordinate; `target` (m,): the question's gradient, whose length is the
    linearised standard error of the answer. Directions that the data say nothing of have no coordinate.
    """

    role: str
    evidence: Evidence
    noise: Noise
    axes: Array
    target: Array


def space_of(role: str, evidence: Evidence, gradient: Array, question: Question) -> Space:
    """The space of a fit. Raises UnsupportedError where its data do not determine the answer."""
    fit, table = evidence.fit, evidence.table
    clusters = grouping_of(table, fit.law.variables, fit.group).clusters
    runs = np.arange(len(table)) if clusters is None else clusters
    columns = {name: table[name] for name in fit.law.variables}
    slopes = slopes_of(fit, columns)
    residuals = np.log(fit.predict(columns) / table[fit.target].to_numpy(dtype=float))
    noise = noise_of(slopes, residuals, runs)
    matrix = information(slopes, runs, noise)
    diagonal = np.diag(matrix)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.maximum(diagonal, 1e-300)), 0.0)
    values, vectors = np.linalg.eigh(matrix * scale[:, None] * scale)
    known = values > SINGULAR * values[-1]
    axes = scale[:, None] * vectors[:, known] / np.sqrt(values[known])
    blind = gradient[scale == 0], (vectors[:, ~known].T * scale) @ gradient
    if np.any(blind[0]) or np.linalg.norm(blind[1]) > BLIND * np.linalg.norm(scale * gradient):
        lost = ", ".join(fit.unidentified) or "some parameters"
        raise UnsupportedError(
            "question",
            question.name,
            f"the {role} data do not determine it ({lost})",
            "train a run by hand that differs in what they share, or fix parameters",
        )
    return Space(role, evidence, noise, axes, axes.T @ gradient)


def gain(space: Space, run: Candidate) -> Array:
    """Information (m, m) of a run that could be trained, in the coordinates of a space."""
    D = np.array(run.at)
    own = run.r if space.role == "domain" else 1 - run.r
    columns = {"N": np.full(len(D), float(run.N)), "D": D, "r": np.full(len(D), own)}
    slopes = space.axes.T @ slopes_of(space.evidence.fit, columns)
    return information(slopes, np.zeros(len(D), dtype=np.int64), space.noise)
