"""`python -m analysis laws [NAME]`: the laws there are, with what each is known from.

python -m analysis laws                           all: formula, variables, status and source
python -m analysis laws dcpt                      one, with its parameters; also of domains, or of a file of yours
python -m analysis laws mixing:docs,python,cpp

verified: its form was read in a primary source (the paper's text, or its authors' code), and a table that others
published is fitted in a test. unverified: form not read there, or no public table, or both.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.laws.law import Law
from analysis.laws.library import FAMILIES, LAWS, find_all

WIDTH = 80  # columns of a terminal
TIED = "\N{NO-BREAK SPACE}"
EXAMPLE = "docs,python,cpp"  # domains that a family is shown for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("law", nargs="?", metavar="NAME", help="as for fit: one law, or those of FILE.toml")
    parser.add_argument("--trust", action="store_true", help="show laws of FILE.py too, which is run as Python")


def run(options: argparse.Namespace, _: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `laws`, and its lines for a terminal. Raises InputError."""
    if options.law is not None:
        found, wrong = find_all(options.law, options.trust)
        lines = [line for law in found for line in (*entry(law), *details(law), *([""] if len(found) > 1 else []))]
        document = {"laws": [document_of(law) for law in found], "wrong": [str(error) for error in wrong]}
        return document, [*(f"cannot be used: {error}" for error in wrong), *([""] if wrong else []), *lines]
    laws = every_law()
    verified = sum(law.status == "verified" for law in laws.values())
    lines = [line for name, law in laws.items() for line in (*entry(law, name), "")]
    lines += [f"{len(laws)} laws, {verified} verified; `laws NAME` shows one with its parameters"]
    return {"laws": [{**document_of(law), "name": name} for name, law in laws.items()]}, lines


def every_law() -> dict[str, Law]:
    """The laws by name; a family, named FAMILY:DOMAINS, is shown for some domains."""
    return LAWS | {f"{name}:DOMAINS": family(EXAMPLE.split(",")) for name, family in FAMILIES.items()}


def document_of(law: Law) -> dict[str, Any]:
    """A law as it stands in the JSON document."""
    return {
        "name": law.name,
        "formula": law.formula,
        "variables": dict(law.variables),
        "shares": list(law.shares),
        "parameters": list(law.parameters),
        "linear": list(law.linear),
        "requirements": list(law.requirements),
        "source": law.source,
        "status": law.status,
        "missing": list(law.missing),
        "read": law.read or None,
        "checked": law.tables,
    }


def entry(law: Law, name: str = "") -> list[str]:
    """A law in the list: its name and status, its formula, its variables and its source."""
    name, status = name or law.name, f"{law.status}{': ' if law.missing else ''}{', '.join(law.missing)}"
    lines = [f"{name}  {status:>{max(WIDTH - len(name) - 2, 0)}}", *_wrapped(law.formula)]
    lines += _wrapped(", ".join(f"{variable}: {unit}".replace(" ", TIED) for variable, unit in law.variables.items()))
    return [*lines, *_wrapped(law.source or "no source is given")]


def details(law: Law) -> list[str]:
    """What more there is to say of one law."""
    facts: dict[str, str] = {}
    for parameter in law.parameters:
        low, high = law.bound(parameter)
        kind = "solved for" if parameter in law.linear else f"starts {_span(law.starts[parameter])}"
        facts[parameter] = f"{kind}{', in logarithms' if parameter in law.log else ''}; bounds {_span((low, high))}"
    lines = ["", "parameters", *_listed(facts)]
    more = {
        "shares": ", ".join(law.shares),
        "demands": ", ".join(law.requirements),
        "form read in": law.read,
        "fitted to": ", ".join(law.tables),
    }
    return [*lines, "", *_listed({name: text for name, text in more.items() if text})]


def _span(ends: tuple[float, float]) -> str:
    return " to ".join(f"{end:g}" for end in ends)


def _listed(facts: Mapping[str, str]) -> Iterable[str]:
    width = max(map(len, facts), default=0)
    for name, text in facts.items():
        yield from textwrap.wrap(
            text,
            WIDTH,
            initial_indent=f"  {name:<{width}}  ",
            subsequent_indent=" " * (width + 4),
            break_long_words=False,
        )


def _wrapped(text: str) -> list[str]:
    lines = textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    return [line.replace(TIED, " ") for line in lines]
