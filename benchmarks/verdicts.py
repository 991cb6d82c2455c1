"""Is the better law called the better one? Comparisons of planted tables, against the errors that laws really make.

A table holds losses of one law, 20 runs of 6 checkpoints with errors of runs (.5 %) and rows (.2 %); three laws that
nest are compared on it by run. What is true is known: the error of each law, fitted to that table, at 20 runs that it
does not hold and without noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from analysis.answers.compare import compare
from analysis.fitting.fit import LEVEL, objective_of
from analysis.fitting.objective import Loss
from analysis.fitting.search import search
from analysis.formulas.formula import Array
from analysis.laws.law import Law
from benchmarks.table import Row
from benchmarks.workload import Bench, print_line

_N, _D = {"N": "parameters"}, {"D": "tokens"}
LAWS = (
    Law("no_floor", "A/N**alpha + B/D**beta", _N | _D, ("A", "B"), {"alpha": (0.02, 1.5), "beta": (0.02, 1.5)}),
    Law("floor", "E + A/N**alpha + B/D**beta", _N | _D, ("E", "A", "B"), {"alpha": (0.02, 1.5), "beta": (0.02, 1.5)}),
    Law("one_exponent", "E + A/N**alpha + B/D**alpha", _N | _D, ("E", "A", "B"), {"alpha": (0.02, 1.5)}),
)
RUN_NOISE, ROW_NOISE = 0.005, 0.002


TABLES = 200
RESULT = Path(__file__).parent / "results" / "verdicts.csv"
CUTS = (0.0, 2e-4, 5e-4, 1e-3, 3e-3, np.inf)  # of the true difference of two laws' errors


def verdicts(bench: Bench) -> list[Row]:
    """Verdicts of `compare` on 200 planted tables: how often two laws are told apart, and how often wrongly."""
    results = study(range(3 if bench.quick else TABLES))
    if not bench.quick:
        summary(results).to_csv(RESULT, index=False, lineterminator="\n")
        print_line(f"verdicts: {RESULT.name} written")
    told = told_apart(results, "se")
    note = f"{len(results)} pairs; {int(told.sum())} told apart at 90 %"
    wrong = float((told & (results.truth < 0)).sum()) / max(int(told.sum()), 1)
    return [Row("verdicts: share of those told apart whose order is wrong", "", (wrong,), note=note)]


def told_apart(results: pd.DataFrame, se: str) -> pd.Series[bool]:
    """Whether the first law is called better. `se`: of `compare`, or plain_se, of folds that shared nothing."""
    reach = t.ppf((1 + LEVEL) / 2, results.folds - 1) * results[se]
    return pd.Series(np.log(results.ratio) - reach > 0)


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """By the size of the true difference: pairs, and of them told apart rightly and wrongly, with either error."""
    cut = pd.cut(results.truth.abs(), list(CUTS), right=False)
    columns: dict[str, pd.Series[int]] = {"pairs": results.truth.groupby(cut, observed=False).size()}
    for name, se in (("", "se"), ("plain_", "plain_se")):
        told = told_apart(results, se)
        columns[f"{name}right"] = (told & (results.truth > 0)).groupby(cut, observed=False).sum().astype(int)
        columns[f"{name}wrong"] = (told & (results.truth < 0)).groupby(cut, observed=False).sum().astype(int)
    found = pd.DataFrame(columns).reset_index(drop=True)
    found.insert(0, "difference_from", CUTS[:-1])
    return found


def study(seeds: Iterable[int]) -> pd.DataFrame:
    """A row a pair of laws of a table. Columns: seed, law (against the best), ratio, se (as `compare` has them),
    plain_se (of independent folds), folds, truth (the difference of the true errors)."""
    rows = []
    for seed in seeds:
        table, fresh, true = _planted(seed)
        found = compare(LAWS, table, by="run")
        errors = {law.name: _error(law, table, fresh, true) for law in LAWS}
        best = found.laws.law.iloc[0]
        for one in found.laws.iloc[1:].to_dict("records"):
            count = int(one["folds"])
            plain = one["se"] / np.sqrt(1 + count / (count - 1))
            truth = errors[one["law"]] - errors[best]
            rows.append((seed, one["law"], one["ratio"], one["se"], plain, count, truth))
    return pd.DataFrame(rows, columns=["seed", "law", "ratio", "se", "plain_se", "folds", "truth"])


def _planted(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, Array]:
    """A table of 20 runs of random sizes and lengths, runs that it does not hold, and their losses without noise."""
    random = np.random.default_rng(seed)
    exponent = random.uniform(0.15, 0.4)
    apart = random.choice([0.0, 0.03, 0.1])  # of the two exponents: at 0 and a floor of 0 the laws hardly differ
    truth = {"E": random.choice([0.0, 0.1, 0.3, 1.0]), "alpha": exponent, "beta": exponent + apart}
    truth |= {"A": 1.5 * 1e9 ** truth["alpha"], "B": 1.5 * 1e10 ** truth["beta"]}
    runs = [(run, 10 ** random.uniform(8, 10), 10 ** random.uniform(9.5, 11)) for run in range(40)]
    points = pd.DataFrame([(run, N, D * part) for run, N, D in runs for part in np.geomspace(0.1, 1, 6)])
    points.columns = pd.Index(["run", "N", "D"])
    losses = LAWS[1].value(truth, points)
    errors = RUN_NOISE * random.standard_normal(40)[points.run] + ROW_NOISE * random.standard_normal(len(points))
    seen = (points.run < 20).to_numpy()
    return points.assign(loss=losses * np.exp(errors))[seen], points[~seen], losses[~seen]


def _error(law: Law, table: pd.DataFrame, fresh: pd.DataFrame, true: Array) -> float:
    found = search(objective_of(law, table, Loss()))
    parameters = dict(zip(law.parameters, law.outward(found.theta), strict=True))
    return float(np.abs(law.value(parameters, fresh[["N", "D"]]) / true - 1).mean())
