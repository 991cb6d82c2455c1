"""Runs as a table that people read: for a terminal as wide as it is, or as CSV; seeds gathered, sorted.

Above `analysis.results`; `python -m analysis runs` prints it.

    entries = entries_of(store, runs)                  # those of `rewarm.runs/1`
    rows = ordered([flat(one) for one in entries], "forgetting", largest=True)
    rows = ordered(gathered(runs, entries), "run")     # means over seeds, `n` and `sd ...` beside them
    table_lines(rows, width=120); csv_text(rows)

Losses in nats per token; `... %` is a share of the base's loss, 0.05 for 5 %; None where undefined or not there yet.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from analysis.results.run_record import RunRecord, epochs_of, summary
from harness.core.errors import InputError
from harness.core.units import count
from harness.plan.run_file import model_line
from harness.store.store import Store

Row = dict[str, Any]
SEEDS = ("seed", "order", "init")  # what runs that are gathered differ in
SHARES = {"forgetting": ("forgetting_share", "upstream"), "adaptation": ("adaptation_share", "downstream")}
SETTINGS = (
    *("run", "status", "model", "N", "N_total", "batch", "seq_len", "precision", "base_tokens", "D"),
    *("upstream", "downstream", "peak", "lr", "replay", "warmup", "schedule", "start", "at", "optimizer_state", "seed"),
)
SHORTEST = 20  # characters of a run's name
LEFT_OUT = (  # of a terminal that is too narrow, the first of these first
    *("epochs", "base downstream", "base upstream", "adaptation_share", "batch", "tokens", "model"),
    *("downstream", "upstream", "status"),
)


def entries_of(store: Store, runs: Sequence[RunRecord]) -> list[Row]:
    """`summary` of each run, forgetting and adaptation as shares of the base's losses, and how often each corpus was
    read."""
    found = []
    for run in runs:
        entry = summary(run)
        for name, (share, role) in SHARES.items():
            base = entry["base_loss"].get(entry[role])
            entry[share] = None if entry[name] is None or not base else entry[name] / base
        found.append({**entry, "epochs": epochs_of(store, run.document)})
    return found


def flat(entry: Mapping[str, Any]) -> Row:
    """An entry as one row: a column each number and text."""
    changes = {name: entry[name] for change in SHARES for name in (change, SHARES[change][0])}
    measured = {"base": entry["base_loss"], "loss": entry["loss"], "epochs": entry["epochs"]}
    losses = {f"{what} {corpus}": value for what, values in measured.items() for corpus, value in values.items()}
    return {**{name: entry[name] for name in SETTINGS}, **changes, **losses}


def gathered(runs: Sequence[RunRecord], entries: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for the runs that differ in their seed only: means, `n` of those that are done, `sd ...` of the runs."""
    groups: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        same = {name: value for name, value in run.document["config"].items() if name not in (*SEEDS, "evaluate")}
        groups.setdefault(json.dumps(same, sort_keys=True, default=str), []).append(number)
    return [_mean([runs[k] for k in group], [flat(entries[k]) for k in group]) for group in groups.values()]


def _mean(runs: Sequence[RunRecord], rows: Sequence[Row]) -> Row:
    done = [row for row in rows if row["status"] == "done"]
    statuses = Counter(row["status"] for row in rows)
    found: Row = {"run": re.sub(r"-seed\d+", "", runs[0].facts.name)}
    found["status"] = "done" if len(done) == len(rows) else ", ".join(f"{n} {one}" for one, n in statuses.items())
    found["n"] = len(done)
    for name in SETTINGS[2:]:
        values = list(dict.fromkeys(row[name] for row in rows))
        found[name] = values[0] if len(values) == 1 else ", ".join(map(str, values)) if name == "seed" else None
    for name in dict.fromkeys(name for row in rows for name in row if name not in SETTINGS):
        there = [row[name] for row in done if row.get(name) is not None]
        found[name] = fmean(there) if there else None
        if not name.startswith("epochs "):  # of one base there is no sd
            found[f"sd {name}"] = stdev(there) if len({*there}) > 1 else None
    return found


def ordered(rows: Sequence[Row], column: str | None, largest: bool = False) -> list[Row]:
    """Rows by a column of theirs, the smallest or the `largest` first, those without a value last. Raises InputError
    for a column that there is not."""
    if column is None or not rows:
        return list(rows)
    role = re.fullmatch(r"(base |loss |)(upstream|downstream)", column)

    def value(row: Row) -> Any:
        return _of_role(row, role[1].strip() or "loss", role[2]) if role else row.get(column)

    known = list(dict.fromkeys(name for row in rows for name in row))
    if role is None and column not in known:
        near = difflib.get_close_matches(column, known, n=1)
        raise InputError("--sort", column, "no such column", f"did you mean {near[0]}?" if near else _listed(known))
    there = [row for row in rows if value(row) is not None]
    texts = any(isinstance(value(row), str) for row in there)
    there.sort(key=lambda row: str(value(row)) if texts else value(row), reverse=largest)
    return [*there, *(row for row in rows if value(row) is None)]


def csv_text(rows: Sequence[Row]) -> str:
    """All columns of all rows; empty where there is no value."""
    known = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, known, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def table_lines(rows: Sequence[Row], width: int | None = None) -> list[str]:
    """For a terminal of so many characters (None: as wide as they are): what all runs share first, then a line each."""
    if not rows:
        return []
    shared, columns = [], _columns(rows)
    if len({_model(row) for row in rows}) == 1:
        shared.append(_model(rows[0]))
        columns = [one for one in columns if one not in ("model", "batch")]
    if len({(row["upstream"], row["downstream"]) for row in rows}) == 1:
        shared.append(f"upstream {rows[0]['upstream']}, downstream {rows[0]['downstream']}")
    cells = {name: [_COLUMNS[name](row) for row in rows] for name in columns}
    heads = {name: HEADS.get(name, name) for name in columns}
    if width is not None and _total(_wide(heads, cells)) > width:
        cells["run"], common = _apart(cells["run"])
        shared += [f"every run: {common}"] if common else []
    wide, left_out = _wide(heads, cells), []
    for name in LEFT_OUT:
        least = _total(wide) - max(wide.get("run", 0) - SHORTEST, 0)
        if width is not None and least > width and name in wide:
            left_out.append(heads[name])
            del wide[name]
    if width is not None and wide and _total(wide) > width:
        wide["run"] = max(wide["run"] - (_total(wide) - width), SHORTEST)
        cells["run"] = [_shortened(text, wide["run"]) for text in cells["run"]]
    lines = [_line({name: heads[name] for name in wide}, wide)]
    lines += [_line({name: cells[name][number] for name in wide}, wide) for number in range(len(rows))]
    note = [f"no room for {', '.join(left_out)}: --csv FILE has all"] if left_out else []
    return [*shared, *lines, *note]


def _columns(rows: Sequence[Row]) -> list[str]:
    """Those of a terminal that say something."""
    gathers = any("n" in row for row in rows)
    return [name for name in _COLUMNS if name != "n" or gathers]


def _line(texts: Mapping[str, str], wide: Mapping[str, int]) -> str:
    left = ("run", "status", "model")
    cells = [f"{text:<{wide[name]}}" if name in left else f"{text:>{wide[name]}}" for name, text in texts.items()]
    return "  ".join(cells).rstrip()


def _wide(heads: Mapping[str, str], cells: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Characters of each column."""
    return {name: max(len(heads[name]), *map(len, texts)) for name, texts in cells.items() if texts}


def _apart(names: Sequence[str]) -> tuple[list[str], str]:
    """Names without the parts that all of them have, and these."""
    parts = [name.split("-") for name in names]
    common = [part for part in parts[0] if all(part in others for others in parts)] if len(names) > 1 else []
    return ["-".join(part for part in one if part not in common) or "(that)" for one in parts], "-".join(common)


def _total(wide: Mapping[str, int]) -> int:
    return sum(wide.values()) + 2 * (len(wide) - 1)


def _shortened(text: str, width: int) -> str:
    """The beginning of a name and, what tells it from others, its end."""
    head = width // 4
    return text if len(text) <= width else f"{text[:head]}…{text[len(text) - (width - head - 1) :]}"


def _model(row: Row) -> str:
    return model_line({**row, "parameters": row["N_total"]})


def _of_role(row: Row, what: str, role: str) -> Any:
    return row.get(f"{what} {row[role]}")


def _number(row: Row, name: str, form: str) -> str:
    value, sd = row.get(name), row.get(f"sd {name}")
    if value is None:
        return "-"
    return f"{value:{form}}" + ("" if sd is None else f" ± {sd:{form.lstrip('+')}}")


def _loss(what: str, role: str) -> Callable[[Row], str]:
    return lambda row: _number(row, f"{what} {row[role]}", ".4f")


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "run": lambda row: str(row["run"]),
    "status": lambda row: str(row["status_text"] if "status_text" in row else row["status"]),
    "n": lambda row: str(row["n"]),
    "model": lambda row: str(row["model"]),
    "batch": lambda row: f"{row['batch']} x {row['seq_len']}",
    "tokens": lambda row: count(row["D"]),
    "epochs": lambda row: _number(row, f"epochs {row['downstream']}", ".3g"),
    "base upstream": _loss("base", "upstream"),
    "upstream": _loss("loss", "upstream"),
    "base downstream": _loss("base", "downstream"),
    "downstream": _loss("loss", "downstream"),
    "forgetting": lambda row: _number(row, "forgetting", "+.4f"),
    "forgetting_share": lambda row: _number(row, "forgetting_share", "+.2%"),
    "adaptation": lambda row: _number(row, "adaptation", "+.4f"),
    "adaptation_share": lambda row: _number(row, "adaptation_share", "+.2%"),
}
HEADS = {"forgetting_share": "in %", "adaptation_share": "in %"}


def _listed(names: Sequence[str]) -> str:
    return f"known: {', '.join(names)}"
