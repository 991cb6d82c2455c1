"""Fits of public tables against what others found there (their sources stand beside the tables)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.fit import Fit, fit_law
from analysis.fitting.objective import Loss
from analysis.laws.continual import DCPT
from analysis.laws.library import MIXING
from analysis.laws.schedules import ANNEALING, MULTI_POWER
from analysis.laws.sizes import CHINCHILLA
from analysis.results.curves import add_schedules
from harness.program.schedule import Schedule, lr_at, pieces
from tests.reference import reference

PEAK, FLOOR, WARMUP = 3e-4, 3e-5, 2160


# --- Chinchilla, 240 points of the figure --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chinchilla() -> pd.DataFrame:
    table = reference("chinchilla_epoch")
    table = table[table.in_besiroglu_fit == 1]
    return table.assign(N=table.N_params, D=table.C_flop / (6 * table.N_params))


def test_chinchilla_huber(chinchilla: pd.DataFrame) -> None:
    fit = fit_law(CHINCHILLA, chinchilla)
    assert fit.n_points == 240
    assert fit.objective == pytest.approx(0.00101827401780, rel=1e-9)
    expected = {"E": 1.81722, "A": 477.826, "B": 2143.42, "alpha": 0.347310, "beta": 0.367172}
    assert fit.parameters == pytest.approx(expected, rel=1e-5)
    assert fit.converged
    hoffmann = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
    error = np.log(CHINCHILLA.value(hoffmann, chinchilla)) - np.log(chinchilla.loss.to_numpy())
    assert Loss().of(error).sum() == pytest.approx(0.00412, rel=5e-3)


def test_chinchilla_least_absolute(chinchilla: pd.DataFrame) -> None:
    """The published headline of the replication is this optimum, not Huber's."""
    fit = fit_law(CHINCHILLA, chinchilla, loss=Loss("lad"))
    assert fit.objective == pytest.approx(1.1294947, abs=1e-7)
    published = {"E": 1.81686, "A": 482.006, "B": 2085.44, "alpha": 0.3478, "beta": 0.3658}
    assert fit.parameters == pytest.approx(published, rel=2e-4)


def test_chinchilla_bootstrap(chinchilla: pd.DataFrame) -> None:
    fit = fit_law(CHINCHILLA, chinchilla, bootstrap=4000)
    assert fit.draws is not None
    assert fit.draws.failed == 0
    draws = pd.DataFrame(fit.draws.parameters, columns=list(fit.parameters))
    spread = draws.assign(A=np.log(draws.A), B=np.log(draws.B)).std()
    for name, expected in {"A": 0.25, "B": 0.41, "alpha": 0.0154, "beta": 0.0206, "E": 0.0257}.items():
        assert spread[name] == pytest.approx(expected, rel=0.05)


# --- continual pre-training of Pythia-70M on Pile and Python ---------------------------------------------------------


@pytest.fixture(scope="module")
def cpt() -> pd.DataFrame:
    return reference("mixinglaws_cpt70M")


@pytest.mark.slow
@pytest.mark.parametrize(("corpus", "least"), [("pile", 0.95), ("python", 0.995)])
def test_dcpt_on_real_continual_pretraining(cpt: pd.DataFrame, corpus: str, least: float) -> None:
    rows = cpt[cpt.step > 0]
    table = pd.DataFrame(
        {
            "N": 7e7,
            "D": rows.D_tokens,
            "r": rows[f"{corpus}_ratio"],
            "loss": rows[f"{corpus}_loss"],
            "run": rows.pile_ratio,
        }
    )
    for loss in (Loss(), Loss("ls", residuals="raw")):
        fit = fit_law(DCPT, table, fixed={"A": 0.0}, loss=loss)
        assert fit.r2 >= least
        assert {"C", "eps", "gamma"} <= set(fit.unidentified)  # five shares of one size do not tell them apart


def mixing(table: pd.DataFrame, share: str, loss: str, **fixed: float) -> Fit:
    return fit_law(
        MIXING,
        table.assign(r=table[share], loss=table[loss]),
        loss=Loss("ls", residuals="raw"),
        group=None,
        fixed=fixed,
    )


def implied(table: pd.DataFrame, share: str, loss: str, k: float, b: float) -> float:
    """The c that goes with published k and b of loss = c + exp(k r + b): the best one."""
    return float((table[loss] - np.exp(k * table[share] + b)).mean())


def critical(fit: Fit, c: float, base: float) -> float:
    """The share at which the law's loss is that of the base."""
    return float(np.log((base - c) / fit.parameters["k"]) / fit.parameters["t"])


def test_critical_share_of_continual_pretraining(cpt: pd.DataFrame) -> None:
    """.286 with the published c; with c fitted too, least squares leaves a quarter less and says .283. The fifth run,
    at .2852, ends below the loss it started from and that at .25 above: the data do not tell the two apart."""
    end = cpt[(cpt.step == 10_000) & cpt.pile_ratio.isin([0.125, 0.25, 0.375, 0.5])]
    base = float(cpt.pile_loss[cpt.step == 0].iloc[0])
    c = implied(end, "pile_ratio", "pile_loss", -3.7397, -1.6938)
    published, free = (mixing(end, "pile_ratio", "pile_loss", **fixed) for fixed in ({"c": c}, {}))
    assert 0.286 <= critical(published, c, base) <= 0.287
    assert published.parameters["t"] == pytest.approx(-3.7397, rel=2e-3)
    assert critical(free, free.parameters["c"], base) == pytest.approx(0.2831, abs=2e-4)
    assert free.objective < 0.8 * published.objective


@pytest.mark.parametrize(
    ("step", "corpus", "k", "b"),
    [
        (10_000, "github", -2.4381, -0.5978),
        (20_000, "github", -1.5473, -0.6506),
        (30_000, "github", -1.6405, -0.6819),
        (10_000, "pilecc", -2.9041, -0.5333),
    ],
)
def test_mixing_coefficients(step: int, corpus: str, k: float, b: float) -> None:
    """To three digits with the published c; with c fitted too, least squares leaves less."""
    table = reference("mixinglaws_2mix")
    table = table[(table.model == "70M") & (table.step == step)].assign(github=lambda t: t.github_ratio)
    table["pilecc"] = 1 - table.github
    loss = f"{corpus}_loss"
    published = mixing(table, corpus, loss, c=implied(table, corpus, loss, k, b))
    assert published.parameters["t"] == pytest.approx(k, rel=5e-4)
    assert np.log(published.parameters["k"]) == pytest.approx(b, rel=5e-4)
    assert mixing(table, corpus, loss).objective < published.objective


# --- loss curves under nine schedules --------------------------------------------------------------------------------


def schedule(name: str) -> np.ndarray:
    """The learning rate of every update of a schedule of the table."""
    kind, *numbers = name.split("_")
    steps = int(numbers[-1]) if kind != "wsdcon" else 16_384
    n = np.arange(steps + 1)
    warm = np.minimum(n / WARMUP, 1) * PEAK
    if kind == "cosine":
        (_, _), (shape, _), *_ = pieces(Schedule("cosine", PEAK, FLOOR, WARMUP, horizon_steps=steps), steps)
        return np.where(n < WARMUP, warm, lr_at(shape, np.maximum(n - WARMUP, 0)))
    if kind == "constant":
        return warm
    if kind == "wsdcon":
        return np.where(n < 8000, warm, int(numbers[0]) * 1e-5)
    done = np.maximum(n - 20_000, 0) / 4000
    return warm * (FLOOR / PEAK) ** done if kind == "wsd" else warm - (PEAK - FLOOR) * done


@pytest.fixture(scope="module")
def curves() -> pd.DataFrame:
    table = reference("multipowerlaw_curves").rename(columns={"schedule": "run"})
    known = {name: schedule(name) for name in table.run.unique()}
    for name, rows in table.groupby("run"):
        assert np.abs(known[name][rows.step] - rows.lr).max() < 1e-9
    return pd.concat([add_schedules(rows, known) for _, rows in table.groupby("model_M")])


TRAINED_ON = ("cosine_24000", "constant_24000", "wsdcon_9")


@pytest.mark.parametrize(
    ("size", "expected", "error"),
    [
        (25, {"L0": 3.158, "A": 0.514, "alpha": 0.513, "C": 0.402}, 0.0055),
        (100, {"L0": 2.789, "A": 0.593, "alpha": 0.455, "C": 0.481}, 0.0055),
    ],
)
def test_annealing_law(curves: pd.DataFrame, size: int, expected: dict[str, float], error: float) -> None:
    table = curves[curves.model_M == size]
    fit = fit_law(ANNEALING, table[table.run.isin(TRAINED_ON)])
    assert fit.parameters == pytest.approx(expected, abs=6e-4)
    rest = table[~table.run.isin(TRAINED_ON)]
    assert np.abs(fit.predict(rest) - rest.loss.to_numpy()).mean() < error


@pytest.mark.slow
def test_multi_power_law(curves: pd.DataFrame) -> None:
    table = curves[curves.model_M == 100]
    fit = fit_law(MULTI_POWER, table[table.run.isin(TRAINED_ON)])
    assert fit.objective <= 2.15e-5
    assert fit.converged
    published = {"L0": 2.6514, "A": 0.6012, "alpha": 0.4530, "B": 437.95, "C": 2.1325, "beta": 0.5979, "gamma": 0.6552}
    rows = table[table.run.isin(TRAINED_ON)]
    error = np.log(replace(fit, parameters=published).predict(rows)) - np.log(rows.loss.to_numpy())
    assert Loss().of(error).sum() == pytest.approx(2.8096e-4, rel=0.02)  # what it is in their own code
