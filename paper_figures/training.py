"""What the runs of a frozen table took to train, as the line that its commands are followed by.

trained(store, documents)      # 15.6M tokens, 1.32 hours of one worker: cpu x86_64 AVX2, python 3.11.7, torch 2.13.0
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.core.errors import CorruptError
from harness.core.units import count
from harness.store.store import Store

TIMING = "timing.jsonl"
SAID = ("python", "torch", "transformers")


def trained(store: Store, documents: Iterable[Mapping[str, Any]]) -> str:
    """Tokens, hours and machines of finished runs, what they share once; of the states that are still there."""
    tokens: dict[str, int] = {}
    seconds: dict[tuple[str, str], float] = {}
    machines: dict[str, None] = {}
    for document in documents:
        before, per_step = 0, document["tokens"] / document["steps"]
        for stop in document["path"]:
            tokens[stop["address"]] = round((stop["position"] - before) * per_step)
            before = stop["position"]
        try:
            info = store.state(document["address"])
            lines = (info.folder / TIMING).read_text(encoding="utf-8").splitlines() if info else []
        except (OSError, CorruptError):  # no times, then
            continue
        for line in lines:
            timed = json.loads(line)
            owner = next((s["address"] for s in document["path"] if s["position"] >= timed["to"]), document["address"])
            seconds[owner, line] = timed["seconds"]
        if info:
            versions = info.meta.get("versions", {})
            machines[", ".join([info.meta["device"], *(f"{k} {versions[k]}" for k in SAID if k in versions)])] = None
    hours = f", {sum(seconds.values()) / 3600:.2f} hours of one worker" if seconds else ""
    return f"{count(sum(tokens.values()))} tokens{hours}" + (f": {'; '.join(machines)}" if machines else "")
