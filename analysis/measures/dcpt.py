"""2406.01375, *D-CPT Law*: what its claims D1 to D6 look at, and X2, in grids of mixtures.

Between `analysis.measures.evidence` and `analysis.claims.claims`. Losses are means over seeds; what a law says of rows
it has not seen is `analysis.fitting.crossval`'s. Runs of one size and mixture are one: their lengths share a trunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from analysis.fitting.crossval import Fold, Nearest, cross_validate, unseen
from analysis.fitting.fit import check_rows, objective_of
from analysis.fitting.objective import Loss, explained, quality, squared_errors
from analysis.fitting.resampling import clusters_of, draws_of, grouping_of, resamples
from analysis.fitting.search import search
from analysis.forecasts.usages import questions
from analysis.formulas.formula import Array
from analysis.laws.law import Bound, Law
from analysis.laws.library import LAWS
from analysis.measures.arms import Grid, MissingError, mixture_grids
from analysis.measures.contrast import Contrast, Resampled
from analysis.measures.evidence import LEAST, OF_ADAPTATION, OF_FORGETTING, Evidence, Test
from analysis.measures.rules import CONTRADICTED, INCONCLUSIVE, REPRODUCED, Part, no_worse, sign

L3 = LAWS["dcpt"]
RIVALS = tuple(LAWS[name] for name in ("dcpt_l1", "dcpt_l4", "dcpt_l5"))
CROSS, ONE_SIZE = LAWS["dcpt_cross"], LAWS["dcpt_one_size"]
EXTENSIONS = (LAWS["dcpt_saturating"], LAWS["dcpt_anchored"])
EXTENDED: str | None = None  # the one that predicts CHOSEN_ON best, by name; committed before SCORED_ON is looked at
CHOSEN_ON, SCORED_ON = ("python", "cpp"), "sympy"
WAYS = (("r", "each"), ("D", "largest"))  # what an extended law has not seen: a mixture; longer runs
LITTLE = 0.2  # share of the general corpus up to which its loss is said to rise
CHEAP = 0.01  # of the cost of a domain's runs
DRAWS = 200  # of the runs
FITS, HOLDS, TREND = 0.97, 0.9, 0.95  # least R2 of a fit, least of what is unseen, share of the cells
PRINTED = {"r": ("R2 .996", ".972"), "D": ("R2 not known", ".913"), "N": ("R2 .971", ".952")}  # general, domain
TRENDS = {"dL/dr": "r", "dL/dD": "D", "d2L/dDdr": "rD"}
SURELY = 3.0  # standard errors: cells are many
MAKE = (
    "python -m harness -cd sweeps -cn dcpt_domains seed=10, then "
    "python -m paper_figures --freeze dcpt_domains --sweep dcpt_domains seed=10"
)
ASK = "mix says a ratio, forecast --freeze NAME --of end how its run ends; then train it, and other ratios beside it"
LEAST_QUESTIONS = 5


def law_fits(evidence: Evidence) -> list[Test]:
    """D1."""

    def one(name: str, target: str, rows: pd.DataFrame) -> Test:
        check_rows(L3, rows, "loss", Loss())
        objective, grouping = objective_of(L3, rows, Loss()), grouping_of(rows, {}, "run")
        found = search(objective, 0)
        if not found.converged:
            raise MissingError(f"{name}, {target}: the fit has not converged")
        draws = draws_of(objective, found, rows, grouping, DRAWS, 0, None)
        told = quality(objective, objective.bound.value(found.theta[None])[0], grouping.clusters)
        drawn = Bound(L3, objective.bound.data).value(L3.inward(draws.parameters))
        counts = _counts(rows)[1:]
        values = explained(objective.observed, drawn, counts)
        note = f"{name}, {target}: R2 {told['r2']:.4f}, within runs {told['r2_within_run']:.2f}, "
        note += f"Huber {found.value / len(rows):.2g} a point, mean relative error {told['mre']:.2%}"
        contrast = _resampled(f"R2 on the {target} loss less {FITS}", values - FITS, told["r2"] - FITS, rows, note)
        return Test(contrast, partial(sign, side=1), name)

    return [one(grid.name, *target) for grid in _grids(evidence) for target in grid.targets.items()]


def law_predicts(evidence: Evidence) -> list[Test]:
    """D2."""
    grids = _grids(evidence, N=4, D=4, r=4)
    pair = _all(grids)
    tests = []
    for by in ("r", "D", "N"):
        for target, printed in zip(("general", "domain"), PRINTED[by], strict=True):
            parts = []
            for grid in grids:
                rows = grid.targets[target]
                observed, counts = rows.loss.to_numpy(), _counts(rows)
                said, nearest = (unseen(law, rows, by) for law in (L3, Nearest(L3.variables)))
                skill = 1 - squared_errors(observed, said, counts) / squared_errors(observed, nearest, counts)
                parts.append((explained(observed, said, counts), skill))
            R2, skill = np.mean(parts, axis=0)
            rows, of = pd.concat([grid.targets[target].assign(of=grid.name) for grid in grids]), f"of an unseen {by}"
            note = f"{target} loss {of}: R2 {R2[0]:.3f} (the paper, its own scale: {printed}), skill {skill[0]:.2f}"
            held = _resampled(f"R2 on the {target} loss {of} less {HOLDS}", R2[1:] - HOLDS, R2[0] - HOLDS, rows, note)
            better = _resampled(f"skill on the {target} loss {of}", skill[1:], skill[0], rows)
            tests += [Test(one, partial(sign, side=1), pair) for one in (held, better)]
    return tests


def law_is_best(evidence: Evidence) -> list[Test]:
    """D3; the logarithm of a ratio, since losses of some domains are missed by ten times as much as of others."""
    grids = _grids(evidence, N=3, r=4)
    errors = [
        [Loss().of(np.log(unseen(law, rows, "run") / rows.loss.to_numpy())).mean() for law in (L3, *RIVALS)]
        for grid in grids
        for rows in grid.targets.values()
    ]
    own, *others = np.log(np.array(errors)).T
    return [
        Test(
            Contrast(
                f"log Huber of {L3.name} less {law.name} ({law.source.rpartition('; ')[2]})", own - other, unit="losses"
            ),
            partial(sign, side=-1),
            _all(grids),
        )
        for law, other in zip(RIVALS, others, strict=True)
    ]


def trends_hold(evidence: Evidence) -> list[Test]:
    """D4: no law. A cell that is on the other side by less than its noise over seeds contradicts nothing."""
    grids = _grids(evidence, N=1, D=3, r=3, domains=2)
    tests = []
    for target in ("general", "domain"):
        for trend in TRENDS:
            found = [_cells(grid, target, trend) for grid in grids]
            shares, notes = np.array([one[0] for one in found]), [one[2] for one in found if one[2]]
            name = f"{trend} < 0, {target} loss: share of the cells less {TREND}"
            contrast = Contrast(name, shares - TREND, unit="domains", note="; ".join(notes))
            rule = partial(_of_cells, surely=float(np.mean([sure for _, sure, _ in found])))
            tests.append(Test(contrast, rule, _all(grids)))
    return tests


def _of_cells(contrast: Contrast, surely: float) -> Part:
    part = sign(contrast, 1)
    noise = part.verdict == CONTRADICTED and surely <= 1 - TREND
    return replace(part, verdict=INCONCLUSIVE) if noise else part


def _cells(grid: Grid, target: str, trend: str) -> tuple[float, float, str]:
    """Share of the cells of a grid in which a loss falls so; of those in which it rises by more than SURELY standard
    errors over seeds (0 of one seed); and where it fails."""
    cube, shares = grid.differences(target, TRENDS[trend])
    seeds = np.isfinite(cube).sum(axis=0)
    there = seeds > 0
    if not there.any():
        raise MissingError(f"{grid.name}, {target}: no cell has all its corners for {trend}; {MAKE}")
    mean = np.where(there, np.nansum(cube, axis=0) / np.maximum(seeds, 1), np.nan)
    freedom = float((seeds - there).sum())
    sd = np.sqrt(np.nansum((cube - mean) ** 2) / freedom) if freedom else np.inf
    surely = float((mean > SURELY * sd / np.sqrt(np.maximum(seeds, 1)))[there].mean())
    share = float((mean < 0)[there].mean())
    if share >= TREND:
        return share, surely, ""
    fails = [r for k, r in enumerate(shares[: mean.shape[1]]) if np.mean(mean[:, k][there[:, k]] >= 0) > 0.5]
    where = f", mostly not at shares from {fails[0]:g} to {fails[-1]:g}" if fails else ""
    return share, surely, f"{grid.name}, {target}: {trend} < 0 in {share:.0%} of the cells{where}"


def constant_works(evidence: Evidence) -> list[Test]:
    """D6: on a domain left out, the law with its constant K against that of all other domains, and against what CHEAP
    of the cost of its own runs tell alone. K = w1/k1 + w2 k2: its base's loss, and how far the loss falls in the
    cheapest run on it alone."""
    grids = _grids(evidence)
    family = max(grids, key=lambda grid: sum(other.family == grid.family for other in grids)).family
    grids = [grid for grid in grids if grid.family == family]
    if len(grids) < 4:
        raise MissingError(f"{len(grids)} domains of one general corpus, and it takes 4: {MAKE}")
    found = [grid.with_constant(CHEAP) for grid in grids]
    if lacking := [grid.name for grid, one in zip(grids, found, strict=True) if one is None]:
        raise MissingError(f"{lacking[0]}: no run on the domain alone for {CHEAP:.0%} of the cost: {MAKE}")
    rows = pd.concat(found, ignore_index=True)
    shared, alone = [], []
    for grid in grids:
        own = (rows.of == grid.name).to_numpy()
        out = own & ~rows.cheap.to_numpy()
        shared.append(Fold(grid.name, out, ~own))
        alone.append(Fold(grid.name, out, own & ~out))
    simpler = (Nearest({name: L3.variables[name] for name in of}) for of in ("Dr", "r"))
    laws: tuple[Law | Nearest, ...] = (L3, ONE_SIZE, *simpler)
    own_fits = (cross_validate(law, rows, alone) for law in laws)
    own_fit = next((one for one in own_fits if not any(one.why)), None)
    if own_fit is None:
        raise MissingError(f"{CHEAP:.0%} of the cost of a domain buys one mixture: {MAKE}")
    tried = (cross_validate(CROSS, rows, shared), cross_validate(L3, rows, shared), own_fit)
    logs = np.empty((len(tried), len(grids)))
    for k, one in enumerate(tried):
        for at, fold in enumerate(shared):
            logs[k, at] = np.log(np.abs(one.predicted[at] / rows.loss - 1)[fold.out].mean())
    if not np.isfinite(logs).all():
        raise MissingError(f"a law cannot be fitted without a domain: {MAKE}")
    named = zip(("a law of the other domains", f"{CHEAP:.0%} of its own runs"), logs[1:], strict=True)
    return [
        Test(
            Contrast(f"log error with K less {name}", logs[0] - one, unit="domains"),
            partial(sign, side=-1),
            _all(grids),
        )
        for name, one in named
    ]


def mixtures_are_best(evidence: Evidence) -> list[Test]:
    """D5."""
    found = questions(evidence.forecasts, evidence.ends)
    first, second = found[found.usage == 1], found[found.usage == 2]
    if len(found) < LEAST_QUESTIONS or min(len(first), len(second)) < 2:
        has = f"{len(first)} and {len(second)} answers of usages 1 and 2 are trained and were forecast"
        raise MissingError(f"{has}, and it takes {LEAST_QUESTIONS}, two of each: {ASK}")
    delta_U = max(LEAST, OF_FORGETTING * float(first.allowed.mean()))
    delta_V = max(LEAST, OF_ADAPTATION * float(first.adapts.mean()))
    tested: list[tuple[str, pd.Series[float], Callable[[Contrast], Part]]] = [
        ("general loss less its limit", first.over, partial(no_worse, delta=delta_U)),
        ("regret to the best within the limit", first.regret, partial(no_worse, delta=delta_V)),
        ("share of the intervals that hold, less 4 of 5", found.inside - 0.8, _four_of_five),
        ("domain loss less that at the least share", second.less_least, partial(sign, side=-1)),
        ("domain loss less that on the domain alone", second.less_all, partial(sign, side=-1)),
    ]
    pair = f"{len(found)} questions"
    return [
        Test(Contrast(name, np.array(values.dropna(), dtype=float), unit="questions"), rule, pair)
        for name, values, rule in tested
    ]


def _four_of_five(contrast: Contrast) -> Part:
    """A count, not a test."""
    part = sign(contrast, 1)
    return replace(part, verdict=REPRODUCED) if contrast.mean > -1e-9 else part


def general_loss_rises(evidence: Evidence) -> list[Test]:
    """X2. The extended law is EXTENDED, chosen on the domains CHOSEN_ON and committed before SCORED_ON is looked at."""
    if EXTENDED is None:
        raise MissingError(_choice([grid for grid in _grids(evidence) if grid.domain_corpus in CHOSEN_ON]))
    grids = _grids(evidence, domains=2)
    scored = [grid for grid in grids if grid.domain_corpus == SCORED_ON]
    if not scored:
        raise MissingError(f"no grid of mixtures of {SCORED_ON}: {MAKE}")
    slopes = []
    for grid in grids:
        rows = grid.targets["general"]
        runs = rows[rows.r <= LITTLE + 1e-9].groupby("run")
        slopes.append(np.mean([np.polyfit(np.log(run.D), run.loss, 1)[0] for _, run in runs]))
    name = f"slope of the general loss on log D at shares of it up to {LITTLE:g}"
    tests = [Test(Contrast(name, np.array(slopes), unit="domains"), partial(sign, side=1), _all(grids))]
    rows, law = scored[0].targets["general"], LAWS[EXTENDED]
    for by, leave in WAYS:
        own, plain = _missed((law, L3), rows, by, leave)
        ratio = np.log(np.nansum(_counts(rows) * own, axis=1) / np.nansum(_counts(rows) * plain, axis=1))
        name = f"log error of {law.name} less {L3.name}, {leave} {by} left out"
        tests.append(Test(_resampled(name, ratio[1:], ratio[0], rows), partial(sign, side=-1), scored[0].name))
    return tests


def _choice(grids: Sequence[Grid]) -> str:
    """Why nothing is scored yet: with runs of the domains to choose on, how far laws miss what is unseen there."""
    if {grid.domain_corpus for grid in grids} != set(CHOSEN_ON):
        return f"no extended law is chosen, for which it takes {' and '.join(CHOSEN_ON)}: {MAKE}"
    laws, tables = (L3, *EXTENSIONS), [grid.targets["general"] for grid in grids]
    errors = [np.log(np.nanmean(_missed(laws, rows, *way), axis=1)) for rows in tables for way in WAYS]
    means = zip(laws, np.exp(np.mean(errors, axis=0)), strict=True)
    told = ", ".join(f"{law.name} {error:.2%}" for law, error in means)
    return (
        f"no extended law is chosen; on {' and '.join(CHOSEN_ON)} what is unseen is missed by {told}: commit the best "
        f"extended one as EXTENDED of analysis.measures.dcpt before {SCORED_ON} is looked at"
    )


def _missed(laws: Sequence[Law], rows: pd.DataFrame, by: str, leave: str) -> Array:
    """Relative errors of what each law has not seen, (laws, n); NaN where one of them cannot be fitted."""
    errors = np.abs(np.array([unseen(law, rows, by, leave=leave) for law in laws]) / rows.loss.to_numpy() - 1)
    return np.where(np.isfinite(errors).all(axis=0), errors, np.nan)


def _counts(rows: pd.DataFrame) -> Array:
    """How often each row is there: once, then in DRAWS resamples of the runs."""
    return np.vstack([np.ones(len(rows)), resamples(clusters_of(rows, ["run"]), len(rows), DRAWS, 0)])


def _resampled(name: str, values: Array, estimate: float, rows: pd.DataFrame, note: str = "") -> Resampled:
    runs = len(rows.drop_duplicates([column for column in ("of", "run") if column in rows]))
    values = values[np.isfinite(values)]
    return Resampled(name, values, unit="runs", note=note, estimate=float(estimate), number=runs)


def _grids(evidence: Evidence, domains: int = 1, **least: int) -> list[Grid]:
    """Those with so many sizes, lengths and shares. Raises MissingError for fewer domains."""
    least = least or {"N": 3, "D": 3, "r": 3}
    found = mixture_grids(evidence.ends, evidence.curves)
    enough = [grid for grid in found if all(grid.values[name] >= many for name, many in least.items())]
    if len(enough) >= domains:
        return enough
    wanted = ", ".join(f"{many} values of {name}" for name, many in least.items())
    there = [f"{grid.name}: " + ", ".join(f"{many} of {name}" for name, many in grid.values.items()) for grid in found]
    has = f" (there are {'; '.join(there)})" if there else ""
    raise MissingError(f"no grid of mixtures of {domains} domains by {wanted}{has}: {MAKE}")


def _all(grids: Sequence[Grid]) -> str:
    return grids[0].name if len(grids) == 1 else f"{len(grids)} domains"
