"""A fit as one JSON document, and back: `python -m analysis fit --json` writes it, `mix` and `next` read it.

The document holds the law's whole definition, so that a fit of a user's own law can be read without their file.

    Path("python.json").write_text(json.dumps(to_document(fit)))
    fit = read_fit("python.json")
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.fitting.fit import Fit
from analysis.fitting.objective import Loss
from analysis.fitting.resampling import ORIGINS, Draws
from analysis.formulas.expressions import one_line
from analysis.laws.law import Law
from analysis.laws.law_file import definition
from harness.core.errors import InputError
from harness.core.regular import require_regular

SCHEMA = "rewarm.fit/1"
_NUMBER = int | float | None  # null: a number that is not finite, or that there is none
_SIMPLE: dict[str, Any] = {
    "fixed": dict,
    "target": str,
    "parameters": dict,
    "se": dict,
    "cramer_rao": dict,
    "objective": _NUMBER,
    "n_points": int,
    "n_runs": int | None,
    "starts": dict,
    "converged": bool,
    "condition": _NUMBER,
    "r2": _NUMBER,
    "r2_within_run": _NUMBER,
    "mre": _NUMBER,
    "max_abs_z": _NUMBER,
    "requirements": dict,
}
ROUNDING = 1e-9  # relative: a parameter this little outside of its bounds is on them


def to_document(fit: Fit, columns: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The `rewarm.fit/1` document; `columns`: how the table's were mapped. Numbers that are not finite (the error of
    an unidentified parameter, an open end of an interval) become null."""
    draws = fit.draws
    document: dict[str, Any] = _finite(
        {
            "schema": SCHEMA,
            "law": fit.law.name,
            "definition": asdict(fit.law),
            "map": dict(columns or {}),
            "loss": {
                "kind": fit.loss.kind,
                "delta": fit.loss.delta,
                "tau": fit.loss.tau,
                "residuals": fit.loss.residuals,
                "reduction": "sum",
            },
            **{name: getattr(fit, name) for name in _SIMPLE},
            "interval": {name: list(ends) for name, ends in fit.interval.items()},
            "profile": {name: list(ends) for name, ends in fit.profile.items()},
            "on_bound": list(fit.on_bound),
            "unidentified": list(fit.unidentified),
            "redundant": list(fit.redundant),
            "range": {name: list(ends) for name, ends in fit.range.items()},
            "group": fit.group,
            "grouped": fit.grouped,
            "warnings": fit.warnings,
            "bootstrap": None
            if draws is None
            else {
                "group": draws.group,
                "groups": draws.groups,
                "seed": draws.seed,
                "failed": draws.failed,
                "draws": [[float(f"{value:.9g}") for value in row] for row in draws.parameters],
            },
            "rows": None if fit.rows is None else {name: fit.rows[name].tolist() for name in fit.rows},
        }
    )
    return document


def from_document(document: Mapping[str, Any], name: str = "fit") -> Fit:
    """The reverse. InputError if `document` is no fit."""
    if document.get("schema") != SCHEMA:
        schema = document.get("schema", "no schema")
        raise InputError(name, schema, f"is not a fit ({SCHEMA})", "write one with `python -m analysis fit ... --json`")
    law = _law(document.get("definition"), name)
    try:
        given = dict(document)
        loss = {key: value for key, value in given["loss"].items() if key != "reduction"}
        bootstrap = given["bootstrap"]
        draws = (
            None
            if bootstrap is None
            else Draws(
                np.array(bootstrap["draws"], dtype=float),
                bootstrap["group"],
                bootstrap["groups"],
                int(bootstrap["seed"]),
                int(bootstrap["failed"]),
            )
        )
        fit = Fit(
            law=law,
            loss=Loss(**loss),
            draws=draws,
            rows=None if given["rows"] is None else pd.DataFrame(given["rows"]),
            interval=_ends(given["interval"]),
            profile=_pairs(given["profile"]),
            range=_pairs(given["range"]),
            on_bound=tuple(given["on_bound"]),
            unidentified=tuple(given["unidentified"]),
            redundant=tuple(given.get("redundant", ())),
            group=given.get("group", "run" if given["n_runs"] else None),  # files of before had no other
            grouped=given.get("grouped", "given" if given["n_runs"] else "unknown"),
            **{key: given[key] for key in _SIMPLE},
        )
        _check(fit)
        return fit
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(name, SCHEMA, f"not as this version writes it ({error!r})", "fit again") from None


def read_fit(path: str | Path, field: str = "fit") -> Fit:
    """The fit of a file. Raises InputError for a file that is none."""
    try:
        require_regular(field, Path(path))
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            field, path, f"cannot be read ({one_line(error)})", "give a file of `fit ... --json`"
        ) from None
    if not isinstance(document, dict):
        raise InputError(field, path, "is not a fit", "give a file of `fit ... --json`")
    return from_document(document, field)


def _law(given: Any, name: str) -> Law:
    if not isinstance(given, dict):
        raise InputError(name, SCHEMA, "has no definition of its law", "fit again")
    return definition({key: value for key, value in given.items() if key != "name"}, given.get("name"), name)


def _check(fit: Fit) -> None:
    """ValueError unless a fit that was read is one that `fit_law` could have made."""
    for key, kind in _SIMPLE.items():
        value = getattr(fit, key)
        if not isinstance(value, kind):
            raise ValueError(f"{key} is {value!r}")
        if isinstance(value, dict) and not all(isinstance(number, _NUMBER) for number in value.values()):
            raise ValueError(f"{key} are not all numbers")
    names, variables = fit.law.parameters, set(fit.law.variables)
    if set(fit.parameters) != set(names):
        raise ValueError(f"parameters {', '.join(fit.parameters)} are not {', '.join(names)}")
    for name, value in fit.parameters.items():
        low, high = fit.law.bound(name)
        slack = ROUNDING * abs(value or 0.0)
        if value is None or not (math.isfinite(value) and low - slack <= value <= high + slack):
            raise ValueError(f"{name} = {value} is not inside [{low:g}, {high:g}]")
    if not isinstance(fit.group, str | None) or fit.grouped not in ORIGINS:
        raise ValueError(f"group is {fit.group!r}, {fit.grouped!r}")
    if set(fit.range) != variables:
        raise ValueError(f"range is of {', '.join(fit.range) or 'nothing'}")
    for name, (least, most) in fit.range.items():
        if not (math.isfinite(least) and math.isfinite(most) and least <= most):
            raise ValueError(f"range of {name} is {least} to {most}")
    if fit.draws is not None and fit.draws.parameters.shape[1:] != (len(names),):
        raise ValueError(f"draws are not rows of {len(names)} parameters")
    if fit.rows is not None:
        if lacking := sorted((variables | {fit.target}) - set(fit.rows)):
            raise ValueError(f"rows lack {', '.join(lacking)}")
        if len(fit.rows) != fit.n_points or not np.isfinite(fit.rows[[*variables, fit.target]].to_numpy(float)).all():
            raise ValueError(f"rows are not {fit.n_points} rows of numbers")


def _ends(given: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Pairs whose null is an open side."""
    return {
        key: (-math.inf if low is None else low, math.inf if high is None else high)
        for key, (low, high) in given.items()
    }


def _pairs(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(ends) for name, ends in given.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
