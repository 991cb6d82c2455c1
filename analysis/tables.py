"""Results as a DataFrame: one row per (run, position, corpus). What figures, fits and claims start from.

table = load(Path("runs"), sweep="demo")
table[(table.role == "upstream") & (table.D >= 0)]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.runs import Facts, RunRecord, read_runs

SHARED = tuple(field.name for field in fields(Facts) if field.name not in ("shares", "windows"))
COLUMNS = (*SHARED, "status", "position", "tokens", "D", "corpus", "role", "r", "windows", "loss", "bits_per_byte")


def load(
    root: Path, sweep: str | Sequence[str] | None = None, parents: Sequence[Path] = (), *,
    overrides: Sequence[str] = (), windows: int | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The measurements of a store, or of the members of a sweep.

    Of the run: `run, key, name, address, base_address, model, scale, shift, upstream, downstream, N` (parameters
    outside the embeddings), `N_total, base_tokens, run_tokens, lr` (peak of continual pre-training), `peak` (the same
    over the base's), `warmup` (share of the horizon), `warmup_tokens, replay, schedule, start, at, seed, status`.
    Of the row: `position` (steps since the root), `tokens` since the root, `D` = those of continual pre-training
    (negative while the base trains, 0 at the base), `corpus`, `role` (upstream, downstream or further; upstream where
    both are one), `r` = share of this corpus in continual pre-training, `windows`, `loss` (nats per token),
    `bits_per_byte`. Raises InputError.
    """
    return table_of(read_runs(root, sweep, overrides=overrides, parents=parents, windows=windows))


def table_of(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """The table of runs that are read already."""
    counts = np.array([len(run.rows) for run in runs], dtype=np.int64)
    columns: dict[str, Any] = {}
    for name in SHARED:
        columns[name] = _column([getattr(run.facts, name) for run in runs]).repeat(counts)
    columns["status"] = _column([run.status for run in runs]).repeat(counts)
    rows = [row for run in runs for row in run.rows]
    columns["position"] = np.array([row.position for row in rows], dtype=np.int64)
    columns["tokens"] = np.array([row.tokens for row in rows], dtype=np.int64)
    base_tokens = np.array([run.facts.base_tokens for run in runs], dtype=np.int64)
    columns["D"] = columns["tokens"] - base_tokens.repeat(counts)
    columns["corpus"] = np.array([row.corpus for row in rows], dtype=object)
    columns["role"] = np.array([_role(run, row.corpus) for run in runs for row in run.rows], dtype=object)
    columns["r"] = np.array([run.facts.shares.get(row.corpus, 0.0) for run in runs for row in run.rows], dtype=float)
    columns["windows"] = np.array([row.windows for row in rows], dtype=np.int64)
    columns["loss"] = np.array([row.loss for row in rows], dtype=float)
    columns["bits_per_byte"] = np.array([row.bits_per_byte for row in rows], dtype=float)
    return pd.DataFrame({name: columns[name] for name in COLUMNS})


def _role(run: RunRecord, corpus: str) -> str:
    return {run.facts.downstream: "downstream", run.facts.upstream: "upstream"}.get(corpus, "further")


def _column(values: list[Any]) -> Any:
    """Numbers as numbers (None becomes NaN), all else as objects."""
    numbers = [value for value in values if value is not None]
    if numbers and all(isinstance(value, int) for value in values):
        return np.array(values, dtype=np.int64)
    if numbers and all(isinstance(value, (int, float)) for value in numbers):
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    return np.array(values, dtype=object)
