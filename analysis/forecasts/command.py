"""`python -m analysis forecast`: what fits say of runs before they are trained, and what became of it.

python -m analysis forecast --freeze further --fit docs=docs.json --fit python=python.json --sweep next
python -m harness -cd sweeps -cn next
python -m analysis forecast --score further

Frozen is a file, forecasts/NAME.json, with the hash of all that it says: law, parameters, the data's hash and runs, and
for each run of the sweep that nobody has begun the loss and the 90 % interval of a next run. A changed file is refused,
and none is replaced. Commit it before the runs. The score stands beside what right intervals would hold by chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.answers.answer import Verdict, doubts_of, verdict_of
from analysis.answers.ensemble import farthest
from analysis.fitting.fit import LEVEL, Fit
from analysis.fitting.fit_file import read_fit
from analysis.forecasts.forecast import OF, Forecast, forecast, freeze, read_forecast, refuse_frozen
from analysis.forecasts.score import BAND, Score, Scored, score
from analysis.options.extrapolation import add_extrapolate, within_of
from analysis.results.runs import read_runs
from harness.core.errors import InputError
from harness.core.files import user_path
from harness.core.options import path
from harness.core.units import percent


def add_forecast_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--freeze", metavar="NAME", help="write what the fits say of the sweep's runs")
    what.add_argument("--score", metavar="NAME", help="compare it with what was measured")
    parser.add_argument("--fit", action="append", default=[], metavar="CORPUS=FIT", help="the fit of a corpus's loss")
    parser.add_argument(
        "--sweep", action="append", metavar="NAME", help="the runs: of sweeps/NAME.yaml (KNOB=VALUE ...)"
    )
    parser.add_argument(
        "--of",
        choices=OF,
        default="curve",
        help="the fits' rows, and what is compared: losses of curves (their last), or final losses (curve)",
    )
    parser.add_argument("--folder", type=path, default=Path("forecasts"), help="where they lie (forecasts)")
    add_extrapolate(parser)


def run(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `forecast`, and its lines for a terminal. Raises InputError."""
    freezes = options.score is None
    name = options.freeze if freezes else options.score
    if Path(name).name != name or name.startswith("."):
        raise InputError("--freeze" if freezes else "--score", name, "is no name", "write letters and digits")
    file = options.folder / f"{name}.json"
    return _freeze(options, overrides, name, file) if freezes else _score(options, overrides, name, file)


def _score(
    options: argparse.Namespace, overrides: Sequence[str], name: str, file: Path
) -> tuple[dict[str, Any], list[str]]:
    for field, given in (("fit", options.fit), ("sweep", options.sweep), ("KNOB=VALUE", overrides)):
        if given:
            raise InputError(field, ",".join(given), "the forecast says what it is of", "leave it out")
    if options.windows is not None:
        raise InputError("windows", options.windows, "the forecast says on which it is", "leave it out")
    frozen = read_forecast(file)
    found = score(frozen, read_runs(options.root, parents=options.parent, windows=frozen.windows))
    return {"name": name, "made": frozen.made, **found.document()}, score_lines(name, frozen, found)


def _freeze(
    options: argparse.Namespace, overrides: Sequence[str], name: str, file: Path
) -> tuple[dict[str, Any], list[str]]:
    within = within_of(options)
    if not options.fit or not options.sweep:
        missing = "--fit CORPUS=FIT" if not options.fit else "--sweep NAME"
        raise InputError(
            "arguments", f"--freeze {name}", f"{missing} is missing", "say by which fits, and of which runs"
        )
    refuse_frozen(file)
    fits: dict[str, Fit] = {}
    for text in options.fit:
        corpus, _, of_corpus = text.partition("=")
        if not (corpus and of_corpus) or corpus in fits:
            why = "is given twice" if corpus in fits else "is not CORPUS=FIT"
            raise InputError("fit", text, why, "write --fit docs=docs.json --fit python=python.json")
        fits[corpus] = read_fit(user_path("fit", of_corpus), "fit")
    runs = read_runs(options.root, options.sweep, overrides=overrides, parents=options.parent, windows=options.windows)
    made = forecast(fits, runs, options.of, options.windows)
    alone = [
        f"the fit of {corpus} counts its rows as independent, and its interval may be too narrow (--group)"
        for corpus, fit in fits.items()
        if fit.grouped == "unknown"
    ]
    verdict = verdict_of([*doubts_of(fits), *alone], farthest(*(one.beyond for one in made.said)), within)
    freeze(made, file)
    document = {**verdict.document(), "name": name, "file": str(file), **made.document()}
    return document, frozen_lines(made, file, verdict)


def frozen_lines(made: Forecast, file: Path, verdict: Verdict) -> list[str]:
    """What was said, for a terminal; first what speaks against it."""
    lines = [verdict.line] if verdict.line else []
    if outside := sum(bool(one.beyond) for one in made.said):
        lines.append(f"{outside} of {len(made.said)} losses are of runs outside of the data")
    lines.append(f"{file}: {len(made.said)} losses, frozen {made.made}; commit it before the runs")
    if made.left_out:
        lines.append(f"{made.left_out} runs are begun or done, and left out")
    return [*lines, *_table([Scored(one, None) for one in made.said])]


def score_lines(name: str, frozen: Forecast, found: Score) -> list[str]:
    """The score, for a terminal: how many intervals hold what was measured, and how many would by chance."""
    number = len(found.measured)
    if not number:
        return [f"{name}: none of {len(found.rows)} losses is measured yet; nothing can be said"]
    low, high = found.by_chance
    verdict = ""
    if not low <= found.inside <= high:
        verdict = "FEWER THAN CHANCE: " if found.inside < low else "MORE THAN CHANCE, too wide: "
    held = f"{found.inside} of {number} intervals of {LEVEL:.0%} hold what was measured"
    what = {"curve": "last loss of its curve", "end": "final loss"}[frozen.of]
    waiting = f"; {len(found.rows) - number} are not measured yet" if number < len(found.rows) else ""
    lines = [
        f"{verdict}{held}; right ones that err independently would hold {low} to {high} ({BAND:.0%} of the time)",
        f"predicted less measured: {percent(found.mean_error, 2)} on average; measured is a run's {what}",
        f"frozen {frozen.made}{waiting}",
    ]
    return [*lines, *_table(found.rows)]


def _table(rows: Sequence[Scored]) -> list[str]:
    run, corpus = (max(len(getattr(row.said, name)) for row in rows) for name in ("run", "corpus"))
    lines = ["", f"{'run':<{run}}  {'corpus':<{corpus}}  {'loss':>7}  {f'{LEVEL:.0%} interval':>16}  {'measured':>8}"]
    for row in rows:
        said, ends = row.said, f"{row.said.low:.4f} to {row.said.high:.4f}"
        measured = "" if row.measured is None else f"{row.measured:.4f}"
        note = "  missed" if row.inside is False else ""
        far = f"  outside of the data in {', '.join(said.beyond)}" if said.beyond else ""
        losses = f"{said.predicted:>7.4f}  {ends:>16}  {measured:>8}"
        lines.append(f"{said.run:<{run}}  {said.corpus:<{corpus}}  {losses}{note}{far}".rstrip())
    return lines
