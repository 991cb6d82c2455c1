"""Laws of the learning rates that a run has gone through: definitions for `analysis.laws.library`.

Their variables are sums over the steps of a run, which `analysis.results.curves` adds to a table.
"""

from __future__ import annotations

from analysis.laws.law import EXPONENT, FREE, Law

ANNEALING = Law(
    name="annealing",
    formula="L0 + A/S1**alpha - C*S2",
    variables={"S1": "learning-rate sum", "S2": "annealed learning rate"},
    linear=("L0", "A", "C"),
    starts={"alpha": (0.05, 1.5)},
    bounds={"alpha": EXPONENT},
    source="2408.11029; S1 and S2 from analysis.results.curves, lambda 0.999, the warm-up not in S2",
    read="the paper's abstract; 2505.07796, of the same author",
    checked="multipowerlaw_curves",
)

MULTI_POWER = Law(
    name="multi_power",
    formula="L0 + A/S1**alpha - B*sum(drop*(1 - (1 + C*drop_S/drop_lr**gamma)**-beta))",
    variables={"S1": "learning-rate sum", "drop": "changes", "drop_lr": "changes", "drop_S": "changes"},
    linear=("L0", "A", "B"),
    starts={"alpha": (0.2, 0.8), "C": (1e-3, 10.0), "beta": (0.1, 1.0), "gamma": (0.2, 1.6)},
    bounds={"alpha": EXPONENT, "beta": EXPONENT, "gamma": EXPONENT},
    log=("C",),
    source="2503.12811; the sum runs over all changes of the learning rate before a row, the warm-up's too",
    read="its authors' code, thu-yao-01-luo/MultiPowerLaw",
    checked="multipowerlaw_curves",
)

_CPT = {
    "S1_base": "learning-rate sum",
    "S2_base": "annealed learning rate",
    "S1_cpt": "learning-rate sum",
    "S2_cpt": "annealed learning rate",
}
_SHIFT = "1 - (1 + E*S1_cpt)**-beta"  # distribution shift, from nothing at the start of continual pre-training
# At beta -> 0 it is a logarithm, at E -> 0 a line, and exp(a2 x) - 1 a line at a2 -> 0, all with B -> inf: what lies
# closer to there than this is told apart by nothing, and a fit would follow it for ever.
_SHIFT_BOUNDS = {"beta": (1e-2, 3.0), "E": (1e-3, 1e8)}

CPT_DYNAMICS = Law(
    name="cpt_dynamics",
    formula=f"L0 + A/(S1_base + S1_cpt)**alpha - C1*S2_base - C2*S2_cpt + B*({_SHIFT})",
    variables=_CPT,
    linear=("L0", "A", "C1", "C2", "B"),
    starts={"alpha": (0.05, 1.2), "E": (0.1, 1e4), "beta": (0.05, 1.0)},
    bounds={"alpha": EXPONENT, **_SHIFT_BOUNDS, "B": FREE},
    log=("E",),
    source="2505.07796: B > 0 for the upstream loss, < 0 for the downstream one; E, beta and B are weakly "
    "identified there too",
    read="the paper's text",
)

CPT_REPLAY_UPSTREAM = Law(
    name="cpt_replay_upstream",
    formula=f"L0 + A/(S1_base + S1_cpt)**alpha - C1*S2_base - C2*S2_cpt*exp(a1*replay)"
    f" + B*(1 - exp(-a2*(1 - replay)))*({_SHIFT})",
    variables=_CPT | {"replay": "share"},
    linear=("L0", "A", "C1", "C2", "B"),
    starts={**CPT_DYNAMICS.starts, "a1": (-0.5, 0.5), "a2": (0.1, 8.0)},
    bounds={**CPT_DYNAMICS.bounds, "B": (0.0, float("inf")), "a1": (-20.0, 20.0), "a2": (1e-2, 100.0)},
    log=("E",),
    shares=("replay",),
    source="2505.07796, equation 8, upstream loss",
    read="the paper's text",
)

CPT_REPLAY_DOWNSTREAM = Law(
    name="cpt_replay_downstream",
    formula=f"L0 + A/(S1_base + S1_cpt)**alpha - C1*S2_base - C2*S2_cpt*exp(a1*(1 - replay))"
    f" - B*(exp(a2*(1 - replay)) - 1)*({_SHIFT})",
    variables=_CPT | {"replay": "share"},
    linear=("L0", "A", "C1", "C2", "B"),
    starts={**CPT_DYNAMICS.starts, "a1": (-0.5, 0.5), "a2": (0.1, 8.0)},
    bounds={**CPT_DYNAMICS.bounds, "B": (0.0, float("inf")), "a1": (-20.0, 20.0), "a2": (1e-2, 100.0)},
    log=("E",),
    source="2505.07796, equation 8, downstream loss (the sign of its shift written out)",
    read="the paper's text",
)
