"""Runs that could be trained next, what they cost, and the sweep file that trains them.

Beneath `analysis.design.next_runs`. A run of a model at one mixture, trained to D tokens, measures both losses at every
checkpoint on the way. Models are those of conf/model.

    runs = candidates(models_near(sizes), token_grid(1e5, 6e5), SHARES)
    text = sweep_file(points, base={"defaults": [...], "peak": 0.5}, base_seed=0)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.laws.formula import Array
from analysis.results.expressions import numbers_of, row_numbers
from harness.core.errors import InputError
from harness.core.shipped import CONF
from harness.program.shape import ModelShape, flops_per_token, non_embedding

SHARES = (0.0, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1.0)  # of the domain: the nine of 2406.01375
FACTOR = 4.0  # how far outside of the data's sizes a model may lie
HALVINGS = 4  # of the longest run, in half steps: the shortest has a sixteenth of its tokens

Seeds = Mapping[tuple[int, float], set[int]]  # (N, share of the domain) -> seeds of the runs that exist


@dataclass(frozen=True)
class Candidate:
    """A run that could be trained: `N` parameters outside the embeddings, `D` tokens, of which the share `r` is of the
    domain. `flops`: of continual pre-training alone, for the base exists."""

    model: str
    N: int
    D: float
    r: float
    flops: float


@dataclass(frozen=True)
class Proposed:
    """A proposed run. `gain_per_flop`: by how much it narrows the interval, after all points before it, for a FLOP."""

    model: str
    N: int
    D: float
    r: float
    flops: float
    gain_per_flop: float
    seed: int


def models(folder: Path = CONF / "model") -> dict[str, ModelShape]:
    """The shapes in conf/model, by name."""
    from omegaconf import OmegaConf

    found = {}
    for file in sorted(folder.glob("*.yaml")):
        settings: Any = OmegaConf.to_container(OmegaConf.load(file))
        name = str(settings.pop("name"))
        found[name] = ModelShape(**settings)
    return found


def models_near(sizes: Iterable[float], names: Sequence[str] | None = None) -> dict[str, ModelShape]:
    """The models of `names`; by default those within FACTOR of the data's `sizes` (N), of the same vocabulary and
    sequence length as the data's own where conf/model has these. InputError for an unknown name, or if there is none.
    """
    known, ordered = models(), sorted(sizes)
    if names is not None:
        if wrong := [name for name in names if name not in known]:
            raise InputError("models", ", ".join(wrong), "not in conf/model", f"choose of {', '.join(known)}")
        return {name: known[name] for name in names}
    own = {(shape.vocab_size, shape.seq_len) for shape in known.values() if non_embedding(shape) in ordered}
    near = {
        name: shape
        for name, shape in known.items()
        if ordered[0] / FACTOR <= non_embedding(shape) <= ordered[-1] * FACTOR
        and (not own or (shape.vocab_size, shape.seq_len) in own)
    }
    if not near:
        why = f"no model of conf/model lies within a factor of {FACTOR:g} of the data's"
        raise InputError("N", ", ".join(f"{size:.4g}" for size in ordered[:5]), why, "name some of conf/model")
    return near


def candidates(shapes: Mapping[str, ModelShape], tokens: Sequence[float], shares: Sequence[float]) -> list[Candidate]:
    """All products of models, tokens and shares of the domain. InputError for a share that is none."""
    if wrong := [share for share in shares if not 0 <= share <= 1]:
        raise InputError("shares", wrong[0], "outside [0, 1]", "give shares of the downstream corpus")
    return [
        Candidate(name, non_embedding(shape), D, r, flops_per_token(shape, shape.seq_len) * D)
        for (name, shape), D, r in itertools.product(shapes.items(), tokens, dict.fromkeys(shares))
    ]


def token_grid(least: float, most: float) -> list[float]:
    """Lengths of runs: `most`, and down from it in steps of the root of two to a sixteenth, but not under `least`.
    InputError unless `most` is positive and finite."""
    if not (math.isfinite(most) and most > 0):
        raise InputError("most-tokens", most, "is not a positive finite number", "give the longest run's tokens")
    lengths = [most / 2 ** (k / 2) for k in range(2 * HALVINGS + 1)]
    return [float(f"{length:.3g}") for length in lengths if length == most or length >= least]


def checkpoints(table: pd.DataFrame, D: float) -> Array:
    """Where a run to `D` tokens would be measured: back from its end to where the data begin, as far apart as their
    rows are (the median within runs)."""
    by = ["run"] if "run" in table else [name for name in ("N", "r") if name in table]
    gaps = table.sort_values("D").groupby(by).D.diff()
    every, first = float(gaps[gaps > 0].median()), min(float(table.D.min()), D)
    count = 0 if np.isnan(every) else int((D - first) / every * (1 + 1e-9))
    return np.array([D - k * every if k else D for k in range(count + 1)])


def seeds_of(table: pd.DataFrame, shares: Array) -> dict[tuple[int, float], set[int]]:
    """The seeds of the runs in a table whose rows have these `shares` of the domain; without a column `seed` they
    count from 0. InputError for a seed that is no whole number."""
    if "seed" in table:
        numbers = numbers_of(table["seed"], "seed", "of the runs")
        if bad := list(table.index[~np.isfinite(numbers) | (numbers % 1 != 0)]):
            raise InputError(
                "seed", table.seed[bad[0]], f"is no whole number ({row_numbers(bad)})", "give the seeds of the runs"
            )
        table = table.assign(seed=numbers.astype(int))
    found: dict[tuple[int, float], set[int]] = {}
    table = table.assign(domain=shares.round(6))
    for N, r in set(zip(table.N, table.domain, strict=True)):
        rows = table[(table.N == N) & (table.domain == r)]
        count = rows.run.nunique() if "run" in rows else 1
        found[int(N), float(r)] = {int(seed) for seed in rows.seed} if "seed" in rows else set(range(count))
    return found


def numbered(chosen: Sequence[Candidate], gains: Iterable[float], seeds: Seeds) -> tuple[Proposed, ...]:
    """The chosen runs, each with the smallest seed that no run of its model and share has: neither in the data
    (`seeds`) nor before it. A run of the same seed would repeat the errors of that run; another one averages them."""
    taken = {key: set(used) for key, used in seeds.items()}
    points = []
    for run, gain in zip(chosen, gains, strict=True):
        used = taken.setdefault((run.N, run.r), set())
        seed = next(number for number in itertools.count() if number not in used)
        used.add(seed)
        points.append(Proposed(run.model, run.N, run.D, run.r, run.flops, gain, seed))
    return tuple(points)


def sweep_file(points: Sequence[Proposed], base: Mapping[str, Any], *, base_seed: int = 0, comment: str = "") -> str:
    """The text of a sweep file that trains the points: `python -m harness -cd FOLDER -cn NAME`.

    `base`: the settings of the sweep that the data came from (its `defaults`, `peak`, `evaluate` and so on), whose
    `grids` are replaced. Unless it sets `base.seed`, all runs continue the base of `base_seed`, which exists.
    """
    if "defaults" not in base:
        why, remedy = "no `defaults`: it is no sweep file", "give the settings of the sweep that the data came from"
        raise InputError("base", ", ".join(base) or "nothing", why, remedy)
    header = {key: value for key, value in base.items() if key != "grids"}
    header["base"] = {"seed": base_seed, **header.get("base", {})}
    grids = [
        {"model": point.model, "replay": float(f"{1 - point.r:.6g}"), "tokens": point.D, "seed": point.seed}
        for point in points
    ]
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"{key}: {_yaml(value)}" for key, value in header.items()]
    return "\n".join([*lines, "grids:", *(f"  - {_yaml(grid)}" for grid in grids), ""])


def _yaml(value: Any) -> str:
    """A value on one line."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()
