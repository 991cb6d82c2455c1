"""A model hub: what the name of a repository stands for, and its weights brought into the store.

Above `harness.model.checkpoints`, which keeps what was found; imported only where a hub is asked. The settings of
`huggingface_hub` hold: HF_HOME and its cache, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE. To resolve a revision fetches its
config, its tokenizer and, by ranges, the headers of its safetensors, which must be those of the config's model; the
weights' identity is the SHA-256 that the hub states. The weights follow when something is to be trained from them. No
code of a repository is ever run.

    found = resolve("someone/tiny", "main", root)    # checkpoints.Resolved; its folder lies below root/checkpoints
    fetch(found.folder)                              # the weights, each checked against its SHA-256

Refusals are InputErrors of field `path` in one line; `servers.UnreachableError` where no hub answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.files import flush, nearest_existing, remove_leavings, sha256, temporary_name
from harness.core.units import size
from harness.formats.servers import UnreachableError, of_the_disk
from harness.model.checkpoints import CHECKPOINTS, Resolved, described, folder_for, keep, missing
from harness.model.headers import read_file_header
from harness.model.hub_client import Repository
from harness.model.pretrained import INDEX, SINGLE, content_of, read_config, shape_facts

# What is fetched beside the weights, where it is there: a run needs the first two, an export the others.
SMALL = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    INDEX,
)
OTHER_FORMATS = (".gguf", ".msgpack", ".h5", ".onnx", ".pth", ".ot", ".nemo", ".npz")
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"

Files = Mapping[str, Mapping[str, Any]]  # name -> {size, sha256}


def resolve(repository: str, revision: str, root: Path, *, allow_pickled: bool = False, read: bool = True) -> Resolved:
    """What a repository holds at a revision (empty: the hub's main), kept below `root`.

    With `allow_pickled`, weights that are only there as pickles are fetched, read once without running anything of
    them, and kept as safetensors: their identity is that of these. `read=False` leaves it for later: UnreachableError.
    """
    hub = Repository(repository, revision)
    return _resolved(hub, hub.commit(), root, allow_pickled, read)


def resolve_again(known: Resolved, root: Path, *, allow_pickled: bool = False, read: bool = True) -> Resolved:
    """What the name stands for now: `known` itself, unless it has moved."""
    hub = Repository(known.repository, known.revision)
    commit = hub.commit()
    return known if commit == known.commit else _resolved(hub, commit, root, allow_pickled, read)


def fetch(folder: Path, named: tuple[str, str] | None = None) -> None:
    """Fetch what the folder of a resolved checkpoint still lacks. A file appears whole and checked, or not at all.

    `named`: repository and commit to ask for; by default those that were resolved last, of all that hold these files.
    """
    document = described(folder)
    assert document is not None, f"{folder} is no checkpoint of a hub"
    if not (left := missing(folder)):
        return
    remove_leavings(folder)
    hub = Repository(*(named or (document["repository"], document["commit"])))
    total = sum(entry["size"] for entry in left.values())
    if total > (free := shutil.disk_usage(folder).free):
        why = f"{size(total)} of {hub.name} are to be fetched, {size(free)} are free"
        raise InputError("root", folder.parent.parent, why, "free some, or name another root")
    print(f"fetching {hub.name} at {hub.revision[:12]}: {len(left)} files, {size(total)}", file=sys.stderr)
    try:
        for name, entry in left.items():
            hub.bring(name, hub.revision, folder, entry["sha256"])
    except OSError as error:
        raise of_the_disk(error, folder.parent.parent) from None


def adopt(known: Resolved, root: Path) -> Resolved:
    """What another store resolved and has no weights of, kept below `root` too, where they can be fetched."""
    document, own = described(known.folder), root / CHECKPOINTS / known.folder.name
    assert document is not None
    own.mkdir(parents=True, exist_ok=True)
    for name in document["files"].keys() - missing(known.folder).keys():
        temporary = own / temporary_name()
        shutil.copyfile(known.folder / name, temporary)
        os.replace(temporary, own / name)
    adopted = replace(known, folder=own)
    keep(adopted, document["files"], root)
    return adopted


def _resolved(hub: Repository, commit: str, root: Path, allow_pickled: bool, read: bool) -> Resolved:
    """Small files and headers come into a temporary folder, which gets its name once all is known to be usable."""
    entries = hub.files(commit)
    if "config.json" not in entries:
        raise hub.refused(*_instead(entries, "has no config.json at this revision"))
    weights = _listed(hub, entries, commit, SINGLE, INDEX)
    pickled = [] if weights else _listed(hub, entries, commit, PICKLED, PICKLED_INDEX)
    if not weights and not pickled:
        raise hub.refused(*_instead(entries, f"has neither {SINGLE} nor {INDEX}"))
    if pickled and not allow_pickled:
        why = f"has only pickled weights ({pickled[0]}) at this revision, which can run code when read"
        raise hub.refused(why, "allow_pickled=true reads their tensors once, runs nothing, and keeps safetensors")
    if pickled and not read:
        raise UnreachableError("path", hub.label, "has pickled weights, which only a run reads", "run it")
    with _temporary(root) as folder:
        small = [name for name in SMALL if name in entries and not (pickled and name == INDEX)]
        for name in small:
            hub.bring(name, commit, folder, entries[name].get("sha256"))
        if pickled:
            _convert(hub, entries, commit, pickled, folder)
            weights = [SINGLE]
        for name in weights:  # a small file that the hub states no sum of
            if not pickled and "sha256" not in entries[name]:
                hub.bring(name, commit, folder, None)
        with hub.named(folder):
            config = read_config(folder)
        here = {file.name: {"size": file.stat().st_size, "sha256": sha256(file)} for file in folder.iterdir()}
        files: dict[str, dict[str, Any]] = {
            **{name: dict(entries[name]) for name in weights if name in entries},
            **here,
        }
        sums = {name: str(entry["sha256"]) for name, entry in files.items()}
        held = {name: _header(hub, commit, folder, name, files[name]["size"]) for name in weights}
        named = json.loads((folder / INDEX).read_text())["weight_map"] if weights != [SINGLE] else None
        facts = shape_facts(hub.label, config, held, named)
        _check_tensors(hub, folder, held)
        lies = _into_place(folder, folder_for(sums, root))
        content = content_of({name: sums[name] for name in ("config.json", *weights)})
        found = Resolved(hub.name, hub.revision, commit, lies, content, facts)
        keep(found, files, root)
    return found


@contextlib.contextmanager
def _temporary(root: Path) -> Iterator[Path]:
    """A new folder, gone afterwards, on the disk of `root` (which need not exist). Those of dead processes go, too."""
    beside = nearest_existing(root / CHECKPOINTS)
    folder = beside / temporary_name() / "files"
    try:
        remove_leavings(beside)
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise of_the_disk(error, root) from None
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def _into_place(folder: Path, place: Path) -> Path:
    """Give the folder its name; where one of the same files is there already (another name of them), that stays."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(folder, place)
        flush(place.parent)
    except OSError:
        if not place.is_dir():
            raise
    return place


def _instead(entries: Files, lacks: str) -> tuple[str, str]:
    """Why and remedy for a repository without a model to train: by what it has instead."""
    if not entries.keys() - {".gitattributes", "README.md"}:
        return f"{lacks}: it is empty", "name a repository of a transformers model, or another revision"
    if "adapter_config.json" in entries:
        return f"{lacks}: it is an adapter", "merge it into its base (merge_and_unload), and give that folder"
    for name in sorted(entries):
        if name.endswith(OTHER_FORMATS):
            return f"{lacks}, but {name}", "name the repository that it was made from, one with safetensors"
    return lacks, "name a repository of a transformers model with safetensors"


def _listed(hub: Repository, entries: Files, commit: str, single: str, index: str) -> list[str]:
    """The files of weights, as loading looks for them: the single one, else the shards that the index names."""
    if single in entries or index not in entries:
        return [single] if single in entries else []
    try:
        names = sorted({str(name) for name in json.loads(hub.read(index, commit))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names = []
    if not names:
        raise hub.refused(f"{index} has no weight_map", "name another revision")
    for name in names:
        if name not in entries:
            raise hub.refused(f"the shard {name} of its index is missing", "name another revision")
    return names


def _convert(hub: Repository, entries: Files, commit: str, pickled: list[str], folder: Path) -> None:
    from harness.model.pickled import convert  # torch, for this alone

    total = sum(entries[name]["size"] for name in pickled)
    print(f"fetching {hub.label}: {len(pickled)} pickled files, {size(total)}, kept as safetensors", file=sys.stderr)
    originals = folder.parent / "pickled"
    originals.mkdir()
    for name in pickled:
        hub.bring(name, commit, originals, entries[name].get("sha256"))
    convert([originals / name for name in pickled], folder, hub.label)


def _check_tensors(hub: Repository, folder: Path, held: Mapping[str, dict[str, list[int]]]) -> None:
    from harness.model.build import check_tensors  # torch: once, since what was resolved is not asked for again

    check_tensors(hub.label, folder, {name: sides for tensors in held.values() for name, sides in tensors.items()})


def _header(hub: Repository, commit: str, folder: Path, name: str, length: int) -> dict[str, list[int]]:
    return read_file_header(hub.label, folder / name) if (folder / name).is_file() else hub.header(name, commit, length)
