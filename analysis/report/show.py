"""One run, or what tells two apart, as documents and as text: `python -m analysis show` and `diff`.

document = show_document(store, run)
print("\n".join(show_lines(document, program_of(run.document))))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.results.facts import Document
from analysis.results.run_record import RunRecord, elsewhere, epochs_by_key, summary
from harness.core.units import count
from harness.plan.recorded_runs import corpus_names, program_of
from harness.program.program import Program, phase_entries
from harness.store.history import final_positions
from harness.store.store import Store

WIDTH, HEIGHT = 64, 7  # of the learning-rate curve, in characters
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a braille character, by column and row


def show_document(store: Store, run: RunRecord) -> dict[str, Any]:
    """All that is known of a run: program, learning rates, states on its path, tokens and epochs, losses."""
    document, program = run.document, program_of(run.document)
    base = document["base_position"]
    return {
        **summary(run),
        "labels": list(document["labels"]),
        "steps": program.steps,
        "tokens": program.tokens(program.steps),
        "tokens_per_step": program.phases[0].batch * program.phases[0].seq_len,
        "base_position": base,
        "phases": phases(document, program),
        "final_positions": last_positions(document),
        "windows": document["config"]["evaluate"]["windows"],
        "other_windows": elsewhere(run),
        "path": _path(store, document, program),
        "data": _data(store, document, program),
    }


def phases(document: Document, program: Program) -> list[dict[str, Any]]:
    """The phases of a recorded run, see `phase_entries`."""
    return phase_entries(program, corpus_names(document), document["base_position"])


def diff_document(a: RunRecord, b: RunRecord) -> dict[str, Any]:
    """Where two runs differ: config fields, phases, where their programs part, and final losses (b - a)."""
    programs = program_of(a.document), program_of(b.document)
    of_a, of_b = _flat(a.document["config"]), _flat(b.document["config"])
    fields = [field for field in dict.fromkeys([*of_a, *of_b]) if of_a.get(field) != of_b.get(field)]
    common = _common_steps(*programs)
    losses = summary(a)["loss"], summary(b)["loss"]
    both = [corpus for corpus in losses[0] if corpus in losses[1]]
    apart = [corpus for corpus in both if a.ends[corpus].windows_hash != b.ends[corpus].windows_hash]
    return {
        "a": a.facts.run,
        "b": b.facts.run,
        "config": {field: {"a": of_a.get(field), "b": of_b.get(field)} for field in fields},
        "common_steps": common,
        "common_tokens": programs[0].tokens(common),
        "phases": {
            name: [phase for phase in phases(run.document, program) if phase["start"] + phase["steps"] > common]
            for name, run, program in (("a", a, programs[0]), ("b", b, programs[1]))
        },
        "loss": {
            corpus: {
                "a": losses[0][corpus],
                "b": losses[1][corpus],
                "difference": losses[1][corpus] - losses[0][corpus],
            }
            for corpus in both
            if corpus not in apart
        },
        "not_comparable": apart,
        "status": {"a": a.status, "b": b.status},
    }


def show_lines(document: Mapping[str, Any], program: Program) -> list[str]:
    """`show` for a terminal."""
    size = f", {count(document['N_total'])} parameters"
    if document["N"] is not None:
        size += f", {count(document['N'])} of them outside the embeddings"
    lines = [
        f"{document['run']}  ({document['status']})",
        f"model {document['model']}{size}; {document['tokens_per_step']} tokens a step",
        "",
        f"{'steps':>17} {'tokens':>8}  {'learning rate':<21}  {'shape':<13}  data",
    ]
    for phase in document["phases"]:
        lines += _phase_lines(phase, document["base_position"])
    lines += ["", "learning rate over steps" + ("; ┊ = start of continual pre-training" if _inside(document) else "")]
    lines += lr_curve(program, document["base_position"])
    lines += ["", f"{'stops':>9} {'tokens':>8}  stored  address"]
    lines += [
        f"{stop['position']:>9} {count(stop['tokens']):>8}  {'yes' if stop['stored'] else 'no':<6}  "
        f"{stop['address']}{'  base' if stop['base'] else ''}"
        for stop in document["path"]
    ]
    width = max(12, *map(len, document["data"]))
    lines += ["", f"{'corpus':<{width}} {'tokens':>8} {'of them after the base':>23} {'sequences':>10} {'epochs':>7}"]
    for corpus, drawn in document["data"].items():
        epochs = "?" if drawn["epochs"] is None else f"{drawn['epochs']:.3g}"
        lines.append(
            f"{corpus:<{width}} {count(drawn['tokens']):>8} {count(drawn['cpt_tokens']):>23} "
            f"{drawn['sequences']:>10} {epochs:>7}"
        )
    return [*lines, "", *_loss_lines(document)]


def diff_lines(document: Mapping[str, Any]) -> list[str]:
    """`diff` for a terminal."""
    lines = [f"a  {document['a']}  ({document['status']['a']})", f"b  {document['b']}  ({document['status']['b']})", ""]
    if not document["config"]:
        lines.append("the configs are equal")
    width = max((len(field) for field in document["config"]), default=0)
    for field, pair in document["config"].items():
        lines.append(f"{field:<{width}}  {_text(pair['a'])}  ->  {_text(pair['b'])}")
    steps, tokens = document["common_steps"], count(document["common_tokens"])
    lines += ["", f"the first {steps} steps ({tokens} tokens) are the same"]
    for name in ("a", "b"):
        if document["phases"][name]:
            lines.append(f"then {name}:")
            for phase in document["phases"][name]:
                lines += _phase_lines(phase, None)
    if document["loss"]:
        width = max(12, *map(len, document["loss"]))
        lines += ["", f"{'final loss':<{width}} {'a':>8} {'b':>8} {'b - a':>8}"]
    for corpus, pair in document["loss"].items():
        lines.append(f"{corpus:<{width}} {pair['a']:8.4f} {pair['b']:8.4f} {pair['difference']:+8.4f}")
    lines += [f"{corpus}: a and b are measured on different windows" for corpus in document["not_comparable"]]
    return lines


def lr_curve(program: Program, base_position: int | None, width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """The learning rate from the root to the end, drawn in braille; the top line is its maximum, the bottom zero."""
    positions = np.unique(np.linspace(0, program.steps - 1, 2 * width).round().astype(int))
    rates = np.array([program.lr(int(position)) for position in positions])
    columns = np.minimum(positions * 2 * width // program.steps, 2 * width - 1)
    top = max(float(rates.max()), 1e-300)
    levels = np.round(rates / top * (4 * height - 1)).astype(int)
    cells = np.zeros((height, width), dtype=int)
    for i, (column, level) in enumerate(zip(columns, levels, strict=True)):
        before = levels[i - 1] if i else level
        jump = abs(level - before) > 1  # drawn as a line up or down
        for dot in range(min(level, before + 1), max(level, before - 1) + 1) if jump else (level,):
            row = 4 * height - 1 - dot
            cells[row // 4, column // 2] |= DOTS[column % 2][row % 4]
    mark = None if not base_position else min(base_position * width // program.steps, width - 1)
    lines = []
    for row in range(height):
        label = f"{top:9.3g} ┤" if row == 0 else f"{0:9d} ┤" if row == height - 1 else " " * 10 + "│"
        text = ["┊" if not cell and column == mark else chr(0x2800 + cell) for column, cell in enumerate(cells[row])]
        lines.append(label + "".join(text).replace("\u2800", " ").rstrip())
    end = str(program.steps)
    return [*lines, " " * 10 + "└" + "─" * width, " " * 11 + "0" + end.rjust(width - 1)]


def _phase_lines(phase: Mapping[str, Any], base_position: int | None) -> list[str]:
    data = " + ".join(f"{share:.4g} {name}" if share < 1 else name for name, share in phase["mixture"].items())
    notes = [f"{name} from its first window" for name in phase["restart"]]
    notes += ["optimizer reset"] if phase["optimizer_state"] == "reset" else []
    heading = ["  continual pre-training"] if base_position and phase["start"] == base_position else []
    span = f"{phase['start']} to {phase['start'] + phase['steps']}"
    rates = f"{phase['lr_first']:.3g} to {phase['lr_last']:.3g}"
    tail = f"  ({'; '.join(notes)})" if notes else ""
    return [*heading, f"{span:>17} {count(phase['tokens']):>8}  {rates:<21}  {phase['shape']:<13}  {data}{tail}"]


def measured_otherwise(entry: Mapping[str, Any], corpus: str, windows: int, last: int) -> list[str]:
    """How a final loss in a `summary` that is a mean is of other than `windows` windows at the `last` positions."""
    on = entry["measured"][corpus]
    if on["is"] == "end":  # a corpus that has fewer windows gave all
        return []
    notes = [] if on["windows"] == windows else [f"on {_windows(on['windows'])}"]
    return notes + ([] if on["positions"] == last else [f"mean of {on['positions']} of them only"])


def _windows(number: int) -> str:
    return "1 window" if number == 1 else f"{number} windows"


def last_positions(document: Document) -> int:
    """At how many positions a final loss is taken."""
    asked = (int(row["position"]) for row in document["requested"])
    return len(final_positions(asked, document["base_position"]))


def _loss_lines(document: Mapping[str, Any]) -> list[str]:
    if not document["loss"]:
        return ["no final loss yet"]
    last, at_end = document["final_positions"], [on for on in document["measured"].values() if on["is"] == "end"]
    mean = "the last evaluation" if last == 1 else f"mean of the last {last} evaluations"
    how, windows = mean, document["windows"]
    if at_end:
        how, windows = "of the last position", max(on["windows"] for on in at_end)
    lines = [f"final loss ({how}, nats per token; of {windows} windows where no other number stands)"]
    width = max(12, *map(len, document["loss"]))
    for corpus, loss in document["loss"].items():
        base, on = document["base_loss"].get(corpus), document["measured"][corpus]
        notes = [] if at_end else measured_otherwise(document, corpus, windows, last)
        notes += [f"on {_windows(on['windows'])}"] if at_end and on["windows"] != windows else []
        notes += [f"mean of the last {on['positions']}"] if at_end and on["is"] == "mean" else []
        note = f"   ({', '.join(notes)})" if notes else ""
        lines.append(f"{corpus:<{width}} {loss:.4f}" + ("" if base is None else f"   base {base:.4f}") + note)
    pair = [f"{name} {document[name]:+.4f}" for name in ("forgetting", "adaptation") if document[name] is not None]
    lines += ["   ".join(pair)] if pair else []
    for corpus, others in document["other_windows"].items():
        lines += [f"{corpus}: other losses are on {_windows(n)}, see --windows {n}" for n in others]
    return lines


def _path(store: Store, document: Document, program: Program) -> list[dict[str, Any]]:
    stored = store.addresses()
    return [
        {
            "position": stop["position"],
            "tokens": program.tokens(stop["position"]),
            "address": stop["address"],
            "stored": stop["address"] in stored,
            "base": stop["address"] == document["base_address"],
        }
        for stop in document["path"]
    ]


def _data(store: Store, document: Document, program: Program) -> dict[str, dict[str, Any]]:
    """Per corpus what was drawn since the root. Epochs are known once the final state is stored."""
    seq_len, known = program.phases[0].seq_len, epochs_by_key(store, document)
    names = corpus_names(document)
    at_base = program.drawn(document["base_position"] or 0)
    found = {}
    for key, sequences in program.drawn(program.steps).items():
        corpus = names.get(key, key[:12])
        found[corpus] = {
            "sequences": sequences,
            "tokens": sequences * seq_len,
            "cpt_tokens": (sequences - at_base.get(key, 0)) * seq_len,
            "epochs": known.get(key),
        }
    return found


def _common_steps(a: Program, b: Program) -> int:
    """How many steps two programs share from the root."""
    steps = 0
    for key_a, key_b, phase_a, phase_b in zip(a.branch_keys, b.branch_keys, a.phases, b.phases, strict=False):
        if key_a != key_b:
            break
        steps += min(phase_a.steps, phase_b.steps)
    return steps


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _inside(document: Mapping[str, Any]) -> bool:
    return bool(document["base_position"])


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
