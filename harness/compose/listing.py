"""What has to be asked of servers before a plan can be made: which files the corpora of its points are.

Once: the store keeps the answers (`harness.texts.listings`). Nothing is fetched here.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.config.corpora import remote_patterns, tokenizers
from harness.config.fields import Config
from harness.core.errors import InputError
from harness.core.units import size
from harness.formats.servers import UnreachableError
from harness.model import checkpoints
from harness.texts.listings import kept, resolve


def list_corpora(configs: Iterable[Config], stores: list[Path], *, only_shown: bool) -> None:
    """Ask for the files and tokenizers that none of the stores knows yet, and keep them in the first.

    `only_shown`: the plan is shown and nothing runs, so that what cannot be asked for stands in it as not listed.
    Raises InputError.
    """
    asked: set[object] = set()
    for config in configs:
        for field, patterns, kind in remote_patterns(config):
            if patterns not in asked and kept(patterns, stores) is None:
                with _shown(only_shown):
                    found = resolve(field, patterns, stores[0], kind)
                    print(f"{field}: {len(found.files):,} files, {size(found.bytes)}", file=sys.stderr)
            asked.add(patterns)
        for field, repository in tokenizers(config):
            if repository not in asked and checkpoints.kept(repository, "", stores) is None:
                with _shown(only_shown):
                    _resolve_tokenizer(field, repository, stores[0])
            asked.add(repository)


def _resolve_tokenizer(field: str, repository: str, root: Path) -> None:
    from harness.model import hub

    try:
        hub.resolve(repository, "", root)
    except InputError as error:
        raise type(error)(field, error.value, error.why, error.remedy) from None


@contextlib.contextmanager
def _shown(only_shown: bool) -> Iterator[None]:
    """Where a plan is only shown, what cannot be asked for is a warning."""
    try:
        yield
    except UnreachableError as error:
        if not only_shown:
            raise
        print(f"warning: {error}", file=sys.stderr)
