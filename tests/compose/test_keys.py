"""The list of keys: what conf/ defines and what enters an address, so that neither changes unseen."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing

import pytest

from harness import __main__ as harness_main
from harness.compose import keys
from harness.core.identity import canonical
from harness.program import program
from harness.texts import recipe
from tests.repository import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden" / "keys.txt"
ADDRESSED = (program.Program, recipe.Recipe)  # of states and of corpora; what they hold is found from their fields
CHANGED = """conf/ or what enters an address is no longer what tests/golden/keys.txt lists.

A new key of conf/ needs a default under which the program does what it did, since run.json of before does not have it.
A changed default, or a new field of an address without a neutral default, moves addresses: states that users have
stored are not found again, and are trained anew. If that is what you want:

    python -m tests.compose.test_keys > tests/golden/keys.txt
"""


def listed() -> str:
    lines = [
        "# Every key of conf/ with its default, then every field that enters an address (tests/compose/test_keys.py)."
    ]
    lines += ["", *(f"{name}={key.default}" for name, key in keys.leaves(keys.defined()).items())]
    for group, choices in keys.groups().items():
        for choice in choices:
            inside = [f"{name}={key.default}" for name, key in keys.leaves(keys.defined(group, choice)).items()]
            lines += ["", f"{group}={choice}", *(f"  {line}" for line in inside)]
    lines += ["", f"NUMERICS={program.NUMERICS}", f"CORPUS_CODE={recipe.CORPUS_CODE}"]
    for kind in in_addresses():
        lines += ["", kind.__name__]
        for field in dataclasses.fields(kind):
            if field.metadata.get("address", True):
                neutral = "" if field.default is dataclasses.MISSING else f"={canonical(field.default)!r}"
                lines.append(f"  {field.name}{neutral}: {field.type}")
    return "\n".join(lines) + "\n"


def in_addresses() -> list[type]:
    """The dataclasses that an address is made of, each after the one that holds it."""
    found: list[type] = []
    todo: list[object] = list(ADDRESSED)
    while todo:
        kind = todo.pop(0)
        if isinstance(kind, types.UnionType) or typing.get_origin(kind) is not None:
            todo = [*typing.get_args(kind), *todo]
        elif isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind not in found:
            found.append(kind)
            hints = typing.get_type_hints(kind)
            todo += [hints[f.name] for f in dataclasses.fields(kind) if f.metadata.get("address", True)]
    return found


def test_keys_and_what_enters_an_address_change_on_purpose_only() -> None:
    assert listed() == GOLDEN.read_text(encoding="utf-8"), CHANGED


def test_every_key_says_what_it_means() -> None:
    assert [name for name, key in keys.every_key().items() if not key.inside and not key.meaning] == []


@pytest.mark.parametrize("columns", [30, 50, 120])
def test_keys_are_listed_for_any_width(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert harness_main.main(["--keys"]) == 0
    shown = capsys.readouterr().out
    for name, key in keys.every_key().items():
        if not key.inside:
            assert f"  {name}=" in shown
            assert key.meaning.split()[0] in shown
    assert all(len(line) <= columns for line in shown.splitlines() if not line.startswith("  ") or columns == 120)


if __name__ == "__main__":
    sys.stdout.write(listed())
