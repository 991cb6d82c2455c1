"""What became of the mixtures that laws chose: usages 1 and 2 of 2406.01375, from frozen forecasts and trained runs.

found = questions([read_forecast(path)], ends)      # a row a question: analysis.measures.arms.ends_by_run has such ends
found[found.usage == 1].regret

A run answers a question if its share is the one that the frozen laws solve for at its size and tokens: nobody has to
say which run is which, and nobody can say it afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from analysis.forecasts.forecast import Forecast
from analysis.formulas.formula import Array
from analysis.laws.law_file import definition

TOLERANCES = (0.03, 0.05, 0.1)  # of the general loss, in usage 1; the paper's is the first
SHARES = np.linspace(0.0, 1.0, 1001)
NEAR = 0.02  # a share this far from the laws' is theirs
ALIKE = 0.02  # relative: as many tokens
OF_ONE = ["upstream", "downstream", "N", "schedule", "peak"]  # what runs share that one question is about
COLUMNS = ("question", "usage", "over", "allowed", "regret", "adapts", "inside", "less_least", "less_all")


def questions(forecasts: Sequence[Forecast], ends: pd.DataFrame) -> pd.DataFrame:
    """A row a question whose answer is trained, with a mean over seeds; nats per token.

    `over`: the general loss less its limit, which allows `allowed` above the base's; `regret`: the domain loss less
    the least of the runs of as many tokens within the limit, NaN without any; `adapts`: how far it fell; `inside`:
    share of the forecast's intervals that hold what was measured; of usage 2, where the domain's tokens are given,
    `less_least` and `less_all`: the domain loss less that at the least share, and on the domain alone.
    """
    rows = []
    for frozen in forecasts:
        said = pd.DataFrame([asdict(one) for one in frozen.said]).set_index("key")
        for _, run in ends[ends.key.isin(said.index) & (frozen.of == "end")].iterrows():
            if {run.upstream, run.downstream} <= set(frozen.fits):
                measured = [run.U if corpus == run.upstream else run.V for corpus in said.loc[[run.key]].corpus]
                inside = said.loc[[run.key]].low.le(measured) & said.loc[[run.key]].high.ge(measured)
                like = ends[(ends[OF_ONE] == run[OF_ONE]).all(axis=1)]
                found = [*_tolerated(frozen, run, like), *_limited(frozen, run, like)]
                rows += [{**one, "inside": float(inside.mean()), "adapts": run.V_base - run.V} for one in found]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.groupby(["question", "usage"], as_index=False).mean()


def _tolerated(frozen: Forecast, run: pd.Series, like: pd.DataFrame) -> list[dict[str, object]]:
    """The questions of usage 1 that a run answers: least domain loss within a tolerance of the general one."""
    found, base = [], float(like.U_base.mean())
    general = _said(frozen, run, run.upstream, np.full(len(SHARES), run.run_tokens), 1 - SHARES)
    domain = _said(frozen, run, run.downstream, np.full(len(SHARES), run.run_tokens), SHARES)
    there = like[(like.seed == run.seed) & ((like.run_tokens / run.run_tokens - 1).abs() <= ALIKE)]
    for tolerance in TOLERANCES if there.replay.nunique() > 2 else ():
        within = general <= (1 + tolerance) * base
        best = SHARES[np.where(within, domain, np.inf).argmin()]
        if not within.any() or abs(1 - run.replay - best) > NEAR:
            continue
        limit = (1 + tolerance) * run.U_base
        regret = run.V - there.V[limit >= there.U].min()
        name = f"{run.upstream} to {run.downstream}, N {run.N:g}, D {run.run_tokens:g}, tolerance {tolerance:g}"
        allowed = tolerance * run.U_base
        found.append({"question": name, "usage": 1, "over": run.U - limit, "allowed": allowed, "regret": regret})
    return found


def _limited(frozen: Forecast, run: pd.Series, like: pd.DataFrame) -> list[dict[str, object]]:
    """The question of usage 2 that a run answers, if it does: least domain loss with so many tokens of the domain."""
    own, shares = run.run_tokens * (1 - run.replay), SHARES[SHARES >= NEAR]
    there = like[(like.seed == run.seed) & ((like.run_tokens * (1 - like.replay) / max(own, 1) - 1).abs() <= ALIKE)]
    alone, least = there[there.replay == 0], there[there.replay == there.replay.max()]
    if alone.empty or there.replay.nunique() < 3 or run.replay in (0, there.replay.max()):
        return []
    if abs(1 - run.replay - shares[_said(frozen, run, run.downstream, own / shares, shares).argmin()]) > NEAR:
        return []
    less = {"less_least": run.V - least.V.mean(), "less_all": run.V - alone.V.mean()}
    name = f"{run.upstream} to {run.downstream}, N {run.N:g}, {own:g} tokens of the domain"
    return [{"question": name, "usage": 2, **less}]


def _said(frozen: Forecast, run: pd.Series, corpus: str, D: Array, r: Array) -> Array:
    """Losses by the frozen law of a corpus at its shares r; infinite where it has none."""
    fit = frozen.fits[corpus]
    given = {name: value for name, value in fit["definition"].items() if name != "name"}
    law = definition(given, fit["definition"]["name"], "the forecast")
    base = run.U_base if corpus == run.upstream else run.V_base
    with np.errstate(all="ignore"):
        losses = law.value(fit["parameters"], {"N": run.N, "D": D, "r": r, "base": base})
    return np.where(np.isfinite(losses), losses, np.inf)
