"""`python -m analysis isoflop`: the best size for a compute budget, from runs of several sizes at several budgets.

python -m analysis isoflop --table runs.csv --map N=params,D=tokens,loss=val_loss --at 1e22
python -m analysis isoflop --table runs.csv --of D --budgets 1e19,3e19,1e20 --plot isoflop.pdf

C: a column of budgets (also called budget, flops or compute), else 6 N D. Sizes N or D alone will do: D = C/(6 N).
Status 1: the runs do not support a power law, or the budget of --at lies too far outside of theirs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.answers.answer import EXTRAPOLATED, NONE, UNSUPPORTED, Verdict, verdict_of
from analysis.answers.isoflop import DRAWS, LEAST_BUDGETS, IsoFlop, power_law, read_off, scatter
from analysis.answers.valleys import ACCEPTED, FORMS
from analysis.fitting.fit import LEVEL, Fit
from analysis.formulas.assignments import parse_map
from analysis.options.budgets import to_budgets
from analysis.options.extrapolation import add_extrapolate, within_of
from analysis.results.tables import read
from harness.core.errors import InputError
from harness.core.options import amount, path

NAMES = ("budget", "flops", "compute", "c")  # of columns that hold C, in any case
FEWEST_DRAWS = 100
SMALLEST, LARGEST = 1e10, 1e32  # FLOPs
WIDE = 0.35  # of an exponent's interval: exponents that were published lie between 0.4 and 0.75
GOOD, FARTHEST_SPAN = 0.1, 1e6  # half an interval that tells such exponents apart, and budgets that no one spans
UNLIKE = 10.0  # times that C and 6 N D may differ, by attention, embeddings or how passes are counted


def add_isoflop_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--table", type=path, metavar="FILE", required=True, help="a CSV or Parquet file, a row a run")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=COLUMN,...",
        help="what N, D, C and loss are in the table: columns, numbers, or expressions",
    )
    parser.add_argument(
        "--where", action="append", default=[], metavar="CONDITION", help="keep the rows where it holds"
    )
    parser.add_argument("--of", choices=("N", "D"), help="the size to choose: parameters or tokens (default: both)")
    parser.add_argument(
        "--budgets", default="", metavar="FLOPS,...", help="the budgets meant: each run belongs to the nearest"
    )
    parser.add_argument("--form", choices=tuple(FORMS), default="skewed", help="of the curves (skewed)")
    parser.add_argument("--weights", metavar="COLUMN", help="weights of the rows")
    parser.add_argument(
        "--bootstrap", type=int, default=DRAWS, metavar="N", help=f"curves drawn for the intervals ({DRAWS})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws; those of N and D are paired (0)")
    parser.add_argument("--at", type=amount, metavar="FLOPS", help="the best sizes for this budget")
    add_extrapolate(parser)
    parser.add_argument("--plot", type=path, metavar="FILE", help="curves and power law: png, pdf or svg")


def run(options: argparse.Namespace, _: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `isoflop`, and its lines for a terminal. Raises InputError."""
    if options.bootstrap < FEWEST_DRAWS:
        raise InputError("bootstrap", options.bootstrap, "too few for an interval", f"give {FEWEST_DRAWS} or more")
    if options.seed < 0:
        raise InputError("seed", options.seed, "a negative number", "give 0 or more")
    if options.at is not None and not SMALLEST <= options.at <= LARGEST:
        raise InputError("at", f"{options.at:g}", "no budget of a training", "give its FLOPs, such as --at 1e22")
    within = within_of(options)
    table, notes = table_of(options)
    found, laws = {}, {}
    for of in (options.of,) if options.of else ("N", "D"):
        settings: dict[str, Any] = {"weights": options.weights, "form": options.form}
        found[of] = read_off(table, of, bootstrap=options.bootstrap, seed=options.seed, **settings)
        supported = int(found[of].minima.trusted.sum()) >= LEAST_BUDGETS
        laws[of] = power_law(found[of]) if supported else None
    sizes = {of: _document(found[of], laws[of], options.at) for of in found}
    verdict = _verdict(laws, options.at, within)
    if options.plot:
        _plot(options, table, found, laws, verdict.line)
    document = {**verdict.document(), "at": options.at, "notes": notes, "sizes": sizes}
    lines = [verdict.line] if verdict.kind in (EXTRAPOLATED, UNSUPPORTED) else []
    warned = [note for note in notes if note.startswith("warning")]
    lines, rest = [*lines, *warned], [note for note in notes if note not in warned]
    lines += [line for of in found for line in law_lines(found[of], laws[of], options.at)]
    for one in found.values():
        lines += ["", *minima_lines(one)]
    return document, [*lines, *(["", *rest] if rest else [])]


def table_of(options: argparse.Namespace) -> tuple[pd.DataFrame, list[str]]:
    """Columns C (budgets), N, D and loss, and what was assumed to get them. Raises InputError."""
    columns = {name: expression for text in options.map for name, expression in parse_map(text).items()}
    where = " and ".join(f"({one})" for one in options.where) if len(options.where) > 1 else "".join(options.where)
    table, notes = read(options.table, columns, where or None), []
    if "C" not in table:
        named = [name for name in table.columns if str(name).lower() in NAMES]
        if len(named) > 1:
            why = f"could be any of {', '.join(map(str, named))}"
            raise InputError("C", options.table, why, f"say which: --map C={named[0]}")
        if named:
            table["C"] = pd.to_numeric(table[named[0]], errors="coerce")
            notes.append(f"C is the column {named[0]}")
        elif {"N", "D"} <= set(table.columns):
            table["C"] = 6 * table.N * table.D
            notes.append("C is 6 N D")
    for size, other in (("N", "D"), ("D", "N")):
        if size not in table and {other, "C"} <= set(table.columns):
            table[size] = table.C / (6 * table[other])
            notes.append(f"{size} is C/(6 {other})")
    for name in ("N", "D", "C", "loss"):
        if name not in table:
            have = ", ".join(map(str, table.columns))
            raise InputError("table", name, f"there is no such column (there are {have})", f"give it: --map {name}=...")
    _check_flops(table, options)
    table, departure = to_budgets(table, _numbers(options.budgets))
    if "run" in table and (shared := int((table.groupby("run").C.nunique() > 1).sum())):
        why = "err together there: intervals count these points as independent, and are too narrow"
        notes.append(f"warning: {shared} runs are points of several budgets, and {why}")
    if departure > 0:
        notes.append(f"{table.C.nunique()} budgets, from which runs depart by up to {departure:.1%}")
    return table, notes


def _check_flops(table: pd.DataFrame, options: argparse.Namespace) -> None:
    """InputError for C that is no number of FLOPs, or in other units."""
    C = pd.to_numeric(table.C, errors="coerce")
    if bad := list(table.index[~(np.isfinite(C) & (C > 0))]):
        why = f"not a positive number in {len(bad)} rows, such as {table.C[bad[0]]!r}"
        raise InputError("C", options.table, why, "give FLOPs: --map C=..., or leave these rows out: --where ...")
    meant = bool((table.N.min() > 1e4) and (table.D.min() > 1e5))  # else it is they that are in other units
    factor = float(np.exp(np.median(np.log(6 * table.N * table.D / C)))) if meant else 1.0
    if not 1 / UNLIKE < factor < UNLIKE or not SMALLEST <= C.median() <= LARGEST:
        why = f"in the median {C.median():.3g}, where 6 N D is {factor:.3g} times as much: other units?"
        raise InputError("C", options.table, why, "give FLOPs: --map 'C=...*1e15'")


def law_lines(found: IsoFlop, law: Fit | None, at: float | None) -> list[str]:
    """The verdict, then the power law and what it says of a budget."""
    trusted, of = int(found.minima.trusted.sum()), found.of
    lines = []
    if law is None:
        lines.append(f"NO POWER LAW of {of}*: {trusted} of {len(found.minima)} budgets have a minimum to be trusted")
    else:
        low, high = law.interval["alpha"]
        lines.append(
            f"{of}* = {law.parameters['A']:.4g} C^{law.parameters['alpha']:.4f}   {LEVEL:.0%} interval of the exponent "
            f"{low:.4f} to {high:.4f}; {trusted} of {len(found.minima)} budgets, over a factor of {_span(law):.3g}"
        )
        if beyond := scatter(found):
            lines.append(f"  the minima scatter by {beyond:.0%} around it, beyond their own errors")
        if at is not None:
            lines.append(_at_line(law, at))
    window = found.valleys.window
    points = "all points" if math.isinf(window) else f"points within a factor of {math.exp(window):.0f} of the minimum"
    fits = f"p = {found.valleys.lack_of_fit:.2f}"
    if found.valleys.lack_of_fit > ACCEPTED:
        lines.append(f"  curves through {points}, which they follow ({fits})")
    else:
        lines.append(f"  THE POINTS DO NOT FOLLOW THE CURVES ({fits}, {points}): the minima may be off by more")
    return lines


def _verdict(laws: dict[str, Fit | None], at: float | None, within: float) -> Verdict:
    """Whether there are power laws, and `at` lies inside their budgets or not far outside."""
    if none := [f"the budgets have no power law of {of}*" for of, law in laws.items() if law is None]:
        return Verdict(NONE, tuple(none))
    known = {of: law for of, law in laws.items() if law is not None}
    factor = max((_beyond(law, at) for law in known.values() if at is not None), default=1.0)
    doubts = [_doubt(of, law) for of, law in known.items() if np.ptp(law.interval["alpha"]) > WIDE]
    return verdict_of(doubts, {"C": factor} if factor > 1 else {}, within)


def _span(law: Fit) -> float:
    return law.range["C"][1] / law.range["C"][0]


def _doubt(of: str, law: Fit) -> str:
    """That budgets lie too close for an exponent, whose interval narrows with the logarithm of their span."""
    low, high = law.interval["alpha"]
    wanted = math.exp(min(math.log(_span(law)) * (high - low) / (2 * GOOD), 300.0))
    more = f"to ±{GOOD:g} it would take about {wanted:.2g}" if wanted < FARTHEST_SPAN else "more runs are needed, too"
    return f"budgets over a factor of {_span(law):.3g} tell the exponent of {of}* to {low:.2f} to {high:.2f}; {more}"


def _beyond(law: Fit, at: float) -> float:
    """How far a budget lies outside of those of the data, as a factor; below 1 inside."""
    first, last = law.range["C"]
    return max(at / last, first / at)


def _at_line(law: Fit, at: float) -> str:
    low, high = _interval(law, at)
    return f"  at {at:.4g} FLOPs {law.target}* = {float(law.predict({'C': at})):.4g}   {low:.4g} to {high:.4g}"


def _interval(law: Fit, at: float) -> tuple[float, float]:
    low, high = np.nanquantile(law.predict_draws({"C": at}), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def minima_lines(found: IsoFlop) -> list[str]:
    """The minima of the budgets, and why they are not trusted."""
    lines = [
        f"{'budget':>9}  {'points':>6}  {f'best {found.of}':>9}  {f'{LEVEL:.0%} interval':>22}  {'loss':>7}  trusted"
    ]
    for row in found.minima.to_dict("records"):
        span = f"{row['low']:.3g} to {row['high']:.3g}" if np.isfinite(row["low"]) else "-"
        best, loss = (
            f"{row[name]:{style}}" if np.isfinite(row[name]) else "-"
            for name, style in ((found.of, ".4g"), ("loss", ".4f"))
        )
        used = f"{row['used']}/{row['points']}"
        trusted = "yes" if row["trusted"] else "no"
        lines.append(f"{row['C']:>9.3g}  {used:>6}  {best:>9}  {span:>22}  {loss:>7}  {trusted}")
    for why, rows in found.minima[~found.minima.trusted].groupby("why", sort=False):
        lines.append(f"not trusted: {why} at {', '.join(f'{C:.3g}' for C in rows.C)}")
    return lines


def _document(found: IsoFlop, law: Fit | None, at: float | None) -> dict[str, Any]:
    rows = found.minima.drop(columns=["se"]).astype(object)
    window = found.valleys.window
    document: dict[str, Any] = {
        "minima": rows.where(rows.notna(), None).to_dict("records"),
        "window": None if math.isinf(window) else math.exp(window),
        "lack_of_fit": found.valleys.lack_of_fit,
        "law": None,
    }
    if law is not None:
        document["law"] = {
            **{name: {"estimate": law.parameters[name], "interval": law.interval[name]} for name in law.parameters},
            "scatter": scatter(found),
            "range": law.range["C"],
        }
        if at is not None:
            document["best"] = {"estimate": float(law.predict({"C": at})), "interval": _interval(law, at)}
    return document


def _numbers(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        found = [math.nan]
    if not all(math.isfinite(number) and number > 0 for number in found):
        raise InputError("budgets", text, "not positive numbers", "write some, such as --budgets 1e19,3e19,1e20")
    return found


def _plot(
    options: argparse.Namespace,
    table: pd.DataFrame,
    found: dict[str, IsoFlop],
    laws: dict[str, Fit | None],
    warning: str,
) -> None:
    """For each size the curves, and the power law if there is one; above them what speaks against an answer."""
    from matplotlib.axes import Axes

    from analysis.figures.plots import compute_optimal, isoflop_curves, save

    def curves(one: IsoFlop) -> Any:
        return lambda ax: isoflop_curves(ax, table, one, warning)

    def growth(one: IsoFlop, law: Fit) -> Any:
        def draw(ax: Axes) -> Axes:
            return compute_optimal(ax, law, one.minima)

        return draw

    panels = []
    for of, one in found.items():
        law = laws[of]
        panels += [curves(one), *([growth(one, law)] if law is not None else [])]
    save(options.plot, *panels)
