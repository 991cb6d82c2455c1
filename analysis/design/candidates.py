"""Runs that could be trained next, what they cost, and the sweep file that trains them.

Beneath `analysis.design.next_runs`. A run of a model at one mixture, trained to D tokens, measures both losses at every
checkpoint on the way. Models are those of conf/model; what a run trains and measures is what the planner says of it in
the sweep that it will be part of.

    runs = candidates(Path("sweeps/dcpt.yaml"), models_near(sizes), token_grid(1e5, 6e5), SHARES, least=1e5)
    text = sweep_file(points, base={"defaults": [...], "peak": 0.5}, base_seed=0)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers.answer import FARTHEST
from analysis.formulas.expressions import numbers_of, one_line, row_numbers
from analysis.formulas.formula import Array
from analysis.results.recorded_program import warmup_steps
from harness.compose.compose import sweep_points
from harness.compose.sweep_file import sweep_text
from harness.config.run import read_run
from harness.core.errors import InputError
from harness.core.regular import require_regular
from harness.core.shipped import CONF
from harness.plan.cost import flops_of
from harness.plan.plan import PlannedRun, compile_points
from harness.program.shape import ModelShape, non_embedding
from harness.store.history import FINAL_POSITIONS

SHARES = (0.0, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1.0)  # of the domain: the nine of 2406.01375
HALVINGS = 4  # of the longest run, in half steps: the shortest has a sixteenth of its tokens

Seeds = Mapping[tuple[int, float], set[int]]  # (N, share of the domain) -> seeds of the runs that exist


@dataclass(frozen=True)
class Candidate:
    """A run that could be trained."""

    model: str
    """Of conf/model."""
    N: int
    """Parameters outside the embeddings."""
    D: float
    """Tokens of continual pre-training."""
    r: float
    """Share of the domain in them."""
    flops: float
    """Of training them and of measuring, as the planner counts both; the base exists."""
    at: tuple[float, ...]
    """Tokens at which it is measured after its warm-up, where the data begin or later."""


@dataclass(frozen=True)
class Proposed:
    """A proposed run, its first four fields those of a Candidate."""

    model: str
    N: int
    D: float
    r: float
    flops: float
    """All that it costs."""
    gain_per_flop: float
    """By how much it narrows the interval for a FLOP, after all points before it."""
    seed: int
    """That no other run of its model and share has."""


def models(folder: Path = CONF / "model") -> dict[str, ModelShape]:
    """The shapes in conf/model, by name."""
    from omegaconf import OmegaConf

    found = {}
    for file in sorted(folder.glob("*.yaml")):
        settings: Any = OmegaConf.to_container(OmegaConf.load(file))
        sizes = {field.name: settings[field.name] for field in fields(ModelShape) if field.name in settings}
        found[str(settings["name"])] = ModelShape(**sizes)
    return found


def models_near(sizes: Iterable[float], names: Sequence[str] | None = None) -> dict[str, ModelShape]:
    """The models of `names`; by default those within FARTHEST of the data's `sizes` (N), of the same vocabulary and
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
        if ordered[0] / FARTHEST <= non_embedding(shape) <= ordered[-1] * FARTHEST
        and (not own or (shape.vocab_size, shape.seq_len) in own)
    }
    if not near:
        why = f"no model of conf/model lies within a factor of {FARTHEST:g} of the data's"
        raise InputError("N", ", ".join(f"{size:.4g}" for size in ordered[:5]), why, "name some of conf/model")
    return near


def read_sweep(file: Path) -> dict[str, Any]:
    """The settings of the sweep file that the data came from. Raises InputError."""
    import yaml

    try:
        require_regular("base-sweep", file)
        base = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        why = f"cannot be read ({one_line(error)})"
        raise InputError("base-sweep", file, why, "name a sweep file") from None
    if not isinstance(base, dict) or "defaults" not in base or file.suffix != ".yaml":
        raise InputError("base-sweep", file, "is no sweep file", "name one, such as sweeps/dcpt.yaml")
    return base


def candidates(
    sweep: Path, shapes: Mapping[str, ModelShape], tokens: Sequence[float], shares: Sequence[float], least: float
) -> list[Candidate]:
    """All products of models, tokens and shares of the domain that the `sweep` file can be extended by.

    Left out is what the planner refuses, and a run that ends sooner after its warm-up than FINAL_POSITIONS times the
    distance of its measurements, or has fewer from `least` tokens on: it has no final loss, which is the mean of so
    many. InputError for a share that is none, and if nothing is left.
    """
    if wrong := [share for share in shares if not 0 <= share <= 1]:
        raise InputError("shares", wrong[0], "outside [0, 1]", "give shares of the downstream corpus")
    kinds = list(itertools.product(shapes.items(), dict.fromkeys(tokens), dict.fromkeys(shares)))
    swept: dict[str, list[Any]] = {
        "model": [*shapes],
        "tokens": [*dict.fromkeys(tokens)],
        "replay": [_replay(r) for r in dict.fromkeys(shares)],
    }
    product = ",".join(f"{key}:[{','.join(map(str, values))}]" for key, values in swept.items())
    composed = sweep_points([sweep.stem], [f"grids=[{{{product}}}]", "seed=0"], sweep.parent)
    found, refused = [], None
    for ((name, shape), D, r), point in zip(kinds, composed, strict=True):
        try:
            (planned,) = compile_points([(point.label, read_run(point.config))])
        except InputError as error:
            refused = error
            continue
        base = planned.base_position or 0
        keys = [row for row in planned.request.rows if row[0] > base]
        rows = [position for position, _ in keys]
        start, end = base + warmup_steps(planned.program, base), planned.program.steps
        at = _checkpoints(planned, base, start, rows, least)
        if len(at) >= FINAL_POSITIONS and end - start >= FINAL_POSITIONS * planned.run.measurements.every - 1:
            trained = planned.program.tokens(end) - planned.program.tokens(base)
            flops = flops_of(planned, trained, keys, planned.request.measures)
            found.append(Candidate(name, non_embedding(shape), D, r, flops, at))
    if not found:
        why = f"a run of {max(tokens):.3g} tokens is measured fewer than {FINAL_POSITIONS} times after its warm-up"
        remedy = "name the sweep that the data came from, or one that is measured more often"
        raise InputError("base-sweep", sweep, str(refused) if refused else why, remedy)
    return found


def _checkpoints(planned: PlannedRun, base: int, start: int, rows: Iterable[int], least: float) -> tuple[float, ...]:
    """Tokens of continual pre-training at which a run is measured, after the `start` at which its warm-up ends, from
    `least` on."""
    of, rounding = planned.program.tokens, planned.run.tokens_per_step
    return tuple(float(D) for at in sorted({*rows}) if at > start and (D := of(at) - of(base)) > least - rounding)


def token_grid(least: float, most: float) -> list[float]:
    """Lengths of runs: `most`, and down from it in steps of the root of two to a sixteenth, but not under `least`.
    InputError unless `most` is positive and finite."""
    if not (math.isfinite(most) and most > 0):
        raise InputError("most-tokens", most, "is not a positive finite number", "give the longest run's tokens")
    lengths = [most / 2 ** (k / 2) for k in range(2 * HALVINGS + 1)]
    return [float(f"{length:.3g}") for length in lengths if length == most or length >= least]


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
    """The text of a sweep file that trains the points, see `sweep_text`."""
    grids = [
        {"model": point.model, "replay": _replay(point.r), "tokens": point.D, "seed": point.seed} for point in points
    ]
    return sweep_text(grids, base, base_seed=base_seed, comment=comment)


def _replay(share: float) -> float:
    """Of a share of the domain, as it is written in a sweep file."""
    return float(f"{1 - share:.6g}")
