"""What composed configs name on a hub, resolved before they are planned; the weights fetched before they are trained.

Between `harness.compose.compose`, which makes the points, and `harness.config.run`, which reads what a store holds:
the one place of the command line where a hub is asked about checkpoints.

    resolve_checkpoints([point.config for point in points], root, parents, run=True)
    fetch_checkpoints({folder: (repository, commit)})
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.config.fields import Config, flag
from harness.config.start import moves, named_checkpoint
from harness.core.errors import InputError
from harness.formats.servers import UnreachableError
from harness.model.checkpoints import Resolved, described, kept, missing


def resolve_checkpoints(configs: Iterable[Config], root: Path, parents: Sequence[Path], *, run: bool) -> None:
    """Resolve what no store has; ask again for a name that was given (`revision=`), which may have moved.

    Without an answer, what was resolved before holds; where nothing was, a plan goes on without and a `run` ends.
    Raises InputError.
    """
    asked: set[tuple[str, str]] = set()
    for config in configs:
        named = named_checkpoint(config)
        if named is None:
            if flag(config, "allow_pickled"):
                why, remedy = "no repository of a hub is named", "leave it out; save_pretrained writes safetensors"
                raise InputError("allow_pickled", "true", why, remedy)
            continue
        if named in asked:
            continue
        asked.add(named)
        known = kept(*named, [root, *parents])
        if known is None or moves(config):
            known = _ask(named, known, root, allow_pickled=flag(config, "allow_pickled"), run=run)
        if run and known is not None and missing(known.folder) and not known.folder.is_relative_to(root):
            from harness.model.hub import adopt

            adopt(known, root)


def fetch_checkpoints(folders: Mapping[str, tuple[str, str] | None]) -> None:
    """Fetch the weights of those that are a hub's and lack some: jobs on machines without a network find them.

    `folders`: with the repository and the commit that a run names, as its plan says them; None of a user's folder.
    """
    for folder, named in sorted(folders.items()):
        if described(Path(folder)) is not None and missing(Path(folder)):
            from harness.model.hub import fetch

            fetch(Path(folder), named)


def _ask(
    named: tuple[str, str], known: Resolved | None, root: Path, *, allow_pickled: bool, run: bool
) -> Resolved | None:
    from harness.model.hub import resolve, resolve_again

    label = "@".join(part for part in named if part)
    try:
        if known is None:
            return resolve(*named, root, allow_pickled=allow_pickled, read=run)
        found = resolve_again(known, root, allow_pickled=allow_pickled, read=run)
    except UnreachableError as error:
        if known is not None:
            print(f"{label}: no hub was asked, so it is commit {known.commit[:12]} as before", file=sys.stderr)
        elif run:
            raise
        else:
            print(f"warning: {error}", file=sys.stderr)
        return known
    if found.commit != known.commit:
        print(
            f"{label} has moved from commit {known.commit[:12]} to {found.commit[:12]}, which is used", file=sys.stderr
        )
    return found
