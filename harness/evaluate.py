"""`python -m harness.evaluate RUN... sets=cpp,law=PATH [windows=N] [root=R] [launch=inline]`: measure stored states.

`sets` takes names of corpora (of the run, of conf/corpus, of the folder of `-cd`), parts of them (NAME.PART), NAME=PATH
and NAME=URL; what the run does not know becomes tokens by the run's own tokenizer, with the keys of its file or, in
their place, `corpus.NAME.KEY=`. Nothing is trained: rows of further corpora, or of more windows, are measured at every
stored position of the runs and added to the store (of `sets` also on `evaluate.final_windows` where base and run end);
`analysis` shows them from then on. The texts and packages that a run was made with need not be there any more for
corpora that the store holds. `root`, `parent_stores`, `launch` and its keys mean what they do for `python -m harness`.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.cli import execute, run_command, store_of
from harness.compose.compose import collect
from harness.compose.corpora import known as known_corpora
from harness.compose.corpora import take_out
from harness.compose.expand import assign
from harness.compose.overrides import call_of, knobs_of
from harness.config.fields import measured_sets, reference, whole
from harness.config.launching import read_launch
from harness.config.shift import check_set
from harness.core.errors import InputError
from harness.measure.request import Request, RowKey, part_weights, split_name
from harness.model.pretrained import checkpoint_content
from harness.plan.over_store import plan_over
from harness.plan.plan import Plan, PlannedRun
from harness.plan.recorded_corpora import corpora_of, further_corpus
from harness.plan.recorded_runs import (
    Document,
    checkpoint_path,
    corpus_names,
    final_windows,
    find_run,
    point_of,
    program_of,
)
from harness.program.mixture import require_every_part
from harness.store.history import Measure, Row, merge
from harness.store.lease import recording
from harness.store.store import Store
from harness.texts.listed import FilesSource
from harness.texts.recipe import Recipe

OF_A_CORPUS = re.compile(r"corpus\.[^=]+\.[^.=]+=")  # keys of one corpus, not those that all share (corpus.sample)


def main(arguments: Sequence[str]) -> int:
    call = call_of(arguments)
    if call.shows:
        print(__doc__)
        return 0
    if call.name is not None or call.multirun:
        flag, value = ("-m", "") if call.multirun else ("-cn", call.name)
        raise InputError(flag, value, "stored runs are measured, not those of a sweep file", "name the runs")
    folder = None if call.folder is None else Path(call.folder).expanduser().absolute()
    if folder is not None and not folder.is_dir():
        raise InputError("-cd", folder, "no such folder", "leave -cd out for the program's own corpora")
    names = [argument for argument in call.overrides if "=" not in argument]
    of_corpora = [argument for argument in call.overrides if OF_A_CORPUS.match(argument)]
    own_keys = _keys_of_corpora(of_corpora)
    given = dict(a.split("=", 1) for a in call.overrides if "=" in a and a not in of_corpora)
    own: dict[str, str] = {key: given.pop(key) for key in ("sets", "windows") if key in given}
    for key, value in own.items():
        if not value:
            raise InputError(key, "", "nothing is given", f"give {key}={'cpp,sympy' if key == 'sets' else 64}")
    for key, value in given.items():
        if key not in ("root", "parent_stores") and key.split(".")[0] != "launch":
            known = ("sets", "windows", "root", "parent_stores", "launch")
            near = difflib.get_close_matches(key, known, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}, launch.*, corpus.NAME.*"
            raise InputError(key, value, "unknown key", remedy)
    if not names or not own:
        raise InputError(
            "arguments",
            " ".join(arguments) or "none",
            "runs and sets= (or windows=) are needed",
            "for example: python -m harness.evaluate RUN sets=cpp,sympy",
        )
    (composed,) = collect([f"{key}={value}" for key, value in {"launch": "local", **given}.items()])
    launching, store = read_launch(composed.config), store_of(composed.config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(recording(store.root / "leases"))
        points = [_asking(find_run(store, name), own, own_keys, store, folder) for name in dict.fromkeys(names)]

        def replan() -> Plan:
            planned = plan_over(points, store)
            if planned.to_train:
                unfinished = ", ".join(points[i].run.name for i in planned.to_train[0].runs)
                raise InputError("run", unfinished, "its final state is not stored, or was damaged", "finish it first")
            return planned

        planned = replan()
        status = execute(planned, replan, launching, {"kind": "off"}, store, recorded=stack.close)
    asked, left = _rows(planned), _rows(plan_over(points, store))
    missing = "" if not left else f"; {left} are still to be measured"
    print(f"{asked - left} measurements of stored states added, 0 tokens trained{missing}", file=sys.stderr)
    print("\n".join(_table(planned, store)))
    return status


def _table(planned: Plan, store: Store) -> list[str]:
    """What was asked for where base and run end, for a terminal: of several sets of windows those of the largest."""
    lines = []
    for point in planned.points:
        base, stop = point.base_position, point.program.steps
        asked = point.request.measures
        found: dict[tuple[str, int], Row] = {}
        for row in merge(*(store.rows(segment.address) for segment in point.path)):
            if row.windows_hash in asked and row.position in (base, stop):
                key = asked[row.windows_hash].corpus, row.position
                found[key] = max(found.get(key, row), row, key=lambda one: one.windows)
        for corpus in dict.fromkeys(measure.corpus for measure in asked.values()):
            own = [None if at is None else found.get((corpus, at)) for at in (base, stop)]
            cells = [f"{row.loss:8.4f} {row.bits_per_byte:8.4f}" if row else f"{'-':>8} {'-':>8}" for row in own]
            windows = max((row.windows for row in own if row), default=0)
            lines.append(f"{'  '.join(cells)}  {windows:>7}  {corpus} of {point.run.name}")
    heads = "  ".join(f"{at + ' nats':>8} {'bits/B':>8}" for at in ("base", "end"))
    return [f"{heads}  windows  (nats per token, bits per byte)", *lines]


def _rows(planned: Plan) -> int:
    return sum(len(evaluation.hashes) for evaluation in planned.evaluations)


def _keys_of_corpora(arguments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The keys that `corpus.NAME.KEY=` gives, by the corpus' name."""
    given: dict[str, Any] = {"corpus": {}}
    for knob in knobs_of(arguments, multirun=False):
        (value,) = knob.values()
        assign(given, knob.key, value)
    return take_out(given)


def _asking(
    document: Document, own: dict[str, str], own_keys: dict[str, dict[str, Any]], store: Store, folder: Path | None
) -> PlannedRun:
    """The recorded run, asking for more rows at the positions of its grid."""
    program, settings = program_of(document), document["config"]["evaluate"]
    if own.get("sets", "").startswith("["):
        raise InputError(
            "sets", own["sets"], "no brackets stand around it here", f"give sets={own['sets'].strip('[]')}"
        )
    given = [(reference("sets", value), value) for value in own.get("sets", "").split(",") if value]
    windows = whole(own, "windows", 1) if "windows" in own else settings["windows"]
    most = final_windows(document["config"])
    names = corpus_names(document)
    trained = [names[source.corpus] for phase in program.phases for source in phase.sources]
    known = (
        [document["upstream"], document["downstream"], *measured_sets(document["config"]), *trained]
        if "windows" in own
        else []
    )
    corpora = [*names.values(), *known_corpora(folder)]
    asked = {name: split_name(name, [*names.values()]) for name in known}
    recipes = corpora_of(document, store, list(dict.fromkeys(name for name, _ in asked.values())))
    _require_parts(recipes, [name for name, part in asked.values() if not part], windows)
    sets = [one.name if one.path or one.url else split_name(one.name, corpora)[0] for one, _ in given]
    _refuse_keys(document, own_keys, sets)
    for one, value in given:
        placed = bool(one.path or one.url)
        name, part = (one.name, "") if placed else split_name(one.name, corpora)
        if placed and name in known_corpora(folder):
            raise InputError("sets", value, f"a corpus of conf/ is called {name}", "give it another name: NAME=...")
        if placed or name not in (*recipes, *names.values()):
            recipes[name] = further_corpus(document, store, value if placed else name, folder, own_keys.get(name, {}))
        elif name not in recipes:
            recipes |= corpora_of(document, store, [name])
        check_set(one.name, recipes)
        _require_parts(recipes, [] if part else [name], windows)
        asked[one.name] = name, part
    seq_len = program.phases[0].seq_len
    measures = [Measure(shown, recipes[name].key, windows, seq_len, part) for shown, (name, part) in asked.items()]
    finals = [] if "windows" in own else [replace(one, windows=most, least=windows) for one in measures]
    positions = {int(row["position"]) for row in document["requested"]}
    ends = positions & {program.steps, document["base_position"]}
    path = checkpoint_path(document, store)
    if 0 in positions and not _root_is_there(document, path):
        positions.remove(0)
    rows: set[RowKey] = {(position, measure.hash) for position in positions for measure in measures}
    rows |= {(position, measure.hash) for position in ends & positions for measure in finals}
    kept = {measure.hash: measure for measure in [*measures, *finals]}
    return point_of(document, recipes, Request(frozenset(), frozenset(rows), kept), path)


def _require_parts(recipes: Mapping[str, Recipe], names: Sequence[str], windows: int) -> None:
    """InputError if so few windows of a mixture hold none of a part."""
    for name in names:
        source = recipes[name].source
        try:
            if weights := part_weights(source.parts) if isinstance(source, FilesSource) else {}:
                require_every_part(name, weights, windows)
        except InputError as error:
            raise InputError("windows", windows, error.why, error.remedy) from None


def _refuse_keys(document: Document, own_keys: dict[str, dict[str, Any]], sets: Sequence[str]) -> None:
    """A key of a corpus that is not asked for, or that the run has: its tokens are made."""
    for name, keys in own_keys.items():
        key, value = next(iter(keys.items()))
        if name in corpus_names(document).values():
            why = f"{document['name']} has a corpus {name}, and its keys stand in its record"
            raise InputError(f"corpus.{name}.{key}", value, why, "leave it out, or give the texts a name of their own")
        if name not in sets:
            raise InputError(f"corpus.{name}.{key}", value, f"sets= names no {name}", f"give sets={name}")


def _root_is_there(document: Document, path: str | None) -> bool:
    """Can the weights at step 0 be made again? A checkpoint may have gone, or hold others by now."""
    content = document["program"]["root"].get("content")
    if content is None or path is None:
        return True
    try:
        if checkpoint_content(path) == content:
            return True
        why = "holds other weights now"
    except InputError as error:
        why = error.why
    print(f"warning: {document['name']} is not measured at step 0: path={path}: {why}", file=sys.stderr)
    return False


if __name__ == "__main__":
    sys.exit(run_command(main))
