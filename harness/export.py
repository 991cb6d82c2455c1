"""`python -m harness.export RUN|STATE DIR [--at STEP] [--dtype bf16] [--push OWNER/NAME]`: a model as others load it.

DIR gets what `from_pretrained`, vLLM and lm-eval read: config, safetensors, tokenizer, generation config, and a card
(README.md) that says what was trained on what. It appears whole or not at all. A STATE is named by its address, or a
beginning of it of at least eight letters.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cli import run_command
from harness.core import files
from harness.core.errors import CorruptError, InputError
from harness.core.identity import canonical
from harness.core.options import Parser, path, refuse_words
from harness.core.units import size
from harness.exported import card, upload
from harness.exported import folder as exported
from harness.model.checkpoints import CHECKPOINTS, described, missing
from harness.model.hub import fetch
from harness.model.pretrained import checkpoint_content, tokenizer_file
from harness.plan.recorded_corpora import corpora_of
from harness.plan.recorded_runs import Document, corpus_names, find_run, program_of
from harness.program.program import Program, Scratch
from harness.store.history import Row, merge
from harness.store.state import StateInfo
from harness.store.store import Store
from harness.texts.recipe import END_OF_DOCUMENT, corpus_folder, given_tokenizer

ADDRESS = re.compile("[0-9a-f]{8,32}")
SHOWN = 5  # positions that a message names


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m harness.export", description=__doc__)
    parser.add_argument("run", metavar="RUN|STATE", help="a run's name, folder or key, or the address of a state")
    parser.add_argument("folder", metavar="DIR", type=path, help="the folder to make")
    parser.add_argument("--at", type=int, metavar="STEP", help="optimizer steps since the root (default: its end)")
    parser.add_argument(
        "--dtype", choices=tuple(exported.WIDTHS), default="fp32", help="of the weights (default: fp32)"
    )
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload it to this repository of a hub, too")
    parser.add_argument("--public", action="store_true", help="make the repository public (default: private)")
    parser.add_argument("--checkpoint", type=path, metavar="FOLDER", help="where the run's checkpoint lies by now")
    parser.add_argument("--root", type=path, default=Path("runs"), help="the store (default: runs)")
    parser.add_argument("--parent-stores", type=path, action="append", default=[], help="read states of these, too")
    parser.add_argument("--json", action="store_true", help="say what was made as a JSON document")
    options, words = parser.read(arguments)
    refuse_words(words, parser, arguments)
    if options.push:
        upload.check_repository(options.push)
    elif options.public:
        raise InputError("--public", "true", "nothing is pushed", "give --push OWNER/NAME")
    store, folder = Store(options.root, options.parent_stores), options.folder.absolute()
    chosen = choose(store, options.run, options.at)
    facts = {
        "schema": "rewarm.export/1",
        "run": chosen.document["name"],
        "key": chosen.document["key"],
        "address": chosen.info.address,
        "position": chosen.position,
        "tokens": chosen.program.tokens(chosen.position),
        "dtype": options.dtype,
    }
    if options.checkpoint and isinstance(chosen.program.root, Scratch):
        raise InputError("--checkpoint", options.checkpoint, "the run started from none", "leave it out")
    if folder.is_relative_to(store.root.absolute()):
        why = f"lies in the store {options.root}, whose folders are its own"
        raise InputError("DIR", folder, why, "name a folder outside of it")
    there = exported.is_export_of(folder, facts)
    if not there:
        exported.check_folder(folder)
        _make(store, chosen, folder, options, facts)
    made = {name: (folder / name).stat().st_size for name in sorted(files.listing(folder))}
    done = f"{'was there already' if there else 'written'}: {folder}, {size(sum(made.values()))}, {options.dtype}"
    print(f"{chosen.document['name']} at step {chosen.position} {done}", file=sys.stderr)
    url = None
    if options.push:
        url = upload.push(folder, options.push, public=options.public)
        print(f"pushed: {url}", file=sys.stderr)
    if options.json:
        print(json.dumps({**facts, "folder": str(folder), "files": made, "pushed": url}))
    return 0


@dataclass(frozen=True)
class Chosen:
    """A stored state, and a recorded run that passes through it."""

    document: dict[str, Any]
    """run.json."""
    program: Program
    """Of the whole run."""
    position: int
    """Where the state stands in it."""
    info: StateInfo
    """The state."""


def choose(store: Store, text: str, at: int | None) -> Chosen:
    """The state that RUN (and --at) or STATE names, its checksums verified. Raises InputError."""
    try:
        document = find_run(store, text)
    except InputError as error:
        found = ADDRESS.fullmatch(text) and [a for a in store.addresses() if a.startswith(text)]
        if not found:
            raise
        if len(found) > 1:
            raise InputError("state", text, f"{len(found)} states begin so", "write more of it") from None
        if at is not None:
            raise InputError("--at", at, "a state has its position", "give a run, or no --at") from error
        document, at = _passing(store, found[0])
    program = program_of(document)
    position = program.steps if at is None else at
    if not 1 <= position <= program.steps:
        raise InputError("--at", position, f"the run has {program.steps} steps", f"give 1 to {program.steps}")
    address = program.address(position)
    info = store.state(address) if store.verify(address) else None
    if info is None:
        raise InputError("--at", position, *_where_else(store, program, position))
    return Chosen(document, program, position, info)


def _passing(store: Store, address: str) -> tuple[dict[str, Any], int]:
    """A recorded run that passes through a state, and the state's position."""
    info = store.state(address)
    position = info.meta["position"] if info else 0
    for document in store.runs():
        program = program_of(document)
        if 0 < position <= program.steps and program.address(position) == address:
            return document, position
    raise InputError("state", address, "no run that is recorded in this store passes through it", "give a run")


def _where_else(store: Store, program: Program, position: int) -> tuple[str, str]:
    """Why and remedy where no state is stored at a position."""
    stored = store.addresses()
    kept = [p for p in range(1, program.steps + 1) if program.address(p) in stored]
    if not kept:
        return "no state of this run is stored", "finish it first: the command that made it goes on"
    near = sorted(sorted(kept, key=lambda p: abs(p - position))[:SHOWN])
    closest = min(near, key=lambda p: abs(p - position))
    return "no state is stored there", f"give --at {closest}, the nearest (stored: {', '.join(map(str, near))})"


def _make(store: Store, chosen: Chosen, folder: Path, options: Any, facts: dict[str, Any]) -> None:
    document, program = chosen.document, chosen.program.prefix(chosen.position)
    root, names = program.root, corpus_names(document)
    checkpoint = None if isinstance(root, Scratch) else _checkpoint(store, document, root.content, options.checkpoint)
    manifests = {key: found for key in names if (found := _manifest(store, key)) is not None}
    tokenizer, end = _tokenizer(store, document, manifests, program, checkpoint)
    model = exported.Exported(root, chosen.info.folder, checkpoint, tokenizer, end, options.dtype)
    told = card.Told(
        name=document["name"],
        model=document["model"],
        parameters=document["parameters"],
        program=program,
        steps=chosen.program.steps,
        base_position=document["base_position"],
        names=names,
        sources={key: card.described(manifest["recipe"]["source"]) for key, (_, manifest) in manifests.items()},
        meta=chosen.info.meta,
        rows=[row for row in _rows(store, chosen) if row.windows_hash in document["measures"]],
        dtype=options.dtype,
        end_of_document=end,
        origin=document.get("checkpoint"),
        datasets=_datasets(
            document, [names.get(source.corpus, "") for phase in program.phases for source in phase.sources]
        ),
    )
    facts = {
        **facts,
        "program": canonical(program),
        "phase_steps": [phase.steps for phase in program.phases],
        "corpora": {key: {"name": names.get(key), **drawn} for key, drawn in chosen.info.meta["drawn"].items()},
        "versions": chosen.info.meta.get("versions", {}),
    }
    exported.write(folder, model, {"README.md": card.card(told)}, facts)


def _rows(store: Store, chosen: Chosen) -> list[Row]:
    """What was measured up to the state; what was added later for the base stands beside the base's own state."""
    base = chosen.document["base_position"]
    before = store.rows(chosen.program.address(base)) if base and base < chosen.position else []
    return merge(store.rows(chosen.info.address), before)


def _checkpoint(store: Store, document: Document, content: str, given: Path | None) -> Path:
    """The folder of the checkpoint that the run started from: one that still holds what its content says."""
    origin, own = document.get("checkpoint"), document["config"]["path"]
    where = [given] if given else [] if origin or own is None else [Path(str(own)).expanduser()]
    for kept in [] if given else [one / CHECKPOINTS for one in (store.root, *store.parents)]:
        there = [kept / name for name in sorted(files.listing(kept))]
        where += [one for one in there if (described(one) or {}).get("content") == content]
    reason = "it is gone"
    for folder in where:
        try:
            if folder.parent.name == CHECKPOINTS and missing(folder):
                fetch(folder)
            if folder.is_dir() and checkpoint_content(folder) == content:
                return folder
            reason = "it holds another checkpoint by now" if folder.is_dir() else reason
        except InputError as error:
            reason = error.why
    named = own if origin is None else f"{origin['repository']}@{origin['commit'][:12]}"
    field, value = ("--checkpoint", given) if given else ("path", named)
    raise InputError(field, value, f"the run started from it, and {reason}", "give --checkpoint FOLDER, a copy of it")


def _manifest(store: Store, key: str) -> tuple[Path, dict[str, Any]] | None:
    """(folder, manifest.json) of a corpus in the store or its parents."""
    for root in (store.root, *store.parents):
        for name in files.listing(root / "corpora"):
            if name == key[:12] or name.endswith(f"-{key[:12]}"):
                try:
                    manifest = files.read_sealed(root / "corpora" / name / "manifest.json")
                    if manifest["key"] == key:
                        return root / "corpora" / name, manifest
                except (OSError, CorruptError, KeyError) as error:
                    print(f"warning: corpus {name}: {error}", file=sys.stderr)
    return None


def _datasets(document: Document, trained: Sequence[str]) -> list[str]:
    """OWNER/NAME of the hub's datasets among the files of the corpora that were trained on."""
    corpora = document["config"].get("corpus") or {}
    given = [corpora[name].get("files") for name in dict.fromkeys(trained) if isinstance(corpora.get(name), dict)]
    return card.hub_datasets([url for urls in given for url in ([urls] if isinstance(urls, str) else urls or [])])


def _tokenizer(
    store: Store,
    document: Document,
    manifests: dict[str, tuple[Path, dict[str, Any]]],
    program: Program,
    checkpoint: Path | None,
) -> tuple[Path, str]:
    """tokenizer.json of what was trained on, and its end of a document: as stored, the checkpoint's, or made again."""
    trained = [source.corpus for source in program.phases[-1].sources]
    for key in trained:
        if key in manifests:
            folder, manifest = manifests[key]
            if files.sha256(folder / "tokenizer.json") != manifest["files"]["tokenizer.json"]:
                raise CorruptError(f"{folder / 'tokenizer.json'}: the checksum does not match")
            recipe = manifest["recipe"]["tokenizer"]
            return folder / "tokenizer.json", recipe.get("end_of_document", END_OF_DOCUMENT)
    if checkpoint is not None and document["config"]["tokenizer"] is None:
        return tokenizer_file(checkpoint), given_tokenizer(checkpoint).end_of_document
    name = corpus_names(document).get(trained[0])
    if name is None:
        why = "the store has lost the corpora that it was trained on, and their tokenizer"
        raise InputError("run", document["name"], why, "run it again: it trains nothing and makes them")
    (recipe,) = corpora_of(document, store, [name], to_train=False).values()
    return corpus_folder(store.root, recipe) / "tokenizer.json", recipe.tokenizer.end_of_document


if __name__ == "__main__":
    sys.exit(run_command(main))
