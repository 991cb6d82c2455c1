"""Laws of continual pre-training: its tokens, the share of a corpus in them, the peak learning rate.

Definitions for `analysis.laws.library`. Units: loss in nats per token, N parameters outside the embeddings, D tokens of
continual pre-training, r the share of the corpus whose loss it is.
"""

from __future__ import annotations

from dataclasses import replace

from analysis.laws.law import EXPONENT, Law
from analysis.laws.sizes import D, N

R = {"r": "share"}

_DCPT_EXPONENTS = {"alpha": (0.05, 0.9), "beta": (0.05, 0.9)}
_DCPT_BOUNDS = {"alpha": EXPONENT, "beta": EXPONENT}
_DCPT_TRENDS = ("dL/dN < 0", "dL/dD < 0", "dL/dr < 0", "d2L/dDdr < 0")  # its explicit and implicit trends

DCPT = Law(
    name="dcpt",
    formula="E + A/N**alpha + B*r**eta/D**beta + C/(r + eps)**gamma",
    variables=N | D | R,
    linear=("E", "A", "B", "C"),
    starts={**_DCPT_EXPONENTS, "eta": (0.05, 1.2), "gamma": (0.1, 1.6), "eps": (1e-3, 0.6)},
    bounds={**_DCPT_BOUNDS, "eta": (0.0, 4.0), "gamma": (0.0, 6.0), "eps": (1e-6, 10.0)},
    log=("eps",),
    requirements=_DCPT_TRENDS,
    shares=("r",),
    source="2406.01375, L3, the form the paper chose (eps keeps r = 0 finite; at fixed r it is Chinchilla's); known "
    "from notes",
    checked="mixinglaws_cpt70M",
)

DCPT_SATURATING = Law(
    name="dcpt_saturating",
    formula="E + A/N**alpha + B*r**eta/D**beta + C*D/((D + D_s)*(r + eps)**gamma)",
    variables=N | D | R,
    linear=("E", "A", "B", "C"),
    starts={**DCPT.starts, "D_s": (1e4, 1e10)},
    bounds=DCPT.bounds,
    log=("eps", "D_s"),
    requirements=("dL/dN < 0", "dL/dr < 0"),  # no longer dL/dD < 0: where little of a corpus is left, it is forgotten
    shares=("r",),
    source="L3 of 2406.01375 with its last term growing over D_s tokens, so that a loss may rise before it falls; not "
    "in the paper",
    checked="mixinglaws_cpt70M",
)

DCPT_ANCHORED = Law(
    name="dcpt_anchored",
    formula="base - G*r**eta*(1 - (1 + D/D_g)**(-beta)) + H*(1 - (1 + D/D_s)**(-kappa))*(1 - exp(-a*(1 - r)))",
    variables={"base": "loss before continual pre-training"} | D | R,
    linear=("G", "H"),
    starts={
        "eta": (0.05, 1.2),
        "D_g": (1e4, 1e10),
        "beta": (0.05, 0.9),
        "D_s": (1e4, 1e10),
        "kappa": (0.05, 0.9),
        "a": (0.1, 10.0),
    },
    bounds={"eta": (0.0, 4.0), "beta": EXPONENT, "kappa": EXPONENT, "a": (0.0, 100.0)},
    log=("D_g", "D_s"),
    requirements=("dL/dr < 0",),
    shares=("r",),
    source="a plain form of our own: from the measured loss of the base what D tokens with a share r teach, and what "
    "the rest of them lets be forgotten; in no paper",
)

DCPT_L1 = Law(
    name="dcpt_l1",
    formula="E + A/N**alpha + B/D**beta + C/(r + eps)**gamma",
    variables=N | D | R,
    linear=("E", "A", "B", "C"),
    starts={**_DCPT_EXPONENTS, "gamma": (0.1, 1.6), "eps": (1e-3, 0.6)},
    bounds={**_DCPT_BOUNDS, "gamma": (0.0, 6.0), "eps": (1e-6, 10.0)},
    log=("eps",),
    requirements=_DCPT_TRENDS[:3],
    shares=("r",),
    source="2406.01375, L1: no term of D and r, so it fails the implicit trend; recalled",
    checked="mixinglaws_cpt70M",
)

DCPT_L4 = Law(
    name="dcpt_l4",
    formula="E + A/N**alpha + B*exp(b*r)/D**beta + C*exp(-c*r)",
    variables=N | D | R,
    linear=("E", "A", "B", "C"),
    starts={**_DCPT_EXPONENTS, "b": (-2.0, 3.0), "c": (0.1, 10.0)},
    bounds={**_DCPT_BOUNDS, "b": (-20.0, 20.0), "c": (0.0, 100.0)},
    requirements=_DCPT_TRENDS,
    shares=("r",),
    source="2406.01375, L4, exponential in r; recalled",
    checked="mixinglaws_cpt70M",
)

DCPT_L5 = Law(
    name="dcpt_l5",
    formula="E + A/N**alpha + B/(r*D + sigma*(1 - r)*D)**beta",
    variables=N | D | R,
    linear=("E", "A", "B"),
    starts={**_DCPT_EXPONENTS, "sigma": (1e-4, 1.0)},
    bounds={**_DCPT_BOUNDS, "sigma": (1e-9, 10.0)},
    log=("sigma",),
    requirements=_DCPT_TRENDS,
    shares=("r",),
    source="2406.01375, L5: effective data, a token of other corpora counts sigma; recalled",
    checked="mixinglaws_cpt70M",
)

DCPT_CROSS = Law(
    name="dcpt_cross",
    formula="E + A/N**alpha + B*r**eta/D**beta + C/(r + eps)**gamma + F/(1/k1 + w*k2)**mu",
    variables=N | D | R | {"k1": "first loss on the domain", "k2": "early decline of the loss"},
    linear=("E", "A", "B", "C", "F"),
    starts={**DCPT.starts, "w": (1e-2, 100.0), "mu": (0.1, 3.0)},
    bounds={**DCPT.bounds, "w": (0.0, 1e6), "mu": (0.0, 10.0)},
    log=("eps", "w"),
    requirements=_DCPT_TRENDS,
    shares=("r",),
    source="2406.01375, cross-domain law with K3 = w1/k1 + w2 k2, w1 in F; known from two notes",
)

DCPT_ONE_SIZE = replace(
    DCPT.fixed({"A": 0.0}),
    name="dcpt_one_size",
    source="L3 of 2406.01375 for runs of one size, whose A/N^alpha is part of E",
    checked="",
)

DCPT_SATURATING_ONE_SIZE = replace(
    DCPT_SATURATING.fixed({"A": 0.0}),
    name="dcpt_saturating_one_size",
    source="dcpt_saturating for runs of one size, whose A/N^alpha is part of E; not in the paper",
    checked="",
)

PEAK_REPLAY = Law(
    name="peak_replay",
    formula="E + B*lr**kappa/D**beta + C*lr**mu*D/((D + D_s)*(r + eps)**gamma)",
    variables={"lr": "learning rate"} | D | R,
    linear=("E", "B", "C"),
    starts={
        "kappa": (-1.0, 1.0),
        "mu": (-1.0, 1.0),
        "beta": (0.05, 0.9),
        "gamma": (0.1, 1.6),
        "eps": (1e-3, 0.6),
        "D_s": (1e3, 1e10),
    },
    bounds={"kappa": (-3.0, 3.0), "mu": (-3.0, 3.0), "beta": EXPONENT, "gamma": (0.0, 6.0), "eps": (1e-6, 10.0)},
    log=("eps", "D_s"),
    requirements=("dL/dr < 0",),
    shares=("r",),
    source="a plain form of our own for runs of one size that differ in peak learning rate and replay: what D tokens "
    "teach and what D_s tokens let be forgotten, both by a power of the peak lr; in no paper",
)

FORGETTING = Law(
    name="forgetting",
    formula="base + A*D**beta/((1 + B*p)*N)**alpha",
    variables={"base": "loss before fine-tuning", "p": "share"} | N | D,
    linear=("A",),
    starts={"alpha": (0.05, 1.5), "beta": (0.05, 1.5), "B": (1.0, 1e5)},
    bounds={"alpha": EXPONENT, "beta": EXPONENT},
    log=("B",),
    shares=("p",),
    source="2502.06042: upstream loss after fine-tuning with a share p of upstream injected; known from a note",
)
