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
from analysis.laws.continual import (
    DCPT,
    DCPT_ANCHORED,
    DCPT_CROSS,
    DCPT_L1,
    DCPT_L4,
    DCPT_L5,
    DCPT_ONE_SIZE,
    DCPT_SATURATING,
    DCPT_SATURATING_ONE_SIZE,
    FORGETTING,
    PEAK_REPLAY,
)
from analysis.laws.law import FREE, Law
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
    CHINCHILLA_ONE_SIZE,
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
)
from harness.core.errors import InputError

R = {"r": "share"}

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

LAWS = {
    law.name: law
    for law in (
        CHINCHILLA,
        CHINCHILLA_ONE_SIZE,
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
        DCPT_ANCHORED,
        DCPT_L1,
        DCPT_L4,
        DCPT_L5,
        DCPT_CROSS,
        DCPT_ONE_SIZE,
        DCPT_SATURATING_ONE_SIZE,
        PEAK_REPLAY,
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

# Of what is no loss: learning rates, batches, sizes, tokens, errors of tasks, and changes, which may be negative.
OF_NO_LOSS = (
    "compute_optimal",
    "downstream_error",
    "step_law_lr",
    "step_law_batch",
    "cmr_time",
    "cmr_general",
    "transfer",
)

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
    laws, wrong = find_all(text, trust)
    if len(laws) + len(wrong) > 1:
        names = ", ".join(law.name for law in laws[:20]) + (f" ({len(wrong)} more cannot be used)" if wrong else "")
        raise InputError(
            "law", text, f"has {len(laws) + len(wrong)} laws", f"name one of them, as in {text}:{laws[0].name}: {names}"
        )
    return laws[0]


def find_all(text: str, trust: bool = False) -> tuple[list[Law], list[InputError]]:
    """As `find`; of a file without a name, all its laws, and what is wrong with those that cannot be used."""
    family, _, domains = text.partition(":")
    if domains and family in FAMILIES:
        return [FAMILIES[family](domains_of(domains))], []
    if text in LAWS:
        return [LAWS[text]], []
    if not (laws := laws_of(text, trust)):
        near = difflib.get_close_matches(text[:LONGEST_NAME], [*LAWS, *FAMILIES], n=1)
        remedy = f"did you mean {near[0]}? " if near else ""
        raise InputError("law", text, "no such law", f"{remedy}known: {', '.join(LAWS)}; or FILE.toml:NAME")
    return [law for law in laws if isinstance(law, Law)], [law for law in laws if isinstance(law, InputError)]
