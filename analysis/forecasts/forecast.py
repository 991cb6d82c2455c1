"""What fits say of runs that nobody has trained yet: frozen in a file, so that nobody can know better afterwards.

    made = forecast({"docs": read_fit("docs.json")}, read_runs("runs", "further"))
    freeze(made, Path("forecasts/further.json"))
    read_forecast(Path("forecasts/further.json"))          # InputError if a letter of it was changed

An interval is that of the next run at LEVEL: the fit's resamples of the runs, with the scatter of what the law misses
(Student's t, as many degrees of freedom as there are runs more than parameters).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers.ensemble import extrapolation
from analysis.fitting.fit import LEVEL, Fit
from analysis.fitting.fit_file import to_document
from analysis.formulas.formula import Array
from analysis.results.curves import add_schedules
from analysis.results.recorded_program import lr_curve
from analysis.results.run_record import RunRecord
from harness.core import files
from harness.core.command import unwritable
from harness.core.errors import InputError
from harness.core.identity import digest
from harness.core.regular import require_regular
from harness.plan.recorded_runs import program_of

SCHEMA = "rewarm.forecast/1"
UNTRAINED = ("missing", "queued", "blocked")  # of which no measurement can be known
OF = ("curve", "end")  # the last loss on the windows of curves, or the final loss
QUANTILES = 99  # of what the law misses, for each resample
FACTS = ("N", "N_total", "base_tokens", "lr", "peak", "warmup", "warmup_tokens", "replay", "at")


@dataclass(frozen=True)
class Said:
    """What is said of the loss of one corpus at the end of one run, in nats per token."""

    run: str
    key: str
    corpus: str
    predicted: float
    low: float
    high: float
    """At LEVEL, of the next run."""
    beyond: dict[str, float]
    """Variable -> the factor by which the run lies outside of the data of the fit."""


@dataclass(frozen=True)
class Forecast:
    """All that is said, and what it was said from."""

    of: str
    """What is said of a run: `curve`, its last loss on the windows of curves, or `end`, its final loss."""
    windows: int | None
    """Number of the curve's windows where it is not that of the runs' own config, see `Reading`."""
    made: str
    """UTC."""
    fits: Mapping[str, Mapping[str, Any]]
    """By corpus: law, definition, parameters, how many rows and runs, their hash, and which runs."""
    said: Sequence[Said]
    left_out: int
    """Runs that were begun."""

    def document(self) -> dict[str, Any]:
        """The `rewarm.forecast/1` document, with its hash."""
        body: dict[str, Any] = {
            "schema": SCHEMA,
            "made": self.made,
            "level": LEVEL,
            "of": self.of,
            "windows": self.windows,
            "fits": {corpus: dict(fit) for corpus, fit in self.fits.items()},
            "said": [asdict(one) for one in self.said],
            "left_out": self.left_out,
        }
        return {**body, "hash": digest(body)}


def forecast(
    fits: Mapping[str, Fit], runs: Sequence[RunRecord], of: str = "curve", windows: int | None = None
) -> Forecast:
    """What the fits (by corpus) say of the ends of those runs that nobody has begun. Raises InputError."""
    untrained = [run for run in runs if run.status in UNTRAINED]
    if not untrained:
        why = f"all {len(runs)} runs are begun or done" if runs else "there is no run"
        raise InputError(
            "sweep", f"{len(runs)} runs", why, "name runs that nobody has trained: a forecast comes before"
        )
    said = [one for corpus, fit in fits.items() for one in _of_corpus(corpus, fit, untrained)]
    sources = {corpus: _source(fit) for corpus, fit in fits.items()}
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return Forecast(of, windows, made, sources, said, len(runs) - len(untrained))


def _of_corpus(corpus: str, fit: Fit, runs: Sequence[RunRecord]) -> list[Said]:
    table = ends(runs, corpus)
    for name in fit.law.variables:
        if name not in table or (table[name].dtype != object and table[name].isna().any()):
            why = f"a variable of {fit.law.name} that these runs do not have"
            raise InputError(corpus, name, why, f"fit a law of {', '.join(FACTS[:6])}, D, r, or of learning rates")
    if fit.target != "loss":
        raise InputError(corpus, fit.target, "is no loss", "fit losses")
    predicted = fit.predict(table)
    low, high = next_run(fit, table)
    if not (np.isfinite(predicted) & np.isfinite(low) & np.isfinite(high)).all():
        raise InputError(corpus, fit.law.name, "has no value at some of the runs", "fit another law")
    plain = [name for name in fit.range if name in table]
    return [
        Said(
            run.facts.run,
            run.facts.key,
            corpus,
            float(predicted[at]),
            float(low[at]),
            float(high[at]),
            extrapolation(fit, {name: float(table[name].iloc[at]) for name in plain}),
        )
        for at, run in enumerate(runs)
    ]


def ends(runs: Sequence[RunRecord], corpus: str) -> pd.DataFrame:
    """A row for the end of each run: the variables that laws of one corpus may have. InputError for a corpus that is
    none of theirs."""
    for run in runs:
        if corpus not in (run.facts.upstream, run.facts.downstream):
            there = f"{run.facts.upstream} and {run.facts.downstream}"
            raise InputError("fit", corpus, f"{run.facts.run} has {there}", f"name the fit by its corpus: {there}")
    rows = [
        {
            **{name: getattr(run.facts, name) for name in FACTS},
            "run": run.facts.run,
            "D": run.facts.run_tokens,
            "tokens": run.facts.base_tokens + run.facts.run_tokens,
            "r": run.facts.shares.get(corpus, 0.0),
            "step": run.document["steps"],
        }
        for run in runs
    ]
    schedules = {run.facts.run: lr_curve(program_of(run.document)) for run in runs}
    start = {run.facts.run: run.base_position for run in runs}
    return add_schedules(pd.DataFrame(rows), schedules, start=start)


def next_run(fit: Fit, table: pd.DataFrame) -> tuple[Array, Array]:
    """The interval of the next run at the rows of a table, (n,) and (n,), at LEVEL. Raises InputError."""
    from scipy.stats import t

    if fit.draws is None:
        raise InputError("fit", fit.law.name, "has no resamples, so no interval", "fit with --bootstrap 1000")
    if fit.rows is None:
        why = "sums over all changes of the rate, and keeps no rows to tell its errors by"
        raise InputError("fit", fit.law.name, why, "fit a law of S1 and S2")
    number, parameters = fit.n_runs or fit.n_points, len(fit.law.parameters)
    if number <= parameters:
        why = f"{number} runs for {parameters} parameters leave nothing to tell its errors by"
        raise InputError("fit", fit.law.name, why, "fit more runs, or a simpler law")
    observed, raw = fit.rows["loss"].to_numpy(dtype=float), fit.loss.residuals == "raw"
    fitted = fit.predict(fit.rows)
    missed = observed - fitted if raw else np.log(observed / fitted)
    sd = math.sqrt(float((missed**2).mean()) * number / (number - parameters))
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    off = sd * t.ppf(levels, number - parameters)
    drawn = fit.predict_draws({name: table[name].to_numpy() for name in fit.law.variables})
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if not len(drawn):
        raise InputError("fit", fit.law.name, "no resample has a value at these runs", "fit another law")
    spread = drawn[:, None] + off[:, None] if raw else drawn[:, None] * np.exp(off[:, None])
    low, high = np.quantile(spread.reshape(-1, len(table)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def _source(fit: Fit) -> dict[str, Any]:
    """What a forecast keeps of a fit."""
    document = to_document(fit)
    kept = ("law", "definition", "loss", "fixed", "parameters", "interval", "n_points", "n_runs", "converged")
    rows = document["rows"] or {}
    runs = sorted({str(run) for run in rows.get("run", ())})
    return {**{name: document[name] for name in kept}, "rows": digest(rows), "runs": runs}


def freeze(made: Forecast, path: Path) -> None:
    """Write a forecast. InputError where there is one of this name: it is not replaced."""
    text = json.dumps(made.document(), indent=1, allow_nan=False) + "\n"
    refuse_frozen(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_file(path, text.encode(), path.parent)
    except OSError as error:
        raise unwritable("--freeze", path, error) from None


def refuse_frozen(path: Path) -> None:
    """InputError where there is a forecast of this name."""
    if path.exists():
        why, remedy = "is frozen already", "give another name; a forecast stays as it is"
        raise InputError("--freeze", path, why, remedy)


def read_forecast(path: Path) -> Forecast:
    """A frozen forecast. InputError for a file that is none, or that says something else than when it was frozen."""
    try:
        require_regular("forecast", path)
        document = json.loads(path.read_text(encoding="utf-8"))
        hash_ = document.pop("hash")
        edited = hash_ != digest(document)
    except (OSError, ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        why = f"is no forecast ({type(error).__name__})"
        raise InputError("forecast", path, why, "give one of `forecast --freeze`") from None
    if edited:
        why = "was changed after it was frozen: its hash is of something else"
        raise InputError("forecast", path, why, "restore it; what is said afterwards is no forecast")
    try:
        if document["schema"] != SCHEMA:
            raise InputError("forecast", path, f"is no {SCHEMA}", "give one of `forecast --freeze`")
        said = [Said(**one) for one in document["said"]]
        names = ("of", "windows", "made", "fits", "left_out")
        return Forecast(said=said, **{name: document[name] for name in names})
    except (KeyError, TypeError) as error:
        raise InputError("forecast", path, f"not as this version writes it ({error!r})", "freeze anew") from None
