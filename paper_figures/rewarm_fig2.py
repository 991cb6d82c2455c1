"""2308.04014, figure 2: the downstream loss for a range of peak learning rates, constant, and from scratch."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from paper_figures import arms, peaks

SWEEP = "rewarm_max_lr"
CLAIMS = ("R3", "R4", "R5", "S1")
select = arms.select_peaks


def draw(table: pd.DataFrame) -> Figure:
    return peaks.draw(select(table), "downstream")
