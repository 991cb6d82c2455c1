"""A decision as lines of a terminal: the verdict first, then what there is to check it by.

Above `analysis.decide.page`; `analysis.commands.decide` prints it.

    lines(document(found), grid.upstream, grid.downstream)

Tables have a column for each knob whose values differ in it; what all rows have in common stands in the line above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.decide.page import setting_text
from analysis.fitting.fit import LEVEL
from harness.core.units import count


def lines(told: Mapping[str, Any], up: str, down: str) -> list[str]:
    """The document of `analysis.decide.page`; `up` and `down`: its two corpora."""
    point = told["recommended"] or told["closest"]
    first = f"{told['verdict'].upper()}: {'; '.join(told['why'])}" if told["why"] else _sentence(told, up, down)
    found = [first, *([_sentence(told, up, down)] if told["why"] and told["recommended"] else [])]
    found += [f"{told['runs']} runs of {told['arms']} settings; base: {_losses(told['base'])} nats per token"]
    found += [f"note: {text}" for text in told["notes"]]
    if point is not None:
        found += ["", *_point_lines(told, point, down)]
    found += _longer_lines(told["for_tokens"], down) if told.get("for_tokens") else []
    if told.get("domain_tokens"):
        found += ["", "scarce domain data", *(f"  {line}" for line in told["domain_tokens"]["lines"])]
    if told["best_measured"]:
        found += ["", *_arm_lines("best measured arm", [told["best_measured"]], up, down)]
    elif told["question"]["limits"]:
        found += ["", f"no measured arm keeps it with {told['question']['confidence']:.0%} by its own runs"]
    if told["nearest"]:
        found += [
            "",
            *_arm_lines("nearest measured arms, and what the surfaces say without each", told["nearest"], up, down),
        ]
    found += _knob_lines(told["knobs"])
    if len(told["front"]) > 1:
        found += ["", *_front_lines(told["front"], up)]
    return [*found, "", *(_surface_line(name, one) for name, one in told["surface"].items())]


def _sentence(told: Mapping[str, Any], up: str, down: str) -> str:
    point, question = told["recommended"], told["question"]
    change = point["forgetting"][up]
    text = f"of runs of {count(told['for_tokens']['run_tokens'])} tokens: " if told.get("for_tokens") else ""
    text += (
        f"train with {setting_text(point['knobs'])}: the loss of {down} falls by {point['adaptation']['nats']:.3f} "
        f"nats, that of {up} rises by {change['nats']:.3f} ({change['share']:.2%})"
    )
    if not question["limits"]:
        return f"{text}, the least sum weighted {question['weights'][up]:g}:{question['weights'][down]:g}"
    limits = ", ".join(f"{name} {one['share']:.2%}" for name, one in question["limits"].items())
    kept = f"with {point['p_kept']:.0%} probability, the mean with {point['p_kept_mean']:.0%}"
    return f"{text}; the next run keeps {limits} {kept}"


def _point_lines(told: Mapping[str, Any], point: dict[str, Any], down: str) -> list[str]:
    """The recommendation, or the nearest point, in numbers."""
    where = "" if point["measured"] else " (between measured arms)"
    found = [f"{'recommended' if told['recommended'] else 'nearest'}: {setting_text(point['knobs'])}{where}"]
    ranges = [f"{name} {_range(ends)}" for name, ends in told["as_good"].items()]
    found += [f"as good: {', '.join(ranges)}"] if ranges else []
    of = [f"{LEVEL:.0%} of {what}" for what in ("the mean", "the next run")]
    rows = [(f"forgetting {name}", one) for name, one in point["forgetting"].items()]
    rows.append((f"adaptation {down}", point["adaptation"]))
    cells = [
        [
            name,
            f"{one['nats']:+.3f}",
            f"{one['share']:.2%}",
            *(f"{low:.3f} to {high:.3f}" for low, high in (one["interval_mean"], one["interval_run"])),
        ]
        for name, one in rows
    ]
    return [*found, *table(["", "nats", "share", *of], cells)]


def _longer_lines(longer: dict[str, Any], down: str) -> list[str]:
    """A longer run: what its learning rate becomes, and what is lost if that is wrong."""
    rate, found = longer["rate"], ["", f"for {count(longer['tokens'])} tokens"]
    if longer["moved"] is not None:
        found.append(f"  {rate} {longer['moved']:.3g}, by {longer['source']}; {longer['left']:.3g} if it is left")
    risks = {"too_high": "too high, if it is left and should move", "too_low": "too low, if it moves and should not"}
    found += [
        f"  {text}: {_cost(longer['risks'][name], rate)}" for name, text in risks.items() if name in longer["risks"]
    ]
    if drift := longer["drift"]:
        where = "runs at a constant rate, over their later half" if drift["of_curves"] else "settings of two lengths"
        moves = ", ".join(
            f"{'adaptation to' if name == down else 'forgetting of'} {name} {by:+.3f}"
            for name, by in drift["per_doubling"].items()
        )
        found.append(f"  each doubling of tokens: {moves} ({where}: {drift['number']})")
    if longer["exponent_interval"] is None or not drift or drift["of_curves"]:
        found.append(
            f"  to know it, run two further lengths, at three values of {rate} each: -m tokens=2x,4x {rate}=..."
        )
    return found


def _cost(risk: dict[str, Any], rate: str) -> str:
    at = f"as {rate} {risk['at']:.3g} at their length"
    if risk["known"]:
        return f"adapts {risk['adaptation']:+.3f}, forgets {risk['forgetting']:+.3f}, {at}"
    if risk["ends"] is None:
        return f"what it costs is not known, for it is {at}, and the runs have one {rate}"
    low, high = risk["ends"]
    where = (
        "which the runs do not reach there" if low <= risk["at"] <= high else f"and the runs have {low:g} to {high:g}"
    )
    return f"what it costs is not known, for it is {at}, {where}"


def _arm_lines(title: str, arms: list[dict[str, Any]], up: str, down: str) -> list[str]:
    """Arms as they were measured; of the nearest what is said of each without it, in a column of its own."""
    shared, knobs, settings = _settings([arm["knobs"] for arm in arms])
    said = any("without_it" in arm for arm in arms)
    kept = arms[0]["p_kept"] is not None
    head = [*knobs, "n", "forgets", *(["said"] * said), "adapts", *(["said"] * said), *(["kept"] * kept)]
    rows = []
    for arm, setting in zip(arms, settings, strict=True):
        cells = [*setting, str(arm["n"])]
        for name, one in ((up, arm["forgetting"][up]), (down, arm["adaptation"])):
            cells.append(f"{one['nats']:+.3f}" + ("" if one["sd"] is None else f" ± {one['sd']:.3f}"))
            if said:
                without = arm["without_it"].get(name)
                cells.append("-" if without is None else f"{without:+.3f}")
        rows.append([*cells, *([f"{arm['p_kept']:.0%}"] if kept else [])])
    return [_titled(title, shared), *table(head, rows)]


def _knob_lines(knobs: list[dict[str, Any]]) -> list[str]:
    if not knobs:
        return []
    rows = [
        [knob["knob"], _value(end["value"]), f"{end['forgetting']:+.3f}", f"{end['adaptation']:+.3f}"]
        for knob in knobs
        for end in knob["ends"]
    ]
    unknown = [knob["knob"] for knob in knobs if not knob["ends"]]
    found = ["", "what each knob is worth, the others as above"]
    found += table(["", "at", "forgets", "adapts"], rows) if rows else []
    return [*found, *([f"  not known, as the runs do not vary it there: {', '.join(unknown)}"] if unknown else [])]


def _front_lines(front: list[dict[str, Any]], up: str) -> list[str]:
    shared, knobs, settings = _settings([one["knobs"] for one in front])
    rows = []
    for one, setting in zip(front, settings, strict=True):
        cells = [f"{part['nats']:+.3f} ± {_half(part):.3f}" for part in (one["forgetting"][up], one["adaptation"])]
        rows.append([f"{one['forgetting'][up]['share']:.2%}", *cells, *setting])
    title = f"what can be had, means with their {LEVEL:.0%} intervals"
    return [_titled(title, shared), *table([up, "forgets", "adapts", *knobs], rows)]


def _half(one: dict[str, Any]) -> float:
    """Half of the interval of a mean, which lies in its middle."""
    low, high = one["interval_mean"]
    return float(high - low) / 2


def _settings(knobs: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], list[str], list[list[str]]]:
    """What all settings have in common, the other knobs, and their values by setting."""
    shared = {name: value for name, value in knobs[0].items() if all(one[name] == value for one in knobs)}
    rest = [name for name in knobs[0] if name not in shared]
    return shared, rest, [[_value(one[name]) for name in rest] for one in knobs]


def _titled(title: str, shared: Mapping[str, Any]) -> str:
    return f"{title} ({setting_text(dict(shared))})" if shared else title


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two blanks apart, as wide as they must be, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    left = [all(not cell or cell[0].isalpha() for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            f"{cell:{'<' if at_left else '>'}{width}}" for cell, width, at_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


def _surface_line(name: str, one: dict[str, Any]) -> str:
    low, high = one["run_sd"]
    error = "" if one["error"] is None else f", misses an arm that it has not seen by {one['error']:.3f} nats"
    error += "" if one["error_inside"] is None else f", one between others by {one['error_inside']:.3f}"
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
