"""A run and what became of it: its settings, its measurements, how it ended, forgetting and adaptation.

`analysis.results.runs` reads runs of a store; `summary` is an entry of `python -m analysis runs --json`.

U, V = final validation loss on upstream and downstream: that of the last position on `evaluate.final_windows`, or,
where it was not measured there, the mean of the last three evaluations of the curve. base = the state that continual
pre-training started from, measured on the same windows. Forgetting = U(run) - U(base), adaptation = V(base) - V(run);
both are undefined from scratch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.results.facts import Document, Facts
from analysis.results.measurements import rows_of
from analysis.results.windows import Ends, WindowReader, mean
from harness.plan.recorded_runs import corpus_names
from harness.plan.run_file import geometry
from harness.store import history
from harness.store.history import End, Row, changes, final_positions
from harness.store.store import Store


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A run with what was measured of it."""

    facts: Facts
    document: Document
    measured: NDArray[np.void]  # the rows it asked for, of `facts.measures`, by position (see `rows_of`)
    fate: Mapping[str, Any]  # `status` and what belongs to it, see `harness.slurm.status.become`
    reader: WindowReader | None = None  # of the losses of single windows

    @property
    def status(self) -> str:
        """done, running, queued, failed, blocked, partial (stopped on its way) or missing (never begun)."""
        return str(self.fate["status"])

    @property
    def base_position(self) -> int:
        return self.document["base_position"] or 0

    @property
    def rows(self) -> list[Row]:
        """The rows of its curves as values: of one set of windows per corpus, each with this run's name for it."""
        return self._divided(self.measured)[0]

    @property
    def finals(self) -> list[Row]:
        """The rows where base and run end, of those corpora that are measured there on other windows."""
        return self._divided(self.measured)[1]

    @cached_property
    def whole_ends(self) -> dict[str, End]:
        """How it ended, by corpus, on all windows: those that are contained in what is trained on, too."""
        start, stop = self.document["base_position"], self.document["steps"] if self.status == "done" else None
        last = final_positions((int(row["position"]) for row in self.document["requested"]), start)
        near = self.measured[np.isin(self.measured["position"], [*last, -1 if start is None else start])]
        return history.ends(*self._divided(near), last, start, stop)

    @cached_property
    def ends(self) -> dict[str, End]:
        """How it ended, by corpus: on the clean windows, where it is known which these are."""
        return {corpus: self._clean(corpus, end) for corpus, end in self.whole_ends.items()}

    def windows(self, corpus: str) -> Ends | None:
        """Of one corpus, window by window; None where its final loss is a mean over positions, or they are not kept."""
        end = self.whole_ends.get(corpus)
        if self.reader is None or end is None or not end.alone or end.loss is None:
            return None
        found = self.reader.of(self.document, end.windows_hash)
        return None if found is None or (end.base is None) != (found.base is None) else found

    def _clean(self, corpus: str, end: End) -> End:
        if self.reader is None or not end.alone or end.loss is None:
            return end
        clean = self.reader.exposure.clean(self.document, end.windows_hash)
        if clean is None or clean.all():
            return end if clean is None else replace(end, dirty=0)
        if (kept := self.windows(corpus)) is None or kept.left_out is None:
            return end
        part = kept.counted
        base = None if part.base is None else mean(part.base).value
        return replace(end, loss=mean(part.end).value, base=base, windows=len(part.end.window), dirty=kept.left_out)

    def _divided(self, measured: NDArray[np.void]) -> tuple[list[Row], list[Row]]:
        """Rows of curves, and those of ends."""
        of_ends = measured["corpus"] >= len(self.facts.windows)
        return rows_of(measured[~of_ends], self.facts.measures), rows_of(measured[of_ends], self.facts.measures)


def base_losses(run: RunRecord) -> dict[str, float]:
    """Loss per corpus of the state that continual pre-training started from; empty from scratch."""
    return {corpus: end.base for corpus, end in run.ends.items() if end.base is not None}


def final_losses(run: RunRecord) -> dict[str, float]:
    """Final loss per corpus, see `RunRecord.ends`. Empty unless the run is done."""
    return {corpus: end.loss for corpus, end in run.ends.items() if end.loss is not None}


def measured_on(run: RunRecord) -> dict[str, dict[str, Any]]:
    """Of each corpus with a final loss: `windows` it is of, and at how many of the last `positions` it was taken;
    `is`: `end`, that of the last position on enough windows, or `mean`, over the last few; `dirty`: how many further
    windows are left out since they are contained in what is trained on, where that is known."""
    return {
        corpus: {
            "windows": end.windows,
            "positions": end.positions,
            "is": "end" if end.alone else "mean",
            **({} if end.dirty is None else {"dirty": end.dirty}),
        }
        for corpus, end in run.ends.items()
        if end.loss is not None
    }


def elsewhere(run: RunRecord) -> dict[str, list[int]]:
    """Of each corpus on how many other windows it was asked to be measured."""
    asked = {row["windows_hash"] for row in run.document["requested"]} - {hash_ for _, hash_ in run.facts.measures}
    found: dict[str, list[int]] = {}
    for measure in (run.document["measures"][hash_] for hash_ in asked):
        found.setdefault(measure["corpus"], []).append(int(measure["windows"]))
    return {corpus: sorted(found[corpus]) for corpus in sorted(found)}


def summary(run: RunRecord) -> dict[str, Any]:
    """One run of the `rewarm.runs/1` document; losses in nats per token, None where undefined or not there yet."""
    f = run.facts
    found = _losses(run, run.ends)
    left_out = any(end.dirty for end in run.ends.values())
    knobs = ("base_tokens", "upstream", "downstream", "replay", "lr", "peak", "warmup", "schedule")
    settings = (*knobs, "start", "at", "optimizer_state", "seed")
    return {
        **{name: getattr(f, name) for name in ("run", "key", "address", "base_address", "model", "N", "N_total")},
        **geometry(run.document["program"]["phases"][-1]),
        "D": f.run_tokens,
        **{name: getattr(f, name) for name in settings},
        **found,
        "measured": measured_on(run),
        "on_all_windows": _losses(run, run.whole_ends) if left_out else None,
        "status": run.status,
        **({"position": run.fate.get("position"), "steps": run.document["steps"]} if run.status == "running" else {}),
    }


def _losses(run: RunRecord, ends: Mapping[str, End]) -> dict[str, Any]:
    """Final losses, those of the base, and what came of them."""
    upstream, downstream = run.facts.upstream, run.facts.downstream
    ordered = {name: ends[name] for name in history.in_order(ends, upstream, downstream)}
    loss = {name: end.loss for name, end in ordered.items() if end.loss is not None}
    base = {name: end.base for name, end in ordered.items() if end.base is not None}
    forgetting, adaptation = changes(loss, base, upstream, downstream)
    return {"loss": loss, "base_loss": base, "forgetting": forgetting, "adaptation": adaptation}


def epochs_of(store: Store, document: Document) -> dict[str, float]:
    """By corpus how often it was read since the root; empty until the final state is stored."""
    names = corpus_names(document)
    return {names.get(key, key[:12]): epochs for key, epochs in epochs_by_key(store, document).items()}


def epochs_by_key(store: Store, document: Document) -> dict[str, float]:
    """The same by recipe key. States of before name a corpus as some run did; their `corpora` say which that was."""
    state = store.state(document["address"])
    meta = state.meta if state else {}
    keys = {name: corpus.get("key", name) for name, corpus in meta.get("corpora", {}).items()}
    return {keys.get(name, name): drawn["epochs"] for name, drawn in meta.get("drawn", {}).items()}
