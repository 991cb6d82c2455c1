"""run.json: what was asked for, written before anything is trained. What became of it is derived from states.

`harness.plan.recorded_runs` and analysis read it. Asking for more of the same run adds to its document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.config.run import Run
from harness.core.identity import canonical
from harness.core.plain import plain
from harness.core.units import count
from harness.plan.plan import Plan, PlannedRun
from harness.program.shape import flops_per_token
from harness.store.store import Store


def write_documents(plan: Plan, store: Store) -> None:
    """A run.json for every distinct run of the plan."""
    known = {document.get("key"): document for document in store.runs()}
    for point in plan.points:
        document = merged(run_document(point), known.get(point.key))
        store.write_run(document["name"], point.key, document)


def loader() -> Callable[[bytes], Any]:
    """A `json.loads` for many run.json, twice as fast: runs that asked for the same rows share one list `requested`.

    That list, most of a run.json, is then not to be changed.
    """
    known: dict[bytes, list[Any]] = {}

    def loads(content: bytes) -> Any:
        head, mark, rest = content.partition(b'\n "requested": [')  # as `files.dump` writes it
        items, _, tail = rest.partition(b"\n ],")
        try:
            document = json.loads(head + mark + b"]," + tail)
            if document["requested"] == []:
                if items not in known:
                    known[items] = json.loads(b"[" + items + b"]")
                document["requested"] = known[items]
                return document
        except (
            ValueError,
            KeyError,
            TypeError,
            RecursionError,
        ):  # written in another way, or damaged: json.loads says which
            pass
        return json.loads(content)

    return loads


def run_document(point: PlannedRun) -> dict[str, Any]:
    """The document of a run: `path` = its kept states in order, `requested` = the rows that make its table."""
    run, program, request = point.run, point.program, point.request
    return {
        "key": point.key,
        "name": run.name,
        "labels": sorted(set(point.labels)),
        "config": run.config,
        "program": canonical(program),
        "phase_steps": [phase.steps for phase in program.phases],  # a canonical phase leaves its length out
        "address": program.address(),
        "base_address": None if point.base_position is None else program.address(point.base_position),
        "base_position": point.base_position,
        "path": [{"position": s.stop, "address": s.address} for s in point.path if s.kept or s.stored is not None],
        "requested": [{"position": position, "windows_hash": name} for position, name in sorted(request.rows)],
        "measures": {
            name: {"corpus": m.corpus, "key": m.key, "windows": m.windows, "seq_len": m.seq_len}
            | ({"part": m.part} if m.part else {})
            for name, m in request.measures.items()
        },
        "upstream": run.upstream,
        "downstream": run.downstream,
        **model_facts(point.run),
        **({} if run.origin is None else {"checkpoint": plain(run.origin)}),
        "steps": program.steps,
        "tokens": program.tokens(program.steps),
    }


def merged(new: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    """The new document, with what was asked of the same run before."""
    if old is None:
        return new
    rows = {(row["position"], row["windows_hash"]) for row in [*old["requested"], *new["requested"]]}
    requested = [{"position": position, "windows_hash": name} for position, name in sorted(rows)]
    labels = sorted({*old["labels"], *new["labels"]})
    places = {
        key: new["config"][key] for key in ("path", "revision", "upstream", "downstream", "tokenizer")
    }  # may have moved
    ends = {"final_windows": new["config"]["evaluate"].get("final_windows")}
    settings = {**old["config"], **places, "evaluate": {**old["config"]["evaluate"], **ends}}
    first = {"name": old["name"], "config": settings}  # its key follows from the config, the ends apart
    measures = {**old["measures"], **new["measures"]}
    return {**new, **first, "labels": labels, "requested": requested, "measures": measures}


def model_facts(run: Run) -> dict[str, Any]:
    """What the model is called, and its sizes."""
    own = run.config["model"]["name"] if run.shape is not None else Path(run.path or "").name
    name = own if run.origin is None else run.origin.model
    flops = None if run.shape is None else flops_per_token(run.shape, run.seq_len)
    return {
        "model": name,
        "parameters": run.parameters,
        "non_embedding": run.non_embedding,
        "flops_per_token": flops,
    }


def geometry(form: Mapping[str, Any]) -> dict[str, Any]:
    """Batch, sequence length and precision of a phase, given in its canonical form."""
    return {"batch": form["batch"], "seq_len": form["seq_len"], "precision": form.get("precision", "fp32")}


def model_line(entry: Mapping[str, Any]) -> str:
    """Model and geometry of a run in one line."""
    parameters = f"{count(entry['parameters'])} parameters" if entry["parameters"] else "size not resolved"
    return (
        f"model {entry['model']} ({parameters}), batch of {entry['batch']} sequences of"
        f" {entry['seq_len']} tokens, {entry['precision']}"
    )
