"""Runs as the store records them: found by name, folder or key, and compiled again from their config.

Level 3. `runs/<name>-<key12>/run.json` holds the config of a run; its program follows from that, so no second form of a
program has to be read.
"""

from __future__ import annotations

from typing import Any

from harness import config
from harness.errors import InputError
from harness.plan import Point, compile_points
from harness.store import Store


def find_run(store: Store, text: str) -> dict[str, Any]:
    """The one recorded run whose name, folder or key begins with `text`; an exact name wins."""
    documents = store.runs()
    exact = [d for d in documents if text in (d["name"], d["key"], f"{d['name']}-{d['key'][:12]}")]
    found = exact or [d for d in documents if d["name"].startswith(text) or d["key"].startswith(text)]
    if len(found) == 1:
        return found[0]
    if not found:
        why, remedy = "no such run in this store", "`python -m analysis runs` lists them"
    else:
        some = ", ".join(f"{d['name']}-{d['key'][:12]}" for d in found[:4])
        why, remedy = f"{len(found)} runs begin so", f"name one: {some}"
    raise InputError("run", text, why, remedy)


def recorded_point(document: dict[str, Any]) -> Point:
    """The run of a run.json, compiled."""
    run = config.read({**document["config"], "name": document["name"]})
    point = compile_points([(document["labels"][0] if document["labels"] else "", run)])[0]
    if point.key != document["key"]:
        why = "its texts, checkpoint or packages are no longer those it was made with"
        raise InputError("run", document["name"], why, "restore them, or run it anew")
    return point
