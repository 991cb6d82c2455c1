"""`python -m harness.evaluate RUN... sets=cpp,sympy [windows=N] [root=R] [launch=inline]`: measure stored states.

Nothing is trained: rows of further corpora, or of more windows, are measured at every stored position of the runs and
added to the store; `analysis` shows them from then on.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import config
from harness.cli import guarded, plan_over
from harness.compose import collect
from harness.errors import InputError
from harness.fields import whole
from harness.plan import Point, compile_points
from harness.recorded import find_run, recorded_point
from harness.request import Request
from harness.store import Store


def main(arguments: Sequence[str]) -> int:
    names = [argument for argument in arguments if "=" not in argument]
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    for key in given:
        if key not in ("sets", "windows", "root", "launch"):
            raise InputError(key, given[key], "unknown key", "known: sets, windows, root, launch")
    if not names or not (given.get("sets") or given.get("windows")):
        raise InputError(
            "arguments",
            " ".join(arguments) or "none",
            "runs and sets= (or windows=) are needed",
            "for example: python -m harness.evaluate RUN sets=cpp,sympy",
        )
    store = Store(Path(given.get("root", "runs")))
    points = [_extended(find_run(store, name), given) for name in names]
    planned = plan_over(points, store)
    if planned.to_train:
        unfinished = ", ".join(points[i].run.name for i in planned.to_train[0].runs)
        raise InputError("run", unfinished, "it has no final state yet", "finish it first")
    from harness.launch import launch

    defaults = collect([f"launch={given.get('launch', 'local')}"])[0].config
    outcome = launch(planned, defaults["launch"], store, tracker={"kind": "off"}, progress=True)
    print(
        f"{sum(len(e.hashes) for e in planned.evaluations)} measurements of stored states, 0 tokens trained",
        file=sys.stderr,
    )
    return 130 if outcome.interrupted else 1 if outcome.failures else 0


def _extended(document: dict[str, object], given: dict[str, str]) -> Point:
    """The recorded run, asking for more: what it required stays its identity, all else is measured where stored."""
    point = recorded_point(document)
    settings = copy.deepcopy(point.run.config)
    if given.get("sets"):
        sets = [name for name in given["sets"].split(",") if name]
        settings["evaluate"]["sets"] = [*dict.fromkeys([*settings["evaluate"]["sets"], *sets])]
    if given.get("windows"):
        settings["evaluate"]["windows"] = whole(given, "windows", 1)
    more = compile_points([("", config.read({**settings, "name": point.run.name}))])[0]
    measures = {**point.request.measures, **more.request.measures}
    asked = Request(frozenset(), more.request.rows | point.request.rows, measures)
    return Point(more.run, point.program, point.spans, asked, point.labels, required=point.request.required)


if __name__ == "__main__":
    sys.exit(guarded(main))
