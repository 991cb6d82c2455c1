"""docs/laws.md lists the laws that there are, and what each is known from.

`python -m tests.laws.test_documented` prints the table anew."""

from __future__ import annotations

import re

from analysis.commands.laws import every_law
from tests.repository import REPOSITORY

HEAD = ("law", "of", "paper", "form read in", "public tables fitted in tests", "status")


def table() -> list[str]:
    lines = [HEAD, ("---",) * len(HEAD)]
    for name, law in every_law().items():
        shares = ["shares"] if name.endswith(":DOMAINS") else []
        variables = [*shares, *(variable for variable in law.variables if not shares or variable not in law.shares)]
        paper = re.match(r"\d{4}\.\d{5}", law.source)
        known = (paper[0] if paper else "", law.read, ", ".join(law.tables), law.status)
        lines.append((f"`{name}`", ", ".join(variables), *known))
    return [f"| {' | '.join(cells)} |" for cells in lines]


def test_the_documentation_lists_every_law_with_its_status() -> None:
    text = (REPOSITORY / "docs" / "laws.md").read_text(encoding="utf-8")
    made = table()
    assert "\n".join(["", *made, ""]) in text, "make it anew"


if __name__ == "__main__":
    print("\n".join(table()))
