"""`python -m analysis decide`: from the runs of one model to a setting: the most adaptation that a limit allows.

python -m analysis decide --sweep demo --where "downstream == 'python'" --tolerance 25%
python -m analysis decide --table grid.csv --tolerance 5% --limit german=2% --confidence .95 --plot decision.png
python -m analysis decide --weights 1:2

The runs are those of one model and one pair of corpora, its knobs (peak, replay, warmup, schedule, ...) those that
vary. With a tolerance, the answer is the setting with most adaptation of those whose next single run keeps it with the
confidence asked for; without, the one with the least weighted sum of the two losses. It lies between arms only where
the runs reach and a surface is sure. Status 1: there is no answer.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.commands.fit import columns_of
from analysis.decide.arms import KNOBS, Grid, arms_of
from analysis.decide.decision import Question, decide
from analysis.decide.ends import ends_of_store, ends_of_table
from analysis.decide.further import MOST_RUNS, Further, further_runs
from analysis.decide.page import document, setting_text
from analysis.fitting.fit import LEVEL
from analysis.formulas.assignments import pair_of
from analysis.results.tables import keep
from harness.core.errors import InputError
from harness.core.options import amount, path
from harness.core.shipped import SWEEPS


def add_decide_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_argument_group("runs: those of a store (--root), or a table")
    source.add_argument("--sweep", action="append", metavar="NAME", help="members of sweeps/NAME.yaml (KNOB=VALUE ...)")
    source.add_argument("--table", type=path, metavar="FILE", help="as `python -m paper_figures --freeze` writes it")
    source.add_argument("--map", action="append", default=[], metavar="NAME=COLUMN,...", help="columns of the table")
    source.add_argument(
        "--where", action="append", default=[], metavar="CONDITION", help="keep the runs where it holds"
    )
    source.add_argument("--knobs", metavar="NAME,...", help=f"default: those that vary of {', '.join(KNOBS)}")
    source.add_argument(
        "--bases", default="one", choices=("one", "average"), help="average: runs of several bases count together (one)"
    )
    asked = parser.add_argument_group("the question")
    asked.add_argument("--tolerance", metavar="SHARE", help="of the base's upstream loss that it may rise: 5%% or .05")
    asked.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NATS|CORPUS=SHARE",
        help="the upstream rise in nats, or that of any corpus as a share of its base loss (given again: all)",
    )
    asked.add_argument("--confidence", type=float, default=0.9, metavar="P", help="that the next run keeps them (.9)")
    asked.add_argument("--weights", metavar="U:V", help="of the two losses, without a limit (1:1)")
    asked.add_argument(
        "--extrapolate", action="store_true", help="also settings between arms of which the runs do not tell"
    )
    more = parser.add_argument_group("what to run next: stdout is then a sweep file")
    more.add_argument("--next", type=amount, metavar="FLOPS", help="the runs that this buys, after which it is surest")
    more.add_argument("--runs", type=int, metavar="N", help="at most so many runs")
    more.add_argument("--base-sweep", type=path, metavar="FILE", help="that the runs came from (default: --sweep)")
    parser.add_argument("--plot", type=path, metavar="FILE", help="the surfaces and the front: png, pdf or svg")


def run(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `decide`, and its lines for a terminal. Raises InputError."""
    grid = grid_of(options, overrides)
    question = question_of(options, grid)
    found = decide(grid, question)
    if found is None:
        raise InputError("runs", len(grid.settings), "every setting failed or diverged", "try lower peaks")
    told = document(found)
    if options.plot:
        from analysis.decide.drawing import draw  # matplotlib takes a second

        draw(options.plot, found)
    if options.next is None:
        return told, lines(told, grid)
    further = further_runs(found, options.next, *sweep_of(options, overrides), options.runs or MOST_RUNS)
    comment = [f"# {line}".rstrip() for line in [*lines(told, grid)[:1], "", *further_lines(further)]]
    return {**told, "next": further.document()}, [*comment, *further.sweep_file.splitlines()]


def sweep_of(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[Path, Sequence[str]]:
    """The sweep file that further runs extend, and what it was called with. Raises InputError."""
    if options.runs is not None and options.runs < 1:
        raise InputError("runs", options.runs, "is no number of runs", "give 1 or more")
    if options.base_sweep is not None:
        return options.base_sweep, overrides
    if options.sweep is None or len(options.sweep) > 1:
        why = "which sweep do further runs extend?"
        raise InputError("next", options.next, why, "give --base-sweep FILE, or one --sweep NAME")
    return SWEEPS / f"{options.sweep[0]}.yaml", overrides


def further_lines(further: Further) -> list[str]:
    """Proposed runs for a terminal."""
    return [
        f"expected regret {further.regret_now:.3g} nats now, {further.regret_predicted:.3g} after "
        f"{len(further.points)} runs of {sum(one.flops for one in further.points):.3g} FLOPs",
        *(f"  {setting_text(dict(one.knobs))}, seed {one.seed}" for one in further.points),
        "",
    ]


def grid_of(options: argparse.Namespace, overrides: Sequence[str]) -> Grid:
    """The arms that the options name. Raises InputError."""
    if options.table is not None:
        for name, given in (("sweep", options.sweep), ("KNOB=VALUE", overrides)):
            if given:
                raise InputError(name, ",".join(given), "is for the runs of a store", "give it or --table, not both")
        ends, source = ends_of_table(options.table, columns_of(options)), options.table.name
    else:
        if options.map:
            raise InputError("map", ",".join(options.map), "is for a table", "leave it out")
        reading = {"overrides": overrides, "parents": options.parent, "windows": options.windows}
        ends, source = ends_of_store(options.root, options.sweep, **reading), str(options.root)
    if options.where:
        ends = keep(ends, " and ".join(f"({one})" for one in options.where), source)
    knobs = None if options.knobs is None else [name.strip() for name in options.knobs.split(",") if name.strip()]
    return arms_of(ends, knobs, options.bases)


def question_of(options: argparse.Namespace, grid: Grid) -> Question:
    """What is asked. Raises InputError."""
    if not 0.5 <= options.confidence < 1:
        raise InputError("confidence", options.confidence, "is no probability from .5 to 1", "give one, such as .9")
    limits: dict[str, float] = {}
    if options.tolerance is not None:
        limits[grid.upstream] = share("tolerance", options.tolerance) * grid.base[grid.upstream]
    for text in options.limit:
        name, _ = pair_of(text) if "=" in text else (grid.upstream, "")
        if name not in grid.forgetting:
            why = "is what is adapted to" if name == grid.downstream else "is not measured at every end"
            raise InputError("limit", text, f"{name} {why}", f"choose of {', '.join(grid.forgetting)}")
        if name in limits:
            raise InputError("limit", text, f"{name} has a limit already", "give one of each corpus")
        limits[name] = share("limit", pair_of(text)[1]) * grid.base[name] if "=" in text else _nats(text)
    if limits and options.weights is not None:
        raise InputError("weights", options.weights, "plays no part beside a limit", "leave one of them out")
    return Question(limits, options.confidence, _weights(options.weights or "1:1"), options.extrapolate)


def share(field: str, text: str) -> float:
    """`5%` or `.05`. Raises InputError."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not -1 < value < 1:
        percent = text.replace(".", "", 1).isdigit() and 1 <= value < 100
        why = "is no share of the base's loss" + ("; it looks like percent" if percent else "")
        raise InputError(field, text, why, f"write {text}%" if percent else "write 5% or .05")
    return value


def _nats(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError("limit", text, "is no number of nats, and no CORPUS=SHARE", "write .2, or docs=5%")
    return value


def _weights(text: str) -> tuple[float, float]:
    parts = text.split(":")
    try:
        u, v = (float(part) for part in parts)
    except ValueError:
        u = v = math.nan
    if not (math.isfinite(u + v) and u >= 0 and v >= 0 and u + v > 0):
        raise InputError("weights", text, "are not two weights U:V, none negative", "write 1:2")
    return u, v


def lines(told: dict[str, Any], grid: Grid) -> list[str]:
    """A decision for a terminal: the verdict first."""
    up, down = grid.upstream, grid.downstream
    point = told["recommended"] or told["closest"]
    first = f"{told['verdict'].upper()}: {'; '.join(told['why'])}" if told["why"] else _sentence(told, up, down)
    found = [first, *([_sentence(told, up, down)] if told["why"] and told["recommended"] else [])]
    found += [f"{told['runs']} runs of {told['arms']} settings; base: {_losses(told['base'])} nats per token"]
    found += [f"note: {text}" for text in told["notes"]]
    if point is not None:
        found += ["", *_point_lines(told, point, down)]
    if told["best_measured"]:
        found += ["", "best measured arm", *_arm_lines([told["best_measured"]], up, down)]
    elif told["question"]["limits"]:
        found += ["", f"no measured arm keeps it with {told['question']['confidence']:.0%} by its own runs"]
    if told["nearest"]:
        found += ["", "nearest measured arms, and what the surfaces say of each without it"]
        found += _arm_lines(told["nearest"], up, down)
    found += _knob_lines(told["knobs"])
    if len(told["front"]) > 1:
        found += ["", f"what can be had: forgetting of {up} against adaptation to {down}, means at {LEVEL:.0%}"]
        found += [_front_line(one, up) for one in told["front"]]
    return [*found, "", *(_surface_line(name, one) for name, one in told["surface"].items())]


def _sentence(told: dict[str, Any], up: str, down: str) -> str:
    point, question = told["recommended"], told["question"]
    change = point["forgetting"][up]
    text = (
        f"train with {setting_text(point['knobs'])}: the loss of {down} falls by {point['adaptation']['nats']:.3f} "
        f"nats, that of {up} rises by {change['nats']:.3f} ({change['share']:.2%})"
    )
    if not question["limits"]:
        return f"{text}, the least sum weighted {question['weights'][up]:g}:{question['weights'][down]:g}"
    limits = ", ".join(f"{name} {one['share']:.2%}" for name, one in question["limits"].items())
    kept = f"with {point['p_kept']:.0%} probability, the mean with {point['p_kept_mean']:.0%}"
    return f"{text}; the next run keeps {limits} {kept}"


def _point_lines(told: dict[str, Any], point: dict[str, Any], down: str) -> list[str]:
    """The recommendation, or the nearest point, in numbers."""
    where = "" if point["measured"] else " (between measured arms)"
    found = [f"{'recommended' if told['recommended'] else 'nearest'}: {setting_text(point['knobs'])}{where}"]
    ranges = [f"{name} {_range(ends)}" for name, ends in told["as_good"].items()]
    found += [f"as good: {', '.join(ranges)}"] if ranges else []
    width = max(len(name) for name in (*point["forgetting"], down)) + 11
    of = [f"{LEVEL:.0%} of {what}" for what in ("the mean", "the next run")]
    head = f"{'':<{width}}  {'nats':>8}  {'share':>8}  {of[0]:>20}  {of[1]:>20}"
    rows = [(f"forgetting {name}", one) for name, one in point["forgetting"].items()]
    rows.append((f"adaptation {down}", point["adaptation"]))
    found.append(head)
    for name, one in rows:
        spans = [f"{low:.3f} to {high:.3f}" for low, high in (one["interval_mean"], one["interval_run"])]
        found.append(f"{name:<{width}}  {one['nats']:>+8.3f}  {one['share']:>8.2%}  {spans[0]:>20}  {spans[1]:>20}")
    return found


def _arm_lines(arms: list[dict[str, Any]], up: str, down: str) -> list[str]:
    texts = [setting_text(arm["knobs"]) for arm in arms]
    width = max(map(len, texts))
    found = []
    for arm, text in zip(arms, texts, strict=True):
        cells = []
        for name, what, one in ((up, "forgets", arm["forgetting"][up]), (down, "adapts", arm["adaptation"])):
            sd = "" if one["sd"] is None else f" ± {one['sd']:.3f}"
            without = arm.get("without_it", {}).get(name)
            cells.append(f"{what} {one['nats']:+.3f}{sd}" + ("" if without is None else f" (said {without:+.3f})"))
        kept = "" if arm["p_kept"] is None else f"  kept {arm['p_kept']:.0%}"
        found.append(f"  {text:<{width}}  n {arm['n']}  {'  '.join(cells)}{kept}")
    return found


def _knob_lines(knobs: list[dict[str, Any]]) -> list[str]:
    if not knobs:
        return []
    found = ["", "what each knob is worth, the others as above"]
    for knob in knobs:
        ends = [
            f"{_value(end['value'])}: forgets {end['forgetting']:+.3f}, adapts {end['adaptation']:+.3f}"
            for end in knob["ends"]
        ]
        found.append(f"  {knob['knob']}  {';  '.join(ends) or 'not known: the runs do not vary it there'}")
    return found


def _front_line(one: dict[str, Any], up: str) -> str:
    change, adaptation = one["forgetting"][up], one["adaptation"]
    spans = [f"{change['interval_mean'][0]:+.3f} to {change['interval_mean'][1]:+.3f}"]
    spans.append(f"{adaptation['interval_mean'][0]:+.3f} to {adaptation['interval_mean'][1]:+.3f}")
    return (
        f"  {change['share']:>8.2%}  {change['nats']:+.3f}  ({spans[0]})  {adaptation['nats']:+.3f}  ({spans[1]})  "
        f"{setting_text(one['knobs'])}"
    )


def _surface_line(name: str, one: dict[str, Any]) -> str:
    low, high = one["run_sd"]
    error = "" if one["error"] is None else f", misses an arm that it has not seen by {one['error']:.3f} nats"
    noise = "sd of a run " + (f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}")
    common = (
        f", {one['common']:.0%} of its variance common to runs of one seed" if one["measured_noise"] else ", assumed"
    )
    windows = f"; the choice of windows leaves {one['sampling']:.4f} in doubt" if one["sampling"] else ""
    return f"{name}: {one['kind']}{error}; {noise}{common}{windows}"


def _range(ends: Any) -> str:
    if all(isinstance(end, float) for end in ends):
        return f"{ends[0]:.4g}" if ends[0] == ends[1] else f"{ends[0]:.4g} to {ends[1]:.4g}"
    return " or ".join(ends)


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _losses(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
