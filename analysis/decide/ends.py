"""One row a run: its settings, where it ended and where its base stood. What a decision starts from.

Above `analysis.results`, below `analysis.decide.arms`.

    ends = ends_of_store(Path("runs"), sweep="demo")
    ends = ends_of_table(Path("demo.csv"))            # as `python -m paper_figures --freeze` writes it

Columns: those of SETTINGS that are known, `run`, `status` (done, failed, ...), `last_alone` (whether its final losses
are those of the last position on windows enough, not means of the last few), and of every corpus `final CORPUS` and
`base CORPUS`, losses in nats per token, NaN where there are none, and `dirty CORPUS`, how many windows these leave out
as contained in what is trained on, NaN: not known. Of some runs whose windows were kept, `sampling CORPUS` is the
standard error of the change from base to end, had other windows of the corpus been drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.results.run_record import RunRecord, summary
from analysis.results.runs import read_runs
from analysis.results.tables import ends_of, read
from analysis.results.windows import FrozenWindows, beside, forgetting, with_clean_ends
from harness.core.errors import InputError

SETTINGS = (
    "model",
    "N_total",
    "upstream",
    "downstream",
    "base_address",
    "base_tokens",
    "run_tokens",
    "lr",
    "peak",
    "warmup",
    "replay",
    "schedule",
    "min_ratio",
    "batch",
    "horizon",
    "optimizer_state",
    "start",
    "at",
    "seed",
    "base_seed",
)
USUAL: dict[str, Any] = {"windows": 0, "start": "pretrain"}  # of a table that does not say
SAMPLED = 12  # runs whose windows are read: the error is nearly the same in all
NEEDED = ("run", "corpus", "upstream", "downstream", "D", "loss")  # of a table


def ends_of_store(root: Path, sweep: Sequence[str] | None = None, **reading: Any) -> pd.DataFrame:
    """The runs of a store, or the members of sweeps; `reading` as of `read_runs`. Raises InputError."""
    runs = read_runs(root, sweep, **reading)
    ends = pd.DataFrame([_end(run) for run in runs])
    done = [number for number, run in enumerate(runs) if run.status == "done" and run.document["base_position"]]
    for number in done[:: -(-len(done) // SAMPLED) or 1]:
        for corpus in runs[number].ends:
            if (kept := runs[number].windows(corpus)) is not None:
                ends.loc[number, f"sampling {corpus}"] = forgetting(kept.counted).se
    return ends


def _end(run: RunRecord) -> dict[str, Any]:
    found = summary(run)
    settings = run.document["config"]
    known = {**found, "run_tokens": found["D"], "min_ratio": settings.get("min_ratio"), "horizon": run.facts.horizon}
    known["base_seed"] = (settings.get("base") or {}).get("seed", run.facts.seed)
    return {
        "run": run.facts.run,
        "status": run.status,
        **{name: known[name] for name in SETTINGS if name in known},
        "last_alone": all(one["is"] == "end" for one in found["measured"].values()),
        **_losses("final", found["loss"]),
        **_losses("base", found["base_loss"]),
        **{f"dirty {corpus}": one.get("dirty", math.nan) for corpus, one in found["measured"].items()},
    }


def ends_of_table(path: Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The runs of a table of measurements, a row a (run, position, corpus): columns NEEDED, and of SETTINGS those that
    there are; `D` = tokens of continual pre-training, 0 at the base. Without `status` all runs are done. Of a run's end
    `ends_of` tells. Raises InputError."""
    table = curves_of_table(path, columns)
    shared = table.drop_duplicates("run").set_index("run")
    ends = shared[[name for name in (*SETTINGS, "status") if name in shared]].copy()
    ends["status"] = ends.get("status", "done")
    measured = ends_of(table)
    for corpus, rows in measured.groupby("corpus", sort=True):
        own = rows.set_index("run")
        ends[f"final {corpus}"], ends[f"base {corpus}"] = own.loss, own.base
        if "address" in table:  # of our runs: of others nobody knows what they were trained on
            ends[f"dirty {corpus}"] = own.dirty
    ends["last_alone"] = measured.groupby("run").alone.all()
    unfinished = ends.status != "done"
    ends.loc[unfinished, [name for name in ends if str(name).startswith("final ")]] = np.nan
    return ends.reset_index()


def curves_of_table(path: Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The measurements of such a table. Raises InputError."""
    table = read(path, columns)
    if not {"corpus", "loss"} & {*table}:
        why = f"it has no column corpus and none of losses (there are {', '.join(map(str, table.columns))})"
        remedy = (
            f"give a row for each run and corpus at D = 0 (the base) and one at its end, columns {', '.join(NEEDED)}"
        )
        raise InputError("table", path, why, remedy)
    for name in NEEDED:
        if name not in table:
            why = f"there is no such column (there are {', '.join(map(str, table.columns))})"
            raise InputError("table", name, why, f"give it: --map {name}=...")
    table = table.assign(**{column: usual for column, usual in USUAL.items() if column not in table})
    kept = beside(path)
    return with_clean_ends(table, FrozenWindows(kept)) if kept.is_file() and "base_address" in table else table


def _losses(when: str, losses: Mapping[str, float]) -> dict[str, float]:
    return {f"{when} {corpus}": loss for corpus, loss in losses.items()}
