"""`python -m harness.repeats CORPUS [--root R]`: documents that a corpus of listed files has more than once.

Building leaves out repeats within a unit of about 1 GB and counts them; this counts those of different units, and how
many documents that are validated on are trained on, too. Nothing is changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.cli import run_command
from harness.core import files
from harness.core.errors import CorruptError, InputError
from harness.core.options import Parser, path, refuse_words
from harness.corpora.units import DOCUMENT, shards_folder


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m harness.repeats", description=__doc__)
    parser.add_argument("corpus", help="a corpus' name, or the beginning of its folder below <root>/corpora")
    parser.add_argument("--root", type=path, default=Path("runs"), help="the store (default: runs)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options, words = parser.read(arguments)
    refuse_words(words, parser, arguments)
    manifest = _manifest(options.root, options.corpus)
    found = {"schema": "rewarm.repeats/1", "corpus": manifest["name"], "key": manifest["key"]}
    found |= _counted(shards_folder(options.root), manifest)
    if options.json:
        print(json.dumps(found))
    else:
        total, train = found["documents"], found["train_documents"]
        of = " (of all parts of the corpus)" if "numbers" in manifest else ""
        print(f"{found['within_units']:,} repeats within units{of} were left out when they were built")
        print(f"{found['across_units']:,} of {train:,} training documents are exact repeats of another unit's")
        print(f"{found['validation_in_train']:,} of {total - train:,} validation documents are trained on, too")
    return 0


def _manifest(root: Path, name: str) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = {}
    for folder in files.listing(root / "corpora"):
        try:
            manifest = files.read_sealed(root / "corpora" / folder / "manifest.json")
        except (CorruptError, OSError, ValueError):
            continue
        if "units" in manifest:
            known[folder] = manifest
    chosen = [found for folder, found in known.items() if found["name"] == name or (name and folder.startswith(name))]
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(f"{folder} ({found['name']})" for folder, found in sorted(known.items())) or "none"
    why = "several corpora are called so" if chosen else f"no such corpus of listed files in {root}"
    raise InputError("corpus", name, why, f"there are: {listed}")


def _counted(shards: Path, manifest: dict[str, Any]) -> dict[str, int]:
    """By the hashes of the texts, 8 bytes a document."""
    train, validation = (_hashes(shards, manifest, split) for split in ("train", "validation"))
    distinct = np.unique(train)
    return {
        "documents": len(train) + len(validation),
        "train_documents": len(train),
        "within_units": manifest["duplicates"],
        "across_units": len(train) - len(distinct),
        "validation_in_train": int(np.isin(validation, distinct).sum()),
    }


def _hashes(shards: Path, manifest: dict[str, Any], split: str) -> npt.NDArray[np.uint64]:
    found = [np.empty(0, np.uint64)]
    for unit in manifest["units"]:
        for name, tokens in unit["tokens"].items():
            if name.endswith(f"-{split}"):
                index = np.fromfile(shards / unit["key"] / f"{name}.documents", DOCUMENT)
                found.append(index["hash"][: int(np.searchsorted(index["end"], tokens, side="left")) + 1])
    return np.concatenate(found)


if __name__ == "__main__":
    sys.exit(run_command(main))
