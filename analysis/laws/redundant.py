"""Parameters that no data can tell apart, because the formula says the same thing twice.

    redundant(Bound(law, columns))                # E and alpha of E + A*log(D/alpha): log(alpha) is a part of E

Between `analysis.laws.law` and fits, which ask where a direction is flat: a table may be the reason (two sizes for
three parameters), and more data the remedy, or the formula, and then the remedy is to fix a parameter.
"""

from __future__ import annotations

import numpy as np

from analysis.formulas import formula
from analysis.laws.law import Bound

POINTS, ROWS = 3, 64  # parameters at random, and rows at least for each of them
NULL = 1e-10  # of the largest singular value: a direction that changes nothing
SHARE = 1e-6  # of such a direction: a parameter that takes part in it


def redundant(bound: Bound) -> tuple[str, ...]:
    """The parameters along directions that change no value of the law, in its order: at parameters from all over its
    ranges, and on rows like the table's whose columns vary each for itself, so that no design hides anything."""
    law, random = bound.law, np.random.default_rng(0)
    rows = random.integers(bound.n, size=max(ROWS, 4 * len(law.parameters)))
    plain = [column[rows] for column in bound.data[: len(law.variables)]]
    varied = {
        name: column * np.exp(random.standard_normal(column.shape))
        for name, column in zip(law.variables, plain, strict=True)
    }
    theta = random.standard_normal((POINTS, len(law.parameters)))  # of a linear one on a log scale: a factor
    for i, name in enumerate(law.parameters):
        if name in law.starts:
            low, high = np.log(law.starts[name]) if law.on_log_scale(name) else law.starts[name]
            theta[:, i] = random.uniform(low, high, POINTS)
    with np.errstate(all="ignore"):
        _, gradient, _ = Bound(law, formula.columns_of(law.form, varied)).derivatives(theta)
    taking_part = np.ones(len(law.parameters), dtype=bool)
    for slopes in gradient:
        slopes = slopes[:, np.isfinite(slopes).all(0)]
        size = np.sqrt((slopes**2).sum(1, keepdims=True))
        axes, values, _ = np.linalg.svd(slopes / np.maximum(size, 1e-300))
        known = np.zeros(len(axes), dtype=bool)
        known[: len(values)] = values > NULL * values.max(initial=1e-300)
        taking_part &= (np.abs(axes[:, ~known]) > SHARE).any(1)
    return tuple(name for name, own in zip(law.parameters, taking_part, strict=True) if own)
