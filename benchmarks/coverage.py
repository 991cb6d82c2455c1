"""Do 90 % intervals hold the truth where the rows of a run err together? Four hundred planted tables a design.

A table's losses are those of a known law, times lognormal errors: one that all rows of a run share (.5 %) and one of
each row (.1 %). Intervals are those of `fit_law`: from standard errors and from the
bootstrap, both by runs, and from standard errors that count rows as independent. Parameters at a bound are counted by
themselves, as are those that are not identified, whose intervals are profiles.
"""

from __future__ import annotations

import csv
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.fitting.fit import LEVEL, objective_of
from analysis.fitting.objective import Loss
from analysis.fitting.resampling import draws_of, grouping_of
from analysis.fitting.search import search
from analysis.fitting.standard_errors import inform, intervals
from analysis.laws.law import Bound, Law
from analysis.laws.library import LAWS, find
from benchmarks.table import Row
from benchmarks.workload import Bench, print_line

TABLES, DRAWS = 400, 100
DOMAINS = ["a", "b", "other"]
RESULT = Path(__file__).parent / "results" / "coverage.csv"
RUN_NOISE, ROW_NOISE = 0.005, 0.001  # of log losses
FARTHER = 4.0  # times the largest size and tokens
ASKED = (0.85, 0.95)
METHODS = ("standard errors", "bootstrap", "rows")
INSIDE, FAR = "predictions inside", "predictions 4 x outside"


@dataclass(frozen=True)
class Design:
    """A law with its truth, and what was trained."""

    law: Law
    """Of the planted losses, and of the fit."""
    truth: Mapping[str, float]
    """Its parameters."""
    table: pd.DataFrame
    """Columns of the law's variables, and run."""
    inside: pd.DataFrame
    """Where predictions are asked for, among the data."""
    outside: pd.DataFrame
    """The same beyond them."""


def coverage(bench: Bench) -> list[Row]:
    """Coverage of 90 % intervals over 400 planted tables, of parameters and predictions, by runs and by rows."""
    found = study(list(designs()), 2 if bench.quick else TABLES, 20 if bench.quick else DRAWS)
    if not bench.quick:
        write(found)
    return summary(found)


def summary(found: pd.DataFrame) -> list[Row]:
    """How many of a study's shares are as asked for: of parameters by standard errors, of predictions by bootstraps."""
    inside = found[found["where"] == "inside"]
    predicted = inside.quantity.isin([INSIDE, FAR])
    rows = []
    for what, shares in (
        ("parameters by standard errors", inside[~predicted]["standard errors"]),
        ("parameters by bootstraps", inside[~predicted]["bootstrap"]),
        ("predictions by bootstraps", inside[predicted]["bootstrap"]),
    ):
        note = f"{shares.min():.1%} to {shares.max():.1%} of 90 % intervals, by runs, a bound of E among them"
        held = float(shares.between(*ASKED).mean())
        rows.append(Row(f"coverage: of {what}, shares from 85 to 95 %", "", (held,), note=note))
    return rows


def write(found: pd.DataFrame) -> None:
    RESULT.parent.mkdir(exist_ok=True)
    with RESULT.open("w", newline="") as file:
        rows = found.round(4).astype(object).where(found.notna(), "")
        csv.writer(file, lineterminator="\n").writerows([list(rows), *rows.to_numpy().tolist()])
    print_line(f"coverage: {RESULT.name} written")


def designs() -> dict[str, Design]:
    """By name. Amounts as in the papers; five sizes for D-CPT, with which its term in N is identified."""
    chinchilla = {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2000.0, "beta": 0.37}
    dcpt = {"E": 1.6, "A": 400.0, "alpha": 0.33, "B": 300.0, "eta": 0.2, "beta": 0.33, "C": 0.6, "eps": 0.1}
    dcpt["gamma"] = 0.5
    mixing = {"c": 1.9, "k": 0.6, "t_a": -2.0, "t_b": 0.8}
    N, D = np.geomspace(5e7, 1e10, 12), np.geomspace(1e9, 3e11, 12)
    runs = _grid(N=N, D=D)
    near, far = _grid(N=(1e8, 1e9, 6e9), D=(3e9, 1e11)), _grid(N=(1e9, FARTHER * N[-1]), D=(FARTHER * D[-1],))
    sizes, tokens = np.geomspace(2e8, 8e9, 5), np.geomspace(1.3e8, 2.6e10, 6)
    continued = _grid(N=sizes, r=(0.05, 0.2, 0.45, 0.7, 1.0), D=tokens)
    shares = np.random.default_rng(7).dirichlet([1, 1, 1], 20)
    mixed = pd.DataFrame(np.repeat(shares, 4, axis=0), columns=DOMAINS).assign(run=np.repeat(np.arange(20), 4))
    some = pd.DataFrame(np.random.default_rng(8).dirichlet([2, 2, 2], 6), columns=DOMAINS)
    return {
        "chinchilla, 12 runs": Design(LAWS["chinchilla"], chinchilla, runs, near, far),
        "chinchilla, 12 runs, E = 0": Design(LAWS["chinchilla"], {**chinchilla, "E": 0.0}, runs, near, far),
        "mixing of 3, 20 runs": Design(
            find(f"mixing:{','.join(DOMAINS)}"), mixing, mixed, some, pd.DataFrame(np.eye(3), columns=DOMAINS)
        ),
        "dcpt, 25 runs": Design(
            LAWS["dcpt"],
            dcpt,
            continued,
            _grid(N=(5e8, 4e9), r=(0.1, 0.5, 0.9), D=(1e9, 2e10)),
            _grid(N=(1e9, FARTHER * sizes[-1]), r=(0.1, 0.5, 0.9), D=(FARTHER * tokens[-1],)),
        ),
    }


def study(names: Iterable[str], tables: int, draws: int) -> pd.DataFrame:
    """A row a design and quantity: n, where (inside its bounds, on a bound, not identified), and the share of intervals
    by each of METHODS that hold the truth."""
    rows = []
    for name in names:
        design = designs()[name]
        found = [one for seed in range(tables) for one in once(design, seed, draws)]
        rows += [{"design": name, **row} for row in counted(found)]
        print_line(f"coverage: {name}, {tables} tables")
    return pd.DataFrame(rows)


def counted(found: Iterable[tuple[tuple[str, str], Sequence[float]]]) -> Iterable[dict[str, object]]:
    """Rows of `study` from what `once` found."""
    held: dict[tuple[str, str], list[Sequence[float]]] = defaultdict(list)
    for key, one in found:
        held[key].append(one)
    for (quantity, where), several in sorted(held.items(), key=lambda item: item[0][1]):
        means = np.mean(several, axis=0).tolist()
        yield {"quantity": quantity, "where": where, "n": len(several), **dict(zip(METHODS, means, strict=True))}


def once(design: Design, seed: int, draws: int) -> Iterable[tuple[tuple[str, str], Sequence[float]]]:
    """One table: (quantity, where) and whether the interval of each method holds the truth (NaN: it has none)."""
    law, table = design.law, planted(design, seed)
    objective = objective_of(law, table, Loss())
    found = search(objective, seed)
    grouping = grouping_of(table, law.variables)
    known, as_rows = inform(objective, found, grouping.clusters), inform(objective, found, None)
    drawn = draws_of(objective, found, table, grouping, draws, seed, None)
    ends = [
        intervals(law, found, known, None, {}, LEVEL),
        intervals(law, found, known, drawn, {}, LEVEL),
        intervals(law, found, as_rows, None, {}, LEVEL),
    ]
    for name, truth in design.truth.items():
        where = "not identified" if name in known.unidentified else "on a bound" if name in known.on_bound else "inside"
        if truth in law.bound(name):
            where = "truth on a bound"
        yield (name, where), [float(one[name][0] <= truth <= one[name][1]) for one in ends]
    tail = (1 - LEVEL) / 2
    for what, points in ((INSIDE, design.inside), (FAR, design.outside)):
        columns = {name: points[name].to_numpy(dtype=float) for name in law.variables}
        lost = Bound(law, columns).value(law.inward(drawn.parameters))
        low, high = np.nanquantile(lost, [tail, 1 - tail], axis=0)
        true = law.value(design.truth, columns)
        yield (what, "inside"), [np.nan, float(((low <= true) & (true <= high)).mean()), np.nan]


def planted(design: Design, seed: int) -> pd.DataFrame:
    """The design's table with losses."""
    random, table = np.random.default_rng([seed, 1]), design.table
    of_run, runs = pd.factorize(table.run)
    errors = RUN_NOISE * random.standard_normal(len(runs))[of_run]
    errors += ROW_NOISE * random.standard_normal(len(table))
    return table.assign(loss=design.law.value(design.truth, table[list(design.law.variables)]) * np.exp(errors))


def _grid(**values: Iterable[float]) -> pd.DataFrame:
    """Every combination, with a run for each but of D."""
    table = pd.DataFrame(list(itertools.product(*values.values())), columns=list(values))
    return table.assign(run=table.drop(columns="D").astype(str).agg("-".join, axis=1))
