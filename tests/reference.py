"""Public result tables of others, which are not part of the project: `make` says where they are, if they are there."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest


def reference(name: str) -> pd.DataFrame:
    """The table NAME.csv; skips the test that asks for it where REWARM_REFERENCE_DATA does not name its folder."""
    folder = os.environ.get("REWARM_REFERENCE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("REWARM_REFERENCE_DATA is not set: the public tables of others are not part of the project")
    return pd.read_csv(Path(folder) / f"{name}.csv")
