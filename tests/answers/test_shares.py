"""Laws over shares reach the questions of mixtures by saying so (`Law.shares`), whatever they and their variables are
called: against all mixtures of a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from analysis.answers.ensemble import settled
from analysis.answers.optimise import compute_allocation, critical_share, domain_ability
from analysis.answers.simplex import best_mixture
from analysis.formulas.formula import Array
from analysis.laws.continual import DCPT
from analysis.laws.law import Law
from analysis.laws.library import LAWS, find
from harness.core.errors import InputError
from tests.known_fits import fit_of, scattered
from tests.planted import TRUTH

DOMAINS = ("web", "books", "code")
TOKENS = 1e10
STEP = 0.005

# A user's own law: two domains help each other, and what is left of one of them costs by its own power.
OWN = Law(
    name="two help each other",
    formula="E + a/(web + 0.05)**p + b/(books + 0.05)**q - c*web*books + d*code**2",
    variables=dict.fromkeys(DOMAINS, "share"),
    linear=("E", "a", "b", "c", "d"),
    starts={"p": (0.1, 1.0), "q": (0.1, 1.0)},
    shares=DOMAINS,
)
OWN_TRUTH = {"E": 1.5, "a": 0.3, "p": 0.5, "b": 0.2, "q": 0.3, "c": 0.4, "d": 0.2}
# Another, of the share of the corpus whose loss it is, which it calls by a name of its own.
ALONE = Law(
    name="alone",
    formula="E + B*portion**eta/D**beta + C*exp(-c*portion)",
    variables={"D": "tokens", "portion": "share"},
    linear=("E", "B", "C"),
    starts={"eta": (0.05, 1.2), "beta": (0.05, 0.9), "c": (0.1, 10.0)},
    shares=("portion",),
)
ALONE_TRUTH = {
    "web": {"E": 1.6, "B": 200.0, "eta": 0.3, "beta": 0.3, "C": 0.6, "c": 3.0},
    "books": {"E": 1.4, "B": 300.0, "eta": 0.2, "beta": 0.3, "C": 0.9, "c": 2.0},
    "code": {"E": 0.9, "B": 100.0, "eta": 0.1, "beta": 0.3, "C": 0.3, "c": 8.0},
}
MIXED = find("mixing:web,books,code")
MIXED_TRUTH = {"c": 1.5, "k": 1.2, "t_web": -2.5, "t_books": -2.0}


def of_all(law: Law, truth: Mapping[str, float]) -> Callable[[str, dict[str, Array]], Array]:
    return lambda _, shares: law.value(truth, {**shares, "D": TOKENS})


def of_its_own(target: str, shares: dict[str, Array]) -> Array:
    return ALONE.value(ALONE_TRUTH[target], {"portion": shares[target], "D": TOKENS})


def grid() -> dict[str, Array]:
    axis = np.arange(0, 1 + STEP / 2, STEP)
    web, books = (x.reshape(-1) for x in np.meshgrid(axis, axis))
    kept = web + books <= 1 + 1e-12
    return {"web": web[kept], "books": books[kept], "code": np.maximum(1 - web[kept] - books[kept], 0.0)}


@pytest.mark.parametrize(
    ("law", "truths", "loss"),
    [
        (OWN, {"web": OWN_TRUTH}, of_all(OWN, OWN_TRUTH)),
        (ALONE, ALONE_TRUTH, of_its_own),
        (replace(MIXED, name="another name"), {"web": MIXED_TRUTH}, of_all(MIXED, MIXED_TRUTH)),
    ],
    ids=["of all domains", "of its own share", "with a domain left out"],
)
@pytest.mark.parametrize("cap", [1.0, 0.3], ids=["free", "capped"])
def test_the_best_mixture_is_that_of_the_grid(
    law: Law,
    truths: dict[str, dict[str, float]],
    loss: Callable[[str, dict[str, Array]], Array],
    cap: float,
) -> None:
    fits = {name: fit_of(law, truth) for name, truth in truths.items()}
    available, epochs = ({"books": cap * TOKENS}, 1) if cap < 1 else (None, None)
    answer = best_mixture(fits, dict.fromkeys(fits, 1.0), tokens=TOKENS, available=available, most_epochs=epochs)
    shares = grid()
    total = np.sum([loss(name, shares) for name in fits], axis=0)
    total = np.where(shares["books"] <= cap + 1e-12, total, np.inf)
    best = int(total.argmin())
    assert tuple(answer.values) == DOMAINS
    assert list(answer.values.values()) == pytest.approx([float(shares[name][best]) for name in DOMAINS], abs=STEP)
    assert sum(answer.loss.values()) <= total[best] + 1e-9


@pytest.mark.parametrize("names", [("r", "N", "D"), ("web pages", "c", "exp")])
def test_corpora_called_as_other_variables_have_the_same_best_mixture(names: tuple[str, ...]) -> None:
    """N and D of the run are not the shares of corpora of these names, nor is r that of the corpus r."""
    called = dict(zip(DOMAINS, names, strict=True))
    own, mixed = [], []
    for domains in (DOMAINS, names):
        plain = dict(zip(domains, DOMAINS, strict=True))
        fits = {name: fit_of(DCPT, TRUTH | {"C": ALONE_TRUTH[plain[name]]["C"]}) for name in domains}
        own.append(best_mixture(fits, dict.fromkeys(fits, 1.0), tokens=TOKENS, N=1e9))
        law = find("mixing:" + ",".join(domains))
        truth = dict(zip(law.parameters, MIXED_TRUTH.values(), strict=True))
        fits = {domains[2]: fit_of(law, truth)}
        mixed.append(best_mixture(fits, dict.fromkeys(fits, 1.0), tokens=TOKENS))
    for plainly, oddly in (own, mixed):
        assert oddly.values == {called[name]: value for name, value in plainly.values.items()}
        assert list(oddly.loss.values()) == list(plainly.loss.values())


def test_one_share_goes_by_any_name_where_two_corpora_share_a_run() -> None:
    """The critical share, the share under a tolerance and the best size: the same as with the variable r."""
    text = DCPT.formula.replace("(r ", "(own ").replace("*r**", "*own**")
    variables = {"N": "parameters", "D": "tokens", "own": "share"}
    renamed = replace(DCPT, formula=text, variables=variables, shares=("own",), requirements=())
    general = {**TRUTH, "E": 2.0, "C": 0.4}
    answers = []
    for law in (DCPT, renamed):
        both = [
            fit_of(law, truth, draws=scattered(law, truth, 20, 0.001), ranges={law.own_share: (0.1, 0.9)})
            for truth in (general, TRUTH)
        ]
        answers.append(
            [
                domain_ability(*both, N=1.8e9, D=1e10, tolerance=0.02, base_loss=3.0),
                critical_share(both[0], base_loss=3.0, N=1.8e9, D=1e10),
                compute_allocation(both[1], flops=1e20, r=0.05),
            ]
        )
    for one, other in zip(*answers, strict=True):
        assert (one.values, one.interval, one.status, one.loss) == (
            other.values,
            other.interval,
            other.status,
            other.loss,
        )
    assert answers[0][2].extrapolated == {"r": 2.0}
    assert answers[1][2].extrapolated == {"own": 2.0}


def test_a_further_variable_of_a_law_is_given() -> None:
    """How much of the stream a corpus of U tokens should be: one share, whose complement is the rest."""
    law = LAWS["repetition_mixture"]
    truth = {"E": 1.5, "A": 90.0, "alpha": 0.25, "B": 60.0, "delta": 0.1, "R": 12.0, "beta": 0.28, "gamma": 0.4}
    draws = scattered(law, {name: truth[name] for name in law.parameters}, 20, 0.01)
    fit = fit_of(law, truth, draws=draws, ranges={"U": (1e7, 1e8), "h": (0.1, 0.9)})
    h = np.linspace(1e-4, 1, 20_001)

    def best(parameters: Mapping[str, float], unique: float) -> float:
        return float(h[law.value(parameters, {"N": 3.5e8, "D": 5e10, "h": h, "U": unique}).argmin()])

    for unique in (5e7, 5e8):
        answer = best_mixture({"german": settled(fit, {"U": unique})}, {"german": 1.0}, tokens=5e10, N=3.5e8)
        assert answer.values == pytest.approx(
            {"german": best(truth, unique), "rest": 1 - best(truth, unique)}, abs=1e-4
        )
        assert answer.interval is not None
        drawn = [best(dict(zip(law.parameters, map(float, row), strict=True)), unique) for row in draws]
        assert answer.interval["german"] == pytest.approx(np.quantile(drawn, [0.05, 0.95]), abs=2e-4)
        outside = {"h": 0.1 / answer.values["german"]} if answer.values["german"] < 0.1 else {}
        assert answer.extrapolated == pytest.approx(outside if unique < 1e8 else {"U": 5.0} | outside)
    with pytest.raises(InputError, match=r"its U is neither a share of german, rest nor given; .* --given U="):
        best_mixture({"german": fit}, {"german": 1.0}, tokens=5e10, N=3.5e8)


def test_a_law_that_does_not_say_so_is_told_how() -> None:
    silent = fit_of(replace(DCPT, name="silent", shares=()), TRUTH)
    with pytest.raises(InputError, match=r'silent: does not say which of its .* shares=\("r",\)'):
        critical_share(silent, base_loss=3.0, N=1e9, D=1e10)
    with pytest.raises(InputError, match="silent: does not say that it is a law of shares"):
        best_mixture({"web": silent}, {"web": 1.0}, tokens=TOKENS, N=1e9)
    with pytest.raises(InputError, match="chinchilla: does not say that it is a law of shares"):
        best_mixture({"web": fit_of(LAWS["chinchilla"], {})}, {"web": 1.0}, tokens=TOKENS, N=1e9)
    with pytest.raises(InputError, match="no name of its shares is a variable"):
        replace(OWN, shares=("wob", "boks"))
