"""A plan as a person reads it, and as one JSON document (`do=plan`, `do=plan json=true`).

Between a plan and `harness.cli`, which prints it:

    document = plan_document(plan, store)
    print("\n".join(plan_lines(document)))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.config.run import Run
from harness.core.units import count, duration, size
from harness.measure.request import uneven
from harness.model.checkpoints import missing
from harness.plan.cost import GPUS, corpora_to_make, only_measured, totals
from harness.plan.epochs import Epochs, epochs_text
from harness.plan.plan import Plan, PlannedRun
from harness.plan.run_file import model_facts, model_line
from harness.program.mixture import ORIGINAL
from harness.program.program import Program, phase_entries
from harness.slurm.status import status_of
from harness.slurm.submissions import Submitted, submitted
from harness.store.history import in_order
from harness.store.store import Store
from harness.texts.listed import MegatronSource
from harness.texts.recipe import LocalSource
from harness.texts.text_files import text_files

# How a corpus that has an order of its own, that of another program's training, is read.
ORDERS = {"": "", "original": ", in its own order", "reshuffled": ", again from its first sequence, reshuffled"}


def plan_document(plan: Plan, store: Store) -> dict[str, Any]:
    """The totals and every point. Asks squeue if anything was ever submitted from this store."""
    queue, epochs = submitted(store.root), Epochs(store.root)
    points = [_point(plan, i, store, queue, epochs) for i in range(len(plan.points))]
    costs = {**totals(plan), **corpora_to_make(plan, store.root)}
    warnings = [
        *uneven(point.run for point in plan.points),
        *epochs.warnings(plan.points),
        *only_measured(plan, store.root),
    ]
    left_out = _left_out(plan)
    return {"schema": "rewarm.plan/1", **costs, "warnings": warnings, "left_out": left_out, "points": points}


def _left_out(plan: Plan) -> dict[str, str]:
    """By path of a user's own texts, what of a folder is not read."""
    sources = (recipe.source for point in plan.points for recipe in point.run.recipes.values())
    paths = dict.fromkeys(source.path for source in sources if isinstance(source, LocalSource) and source.path)
    found = {path: text_files(path, "path").left_out_text() for path in paths if Path(path).is_dir()}
    return {path: said for path, said in found.items() if said}


def plan_lines(document: dict[str, Any]) -> list[str]:
    """The plan for a terminal: a line or two per run, then the totals."""
    models = [model_line(entry) for entry in document["points"]]
    shared = len(set(models)) == 1
    lines = models[:1] if shared else []
    lines += [f"of {path} left out are {said}" for path, said in document["left_out"].items()]
    for entry, model in zip(document["points"], models, strict=True):
        lines.append(f"{entry['status']:8} {entry['name']}")
        lines += [] if shared else [f"           {model}"]
        lines += [f"           {line}" for line in _checkpoint_lines(entry["checkpoint"])]
        for phase in entry["phases"]:
            own = "" if phase["shared_by"] == 1 else f", shared by {phase['shared_by']} runs"
            mixture = " + ".join(
                f"{share:.4g} {name} ({epochs_text(phase['epochs'][name])}{ORDERS[phase['order'].get(name, '')]})"
                for name, share in phase["mixture"].items()
            )
            lines.append(
                f"           {phase['steps']:>7} steps  {phase['tokens']:>9} tokens  {phase['shape']:<13}"
                f" lr {phase['lr_first']:.3g} to {phase['lr_last']:.3g}  {mixture}{own}"
            )
        if entry["status"] in ("running", "queued"):
            losses = "".join(f", {corpus} {loss:.4f}" for corpus, loss in (entry.get("losses") or {}).items())
            who = f"job {entry['job']}" if entry.get("job") else "at work"
            where = f" on {entry['host']}, step {entry['position']}{losses}" if entry.get("host") else ""
            lines.append(f"           {who}{where}")
            for each in entry.get("corpora", ()):
                parts = [f"{each[f'parts_{state}']} parts {state}" for state in ("running", "queued")]
                lines.append(f"           after corpus {each['corpus']}, job {each['job']} ({', '.join(parts)})")
        if failure := entry["failure"]:
            lines.append(f"           failed at step {failure['position']}: {failure['reason']}")
            lines += [f"           | {line}" for line in failure["log_tail"]]
        if len(entry["labels"]) > 1:
            lines.append(f"           one run for the points: {'; '.join(entry['labels'])}")
    return [*lines, "", *total_lines(document)]


def _checkpoint_lines(origin: Mapping[str, Any] | None) -> list[str]:
    """What a run from a hub's checkpoint starts from."""
    if origin is None:
        return []
    named = f"from {origin['repository']}{'@' if origin['revision'] else ''}{origin['revision']}"
    share = "" if origin["share"] is None else f", {origin['share']:.3g} of its pre-training"
    if not origin["commit"]:
        return [f"{named}{share}: not resolved (a warning says why); what is done of it is not known"]
    left = f", {size(origin['bytes_to_fetch'])} to fetch" if origin["bytes_to_fetch"] else ""
    return [f"{named}, commit {origin['commit'][:12]}{share}{left}"]


def total_lines(document: dict[str, Any]) -> list[str]:
    """The totals for a person."""
    separate, planned, done = (document[key] for key in ("tokens_if_separate", "tokens_planned", "tokens_done"))
    shared, gpu = separate - planned - done, document.get("gpu_hours", {})
    if not document["segments_to_train"] and not document["evaluations"]:
        return [f"{document['runs']} runs: all done, nothing to train"]
    if not document["segments_to_train"]:
        return [f"{document['runs']} runs: nothing to train, {document['evaluations']} stored states to measure"]
    unsized = document.get("runs_without_size", 0)
    by_card = " or ".join(f"{hours:,.0f} on {name} ({GPUS[name] / 1e12:.0f} TFLOP/s)" for name, hours in gpu.items())
    return [
        f"{document['runs']} runs: {count(separate)} tokens if each were trained alone; sharing saves {count(shared)}"
        f" ({shared / separate:.0%}), {count(done)} are done, {count(planned)} are to train"
        f" in {document['segments_to_train']} segments",
        f"{document['flops']:.3g} FLOPs, about {duration(3600 * document['hours'])} on one worker,"
        f" {size(document['disk_bytes'])} of states; {document['evaluations']} measurements of stored states",
        *([f"GPU-hours at an MFU of {document['mfu']:.0%}: {by_card}"] if max(gpu.values(), default=0) >= 1 else []),
        *([f"of {unsized} runs the size is not resolved: they count nothing in FLOPs and states"] if unsized else []),
        *_corpora_line(document),
    ]


def _corpora_line(document: dict[str, Any]) -> list[str]:
    """What is to be made and fetched; at least so much where there is a corpus whose files nobody has listed."""
    made, fetched = document.get("corpora_bytes", 0), document.get("fetch_bytes", 0)
    unlisted, unsized = document.get("corpora_not_listed", []), document.get("corpora_without_size", [])
    if not made and not unlisted:
        return []
    tokens = f"{'at least' if unsized else 'about'} {size(made)} of tokens" if made else "of a size not known"
    least = "at least " if unlisted else ""
    fetch = f", {least}{size(fetched)} to fetch" if fetched else ""
    why = f" (not listed yet: {', '.join(unlisted)})" if unlisted else ""
    return [f"corpora to make: {tokens}{fetch}{why}"]


def _point(plan: Plan, index: int, store: Store, queue: Mapping[str, Submitted], epochs: Epochs) -> dict[str, Any]:
    point = plan.points[index]
    program, run = point.program, point.run
    status = status_of(point, plan, store, queue)
    if losses := status.get("losses"):
        status["losses"] = {name: losses[name] for name in in_order(losses, run.upstream, run.downstream)}
    return {
        "run": run.name,
        "name": plan.names[index],
        "key": point.key,
        "labels": point.labels,
        "address": point.path[-1].address,
        **model_facts(run),
        "checkpoint": _checkpoint(run),
        "batch": run.batch,
        "seq_len": run.seq_len,
        "precision": run.precision,
        "steps": program.steps,
        "tokens": program.tokens(program.steps),
        "tokens_to_train": sum(segment.tokens for segment in point.path if segment.train),
        "epochs": epochs.of_run(point),
        "phases": _phases(point, program, epochs),
        "failure": None,
        **status,
        **({"status": "not resolved"} if run.origin is not None and not run.origin.commit else {}),
    }


def _checkpoint(run: Run) -> dict[str, Any] | None:
    if run.origin is None:
        return None
    left = missing(Path(run.path)) if run.path and run.origin.commit else {}
    return {**asdict(run.origin), "bytes_to_fetch": sum(file["size"] for file in left.values())}


def _phases(point: PlannedRun, program: Program, epochs: Epochs) -> list[dict[str, Any]]:
    names = {recipe.key: recipe.name for recipe in point.run.recipes.values()}
    users = {segment.stop: len(segment.runs) for segment in point.path}
    entries = phase_entries(program, names, point.base_position)
    ends, read = program.starts[1:], epochs.of_phases(point)
    own_order = {r.key for r in point.run.recipes.values() if isinstance(r.source, MegatronSource)}
    orders = [
        {
            names[s.corpus]: "original" if s.order == ORIGINAL else "reshuffled"
            for s in p.sources
            if s.corpus in own_order
        }
        for p in program.phases
    ]
    return [
        {**entry, "epochs": own, "order": order, "shared_by": users[end]}
        for entry, own, order, end in zip(entries, read, orders, ends, strict=True)
    ]
