"""The next runs: information, gradients and choices against brute force, the sweep file, and a simulated gain."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis.answers.ensemble import Ensemble
from analysis.answers.optimise import domain_ability
from analysis.design.candidates import (
    SHARES,
    Candidate,
    Proposed,
    candidates,
    models,
    models_near,
    numbered,
    sweep_file,
    token_grid,
)
from analysis.design.costs import run_cost
from analysis.design.information import Noise, estimate_of, information, noise_of, slopes_of
from analysis.design.next_runs import next_runs
from analysis.design.questions import Question, loss_at, parameter, share_of_limited_domain, share_under_tolerance
from analysis.design.selection import Choice, best_set, ordered
from analysis.design.sensitivity import Evidence, gradient_of
from analysis.fitting import fit as fit_module
from analysis.fitting.fit import Fit, fit_law, objective_of
from analysis.fitting.objective import Loss, Objective
from analysis.fitting.search import Found, search
from analysis.fitting.standard_errors import inform
from analysis.formulas.formula import Integers
from analysis.laws.continual import DCPT
from harness.compose.compose import sweep_points
from harness.config.run import read_run
from harness.core.errors import InputError
from harness.core.files import seal
from harness.core.shipped import SWEEPS
from harness.plan.plan import compile_points
from harness.program.shape import flops_per_token, non_embedding, parameters
from harness.store.store import Store
from tests.known_fits import fit_of
from tests.synthetic_store import points_of, write

TRUTH = {
    "general": {
        "E": 1.2,
        "A": 20.0,
        "alpha": 0.22,
        "B": 4.0,
        "eta": 0.5,
        "beta": 0.2,
        "C": 0.5,
        "eps": 0.05,
        "gamma": 0.35,
    },
    "domain": {
        "E": 0.9,
        "A": 25.0,
        "alpha": 0.24,
        "B": 12.0,
        "eta": 0.15,
        "beta": 0.25,
        "C": 0.6,
        "eps": 0.04,
        "gamma": 0.4,
    },
}
NAMES = ("mini", "mini_1m", "mini_3m")
SIZES = {name: float(non_embedding(shape)) for name, shape in models().items()}  # of what may be proposed
TOKENS, EVERY = 6e5, 7.5e4
LARGEST = SIZES["mini_3m"]
ROW, RUN = 0.005, 0.003  # standard deviations of the noise of log losses
START = [(name, r, TOKENS) for name in NAMES for r in (0.0, 0.2, 0.5, 0.8, 1.0)]
BASE_LOSS = float(DCPT.value(TRUTH["general"], {"N": LARGEST, "D": TOKENS, "r": 0.5})) / 1.01
ASKED: dict[str, Any] = {"N": LARGEST, "D": TOKENS, "tolerance": 0.02, "base_loss": BASE_LOSS}
QUESTION = share_under_tolerance(**ASKED)

Runs = Sequence[tuple[str, float, float]]  # model, share of the domain, tokens


def trained(runs: Runs, seed: int, name: str = "run", row: float = ROW, run: float = RUN) -> dict[str, pd.DataFrame]:
    """The tables of both losses that these runs would give, measured every EVERY tokens back from their ends."""
    random = np.random.default_rng(seed)
    tables = {}
    for role, truth in TRUTH.items():
        parts = []
        for number, (model, r, tokens) in enumerate(runs):
            D = tokens - EVERY * np.arange(max(int(tokens / EVERY + 1e-9), 1))
            own = r if role == "domain" else 1 - r
            columns = {"N": np.full(len(D), SIZES[model]), "D": D, "r": np.full(len(D), own)}
            noise = row * random.standard_normal(len(D)) + run * random.standard_normal()
            parts.append(
                pd.DataFrame(columns).assign(loss=DCPT.value(truth, columns) * np.exp(noise), run=f"{name}{number:03d}")
            )
        tables[role] = pd.concat(parts, ignore_index=True)
    return tables


def fitted(tables: Mapping[str, pd.DataFrame], bootstrap: int = 0, profiles: bool = True) -> dict[str, Evidence]:
    """Both fits; without the profiles of what is flat, which a mixture's interval has no part in, in half the time."""

    def unprofiled(objective: Objective, found: Found, clusters: Integers | None, *_: Any) -> tuple[Any, ...]:
        return found, inform(objective, found, clusters), {}

    with pytest.MonkeyPatch.context() as patch:
        if not profiles:
            patch.setattr(fit_module, "profiled", unprofiled)
        return {
            role: Evidence(fit_law(DCPT, table, loss=Loss("ls"), bootstrap=bootstrap), table)
            for role, table in tables.items()
        }


@pytest.fixture(scope="module")
def evidence() -> dict[str, Evidence]:
    return fitted(trained(START, seed=3), bootstrap=100, profiles=False)


def columns_of(table: pd.DataFrame) -> dict[str, Any]:
    return {name: table[name] for name in DCPT.variables}


def fits_of(evidence: Mapping[str, Evidence]) -> dict[str, Fit]:
    return {role: one.fit for role, one in evidence.items()}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep file whose runs are measured every EVERY tokens."""
    return written(tmp_path_factory.mktemp("sweeps"))


@pytest.fixture(scope="module", autouse=True)
def _composed_once() -> Iterator[None]:
    """The candidates of one call are those of the next: Hydra takes half a second to compose them."""
    known: dict[str, list[Candidate]] = {}

    def remembered(*asked: Any) -> list[Candidate]:
        key = repr(asked)
        return known[key] if key in known else known.setdefault(key, candidates(*asked))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.design.next_runs.candidates", remembered)
        yield


def written(folder: Path) -> Path:
    base = yaml.safe_load((SWEEPS / "dcpt.yaml").read_text(encoding="utf-8"))
    path = folder / "first.yaml"
    path.write_text(yaml.safe_dump({**base, "evaluate": {"every": EVERY, "early": []}}), encoding="utf-8")
    return path


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as refused:
        next_runs(*arguments, **{"cost": "0", **options})
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- information -----------------------------------------------------------------------------------------------------


def test_information_is_that_of_the_dense_covariance() -> None:
    random = np.random.default_rng(0)
    runs, noise = np.repeat([0, 1, 2], [1, 2, 5]), Noise(row=2e-5, run=9e-6)
    slopes = random.standard_normal((3, len(runs)))
    covariance = noise.row * np.eye(len(runs)) + noise.run * (runs[:, None] == runs)
    np.testing.assert_allclose(information(slopes, runs, noise), slopes @ np.linalg.inv(covariance) @ slopes.T, 1e-10)


def test_a_run_of_two_rows_by_hand() -> None:
    """Two rows with slopes a and b: [[a, b]] S^-1 [[a], [b]] with the inverse of a 2 x 2 matrix."""
    a, b, row, run = 0.7, -0.2, 3.0, 2.0
    inverse = np.array([[row + run, -run], [-run, row + run]]) / ((row + run) ** 2 - run**2)
    expected = np.array([a, b]) @ inverse @ np.array([a, b])
    found = information(np.array([[a, b]]), np.zeros(2, dtype=np.int64), Noise(row, run))
    assert found[0, 0] == pytest.approx(expected, rel=1e-12)


def test_both_variances_are_found_after_a_fit_has_taken_its_part() -> None:
    """Unbiased, although ten parameters fitted to twelve runs leave little between them."""
    random = np.random.default_rng(1)
    runs = np.repeat(np.arange(12), 8)
    design_of_runs = random.standard_normal((7, 12))[:, runs]
    slopes = np.concatenate([design_of_runs, random.standard_normal((3, len(runs)))])
    hat = slopes.T @ np.linalg.solve(slopes @ slopes.T, slopes)
    found = []
    for _ in range(400):
        noise = ROW * random.standard_normal(len(runs)) + RUN * random.standard_normal(12)[runs]
        found.append(noise_of(slopes, noise - hat @ noise, runs))
    assert np.mean([one.row for one in found]) == pytest.approx(ROW**2, rel=0.05)
    assert np.mean([one.run for one in found]) == pytest.approx(RUN**2, rel=0.15)


def test_rows_without_runs_have_one_variance() -> None:
    random = np.random.default_rng(2)
    slopes, noise = random.standard_normal((2, 500)), ROW * random.standard_normal(500)
    found = noise_of(slopes, noise, np.arange(500))
    assert found.run == 0
    assert found.row == pytest.approx(ROW**2, rel=0.15)


# --- the gradient ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_gradient_is_that_of_the_implicit_function(evidence: dict[str, Evidence]) -> None:
    """On the limit L_g(theta, 1 - r) = const, so dr/dtheta = (dL_g/dtheta) / (dL_g/ds), s = 1 - r."""
    fits = fits_of(evidence)
    gradient = gradient_of(QUESTION, fits)
    r = domain_ability(fits["general"], fits["domain"], **ASKED).values["r"]
    at = {"N": LARGEST, "D": TOKENS, "r": 1 - r}
    law = fits["general"].law
    slope = float(law.trend(fits["general"].parameters, {k: np.array([v]) for k, v in at.items()}, "dL/dr < 0")[0])
    one = slopes_of(fits["general"], {name: np.array([value]) for name, value in at.items()})[:, 0]
    loss = float(fits["general"].predict(at))
    np.testing.assert_allclose(gradient["general"], one * loss / slope, rtol=1e-3, atol=1e-4)
    assert not gradient["domain"].any()  # the general loss alone decides


@pytest.mark.slow
def test_the_gradient_foretells_refits_of_perturbed_data() -> None:
    tables = trained(START, seed=0, row=0, run=0)
    evidence = fitted(tables)
    fits, table = fits_of(evidence), tables["general"]
    gradient, slopes = gradient_of(QUESTION, fits)["general"], slopes_of(fits["general"], columns_of(table))
    now = QUESTION.value({role: Ensemble(fit, estimate_of(fit)) for role, fit in fits.items()})[0]
    for seed in range(4):
        change = 2e-4 * np.random.default_rng(seed).standard_normal(len(table))
        perturbed = table.assign(loss=table.loss * np.exp(change))
        theta = search(objective_of(DCPT, perturbed, Loss("ls"))).theta[None]
        after = QUESTION.value(
            {
                "general": Ensemble(fits["general"], theta),
                "domain": Ensemble(fits["domain"], estimate_of(fits["domain"])),
            }
        )[0]
        foretold = gradient @ np.linalg.solve(slopes @ slopes.T, slopes @ change)
        assert after - now == pytest.approx(foretold, rel=0.05, abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "question",
    [
        loss_at("general", N=LARGEST, D=TOKENS, r=0.4),
        parameter("domain", "beta"),
        share_of_limited_domain(N=LARGEST, domain_tokens=1e5),
    ],
    ids=["loss", "parameter", "limited domain"],
)
def test_other_questions_are_narrowed_too(evidence: dict[str, Evidence], sweep: Path, question: Question) -> None:
    if question.share:  # a domain loss that rises with its share somewhere: fewer domain tokens, read more thinly
        law = {**TRUTH["domain"], "eta": 1.2, "C": 0.05}
        table = evidence["domain"].table
        noise = ROW * np.random.default_rng(0).standard_normal(len(table))
        table = table.assign(loss=DCPT.value(law, columns_of(table)) * np.exp(noise))
        evidence = {"domain": Evidence(fit_law(DCPT, table, loss=Loss("ls")), table)}
    proposal = next_runs(evidence, question, 2e13, sweep=sweep)
    assert 0 < proposal.se_predicted < proposal.se_now
    assert proposal.interval_now[0] < proposal.value < proposal.interval_now[1]


# --- the choice ------------------------------------------------------------------------------------------------------


def choice_of(seed: int, budget: float, *, runs: int = 7, fixed: float = 0.0, most: float = math.inf) -> Choice:
    """Of cells of two runs whose information is alike, the last of one run if their number is odd."""
    random = np.random.default_rng(seed)
    cells = np.arange(runs) // 2
    alike = random.standard_normal((cells.max() + 1, 3, 2))[cells]
    slopes = alike + 0.5 * random.standard_normal((runs, 3, 2))
    return Choice(
        slopes @ slopes.transpose(0, 2, 1),
        fixed + random.uniform(1, 4, runs),
        cells,
        random.integers(1, 3, cells.max() + 1),
        random.standard_normal(3),
        budget,
        most,
    )


@pytest.mark.parametrize(
    ("runs", "fixed", "budget", "most"),
    [(7, 0.0, 7.0, math.inf), (7, 3.0, 16.0, math.inf), (7, 3.0, 16.0, 2), (24, 2.0, 14.0, 3)],
)
def test_the_choice_is_as_good_as_the_best_of_all_sets(runs: int, fixed: float, budget: float, most: float) -> None:
    """Within 1 % of its variance; where runs have a fixed cost, where only so many may be taken, and both."""
    for seed in range(6):
        choice = choice_of(seed, budget, runs=runs, fixed=fixed, most=most)
        best = np.inf
        for size in range(1, int(min(most, 5)) + 1):
            for some in itertools.combinations_with_replacement(range(runs), size):
                used = np.bincount(choice.cells[list(some)], minlength=len(choice.room))
                if choice.costs[list(some)].sum() <= choice.budget and (used <= choice.room).all():
                    best = min(best, choice.variance(some))
        chosen = best_set(choice)
        assert choice.costs[chosen].sum() <= choice.budget
        assert len(chosen) <= most
        assert (np.bincount(choice.cells[chosen], minlength=len(choice.room)) <= choice.room).all()
        assert best * (1 - 1e-9) <= choice.variance(chosen) <= best * 1.01


def test_one_dear_run_is_preferred_to_many_cheap_ones_where_it_does_more() -> None:
    gains = np.array([[[1.0]], [[50.0]]])
    choice = Choice(gains, np.array([1.0, 100.0]), np.array([0, 1]), np.array([5, 1]), np.ones(1), 100.0)
    assert best_set(choice) == [1]  # greedy by gain for a FLOP buys the cheap run first, and has nothing left for it


def test_gains_are_told_in_the_order_of_gain_for_a_flop() -> None:
    choice = choice_of(1, budget=9.0)
    order, errors = ordered(choice, best_set(choice))
    gains = -np.diff(errors) / choice.costs[order]
    assert (gains > 0).all()
    assert errors[-1] == pytest.approx(choice.variance(order) ** 0.5)
    alone = (errors[0] - np.sqrt(choice.variances([], order))) / choice.costs[order]
    assert alone.argmax() == 0


@pytest.mark.parametrize("budget", [7e11, 3e12, 3e13])
def test_a_proposal_keeps_to_its_budget_and_repeats_no_run(
    evidence: dict[str, Evidence], sweep: Path, budget: float
) -> None:
    proposal = next_runs(evidence, QUESTION, budget, sweep=sweep, cost="2e10")
    assert 0 < proposal.flops <= budget
    assert proposal.flops == pytest.approx(sum(point.flops for point in proposal.points))
    for point in proposal.points:
        assert non_embedding(models()[point.model]) == point.N
        measured = 2 * (64 * point.D / EVERY + 1024) * 128  # of two corpora, on the way and at the end
        tokens = point.D + measured / 3  # each a third of a trained one
        assert point.flops == pytest.approx(2e10 + flops_per_token(models()[point.model], 128) * tokens, rel=0.03)
        existing = any(name == point.model and r == point.r for name, r, _ in START)
        assert point.seed >= (1 if existing else 0)
        assert point.gain_per_flop > 0
        assert not (point.r == 0 and existing), "its seed changes nothing"
    assert len({(point.model, point.r, point.seed) for point in proposal.points}) == len(proposal.points)
    low, high = proposal.interval_now
    assert low < proposal.interval_predicted[0] < proposal.value < proposal.interval_predicted[1] < high


def test_what_restricts_the_runs_is_kept(evidence: dict[str, Evidence], sweep: Path) -> None:
    kept: dict[str, Any] = {"models": ["mini"], "shares": [0.3, 0.7], "most_tokens": 3e5, "most_seeds": 2}
    proposal = next_runs(evidence, QUESTION, 2e13, sweep=sweep, **kept)
    assert {point.model for point in proposal.points} == {"mini"}
    assert {point.r for point in proposal.points} <= {0.3, 0.7}
    assert max(point.D for point in proposal.points) <= 3e5
    assert len(proposal.points) <= 4
    assert len(next_runs(evidence, QUESTION, 2e13, sweep=sweep, most_runs=2, **kept).points) == 2


def test_the_interval_now_is_that_of_the_draws_or_of_the_linearised_variance(
    evidence: dict[str, Evidence], sweep: Path
) -> None:
    drawn = next_runs(evidence, QUESTION, 3e12, sweep=sweep)
    answer = domain_ability(evidence["general"].fit, evidence["domain"].fit, **ASKED)
    assert answer.interval is not None
    assert drawn.interval_now == pytest.approx(answer.interval["r"], abs=1e-5)
    without = {role: replace(one, fit=replace(one.fit, draws=None)) for role, one in evidence.items()}
    linear = next_runs(without, QUESTION, 3e12, sweep=sweep)
    assert linear.points == drawn.points
    assert linear.interval_now[1] - linear.interval_now[0] == pytest.approx(2 * 1.6449 * linear.se_now, rel=1e-3)


def test_models_near_the_data_share_vocabulary_and_length() -> None:
    assert set(models_near([SIZES["mini"], LARGEST])) == {*NAMES, "mini_160k", "mini_720k"}
    assert set(models_near([SIZES["mini"]])) == {"mini", "mini_160k", "mini_720k"}  # 1M is over four times as large
    assert set(models_near([SIZES["mini"]], ["mini"])) == {"mini"}
    assert set(models_near([3e8, 1e9])) >= {"pythia-410m", "pythia-1b"}
    with pytest.raises(InputError, match="factor of 4"):
        models_near([1e15])
    with pytest.raises(InputError, match="choose of mini"):
        models_near([1e5], ["tiny"])


def test_lengths_go_down_by_roots_of_two() -> None:
    assert token_grid(1e5, 4e5) == [4e5, 2.83e5, 2e5, 1.41e5, 1e5]


# --- what a run costs, and which runs there are ----------------------------------------------------------------------


def test_a_candidate_is_measured_where_the_planner_says(sweep: Path) -> None:
    runs = candidates(sweep, models_near([SIZES["mini"]], ["mini"]), [3e5, 4.24e5], [0.5, 1.0], 7.5e4)
    assert [(run.model, run.D, run.r) for run in runs] == [("mini", D, r) for D in (3e5, 4.24e5) for r in (0.5, 1.0)]
    np.testing.assert_allclose(runs[0].at, [7.5e4, 1.5e5, 2.25e5, 3e5], atol=512)  # a step has 512 tokens
    np.testing.assert_allclose(runs[2].at, [7.5e4, 1.5e5, 2.25e5, 3e5, 3.75e5, 4.24e5], atol=512)
    assert len(candidates(sweep, models_near([SIZES["mini"]], ["mini"]), [3e5], [0.5], 1.4e5)[0].at) == 3


def test_no_run_is_too_short_for_its_warm_up_and_three_measurements(sweep: Path, tmp_path: Path) -> None:
    """A final loss is the mean of the last three."""
    tokens = token_grid(1e4, 6e5)
    assert (
        min(run.D for run in candidates(sweep, models_near([SIZES["mini"]], ["mini"]), tokens, [0.5], 1e4)) == 300_000
    )
    base = yaml.safe_load(sweep.read_text(encoding="utf-8"))
    long = tmp_path / "long.yaml"
    early = {"every": EVERY, "early": [1e3, 2e3, 3e3, 4e3]}  # early ones make no run long enough
    long.write_text(yaml.safe_dump({**base, "warmup_tokens": 190_000, "evaluate": early}), encoding="utf-8")
    assert min(run.D for run in candidates(long, models_near([SIZES["mini"]]), tokens, [0.5], 1e4)) == 424_000


def test_the_fixed_cost_of_a_run_makes_them_fewer_and_larger(evidence: dict[str, Evidence], sweep: Path) -> None:
    free, dear = (next_runs(evidence, QUESTION, 3e13, sweep=sweep, cost=cost) for cost in ("0", "3e12"))
    assert len(free.points) > len(dear.points)
    trained = [np.mean([point.flops for point in one.points]) - each for one, each in ((free, 0), (dear, 3e12))]
    assert trained[0] < trained[1]
    assert 3e12 * len(dear.points) < dear.flops <= 3e13


def test_seconds_are_flops_that_could_have_been_trained(evidence: dict[str, Evidence], sweep: Path) -> None:
    seconds = next_runs(evidence, QUESTION, 3e13, sweep=sweep, cost="10s")
    flops = next_runs(evidence, QUESTION, 3e13, sweep=sweep, cost="4.5e11")
    assert seconds.points == flops.points
    assert seconds.cost.source == "10 s a run, as given, at the 4.5e+10 FLOP/s that scale=mini assumes"
    assert flops.cost.source == "4.5e+11 FLOPs a run, as given"
    assumed = next_runs(evidence, QUESTION, 3e13, sweep=sweep)
    sizes = [parameters(models()[name]) for name in ("mini_160k", "mini_3m")]  # those within a factor of 4
    low, high = (5 + 12 * size / 2e8 for size in sizes)
    assert assumed.cost.source.startswith(
        f"assumed {low:.3g} to {high:.3g} s a run to start (5 s) and to load, for no store"
    )
    for wrong in ("fast", "-1", "nan", "5 minutes", "s", ""):
        assert "neither FLOPs nor seconds" in refusal(evidence, QUESTION, 3e13, sweep=sweep, cost=wrong)


def timed_store(root: Path, sweep: Path, seconds: float, loading: float | None, per_token: float) -> Store:
    """A store of runs that took `seconds` to begin a phase, and so much to load (None: nobody timed it)."""
    points = points_of(["first"], ["grids=[{model:[mini,mini_3m],replay:[0.2,0.5]}]"], sweep.parent)
    plan = write(root, points, lambda *_: 3.0)
    for point in plan.points:
        program, base = point.program, point.base_position or 0
        ends = [stop for stop in np.cumsum([phase.steps for phase in program.phases]).tolist() if stop > base]
        lines = [] if loading is None else [{"from": base, "to": base, "seconds": loading}]
        for start, stop in zip([base, *ends], ends, strict=False):
            rows = [name for position, name in point.request.rows if start < position <= stop]
            windows = sum(point.request.measures[name].windows for name in rows)
            tokens = program.tokens(stop) - program.tokens(start) + windows * 128 / 3
            lines.append({"from": start, "to": stop, "seconds": seconds + per_token * tokens})
        folder = root / "states" / program.address()
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        (folder / "timing.jsonl").write_bytes(content)
        meta = json.loads((folder / "state.json").read_text())
        meta.pop("sha256")
        meta["files"]["timing.jsonl"] = hashlib.sha256(content).hexdigest()
        (folder / "state.json").write_bytes(seal(meta))
    return Store(root)


def test_what_a_run_costs_is_measured_in_the_store(evidence: dict[str, Evidence], sweep: Path, tmp_path: Path) -> None:
    """Two phases of 3 s after 4 s of loading, at 1e-4 s a token."""
    store = timed_store(tmp_path / "now", sweep, 3.0, 4.0, 1e-4)
    found = next_runs(evidence, QUESTION, 3e14, sweep=sweep, store=store)
    rates = {SIZES[name]: flops_per_token(models()[name], 128) / 1e-4 for name in ("mini", "mini_3m")}
    assert found.cost.source == (
        f"10 s a run to load and to begin, at {min(rates.values()):.3g} to {max(rates.values()):.3g} FLOP/s, measured "
        "over 4 runs"
    )
    for N, rate in rates.items():
        assert found.cost.flops(int(N)) == pytest.approx(10 * rate, rel=1e-3)
    given = next_runs(evidence, QUESTION, 3e14, sweep=sweep, store=store, cost="20s")
    assert given.cost.flops(int(LARGEST)) == pytest.approx(20 * rates[LARGEST], rel=1e-3)
    before = timed_store(tmp_path / "before", sweep, 3.0, None, 1e-4)
    untimed = run_cost(None, before, models_near([LARGEST], ["mini_3m"]), sweep)
    assert "to load, which its version did not time, and 6 s to begin, at" in untimed.source
    assert untimed.seconds[int(LARGEST)] == pytest.approx(6 + 5 + 12 * parameters(models()["mini_3m"]) / 2e8)


def test_a_store_without_times_of_such_runs_says_so(evidence: dict[str, Evidence], sweep: Path, tmp_path: Path) -> None:
    found = next_runs(evidence, QUESTION, 3e13, sweep=sweep, store=Store(tmp_path))
    assert "the store has no times of such runs" in found.cost.source


@pytest.mark.slow
def test_nothing_is_proposed_outside_of_what_the_data_support(evidence: dict[str, Evidence], sweep: Path) -> None:
    inner = {
        role: Evidence(one.fit, one.table[(one.table.r > 0.1) & (one.table.r < 0.9)]) for role, one in evidence.items()
    }
    proposal = next_runs(inner, loss_at("general", N=LARGEST, D=TOKENS, r=0.5), 3e13, sweep=sweep)
    assert {point.r for point in proposal.points} <= {0.2, 0.33, 0.5, 0.67, 0.8}
    assert "is not believed beyond 4 times" in refusal(evidence, QUESTION, 3e13, sweep=sweep, most_tokens=3e6)
    far = next_runs(evidence, loss_at("general", N=LARGEST, D=5 * TOKENS, r=0.4), 3e13, sweep=sweep)
    assert far.verdict().line == "NOT SUPPORTED: D lies outside the fitted range by a factor of 5"
    assert list(far.document())[:3] == ["verdict", "supported", "why"]


@pytest.mark.slow
def test_what_the_planner_refuses_is_not_proposed(evidence: dict[str, Evidence], tmp_path: Path) -> None:
    """Its reason is told where nothing is left."""
    base = yaml.safe_load((SWEEPS / "dcpt.yaml").read_text(encoding="utf-8"))
    dense = tmp_path / "dense.yaml"
    dense.write_text(yaml.safe_dump({**base, "evaluate": {"every": 1}}), encoding="utf-8")
    assert "evaluate.every=1: " in refusal(evidence, QUESTION, 3e13, sweep=dense)
    rare = tmp_path / "rare.yaml"
    rare.write_text(yaml.safe_dump({**base, "evaluate": {"every": 3e5, "early": []}}), encoding="utf-8")
    assert "is measured fewer than 3 times after its warm-up" in refusal(evidence, QUESTION, 3e13, sweep=rare)
    assert "cannot be read" in refusal(evidence, QUESTION, 3e13, sweep=tmp_path / "none.yaml")


# --- the sweep file --------------------------------------------------------------------------------------------------


def test_the_sweep_file_plans_the_proposed_runs(evidence: dict[str, Evidence], sweep: Path, tmp_path: Path) -> None:
    proposal = next_runs(evidence, QUESTION, 1e13, sweep=sweep)
    document = proposal.document()
    numbers = {"points", "flops", "run_cost", "interval_now", "interval_predicted", "extrapolated", "sweep_file"}
    assert set(document) == {"verdict", "supported", "why", *numbers}
    (tmp_path / "next.yaml").write_text(document["sweep_file"], encoding="utf-8")
    runs = [read_run(point.config) for point in sweep_points(["next"], [], tmp_path)]
    assert len(compile_points((run.name, run) for run in runs)) == len(runs), "no two points are one run"
    for run, point in zip(runs, proposal.points, strict=True):
        assert run.non_embedding == point.N
        assert run.stages[-1].steps * run.tokens_per_step == pytest.approx(point.D, abs=run.tokens_per_step)
        mixture = dict(run.stages[-1].mixture)
        assert mixture.get("python", 0) / sum(mixture.values()) == pytest.approx(point.r, abs=1e-6)
        assert run.config["seed"] == point.seed
        assert run.config["schedule"]["name"] == "warmup_constant"
        assert run.stages[0] == runs[0].stages[0], "one base serves all"


def test_a_sweep_that_sets_its_base_keeps_it() -> None:
    point = Proposed("mini", 100096, 1e5, 0.25, 1.0, 1.0, 2)
    text = sweep_file([point], {"defaults": ["config", "_self_"], "base": {"seed": 7}, "grids": [{"peak": 1}]})
    assert yaml.safe_load(text) == {
        "defaults": ["config", "_self_"],
        "base": {"seed": 7},
        "grids": [{"model": "mini", "replay": 0.75, "tokens": 1e5, "seed": 2}],
    }
    with pytest.raises(InputError, match="no sweep file"):
        sweep_file([point], {"peak": 1})


def test_seeds_are_the_smallest_that_are_free() -> None:
    run = Candidate("mini", 100096, 1e5, 0.5, 1.0, (1e5,))
    points = numbered([run, run, replace(run, r=0.2)], [3.0, 2.0, 1.0], {(100096, 0.5): {0, 2}})
    assert [point.seed for point in points] == [1, 3, 0]


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_cannot_be_answered_is_refused(evidence: dict[str, Evidence]) -> None:
    assert "cheapest run costs" in refusal(evidence, QUESTION, 1e9)
    assert "budget=nan: is not a positive" in refusal(evidence, QUESTION, float("nan"))
    assert "no training run has so few FLOPs" in refusal(evidence, QUESTION, 1.0)
    assert "runs=0: is no number of runs" in refusal(evidence, QUESTION, 1e13, most_runs=0)
    assert "needs the domain fit" in refusal({"general": evidence["general"]}, QUESTION, 1e13)
    assert "no answer" in refusal(evidence, share_under_tolerance(**{**ASKED, "base_loss": 1.0}), 1e13)
    assert "on a bound" in refusal(evidence, share_under_tolerance(**{**ASKED, "base_loss": 9.0}), 1e13)
    assert "outside [0, 1]" in refusal(evidence, QUESTION, 1e13, shares=[1.5])
    assert "allow more seeds" in refusal(evidence, QUESTION, 1e13, models=NAMES, shares=[0.2, 0.5], most_seeds=1)
    assert "not in conf/model" in refusal(evidence, QUESTION, 1e13, models=["huge"])
    for most in (0.0, -1e5, float("inf"), float("nan")):
        assert "most-tokens" in refusal(evidence, QUESTION, 1e13, most_tokens=most)
    unsure = replace(evidence["general"], fit=replace(evidence["general"].fit, converged=False))
    assert "has not converged" in refusal({**evidence, "general": unsure}, QUESTION, 1e13)
    unpaired = replace(evidence["domain"], fit=fit_law(DCPT, evidence["domain"].table, loss=Loss("ls"), bootstrap=5))
    assert "not paired" in refusal({**evidence, "domain": unpaired}, QUESTION, 1e13)


@pytest.mark.parametrize(("fixed", "lacking"), [({"A": 0.0}, "N"), ({"C": 0.0, "eta": 0.0}, "r")])
def test_a_law_without_what_a_run_is_chosen_by_is_refused(
    evidence: dict[str, Evidence], fixed: dict[str, float], lacking: str
) -> None:
    law = DCPT.fixed(fixed)
    fit = fit_of(law, {name: TRUTH["general"][name] for name in law.parameters})
    less = Evidence(fit, evidence["general"].table.drop(columns=lacking))
    assert f"the general fit has no {lacking};" in refusal({"general": less}, parameter("general", "E"), 1e13)


@pytest.mark.parametrize("seed", [None, "first", 0.5, float("inf")])
def test_seeds_that_are_no_whole_numbers_are_refused(evidence: dict[str, Evidence], seed: object) -> None:
    seeds = pd.Series([seed, *[0] * (len(evidence["general"].table) - 1)], dtype=object)
    wrong = {role: Evidence(one.fit, one.table.assign(seed=seeds)) for role, one in evidence.items()}
    assert "seed=" in refusal(wrong, QUESTION, 1e13)


def test_what_the_data_do_not_determine_is_refused(evidence: dict[str, Evidence], sweep: Path) -> None:
    """One share of each corpus: nothing tells how the loss depends on it, while the loss there is known."""
    one = evidence["general"]
    table = one.table[one.table.r == 0.5]
    single = {"general": Evidence(replace(one.fit, draws=None), table)}
    assert "do not determine it" in refusal(single, loss_at("general", N=LARGEST, D=TOKENS, r=0.9), 1e13)
    assert next_runs(single, loss_at("general", N=LARGEST, D=TOKENS, r=0.5), 1e13, sweep=sweep).points


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: parameter("both", "E"), "no such loss"),
        (lambda: loss_at("domain", N=0, D=1e5, r=0.5), "not a positive"),
        (lambda: share_under_tolerance(**{**ASKED, "D": float("nan")}), "not a positive"),
    ],
)
def test_questions_that_make_no_sense_are_refused(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_a_parameter_that_the_law_lacks_is_refused(evidence: dict[str, Evidence]) -> None:
    assert "choose of E, A" in refusal(evidence, parameter("domain", "delta"), 1e13)


# --- simulation ------------------------------------------------------------------------------------------------------


def grids_of(budget: float) -> dict[str, list[tuple[str, float, float]]]:
    """Uniform grids of all models that cost the budget: the paper's nine shares, and few shares at full length."""
    of_a_token = sum(flops_per_token(models()[name], 128) for name in NAMES)
    few = int(budget / of_a_token / TOKENS)
    shares = {"nine shares": SHARES, "full length": [(k + 0.5) / few for k in range(few)]}
    return {
        label: [(name, r, budget / of_a_token / len(given)) for name in NAMES for r in given]
        for label, given in shares.items()
    }


def simulated(replications: int, sweep: Path, budget: float = 3e13) -> pd.DataFrame:
    """What r* of usage 1 is after a first sweep (arm `start`), and with the runs of the proposal or of a uniform grid
    of equal cost: columns replication, arm, r, low, high, width, and the narrowing that the proposal foretold."""
    rows = []
    for number in range(replications):
        start = trained(START, seed=number, name="start")
        evidence = fitted(start, bootstrap=100)
        proposal = next_runs(evidence, QUESTION, budget, sweep=sweep, cost="0")
        proposed = [(point.model, point.r, point.D) for point in proposal.points]
        rows.append({"replication": number, "arm": "start", **found(evidence)})
        tokens = budget / (1 + 2 * 64 * 128 / 3 / EVERY)  # what measuring leaves of it
        for arm, runs in {"proposed": proposed, **grids_of(tokens)}.items():
            more = trained(runs, seed=1000 + number, name=arm)
            both = {role: pd.concat([start[role], more[role]], ignore_index=True) for role in start}
            rows.append(
                {
                    "replication": number,
                    "arm": arm,
                    **found(fitted(both, bootstrap=100, profiles=False)),
                    "foretold": proposal.se_predicted / proposal.se_now,
                }
            )
    return pd.DataFrame(rows)


def found(evidence: Mapping[str, Evidence]) -> dict[str, float]:
    """r* of usage 1, its interval and how wide that is."""
    answer = domain_ability(evidence["general"].fit, evidence["domain"].fit, **ASKED)
    assert answer.interval is not None
    low, high = answer.interval["r"]
    return {"r": answer.values["r"], "low": low, "high": high, "width": high - low}


@pytest.mark.slow
def test_proposed_runs_narrow_the_answer_more_than_a_uniform_grid_of_equal_cost(sweep: Path) -> None:
    table = simulated(3, sweep)
    exact = QUESTION.value(
        {
            role: Ensemble(fit_of(DCPT, truth), DCPT.inward(np.array([[truth[name] for name in DCPT.parameters]])))
            for role, truth in TRUTH.items()
        }
    )[0]
    proposed, start = (table[table.arm == arm] for arm in ("proposed", "start"))
    width = table.groupby("arm").width.median()
    for grid in grids_of(3e13):
        assert width["proposed"] < width[grid]
    assert width["proposed"] / width["start"] == pytest.approx(proposed.foretold.median(), abs=0.15)
    assert ((proposed.low <= exact) & (exact <= proposed.high)).mean() >= 0.6  # narrow, and as honest as 90 % can show
    assert ((proposed.r - exact) ** 2).mean() < ((start.r - exact) ** 2).mean()
