"""Laws of model size, tokens and compute: definitions for `analysis.laws.library`.

Units: loss in nats per token, N parameters outside the embeddings, D tokens, C FLOPs.
"""

from __future__ import annotations

from dataclasses import replace

from analysis.laws.law import EXPONENT, Law

N, D = {"N": "parameters"}, {"D": "tokens"}
_TRENDS = ("dL/dN < 0", "dL/dD < 0")

CHINCHILLA = Law(
    name="chinchilla",
    formula="E + A/N**alpha + B/D**beta",
    variables=N | D,
    linear=("E", "A", "B"),
    starts={"alpha": (0.02, 1.5), "beta": (0.02, 1.5)},
    bounds={"alpha": EXPONENT, "beta": EXPONENT},
    requirements=_TRENDS,
    source="2203.15556, approach 3; data of 2404.10102",
    read="the paper's section 3.3; the code of 2404.10102",
    checked="chinchilla_epoch",
)

CHINCHILLA_ONE_SIZE = replace(
    CHINCHILLA.fixed({"A": 0.0}),
    name="chinchilla_one_size",
    source="Chinchilla's for runs of one size, whose A/N^alpha is part of E",
    checked="",
)

KAPLAN = Law(
    name="kaplan",
    formula="((N_c/N)**(alpha_N/alpha_D) + D_c/D)**alpha_D",
    variables=N | D,
    linear=(),
    starts={"N_c": (1e10, 1e18), "D_c": (1e10, 1e18), "alpha_N": (0.02, 0.6), "alpha_D": (0.02, 0.6)},
    bounds={"alpha_N": EXPONENT, "alpha_D": (1e-3, 3.0)},
    log=("N_c", "D_c"),
    requirements=_TRENDS,
    source="2001.08361, equation 1.5",
    read="the paper's section 1.2",
    checked="chinchilla_epoch",
)

DROPPO_ELIBOL = Law(
    name="droppo_elibol",
    formula="(L_inf**(1/alpha) + (N_c/N)**(alpha_N/alpha) + (D_c/D)**(alpha_D/alpha))**alpha",
    variables=N | D,
    linear=(),
    starts={
        "L_inf": (0.1, 4.0),
        "alpha": (0.1, 2.0),
        "N_c": (1e4, 1e16),
        "alpha_N": (0.02, 0.6),
        "D_c": (1e4, 1e16),
        "alpha_D": (0.02, 0.6),
    },
    bounds={"alpha": (0.02, 20.0), "alpha_N": EXPONENT, "alpha_D": EXPONENT},
    log=("N_c", "D_c"),
    requirements=_TRENDS,
    source="2106.09488 (acoustic models): Chinchilla's at alpha = 1, Kaplan's without L_inf at alpha = alpha_D; "
    "recalled",
    checked="chinchilla_epoch",
)

FARSEER = Law(
    name="farseer",
    formula="E*exp(a3*((N/1e9)**g3 - 1)) + B*exp(a2*((N/1e9)**g2 - 1))/D**(beta*exp(a1*((N/1e9)**g1 - 1)))",
    variables=N | D,
    linear=("E", "B"),
    starts={  # E, B and the exponent mostly fall with N: a above 0 where g is below
        "a1": (-0.2, 0.8),
        "g1": (-0.5, 0.3),
        "a2": (-1.0, 3.0),
        "g2": (-0.5, 0.3),
        "a3": (-0.2, 1.0),
        "g3": (-0.5, 0.3),
        "beta": (0.1, 0.6),
    },
    bounds={
        **{f"a{i}": (-10.0, 10.0) for i in (1, 2, 3)},
        **{f"g{i}": (-1.0, 1.0) for i in (1, 2, 3)},
        "beta": EXPONENT,
    },
    requirements=_TRENDS,
    source="2506.10972, equation 3, whose b1 to b3 are written as beta, B and E of a model of 1e9 parameters; known "
    "from an account of others",
    checked="chinchilla_epoch",
)

_UNIQUE = "min(U, D)"  # tokens that were seen at least once
_FITTING = f"min(N, (alpha*A/(beta*B)*{_UNIQUE}**beta)**(1/alpha))"  # and parameters up to Chinchilla's best for them


def _worth(unique: str, all_of_it: str, scale: str) -> str:
    """U + U R* (1 - exp(-R/R*)): what U and R = all/U - 1 repeats of it are worth."""
    return f"{unique}*(1 + {scale}*(1 - exp(-({all_of_it}/{unique} - 1)/{scale})))"


DATA_CONSTRAINED = Law(
    name="data_constrained",
    formula=f"E + A/({_worth(_FITTING, 'N', 'R_N')})**alpha + B/({_worth(_UNIQUE, 'D', 'R_D')})**beta",
    variables=N | D | {"U": "tokens"},
    linear=("E",),
    starts={
        "A": (10.0, 1e5),
        "B": (10.0, 1e5),
        "alpha": (0.1, 0.8),
        "beta": (0.1, 0.8),
        "R_D": (1.0, 100.0),
        "R_N": (1.0, 100.0),
    },
    bounds={"alpha": (0.01, 3.0), "beta": (0.01, 3.0), "R_D": (1e-2, 1e6), "R_N": (1e-2, 1e6)},
    log=("A", "B", "R_D", "R_N"),
    requirements=_TRENDS,
    source="2305.16264: of D tokens U are unique; repeats of them are worth ever less (after R_D of them 63 % "
    "of all they can be), and so are parameters beyond those that U tokens call for (R_N). Its authors fix E, A, B, "
    "alpha and beta = alpha at a fit of runs of one epoch",
    read="its authors' code, huggingface/datablations, README",
)

OVER_TRAINING = Law(
    name="over_training",
    formula="E + (a*M**eta + b/M**eta)/C**eta",
    variables={"M": "tokens per parameter", "C": "FLOPs"},
    linear=("E", "a", "b"),
    starts={"eta": (0.02, 0.6)},
    bounds={"eta": EXPONENT},
    requirements=("dL/dC < 0",),
    source="2403.08540: Chinchilla's with alpha = beta = 2 eta, in C = 6 N D and M = D/N",
    read="its authors' code, mlfoundations/scaling, scaling/laws.py",
    checked="chinchilla_epoch",
)

DOWNSTREAM_ERROR = Law(
    name="downstream_error",
    formula="epsilon - k*exp(-gamma*L)",
    variables={"L": "nats per token"},
    linear=("epsilon", "k"),
    starts={"gamma": (0.1, 6.0)},
    bounds={"gamma": (1e-3, 50.0)},
    source="2403.08540: the mean error of downstream tasks, a share, at a loss L (not a loss)",
    read="its authors' code, mlfoundations/scaling, scaling/laws.py",
)

BNSL = Law(
    name="bnsl",
    formula="a + b/X**c0*(1 + (X/d1)**(1/f1))**(-c1*f1)",
    variables={"X": "what is scaled"},
    linear=("a", "b"),
    starts={"c0": (0.0, 1.0), "d1": (1e2, 1e24), "c1": (-0.5, 1.5), "f1": (0.1, 2.0)},
    bounds={"c0": (-3.0, 3.0), "c1": (-5.0, 5.0), "f1": (0.02, 10.0)},
    log=("d1", "f1"),
    source="2210.14891, one break, at d1; c0 the exponent before it, c0 + c1 after it, f1 how gradual it is. X: "
    "tokens, parameters, steps or FLOPs",
    read="its authors' code, ethancaballero/broken_neural_scaling_laws",
    checked="multipowerlaw_curves",
)

STEP_LAW_LR = Law(
    name="step_law_lr",
    formula="c*N**a*D**b",
    variables=N | D,
    linear=("c",),
    starts={"a": (-1.5, 0.5), "b": (-0.5, 1.0)},
    bounds={"a": (-3.0, 3.0), "b": (-3.0, 3.0)},
    source="2503.04715: the best peak learning rate of N parameters and D tokens (not a loss)",
    read="its authors' code, step-law/steplaw, code/fit_tool.py",
)

STEP_LAW_BATCH = Law(
    name="step_law_batch",
    formula="d*D**e",
    variables=D,
    linear=("d",),
    starts={"e": (0.0, 1.0)},
    bounds={"e": (-3.0, 3.0)},
    source="2503.04715: the best batch, in tokens, of D tokens (not a loss)",
    read="its authors' code, step-law/steplaw, code/fit_tool.py",
)

TRANSFER = Law(
    name="transfer",
    formula="k*D_F**alpha*N**beta",
    variables={"D_F": "tokens"} | N,
    linear=("k",),
    starts={"alpha": (0.02, 1.0), "beta": (0.02, 1.0)},
    bounds={"alpha": EXPONENT, "beta": EXPONENT},
    source="2102.01293, equation 1.1: what pre-training is worth, D_T, in tokens of fine-tuning (not a loss); known "
    "from two notes",
)

COMPUTE_OPTIMAL = Law(
    name="compute_optimal",
    formula="A*C**alpha",
    variables={"C": "FLOPs"},
    linear=("A",),
    starts={"alpha": (0.1, 1.0)},
    bounds={"alpha": EXPONENT},
    source="2203.15556, approach 2, and Llama 3 (2407.21783): best N or D of a budget, from IsoFLOP minima "
    "(analysis.answers.isoflop); not a loss",
    read="the paper's section 3.2",
    checked="isoflops_openathena",
)
