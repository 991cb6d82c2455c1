"""The claims of the three papers, with what would settle each: statistic, rule and data, fixed before the runs.

Above `rewarm`, `scalable` and `dcpt` of `analysis.claims`; `analysis.claims.verdict` judges them. Rules are those of
`analysis.measures.rules`; delta_V = max(.01 nat, 2 % of what w1 adapts), delta_U = max(.01, 5 % of what it forgets).
"""

from __future__ import annotations

from analysis.claims import dcpt, rewarm, scalable

CLAIMS = tuple(sorted((*rewarm.CLAIMS, *scalable.CLAIMS, *dcpt.CLAIMS), key=lambda claim: "RSDX".index(claim.id[0])))
