"""Runs as the store records them: found by name, folder or key, with the program and the corpora they were made with.

`runs/<name>-<key12>/run.json` holds a run's program, and the store holds its tokens: neither the texts nor the
packages nor the checkpoint that it was made from have to be there any more.

    document = find_run(store, "demo-seed0")
    program_of(document), point_of(document, recipes, asked)
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from harness.config.compile import StageSpan
from harness.config.fields import measured_sets
from harness.config.measuring import MeasureGrid
from harness.config.run import Run
from harness.config.start import Origin
from harness.core.errors import CorruptError, InputError
from harness.core.plain import read_back
from harness.measure.request import Request
from harness.model.checkpoints import CHECKPOINTS, described, missing
from harness.plan.plan import PlannedRun
from harness.program.program import Checkpoint, Program, Scratch
from harness.store.store import Store
from harness.texts.recipe import Recipe

Document = Mapping[str, Any]  # a run.json


def find_run(store: Store, text: str) -> dict[str, Any]:
    """The one recorded run whose name, folder or key begins with `text`; an exact name wins. Its program is checked."""
    documents = [d for d in store.runs() if isinstance(d.get("name"), str) and isinstance(d.get("key"), str)]
    exact = [d for d in documents if text in (d["name"], d["key"], f"{d['name']}-{d['key'][:12]}")]
    begun = [d for d in documents if text and (d["name"].startswith(text) or d["key"].startswith(text))]
    found = exact or begun
    if len(found) == 1:
        if program_of(found[0]).address() != found[0]["address"]:
            raise CorruptError(f"run.json of {found[0]['name']}: its program does not have its address")
        return found[0]
    if not found:
        near = difflib.get_close_matches(text, [document["name"] for document in documents], n=1)
        lists = "`python -m analysis runs` lists them"
        why, remedy = "no such run in this store", f"did you mean {near[0]}? ({lists})" if near else lists
    else:
        some = ", ".join(f"{d['name']}-{d['key'][:12]}" for d in found[:4])
        why, remedy = f"{len(found)} runs begin so", f"name one: {some}"
    raise InputError("run", text, why, remedy)


def program_of(document: Document) -> Program:
    """The program of a run.json. CorruptError if there is none in it."""
    try:
        pairs = zip(document["program"]["phases"], document["phase_steps"], strict=True)
        # its length is not part of what a phase is: it stands beside the program
        phases = [{**form, "steps": steps} for form, steps in pairs]
        return read_back(Program, {**document["program"], "phases": phases})
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"run.json of {document.get('name')}: not a program ({error!r})") from None


def corpus_names(document: Document) -> dict[str, str]:
    """What the run calls each corpus, by recipe key."""
    measures = document["measures"].values()
    return {m["key"]: m["corpus"].removesuffix(f".{m['part']}") if m.get("part") else m["corpus"] for m in measures}


def final_windows(settings: Mapping[str, Any]) -> int:
    """Windows of a corpus where base and run end, by a recorded config. One of before may say fewer than anywhere."""
    asked = settings["evaluate"]
    return max(int(asked["windows"]), int(asked.get("final_windows") or 0))


def checkpoint_path(document: Document, store: Store) -> str | None:
    """Where the checkpoint that the run started from lies: the user's folder, or that of the store for one of a hub."""
    if "checkpoint" not in document:
        path = document["config"]["path"]
        return None if path is None else str(path)
    name = document["checkpoint"]["folder"]
    folders = [root / CHECKPOINTS / name for root in (store.root, *store.parents)]
    return str(next((folder for folder in folders if described(folder) and not missing(folder)), folders[0]))


def point_of(document: Document, recipes: Mapping[str, Recipe], asked: Request, path: str | None) -> PlannedRun:
    """The recorded run as a point of a plan that measures `asked`, on corpora of these recipes, and trains nothing.

    `path`: see `checkpoint_path`."""
    program, settings, base = program_of(document), document["config"], document["base_position"]
    root, first, evaluate = program.root, program.phases[0], settings["evaluate"]
    trained_base = int(bool(base))
    run = Run(
        name=document["name"],
        config=settings,
        shape=root.shape if isinstance(root, Scratch) else None,
        init=root.seed if isinstance(root, Scratch) else 0,
        checkpoint=root.content if isinstance(root, Checkpoint) else None,
        path=path,
        parameters=document["parameters"],
        non_embedding=document["non_embedding"],
        stages=(),  # they went into the program
        base_stages=trained_base,
        recipes=recipes,
        upstream=document["upstream"],
        downstream=document["downstream"],
        batch=first.batch,
        seq_len=first.seq_len,
        optimizer=first.optimizer,
        precision=first.precision,
        measurements=MeasureGrid(evaluate["windows"], final_windows(settings), (), 0.0, 0.0, measured_sets(settings)),
        origin=read_back(Origin, document["checkpoint"]) if "checkpoint" in document else None,
    )
    spans = [StageSpan(0, base, base=True)] if base else []
    spans.append(StageSpan(base or 0, program.steps, base=False))
    return PlannedRun(run, program, tuple(spans), asked, list(document["labels"]) or [""], recorded_key=document["key"])
