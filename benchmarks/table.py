"""What a benchmark reports, as rows of one table: medians and ranges of interleaved runs, and how targets were met.

`Row` is a value; `lines` prints rows for a person, `document` for a program.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.core.cores import cores


@dataclass(frozen=True)
class Row:
    """One comparison. `ours[i]` and `theirs[i]` were measured one right after the other.

    The ratio is ours/theirs, or theirs/ours where `inverse` (times, of which less is better). Without `theirs` the
    target is for `ours` itself. The target is a lower limit, or an upper one where `at_most`.
    """

    name: str
    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()
    target: float | None = None
    inverse: bool = False
    at_most: bool = False
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.ours, self.theirs, strict=True) if self.theirs else ()
        return [theirs / ours if self.inverse else ours / theirs for ours, theirs in pairs]

    @property
    def judged(self) -> float:
        """The median that the target is for."""
        return statistics.median(self.ratios if self.theirs else self.ours)

    @property
    def verdict(self) -> str:
        """`met`, or by what share of the target it was missed, of none by how much; empty without a target."""
        if self.target is None:
            return ""
        short = self.judged - self.target if self.at_most else self.target - self.judged
        by = f"{short / self.target:.1%}" if self.target else f"{short:g}"
        return "met" if short <= 0 else f"missed by {by}"


def machine() -> dict[str, Any]:
    """What the numbers depend on; neither names nor paths of the machine."""
    models = [line.split(":", 1)[1].strip() for line in _read("/proc/cpuinfo").splitlines() if "model name" in line]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": cores(),
        "load": round(os.getloadavg()[0], 1),  # before anything was measured: others' work
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("torch", "transformers")},
    }


def lines(facts: dict[str, Any], rows: Sequence[Row]) -> list[str]:
    """The table for a terminal; notes below."""
    numbers = {note: number for number, note in enumerate(dict.fromkeys(row.note for row in rows if row.note), 1)}
    header, *body = cells(rows)
    for row, line in zip(rows, body, strict=True):
        line[0] += f" ({numbers[row.note]})" if row.note else ""
    table = [header, *body]
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return [machine_line(facts), "", *text, "", *(f"({number}) {note}" for note, number in numbers.items())]


def machine_line(facts: dict[str, Any]) -> str:
    """What it was measured on."""
    versions = ", ".join(f"{name} {facts[name]}" for name in ("python", "torch", "transformers"))
    return f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']} at the start; {facts['system']}, {versions}"


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """The header, and of each row: name, ours, theirs, ratio median [min-max], target, verdict."""
    table = [["", "ours", "theirs", "ratio [min-max]", "target", ""]]
    for row in rows:
        ratios = row.ratios
        ratio = f"{statistics.median(ratios):.3f} [{min(ratios):.3f}-{max(ratios):.3f}]" if ratios else "-"
        target = "-" if row.target is None else f"{'<=' if row.at_most else '>='} {row.target:g}"
        target += f" {row.unit}" if row.target is not None and not row.theirs else ""
        table.append([row.name, _spread(row.ours, row.unit), _spread(row.theirs, row.unit), ratio, target, row.verdict])
    return table


def document(facts: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The same and every single measurement."""
    return {
        "schema": "rewarm.benchmarks/1",
        "machine": facts,
        "rows": [
            {
                "name": row.name,
                "unit": row.unit,
                "ours": list(row.ours),
                "theirs": list(row.theirs),
                "ratios": row.ratios,
                "ratio": statistics.median(row.ratios) if row.theirs else None,
                "target": row.target,
                "target_is": "at most" if row.at_most else "at least",
                "verdict": row.verdict,
                "note": row.note,
            }
            for row in rows
        ],
    }


def _spread(values: Sequence[float], unit: str) -> str:
    if not values:
        return "-"
    if len(values) == 1:
        return f"{_number(values[0])} {unit}"
    return f"{_number(statistics.median(values))} [{_number(min(values))}-{_number(max(values))}] {unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""
