"""The laws: each a definition of its formula, variables and units, with its source.

    LAWS["dcpt"]                      # by name
    find("mixing:docs,python,cpp")    # for the domains of a mixture
    find("my.toml:mine")              # a user's own

Units: loss in nats per token, N parameters outside the embeddings, D tokens of continual pre-training, r the share of
the corpus whose loss it is. To add a law, add a definition; to use one of your own, put it into a file.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from analysis.formulas.grammar import LONGEST_NAME
from analysis.laws.law import EXPONENT, FREE, Law
from analysis.laws.law_file import laws_of
from analysis.laws.mixtures import (
    BIMIX,
    REPETITION_MIXTURE,
    domains_of,
    log_linear,
    mixing,
    quadratic,
    shukor_additive,
    shukor_joint,
)
from analysis.laws.schedules import (
    ANNEALING,
    CPT_DYNAMICS,
    CPT_REPLAY_DOWNSTREAM,
    CPT_REPLAY_UPSTREAM,
    MULTI_POWER,
)
from analysis.laws.sizes import (
    BNSL,
    CHINCHILLA,
    COMPUTE_OPTIMAL,
    DATA_CONSTRAINED,
    DOWNSTREAM_ERROR,
    DROPPO_ELIBOL,
    FARSEER,
    KAPLAN,
    OVER_TRAINING,
    STEP_LAW_BATCH,
    STEP_LAW_LR,
    TRANSFER,
    D,
    N,
)
from harness.core.errors import InputError

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

CMR_RATIO = Law(
    name="cmr_ratio",
    formula="b + a*R**s",
    variables={"R": "share"},
    linear=("a", "b"),
    starts={"s": (-1.5, 1.5)},
    bounds={"a": FREE, "b": FREE, "s": (-5.0, 5.0)},
    shares=("R",),
    source="2407.17467, section 5.1: a loss against the share of the domain",
    read="the paper's section 5.1",
    checked="mixinglaws_cpt70M",
)

CMR_TIME = Law(
    name="cmr_time",
    formula="b + a*T**s",
    variables={"T": "tokens or steps"},
    linear=("a", "b"),
    starts={"s": (-1.5, 1.5)},
    bounds={"a": FREE, "b": FREE, "s": (-5.0, 5.0)},
    source="2407.17467, equations 6 and 8: change of the domain loss, or the critical share, against time",
    read="the paper's sections 5.2 and 5.3",
    checked="mixinglaws_cpt70M",
)

CMR_GENERAL = Law(
    name="cmr_general",
    formula="b + a1*T**s1 + a2*T**s2",
    variables={"T": "tokens or steps"},
    linear=("b", "a1", "a2"),
    starts={"s1": (-1.5, -0.01), "s2": (0.01, 1.5)},
    bounds={"a1": FREE, "a2": FREE, "b": FREE, "s1": (-5.0, 0.0), "s2": (0.0, 5.0)},
    source="2407.17467, equation 6: change of the general loss, which rises, then falls",
    read="the paper's section 5.2",
    checked="mixinglaws_cpt70M",
)

MIXING = Law(
    name="mixing",
    formula="c + k*exp(t*r)",
    variables=R,
    linear=("c", "k"),
    starts={"t": (-8.0, 8.0)},
    bounds={"t": (-100.0, 100.0)},
    shares=("r",),
    source="2403.16952, data mixing law of two domains (published as c + exp(t r + log k))",
    read="its authors' code, yegcjs/mixinglaws",
    checked="mixinglaws_2mix, mixinglaws_cpt70M",
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

LAWS = {
    law.name: law
    for law in (
        CHINCHILLA,
        KAPLAN,
        DROPPO_ELIBOL,
        FARSEER,
        OVER_TRAINING,
        DATA_CONSTRAINED,
        BNSL,
        COMPUTE_OPTIMAL,
        DOWNSTREAM_ERROR,
        STEP_LAW_LR,
        STEP_LAW_BATCH,
        DCPT,
        DCPT_SATURATING,
        DCPT_L1,
        DCPT_L4,
        DCPT_L5,
        DCPT_CROSS,
        CMR_RATIO,
        CMR_TIME,
        CMR_GENERAL,
        MIXING,
        BIMIX,
        REPETITION_MIXTURE,
        ANNEALING,
        MULTI_POWER,
        CPT_DYNAMICS,
        CPT_REPLAY_UPSTREAM,
        CPT_REPLAY_DOWNSTREAM,
        TRANSFER,
        FORGETTING,
    )
}


FAMILIES: dict[str, Callable[[Sequence[str]], Law]] = {
    "mixing": mixing,
    "log_linear": log_linear,
    "quadratic": quadratic,
    "shukor_additive": shukor_additive,
    "shukor_joint": shukor_joint,
}


def find(text: str, trust: bool = False) -> Law:
    """A law by name, `FAMILY:domain,domain,...`, or one of a user's own: `FILE.toml:NAME`, or `FILE.py:NAME`, which is
    run, if it is to be trusted. Raises InputError."""
    laws = find_all(text, trust)
    if len(laws) > 1:
        names = ", ".join(law.name for law in laws[:20])
        raise InputError(
            "law", text, f"has {len(laws)} laws", f"name one of them, as in {text}:{laws[0].name}: {names}"
        )
    return laws[0]


def find_all(text: str, trust: bool = False) -> list[Law]:
    """As `find`; of a file without a name, all its laws."""
    family, _, domains = text.partition(":")
    if domains and family in FAMILIES:
        return [FAMILIES[family](domains_of(domains))]
    if text in LAWS:
        return [LAWS[text]]
    if not (laws := laws_of(text, trust)):
        near = difflib.get_close_matches(text[:LONGEST_NAME], [*LAWS, *FAMILIES], n=1)
        remedy = f"did you mean {near[0]}? " if near else ""
        raise InputError("law", text, "no such law", f"{remedy}known: {', '.join(LAWS)}; or FILE.toml:NAME")
    return laws
