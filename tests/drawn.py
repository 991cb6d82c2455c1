"""What a figure shows, as numbers."""

from __future__ import annotations

import numpy as np
from matplotlib.lines import Line2D

from analysis.formulas.formula import Array


def points(line: Line2D) -> Array:
    """The points of a line, (n, 2): x and y."""
    return np.asarray(line.get_xydata(), dtype=float)
